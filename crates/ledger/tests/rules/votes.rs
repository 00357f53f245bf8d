//! Who may vote, what passes, and when it is executed.

use ledger::event::Event;
use ledger::governance::{Stage, dry_run, recount};
use ledger::refusal::Refusal;
use types::amount::Height;
use types::measure::*;
use types::transaction::*;
use types::word::{Choice, Policy, Tier};

use crate::world::{World, address, credits, proposal, set, text, transfer, vote};

fn suspend(name: &str) -> Measure {
    Measure::SuspendMember(SuspendMember { account: address(name) })
}

fn stage(world: &World, number: u64) -> Stage {
    world.state.proposal(number).unwrap().stage
}

fn delegate(to: &str, topic: Tier, expires: u64) -> Action {
    Action::Delegate(Delegate { topic, to: address(to), expires: Height(expires) })
}

/// Votes of a new proposal to set the fee, and where it stands after the vote.
fn outcome(ballots: &[(&str, Choice)], quorum: u64, threshold: u64) -> Stage {
    let mut world = World::mutual();
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    let rules = vec![
        set(Parameter::ParameterQuorum, quorum),
        set(Parameter::ParameterThreshold, threshold),
    ];
    world.pass(&everyone, rules);
    let number = world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    for (name, choice) in ballots {
        world.act(name, vote(number, *choice));
    }
    world.blocks(4);
    stage(&world, number)
}

#[test]
fn quorum_and_threshold_are_exact() {
    let (yes, no, abstain) = (Choice::Yes, Choice::No, Choice::Abstain);
    let two = [("amal", yes), ("badr", yes)];
    assert_eq!(outcome(&two, 400, 500), Stage::Waiting);
    assert_eq!(outcome(&two, 401, 500), Stage::Rejected);
    let even = [("amal", yes), ("badr", no)];
    assert_eq!(outcome(&even, 1, 500), Stage::Rejected);
    let third = [("amal", yes), ("badr", yes), ("dina", no)];
    assert_eq!(outcome(&third, 1, 666), Stage::Waiting);
    assert_eq!(outcome(&third, 1, 667), Stage::Rejected);
    let quiet = [("amal", yes), ("badr", abstain), ("dina", abstain)];
    assert_eq!(outcome(&quiet, 600, 900), Stage::Waiting);
    assert_eq!(outcome(&[("badr", abstain)], 1, 500), Stage::Rejected);
    assert_eq!(outcome(&[], 1, 500), Stage::Rejected);
}

#[test]
fn the_electorate_is_that_of_the_opening() {
    let mut world = World::mutual();
    world.act("amal", Action::Sponsor(Sponsor { applicant: address("nour") }));
    world.act("nour", Action::Apply(Apply { name: text("Nour") }));
    let before = world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    world.act("badr", Action::Sponsor(Sponsor { applicant: address("nour") }));
    let after = world.propose("amal", vec![set(Parameter::FeeFlat, 8)]);
    assert_eq!(world.state.proposal(before).unwrap().electorate, 5);
    assert_eq!(world.state.proposal(after).unwrap().electorate, 6);
    world.refuse("nour", vote(before, Choice::Yes), Refusal::NotElector);
    world.act("nour", vote(after, Choice::Yes));
}

#[test]
fn only_active_members_vouch() {
    let mut world = World::mutual();
    let sponsor = || Action::Sponsor(Sponsor { applicant: address("nour") });
    world.act("hadi", sponsor());
    world.pass(&["amal", "badr", "dina"], vec![suspend("hadi")]);
    world.act("amal", sponsor());
    world.act("nour", Action::Apply(Apply { name: text("Nour") }));
    let is_in = |world: &World| world.state.member(&address("nour")).unwrap().is_active();
    assert!(!is_in(&world));
    world.act("badr", sponsor());
    assert!(is_in(&world));
}

#[test]
fn a_suspension_takes_no_vote_that_was_open_before_it() {
    let mut world = World::mutual();
    let first = world.propose("amal", vec![suspend("hadi")]);
    for name in ["amal", "badr", "dina"] {
        world.act(name, vote(first, Choice::Yes));
    }
    world.blocks(3);
    let open = world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    world.blocks(3);
    assert_eq!(stage(&world, first), Stage::Executed);
    world.act("hadi", vote(open, Choice::No));
    let later = world.propose("amal", vec![set(Parameter::FeeFlat, 8)]);
    world.refuse("hadi", vote(later, Choice::No), Refusal::NotElector);
    world.refuse("hadi", proposal(vec![suspend("amal")]), Refusal::NotMember);
    let reinstate = Measure::ReinstateMember(ReinstateMember { account: address("hadi") });
    world.pass(&["amal", "badr", "dina"], vec![reinstate]);
    let last = world.propose("hadi", vec![set(Parameter::FeeFlat, 9)]);
    world.act("hadi", vote(last, Choice::Yes));
}

