//! Redeems what this node has earned, once an epoch, without its owner.
//!
//! Invariants:
//! - What the ledger refuses is not sent again before the next epoch, unless something else can be
//!   redeemed; its owner is told why.
//!
//! Not here: which receipts are in a batch (`earn`), what a batch costs and earns (the ledger).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::amount::Epoch;
use types::transaction::{Action, RedeemBatch};

use crate::earn::Earned;
use crate::orders::Sender;

/// What keeps a channel's receipts from being redeemed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    order: RedeemBatch,
    epoch: Epoch,
    why: String,
}

/// Redeems as it goes.
#[derive(Debug)]
pub struct Redeemer {
    earned: Arc<Earned>,
    sender: Arc<Sender>,
    /// By channel; of those only that have something to redeem.
    failed: Mutex<BTreeMap<u64, Failed>>,
}

impl Redeemer {
    /// Of what was earned, with orders of this sender.
    #[must_use]
    pub fn new(earned: Arc<Earned>, sender: Arc<Sender>) -> Redeemer {
        Redeemer { earned, sender, failed: Mutex::default() }
    }

    /// Looks at each new block whether something is due; ends when the ledger does.
    pub async fn run(self: Arc<Redeemer>) {
        let mut tips = self.sender.ledger().tips();
        loop {
            for order in self.due() {
                self.redeem(order).await;
            }
            if tips.changed().await.is_err() {
                return;
            }
        }
    }

    /// What keeps receipts from being redeemed, by channel.
    #[must_use]
    pub fn failures(&self) -> Vec<(u64, String)> {
        self.failed().iter().map(|(channel, it)| (*channel, it.why.clone())).collect()
    }

    fn due(&self) -> Vec<RedeemBatch> {
        let now = self.epoch();
        let due = self.earned.redeemable();
        let mut failed = self.failed();
        failed.retain(|channel, _| due.iter().any(|it| it.order.channel == *channel));
        let is_new = |order: &RedeemBatch| {
            failed.get(&order.channel).is_none_or(|it| it.order != *order || it.epoch != now)
        };
        let due = due.into_iter().filter(|it| it.is_due(now)).map(|it| it.order);
        due.filter(is_new).collect()
    }

    async fn redeem(&self, order: RedeemBatch) {
        let channel = order.channel;
        match self.sender.send(Action::RedeemBatch(order.clone())).await {
            Ok(()) => {
                tracing::info!(channel, receipts = order.count, "a batch is redeemed");
                self.failed().remove(&channel);
            }
            Err(why) => {
                tracing::warn!(channel, why, "a batch is not redeemed");
                let failed = Failed { order, epoch: self.epoch(), why };
                self.failed().insert(channel, failed);
            }
        }
    }

    fn epoch(&self) -> Epoch {
        self.sender.ledger().chain().state().meta().epoch
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<u64, Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
