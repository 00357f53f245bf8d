//! Which machine answers: the one whose cache has the conversation, another where the first is late, and
//! nobody where nobody is there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::ledger::until;
use crate::machines::{Machine, network};

/// How long a gateway may look for a worker, and somewhat more.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(20);

/// Answers of one request whose client reads nothing: with their scores some megabytes more than sockets
/// hold.
const CHOICES: usize = 32;

/// Asks for a completion: who took it, and the answer.
fn ask(machine: &Machine, prompt: &Value, tokens: u32, seed: usize) -> (String, Value) {
    let body = json!({
        "model": "random", "prompt": prompt, "max_tokens": tokens, "temperature": 1, "seed": seed,
    });
    let mut answer = ureq::post(format!("http://{}/v1/completions", machine.address))
        .header("content-type", "application/json")
        .send(body.to_string())
        .unwrap();
    let worker = answer.headers()["x-mashaa-worker"].to_str().unwrap().to_owned();
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
    (worker, serde_json::from_str(&text).unwrap())
}

fn text(answer: &Value) -> String {
    answer["choices"][0]["text"].as_str().unwrap().to_owned()
}

#[test]
fn a_conversation_goes_on_where_its_beginning_is_cached() {
    let (gateway, _workers) = network(2);
    let begin = |talk: usize| format!("conversation number {talk}, {talk}: ").repeat(12);
    // All at once, so that both machines get some.
    let first: Vec<(String, Value)> = std::thread::scope(|scope| {
        let gateway = &gateway;
        let ask = |talk| scope.spawn(move || ask(gateway, &json!(begin(talk)), 8, talk));
        let asked: Vec<_> = (0..8).map(ask).collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let one = &first[0].0;
    assert!(first.iter().any(|(worker, _)| worker != one), "one machine took all of them");
    // One after the other: each machine is as free as the other.
    for (talk, (worker, answer)) in first.iter().enumerate() {
        let more = format!("{}{} And now?", begin(talk), text(answer));
        let (again, answer) = ask(&gateway, &json!(more), 4, talk);
        assert_eq!(&again, worker, "conversation {talk}");
        let cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
        let tokens = answer["usage"]["prompt_tokens"].as_u64().unwrap();
        assert!(cached > tokens / 2, "conversation {talk}: {cached} of {tokens} tokens");
    }
}

#[test]
fn own_requests_go_first_and_an_answer_that_waits_behind_them_starts_elsewhere() {
    let (gateway, workers) = network(2);
    let alone: Vec<String> =
        (0..16).map(|it| text(&ask(&gateway, &json!("late"), 20, it).1)).collect();
    let busy = &workers[0];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // What its owner asks takes every row of its steps for a while.
            let prompt = |at: usize| format!("{at} is the number of this. ").repeat(14);
            let prompts: Vec<String> = (0..100).map(prompt).collect();
            ask(busy, &json!(prompts), 1, 0);
            done.store(true, Ordering::SeqCst);
        });
        until("the owner's requests are there", || {
            let own = busy.get("/node/status")["requests"]["own"].as_u64().unwrap();
            own > 10 || done.load(Ordering::SeqCst)
        });
        // Together, so that each machine gets some.
        let gateway = &gateway;
        let ask = |it| scope.spawn(move || ask(gateway, &json!("late"), 20, it));
        let asked: Vec<_> = (0..16).map(ask).collect();
        let answers: Vec<_> = asked.into_iter().map(|it| it.join().unwrap()).collect();
        assert!(!done.load(Ordering::SeqCst), "the owner's requests were too short for this test");
        assert!(answers.iter().any(|(worker, _)| *worker == busy.key), "none was asked of it");
        let texts: Vec<String> = answers.iter().map(|(_, answer)| text(answer)).collect();
        assert_eq!(texts, alone);
    });
}

#[test]
fn a_request_is_refused_in_time_when_no_machine_is_left() {
    let (gateway, mut workers) = network(2);
    ask(&gateway, &json!("hello"), 4, 1);
    workers.iter_mut().for_each(Machine::kill);
    let began = Instant::now();
    let refused = ureq::post(format!("http://{}/v1/completions", gateway.address))
        .header("content-type", "application/json")
        .send(json!({"model": "random", "prompt": "hello", "max_tokens": 4}).to_string());
    assert!(matches!(refused, Err(ureq::Error::StatusCode(429 | 503))), "{refused:?}");
    assert!(began.elapsed() < REFUSAL_TIME_MAX, "{:?}", began.elapsed());
}

/// Begins a stream of many long answers.
fn stream(machine: &Machine) -> BufReader<TcpStream> {
    let body = json!({
        "model": "random", "prompt": "slowly", "max_tokens": 200, "temperature": 1, "seed": 5,
        "n": CHOICES, "logprobs": 20, "stream": true, "logit_bias": {"1": -100, "2": -100},
    });
    let body = body.to_string();
    let mut socket = TcpStream::connect(&machine.address).unwrap();
    let head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json";
    write!(socket, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    BufReader::new(socket)
}

/// The answers' texts, and how many bytes came; `look` is called now and then.
fn texts(stream: BufReader<TcpStream>, mut look: impl FnMut()) -> (Vec<String>, usize) {
    let (mut texts, mut size) = (vec![String::new(); CHOICES], 0);
    for (number, line) in stream.lines().enumerate() {
        let line = line.unwrap();
        size += line.len();
        if number % 500 == 0 {
            look();
        }
        let Some(event) = line.strip_prefix("data: {") else { continue };
        let event: Value = serde_json::from_str(&format!("{{{event}")).unwrap();
        let choice = &event["choices"][0];
        let index = usize::try_from(choice["index"].as_u64().unwrap()).unwrap();
        texts[index].push_str(choice["text"].as_str().unwrap());
    }
    (texts, size)
}

#[test]
fn a_client_that_reads_nothing_holds_no_machine_until_it_reads() {
    let (gateway, _workers) = network(1);
    let busy = || {
        let value = gateway.get("/network");
        value["nodes"][0]["standing"]["in_flight"].as_u64().unwrap()
    };
    let (wanted, size) = texts(stream(&gateway), || {});
    let memory = gateway.memory();
    let unread = stream(&gateway);
    until("work begins", || busy() > 0);
    gateway.wait_until_idle();
    let grown = gateway.memory().saturating_sub(memory);
    let mut again = 0;
    let (texts, _) = texts(unread, || again = again.max(busy()));
    assert_eq!(texts, wanted);
    println!("{size} bytes of answers; {grown} bytes more held while nothing was read");
    assert!(again > 0, "all {size} bytes were computed for a client that read nothing");
}