#[test]
fn a_delegates_ballot_counts_for_the_silent_and_only_one_step() {
    let mut world = World::mutual();
    world.act("layla", delegate("dina", Tier::Parameter, 1000));
    world.act("hadi", delegate("layla", Tier::Parameter, 1000));
    world.act("badr", delegate("dina", Tier::Budget, 1000));
    let number = world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    world.act("dina", vote(number, Choice::Yes));
    world.blocks(4);
    // Dina and Layla; Hadi's delegate cast no ballot of her own, and Badr's topic is another.
    assert_eq!(recount(&world.state, number).yes, 2);
    let number = world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    world.act("dina", vote(number, Choice::Yes));
    world.act("layla", vote(number, Choice::No));
    world.blocks(4);
    let tally = recount(&world.state, number);
    assert_eq!((tally.yes, tally.no), (1, 2));
}

#[test]
fn a_delegation_ends_at_once_and_by_itself() {
    let mut world = World::mutual();
    world.act("layla", delegate("dina", Tier::Parameter, 1000));
    world.act("hadi", delegate("dina", Tier::Parameter, 2));
    let number = world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    world.act("dina", vote(number, Choice::Yes));
    world.act("layla", Action::Undelegate(Undelegate { topic: Tier::Parameter }));
    world.blocks(4);
    assert_eq!(recount(&world.state, number).yes, 1);
}

#[test]
fn a_delegate_carries_as_many_as_members_set() {
    let mut world = World::mutual();
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    world.pass(&everyone, vec![set(Parameter::DelegationCarry, 1)]);
    let until = world.state.now().0 + 10;
    world.act("amal", delegate("dina", Tier::Ordinary, until));
    world.act("amal", delegate("dina", Tier::Ordinary, until + 1));
    world.refuse("badr", delegate("dina", Tier::Ordinary, until), Refusal::DelegateFull);
    world.act("amal", delegate("hadi", Tier::Ordinary, until));
    world.act("badr", delegate("dina", Tier::Ordinary, until));
}

#[test]
fn a_ballot_can_be_changed_until_the_last_block() {
    let mut world = World::mutual();
    let number = world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    world.act("amal", vote(number, Choice::Yes));
    world.blocks(3);
    world.act("amal", vote(number, Choice::No));
    world.blocks(1);
    assert_eq!(recount(&world.state, number).no, 1);
    assert_eq!(recount(&world.state, number).yes, 0);
    world.refuse("amal", vote(number, Choice::Yes), Refusal::VoteClosed);
}

#[test]
fn what_has_passed_is_executed_once_after_its_timelock() {
    let mut world = World::mutual();
    let fund = Action::Give(Give { fund: types::word::Fund::Commons, amount: credits("5") });
    world.act("amal", fund);
    let spend = SpendCommons { to: address("hadi"), amount: credits("2"), purpose: text("x") };
    let number = world.propose("amal", vec![Measure::SpendCommons(spend)]);
    for name in ["amal", "badr", "dina"] {
        world.act(name, vote(number, Choice::Yes));
    }
    world.blocks(5);
    assert_eq!(world.balance("hadi"), 0);
    world.blocks(1);
    assert_eq!(world.balance("hadi"), 2_000_000);
    world.blocks(100);
    assert_eq!(world.balance("hadi"), 2_000_000);
}

#[test]
fn measures_are_executed_all_or_none() {
    let mut world = World::mutual();
    let give = Action::Give(Give { fund: types::word::Fund::Commons, amount: credits("5") });
    world.act("amal", give);
    let spend = |amount| {
        let (to, amount) = (address("hadi"), credits(amount));
        Measure::SpendCommons(SpendCommons { to, amount, purpose: text("x") })
    };
    let first = world.propose("amal", vec![spend("4")]);
    let second = world.propose("amal", vec![set(Parameter::FeeFlat, 7), spend("3")]);
    for name in ["amal", "badr", "dina", "hadi"] {
        world.act(name, vote(first, Choice::Yes));
        world.act(name, vote(second, Choice::Yes));
    }
    let events = world.blocks(6);
    assert_eq!((stage(&world, first), stage(&world, second)), (Stage::Executed, Stage::Failed));
    let failed = Event::Failed { proposal: second, refusal: Refusal::NotEnough };
    assert!(events.contains(&failed));
    assert_eq!(world.state.parameter(Parameter::FeeFlat), 10_000);
}

