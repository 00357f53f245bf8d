//! Evidence in pieces: its bytes, what of it is kept, and that nothing else decides.

use audit::artifact::{Artifact, Outline, Piece};
use audit::case::{About, CASE_SIZE_MAX, Case, Shown};
use audit::dispute::{Cell, Step};
use audit::graph::{Graph, Place, Shape, What};
use audit::referee::{Evidence, Part, Undecided};
use audit::replay::Run;
use audit::trace::{Memory, cells};
use engine::artifact::config::Family;
use engine::artifact::matrix::Bits;
use engine::kernels::Isa;
use store::cid::{CHUNK_SIZE, Cid};
use types::bounded::List;
use types::codec::{decode, encode};

use crate::{FAMILIES, alone, model, options, request, support, tokens};

/// The chunks of a file, with the nodes over them.
fn chunks(bytes: &[u8]) -> (types::id::Cid, Vec<Piece>) {
    let leaves = Cid::leaves_of_reader(bytes).unwrap();
    let nodes: Vec<Vec<u8>> = leaves.nodes().into_iter().map(|(_, node)| node).collect();
    assert!(nodes.len() <= 1, "a small file has one node, the root, or none");
    let chunks = bytes.chunks(CHUNK_SIZE).enumerate();
    let chunks = chunks.map(|(index, chunk)| Piece {
        index: index as u64,
        chunk: chunk.to_vec(),
        nodes: nodes.clone(),
    });
    (decode(&leaves.root().to_bytes()).unwrap(), chunks.collect())
}

fn outline(model: &types::id::Cid, first: &Piece) -> Outline {
    let mut artifact = Artifact::named(model).unwrap();
    artifact.add(first.clone()).unwrap();
    artifact.outline().unwrap()
}

/// The pieces of evidence: of each chunk the parts that lie in it.
fn pieces(evidence: &Evidence, outline: &Outline, chunks: &[Piece]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = evidence.steps.iter().cloned().map(Shown::Step).collect();
    shown.extend(evidence.cells.iter().cloned().map(Shown::Cell));
    for piece in chunks {
        let from = piece.index * CHUNK_SIZE as u64;
        let lies = |part: &&Part| {
            let range = outline.range(part).unwrap();
            range.start < from + CHUNK_SIZE as u64 && range.end > from
        };
        let parts: Vec<Part> = evidence.parts.iter().filter(lies).cloned().collect();
        if !parts.is_empty() {
            let (parts, piece) = (List::new(parts).unwrap(), piece.clone());
            shown.push(Shown::Chunk { parts, piece });
        }
    }
    shown
}

/// A cell as the ledger judges it: from pieces that went through their bytes, and a case that is kept
/// between them.
pub(crate) fn judged(
    bytes: &[u8],
    shape: &Shape,
    (roots, cell): (&[merkle::Digest; 2], &Cell),
    evidence: &Evidence,
    run: &Run<'_>,
) -> Vec<u8> {
    let (name, chunks) = chunks(bytes);
    let outline = outline(&name, &chunks[0]);
    let about = About { model: &name, outline: &outline, shape, roots, cell };
    let mut case = Case::default();
    for piece in pieces(evidence, &outline, &chunks) {
        case.add(&about, decode(&encode(&piece)).unwrap()).unwrap();
        case = decode(&encode(&case)).unwrap();
    }
    case.judge(&about, Some(run.clone())).unwrap()
}

