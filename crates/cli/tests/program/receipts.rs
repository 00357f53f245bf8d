//! Receipts of answers that several machines had a part in.

use std::fs;
use std::io::{BufRead as _, BufReader};

use audit::receipt::{Payload, Seeding};
use audit::replay::{Run, replay};
use engine::batch::{Engine, Options};
use node::home::Home;
use node::models::Models;
use serde_json::{Value, json};
use store::blobs::Blobs;
use types::codec::decode;
use types::id::Hash;

use crate::machines::{Machine, network};

/// An answer for which no seed is asked.
fn request(tokens: usize) -> Value {
    json!({
        "model": "random", "prompt": "machines", "max_tokens": tokens, "temperature": 1,
        "presence_penalty": 0.5, "stream": true,
    })
}

/// Streams an answer, and does something once so many events have come; gives the receipt's id.
fn stream(machine: &Machine, tokens: usize, at: usize, mut act: impl FnMut(&str)) -> String {
    let url = format!("http://{}/v1/completions", machine.address);
    let sent = machine.agent.post(url).content_type("application/json");
    let answer = sent.send(request(tokens).to_string()).unwrap();
    let worker = answer.headers()["x-mashaa-worker"].to_str().unwrap().to_owned();
    let lines = BufReader::new(answer.into_body().into_reader()).lines().map(Result::unwrap);
    let events = lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_owned));
    let mut receipt = None;
    for (index, event) in events.enumerate() {
        if index == at {
            act(&worker);
        }
        let event = serde_json::from_str::<Value>(&event).unwrap_or_default();
        receipt = event["choices"][0]["receipt"].as_str().map(str::to_owned).or(receipt);
    }
    receipt.expect("the answer has a receipt")
}

/// A receipt's payload, once receipt and payload are found right by the program.
fn payload(machine: &Machine, id: &str) -> Payload {
    let [receipt, payload] = [("receipt", ""), ("payload", "?payload=1")].map(|(name, query)| {
        let path = machine.world.path(name);
        let url = format!("http://{}/v1/receipts/{id}{query}", machine.address);
        let mut got = machine.agent.get(url).call().unwrap();
        fs::write(&path, got.body_mut().read_to_vec().unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let ended = machine.world.run(&["verify", &receipt, "--payload", &payload, "--json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    decode(&fs::read(payload).unwrap()).unwrap()
}

/// Whether every token of an answer, also those that another machine gave, is the one that the rules
/// choose with the seed of the receipt.
fn is_one_answer(machine: &Machine, payload: &Payload) -> bool {
    let home = Home::open(Some(&machine.world.path("home")), &|_| None).unwrap();
    let record = Models::of(&home).list().unwrap().remove(0);
    let opened = node::opened::open(&Blobs::open(home.blobs()).unwrap(), &record).unwrap();
    let sampling = payload.asked.sampling(&payload.worker_nonce);
    let (prompt, output) = (payload.asked.prompt.as_slice(), payload.output.as_slice());
    let run = Run { prompt, output, said: 0, sampling: &sampling };
    let options = Options { threads: 1, kv_size_max: 16 << 20, ..Options::default() };
    replay(&mut Engine::new(opened.model, options), &run).unwrap().wrong.is_none()
}

#[test]
fn a_seed_that_nobody_asked_for_is_made_by_gateway_and_worker() {
    let (gateway, _workers) = network(1);
    let ids = [0, 1].map(|_| stream(&gateway, 12, usize::MAX, |_| {}));
    let payloads = ids.map(|id| payload(&gateway, &id));
    for payload in &payloads {
        assert_eq!(payload.asked.seeding, Seeding::Joint);
        assert_ne!(payload.worker_nonce, Hash::default());
        assert!(is_one_answer(&gateway, payload));
    }
    assert_ne!(payloads[0].worker_nonce, payloads[1].worker_nonce);
    assert_ne!(payloads[0].asked.client_nonce, payloads[1].asked.client_nonce);
    let alone = Machine::start(Machine::world(), &["up"]);
    let payload = payload(&alone, &stream(&alone, 12, usize::MAX, |_| {}));
    assert_eq!(payload.asked.seeding, Seeding::Joint);
    assert!(is_one_answer(&alone, &payload));
}

#[test]
fn an_answer_keeps_its_seed_when_its_machine_is_lost() {
    let (gateway, workers) = network(2);
    let strike = |key: &str| {
        workers.iter().find(|it| it.key == key).unwrap().signal("-KILL");
    };
    // Some answers end before the machine is struck.
    let answers = (0..30).map(|_| payload(&gateway, &stream(&gateway, 300, 40, strike)));
    let payload = answers.into_iter().find(|it| it.said > 0).expect("a longer answer");
    assert!(payload.said >= 40, "the other machine was given {} tokens", payload.said);
    assert_eq!(payload.asked.seeding, Seeding::Joint);
    assert!(is_one_answer(&gateway, &payload), "tokens before and after are of one seed");
}
