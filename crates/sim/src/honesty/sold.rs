//! The model whose answers are sold, and the few answers of it that all receipts are about.
//!
//! A receipt's worth to an audit is whether its root and tokens are what the model gives. So one honest
//! answer and three wrong ones stand for all, and the model is so small that a whole dispute about one
//! of them can be played.
//!
//! Invariants: the honest answer is what the rules choose, token by token; the others are not.
//!
//! Not here: who states which answer (`strategy`).

use std::sync::Arc;

use audit::artifact::{Artifact, Outline, Piece};
use audit::commitment::prompt_hash;
use audit::graph::{Place, What};
use audit::receipt::{Asked, Payload, Seeding, numbers};
use audit::replay::{Replayed, Run, replay};
use audit::trace::{Digests, Memory, digest};
use engine::batch::{Engine, Options};
use engine::model::Model;
use engine::sampling::Sampling;
use merkle::Digest;
use store::cid::Cid as FileCid;
use store::leaves::Leaves as Chunks;
use types::bounded::List;
use types::codec::encode;
use types::id::{Cid, Hash};

/// Bytes of a chunk of a file.
const CHUNK: u64 = 1 << 20;
/// Tokens of the prompt.
pub(crate) const PROMPT: u32 = 8;
/// Tokens of the honest answer.
pub(crate) const OUTPUT: u32 = 4;
/// Tokens of the answer that is billed for twice as many as were computed.
pub(crate) const OVERCOUNTED: u32 = 2 * OUTPUT;
/// A temperature of one, in its sixteen fraction bits.
const ONE: u32 = 1 << 16;

/// An answer that receipts are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What the model gives.
    Honest,
    /// Its last token is another than the rules choose.
    Twisted,
    /// Its second half was not computed.
    Filled,
    /// It has as many tokens again that were not computed.
    Overcounted,
}

/// One answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) payload: Payload,
    pub(crate) root: Hash,
    sampling: Sampling,
}

/// A model, its file, and answers of it.
#[derive(Debug)]
pub struct Sold {
    pub(crate) cid: Cid,
    model: Arc<Model>,
    bytes: Vec<u8>,
    chunks: Chunks,
    outline: Outline,
    answers: [Answer; 4],
}

/// Where one bit of a liar's trace is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lie {
    pub(crate) position: usize,
    pub(crate) layer: usize,
    pub(crate) what: What,
}

/// One side of a dispute: the run, computed again when it is asked for.
#[derive(Debug)]
pub(crate) struct Party<'a> {
    pub(crate) memory: Memory<'a>,
    pub(crate) trace: Digests,
    lie: Option<Lie>,
}

impl Sold {
    /// A model and its file; none if the file is not what it should be.
    #[must_use]
    pub fn new(bytes: Vec<u8>, model: Arc<Model>) -> Option<Sold> {
        let chunks = FileCid::leaves_of_reader(&bytes[..]).ok()?;
        let cid: Cid = types::codec::decode(&chunks.root().to_bytes()).ok()?;
        let vocabulary = u32::try_from(model.config().vocabulary).ok()?;
        let mut engine = Engine::new(model.clone(), Options::default());
        let mut honest = vec![0; OUTPUT as usize];
        // Each round sets one token right.
        for _ in 0..OUTPUT {
            let Some(wrong) = replayed(&mut engine, &honest)?.wrong else { break };
            honest[wrong.index] = wrong.right;
        }
        let other = |token: u32| (token + 1) % vocabulary;
        let mut twisted = honest.clone();
        *twisted.last_mut()? = other(*twisted.last()?);
        let mut filled = honest.clone();
        filled.iter_mut().skip(OUTPUT as usize / 2).for_each(|token| *token = other(*token));
        let overcounted = honest.iter().copied().chain(filled.iter().copied()).collect();
        let answers = [honest, twisted, filled, overcounted].map(|it| answer(&mut engine, it));
        let [Some(honest), Some(twisted), Some(filled), Some(overcounted)] = answers else {
            return None;
        };
        let answers = [honest, twisted, filled, overcounted];
        let mut artifact = Artifact::named(&cid)?;
        artifact.add(Piece::cut(&chunks, &bytes, 0)?).ok()?;
        let outline = artifact.outline()?;
        Some(Sold { cid, model, bytes, chunks, outline, answers })
    }

