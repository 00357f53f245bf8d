//! One request among random others gives one answer, to the last bit, however it is asked.
//!
//! `MASHAA_GOLDEN=200` asks as often as the release's figures say (`docs/benchmarks.md`), and
//! `MASHAA_GOLDEN_HOME` asks the model of a home instead of the small random one; where that has a chat
//! template, some of the others follow grammars.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use store::cid::Cid;

use crate::kill::Random;
use crate::up::{Node, world};
use crate::world::World;

/// How often it is asked, where nothing else is said.
const COUNT: usize = 24;
/// Others at once.
const OTHERS: usize = 8;
/// Lines of a stream that are read by clients that leave, at most.
const LEFT_MAX: usize = 20;

const PROMPT: &str = "Once upon a time a clerk counted the machines of the village, and";

fn start(world: &World) -> (Node, String) {
    match std::env::var("MASHAA_GOLDEN_HOME") {
        Err(_) => (Node::start_with(world, &[], &[]), "random".to_owned()),
        Ok(home) => {
            let mut command = world.command(&["up", "--listen", "127.0.0.1:0", "--threads", "2"]);
            command.env_remove("MASHAA_CATALOGUE").env("MASHAA_HOME", home);
            let node = Node::spawn(&mut command);
            let answer = node.get("/v1/models");
            let models = answer.split_once("\r\n\r\n").unwrap().1;
            let models: Value = serde_json::from_str(models).unwrap();
            let name = models["data"][0]["id"].as_str().unwrap().to_owned();
            (node, name)
        }
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().into()
}

/// The path and the body of a request that is not the golden one.
fn other(model: &str, has_chat: bool, random: &mut Random) -> (&'static str, Value) {
    let question = "some words of a question ".repeat(1 + random.below(8));
    let tokens = 1 + random.below(60);
    if has_chat && random.below(3) == 0 {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["name", "count"],
            "properties": {"name": {"type": "string"}, "count": {"type": "integer"}},
        });
        let format = json!({"name": "x", "schema": schema});
        let body = json!({
            "model": model, "messages": [{"role": "user", "content": question}],
            "response_format": {"type": "json_schema", "json_schema": format},
            "max_tokens": tokens, "seed": random.below(1000), "stream": true,
        });
        return ("/v1/chat/completions", body);
    }
    // Some begin as the golden one does, so that they share its pages.
    let shared = random.below(PROMPT.len() + 1);
    let prompt = format!("{}{question}", &PROMPT[..shared]);
    let body = json!({
        "model": model, "prompt": prompt, "max_tokens": tokens, "n": 1 + random.below(3),
        "temperature": random.below(3), "seed": random.below(1000), "presence_penalty": 0.5,
        "stream": true,
    });
    ("/v1/completions", body)
}

/// One that asks others until the golden one was asked often enough; one in three is left.
fn disturb(node: &Node, model: &str, seed: usize, over: &AtomicBool) {
    let mut random = Random(seed as u64);
    let has_chat = std::env::var_os("MASHAA_GOLDEN_HOME").is_some();
    while !over.load(Ordering::Relaxed) {
        let (path, body) = other(model, has_chat, &mut random);
        // A connection of its own, which ends where the client leaves.
        let sent = agent()
            .post(format!("http://{}{path}", node.address))
            .header("content-type", "application/json")
            .send(body.to_string())
            .unwrap();
        assert_eq!(sent.status(), 200, "{body}");
        let most = if random.below(3) == 0 { random.below(LEFT_MAX) } else { usize::MAX };
        let lines = BufReader::new(sent.into_body().into_reader()).lines();
        assert!(lines.take(most).all(|line| line.is_ok()), "a stream broke off: {body}");
    }
}

/// What does not differ from one answering to the next: the text and the log-probabilities.
fn golden(node: &Node, model: &str, streams: bool) -> String {
    let body = json!({
        "model": model, "prompt": PROMPT, "max_tokens": 64, "temperature": 1, "seed": 7, "logprobs": 5,
        "stream": streams,
    });
    let mut sent = agent()
        .post(format!("http://{}/v1/completions", node.address))
        .header("content-type", "application/json")
        .send(body.to_string())
        .unwrap();
    let text = sent.body_mut().read_to_string().unwrap();
    let events: Vec<Value> = match streams {
        false => vec![serde_json::from_str(&text).unwrap()],
        true => {
            let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
            assert!(text.contains("data: [DONE]"), "{text}");
            lines.filter(|it| *it != "[DONE]").map(|it| serde_json::from_str(it).unwrap()).collect()
        }
    };
    let (mut text, mut logprobs) = (String::new(), Vec::new());
    for event in &events {
        let choice = &event["choices"][0];
        text.push_str(choice["text"].as_str().unwrap());
        logprobs.extend(choice["logprobs"]["token_logprobs"].as_array().into_iter().flatten());
    }
    assert!(!logprobs.is_empty());
    Cid::of(json!([text, logprobs]).to_string().as_bytes()).to_string()
}

#[test]
fn a_request_among_random_others_has_one_answer() {
    let count = std::env::var("MASHAA_GOLDEN").map_or(COUNT, |it| it.parse().unwrap());
    let world = world();
    let (node, model) = start(&world);
    let alone = golden(&node, &model, false);
    let (over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let answers = Mutex::new(BTreeMap::<String, usize>::new());
    std::thread::scope(|scope| {
        for seed in 0..OTHERS {
            let (node, model, over) = (&node, &model, &over);
            scope.spawn(move || disturb(node, model, seed, over));
        }
        // Two at once, so that the golden one meets itself.
        let askers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    loop {
                        let number = asked.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        let answer = golden(&node, &model, number % 2 == 1);
                        *answers.lock().unwrap().entry(answer).or_default() += 1;
                    }
                })
            })
            .collect();
        let ended: Vec<_> = askers.into_iter().map(|it| it.join()).collect();
        over.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok), "a golden request failed");
    });
    let answers = answers.into_inner().unwrap();
    println!("{count} times among {OTHERS} others at a time: {answers:?}");
    assert_eq!(answers, BTreeMap::from([(alone, count)]));
    assert_eq!(node.stop("-TERM").0, Some(0));
}
