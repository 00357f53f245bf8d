//! Random networks: whatever is tried, the invariants hold.

use std::collections::BTreeMap;

use ledger::apply::{apply, begin_block, convict, end_block};
use ledger::check::check;
use ledger::event::Event;
use ledger::state::State;
use ledger::validators::Standing;
use types::amount::{Amount, Blocks, Height};
use types::bounded::{List, Set};
use types::envelope::{Order, Signed};
use types::id::Address;
use types::measure::*;
use types::transaction::*;
use types::word::{Choice, Fund, Policy, Scope, Tier};

use crate::validators::{Net, call_back, key};
use crate::world::{
    NO_RANDOMNESS, World, address, cid, proposal, register, secret, set, text, unregister_node,
};

const SEEDS: u64 = 100;
const STEPS: u64 = 150;
const PEOPLE: [&str; 9] =
    ["amal", "badr", "dina", "hadi", "layla", "nour", "omar", "rima", "cashier"];

/// SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn of<T: Copy>(&mut self, items: &[T]) -> T {
        let index = self.below(u64::try_from(items.len()).unwrap());
        items[usize::try_from(index).unwrap()]
    }

    fn person(&mut self) -> &'static str {
        self.of(&PEOPLE)
    }

    fn amount(&mut self) -> Amount {
        let size = self.of(&[3, 1_000, 5_000_000, 60_000_000]);
        Amount::new(self.below(size)).unwrap()
    }

    fn work(&mut self) -> &'static str {
        self.of(&["w1", "w2", "w3", "w4", "w5"])
    }

    fn validator(&mut self) -> usize {
        usize::try_from(self.below(6)).unwrap()
    }

    fn number(&mut self) -> u64 {
        1 + self.below(6)
    }
}

fn action(rng: &mut Random, state: &State) -> Action {
    let (to, amount) = (address(rng.person()), rng.amount());
    let soon = Height(state.now().0 + rng.below(12));
    match rng.below(25) {
        0..3 => Action::Transfer(Transfer { to, amount, note: text("") }),
        3 => Action::Give(Give { fund: rng.of(Fund::ALL), amount }),
        4 => {
            let scopes = Set::new(vec![rng.of(Scope::ALL)]).unwrap();
            Action::GrantSession(GrantSession { key: to, cap: amount, scopes, expires: soon })
        }
        5 => Action::RevokeSession(RevokeSession { key: to }),
        6 => Action::Apply(Apply { name: text("someone") }),
        7 => Action::Sponsor(Sponsor { applicant: to }),
        8 => Action::AddCapital(AddCapital { amount }),
        9 => Action::Leave(Leave {}),
        10 | 11 => proposal((0..1 + rng.below(2)).map(|_| measure(rng)).collect()),
        12..16 => {
            let proposal = state.meta().proposal_next.saturating_sub(1 + rng.below(3));
            Action::Vote(Vote { proposal, choice: rng.of(&[Choice::Yes, Choice::Yes, Choice::No]) })
        }
        16 => Action::Delegate(Delegate { topic: rng.of(Tier::ALL), to, expires: soon }),
        17 => Action::Undelegate(Undelegate { topic: rng.of(Tier::ALL) }),
        18 => works(rng),
        19 | 20 => Action::PayForUse(PayForUse { work: cid(rng.work()), worker: to, amount }),
        21 => {
            let timeout = Blocks(10 + rng.below(3));
            Action::OpenChannel(OpenChannel { payee: to, amount, timeout, node: NO_NODE })
        }
        22 => Action::TopUpChannel(TopUpChannel { channel: rng.number(), amount }),
        23 => Action::CloseChannel(CloseChannel { channel: rng.number() }),
        _ => office(rng, state, to, amount),
    }
}

fn works(rng: &mut Random) -> Action {
    if rng.below(4) == 0 {
        return Action::Retire(Retire { work: cid(rng.work()) });
    }
    let parts = u32::try_from(rng.below(100)).unwrap();
    let parent = [(rng.work(), 3)];
    let parents = if rng.below(2) == 0 { &parent[..] } else { &[] };
    register(rng.work(), &[(rng.person(), parts), (rng.person(), 50)], parents)
}

/// A node that consents to someone, who need not be whoever asks.
fn registration(rng: &mut Random, state: &State) -> Action {
    let world = World { state: state.clone() };
    world.register_node(rng.person(), rng.below(8), state.now().0 + 1 - rng.below(3).min(1))
}

fn office(rng: &mut Random, state: &State, to: Address, amount: Amount) -> Action {
    match rng.below(6) {
        4 => registration(rng, state),
        5 => unregister_node(rng.below(8)),
        0 => Action::IssueCredits(IssueCredits { to, amount, reference: text("") }),
        1 => Action::WithdrawCredits(WithdrawCredits { amount, reference: text("") }),
        2 => call_back(rng.validator()),
        _ => Action::Delay(Delay { proposal: rng.number() }),
    }
}

