//! Stakes: credits that an account can lose.
//!
//! Not here: for what (`audits`, `disputes`).

use types::amount::Amount;
use types::id::Address;
use types::measure::Parameter;
use types::record;

use crate::accounts::{STAKES, TREASURY, post, post_some};
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
    }
}

pub(crate) fn stake(state: &mut State, account: Address, amount: Amount) -> Result<(), Refusal> {
    post(state, account, STAKES, amount)?;
    let mut stake = get(state, &account);
    stake.held = stake.held.checked_add(amount).ok_or(Refusal::BalanceTooLarge)?;
    state.stakes.put(account, stake);
    Ok(())
}

fn get(state: &State, account: &Address) -> Stake {
    let none = Stake { held: Amount::ZERO, bonded: Amount::ZERO };
    state.stakes.get(account).cloned().unwrap_or(none)
}

pub(crate) fn held(state: &State, account: &Address) -> Amount {
    get(state, account).held
}

pub(crate) fn bind(state: &mut State, account: Address, amount: Amount) -> Result<(), Refusal> {
    let mut stake = get(state, &account);
    let bonded = stake.bonded.checked_add(amount).ok_or(Refusal::BalanceTooLarge)?;
    if bonded > stake.held {
        return Err(Refusal::NotEnough);
    }
    stake.bonded = bonded;
    state.stakes.put(account, stake);
    Ok(())
}

pub(crate) fn free(state: &mut State, account: Address, amount: Amount) {
    let mut stake = get(state, &account);
    stake.bonded = stake.bonded.checked_sub(amount).unwrap_or(Amount::ZERO);
    state.stakes.put(account, stake);
}

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
    if post_some(state, STAKES, TREASURY, rest).is_ok() {
        stake.held = stake.held.checked_sub(amount).unwrap_or(Amount::ZERO);
        stake.bonded = stake.bonded.min(stake.held);
        state.stakes.put(account, stake);
    }
}

impl State {
    /// What an account has at stake.
    #[must_use]
    pub fn stake(&self, account: &Address) -> Option<&Stake> {
        self.stakes.get(account)
    }
}
