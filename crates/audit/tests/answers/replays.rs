//! Replays give the root of the run, and name the token that the rules do not choose.

use audit::commitment::prompt_hash;
use audit::replay::{Cell, NotReplayed, Run, WrongToken, replay, spot};
use engine::artifact::config::Family;
use engine::batch::Engine;
use engine::kernels::Isa;
use engine::trace::{Interest, Observe, Observer};

use crate::{FAMILIES, alone, model, options, request, tokens};

#[test]
fn a_replay_gives_the_leaves_of_the_run() {
    for family in FAMILIES {
        let model = model(family, 3);
        for (length, count) in [(1, 1), (17, 1), (40, 33)] {
            let request = request(tokens(length, 6), 4, count);
            let (output, leaves) = alone(&model, &request, options(Isa::Scalar, 1));
            let mut auditor = Engine::new(model.clone(), options(Isa::best(), 2));
            let (prompt, sampling) = (&request.prompt, &request.sampling);
            let run = Run { prompt, output: &output, said: 0, sampling };
            for _ in 0..2 {
                let replayed = replay(&mut auditor, &run).unwrap();
                assert_eq!(replayed.leaves, leaves, "{family:?} {length} {count}");
                assert_eq!(replayed.wrong, None);
            }
        }
    }
}

#[test]
fn every_changed_token_is_found_where_it_stands() {
    let model = model(Family::Qwen2, 3);
    let request = request(tokens(21, 6), 4, 12);
    let (output, leaves) = alone(&model, &request, options(Isa::Scalar, 1));
    let root = leaves.root(&prompt_hash(&request.prompt));
    let mut auditor = Engine::new(model, options(Isa::best(), 1));
    for index in 0..output.len() {
        let mut changed = output.clone();
        changed[index] = (changed[index] + 1) % 150;
        let mut run =
            Run { prompt: &request.prompt, output: &changed, said: 0, sampling: &request.sampling };
        let replayed = replay(&mut auditor, &run).unwrap();
        let (found, right) = (changed[index], output[index]);
        assert_eq!(replayed.wrong, Some(WrongToken { index, found, right }));
        assert_eq!(replayed.leaves.first_difference(&leaves), Some(index as u32));
        assert_ne!(replayed.leaves.root(&prompt_hash(&request.prompt)), root);
        // A token that another worker had said is not this one's choice.
        run.said = index + 1;
        let wrong = replay(&mut auditor, &run).unwrap().wrong;
        assert!(wrong.is_none_or(|wrong| wrong.index > index), "{wrong:?}");
    }
}

#[test]
fn other_weights_another_prompt_and_other_sampling_are_found() {
    let model_bits = model(Family::Llama, 3);
    let request = request(tokens(21, 6), 4, 12);
    let (output, leaves) = alone(&model_bits, &request, options(Isa::best(), 1));
    let run =
        Run { prompt: &request.prompt, output: &output, said: 0, sampling: &request.sampling };

    let mut other = Engine::new(model(Family::Llama, 4), options(Isa::best(), 1));
    let replayed = replay(&mut other, &run).unwrap();
    assert_eq!(replayed.leaves.first_difference(&leaves), Some(0), "another model");

    let mut engine = Engine::new(model_bits, options(Isa::best(), 1));
    let mut prompt = request.prompt.clone();
    prompt[0] ^= 1;
    let replayed = replay(&mut engine, &Run { prompt: &prompt, ..run.clone() }).unwrap();
    assert_eq!(replayed.leaves.first_difference(&leaves), Some(0), "another prompt");

    let mut sampling = request.sampling.clone();
    sampling.seed = engine::sampling::Seed::from_integer(5);
    let replayed = replay(&mut engine, &Run { sampling: &sampling, ..run.clone() }).unwrap();
    assert_eq!(replayed.leaves, leaves, "rows do not depend on the seed");
    assert!(replayed.wrong.is_some(), "another seed");
}

#[test]
fn what_no_engine_takes_is_refused_without_a_finding() {
    let model = model(Family::Llama, 3);
    let mut engine = Engine::new(model, options(Isa::best(), 1));
    let sampling = engine::sampling::Sampling::default();
    let outputs: [&[u32]; 3] = [&[150], &[u32::MAX], &[0; 512]];
    for output in outputs {
        let run = Run { prompt: &[1], output, said: 0, sampling: &sampling };
        assert!(matches!(replay(&mut engine, &run), Err(NotReplayed::Refused(_))));
    }
    let run = Run { prompt: &[1], output: &[], said: 0, sampling: &sampling };
    assert!(replay(&mut engine, &run).unwrap().leaves.as_slice().is_empty());
}

/// The last row after each layer.
#[derive(Default)]
struct LastRows(Vec<Vec<i32>>);

impl Observe for LastRows {
    fn interest(&self) -> Interest {
        Interest::Answer
    }

    fn layer(&mut self, _: usize, rows: &[i32], width: usize) {
        self.0.push(rows[rows.len() - width..].to_vec());
    }
}

#[test]
fn a_spot_replay_gives_the_row_of_the_run() {
    let model = model(Family::Gemma3, 3);
    let tokens = tokens(300, 2);
    for position in [0, 255, 256, 299] {
        let mut engine = Engine::new(model.clone(), options(Isa::Scalar, 1));
        let mut seen = LastRows::default();
        engine.submit(request(tokens[..=position].to_vec(), 1, 0)).unwrap();
        while !engine.is_idle() {
            engine.step(&mut Observer::new(&mut seen));
        }
        let layers = model.config().layers;
        let rows = &seen.0[seen.0.len() - layers..];
        for (layer, row) in rows.iter().enumerate() {
            let cell = Cell { layer, position };
            assert_eq!(&spot(&model, (Isa::best(), 2), &tokens, cell).unwrap(), row);
        }
    }
    for (layer, position) in [(3, 0), (0, 300), (usize::MAX, usize::MAX)] {
        let outcome = spot(&model, (Isa::Scalar, 1), &tokens, Cell { layer, position });
        assert_eq!(outcome, Err(NotReplayed::NoSuchCell { layer, position }));
    }
}
