//! Works: models and datasets, who made them, and what they were made from.
//!
//! A payment for the use of a work is divided by the voted parts between the treasury, the work's
//! lineage and whoever ran it. What reaches a work stays with its makers but for the decay, which
//! goes to its parents, and so on.
//!
//! Invariants:
//! - What a payment pays out is the payment.
//! - A parent is registered before its children, so that the lineage has no circles.
//! - One payment visits at most `VISITS_MAX` works.
//! - Once in the commons, only votes change a work.
//!
//! Not here: whether makers are who they say, and evidence for their shares.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use types::amount::Amount;
use types::bounded::{List, Text};
use types::id::{Address, Cid};
use types::measure::{Parameter, SetLicence, SetSplit};
use types::transaction::{
    LICENCE_MAX, MAKERS_MAX, NAME_MAX, PARENTS_MAX, Parent, PayForUse, Register, Share,
};
use types::word::WorkKind;
use types::{record, words};

use crate::accounts::{AUDIT_FUND, TREASURY, outside, post_some};
use crate::coop;
use crate::divide::divide;
use crate::event::Event;
use crate::parameters::WHOLE;
use crate::refusal::Refusal;
use crate::state::State;

/// Works that one payment visits. With 16 makers each, a payment moves credits at most 1,026 times.
pub const VISITS_MAX: usize = 64;

record! {
    /// A model or a dataset.
    Work {
        /// Which of the two.
        kind: WorkKind,
        /// Its name.
        name: Text<NAME_MAX>,
        /// Its licence.
        licence: Text<LICENCE_MAX>,
        /// The text of further terms, if there is one.
        terms: Option<Cid>,
        /// Who made it.
        makers: List<Share, MAKERS_MAX>,
        /// What it was made from.
        parents: List<Parent, PARENTS_MAX>,
        /// Who registered it.
        registrant: Address,
        /// Where it stands.
        status: WorkStatus,
    }
}

words! {
    /// Where a work stands.
    WorkStatus {
        /// Its registrant can withdraw it.
        1 Registered = "registered",
        /// Members rule it by vote.
        2 Commons = "commons",
        /// It can no longer be paid for or built on. Its makers are still paid as makers of a parent.
        3 Retired = "retired",
    }
}

pub(crate) fn register(state: &mut State, account: Address, it: &Register) -> Result<(), Refusal> {
    if state.work(&it.work).is_some() {
        return Err(Refusal::AlreadyRegistered);
    }
    check_makers(it.makers.as_slice())?;
    check_parents(state, it.parents.as_slice())?;
    let work = Work {
        kind: it.kind,
        name: it.name.clone(),
        licence: it.licence.clone(),
        terms: it.terms,
        makers: it.makers.clone(),
        parents: it.parents.clone(),
        registrant: account,
        status: WorkStatus::Registered,
    };
    put(state, it.work, work);
    Ok(())
}

fn check_makers(makers: &[Share]) -> Result<(), Refusal> {
    makers.iter().try_for_each(|maker| outside(&maker.account))?;
    let accounts: BTreeSet<Address> = makers.iter().map(|maker| maker.account).collect();
    let is_good = !makers.is_empty()
        && accounts.len() == makers.len()
        && makers.iter().all(|maker| maker.parts > 0);
    if is_good { Ok(()) } else { Err(Refusal::BadMakers) }
}

fn check_parents(state: &State, parents: &[Parent]) -> Result<(), Refusal> {
    let works: BTreeSet<Cid> = parents.iter().map(|parent| parent.work).collect();
    let is_usable = |parent: &Parent| {
        let work = state.work(&parent.work);
        parent.parts > 0 && work.is_some_and(|work| work.status != WorkStatus::Retired)
    };
    let is_good = works.len() == parents.len() && parents.iter().all(is_usable);
    if is_good { Ok(()) } else { Err(Refusal::BadParents) }
}

/// Withdraws a work as its registrant.
pub(crate) fn retire(state: &mut State, account: Address, cid: Cid) -> Result<(), Refusal> {
    let work = live(state, cid)?;
    if work.registrant != account {
        return Err(Refusal::NotRegistrant);
    }
    if work.status == WorkStatus::Commons {
        return Err(Refusal::InCommons);
    }
    put(state, cid, Work { status: WorkStatus::Retired, ..work });
    Ok(())
}

/// Takes a work into the commons.
pub(crate) fn admit(state: &mut State, cid: Cid) -> Result<(), Refusal> {
    let work = live(state, cid)?;
    if work.status == WorkStatus::Commons {
        return Err(Refusal::InCommons);
    }
    put(state, cid, Work { status: WorkStatus::Commons, ..work });
    Ok(())
}

pub(crate) fn retire_from_commons(state: &mut State, cid: Cid) -> Result<(), Refusal> {
    let work = in_commons(state, cid)?;
    put(state, cid, Work { status: WorkStatus::Retired, ..work });
    Ok(())
}

pub(crate) fn set_licence(state: &mut State, it: &SetLicence) -> Result<(), Refusal> {
    let work = in_commons(state, it.work)?;
    put(state, it.work, Work { licence: it.licence.clone(), ..work });
    Ok(())
}

pub(crate) fn set_split(state: &mut State, it: &SetSplit) -> Result<(), Refusal> {
    let work = in_commons(state, it.work)?;
    check_makers(it.makers.as_slice())?;
    put(state, it.work, Work { makers: it.makers.clone(), ..work });
    Ok(())
}

