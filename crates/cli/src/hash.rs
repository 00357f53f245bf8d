//! `mashaa hash`: one hash over every logit and token of a run.
//!
//! `engine::fingerprint` says what is hashed. The hash is the same on every machine, whatever way,
//! threads and instruction set.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use engine::batch::{Engine, Options};
use engine::fingerprint::{self, Fingerprint};
use engine::forward::Forward;
use engine::kernels::Isa;
use engine::kernels::attention::Segment;
use engine::kv::{KvPages, KvShape, PAGE};
use engine::model::Model;
use engine::request::Request;
use engine::sampler::{self, Sampler};
use engine::trace::Observer;
use serde_json::json;

use crate::arguments::{HashArguments, HashWay};
use crate::context::{Context, isa};
use crate::outcome::Outcome;

/// Other sequences of a batched run.
const COMPANIONS: u32 = 7;
/// Every way, for `--all`.
const WAYS: [HashWay; 7] = [
    HashWay::Whole,
    HashWay::Single,
    HashWay::Chunks7,
    HashWay::Chunks64,
    HashWay::Cached,
    HashWay::Batched,
    HashWay::Halves,
];

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    hash: String,
    tokens: Vec<u32>,
}

/// How a run is computed.
#[derive(Clone, Copy, Debug)]
struct Machine {
    isa: Isa,
    threads: usize,
    way: HashWay,
}

/// Hashes one run, or all ways of computing it.
pub(crate) fn run(context: &Context, arguments: &HashArguments) -> anyhow::Result<Outcome> {
    let model = open(context, arguments.model.as_deref())?;
    let request = request(&model, arguments)?;
    if !arguments.all {
        let machine =
            Machine { isa: isa(&arguments.isa)?, threads: arguments.threads, way: arguments.way };
        let run = compute(&model, &request, machine)?;
        if context.json {
            println!("{}", json!({ "hash": run.hash, "tokens": run.tokens }));
        } else {
            println!("{}", run.hash);
            let tokens: Vec<String> = run.tokens.iter().map(u32::to_string).collect();
            println!("tokens {}", tokens.join(" "));
        }
        return Ok(Outcome::Done);
    }
    let mut first: Option<Run> = None;
    let mut different = 0;
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for threads in [1, 2] {
            for way in WAYS {
                let run = compute(&model, &request, Machine { isa, threads, way })?;
                let first = first.get_or_insert_with(|| run.clone());
                let same = *first == run;
                different += usize::from(!same);
                if context.json {
                    let (isa, way) = (isa.name(), format!("{way:?}").to_lowercase());
                    let hash = &run.hash;
                    let line = json!({ "hash": hash, "isa": isa, "threads": threads, "way": way, "same": same });
                    println!("{line}");
                } else {
                    let verdict = if same { "same" } else { "DIFFERENT" };
                    println!("{} {:>6} threads={threads} {way:?}: {verdict}", run.hash, isa.name());
                }
            }
        }
    }
    if different > 0 {
        eprintln!("{different} runs differ: this machine or this program is faulty");
        return Ok(Outcome::Refused);
    }
    Ok(Outcome::Done)
}

/// The model: a file where one is named, else one of the store's.
fn open(context: &Context, name: Option<&str>) -> anyhow::Result<Arc<Model>> {
    match name.map(Path::new).filter(|path| path.is_file()) {
        Some(path) => {
            let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
            let model = Model::open(Arc::new(bytes))?;
            model.validate()?;
            Ok(Arc::new(model))
        }
        None => Ok(context.opened(name)?.model),
    }
}

fn request(model: &Model, arguments: &HashArguments) -> anyhow::Result<Request> {
    let prompt = match &arguments.tokens {
        Some(tokens) => {
            let ids = tokens.split(',').map(|id| id.trim().parse());
            ids.collect::<Result<_, _>>().context("--tokens takes ids such as 1,2,3")?
        }
        None => fingerprint::standard_prompt(model.vocabulary_size()),
    };
    Ok(fingerprint::standard_request(prompt, arguments.generate))
}

fn compute(model: &Arc<Model>, request: &Request, machine: Machine) -> anyhow::Result<Run> {
    if machine.way == HashWay::Halves {
        return Ok(halves(model, request, machine));
    }
    let step_rows_max = match machine.way {
        HashWay::Single => 1,
        HashWay::Chunks7 => 7,
        HashWay::Chunks64 => 64,
        _ => request.prompt.len().max(1),
    };
    let prefix_cache = machine.way == HashWay::Cached;
    let options = Options {
        isa: machine.isa,
        threads: machine.threads,
        step_rows_max,
        prefix_cache,
        ..Options::default()
    };
    let mut engine = Engine::new(model.clone(), options);
    let mut hasher = Fingerprint::default();
    if prefix_cache {
        // The first two thirds are computed, and then found again by the whole prompt.
        let prompt = request.prompt[..request.prompt.len() * 2 / 3 + 1].to_vec();
        let warm = Request { prompt, tokens_max: 0, ..request.clone() };
        hasher.drive(&mut engine, warm)?;
    }
    if machine.way == HashWay::Batched {
        let tokens = model.vocabulary_size().min(97) as u32;
        for index in 0..COMPANIONS {
            let prompt = (0..5 + 23 * index).map(|i| (i * 31 + index) % tokens).collect();
            engine.submit(Request { prompt, ..request.clone() })?;
        }
    }
    let tokens = hasher.drive(&mut engine, request.clone())?;
    Ok(Run { hash: hasher.finish(), tokens })
}

/// The model in two halves; rows cross between them as bytes.
fn halves(model: &Arc<Model>, request: &Request, machine: Machine) -> Run {
    let config = *model.config();
    let mut forward = Forward::new(model.clone(), machine.isa, machine.threads);
    let length = request.prompt.len() + request.tokens_max as usize;
    let pages: Vec<u32> = (0..length.div_ceil(PAGE) as u32).collect();
    let mut kv = KvPages::new(KvShape::of(&config), pages.len());
    let (mut hasher, mut sampler) = (Fingerprint::default(), Sampler::default());
    let (mut position, mut pending) = (0, request.prompt.clone());
    let (mut generated, mut logits) = (Vec::new(), Vec::new());
    while generated.len() < request.tokens_max as usize {
        let mut rows = Vec::new();
        forward.embed(&pending, &mut rows);
        let segments = [Segment { pages: &pages, position, rows: 0..pending.len() }];
        let middle = config.layers / 2;
        forward.layers(0..middle, &mut rows, &segments, &mut kv, &mut Observer::none());
        let bytes: Vec<u8> = rows.iter().flat_map(|value| value.to_le_bytes()).collect();
        let words = bytes.as_chunks::<4>().0.iter();
        let mut rows: Vec<i32> = words.map(|bytes| i32::from_le_bytes(*bytes)).collect();
        forward.layers(middle..config.layers, &mut rows, &segments, &mut kv, &mut Observer::none());
        let tokens = model.vocabulary_size();
        for row in rows.chunks_exact(config.width) {
            forward.logits(row, &mut logits);
            hasher.update(&logits[..tokens]);
        }
        position += pending.len();
        let context = sampler::Context { prompt: &request.prompt, generated: &generated };
        let token = sampler.choose(&logits[..tokens], &request.sampling, context);
        generated.push(token);
        pending = vec![token];
    }
    Run { hash: hasher.finish(), tokens: generated }
}
