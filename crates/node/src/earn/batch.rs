//! Which receipts are redeemed together, and when.
//!
//! Invariants:
//! - No receipt of a batch is due more than the batch earns, and all together no more than was vouched
//!   for: what the ledger asks of each that is drawn.
//!
//! Not here: the ledger's rules (`ledger::batches`), who sends it (`redeem`).

use ledger::batches::BATCH_RECEIPTS_MAX;
use ledger::channels::Channel;
use ledger::state::State;
use types::amount::{Amount, Epoch};
use types::id::{Address, Hash};
use types::transaction::RedeemBatch;

use super::Tally;
use super::shelf::{Entry, Place};

/// What can be redeemed of a channel now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redeemable {
    /// The order that redeems it.
    pub order: RedeemBatch,
    /// The epoch of its first receipt.
    pub epoch: Epoch,
    /// Whether the channel ends soon.
    pub is_closing: bool,
}

impl Redeemable {
    /// Whether it should be redeemed by itself in an epoch: all of an epoch is, once that is over.
    #[must_use]
    pub fn is_due(&self, now: Epoch) -> bool {
        self.epoch < now || self.is_closing || self.order.count == BATCH_RECEIPTS_MAX
    }
}

/// What can be redeemed of a channel: the receipts that its last voucher pays for, in their order.
/// `owner` says whose a gateway's node is.
pub(super) fn redeemable(
    (tally, channel): (&Tally, &Channel),
    receipts: &[Entry],
    owner: impl Fn(&Hash) -> Option<Address>,
) -> Option<Redeemable> {
    let (signature, work) = (tally.signature?, tally.model?);
    let earned = tally.vouched.checked_sub(channel.redeemed).filter(|it| *it > Amount::ZERO)?;
    let receipts = &receipts[..receipts.len().min(BATCH_RECEIPTS_MAX as usize)];
    let paid = receipts.iter().scan(Amount::ZERO, |sum, it| {
        *sum = sum.checked_add(it.due)?;
        (*sum <= earned).then_some(merkle::leaf(&it.id.0))
    });
    let leaves: Vec<merkle::Digest> = paid.collect();
    let first = receipts.first().filter(|_| !leaves.is_empty())?;
    let gateway = owner(&first.gateway).unwrap_or(channel.payer);
    let order = RedeemBatch {
        channel: tally.channel,
        cumulative: tally.vouched,
        signature,
        work,
        gateway,
        root: Hash(merkle::root(&leaves)),
        count: u32::try_from(leaves.len()).ok()?,
    };
    Some(Redeemable { order, epoch: first.epoch, is_closing: channel.closes.is_some() })
}

/// Whether an audit could still ask for a receipt, or it is yet to be redeemed.
pub(super) fn is_needed(state: &State, (number, sequence): Place) -> bool {
    let waits = state.channel(number).is_some_and(|channel| sequence >= channel.receipts);
    waits
        || state.all_batches().any(|(_, batch)| {
            let end = batch.first.saturating_add(batch.count.into());
            batch.channel == number && (batch.first..end).contains(&sequence)
        })
}
