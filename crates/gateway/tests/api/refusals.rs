//! Requests that are refused, and what they are told.

use std::sync::Arc;

use expect_test::{Expect, expect};
use gateway::limits::{CHOICES_MAX, MESSAGES_MAX, STOP_SIZE_MAX};
use gateway::router::{Gateway, Options, router};
use serde_json::Value;
use tower::ServiceExt;

use crate::world::{CHAT, COMPLETIONS, Script, post, read, run};

/// One line for each body: status, code, param, message.
fn check(path: &str, bodies: &[&str], expect: Expect) {
    let lines: Vec<String> = bodies.iter().map(|body| refusal(path, body)).collect();
    expect.assert_eq(&lines.concat());
}

fn refusal(path: &str, body: &str) -> String {
    let gateway = Gateway::new(Arc::new(Script::new(&[])), &Options::default());
    let (status, _, body) =
        run(async { read(router(gateway).oneshot(post(path, body)).await.unwrap()).await });
    let body: Value = serde_json::from_str(&body).unwrap();
    let fields = body.as_object().unwrap();
    let error = body["error"].as_object().unwrap();
    assert_eq!((fields.len(), error.len()), (1, 4), "{body}");
    let kind = if status.as_u16() == 429 { "rate_limit_error" } else { "invalid_request_error" };
    assert_eq!(error["type"], kind);
    let text = |name: &str| error[name].as_str().unwrap_or("null").to_owned();
    format!("{} {} {}: {}\n", status.as_u16(), text("code"), text("param"), text("message"))
}

