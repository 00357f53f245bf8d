//! Disputes between two turns: their bytes, answers of equal traces, and what a trace says of them.

use std::fmt::Write;

use audit::commitment::{Leaves, answer_root, prompt_hash};
use audit::dispute::{About, Dispute, Phase, Refused, Side, Verdict};
use audit::graph::{Place, What};
use audit::referee::StepInput;
use audit::replay::Run;
use audit::rows::{leaf_of, token_of};
use audit::trace::{Digests, Memory, step_leaf};
use engine::kernels::Isa;
use expect_test::expect_file;
use merkle::Digest;
use types::codec::{Malformed, decode, encode};

use crate::{FAMILIES, alone, model, options, request, tokens};

const SIDES: [Side; 2] = [Side::Worker, Side::Challenger];

fn leaves(bytes: &[u8]) -> Digests {
    Digests::new(bytes.iter().map(|byte| merkle::leaf(&[*byte])).collect())
}

/// Two lists of so many leaves that differ in one place.
fn lists(count: usize, at: usize) -> [Digests; 2] {
    let (one, mut two) = (vec![1; count], vec![1; count]);
    two[at] = 2;
    [leaves(&one), leaves(&two)]
}

/// Each side states the nodes under its own.
fn divide(dispute: &mut Dispute, lists: &[Digests; 2], mut see: impl FnMut(&Dispute)) {
    while let Phase::Divide(divide) = dispute.phase().clone() {
        for side in SIDES {
            let nodes = lists[side as usize].under(divide.level, divide.block).unwrap();
            dispute.divide(side, &nodes, 11).unwrap();
            see(dispute);
        }
    }
}

#[test]
fn a_dispute_stands_in_its_bytes_between_two_turns() {
    let mut seen = vec![];
    let mut see = |dispute: &Dispute| seen.push(dispute.clone());
    // The digests of steps, of which the one at 260 has 20 cells.
    let cells = lists(20, 19);
    let steps = [0, 1].map(|side: usize| {
        let mut all = vec![merkle::leaf(b"same"); 300];
        all[260] = step_leaf(260, 20, &cells[side].root());
        Digests::new(all)
    });
    let roots = [steps[0].root(), steps[1].root()];
    let mut dispute = Dispute::new(300, roots, (10, 5)).unwrap();
    see(&dispute);
    divide(&mut dispute, &steps, &mut see);
    for side in SIDES {
        dispute.open(side, &cells[side as usize].root(), 20, 12).unwrap();
        see(&dispute);
    }
    divide(&mut dispute, &cells, &mut see);
    assert_eq!(dispute.judge(&[2], 12), Ok(Verdict::WorkerWrong));
    see(&dispute);
    let (answers, prompt) = (lists(300, 77), [9; 32]);
    let roots = answers.each_ref().map(|it| answer_root(&prompt, 300, &it.root()));
    let mut dispute = Dispute::of_answers(300, roots, (10, 5)).unwrap();
    see(&dispute);
    for side in SIDES {
        dispute.open_answer(side, &answers[side as usize].root(), &prompt, 11).unwrap();
        see(&dispute);
    }
    divide(&mut dispute, &answers, &mut see);
    let mut text = String::new();
    for dispute in &seen {
        let bytes = encode(dispute);
        assert_eq!(decode(&bytes).as_ref(), Ok(dispute));
        check_changes(&bytes);
        let phase = format!("{:?}", dispute.phase());
        let phase = phase.split([' ', '(']).next().unwrap();
        writeln!(text, "{phase} {}", data_encoding::HEXLOWER.encode(&bytes)).unwrap();
    }
    expect_file!["../../../../fixtures/audits/disputes.txt"].assert_eq(&text);
}

/// Changed bytes are refused, or those of another dispute that can go on without a panic.
fn check_changes(bytes: &[u8]) {
    for end in (0..bytes.len()).step_by(7) {
        assert!(decode::<Dispute>(&bytes[..end]).is_err(), "{end}");
    }
    for (at, flip) in (0..bytes.len().min(400)).flat_map(|at| [(at, 1), (at, 0x80), (at, 0xFF)]) {
        let mut changed = bytes.to_vec();
        changed[at] ^= flip;
        let Ok(mut other) = decode::<Dispute>(&changed) else { continue };
        assert_eq!(encode(&other), changed);
        // Each is taken or refused, and none panics.
        let taken = [
            other.divide(Side::Worker, &[[0; 32]; 256], 1).is_ok(),
            other.open(Side::Worker, &[0; 32], 1, 1).is_ok(),
            other.expire(u64::MAX).is_ok(),
        ];
        assert!(!taken[1], "no root of cells is all zeros");
    }
}

