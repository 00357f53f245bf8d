//! Members: one person or organisation, one account, one vote.
//!
//! Someone applies, members vouch, and then a rule or a vote admits. Whoever leaves gets the capital
//! that was paid in or left in. Memberships are kept with their beginnings and ends, so that a vote
//! can ask who was a member when it was opened.
//!
//! Invariants:
//! - `Meta::members_active` is the number of active members, at most `MEMBERS_MAX`.
//! - The capital account holds the sum of the members' capital.
//!
//! Not here: votes and delegations (`governance`), dividends (`coop`).

use types::amount::Amount;
use types::bounded::{List, Set, Text};
use types::id::Address;
use types::measure::Parameter;
use types::transaction::{AddCapital, Apply, NAME_MAX, Sponsor};
use types::word::{Policy, Tier};
use types::{record, words};

use crate::accounts::{CAPITAL, end_line, outside, post, post_some, set_line};
use crate::event::Event;
use crate::governance;
use crate::refusal::Refusal;
use crate::state::State;

/// Active members. Bounds the steps of closing a vote and of dividing a surplus.
pub const MEMBERS_MAX: u32 = 65_536;
/// Sponsors that an applicant keeps; as many as the parameter can ask for.
pub const SPONSORS_MAX: usize = 8;
/// Beginnings and ends of membership that are kept for one person.
pub const SPANS_MAX: usize = 16;

record! {
    /// Someone who is, was or wants to be a member.
    Member {
        /// The name that members see.
        name: Text<NAME_MAX>,
        /// Where the person stands.
        status: Status,
        /// Who vouches.
        sponsors: Set<Address, SPONSORS_MAX>,
        /// The person's part of the capital account.
        capital: Amount,
        /// Open proposals.
        proposals: u32,
        /// When the person was an active member, oldest first.
        spans: List<Span, SPANS_MAX>,
    }
}

record! {
    /// A time of active membership, in numbers of `Meta::sequence`.
    Span {
        /// Its beginning.
        from: u64,
        /// Its end, if it has ended.
        until: Option<u64>,
    }
}

words! {
    /// Where a person stands.
    Status {
        /// Members vouch, and the person has not applied.
        1 Invited = "invited",
        /// The person has applied.
        2 Applicant = "applicant",
        /// The person is a member.
        3 Active = "active",
        /// The person is a member without a vote.
        4 Suspended = "suspended",
        /// The person is no longer a member.
        5 Left = "left",
    }
}

impl Member {
    /// Whether the person is an active member.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Status::Active
    }

    /// Whether the person has a membership, active or suspended.
    #[must_use]
    pub fn is_member(&self) -> bool {
        matches!(self.status, Status::Active | Status::Suspended)
    }

    /// Whether the person was an active member at a point of the sequence. One who has left since
    /// counts as one who was not.
    #[must_use]
    pub fn was_active(&self, sequence: u64) -> bool {
        let spans = self.spans.as_slice().iter();
        let holds =
            |span: &Span| span.from <= sequence && span.until.is_none_or(|until| until > sequence);
        self.is_member() && spans.into_iter().any(holds)
    }

    fn new(status: Status) -> Member {
        Member {
            name: Text::default(),
            status,
            sponsors: Set::new(vec![]).expect("an empty set is in order"),
            capital: Amount::ZERO,
            proposals: 0,
            spans: List::default(),
        }
    }
}

/// An active member, or a refusal.
pub(crate) fn active(state: &State, address: &Address) -> Result<Member, Refusal> {
    state.member(address).filter(|member| member.is_active()).cloned().ok_or(Refusal::NotMember)
}

pub(crate) fn apply_for(state: &mut State, account: Address, it: &Apply) -> Result<(), Refusal> {
    let member = state.member(&account).cloned();
    let mut member = member.unwrap_or_else(|| Member::new(Status::Left));
    if member.is_member() {
        return Err(Refusal::AlreadyMember);
    }
    if member.status == Status::Applicant {
        // Asking again admits someone who could not pay the share before.
        try_admit(state, account)?;
        let is_in = state.member(&account).is_some_and(Member::is_active);
        return if is_in { Ok(()) } else { Err(Refusal::AlreadyApplied) };
    }
    member.name = it.name.clone();
    put(state, account, member, Status::Applicant);
    try_admit(state, account)
}

