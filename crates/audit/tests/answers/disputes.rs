//! Disputes: whoever is wrong in one cell of any step is convicted by computing that cell.

use std::collections::BTreeMap;
use std::ops::Range;

use audit::artifact::{Artifact, Piece, Unproven};
use audit::commitment::prompt_hash;
use audit::dispute::{Dispute, Phase, ROUNDS_MAX, Refused, Side, Verdict};
use audit::graph::{Graph, Place, Shape, What};
use audit::referee::{Evidence, StepInput, Undecided, contradicts, judge};
use audit::replay::Run;
use audit::step::{Inputs, Quantised, compute};
use audit::trace::{Digests, Memory, cells, digest};
use engine::artifact::Kind;
use engine::artifact::config::Family;
use engine::artifact::matrix::Bits;
use engine::kernels::Isa;
use engine::request::Request;
use engine::sampling::Sampling;
use store::cid::{CHUNK_SIZE, Cid};

use crate::{FAMILIES, alone, model, options, request, support, tokens};

/// What one side has: the digests of its trace, what it needs to make any step again, and its lie.
pub(crate) struct Party<'a> {
    pub(crate) memory: Memory<'a>,
    pub(crate) trace: Digests,
    lie: Option<Lie>,
}

/// A change of one bit of one cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lie {
    pub(crate) place: Place,
    pub(crate) byte: usize,
}

/// How a dispute went.
pub(crate) struct Outcome {
    pub(crate) rounds: u32,
    /// Bytes of the evidence.
    pub(crate) size: usize,
    pub(crate) verdict: Verdict,
    /// The step in dispute.
    pub(crate) place: Place,
}

impl<'a> Party<'a> {
    /// Computes the trace; from the lie on, everything follows from it.
    pub(crate) fn new(
        model: &'a engine::model::Model,
        run: Run<'a>,
        lie: Option<Lie>,
    ) -> Party<'a> {
        let memory = Memory::new(model, run).unwrap();
        let mut party = Party { memory, trace: Digests::new(Vec::new()), lie };
        let mut digests = Vec::new();
        for position in 0..party.memory.shape().positions() {
            digests.extend(party.walk(position));
            party.memory.leave(position);
        }
        party.trace = Digests::new(digests);
        party
    }

    fn result(&mut self, place: Place) -> Vec<u8> {
        self.walk(place.position);
        self.memory.step(place).unwrap().to_vec()
    }

    /// Makes the steps of a position again.
    fn walk(&mut self, position: usize) -> Vec<merkle::Digest> {
        let (memory, lie) = (&mut self.memory, self.lie);
        let (graph, shape) = (*memory.graph(), *memory.shape());
        let steps = memory.steps_of(position).map(|index| {
            let place = graph.place_of(&shape, index).unwrap();
            assert_eq!(graph.index_of(&shape, place), Some(index), "{place:?}");
            let computed = memory.compute(place);
            assert!(computed.is_some() || lie.is_some(), "{place:?}");
            // What follows from a lie may be of no form; the liar states something.
            let mut result = computed.unwrap_or_else(|| vec![0; graph.size(place)]);
            assert_eq!(result.len(), graph.size(place), "{place:?}");
            if let Some(lie) = lie.filter(|lie| lie.place == place) {
                result[lie.byte] ^= 1;
            }
            let leaf = digest(&graph, &shape, place, &result).unwrap();
            memory.put(place, result);
            leaf
        });
        steps.collect()
    }

    /// The nodes that it states.
    fn nodes(&mut self, phase: &Phase) -> Vec<merkle::Digest> {
        let (graph, shape) = (*self.memory.graph(), *self.memory.shape());
        match phase {
            Phase::Divide(divide) => match divide.step {
                None => self.trace.under(divide.level, divide.block).unwrap(),
                Some(step) => {
                    let place = graph.place_of(&shape, step.index).unwrap();
                    let result = self.result(place);
                    cells(&graph, place, &result).under(divide.level, divide.block).unwrap()
                }
            },
            Phase::Open { step, .. } => {
                let place = graph.place_of(&shape, *step).unwrap();
                let result = self.result(place);
                vec![cells(&graph, place, &result).root()]
            }
            other => unreachable!("{other:?}"),
        }
    }
}

