//! Disputes from batch to slash, through orders, on a small model.

use std::collections::{BTreeMap, BTreeSet};

use audit::case::Shown;
use audit::commitment::prompt_hash;
use audit::dispute::{Phase, Side, Verdict};
use audit::graph::{Place, What};
use audit::referee::Part;
use ledger::audits::Stage;
use ledger::event::Event;
use ledger::refusal::Refusal;
use types::amount::Amount;
use types::bounded::{Bytes, List};
use types::codec::{decode, encode};
use types::id::Hash;
use types::transaction::*;
use types::word::Finding;

use crate::audit_story::*;
use crate::runs::{Lie, Party, before_token, graph};
use crate::world::*;

const CHALLENGER: &str = AUDITORS[0];
const NODDER: &str = AUDITORS[1];
/// A root that no answer has.
const BOGUS: Hash = Hash([9; 32]);

/// A lie in the last cell of a step.
fn lie(what: What) -> Lie {
    lie_at(Place { position: 6, layer: if what == What::Embed { 0 } else { 1 }, what })
}

fn lie_at(place: Place) -> Lie {
    Lie { place, byte: graph().size(place) - 4 }
}

/// A step of each kind that has a number, at a late position of the first answer.
fn one_of_each() -> Vec<Place> {
    let (graph, shape) = (graph(), first().answer.shape());
    let places = (0..graph.steps(&shape)).map(|index| graph.place_of(&shape, index).unwrap());
    let numbered = |place: Place| (encode(&place)[NUMBER], place);
    let of_kind: BTreeMap<u8, Place> = places.map(numbered).collect();
    let (last, mut next) = (*of_kind.keys().last().unwrap(), encode(&of_kind[&0]));
    assert!(of_kind.keys().copied().eq(0..=last), "{of_kind:?}");
    next[NUMBER] = last + 1;
    assert!(decode::<Place>(&next).is_err(), "there is another kind");
    of_kind.into_values().collect()
}

/// Where a place has its kind's number, after its position and its layer.
const NUMBER: usize = 8;

fn held(story: &Story, name: &str) -> Amount {
    story.world.state.stake(&address(name)).map_or(Amount::ZERO, |stake| stake.held)
}

fn standing(story: &Story, name: &str) -> u32 {
    story.world.state.standing(&address(name))
}

/// A batch whose first receipt has another root than the auditors' last word says; disputed and
/// answered.
fn disputed(stated: Vec<Stated>, said: [(Finding, Hash); 2], traces: [Hash; 2]) -> Story {
    let mut story = Story::new(stated);
    story.reveal_all(0, said);
    assert_eq!(story.stage(), Some(Stage::Challenging));
    story.act(PAYER, Action::ShowModel(Story::show_model()));
    story.act(CHALLENGER, Story::challenge(said[0].1, traces[1]));
    story.act(WORKER, Story::answer(traces[0]));
    story
}

/// A dispute about a cell, from its first turn to the last: what happened, and the story.
fn cell_dispute(
    lies: [Option<Lie>; 2],
    root: Hash,
    finding: (Finding, Hash),
) -> (Vec<Event>, Story) {
    let stated = Stated { root, ..honest(0) };
    let mut parties = lies.map(|lie| Party::new(&first().answer, lie));
    let traces = [parties[0].root(), parties[1].root()];
    let said = [finding, (Finding::Match, root)];
    let mut story = disputed(vec![stated, honest(1)], said, traces);
    assert_eq!(story.stage(), Some(Stage::Disputed));
    let phase = story.divide(CHALLENGER, &mut parties);
    let Phase::Judge(cell) = phase else { unreachable!("{phase:?}") };
    // As whoever shows it has it, who is honest if anyone is: it knows no path of the other's trace.
    let shows = usize::from(lies[0].is_some());
    let name = [WORKER, CHALLENGER][shows];
    let place = graph().place_of(&first().answer.shape(), cell.step.index).unwrap();
    if matches!(place.what, What::Embed | What::Sample) {
        story.refuse(name, judge(), Refusal::Undecided);
        let payload = story.open_payload(0);
        story.act(name, Action::OpenPayload(payload));
    }
    for piece in story.evidence(&mut parties[shows], &cell) {
        story.act(name, piece.clone());
        story.refuse(name, piece, Refusal::AlreadyStated);
    }
    story.refuse(PAYER, judge(), Refusal::NotDisputant);
    let events = story.act(name, judge());
    (events, story)
}

