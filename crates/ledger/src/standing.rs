//! Standing: how far an account is trusted to audit.
//!
//! It is earned one point with each audit that was right, and halved with each duty that was missed; a
//! proven fault takes all of it. It is the weight with which auditors are drawn.
//!
//! Invariants: nobody has more than `STANDING_MAX`, and who has too little at stake is not drawn.
//!
//! Not here: what earns it (`audits`).

use audit::draw::{AUDITORS_MAX, Auditor};
use types::id::Address;
use types::measure::Parameter;

use crate::refusal::Refusal;
use crate::stakes;
use crate::state::State;

/// The most that anyone has: old auditors must not crowd out new ones for ever.
pub const STANDING_MAX: u32 = 1_000;
/// What a new auditor begins with: three missed duties before it is hardly drawn.
pub const STANDING_FIRST: u32 = 8;

pub(crate) fn enlist(state: &mut State, account: Address) -> Result<(), Refusal> {
    stakes::outside_jail(state, &account)?;
    if !has_stake(state, &account) {
        return Err(Refusal::StakeTooSmall);
    }
    if state.auditors.get(&account).is_none() && state.auditors.count() >= AUDITORS_MAX {
        return Err(Refusal::AuditorsFull);
    }
    state.auditors.put(account, ());
    if state.standing(&account) == 0 {
        state.standings.put(account, STANDING_FIRST);
    }
    Ok(())
}

pub(crate) fn resign(state: &mut State, account: Address) -> Result<(), Refusal> {
    state.auditors.get(&account).ok_or(Refusal::NotEnlisted)?;
    state.auditors.remove(&account);
    Ok(())
}

fn has_stake(state: &State, account: &Address) -> bool {
    let staying = stakes::get(state, account).staying();
    staying > types::amount::Amount::ZERO
        && staying >= state.parameter_amount(Parameter::AuditorStake)
}

pub(crate) fn earn(state: &mut State, account: Address) {
    let points = state.standing(&account).saturating_add(1).min(STANDING_MAX);
    state.standings.put(account, points);
}

pub(crate) fn lose(state: &mut State, account: Address) {
    let points = state.standing(&account).checked_div(2).unwrap_or(0);
    state.standings.put(account, points);
}

pub(crate) fn clear(state: &mut State, account: Address) {
    state.standings.remove(&account);
    state.auditors.remove(&account);
}

impl State {
    /// Those who can be drawn now: enlisted, with enough at stake.
    #[must_use]
    pub fn able_auditors(&self) -> Vec<Auditor> {
        let all = self.auditors.iter().map(|(account, ())| account);
        let able = all.filter(|account| has_stake(self, account));
        able.map(|it| Auditor { account: it.0, standing: self.standing(it) }).collect()
    }

    /// Whether an account offers to audit.
    #[must_use]
    pub fn is_enlisted(&self, account: &Address) -> bool {
        self.auditors.get(account).is_some()
    }

    /// The standing of an account.
    #[must_use]
    pub fn standing(&self, account: &Address) -> u32 {
        self.standings.get(account).copied().unwrap_or(0)
    }
}
