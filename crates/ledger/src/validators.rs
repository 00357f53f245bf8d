//! Validators: their bonds, and what follows when one is absent or contradicts itself.
//!
//! Specified in `docs/spec/ledger.md`, section 11. A validator that misses blocks rests: it keeps its
//! power and is passed over when a proposer is chosen. One that is gone for long is jailed until its
//! account calls it back. One that contradicted itself is jailed until members admit it again, and its
//! bond goes to the reserve.
//!
//! Invariants:
//! - A validator has power after every change, so that blocks go on.
//! - A bond is locked in its account from admission until evidence can no longer reach the validator.
//! - A validator is convicted once for all that it did before.
//!
//! Not here: who admits and removes validators (`measures`), signatures of evidence, and who proposes.

use types::agreement::VALIDATORS_MAX;
use types::amount::{Amount, Height};
use types::evidence::Proven;
use types::id::{Address, Hash};
use types::measure::{AdmitValidator, Parameter};
use types::transaction::ReturnValidator;
use types::{record, words};

use crate::accounts::{lock, outside, seize, unlock};
use crate::event::Event;
use crate::refusal::Refusal;
use crate::state::State;

/// The largest power of one validator; all of them together stay far below 2^63.
pub const POWER_MAX: u32 = 1_000_000;
/// Blocks until a change of validators holds: the block after next is the first that everyone can
/// know of in time.
pub const VALIDATOR_DELAY: u64 = 2;
/// Blocks after which evidence no longer counts: a day of one-second blocks. So long a bond stays
/// locked after its validator's removal.
pub const EVIDENCE_AGE_MAX: u64 = 86_400;
/// Validators that keep power when one is jailed for its absence, at least. Of three left, each is
/// needed, as were the three others of four: with fewer, jailing gains nothing and resting is enough.
pub const PRESENT_MIN: usize = 4;

record! {
    /// A validator, with its power before and from a height.
    Validator {
        /// The account that answers for it.
        account: Address,
        /// Its power before the height.
        old: u32,
        /// Its power from the height on; zero if it is jailed or removed.
        power: u32,
        /// The height.
        from: Height,
        /// The first height that it answers for.
        since: Height,
        /// What of the account's is locked.
        bond: Amount,
        /// Blocks in a row whose certificates lack its seal.
        missed: u32,
        /// Whether it serves, or why it does not.
        standing: Standing,
    }
}

words! {
    /// Whether a validator serves, or why it does not.
    Standing {
        /// It serves, or rests.
        1 Serving = "serving",
        /// It is jailed for its absence; its account can call it back.
        2 Absent = "absent",
        /// Members removed it.
        3 Removed = "removed",
        /// It contradicted itself; only members can admit it again.
        4 Convicted = "convicted",
    }
}

impl Validator {
    /// Its power in the agreement on a block.
    #[must_use]
    pub fn power_at(&self, height: Height) -> u32 {
        if height >= self.from { self.power } else { self.old }
    }
}

/// Admits a validator, or changes its power or account, from the block after next on.
pub(crate) fn admit(state: &mut State, it: &AdmitValidator) -> Result<(), Refusal> {
    outside(&it.account)?;
    let known = state.validators.get(&it.node_key).cloned();
    let is_full = known.is_none() && state.validators.count() >= VALIDATORS_MAX;
    if is_full || it.power == 0 || it.power > POWER_MAX {
        return Err(Refusal::ValidatorsFull);
    }
    let from = state.now().after(VALIDATOR_DELAY);
    // What a convicted one did before is paid for; of the others nothing is forgotten.
    let since = known.as_ref().filter(|it| it.standing != Standing::Convicted).map(|it| it.since);
    if let Some(known) = &known {
        release(state, known);
    }
    let bond = lock(state, it.account, state.parameter_amount(Parameter::ValidatorBond));
    let admitted = Validator {
        account: it.account,
        old: known.map_or(0, |it| it.power_at(state.now().after(1))),
        power: it.power,
        from,
        since: since.unwrap_or(from),
        bond,
        missed: 0,
        standing: Standing::Serving,
    };
    put(state, it.node_key, admitted);
    Ok(())
}

/// Removes a validator from the block after next on. Its bond stays locked for as long as evidence
/// can come.
pub(crate) fn remove(state: &mut State, node_key: Hash) -> Result<(), Refusal> {
    let known = state.validators.get(&node_key);
    let known = known.filter(|it| it.power > 0 || it.standing == Standing::Absent);
    let validator = known.cloned().ok_or(Refusal::ValidatorUnknown)?;
    if is_last(state, &validator) {
        return Err(Refusal::LastValidator);
    }
    stop(state, node_key, validator, Standing::Removed);
    Ok(())
}

/// Calls a validator back that was jailed for its absence.
pub(crate) fn call_back(
    state: &mut State,
    account: Address,
    it: &ReturnValidator,
) -> Result<(), Refusal> {
    let mut validator =
        state.validators.get(&it.node_key).cloned().ok_or(Refusal::ValidatorUnknown)?;
    if validator.account != account {
        return Err(Refusal::NotValidatorsAccount);
    }
    if validator.standing != Standing::Absent {
        return Err(Refusal::NotAbsent);
    }
    // While it was jailed, nothing has changed what it had before.
    let power = validator.old;
    validator.old = validator.power_at(state.now().after(1));
    validator.power = power;
    validator.from = state.now().after(VALIDATOR_DELAY);
    (validator.missed, validator.standing) = (0, Standing::Serving);
    put(state, it.node_key, validator);
    Ok(())
}