fn judge() -> Action {
    Action::JudgeDispute(JudgeDispute { batch: BATCH, index: 0 })
}

fn verdict(events: &[Event]) -> Option<Verdict> {
    events.iter().find_map(|event| match event {
        Event::Judged { verdict, .. } => Some(*verdict),
        _ => None,
    })
}

/// What a convicted worker and those around it have lost and won.
fn check_convicted(story: &Story) {
    assert_eq!(story.world.state.audits_of(BATCH).count(), 0);
    assert!(story.world.state.batch(BATCH).is_none());
    assert_eq!(held(story, WORKER), Amount::ZERO);
    assert_eq!(standing(story, WORKER), 0);
    assert!(held(story, CHALLENGER) == credits("20"), "its bond is free");
}

#[test]
fn a_worker_that_is_wrong_in_one_cell_loses_the_batch_and_its_stake() {
    for what in [What::Gate, What::Embed, What::Scores(2)] {
        let (events, story) =
            cell_dispute([Some(lie(what)), None], BOGUS, (Finding::NoMatch, first().root));
        assert_eq!(verdict(&events), Some(Verdict::WorkerWrong), "{what:?}");
        check_convicted(&story);
        assert_eq!(held(&story, NODDER), credits("15"), "it found nothing wrong");
        assert_eq!(standing(&story, NODDER), 0);
        assert!(standing(&story, CHALLENGER) > 0);
        assert!(story.world.balance(CHALLENGER) > credits_of("-20"), "it is paid for the proof");
        assert!(
            story.world.balance(PAYER) > credits_of("-26"),
            "it has its payment back, and more"
        );
    }
}

#[test]
fn whoever_lies_in_any_kind_of_step_loses_by_its_proof() {
    for place in one_of_each() {
        let finding = (Finding::NoMatch, first().root);
        let (events, story) = cell_dispute([Some(lie_at(place)), None], BOGUS, finding);
        assert_eq!(verdict(&events), Some(Verdict::WorkerWrong), "{place:?}");
        check_convicted(&story);
        let finding = (Finding::NoMatch, BOGUS);
        let (events, story) = cell_dispute([None, Some(lie_at(place))], first().root, finding);
        assert_eq!(verdict(&events), Some(Verdict::ChallengerWrong), "{place:?}");
        assert_eq!(held(&story, CHALLENGER), credits("18"), "{place:?}: its bond is lost");
        assert_eq!(held(&story, WORKER), credits("50"), "{place:?}");
    }
}

fn credits_of(text: &str) -> i128 {
    match text.strip_prefix('-') {
        Some(rest) => -i128::from(credits(rest).millionths()),
        None => credits(text).millionths().into(),
    }
}

#[test]
fn a_false_accuser_loses_its_bond_and_the_worker_is_paid() {
    let root = first().root;
    let (events, mut story) =
        cell_dispute([None, Some(lie(What::Down))], root, (Finding::NoMatch, BOGUS));
    assert_eq!(verdict(&events), Some(Verdict::ChallengerWrong));
    assert_eq!(story.stage(), None, "nobody else has a claim");
    assert_eq!(held(&story, CHALLENGER), credits("18"), "its bond is lost");
    assert_eq!(standing(&story, CHALLENGER), 0);
    assert!(standing(&story, NODDER) > 0);
    assert_eq!(held(&story, WORKER), credits("50"));
    let before = story.world.balance(WORKER);
    story.blocks(30);
    assert!(story.world.state.batch(BATCH).is_none());
    assert!(story.world.balance(WORKER) > before, "the batch is settled");
}

