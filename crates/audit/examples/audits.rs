//! Measures audits on a model: what judging a step of each kind takes and how large its evidence is, and
//! what a light audit takes.
//!
//! audits ARTIFACT PROMPT_TOKENS GENERATE
//!
//! Traces the standard run, judges the last cell of one step of each kind from messages as the ledger
//! does, then the last steps of the longest run that there may be, and makes, opens and checks the light
//! audit of the last position.
#![expect(clippy::print_stdout, reason = "the measurement is the program's output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]
#![expect(clippy::unwrap_used, reason = "what is made up for a test has its form")]

#[path = "../tests/support/longest.rs"]
mod longest;

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use audit::artifact::{Artifact, Outline, Piece};
use audit::case::{About, Case, Shown};
use audit::dispute::{Cell, Step};
use audit::graph::{Place, RUN_MAX, What};
use audit::light::{Key, Opening, check};
use audit::referee::{Evidence, Part};
use audit::replay::Run;
use audit::step::Inputs;
use audit::trace::{Digests, Memory, cells, digest};
use engine::batch::{Engine, Options};
use engine::fingerprint::{Fingerprint, standard_prompt, standard_request};
use engine::model::Model;
use engine::sampling::{ONE, Sampling};
use longest::{Longest, largest};
use store::cid::{CHUNK_SIZE, Cid};
use store::leaves::Leaves;
use types::bounded::List;
use types::codec::{decode, encode};

/// Measurements of each step.
const TIMES: usize = 21;

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
    at_the_end()?;
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
            places.insert(name_of(place), place);
        });
        assert!(is_whole, "the artifact is sound");
        if position + 1 < shape.positions() {
            memory.leave(position);
        }
    }
    let trace = Digests::new(digests);
    let seconds = started.elapsed().as_secs_f64();
    println!("trace: {} steps of {} positions in {seconds:.1} s", trace.count(), shape.positions());
    let file = File { leaves: &Cid::leaves_of_reader(bytes)?, bytes };
    let (cid, outline) = file.outline()?;
    println!("{TITLE}");
    for (kind, place) in places {
        let last = graph.cells(place).0 - 1;
        let evidence = Evidence::collect(&memory, &trace, place, last).ok_or("no evidence")?;
        let result = memory.step(place).ok_or("the step is there")?;
        let cell = cell_of(&memory, place, last).ok_or("the step has a number")?;
        let roots = [trace.root(), [0; 32]];
        let about =
            About { model: &cid, outline: &outline, shape: &shape, roots: &roots, cell: &cell };
        let right = judged(&kind, &about, &evidence, &file.pieces(&outline, &evidence)?, run)?;
        assert!(result.ends_with(&right), "the judge finds what the engine found");
    }
    Ok(())
}

const TITLE: &str =
    "step, evidence bytes, messages, largest message, ms to judge, ms to take and judge, the least";

fn name_of(place: Place) -> String {
    let kind = format!("{:?}", place.what);
    kind.split('(').next().unwrap_or("").to_owned()
}

/// Takes the messages of a case as the ledger does, and judges it: prints the median times, and the least
/// of both together, which a machine that is shared disturbs less.
fn judged(
    kind: &str,
    about: &About<'_>,
    evidence: &Evidence,
    shown: &[Shown],
    run: &Run<'_>,
) -> Result<Vec<u8>, Box<dyn Error>> {
    let messages: Vec<Vec<u8>> = shown.iter().map(encode).collect();
    let (mut judging, mut taking, mut right) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let started = Instant::now();
        let mut case = Case::default();
        for message in &messages {
            case.add(about, decode(message)?)?;
        }
        let taken = started.elapsed().as_secs_f64();
        right = case.judge(about, Some(run.clone()))?;
        let all = started.elapsed().as_secs_f64();
        judging.push(1e3 * (all - taken));
        taking.push(1e3 * all);
    }
    let largest = messages.iter().map(Vec::len).max().unwrap_or(0);
    let (count, size) = (messages.len(), evidence.size());
    let least = taking.iter().copied().fold(f64::INFINITY, f64::min);
    let (judging, taking) = (median(judging), median(taking));
    println!("{kind}, {size}, {count}, {largest}, {judging:.2}, {taking:.2}, {least:.2}");
    Ok(right)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn cell_of(memory: &Memory<'_>, place: Place, cell: usize) -> Option<Cell> {
    let index = memory.graph().index_of(memory.shape(), place)?;
    let root = cells(memory.graph(), place, memory.step(place)?).root();
    let step = Step { index, roots: [root; 2] };
    Some(Cell { step, cell: cell as u64, leaves: [[0; 32]; 2] })
}

