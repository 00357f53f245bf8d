use audit::dispute::Dispute as Turns;
use ledger::audits::Seat;
use ledger::batches::Batch;
use ledger::disputes::Dispute;
use ledger::genesis::{Founder, Genesis};
use types::amount::{Amount, Epoch};
use types::bounded::{List, Text};
use types::codec::encode;
use types::id::Cid;
use types::measure::AdmitValidator;
use types::word::Policy;

use super::*;

const WORKER: Address = Address([1; 20]);
const AUDITORS: [Address; 2] = [Address([2; 20]), Address([3; 20])];
const NODE: Hash = Hash([4; 32]);
const KEY: Key = (7, 3);

/// The numbers of the tables (`docs/spec/ledger.md`).
const BATCHES: u8 = 17;
const AUDITS: u8 = 20;
const DISPUTES: u8 = 22;

fn batch() -> Batch {
    Batch {
        worker: WORKER,
        payer: Address([5; 20]),
        gateway: Address([6; 20]),
        work: Cid::raw(Hash([7; 32])),
        channel: 1,
        node: NODE,
        amount: Amount::ZERO,
        bond: Amount::ZERO,
        first: 0,
        count: 4,
        root: Hash([8; 32]),
        epoch: Epoch(0),
        settles: Height(100),
    }
}

/// An auditor that has committed, found and disputed, or not yet.
fn seat(auditor: Address, has_committed: bool, finding: Option<Finding>) -> Seat {
    let commitment = has_committed.then_some(Hash([9; 32]));
    Seat { auditor, commitment, finding, root: Hash([0; 32]), has_challenged: false }
}

fn audit(stage: Stage, seats: [Seat; 2]) -> Audit {
    let seats = List::new(seats.to_vec()).unwrap();
    let (until, receipt, root) = (Height(50), None, None);
    Audit { stage, until, seats, receipt, root, by_payer: false }
}

/// A ledger with one audit, and what is said in its dispute.
fn state(audit: &Audit, turns: Option<Turns>) -> State {
    let account = Address([7; 20]);
    let genesis = Genesis {
        name: Text::new("test").unwrap(),
        made: 0,
        interval: 20,
        snapshot_blocks: 3600,
        policy: Policy::Mutual,
        constitution: None,
        founders: List::new(vec![Founder { account, name: Text::new("amal").unwrap() }]).unwrap(),
        validators: List::new(vec![AdmitValidator { node_key: NODE, account, power: 1 }]).unwrap(),
        parameters: List::default(),
        cashier: None,
    };
    let mut entries = genesis.state().unwrap().entries();
    let mut put = |table: u8, key: Vec<u8>, value: Vec<u8>| {
        entries.insert([vec![table], key].concat(), value);
    };
    put(BATCHES, encode(&KEY.0), encode(&batch()));
    put(AUDITS, encode(&KEY), encode(audit));
    if matches!(audit.stage, Stage::Answering | Stage::Disputed | Stage::Token) {
        let (challenger, bond, root) = (AUDITORS[0], Amount::ZERO, Hash([1; 32]));
        let dispute = Dispute { challenger, bond, root, trace: Hash([2; 32]), turns };
        put(DISPUTES, encode(&KEY), encode(&dispute));
    }
    let entries = entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    State::from_entries(entries).unwrap()
}

fn owed(state: &State, account: Address, node: Hash) -> Option<Duty> {
    let me = Me { account, node, is_auditor: true, is_payer: true };
    let due = due(state, &me);
    assert!(due.iter().all(|it| it.key == KEY && it.until == Height(50)), "{due:?}");
    due.first().map(|it| it.duty)
}

/// What the first auditor owes, the second, and the worker.
fn check(stage: Stage, seats: [Seat; 2], turns: Option<Turns>, wanted: [Option<Duty>; 3]) {
    let state = state(&audit(stage, seats), turns);
    let [first, second] = AUDITORS.map(|account| owed(&state, account, Hash([0; 32])));
    assert_eq!([first, second, owed(&state, WORKER, NODE)], wanted, "{stage:?}");
    assert_eq!(owed(&state, WORKER, Hash([0; 32])), None, "another node of the worker's account");
    assert_eq!(owed(&state, Address([9; 20]), NODE), None, "another account");
}

#[test]
fn each_stage_says_who_owes_what() {
    use Duty::*;
    let seats = |committed: [bool; 2], found: [Option<Finding>; 2]| {
        [0, 1].map(|at| seat(AUDITORS[at], committed[at], found[at]))
    };
    let (no, none) = (Some(Finding::NoMatch), [None, None]);
    let one = || seats([true, false], none);
    check(Stage::Committing, one(), None, [None, Some(Commit), Some(Prepare)]);
    check(Stage::PayloadWanted, one(), None, [None, None, Some(ShowPayload)]);
    check(Stage::Opening, one(), None, [None, None, Some(ShowReceipt)]);
    check(Stage::Revealing, one(), None, [Some(Reveal), None, None]);
    let found = || seats([true, true], [no, Some(Finding::Match)]);
    check(Stage::Challenging, found(), None, [Some(Challenge), None, None]);
    check(Stage::Answering, found(), None, [None, None, Some(Answer)]);
    check(Stage::Token, found(), None, [Some(Prove), None, None]);
}

#[test]
fn each_side_of_a_dispute_speaks_once_in_a_turn_and_the_challenger_proves() {
    use Duty::{Prove, State};
    let seats = || {
        let found = Some(Finding::NoMatch);
        AUDITORS.map(|it| Seat { has_challenged: true, ..seat(it, true, found) })
    };
    let leaves = [[[1; 32], [2; 32]], [[1; 32], [3; 32]]];
    let mut turns = Turns::new(2, leaves.map(|it| merkle::root(&it)), (1, 49)).unwrap();
    check(Stage::Disputed, seats(), Some(turns.clone()), [Some(State), None, Some(State)]);
    turns.divide(Side::Worker, &leaves[0], 1).unwrap();
    check(Stage::Disputed, seats(), Some(turns.clone()), [Some(State), None, None]);
    turns.divide(Side::Challenger, &leaves[1], 1).unwrap();
    check(Stage::Disputed, seats(), Some(turns), [Some(State), None, Some(State)]);
    let trees = [[[4; 32]], [[5; 32]]];
    let roots = trees.map(|it| audit::commitment::answer_root(&[6; 32], 1, &merkle::root(&it)));
    let mut turns = Turns::of_answers(1, roots, (1, 49)).unwrap();
    for (side, tree) in [(Side::Worker, trees[0]), (Side::Challenger, trees[1])] {
        turns.open_answer(side, &merkle::root(&tree), &[6; 32], 1).unwrap();
    }
    assert!(matches!(turns.phase(), Phase::Position(_)));
    check(Stage::Disputed, seats(), Some(turns), [Some(Prove), None, None]);
}

#[test]
fn who_does_not_audit_still_reveals_what_it_has_committed_to() {
    let me = Me { account: AUDITORS[0], node: NODE, is_auditor: false, is_payer: false };
    let seats = || AUDITORS.map(|it| seat(it, false, None));
    assert_eq!(due(&state(&audit(Stage::Committing, seats()), None), &me), []);
    let seats = || AUDITORS.map(|it| seat(it, true, None));
    assert_eq!(due(&state(&audit(Stage::Revealing, seats()), None), &me).len(), 1);
}