pub(crate) fn sponsor(state: &mut State, by: Address, it: &Sponsor) -> Result<(), Refusal> {
    active(state, &by)?;
    outside(&it.applicant)?;
    let mut member =
        state.member(&it.applicant).cloned().unwrap_or_else(|| Member::new(Status::Left));
    if member.is_member() {
        return Err(Refusal::AlreadyMember);
    }
    if member.sponsors.contains(&by) {
        return Err(Refusal::AlreadySponsored);
    }
    let mut sponsors = member.sponsors.as_slice().to_vec();
    sponsors.push(by);
    member.sponsors = Set::new(sponsors).map_err(|_| Refusal::SponsorsFull)?;
    let status = if member.status == Status::Left { Status::Invited } else { member.status };
    put(state, it.applicant, member, status);
    try_admit(state, it.applicant)
}

/// Whether someone's application costs no fee, since a member vouches.
pub(crate) fn is_invited(state: &State, address: &Address) -> bool {
    state.member(address).is_some_and(|member| member.status == Status::Invited)
}

/// Admits an applicant whom the rule lets in; leaves everyone else as they are.
fn try_admit(state: &mut State, account: Address) -> Result<(), Refusal> {
    if state.parameter(Parameter::AdmissionByVote) == 1 {
        return Ok(());
    }
    let before = state.savepoint();
    match admit(state, account) {
        Ok(()) => Ok(()),
        Err(Refusal::NotApplicant | Refusal::SponsorsMissing | Refusal::NotEnough) => {
            state.rollback(&before);
            Ok(())
        }
        Err(refusal) => Err(refusal),
    }
}

/// Makes an applicant a member: the credit line is set, and the share is paid.
pub(crate) fn admit(state: &mut State, account: Address) -> Result<(), Refusal> {
    let member = state.member(&account).filter(|member| member.status == Status::Applicant);
    let mut member = member.cloned().ok_or(Refusal::NotApplicant)?;
    let sponsors = member.sponsors.as_slice().iter();
    let sponsors = sponsors.filter(|by| active(state, by).is_ok()).count();
    if u64::try_from(sponsors).unwrap_or(0) < state.parameter(Parameter::SponsorsNeeded) {
        return Err(Refusal::SponsorsMissing);
    }
    if state.meta().policy == Policy::Mutual {
        // Someone who was expelled with a debt keeps at least the line that holds it.
        let line = state.parameter_amount(Parameter::CreditLine).max(state.account(&account).line);
        set_line(state, account, line);
    }
    let share = state.parameter_amount(Parameter::MemberShare);
    post_some(state, account, CAPITAL, share)?;
    member.capital = member.capital.checked_add(share).ok_or(Refusal::BalanceTooLarge)?;
    begin_span(state, &mut member)?;
    put(state, account, member, Status::Active);
    Ok(())
}

/// A founder: a member from the first block on, without sponsors and share.
pub(crate) fn found(
    state: &mut State,
    account: Address,
    name: &Text<NAME_MAX>,
) -> Result<(), Refusal> {
    let mut member = Member::new(Status::Applicant);
    member.name = name.clone();
    begin_span(state, &mut member)?;
    if state.meta().policy == Policy::Mutual {
        set_line(state, account, state.parameter_amount(Parameter::CreditLine));
    }
    put(state, account, member, Status::Active);
    Ok(())
}

pub(crate) fn add_capital(
    state: &mut State,
    account: Address,
    it: &AddCapital,
) -> Result<(), Refusal> {
    active(state, &account)?;
    post(state, account, CAPITAL, it.amount)?;
    credit_capital(state, account, it.amount)
}

