//! Whatever the parties of an audit do, in whatever order, it ends, and the invariants hold.

use audit::dispute::{About, Phase};
use audit::graph::{Place, What};
use ledger::apply::apply;
use ledger::audits::Stage;
use ledger::event::Event;
use types::amount::Amount;
use types::bounded::Bytes;
use types::codec::encode;
use types::id::Hash;
use types::transaction::*;
use types::word::{Finding, Lack};

use crate::audit_story::*;
use crate::random::Random;
use crate::runs::{Lie, Party, graph};
use crate::world::address;

const SEEDS: u64 = 40;
const STEPS: u64 = 60;
const PEOPLE: [&str; 5] = [PAYER, WORKER, AUDITORS[0], AUDITORS[1], GATEWAY];

/// What the two sides of disputes have computed: the worker has lied in one cell.
struct Sides {
    parties: [Party<'static>; 2],
}

impl Sides {
    fn new() -> Sides {
        let place = Place { position: 6, layer: 1, what: What::AttentionResidual };
        let lie = Lie { place, byte: graph().size(place) - 4 };
        let parties = [Some(lie), None].map(|lie| Party::new(&first().answer, lie));
        Sides { parties }
    }
}

/// Someone says something of the first receipt or the second, true or not.
fn action(rng: &mut Random, story: &Story, sides: &mut Sides, name: &str) -> Action {
    let index = u32::try_from(rng.below(2)).unwrap();
    let batch = BATCH;
    let root = rng.of(&[story.stated[0].root, first().root, Hash([9; 32])]);
    let trace = sides.parties[usize::try_from(rng.below(2)).unwrap()].root();
    let finding = rng.of(Finding::ALL);
    let said = if name == AUDITORS[0] { (Finding::NoMatch, first().root) } else { (finding, root) };
    match rng.below(13) {
        0 | 1 => story.commit(name, index, said),
        2 => Action::AskPayload(AskPayload { batch, index, lack: Lack::Refused }),
        3 => Action::OpenPayload(story.open_payload(index)),
        4 | 5 => Action::OpenReceipt(story.open_receipt(index)),
        6 | 7 => story.reveal(index, said),
        8 => Action::Challenge(Challenge { batch, index, root, trace }),
        9 => Action::AnswerChallenge(AnswerChallenge { batch, index, trace }),
        10 => {
            let receipt = story.receipt(usize::try_from(rng.below(2)).unwrap(), BLINDING);
            let receipt = Bytes::new(encode(&receipt)).unwrap();
            Action::ShowReceipt(ShowReceipt { batch, index, receipt })
        }
        11 => Action::ShowModel(Story::show_model()),
        _ => Action::JudgeDispute(JudgeDispute { batch, index }),
    }
}

/// What moves the first audit on.
fn next(rng: &mut Random, story: &Story, sides: &mut Sides) -> Option<(&'static str, Action)> {
    let auditor = rng.of(&AUDITORS);
    let nodded = (Finding::Match, story.stated[0].root);
    let said = if auditor == AUDITORS[0] { (Finding::NoMatch, first().root) } else { nodded };
    Some(match story.stage()? {
        Stage::Committing => (auditor, story.commit(auditor, 0, said)),
        Stage::PayloadWanted => (WORKER, Action::OpenPayload(story.open_payload(0))),
        Stage::Opening => (WORKER, Action::OpenReceipt(story.open_receipt(0))),
        Stage::Revealing => (auditor, story.reveal(0, said)),
        Stage::Challenging if rng.below(2) == 0 => (PAYER, Action::ShowModel(Story::show_model())),
        Stage::Challenging => {
            (AUDITORS[0], Story::challenge(first().root, sides.parties[1].root()))
        }
        Stage::Answering => (WORKER, Story::answer(sides.parties[0].root())),
        Stage::Disputed | Stage::Token => return turn(rng, story, sides),
    })
}

/// What the parties of an open dispute say next.
fn turn(rng: &mut Random, story: &Story, sides: &mut Sides) -> Option<(&'static str, Action)> {
    let dispute = story.world.state.dispute((BATCH, 0))?;
    let side = usize::try_from(rng.below(2)).unwrap();
    let challenger = PEOPLE.into_iter().find(|name| address(name) == dispute.challenger)?;
    let name = [WORKER, challenger][side];
    let turns = dispute.turns.clone()?;
    match turns.phase() {
        Phase::Judge(cell) => {
            let mut pieces = story.evidence(&mut sides.parties[0], cell);
            pieces.push(Action::JudgeDispute(JudgeDispute { batch: BATCH, index: 0 }));
            let at = usize::try_from(rng.below(u64::try_from(pieces.len()).unwrap())).unwrap();
            Some((name, pieces.swap_remove(at)))
        }
        Phase::Divide(_) | Phase::Open { .. } if turns.about() == About::Trace => {
            let action = story.statement(side, turns.phase(), turns.about(), &mut sides.parties);
            Some((name, action))
        }
        _ => None,
    }
}

fn run(seed: u64, sides: &mut Sides) -> (Vec<&'static str>, Vec<Event>) {
    let mut rng = Random(seed);
    let root = if rng.below(2) == 0 { first().root } else { Hash([9; 32]) };
    let mut story = Story::new(vec![Stated { root, ..honest(0) }, honest(1)]);
    let (mut seen, mut events) = (vec![], vec![]);
    for _ in 0..STEPS {
        if rng.below(12) == 0 {
            events.extend(story.blocks(1));
            continue;
        }
        let name = rng.of(&PEOPLE);
        let next = if rng.below(3) > 0 { next(&mut rng, &story, sides) } else { None };
        let (name, action) = next.unwrap_or_else(|| (name, action(&mut rng, &story, sides, name)));
        let kind = action.name();
        let signed = story.world.sign(name, story.world.order(name, action));
        let now = story.world.state.now();
        if let Ok(said) = apply(&mut story.world.state, now, &signed) {
            ledger::check::check(&story.world.state)
                .unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
            events.extend(said);
            seen.push(kind);
        }
    }
    events.extend(story.blocks(80));
    assert_eq!(story.world.state.all_audits().count(), 0, "seed {seed}: an audit never ends");
    assert!(story.world.state.batch(BATCH).is_none(), "seed {seed}: the batch is still there");
    for name in PEOPLE {
        let bound = story.world.state.stake(&address(name)).map_or(Amount::ZERO, |it| it.bonded);
        assert_eq!(bound, Amount::ZERO, "seed {seed}: {name} has something bound");
    }
    (seen, events)
}

#[test]
fn whatever_parties_do_an_audit_ends_and_nothing_stays_bound() {
    let (mut kinds, mut stages, mut verdicts) = (vec![], vec![], 0);
    let mut sides = Sides::new();
    for seed in 0..SEEDS {
        let (seen, events) = run(seed, &mut sides);
        kinds.extend(seen);
        for event in events {
            match event {
                Event::Audit { stage, .. } => stages.push(stage),
                Event::Judged { .. } => verdicts += 1,
                _ => {}
            }
        }
    }
    // Every audit begins with the first, and none of these has a token in dispute.
    for stage in Stage::ALL.iter().filter(|it| !matches!(it, Stage::Committing | Stage::Token)) {
        assert!(stages.contains(stage), "{stage} was never reached");
    }
    assert!(verdicts > 0);
    for kind in ["CommitVerdict", "RevealVerdict", "Challenge", "DivideTrace", "ShowEvidence"] {
        assert!(kinds.contains(&kind), "{kind} was never accepted");
    }
}
