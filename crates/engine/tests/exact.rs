//! The same run gives the same bits, however it is computed.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::artifact::config::Family;
use engine::artifact::matrix::Bits;
use engine::batch::{Engine, Options, Priority};
use engine::forward::Forward;
use engine::kernels::Isa;
use engine::kernels::attention::Segment;
use engine::kv::{KvPages, KvShape, PAGE};
use engine::model::Model;
use engine::request::{Output, Request, SequenceId};
use engine::sampling::{Sampling, Seed};
use engine::trace::{Observe, Observer, RowId};
use support::Random;

const FAMILIES: [Family; 4] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3];

fn tokens(count: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..count).map(|_| random.within(0, 149) as u32).collect()
}

fn machines() -> impl Iterator<Item = (Isa, usize)> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available()).flat_map(|isa| [(isa, 1), (isa, 3)])
}

/// Logits of every position, computed in chunks, the layers cut in two after `cut`.
fn logits(
    model: &Arc<Model>,
    (isa, threads): (Isa, usize),
    tokens: &[u32],
    chunk: usize,
    cut: usize,
) -> Vec<i32> {
    let config = *model.config();
    let mut forward = Forward::new(model.clone(), isa, threads);
    let pages: Vec<u32> = (0..tokens.len().div_ceil(PAGE) as u32).rev().collect();
    let mut kv = KvPages::new(KvShape::of(&config), pages.len());
    let (mut all, mut out) = (Vec::new(), Vec::new());
    for (index, tokens) in tokens.chunks(chunk).enumerate() {
        let mut rows = Vec::new();
        forward.embed(tokens, &mut rows);
        let segment = Segment { pages: &pages, position: index * chunk, rows: 0..tokens.len() };
        let segments = [segment];
        forward.layers(0..cut, &mut rows, &segments, &mut kv, &mut Observer::none());
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let values = bytes.as_chunks::<4>().0.iter().map(|bytes| i32::from_le_bytes(*bytes));
        let mut rows: Vec<i32> = values.collect();
        forward.layers(cut..config.layers, &mut rows, &segments, &mut kv, &mut Observer::none());
        forward.logits(&rows, &mut out);
        all.extend_from_slice(&out);
    }
    all
}

#[test]
fn every_instruction_set_thread_count_chunk_and_cut_gives_the_same_logits() {
    for (family, bits) in FAMILIES.into_iter().zip([Bits::Four, Bits::Eight].into_iter().cycle()) {
        for bits in [bits, Bits::Four] {
            let model = support::model(&support::config(family), bits, 7);
            let tokens = tokens(70, 1);
            let reference = logits(&model, (Isa::Scalar, 1), &tokens, 1, 0);
            assert!(reference.iter().any(|&logit| logit != reference[0]), "{family:?} computes");
            for machine in machines() {
                for (chunk, cut) in [(1, 1), (7, 2), (33, 0), (70, 1)] {
                    let found = logits(&model, machine, &tokens, chunk, cut);
                    assert!(found == reference, "{family:?} {bits:?} {machine:?} {chunk} {cut}");
                }
            }
        }
    }
}

/// Logits by sequence and position.
#[derive(Default)]
struct Seen(BTreeMap<RowId, Vec<i32>>);

impl Observe for Seen {
    fn logits(&mut self, row: RowId, logits: &[i32]) {
        let known = self.0.insert(row, logits.to_vec());
        assert!(known.is_none_or(|known| known == logits), "{row:?} computed twice, differently");
    }
}

fn request(prompt: Vec<u32>, seed: i64) -> Request {
    let sampling =
        Sampling { temperature: 1 << 16, seed: Seed::from_integer(seed), ..Sampling::default() };
    Request {
        prompt,
        said: Vec::new(),
        sampling,
        tokens_max: 20,
        end_tokens: Vec::new(),
        logprobs: Some(2),
        prompt_logprobs: false,
        grammar: None,
    }
}

/// Runs all requests together; returns each one's tokens.
fn run(engine: &mut Engine, requests: &[Request], observer: &mut Observer<'_>) -> Vec<Vec<u32>> {
    let ids: Vec<SequenceId> =
        requests.iter().map(|request| engine.submit(request.clone()).unwrap()).collect();
    let mut tokens = vec![Vec::new(); ids.len()];
    while !engine.is_idle() {
        for (id, output) in engine.step(observer) {
            if let Output::Token { token, .. } = output {
                tokens[ids.iter().position(|&known| known == id).unwrap()].push(token);
            }
        }
    }
    tokens
}

