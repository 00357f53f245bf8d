//! Honest machines of every kind: answers by each, audited by another.

use std::collections::BTreeMap;
use std::sync::Arc;

use audit::commitment::{Committer, Leaves};
use audit::replay::{Run, replay};
use engine::batch::{Engine, Options};
use engine::kernels::Isa;
use engine::model::Model;
use engine::request::{Output, Request, SequenceId};
use engine::sampling::{ONE, Sampling, Seed};
use engine::trace::Observer;

/// Answers that a machine computes together, where it does not compute them alone.
const TOGETHER: usize = 8;

/// A machine: instruction set, threads, and answers at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    pub(crate) isa: Isa,
    pub(crate) threads: usize,
    pub(crate) together: usize,
}

/// What came of it, by machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Answers computed and audited.
    pub(crate) answers: usize,
    /// Their tokens.
    pub(crate) tokens: usize,
    /// Those of which the auditor finds another root, or a token that the rules do not choose.
    pub(crate) mismatches: usize,
}

impl Machine {
    /// Every kind of machine that this one can be.
    pub(crate) fn all() -> Vec<Machine> {
        let mut all = Vec::new();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            for threads in [1, 2] {
                all.extend([1, TOGETHER].map(|together| Machine { isa, threads, together }));
            }
        }
        all
    }

    fn engine(self, model: &Arc<Model>) -> Engine {
        let Machine { isa, threads, .. } = self;
        Engine::new(model.clone(), Options { isa, threads, ..Options::default() })
    }
}

/// Prompts of many lengths, and every way of choosing a token.
fn request(number: usize, vocabulary: usize, tokens_max: u32) -> Request {
    let length = 1 + number * 7 % 45;
    let prompt = (0..length).map(|at| ((at * at * 31 + number * 97 + 5) % vocabulary) as u32);
    let seed = Seed::from_integer(number as i64);
    let hot = Sampling { temperature: ONE, seed, ..Sampling::default() };
    let sampling = match number % 5 {
        0 => Sampling::default(),
        1 => hot,
        2 => Sampling { top_p: 58_000, ..hot },
        3 => Sampling { top_k: 30, min_p: 2_000, ..hot },
        _ => Sampling { repetition_penalty: 80_000, presence_penalty: 20_000, ..hot },
    };
    Request {
        prompt: prompt.collect(),
        said: Vec::new(),
        sampling,
        tokens_max,
        end_tokens: Vec::new(),
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    }
}

/// Computes so many answers, each by the next machine, and has each audited by one that differs from it
/// in instruction set, threads and company.
pub(crate) fn audited(
    model: &Arc<Model>,
    answers: usize,
    tokens_max: u32,
) -> Vec<(Machine, Outcome)> {
    let machines = Machine::all();
    let count = machines.len();
    let auditor = |at: usize| machines[(at + count / 2 + 3) % count];
    let mut outcomes = Vec::new();
    let mut number = 0;
    for (at, machine) in machines.iter().enumerate() {
        let mut worker = machine.engine(model);
        let mut auditor = auditor(at).engine(model);
        let share = answers / count + usize::from(at < answers % count);
        let mut outcome = Outcome::default();
        while outcome.answers < share {
            let together = machine.together.min(share - outcome.answers);
            let requests: Vec<Request> = (number..number + together)
                .map(|number| request(number, model.vocabulary_size(), tokens_max))
                .collect();
            number += together;
            for (request, (output, leaves)) in requests.iter().zip(run(&mut worker, &requests)) {
                let (prompt, sampling) = (&request.prompt, &request.sampling);
                let run = Run { prompt, output: &output, said: 0, sampling };
                let found = replay(&mut auditor, &run).expect("the run is one of this model");
                let is_same = found.leaves == leaves && found.wrong.is_none();
                outcome.mismatches += usize::from(!is_same);
                outcome.answers += 1;
                outcome.tokens += output.len();
            }
        }
        outcomes.push((*machine, outcome));
    }
    outcomes
}

/// Runs requests together; each one's tokens and its leaves.
fn run(engine: &mut Engine, requests: &[Request]) -> Vec<(Vec<u32>, Leaves)> {
    let mut committer = Committer::default();
    let ids: Vec<SequenceId> = requests
        .iter()
        .map(|request| engine.submit(request.clone()).expect("the request is sound"))
        .collect();
    ids.iter().for_each(|id| assert!(committer.follow(*id), "there is room"));
    let mut tokens: BTreeMap<SequenceId, Vec<u32>> = BTreeMap::new();
    while !engine.is_idle() {
        for (id, output) in engine.step(&mut Observer::new(&mut committer)) {
            if let Output::Token { token, .. } = output {
                tokens.entry(id).or_default().push(token);
            }
        }
    }
    let answer = |id| {
        let leaves = committer.take(id).expect("the answer was followed");
        (tokens.remove(&id).unwrap_or_default(), leaves)
    };
    ids.into_iter().map(answer).collect()
}
