//! Twice as many clients as a node has places, for a long time: some hang up, some read nothing, some send
//! what is no request. What is accepted is answered whole, and nothing stays behind.
//!
//! `MASHAA_SOAK_SECONDS=1800` is what the release's figures are from (`docs/benchmarks.md`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kill::Random;
use crate::ledger::until;
use crate::up::{Node, world};

/// How long it lasts, where nothing else is said.
const SECONDS: u64 = 10;
/// Requests that the node holds at once.
const PLACES: usize = 16;
const CLIENTS: usize = 2 * PLACES;
/// Clients that read nothing, besides.
const STALLED: usize = 4;
/// An answer that takes longer is lost: longer than the gateway waits for a body.
const TIME_MAX: Duration = Duration::from_secs(120);
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(500);
/// What the memory may grow by from the second quarter of the time to the last, in KiB, beside a tenth:
/// an allocator's pieces.
const GROWTH_MAX: u64 = 8 << 10;

/// What became of the requests, by a word each.
#[derive(Debug, Default)]
struct Counts {
    ended: BTreeMap<&'static str, usize>,
    faults: Vec<String>,
}

/// What a client does.
#[derive(Clone, Copy)]
enum Deed {
    Whole,
    Stream,
    LeaveEarly,
    LeaveStream,
    HalfBody,
    Garbage,
}

const DEEDS: [Deed; 8] = [
    Deed::Whole,
    Deed::Whole,
    Deed::Stream,
    Deed::Stream,
    Deed::LeaveStream,
    Deed::LeaveEarly,
    Deed::HalfBody,
    Deed::Garbage,
];

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIME_MAX)).unwrap();
    stream
}

fn completion(random: &mut Random, stream: bool) -> String {
    let prompt = "a question of some length, ".repeat(1 + random.below(12));
    let body = json!({
        "model": "random", "prompt": prompt, "max_tokens": 1 + random.below(80), "n": 1 + random.below(3),
        "temperature": random.below(2), "seed": random.below(1000), "stream": stream,
    });
    body.to_string()
}

fn request(body: &str, size: usize) -> String {
    format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {size}\r\n\r\n{body}"
    )
}

/// What is no request, or a wrong one.
fn garbage(random: &mut Random) -> Vec<u8> {
    let wrong = |body: &str| request(body, body.len()).into_bytes();
    match random.below(8) {
        0 => (0..1 + random.below(2000)).map(|_| random.below(256) as u8).collect(),
        1 => wrong("{\"model\": \"random\", \"prompt\": "),
        2 => wrong(&"[".repeat(20_000)),
        3 => wrong("{\"model\":\"random\",\"prompt\":[1,-1,\"x\"],\"max_tokens\":\"many\"}"),
        4 => request("{}", 1 << 40).into_bytes(),
        5 => {
            let head =
                "POST /v1/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
            [head.as_bytes(), b"zz\r\n{}\r\n-5\r\n"].concat()
        }
        6 => format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(200_000)).into_bytes(),
        _ => [request("", 40).as_bytes(), &[0xff; 40]].concat(),
    }
}

/// Reads until the other end closes, or until it has come so far; what came.
fn read(stream: &mut TcpStream, size_max: usize) -> Result<String, ErrorKind> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    while bytes.len() < size_max {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(size) => bytes.extend_from_slice(&buffer[..size]),
            // Where what was sent is not read to its end, the answer may be followed by a reset.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => break,
            Err(error) => return Err(error.kind()),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn status(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|it| it.get(..3));
    status.and_then(|it| it.parse().ok()).unwrap_or(0)
}

/// Does something; says what became of it, or what should not have.
fn act(address: &str, deed: Deed, random: &mut Random) -> Result<&'static str, String> {
    let mut stream = connect(address);
    let streams = matches!(deed, Deed::Stream | Deed::LeaveStream);
    let body = completion(random, streams);
    let bytes = match deed {
        Deed::Garbage => garbage(random),
        Deed::HalfBody => request(&body[..body.len() / 2], body.len()).into_bytes(),
        _ => request(&body, body.len()).into_bytes(),
    };
    if let Err(error) = stream.write_all(&bytes) {
        let kinds = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        let is_garbage = matches!(deed, Deed::Garbage) && kinds.contains(&error.kind());
        return if is_garbage { Ok("garbage") } else { Err(format!("not sent: {error}")) };
    }
    match deed {
        Deed::LeaveEarly => return Ok("left before the answer"),
        Deed::HalfBody => return Ok("left in the request"),
        Deed::LeaveStream => {
            let answer = read(&mut stream, 200 + random.below(2000));
            return answer.map(|_| "left in the answer").map_err(|it| format!("no answer: {it}"));
        }
        // Some of it waits for more, and then gets what there is to say at its end.
        Deed::Garbage => drop(stream.shutdown(Shutdown::Write)),
        Deed::Whole | Deed::Stream => {}
    }
    let answer = read(&mut stream, usize::MAX);
    let is_garbage = matches!(deed, Deed::Garbage);
    match answer {
        // A head that is not HTTP may be answered with the end of the connection.
        Err(ErrorKind::ConnectionReset) if is_garbage => Ok("garbage"),
        Err(kind) => Err(format!("no answer: {kind}")),
        Ok(answer) => {
            let (status, is_whole) = (status(&answer), is_whole(&answer, streams));
            match status {
                0 | 400..=428 | 430..=499 if is_garbage => Ok("garbage"),
                429 | 503 if answer.contains("\r\nretry-after: ") => Ok("refused"),
                200 if !is_garbage && is_whole => Ok("answered"),
                _ => {
                    let said: String = answer.chars().take(600).collect();
                    Err(format!("{status}, whole {is_whole}: {said}"))
                }
            }
        }
    }
}

