//! The ledger over HTTP: what everyone may see, and the one way to send an order.
//!
//! Specified in `docs/ledger.md`. The record is public, so that reading needs no key; an order carries
//! its own signature.
//!
//! Invariants:
//! - Lists come in pages of at most `PAGE_MAX` entries.
//! - A request holds the chain's lock for one page at most.
//!
//! Not here: the rules, and pages for people.

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use chain::chain::Chain;
use chain::pool::NotAccepted;
use chain::store::StoreError;
use futures_util::Stream;
use ledger::accounts::Account;
use ledger::nodes::Node;
use ledger::parameters::rule;
use serde::Deserialize;
use serde_json::{Value, json};
use types::amount::Height;
use types::codec::encode;
use types::envelope::Signed;
use types::id::{Address, Cid, Hash};
use types::measure::Parameter;

use super::{Fate, Ledger, hex, json as show, unhex};

mod audits;
mod snapshots;

/// Entries of one page, at most.
pub const PAGE_MAX: usize = 100;
/// Orders of one request, at most.
pub const ORDERS_MAX: usize = 1024;
/// Bytes of one request, at most: its orders, in hexadecimal digits.
const BODY_SIZE_MAX: usize = 9 << 20;
/// Seconds that a request may ask to wait for its orders' block, at most.
pub const WAIT_MAX: u64 = 60;

/// Why a request is not answered.
#[derive(Debug)]
struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
}

type Answer = Result<Json<Value>, Refused>;

impl Refused {
    fn bad(message: impl Into<String>) -> Refused {
        let message = message.into();
        Refused { status: StatusCode::BAD_REQUEST, code: "invalid_value", message }
    }

    fn unknown(what: impl std::fmt::Display) -> Refused {
        let message = format!("the ledger has no {what}");
        Refused { status: StatusCode::NOT_FOUND, code: "not_found", message }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Refused {
        let (status, code) = (StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
        Refused { status, code, message: error.to_string() }
    }
}

impl From<QueryRejection> for Refused {
    fn from(error: QueryRejection) -> Refused {
        Refused::bad(error.body_text())
    }
}

impl From<JsonRejection> for Refused {
    fn from(error: JsonRejection) -> Refused {
        Refused { status: error.status(), code: "invalid_json", message: error.body_text() }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let kind =
            if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        let error = json!({
            "message": self.message, "type": kind, "param": null, "code": self.code,
        });
        (self.status, Json(json!({"error": error}))).into_response()
    }
}

/// Which page of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    /// How many entries.
    limit: Option<usize>,
    /// Blocks and proposals, newest first: those under this number.
    before: Option<u64>,
    /// Other lists: those after this address or CID.
    after: Option<String>,
}

impl Page {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(20).clamp(1, PAGE_MAX)
    }
}

type PageQuery = Result<Query<Page>, QueryRejection>;

/// Orders that come in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Orders {
    /// Signed orders, canonical bytes as `0x` and hexadecimal digits.
    orders: Vec<String>,
    /// Seconds to wait for their block.
    #[serde(default)]
    wait: u64,
    /// Only ask whether the rules would accept each of them now, by itself.
    #[serde(default)]
    dry_run: bool,
}

/// The routes.
pub fn router(ledger: Ledger) -> Router {
    Router::new()
        .route("/ledger", get(status))
        .route("/ledger/genesis", get(genesis))
        .route("/ledger/blocks", get(blocks))
        .route("/ledger/blocks/{height}", get(block))
        .route("/ledger/blocks/{height}/raw", get(raw))
        .route("/ledger/snapshots", get(snapshots::list))
        .route("/ledger/snapshots/{cid}", get(snapshots::file))
        .route("/ledger/orders", axum::routing::post(submit))
        .route("/ledger/orders/{id}", get(order))
        .route("/ledger/orders/{id}/proof", get(order_proof))
        .route("/ledger/entries/{key}/proof", get(entry_proof))
        .route("/ledger/accounts", get(accounts))
        .route("/ledger/accounts/{address}", get(account))
        .route("/ledger/members", get(members))
        .route("/ledger/proposals", get(proposals))
        .route("/ledger/proposals/{number}", get(proposal))
        .route("/ledger/proposals/{number}/dry-run", get(dry_run))
        .route("/ledger/works", get(works))
        .route("/ledger/works/{cid}", get(work))
        .route("/ledger/channels/{number}", get(channel))
        .route("/ledger/stakes/{address}", get(audits::stake))
        .route("/ledger/batches", get(audits::batches))
        .route("/ledger/batches/{number}", get(audits::batch))
        .route("/ledger/audits", get(audits::audits))
        .route("/ledger/validators", get(validators))
        .route("/ledger/nodes", get(nodes))
        .route("/ledger/nodes/{key}", get(node))
        .route("/ledger/parameters", get(parameters))
        .route("/ledger/events", get(events))
        .layer(DefaultBodyLimit::max(BODY_SIZE_MAX))
        .with_state(ledger)
}