#[test]
fn where_both_are_wrong_both_pay() {
    let at = |byte| Some(Lie { byte, ..lie(What::Gate) });
    let (events, story) = cell_dispute([at(8), at(9)], BOGUS, (Finding::NoMatch, first().root));
    assert_eq!(verdict(&events), Some(Verdict::BothWrong));
    assert_eq!(held(&story, WORKER), Amount::ZERO);
    assert_eq!(held(&story, CHALLENGER), credits("18"));
}

/// The first answer with one leaf that is not its row's.
fn with_other_leaf() -> Stated {
    let mut stated = honest(0);
    let mut leaves = stated.answer.leaves.as_slice().to_vec();
    leaves[1] = [7; 32];
    stated.answer.leaves = audit::commitment::Leaves::new(leaves).unwrap();
    stated.root = Hash(stated.answer.leaves.root(&prompt_hash(&stated.answer.prompt)));
    stated
}

#[test]
fn a_worker_whose_trace_is_right_and_whose_root_is_not_is_convicted_by_a_row() {
    let stated = with_other_leaf();
    let (answer, root) = (with_other_leaf().answer, stated.root);
    let mut parties = [Party::new(&answer, None), Party::new(&first().answer, None)];
    let traces = [parties[0].root(), parties[1].root()];
    assert_eq!(traces[0], traces[1]);
    let said = [(Finding::NoMatch, first().root), (Finding::Match, root)];
    let mut story = disputed(vec![stated], said, traces);
    let phase = story.divide(CHALLENGER, &mut parties);
    let Phase::Position(leaf) = phase else { unreachable!("{phase:?}") };
    assert_eq!(leaf.index, 1);
    let row = parties[1].step(before_token(&first().answer, 1, What::HeadInput));
    let other = parties[1].step(before_token(&first().answer, 0, What::HeadInput));
    story.refuse(CHALLENGER, show(&row), Refusal::Undecided);
    let payload = story.open_payload(0);
    story.act(CHALLENGER, Action::OpenPayload(payload));
    story.refuse(CHALLENGER, show(&other), Refusal::BadEvidence);
    let events = story.act(CHALLENGER, show(&row));
    assert_eq!(verdict(&events), Some(Verdict::WorkerWrong));
    check_convicted(&story);
}

#[test]
fn a_worker_that_chose_another_token_is_convicted_by_its_own_trace() {
    let stated = with_other_token(0);
    let (answer, root) = (with_other_token(0).answer, stated.root);
    let mut party = Party::new(&answer, None);
    let trace = party.root();
    let said = [(Finding::NoMatch, root), (Finding::Match, root)];
    let mut story = disputed(vec![stated], said, [trace, trace]);
    assert_eq!(story.stage(), Some(Stage::Token));
    let payload = story.open_payload(0);
    story.act(CHALLENGER, Action::OpenPayload(payload));
    let right = party.step(before_token(&answer, 0, What::Sample));
    story.refuse(CHALLENGER, show(&right), Refusal::Undecided);
    let wrong = party.step(before_token(&answer, 1, What::Sample));
    let events = story.act(CHALLENGER, show(&wrong));
    assert_eq!(verdict(&events), Some(Verdict::WorkerWrong));
    check_convicted(&story);
}

/// A worker that was silent in a dispute.
pub(crate) fn convicted() -> Story {
    let said = [(Finding::NoMatch, first().root), (Finding::Match, BOGUS)];
    let mut story = Story::new(vec![Stated { root: BOGUS, ..honest(0) }]);
    story.reveal_all(0, said);
    story.act(PAYER, Action::ShowModel(Story::show_model()));
    story.act(CHALLENGER, Story::challenge(first().root, Hash([1; 32])));
    let events = story.stage_over();
    assert_eq!(verdict(&events), Some(Verdict::Silent(Side::Worker)));
    story
}

