//! `mashaa audit`: a position of an answer is checked without the model, and wrong ones are caught.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use audit::commitment::{blind, prompt_hash};
use audit::light::Opening;
use audit::light::bytes::Opened;
use audit::receipt::{Payload, Receipt, SignedReceipt, Terms};
use audit::replay::{Run, replay};
use engine::batch::{Engine, Options};
use engine::model::Model;
use serde_json::Value;
use types::bounded::List;
use types::codec::{decode, encode};
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::up::{Node, world};
use crate::world::{Ended, World};

/// Positions of an answer of 5 tokens of which some are opened.
const TOKENS: usize = 5;

struct Files {
    receipt: PathBuf,
    payload: PathBuf,
    key: PathBuf,
    opening: PathBuf,
}

fn files(world: &World) -> Files {
    let [receipt, payload, key, opening] =
        ["answer.r", "answer.p", "model.key", "answer.o"].map(|name| world.path(name));
    Files { receipt, payload, key, opening }
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().unwrap()
}

/// Runs a node, asks it, and keeps receipt and payload.
fn answer(world: &World, files: &Files) {
    let node = Node::start_with(world, &[], &[]);
    let url = format!("http://{}/v1", node.address);
    let body =
        format!(r#"{{"model": "random", "prompt": "a b c", "max_tokens": {TOKENS}, "seed": 7}}"#);
    let mut answer = ureq::post(format!("{url}/completions"))
        .content_type("application/json")
        .send(body)
        .unwrap();
    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    let id = body["choices"][0]["receipt"].as_str().unwrap();
    for (path, file) in [("", &files.receipt), ("?payload=1", &files.payload)] {
        let mut answer = ureq::get(format!("{url}/receipts/{id}{path}")).call().unwrap();
        fs::write(file, answer.body_mut().read_to_vec().unwrap()).unwrap();
    }
    drop(node.stop("-TERM"));
}

fn light(world: &World, files: &Files, more: &[&str]) -> Ended {
    let Files { receipt, payload, key, opening } = files;
    let mut arguments = vec!["audit", "light", text(receipt), "--payload", text(payload)];
    arguments.extend(["--key", text(key), "--opening", text(opening)]);
    arguments.extend(more);
    world.run(&arguments)
}

fn wrong(world: &World, files: &Files) -> (String, String) {
    let ended = light(world, files, &["--json"]);
    assert_eq!(ended.code, Some(4), "{}{}", ended.stdout, ended.stderr);
    let found: Value = serde_json::from_str(&ended.stdout).unwrap();
    let [part, what] = ["part", "what"].map(|it| found["wrong"][it].as_str().unwrap().to_owned());
    (part, what)
}

fn open(world: &World, files: &Files, position: usize) -> Ended {
    let Files { receipt, payload, opening, .. } = files;
    let position = position.to_string();
    let opens = ["audit", "open", text(receipt), "--payload", text(payload), "-o", text(opening)];
    world.run(&[&opens[..], &["--position", &position]].concat())
}

fn make_key(world: &World, files: &Files) {
    let beacon = "09".repeat(32);
    let key = text(&files.key);
    let ended = world.run(&["audit", "key", "random", "--beacon", &beacon, "-o", key]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains(&format!("beacon  0x{beacon}")), "{}", ended.stdout);
}

#[test]
fn an_honest_position_passes_and_one_altered_element_is_refused() {
    let world = world();
    let files = files(&world);
    answer(&world, &files);
    make_key(&world, &files);
    let payload: Payload = decode(&fs::read(&files.payload).unwrap()).unwrap();
    let last = payload.asked.prompt.as_slice().len() + TOKENS - 2;
    for position in [0, last] {
        assert_eq!(open(&world, &files, position).code, Some(0));
        let ended = light(&world, &files, &[]);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        assert!(ended.stdout.contains("right        products"), "{}", ended.stdout);
        assert!(ended.stdout.contains("not checked  others"), "{}", ended.stdout);
        assert!(ended.stdout.lines().count() <= 24, "one screen");
    }
    let honest = fs::read(&files.opening).unwrap();
    let opened = Opened::decode(&honest).unwrap();
    assert_eq!(opened.encode(), honest);
    for product in 0..opened.opening.sums.len() {
        let mut altered = opened.clone();
        let mut sums = altered.opening.sums[product].to_vec();
        *sums.last_mut().unwrap() += 1;
        altered.opening.sums[product] = sums.into();
        fs::write(&files.opening, altered.encode()).unwrap();
        let (part, what) = wrong(&world, &files);
        assert!(part == "position" && what.starts_with("a product of layer"), "{part}: {what}");
    }
    let mut altered = opened.clone();
    altered.root[0] ^= 1;
    fs::write(&files.opening, altered.encode()).unwrap();
    assert_eq!(wrong(&world, &files).0, "root");
    let mut altered = opened.clone();
    altered.place = None;
    fs::write(&files.opening, altered.encode()).unwrap();
    assert_eq!(wrong(&world, &files).0, "opening");
    fs::write(&files.opening, &honest[1..]).unwrap();
    let ended = light(&world, &files, &[]);
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("is no opening of a position"), "{}", ended.stderr);
    let ended = open(&world, &files, last + 1);
    assert_eq!(ended.code, Some(2));
    assert!(ended.stderr.contains(&format!("the last is {last}")), "{}", ended.stderr);
}