async fn status(State(ledger): State<Ledger>) -> Answer {
    let mut chain = ledger.chain();
    let (tip, waiting) = (chain.tip(), chain.pool().count());
    let validators = chain.validators().len();
    let first = chain.first()?;
    let snapshot = chain.snapshots().last().map(snapshots::show);
    let state = chain.state();
    let sum = ledger.sum(&tip.id, state);
    let meta = state.meta();
    Ok(Json(json!({
        "network": ledger.network().to_string(),
        "name": ledger.genesis().name.as_str(),
        "policy": meta.policy.word(),
        "beacon": meta.beacon.to_string(),
        "interval_ms": ledger.genesis().interval,
        "node_key": ledger.node_key().to_string(),
        "height": tip.height.0,
        "block": tip.id.to_string(),
        "time": tip.time,
        "state": tip.state.to_string(),
        "epoch": meta.epoch.0,
        "period": meta.period.0,
        "members": meta.members_active,
        "validators": validators,
        "accounts": state.accounts_count(),
        "sum": show::credits(sum),
        "waiting": waiting,
        "first": first.0,
        "snapshot": snapshot,
    })))
}

async fn genesis(State(ledger): State<Ledger>) -> Answer {
    let text = super::genesis_file::write(ledger.genesis());
    Ok(Json(json!({
        "network": ledger.network().to_string(),
        "toml": text,
        "bytes": hex(&encode(ledger.genesis())),
    })))
}

async fn blocks(State(ledger): State<Ledger>, page: PageQuery) -> Answer {
    let Query(page) = page?;
    let chain = ledger.chain();
    let last = chain.tip().height.0;
    let top = page.before.map_or(last, |before| before.saturating_sub(1)).min(last);
    let mut found = vec![];
    for height in (1..=top).rev().take(page.limit()) {
        let Some(block) = chain.block(Height(height))? else { break };
        let mut value = show::header(&block.header);
        value["orders"] = block.orders.as_slice().len().into();
        found.push(value);
    }
    let next = top.saturating_sub(u64::try_from(found.len()).unwrap_or(0));
    let before = (next >= chain.first()?.0).then(|| next.saturating_add(1));
    Ok(Json(json!({"blocks": found, "before": before})))
}

async fn block(State(ledger): State<Ledger>, Path(height): Path<String>) -> Answer {
    let height = number(&height)?;
    let chain = ledger.chain();
    match chain.block(Height(height))? {
        Some(block) => Ok(Json(show::block(&block))),
        None => Err(no_block(&chain, height)?),
    }
}

/// Why a block is not here: it is to come, or is no longer kept.
fn no_block(chain: &Chain, height: u64) -> Result<Refused, StoreError> {
    let first = chain.first()?.0;
    if height == 0 || height >= first {
        return Ok(Refused::unknown(format_args!("block {height}")));
    }
    let message = format!(
        "block {height} is not here: this node's record begins at block {first}; ask an archive"
    );
    Ok(Refused { status: StatusCode::NOT_FOUND, code: "not_found", message })
}

/// A block as it is on the disk, and who decided it, for those who replay it or begin from it.
async fn raw(State(ledger): State<Ledger>, Path(height): Path<String>) -> Answer {
    let height = number(&height)?;
    let chain = ledger.chain();
    let Some(decided) = chain.decided(Height(height))? else {
        return Err(no_block(&chain, height)?);
    };
    let deciders = chain.validators_of(Height(height))?.unwrap_or_default();
    Ok(Json(json!({
        "block": hex(&decided.block),
        "certificate": hex(&decided.certificate),
        "deciders": hex(&encode(&deciders)),
    })))
}