/// Judges the last cell of a step of each kind from pieces that went through their bytes.
fn check_every_kind(family: Family) {
    let model = model(family, 3);
    let bytes = support::artifact(&support::config(family), Bits::Four, 3);
    let (name, chunks) = chunks(&bytes);
    let outline = outline(&name, &chunks[0]);
    assert_eq!(outline.graph, Graph::of(&model));
    assert_eq!(decode(&encode(&outline)).as_ref(), Ok(&outline));
    let request = request(tokens(24, 6), 4, 3);
    let (output, _) = alone(&model, &request, options(Isa::Scalar, 1));
    let (prompt, sampling) = (&request.prompt, &request.sampling);
    let run = Run { prompt, output: &output, said: 0, sampling };
    let trace = Memory::new(&model, run.clone()).unwrap().trace().unwrap();
    let mut memory = Memory::new(&model, run.clone()).unwrap();
    let (graph, shape) = (*memory.graph(), *memory.shape());
    let last = shape.positions() - 1;
    for position in 0..=last {
        assert!(memory.walk(position, |_, _| {}));
        if position < last {
            memory.leave(position);
        }
    }
    for number in memory.steps_of(last) {
        let place = graph.place_of(&shape, number).unwrap();
        if place.layer + 1 < graph.config.layers && place.what != What::Embed {
            continue;
        }
        let count = graph.cells(place).0;
        let result = memory.compute(place).unwrap();
        let root = cells(&graph, place, &result).root();
        let step = Step { index: number, roots: [root; 2] };
        let cell = Cell { step, cell: count as u64 - 1, leaves: [[0; 32]; 2] };
        let roots = [trace.root(), [9; 32]];
        let (model, outline) = (&name, &outline);
        let about = About { model, outline, shape: &shape, roots: &roots, cell: &cell };
        let evidence = Evidence::collect(&memory, &trace, place, count - 1).unwrap();
        let shown = pieces(&evidence, outline, &chunks);
        let size = graph.cells(place).1;
        let right = &result[(count - 1) * size..];
        check(&about, &shown, run.clone(), evidence.reads_run, right, place);
    }
}

fn check(
    about: &About<'_>,
    shown: &[Shown],
    run: Run<'_>,
    reads_run: bool,
    right: &[u8],
    place: Place,
) {
    let mut case = Case::default();
    for piece in shown {
        let bytes = encode(piece);
        assert!(bytes.len() <= 3 << 19, "{place:?}: {} bytes", bytes.len());
        assert_eq!(case.judge(about, Some(run.clone())), Err(Undecided::Incomplete), "{place:?}");
        let read = decode::<Shown>(&bytes).unwrap();
        assert_eq!(read, *piece);
        case.add(about, read.clone()).unwrap();
        let once = case.clone();
        case.add(about, read).unwrap();
        assert_eq!(case, once, "what was shown already changes nothing");
        assert_eq!(case.size(), encode(&case).len(), "{place:?}");
        case = decode(&encode(&case)).unwrap();
    }
    let size = encode(&case).len();
    assert!(size <= CASE_SIZE_MAX / 10, "{place:?}: {size} bytes are kept");
    assert_eq!(case.judge(about, Some(run)).as_deref(), Ok(right), "{place:?}");
    if reads_run {
        assert_eq!(case.judge(about, None), Err(Undecided::Incomplete), "{place:?}");
    }
    for (index, piece) in shown.iter().enumerate() {
        let mut changed = encode(piece);
        let at = changed.len() * 2 / 3;
        changed[at] ^= 1;
        let Ok(changed) = decode::<Shown>(&changed) else { continue };
        assert!(Case::default().add(about, changed).is_err(), "{place:?}: piece {index}");
    }
}

#[test]
fn evidence_that_comes_in_pieces_gives_the_right_cell_and_nothing_else_does() {
    for family in FAMILIES {
        check_every_kind(family);
    }
}

#[test]
fn a_part_in_two_chunks_is_put_together_from_both() {
    let bytes: Vec<u8> = (0..CHUNK_SIZE + 1000).map(|i| (i / 7) as u8).collect();
    let (name, chunks) = chunks(&bytes);
    let range = CHUNK_SIZE as u64 - 5..CHUNK_SIZE as u64 + 5;
    let mut found = vec![];
    for piece in &chunks {
        let mut artifact = Artifact::named(&name).unwrap();
        artifact.add(piece.clone()).unwrap();
        assert_eq!(artifact.overlap(&(1 << 40..u64::MAX)), None);
        found.push(artifact.overlap(&range).unwrap());
        assert_eq!(artifact.outline(), None, "it is no artifact");
    }
    assert_eq!(
        found,
        [
            (0, bytes[CHUNK_SIZE - 5..CHUNK_SIZE].to_vec()),
            (5, bytes[CHUNK_SIZE..CHUNK_SIZE + 5].to_vec())
        ]
    );
}

#[test]
fn bytes_of_evidence_that_are_none_are_refused() {
    for bytes in [&[][..], &[0], &[4], &[1, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0]] {
        assert!(decode::<Shown>(bytes).is_err(), "{bytes:?}");
    }
    // A head where the step has none.
    let place = Place { position: 1, layer: 2, what: What::Gate };
    let mut bytes = encode(&place);
    assert_eq!(decode(&bytes), Ok(place));
    bytes[9] = 1;
    assert!(decode::<Place>(&bytes).is_err());
}
