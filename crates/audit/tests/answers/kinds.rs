//! Every kind of step: whoever lies only there is convicted, the worker as well as a false accuser.

use std::collections::BTreeMap;

use audit::dispute::Verdict;
use audit::graph::{Graph, Place, Shape, What};
use audit::replay::Run;
use engine::artifact::config::Family;
use engine::kernels::Isa;
use engine::request::Request;
use engine::sampling::{ONE, Sampling, Seed};

use crate::disputes::{Lie, Party, answer, dispute};
use crate::{alone, model, options, request, tokens};

/// Kinds of steps. `kind` numbers them from 0 on.
const KINDS: usize = 24;

/// The number of a kind. A new one does not compile until it has its line here, and no test passes
/// before it was tried.
fn kind(what: What) -> usize {
    match what {
        What::Embed => 0,
        What::AttentionNorm => 1,
        What::Query => 2,
        What::Key => 3,
        What::Value => 4,
        What::QueryHeads => 5,
        What::KeyHeads => 6,
        What::ValueHeads => 7,
        What::Scores(_) => 8,
        What::Weights(_) => 9,
        What::Sums(_) => 10,
        What::Result(_) => 11,
        What::AttentionInput => 12,
        What::AttentionOutput => 13,
        What::AttentionResidual => 14,
        What::MlpNorm => 15,
        What::Gate => 16,
        What::Up => 17,
        What::MlpInput => 18,
        What::Down => 19,
        What::MlpResidual => 20,
        What::HeadInput => 21,
        What::Logits => 22,
        What::Sample => 23,
    }
}

/// One step of each kind, in the last layer and at a late position.
pub(crate) fn one_of_each(graph: &Graph, shape: &Shape) -> Vec<Place> {
    let places = (0..graph.steps(shape)).map(|index| graph.place_of(shape, index).unwrap());
    let late = places.filter(|place| place.position + 1 < shape.positions());
    let of_kind: BTreeMap<usize, Place> = late.map(|place| (kind(place.what), place)).collect();
    assert!(of_kind.keys().copied().eq(0..KINDS), "{of_kind:?}");
    of_kind.into_values().collect()
}

/// A lie convicts the worker that tells it, and the challenger that does.
fn check_lie<'a>(
    file: (&'a engine::model::Model, &[u8]),
    run: &Run<'a>,
    honest: &mut Party<'a>,
    lie: Lie,
) {
    let mut liar = Party::new(file.0, run.clone(), Some(lie));
    for (is_worker, right) in [(true, Verdict::WorkerWrong), (false, Verdict::ChallengerWrong)] {
        let parties = if is_worker { [&mut liar, &mut *honest] } else { [&mut *honest, &mut liar] };
        let outcome = dispute(file, run, parties);
        assert_eq!(outcome.place, lie.place, "the first step that differs is the one lied about");
        assert_eq!(outcome.verdict, right, "{lie:?}");
        let (rounds, size) = (outcome.rounds, outcome.size);
        assert!(rounds <= 5 && size <= 3 << 19, "{lie:?}: {rounds} rounds, {size} bytes");
    }
}

/// Lies in the first and the last cell of a step of each kind.
fn check_every_kind(family: Family) {
    let (model, bytes, request, output) = answer(family, 3);
    let (prompt, sampling) = (&request.prompt, &request.sampling);
    let run = Run { prompt, output: &output, said: 0, sampling };
    let mut honest = Party::new(&model, run.clone(), None);
    let (graph, shape) = (*honest.memory.graph(), *honest.memory.shape());
    for place in one_of_each(&graph, &shape) {
        // The last cell, whose step may have earlier ones of its own.
        check_lie((&model, &bytes), &run, &mut honest, Lie { place, byte: graph.size(place) - 4 });
        if graph.cells(place).0 > 1 {
            check_lie((&model, &bytes), &run, &mut honest, Lie { place, byte: 1 });
        }
    }
}

#[test]
fn whoever_lies_in_any_kind_of_step_of_llama_is_convicted() {
    check_every_kind(Family::Llama);
}

#[test]
fn whoever_lies_in_any_kind_of_step_with_biases_is_convicted() {
    check_every_kind(Family::Qwen2);
}

#[test]
fn whoever_lies_in_any_kind_of_step_with_head_norms_is_convicted() {
    check_every_kind(Family::Qwen3);
}

#[test]
fn whoever_lies_in_any_kind_of_step_with_windows_and_post_norms_is_convicted() {
    check_every_kind(Family::Gemma3);
}

/// Every way in which a token is chosen.
fn samplings() -> Vec<Sampling> {
    let hot = Sampling { temperature: ONE, seed: Seed::from_integer(8), ..Sampling::default() };
    vec![
        Sampling::default(),
        Sampling { temperature: 3 * ONE, ..hot.clone() },
        Sampling { top_k: 5, ..hot.clone() },
        Sampling { top_p: ONE / 2, ..hot.clone() },
        Sampling { min_p: ONE / 20, ..hot.clone() },
        Sampling { top_k: 40, top_p: 60_000, min_p: 2_000, ..hot.clone() },
        Sampling { repetition_penalty: 90_000, frequency_penalty: 30_000, ..hot.clone() },
        Sampling { logit_bias: vec![(3, 9 << 16), (77, -(5 << 16))], ..hot },
    ]
}

#[test]
fn whoever_lies_about_a_token_is_convicted_however_it_is_chosen() {
    let family = Family::Qwen3;
    let model = model(family, 3);
    let bytes = crate::support::artifact(
        &crate::support::config(family),
        engine::artifact::matrix::Bits::Four,
        3,
    );
    for sampling in samplings() {
        let request = Request { sampling, ..request(tokens(7, 6), 4, 3) };
        let (output, _) = alone(&model, &request, options(Isa::Scalar, 1));
        let (prompt, sampling) = (&request.prompt, &request.sampling);
        let run = Run { prompt, output: &output, said: 0, sampling };
        let mut honest = Party::new(&model, run.clone(), None);
        let layer = honest.memory.graph().config.layers;
        for position in prompt.len() - 1..honest.memory.shape().positions() {
            let place = Place { position, layer, what: What::Sample };
            check_lie((&model, &bytes), &run, &mut honest, Lie { place, byte: 0 });
        }
    }
}
