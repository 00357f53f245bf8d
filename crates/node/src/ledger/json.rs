//! The ledger's things as JSON.
//!
//! Amounts are texts in credits, such as `"-12.5"`, since a JSON number loses digits in a browser;
//! hashes, keys, addresses and CIDs are texts; heights and counts are numbers.
//!
//! Not here: which of them is asked for.

pub(crate) mod audits;

use audit::dispute::{Side, Verdict};
use chain::block::{Block, Header};
use ledger::accounts::Account;
use ledger::channels::Channel;
use ledger::event::Event;
use ledger::governance::Proposal;
use ledger::members::Member;
use ledger::nodes::{Node, Registration};
use ledger::sessions::Session;
use ledger::validators::Validator;
use ledger::works::Work;
use serde_json::{Value, json};
use types::amount::{Amount, MILLIONTHS};
use types::envelope::Signed;
use types::evidence::{Evidence, Said};
use types::id::{Address, Cid, Hash, keccak256};
use types::transaction::NO_NODE;
use types::typed::{self, Record};

/// Millionths as credits.
pub(crate) fn credits(millionths: i128) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let (whole, fraction) = (
        millionths.unsigned_abs() / u128::from(MILLIONTHS),
        millionths.unsigned_abs() % u128::from(MILLIONTHS),
    );
    let digits = format!("{fraction:06}");
    match digits.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        digits => format!("{sign}{whole}.{digits}"),
    }
}

fn amount(amount: Amount) -> Value {
    amount.to_string().into()
}

pub(crate) fn header(header: &Header) -> Value {
    json!({
        "id": header.id().to_string(),
        "height": header.height.0,
        "time": header.time,
        "parent": header.parent.to_string(),
        "proposer": header.proposer.to_string(),
        "randomness": header.randomness.to_string(),
        "state": header.state.to_string(),
        "orders_root": header.orders.to_string(),
        "validators_hash": header.validators.to_string(),
        "certificate_hash": header.certificate.to_string(),
        "evidence_hash": header.evidence.to_string(),
        "snapshot": header.snapshot.map(|cid| cid.to_string()),
    })
}

pub(crate) fn block(block: &Block) -> Value {
    let mut value = header(&block.header);
    let orders: Vec<Value> = block.orders.as_slice().iter().map(order).collect();
    value["orders"] = orders.into();
    value["evidence"] = block.evidence.as_slice().iter().map(evidence).collect();
    if let Some(certificate) = &block.certificate {
        let seals = certificate.seals.as_slice().iter();
        let seals: Vec<String> = seals.map(|seal| seal.validator.to_string()).collect();
        value["parent_round"] = certificate.round.into();
        value["parent_sealed_by"] = seals.into();
    }
    value
}

fn evidence(evidence: &Evidence) -> Value {
    let said = |said: &Said| {
        json!({
            "block": said.block.as_ref().map(Hash::to_string),
            "earlier_round": said.earlier,
            "signature": said.signature.to_string(),
        })
    };
    json!({
        "validator": evidence.validator.to_string(),
        "height": evidence.height.0,
        "round": evidence.round,
        "step": evidence.step.word(),
        "first": said(&evidence.first),
        "second": said(&evidence.second),
    })
}

pub(crate) fn order(signed: &Signed) -> Value {
    let order = &signed.order;
    json!({
        "id": signed.id().to_string(),
        "kind": order.action.name(),
        "order": record(&order.shown()),
        "signature": signed.signature.to_string(),
    })
}

/// A record as a wallet shows it.
pub(crate) fn record(of: &Record) -> Value {
    let names = of.of.fields.iter().map(|(name, _)| name.clone());
    names.zip(of.values.iter().map(shown)).collect::<serde_json::Map<_, _>>().into()
}

fn shown(value: &typed::Value) -> Value {
    match value {
        typed::Value::Address(address) => address.to_string().into(),
        typed::Value::Text(text) => text.clone().into(),
        typed::Value::Number(number) => (*number).into(),
        typed::Value::Bytes32(hash) => hash.to_string().into(),
        // Up to a mebibyte and a half, which nobody reads: what a wallet hashes says which they are.
        typed::Value::Bytes(bytes) => {
            json!({"size": bytes.len(), "keccak256": keccak256(bytes).to_string()})
        }
        typed::Value::Record(of) => record(of),
        typed::Value::List(values) => values.iter().map(shown).collect(),
    }
}

