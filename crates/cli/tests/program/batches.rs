//! Batches: each request is answered once, as the endpoint answers it, whatever becomes of the node.
//!
//! `MASHAA_BATCH=1000` is what the release's figures are from (`docs/benchmarks.md`).

use std::collections::BTreeMap;

use serde_json::{Value, json};
use store::cid::Cid;

use crate::kill::Random;
use crate::up::{Node, world};
use crate::world::World;

/// Requests of the batch, where nothing else is said.
const COUNT: usize = 48;
const KILLS: usize = 3;
const SEED: u64 = 6;

fn start(world: &World) -> Node {
    Node::start_with(world, &[], &[("MASHAA_BATCH_LINES", "3")])
}

fn ask(node: &Node, method: &str, path: &str, kind: &str, body: &str) -> String {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\n",
        node.address,
        body.len()
    );
    let answer = node.send(&head, body);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.contains("chunked"), "{head}");
    body.to_owned()
}

fn json_of(node: &Node, method: &str, path: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    serde_json::from_str(&ask(node, method, path, "application/json", &body)).unwrap()
}

/// Begins a batch of completions, and gives its id.
fn begin(node: &Node, bodies: &[Value]) -> String {
    let line = |(number, body): (usize, &Value)| {
        let id = format!("request {number}");
        json!({"custom_id": id, "method": "POST", "url": "/v1/completions", "body": body})
    };
    let lines: String = bodies.iter().enumerate().map(|it| format!("{}\n", line(it))).collect();
    let form = format!(
        "--edge\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
         --edge\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a.jsonl\"\r\n\r\n\
         {lines}\r\n--edge--\r\n"
    );
    let file = ask(node, "POST", "/v1/files", "multipart/form-data; boundary=edge", &form);
    let file: Value = serde_json::from_str(&file).unwrap();
    let asked = json!({
        "input_file_id": file["id"], "endpoint": "/v1/completions", "completion_window": "24h",
    });
    let batch = json_of(node, "POST", "/v1/batches", &asked);
    assert_eq!(batch["status"], "validating", "{batch}");
    batch["id"].as_str().unwrap().to_owned()
}

/// The batch, once `is_so`. More of its requests are answered each time, never fewer.
fn wait(node: &Node, id: &str, done: &mut u64, is_so: impl Fn(&Value, u64) -> bool) -> Value {
    loop {
        let batch = json_of(node, "GET", &format!("/v1/batches/{id}"), &Value::Null);
        let counts = &batch["request_counts"];
        let now = counts["completed"].as_u64().unwrap() + counts["failed"].as_u64().unwrap();
        assert!(now >= *done, "{done} requests were answered, and now {now}: {batch}");
        *done = now;
        if is_so(&batch, now) {
            return batch;
        }
        assert_ne!(batch["status"], "failed", "{batch}");
        std::thread::yield_now();
    }
}

fn results(node: &Node, batch: &Value, kind: &str) -> Vec<Value> {
    let id = batch[format!("{kind}_file_id")].as_str().unwrap();
    let text = ask(node, "GET", &format!("/v1/files/{id}/content"), "text/plain", "");
    let cid = json!(Cid::of(text.as_bytes()).to_string());
    let file = json_of(node, "GET", &format!("/v1/files/{id}"), &Value::Null);
    assert_eq!((&batch[format!("{kind}_cid")], &file["cid"]), (&cid, &cid));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What does not differ from one answering to the next.
fn lasting(answer: &Value) -> Value {
    let choice = &answer["choices"][0];
    json!([
        choice["text"],
        choice["finish_reason"],
        answer["system_fingerprint"],
        answer["usage"]["prompt_tokens"],
        answer["usage"]["completion_tokens"],
        answer["error"],
    ])
}

#[test]
fn each_request_is_answered_once_though_the_node_is_killed() {
    let count = std::env::var("MASHAA_BATCH").map_or(COUNT, |it| it.parse().unwrap());
    let mut random = Random(SEED);
    let bodies: Vec<Value> = (0..count)
        .map(|seed| {
            let prompt = "some words of a question ".repeat(1 + random.below(4));
            let tokens = 1 + random.below(40);
            // One in eight is refused.
            let temperature = if random.below(8) == 0 { -1 } else { 1 };
            json!({
                "model": "random", "prompt": prompt, "max_tokens": tokens, "seed": seed,
                "temperature": temperature,
            })
        })
        .collect();
    let world = world();
    let mut node = start(&world);
    let id = begin(&node, &bodies);
    let (mut done, mut kills) = (0, Vec::new());
    for kill in 0..KILLS {
        let at = (count * kill / KILLS + random.below(count / KILLS)) as u64;
        let batch = wait(&node, &id, &mut done, |_, now| now >= at);
        assert_ne!(batch["status"], "completed", "the batch is over before kill {kill}");
        kills.push(done);
        assert_eq!(node.stop("-KILL").0, None);
        node = start(&world);
    }
    let batch = wait(&node, &id, &mut done, |batch, _| batch["status"] == "completed");
    println!("{count} requests, killed after {kills:?}");
    let mut answers = BTreeMap::new();
    for (kind, status) in [("output", true), ("error", false)] {
        let lines = results(&node, &batch, kind);
        let number = if status { "completed" } else { "failed" };
        assert_eq!(batch["request_counts"][number], lines.len());
        for line in lines {
            assert_eq!(line["response"]["status_code"] == 200, status, "{line}");
            let custom = line["custom_id"].as_str().unwrap().to_owned();
            let before = answers.insert(custom, line["response"]["body"].clone());
            assert_eq!(before, None, "answered twice: {line}");
        }
    }
    assert_eq!(answers.len(), count);
    for (number, body) in bodies.iter().enumerate() {
        let direct = json_of(&node, "POST", "/v1/completions", body);
        let answer = &answers[&format!("request {number}")];
        assert_eq!(lasting(answer), lasting(&direct), "request {number}");
    }
    assert_eq!(node.stop("-TERM").0, Some(0));
}

#[test]
fn a_batch_stands_still_while_its_owner_wants_no_work_for_others() {
    let world = world();
    let node = start(&world);
    let work = |word: &str| json_of(&node, "POST", "/node/work", &json!({"do": word}));
    assert_eq!(work("pause")["work"]["others"], "closed");
    let body = json!({"model": "random", "prompt": "a", "max_tokens": 3, "seed": 1});
    let id = begin(&node, std::slice::from_ref(&body));
    let mut done = 0;
    wait(&node, &id, &mut done, |batch, _| batch["status"] == "in_progress");
    // Own requests are answered meanwhile.
    let direct = json_of(&node, "POST", "/v1/completions", &body);
    assert_eq!(direct["usage"]["completion_tokens"], 3, "{direct}");
    assert_eq!(wait(&node, &id, &mut done, |_, _| true)["status"], "in_progress");
    work("resume");
    let batch = wait(&node, &id, &mut done, |batch, _| batch["status"] == "completed");
    let answer = &results(&node, &batch, "output")[0]["response"]["body"];
    assert_eq!(lasting(answer), lasting(&direct));
    assert_eq!(node.stop("-TERM").0, Some(0));
}