#[test]
fn a_substituted_model_is_caught_on_its_first_drawn_position() {
    let world = world();
    let files = files(&world);
    answer(&world, &files);
    make_key(&world, &files);
    let signed = SignedReceipt::decode(&fs::read(&files.receipt).unwrap()).unwrap();
    let other = world.path("other.gguf");
    let made = world.run(&["model", "random", "--seed", "2", text(&other)]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert_eq!(world.run(&["model", "add", text(&other)]).code, Some(0));
    let path = world.run(&["model", "path", "other"]).stdout;
    let model = Arc::new(Model::open(Arc::new(fs::read(path.trim()).unwrap())).unwrap());

    // The cheater answers with the other model under the name of the first, and opens what it did.
    let mut payload: Payload = decode(&fs::read(&files.payload).unwrap()).unwrap();
    let sampling = payload.asked.sampling(&payload.worker_nonce);
    let prompt = payload.asked.prompt.as_slice().to_vec();
    let mut engine =
        Engine::new(Arc::clone(&model), Options { kv_size_max: 16 << 20, ..Options::default() });
    let mut output = vec![0; TOKENS];
    for index in 0..TOKENS {
        let run = Run { prompt: &prompt, output: &output, said: 0, sampling: &sampling };
        if let Some(wrong) = replay(&mut engine, &run).unwrap().wrong {
            assert!(wrong.index >= index);
            output[wrong.index] = wrong.right;
        }
    }
    payload.output = List::new(output.clone()).unwrap();
    let run = Run { prompt: &prompt, output: &output, said: 0, sampling: &sampling };
    let replayed = replay(&mut engine, &run).unwrap();
    assert_eq!(replayed.wrong, None);
    let root = replayed.leaves.root(&prompt_hash(&prompt));
    let blinded = Hash(blind(&root, &payload.blinding.unwrap().0));
    let secret = NodeSecret::new([7; 32]);
    let terms = Terms { worker_key: secret.key(), gateway: secret.key(), ..signed.receipt.terms };
    let forged = Receipt::of(terms, &payload, blinded).unwrap().sign(&secret);
    fs::write(&files.receipt, encode(&forged)).unwrap();
    fs::write(&files.payload, encode(&payload)).unwrap();
    for position in [0, prompt.len() - 1, prompt.len() + TOKENS - 2] {
        let place = (position + 1).checked_sub(prompt.len());
        let place = place.and_then(|index| replayed.leaves.open(index as u32));
        let opening = Opening::of(&model, &run, position).unwrap();
        let opened = Opened { receipt: forged.receipt.id().0, root, place, opening };
        fs::write(&files.opening, opened.encode()).unwrap();
        let (part, what) = wrong(&world, &files);
        assert!(part == "position" && what.contains("not the model's"), "{what}");
    }
    // The honest worker's command does not open such an answer.
    let ended = open(&world, &files, 0);
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("this is no run of"), "{}", ended.stderr);

    // A key of the other model is not taken for this receipt.
    let key = text(&files.key);
    assert_eq!(world.run(&["audit", "key", "other", "-o", key]).code, Some(0));
    assert_eq!(wrong(&world, &files).0, "key");
}
