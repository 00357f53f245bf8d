//! `/v1/messages`: requests and answers in Anthropic's shape.

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderMap;
use gateway::backend::ServedModel;
use gateway::router::{Gateway, Options, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{Line, Script, model, post, read, run};

/// Prints what the model is told.
const TEMPLATE: &str = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}";

fn script(jobs: &[&[Line]]) -> Script {
    let mut script = Script::new(jobs);
    let roomy = ServedModel { context_max: 4096, ..model("tiny", Some(TEMPLATE)) };
    script.models = vec![Arc::new(roomy)];
    script
}

fn base() -> Value {
    json!({"model": "tiny", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]})
}

fn with(field: &str, value: Value) -> Value {
    let mut body = base();
    body[field] = value;
    body
}

async fn ask(router: &Router, path: &str, body: &Value) -> (u16, HeaderMap, String) {
    let request = post(path, &body.to_string());
    let (status, headers, body) = read(router.clone().oneshot(request).await.unwrap()).await;
    (status.as_u16(), headers, body)
}

/// The answer, and what the model was told.
fn answer(body: &Value, lines: &[Line]) -> (Value, String) {
    let script = Arc::new(script(&[lines]));
    let router = router(Gateway::new(Arc::clone(&script) as _, &Options::default()));
    let (status, _, answer) = run(ask(&router, "/v1/messages", body));
    assert_eq!(status, 200, "{answer}");
    let prompt = script.requests.lock().unwrap()[0].prompt.clone();
    (serde_json::from_str(&answer).unwrap(), script.models[0].tokenizer.decode(&prompt))
}

fn weather() -> Value {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}});
    json!([{"name": "weather", "description": "tells", "input_schema": schema,
        "cache_control": {"type": "ephemeral"}}])
}

#[test]
fn a_message_says_why_it_ended_and_what_it_took() {
    let (message, told) = answer(
        &with("system", json!([{"type": "text", "text": "be"}, {"type": "text", "text": "kind"}])),
        &[Line::Prompt(3), Line::Text("well"), Line::End],
    );
    assert_eq!(told, "[system: be\nkind][user: hi]");
    assert!(message["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(message["content"], json!([{"type": "text", "text": "well"}]));
    assert_eq!((&message["role"], &message["type"]), (&json!("assistant"), &json!("message")));
    assert_eq!(
        (&message["stop_reason"], &message["stop_sequence"]),
        (&json!("end_turn"), &json!(null))
    );
    let prompt = told.len() as u64;
    assert_eq!(
        message["usage"],
        json!({"input_tokens": prompt - 3, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 3, "output_tokens": 5})
    );
    let (message, _) = answer(
        &with("stop_sequences", json!(["no", "STOP"])),
        &[Line::Prompt(0), Line::Text("go STOP on"), Line::End],
    );
    assert_eq!(message["content"][0]["text"], "go ");
    let ending = (&message["stop_reason"], &message["stop_sequence"]);
    assert_eq!(ending, (&json!("stop_sequence"), &json!("STOP")));
    let (message, _) = answer(&base(), &[Line::Prompt(0), Line::Text("x"), Line::Full]);
    assert_eq!(message["stop_reason"], "max_tokens");
}

#[test]
fn tools_are_called_and_their_results_are_told() {
    let call =
        "on it <tool_call>{\"name\": \"weather\", \"arguments\": {\"city\": \"Fes\"}}</tool_call>";
    let mut body = with("tools", weather());
    body["messages"] = json!([
        {"role": "user", "content": [{"type": "text", "text": "rain?"}]},
        {"role": "assistant", "content": [
            {"type": "text", "text": "I look"},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ifrane"}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true,
                "content": [{"type": "text", "text": "no net"}]},
            {"type": "text", "text": "try Fes"},
        ]},
    ]);
    let (message, told) = answer(&body, &[Line::Prompt(0), Line::Text(call), Line::End]);
    assert!(told.contains("\"name\":\"weather\"") && told.contains("[user: rain?]"), "{told}");
    assert!(told.contains("[assistant: I look\n<tool_call>"), "{told}");
    assert!(
        told.contains("<tool_response>\nError: no net\n</tool_response>][user: try Fes]"),
        "{told}"
    );
    assert_eq!(message["stop_reason"], "tool_use");
    assert_eq!(message["content"][0], json!({"type": "text", "text": "on it"}));
    let used = &message["content"][1];
    assert_eq!((&used["type"], &used["name"]), (&json!("tool_use"), &json!("weather")));
    assert_eq!(used["input"], json!({"city": "Fes"}));
    assert!(used["id"].as_str().unwrap().starts_with("toolu_"));
}

#[test]
fn a_call_for_which_there_was_no_room_has_begun() {
    let begun = "<tool_call>{\"name\": \"weather\", \"arguments\": {\"city";
    let lines = [Line::Prompt(0), Line::Text(begun), Line::Full];
    let mut body = with("tools", weather());
    let (message, _) = answer(&body, &lines);
    let used = &message["content"][0];
    assert_eq!((&message["stop_reason"], &used["name"]), (&json!("max_tokens"), &json!("weather")));
    assert_eq!(used["input"], json!({}));
    body["stream"] = json!(true);
    let router = router(Gateway::new(Arc::new(script(&[&lines])), &Options::default()));
    let (_, _, text) = run(ask(&router, "/v1/messages", &body));
    assert!(text.contains("\"partial_json\":\"{\\\"city\""), "{text}");
}

#[test]
fn a_stream_has_its_events_in_order() {
    let call = "on it <tool_call>{\"name\": \"weather\", \"arguments\": {}}</tool_call>";
    let mut body = with("tools", weather());
    body["stream"] = json!(true);
    let router = router(Gateway::new(
        Arc::new(script(&[
            &[Line::Prompt(0), Line::Text(call), Line::End],
            &[Line::Prompt(0), Line::Text("o"), Line::Break],
        ])),
        &Options::default(),
    ));
    let (_, headers, text) = run(ask(&router, "/v1/messages", &body));
    assert_eq!(headers["content-type"], "text/event-stream");
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: ").unwrap(), data["type"].as_str().unwrap());
            data
        })
        .collect();
    let mut kinds: Vec<String> = events
        .iter()
        .map(|it| {
            let what = it["content_block"]["type"].as_str().or(it["delta"]["type"].as_str());
            format!("{} {}", it["type"].as_str().unwrap(), what.unwrap_or_default())
        })
        .collect();
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "message_start ",
            "content_block_start text",
            "content_block_delta text_delta",
            "content_block_stop ",
            "content_block_start tool_use",
            "content_block_delta input_json_delta",
            "content_block_stop ",
            "message_delta ",
            "message_stop ",
        ]
    );
    assert_eq!(events[0]["message"]["content"], json!([]));
    let last = &events[events.len() - 2];
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
    assert!(last["usage"]["output_tokens"].as_u64().unwrap() > 10);
    let (_, _, torn) = run(ask(&router, "/v1/messages", &body));
    assert!(torn.ends_with("\"message\":\"the answer broke off before its end\"}}\n\n"), "{torn}");
    assert!(torn.contains("event: error\n") && !torn.contains("message_stop"), "{torn}");
}

