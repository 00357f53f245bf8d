//! Channels: credits set aside by a payer for one payee, who takes them against vouchers.
//!
//! A voucher states all that was granted since the channel was opened, so that only the last one
//! counts. A payer that wants its rest back waits for the timeout, in which the payee can redeem.
//!
//! Invariants:
//! - The escrow account holds the sum of what the channels hold.
//! - A payee gets at most what was set aside, and each credit once.
//!
//! Not here: what is paid for.

use types::amount::{Amount, Blocks, Height};
use types::id::{Address, Hash};
use types::record;
use types::transaction::{OpenChannel, RedeemVoucher, TopUpChannel, Voucher};
use types::typed::{Record, signing_hash};
use types::word::Scope;

use crate::accounts::{ESCROW, outside, post, post_some};
use crate::event::Event;
use crate::governance::{TaskKind, plan};
use crate::refusal::Refusal;
use crate::sessions;
use crate::state::State;

/// The shortest timeout: a payee must be able to get an order into a block.
pub const TIMEOUT_MIN: u64 = 10;
/// The longest timeout: a payee that is gone may not hold credits for ever.
pub const TIMEOUT_MAX: u64 = 31_536_000;

record! {
    /// A channel.
    Channel {
        /// Whose credits.
        payer: Address,
        /// Who can redeem.
        payee: Address,
        /// All that was set aside.
        deposit: Amount,
        /// All that was redeemed.
        redeemed: Amount,
        /// Receipts that were redeemed, and so the sequence of the next one.
        receipts: u64,
        /// Blocks between the payer's wish to close and the return of the rest.
        timeout: Blocks,
        /// The node whose receipts it pays for; zeros where it pays for none.
        node: Hash,
        /// The block at whose end the rest goes back, if the payer wants it.
        closes: Option<Height>,
    }
}

impl Channel {
    /// What the channel holds.
    #[must_use]
    pub fn held(&self) -> Amount {
        self.deposit.checked_sub(self.redeemed).unwrap_or(Amount::ZERO)
    }
}

pub(crate) fn open(state: &mut State, payer: Address, it: &OpenChannel) -> Result<(), Refusal> {
    outside(&it.payee)?;
    if it.payee == payer {
        return Err(Refusal::ToItself);
    }
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&it.timeout.0) {
        return Err(Refusal::TimeoutRange);
    }
    post(state, payer, ESCROW, it.amount)?;
    let number = state.meta().channel_next;
    state.set_meta(|meta| meta.channel_next = number.saturating_add(1));
    let channel = Channel {
        payer,
        payee: it.payee,
        deposit: it.amount,
        redeemed: Amount::ZERO,
        receipts: 0,
        timeout: it.timeout,
        node: it.node,
        closes: None,
    };
    put(state, number, channel);
    Ok(())
}

pub(crate) fn top_up(state: &mut State, payer: Address, it: &TopUpChannel) -> Result<(), Refusal> {
    let mut channel = get(state, it.channel)?;
    if channel.payer != payer {
        return Err(Refusal::NotPayer);
    }
    if channel.closes.is_some() {
        return Err(Refusal::ChannelClosing);
    }
    post(state, payer, ESCROW, it.amount)?;
    channel.deposit = channel.deposit.checked_add(it.amount).ok_or(Refusal::BalanceTooLarge)?;
    put(state, it.channel, channel);
    Ok(())
}

pub(crate) fn redeem(state: &mut State, payee: Address, it: &RedeemVoucher) -> Result<(), Refusal> {
    let mut channel = get(state, it.channel)?;
    let gained = gained(&channel, payee, it.cumulative)?;
    let RedeemVoucher { channel: number, cumulative, .. } = *it;
    let voucher = Voucher { payer: channel.payer, payee, channel: number, cumulative };
    check_signer(state, channel.payer, &voucher.shown(), &it.signature)?;
    post(state, ESCROW, payee, gained)?;
    channel.redeemed = it.cumulative;
    put(state, it.channel, channel);
    Ok(())
}

/// What a voucher grants that was not redeemed yet.
pub(crate) fn gained(
    channel: &Channel,
    payee: Address,
    cumulative: Amount,
) -> Result<Amount, Refusal> {
    if channel.payee != payee {
        return Err(Refusal::NotPayee);
    }
    let gained = cumulative.checked_sub(channel.redeemed);
    let gained = gained.filter(|gained| *gained > Amount::ZERO).ok_or(Refusal::VoucherOld)?;
    if cumulative > channel.deposit { Err(Refusal::VoucherTooLarge) } else { Ok(gained) }
}

/// A voucher is signed by the payer, or by a session key of it that may do so now.
pub(crate) fn check_signer(
    state: &State,
    payer: Address,
    voucher: &Record,
    signature: &types::signature::Signature,
) -> Result<(), Refusal> {
    let signer = signature.recover(&signing_hash(voucher, &state.meta().genesis))?;
    if signer == payer {
        return Ok(());
    }
    let session = sessions::live(state, payer, signer).map_err(|_| Refusal::VoucherSigner)?;
    if session.scopes.contains(&Scope::Channel) { Ok(()) } else { Err(Refusal::VoucherSigner) }
}

pub(crate) fn close(state: &mut State, account: Address, number: u64) -> Result<(), Refusal> {
    let mut channel = get(state, number)?;
    if account == channel.payee {
        return end(state, number);
    }
    if account != channel.payer {
        return Err(Refusal::NotParty);
    }
    if channel.closes.is_some() {
        return Err(Refusal::ChannelClosing);
    }
    let closes = state.now().after(channel.timeout.0);
    channel.closes = Some(closes);
    state.channels.put(number, channel);
    plan(state, closes, TaskKind::CloseChannel, number);
    state.say(Event::ChannelClosing { channel: number, closes });
    Ok(())
}

/// Returns the rest to the payer and forgets the channel.
pub(crate) fn end(state: &mut State, number: u64) -> Result<(), Refusal> {
    let channel = get(state, number)?;
    post_some(state, ESCROW, channel.payer, channel.held())?;
    state.channels.remove(&number);
    state.say(Event::ChannelClosed { channel: number });
    Ok(())
}

pub(crate) fn get(state: &State, number: u64) -> Result<Channel, Refusal> {
    state.channel(number).cloned().ok_or(Refusal::ChannelUnknown)
}

pub(crate) fn put(state: &mut State, number: u64, channel: Channel) {
    state.say(Event::Channel { channel: number, held: channel.held() });
    state.channels.put(number, channel);
}
