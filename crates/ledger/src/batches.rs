//! Batches: receipts that a worker redeems together, and what they earn.
//!
//! Not here: channels (`channels`).

use types::amount::{Amount, Epoch, Height};
use types::id::{Address, Cid, Hash};
use types::measure::Parameter;
use types::record;
use types::transaction::{RedeemBatch, RedeemVoucher};

use crate::accounts::{AUDIT_FUND, ESCROW, HELD, post, post_some};
use crate::channels;
use crate::governance::{TaskKind, plan};
use crate::parameters::WHOLE;
use crate::refusal::Refusal;
use crate::stakes;
use crate::state::State;

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
    let RedeemBatch { channel, cumulative, signature, .. } = *it;
    let mut open = state.channel(channel).cloned().ok_or(Refusal::ChannelUnknown)?;
    let amount = cumulative.checked_sub(open.redeemed).ok_or(Refusal::VoucherOld)?;
    let voucher = RedeemVoucher { channel, cumulative, signature };
    channels::check_voucher(state, &open, &voucher)?;
    post(state, ESCROW, HELD, amount)?;
    open.redeemed = cumulative;
    let payer = open.payer;
    state.channels.put(channel, open);
    let bond = amount.checked_part(state.parameter(Parameter::StakeParts), WHOLE);
    let bond = bond.ok_or(Refusal::BalanceTooLarge)?;
    stakes::bind(state, worker, bond)?;
    let epochs = state.parameter(Parameter::EpochBlocks);
    let drawn = state.meta().epoch_began.after(epochs.saturating_mul(2).saturating_sub(1));
    let settles = drawn.after(epochs);
    let number = state.batches.iter().next_back().map_or(1, |(number, _)| number.saturating_add(1));
    let batch = Batch {
        worker,
        payer,
        gateway: it.gateway,
        work: it.work,
        channel,
        amount,
        bond,
        first: 0,
        count: it.count,
        root: it.root,
        epoch: state.meta().epoch,
        settles,
    };
    state.batches.put(number, batch);
    plan(state, drawn, TaskKind::DrawBatch, number);
    plan(state, settles, TaskKind::SettleBatch, number);
    Ok(())
}

pub(crate) fn audit_closed(state: &mut State, number: u64) {
    if state.batch(number).is_some_and(|batch| batch.settles <= state.now()) {
        settle(state, number);
    }
}

pub(crate) fn settle(state: &mut State, number: u64) {
    let Some(batch) = state.batch(number).cloned() else { return };
    if state.audits_of(number).next().is_some() {
        return;
    }
    let fund = batch.amount.checked_part(state.parameter(Parameter::AuditParts), WHOLE);
    let fund = fund.unwrap_or(Amount::ZERO);
    let rest = batch.amount.checked_sub(fund).unwrap_or(Amount::ZERO);
    let before = state.savepoint();
    let funded = post_some(state, HELD, AUDIT_FUND, fund);
    if funded.and_then(|()| post_some(state, HELD, batch.worker, rest)).is_err() {
        // An account is full.
        state.rollback(&before);
        return;
    }
    stakes::free(state, batch.worker, batch.bond);
    state.batches.remove(&number);
}

pub(crate) fn forfeit(state: &mut State, number: u64) {
    let Some(batch) = state.batch(number).cloned() else { return };
    if post_some(state, HELD, batch.payer, batch.amount).is_err() {
        // Its account is full.
        return;
    }
    stakes::free(state, batch.worker, batch.bond);
    state.batches.remove(&number);
}

impl State {
    /// A batch that is not settled.
    #[must_use]
    pub fn batch(&self, number: u64) -> Option<&Batch> {
        self.batches.get(&number)
    }
}
