//! Votes: proposals, ballots, delegations, and what happens when a vote is over.
//!
//! A proposal carries measures. Its bar is the highest that one of them needs. Who may vote is
//! fixed when it is opened, and so are quorum, threshold and timelock. If it passes, its measures
//! are executed after the timelock, all or nothing, once.
//!
//! Invariants:
//! - One ballot for each member and proposal. A delegate's own ballot counts for those who let it,
//!   and have cast none; nobody's vote travels further than one step.
//! - A proposal is executed at most once, and only if it has passed.
//! - A guardian can delay an execution once, and can do nothing else.
//!
//! Not here: what measures do (`measures`).

use types::amount::{Amount, Height};
use types::bounded::{List, Text};
use types::codec::{Canonical, Malformed, Reader};
use types::id::{Address, Cid};
use types::measure::{Measure, Parameter};
use types::transaction::{Delay, Delegate, MEASURES_MAX, NAME_MAX, Propose, Undelegate, Vote};
use types::word::{Choice, Tier};
use types::{record, words};

use crate::accounts::{lock, unlock};
use crate::event::{Event, Tally};
use crate::measures;
use crate::members::{Member, active};
use crate::parameters::{WHOLE, bar};
use crate::refusal::Refusal;
use crate::state::State;

record! {
    /// A proposal.
    Proposal {
        /// Who opened it.
        proposer: Address,
        /// What it is about.
        title: Text<NAME_MAX>,
        /// Its full text, if there is one.
        text: Option<Cid>,
        /// What it does.
        measures: List<Measure, MEASURES_MAX>,
        /// Its bar.
        tier: Tier,
        /// When it was opened, in numbers of `Meta::sequence`.
        opened: u64,
        /// The last block of the vote.
        closes: Height,
        /// Active members when it was opened.
        electorate: u32,
        /// Thousandths of the electorate that must vote.
        quorum: u64,
        /// Thousandths of yes and no that yes must exceed.
        threshold: u64,
        /// Blocks between the vote and its execution.
        timelock: u64,
        /// What of the proposer's is locked until the vote is over.
        deposit: Amount,
        /// Where it stands.
        stage: Stage,
        /// The block at whose end it is executed, once it has passed.
        executes: Height,
        /// Whether the guardian has delayed it.
        is_delayed: bool,
        /// Ballots, once the vote is over.
        tally: Tally,
        /// The refusal's number, if it could not be executed.
        failure: u32,
    }
}

words! {
    /// Where a proposal stands.
    Stage {
        /// Members vote.
        1 Voting = "voting",
        /// It has passed and waits.
        2 Waiting = "waiting",
        /// It has not passed.
        3 Rejected = "rejected",
        /// It was executed.
        4 Executed = "executed",
        /// It had passed, and could not be executed.
        5 Failed = "failed",
    }
}

record! {
    /// A ballot.
    Ballot {
        /// The choice.
        choice: Choice,
        /// Who made it: the voter, or its delegate.
        by: Address,
    }
}

record! {
    /// Someone whose own ballot counts for another.
    Delegation {
        /// The delegate.
        to: Address,
        /// The last block in which it holds.
        expires: Height,
    }
}

record! {
    /// Something to be done at the end of a block.
    #[derive(Copy, PartialOrd, Ord)]
    Task {
        /// What.
        kind: TaskKind,
        /// The number of the proposal, channel or topic.
        number: u64,
        /// Whose delegation; zero otherwise.
        account: Address,
    }
}

words! {
    /// What is to be done at the end of a block, in this order.
    TaskKind {
        /// A vote is over.
        1 CloseVote = "close vote",
        /// A proposal is executed.
        2 Execute = "execute",
        /// A channel's rest goes back to its payer.
        3 CloseChannel = "close channel",
        /// A delegation has expired.
        4 EndDelegation = "end delegation",
        /// A batch is drawn.
        5 DrawBatch = "draw batch",
        /// A batch is settled.
        6 SettleBatch = "settle batch",
        /// A stake that was taken back is paid out.
        7 ReturnStake = "return stake",
        /// A stage of a batch's audits is over.
        10 Audits = "audits",
    }
}

impl Canonical for Tally {
    fn write(&self, out: &mut Vec<u8>) {
        [self.yes, self.no, self.abstain].iter().for_each(|count| count.write(out));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (yes, no) = (u32::read(reader)?, u32::read(reader)?);
        Ok(Tally { yes, no, abstain: u32::read(reader)? })
    }
}

impl Tally {
    fn add(&mut self, choice: Choice) {
        let count = match choice {
            Choice::Yes => &mut self.yes,
            Choice::No => &mut self.no,
            Choice::Abstain => &mut self.abstain,
        };
        *count = count.saturating_add(1);
    }

