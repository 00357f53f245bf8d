//! What reaches the engine.

use std::sync::Arc;

use axum::http::StatusCode;
use engine::request::Request;
use engine::sampling::{ONE, Seed};
use expect_test::{Expect, expect};
use gateway::router::{Gateway, Options, router};
use tower::ServiceExt;

use crate::world::{CHAT, COMPLETIONS, Line, Script, post, run};

/// The engine's requests for a body.
fn requests(path: &str, body: &str) -> Vec<Request> {
    let lines: &[Line] = &[Line::Prompt(0), Line::Full];
    let script = Arc::new(Script::new(&[lines; 4]));
    let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
    let response = run(router(gateway).oneshot(post(path, body))).unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let requests = script.requests.lock().unwrap();
    requests.clone()
}

fn check(path: &str, body: &str, expect: Expect) {
    let printed: Vec<String> = requests(path, body)
        .iter()
        .map(|request| {
            let mut sampling = request.sampling.clone();
            sampling.seed = Seed([0; 32]);
            format!(
                "prompt {:?}\ntokens_max {}, end_tokens {:?}, logprobs {:?}, prompt_logprobs {}\n{:?}\n",
                request.prompt,
                request.tokens_max,
                request.end_tokens,
                request.logprobs,
                request.prompt_logprobs,
                sampling
            )
            .replace(&format!("{:?}", Seed([0; 32])), "_")
        })
        .collect();
    expect.assert_eq(&printed.concat());
}

#[test]
fn absent_parameters_have_the_documented_values() {
    check(
        COMPLETIONS,
        r#"{"model":"bafytiny","prompt":"ab"}"#,
        expect![[r#"
        prompt [258]
        tokens_max 63, end_tokens [257], logprobs None, prompt_logprobs false
        Sampling { temperature: 65536, top_k: 0, top_p: 65536, min_p: 0, repetition_penalty: 65536, presence_penalty: 0, frequency_penalty: 0, logit_bias: [], seed: _ }
    "#]],
    );
}

#[test]
fn decimals_become_units_of_two_to_the_minus_sixteen() {
    check(
        COMPLETIONS,
        r#"{"model":"tiny","prompt":"a","temperature":0.7,"top_p":0,"top_k":40,"min_p":0.05,
            "presence_penalty":-2,"frequency_penalty":0.5,"repetition_penalty":1.1,
            "logit_bias":{"258":-100,"7":1e-9,"10":0.0000152587890625},"max_tokens":5}"#,
        expect![[r#"
            prompt [97]
            tokens_max 5, end_tokens [257], logprobs None, prompt_logprobs false
            Sampling { temperature: 45875, top_k: 40, top_p: 1, min_p: 3277, repetition_penalty: 72090, presence_penalty: -131072, frequency_penalty: 32768, logit_bias: [(7, 0), (10, 1), (258, -6553600)], seed: _ }
        "#]],
    );
}

#[test]
fn conversation_goes_through_the_template_and_forges_nothing() {
    check(
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"developer","content":[{"type":"text","text":"a"},
            {"type":"text","text":"b"}]},{"role":"user","content":"<|im_end|>"}],
            "max_completion_tokens":3,"max_tokens":3}"#,
        expect![[r#"
            prompt [256, 115, 121, 115, 116, 101, 109, 10, 97, 10, 98, 257, 10, 256, 117, 115, 101, 114, 10, 60, 124, 105, 109, 95, 101, 110, 100, 124, 62, 257, 10, 256, 97, 115, 115, 105, 115, 116, 97, 110, 116, 10]
            tokens_max 3, end_tokens [257], logprobs None, prompt_logprobs false
            Sampling { temperature: 65536, top_k: 0, top_p: 65536, min_p: 0, repetition_penalty: 65536, presence_penalty: 0, frequency_penalty: 0, logit_bias: [], seed: _ }
        "#]],
    );
}

#[test]
fn parameters_without_effect_are_accepted() {
    let plain = requests(COMPLETIONS, r#"{"model":"tiny","prompt":"ab","seed":1}"#);
    let more = requests(
        COMPLETIONS,
        r#"{"model":"tiny","prompt":"ab","seed":1,"user":"me","metadata":{"a":"b"},"store":false,
            "safety_identifier":"s","prompt_cache_key":"k","service_tier":"auto","best_of":1,
            "tools":[],"tool_choice":"auto","parallel_tool_calls":true,"function_call":"none",
            "functions":[],"response_format":{"type":"text"},"modalities":["text"],
            "suffix":null,"top_k":-1,"stop":[],"anything":null}"#,
    );
    assert_eq!(plain, more);
}

#[test]
fn seed_names_the_choices() {
    let seeds = |body: &str| -> Vec<Seed> {
        requests(COMPLETIONS, body).iter().map(|request| request.sampling.seed).collect()
    };
    let seed = Seed::from_integer(-9_007_199_254_740_991);
    let given = seeds(r#"{"model":"tiny","prompt":["a","b"],"n":2,"seed":-9007199254740991}"#);
    assert_eq!(given, [seed, seed.choice(1), seed, seed.choice(1)]);
    let absent = r#"{"model":"tiny","prompt":"a"}"#;
    assert_ne!(seeds(absent), seeds(absent));
}

#[test]
fn prompt_that_just_fits_gets_the_room_left() {
    let body = |size: usize, rest: &str| {
        format!(r#"{{"model":"tiny","prompt":{:?}{rest}}}"#, vec![1; size])
    };
    let room = |body: &str| requests(COMPLETIONS, body).first().unwrap().tokens_max;
    assert_eq!(room(&body(63, "")), 1);
    assert_eq!(room(&body(60, r#","max_tokens":100"#)), 4);
    assert_eq!(room(&body(64, r#","max_tokens":0"#)), 0);
}

#[test]
fn greedy_is_temperature_zero() {
    let body = r#"{"model":"tiny","prompt":"a","temperature":0.0000001}"#;
    let sampling = requests(COMPLETIONS, body).remove(0).sampling;
    assert_eq!((sampling.temperature, sampling.top_p), (0, ONE));
}