#[test]
fn a_worker_that_is_silent_in_a_dispute_is_convicted_and_those_who_nodded_are_not() {
    let story = convicted();
    check_convicted(&story);
    assert_eq!(held(&story, NODDER), credits("20"));
}

#[test]
fn whoever_is_silent_at_a_turn_loses_and_at_the_last_it_is_the_challenger() {
    for silent in [Side::Worker, Side::Challenger] {
        let mut parties = [Some(lie(What::Gate)), None].map(|it| Party::new(&first().answer, it));
        let traces = [parties[0].root(), parties[1].root()];
        let said = [(Finding::NoMatch, first().root), (Finding::Match, BOGUS)];
        let stated = Stated { root: BOGUS, ..honest(0) };
        let mut story = disputed(vec![stated], said, traces);
        if silent == Side::Worker {
            let turns = story.world.state.dispute((BATCH, 0)).unwrap().turns.clone().unwrap();
            let action = story.statement(1, turns.phase(), turns.about(), &mut parties);
            story.act(CHALLENGER, action);
        } else {
            story.divide(CHALLENGER, &mut parties);
        }
        let events = story.stage_over();
        assert_eq!(verdict(&events), Some(Verdict::Silent(silent)));
        match silent {
            Side::Worker => check_convicted(&story),
            Side::Challenger => {
                assert_eq!(held(&story, CHALLENGER), credits("18"));
                assert_eq!(held(&story, WORKER), credits("50"));
            }
        }
    }
}

#[test]
fn another_auditor_can_still_dispute_what_one_has_disputed_wrongly() {
    let said = [(Finding::NoMatch, Hash([1; 32])), (Finding::NoMatch, first().root)];
    let mut story =
        disputed(vec![Stated { root: BOGUS, ..honest(0) }], said, [Hash([4; 32]), Hash([5; 32])]);
    story.stage_over();
    assert_eq!(story.stage(), Some(Stage::Challenging));
    let again = Story::challenge(Hash([1; 32]), Hash([5; 32]));
    story.refuse(CHALLENGER, again, Refusal::NoClaim);
    let other = Story::challenge(first().root, Hash([5; 32]));
    story.act(NODDER, other);
    story.stage_over();
    assert!(story.world.state.batch(BATCH).is_none(), "the worker was silent");
    assert_eq!(held(&story, NODDER), credits("20"));
}

#[test]
fn a_finding_that_nobody_stands_by_costs_standing_and_the_worker_nothing() {
    let mut story = Story::new(vec![honest(0)]);
    let before = standing(&story, CHALLENGER);
    let said = [(Finding::NoMatch, BOGUS), (Finding::Match, first().root)];
    story.reveal_all(0, said);
    story.stage_over();
    assert_eq!(story.stage(), None);
    assert!(standing(&story, CHALLENGER) < before);
    assert_eq!(held(&story, WORKER), credits("50"));
}

#[test]
fn two_machines_that_apply_the_same_orders_come_to_the_same_state() {
    let run = |restarts| {
        RESTARTS.with(|it| it.set(restarts));
        let finding = (Finding::NoMatch, first().root);
        let (events, story) = cell_dispute([Some(lie(What::Gate)), None], BOGUS, finding);
        RESTARTS.with(|it| it.set(false));
        (events, story.world.state.entries())
    };
    assert!(run(false) == run(true));
}

/// Kinds of orders that a dispute has, none of which sets a parameter.
pub(crate) fn every_kind() -> BTreeSet<&'static str> {
    let finding = (Finding::NoMatch, first().root);
    cell_dispute([Some(lie(What::Gate)), None], BOGUS, finding).1.kinds
}

