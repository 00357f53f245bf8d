//! Many clients at once, while workers are killed and come back: every request is answered with its own
//! text, once, or refused before its first byte.
//!
//! `MASHAA_LOAD_SECONDS=300` is what the release's figures are from (`docs/benchmarks.md`).

use std::io::{BufRead as _, BufReader};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machines::{Machine, network};

/// How long it lasts, where nothing else is said.
const SECONDS: u64 = 20;
const WORKERS: usize = 4;
/// Workers that are killed and started again, in turn.
const KILLED: usize = 2;
const CLIENTS: u64 = 64;
/// Prompts with their seeds.
const CASES: usize = 12;
/// A request that takes longer is lost.
const TIME_MAX: Duration = Duration::from_secs(120);

/// A request and the text that nothing disturbed.
struct Case {
    prompt: String,
    tokens: u64,
    seed: usize,
    text: String,
}

/// What became of the requests.
#[derive(Debug, Default)]
struct Counts {
    whole: usize,
    streamed: usize,
    left: usize,
    refused: usize,
    /// Everything that must not be.
    faults: Vec<String>,
    /// Times from the request to the first text of a stream.
    first: Vec<Duration>,
    /// Times from the request to its refusal.
    refusal: Vec<Duration>,
}

enum Outcome {
    Text(String),
    Left,
    Refused,
    Fault(String),
}

impl Case {
    fn request(&self, stream: bool) -> String {
        let request = json!({
            "model": "random", "prompt": self.prompt, "max_tokens": self.tokens, "temperature": 1,
            "seed": self.seed, "presence_penalty": 0.5, "stream": stream,
        });
        request.to_string()
    }
}

/// Prompts from a few tokens to half a context, answers from one token to some hundred.
fn cases(gateway: &Machine) -> Vec<Case> {
    let case = |seed: usize| {
        let prompt = "a question of some length, ".repeat(1 + seed % 4 * 3);
        let tokens = [1, 20, 60, 150][seed / 4 % 4];
        let mut case = Case { prompt, tokens, seed, text: String::new() };
        let outcome = ask(&agent(), &gateway.address, &case, false, None).0;
        assert!(matches!(outcome, Outcome::Text(_)), "an undisturbed request is not answered");
        if let Outcome::Text(text) = outcome {
            case.text = text;
        }
        case
    };
    (0..CASES).map(case).collect()
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder();
    config.timeout_global(Some(TIME_MAX)).http_status_as_error(false).build().into()
}

/// Asks, and leaves a stream after so many events, if said; also the time until the first text.
fn ask(
    agent: &ureq::Agent,
    address: &str,
    case: &Case,
    stream: bool,
    leave: Option<usize>,
) -> (Outcome, Duration) {
    let started = Instant::now();
    let sent = agent
        .post(format!("http://{address}/v1/completions"))
        .header("content-type", "application/json")
        .send(case.request(stream));
    let mut answer = match sent {
        Ok(answer) => answer,
        Err(error) => return (Outcome::Fault(format!("no answer: {error}")), started.elapsed()),
    };
    let outcome = match answer.status().as_u16() {
        429 | 503 => Outcome::Refused,
        200 if stream => return read(answer, started, leave),
        200 => match answer.body_mut().read_to_string() {
            Ok(body) => whole(&body),
            Err(error) => Outcome::Fault(format!("no body: {error}")),
        },
        status => Outcome::Fault(format!("{status}: {:?}", answer.body_mut().read_to_string())),
    };
    (outcome, started.elapsed())
}

fn whole(body: &str) -> Outcome {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    match value["choices"][0]["text"].as_str() {
        Some(text) => Outcome::Text(text.to_owned()),
        None => Outcome::Fault(format!("no text: {body}")),
    }
}