fn measure(rng: &mut Random) -> Measure {
    let (account, amount, work) = (address(rng.person()), rng.amount(), cid(rng.work()));
    let (to, purpose) = (account, text(""));
    let node_key = key(rng.validator());
    match rng.below(17) {
        0..3 => parameter(rng),
        3 => Measure::AdmitMember(AdmitMember { account }),
        4 => Measure::SuspendMember(SuspendMember { account }),
        5 => Measure::ReinstateMember(ReinstateMember { account }),
        6 => Measure::ExpelMember(ExpelMember { account }),
        7 => Measure::SetCreditLine(SetCreditLine { account, line: amount }),
        8 => Measure::SpendCommons(SpendCommons { to, amount, purpose }),
        9 => Measure::SpendTreasury(SpendTreasury { to, amount, purpose }),
        10 => Measure::AdmitWork(AdmitWork { work }),
        11 => Measure::RetireWork(RetireWork { work }),
        12 => {
            let makers = vec![Share { account, parts: 1 }];
            Measure::SetSplit(SetSplit { work, makers: List::new(makers).unwrap() })
        }
        13 => Measure::AdmitValidator(AdmitValidator { node_key, account, power: 2 }),
        14 => Measure::RemoveValidator(RemoveValidator { node_key }),
        15 => Measure::SetGuardian(SetGuardian { guardian: Some(account) }),
        _ => Measure::SetCashier(SetCashier { cashier: Some(account) }),
    }
}

/// Economic parameters anywhere in their range; the rules of voting stay quick.
fn parameter(rng: &mut Random) -> Measure {
    let economic: Vec<Parameter> = Parameter::ALL.iter().copied().take(20).skip(2).collect();
    let parameter = rng.of(&economic);
    let rule = ledger::parameters::rule(parameter);
    let span = (rule.max - rule.min).min(5_000_000);
    set(parameter, rule.min + rng.below(span + 1))
}

/// An order of someone, at times signed by someone else's key, or for the wrong nonce.
fn order(rng: &mut Random, state: &State) -> Signed {
    let everyone = rng.below(3) == 0;
    let account = address(if everyone { rng.person() } else { rng.of(&PEOPLE[..5]) });
    let mut nonce = state.nonce(&account);
    if rng.below(20) == 0 {
        nonce = nonce.after(1);
    }
    let valid_until = Height(state.now().0 + 1 - u64::from(rng.below(20) == 0));
    let order = Order { account, nonce, valid_until, action: action(rng, state) };
    let others = PEOPLE.into_iter().find(|name| address(name) == account).unwrap();
    let signer = if rng.below(12) == 0 { rng.person() } else { others };
    order.sign(&secret(signer), &state.meta().genesis)
}

fn parameters(state: &State) -> Vec<u64> {
    Parameter::ALL.iter().map(|parameter| state.parameter(*parameter)).collect()
}

/// A node's copy of the entries, kept up by changes alone.
type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn keep_up(copy: &mut Entries, state: &mut State) {
    let changes = state.changes();
    state.seal();
    for (key, value) in changes {
        match value {
            Some(value) => drop(copy.insert(key, value)),
            None => drop(copy.remove(&key)),
        }
    }
}

struct Counts {
    accepted: u64,
    refused: u64,
    executed: u64,
    dividends: u64,
    jailed: u64,
    returned: u64,
    convicted: u64,
}

impl Counts {
    const NONE: Counts = Counts {
        accepted: 0,
        refused: 0,
        executed: 0,
        dividends: 0,
        jailed: 0,
        returned: 0,
        convicted: 0,
    };
}

/// A network whose people can pay.
fn begin(rng: &mut Random) -> Net {
    let policy = rng.of(&[Policy::Mutual, Policy::Mutual, Policy::Prepaid, Policy::Issued]);
    let mut net = Net::new(policy, 6);
    let world = &mut net.world;
    for name in PEOPLE {
        let (to, amount) = (address(name), crate::world::credits("90"));
        match policy {
            Policy::Prepaid => {
                let issue = IssueCredits { to, amount, reference: text("") };
                world.act("cashier", Action::IssueCredits(issue));
            }
            Policy::Mutual if !PEOPLE[..6].contains(&name) => {
                world.act("layla", crate::world::transfer(name, "9"));
            }
            _ => {}
        }
    }
    net
}