/// Counts who sealed the parent: each of those who decided it, and whether its seal is in the
/// certificate. Jails whoever was absent for too long.
pub(crate) fn attend(state: &mut State, attendance: &[(Hash, bool)]) {
    let (rest, jail) =
        (state.parameter(Parameter::RestBlocks), state.parameter(Parameter::JailBlocks));
    for &(node_key, has_sealed) in attendance {
        let known = state.validators.get(&node_key);
        let serving = known.filter(|it| it.standing == Standing::Serving).cloned();
        let Some(mut validator) = serving else { continue };
        let before = validator.missed;
        validator.missed = if has_sealed { 0 } else { before.saturating_add(1) };
        if validator.missed == before {
            continue;
        }
        let (did_rest, rests) = (u64::from(before) >= rest, u64::from(validator.missed) >= rest);
        if did_rest != rests {
            state.say(Event::Rest { node_key, rests });
        }
        let others = with_power(state).saturating_sub(1);
        if u64::from(validator.missed) >= jail && others >= PRESENT_MIN {
            stop(state, node_key, validator, Standing::Absent);
        } else {
            state.validators.put(node_key, validator);
        }
    }
}

/// Jails a validator that contradicted itself, and takes its bond.
pub(crate) fn convict(state: &mut State, proven: &Proven) -> Result<(), Refusal> {
    let evidence = proven.evidence();
    let node_key = evidence.validator;
    let mut validator = accused(state, proven)?;
    let bond = std::mem::take(&mut validator.bond);
    seize(state, validator.account, bond)?;
    state.say(Event::Convicted { node_key, height: evidence.height, bond });
    if validator.power == 0 || is_last(state, &validator) {
        // One that is leaving stops when it was to; a network's last one goes on without a bond.
        validator.standing = Standing::Convicted;
        state.validators.put(node_key, validator);
    } else {
        stop(state, node_key, validator, Standing::Convicted);
    }
    Ok(())
}

/// The validator that an evidence would convict in the next block.
pub(crate) fn accused(state: &State, proven: &Proven) -> Result<Validator, Refusal> {
    let evidence = proven.evidence();
    let known = state.validators.get(&evidence.validator);
    let validator = known.ok_or(Refusal::ValidatorUnknown)?;
    if validator.standing == Standing::Convicted {
        return Err(Refusal::AlreadyConvicted);
    }
    let age = state.now().0.checked_sub(evidence.height.0);
    let is_in_time = age.is_some_and(|age| (1..=EVIDENCE_AGE_MAX).contains(&age));
    if !is_in_time || evidence.height < validator.since {
        return Err(Refusal::EvidenceAge);
    }
    Ok(validator.clone())
}

/// Forgets the validators that were removed or convicted so long ago that no evidence reaches them,
/// and returns the bonds of those.
pub(crate) fn forget(state: &mut State) {
    let now = state.now();
    let gone = state.validators.iter().filter(|(_, it)| {
        let is_over = matches!(it.standing, Standing::Removed | Standing::Convicted);
        is_over && it.power == 0 && it.from.after(EVIDENCE_AGE_MAX) <= now
    });
    let gone: Vec<(Hash, Validator)> = gone.map(|(key, it)| (*key, it.clone())).collect();
    for (node_key, validator) in gone {
        state.validators.remove(&node_key);
        release(state, &validator);
    }
}

fn release(state: &mut State, validator: &Validator) {
    if validator.bond > Amount::ZERO {
        unlock(state, validator.account, validator.bond);
    }
}

/// Takes a validator's power from the block after next on.
fn stop(state: &mut State, node_key: Hash, mut validator: Validator, standing: Standing) {
    validator.standing = standing;
    if validator.power > 0 {
        validator.old = validator.power_at(state.now().after(1));
        validator.power = 0;
        validator.from = state.now().after(VALIDATOR_DELAY);
    }
    put(state, node_key, validator);
}

fn put(state: &mut State, node_key: Hash, validator: Validator) {
    let Validator { power, from, standing, .. } = validator;
    state.validators.put(node_key, validator);
    state.say(Event::Validator { node_key, power, from, standing });
}

fn with_power(state: &State) -> usize {
    state.validators.iter().filter(|(_, it)| it.power > 0).count()
}

/// Whether nobody else has power.
fn is_last(state: &State, validator: &Validator) -> bool {
    with_power(state) <= usize::from(validator.power > 0)
}

impl State {
    /// Who agrees on a block, with their powers: for the next block and the one after it, which is
    /// as far as it is known.
    #[must_use]
    pub fn validators_at(&self, height: Height) -> Vec<(Hash, u32)> {
        let powers = self.validators.iter().map(|(key, it)| (*key, it.power_at(height)));
        powers.filter(|(_, power)| *power > 0).collect()
    }

    /// Whether a validator is passed over when a proposer is chosen.
    #[must_use]
    pub fn rests(&self, validator: &Validator) -> bool {
        u64::from(validator.missed) >= self.parameter(Parameter::RestBlocks)
    }
}
