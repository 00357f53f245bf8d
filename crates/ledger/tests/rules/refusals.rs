//! Every refusal is reached, and refuses what it says.

use std::collections::BTreeSet;

use ledger::apply::{apply, end_block};
use ledger::genesis::{Genesis, SNAPSHOT_BLOCKS_MAX, SNAPSHOT_BLOCKS_MIN};
use ledger::nodes::NODES_MAX;
use ledger::refusal::Refusal;
use ledger::sessions::SESSIONS_MAX;
use types::amount::{AMOUNT_MAX, Amount, Blocks, Height, Nonce};
use types::bounded::{List, Set};
use types::id::{Address, Hash};
use types::measure::*;
use types::signature::Signature;
use types::transaction::*;
use types::word::{Choice, Policy, Scope, Tier};

use crate::validators::{Net, call_back};
use crate::world::*;

/// Refusals that were seen.
type Seen = BTreeSet<Refusal>;

/// Refusals that no test can reach by orders of a bearable number; each with the reason.
const UNREACHED: [(Refusal, &str); 8] = [
    (Refusal::BatchesFull, "needs 1,024 batches"),
    (Refusal::AuditorsFull, "needs 4,096 auditors"),
    (Refusal::PayloadsFull, "needs 256 audits"),
    (Refusal::DisputesFull, "needs 256 disputes"),
    (Refusal::NothingDisputed, "needs a run of over 2^40 steps"),
    (Refusal::MembersFull, "needs 65,536 members"),
    (Refusal::HistoryFull, "needs 16 suspensions during one vote"),
    (Refusal::WrongHeight, "no order; `a_block_follows_the_last_one` shows it"),
];

#[test]
fn every_refusal_is_reached() {
    let mut seen = Seen::new();
    for part in
        [envelope, session, account, prepaid, membership, vote_rules, measure, work, channel, node]
    {
        part(&mut seen);
    }
    begin(&mut seen);
    validator(&mut seen);
    crate::audits::refusals(&mut seen);
    crate::disputes::refusals(&mut seen);
    crate::stakes::refusals(&mut seen);
    let unreached: BTreeSet<Refusal> = UNREACHED.iter().map(|(refusal, _)| *refusal).collect();
    let all: BTreeSet<Refusal> = Refusal::ALL.iter().copied().collect();
    let reached: BTreeSet<Refusal> = seen.union(&unreached).copied().collect();
    let missing: Vec<&Refusal> = all.difference(&reached).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_block_follows_the_last_one() {
    let mut world = World::mutual();
    let signed = world.sign("amal", world.order("amal", transfer("badr", "1")));
    for height in [0, 2, u64::MAX] {
        let outcome = apply(&mut world.state, Height(height), &signed);
        assert_eq!(outcome, Err(Refusal::WrongHeight));
        assert_eq!(end_block(&mut world.state, Height(height)), Err(Refusal::WrongHeight));
    }
}

struct Case<'a> {
    world: World,
    seen: &'a mut Seen,
}

impl Case<'_> {
    fn no(&mut self, name: &str, action: Action, wanted: Refusal) {
        self.world.refuse(name, action, wanted);
        self.seen.insert(wanted);
    }

    fn yes(&mut self, name: &str, action: Action) {
        self.world.act(name, action);
    }

    fn of(world: World, seen: &mut Seen) -> Case<'_> {
        Case { world, seen }
    }
}