async fn submit(State(ledger): State<Ledger>, body: Result<Json<Orders>, JsonRejection>) -> Answer {
    let Json(Orders { orders, wait, dry_run }) = body?;
    if orders.is_empty() || orders.len() > ORDERS_MAX {
        return Err(Refused::bad(format!(
            "orders has {} entries and takes 1 to {ORDERS_MAX}",
            orders.len()
        )));
    }
    if wait > WAIT_MAX {
        return Err(Refused::bad(format!("wait is {wait} seconds and takes at most {WAIT_MAX}")));
    }
    let read = |text: &String| unhex(text).and_then(|bytes| Signed::decode(&bytes).ok());
    let mut signed = vec![];
    for (index, text) in orders.iter().enumerate() {
        let order = read(text).ok_or_else(|| {
            Refused::bad(format!("orders[{index}] is no signed order: 0x and the hexadecimal digits of its canonical bytes"))
        })?;
        signed.push(order);
    }
    let taker = ledger.clone();
    let taken = tokio::task::spawn_blocking(move || {
        let outcomes = match dry_run {
            true => signed.iter().map(|it| taker.dry_run(it).map(|()| it.id())).collect(),
            false => taker.submit(&signed),
        };
        signed.iter().map(Signed::id).zip(outcomes).collect::<Vec<_>>()
    });
    let taken = taken.await.map_err(|error| Refused {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: "internal_error",
        message: error.to_string(),
    })?;
    let end = tokio::time::Instant::now() + Duration::from_secs(wait);
    let mut results = vec![];
    for (id, outcome) in taken {
        results.push(match outcome {
            Err(refusal) => not_accepted(&id, &refusal),
            Ok(_) if dry_run => json!({"id": id.to_string(), "status": "accepted"}),
            Ok(_) if wait == 0 => fate(&id, Fate::Waiting),
            Ok(_) => {
                let left = end.saturating_duration_since(tokio::time::Instant::now());
                fate(&id, ledger.settled(&id, left).await?)
            }
        });
    }
    Ok(Json(json!({"results": results})))
}

fn not_accepted(id: &Hash, refusal: &NotAccepted) -> Value {
    let number = match refusal {
        NotAccepted::Refused(refusal) => Some(refusal.number()),
        _ => None,
    };
    json!({
        "id": id.to_string(), "status": "refused", "refusal": number, "message": refusal.to_string(),
    })
}

fn fate(id: &Hash, fate: Fate) -> Value {
    let id = id.to_string();
    match fate {
        Fate::Done(height, index) => {
            json!({"id": id, "status": "done", "height": height.0, "index": index})
        }
        Fate::Waiting => json!({"id": id, "status": "waiting"}),
        Fate::Refused(refusal) => json!({
            "id": id, "status": "refused", "refusal": refusal.number(), "message": refusal.to_string(),
        }),
        Fate::Unknown => json!({"id": id, "status": "unknown"}),
    }
}

async fn order(State(ledger): State<Ledger>, Path(id): Path<String>) -> Answer {
    let id = hash(&id)?;
    let outcome = ledger.fate(&id)?;
    let chain = ledger.chain();
    let signed = match outcome {
        Fate::Done(height, index) => chain
            .block(height)?
            .and_then(|block| block.orders.as_slice().get(usize::try_from(index).ok()?).cloned()),
        Fate::Waiting => chain.pool().get(&id).map(|waiting| waiting.signed.clone()),
        Fate::Unknown => return Err(Refused::unknown(format_args!("order {id}"))),
        Fate::Refused(_) => None,
    };
    let mut value = fate(&id, outcome);
    if let Some(signed) = signed {
        value["kind"] = signed.order.action.name().into();
        value["order"] = show::record(&signed.order.shown());
    }
    Ok(Json(value))
}

async fn order_proof(State(ledger): State<Ledger>, Path(id): Path<String>) -> Answer {
    let id = hash(&id)?;
    let chain = ledger.chain();
    let proof = chain.prove_order(&id)?;
    let proof = proof.ok_or_else(|| Refused::unknown(format_args!("order {id} in a block")))?;
    let height = proof.header.height;
    let decided = chain.decided(height)?.ok_or_else(|| Refused::unknown("certificate"))?;
    Ok(Json(json!({
        "kind": "order",
        "height": height.0,
        "header": proof.header.id().to_string(),
        "proof": hex(&encode(&proof)),
        "certificate": hex(&decided.certificate),
    })))
}