/// The pieces of an artifact that hold what evidence reads.
fn prove(bytes: &[u8], evidence: &Evidence, model: &engine::model::Model) -> Artifact {
    let leaves = Cid::leaves_of_reader(bytes).unwrap();
    let nodes: Vec<Vec<u8>> = leaves.nodes().into_iter().map(|(_, node)| node).collect();
    let mut artifact = Artifact::new(leaves.root());
    let piece = |index: u64| {
        let range = leaves.range(index as usize);
        let chunk = bytes[range.start as usize..range.end as usize].to_vec();
        // Small files have one node, the root, or none.
        Piece { index, chunk, nodes: nodes.clone() }
    };
    assert!(nodes.len() <= 1);
    artifact.add(piece(0)).unwrap();
    assert_eq!(artifact.graph(), Some(Graph::of(model)));
    for part in &evidence.parts {
        let kind = engine::artifact::Kind::ALL.into_iter().find(|it| *it as u32 == part.kind);
        let range = part.from..part.to;
        for index in artifact.chunks_of(kind.unwrap(), part.layer as u32, range).unwrap() {
            artifact.add(piece(index)).unwrap();
        }
    }
    artifact
}

/// Runs a dispute between a worker and a challenger to its verdict, which the ledger's way of judging,
/// from pieces, gives as well.
pub(crate) fn dispute(
    (model, bytes): (&engine::model::Model, &[u8]),
    run: &Run<'_>,
    mut parties: [&mut Party<'_>; 2],
) -> Outcome {
    let (graph, shape) = (*parties[0].memory.graph(), *parties[0].memory.shape());
    let roots = [parties[0].trace.root(), parties[1].trace.root()];
    let mut dispute = Dispute::new(graph.steps(&shape), roots, (10, 5)).unwrap();
    let sides = [Side::Challenger, Side::Worker];
    let cell = loop {
        let phase = dispute.phase().clone();
        if let Phase::Judge(cell) = phase {
            break cell;
        }
        for side in sides {
            let nodes = parties[side as usize].nodes(&phase);
            match &phase {
                Phase::Open { step, .. } => {
                    let count = graph.cells(graph.place_of(&shape, *step).unwrap()).0;
                    dispute.open(side, &nodes[0], count as u64, 11).unwrap();
                }
                _ => dispute.divide(side, &nodes, 11).unwrap(),
            }
        }
    };
    assert!(dispute.rounds() <= ROUNDS_MAX);
    let place = graph.place_of(&shape, cell.step.index).unwrap();
    let [worker, _] = &mut parties;
    worker.walk(place.position);
    let at = cell.cell as usize;
    let evidence = Evidence::collect(&worker.memory, &worker.trace, place, at).unwrap();
    let artifact = prove(bytes, &evidence, model);
    let case = (&roots, &cell);
    let right = judge(&graph, &shape, case, &evidence, &artifact, run.clone()).unwrap();
    refuses_changes(&(graph, shape), case, &evidence, &artifact, run, &right);
    let by_pieces = crate::cases::judged(bytes, &shape, case, &evidence, run);
    assert_eq!(by_pieces, right, "{place:?}: the ledger judges from pieces");
    let rounds = dispute.rounds();
    let verdict = dispute.judge(&right, 12).unwrap();
    Outcome { rounds, size: evidence.size(), verdict, place }
}

/// No change of the evidence gives another cell.
fn refuses_changes(
    (graph, shape): &(Graph, Shape),
    case: (&[merkle::Digest; 2], &audit::dispute::Cell),
    evidence: &Evidence,
    artifact: &Artifact,
    run: &Run<'_>,
    right: &[u8],
) {
    let judged = |evidence: &Evidence| judge(graph, shape, case, evidence, artifact, run.clone());
    for index in 0..evidence.steps.len() {
        let mut changed = evidence.clone();
        changed.steps[index].result[0] ^= 1;
        assert_eq!(judged(&changed), Err(Undecided::Input { index }));
    }
    for index in 0..evidence.cells.len() {
        let mut changed = evidence.clone();
        changed.cells[index].bytes[0] ^= 1;
        let index = evidence.steps.len() + index;
        assert_eq!(judged(&changed), Err(Undecided::Input { index }));
    }
    if let Some(part) = evidence.parts.first() {
        let mut changed = evidence.clone();
        changed.parts[0].to = part.from;
        assert_eq!(judged(&changed), Err(Undecided::Part { index: 0 }));
        changed.parts.remove(0);
        assert_eq!(judged(&changed), Err(Undecided::Incomplete));
        let nothing = Artifact::new(Cid::of(b"another file"));
        let outcome = judge(graph, shape, case, evidence, &nothing, run.clone());
        assert_eq!(outcome, Err(Undecided::Part { index: 0 }));
    }
    assert_eq!(judged(evidence).as_deref(), Ok(right));
}

pub(crate) fn answer(
    family: Family,
    count: u32,
) -> (std::sync::Arc<engine::model::Model>, Vec<u8>, Request, Vec<u32>) {
    let model = model(family, 3);
    let bytes = support::artifact(&support::config(family), Bits::Four, 3);
    let request = request(tokens(24, 6), 4, count);
    let (output, _) = alone(&model, &request, options(Isa::Scalar, 1));
    (model, bytes, request, output)
}

#[test]
fn the_trace_ends_in_the_rows_and_tokens_of_the_run() {
    for family in FAMILIES {
        let (model, _, request, output) = answer(family, 3);
        let (_, leaves) = alone(&model, &request, options(Isa::best(), 2));
        let run =
            Run { prompt: &request.prompt, output: &output, said: 0, sampling: &request.sampling };
        let mut memory = Memory::new(&model, run.clone()).unwrap();
        let layer = model.config().layers;
        let mut found = Vec::new();
        for position in 0..memory.shape().positions() {
            let mut results = BTreeMap::new();
            assert!(memory.walk(position, |place, result| {
                results.insert(place, result.to_vec());
            }));
            memory.leave(position);
            let result = |what| results.get(&Place { position, layer, what });
            if let Some(row) = result(What::HeadInput) {
                let Quantised { x, scale } = Quantised::read(row).unwrap();
                let token =
                    u32::from_le_bytes(result(What::Sample).unwrap()[..].try_into().unwrap());
                let hidden = &x;
                let position = position as u64 + 1;
                found.push((
                    token,
                    audit::commitment::Position { position, hidden, scale, token }.leaf(),
                ));
            }
        }
        let (tokens, rows): (Vec<u32>, Vec<_>) = found.into_iter().unzip();
        assert_eq!(tokens, output, "{family:?}");
        assert_eq!(rows, leaves.as_slice(), "{family:?}");
        assert_ne!(leaves.root(&prompt_hash(&request.prompt)), [0; 32]);
        let trace = Memory::new(&model, run).unwrap().trace().unwrap();
        assert_eq!(trace.count(), memory.graph().steps(memory.shape()));
    }
}

#[test]
fn two_liars_are_both_convicted() {
    let (model, bytes, request, output) = answer(Family::Llama, 2);
    let (prompt, sampling) = (&request.prompt, &request.sampling);
    let run = Run { prompt, output: &output, said: 0, sampling };
    let place = Place { position: 3, layer: 1, what: What::Gate };
    let lies = [8, 9].map(|byte| Some(Lie { place, byte }));
    let [mut worker, mut challenger] = lies.map(|lie| Party::new(&model, run.clone(), lie));
    let outcome = dispute((&model, &bytes), &run, [&mut worker, &mut challenger]);
    assert_eq!(outcome.verdict, Verdict::BothWrong);
}

#[test]
fn silence_loses_and_nothing_out_of_turn_changes_anything() {
    let leaves =
        |bytes: &[u8]| Digests::new(bytes.iter().map(|byte| merkle::leaf(&[*byte])).collect());
    let (one, two) = (leaves(&[1; 300]), leaves(&[[1; 299].as_slice(), &[2]].concat()));
    let roots = [one.root(), two.root()];
    assert_eq!(Dispute::new(300, [roots[0]; 2], (0, 5)), Err(Refused::NoDifference));
    assert_eq!(Dispute::new(0, roots, (0, 5)), Err(Refused::NoDifference));
    let too_many = audit::dispute::STEPS_MAX + 1;
    assert_eq!(Dispute::new(too_many, roots, (0, 5)), Err(Refused::NoDifference));
    let fresh = Dispute::new(300, roots, (100, 5)).unwrap();
    let under = |digests: &Digests| digests.under(9, 0).unwrap();
    let refuse = |side, nodes: &[merkle::Digest], now, refused| {
        let mut it = fresh.clone();
        assert_eq!(it.divide(side, nodes, now), Err(refused));
        assert_eq!(it, fresh);
    };
    let (worker, challenger) = (under(&one), under(&two));
    assert_eq!(worker.len(), 150);
    refuse(Side::Worker, &challenger, 101, Refused::Unfaithful);
    refuse(Side::Worker, &worker[1..], 101, Refused::Count { found: 149, expected: 150 });
    refuse(Side::Worker, &worker, 106, Refused::Late { deadline: 105, now: 106 });
    let mut it = fresh.clone();
    assert_eq!(it.judge(b"x", 101), Err(Refused::OutOfTurn));
    assert_eq!(it.open(Side::Worker, &roots[0], 1, 101), Err(Refused::OutOfTurn));
    assert_eq!(it.expire(105), Err(Refused::Early { deadline: 105, now: 105 }));
    assert_eq!(it, fresh);
    it.divide(Side::Worker, &worker, 101).unwrap();
    assert_eq!(it.divide(Side::Worker, &worker, 101), Err(Refused::Twice));
    let mut silent = it.clone();
    assert_eq!(silent.expire(106), Ok(Verdict::Silent(Side::Challenger)));
    assert_eq!(silent.expire(107), Err(Refused::OutOfTurn));
    let mut silent = fresh.clone();
    silent.divide(Side::Challenger, &challenger, 101).unwrap();
    assert_eq!(silent.expire(106), Ok(Verdict::Silent(Side::Worker)));
    assert_eq!(fresh.clone().expire(106), Ok(Verdict::Silent(Side::Challenger)), "both");
    it.divide(Side::Challenger, &challenger, 104).unwrap();
    assert_eq!(it.deadline(), 109, "the next turn has its own time");
}

#[test]
fn no_other_files_chunk_is_taken_for_the_artifacts() {
    let bytes: Vec<u8> = (0..CHUNK_SIZE + 1000).map(|i| (i / 7) as u8).collect();
    let leaves = Cid::leaves_of_reader(&bytes[..]).unwrap();
    let nodes: Vec<Vec<u8>> = leaves.nodes().into_iter().map(|(_, node)| node).collect();
    let mut artifact = Artifact::new(leaves.root());
    let chunk = bytes[..CHUNK_SIZE].to_vec();
    let good = Piece { index: 0, chunk: chunk.clone(), nodes: nodes.clone() };
    let mut other = good.clone();
    other.chunk[5] ^= 1;
    let mut node = good.clone();
    node.nodes[0][9] ^= 1;
    let bare = Piece { nodes: vec![], ..good.clone() };
    let twice = Piece { nodes: [nodes.clone(), nodes.clone()].concat(), ..good.clone() };
    for (index, bad) in [(0, other), (0, node), (0, bare), (0, twice)] {
        assert_eq!(artifact.add(bad), Err(Unproven::OtherFile { index }));
    }
    for index in [1, 2, u64::MAX] {
        let moved = Piece { index, ..good.clone() };
        assert_eq!(artifact.add(moved), Err(Unproven::OtherFile { index }));
    }
    assert_eq!(artifact.bytes(0..10), None);
    artifact.add(good).unwrap();
    assert_eq!(artifact.bytes(0..10).as_deref(), Some(&bytes[..10]));
    let range = CHUNK_SIZE - 5..CHUNK_SIZE + 5;
    assert_eq!(artifact.bytes(range.clone()), None, "half of it is not there");
    artifact.add(Piece { index: 1, chunk: bytes[CHUNK_SIZE..].to_vec(), nodes }).unwrap();
    assert_eq!(artifact.bytes(range.clone()).as_deref(), Some(&bytes[range]));
    assert_eq!(artifact.bytes(0..bytes.len() + 1), None);
    assert_eq!(artifact.graph(), None, "it is no artifact");
}

#[test]
fn runs_that_no_engine_computes_have_no_trace() {
    let model = model(Family::Llama, 3);
    let sampling = Sampling::default();
    let long = vec![1; 300];
    for (prompt, output) in [(&[][..], &[1][..]), (&[1], &[]), (&long, &long)] {
        assert!(
            Memory::new(&model, Run { prompt, output, said: 0, sampling: &sampling }).is_none()
        );
    }
    let run = Run { prompt: &[1], output: &[1, 1_000_000], said: 0, sampling: &sampling };
    assert!(Memory::new(&model, run).unwrap().trace().is_some(), "its row is never computed");
    let run = Run { prompt: &[1_000_000], output: &[1], said: 0, sampling: &sampling };
    assert!(Memory::new(&model, run).unwrap().trace().is_none());
}

/// Inputs whose results are one pattern of bytes, whatever is asked for.
struct Pattern<'a> {
    memory: &'a Memory<'a>,
    bytes: &'a [u8],
}

