//! The ledger's invariants, recomputed from scratch.
//!
//! Invariants: reads the state and changes nothing.
//!
//! Not here: whether the state follows from its blocks; replaying them shows that.

use std::collections::BTreeMap;

use types::amount::{AMOUNT_MAX, Amount};
use types::id::Address;
use types::measure::Parameter;
use types::word::Tier;

use crate::accounts::{CAPITAL, ESCROW, HELD, ISSUANCE, STAKES, is_system};
use crate::audits::{Key, PAYLOADS_MAX, Stage as AuditStage};
use crate::disputes::DISPUTES_MAX;
use crate::governance::{self, Stage};
use crate::members::Member;
use crate::nodes::NODES_MAX;
use crate::parameters::rule;
use crate::state::State;

/// Something that must never be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Credits came from nowhere, or went there.
    #[error("the balances sum to {0} and not to zero")]
    Sum(i128),
    /// A balance is below its floor, or above what an account may hold.
    #[error("the balance of {0} is out of its range")]
    Balance(Address),
    /// The capital account is not the sum of the members' capital.
    #[error("the capital account has {0} and the members {1}")]
    Capital(i128, i128),
    /// The escrow account is not the sum of what the channels hold.
    #[error("the escrow account has {0} and the channels {1}")]
    Escrow(i128, i128),
    /// The stakes account is not the sum of what accounts have at stake.
    #[error("the stakes account has {0} and the stakes {1}")]
    Stakes(i128, i128),
    /// The held account is not the sum of what open batches earn.
    #[error("the held account has {0} and the batches {1}")]
    Held(i128, i128),
    /// What is bound of a stake is not the bonds of its batches and disputes, or its open batches are
    /// miscounted.
    #[error("the stake of {0} does not bind what its batches and disputes do")]
    Bonds(Address),
    /// Two batches have a receipt in common, or one that its channel has not counted.
    #[error("the receipts of batch {0} are not its own")]
    Receipts(u64),
    /// Locked credits are not those of open proposals and of validators.
    #[error("the locked credits of {0} are not its deposits and bonds")]
    Locked(Address),
    /// The number of active members is wrong.
    #[error("{0} members are counted and {1} are there")]
    Members(u32, usize),
    /// The number of votes that someone carries is wrong.
    #[error("the votes that {0} carries are wrong")]
    Carried(Address),
    /// A closed vote's tally is not that of its ballots, or there are more ballots than voters.
    #[error("the tally of proposal {0} is wrong")]
    Tally(u64),
    /// A registered node is not its account's, or an account has a node that is not registered, or too
    /// many.
    #[error("the nodes of {0} are not those that it registered")]
    Nodes(Address),
    /// An audit has no batch, or a dispute, a payload or a case has no audit that waits for it.
    #[error("the audit of receipt {1} of batch {0} is not whole")]
    Audit(u64, u32),
    /// Nobody has power to agree on blocks.
    #[error("no validator has power")]
    Powerless,
    /// A parameter is out of its range.
    #[error("the parameter {0} is out of its range")]
    Parameter(Parameter),
}

/// Checks everything.
///
/// # Errors
///
/// The first invariant that does not hold.
pub fn check(state: &State) -> Result<(), Broken> {
    balances(state)?;
    pools(state)?;
    votes(state)?;
    nodes(state)?;
    stakes(state)?;
    audits(state)?;
    if state.validators.iter().all(|(_, it)| it.power == 0) {
        return Err(Broken::Powerless);
    }
    for &parameter in Parameter::ALL {
        let rule = rule(parameter);
        if !(rule.min..=rule.max).contains(&state.parameter(parameter)) {
            return Err(Broken::Parameter(parameter));
        }
    }
    Ok(())
}

fn balances(state: &State) -> Result<(), Broken> {
    let mut sum = 0_i128;
    for (address, account) in state.accounts.iter() {
        sum = sum.saturating_add(account.balance);
        let is_floored = *address == ISSUANCE || account.available() >= 0;
        let is_capped = account.balance <= i128::from(AMOUNT_MAX);
        let is_own = is_system(address) && account.line != Amount::ZERO;
        if !is_floored || !is_capped || is_own {
            return Err(Broken::Balance(*address));
        }
    }
    if sum == 0 { Ok(()) } else { Err(Broken::Sum(sum)) }
}

fn total(amounts: impl Iterator<Item = Amount>) -> i128 {
    amounts.fold(0, |sum, amount| sum.saturating_add(i128::from(amount.millionths())))
}

fn pools(state: &State) -> Result<(), Broken> {
    let capital = total(state.members.iter().map(|(_, member)| member.capital));
    let balance = state.account(&CAPITAL).balance;
    if balance != capital {
        return Err(Broken::Capital(balance, capital));
    }
    let held = total(state.channels.iter().map(|(_, channel)| channel.held()));
    let balance = state.account(&ESCROW).balance;
    if balance != held {
        return Err(Broken::Escrow(balance, held));
    }
    let mut locked: BTreeMap<Address, i128> = BTreeMap::new();
    let open = state.proposals.iter().filter(|(_, it)| it.stage == Stage::Voting);
    for (_, proposal) in open {
        let sum = locked.entry(proposal.proposer).or_default();
        *sum = sum.saturating_add(i128::from(proposal.deposit.millionths()));
    }
    for (_, validator) in state.validators.iter() {
        let sum = locked.entry(validator.account).or_default();
        *sum = sum.saturating_add(i128::from(validator.bond.millionths()));
    }
    for (address, account) in state.accounts.iter() {
        let wanted = locked.get(address).copied().unwrap_or(0);
        if i128::from(account.locked.millionths()) != wanted {
            return Err(Broken::Locked(*address));
        }
    }
    Ok(())
}

