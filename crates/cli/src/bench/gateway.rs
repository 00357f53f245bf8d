//! `mashaa bench --gateway`: what an answer costs by way of the API, and by way of another machine,
//! beside the engine alone.
//!
//! Two processes of this program share the machine, a gateway that computes nothing and a worker that
//! joined it, both on the loopback address. Each round asks the same of the engine in this process, of
//! the worker's own API and of the gateway's, so that all meet the same noise; nobody computes meanwhile.
//!
//! Invariants: no process outlives the command; no two prompts are the same, so that no cache helps.
//!
//! Not here: the nodes (`up`, `peers`).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use engine::batch::{Engine, Options};
use engine::request::{Output, Request};
use engine::sampling::Sampling;
use engine::trace::Observer;
use node::models::ModelRecord;
use node::opened::Opened;
use serde_json::{Value, json};

use super::ledger::Folder;
use super::share;
use crate::arguments::BenchArguments;
use crate::client::Client;
use crate::context::{Context, isa};
use crate::outcome::Outcome;

/// How long a node may take to be ready, and the worker to be offered.
const START: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// A node of this program's own, which ends with this value.
struct Node {
    child: Child,
    address: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of one way to an answer.
#[derive(Default)]
struct Times {
    /// To the first token.
    first: Vec<f64>,
    /// From one token to the next, on average over an answer.
    next: Vec<f64>,
}

/// Measures each number of threads.
pub(super) fn run(context: &Context, arguments: &BenchArguments) -> anyhow::Result<Outcome> {
    let record = context.model(arguments.model.as_deref())?;
    let opened = context.opened(Some(&record.name))?;
    if !context.json {
        println!(
            "model {} ({}), prompts of {} tokens, answers of {}, {} rounds",
            record.name, record.artifact, arguments.prefill, arguments.decode, arguments.rounds
        );
    }
    for threads in arguments.threads.split(',') {
        let threads: usize = threads.parse().context("--threads takes numbers such as 1,2")?;
        let folder = std::env::temp_dir().join(format!("mashaa-bench-{}", std::process::id()));
        let folder = Folder(folder);
        let (gateway, worker) = network(context, &folder.0, &record, arguments, threads)?;
        let options = Options {
            isa: isa(&arguments.isa)?,
            threads,
            prefix_cache: false,
            ..Options::default()
        };
        let mut engine = Engine::new(opened.model.clone(), options);
        let mut ways = [Times::default(), Times::default(), Times::default()];
        // The first round warms caches and connections up.
        for round in 0..=arguments.rounds.max(1) {
            let mut done = [None, None, None];
            for turn in 0..done.len() {
                let way = (round + turn) % done.len();
                let asked = Asked::new(&opened, &record, arguments, round * done.len() + way)?;
                done[way] = Some(match way {
                    0 => alone(&mut engine, &asked.request)?,
                    1 => over(&worker.address, &asked)?,
                    _ => over(&gateway.address, &asked)?,
                });
            }
            if round > 0 {
                ways.iter_mut().zip(done.into_iter().flatten()).for_each(|(way, done)| {
                    way.first.extend(done.first);
                    way.next.extend(done.next);
                });
            }
        }
        drop((gateway, worker));
        show(threads, ways, context.json);
    }
    Ok(Outcome::Done)
}

/// What one way of a round is asked, for the engine and for the API.
struct Asked {
    request: Request,
    body: String,
}

impl Asked {
    fn new(
        opened: &Opened,
        record: &ModelRecord,
        arguments: &BenchArguments,
        number: usize,
    ) -> anyhow::Result<Asked> {
        let tokenizer = &opened.served.tokenizer;
        let vocabulary = tokenizer.len().max(1);
        // The beginnings differ for as many numbers as there are tokens, and then the steps.
        let step = 37 + number / vocabulary;
        let token = |at: u32| ((at as usize * step + number * 101 + 3) % vocabulary) as u32;
        let prompt: Vec<u32> = (0..arguments.prefill.max(1)).map(token).collect();
        // An answer that ends early would be a shorter one.
        let mut biases: Vec<(u32, i32)> =
            tokenizer.ends().iter().map(|end| (*end, -(100 << 16))).collect();
        biases.sort_unstable();
        let banned: serde_json::Map<String, Value> =
            biases.iter().map(|(end, _)| (end.to_string(), json!(-100))).collect();
        let body = json!({
            "model": record.name, "prompt": prompt, "max_tokens": arguments.decode.max(2),
            "temperature": 0, "logit_bias": banned, "stream": true,
        });
        let request = Request {
            prompt,
            said: Vec::new(),
            sampling: Sampling { logit_bias: biases, ..Sampling::default() },
            tokens_max: arguments.decode.max(2),
            end_tokens: tokenizer.ends().to_vec(),
            logprobs: None,
            prompt_logprobs: false,
            grammar: None,
        };
        Ok(Asked { request, body: body.to_string() })
    }
}

/// Times of the engine in this process.
fn alone(engine: &mut Engine, request: &Request) -> anyhow::Result<Times> {
    let mut times = Clock::new();
    engine.submit(request.clone())?;
    while !engine.is_idle() {
        let outputs = engine.step(&mut Observer::none());
        if outputs.iter().any(|(_, output)| matches!(output, Output::Token { .. })) {
            times.token();
        }
    }
    times.end(request.tokens_max)
}

/// Times of a node's API.
fn over(address: &str, asked: &Asked) -> anyhow::Result<Times> {
    thread_local! {
        static AGENT: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    }
    let mut times = Clock::new();
    let answer = AGENT.with(|agent| {
        let request = agent.post(format!("http://{address}/v1/completions"));
        request.header("content-type", "application/json").send(asked.body.as_str())
    })?;
    for line in BufReader::new(answer.into_body().into_reader()).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            continue;
        }
        let event: Value = serde_json::from_str(data)?;
        match event["choices"][0]["text"].as_str() {
            // A token whose character is not whole yet comes with the next one.
            Some("") => {}
            Some(_) => times.token(),
            None => bail!("the node says {data}"),
        }
    }
    times.end(asked.request.tokens_max)
}