impl Inputs for Pattern<'_> {
    fn step(&self, place: Place) -> Option<&[u8]> {
        Some(&self.bytes[..self.memory.graph().size(place)])
    }

    fn cell(&self, place: Place, _: usize) -> Option<&[u8]> {
        Some(&self.bytes[..self.memory.graph().cells(place).1])
    }

    fn section(&self, kind: Kind, layer: usize, range: Range<usize>) -> Option<&[u8]> {
        self.memory.section(kind, layer, range)
    }

    fn run(&self) -> Option<Run<'_>> {
        self.memory.run()
    }
}

#[test]
fn no_values_of_inputs_make_a_step_panic() {
    let words: [[u8; 4]; 9] = [
        [0, 0, 0, 0],
        [1, 0, 0, 0],
        [0xff, 0xff, 0xff, 0xff],
        [0, 0, 0, 0x80],
        [0xff, 0xff, 0xff, 0x7f],
        [0x80, 0x3f, 0x80, 0x3f],
        [0x80, 0xc0, 0x80, 0xc0],
        [0xff, 0x7f, 0xff, 0x7f],
        [16, 0, 0, 0],
    ];
    for family in FAMILIES {
        let model = model(family, 3);
        let sampling = Sampling::default();
        let prompt = tokens(40, 1);
        let run = Run { prompt: &prompt, output: &[3, 4], said: 0, sampling: &sampling };
        let memory = Memory::new(&model, run).unwrap();
        let places = crate::kinds::one_of_each(memory.graph(), memory.shape());
        for word in words {
            let bytes = word.repeat(100_000);
            let inputs = Pattern { memory: &memory, bytes: &bytes };
            for place in &places {
                let (count, size) = memory.graph().cells(*place);
                for cell in [0, count - 1, count, usize::MAX] {
                    let found = compute(memory.graph(), &inputs, *place, cell);
                    assert!(found.as_ref().is_none_or(|found| found.len() <= size && cell < count));
                }
            }
        }
    }
}

