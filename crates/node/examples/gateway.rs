//! The gateway alone, by hand: `gateway HOME MODEL [SECONDS]`.
//!
//! Everything is the program's own, from the socket to the tokenizer and the chat template of a model
//! of the home, but for the engine: its place is taken by one that has each answer at once. So a
//! request's whole time is what the gateway adds. The clients are in the same process, on the same cores,
//! and keep their connections. Prints the table of `docs/benchmarks.md`.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::error::Error;
use std::future::pending;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::request::{Finish, Output, Request};
use gateway::backend::{Backend, Job, Seeding, ServedModel, Submitting, Urgency};
use gateway::router::{Gateway, Options, router};
use gateway::serve::serve;
use node::home::Home;
use node::models::Models;
use node::opened::open;
use serde_json::json;
use store::blobs::Blobs;
use text::tokenizer::SpecialTokens;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CONNECTIONS: [usize; 3] = [1, 16, 64];
/// Words of the prompt, tokens of the answer, whether it is streamed.
const SHAPES: [(usize, u32, bool); 4] =
    [(8, 1, false), (1000, 1, false), (8, 32, false), (8, 32, true)];
const WORDS: &str = "the clerk counted three machines and lent one of them to a neighbour ";

type Failure = Box<dyn Error + Send + Sync>;

/// An engine that takes no time.
struct Stub {
    model: Arc<ServedModel>,
    tokens: Vec<u32>,
}

impl Backend for Stub {
    fn models(&self) -> Vec<Arc<ServedModel>> {
        vec![Arc::clone(&self.model)]
    }

    fn submit<'a>(
        &'a self,
        _: &'a ServedModel,
        request: Request,
        _: Seeding,
        _: Urgency,
    ) -> Submitting<'a> {
        let (sender, job) = Job::channel();
        let prompt = Output::Prompt { cached: 0, logprobs: Vec::new() };
        let tokens = self.tokens.iter().cycle().take(request.tokens_max as usize);
        let tokens = tokens.map(|&token| Output::Token { token, logprobs: None });
        let end = Output::Finished(Finish::Length);
        for output in [prompt].into_iter().chain(tokens).chain([end]) {
            // The job is at hand, below.
            let _ = sender.send(Ok(output));
        }
        Box::pin(std::future::ready(Ok(job)))
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [home, model, seconds @ ..] = arguments.as_slice() else {
        return Err("gateway HOME MODEL [SECONDS]".into());
    };
    let seconds = seconds.first().map_or(Ok(5), |it| it.parse())?;
    let home = Home::open(Some(Path::new(home)), &|_| None)?;
    let opened = open(&Blobs::open(home.blobs())?, &Models::of(&home).get(model)?)?;
    let tokens = opened.served.tokenizer.encode(WORDS, SpecialTokens::Plain);
    let stub = Stub { model: Arc::new(opened.served), tokens };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.enable_all().build()?.block_on(measure(stub, model, Duration::from_secs(seconds)))
}

async fn measure(stub: Stub, model: &str, time: Duration) -> Result<(), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let gateway = Gateway::new(Arc::new(stub), &Options::default());
    tokio::spawn(serve(listener, router(gateway), pending()));
    println!(
        "prompt words  answer tokens  streamed  connections  requests/s  tokens/s  whole ms: p50    p99  \
         first byte ms: p50    p99"
    );
    for (words, tokens, streams) in SHAPES {
        let question: Vec<&str> = WORDS.split_whitespace().cycle().take(words).collect();
        let body = json!({
            "model": model, "messages": [{"role": "user", "content": question.join(" ")}],
            "max_tokens": tokens, "temperature": 0, "stream": streams,
        });
        let body = body.to_string();
        let request: Arc<str> = Arc::from(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        for connections in CONNECTIONS {
            let start = Instant::now();
            let clients: Vec<_> = (0..connections)
                .map(|_| tokio::spawn(client(address, Arc::clone(&request), start + time)))
                .collect();
            let (mut wholes, mut firsts) = (Vec::new(), Vec::new());
            for client in clients {
                for (first, whole) in client.await?? {
                    firsts.push(first);
                    wholes.push(whole);
                }
            }
            let rate = wholes.len() as f64 / start.elapsed().as_secs_f64();
            println!(
                "{words:12}  {tokens:13}  {streams:8}  {connections:11}  {rate:10.0}  {:8.0}  \
                 {:13.2}  {:5.2}  {:18.2}  {:5.2}",
                rate * f64::from(tokens),
                share(&mut wholes, 50),
                share(&mut wholes, 99),
                share(&mut firsts, 50),
                share(&mut firsts, 99),
            );
        }
    }
    Ok(())
}

/// One connection, until the time is over: the times to the first byte of each answer and to its last.
async fn client(
    address: SocketAddr,
    request: Arc<str>,
    end: Instant,
) -> Result<Vec<(Duration, Duration)>, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut times, mut answer, mut buffer) = (Vec::new(), Vec::new(), vec![0; 1 << 16]);
    while Instant::now() < end {
        let started = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        answer.clear();
        let mut first = None;
        while !is_whole(&answer) {
            let size = stream.read(&mut buffer).await?;
            if size == 0 {
                return Err("the gateway closed a connection".into());
            }
            first.get_or_insert_with(|| started.elapsed());
            answer.extend_from_slice(buffer.get(..size).unwrap_or_default());
        }
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(String::from_utf8_lossy(&answer).into_owned().into());
        }
        times.push((first.unwrap_or_default(), started.elapsed()));
    }
    Ok(times)
}

/// Whether an answer has come to its end: its length, or its last chunk.
fn is_whole(answer: &[u8]) -> bool {
    let Some(at) = answer.windows(4).position(|it| it == b"\r\n\r\n") else { return false };
    let (head, body) = answer.split_at(at + 4);
    let head = String::from_utf8_lossy(head);
    match head.lines().find_map(|line| line.strip_prefix("content-length: ")) {
        Some(size) => size.parse() == Ok(body.len()),
        None => body.ends_with(b"0\r\n\r\n"),
    }
}

/// Milliseconds that so many of a hundred stay under.
fn share(times: &mut [Duration], percent: usize) -> f64 {
    times.sort_unstable();
    let at = times.len().saturating_sub(1) * percent / 100;
    times.get(at).copied().unwrap_or_default().as_secs_f64() * 1e3
}