fn envelope(seen: &mut Seen) {
    let mut world = World::mutual();
    let good = world.order("amal", transfer("badr", "1"));
    let mut check = |world: &mut World, signed: &types::envelope::Signed, wanted| {
        assert_eq!(world.try_signed(signed), Err(wanted));
        seen.insert(wanted);
    };
    let signed = world.sign("amal", good.clone());
    let mut bad = signed.clone();
    bad.signature.0[64] = 29;
    check(&mut world, &bad, Refusal::SignatureForm);
    let mut bad = signed.clone();
    bad.signature.0[32] |= 0x80;
    check(&mut world, &bad, Refusal::SignatureHighS);
    let mut bad = signed.clone();
    bad.signature = Signature([0; 65]);
    bad.signature.0[64] = 27;
    check(&mut world, &bad, Refusal::SignatureInvalid);
    let elsewhere = good.clone().sign(&secret("amal"), &Hash([9; 32]));
    check(&mut world, &elsewhere, Refusal::NotTheSigner);
    let mut late = good.clone();
    late.valid_until = Height(0);
    let late = world.sign("amal", late);
    check(&mut world, &late, Refusal::OrderExpired);
    let mut early = good.clone();
    early.nonce = Nonce(1);
    let early = world.sign("amal", early);
    check(&mut world, &early, Refusal::NonceTooHigh);
    world.try_signed(&signed).unwrap();
    check(&mut world, &signed, Refusal::NonceUsed);
    let mut own = good;
    own.account = ledger::accounts::TREASURY;
    let own = world.sign("amal", own);
    check(&mut world, &own, Refusal::SystemAccount);
}

fn grant(key: &str, cap: &str, scopes: Vec<Scope>, expires: u64) -> Action {
    let (key, cap, scopes) = (address(key), credits(cap), Set::new(scopes).unwrap());
    Action::GrantSession(GrantSession { key, cap, scopes, expires: Height(expires) })
}

fn session(seen: &mut Seen) {
    let mut it = Case::of(World::mutual(), seen);
    it.no("amal", grant("amal", "1", vec![], 5), Refusal::ToItself);
    it.no("amal", grant("key", "1", vec![], 0), Refusal::SessionLength);
    it.no("amal", grant("key", "1", vec![], u64::MAX), Refusal::SessionLength);
    it.yes("amal", grant("key", "3", vec![Scope::Pay], 2));
    let by_key = |it: &mut Case<'_>, action, wanted: Result<(), Refusal>| {
        let signed = it.world.sign("key", it.world.order("amal", action));
        assert_eq!(it.world.try_signed(&signed).map(|_| ()), wanted);
        it.seen.extend(wanted.err());
    };
    by_key(&mut it, transfer("badr", "2"), Ok(()));
    by_key(&mut it, transfer("badr", "1.000001"), Err(Refusal::SessionCap));
    by_key(&mut it, transfer("badr", "1"), Ok(()));
    by_key(&mut it, proposal(vec![]), Err(Refusal::SessionScope));
    let everything = Scope::ALL.to_vec();
    by_key(&mut it, grant("other", "1", everything, 5), Err(Refusal::SessionScope));
    by_key(&mut it, Action::Leave(Leave {}), Err(Refusal::SessionScope));
    it.world.blocks(2);
    by_key(&mut it, Action::Leave(Leave {}), Err(Refusal::SessionExpired));
    for number in 0..SESSIONS_MAX {
        it.yes("amal", grant(&format!("key {number}"), "1", vec![Scope::Pay], 50));
    }
    it.no("amal", grant("one more", "1", vec![], 50), Refusal::SessionsFull);
    it.yes("amal", grant("key 3", "9", vec![Scope::Pay], 50));
    it.yes("amal", Action::RevokeSession(RevokeSession { key: address("key 3") }));
    let again = Action::RevokeSession(RevokeSession { key: address("key 3") });
    it.no("amal", again, Refusal::SessionUnknown);
}

fn account(seen: &mut Seen) {
    let mut it = Case::of(World::mutual(), seen);
    it.no("amal", transfer("badr", "0"), Refusal::ZeroAmount);
    it.no("amal", transfer("amal", "1"), Refusal::ToItself);
    it.no("amal", transfer("badr", "100.000001"), Refusal::NotEnough);
    it.yes("amal", transfer("badr", "100"));
    it.no("stranger", transfer("badr", "1"), Refusal::NotEnough);
    let to = ledger::accounts::RESERVE;
    let own = Action::Transfer(Transfer { to, amount: credits("1"), note: text("") });
    it.no("badr", own, Refusal::SystemAccount);
    it.no("amal", issue("amal", "1"), Refusal::OtherPolicy);
    // A balance at the limit, by a credit line of that size.
    let most = Amount::new(AMOUNT_MAX).unwrap();
    let line = SetCreditLine { account: address("dina"), line: most };
    it.world.pass(&["hadi", "badr", "dina"], vec![Measure::SetCreditLine(line)]);
    let big = Action::Transfer(Transfer { to: address("badr"), amount: most, note: text("") });
    it.no("dina", big, Refusal::BalanceTooLarge);
}