#[test]
fn a_trace_of_another_computation_than_the_committed_one_contradicts_it() {
    let (model, _, request, output) = answer(Family::Llama, 3);
    let (prompt, sampling) = (&request.prompt, &request.sampling);
    let run = Run { prompt, output: &output, said: 0, sampling };
    let (_, committed) = alone(&model, &request, options(Isa::best(), 1));
    let hash = prompt_hash(prompt);
    let root = committed.root(&hash);
    let other = crate::model(Family::Llama, 4);
    for (traced, is_contradiction) in [(&model, false), (&other, true)] {
        let mut party = Party::new(traced, run.clone(), None);
        let graph = *party.memory.graph();
        let place = Place { position: 24, layer: 3, what: What::HeadInput };
        let index = graph.index_of(party.memory.shape(), place).unwrap();
        let path = party.trace.path(index).unwrap();
        let row = StepInput { place, result: party.result(place), path };
        let trace = party.trace.root();
        let opening = committed.open(1).unwrap();
        let leaf = committed.as_slice()[1];
        let found = |row: &StepInput, leaf, opening| {
            contradicts(&graph, &run, (&trace, row), (&hash, &root), (leaf, opening))
        };
        assert_eq!(found(&row, leaf, &opening), Some(is_contradiction));
        let mut moved = row.clone();
        moved.result[0] ^= 1;
        assert_eq!(found(&moved, leaf, &opening), None, "a row that the trace does not have");
        assert_eq!(found(&row, [0; 32], &opening), None, "a leaf that the root does not have");
        assert_eq!(found(&row, leaf, &committed.open(2).unwrap()), None, "another position");
    }
}