#[test]
fn batches_caches_and_suspensions_change_no_token() {
    for family in FAMILIES {
        let model = support::model(&support::config(family), Bits::Four, 3);
        let shared = tokens(40, 5);
        let requests: Vec<Request> = (0..8)
            .map(|i| {
                let mut prompt = if i % 2 == 0 { shared.clone() } else { Vec::new() };
                prompt.extend(tokens(3 + 9 * i, i as u64));
                request(prompt, i as i64)
            })
            .collect();
        let options = Options { isa: Isa::best(), threads: 2, ..Options::default() };
        let alone: Vec<Vec<u32>> = requests
            .iter()
            .map(|request| {
                let options = Options { prefix_cache: false, ..options };
                let request = core::slice::from_ref(request);
                run(&mut Engine::new(model.clone(), options), request, &mut Observer::none())
                    .remove(0)
            })
            .collect();
        // Room for one context of 512 positions only: eight sequences of up to 120 must take turns.
        let tight = Options { kv_size_max: 0, step_rows_max: 17, ..options };
        for options in [options, tight, Options { step_rows_max: 3, ..options }] {
            let mut engine = Engine::new(model.clone(), options);
            let mut seen = Seen::default();
            assert_eq!(run(&mut engine, &requests, &mut Observer::new(&mut seen)), alone);
            assert_eq!(run(&mut engine, &requests, &mut Observer::none()), alone, "warm cache");
        }
    }
}

#[test]
fn urgent_requests_go_first_and_held_ones_stand_still_without_changing_a_bit() {
    let model = support::model(&support::config(Family::Llama), Bits::Four, 3);
    let options =
        Options { isa: Isa::best(), threads: 1, prefix_cache: false, ..Options::default() };
    let requests: Vec<Request> =
        (0..4).map(|i| request(tokens(200 + 9 * i, i as u64), i as i64)).collect();
    let alone: Vec<Vec<u32>> = requests
        .iter()
        .map(|it| {
            let it = core::slice::from_ref(it);
            run(&mut Engine::new(model.clone(), options), it, &mut Observer::none()).remove(0)
        })
        .collect();
    // One context of 512 positions: only two of the sequences fit, so that they take each other's pages.
    let tight = Options { kv_size_max: 0, step_rows_max: 64, ..options };
    let mut engine = Engine::new(model, tight);
    let (later, urgent) = (Priority(1), Priority(0));
    let submit = |engine: &mut Engine, index: usize, priority| {
        engine.submit_with(requests[index].clone(), priority).unwrap()
    };
    let mut ids = vec![submit(&mut engine, 0, later), submit(&mut engine, 1, later)];
    let mut said = vec![Vec::new(); 4];
    let mut ended = Vec::new();
    let mut step = |engine: &mut Engine, ids: &[SequenceId], threads| {
        engine.set_threads(threads);
        let mut seen = Vec::new();
        for (id, output) in engine.step(&mut Observer::none()) {
            let index = ids.iter().position(|&known| known == id).unwrap();
            seen.push(index);
            match output {
                Output::Token { token, .. } => said[index].push(token),
                Output::Finished(_) => ended.push(index),
                Output::Prompt { .. } => {}
            }
        }
        seen
    };
    while step(&mut engine, &ids, 1).is_empty() {}
    ids.extend([submit(&mut engine, 2, urgent), submit(&mut engine, 3, urgent)]);
    engine.hold_from(Some(later));
    while !engine.is_idle() {
        let seen = step(&mut engine, &ids, 2);
        assert!(seen.iter().all(|index| *index >= 2), "a held sequence went on: {seen:?}");
    }
    assert_eq!(engine.load().0 + engine.load().1, 2);
    assert!(step(&mut engine, &ids, 1).is_empty());
    engine.hold_from(None);
    while !engine.is_idle() {
        step(&mut engine, &ids, 1);
    }
    assert_eq!(ended[..2].iter().min(), Some(&2), "{ended:?}");
    assert_eq!(said, alone);
}