/// When the tokens of one answer come.
struct Clock {
    began: Instant,
    first: Option<Instant>,
}

impl Clock {
    fn new() -> Clock {
        Clock { began: Instant::now(), first: None }
    }

    fn token(&mut self) {
        self.first.get_or_insert_with(Instant::now);
    }

    /// An answer of so many tokens has ended.
    fn end(self, tokens: u32) -> anyhow::Result<Times> {
        let first = self.first.context("an answer without a token")?;
        let next = first.elapsed().as_secs_f64() / f64::from(tokens.saturating_sub(1).max(1));
        Ok(Times { first: vec![(first - self.began).as_secs_f64()], next: vec![next] })
    }
}

fn show(threads: usize, ways: [Times; 3], as_json: bool) {
    let figures = ways.map(|way| {
        [share(&way.first, 50), share(&way.first, 99), share(&way.next, 50), share(&way.next, 99)]
    });
    let [alone, ..] = figures;
    let names = ["engine alone", "its own API", "API and a hop"];
    if as_json {
        for (name, [first_50, first_99, next_50, next_99]) in names.into_iter().zip(figures) {
            let value = json!({
                "threads": threads,
                "way": name,
                "first_token_ms": { "p50": first_50, "p99": first_99 },
                "next_token_ms": { "p50": next_50, "p99": next_99 },
            });
            println!("{value}");
        }
        return;
    }
    println!(
        "threads {threads}        first token ms: p50   p99   over   over   next token ms: p50   p99   over   over"
    );
    for (name, it) in names.into_iter().zip(figures) {
        println!(
            "{name:14} {:19.2} {:6.2} {:6.2} {:6.2} {:20.3} {:6.3} {:6.3} {:6.3}",
            it[0],
            it[1],
            it[0] - alone[0],
            it[1] - alone[1],
            it[2],
            it[3],
            it[2] - alone[2],
            it[3] - alone[3],
        );
    }
}

/// A gateway that computes nothing, and a worker that joined it.
fn network(
    context: &Context,
    folder: &Path,
    record: &ModelRecord,
    arguments: &BenchArguments,
    threads: usize,
) -> anyhow::Result<(Node, Node)> {
    let homes = [folder.join("gateway"), folder.join("worker")];
    for home in &homes {
        share_model(context, home, record)?;
    }
    let [at, worker] = &homes;
    let gateway = start(at, &record.name, arguments, &["up", "--compute", "no"])?;
    let invited = mashaa(at)?.arg("invite").output()?;
    if !invited.status.success() {
        bail!("no ticket: {}", String::from_utf8_lossy(&invited.stderr).trim());
    }
    let ticket = String::from_utf8(invited.stdout)?;
    let threads = threads.to_string();
    let join = ["join", ticket.trim(), "--threads", threads.as_str()];
    let worker = start(worker, &record.name, arguments, &join)?;
    let (client, until) = (Client::at(&gateway.address), Instant::now() + START);
    loop {
        let value = client.get("/network")?;
        let mut nodes = value["nodes"].as_array().into_iter().flatten();
        let offers = |node: &Value| node["offers"].as_array().is_some_and(|it| !it.is_empty());
        if nodes.any(|node| node["address"].is_string() && offers(node)) {
            return Ok((gateway, worker));
        }
        if Instant::now() > until {
            bail!("the worker offers nothing after {} s", START.as_secs());
        }
        std::thread::sleep(LOOK);
    }
}

/// Gives a home the model of this one.
fn share_model(context: &Context, home: &Path, record: &ModelRecord) -> anyhow::Result<()> {
    let cid = record.artifact.parse()?;
    let (blobs, models) = (home.join("blobs"), home.join("models"));
    std::fs::create_dir_all(&blobs)?;
    std::fs::create_dir_all(&models)?;
    let (from, to) = (context.blobs.path(&cid), blobs.join(&record.artifact));
    if std::fs::hard_link(&from, &to).is_err() {
        // The folder may be on another disk.
        std::fs::copy(&from, &to).with_context(|| from.display().to_string())?;
    }
    let file = format!("{}.toml", record.name);
    std::fs::copy(context.home.models().join(&file), models.join(&file))?;
    Ok(())
}

/// This program in a home.
fn mashaa(home: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--home").arg(home).stdin(Stdio::null());
    command.env("MASHAA_NETWORK_NEARBY", "no").env_remove("MASHAA_API_KEYS");
    Ok(command)
}

/// Starts a node, and waits until it is ready.
fn start(
    home: &Path,
    model: &str,
    arguments: &BenchArguments,
    words: &[&str],
) -> anyhow::Result<Node> {
    let mut command = mashaa(home)?;
    command.args(words).args(["--model", model, "--isa", &arguments.isa]);
    command.args(["--listen", "127.0.0.1:0", "--network-listen", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let said = child.stderr.take().context("a process has an output")?;
    let mut node = Node { child, address: String::new() };
    let (mut lines, mut told) = (BufReader::new(said).lines(), String::new());
    for line in lines.by_ref() {
        let line = line?;
        if let Some(url) = line.strip_prefix("ready: http://") {
            url.trim_end_matches("/v1").clone_into(&mut node.address);
            // A pipe that nobody reads stops whoever writes.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok(node);
        }
        told = told + &line + "\n";
    }
    bail!("a node ended before it was ready: {}", told.trim())
}
