//! What a node's owner sees of it and tells it, over HTTP: `/node/`.
//!
//! Specified in `docs/api.md`. Nobody else may: programs of this machine where the settings have no API
//! keys, and whoever has one of these or one with the scope `admin`; and no web page, from which a browser
//! says where it comes from.
//!
//! Receipts, under `/v1/receipts/`, may be read as the answers may; what they are about is the
//! owner's.
//!
//! Invariants:
//! - Looking and telling happen off the threads that serve sockets, since a worker obeys at its next
//!   step.
//!
//! Not here: what a verdict is (`preferences`), who obeys (`supervisor`).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use audit::receipt::Receipt;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use gateway::auth::Keys;
use gateway::auth::key::Scope;
use gateway::backend::ServedModel;
use gateway::error::{ApiError, Code};
use gateway::serve::Peer;
use serde::Deserialize;
use serde_json::{Value, json};
use types::id::Hash;

use crate::audits::Audits;
use crate::books;
use crate::copies::Copies;
use crate::copies::plan::NoPlan;
use crate::earn::Earned;
use crate::ledger::Ledger;
use crate::pay::Payer;
use crate::peers::Peers;
use crate::peers::revoke::RevokeError;
use crate::preferences::{Conditions, Finding, Gate, Mode, PAUSE_MAX, Verdict};
use crate::receipts::Receipts;
use crate::redeem::Redeemer;
use crate::supervisor::{Report, Supervisor};
use crate::worker::Load;

/// Bytes of one request, at most.
const BODY_SIZE_MAX: usize = 4096;
/// Receipts that are listed, at most: as many as a person looks through, and read at once.
const RECEIPTS_SHOWN_MAX: usize = 256;
/// Seconds that a request may ask to wait for the work to be finished, at most.
pub const WAIT_MAX: u64 = 60;

/// A node, as its owner sees it.
#[derive(Debug)]
pub struct Control {
    /// The model, if it serves one.
    pub served: Option<Arc<ServedModel>>,
    /// Who lets it compute, if it does.
    pub supervisor: Option<Arc<Supervisor>>,
    /// Its ledger.
    pub ledger: Option<Ledger>,
    /// How many nodes the ledger was told of.
    pub ledger_peers: usize,
    /// Its part in a network of machines.
    pub peers: Option<Arc<Peers>>,
    /// Its copies on other nodes, and theirs here.
    pub copies: Option<Arc<Copies>>,
    /// The receipts of its own answers.
    pub receipts: Option<Arc<Receipts>>,
    /// What it has earned.
    pub earned: Option<Arc<Earned>>,
    /// What redeems it.
    pub redeemer: Option<Arc<Redeemer>>,
    /// Its part in audits.
    pub audits: Option<Arc<Audits>>,
    /// Who pays the workers that it uses.
    pub payer: Option<Arc<Payer>>,
    /// What opens all this; without any, this machine may.
    pub keys: Keys,
    /// Since when it runs.
    pub started: Instant,
}

/// What the owner says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    /// `pause`, `resume` or `drain`.
    #[serde(rename = "do")]
    action: String,
    /// How long a pause lasts, in seconds.
    seconds: Option<u64>,
    /// The time of the day at which it ends, such as `18:00`.
    until: Option<String>,
    /// Whether it holds for own requests as well.
    #[serde(default)]
    all: bool,
}

/// What the owner says of other nodes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfOthers {
    /// Whose pass is taken back.
    revoke: String,
}

/// How to look.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Look {
    /// Seconds to wait until what was asked to finish has finished.
    #[serde(default)]
    wait: u64,
}

/// What to plan.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// The CID.
    cid: String,
    /// The availability, such as `0.99`.
    availability: Option<String>,
}

/// What to send of a receipt.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    /// 1 for the payload.
    #[serde(default)]
    payload: u8,
}

type Answer = Result<Json<Value>, ApiError>;