    pub(crate) fn answer(&self, kind: Kind) -> &Answer {
        &self.answers[kind as usize]
    }

    /// A chunk of the file; none past its end.
    pub(crate) fn piece(&self, index: u64) -> Option<Piece> {
        Piece::cut(&self.chunks, &self.bytes, index)
    }

    /// Chunks of the file, and the bytes of each.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (u64, std::ops::Range<u64>)> {
        (0..self.chunks.count() as u64).map(|index| (index, index * CHUNK..(index + 1) * CHUNK))
    }

    pub(crate) fn outline(&self) -> &Outline {
        &self.outline
    }

    /// A side that computes the run, with or without a lie.
    pub(crate) fn party(&self, kind: Kind, lie: Option<Lie>) -> Option<Party<'_>> {
        let answer = self.answer(kind);
        let memory = Memory::new(&self.model, answer.run())?;
        let trace = Digests::new(vec![]);
        let mut party = Party { memory, trace, lie };
        let mut digests = vec![];
        for position in 0..party.memory.shape().positions() {
            digests.extend(party.walk(position)?);
            party.memory.leave(position);
        }
        party.trace = Digests::new(digests);
        Some(party)
    }
}

impl Answer {
    fn run(&self) -> Run<'_> {
        let Answer { payload, sampling, .. } = self;
        let (prompt, output) = (payload.asked.prompt.as_slice(), payload.output.as_slice());
        Run { prompt, output, said: 0, sampling }
    }
}

impl Party<'_> {
    pub(crate) fn root(&self) -> Hash {
        Hash(self.trace.root())
    }

    /// Makes the steps of a position again. What follows from a lie may be of no form; the liar states
    /// something.
    pub(crate) fn walk(&mut self, position: usize) -> Option<Vec<Digest>> {
        let (graph, shape) = (*self.memory.graph(), *self.memory.shape());
        let mut digests = vec![];
        for index in self.memory.steps_of(position) {
            let place = graph.place_of(&shape, index)?;
            let computed = self.memory.compute(place);
            let mut result = computed.unwrap_or_else(|| vec![0; graph.size(place)]);
            let Place { position, layer, what } = place;
            if self.lie == Some(Lie { position, layer, what }) {
                *result.first_mut()? ^= 1;
            }
            digests.push(digest(&graph, &shape, place, &result)?);
            self.memory.put(place, result);
        }
        Some(digests)
    }
}

/// What everyone asks.
fn asked() -> Option<Asked> {
    let prompt = (0..PROMPT).map(|at| at * 17 + 3).collect();
    Some(Asked {
        prompt: List::new(prompt).ok()?,
        tokens_max: OVERCOUNTED,
        end_tokens: List::default(),
        // At temperature one, so that the seed counts.
        numbers: numbers(&Sampling { temperature: ONE, ..Sampling::default() }),
        biases: List::default(),
        seeding: Seeding::Fixed,
        client_nonce: Hash([3; 32]),
        choice: 0,
    })
}

fn replayed(engine: &mut Engine, output: &[u32]) -> Option<Replayed> {
    let asked = asked()?;
    let sampling = asked.sampling(&Hash([0; 32]));
    let run = Run { prompt: asked.prompt.as_slice(), output, said: 0, sampling: &sampling };
    replay(engine, &run).ok()
}

fn answer(engine: &mut Engine, output: Vec<u32>) -> Option<Answer> {
    let (asked, worker_nonce) = (asked()?, Hash([0; 32]));
    let leaves = replayed(engine, &output)?.leaves;
    let root = Hash(leaves.root(&prompt_hash(asked.prompt.as_slice())));
    let (sampling, output) = (asked.sampling(&worker_nonce), List::new(output).ok()?);
    let payload = Payload { asked, worker_nonce, said: 0, output, blinding: None };
    Some(Answer { payload, root, sampling })
}

/// An order's piece.
pub(crate) fn order_bytes<T: types::codec::Canonical, const MAX: usize>(
    it: &T,
) -> types::bounded::Bytes<MAX> {
    types::bounded::Bytes::new(encode(it)).expect("a piece of the small model fits an order")
}
