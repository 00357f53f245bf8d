//! `mashaa verify`: receipts of a running node, checked after it has ended, whole and altered.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::ledger::until;
use crate::up::{Node, world};
use crate::world::World;

/// An answer's receipt and payload, as files beside the home.
struct Kept {
    receipt: PathBuf,
    payload: PathBuf,
}

/// Asks for an answer: the receipts that its head names, and its body.
fn ask(node: &Node, body: &str) -> (Option<String>, String) {
    let url = format!("http://{}/v1/completions", node.address);
    let mut answer = ureq::post(url).content_type("application/json").send(body).unwrap();
    let receipts = answer.headers().get("x-mashaa-receipt");
    let receipts = receipts.map(|it| it.to_str().unwrap().to_owned());
    (receipts, answer.body_mut().read_to_string().unwrap())
}

fn get(node: &Node, path: &str) -> Vec<u8> {
    let mut answer = ureq::get(format!("http://{}{path}", node.address)).call().unwrap();
    answer.body_mut().read_to_vec().unwrap()
}

/// Fetches a receipt and its payload.
fn keep(world: &World, node: &Node, id: &str) -> Kept {
    let kept =
        Kept { receipt: world.path(&format!("{id}.r")), payload: world.path(&format!("{id}.p")) };
    fs::write(&kept.receipt, get(node, &format!("/v1/receipts/{id}"))).unwrap();
    fs::write(&kept.payload, get(node, &format!("/v1/receipts/{id}?payload=1"))).unwrap();
    kept
}

/// Verifies, and gives the exit code and what was found.
fn verify(world: &World, kept: &Kept, with_payload: bool) -> (Option<i32>, Value) {
    let mut arguments = vec!["verify", kept.receipt.to_str().unwrap(), "--json"];
    if with_payload {
        arguments.extend(["--payload", kept.payload.to_str().unwrap()]);
    }
    let ended = world.run(&arguments);
    assert!(ended.stdout.starts_with('{'), "{}{}", ended.stdout, ended.stderr);
    (ended.code, serde_json::from_str(&ended.stdout).unwrap())
}

fn words(found: &Value, list: &str, key: Option<&str>) -> Vec<String> {
    let items = found[list].as_array().unwrap().iter();
    items.map(|it| key.map_or(it, |key| &it[key]).as_str().unwrap().to_owned()).collect()
}

fn request(tokens: usize, more: &str) -> String {
    format!(r#"{{"model": "random", "prompt": "a b c", "max_tokens": {tokens}, "seed": 7{more}}}"#)
}

#[test]
fn an_answer_is_verified_after_its_node_has_ended_whether_it_is_long_or_one_token() {
    let world = world();
    let node = Node::start_with(&world, &[], &[]);
    let mut all = Vec::new();
    for tokens in [1, 12] {
        let (receipts, body) = ask(&node, &request(tokens, ""));
        let id = receipts.unwrap();
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["choices"][0]["receipt"], id.as_str());
        all.push((id.clone(), tokens, keep(&world, &node, &id)));
    }
    assert_eq!(node.stop("-TERM").0, Some(0));
    for (id, tokens, kept) in all {
        let (code, found) = verify(&world, &kept, true);
        assert_eq!(code, Some(0), "{found}");
        assert_eq!(found["receipt"], id.as_str());
        assert_eq!(found["output_tokens"], tokens);
        let checks = [
            "unpaid",
            "artifact",
            "request",
            "answer",
            "seed",
            "due",
            "choices",
            "root",
            "signature",
        ];
        assert_eq!(words(&found, "checked", None), checks);
        assert_eq!(words(&found, "unchecked", Some("check")), ["terms", "worker"]);

        let (code, found) = verify(&world, &kept, false);
        assert_eq!(code, Some(0), "{found}");
        let unchecked = ["terms", "worker", "request", "answer", "choices", "root"];
        assert_eq!(words(&found, "unchecked", Some("check")), unchecked);
        let key = found["worker_key"].as_str().unwrap();
        let other = format!("0x{}", "0".repeat(64));
        for (key, code) in [(key, 0), (other.as_str(), 4), ("me", 2)] {
            let ended = world.run(&["verify", kept.receipt.to_str().unwrap(), "--worker", key]);
            assert_eq!(ended.code, Some(code), "{key}: {}{}", ended.stdout, ended.stderr);
        }
        let shown = world.run(&["verify", kept.receipt.to_str().unwrap()]);
        assert!(shown.stdout.contains("not checked  root       there is no payload"));
        assert!(shown.stdout.ends_with("All that could be checked is right.\n"));
    }
}