pub(crate) fn account(address: &Address, account: &Account, member: Option<&Member>) -> Value {
    json!({
        "address": address.to_string(),
        "balance": credits(account.balance),
        "line": amount(account.line),
        "locked": amount(account.locked),
        "available": credits(account.available()),
        "nonce": account.nonce.0,
        "member": member.map(|it| self::member(address, it)),
    })
}

pub(crate) fn member(address: &Address, member: &Member) -> Value {
    let sponsors: Vec<String> = member.sponsors.as_slice().iter().map(Address::to_string).collect();
    json!({
        "address": address.to_string(),
        "name": member.name.as_str(),
        "status": member.status.word(),
        "sponsors": sponsors,
        "capital": amount(member.capital),
    })
}

pub(crate) fn proposal(number: u64, proposal: &Proposal) -> Value {
    let measures = proposal.measures.as_slice().iter();
    let measures: Vec<Value> =
        measures.map(|it| json!({"kind": it.name(), "measure": record(&it.shown())})).collect();
    json!({
        "number": number,
        "title": proposal.title.as_str(),
        "text": proposal.text.as_ref().map(Cid::to_string),
        "proposer": proposal.proposer.to_string(),
        "tier": proposal.tier.word(),
        "stage": proposal.stage.word(),
        "measures": measures,
        "closes": proposal.closes.0,
        "executes": proposal.executes.0,
        "electorate": proposal.electorate,
        "quorum_thousandths": proposal.quorum,
        "threshold_thousandths": proposal.threshold,
        "deposit": amount(proposal.deposit),
        "delayed": proposal.is_delayed,
        "yes": proposal.tally.yes,
        "no": proposal.tally.no,
        "abstain": proposal.tally.abstain,
        "failure": proposal.failure,
    })
}

pub(crate) fn work(cid: &Cid, work: &Work) -> Value {
    let makers = work.makers.as_slice().iter();
    let makers: Vec<Value> =
        makers.map(|it| json!({"account": it.account.to_string(), "parts": it.parts})).collect();
    let parents = work.parents.as_slice().iter();
    let parents: Vec<Value> =
        parents.map(|it| json!({"work": it.work.to_string(), "parts": it.parts})).collect();
    json!({
        "cid": cid.to_string(),
        "kind": work.kind.word(),
        "name": work.name.as_str(),
        "licence": work.licence.as_str(),
        "terms": work.terms.as_ref().map(Cid::to_string),
        "makers": makers,
        "parents": parents,
        "registrant": work.registrant.to_string(),
        "status": work.status.word(),
    })
}

pub(crate) fn channel(number: u64, channel: &Channel) -> Value {
    json!({
        "number": number,
        "payer": channel.payer.to_string(),
        "payee": channel.payee.to_string(),
        "deposit": amount(channel.deposit),
        "redeemed": amount(channel.redeemed),
        "held": amount(channel.held()),
        "receipts": channel.receipts,
        "node": (channel.node != NO_NODE).then(|| channel.node.to_string()),
        "timeout": channel.timeout.0,
        "closes": channel.closes.map(|height| height.0),
    })
}

pub(crate) fn session(key: &Address, session: &Session) -> Value {
    let scopes = session.scopes.as_slice().iter();
    let scopes: Vec<&str> = scopes.map(|scope| scope.word()).collect();
    json!({
        "key": key.to_string(),
        "cap_left": amount(session.cap),
        "scopes": scopes,
        "expires": session.expires.0,
    })
}

