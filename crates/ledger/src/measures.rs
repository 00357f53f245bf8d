//! What each measure does, once a vote has passed it.
//!
//! Invariants: nothing outside this file sets a parameter, a line of credit by choice, a validator,
//! the guardian, the cashier or the constitution, and nothing outside spends from the treasury or
//! the commons fund; the genesis apart. No measure takes credits out of the reserve.
//!
//! Not here: whether a vote has passed (`governance`).

use types::agreement::VALIDATORS_MAX;
use types::amount::Height;
use types::id::{Address, Hash};
use types::measure::{AdmitValidator, Measure, SetCreditLine, SetParameter};
use types::record;
use types::word::{Policy, Tier};

use crate::accounts::{COMMONS, TREASURY, outside, post, set_line};
use crate::event::Event;
use crate::members;
use crate::parameters;
use crate::refusal::Refusal;
use crate::state::State;
use crate::works;

/// The largest power of one validator; all of them together stay far below 2^63.
pub const POWER_MAX: u32 = 1_000_000;
/// Blocks until a change of validators holds: the block after next is the first that everyone can
/// know of in time.
pub const VALIDATOR_DELAY: u64 = 2;

record! {
    /// A validator, with its power before and from a height.
    Validator {
        /// The account that answers for it.
        account: Address,
        /// Its power before the height.
        old: u32,
        /// Its power from the height on; zero if it is removed.
        power: u32,
        /// The height.
        from: Height,
    }
}

impl Validator {
    /// Its power in the agreement on a block.
    #[must_use]
    pub fn power_at(&self, height: Height) -> u32 {
        if height >= self.from { self.power } else { self.old }
    }
}

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
        Measure::AdmitValidator(it) => admit_validator(state, it),
        Measure::RemoveValidator(it) => remove_validator(state, it.node_key),
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

/// Admits a validator, or changes its power, from the block after next on.
pub(crate) fn admit_validator(state: &mut State, it: &AdmitValidator) -> Result<(), Refusal> {
    outside(&it.account)?;
    let old = state.validators.get(&it.node_key);
    let is_full = old.is_none() && state.validators.count() >= VALIDATORS_MAX;
    if is_full || it.power == 0 || it.power > POWER_MAX {
        return Err(Refusal::ValidatorsFull);
    }
    let old = old.map_or(0, |old| old.power_at(state.now().after(1)));
    set_validator(
        state,
        it.node_key,
        Validator { account: it.account, old, power: it.power, from: Height(0) },
    );
    Ok(())
}

fn remove_validator(state: &mut State, node_key: Hash) -> Result<(), Refusal> {
    let live = state.validators.get(&node_key).filter(|it| it.power > 0);
    let mut validator = live.cloned().ok_or(Refusal::ValidatorUnknown)?;
    if state.validators.iter().filter(|(_, it)| it.power > 0).count() <= 1 {
        return Err(Refusal::LastValidator);
    }
    (validator.old, validator.power) = (validator.power_at(state.now().after(1)), 0);
    set_validator(state, node_key, validator);
    Ok(())
}

fn set_validator(state: &mut State, node_key: Hash, mut validator: Validator) {
    validator.from = state.now().after(VALIDATOR_DELAY);
    let (power, from) = (validator.power, validator.from);
    state.validators.put(node_key, validator);
    state.say(Event::Validator { node_key, power, from });
}

/// Forgets the validators whose removal has come to hold.
pub(crate) fn forget_validators(state: &mut State) {
    let next = state.now().after(1);
    let gone = state.validators.iter().filter(|(_, it)| it.power == 0 && it.from <= next);
    let gone: Vec<Hash> = gone.map(|(key, _)| *key).collect();
    gone.iter().for_each(|key| state.validators.remove(key));
}

impl State {
    /// Who agrees on a block, with their powers: for the next block and the one after it, which is
    /// as far as it is known.
    #[must_use]
    pub fn validators_at(&self, height: Height) -> Vec<(Hash, u32)> {
        let powers = self.validators.iter().map(|(key, it)| (*key, it.power_at(height)));
        powers.filter(|(_, power)| *power > 0).collect()
    }
}