fn stakes(state: &State) -> Result<(), Broken> {
    let staked = total(state.stakes.iter().map(|(_, stake)| stake.held));
    let balance = state.account(&STAKES).balance;
    if balance != staked {
        return Err(Broken::Stakes(balance, staked));
    }
    let held = total(state.batches.iter().map(|(_, batch)| batch.amount));
    let balance = state.account(&HELD).balance;
    if balance != held {
        return Err(Broken::Held(balance, held));
    }
    let mut bonds: BTreeMap<Address, (i128, u32)> = BTreeMap::new();
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for (number, batch) in state.batches.iter() {
        let (bond, count) = bonds.entry(batch.worker).or_default();
        *bond = bond.saturating_add(i128::from(batch.bond.millionths()));
        *count = count.saturating_add(1);
        let end = batch.first.saturating_add(u64::from(batch.count));
        // Numbers ascend, and so do a channel's sequences.
        let before = last.insert(batch.channel, end).unwrap_or(0);
        let counted = state.channel(batch.channel).map_or(u64::MAX, |channel| channel.receipts);
        if batch.first < before || end > counted || *number >= state.meta().batch_next {
            return Err(Broken::Receipts(*number));
        }
    }
    for (_, dispute) in state.disputes.iter() {
        let (bond, _) = bonds.entry(dispute.challenger).or_default();
        *bond = bond.saturating_add(i128::from(dispute.bond.millionths()));
    }
    for (account, stake) in state.stakes.iter() {
        let wanted = bonds.remove(account).unwrap_or_default();
        if (i128::from(stake.bonded.millionths()), stake.batches) != wanted {
            return Err(Broken::Bonds(*account));
        }
    }
    match bonds.first_key_value() {
        Some((account, _)) => Err(Broken::Bonds(*account)),
        None => Ok(()),
    }
}

fn votes(state: &State) -> Result<(), Broken> {
    let active = state.members.iter().filter(|(_, member)| Member::is_active(member)).count();
    let counted = state.meta().members_active;
    if usize::try_from(counted) != Ok(active) {
        return Err(Broken::Members(counted, active));
    }
    let mut carried: BTreeMap<(Address, Tier), u32> = BTreeMap::new();
    for ((_, topic), delegation) in state.delegations.iter() {
        let count = carried.entry((delegation.to, *topic)).or_default();
        *count = count.saturating_add(1);
    }
    for (key, count) in state.carried.iter() {
        if carried.remove(key) != Some(*count) {
            return Err(Broken::Carried(key.0));
        }
    }
    if let Some(((delegate, _), _)) = carried.first_key_value() {
        return Err(Broken::Carried(*delegate));
    }
    for (number, proposal) in state.proposals.iter() {
        let counted = governance::recount(state, *number);
        let voters = [counted.yes, counted.no, counted.abstain];
        let voters = voters.into_iter().fold(0_u32, u32::saturating_add);
        let is_open = proposal.stage == Stage::Voting;
        if voters > proposal.electorate || (!is_open && proposal.tally != counted) {
            return Err(Broken::Tally(*number));
        }
    }
    Ok(())
}

fn nodes(state: &State) -> Result<(), Broken> {
    let mut counted: BTreeMap<Address, usize> = BTreeMap::new();
    for (node_key, node) in state.nodes.iter() {
        let count = counted.entry(node.account).or_default();
        *count = count.saturating_add(1);
        if state.owned.get(&(node.account, *node_key)).is_none() || *count > NODES_MAX {
            return Err(Broken::Nodes(node.account));
        }
    }
    for ((account, _), ()) in state.owned.iter() {
        if counted.get(account).copied() != Some(state.nodes_of(account).count()) {
            return Err(Broken::Nodes(*account));
        }
    }
    Ok(())
}

fn audits(state: &State) -> Result<(), Broken> {
    let broken = |key: &Key| Broken::Audit(key.0, key.1);
    let is_disputed =
        |stage| matches!(stage, AuditStage::Answering | AuditStage::Disputed | AuditStage::Token);
    for (key, audit) in state.audits.iter() {
        let has_dispute = state.disputes.get(key).is_some();
        let is_due = audit.until >= state.now();
        if state.batch(key.0).is_none() || has_dispute != is_disputed(audit.stage) || !is_due {
            return Err(broken(key));
        }
    }
    let kept = state.disputes.iter().map(|(key, _)| key);
    let kept = kept.chain(state.payloads.iter().map(|(key, _)| key));
    for key in kept.chain(state.cases.iter().map(|((key, _), _)| key)) {
        if state.audit(*key).is_none() {
            return Err(broken(key));
        }
    }
    if state.payloads.count() > PAYLOADS_MAX || state.disputes.count() > DISPUTES_MAX {
        return Err(Broken::Audit(0, 0));
    }
    Ok(())
}
