//! `mashaa audit draw`: which answers the ledger drew for audits, and who is to compute them again.
//!
//! All blocks up to the draw's are fetched and computed, so that the beacon, the batches, the standings
//! and the draw are this process's own, whoever gives the blocks.
//!
//! Not here: how a draw is made (`audit::draw`).

use ::ledger::batches::Batch;
use ::ledger::state::State;
use audit::draw::RATE_ONE;
use serde_json::{Value, json};
use types::measure::Parameter;

use crate::arguments::NodeFlag;
use crate::client::Client;
use crate::context::Context;
use crate::ledger::fields;
use crate::outcome::{Outcome, Problem};
use crate::replay::compute;

/// Computes the ledger up to a block, and shows what was drawn at its end.
pub(crate) fn run(context: &Context, node: &NodeFlag, height: u64) -> anyhow::Result<Outcome> {
    let client = Client::of(context, node);
    if height == 0 {
        let what = "--block is 0, and the first block is 1".to_owned();
        return Err(Problem::NotFound(what).into());
    }
    let mut chain = compute(&client, Some(("--block", height)), |_, _| {})?;
    let value = drawn(chain.state(), height);
    match context.json {
        true => println!("{value}"),
        false => fields(&value, 0),
    }
    Ok(Outcome::Done)
}

/// What was drawn at the end of a block that the state is of.
fn drawn(state: &State, height: u64) -> Value {
    let epoch = state.parameter(Parameter::EpochBlocks);
    // A batch is drawn one epoch before it is settled.
    let is_drawn = |batch: &Batch| batch.settles.0.saturating_sub(epoch) == height;
    let batches = state.all_batches().filter(|(_, batch)| is_drawn(batch));
    let batches: Vec<Value> = batches
        .map(|(number, batch)| {
            let audits = state.audits_of(*number).map(|((_, index), audit)| {
                let auditors = audit.seats.as_slice().iter().map(|it| it.auditor.to_string());
                json!({"receipt": index, "auditors": auditors.collect::<Vec<_>>()})
            });
            json!({
                "batch": number, "worker": batch.worker.to_string(), "receipts": batch.count,
                "drawn": audits.collect::<Vec<_>>(),
            })
        })
        .collect();
    let auditors = state.able_auditors().into_iter().map(|it| {
        let account = types::id::Address(it.account);
        json!({"auditor": account.to_string(), "standing": it.standing})
    });
    json!({
        "block": height,
        "beacon": state.meta().beacon.to_string(),
        "rate": format!("{} of {RATE_ONE} receipts", state.parameter(Parameter::AuditRate)),
        "auditors_of_each": state.parameter(Parameter::Auditors),
        "batches": batches,
        "auditors": auditors.collect::<Vec<_>>(),
    })
}
