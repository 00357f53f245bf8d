//! `mashaa bench`: prefill, decode and many streams, on this machine.
//!
//! Each figure is a median over rounds; with `--peer` a `llama-bench` program runs in turn with the
//! same number of threads, so that both meet the same noise.
//!
//! Not here: the members' ledger (`bench/ledger.rs`), the way to another machine (`bench/gateway.rs`),
//! whole servers (`bench/servers.rs`).

mod gateway;
mod ledger;
mod load;
mod servers;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, bail};
use engine::batch::{Engine, Options};
use engine::kernels::Isa;
use engine::model::Model;
use engine::request::Request;
use engine::trace::Observer;
use serde_json::{Value, json};

use crate::arguments::BenchArguments;
use crate::context::{Context, isa};
use crate::outcome::Outcome;

/// Tokens a second of the three tests.
#[derive(Clone, Copy, Debug, Default)]
struct Speed {
    prefill: f64,
    decode: f64,
    streams: f64,
}

/// Measures every combination of instruction set and threads.
pub(crate) fn run(context: &Context, arguments: &BenchArguments) -> anyhow::Result<Outcome> {
    if arguments.ledger {
        return ledger::run(context, &arguments.load);
    }
    if arguments.gateway {
        return gateway::run(context, arguments);
    }
    if !arguments.servers.server.is_empty() {
        return servers::run(context, arguments);
    }
    let opened = context.opened(arguments.model.as_deref())?;
    let model = opened.model;
    let weights = model.bytes_per_token() as f64;
    if !context.json {
        println!(
            "model {} ({}), {:.1} MB read a token",
            opened.served.name,
            opened.served.cid,
            weights / 1e6
        );
        println!(
            "isa     threads  prefill tok/s  GMAC/s  decode tok/s  GB/s  of GB/s  {} streams tok/s",
            arguments.streams
        );
    }
    for isa_name in arguments.isa.split(',') {
        for threads in arguments.threads.split(',') {
            let threads: usize = threads.parse().context("--threads takes numbers such as 1,2")?;
            let read = read_rate(model.bytes(), threads, arguments.rounds);
            let isa = isa(isa_name)?;
            let (own, peer) = rounds(&model, isa, threads, arguments)?;
            let row = Row {
                isa: isa.name(),
                threads,
                own,
                peer,
                products: own.prefill * model.products_per_token() as f64 / 1e9,
                used: own.decode * weights / 1e9,
                read,
            };
            if context.json {
                println!(
                    "{}",
                    row.json((&opened.served.name, &opened.served.cid.to_string()), arguments)
                );
            } else {
                row.print();
            }
        }
    }
    Ok(Outcome::Done)
}

/// What was measured with one instruction set and one number of threads.
struct Row {
    isa: &'static str,
    threads: usize,
    own: Speed,
    peer: Option<Speed>,
    /// 10^9 products a second of the prefill.
    products: f64,
    /// GB of weights a second of the decode.
    used: f64,
    /// GB a second where memory is read and nothing else is done.
    read: f64,
}

impl Row {
    fn print(&self) {
        let Row { isa, threads, own, products, used, read, .. } = self;
        println!(
            "{isa:7} {threads:7} {:14.1} {products:7.1} {:13.1} {used:5.1} {read:8.1} {:16.1}",
            own.prefill, own.decode, own.streams
        );
        if let Some(peer) = self.peer {
            println!("peer    {threads:7} {:14.1} {:21.1}", peer.prefill, peer.decode);
            println!(
                "ratio   {threads:7} {:14.2} {:21.2}",
                own.prefill / peer.prefill,
                own.decode / peer.decode
            );
        }
    }

    fn json(&self, (name, cid): (&str, &str), arguments: &BenchArguments) -> Value {
        json!({
            "model": name,
            "cid": cid,
            "isa": self.isa,
            "threads": self.threads,
            "prefill_tokens": arguments.prefill,
            "decode_tokens": arguments.decode,
            "streams": arguments.streams,
            "prefill_tokens_per_second": self.own.prefill,
            "decode_tokens_per_second": self.own.decode,
            "streams_tokens_per_second": self.own.streams,
            "prefill_gmac_per_second": self.products,
            "decode_gb_per_second": self.used,
            "read_gb_per_second": self.read,
            "peer": self.peer.map(|peer| json!({
                "prefill_tokens_per_second": peer.prefill,
                "decode_tokens_per_second": peer.decode,
            })),
        })
    }
}