#[test]
fn a_dry_run_shows_what_would_happen_and_changes_nothing() {
    let mut world = World::mutual();
    let before = world.state.clone();
    let events = dry_run(&mut world.state, &[set(Parameter::FeeFlat, 7)]).unwrap();
    assert_eq!(events, [Event::Parameter { parameter: Parameter::FeeFlat, value: 7 }]);
    let bad = [set(Parameter::FeeFlat, 7), set(Parameter::ReserveParts, 1000)];
    assert_eq!(dry_run(&mut world.state, &bad), Err(Refusal::OutOfRange));
    assert_eq!(world.state.entries(), before.entries());
    world.refuse("amal", proposal(bad.to_vec()), Refusal::OutOfRange);
}

#[test]
fn a_guardian_delays_once_and_never_what_is_about_itself() {
    let mut world = World::mutual();
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    world.refuse("hadi", Action::Delay(Delay { proposal: 1 }), Refusal::NotGuardian);
    let elect = |guardian| Measure::SetGuardian(SetGuardian { guardian });
    world.pass(&everyone, vec![elect(Some(address("hadi")))]);
    let number = world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    let removal = world.propose("badr", vec![elect(None)]);
    for name in everyone {
        world.act(name, vote(number, Choice::Yes));
        world.act(name, vote(removal, Choice::Yes));
    }
    world.refuse("hadi", Action::Delay(Delay { proposal: number }), Refusal::NotWaiting);
    world.blocks(4);
    world.act("hadi", Action::Delay(Delay { proposal: number }));
    world.refuse("hadi", Action::Delay(Delay { proposal: number }), Refusal::AlreadyDelayed);
    world.refuse("hadi", Action::Delay(Delay { proposal: removal }), Refusal::AboutGuardian);
    world.blocks(2);
    assert_eq!((stage(&world, number), stage(&world, removal)), (Stage::Waiting, Stage::Executed));
    world.blocks(5);
    assert_eq!(stage(&world, number), Stage::Executed);
}

#[test]
fn a_deposit_is_locked_while_the_vote_is_open() {
    let mut world = World::new(Policy::Prepaid, &["amal", "badr"]);
    // Whoever has less locks less: nobody is too poor to propose.
    world.propose("badr", vec![set(Parameter::FeeFlat, 7)]);
    assert_eq!(world.state.proposal(1).unwrap().deposit, credits("0"));
    let issue = IssueCredits { to: address("amal"), amount: credits("6"), reference: text("1") };
    world.act("cashier", Action::IssueCredits(issue));
    world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    world.refuse("amal", transfer("badr", "1.000001"), Refusal::NotEnough);
    world.act("amal", transfer("badr", "1"));
    world.refuse("amal", Action::Leave(Leave {}), Refusal::CreditsLocked);
    world.blocks(4);
    world.act("amal", transfer("badr", "5"));
}

#[test]
fn validators_change_two_blocks_after_the_vote() {
    use types::id::Hash;
    let mut world = World::mutual();
    let (node_key, account) = (Hash([2; 32]), address("badr"));
    let admit = AdmitValidator { node_key, account, power: 3 };
    let number = world.propose("amal", vec![Measure::AdmitValidator(admit)]);
    for name in ["amal", "badr", "dina"] {
        world.act(name, vote(number, Choice::Yes));
    }
    world.blocks(6);
    let height = world.state.meta().height;
    assert_eq!(world.state.validators_at(height.after(1)).len(), 1);
    assert_eq!(world.state.validators_at(height.after(2)).len(), 2);
    let remove = |node_key| Measure::RemoveValidator(RemoveValidator { node_key });
    world.pass(&["amal", "badr", "dina"], vec![remove(Hash([1; 32]))]);
    world.blocks(2);
    let now = world.state.now();
    assert_eq!(world.state.validators_at(now), [(node_key, 3)]);
    let last = proposal(vec![remove(node_key)]);
    world.refuse("amal", last, Refusal::LastValidator);
}
