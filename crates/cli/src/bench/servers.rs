//! `mashaa bench --server URL`: many clients at once against any server with the OpenAI API.
//!
//! The clients ask for chats with one system prompt for all, prompts of mixed lengths and answers of
//! mixed lengths, as streams. All that is asked follows from a seed, so that several servers are asked
//! the same, in turn. One request comes again and again among the others, and its answers are counted.
//!
//! Invariants: a client has one request under way; a request that fails is counted and never measured.
//!
//! Not here: starting servers (`fixtures/load`).

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use store::cid::Cid;

use super::share;
use crate::arguments::BenchArguments;
use crate::context::Context;
use crate::outcome::Outcome;

/// A request that takes longer has failed.
const TIME_MAX: Duration = Duration::from_secs(600);
/// Every so many requests, the same one comes again.
const AGAIN: usize = 8;
/// Clients, at most: each has a thread.
const CLIENTS_MAX: usize = 4096;
/// Words of a question.
const LENGTHS: [usize; 4] = [8, 30, 90, 250];
/// Tokens of an answer, at most.
const ANSWERS: [u32; 4] = [16, 48, 96, 128];
/// What every chat begins with, of about 150 tokens.
const SYSTEM: &str = "You are the clerk of a small cooperative that lends machines to its members. \
    Answer in plain words and in whole sentences. Say first what was asked, then what follows from it, and \
    last what is not certain. Never promise what the members have not decided. When numbers are asked for, \
    give them with their units, and say where they come from. When a story is asked for, tell it from its \
    beginning to its end, with at least one person in it who changes their mind. Do not make lists unless \
    a list is asked for. Do not repeat the question. If a word has two meanings, say which one you take. \
    Members come from many places and speak many languages, so use no jokes that need a certain country \
    to be understood, and explain every abbreviation where it comes first.";
/// What questions are made of.
const WORDS: &str = "river harvest bridge lantern market copper winter garden letter engine harbour \
    cloud teacher bread mountain window promise circle village debt music stone journey ladder silver \
    orchard storm ferry kitchen carpet signal neighbour thread winter clay library shadow vineyard oath";

/// How often, by whom and for how long a server was asked, and what became of it.
#[derive(Default)]
struct Figures {
    /// Requests and tokens a second, of each round.
    rates: Vec<(f64, f64)>,
    /// Seconds to the first token.
    first: Vec<f64>,
    /// Seconds from one token to the next, on average over an answer.
    next: Vec<f64>,
    answered: usize,
    tokens: u64,
    failed: usize,
    /// Why the first one failed.
    fault: Option<String>,
    /// The answers to the request that came again, and how often each came.
    again: BTreeMap<String, usize>,
}

/// A server.
struct Server {
    url: String,
    model: String,
    again: BTreeMap<String, usize>,
}

/// What one request brought.
struct Answer {
    text: String,
    tokens: u64,
    first: Duration,
    last: Duration,
}

/// Measures every number of clients, of each server in turn.
pub(super) fn run(context: &Context, arguments: &BenchArguments) -> anyhow::Result<Outcome> {
    let it = &arguments.servers;
    if it.clients.iter().any(|count| !(1..=CLIENTS_MAX).contains(count)) {
        bail!("--clients takes numbers from 1 to {CLIENTS_MAX}");
    }
    let mut servers = Vec::new();
    for url in &it.server {
        servers.push(Server::find(url, arguments.model.as_deref())?);
    }
    if !context.json {
        println!(
            "server                         clients  requests/s  first token ms: p50     p99  \
             next token ms: p50     p99  tokens/s  answered  tokens  failed"
        );
    }
    for &clients in &it.clients {
        let mut figures: Vec<Figures> = servers.iter().map(|_| Figures::default()).collect();
        for round in 0..arguments.rounds.max(1) {
            for turn in 0..servers.len() {
                let at = (round + turn) % servers.len();
                let numbers = Numbers { seed: it.seed, clients, round, requests: it.requests };
                figures[at].round(&servers[at], numbers);
            }
        }
        for (server, figures) in servers.iter_mut().zip(figures) {
            figures.show(context, server, clients);
            for (text, count) in figures.again {
                *server.again.entry(text).or_default() += count;
            }
        }
    }
    servers.iter().filter(|_| !context.json).for_each(Server::show_again);
    Ok(Outcome::Done)
}