async fn entry_proof(State(ledger): State<Ledger>, Path(key): Path<String>) -> Answer {
    let key = unhex(&key).filter(|key| key.len() <= 128);
    let key =
        key.ok_or_else(|| Refused::bad("an entry's key is 0x and at most 256 hexadecimal digits"))?;
    let chain = ledger.chain();
    let proof = chain.prove_entry(&key)?.ok_or_else(|| Refused::unknown("block yet"))?;
    let height = proof.header.height;
    let decided = chain.decided(height)?.ok_or_else(|| Refused::unknown("certificate"))?;
    Ok(Json(json!({
        "kind": "entry",
        "height": height.0,
        "header": proof.header.id().to_string(),
        "value": proof.value.as_ref().map(|value| hex(value.as_slice())),
        "proof": hex(&encode(&proof)),
        "certificate": hex(&decided.certificate),
    })))
}

/// A page of a list.
fn page<'a, K: Display + 'a, V: 'a>(
    name: &'static str,
    page: &Page,
    mut all: impl Iterator<Item = (&'a K, &'a V)>,
    show: impl Fn(&K, &V) -> Value,
) -> Json<Value> {
    let mut last = None;
    let mut found: Vec<Value> = vec![];
    for (key, value) in all.by_ref().take(page.limit()) {
        found.push(show(key, value));
        last = Some(key);
    }
    let more = all.next().and(last).map(ToString::to_string);
    Json(json!({name: found, "after": more}))
}

/// Where a page begins.
fn after<K>(page: &Page, parse: impl Fn(&str) -> Option<K>) -> Result<Option<K>, Refused> {
    let Some(text) = &page.after else { return Ok(None) };
    let key = parse(text).ok_or_else(|| {
        Refused::bad(format!("after is {text:?}, which is none that this list is ordered by"))
    });
    key.map(Some)
}

async fn accounts(State(ledger): State<Ledger>, query: PageQuery) -> Answer {
    let Query(query) = query?;
    let after = after(&query, Address::parse)?;
    let mut chain = ledger.chain();
    let state = chain.state();
    let show = |address: &Address, account: &Account| {
        show::account(address, account, state.member(address))
    };
    Ok(page("accounts", &query, state.accounts_after(after), show))
}

async fn account(State(ledger): State<Ledger>, Path(address): Path<String>) -> Answer {
    let found = Address::parse(&address);
    let address = found.ok_or_else(|| {
        Refused::bad(format!("{address:?} is no address: 0x and 40 hexadecimal digits, with EIP-55's capitals or none"))
    })?;
    let mut chain = ledger.chain();
    let waiting = chain.pool().next_nonce(&address);
    let state = chain.state();
    let mut value = show::account(&address, &state.account(&address), state.member(&address));
    let next = waiting.unwrap_or_else(|| state.nonce(&address));
    value["next_nonce"] = next.0.into();
    value["sessions"] =
        state.sessions_of(&address).map(|(key, it)| show::session(key, it)).collect();
    value["nodes"] = state.nodes_of(&address).map(|key| json!(key.to_string())).collect();
    Ok(Json(value))
}

async fn members(State(ledger): State<Ledger>, query: PageQuery) -> Answer {
    let Query(query) = query?;
    let after = after(&query, Address::parse)?;
    let mut chain = ledger.chain();
    Ok(page("members", &query, chain.state().members_after(after), show::member))
}

async fn proposals(State(ledger): State<Ledger>, query: PageQuery) -> Answer {
    let Query(query) = query?;
    let mut chain = ledger.chain();
    let mut all = chain.state().proposals_before(query.before.unwrap_or(u64::MAX));
    let (mut found, mut last) = (vec![], None);
    for (number, it) in all.by_ref().take(query.limit()) {
        found.push(show::proposal(*number, it));
        last = Some(*number);
    }
    Ok(Json(json!({"proposals": found, "before": all.next().and(last)})))
}

async fn proposal(State(ledger): State<Ledger>, Path(given): Path<String>) -> Answer {
    let given = number(&given)?;
    let mut chain = ledger.chain();
    let state = chain.state();
    let found = state.proposal(given);
    let found = found.ok_or_else(|| Refused::unknown(format_args!("proposal {given}")))?;
    let mut value = show::proposal(given, found);
    let ballots = state.all_ballots().filter(|((of, _), _)| *of == given);
    let ballots = ballots.map(|((_, voter), ballot)| {
        json!({
            "voter": voter.to_string(), "choice": ballot.choice.word(), "by": ballot.by.to_string(),
        })
    });
    value["ballots"] = ballots.collect();
    Ok(Json(value))
}