/// A chat request with more fields.
fn chat(fields: &str) -> String {
    format!(r#"{{"model":"tiny","messages":[{{"role":"user","content":"hi"}}],{fields}}}"#)
}

fn check_chat(fields: &[&str], expect: Expect) {
    let bodies: Vec<String> = fields.iter().map(|fields| chat(fields)).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    check(CHAT, &bodies, expect);
}

#[test]
fn body_must_be_a_json_object_with_the_fields_that_matter() {
    check(
        CHAT,
        &[
            "",
            "{",
            "[]",
            "{}",
            r#"{"model":"tiny"}"#,
            r#"{"model":7}"#,
            r#"{"model":"huge","messages":[]}"#,
            "\u{feff}{}",
        ],
        expect![[r#"
            400 invalid_json null: the body is not valid JSON: EOF while parsing a value at line 1 column 0
            400 invalid_json null: the body is not valid JSON: EOF while parsing an object at line 1 column 1
            400 invalid_type null: the body must be a JSON object
            400 missing_required_parameter model: `model` is missing
            400 missing_required_parameter messages: `messages` is missing
            400 invalid_type model: `model` must be a string
            404 model_not_found model: `huge` is not served here; /v1/models lists what is
            400 invalid_json null: the body is not valid JSON: expected value at line 1 column 1
        "#]],
    );
}

#[test]
fn unserved_parameters_are_named() {
    check_chat(
        &[
            r#""tools":[{"type":"function"}]"#,
            r#""tool_choice":"required""#,
            r#""tool_choice":{"type":"function","function":{"name":"f"}}"#,
            r#""functions":[{"name":"f"}]"#,
            r#""function_call":{"name":"f"}"#,
            r#""audio":{"voice":"v","format":"wav"}"#,
            r#""modalities":["text","audio"]"#,
            r#""prediction":{"type":"content","content":"x"}"#,
            r#""reasoning_effort":"low""#,
            r#""verbosity":"low""#,
            r#""web_search_options":{}"#,
            r#""store":true,"metadata":{"a":1}"#,
            r#""service_tier":"flex""#,
            r#""best_of":2"#,
            r#""user":5"#,
            r#""echo":true"#,
            r#""prompt":"x""#,
            r#""tempurature":1"#,
            r#""stream":true,"stream_options":{"include_obfuscation":true}"#,
            r#""stream":true,"stream_options":{"pace":1}"#,
        ],
        expect![[r#"
            400 missing_required_parameter tools[0].function: `tools[0].function` is missing
            400 invalid_value tool_choice: `tool_choice` asks for a call where there are no `tools`
            400 invalid_value tool_choice: `tool_choice` asks for a call where there are no `tools`
            400 unsupported_parameter functions: `functions` is not supported by this server
            400 unsupported_parameter function_call: `function_call` is not supported by this server
            400 unsupported_parameter audio: `audio` is not supported by this server
            400 unsupported_parameter modalities: `modalities` is not supported by this server
            400 unsupported_parameter prediction: `prediction` is not supported by this server
            400 unsupported_parameter reasoning_effort: `reasoning_effort` with the value `"low"` is not supported by this server
            400 unsupported_parameter verbosity: `verbosity` with the value `"low"` is not supported by this server
            400 unsupported_parameter web_search_options: `web_search_options` is not supported by this server
            400 invalid_type metadata: `metadata` must be an object of strings
            400 unsupported_parameter service_tier: `service_tier` with the value `"flex"` is not supported by this server
            400 unsupported_parameter best_of: `best_of` with the value `2` is not supported by this server
            400 unsupported_parameter user: `user` with the value `5` is not supported by this server
            400 unsupported_parameter echo: `echo` with the value `true` is not supported by this server
            400 unsupported_parameter prompt: `prompt` with the value `"x"` is not supported by this server
            400 unsupported_parameter tempurature: `tempurature` with the value `1` is not supported by this server
            400 unsupported_parameter stream_options.include_obfuscation: `stream_options.include_obfuscation` with the value `true` is not supported by this server
            400 unsupported_parameter stream_options.pace: `stream_options.pace` with the value `1` is not supported by this server
        "#]],
    );
}

#[test]
fn values_outside_their_range_are_named_with_the_range() {
    check_chat(
        &[
            r#""temperature":-0.1"#,
            r#""temperature":100.1"#,
            r#""temperature":"hot""#,
            r#""top_p":1.01"#,
            r#""top_k":-2"#,
            r#""top_k":1.5"#,
            r#""min_p":2"#,
            r#""repetition_penalty":0"#,
            r#""presence_penalty":1e300"#,
            r#""logit_bias":[1]"#,
            r#""logit_bias":{"259":1}"#,
            r#""logit_bias":{"01":1}"#,
            r#""logit_bias":{"1":5000}"#,
            r#""seed":1.5"#,
            r#""seed":9223372036854775808"#,
            r#""n":0"#,
            r#""n":129"#,
            r#""max_tokens":0"#,
            r#""max_completion_tokens":-1"#,
            r#""max_tokens":1,"max_completion_tokens":2"#,
            r#""top_logprobs":3"#,
            r#""logprobs":true,"top_logprobs":21"#,
            r#""logprobs":5"#,
            r#""stop":["a","b","c","d","e"]"#,
            r#""stop":["a",""]"#,
            r#""stop":5"#,
            r#""stream":1"#,
            r#""stream_options":{"include_usage":true}"#,
        ],
        expect![[r#"
            400 invalid_value temperature: `temperature` is -0.1, outside 0 to 100
            400 invalid_value temperature: `temperature` is 100.1, outside 0 to 100
            400 invalid_type temperature: `temperature` must be a number
            400 invalid_value top_p: `top_p` is 1.01, outside 0 to 1
            400 invalid_value top_k: `top_k` is -2, outside -1 to 4294967295
            400 invalid_type top_k: `top_k` must be an integer between -2^63 and 2^63 - 1
            400 invalid_value min_p: `min_p` is 2, outside 0 to 1
            400 invalid_value repetition_penalty: `repetition_penalty` is 0, outside 0.0000152587890625 to 100
            400 invalid_value presence_penalty: `presence_penalty` is 1e+300, outside -1000 to 1000
            400 invalid_type logit_bias: `logit_bias` must be an object from token ids to numbers
            400 invalid_value logit_bias: `logit_bias` names `259`, which is no token of this model
            400 invalid_value logit_bias: `logit_bias` names `01`, which is no token of this model
            400 invalid_value logit_bias: `logit_bias` is 5000, outside -1000 to 1000
            400 invalid_type seed: `seed` must be an integer between -2^63 and 2^63 - 1
            400 invalid_type seed: `seed` must be an integer between -2^63 and 2^63 - 1
            400 invalid_value n: `n` is 0, outside 1 to 128
            400 invalid_value n: `n` is 129, outside 1 to 128
            400 invalid_value max_tokens: `max_tokens` is 0, outside 1 to 4294967295
            400 invalid_value max_completion_tokens: `max_completion_tokens` is -1, outside 1 to 4294967295
            400 invalid_value max_tokens: `max_tokens` is 1 and `max_completion_tokens` is 2
            400 invalid_value top_logprobs: `top_logprobs` needs `logprobs` to be true
            400 invalid_value top_logprobs: `top_logprobs` is 21, outside 0 to 20
            400 invalid_type logprobs: `logprobs` must be true or false
            400 invalid_value stop: `stop` has 5 strings, more than 4
            400 invalid_value stop: `stop` has an empty string, which would end every answer at once
            400 invalid_type stop: `stop` must be a string or an array of strings
            400 invalid_type stream: `stream` must be true or false
            400 invalid_value stream_options: `stream_options` has a meaning only where `stream` is true
        "#]],
    );
}

#[test]
fn messages_are_checked_one_by_one() {
    let body = |messages: &str| format!(r#"{{"model":"tiny","messages":{messages}}}"#);
    let bodies: Vec<String> = [
        "[]",
        r#""hi""#,
        r#"["hi"]"#,
        r#"[{"content":"hi"}]"#,
        r#"[{"role":"user"}]"#,
        r#"[{"role":"pope","content":"hi"}]"#,
        r#"[{"role":"user","content":5}]"#,
        r#"[{"role":"user","content":"hi"},{"role":"user","content":[{"type":"image_url",
            "image_url":{"url":"x"}}]}]"#,
        r#"[{"role":"user","content":[{"type":"input_audio"}]}]"#,
        r#"[{"role":"user","content":[{"type":"text"}]}]"#,
        r#"[{"role":"user","content":[{"type":"text","text":"a","cache_control":{}}]}]"#,
        r#"[{"role":"user","content":"hi","mood":"good"}]"#,
    ]
    .map(body)
    .to_vec();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    check(
        CHAT,
        &bodies,
        expect![[r#"
            400 invalid_value messages: `messages` has 0 messages, outside 1 to 4096
            400 invalid_type messages: `messages` must be an array
            400 invalid_type messages[0]: `messages[0]` must be an object
            400 missing_required_parameter messages[0].role: `messages[0].role` is missing
            400 missing_required_parameter messages[0].content: `messages[0].content` is missing
            400 invalid_value messages[0].role: `messages[0].role` is `pope`, which is no role
            400 invalid_type messages[0].content: `messages[0].content` must be a string or an array of text parts
            400 unsupported_parameter messages[1].content[0].type: `messages[1].content[0].type` with the value `"image_url"` is not supported by this server
            400 unsupported_parameter messages[0].content[0].type: `messages[0].content[0].type` with the value `"input_audio"` is not supported by this server
            400 missing_required_parameter messages[0].content[0].text: `messages[0].content[0].text` is missing
            400 unsupported_parameter messages[0].content[0].cache_control: `messages[0].content[0].cache_control` is not supported by this server
            400 unsupported_parameter messages[0].mood: `messages[0].mood` with the value `"good"` is not supported by this server
        "#]],
    );
}

#[test]
fn prompts_are_checked_one_by_one() {
    check(
        COMPLETIONS,
        &[
            r#"{"model":"tiny"}"#,
            r#"{"model":"tiny","prompt":5}"#,
            r#"{"model":"tiny","prompt":[]}"#,
            r#"{"model":"tiny","prompt":""}"#,
            r#"{"model":"tiny","prompt":[[]]}"#,
            r#"{"model":"tiny","prompt":[1,"a"]}"#,
            r#"{"model":"tiny","prompt":[1,-1]}"#,
            r#"{"model":"tiny","prompt":[[1],2]}"#,
            r#"{"model":"tiny","prompt":[1,259]}"#,
            r#"{"model":"tiny","prompt":"a","suffix":"b"}"#,
            r#"{"model":"tiny","prompt":"a","logprobs":21}"#,
            r#"{"model":"tiny","prompt":"a","logprobs":true}"#,
            r#"{"model":"tiny","prompt":"a","max_completion_tokens":5}"#,
        ],
        expect![[r#"
            400 missing_required_parameter prompt: `prompt` is missing
            400 invalid_type prompt: `prompt` must be a string, an array of strings, an array of token ids, or an array of such arrays
            400 invalid_value prompt: `prompt` has 0 entries, outside 1 to 128
            400 invalid_value prompt: `prompt` is empty: there is no token to continue
            400 invalid_value prompt: `prompt` is empty: there is no token to continue
            400 invalid_type prompt: `prompt` must be a string, an array of strings, an array of token ids, or an array of such arrays
            400 invalid_type prompt: `prompt` must be a string, an array of strings, an array of token ids, or an array of such arrays
            400 invalid_type prompt: `prompt` must be a string, an array of strings, an array of token ids, or an array of such arrays
            400 invalid_value prompt: `prompt` names the token 259, and `tiny` has only 259 tokens
            400 unsupported_parameter suffix: `suffix` with the value `"b"` is not supported by this server
            400 invalid_value logprobs: `logprobs` is 21, outside 0 to 20
            400 invalid_type logprobs: `logprobs` must be an integer
            400 unsupported_parameter max_completion_tokens: `max_completion_tokens` with the value `5` is not supported by this server
        "#]],
    );
}

#[test]
fn prompt_that_does_not_fit_is_told_by_how_much() {
    let tokens = |size: usize, rest: &str| {
        format!(r#"{{"model":"tiny","prompt":{:?}{rest}}}"#, vec![1; size])
    };
    let bodies =
        [tokens(64, ""), tokens(70, r#","max_tokens":1"#), tokens(65, r#","max_tokens":0"#)];
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    check(
        COMPLETIONS,
        &bodies,
        expect![[r#"
        400 context_length_exceeded prompt: the prompt has 64 tokens and the model has room for 63 (a context of 64 tokens, of which 1 for the answer): 1 too many
        400 context_length_exceeded prompt: the prompt has 70 tokens and the model has room for 63 (a context of 64 tokens, of which 1 for the answer): 7 too many
        400 context_length_exceeded prompt: the prompt has 65 tokens and the model has room for 64 (a context of 64 tokens, of which 0 for the answer): 1 too many
    "#]],
    );
    let long = format!(
        r#"{{"model":"tiny","messages":[{{"role":"user","content":"{}"}}]}}"#,
        "x".repeat(100)
    );
    check(
        CHAT,
        &[&long],
        expect![[r#"
        400 context_length_exceeded messages: the prompt has 119 tokens and the model has room for 63 (a context of 64 tokens, of which 1 for the answer): 56 too many
    "#]],
    );
}

#[test]
fn limits_hold_exactly() {
    let prompts = |count: usize, n: u32| {
        format!(r#"{{"model":"tiny","n":{n},"prompt":{:?}}}"#, vec!["a"; count])
    };
    let stop =
        |size: usize| format!(r#"{{"model":"tiny","prompt":"a","stop":"{}"}}"#, "s".repeat(size));
    let bodies = [
        prompts(CHOICES_MAX, 1),
        prompts(CHOICES_MAX + 1, 1),
        prompts(CHOICES_MAX / 2, 2),
        prompts(CHOICES_MAX / 2 + 1, 2),
        stop(STOP_SIZE_MAX),
        stop(STOP_SIZE_MAX + 1),
    ];
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    // Those within the limits get as far as the backend, which is busy.
    check(
        COMPLETIONS,
        &bodies,
        expect![[r#"
        429 busy null: all machines are busy
        400 invalid_value prompt: `prompt` has 129 entries, outside 1 to 128
        429 busy null: all machines are busy
        400 invalid_value n: `n` asks for 65 prompts times 2 choices each, more than 128 together
        429 busy null: all machines are busy
        400 invalid_value stop: `stop` has a string of 1025 bytes, more than 1024
    "#]],
    );
    let messages = |count: usize| {
        let message = r#"{"role":"user","content":""}"#;
        format!(r#"{{"model":"tiny","messages":[{}]}}"#, vec![message; count].join(","))
    };
    check(
        CHAT,
        &[&messages(MESSAGES_MAX), &messages(MESSAGES_MAX + 1)],
        expect![[r#"
            400 context_length_exceeded messages: the prompt has 32779 tokens and the model has room for 63 (a context of 64 tokens, of which 1 for the answer): 32716 too many
            400 invalid_value messages: `messages` has 4097 messages, outside 1 to 4096
        "#]],
    );
}

#[test]
fn nothing_of_a_clients_word_is_repeated_at_length() {
    let long = "x".repeat(10_000);
    for body in [
        chat(&format!(r#""{long}":1"#)),
        chat(&format!(r#""service_tier":"{long}""#)),
        chat(&format!(r#""logit_bias":{{"{long}":1}}"#)),
        format!(r#"{{"model":"{long}","messages":[]}}"#),
        format!(r#"{{"model":"tiny","messages":[{{"role":"{long}","content":""}}]}}"#),
    ] {
        let told = refusal(CHAT, &body);
        assert!(told.len() < 300, "{told}");
    }
}