/// Medians of the rounds, own and the peer's, taken in turn.
fn rounds(
    model: &Arc<Model>,
    isa: Isa,
    threads: usize,
    arguments: &BenchArguments,
) -> anyhow::Result<(Speed, Option<Speed>)> {
    let (mut own, mut peers) = (Vec::new(), Vec::new());
    // What a token costs, not what its text makes easy.
    let plain = Options { prefix_cache: false, drafts: false, ..Options::default() };
    let options = Options { isa, threads, ..plain };
    for _ in 0..arguments.rounds.max(1) {
        let mut engine = Engine::new(model.clone(), options);
        own.push(Speed {
            prefill: rate(&mut engine, 1, arguments.prefill, 0)?,
            decode: rate(&mut engine, 1, 1, arguments.decode)?,
            streams: rate(&mut engine, arguments.streams, 1, arguments.decode / 2)?,
        });
        if let (Some(program), Some(file)) = (&arguments.peer, &arguments.peer_model) {
            peers.push(peer(program, file, threads, arguments)?);
        }
    }
    Ok((median(&own), (!peers.is_empty()).then(|| median(&peers))))
}

/// GB a second at which threads read memory and do nothing else: the median of rounds over the
/// artifact, which should be larger than the caches.
fn read_rate(bytes: &[u8], threads: usize, rounds: usize) -> f64 {
    // Four places at once, so that more than one page is on its way.
    let sum = |piece: &[u8]| {
        let mut quarters =
            piece.chunks(piece.len().div_ceil(4).max(1)).map(|quarter| quarter.as_chunks::<64>().0);
        let [a, b, c, d] = std::array::from_fn(|_| quarters.next().unwrap_or_default());
        let mut sums = [0u64; 8];
        for lines in a.iter().zip(b).zip(c.iter().zip(d)) {
            let ((a, b), (c, d)) = lines;
            for line in [a, b, c, d] {
                for (sum, word) in sums.iter_mut().zip(line.as_chunks::<8>().0) {
                    *sum = sum.wrapping_add(u64::from_le_bytes(*word));
                }
            }
        }
        std::hint::black_box(sums);
    };
    let mut rates: Vec<f64> = (0..rounds.max(3))
        .map(|_| {
            let started = Instant::now();
            std::thread::scope(|scope| {
                for piece in bytes.chunks(bytes.len().div_ceil(threads.max(1)).max(1)) {
                    scope.spawn(move || sum(piece));
                }
            });
            bytes.len() as f64 / 1e9 / started.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Tokens a second of `count` sequences of `prompt` tokens that generate `generate` each.
fn rate(engine: &mut Engine, count: u32, prompt: u32, generate: u32) -> anyhow::Result<f64> {
    let vocabulary = engine.model().vocabulary_size() as u32;
    for index in 0..count {
        engine.submit(Request {
            prompt: (0..prompt).map(|i| (i * 37 + index * 101 + 3) % vocabulary).collect(),
            said: Vec::new(),
            sampling: engine::sampling::Sampling::default(),
            // One token at least, so that the prompt's last logits count.
            tokens_max: generate.max(1),
            end_tokens: Vec::new(),
            logprobs: None,
            prompt_logprobs: false,
            grammar: None,
        })?;
    }
    let started = Instant::now();
    while !engine.is_idle() {
        engine.step(&mut Observer::none());
    }
    let tokens = if generate == 0 { count * prompt } else { count * generate };
    Ok(f64::from(tokens) / started.elapsed().as_secs_f64())
}

/// One run of a `llama-bench` program.
fn peer(
    program: &Path,
    file: &Path,
    threads: usize,
    arguments: &BenchArguments,
) -> anyhow::Result<Speed> {
    let output = Command::new(program)
        .args(["-m".as_ref(), file.as_os_str()])
        .args(["-t", &threads.to_string(), "-r", "1", "-o", "json"])
        .args(["-p", &arguments.prefill.to_string(), "-n", &arguments.decode.to_string()])
        .output()
        .with_context(|| program.display().to_string())?;
    if !output.status.success() {
        bail!("{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let results: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let speed = |key: &str| {
        let test = results.as_array()?.iter().find(|result| result[key].as_u64() > Some(0))?;
        test["avg_ts"].as_f64()
    };
    match (speed("n_prompt"), speed("n_gen")) {
        (Some(prefill), Some(decode)) => Ok(Speed { prefill, decode, streams: 0.0 }),
        _ => bail!("{} printed no speeds", program.display()),
    }
}

fn median(speeds: &[Speed]) -> Speed {
    let middle = |value: &dyn Fn(&Speed) -> f64| {
        let mut values: Vec<f64> = speeds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    Speed {
        prefill: middle(&|speed| speed.prefill),
        decode: middle(&|speed| speed.decode),
        streams: middle(&|speed| speed.streams),
    }
}

/// Milliseconds that so many of a hundred stay under.
fn share(seconds: &[f64], percent: usize) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default() * 1e3
}