#[test]
fn a_dispute_of_more_than_there_can_be_is_not_read() {
    let roots = [[1; 32], [2; 32]];
    let dispute = Dispute::new(300, roots, (10, 5)).unwrap();
    let mut bytes = encode(&dispute);
    // The count of its steps.
    bytes[8] = 1;
    assert_eq!(decode::<Dispute>(&bytes), Err(Malformed::OutOfRange));
}

#[test]
fn answers_of_equal_traces_are_divided_to_their_first_leaf_that_differs() {
    let (answers, prompt) = (lists(300, 77), [9; 32]);
    let root = |side: usize, count| answer_root(&prompt, count, &answers[side].root());
    let roots = [root(0, 300), root(1, 300)];
    let fresh = Dispute::of_answers(300, roots, (10, 5)).unwrap();
    assert_eq!(fresh.about(), About::Answer);
    assert_eq!(Dispute::of_answers(300, [roots[0]; 2], (10, 5)), Err(Refused::NoDifference));
    assert_eq!(Dispute::of_answers(0, roots, (10, 5)), Err(Refused::NoDifference));
    let too_many = audit::dispute::ANSWER_MAX + 1;
    assert_eq!(Dispute::of_answers(too_many, roots, (10, 5)), Err(Refused::NoDifference));
    for (right, verdict) in [
        (merkle::leaf(&[2]), Verdict::WorkerWrong),
        (merkle::leaf(&[1]), Verdict::ChallengerWrong),
        (merkle::leaf(&[3]), Verdict::BothWrong),
    ] {
        let mut it = fresh.clone();
        let other: Digest = answers[1].root();
        assert_eq!(it.open_answer(Side::Worker, &other, &prompt, 11), Err(Refused::Unfaithful));
        assert_eq!(it.divide(Side::Worker, &[other], 11), Err(Refused::OutOfTurn));
        for side in SIDES {
            let tree = answers[side as usize].root();
            it.open_answer(side, &tree, &prompt, 11).unwrap();
        }
        divide(&mut it, &answers, |_| {});
        let Phase::Position(leaf) = *it.phase() else { unreachable!("{it:?}") };
        assert_eq!(leaf.index, 77);
        assert_eq!(it.rounds(), 3);
        assert_eq!(it.judge_leaf(&right, 12), Ok(verdict));
    }
    let mut silent = fresh.clone();
    silent.open_answer(Side::Challenger, &answers[1].root(), &prompt, 11).unwrap();
    let twice = silent.open_answer(Side::Challenger, &answers[1].root(), &prompt, 11);
    assert_eq!(twice, Err(Refused::Twice));
    assert_eq!(silent.expire(16), Ok(Verdict::Silent(Side::Worker)));
}

#[test]
fn a_trace_says_what_the_leaves_and_the_tokens_of_its_answer_are() {
    for family in FAMILIES {
        let (model, request) = (model(family, 3), request(tokens(24, 6), 4, 3));
        let (output, leaves) = alone(&model, &request, options(Isa::best(), 2));
        let (prompt, sampling) = (&request.prompt, &request.sampling);
        let run = Run { prompt, output: &output, said: 0, sampling };
        let (mut memory, mut rows) = (Memory::new(&model, run.clone()).unwrap(), vec![]);
        let layer = model.config().layers;
        for position in 0..memory.shape().positions() {
            assert!(memory.walk(position, |place, result| {
                if matches!(place.what, What::HeadInput | What::Sample) {
                    rows.push((place, result.to_vec()));
                }
            }));
            memory.leave(position);
        }
        let (graph, shape) = (*memory.graph(), *memory.shape());
        let trace = Memory::new(&model, run).unwrap().trace().unwrap();
        let root = trace.root();
        let mut found: Vec<Digest> = vec![];
        for (index, (place, result)) in rows.into_iter().enumerate() {
            let Place { position, .. } = place;
            let number = graph.index_of(&shape, place).unwrap();
            let input = StepInput { place, result, path: trace.path(number).unwrap() };
            let leaf = leaf_of(&graph, &shape, &root, &output, &input);
            let token = token_of(&graph, &shape, &root, &input);
            if place.what == What::HeadInput {
                assert_eq!((leaf.unwrap().0 as usize, token), (index / 2, None));
                found.push(leaf.unwrap().1);
            } else {
                assert_eq!((leaf, token), (None, Some((index / 2, output[index / 2]))));
            }
            let mut other = input.clone();
            other.result[0] ^= 1;
            let moved = Place { position, layer, what: What::Logits };
            for bad in [other, StepInput { place: moved, ..input.clone() }] {
                assert_eq!(leaf_of(&graph, &shape, &root, &output, &bad), None);
                assert_eq!(token_of(&graph, &shape, &root, &bad), None);
            }
            assert_eq!(token_of(&graph, &shape, &[0; 32], &input), None);
        }
        let hash = prompt_hash(prompt);
        assert_eq!(Leaves::new(found).unwrap().root(&hash), leaves.root(&hash), "{family:?}");
    }
}