fn live(state: &State, cid: Cid) -> Result<Work, Refusal> {
    let work = state.work(&cid).ok_or(Refusal::WorkUnknown)?;
    if work.status == WorkStatus::Retired { Err(Refusal::WorkRetired) } else { Ok(work.clone()) }
}

fn in_commons(state: &State, cid: Cid) -> Result<Work, Refusal> {
    let work = live(state, cid)?;
    if work.status == WorkStatus::Commons { Ok(work) } else { Err(Refusal::NotInCommons) }
}

fn put(state: &mut State, cid: Cid, work: Work) {
    state.say(Event::Work { work: cid, status: work.status });
    state.works.put(cid, work);
}

/// Pays for the use of a work.
pub(crate) fn pay_for_use(
    state: &mut State,
    payer: Address,
    it: &PayForUse,
) -> Result<(), Refusal> {
    outside(&it.worker)?;
    live(state, it.work)?;
    if it.amount == Amount::ZERO {
        return Err(Refusal::ZeroAmount);
    }
    if it.worker == payer {
        return Err(Refusal::ToItself);
    }
    let PayForUse { work, worker, amount } = *it;
    pay_out(
        state,
        &Use { from: payer, payer, worker, work, amount, audits: Amount::ZERO, gateway: None },
    )
}

/// A payment for the use of a work.
pub(crate) struct Use {
    /// The account that has the credits.
    pub(crate) from: Address,
    /// Whose payment it is.
    pub(crate) payer: Address,
    /// Who ran the work.
    pub(crate) worker: Address,
    /// The work.
    pub(crate) work: Cid,
    /// All that is paid.
    pub(crate) amount: Amount,
    /// What of it pays for audits.
    pub(crate) audits: Amount,
    /// Who brought payer and worker together, and what of it is that one's.
    pub(crate) gateway: Option<(Address, Amount)>,
}

/// Divides a payment. The worker has what nobody else gets, so that the sum is the payment.
pub(crate) fn pay_out(state: &mut State, it: &Use) -> Result<(), Refusal> {
    let part = |parameter| {
        let part = it.amount.checked_part(state.parameter(parameter), WHOLE);
        part.ok_or(Refusal::BalanceTooLarge)
    };
    let (treasury, lineage) = (part(Parameter::TreasuryParts)?, part(Parameter::LineageParts)?);
    let mut earned = heirs(state, it.work, lineage);
    if let Some((gateway, amount)) = it.gateway {
        let share = earned.entry(gateway).or_default();
        *share = share.checked_add(amount).ok_or(Refusal::BalanceTooLarge)?;
    }
    let mut others = earned.values().copied().chain([treasury, it.audits]);
    let rest = others.try_fold(it.amount, Amount::checked_sub);
    let worker = earned.entry(it.worker).or_default();
    *worker =
        worker.checked_add(rest.ok_or(Refusal::NotEnough)?).ok_or(Refusal::BalanceTooLarge)?;
    post_some(state, it.from, AUDIT_FUND, it.audits)?;
    post_some(state, it.from, TREASURY, treasury)?;
    // What the payer would earn from its own payment stays or comes back, and counts for nothing.
    let own = earned.remove(&it.payer).unwrap_or(Amount::ZERO);
    if it.from != it.payer {
        post_some(state, it.from, it.payer, own)?;
    }
    for (earner, amount) in earned {
        post_some(state, it.from, earner, amount)?;
        coop::count_contribution(state, earner, amount);
    }
    coop::count_use(state, it.payer, it.amount.checked_sub(own).unwrap_or(Amount::ZERO));
    Ok(())
}

/// Who gets how much of what reaches a work's lineage. Breadth first, in the order of the lists.
#[must_use]
pub fn heirs(state: &State, work: Cid, amount: Amount) -> BTreeMap<Address, Amount> {
    let decay = state.parameter(Parameter::LineageDecay);
    let depth_max = state.parameter(Parameter::LineageDepth);
    let mut heirs = BTreeMap::new();
    let mut planned = 1_usize;
    let mut queue = VecDeque::from([(work, amount, 0_u64)]);
    while let Some((cid, amount, depth)) = queue.pop_front() {
        let Some(work) = state.work(&cid) else { continue };
        let parents = work.parents.as_slice();
        let after = planned.saturating_add(parents.len());
        let may_rise = depth < depth_max && !parents.is_empty() && after <= VISITS_MAX;
        let rises = if may_rise { amount.checked_part(decay, WHOLE) } else { None };
        let rises = rises.unwrap_or(Amount::ZERO);
        if rises > Amount::ZERO {
            planned = after;
            let parts: Vec<u128> = parents.iter().map(|parent| parent.parts.into()).collect();
            let shares = divide(rises, &parts).unwrap_or_default();
            let next = parents.iter().zip(shares);
            queue.extend(next.map(|(parent, share)| (parent.work, share, depth.saturating_add(1))));
        }
        let stays = amount.checked_sub(rises).unwrap_or(Amount::ZERO);
        share_out(&mut heirs, work.makers.as_slice(), stays);
    }
    heirs
}

/// Adds the makers' shares of an amount.
fn share_out(heirs: &mut BTreeMap<Address, Amount>, makers: &[Share], amount: Amount) {
    let parts: Vec<u128> = makers.iter().map(|maker| maker.parts.into()).collect();
    for (maker, share) in makers.iter().zip(divide(amount, &parts).unwrap_or_default()) {
        let heir = heirs.entry(maker.account).or_default();
        // All shares together are the one amount that is divided, so that no sum exceeds the limit.
        *heir = heir.checked_add(share).unwrap_or(*heir);
    }
}
