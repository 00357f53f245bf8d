//! A run computed again, as one side of a dispute has it: its root, its trace, and evidence of both.
//!
//! The replay takes one thread and the fewest pages of keys and values. The trace is made when it is
//! wanted; of it 32 bytes are held for each step, and what later positions read: 19 and 9 MB for 384
//! tokens of a model with 30 layers and 9 heads, 3 of keys and values. Other results are made again for
//! each question, of their position alone.
//!
//! Invariants:
//! - What is said of a run is a function of the artifact and the payload.
//!
//! Not here: whose turn it is (`duty`), what is sent (`turns`).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use audit::commitment::{Leaves, prompt_hash};
use audit::dispute::{About, Cell, Phase};
use audit::graph::{Place, What};
use audit::receipt::Payload;
use audit::referee::{Evidence, StepInput};
use audit::replay::{NotReplayed, Run, WrongToken, replay};
use audit::step::Inputs;
use audit::trace::{Digests, Memory, cells};
use engine::batch::{Engine, Options};
use engine::kernels::Isa;
use engine::model::Model;
use engine::sampling::Sampling;
use merkle::Digest;
use types::id::Hash;

/// A run that was computed again.
#[derive(Debug)]
pub(super) struct Party {
    model: Arc<Model>,
    payload: Payload,
    sampling: Sampling,
    leaves: Leaves,
    /// The first token that the rules do not choose, if there is one.
    pub(super) wrong: Option<WrongToken>,
    trace: OnceLock<Option<Trace>>,
}

/// A trace that was made.
#[derive(Debug)]
struct Trace {
    digests: Digests,
    /// Keys and values of all positions.
    past: BTreeMap<Place, Vec<u8>>,
}

impl Party {
    /// Computes a run again.
    pub(super) fn replay(
        model: Arc<Model>,
        payload: Payload,
        isa: Isa,
    ) -> Result<Party, NotReplayed> {
        // The least that is taken is a whole context.
        let options = Options {
            isa,
            threads: 1,
            kv_size_max: 0,
            sequences_max: 1,
            prefix_cache: false,
            ..Options::default()
        };
        let sampling = payload.asked.sampling(&payload.worker_nonce);
        let replayed =
            replay(&mut Engine::new(Arc::clone(&model), options), &run(&payload, &sampling))?;
        let (leaves, wrong, trace) = (replayed.leaves, replayed.wrong, OnceLock::new());
        Ok(Party { model, payload, sampling, leaves, wrong, trace })
    }

    /// The answer's root.
    pub(super) fn root(&self) -> Hash {
        Hash(self.leaves.root(&prompt_hash(self.payload.asked.prompt.as_slice())))
    }

    /// The root of the trace.
    pub(super) fn trace_root(&self) -> Option<Hash> {
        Some(Hash(self.trace()?.root()))
    }

    /// What this side states in a phase of a dispute: nodes, or one root.
    pub(super) fn nodes(&self, about: About, phase: &Phase) -> Option<Vec<Digest>> {
        match phase {
            Phase::Divide(divide) => match (about, divide.step) {
                (About::Answer, _) => {
                    let leaves = Digests::new(self.leaves.as_slice().to_vec());
                    leaves.under(divide.level, divide.block)
                }
                (_, Some(step)) => self.cells(step.index)?.under(divide.level, divide.block),
                (_, None) => self.trace()?.under(divide.level, divide.block),
            },
            Phase::Open { step, .. } => Some(vec![self.cells(*step)?.root()]),
            Phase::Tree { .. } => Some(vec![merkle::root(self.leaves.as_slice())]),
            Phase::Judge(_) | Phase::Position(_) | Phase::Ended(_) => None,
        }
    }

    /// What the cell in dispute is computed from.
    pub(super) fn evidence(&self, cell: &Cell) -> Option<Evidence> {
        let (place, memory) = self.walked(cell.step.index)?;
        Evidence::collect(&memory, self.trace()?, place, usize::try_from(cell.cell).ok()?)
    }

    /// The step before a token of the answer that gives its row, or chooses it.
    pub(super) fn before_token(&self, index: u64, what: What) -> Option<StepInput> {
        let prompt = self.payload.asked.prompt.as_slice().len();
        let position = prompt.checked_add(usize::try_from(index).ok()?)?.checked_sub(1)?;
        let place = Place { position, layer: self.model.config().layers, what };
        let memory = self.memory()?;
        let step = memory.graph().index_of(memory.shape(), place)?;
        let ((_, memory), path) = (self.walked(step)?, self.trace()?.path(step)?);
        Some(StepInput { place, result: memory.step(place)?.to_vec(), path })
    }

    fn cells(&self, step: u64) -> Option<Digests> {
        let (place, memory) = self.walked(step)?;
        Some(cells(memory.graph(), place, memory.step(place)?))
    }

    fn trace(&self) -> Option<&Digests> {
        Some(&self.traced()?.digests)
    }

    fn traced(&self) -> Option<&Trace> {
        let trace = self.trace.get_or_init(|| {
            let mut memory = self.memory()?;
            let digests = memory.trace()?;
            let layers = self.model.config().layers;
            let rows = (0..memory.shape().positions())
                .flat_map(|position| (0..layers).map(move |layer| (position, layer)));
            let places = rows.flat_map(|(position, layer)| {
                [What::KeyHeads, What::ValueHeads].map(|what| Place { position, layer, what })
            });
            let past = places.map(|place| Some((place, memory.step(place)?.to_vec())));
            Some(Trace { digests, past: past.collect::<Option<_>>()? })
        });
        trace.as_ref()
    }

    /// A step's place, and a memory that has all results of its position and what others left to it.
    fn walked(&self, step: u64) -> Option<(Place, Memory<'_>)> {
        let mut memory = self.memory()?;
        let place = memory.graph().place_of(memory.shape(), step)?;
        let past = self.traced()?.past.iter();
        for (before, result) in past.take_while(|(it, _)| it.position < place.position) {
            memory.put(*before, result.clone());
        }
        memory.walk(place.position, |_, _| {}).then_some((place, memory))
    }

    fn memory(&self) -> Option<Memory<'_>> {
        Memory::new(&self.model, run(&self.payload, &self.sampling))
    }
}

fn run<'a>(payload: &'a Payload, sampling: &'a Sampling) -> Run<'a> {
    Run {
        prompt: payload.asked.prompt.as_slice(),
        output: payload.output.as_slice(),
        said: usize::try_from(payload.said).unwrap_or(usize::MAX),
        sampling,
    }
}