fn issue(to: &str, amount: &str) -> Action {
    let (to, amount) = (address(to), credits(amount));
    Action::IssueCredits(IssueCredits { to, amount, reference: text("r") })
}

fn prepaid(seen: &mut Seen) {
    let mut it = Case::of(World::new(Policy::Prepaid, &["amal", "badr"]), seen);
    it.no("amal", issue("amal", "1"), Refusal::NotCashier);
    it.no("cashier", issue("amal", "10000.000001"), Refusal::CashierLimit);
    it.yes("cashier", issue("amal", "10000"));
    it.no("cashier", issue("amal", "0.000001"), Refusal::CashierLimit);
    it.world.blocks(10);
    it.yes("cashier", issue("cashier", "3"));
    let reference = text("r");
    it.yes("cashier", Action::WithdrawCredits(WithdrawCredits { amount: credits("3"), reference }));
    let line = SetCreditLine { account: address("amal"), line: credits("1") };
    it.no("amal", proposal(vec![Measure::SetCreditLine(line)]), Refusal::OtherPolicy);
}

fn sponsor(name: &str) -> Action {
    Action::Sponsor(Sponsor { applicant: address(name) })
}

fn apply_as(name: &str) -> Action {
    Action::Apply(Apply { name: text(name) })
}

fn membership(seen: &mut Seen) {
    let mut it = Case::of(World::mutual(), seen);
    it.no("amal", apply_as("Amal"), Refusal::AlreadyMember);
    it.no("amal", sponsor("badr"), Refusal::AlreadyMember);
    it.yes("amal", sponsor("nour"));
    it.no("amal", sponsor("nour"), Refusal::AlreadySponsored);
    it.yes("amal", transfer("nour", "1"));
    it.no("nour", sponsor("other"), Refusal::NotMember);
    let admit = |name| Measure::AdmitMember(AdmitMember { account: address(name) });
    it.no("amal", proposal(vec![admit("nour")]), Refusal::NotApplicant);
    it.yes("nour", apply_as("Nour"));
    it.no("nour", apply_as("Nour"), Refusal::AlreadyApplied);
    it.no("amal", proposal(vec![admit("nour")]), Refusal::SponsorsMissing);
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    let by_vote = vec![set(Parameter::AdmissionByVote, 1), set(Parameter::SponsorsNeeded, 8)];
    it.world.pass(&everyone, by_vote);
    for number in 0..4 {
        it.yes(everyone[number + 1], sponsor("nour"));
    }
    it.world.pass(&everyone, vec![set(Parameter::SponsorsNeeded, 5)]);
    it.world.pass(&everyone, vec![admit("nour")]);
    assert!(it.world.state.member(&address("nour")).unwrap().is_active());
    let reinstate = ReinstateMember { account: address("nour") };
    let reinstate = proposal(vec![Measure::ReinstateMember(reinstate)]);
    it.no("amal", reinstate, Refusal::NotSuspended);
    it.yes("layla", transfer("amal", "50"));
    it.no("layla", Action::Leave(Leave {}), Refusal::DebtOutstanding);
    it.world.propose("hadi", vec![set(Parameter::FeeFlat, 7)]);
    it.no("hadi", Action::Leave(Leave {}), Refusal::CreditsLocked);
    let mut alone = Case::of(World::new(Policy::Mutual, &["amal"]), seen);
    alone.no("amal", Action::Leave(Leave {}), Refusal::LastMember);
    full_of_sponsors(seen);
}

