//! Stakes, batches and audits: what is at stake for whom, and what is looked at now.
//!
//! Not here: their JSON (`json::audits`).

use axum::extract::{Path, Query, State};
use axum::response::Json;
use ledger::audits::Key;
use serde_json::{Value, json};
use types::id::Address;

use super::{Answer, PageQuery, Refused, after, number, page};
use crate::ledger::Ledger;
use crate::ledger::json::audits as show;

pub(super) async fn stake(State(ledger): State<Ledger>, Path(given): Path<String>) -> Answer {
    let found = Address::parse(&given);
    let address = found.ok_or_else(|| Refused::bad(format!("{given:?} is no address")))?;
    Ok(Json(show::stake(ledger.chain().state(), &address)))
}

pub(super) async fn batches(State(ledger): State<Ledger>, query: PageQuery) -> Answer {
    let Query(query) = query?;
    let after = after(&query, |text| text.parse::<u64>().ok())?.unwrap_or(0);
    let mut chain = ledger.chain();
    let state = chain.state();
    let all = state.all_batches().filter(|(number, _)| **number > after);
    Ok(page("batches", &query, all, |number, it| show::batch(state, *number, it)))
}

pub(super) async fn batch(State(ledger): State<Ledger>, Path(given): Path<String>) -> Answer {
    let given = number(&given)?;
    let mut chain = ledger.chain();
    let state = chain.state();
    let found = state.batch(given);
    let found = found.ok_or_else(|| Refused::unknown(format_args!("open batch {given}")))?;
    let mut value = show::batch(state, given, found);
    value["audits"] = state.audits_of(given).map(|(key, it)| show::audit(*key, it)).collect();
    Ok(Json(value))
}

/// The audits that are not over, by batch and place; a page begins after `BATCH-INDEX`.
pub(super) async fn audits(State(ledger): State<Ledger>, query: PageQuery) -> Answer {
    let Query(query) = query?;
    let after = after(&query, key)?;
    let mut chain = ledger.chain();
    let mut all = chain.state().all_audits().filter(|(key, _)| Some(**key) > after);
    let (mut found, mut last): (Vec<Value>, Option<Key>) = (vec![], None);
    for (key, it) in all.by_ref().take(query.limit()) {
        found.push(show::audit(*key, it));
        last = Some(*key);
    }
    let more = all.next().and(last).map(|(batch, index)| format!("{batch}-{index}"));
    Ok(Json(json!({"audits": found, "after": more})))
}

fn key(text: &str) -> Option<Key> {
    let (batch, index) = text.split_once('-')?;
    Some((batch.parse().ok()?, index.parse().ok()?))
}