impl Control {
    /// Whether whoever sent this is the owner.
    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let headers = request.headers();
        if headers.contains_key(header::ORIGIN) {
            return Err(forbidden("web pages may not see or tell a node's work"));
        }
        let peer = request.extensions().get::<Peer>();
        let is_here = peer.is_some_and(|Peer(address)| address.ip().to_canonical().is_loopback());
        let is_here = is_here && names_here(headers) && !came_by_proxy(headers);
        match (self.keys.has_masters(), self.keys.is_open()) {
            // Keys with scopes take nothing from the owner.
            (false, _) if is_here => Ok(()),
            (false, true) => Err(forbidden(
                "only programs of this machine may see and tell a node's work; make a key with the scope `admin` to let others",
            )),
            _ => self.keys.admit(headers, Scope::Admin).map(drop),
        }
    }

    fn supervisor(&self) -> Result<Arc<Supervisor>, ApiError> {
        let none = || ApiError::new(Code::NotReady, self.computed_elsewhere());
        self.supervisor.clone().ok_or_else(none)
    }

    /// Who computes where this node does not.
    fn computed_elsewhere(&self) -> String {
        let nobody = "this node computes for nobody".to_owned();
        let (Some(served), Some(peers)) = (&self.served, &self.peers) else { return nobody };
        let name = &served.name;
        match peers.offers(&served.cid).len() {
            0 => format!(
                "this node only asks, and no machine that is connected offers {name}, so that nothing is answered; `mashaa peers` shows who is there"
            ),
            count => format!("this node only asks; machines that offer {name}: {count}"),
        }
    }

    /// Looks, and waits for what was asked to finish.
    async fn look(&self, wait: u64) -> Answer {
        let supervisor = self.supervisor()?;
        let mut report = blocking(&supervisor, |it| Ok(it.look(SystemTime::now()))).await?;
        let mut load = supervisor.worker().load();
        if wait > 0 {
            let finished = load.wait_for(|load| drained(&report.verdict, load));
            let time = Duration::from_secs(wait.min(WAIT_MAX));
            // Whoever waited in vain is told how far it is.
            let _ = tokio::time::timeout(time, finished).await.is_ok();
            report = blocking(&supervisor, |it| Ok(it.look(SystemTime::now()))).await?;
        }
        let load = *load.borrow();
        let mut value = show(&report, &load);
        let begun = self.peers.as_ref().filter(|peers| peers.network().is_some());
        value["workers"] = begun.map_or(Value::Null, |peers| peers.workers());
        Ok(Json(value))
    }

    /// Takes a node's pass back.
    fn revoke(&self, node: &str) -> Answer {
        let wanted = "a node's key: 0x and 64 hexadecimal digits, as `mashaa peers` shows it";
        let wrong = |what: String| ApiError::new(Code::InvalidValue, what).at("revoke");
        let node = Hash::parse(node).ok_or_else(|| wrong(format!("{node:?} is not {wanted}")))?;
        let begun = self.peers.as_ref().filter(|peers| peers.network().is_some());
        let alone = "this node has no network of machines; nobody was let in";
        let peers = begun.ok_or_else(|| ApiError::new(Code::NotReady, alone))?;
        match peers.revoke(node) {
            Ok((until, known)) => {
                Ok(Json(json!({"node": node.to_string(), "until": until, "known": known})))
            }
            Err(error @ RevokeError::Files(_)) => {
                Err(ApiError::new(Code::Internal, error.to_string()).because(&error))
            }
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    async fn tell(&self, word: Word) -> Answer {
        let supervisor = self.supervisor()?;
        let now = SystemTime::now();
        let mode = mode(&word, now, &supervisor)?;
        let report = blocking(&supervisor, move |it| {
            let kept = it.set(mode, now);
            let message = "the pause could not be kept on the disk, and was not begun";
            kept.map_err(|error| ApiError::new(Code::Internal, message).because(&error))
        })
        .await?;
        let load = *supervisor.worker().load().borrow();
        Ok(Json(show(&report, &load)))
    }

    /// Where the store of another machine of the network is reached from this one.
    async fn store(&self, node: &str) -> Answer {
        let node = Hash::parse(node).ok_or_else(|| {
            ApiError::new(Code::InvalidValue, "a machine's key is 0x and 64 hexadecimal digits")
        })?;
        let peers = self.peers.as_ref().ok_or_else(|| {
            ApiError::new(Code::NotReady, "this node is in no network of machines")
        })?;
        let at = peers.store_at(node).await;
        let at = at.map_err(|error| ApiError::new(Code::InvalidValue, error.to_string()))?;
        Ok(Json(json!({"at": format!("http://{at}")})))
    }

    /// A receipt's bytes, or what it is about.
    fn receipt(&self, id: &str, request: &Request) -> Result<Response, ApiError> {
        let wrong = |what: String| ApiError::new(Code::InvalidValue, what);
        let part = Query::<Part>::try_from_uri(request.uri());
        let Query(Part { payload }) = part.map_err(|error| wrong(error.body_text()))?;
        match payload {
            0 if self.check(request).is_ok() => {}
            0 => drop(self.keys.admit(request.headers(), Scope::Inference)?),
            1 => self.check(request)?,
            other => return Err(wrong(format!("{other} is not 0 or 1")).at("payload")),
        }
        let id = Hash::parse(id).ok_or_else(|| {
            wrong("a receipt's id is 0x and 64 hexadecimal digits".to_owned()).at("id")
        })?;
        let statement = self.receipts.as_ref().and_then(|it| it.get(&id)).ok_or_else(|| {
            let what = "no such receipt is kept here; a node keeps the last ones";
            ApiError::new(Code::UnknownUrl, what)
        })?;
        let bytes = if payload == 1 { statement.payload } else { statement.receipt };
        let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
        Ok((kind, bytes).into_response())
    }

    async fn status(&self) -> Answer {
        let (mut requests, mut work) = (Value::Null, Value::Null);
        if let Some(supervisor) = &self.supervisor {
            let report = blocking(supervisor, |it| Ok(it.look(SystemTime::now()))).await?;
            let load = *supervisor.worker().load().borrow();
            requests = show_load(&load);
            work = show_work(&report.verdict);
        }
        let models = self.served.iter().map(|it| json!({"name": it.name, "cid": it.cid}));
        let network = self.peers.as_ref().filter(|peers| peers.network().is_some()).map(|peers| {
            let known = peers.known();
            let connected = known.iter().filter(|it| it.connection.is_some()).count();
            json!({"node": peers.me().to_string(), "known": known.len(), "connected": connected})
        });
        let ledger = self.ledger.as_ref().map(|ledger| {
            let tip = ledger.chain().tip();
            json!({
                "network": ledger.network().to_string(), "name": ledger.genesis().name.as_str(),
                "height": tip.height.0, "time": tip.time, "peers_configured": self.ledger_peers,
            })
        });
        Ok(Json(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": self.started.elapsed().as_secs(),
            "models": models.collect::<Vec<_>>(),
            "requests": requests,
            "work": work,
            "ledger": ledger,
            "network": network,
        })))
    }
}