/// Which requests a round has.
#[derive(Clone, Copy)]
struct Numbers {
    seed: u64,
    clients: usize,
    round: usize,
    requests: usize,
}

impl Numbers {
    /// The body of a request, and whether it is the one that comes again.
    fn body(self, number: usize, model: &str) -> (String, bool) {
        let is_again = number % AGAIN == AGAIN / 2;
        let mut random = Random::of(self, if is_again { None } else { Some(number) });
        let words: Vec<&str> = WORDS.split_whitespace().collect();
        let length = LENGTHS[random.below(LENGTHS.len())];
        let mut question = "Tell a long story with these words, in this order:".to_owned();
        for _ in 0..length {
            question.push(' ');
            question.push_str(words[random.below(words.len())]);
        }
        let body = json!({
            "model": model,
            "messages": [
                {"role": "system", "content": SYSTEM}, {"role": "user", "content": question},
            ],
            "max_tokens": if is_again { 64 } else { ANSWERS[random.below(ANSWERS.len())] },
            // Greedy answers of a small model soon go round in circles; these are as repeatable.
            "temperature": 0.7, "seed": 1 + random.below(1 << 20),
            "stream": true, "stream_options": {"include_usage": true},
        });
        (body.to_string(), is_again)
    }
}

impl Figures {
    /// One round of one server.
    fn round(&mut self, server: &Server, numbers: Numbers) {
        let total = numbers.clients.saturating_mul(numbers.requests.max(1));
        let (taken, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let started = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..numbers.clients {
                scope.spawn(|| {
                    let agent = agent();
                    loop {
                        let number = taken.fetch_add(1, Ordering::Relaxed);
                        if number >= total {
                            return;
                        }
                        let (body, is_again) = numbers.body(number, &server.model);
                        let answer = ask(&agent, &server.url, body);
                        if let Ok(mut done) = done.lock() {
                            done.push((answer, is_again));
                        }
                    }
                });
            }
        });
        let seconds = started.elapsed().as_secs_f64();
        let (answered, tokens) = (self.answered, self.tokens);
        for (answer, is_again) in done.into_inner().unwrap_or_default() {
            self.count(answer, is_again);
        }
        let requests = (self.answered - answered) as f64;
        self.rates.push((requests / seconds, (self.tokens - tokens) as f64 / seconds));
    }

    fn count(&mut self, answer: anyhow::Result<Answer>, is_again: bool) {
        match answer {
            Ok(it) => {
                self.answered += 1;
                self.tokens += it.tokens;
                self.first.push(it.first.as_secs_f64());
                if it.tokens > 1 {
                    self.next.push((it.last - it.first).as_secs_f64() / (it.tokens - 1) as f64);
                }
                if is_again {
                    *self.again.entry(it.text).or_default() += 1;
                }
            }
            Err(error) => {
                self.failed += 1;
                self.fault.get_or_insert(format!("{error:#}"));
            }
        }
    }

    fn show(&self, context: &Context, server: &Server, clients: usize) {
        let rate = |of: &dyn Fn(&(f64, f64)) -> f64| {
            let mut rates: Vec<f64> = self.rates.iter().map(of).collect();
            rates.sort_by(f64::total_cmp);
            rates.get(rates.len() / 2).copied().unwrap_or_default()
        };
        let (requests, tokens) = (rate(&|it| it.0), rate(&|it| it.1));
        let first = [share(&self.first, 50), share(&self.first, 99)];
        let next = [share(&self.next, 50), share(&self.next, 99)];
        if context.json {
            let value = json!({
                "server": server.url, "model": server.model, "clients": clients,
                "requests_per_second": requests, "tokens_per_second": tokens,
                "first_token_ms_p50": first[0], "first_token_ms_p99": first[1],
                "next_token_ms_p50": next[0], "next_token_ms_p99": next[1],
                "answered": self.answered, "tokens": self.tokens, "failed": self.failed,
                "asked_again": self.again.values().sum::<usize>(),
                "answers_to_it": self.again.len(),
            });
            println!("{value}");
        } else {
            println!(
                "{:30} {clients:7} {requests:11.2} {:20.1} {:7.1} {:20.2} {:7.2} {tokens:9.1} {:9} \
                 {:7} {:7}",
                server.url,
                first[0],
                first[1],
                next[0],
                next[1],
                self.answered,
                self.tokens,
                self.failed
            );
        }
        if let Some(fault) = &self.fault {
            eprintln!("{}: the first that failed: {fault}", server.url);
        }
    }
}