/// What a proposal would do if it were executed now, for those who are to vote on it.
async fn dry_run(State(ledger): State<Ledger>, Path(given): Path<String>) -> Answer {
    let given = number(&given)?;
    let outcome = ledger.chain().dry_run_proposal(given);
    let outcome = outcome.ok_or_else(|| Refused::unknown(format_args!("proposal {given}")))?;
    Ok(Json(match outcome {
        Ok(events) => {
            let events: Vec<String> = events.iter().map(show::event).collect();
            json!({"number": given, "status": "accepted", "would": events})
        }
        Err(refusal) => json!({
            "number": given, "status": "refused", "refusal": refusal.number(),
            "message": refusal.to_string(),
        }),
    }))
}

async fn works(State(ledger): State<Ledger>, query: PageQuery) -> Answer {
    let Query(query) = query?;
    let after = after(&query, Cid::parse)?;
    let mut chain = ledger.chain();
    Ok(page("works", &query, chain.state().works_after(after), show::work))
}

async fn work(State(ledger): State<Ledger>, Path(cid): Path<String>) -> Answer {
    let found = Cid::parse(&cid);
    let cid = found.ok_or_else(|| Refused::bad(format!("{cid:?} is no CID of the ledger's")))?;
    let mut chain = ledger.chain();
    let found = chain.state().work(&cid);
    Ok(Json(show::work(&cid, found.ok_or_else(|| Refused::unknown(format_args!("work {cid}")))?)))
}

async fn channel(State(ledger): State<Ledger>, Path(given): Path<String>) -> Answer {
    let given = number(&given)?;
    let mut chain = ledger.chain();
    let found = chain.state().channel(given);
    let found = found.ok_or_else(|| Refused::unknown(format_args!("open channel {given}")))?;
    Ok(Json(show::channel(given, found)))
}

async fn validators(State(ledger): State<Ledger>) -> Answer {
    let mut chain = ledger.chain();
    let state = chain.state();
    let all = state.all_validators().map(|(key, it)| show::validator(key, it, state.rests(it)));
    Ok(Json(json!({"validators": all.collect::<Vec<_>>()})))
}

async fn nodes(State(ledger): State<Ledger>, query: PageQuery) -> Answer {
    let Query(query) = query?;
    let after = after(&query, Hash::parse)?;
    let mut chain = ledger.chain();
    let state = chain.state();
    let show = |key: &Hash, it: &Node| show::node(key, it, state.registration(key));
    Ok(page("nodes", &query, state.nodes_after(after), show))
}

async fn node(State(ledger): State<Ledger>, Path(key): Path<String>) -> Answer {
    let key = hash(&key)?;
    let mut chain = ledger.chain();
    let state = chain.state();
    let found = state.node(&key).ok_or_else(|| Refused::unknown(format_args!("node {key}")))?;
    Ok(Json(show::node(&key, found, state.registration(&key))))
}

async fn parameters(State(ledger): State<Ledger>) -> Answer {
    let mut chain = ledger.chain();
    let state = chain.state();
    let all = Parameter::ALL.iter().map(|&parameter| {
        let rule = rule(parameter);
        json!({
            "name": parameter.word(),
            "value": state.parameter(parameter),
            "min": rule.min,
            "max": rule.max,
            "default": rule.default,
            "bar": rule.tier.word(),
            "meaning": parameter.meaning().trim(),
        })
    });
    Ok(Json(json!({"parameters": all.collect::<Vec<_>>()})))
}

/// A block's header as it is committed. A reader that is too slow misses blocks and never holds up
/// the ledger.
async fn events(
    State(ledger): State<Ledger>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let tips = ledger.tips();
    let stream = futures_util::stream::unfold((ledger, tips), |(ledger, mut tips)| async move {
        tips.changed().await.ok()?;
        let tip = *tips.borrow_and_update();
        let block = ledger.chain().block(tip.height).ok()??;
        let mut value = show::header(&block.header);
        value["orders"] = block.orders.as_slice().len().into();
        let event = Event::default().event("block").id(tip.height.0.to_string());
        Some((Ok(event.data(value.to_string())), (ledger, tips)))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

fn number(text: &str) -> Result<u64, Refused> {
    text.parse().map_err(|_| Refused::bad(format!("{text:?} is no whole number")))
}

fn hash(text: &str) -> Result<Hash, Refused> {
    let wanted = || Refused::bad(format!("{text:?} is no name: 0x and 64 hexadecimal digits"));
    Hash::parse(text).ok_or_else(wanted)
}