/// Nine members vouch, where eight can be kept.
fn full_of_sponsors(seen: &mut Seen) {
    let names = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let mut it = Case::of(World::new(Policy::Mutual, &names), seen);
    for name in &names[..8] {
        it.yes(name, sponsor("nour"));
    }
    it.no("9", sponsor("nour"), Refusal::SponsorsFull);
}

fn vote_rules(seen: &mut Seen) {
    let mut it = Case::of(World::mutual(), seen);
    it.no("amal", proposal(vec![]), Refusal::NoMeasures);
    it.no("amal", vote(1, Choice::Yes), Refusal::ProposalUnknown);
    let mut number = 0;
    for _ in 0..3 {
        number = it.world.propose("amal", vec![set(Parameter::FeeFlat, 7)]);
    }
    let more = proposal(vec![set(Parameter::FeeFlat, 7)]);
    it.no("amal", more, Refusal::ProposalsFull);
    it.yes("amal", transfer("stranger", "5"));
    it.no("stranger", vote(number, Choice::Yes), Refusal::NotElector);
    let delegate = |name, expires| {
        let to = address(name);
        Action::Delegate(Delegate { topic: Tier::Ordinary, to, expires: Height(expires) })
    };
    it.no("amal", delegate("amal", 5), Refusal::BadDelegate);
    it.no("amal", delegate("stranger", 5), Refusal::BadDelegate);
    it.no("amal", delegate("badr", 0), Refusal::DelegationLength);
    it.no("amal", delegate("badr", u64::MAX), Refusal::DelegationLength);
    let end = Action::Undelegate(Undelegate { topic: Tier::Ordinary });
    it.no("amal", end, Refusal::DelegationUnknown);
    it.no("amal", Action::Delay(Delay { proposal: number }), Refusal::NotGuardian);
    it.yes("badr", vote(number, Choice::No));
    it.world.blocks(4);
    it.no("badr", vote(number, Choice::Yes), Refusal::VoteClosed);
    let everyone = ["badr", "dina", "hadi", "layla", "amal"];
    let carry = vec![set(Parameter::DelegationCarry, 1)];
    it.world.pass(&everyone, carry);
    it.yes("amal", delegate("badr", 50));
    it.no("dina", delegate("badr", 50), Refusal::DelegateFull);
    guardian(&mut it, &everyone);
}

fn guardian(it: &mut Case<'_>, everyone: &[&str]) {
    let elect = SetGuardian { guardian: Some(address("hadi")) };
    it.world.pass(everyone, vec![Measure::SetGuardian(elect.clone())]);
    let first = it.world.propose("badr", vec![set(Parameter::FeeFlat, 7)]);
    let second = it.world.propose("badr", vec![Measure::SetGuardian(elect)]);
    for name in everyone {
        it.yes(name, vote(first, Choice::Yes));
        it.yes(name, vote(second, Choice::Yes));
    }
    it.no("hadi", Action::Delay(Delay { proposal: first }), Refusal::NotWaiting);
    it.no("hadi", Action::Delay(Delay { proposal: 99 }), Refusal::ProposalUnknown);
    it.world.blocks(4);
    it.yes("hadi", Action::Delay(Delay { proposal: first }));
    it.no("hadi", Action::Delay(Delay { proposal: first }), Refusal::AlreadyDelayed);
    it.no("hadi", Action::Delay(Delay { proposal: second }), Refusal::AboutGuardian);
}

fn measure(seen: &mut Seen) {
    let mut it = Case::of(World::mutual(), seen);
    let mut no = |measure, wanted| it.no("amal", proposal(vec![measure]), wanted);
    for &parameter in Parameter::ALL {
        let rule = ledger::parameters::rule(parameter);
        no(set(parameter, rule.max + 1), Refusal::OutOfRange);
        if rule.min > 0 {
            no(set(parameter, rule.min - 1), Refusal::OutOfRange);
        }
    }
    let account = address("badr");
    let admit =
        |power| Measure::AdmitValidator(AdmitValidator { node_key: Hash([2; 32]), account, power });
    no(admit(0), Refusal::ValidatorsFull);
    no(admit(1_000_001), Refusal::ValidatorsFull);
    let remove = |byte| Measure::RemoveValidator(RemoveValidator { node_key: Hash([byte; 32]) });
    no(remove(1), Refusal::LastValidator);
    no(remove(2), Refusal::ValidatorUnknown);
    let to = Address([0; 20]);
    let spend = SpendTreasury { to, amount: credits("1"), purpose: text("") };
    no(Measure::SpendTreasury(spend), Refusal::SystemAccount);
    let stranger = SuspendMember { account: address("stranger") };
    no(Measure::SuspendMember(stranger), Refusal::NotMember);
    no(Measure::SetCashier(SetCashier { cashier: None }), Refusal::OtherPolicy);
}

