//! What each measure does, once a vote has passed it.
//!
//! Invariants: nothing outside this file sets a parameter, a line of credit by choice, the guardian,
//! the cashier or the constitution, or admits or removes a validator, and nothing outside spends from the treasury or
//! the commons fund; the genesis apart. No measure takes credits out of the reserve.
//!
//! Not here: whether a vote has passed (`governance`), and what a validator is (`validators`).

use types::id::Address;
use types::measure::{Measure, SetCreditLine, SetParameter};
use types::word::{Policy, Tier};

use crate::accounts::{COMMONS, TREASURY, outside, post, set_line};
use crate::event::Event;
use crate::members;
use crate::parameters;
use crate::refusal::Refusal;
use crate::state::State;
use crate::validators;
use crate::works;

/// The bar that a measure needs.
#[must_use]
pub fn tier(measure: &Measure) -> Tier {
    match measure {
        Measure::SetParameter(it) => parameters::rule(it.parameter).tier,
        Measure::AdmitMember(_)
        | Measure::SuspendMember(_)
        | Measure::ReinstateMember(_)
        | Measure::AdmitWork(_)
        | Measure::RetireWork(_)
        | Measure::SetLicence(_)
        | Measure::SetSplit(_) => Tier::Ordinary,
        Measure::SetCreditLine(_) | Measure::SpendCommons(_) | Measure::SpendTreasury(_) => {
            Tier::Budget
        }
        Measure::ExpelMember(_)
        | Measure::AdmitValidator(_)
        | Measure::RemoveValidator(_)
        | Measure::SetCashier(_) => Tier::Parameter,
        Measure::SetGuardian(_) | Measure::AmendConstitution(_) => Tier::Constitution,
    }
}

/// Executes a measure.
pub(crate) fn execute(state: &mut State, measure: &Measure) -> Result<(), Refusal> {
    match measure {
        Measure::SetParameter(it) => set_parameter(state, it),
        Measure::AdmitMember(it) => members::admit(state, it.account),
        Measure::SuspendMember(it) => members::suspend(state, it.account),
        Measure::ReinstateMember(it) => members::reinstate(state, it.account),
        Measure::ExpelMember(it) => members::expel(state, it.account),
        Measure::SetCreditLine(it) => set_credit_line(state, it),
        Measure::SpendCommons(it) => {
            outside(&it.to)?;
            post(state, COMMONS, it.to, it.amount)
        }
        Measure::SpendTreasury(it) => {
            outside(&it.to)?;
            post(state, TREASURY, it.to, it.amount)
        }
        Measure::AdmitWork(it) => works::admit(state, it.work),
        Measure::RetireWork(it) => works::retire_from_commons(state, it.work),
        Measure::SetLicence(it) => works::set_licence(state, it),
        Measure::SetSplit(it) => works::set_split(state, it),
        Measure::AdmitValidator(it) => validators::admit(state, it),
        Measure::RemoveValidator(it) => validators::remove(state, it.node_key),
        Measure::SetGuardian(it) => {
            it.guardian.iter().try_for_each(outside)?;
            state.set_meta(|meta| meta.guardian = it.guardian);
            state.say(Event::Guardian { guardian: it.guardian });
            Ok(())
        }
        Measure::SetCashier(it) => set_cashier(state, it.cashier),
        Measure::AmendConstitution(it) => {
            state.set_meta(|meta| meta.constitution = Some(it.constitution));
            state.say(Event::Constitution { constitution: it.constitution });
            Ok(())
        }
    }
}

/// Sets a parameter within its range.
pub(crate) fn set_parameter(state: &mut State, it: &SetParameter) -> Result<(), Refusal> {
    let rule = parameters::rule(it.parameter);
    if it.value < rule.min || it.value > rule.max {
        return Err(Refusal::OutOfRange);
    }
    state.parameters.put(it.parameter, it.value);
    state.say(Event::Parameter { parameter: it.parameter, value: it.value });
    Ok(())
}

fn set_credit_line(state: &mut State, it: &SetCreditLine) -> Result<(), Refusal> {
    if state.meta().policy != Policy::Mutual {
        return Err(Refusal::OtherPolicy);
    }
    if !state.member(&it.account).is_some_and(|member| member.is_member()) {
        return Err(Refusal::NotMember);
    }
    // A line that the member has drawn on cannot be taken from under it.
    let mut after = state.account(&it.account);
    after.line = it.line;
    if after.available() < 0 {
        return Err(Refusal::NotEnough);
    }
    set_line(state, it.account, it.line);
    Ok(())
}

fn set_cashier(state: &mut State, cashier: Option<Address>) -> Result<(), Refusal> {
    if state.meta().policy != Policy::Prepaid {
        return Err(Refusal::OtherPolicy);
    }
    cashier.iter().try_for_each(outside)?;
    state.set_meta(|meta| meta.cashier = cashier);
    state.say(Event::Cashier { cashier });
    Ok(())
}
