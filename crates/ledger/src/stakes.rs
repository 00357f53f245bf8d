//! Stakes: credits that an account can lose.
//!
//! A worker binds a part of its stake for each batch until it is settled, an auditor one for each
//! dispute that it begins. What is taken back stays at stake for a while, so that nobody can leave
//! before what it did is audited. Specified in `docs/spec/ledger.md`, section 14.
//!
//! Invariants:
//! - The stakes account holds the sum of what accounts have at stake.
//! - What is bound is the sum of the bonds of open batches and disputes; it may be more than what is
//!   left of a stake, and then nothing new is bound.
//! - Nobody loses more than it has at stake.
//!
//! Not here: for what it is lost (`audits`, `disputes`).

use types::amount::{Amount, Height};
use types::id::Address;
use types::measure::Parameter;
use types::record;

use crate::accounts::{STAKES, TREASURY, post, post_some};
use crate::event::Event;
use crate::governance::{Task, TaskKind};
use crate::parameters::WHOLE;
use crate::refusal::Refusal;
use crate::state::State;

record! {
    /// What an account has at stake.
    Stake {
        /// All of it.
        held: Amount,
        /// What of it is bound.
        bonded: Amount,
        /// What of it is taken back, and when it is paid out.
        leaving: Option<Leaving>,
        /// Until when the account may bind nothing, since it was convicted.
        jailed: Option<Height>,
        /// Its batches that are not settled.
        batches: u32,
    }
}

record! {
    /// A part of a stake that is taken back.
    Leaving {
        /// How much.
        amount: Amount,
        /// The block at whose end it is paid out.
        until: Height,
    }
}

impl Stake {
    const NONE: Stake =
        Stake { held: Amount::ZERO, bonded: Amount::ZERO, leaving: None, jailed: None, batches: 0 };

    /// What stays at stake.
    #[must_use]
    pub fn staying(&self) -> Amount {
        let leaving = self.leaving.as_ref().map_or(Amount::ZERO, |it| it.amount);
        self.held.checked_sub(leaving).unwrap_or(Amount::ZERO)
    }

    /// What stays and is not bound.
    #[must_use]
    pub fn free(&self) -> Amount {
        self.staying().checked_sub(self.bonded).unwrap_or(Amount::ZERO)
    }
}

pub(crate) fn stake(state: &mut State, account: Address, amount: Amount) -> Result<(), Refusal> {
    post(state, account, STAKES, amount)?;
    let mut stake = get(state, &account);
    stake.held = stake.held.checked_add(amount).ok_or(Refusal::BalanceTooLarge)?;
    put(state, account, stake);
    Ok(())
}

pub(crate) fn unstake(state: &mut State, account: Address, amount: Amount) -> Result<(), Refusal> {
    let mut stake = get(state, &account);
    if stake.leaving.is_some() {
        return Err(Refusal::StakeLeaving);
    }
    if amount == Amount::ZERO {
        return Err(Refusal::ZeroAmount);
    }
    if amount > stake.free() {
        return Err(Refusal::StakeTooSmall);
    }
    let until = state.now().after(state.parameter(Parameter::StakeBlocks));
    stake.leaving = Some(Leaving { amount, until });
    put(state, account, stake);
    state.agenda.put((until, Task { kind: TaskKind::ReturnStake, number: 0, account }), ());
    Ok(())
}

/// Pays out what was taken back and not lost since.
pub(crate) fn give_back(state: &mut State, account: Address) {
    let mut stake = get(state, &account);
    let Some(leaving) = stake.leaving.take() else { return };
    let amount = leaving.amount.min(stake.held);
    // Where the account is full, it stays at stake.
    if post_some(state, STAKES, account, amount).is_ok() {
        stake.held = stake.held.checked_sub(amount).unwrap_or(Amount::ZERO);
    }
    put(state, account, stake);
}

pub(crate) fn get(state: &State, account: &Address) -> Stake {
    state.stakes.get(account).cloned().unwrap_or(Stake::NONE)
}

/// An account that has nothing at stake and nothing open is forgotten.
pub(crate) fn put(state: &mut State, account: Address, mut stake: Stake) {
    stake.jailed = stake.jailed.filter(|until| *until >= state.now());
    if let Some(leaving) = &mut stake.leaving {
        leaving.amount = leaving.amount.min(stake.held);
    }
    state.say(Event::Stake { account, held: stake.held, bonded: stake.bonded });
    if stake == Stake::NONE {
        state.stakes.remove(&account);
    } else {
        state.stakes.put(account, stake);
    }
}

pub(crate) fn held(state: &State, account: &Address) -> Amount {
    get(state, account).held
}

pub(crate) fn bind(state: &mut State, account: Address, amount: Amount) -> Result<(), Refusal> {
    let mut stake = get(state, &account);
    outside_jail(state, &account)?;
    if amount > stake.free() {
        return Err(Refusal::StakeTooSmall);
    }
    stake.bonded = stake.bonded.checked_add(amount).ok_or(Refusal::BalanceTooLarge)?;
    put(state, account, stake);
    Ok(())
}

pub(crate) fn outside_jail(state: &State, account: &Address) -> Result<(), Refusal> {
    let is_jailed = get(state, account).jailed.is_some_and(|until| state.now() <= until);
    if is_jailed { Err(Refusal::WorkerJailed) } else { Ok(()) }
}

pub(crate) fn free(state: &mut State, account: Address, amount: Amount) {
    let mut stake = get(state, &account);
    stake.bonded = stake.bonded.checked_sub(amount).unwrap_or(Amount::ZERO);
    put(state, account, stake);
}

/// Takes a convicted account's right to bind anything for a while.
pub(crate) fn jail(state: &mut State, account: Address) {
    let until = state.now().after(state.parameter(Parameter::JailBlocks));
    let mut stake = get(state, &account);
    stake.jailed = Some(until);
    put(state, account, stake);
}

/// Takes of a stake, at most what it holds: parts for the wronged and for whoever proved it, and the
/// rest for the treasury.
pub(crate) fn slash(
    state: &mut State,
    account: Address,
    amount: Amount,
    wronged: Option<Address>,
    prover: Option<Address>,
) {
    let mut stake = get(state, &account);
    let amount = amount.min(stake.held);
    let mut rest = amount;
    for (to, parameter) in [(wronged, Parameter::SlashWronged), (prover, Parameter::SlashProver)] {
        let part = amount.checked_part(state.parameter(parameter), WHOLE).unwrap_or(Amount::ZERO);
        if let Some(to) = to
            && post_some(state, STAKES, to, part).is_ok()
        {
            rest = rest.checked_sub(part).unwrap_or(Amount::ZERO);
        }
    }
    if post_some(state, STAKES, TREASURY, rest).is_err() {
        // The treasury is full: the rest is not lost.
        stake.held = stake.held.checked_add(rest).unwrap_or(stake.held);
    }
    stake.held = stake.held.checked_sub(amount).unwrap_or(Amount::ZERO);
    put(state, account, stake);
}

impl State {
    /// What an account has at stake.
    #[must_use]
    pub fn stake(&self, account: &Address) -> Option<&Stake> {
        self.stakes.get(account)
    }
}