/// What happened, in a sentence.
pub(crate) fn event(event: &Event) -> String {
    match event {
        Event::Moved { from, to, amount } => format!("{amount} credits move from {from} to {to}"),
        Event::Session { account, key, is_live: true } => format!("{key} may act for {account}"),
        Event::Session { account, key, .. } => format!("{key} may no longer act for {account}"),
        Event::Member { account, status } => format!("{account} is now {}", status.word()),
        Event::Capital { account, capital } => format!("the capital of {account} is {capital}"),
        Event::Parameter { parameter, value } => format!("{} is {value}", parameter.word()),
        Event::CreditLine { account, line } => format!("the credit line of {account} is {line}"),
        Event::Work { work, status } => format!("{work} is now {}", status.word()),
        Event::Validator { node_key, power, from, .. } => {
            format!("the validator {node_key} has the power {power} from block {}", from.0)
        }
        Event::Guardian { guardian: Some(guardian) } => format!("the guardian is {guardian}"),
        Event::Guardian { guardian: None } => "there is no guardian".to_owned(),
        Event::Cashier { cashier: Some(cashier) } => format!("the cashier is {cashier}"),
        Event::Cashier { cashier: None } => "there is no cashier".to_owned(),
        Event::Constitution { constitution } => format!("the constitution is {constitution}"),
        other => unvoted(other),
    }
}

/// What no measure does.
fn unvoted(event: &Event) -> String {
    match event {
        Event::Opened { proposal, tier, closes } => {
            format!("vote {proposal} ({}) is open until block {}", tier.word(), closes.0)
        }
        Event::Ballot { proposal, account, choice } => {
            format!("{account} votes {} in vote {proposal}", choice.word())
        }
        Event::Closed { proposal, tally, has_passed } => format!(
            "vote {proposal} is over: {} yes, {} no, {} abstain; passed: {has_passed}",
            tally.yes, tally.no, tally.abstain
        ),
        Event::Executed { proposal } => format!("proposal {proposal} is executed"),
        Event::Failed { proposal, refusal } => {
            format!("proposal {proposal} cannot be executed: {refusal}")
        }
        Event::Delegation { from, topic, to: Some(to) } => {
            format!("{from} lets {to} vote on {} business", topic.word())
        }
        Event::Delegation { from, topic, to: None } => {
            format!("the delegation of {from} on {} business ends", topic.word())
        }
        Event::Node { node_key, account, is_registered: true } => {
            format!("{account} registers the node {node_key}")
        }
        Event::Node { node_key, account, .. } => {
            format!("{account} has no longer registered the node {node_key}")
        }
        Event::Epoch { epoch } => format!("epoch {} begins", epoch.0),
        Event::Surplus { surplus, reserve, commons, .. } => format!(
            "a surplus of {surplus} is divided: {reserve} to the reserve, {commons} to the commons"
        ),
        Event::Dividend { account, cash, capital } => {
            format!("{account} gets {cash} and {capital} as capital")
        }
        other => audited(other),
    }
}

/// What audits come to.
fn audited(event: &Event) -> String {
    match event {
        Event::Audit { batch, index, stage, until } => {
            let (stage, until) = (stage.word(), until.0);
            format!("the audit of receipt {index} of batch {batch} is {stage} until block {until}")
        }
        Event::Judged { batch, index, verdict } => {
            let verdict = match verdict {
                Verdict::WorkerWrong => "the worker is wrong",
                Verdict::ChallengerWrong => "the challenger is wrong",
                Verdict::BothWrong => "both are wrong",
                Verdict::Silent(Side::Worker) => "the worker was silent",
                Verdict::Silent(Side::Challenger) => "the challenger was silent",
            };
            format!("in the dispute about receipt {index} of batch {batch}, {verdict}")
        }
        Event::AuditClosed { batch, index, is_convicted: true } => {
            format!("the worker of batch {batch} is convicted over receipt {index}")
        }
        Event::AuditClosed { batch, index, .. } => {
            format!("the audit of receipt {index} of batch {batch} is over")
        }
        Event::Model { work } => format!("the steps of {work} are known"),
        other => format!("{other:?}"),
    }
}

pub(crate) fn validator(key: &Hash, validator: &Validator, rests: bool) -> Value {
    json!({
        "node_key": key.to_string(),
        "account": validator.account.to_string(),
        "power": validator.power,
        "power_before": validator.old,
        "from": validator.from.0,
        "standing": validator.standing.word(),
        "bond": amount(validator.bond),
        "missed": validator.missed,
        "rests": rests,
    })
}

pub(crate) fn node(key: &Hash, node: &Node, registration: Option<Registration>) -> Value {
    json!({
        "node_key": key.to_string(),
        "account": node.account.to_string(),
        "since": node.since.0,
        "is_members": registration.is_some_and(|it| it.is_members),
    })
}
