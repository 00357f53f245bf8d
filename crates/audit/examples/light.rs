//! Measures light audits on a model: sizes of key and opening, and the time of a check.
//!
//! light ARTIFACT PROMPT_TOKENS GENERATE [CHECKS]
//!
//! Opens the last position of the standard run, and checks it `CHECKS` times, 201 by default.
#![expect(clippy::print_stdout, reason = "the measurement is the program's output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use audit::light::bytes::{NamedKey, Opened};
use audit::light::{Key, Opening, check};
use audit::replay::Run;
use engine::batch::{Engine, Options};
use engine::fingerprint::{Fingerprint, standard_prompt, standard_request};
use engine::model::Model;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, prompt, generate, more @ ..] = arguments.as_slice() else {
        return Err("usage: light ARTIFACT PROMPT_TOKENS GENERATE [CHECKS]".into());
    };
    let checks: usize = more.first().map_or(Ok(201), |it| it.parse())?;
    let model = Arc::new(Model::open(Arc::new(std::fs::read(file)?))?);
    let mut tokens = standard_prompt(model.vocabulary_size());
    tokens.truncate(prompt.parse()?);
    let request = standard_request(tokens, generate.parse()?);
    let mut engine = Engine::new(model.clone(), Options::default());
    let output = Fingerprint::default().drive(&mut engine, request.clone())?;
    let run =
        Run { prompt: &request.prompt, output: &output, said: 0, sampling: &request.sampling };

    let started = Instant::now();
    let key = Key::new(&model, [9; 32]).ok_or("the artifact is sound")?;
    let seconds = started.elapsed().as_secs_f64();
    let bytes = NamedKey { artifact: [0; 36], key }.encode();
    println!("key: {} bytes, made in {seconds:.2} s", bytes.len());
    let started = Instant::now();
    let key = NamedKey::decode(&bytes)?.key;
    println!("key read in {:.1} ms", 1e3 * started.elapsed().as_secs_f64());

    let position = run.prompt.len() + run.output.len() - 2;
    let started = Instant::now();
    let opening = Opening::of(&model, &run, position).ok_or("the artifact is sound")?;
    let seconds = started.elapsed().as_secs_f64();
    let bytes = Opened { receipt: [0; 32], root: [0; 32], place: None, opening }.encode();
    println!("opening of position {position}: {} bytes, made in {seconds:.2} s", bytes.len());
    let started = Instant::now();
    let opening = Opened::decode(&bytes)?.opening;
    println!("opening read in {:.2} ms", 1e3 * started.elapsed().as_secs_f64());

    let mut times = Vec::with_capacity(checks);
    for _ in 0..checks.max(1) {
        let started = Instant::now();
        check(&key, &opening, &run, None)?;
        times.push(1e3 * started.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!("check: median {:.2} ms, best {:.2} ms", times[times.len() / 2], times[0]);
    Ok(())
}
