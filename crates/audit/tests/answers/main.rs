//! Answers of small models: committed to, computed again, and found out where they are wrong.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

#[path = "../../../engine/tests/support/mod.rs"]
mod support;

#[path = "../support/diverse.rs"]
mod diverse;
#[path = "../support/longest.rs"]
mod longest;

mod cases;
mod commitments;
mod disputes;
mod honest;
mod kinds;
mod lights;
mod long;
mod receipts;
mod replays;
mod turns;

use std::sync::Arc;

use audit::commitment::{Committer, Leaves};
use engine::artifact::config::Family;
use engine::artifact::matrix::Bits;
use engine::batch::{Engine, Options};
use engine::kernels::Isa;
use engine::model::Model;
use engine::request::{Output, Request, SequenceId};
use engine::sampling::{Sampling, Seed};
use engine::trace::Observer;
use support::Random;

const FAMILIES: [Family; 4] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3];

fn model(family: Family, seed: u64) -> Arc<Model> {
    let config = support::config(family);
    let bytes = support::artifact(&config, Bits::Four, seed);
    assert!(!bytes.is_empty());
    support::model(&config, Bits::Four, seed)
}

fn tokens(count: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..count).map(|_| random.within(0, 149) as u32).collect()
}

fn request(prompt: Vec<u32>, seed: i64, tokens_max: u32) -> Request {
    let sampling = Sampling {
        temperature: 1 << 16,
        presence_penalty: 40_000,
        repetition_penalty: 70_000,
        seed: Seed::from_integer(seed),
        ..Sampling::default()
    };
    Request {
        prompt,
        said: Vec::new(),
        sampling,
        tokens_max,
        end_tokens: Vec::new(),
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    }
}

fn options(isa: Isa, threads: usize) -> Options {
    Options { isa, threads, ..Options::default() }
}

/// Runs all requests together and commits to each: its new tokens and its leaves.
fn run(engine: &mut Engine, requests: &[Request]) -> Vec<(Vec<u32>, Option<Leaves>)> {
    let mut committer = Committer::default();
    let ids: Vec<SequenceId> = requests
        .iter()
        .map(|request| {
            let id = engine.submit(request.clone()).unwrap();
            assert!(committer.follow(id));
            id
        })
        .collect();
    let mut tokens = vec![Vec::new(); ids.len()];
    while !engine.is_idle() {
        for (id, output) in engine.step(&mut Observer::new(&mut committer)) {
            if let Output::Token { token, .. } = output {
                tokens[ids.iter().position(|&known| known == id).unwrap()].push(token);
            }
        }
    }
    let leaves = ids.into_iter().map(|id| committer.take(id));
    tokens.into_iter().zip(leaves).collect()
}

/// One answer, in an engine of its own.
fn alone(model: &Arc<Model>, request: &Request, options: Options) -> (Vec<u32>, Leaves) {
    let mut engine = Engine::new(model.clone(), options);
    let (tokens, leaves) = run(&mut engine, core::slice::from_ref(request)).remove(0);
    (tokens, leaves.unwrap())
}