#[test]
fn a_token_that_was_altered_is_refused_with_its_position() {
    let world = world();
    let node = Node::start_with(&world, &[], &[]);
    let kept = keep(&world, &node, &ask(&node, &request(12, "")).0.unwrap());
    drop(node.stop("-TERM"));
    let whole = fs::read(&kept.payload).unwrap();
    for index in [0, 5, 11] {
        let mut altered = whole.clone();
        // The tokens are followed by the blinding, of which 1 says that it is there.
        let at = whole.len() - 33 - 4 * (12 - index);
        altered[at] ^= 1;
        fs::write(&kept.payload, altered).unwrap();
        let (code, found) = verify(&world, &kept, true);
        assert_eq!(code, Some(4), "{found}");
        assert_eq!(found["wrong"]["field"], "output");
        let what = found["wrong"]["what"].as_str().unwrap();
        assert!(what.starts_with(&format!("token {index} is ")), "{what}");
    }
    fs::write(&kept.payload, &whole[1..]).unwrap();
    let ended = world.run(&[
        "verify",
        kept.receipt.to_str().unwrap(),
        "--payload",
        kept.payload.to_str().unwrap(),
    ]);
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("is no payload"), "{}", ended.stderr);
    let none = world.path("none");
    assert_eq!(world.run(&["verify", none.to_str().unwrap()]).code, Some(3));
}

#[test]
fn a_field_that_was_altered_is_refused_by_its_name() {
    let world = world();
    let node = Node::start_with(&world, &[], &[]);
    let kept = keep(&world, &node, &ask(&node, &request(12, "")).0.unwrap());
    drop(node.stop("-TERM"));
    let whole = fs::read(&kept.receipt).unwrap();
    // Offsets of docs/spec/receipt.md. Of what a receipt alone says, only the signature shows a change.
    let fields = [
        (0, "signature"),
        (32, "epoch"),
        (44, "signature"),
        (76, "tokenizer"),
        (108, "template"),
        (140, "profile"),
        (144, "trust"),
        (145, "prompt_price"),
        (153, "output_price"),
        (161, "signature"),
        (181, "worker"),
        (201, "signature"),
        (233, "signature"),
        (265, "channel"),
        (273, "sequence"),
        (281, "signature"),
        (313, "temperature"),
        (317, "top_k"),
        (321, "top_p"),
        (325, "min_p"),
        (329, "repetition_penalty"),
        (333, "presence_penalty"),
        (337, "frequency_penalty"),
        (341, "biases"),
        (374, "client_nonce"),
        (406, "worker_nonce"),
        (438, "choice"),
        (442, "seed"),
        (474, "prompt"),
        (506, "prompt_tokens"),
        (510, "tokens_max"),
        (514, "end_tokens"),
        (546, "said"),
        (550, "output"),
        (582, "output_tokens"),
        (586, "ending"),
        (587, "blinded"),
        (619, "due"),
        (627, "signature"),
    ];
    for (offset, field) in fields {
        let mut altered = whole.clone();
        altered[1 + offset] ^= 1;
        fs::write(&kept.receipt, altered).unwrap();
        let (code, found) = verify(&world, &kept, true);
        assert_eq!(code, Some(4), "{offset}: {found}");
        assert_eq!(found["wrong"]["field"], field, "{offset}: {found}");
    }
}

