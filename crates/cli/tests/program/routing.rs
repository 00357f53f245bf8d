//! Which machine answers: the one whose cache has the conversation, and nobody where nobody is there.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::machines::{Machine, network};

/// How long a gateway may look for a worker, and somewhat more.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(20);

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