fn work(seen: &mut Seen) {
    let mut it = Case::of(World::mutual(), seen);
    it.no("amal", register("a", &[], &[]), Refusal::BadMakers);
    it.no("amal", register("a", &[("amal", 1), ("amal", 1)], &[]), Refusal::BadMakers);
    it.no("amal", register("a", &[("amal", 0)], &[]), Refusal::BadMakers);
    it.no("amal", register("a", &[("amal", 1)], &[("b", 1)]), Refusal::BadParents);
    it.yes("amal", register("a", &[("amal", 1)], &[]));
    it.no("amal", register("a", &[("amal", 1)], &[]), Refusal::AlreadyRegistered);
    it.no("amal", register("b", &[("amal", 1)], &[("a", 0)]), Refusal::BadParents);
    it.no("amal", register("b", &[("amal", 1)], &[("a", 1), ("a", 1)]), Refusal::BadParents);
    it.no("amal", pay("b", "badr", "1"), Refusal::WorkUnknown);
    it.no("amal", pay("a", "amal", "1"), Refusal::ToItself);
    it.no("amal", pay("a", "badr", "0"), Refusal::ZeroAmount);
    let split = |work| Measure::SetSplit(SetSplit { work: cid(work), makers: makers(&[("x", 1)]) });
    it.no("amal", proposal(vec![split("a")]), Refusal::NotInCommons);
    let retire = |work| Action::Retire(Retire { work: cid(work) });
    it.no("badr", retire("a"), Refusal::NotRegistrant);
    let admit = || Measure::AdmitWork(AdmitWork { work: cid("a") });
    it.world.pass(&["amal", "badr", "dina"], vec![admit(), split("a")]);
    it.no("amal", proposal(vec![admit()]), Refusal::InCommons);
    it.no("amal", retire("a"), Refusal::InCommons);
    let end = Measure::RetireWork(RetireWork { work: cid("a") });
    it.world.pass(&["amal", "badr", "dina"], vec![end]);
    it.no("amal", pay("a", "badr", "1"), Refusal::WorkRetired);
    it.no("amal", register("b", &[("amal", 1)], &[("a", 1)]), Refusal::BadParents);
}

fn channel(seen: &mut Seen) {
    let mut it = Case::of(World::mutual(), seen);
    let open = |name, timeout| {
        let (payee, amount) = (address(name), credits("10"));
        Action::OpenChannel(OpenChannel { payee, amount, timeout: Blocks(timeout), node: NO_NODE })
    };
    it.no("amal", open("amal", 10), Refusal::ToItself);
    it.no("amal", open("badr", 9), Refusal::TimeoutRange);
    it.no("amal", open("badr", u64::MAX), Refusal::TimeoutRange);
    it.yes("amal", open("badr", 10));
    let top = |channel| Action::TopUpChannel(TopUpChannel { channel, amount: credits("1") });
    it.no("amal", top(2), Refusal::ChannelUnknown);
    it.no("badr", top(1), Refusal::NotPayer);
    let redeem = |it: &Case<'_>, key: &str, amount: &str| {
        let (payer, payee, cumulative) = (address("amal"), address("badr"), credits(amount));
        let voucher = Voucher { payer, payee, channel: 1, cumulative };
        let signature = it.world.voucher(key, &voucher);
        Action::RedeemVoucher(RedeemVoucher { channel: 1, cumulative, signature })
    };
    let voucher = redeem(&it, "amal", "4");
    it.no("amal", voucher.clone(), Refusal::NotPayee);
    it.no("badr", redeem(&it, "badr", "4"), Refusal::VoucherSigner);
    it.no("badr", redeem(&it, "amal", "10.000001"), Refusal::VoucherTooLarge);
    it.yes("badr", voucher.clone());
    it.no("badr", voucher, Refusal::VoucherOld);
    let close = || Action::CloseChannel(CloseChannel { channel: 1 });
    it.no("dina", close(), Refusal::NotParty);
    it.yes("amal", close());
    it.no("amal", close(), Refusal::ChannelClosing);
    it.no("amal", top(1), Refusal::ChannelClosing);
    it.world.blocks(5);
    it.yes("badr", redeem(&it, "amal", "7"));
    it.world.blocks(6);
    assert_eq!((it.world.balance("amal"), it.world.balance("badr")), (-7_000_000, 7_000_000));
    it.no("badr", close(), Refusal::ChannelUnknown);
}

