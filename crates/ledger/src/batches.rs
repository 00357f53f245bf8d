//! Batches: receipts that a worker redeems together, and what they earn.
//!
//! What a batch earns leaves the channel at once and is held until its receipts may have been drawn
//! and audited. Then it is divided among the worker, the gateway, the audit fund, the model's lineage
//! and the treasury; a worker that is convicted meanwhile gets nothing, and the payer has it back.
//! Specified in `docs/spec/ledger.md`, section 14.
//!
//! Invariants:
//! - The held account holds the sum of what open batches earn.
//! - A receipt, which has its place in a channel, is in one batch.
//! - What a batch pays out is what it earns.
//!
//! Not here: channels (`channels`), and which receipts are audited (`audits`).

use types::amount::{Amount, Epoch, Height};
use types::id::{Address, Cid, Hash};
use types::measure::Parameter;
use types::record;
use types::transaction::{NO_NODE, RedeemBatch, WorkVoucher};

use crate::accounts::{ESCROW, HELD, TREASURY, outside, post, post_some};
use crate::channels;
use crate::event::Event;
use crate::governance::{TaskKind, plan};
use crate::parameters::WHOLE;
use crate::refusal::Refusal;
use crate::stakes;
use crate::state::State;
use crate::works::{Use, pay_out};

/// Receipts of a batch, at most: what a draw takes, and an auditor can be asked for.
pub const BATCH_RECEIPTS_MAX: u32 = 4096;
/// Batches of a worker that are not settled, at most: one for each of many payers and epochs. Bounds
/// what one stake can make every node keep.
pub const BATCHES_MAX: u32 = 1024;

record! {
    /// A batch.
    Batch {
        /// Who is paid.
        worker: Address,
        /// Who pays.
        payer: Address,
        /// Who brought the two together.
        gateway: Address,
        /// The model.
        work: Cid,
        /// The channel.
        channel: u64,
        /// The worker's node, which has signed its receipts.
        node: Hash,
        /// What it earns.
        amount: Amount,
        /// What of the worker's stake is bound.
        bond: Amount,
        /// The first receipt's sequence.
        first: u64,
        /// Its receipts.
        count: u32,
        /// The root over their ids.
        root: Hash,
        /// When it was redeemed.
        epoch: Epoch,
        /// The block at whose end it is settled, unless it is audited.
        settles: Height,
    }
}

pub(crate) fn redeem(state: &mut State, worker: Address, it: &RedeemBatch) -> Result<(), Refusal> {
    outside(&it.gateway)?;
    if !(1..=BATCH_RECEIPTS_MAX).contains(&it.count) {
        return Err(Refusal::ReceiptsCount);
    }
    // Its steps are those that a dispute computes, and its makers are paid.
    state.work(&it.work).ok_or(Refusal::WorkUnknown)?;
    let mut channel = channels::get(state, it.channel)?;
    if channel.node == NO_NODE {
        return Err(Refusal::NoNode);
    }
    let amount = channels::gained(&channel, worker, it.cumulative)?;
    let (payer, payee) = (channel.payer, channel.payee);
    let voucher = WorkVoucher { payer, payee, channel: it.channel, cumulative: it.cumulative };
    channels::check_signer(state, payer, &voucher.shown(), &it.signature)?;
    post(state, ESCROW, HELD, amount)?;
    let first = channel.receipts;
    channel.redeemed = it.cumulative;
    channel.receipts = first.checked_add(u64::from(it.count)).ok_or(Refusal::ReceiptsCount)?;
    let node = channel.node;
    channels::put(state, it.channel, channel);
    let bond = bind(state, worker, amount)?;
    let number = state.meta().batch_next;
    state.set_meta(|meta| meta.batch_next = number.saturating_add(1));
    // The beacon with which it is drawn is of a later epoch, at least a whole one away.
    let epochs = state.parameter(Parameter::EpochBlocks);
    let drawn = state.meta().epoch_began.after(epochs.saturating_mul(2).saturating_sub(1));
    let settles = drawn.after(epochs);
    let batch = Batch {
        worker,
        payer,
        gateway: it.gateway,
        work: it.work,
        channel: it.channel,
        node,
        amount,
        bond,
        first,
        count: it.count,
        root: it.root,
        epoch: state.meta().epoch,
        settles,
    };
    state.batches.put(number, batch);
    state.say(Event::Batch { batch: number, worker, amount });
    plan(state, drawn, TaskKind::DrawBatch, number);
    plan(state, settles, TaskKind::SettleBatch, number);
    Ok(())
}