#[test]
fn what_is_refused_is_refused_by_name_and_in_this_shape() {
    let assistant =
        json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]);
    let image = json!([{"role": "user", "content": [{"type": "image", "source": {}}]}]);
    let cases = [
        (with("max_tokens", json!(null)), 400, "max_tokens"),
        (with("messages", assistant), 400, "assistant"),
        (with("messages", image), 400, "messages[0].content[0].type"),
        (with("messages", json!([{"role": "tool", "content": "a"}])), 400, "messages[0].role"),
        (with("thinking", json!({"type": "enabled", "budget_tokens": 1024})), 400, "thinking"),
        (with("colour", json!("red")), 400, "colour"),
        (with("n", json!(2)), 400, "n"),
        (with("tool_choice", json!({"type": "any"})), 400, "tools"),
        (
            with("tools", json!([{"type": "web_search_20250305", "name": "x"}])),
            400,
            "tools[0].type",
        ),
        (with("model", json!("none")), 404, "none"),
        (base(), 429, "busy"),
    ];
    let router = router(Gateway::new(Arc::new(script(&[])), &Options::default()));
    for (body, wanted, word) in cases {
        let (status, headers, error) = run(ask(&router, "/v1/messages", &body));
        let error: Value = serde_json::from_str(&error).unwrap();
        assert_eq!((status, &error["type"]), (wanted, &json!("error")), "{error}");
        let kind = match wanted {
            404 => "not_found_error",
            429 => "rate_limit_error",
            _ => "invalid_request_error",
        };
        assert_eq!(error["error"]["type"], kind);
        assert!(error["error"]["message"].as_str().unwrap().contains(word), "{error}");
        assert_eq!(error["request_id"], headers["request-id"].to_str().unwrap());
    }
    let mut request = post("/v1/messages", &base().to_string());
    request.headers_mut().insert("anthropic-version", "2020-01-01".parse().unwrap());
    let (status, _, error) =
        run(async { read(router.clone().oneshot(request).await.unwrap()).await });
    assert!(status.as_u16() == 400 && error.contains("2023-06-01"), "{error}");
}

#[test]
fn tokens_are_counted_and_a_key_may_come_in_their_header() {
    let options = Options { api_keys: vec!["one".to_owned()], ..Options::default() };
    let router = router(Gateway::new(Arc::new(script(&[])), &options));
    let mut body = base();
    body.as_object_mut().unwrap().remove("max_tokens");
    let count = |key: &str| {
        let mut request = post("/v1/messages/count_tokens", &body.to_string());
        request.headers_mut().insert("x-api-key", key.parse().unwrap());
        let (status, _, body) =
            run(async { read(router.clone().oneshot(request).await.unwrap()).await });
        (status.as_u16(), body)
    };
    assert_eq!(count("one"), (200, json!({"input_tokens": "[user: hi]".len()}).to_string()));
    let (status, error) = count("two");
    assert!(status == 401 && error.contains("authentication_error"), "{error}");
}