    /// Whether the ballots pass a bar.
    fn passes(&self, proposal: &Proposal) -> bool {
        let [yes, no, abstain] = [self.yes, self.no, self.abstain].map(u128::from);
        let against = yes.saturating_add(no);
        let voted = against.saturating_add(abstain).saturating_mul(u128::from(WHOLE));
        let wanted = u128::from(proposal.electorate).saturating_mul(u128::from(proposal.quorum));
        let bar = against.saturating_mul(u128::from(proposal.threshold));
        voted >= wanted && yes.saturating_mul(u128::from(WHOLE)) > bar
    }
}

/// What the measures would do if they were executed now. Leaves the state as it was.
///
/// # Errors
///
/// The refusal of the first measure that would be refused.
pub fn dry_run(state: &mut State, measures: &[Measure]) -> Result<Vec<Event>, Refusal> {
    let before = state.savepoint();
    let outcome = measures.iter().try_for_each(|measure| measures::execute(state, measure));
    let events = state.said_since(&before);
    state.rollback(&before);
    outcome.map(|()| events)
}

/// The tally of a vote, from its ballots.
#[must_use]
pub fn recount(state: &State, number: u64) -> Tally {
    let ballots = (number, Address([0; 20]))..=(number, Address([255; 20]));
    let mut tally = Tally::default();
    state.ballots.range(ballots).for_each(|(_, ballot)| tally.add(ballot.choice));
    tally
}

pub(crate) fn propose(state: &mut State, account: Address, it: &Propose) -> Result<(), Refusal> {
    let mut member = active(state, &account)?;
    let measures = it.measures.as_slice();
    let tier = measures.iter().map(measures::tier).max().ok_or(Refusal::NoMeasures)?;
    if u64::from(member.proposals) >= state.parameter(Parameter::ProposalsOpen) {
        return Err(Refusal::ProposalsFull);
    }
    dry_run(state, measures)?;
    let deposit = lock(state, account, state.parameter_amount(Parameter::ProposalDeposit));
    member.proposals = member.proposals.saturating_add(1);
    state.members.put(account, member);
    let (number, bar) = (state.meta().proposal_next, bar(tier));
    let closes = state.now().after(state.parameter(bar.voting));
    let proposal = Proposal {
        proposer: account,
        title: it.title.clone(),
        text: it.text,
        measures: it.measures.clone(),
        tier,
        opened: state.next_sequence(),
        closes,
        electorate: state.meta().members_active,
        quorum: state.parameter(bar.quorum),
        threshold: state.parameter(bar.threshold),
        timelock: state.parameter(bar.timelock),
        deposit,
        stage: Stage::Voting,
        executes: Height(0),
        is_delayed: false,
        tally: Tally::default(),
        failure: 0,
    };
    state.proposals.put(number, proposal);
    state.set_meta(|meta| meta.proposal_next = number.saturating_add(1));
    plan(state, closes, TaskKind::CloseVote, number);
    state.say(Event::Opened { proposal: number, tier, closes });
    Ok(())
}

pub(crate) fn vote(state: &mut State, account: Address, it: &Vote) -> Result<(), Refusal> {
    let proposal = state.proposal(it.proposal).ok_or(Refusal::ProposalUnknown)?;
    if proposal.stage != Stage::Voting {
        return Err(Refusal::VoteClosed);
    }
    if !state.member(&account).is_some_and(|member| member.was_active(proposal.opened)) {
        return Err(Refusal::NotElector);
    }
    let ballot = Ballot { choice: it.choice, by: account };
    state.ballots.put((it.proposal, account), ballot);
    state.say(Event::Ballot { proposal: it.proposal, account, choice: it.choice });
    Ok(())
}

pub(crate) fn delegate(state: &mut State, from: Address, it: &Delegate) -> Result<(), Refusal> {
    active(state, &from)?;
    if it.to == from || active(state, &it.to).is_err() {
        return Err(Refusal::BadDelegate);
    }
    let now = state.now();
    if it.expires < now || it.expires > now.after(state.parameter(Parameter::DelegationBlocks)) {
        return Err(Refusal::DelegationLength);
    }
    end_delegation(state, from, it.topic);
    let carried = state.carried.get(&(it.to, it.topic)).copied().unwrap_or(0);
    if u64::from(carried) >= state.parameter(Parameter::DelegationCarry) {
        return Err(Refusal::DelegateFull);
    }
    state.carried.put((it.to, it.topic), carried.saturating_add(1));
    state.delegations.put((from, it.topic), Delegation { to: it.to, expires: it.expires });
    let number = u64::from(it.topic.number());
    let task = Task { kind: TaskKind::EndDelegation, number, account: from };
    state.agenda.put((it.expires, task), ());
    state.say(Event::Delegation { from, topic: it.topic, to: Some(it.to) });
    Ok(())
}

pub(crate) fn undelegate(state: &mut State, from: Address, it: &Undelegate) -> Result<(), Refusal> {
    if state.delegations.get(&(from, it.topic)).is_none() {
        return Err(Refusal::DelegationUnknown);
    }
    end_delegation(state, from, it.topic);
    Ok(())
}