#[test]
fn an_answer_cut_anywhere_is_continued_with_the_same_bits() {
    let model = support::model(&support::config(Family::Qwen3), Bits::Four, 3);
    let mut whole = request(tokens(37, 5), 9);
    // Both look back at what was generated, and not at the prompt.
    (whole.sampling.presence_penalty, whole.sampling.frequency_penalty) = (90_000, 30_000);
    let outputs = |request: &Request, (isa, threads): (Isa, usize)| {
        let mut engine = Engine::new(model.clone(), Options { isa, threads, ..Options::default() });
        engine.submit(request.clone()).unwrap();
        let mut outputs = Vec::new();
        while !engine.is_idle() {
            outputs.extend(engine.step(&mut Observer::none()).into_iter().map(|(_, it)| it));
        }
        outputs.retain(|output| !matches!(output, Output::Prompt { .. }));
        outputs
    };
    let said = |outputs: &[Output]| -> Vec<u32> {
        let token = |output: &Output| match output {
            Output::Token { token, .. } => Some(*token),
            _ => None,
        };
        outputs.iter().filter_map(token).collect()
    };
    let (there, here) = ((Isa::Scalar, 1), (Isa::best(), 2));
    let undisturbed = outputs(&whole, there);
    let tokens = said(&undisturbed);
    assert_eq!(tokens.len(), 20);
    // A token that came up ends the answer as well if another engine has said it.
    whole.end_tokens = vec![tokens[19]];
    let ended = outputs(&whole, there);
    for (request, undisturbed) in
        [(Request { end_tokens: Vec::new(), ..whole.clone() }, undisturbed), (whole, ended)]
    {
        let tokens = said(&undisturbed);
        for cut in 0..=tokens.len() {
            let rest = Request { said: tokens[..cut].to_vec(), ..request.clone() };
            assert_eq!(outputs(&rest, here), undisturbed[cut..], "cut after {cut}");
        }
    }
}

#[test]
fn a_repeated_prompt_is_found_in_the_cache() {
    let model = support::model(&support::config(Family::Llama), Bits::Four, 3);
    let mut engine = Engine::new(model, Options::default());
    let request = request(tokens(50, 1), 1);
    let mut cached = Vec::new();
    for _ in 0..2 {
        engine.submit(request.clone()).unwrap();
        while !engine.is_idle() {
            cached.extend(engine.step(&mut Observer::none()).into_iter().filter_map(
                |(_, output)| match output {
                    Output::Prompt { cached, .. } => Some(cached),
                    _ => None,
                },
            ));
        }
    }
    assert_eq!(cached, [0, 48]);
}

#[test]
fn what_several_prompts_begin_with_is_computed_once_though_they_come_together() {
    let model = support::model(&support::config(Family::Llama), Bits::Four, 3);
    let prompt = |end: u64| [tokens(200, 1), tokens(20 + end as usize, end)].concat();
    let requests: Vec<Request> = (2..8).map(|end| request(prompt(end), 1)).collect();
    let alone: Vec<Vec<u32>> = requests
        .iter()
        .map(|it| {
            let mut engine = Engine::new(model.clone(), Options::default());
            run(&mut engine, std::slice::from_ref(it), &mut Observer::none()).remove(0)
        })
        .collect();
    for step_rows_max in [7, 16, 64, 256, 4096] {
        let options = Options { step_rows_max, ..Options::default() };
        let mut engine = Engine::new(model.clone(), options);
        for request in &requests {
            engine.submit(request.clone()).unwrap();
        }
        let (mut cached, mut answers) = (vec![], vec![vec![]; requests.len()]);
        while !engine.is_idle() {
            for (id, output) in engine.step(&mut Observer::none()) {
                match output {
                    Output::Prompt { cached: count, .. } => cached.push(count),
                    Output::Token { token, .. } => answers[id.0 as usize].push(token),
                    Output::Finished(_) => {}
                }
            }
        }
        assert_eq!(answers, alone, "{step_rows_max} rows a step");
        // 12 pages of 16 are whole.
        assert_eq!(cached, [0, 192, 192, 192, 192, 192], "{step_rows_max} rows a step");
    }
}