/// Whether an answer came to its end.
fn is_whole(answer: &str, streams: bool) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { return false };
    if streams {
        return body.contains("data: [DONE]\n\n");
    }
    let size = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    size.and_then(|size| size.parse().ok()) == Some(body.len())
}

/// One client, until the time is over. Tells of each request that has ended.
fn client(
    number: usize,
    address: &str,
    counts: &Mutex<Counts>,
    over: &AtomicBool,
    told: &Sender<()>,
) {
    let mut random = Random(number as u64);
    while !over.load(Ordering::Relaxed) {
        let ended = act(address, DEEDS[random.below(DEEDS.len())], &mut random);
        let mut counts = counts.lock().unwrap();
        match ended {
            Ok(word) => *counts.ended.entry(word).or_default() += 1,
            Err(fault) => counts.faults.push(fault),
        }
        drop(counts);
        // Nobody listens any more once the time is over.
        let _ = told.send(());
    }
}

/// Asks for more than sockets hold, and reads none of it.
fn stall(address: &str, seed: usize) -> TcpStream {
    let mut stream = connect(address);
    let body = json!({
        "model": "random", "prompt": "a reader that stalls", "max_tokens": 60, "n": 2, "logprobs": 20,
        "temperature": 1, "seed": seed, "stream": true,
    });
    let body = body.to_string();
    stream.write_all(request(&body, body.len()).as_bytes()).unwrap();
    stream
}

/// The resident memory of a process, in KiB.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A gauge of the page for Prometheus.
fn gauge(node: &Node, name: &str) -> u64 {
    let page = node.get("/metrics");
    let found = page.lines().find_map(|line| line.strip_prefix(&format!("mashaa_{name} ")));
    found.unwrap().parse().unwrap()
}

fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

#[test]
fn a_crowd_that_hangs_up_stalls_and_sends_garbage_leaves_nothing_behind() {
    let seconds = std::env::var("MASHAA_SOAK_SECONDS").map_or(SECONDS, |it| it.parse().unwrap());
    let world = world();
    let node = Node::start_with(&world, &["--queue", &PLACES.to_string()], &[]);
    assert_eq!(gauge(&node, "sequences_max"), PLACES as u64);
    let (counts, over) = (Mutex::new(Counts::default()), AtomicBool::new(false));
    let (told, ended) = channel();
    let (mut samples, started) = (Vec::new(), Instant::now());
    let mut stalled: Vec<TcpStream> = (0..STALLED).map(|it| stall(&node.address, it)).collect();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (address, counts, over, told) = (&node.address, &counts, &over, told.clone());
            scope.spawn(move || client(number, address, counts, over, &told));
        }
        while started.elapsed() < Duration::from_secs(seconds) {
            // As requests end, so that nothing is waited for in vain.
            ended.recv_timeout(TIME_MAX).unwrap();
            if started.elapsed() > LOOK * samples.len() as u32 {
                samples.push(memory(node.process()));
                // One more stalls every now and then, and the oldest gives up.
                stalled.push(stall(&node.address, samples.len()));
                drop(stalled.remove(0));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    // Those that read nothing are still there, and hold no place.
    until("no sequence is held", || gauge(&node, "sequences_held") == 0);
    drop(stalled);
    until("nothing is in flight", || {
        let names = ["answers_in_flight", "sequences_queued", "request_body_bytes_held"];
        names.into_iter().all(|name| gauge(&node, name) == 0)
    });
    let counts = counts.into_inner().unwrap();
    let quarter = samples.len() / 4;
    let (early, late) = (median(&samples[quarter..2 * quarter]), median(&samples[3 * quarter..]));
    let mut line = format!("{seconds} s, {early} KiB early and {late} KiB late");
    for (word, count) in &counts.ended {
        write!(line, ", {word} {count}").unwrap();
    }
    println!("{line}");
    assert!(counts.faults.is_empty(), "{:#?}", &counts.faults[..counts.faults.len().min(10)]);
    assert!(counts.ended.len() == 6 && counts.ended["answered"] > 0, "{line}");
    assert!(late <= early + early / 10 + GROWTH_MAX, "the memory grows: {samples:?}");
    assert_eq!(node.stop("-TERM").0, Some(0));
}