/// The routes.
pub fn router(control: Control) -> Router {
    let control = Arc::new(control);
    Router::new()
        .route("/node/status", get(status))
        .route("/node/work", get(look).post(tell))
        .route("/node/network", post(tell_of_others))
        .route("/node/copies/plan", get(plan))
        .route("/node/stores/{node}", post(store))
        .route("/node/receipts", get(receipts))
        .route("/node/earned", get(earned))
        .route("/node/spent", get(spent))
        .layer(DefaultBodyLimit::max(BODY_SIZE_MAX))
        .layer(from_fn_with_state(Arc::clone(&control), guard))
        .route("/v1/receipts/{id}", get(receipt))
        .with_state(control)
}

async fn guard(State(control): State<Arc<Control>>, request: Request, next: Next) -> Response {
    match control.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn status(State(control): State<Arc<Control>>) -> Answer {
    control.status().await
}

async fn receipt(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, ApiError> {
    control.receipt(&id, &request)
}

async fn receipts(State(control): State<Arc<Control>>) -> Answer {
    let last = match control.receipts.clone() {
        Some(receipts) => tokio::task::spawn_blocking(move || receipts.last(RECEIPTS_SHOWN_MAX)),
        None => return Ok(Json(json!({"receipts": []}))),
    };
    let last = last
        .await
        .map_err(|error| ApiError::new(Code::Internal, "the look broke off").because(&error))?;
    Ok(Json(json!({"receipts": last.iter().map(show_receipt).collect::<Vec<_>>()})))
}

async fn earned(State(control): State<Arc<Control>>) -> Answer {
    let notes = books::notes(&control.audits.as_ref().map_or_else(Vec::new, |it| it.notes()));
    let (earned, redeemer) = (control.earned.clone(), control.redeemer.clone());
    let failures = move || redeemer.map_or_else(Vec::new, |it| it.failures());
    let look = move || {
        let earned = earned.map_or_else(books::none, |it| books::earned(&it, &failures()));
        books::with_audits(earned, notes)
    };
    looked(tokio::task::spawn_blocking(look)).await
}

async fn spent(State(control): State<Arc<Control>>) -> Answer {
    let (Some(payer), Some(receipts)) = (control.payer.clone(), control.receipts.clone()) else {
        return Ok(Json(books::none()));
    };
    let channels = payer.channels().await;
    looked(tokio::task::spawn_blocking(move || books::spent(&channels, &receipts.dated()))).await
}

async fn looked(look: tokio::task::JoinHandle<Value>) -> Answer {
    let broken = |error: tokio::task::JoinError| {
        ApiError::new(Code::Internal, "the look broke off").because(&error)
    };
    look.await.map(Json).map_err(broken)
}

async fn store(State(control): State<Arc<Control>>, Path(node): Path<String>) -> Answer {
    control.store(&node).await
}

async fn look(
    State(control): State<Arc<Control>>,
    query: Result<Query<Look>, QueryRejection>,
) -> Answer {
    let Query(Look { wait }) =
        query.map_err(|error| ApiError::new(Code::InvalidValue, error.body_text()))?;
    control.look(wait).await
}

async fn plan(
    State(control): State<Arc<Control>>,
    query: Result<Query<Plan>, QueryRejection>,
) -> Answer {
    let wrong = |what: String| ApiError::new(Code::InvalidValue, what);
    let Query(Plan { cid, availability }) = query.map_err(|error| wrong(error.body_text()))?;
    let cid = cid.parse().map_err(|error| wrong(format!("{cid:?}: {error}")).at("cid"))?;
    let wanted = availability.map(|it| it.parse()).transpose();
    let wanted = wanted.map_err(|error| wrong(format!("{error}")).at("availability"))?;
    let copies = control.copies.clone().ok_or_else(|| {
        ApiError::new(Code::NotReady, "this node has no store, or is in no network of machines")
    })?;
    let planning = tokio::task::spawn_blocking(move || copies.plan(cid, wanted)).await;
    let failed = |error: &dyn std::fmt::Display| {
        ApiError::new(Code::Internal, "the plan broke off").because(error)
    };
    planning.map_err(|error| failed(&error))?.map(Json).map_err(|error| match error {
        NoPlan::NotHere(_) => ApiError::new(Code::UnknownUrl, error.to_string()),
        NoPlan::NotWanted(_) => ApiError::new(Code::InvalidValue, error.to_string()),
        NoPlan::Store(error) => failed(&error),
    })
}

async fn tell(
    State(control): State<Arc<Control>>,
    word: Result<Json<Word>, JsonRejection>,
) -> Answer {
    let Json(word) = word.map_err(unread)?;
    control.tell(word).await
}

async fn tell_of_others(
    State(control): State<Arc<Control>>,
    word: Result<Json<OfOthers>, JsonRejection>,
) -> Answer {
    let Json(OfOthers { revoke }) = word.map_err(unread)?;
    control.revoke(&revoke)
}

/// Why what was sent is not read.
fn unread(error: JsonRejection) -> ApiError {
    let code = match error.status().as_u16() {
        413 => Code::BodyTooLarge,
        415 => Code::UnsupportedMediaType,
        422 => Code::InvalidValue,
        _ => Code::InvalidJson,
    };
    ApiError::new(code, error.body_text())
}

/// Does something that waits for the worker.
async fn blocking<T: Send + 'static>(
    supervisor: &Arc<Supervisor>,
    act: impl FnOnce(&Supervisor) -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let supervisor = Arc::clone(supervisor);
    let done = tokio::task::spawn_blocking(move || act(&supervisor)).await;
    done.map_err(|error| ApiError::new(Code::Internal, "the look broke off").because(error))?
}

/// A receipt in a list.
fn show_receipt(receipt: &Receipt) -> Value {
    json!({
        "id": receipt.id().to_string(), "model": receipt.terms.model.to_string(),
        "worker_key": receipt.terms.worker_key.to_string(),
        "prompt_tokens": receipt.prompt_tokens, "output_tokens": receipt.output_tokens,
        "ending": receipt.ending.word(), "due": receipt.due.to_string(),
    })
}

fn forbidden(message: &str) -> ApiError {
    ApiError::new(Code::Forbidden, message)
}

/// Whether the request names this machine as a person here would: a page whose name was made to lead
/// here names itself.
fn names_here(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || bare.parse::<IpAddr>().is_ok()
}

fn came_by_proxy(headers: &HeaderMap) -> bool {
    ["forwarded", "x-forwarded-for", "x-real-ip", "via"].iter().any(|it| headers.contains_key(*it))
}

fn mode(word: &Word, now: SystemTime, supervisor: &Supervisor) -> Result<Mode, ApiError> {
    let wrong = |at: &str, what: String| ApiError::new(Code::InvalidValue, what).at(at);
    if word.action != "pause" && (word.seconds.is_some() || word.until.is_some()) {
        let what = format!("only a pause has an end, and {:?} is none", word.action);
        return Err(wrong("do", what));
    }
    let seconds = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let until = match (word.seconds, &word.until) {
        (None, None) => None,
        (Some(length @ 1..=PAUSE_MAX), None) => Some(seconds.saturating_add(length)),
        (Some(_), None) => {
            return Err(wrong("seconds", format!("a pause has 1 to {PAUSE_MAX} seconds")));
        }
        (None, Some(time)) => match supervisor.next_time(now, time) {
            Some(until) => Some(until),
            None => {
                let what = format!("{time:?} is no time of the day, such as 18:00");
                return Err(wrong("until", what));
            }
        },
        (Some(_), Some(_)) => {
            let what = "a pause has a length or an end, not both".to_owned();
            return Err(wrong("until", what));
        }
    };
    match word.action.as_str() {
        "pause" => Ok(Mode::Pause { until, all: word.all }),
        "drain" => Ok(Mode::Drain { all: word.all }),
        "resume" if word.all => Err(wrong("all", "to resume is to resume everything".to_owned())),
        "resume" => Ok(Mode::Work),
        other => Err(wrong("do", format!("{other:?} is not pause, resume or drain"))),
    }
}

/// Whether what the owner lets finish has finished.
fn drained(verdict: &Verdict, load: &Load) -> bool {
    verdict.others == Gate::Draining
        && load.others + load.idle == 0
        && (verdict.own != Gate::Draining || load.own == 0)
}

fn show(report: &Report, load: &Load) -> Value {
    let mode = match report.mode {
        Mode::Work => json!({"do": "work", "until": null, "all": false}),
        Mode::Pause { until, all } => json!({"do": "pause", "until": until, "all": all}),
        Mode::Drain { all } => json!({"do": "drain", "until": null, "all": all}),
    };
    json!({
        "mode": mode,
        "work": show_work(&report.verdict),
        "drained": drained(&report.verdict, load),
        "requests": show_load(load),
        "preferences": report.verdict.findings.iter().map(show_finding).collect::<Vec<_>>(),
        "measured": show_conditions(&report.conditions),
    })
}

fn show_work(verdict: &Verdict) -> Value {
    let reason = verdict.reason();
    json!({
        "others": verdict.others.word(),
        "own": verdict.own.word(),
        "threads": verdict.threads,
        "code": reason.map(|it| it.rule.code()),
        "reason": reason.map(|it| &it.sentence),
        "until": reason.and_then(|it| it.until),
    })
}

fn show_load(load: &Load) -> Value {
    json!({
        "own": load.own, "others": load.others, "batches": load.idle, "waiting": load.waiting,
        "others_memory": load.others_memory, "threads": load.threads,
    })
}

fn show_finding(finding: &Finding) -> Value {
    json!({
        "code": finding.rule.code(), "setting": finding.rule.setting(),
        "effect": finding.effect.word(), "sentence": finding.sentence, "until": finding.until,
    })
}

fn show_conditions(conditions: &Conditions) -> Value {
    json!({
        "time": conditions.now,
        "week_minute": conditions.week_minute,
        "on_battery": conditions.power.map(|it| it.on_battery),
        "charge_percent": conditions.power.and_then(|it| it.charge),
        "temperature_thousandths": conditions.temperature,
        "idle_seconds": conditions.idle,
        "load_thousandths": conditions.load,
        "memory_free": conditions.memory_free,
        "disk_free": conditions.disk_free,
        "traffic_month": conditions.traffic.month,
        "traffic_debt": conditions.traffic.debt,
    })
}
