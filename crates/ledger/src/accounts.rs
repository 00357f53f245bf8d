//! Accounts: double entry, floors and locked credits.
//!
//! Every credit moves from one account to another by `post`, the only function that changes a
//! balance. The ledger's own accounts have addresses whose first 19 bytes are zero.
//!
//! Invariants:
//! - The sum over all accounts is zero: what exists is what the issuance account owes, and what
//!   members owe each other.
//! - A balance is never below its floor plus what is locked: zero for most, minus the credit line
//!   for a member of a mutual-credit network, and without end for issuance.
//! - No balance but issuance's leaves the range of plus and minus `AMOUNT_MAX`.
//!
//! Not here: who may order a payment (`apply`, `sessions`).

use types::amount::{AMOUNT_MAX, Amount, Epoch, Nonce};
use types::id::Address;
use types::measure::Parameter;
use types::record;
use types::transaction::{Give, IssueCredits, Transfer, WithdrawCredits};
use types::word::{Fund, Policy};

use crate::event::Event;
use crate::members::Member;
use crate::refusal::Refusal;
use crate::state::State;

/// What was issued and not taken back, as a debt.
pub const ISSUANCE: Address = system(1);
/// The treasury.
pub const TREASURY: Address = system(2);
/// The indivisible reserve. No rule takes credits out of it.
pub const RESERVE: Address = system(3);
/// The commons fund.
pub const COMMONS: Address = system(4);
/// The members' capital.
pub const CAPITAL: Address = system(5);
/// What channels hold.
pub const ESCROW: Address = system(6);
/// Stakes.
pub const STAKES: Address = system(7);
/// Batches.
pub const HELD: Address = system(8);
/// What audits are paid from.
pub const AUDIT_FUND: Address = system(9);

record! {
    /// An account.
    Account {
        /// The balance, in millionths.
        balance: i128,
        /// How far the balance may fall below zero.
        line: Amount,
        /// What cannot be spent: deposits of open proposals, and bonds of validators.
        locked: Amount,
        /// Orders so far.
        nonce: Nonce,
        /// The epoch that `quota_used` is about.
        quota_epoch: Epoch,
        /// Bytes of orders in that epoch that were free.
        quota_used: u64,
    }
}

impl Default for Account {
    fn default() -> Self {
        Account {
            balance: 0,
            line: Amount::ZERO,
            locked: Amount::ZERO,
            nonce: Nonce(0),
            quota_epoch: Epoch(0),
            quota_used: 0,
        }
    }
}

const fn system(number: u8) -> Address {
    Address([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, number])
}

/// Whether the address is one of the ledger's own.
#[must_use]
pub fn is_system(address: &Address) -> bool {
    address.0.iter().take(19).all(|byte| *byte == 0)
}

/// Refuses the ledger's own accounts as a party.
pub(crate) fn outside(address: &Address) -> Result<(), Refusal> {
    if is_system(address) { Err(Refusal::SystemAccount) } else { Ok(()) }
}

impl Account {
    /// What can be spent: the balance and the credit line, without what is locked.
    #[must_use]
    pub fn available(&self) -> i128 {
        let (line, locked) =
            (i128::from(self.line.millionths()), i128::from(self.locked.millionths()));
        self.balance.saturating_add(line).saturating_sub(locked)
    }

    /// Shortens the credit line of someone who has no membership to what is still owed.
    fn tighten(&mut self) {
        let owed = i128::from(self.locked.millionths()).saturating_sub(self.balance);
        let owed = u64::try_from(owed).ok().and_then(Amount::new).unwrap_or(Amount::ZERO);
        self.line = self.line.min(owed);
    }
}

/// Moves credits.
pub(crate) fn post(
    state: &mut State,
    from: Address,
    to: Address,
    amount: Amount,
) -> Result<(), Refusal> {
    if amount == Amount::ZERO {
        return Err(Refusal::ZeroAmount);
    }
    if from == to {
        return Err(Refusal::ToItself);
    }
    let moved = i128::from(amount.millionths());
    let (mut payer, mut payee) = (state.account(&from), state.account(&to));
    if from != ISSUANCE && payer.available() < moved {
        return Err(Refusal::NotEnough);
    }
    payer.balance = payer.balance.saturating_sub(moved);
    payee.balance = payee.balance.saturating_add(moved);
    if payee.balance > i128::from(AMOUNT_MAX) {
        return Err(Refusal::BalanceTooLarge);
    }
    if !state.member(&to).is_some_and(Member::is_member) {
        payee.tighten();
    }
    state.accounts.put(from, payer);
    state.accounts.put(to, payee);
    state.say(Event::Moved { from, to, amount });
    Ok(())
}

/// Moves credits, if there are any to move.
pub(crate) fn post_some(
    state: &mut State,
    from: Address,
    to: Address,
    amount: Amount,
) -> Result<(), Refusal> {
    if amount == Amount::ZERO { Ok(()) } else { post(state, from, to, amount) }
}

