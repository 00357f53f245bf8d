//! Measures what disputes and light audits cost on a model: sizes, and times of judge and auditor.
//!
//! audits ARTIFACT PROMPT_TOKENS GENERATE
//!
//! For each kind of step: bytes of the evidence, bytes of the artifact's pieces, the largest piece,
//! and milliseconds to check the pieces and to judge. Then the light audit of the last position.
#![expect(clippy::print_stdout, reason = "the measurement is the program's output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use audit::artifact::{Artifact, Piece};
use audit::dispute::{Cell, Step};
use audit::graph::Place;
use audit::light::{Key, Opening, check};
use audit::referee::{Evidence, judge};
use audit::replay::Run;
use audit::step::Inputs;
use audit::trace::{Digests, Memory, cells, digest};
use engine::artifact::Kind;
use engine::batch::{Engine, Options};
use engine::fingerprint::{Fingerprint, standard_prompt, standard_request};
use engine::model::Model;
use store::cid::Cid;
use store::leaves::Leaves;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, prompt, generate] = arguments.as_slice() else {
        return Err("usage: audits ARTIFACT PROMPT_TOKENS GENERATE".into());
    };
    let bytes = std::fs::read(file)?;
    let model = Arc::new(Model::open(Arc::new(bytes.clone()))?);
    let mut tokens = standard_prompt(model.vocabulary_size());
    tokens.truncate(prompt.parse()?);
    let request = standard_request(tokens, generate.parse()?);
    let mut engine = Engine::new(model.clone(), Options::default());
    let output = Fingerprint::default().drive(&mut engine, request.clone())?;
    let (prompt, sampling) = (&request.prompt, &request.sampling);
    let run = Run { prompt, output: &output, said: 0, sampling };
    disputes(&model, &bytes, &run)?;
    light(&model, &run)
}

fn disputes(model: &Model, bytes: &[u8], run: &Run<'_>) -> Result<(), Box<dyn Error>> {
    let mut memory = Memory::new(model, run.clone()).ok_or("the run has no trace")?;
    let (graph, shape) = (*memory.graph(), *memory.shape());
    let started = Instant::now();
    let (mut digests, mut places) = (Vec::new(), BTreeMap::new());
    for position in 0..shape.positions() {
        let is_whole = memory.walk(position, |place, result| {
            digests.extend(digest(&graph, &shape, place, result));
            let kind = format!("{:?}", place.what);
            places.insert(kind.split('(').next().unwrap_or("").to_owned(), place);
        });
        assert!(is_whole, "the artifact is sound");
        if position + 1 < shape.positions() {
            memory.leave(position);
        }
    }
    let trace = Digests::new(digests);
    let seconds = started.elapsed().as_secs_f64();
    println!("trace: {} steps of {} positions in {seconds:.1} s", trace.count(), shape.positions());
    let leaves = Cid::leaves_of_reader(bytes)?;
    println!("step, evidence bytes, pieces bytes, largest piece, ms for pieces, ms to judge");
    for (kind, place) in places {
        let last = graph.cells(place).0 - 1;
        let evidence = Evidence::collect(&memory, &trace, place, last).ok_or("no evidence")?;
        let (artifact, sizes, proving) = prove(&leaves, bytes, &evidence)?;
        let graph = artifact.graph().ok_or("the first chunk has no configuration")?;
        let result = memory.step(place).ok_or("the step is there")?;
        let step = cell_of(&memory, &trace, place, last).ok_or("the step has a number")?;
        let roots = [trace.root(), [0; 32]];
        let started = Instant::now();
        let case = (&roots, &step);
        let right = judge(&graph, &shape, case, &evidence, &artifact, run.clone())?;
        let judging = 1e3 * started.elapsed().as_secs_f64();
        assert!(result.ends_with(&right), "the judge finds what the engine found");
        let (all, largest) = (sizes.iter().sum::<usize>(), sizes.iter().max().unwrap_or(&0));
        let size = evidence.size();
        println!("{kind}, {size}, {all}, {largest}, {proving:.2}, {judging:.2}");
    }
    Ok(())
}

fn cell_of(memory: &Memory<'_>, trace: &Digests, place: Place, cell: usize) -> Option<Cell> {
    let index = memory.graph().index_of(memory.shape(), place)?;
    let root = cells(memory.graph(), place, memory.step(place)?).root();
    trace.path(index)?;
    let step = Step { index, roots: [root; 2] };
    Some(Cell { step, cell: cell as u64, leaves: [[0; 32]; 2] })
}

/// The pieces that evidence needs, checked: their sizes, and the milliseconds it took.
fn prove(
    leaves: &Leaves,
    bytes: &[u8],
    evidence: &Evidence,
) -> Result<(Artifact, Vec<usize>, f64), Box<dyn Error>> {
    let nodes: Vec<Vec<u8>> = leaves.nodes().into_iter().map(|(_, node)| node).collect();
    assert!(nodes.len() <= 1, "this measures files of at most 1,024 chunks");
    let (mut sizes, mut time) = (BTreeMap::new(), 0.0);
    let mut artifact = Artifact::new(leaves.root());
    let mut add = |artifact: &mut Artifact, index: u64| -> Result<(), Box<dyn Error>> {
        let range = leaves.range(usize::try_from(index)?);
        let chunk = bytes[range.start as usize..range.end as usize].to_vec();
        let piece = Piece { index, chunk, nodes: nodes.clone() };
        if sizes.insert(index, piece.size()).is_none() {
            let started = Instant::now();
            artifact.add(piece)?;
            time += 1e3 * started.elapsed().as_secs_f64();
        }
        Ok(())
    };
    add(&mut artifact, 0)?;
    // The first bytes of the vocabulary may lie past the first chunk.
    let vocabulary = artifact.chunks_of(Kind::Vocabulary, 0, 16..20).ok_or("no vocabulary")?;
    vocabulary.into_iter().try_for_each(|index| add(&mut artifact, index))?;
    for part in &evidence.parts {
        let kind = Kind::ALL.into_iter().find(|it| *it as u32 == part.kind).ok_or("no kind")?;
        let chunks = artifact.chunks_of(kind, part.layer as u32, part.from..part.to);
        for index in chunks.ok_or("no section")? {
            add(&mut artifact, index)?;
        }
    }
    Ok((artifact, sizes.into_values().collect(), time))
}

fn light(model: &Model, run: &Run<'_>) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let key = Key::new(model, [9; 32]).ok_or("the artifact is sound")?;
    let seconds = started.elapsed().as_secs_f64();
    println!("key: {} bytes in {seconds:.2} s", key.size());
    let position = run.prompt.len() + run.output.len() - 2;
    let started = Instant::now();
    let opening = Opening::of(model, run, position).ok_or("the artifact is sound")?;
    let seconds = started.elapsed().as_secs_f64();
    println!("opening of position {position}: {} bytes in {seconds:.2} s", opening.size());
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let started = Instant::now();
            check(&key, &opening, run, None).expect("the run is honest");
            1e3 * started.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("check: median {:.2} ms, best {:.2} ms", times[10], times[0]);
    Ok(())
}