fn node(seen: &mut Seen) {
    let mut it = Case::of(World::mutual(), seen);
    let amals = it.world.register_node("amal", 0, 1);
    it.no("badr", amals.clone(), Refusal::NotTheNode);
    it.yes("amal", amals.clone());
    it.no("amal", amals, Refusal::NodeTaken);
    let badrs = it.world.register_node("badr", 0, 1);
    it.no("badr", badrs.clone(), Refusal::NodeTaken);
    it.no("badr", unregister_node(0), Refusal::NodeUnknown);
    it.yes("amal", unregister_node(0));
    it.no("amal", unregister_node(0), Refusal::NodeUnknown);
    it.yes("badr", badrs.clone());
    it.world.blocks(1);
    it.yes("badr", unregister_node(0));
    it.no("badr", badrs, Refusal::ConsentOver);
    for number in 0..u64::try_from(NODES_MAX).unwrap() {
        let action = it.world.register_node("dina", number, 9);
        it.yes("dina", action);
    }
    let more = it.world.register_node("dina", 99, 9);
    it.no("dina", more.clone(), Refusal::NodesFull);
    it.yes("dina", unregister_node(5));
    it.yes("dina", more);
}

fn begin(seen: &mut Seen) {
    let mut without = genesis(Policy::Mutual, &["amal"]);
    without.validators = List::default();
    assert_eq!(without.state().map(|_| ()), Err(Refusal::BadGenesis));
    let twice = genesis(Policy::Mutual, &["amal", "amal"]);
    assert_eq!(twice.state().map(|_| ()), Err(Refusal::BadGenesis));
    for snapshot_blocks in [0, SNAPSHOT_BLOCKS_MIN - 1, SNAPSHOT_BLOCKS_MAX + 1] {
        let outside = Genesis { snapshot_blocks, ..genesis(Policy::Mutual, &["amal"]) };
        assert_eq!(outside.state().map(|_| ()), Err(Refusal::BadGenesis), "{snapshot_blocks}");
    }
    for snapshot_blocks in [SNAPSHOT_BLOCKS_MIN, SNAPSHOT_BLOCKS_MAX] {
        let at = Genesis { snapshot_blocks, ..genesis(Policy::Mutual, &["amal"]) };
        assert!(at.state().is_ok(), "{snapshot_blocks}");
    }
    seen.insert(Refusal::BadGenesis);
}

fn validator(seen: &mut Seen) {
    let mut net = Net::new(Policy::Mutual, 4);
    net.blocks(3, &[]);
    net.world.refuse("amal", call_back(0), Refusal::NotAbsent);
    net.world.refuse("badr", call_back(0), Refusal::NotValidatorsAccount);
    seen.extend([Refusal::NotAbsent, Refusal::NotValidatorsAccount]);
    let proven = net.prevotes(2, 2);
    seen.extend(net.convict(&net.prevotes(2, 9)).err());
    net.convict(&proven).unwrap();
    seen.extend(net.convict(&proven).err());
}
