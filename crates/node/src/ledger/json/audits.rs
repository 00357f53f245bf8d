//! Stakes, batches and audits as JSON.

use ledger::audits::{Audit, Key, Seat};
use ledger::batches::Batch;
use ledger::stakes::Stake;
use ledger::state::State;
use serde_json::{Value, json};
use types::id::{Address, Hash};
use types::measure::Parameter;

use super::amount;

/// What an account has at stake, and its standing as an auditor.
pub(crate) fn stake(state: &State, address: &Address) -> Value {
    let stake = state.stake(address);
    let of = |get: fn(&Stake) -> Value| stake.map_or_else(|| json!("0"), get);
    json!({
        "address": address.to_string(),
        "held": of(|it| amount(it.held)),
        "bound": of(|it| amount(it.bonded)),
        "free": of(|it| amount(it.free())),
        "leaving": stake.and_then(|it| it.leaving.as_ref()).map(|it| {
            json!({"amount": amount(it.amount), "until": it.until.0})
        }),
        "jailed_until": stake.and_then(|it| it.jailed).map(|height| height.0),
        "batches": stake.map_or(0, |it| it.batches),
        "enlisted": state.is_enlisted(address),
        "standing": state.standing(address),
        "auditor_stake": amount(state.parameter_amount(Parameter::AuditorStake)),
    })
}

pub(crate) fn batch(state: &State, number: u64, batch: &Batch) -> Value {
    json!({
        "number": number,
        "worker": batch.worker.to_string(),
        "node": batch.node.to_string(),
        "payer": batch.payer.to_string(),
        "gateway": batch.gateway.to_string(),
        "work": batch.work.to_string(),
        "channel": batch.channel,
        "amount": amount(batch.amount),
        "bond": amount(batch.bond),
        "first": batch.first,
        "count": batch.count,
        "root": batch.root.to_string(),
        "epoch": batch.epoch.0,
        "settles": batch.settles.0,
        "open_audits": state.audits_of(number).count(),
    })
}

pub(crate) fn audit((batch, index): Key, audit: &Audit) -> Value {
    let seats = audit.seats.as_slice().iter();
    json!({
        "batch": batch,
        "index": index,
        "stage": audit.stage.word(),
        "until": audit.until.0,
        "auditors": seats.map(seat).collect::<Vec<_>>(),
        "receipt": audit.receipt.as_ref().map(|it| it.id().to_string()),
        "root": audit.root.as_ref().map(Hash::to_string),
        "disputed_by_payer": audit.by_payer,
    })
}

fn seat(seat: &Seat) -> Value {
    json!({
        "auditor": seat.auditor.to_string(),
        "committed": seat.commitment.is_some(),
        "finding": seat.finding.map(|it| it.word()),
        "disputed": seat.has_challenged,
    })
}