impl Server {
    /// A server, and the model that is asked for: the first of those that it lists, if none is named.
    fn find(url: &str, model: Option<&str>) -> anyhow::Result<Server> {
        let url = url.trim_end_matches('/').to_owned();
        let mut server = Server { url, model: String::new(), again: BTreeMap::new() };
        server.model = match model {
            Some(model) => model.to_owned(),
            None => {
                let sent = agent().get(format!("{}/models", server.url)).call();
                let mut answer = sent.with_context(|| format!("{} does not answer", server.url))?;
                let list: Value = serde_json::from_str(&answer.body_mut().read_to_string()?)?;
                let name = list["data"][0]["id"].as_str();
                name.with_context(|| format!("{} lists no model", server.url))?.to_owned()
            }
        };
        // Not measured: it brings connections, caches and the system prompt in.
        let numbers = Numbers { seed: u64::MAX, clients: 1, round: 0, requests: 1 };
        ask(&agent(), &server.url, numbers.body(0, &server.model).0)?;
        Ok(server)
    }

    fn show_again(&self) {
        let asked: usize = self.again.values().sum();
        if asked == 0 {
            return;
        }
        println!(
            "{}: {asked} times the same request among the others: {} different answers",
            self.url,
            self.again.len()
        );
        if let Some((text, count)) = self.again.iter().max_by_key(|(_, count)| **count) {
            println!("{count} of them {}", Cid::of(text.as_bytes()));
        }
    }
}

/// Each request has a connection of its own: some servers close those that wait, just when they are used again.
fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false);
    config.timeout_global(Some(TIME_MAX)).max_idle_connections(0).build().into()
}

/// Asks for a stream, and reads it to its end.
fn ask(agent: &ureq::Agent, url: &str, body: String) -> anyhow::Result<Answer> {
    let started = Instant::now();
    let request = agent.post(format!("{url}/chat/completions"));
    let mut sent = request.header("content-type", "application/json").send(body)?;
    if sent.status() != 200 {
        bail!("{}: {}", sent.status(), sent.body_mut().read_to_string()?);
    }
    let (mut text, mut first, mut last) = (String::new(), None, Duration::ZERO);
    let (mut pieces, mut counted, mut is_whole) = (0, None, false);
    for line in BufReader::new(sent.into_body().into_reader()).lines() {
        let line = line?;
        let Some(data) = line.strip_prefix("data: ") else { continue };
        if data == "[DONE]" {
            is_whole = true;
            continue;
        }
        let event: Value = serde_json::from_str(data)?;
        if event["error"].is_object() {
            bail!("{data}");
        }
        counted = event["usage"]["completion_tokens"].as_u64().or(counted);
        if let Some(more) = event["choices"][0]["delta"]["content"].as_str()
            && !more.is_empty()
        {
            last = started.elapsed();
            first.get_or_insert(last);
            text.push_str(more);
            pieces += 1;
        }
    }
    if !is_whole {
        bail!("the stream ended without its end");
    }
    let first = first.context("an answer without a token")?;
    Ok(Answer { text, tokens: counted.unwrap_or(pieces), first, last })
}

/// Steele, Lea and Flood 2014: SplitMix64.
struct Random(u64);

impl Random {
    /// That of one request of a round, or of the one that comes again.
    fn of(numbers: Numbers, number: Option<usize>) -> Random {
        let mut random = Random(numbers.seed);
        let parts = number.map(|number| [numbers.clients, numbers.round, number]);
        for part in parts.into_iter().flatten() {
            // A usize has no more bits.
            random.0 ^= (part as u64).wrapping_add(1);
            random.0 = random.next();
        }
        random
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        // The rest is below a usize.
        (self.next() % bound as u64) as usize
    }
}
