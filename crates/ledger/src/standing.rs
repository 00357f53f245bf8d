//! Standing: how far an account is trusted to audit.
//!
//! Not here: what earns it (`audits`).

use audit::draw::Auditor;
use types::id::Address;
use types::measure::Parameter;

use crate::refusal::Refusal;
use crate::state::State;

/// The most that anyone has.
pub const STANDING_MAX: u32 = 1_000;

pub(crate) fn enlist(state: &mut State, account: Address) -> Result<(), Refusal> {
    if crate::stakes::held(state, &account) < state.parameter_amount(Parameter::AuditorStake) {
        return Err(Refusal::NotEnough);
    }
    state.auditors.put(account, ());
    if state.standing(&account) == 0 {
        state.standings.put(account, 8);
    }
    Ok(())
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
}

pub(crate) fn auditors(state: &State) -> Vec<Auditor> {
    let all = state.auditors.iter().map(|(account, ())| account);
    all.map(|it| Auditor { account: it.0, standing: state.standing(it) }).collect()
}

impl State {
    /// The standing of an account.
    #[must_use]
    pub fn standing(&self, account: &Address) -> u32 {
        self.standings.get(account).copied().unwrap_or(0)
    }
}