pub(crate) fn transfer(state: &mut State, from: Address, it: &Transfer) -> Result<(), Refusal> {
    outside(&it.to)?;
    post(state, from, it.to, it.amount)
}

pub(crate) fn give(state: &mut State, from: Address, it: &Give) -> Result<(), Refusal> {
    let to = match it.fund {
        Fund::Treasury => TREASURY,
        Fund::Commons => COMMONS,
        Fund::Reserve => RESERVE,
    };
    post(state, from, to, it.amount)
}

/// Makes credits unspendable until `unlock`: the amount, or as much of it as there is, so that
/// nobody is too poor to propose. Gives what was locked.
pub(crate) fn lock(state: &mut State, address: Address, amount: Amount) -> Amount {
    let mut account = state.account(&address);
    let available = u64::try_from(account.available().max(0)).unwrap_or(u64::MAX);
    let amount = Amount::new(available).map_or(amount, |available| available.min(amount));
    // Both are at most what the account holds, so that the sum stays in range.
    account.locked = account.locked.checked_add(amount).unwrap_or(account.locked);
    state.accounts.put(address, account);
    amount
}

pub(crate) fn unlock(state: &mut State, address: Address, amount: Amount) {
    let mut account = state.account(&address);
    account.locked = account.locked.checked_sub(amount).unwrap_or(Amount::ZERO);
    if !state.member(&address).is_some_and(Member::is_member) {
        account.tighten();
    }
    state.accounts.put(address, account);
}

/// Takes locked credits away, to the reserve: no member gains by it.
pub(crate) fn seize(state: &mut State, address: Address, amount: Amount) -> Result<(), Refusal> {
    let mut account = state.account(&address);
    account.locked = account.locked.checked_sub(amount).unwrap_or(Amount::ZERO);
    state.accounts.put(address, account);
    // What was locked could not be spent, so that it is there.
    post_some(state, address, RESERVE, amount)
}

/// Ends the credit of someone whose membership has ended, but for what is owed.
pub(crate) fn end_line(state: &mut State, address: Address) {
    let mut account = state.account(&address);
    account.line = Amount::new(AMOUNT_MAX).unwrap_or(account.line);
    account.tighten();
    let line = account.line;
    state.accounts.put(address, account);
    state.say(Event::CreditLine { account: address, line });
}

pub(crate) fn set_line(state: &mut State, address: Address, line: Amount) {
    let mut account = state.account(&address);
    account.line = line;
    state.accounts.put(address, account);
    state.say(Event::CreditLine { account: address, line });
}

/// Issues credits that someone paid the cashier for.
pub(crate) fn issue(state: &mut State, by: Address, it: &IssueCredits) -> Result<(), Refusal> {
    cashier(state, by)?;
    outside(&it.to)?;
    let issued = state.meta().cashier_issued.checked_add(it.amount);
    let issued = issued.ok_or(Refusal::CashierLimit)?;
    if issued > state.parameter_amount(Parameter::CashierLimit) {
        return Err(Refusal::CashierLimit);
    }
    state.set_meta(|meta| meta.cashier_issued = issued);
    post(state, ISSUANCE, it.to, it.amount)
}

/// Takes credits of the cashier's own account out of existence.
pub(crate) fn withdraw(
    state: &mut State,
    by: Address,
    it: &WithdrawCredits,
) -> Result<(), Refusal> {
    cashier(state, by)?;
    post(state, by, ISSUANCE, it.amount)
}

fn cashier(state: &State, by: Address) -> Result<(), Refusal> {
    if state.meta().policy != Policy::Prepaid {
        return Err(Refusal::OtherPolicy);
    }
    if state.meta().cashier == Some(by) { Ok(()) } else { Err(Refusal::NotCashier) }
}

/// Charges an order of so many bytes: free for a member within its quota, the flat fee otherwise.
/// Gives what was charged.
pub(crate) fn charge(
    state: &mut State,
    address: Address,
    size: u64,
    is_free: bool,
) -> Result<Amount, Refusal> {
    if is_free {
        return Ok(Amount::ZERO);
    }
    let is_member = state.member(&address).is_some_and(Member::is_active);
    let epoch = state.meta().epoch;
    let mut account = state.account(&address);
    if account.quota_epoch != epoch {
        (account.quota_epoch, account.quota_used) = (epoch, 0);
    }
    let used = account.quota_used.saturating_add(size);
    if is_member && used <= state.parameter(Parameter::QuotaBytes) {
        account.quota_used = used;
        state.accounts.put(address, account);
        return Ok(Amount::ZERO);
    }
    let fee = state.parameter_amount(Parameter::FeeFlat);
    post_some(state, address, TREASURY, fee)?;
    Ok(fee)
}