fn run(seed: u64, counts: &mut Counts) -> Entries {
    let mut rng = Random(seed);
    let Net { world, .. } = begin(&mut rng);
    let mut state = world.state;
    let mut copy: Entries = state.entries();
    state.seal();
    let mut done: Vec<Signed> = vec![];
    for step in 0..STEPS {
        let place = format!("seed {seed}, step {step}");
        let (before, now) = (state.clone(), state.now());
        let signed = order(&mut rng, &state);
        let outcome = apply(&mut state, now, &signed);
        assert_eq!(parameters(&before), parameters(&state), "{place}: a parameter changed");
        if outcome.is_ok() {
            counts.accepted += 1;
            counts.returned += u64::from(signed.order.action.name() == "ReturnValidator");
            done.push(signed);
        } else {
            counts.refused += 1;
            assert!(state == before, "{place}: a refusal changed the state");
        }
        if let Some(old) = done.get(usize::try_from(rng.below(40)).unwrap()) {
            assert!(apply(&mut state, now, old).is_err(), "{place}: an order counted twice");
        }
        check(&state).unwrap_or_else(|broken| panic!("{place}: {broken}"));
        if rng.below(12) == 0 {
            campaign(&mut rng, &mut state, &mut done);
        }
        if rng.below(5) == 0 {
            block(&mut rng, &mut state, &place, counts);
            keep_up(&mut copy, &mut state);
            assert_eq!(copy.len(), state.entries().len(), "{place}");
        }
    }
    keep_up(&mut copy, &mut state);
    assert_eq!(copy, state.entries(), "seed {seed}: the changes are not all");
    let entries = copy.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    assert!(State::from_entries(entries).unwrap() == state, "seed {seed}: entries lose something");
    copy
}

/// The founders vote for one of the last proposals, those who may.
fn campaign(rng: &mut Random, state: &mut State, done: &mut Vec<Signed>) {
    let number = state.meta().proposal_next.saturating_sub(1 + rng.below(3));
    for name in &PEOPLE[..5] {
        let account = address(name);
        let action = Action::Vote(Vote { proposal: number, choice: Choice::Yes });
        let (nonce, now) = (state.nonce(&account), state.now());
        let order = Order { account, nonce, valid_until: now, action };
        let signed = order.sign(&secret(name), &state.meta().genesis);
        if apply(state, now, &signed).is_ok() {
            done.push(signed);
        }
    }
}

fn block(rng: &mut Random, state: &mut State, place: &str, counts: &mut Counts) {
    let (before, now) = (parameters(state), state.now());
    let mut events = end_block(state, now).unwrap();
    // The next block begins: one validator is never there, and the others nearly always.
    let deciders = state.validators_at(now).into_iter();
    let attendance: Vec<_> =
        deciders.map(|(node, _)| (node, node != key(4) && rng.below(9) > 0)).collect();
    events.extend(begin_block(state, now.after(1), &attendance, &NO_RANDOMNESS).unwrap());
    if rng.below(40) == 0 {
        let accused = rng.validator();
        let proven = crate::validators::prevotes(state, accused, now.0);
        events.extend(convict(state, now.after(1), &proven).unwrap_or_default());
    }
    check(state).unwrap_or_else(|broken| panic!("{place}: {broken}"));
    let count = |test: fn(&Event) -> bool| {
        u64::try_from(events.iter().filter(|event| test(event)).count()).unwrap()
    };
    let executed = count(|event| matches!(event, Event::Executed { .. }));
    assert!(executed > 0 || before == parameters(state), "{place}: a parameter changed");
    counts.executed += executed;
    counts.dividends += count(|event| matches!(event, Event::Dividend { .. }));
    let absent =
        |event: &Event| matches!(event, Event::Validator { standing: Standing::Absent, .. });
    counts.jailed += count(absent);
    counts.convicted += count(|event| matches!(event, Event::Convicted { .. }));
}

#[test]
fn invariants_hold_whatever_is_tried() {
    let mut counts = Counts::NONE;
    for seed in 0..SEEDS {
        run(seed, &mut counts);
    }
    // The runs reach what they are for.
    assert!(counts.accepted > 3_000, "{} orders accepted", counts.accepted);
    assert!(counts.refused > 3_000, "{} orders refused", counts.refused);
    assert!(counts.executed > 40, "{} proposals executed", counts.executed);
    assert!(counts.dividends > 5, "{} dividends paid", counts.dividends);
    assert!(counts.jailed > 5, "{} validators jailed", counts.jailed);
    assert!(counts.returned > 0, "{} validators returned", counts.returned);
    assert!(counts.convicted > 10, "{} validators convicted", counts.convicted);
}

#[test]
fn one_seed_gives_one_state() {
    let mut counts = Counts::NONE;
    assert_eq!(run(7, &mut counts), run(7, &mut counts));
}