fn read(
    answer: ureq::http::Response<ureq::Body>,
    started: Instant,
    leave: Option<usize>,
) -> (Outcome, Duration) {
    let (mut text, mut events, mut first, mut done) = (String::new(), 0, None, false);
    for line in BufReader::new(answer.into_body().into_reader()).lines() {
        let time = first.unwrap_or_else(|| started.elapsed());
        let line = match line {
            Ok(line) => line,
            Err(error) => return (Outcome::Fault(format!("after {text:?}: {error}")), time),
        };
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if done {
            return (Outcome::Fault(format!("after the end: {data}")), time);
        }
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        let Some(more) = event["choices"][0]["text"].as_str() else {
            return (Outcome::Fault(format!("after {text:?}: {data}")), time);
        };
        first.get_or_insert(time);
        text.push_str(more);
        events += 1;
        if leave.is_some_and(|leave| events >= leave) {
            return (Outcome::Left, time);
        }
    }
    let time = first.unwrap_or_else(|| started.elapsed());
    if done { (Outcome::Text(text), time) } else { (Outcome::Fault("no end".to_owned()), time) }
}

/// One client, until the time is over.
fn client(number: u64, address: &str, cases: &[Case], counts: &Mutex<Counts>, over: &AtomicBool) {
    // Steele, Lea and Flood 2014: SplitMix64.
    let mut state = number;
    let mut random = |below: usize| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % below as u64).unwrap()
    };
    let mut agent = agent();
    while !over.load(Ordering::Relaxed) {
        let case = &cases[random(cases.len())];
        let stream = random(3) > 0;
        let leave = (stream && random(5) == 0).then(|| 1 + random(20));
        let (outcome, time) = ask(&agent, address, case, stream, leave);
        let mut counts = counts.lock().unwrap();
        match outcome {
            Outcome::Text(text) if text != case.text => {
                let (seed, wanted) = (case.seed, &case.text);
                counts.faults.push(format!("seed {seed}: {text:?} is not {wanted:?}"));
            }
            Outcome::Text(_) if stream => {
                counts.streamed += 1;
                counts.first.push(time);
            }
            Outcome::Text(_) => counts.whole += 1,
            Outcome::Left => {
                counts.left += 1;
                // Its connection is not used again, or it would read on to the end.
                agent = self::agent();
            }
            Outcome::Refused => {
                counts.refused += 1;
                counts.refusal.push(time);
            }
            Outcome::Fault(what) => counts.faults.push(what),
        }
    }
}

fn share(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times.get(times.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default()
}

#[test]
fn no_request_is_lost_doubled_or_wrong_while_workers_are_killed_and_come_back() {
    let seconds = std::env::var("MASHAA_LOAD_SECONDS").map_or(SECONDS, |it| it.parse().unwrap());
    let (gateway, mut workers) = network(WORKERS);
    let cases = cases(&gateway);
    let (counts, over) = (Mutex::new(Counts::default()), AtomicBool::new(false));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (address, cases, counts, over) = (&gateway.address, &cases, &counts, &over);
            scope.spawn(move || client(number, address, cases, counts, over));
        }
        while Instant::now() < end {
            let answered = |counts: &Counts| counts.whole + counts.streamed;
            let before = answered(&counts.lock().unwrap());
            workers[kills % KILLED].kill();
            if kills % 3 == 2 {
                // Both at once, at times.
                workers[(kills + 1) % KILLED].kill();
                workers[(kills + 1) % KILLED].restart();
            }
            workers[kills % KILLED].restart();
            kills += 1;
            // Some are answered before the next is killed.
            while Instant::now() < end
                && counts.lock().unwrap().faults.is_empty()
                && answered(&counts.lock().unwrap()) < before + usize::try_from(CLIENTS).unwrap()
            {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let mut counts = counts.into_inner().unwrap();
    println!(
        "{seconds} s, {kills} kills: {} streamed, {} whole, {} left, {} refused, {} faults; first text p50 {:?}, p99 {:?}; refused p99 {:?}",
        counts.streamed,
        counts.whole,
        counts.left,
        counts.refused,
        counts.faults.len(),
        share(&mut counts.first, 50),
        share(&mut counts.first, 99),
        share(&mut counts.refusal, 99),
    );
    assert!(counts.faults.is_empty(), "{:#?}", &counts.faults[..counts.faults.len().min(10)]);
    assert!(counts.streamed > 0 && counts.whole > 0 && kills > 1, "{counts:?}");
    // Nothing goes on for those who left.
    gateway.wait_until_idle();
}