/// Refusals of disputes.
pub(crate) fn refusals(seen: &mut BTreeSet<Refusal>) {
    let mut no = |story: &mut Story, name: &str, action: Action, wanted| {
        story.refuse(name, action, wanted);
        seen.insert(wanted);
    };
    let mut parties = [Some(lie(What::Gate)), None].map(|it| Party::new(&first().answer, it));
    let traces = [parties[0].root(), parties[1].root()];
    let mut story = Story::new(vec![Stated { root: BOGUS, ..honest(0) }]);
    story.reveal_all(0, [(Finding::NoMatch, first().root), (Finding::Match, BOGUS)]);
    let challenge = Story::challenge(first().root, traces[1]);
    no(&mut story, CHALLENGER, challenge.clone(), Refusal::ModelNotShown);
    no(&mut story, NODDER, challenge.clone(), Refusal::NoClaim);
    no(&mut story, CHALLENGER, Story::challenge(BOGUS, traces[1]), Refusal::NoClaim);
    let model = Story::show_model();
    let bad = ShowModel { piece: Bytes::new(vec![1; 9]).unwrap(), ..model.clone() };
    no(&mut story, PAYER, Action::ShowModel(bad), Refusal::BadModel);
    let unknown = ShowModel { work: cid("nothing"), ..model.clone() };
    no(&mut story, PAYER, Action::ShowModel(unknown), Refusal::WorkUnknown);
    let before = story.world.balance(PAYER);
    story.act(PAYER, Action::ShowModel(model.clone()));
    assert_eq!(story.world.balance(PAYER), before - 10_000, "nobody was drawn to show it");
    no(&mut story, PAYER, Action::ShowModel(model), Refusal::ModelShown);
    story.act(CHALLENGER, challenge);
    no(&mut story, PAYER, Story::answer(traces[0]), Refusal::NotTheWorker);
    story.act(WORKER, Story::answer(traces[0]));
    let nodes = |nodes: Vec<Hash>| {
        let nodes = List::new(nodes).unwrap();
        Action::DivideTrace(DivideTrace { batch: BATCH, index: 0, nodes })
    };
    let turns = story.world.state.dispute((BATCH, 0)).unwrap().turns.clone().unwrap();
    let right = story.statement(0, turns.phase(), turns.about(), &mut parties);
    let others = story.statement(1, turns.phase(), turns.about(), &mut parties);
    no(&mut story, PAYER, right.clone(), Refusal::NotDisputant);
    no(&mut story, WORKER, nodes(vec![BOGUS]), Refusal::NodesCount);
    no(&mut story, WORKER, others, Refusal::OtherNodes);
    no(&mut story, WORKER, judge(), Refusal::NotNow);
    story.act(WORKER, right.clone());
    no(&mut story, WORKER, right, Refusal::AlreadyStated);
    let payload = story.open_payload(0);
    no(&mut story, PAYER, Action::OpenPayload(payload.clone()), Refusal::NotDisputant);
    // Once the receipt was shown, it needs no path, and no other does without.
    let bare = OpenPayload { path: List::new(vec![BOGUS]).unwrap(), ..payload };
    let other = Bytes::new(encode(&story.receipt(0, BOGUS))).unwrap();
    let other = OpenPayload { receipt: other, ..bare.clone() };
    no(&mut story, CHALLENGER, Action::OpenPayload(other), Refusal::OtherReceipt);
    story.act(CHALLENGER, Action::OpenPayload(bare));
    story.divide(CHALLENGER, &mut parties);
    no(&mut story, WORKER, judge(), Refusal::Undecided);
    let piece = Bytes::new(vec![1; 9]).unwrap();
    let bad = Action::ShowEvidence(ShowEvidence { batch: BATCH, index: 0, piece });
    no(&mut story, CHALLENGER, bad.clone(), Refusal::BadEvidence);
    no(&mut story, PAYER, bad, Refusal::NotDisputant);
    let chunk = |from: usize| {
        let part = |at| Part { kind: 1, layer: 0, from: at, to: 128 };
        let parts = List::new((from..from + 32).map(part).collect()).unwrap();
        show(&Shown::Chunk { parts, piece: chunk(0).unwrap() })
    };
    story.act(WORKER, chunk(0));
    no(&mut story, WORKER, chunk(0), Refusal::AlreadyStated);
    story.act(WORKER, chunk(32));
    no(&mut story, WORKER, chunk(64), Refusal::EvidenceFull);
}