/// Notes that so much of the capital account is the member's.
pub(crate) fn credit_capital(
    state: &mut State,
    account: Address,
    amount: Amount,
) -> Result<(), Refusal> {
    let mut member = state.member(&account).cloned().ok_or(Refusal::NotMember)?;
    member.capital = member.capital.checked_add(amount).ok_or(Refusal::BalanceTooLarge)?;
    state.say(Event::Capital { account, capital: member.capital });
    state.members.put(account, member);
    Ok(())
}

/// Ends one's own membership. Debts are paid from the capital; more debt than that stays a reason
/// to stay.
pub(crate) fn leave(state: &mut State, account: Address) -> Result<(), Refusal> {
    if state.account(&account).locked != Amount::ZERO {
        return Err(Refusal::CreditsLocked);
    }
    end(state, account)?;
    if state.account(&account).balance < 0 {
        return Err(Refusal::DebtOutstanding);
    }
    Ok(())
}

/// Ends someone else's membership. A debt stays, and can only be paid back.
pub(crate) fn expel(state: &mut State, account: Address) -> Result<(), Refusal> {
    end(state, account)
}

fn end(state: &mut State, account: Address) -> Result<(), Refusal> {
    let member = state.member(&account).filter(|member| member.is_member());
    let mut member = member.cloned().ok_or(Refusal::NotMember)?;
    if member.is_active() {
        end_span(state, &mut member)?;
    }
    let capital = std::mem::take(&mut member.capital);
    post_some(state, CAPITAL, account, capital)?;
    end_line(state, account);
    member.sponsors = Set::new(vec![]).map_err(|_| Refusal::SponsorsFull)?;
    put(state, account, member, Status::Left);
    for &topic in Tier::ALL {
        governance::end_delegation(state, account, topic);
    }
    Ok(())
}

pub(crate) fn suspend(state: &mut State, account: Address) -> Result<(), Refusal> {
    let mut member = active(state, &account)?;
    end_span(state, &mut member)?;
    put(state, account, member, Status::Suspended);
    Ok(())
}

pub(crate) fn reinstate(state: &mut State, account: Address) -> Result<(), Refusal> {
    let member = state.member(&account).filter(|member| member.status == Status::Suspended);
    let mut member = member.cloned().ok_or(Refusal::NotSuspended)?;
    begin_span(state, &mut member)?;
    put(state, account, member, Status::Active);
    Ok(())
}

/// Begins a time of active membership. One that ended before every open vote began is forgotten if
/// the list is full.
fn begin_span(state: &mut State, member: &mut Member) -> Result<(), Refusal> {
    let count = state.meta().members_active.saturating_add(1);
    if count > MEMBERS_MAX {
        return Err(Refusal::MembersFull);
    }
    let mut spans = member.spans.as_slice().to_vec();
    if spans.len() >= SPANS_MAX {
        let oldest_vote = governance::oldest_open_vote(state);
        spans.retain(|span| span.until.is_none_or(|until| until > oldest_vote));
    }
    spans.push(Span { from: state.next_sequence(), until: None });
    member.spans = List::new(spans).map_err(|_| Refusal::HistoryFull)?;
    state.set_meta(|meta| meta.members_active = count);
    Ok(())
}

fn end_span(state: &mut State, member: &mut Member) -> Result<(), Refusal> {
    let count = state.meta().members_active.saturating_sub(1);
    if count == 0 {
        return Err(Refusal::LastMember);
    }
    let now = state.next_sequence();
    let mut spans = member.spans.as_slice().to_vec();
    if let Some(last) = spans.last_mut() {
        last.until = Some(now);
    }
    member.spans = List::new(spans).map_err(|_| Refusal::HistoryFull)?;
    state.set_meta(|meta| meta.members_active = count);
    Ok(())
}

fn put(state: &mut State, account: Address, mut member: Member, status: Status) {
    member.status = status;
    state.members.put(account, member);
    state.say(Event::Member { account, status });
}
