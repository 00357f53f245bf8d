//! The co-op's own accounts: what the treasury has left over at a period's end, and whose it is.
//!
//! What members pay for use, and what they earn by work, is counted in each period. At its end the
//! treasury's surplus is divided between the reserve, the commons fund, and the members in
//! proportion to what was counted; a part of each dividend is paid out, and the rest is capital.
//!
//! Invariants:
//! - A dividend follows from the period's counters and the parameters alone.
//! - What cannot be divided stays in the treasury.
//!
//! Not here: spending (`measures`).

use types::amount::{AMOUNT_MAX, Amount, Height, Period};
use types::id::Address;
use types::measure::Parameter;
use types::record;
use types::word::Policy;

use crate::accounts::{CAPITAL, COMMONS, ISSUANCE, RESERVE, TREASURY, post_some};
use crate::divide::divide;
use crate::event::Event;
use crate::members::credit_capital;
use crate::parameters::WHOLE;
use crate::refusal::Refusal;
use crate::state::State;

record! {
    /// What a member did in a period.
    Patronage {
        /// Paid for use.
        spent: Amount,
        /// Earned by making and running works.
        earned: Amount,
        /// Its part of the period's surplus.
        dividend: Amount,
    }
}

impl Patronage {
    const NONE: Patronage =
        Patronage { spent: Amount::ZERO, earned: Amount::ZERO, dividend: Amount::ZERO };
}

pub(crate) fn count_use(state: &mut State, member: Address, amount: Amount) {
    count(state, member, |patronage| patronage.spent = capped_sum(patronage.spent, amount));
}

pub(crate) fn count_contribution(state: &mut State, member: Address, amount: Amount) {
    count(state, member, |patronage| patronage.earned = capped_sum(patronage.earned, amount));
}

/// Counts for members only.
fn count(state: &mut State, account: Address, change: impl FnOnce(&mut Patronage)) {
    if !state.member(&account).is_some_and(|member| member.is_member()) {
        return;
    }
    let key = (state.meta().period, account);
    let mut patronage = state.patronage.get(&key).cloned().unwrap_or(Patronage::NONE);
    change(&mut patronage);
    state.patronage.put(key, patronage);
}

fn capped_sum(left: Amount, right: Amount) -> Amount {
    left.checked_add(right).or_else(|| Amount::new(AMOUNT_MAX)).unwrap_or(left)
}

/// What stands at an epoch's end, if the block ends one.
pub(crate) fn end_epoch(state: &mut State, height: Height) {
    let meta = state.meta();
    let blocks = height.0.saturating_sub(meta.epoch_began.0).saturating_add(1);
    if blocks < state.parameter(Parameter::EpochBlocks) {
        return;
    }
    let epoch = meta.epoch.after(1);
    let epochs = epoch.0.saturating_sub(meta.period_began.0);
    attempt(state, issue);
    if epochs >= state.parameter(Parameter::PeriodEpochs) {
        if attempt(state, divide_surplus) {
            let treasury = state.account(&TREASURY).balance;
            state.set_meta(|meta| meta.treasury_began = treasury);
        }
        state.set_meta(|meta| {
            meta.period = meta.period.after(1);
            meta.period_began = epoch;
        });
    }
    state.set_meta(|meta| {
        meta.epoch = epoch;
        meta.epoch_began = height.after(1);
        meta.cashier_issued = Amount::ZERO;
    });
    state.say(Event::Epoch { epoch });
}

/// Does something whole or not at all. What stands at an epoch's end can only be refused where an
/// account is full; a surplus is then divided with the next one. Says whether it was done.
fn attempt(state: &mut State, step: fn(&mut State) -> Result<(), Refusal>) -> bool {
    let before = state.savepoint();
    let outcome = step(state);
    if outcome.is_err() {
        state.rollback(&before);
    }
    outcome.is_ok()
}

/// Issues to the commons fund what the members' schedule says.
fn issue(state: &mut State) -> Result<(), Refusal> {
    if state.meta().policy != Policy::Issued {
        return Ok(());
    }
    let amount = state.parameter_amount(Parameter::IssuePerEpoch);
    post_some(state, ISSUANCE, COMMONS, amount)
}

fn divide_surplus(state: &mut State) -> Result<(), Refusal> {
    let period = state.meta().period;
    let balance = state.account(&TREASURY).balance;
    let gained = balance.saturating_sub(state.meta().treasury_began);
    let gained = u64::try_from(gained).ok().and_then(Amount::new);
    let Some(surplus) = gained.filter(|surplus| *surplus > Amount::ZERO) else { return Ok(()) };
    let part = |parameter| surplus.checked_part(state.parameter(parameter), WHOLE);
    let reserve = part(Parameter::ReserveParts).unwrap_or(Amount::ZERO);
    let commons = part(Parameter::CommonsParts).unwrap_or(Amount::ZERO);
    let rest = surplus.checked_sub(reserve).and_then(|rest| rest.checked_sub(commons));
    let rest = rest.unwrap_or(Amount::ZERO);
    post_some(state, TREASURY, RESERVE, reserve)?;
    post_some(state, TREASURY, COMMONS, commons)?;
    state.say(Event::Surplus { period, surplus, reserve, commons });
    let dividends = dividends(state, period, rest);
    dividends.into_iter().try_for_each(|(member, dividend)| pay(state, period, member, dividend))
}

/// What each member gets of an amount, by what it did in a period.
#[must_use]
pub fn dividends(state: &State, period: Period, amount: Amount) -> Vec<(Address, Amount)> {
    let used = u128::from(state.parameter(Parameter::WeightUse));
    let worked = u128::from(state.parameter(Parameter::WeightContribution));
    let (mut members, mut points) = (vec![], vec![]);
    let range = (period, Address([0; 20]))..=(period, Address([255; 20]));
    for ((_, member), patronage) in state.patronage.range(range) {
        if state.member(member).is_some_and(|member| member.is_member()) {
            let spent = u128::from(patronage.spent.millionths()).saturating_mul(used);
            let earned = u128::from(patronage.earned.millionths()).saturating_mul(worked);
            members.push(*member);
            points.push(spent.saturating_add(earned));
        }
    }
    // Without points nothing is divided, and the amount stays in the treasury.
    members.into_iter().zip(divide(amount, &points).unwrap_or_default()).collect()
}

fn pay(
    state: &mut State,
    period: Period,
    account: Address,
    dividend: Amount,
) -> Result<(), Refusal> {
    if dividend == Amount::ZERO {
        return Ok(());
    }
    let cash = dividend.checked_part(state.parameter(Parameter::DividendCashParts), WHOLE);
    let cash = cash.unwrap_or(dividend);
    let capital = dividend.checked_sub(cash).unwrap_or(Amount::ZERO);
    post_some(state, TREASURY, account, cash)?;
    post_some(state, TREASURY, CAPITAL, capital)?;
    if capital > Amount::ZERO {
        credit_capital(state, account, capital)?;
    }
    let key = (period, account);
    let patronage = state.patronage.get(&key).cloned().unwrap_or(Patronage::NONE);
    state.patronage.put(key, Patronage { dividend, ..patronage });
    state.say(Event::Dividend { account, cash, capital });
    Ok(())
}
