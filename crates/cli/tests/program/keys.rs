//! API keys: made, used within their scopes and limits, and revoked while the node serves.

use serde_json::{Value, json};

use crate::ledger::until;
use crate::paid::{ask_with, market};
use crate::up::{Node, world};
use crate::world::World;

/// Makes a key; its secret.
pub(crate) fn key(world: &World, arguments: &[&str]) -> String {
    let made = world.run(&[&["key", "new"], arguments].concat());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    made.stdout.trim().to_owned()
}

/// Asks with a key for an answer of a few tokens; status, headers and body.
pub(crate) fn complete(node: &Node, key: &str) -> (u16, String) {
    let body = json!({"model": "random", "prompt": "machines", "max_tokens": 4}).to_string();
    send(node, "POST", "/v1/completions", key, &body)
}

fn send(node: &Node, method: &str, path: &str, key: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n",
        node.address,
        body.len()
    );
    let answer = node.send(&head, body);
    (answer[9..12].parse().unwrap(), answer)
}

/// The error of an answer: its code.
fn code(answer: &str) -> String {
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["error"].as_object().unwrap().len(), 4, "{body}");
    body["error"]["code"].as_str().unwrap().to_owned()
}

#[test]
fn keys_open_what_they_are_for_and_are_revoked_while_the_node_serves() {
    let world = world();
    let node = Node::start_with(&world, &[], &[]);
    assert_eq!(complete(&node, "any").0, 200, "without keys it is open");
    let laptop = key(&world, &["laptop"]);
    let reader = key(&world, &["reader", "--scope", "models:read"]);
    let (status, answer) = complete(&node, "any");
    assert_eq!((status, code(&answer).as_str()), (401, "invalid_api_key"));
    assert_eq!(complete(&node, &laptop).0, 200);
    assert_eq!(send(&node, "GET", "/v1/models", &reader, "").0, 200);
    let (status, answer) = complete(&node, &reader);
    assert_eq!((status, code(&answer).as_str()), (403, "insufficient_scope"));
    assert_eq!(send(&node, "GET", "/v1/batches", &reader, "").0, 403);
    assert!(node.get("/node/status").starts_with("HTTP/1.1 200"), "this machine is the owner's");
    let twice = world.run(&["key", "new", "laptop"]);
    assert_eq!(twice.code, Some(2), "{}", twice.stderr);
    let revoked = world.run(&["key", "revoke", "laptop"]);
    assert_eq!(revoked.code, Some(0), "{}", revoked.stderr);
    let (status, answer) = complete(&node, &laptop);
    assert_eq!((status, code(&answer).as_str()), (401, "invalid_api_key"));
    assert!(answer.contains("revoked"), "{answer}");
    assert_eq!(world.run(&["key", "revoke", "laptop"]).code, Some(3));
    let listed = world.run(&["key", "ls", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let good = listed.as_array().unwrap().iter().map(|it| (&it["name"], &it["is_good"]));
    let good: Vec<_> = good.collect();
    assert_eq!(good, [(&json!("laptop"), &json!(false)), (&json!("reader"), &json!(true))]);
    assert_eq!(node.stop("-TERM").0, Some(0));
}

#[test]
fn a_key_is_held_to_its_limits_and_others_are_not() {
    let world = world();
    let slow = key(&world, &["slow", "--requests-per-minute", "2"]);
    let daily = key(&world, &["daily", "--tokens-per-day", "2"]);
    let free = key(&world, &["free"]);
    let node = Node::start_with(&world, &[], &[]);
    let models = |key: &str| send(&node, "GET", "/v1/models", key, "");
    let (status, answer) = models(&slow);
    assert_eq!(status, 200);
    assert!(answer.contains("x-ratelimit-limit-requests: 2\r\n"), "{answer}");
    assert!(answer.contains("x-ratelimit-remaining-requests: 1\r\n"), "{answer}");
    assert_eq!(models(&slow).0, 200);
    let (status, answer) = models(&slow);
    assert_eq!((status, code(&answer).as_str()), (429, "rate_limit_exceeded"));
    let wait = answer.lines().find_map(|it| it.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=30).contains(&wait.parse::<u32>().unwrap()), "{wait}");
    assert_eq!(complete(&node, &daily).0, 200);
    let (status, answer) = complete(&node, &daily);
    assert_eq!((status, code(&answer).as_str()), (429, "rate_limit_exceeded"));
    assert!(answer.contains("2 tokens a day"), "{answer}");
    assert_eq!((models(&free).0, complete(&node, &free).0), (200, 200));
    assert_eq!(node.stop("-TERM").0, Some(0));
    // What was used of a day is on the disk.
    let node = Node::start_with(&world, &[], &[]);
    assert_eq!((complete(&node, &daily).0, complete(&node, &free).0), (429, 200));
    let listed = world.run(&["key", "ls"]);
    assert!(listed.stdout.contains("of 2 tokens today"), "{}", listed.stdout);
    assert_eq!(node.stop("-TERM").0, Some(0));
}

#[test]
fn a_key_spends_what_its_answers_cost_and_no_more_than_its_cap() {
    let (gateway, worker, _) = market();
    // Enough at stake for two answers that are not redeemed.
    worker.done(&["stake", "add", "0.1"]);
    // What an answer may cost: a hundredth for each token of the prompt, and of the answer's twelve.
    let prompt = json!({"prompt": "machines"}).to_string();
    let url = format!("http://{}/tokenize", gateway.address);
    let counted = gateway.agent.post(url).content_type("application/json").send(prompt);
    let counted = counted.unwrap().body_mut().read_to_string().unwrap();
    let counted: Value = serde_json::from_str(&counted).unwrap();
    let most = counted["count"].as_u64().unwrap() + 12;
    let cap = format!("{}.{:02}", most / 100, most % 100);
    let capped = key(&gateway.world, &["capped", "--spend", &cap]);
    let mut got = Err(0);
    until("an answer", || {
        got = ask_with(&gateway, Some(&capped));
        got.is_ok()
    });
    assert!(got.is_ok());
    let listed = gateway.world.run(&["key", "ls", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let vouched = gateway.get("/node/spent")["channels"][0]["vouched"].clone();
    let vouched = types::amount::Amount::parse(vouched.as_str().unwrap()).unwrap();
    assert_eq!(listed[0]["used"]["spend"], vouched.millionths());
    assert!((1..=most * 10_000).contains(&vouched.millionths()), "{vouched}");
    assert_eq!(ask_with(&gateway, Some(&capped)), Err(402), "what is left is not enough");
    let free = key(&gateway.world, &["free"]);
    assert!(ask_with(&gateway, Some(&free)).is_ok());
}