/// What a batch that earns so much binds of its worker's stake; none if that is no amount.
#[must_use]
pub fn bond(state: &State, amount: Amount) -> Option<Amount> {
    amount.checked_part(state.parameter(Parameter::StakeParts), WHOLE)
}

/// Binds of the worker's stake what a batch may cost it.
fn bind(state: &mut State, worker: Address, amount: Amount) -> Result<Amount, Refusal> {
    let bond = bond(state, amount).ok_or(Refusal::BalanceTooLarge)?;
    stakes::bind(state, worker, bond)?;
    let mut stake = stakes::get(state, &worker);
    if stake.batches >= BATCHES_MAX {
        return Err(Refusal::BatchesFull);
    }
    stake.batches = stake.batches.saturating_add(1);
    stakes::put(state, worker, stake);
    Ok(bond)
}

pub(crate) fn audit_closed(state: &mut State, number: u64) {
    if state.batch(number).is_some_and(|batch| batch.settles <= state.now()) {
        settle(state, number);
    }
}

/// Pays a batch out, unless one of its receipts is still audited.
pub(crate) fn settle(state: &mut State, number: u64) {
    let Some(batch) = state.batch(number).cloned() else { return };
    if state.audits_of(number).next().is_some() {
        return;
    }
    let part = |parameter| {
        let part = batch.amount.checked_part(state.parameter(parameter), WHOLE);
        part.unwrap_or(Amount::ZERO)
    };
    let it = Use {
        from: HELD,
        payer: batch.payer,
        worker: batch.worker,
        work: batch.work,
        amount: batch.amount,
        audits: part(Parameter::AuditParts),
        gateway: Some((batch.gateway, part(Parameter::GatewayParts))),
    };
    let before = state.savepoint();
    if pay_out(state, &it).is_err() {
        // An account is full; there is time to empty it.
        state.rollback(&before);
        let again = state.now().after(state.parameter(Parameter::EpochBlocks));
        return plan(state, again, TaskKind::SettleBatch, number);
    }
    end(state, number, &batch, true);
}

/// Gives what a batch would have earned back to its payer.
pub(crate) fn forfeit(state: &mut State, number: u64) {
    let Some(batch) = state.batch(number).cloned() else { return };
    let before = state.savepoint();
    if post_some(state, HELD, batch.payer, batch.amount).is_err() {
        // Its account is full.
        state.rollback(&before);
        if post_some(state, HELD, TREASURY, batch.amount).is_err() {
            return state.rollback(&before);
        }
    }
    end(state, number, &batch, false);
}

fn end(state: &mut State, number: u64, batch: &Batch, is_paid: bool) {
    stakes::free(state, batch.worker, batch.bond);
    let mut stake = stakes::get(state, &batch.worker);
    stake.batches = stake.batches.saturating_sub(1);
    stakes::put(state, batch.worker, stake);
    state.batches.remove(&number);
    state.say(Event::BatchEnded { batch: number, is_paid });
}

impl State {
    /// A batch that is not settled.
    #[must_use]
    pub fn batch(&self, number: u64) -> Option<&Batch> {
        self.batches.get(&number)
    }

    /// The batches that are not settled, by number.
    pub fn all_batches(&self) -> impl Iterator<Item = (&u64, &Batch)> {
        self.batches.iter()
    }
}