/// Ends a delegation, if there is one.
pub(crate) fn end_delegation(state: &mut State, from: Address, topic: Tier) {
    let Some(old) = state.delegations.get(&(from, topic)).cloned() else { return };
    state.delegations.remove(&(from, topic));
    let number = u64::from(topic.number());
    let task = Task { kind: TaskKind::EndDelegation, number, account: from };
    state.agenda.remove(&(old.expires, task));
    match state.carried.get(&(old.to, topic)).copied().unwrap_or(0) {
        0 | 1 => state.carried.remove(&(old.to, topic)),
        carried => state.carried.put((old.to, topic), carried.saturating_sub(1)),
    }
    state.say(Event::Delegation { from, topic, to: None });
}

pub(crate) fn delay(state: &mut State, account: Address, it: &Delay) -> Result<(), Refusal> {
    if state.meta().guardian != Some(account) {
        return Err(Refusal::NotGuardian);
    }
    let mut proposal = state.proposal(it.proposal).cloned().ok_or(Refusal::ProposalUnknown)?;
    if proposal.stage != Stage::Waiting {
        return Err(Refusal::NotWaiting);
    }
    if proposal.is_delayed {
        return Err(Refusal::AlreadyDelayed);
    }
    let is_about = |measure: &Measure| matches!(measure, Measure::SetGuardian(_));
    if proposal.measures.as_slice().iter().any(is_about) {
        return Err(Refusal::AboutGuardian);
    }
    let task = Task { kind: TaskKind::Execute, number: it.proposal, account: Address([0; 20]) };
    state.agenda.remove(&(proposal.executes, task));
    proposal.executes = proposal.executes.after(state.parameter(Parameter::GuardianDelay));
    proposal.is_delayed = true;
    plan(state, proposal.executes, TaskKind::Execute, it.proposal);
    state.say(Event::Delayed { proposal: it.proposal, executes: proposal.executes });
    state.proposals.put(it.proposal, proposal);
    Ok(())
}

/// Puts something on the agenda.
pub(crate) fn plan(state: &mut State, at: Height, kind: TaskKind, number: u64) {
    state.agenda.put((at, Task { kind, number, account: Address([0; 20]) }), ());
}

/// The first opening among the votes that are still open, in numbers of `Meta::sequence`.
pub(crate) fn oldest_open_vote(state: &State) -> u64 {
    let tasks = state.agenda.iter().map(|((_, task), ())| task);
    let open = tasks.filter(|task| task.kind == TaskKind::CloseVote);
    let opened = open.filter_map(|task| state.proposal(task.number)).map(|it| it.opened);
    opened.min().unwrap_or(u64::MAX)
}

/// Ends a vote: casts the ballots of those who let another vote, and counts.
pub(crate) fn close_vote(state: &mut State, number: u64) {
    let Some(mut proposal) = state.proposal(number).cloned() else { return };
    for (voter, ballot) in inherited(state, number, &proposal) {
        state.ballots.put((number, voter), ballot);
    }
    proposal.tally = recount(state, number);
    let has_passed = proposal.tally.passes(&proposal);
    proposal.stage = if has_passed { Stage::Waiting } else { Stage::Rejected };
    if has_passed {
        // At least one block later, so that a guardian and those who leave can see it.
        proposal.executes = state.now().after(proposal.timelock.max(1));
        plan(state, proposal.executes, TaskKind::Execute, number);
    }
    unlock(state, proposal.proposer, proposal.deposit);
    if let Some(mut member) = state.member(&proposal.proposer).cloned() {
        member.proposals = member.proposals.saturating_sub(1);
        state.members.put(proposal.proposer, member);
    }
    state.say(Event::Closed { proposal: number, tally: proposal.tally, has_passed });
    state.proposals.put(number, proposal);
}

/// The ballots of those who have cast none themselves and let someone vote who has.
fn inherited(state: &State, number: u64, proposal: &Proposal) -> Vec<(Address, Ballot)> {
    let own = |voter: &Address| state.ballots.get(&(number, *voter));
    let electors = state.members.iter().filter(|(_, it)| Member::was_active(it, proposal.opened));
    let silent = electors.filter(|(voter, _)| own(voter).is_none());
    let lent = silent.filter_map(|(voter, _)| {
        let delegation = state.delegations.get(&(*voter, proposal.tier))?;
        Some((*voter, own(&delegation.to)?.clone()))
    });
    lent.collect()
}

/// Executes a proposal that has passed, all of its measures or none.
pub(crate) fn execute(state: &mut State, number: u64) {
    let Some(mut proposal) = state.proposal(number).cloned() else { return };
    if proposal.stage != Stage::Waiting {
        return;
    }
    let before = state.savepoint();
    let measures = proposal.measures.as_slice();
    match measures.iter().try_for_each(|measure| measures::execute(state, measure)) {
        Ok(()) => {
            proposal.stage = Stage::Executed;
            state.say(Event::Executed { proposal: number });
        }
        Err(refusal) => {
            state.rollback(&before);
            proposal.stage = Stage::Failed;
            proposal.failure = refusal.number();
            state.say(Event::Failed { proposal: number, refusal });
        }
    }
    state.proposals.put(number, proposal);
}