/// An artifact and its chunks.
struct File<'a> {
    leaves: &'a Leaves,
    bytes: &'a [u8],
}

impl File<'_> {
    fn outline(&self) -> Result<(types::id::Cid, Outline), Box<dyn Error>> {
        let mut artifact = Artifact::new(self.leaves.root());
        // The first bytes of the vocabulary may lie past the first chunk.
        for index in 0..audit::artifact::CHUNKS_MAX as u64 {
            if let Some(outline) = artifact.outline() {
                return Ok((decode(&self.leaves.root().to_bytes())?, outline));
            }
            let piece = Piece::cut(self.leaves, self.bytes, index);
            artifact.add(piece.ok_or("the file is shorter")?)?;
        }
        Err("the outline is not in the first chunks".into())
    }

    /// The messages of a case: results, cells, and of each chunk the parts that lie in it.
    fn pieces(&self, outline: &Outline, evidence: &Evidence) -> Result<Vec<Shown>, Box<dyn Error>> {
        let mut shown: Vec<Shown> = evidence.steps.iter().cloned().map(Shown::Step).collect();
        shown.extend(evidence.cells.iter().cloned().map(Shown::Cell));
        let mut chunks: BTreeMap<u64, Vec<Part>> = BTreeMap::new();
        for part in &evidence.parts {
            let range = outline.range(part).ok_or("no such part")?;
            let size = CHUNK_SIZE as u64;
            for index in range.start / size..range.end.div_ceil(size) {
                chunks.entry(index).or_default().push(part.clone());
            }
        }
        for (index, parts) in chunks {
            let piece = Piece::cut(self.leaves, self.bytes, index).ok_or("no such chunk")?;
            let parts = List::new(parts).map_err(|_| "too many parts")?;
            shown.push(Shown::Chunk { parts, piece });
        }
        Ok(shown)
    }
}

/// The last steps of the longest run of the largest shapes, of those that read no weights.
fn at_the_end() -> Result<(), Box<dyn Error>> {
    let hot = Sampling { temperature: ONE, ..Sampling::default() };
    let samplings = [
        ("greedy", Sampling::default()),
        ("hot", hot.clone()),
        ("top_k", Sampling { top_k: 40, ..hot.clone() }),
        ("top_p", Sampling { top_p: 62_000, ..hot.clone() }),
        ("penalised", Sampling { repetition_penalty: 70_000, presence_penalty: 5_000, ..hot }),
    ];
    println!("the last position of a run of {RUN_MAX} tokens");
    println!("{TITLE}");
    for (name, sampling) in samplings {
        let longest = Longest::new(largest(32, 128, 32), sampling);
        let at = |layer, what| Place { position: RUN_MAX - 2, layer, what };
        let mut places = vec![at(32, What::Sample)];
        if name == "greedy" {
            let of_head = [What::Scores(31), What::Weights(31), What::Sums(31), What::Result(31)];
            places.extend(of_head.map(|what| at(31, what)));
        }
        for place in places {
            let (evidence, roots, cell) = longest.evidence(place);
            let outline = Outline { graph: longest.graph, sections: vec![] };
            let model = decode(&Cid::of(b"none of these reads the artifact").to_bytes())?;
            let (shape, outline) = (&longest.shape, &outline);
            let about = About { model: &model, outline, shape, roots: &roots, cell: &cell };
            let mut shown: Vec<Shown> = evidence.steps.iter().cloned().map(Shown::Step).collect();
            shown.extend(evidence.cells.iter().cloned().map(Shown::Cell));
            let kind = format!("{} ({name})", name_of(place));
            judged(&kind, &about, &evidence, &shown, &longest.run_of())?;
        }
    }
    Ok(())
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
