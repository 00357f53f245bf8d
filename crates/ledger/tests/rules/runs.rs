//! A small model, answers of it, and two parties that compute their traces, one of which may lie.

use std::sync::{Arc, OnceLock};

use audit::commitment::{Committer, Leaves, prompt_hash};
use audit::dispute::{Phase, Side};
use audit::graph::{Graph, Place, Shape, What};
use audit::referee::StepInput;
use audit::replay::Run;
use audit::trace::{Digests, Memory, cells, digest};
use engine::artifact::config::Family;
use engine::artifact::matrix::Bits;
use engine::batch::{Engine, Options};
use engine::kernels::Isa;
use engine::model::Model;
use engine::request::{Output, Request};
use engine::sampling::Sampling;
use engine::trace::Observer;
use merkle::Digest;
use store::leaves::Leaves as Chunks;
use types::id::{Cid, Hash};

use crate::support;

/// A model, its file, and its file's chunks.
pub(crate) struct Small {
    pub(crate) model: Arc<Model>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) chunks: Chunks,
    pub(crate) cid: Cid,
}

/// What was asked and answered.
pub(crate) struct Answer {
    pub(crate) prompt: Vec<u32>,
    pub(crate) output: Vec<u32>,
    pub(crate) sampling: Sampling,
    pub(crate) leaves: Leaves,
}

/// A change of one bit of one result.
#[derive(Clone, Copy)]
pub(crate) struct Lie {
    pub(crate) place: Place,
    pub(crate) byte: usize,
}

/// What one side of a dispute has.
pub(crate) struct Party<'a> {
    pub(crate) memory: Memory<'a>,
    pub(crate) trace: Digests,
    pub(crate) leaves: Leaves,
    lie: Option<Lie>,
}

/// The model that everyone in these tests runs.
pub(crate) fn small() -> &'static Small {
    static SMALL: OnceLock<Small> = OnceLock::new();
    SMALL.get_or_init(|| {
        let config = support::config(Family::Llama);
        let bytes = support::artifact(&config, Bits::Four, 3);
        let chunks = store::cid::Cid::leaves_of_reader(&bytes[..]).unwrap();
        let cid = types::codec::decode(&chunks.root().to_bytes()).unwrap();
        let model = support::model(&config, Bits::Four, 3);
        Small { model, bytes, chunks, cid }
    })
}

/// Runs the model on a prompt.
pub(crate) fn answer(prompt: Vec<u32>, sampling: Sampling, tokens_max: u32) -> Answer {
    let options = Options { isa: Isa::Scalar, threads: 1, ..Options::default() };
    let mut engine = Engine::new(small().model.clone(), options);
    let request = Request {
        prompt: prompt.clone(),
        said: vec![],
        sampling: sampling.clone(),
        tokens_max,
        end_tokens: vec![],
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    };
    let id = engine.submit(request).unwrap();
    let (mut committer, mut output) = (Committer::default(), vec![]);
    assert!(committer.follow(id));
    while !engine.is_idle() {
        for (_, said) in engine.step(&mut Observer::new(&mut committer)) {
            if let Output::Token { token, .. } = said {
                output.push(token);
            }
        }
    }
    let leaves = committer.take(id).unwrap();
    Answer { prompt, output, sampling, leaves }
}

impl Answer {
    pub(crate) fn run(&self) -> Run<'_> {
        let Answer { prompt, output, sampling, .. } = self;
        Run { prompt, output, said: 0, sampling }
    }

    pub(crate) fn root(&self) -> Hash {
        Hash(self.leaves.root(&prompt_hash(&self.prompt)))
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape { prompt: self.prompt.len(), output: self.output.len() }
    }
}

impl<'a> Party<'a> {
    /// Computes the trace; from the lie on, everything follows from it. The leaves are the answer's.
    pub(crate) fn new(answer: &'a Answer, lie: Option<Lie>) -> Party<'a> {
        let memory = Memory::new(&small().model, answer.run()).unwrap();
        let (trace, leaves) = (Digests::new(vec![]), answer.leaves.clone());
        let mut party = Party { memory, trace, leaves, lie };
        let mut digests = vec![];
        for position in 0..party.memory.shape().positions() {
            digests.extend(party.walk(position));
            party.memory.leave(position);
        }
        party.trace = Digests::new(digests);
        party
    }

    pub(crate) fn root(&self) -> Hash {
        Hash(self.trace.root())
    }

    /// Makes the steps of a position again.
    pub(crate) fn walk(&mut self, position: usize) -> Vec<Digest> {
        let (graph, shape) = (*self.memory.graph(), *self.memory.shape());
        let places = self.memory.steps_of(position).map(|index| graph.place_of(&shape, index));
        let mut digests = vec![];
        for place in places.collect::<Option<Vec<Place>>>().unwrap() {
            // What follows from a lie may be of no form; the liar states something.
            let computed = self.memory.compute(place);
            let mut result = computed.unwrap_or_else(|| vec![0; graph.size(place)]);
            if let Some(lie) = self.lie.filter(|lie| lie.place == place) {
                result[lie.byte] ^= 1;
            }
            digests.push(digest(&graph, &shape, place, &result).unwrap());
            self.memory.put(place, result);
        }
        digests
    }

    /// A whole step with its path, as evidence.
    pub(crate) fn step(&mut self, place: Place) -> StepInput {
        self.walk(place.position);
        let (graph, shape) = (*self.memory.graph(), *self.memory.shape());
        let path = self.trace.path(graph.index_of(&shape, place).unwrap()).unwrap();
        let step = audit::step::Inputs::step(&self.memory, place);
        StepInput { place, result: step.unwrap().to_vec(), path }
    }

    /// The nodes that the party states in a phase: those under one, or one root.
    pub(crate) fn nodes(&mut self, phase: &Phase) -> Vec<Hash> {
        let (graph, shape) = (*self.memory.graph(), *self.memory.shape());
        let mut of_step = |step| {
            let place = graph.place_of(&shape, step).unwrap();
            let result = self.step(place).result;
            cells(&graph, place, &result)
        };
        let nodes = match phase {
            Phase::Divide(divide) => match divide.step {
                Some(step) => of_step(step.index).under(divide.level, divide.block),
                None => self.trace.under(divide.level, divide.block),
            },
            Phase::Open { step, .. } => Some(vec![of_step(*step).root()]),
            Phase::Tree { .. } => return vec![Hash(merkle::root(self.leaves.as_slice()))],
            other => unreachable!("{other:?}"),
        };
        nodes.unwrap().into_iter().map(Hash).collect()
    }
}

/// The step before a token of the answer that gives its row, or chooses it.
pub(crate) fn before_token(answer: &Answer, index: usize, what: What) -> Place {
    let layer = small().model.config().layers;
    Place { position: answer.prompt.len() + index - 1, layer, what }
}

/// The graph of the model.
pub(crate) fn graph() -> Graph {
    Graph::of(&small().model)
}

/// Both sides, in the order in which they speak.
pub(crate) const SIDES: [Side; 2] = [Side::Challenger, Side::Worker];