#[test]
fn each_choice_has_a_receipt_also_in_a_stream_and_a_cut_answer_has_none() {
    let world = world();
    let node = Node::start_with(&world, &[], &[]);
    let (receipts, body) = ask(&node, &request(3, r#", "n": 2"#));
    let body: Value = serde_json::from_str(&body).unwrap();
    let ids = [0, 1].map(|choice| body["choices"][choice]["receipt"].as_str().unwrap().to_owned());
    assert_eq!(receipts.unwrap(), ids.join(", "));
    let text = body["choices"][0]["text"].as_str().unwrap().to_owned();

    let (receipts, body) = ask(&node, &request(3, r#", "stream": true"#));
    assert_eq!(receipts, None);
    let events: Vec<&str> = body.lines().filter_map(|it| it.strip_prefix("data: ")).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let said = events.iter().filter_map(|it| serde_json::from_str::<Value>(it).ok());
    let said: Vec<Value> = said.map(|it| it["choices"][0]["receipt"].clone()).collect();
    let (last, before) = said.split_last().unwrap();
    assert!(before.iter().all(Value::is_null), "{body}");

    let kept = ids.iter().map(String::as_str).chain(last.as_str());
    let kept: Vec<Kept> = kept.map(|id| keep(&world, &node, id)).collect();
    assert_eq!(kept.len(), 3);

    let stop = text.chars().next().unwrap().to_string();
    let stop = format!(r#", "stop": {}"#, Value::from(stop));
    let (receipts, body) = ask(&node, &request(3, &stop));
    assert_eq!(receipts, None, "{body}");
    drop(node.stop("-TERM"));
    for kept in kept {
        let (code, found) = verify(&world, &kept, true);
        assert_eq!(code, Some(0), "{found}");
    }
}

#[test]
fn a_payload_is_for_the_owner_and_a_receipt_for_whoever_may_ask() {
    let world = world();
    let node = Node::start_with(&world, &[], &[]);
    let id = ask(&node, &request(1, "")).0.unwrap();
    let status = |path: &str, more: &str| {
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build();
        let mut request =
            ureq::Agent::new_with_config(agent).get(format!("http://{}{path}", node.address));
        if let Some((name, value)) = more.split_once(": ") {
            request = request.header(name, value);
        }
        request.call().unwrap().status().as_u16()
    };
    let receipt = format!("/v1/receipts/{id}");
    let payload = format!("{receipt}?payload=1");
    let from_elsewhere = "x-forwarded-for: 192.0.2.1";
    assert_eq!(status(&receipt, ""), 200);
    assert_eq!(status(&receipt, from_elsewhere), 200);
    assert_eq!(status(&payload, ""), 200);
    assert_eq!(status(&payload, from_elsewhere), 403);
    assert_eq!(status(&payload, "origin: http://localhost"), 403);
    assert_eq!(status(&format!("{receipt}?payload=2"), ""), 400);
    assert_eq!(status("/v1/receipts/none", ""), 400);
    assert_eq!(status(&format!("/v1/receipts/0x{}", "0".repeat(64)), ""), 404);
    drop(node.stop("-TERM"));

    let keys = [("MASHAA_API_KEYS", "secret")];
    let node = Node::start_with(&world, &[], &keys);
    assert!(node.get(&receipt).starts_with("HTTP/1.1 401"));
    drop(node.stop("-TERM"));
}

#[test]
fn receipts_are_there_after_a_node_was_killed() {
    let world = world();
    let node = Node::start_with(&world, &[], &[]);
    let first = ask(&node, &request(3, "")).0.unwrap();
    let kept = keep(&world, &node, &first);
    let second = ask(&node, &request(4, "")).0.unwrap();
    drop(node.stop("-KILL"));
    let node = Node::start_with(&world, &[], &[]);
    let again = keep(&world, &node, &second);
    assert_eq!(get(&node, &format!("/v1/receipts/{first}")), fs::read(&kept.receipt).unwrap());
    let third = ask(&node, &request(5, "")).0.unwrap();
    let listed: Value = serde_json::from_slice(&get(&node, "/node/receipts")).unwrap();
    assert_eq!(words(&listed, "receipts", Some("id")), [third, second, first]);
    drop(node.stop("-KILL"));
    for kept in [kept, again] {
        let (code, found) = verify(&world, &kept, true);
        assert_eq!(code, Some(0), "{found}");
    }
}

#[test]
fn an_answer_that_a_stop_string_ends_has_a_receipt_of_what_was_chosen() {
    let world = world();
    let node = Node::start_with(&world, &[], &[]);
    let (_, body) = ask(&node, &request(200, ""));
    let body: Value = serde_json::from_str(&body).unwrap();
    let stop = body["choices"][0]["text"].as_str().unwrap().chars().next().unwrap().to_string();
    let stop = format!(r#", "stop": {}"#, Value::from(stop));
    assert_eq!(ask(&node, &request(200, &stop)).0, None);
    let mut latest = Value::Null;
    until("the stopped answer's receipt", || {
        let listed: Value = serde_json::from_slice(&get(&node, "/node/receipts")).unwrap();
        latest = listed["receipts"][0].clone();
        listed["receipts"].as_array().unwrap().len() == 2
    });
    let kept = keep(&world, &node, latest["id"].as_str().unwrap());
    drop(node.stop("-TERM"));
    let (code, found) = verify(&world, &kept, true);
    assert_eq!(code, Some(0), "{found}");
    assert_eq!(found["ending"], latest["ending"]);
    let checked = words(&found, "checked", None);
    assert!(checked.contains(&"root".to_owned()), "{found}");
}
