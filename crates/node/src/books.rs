//! What was earned and spent, as its owner sees it: by channel, by model and by day.
//!
//! The sums by model and by day are over the receipts that are kept; those by channel are exact, however
//! many receipts there were. Specified in `docs/api.md`.
//!
//! Not here: the books themselves (`earn`, `pay`).

use std::collections::BTreeMap;

use audit::receipt::Receipt;
use serde_json::{Value, json};
use types::amount::Amount;
use types::transaction::RedeemBatch;

use crate::audits::Note;
use crate::earn::{Earned, Redeemable};
use crate::ledger::json::audits as show;
use crate::ledger::{credits, hex};
use crate::pay::Opened;

/// Seconds of a day.
const DAY: u64 = 86_400;

/// Books of a node that neither earns nor pays.
pub(crate) fn none() -> Value {
    json!({"channels": [], "by_model": [], "by_day": [], "batches": []})
}

/// What was earned, and what keeps some of it from being redeemed.
pub(crate) fn earned(earned: &Earned, failures: &[(u64, String)]) -> Value {
    let redeemable: BTreeMap<u64, Redeemable> =
        earned.redeemable().into_iter().map(|it| (it.order.channel, it)).collect();
    let channels = earned.tallies_now().into_iter().map(|(tally, channel)| {
        let redeemed = channel.as_ref().map(|it| it.redeemed);
        let pending = tally.vouched.checked_sub(redeemed.unwrap_or_default());
        json!({
            "channel": tally.channel,
            "payer": channel.as_ref().map(|it| it.payer.to_string()),
            "receipts": tally.next,
            "owed": tally.owed.to_string(),
            "vouched": tally.vouched.to_string(),
            "redeemed": redeemed.map(|it| it.to_string()),
            // A channel that is gone pays nothing any more.
            "pending": pending.filter(|_| channel.is_some()).unwrap_or_default().to_string(),
            "redeemable": redeemable.get(&tally.channel).map(|it| batch(&it.order)),
            "refused": failures.iter().find(|(of, _)| *of == tally.channel).map(|(_, why)| why),
        })
    });
    let mut all = books(channels.collect(), &earned.receipts());
    all["batches"] = earned.batches(show::batch).into();
    all
}

/// What the owner should know of audits.
pub(crate) fn notes(notes: &[Note]) -> Value {
    let note = |it: &Note| json!({"batch": it.key.0, "index": it.key.1, "what": it.what});
    notes.iter().map(note).collect::<Vec<_>>().into()
}

/// Books, and what the owner should know of audits.
pub(crate) fn with_audits(mut books: Value, notes: Value) -> Value {
    books["audits"] = notes;
    books
}

/// What the order that redeems it has.
fn batch(order: &RedeemBatch) -> Value {
    json!({
        "cumulative": order.cumulative.to_string(),
        "signature": hex(&order.signature.0),
        "work": order.work.to_string(),
        "gateway": order.gateway.to_string(),
        "root": order.root.to_string(),
        "count": order.count,
    })
}

/// What was spent.
pub(crate) fn spent(channels: &[(Opened, Option<Amount>)], receipts: &[(Receipt, u64)]) -> Value {
    let channels = channels.iter().map(|(opened, redeemed)| {
        json!({
            "channel": opened.channel,
            "payee": opened.payee.to_string(),
            "deposit": opened.deposit.to_string(),
            "vouched": opened.granted.to_string(),
            "redeemed": redeemed.map(|it| it.to_string()),
        })
    });
    books(channels.collect(), receipts)
}

fn books(channels: Vec<Value>, receipts: &[(Receipt, u64)]) -> Value {
    let (mut models, mut days) = (BTreeMap::new(), BTreeMap::new());
    for (receipt, at) in receipts.iter().filter(|(receipt, _)| !receipt.terms.is_unpaid()) {
        add(models.entry(receipt.terms.model.to_string()).or_default(), receipt);
        add(days.entry(at / DAY * DAY).or_default(), receipt);
    }
    let day = |(day, sum): (u64, Sum)| sum.shown("day", day.into());
    let model = |(model, sum): (String, Sum)| sum.shown("model", model.into());
    json!({
        "channels": channels,
        "by_model": models.into_iter().map(model).collect::<Vec<_>>(),
        "by_day": days.into_iter().map(day).collect::<Vec<_>>(),
    })
}

/// Answers and what was due for them, in millionths.
#[derive(Default)]
struct Sum {
    answers: u64,
    due: i128,
}

fn add(sum: &mut Sum, receipt: &Receipt) {
    sum.answers += 1;
    sum.due += i128::from(receipt.due.millionths());
}

impl Sum {
    fn shown(&self, key: &str, value: Value) -> Value {
        json!({key: value, "answers": self.answers, "due": credits(self.due)})
    }
}
