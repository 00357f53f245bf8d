//! `/v1/responses`: what is answered, told in events, kept and forgotten.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use expect_test::expect;
use gateway::backend::ServedModel;
use gateway::router::{Gateway, Options, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{Line, Script, get, model, post, read, run};

const RESPONSES: &str = "/v1/responses";
const TEMPLATE: &str = "{% if tools %}<tool_call>{% endif %}{% for message in messages %}\
    ({{ message.role }}: {{ message.content }}{% for call in message.tool_calls %}\
    {{ call.function | tojson }}{% endfor %}){% endfor %}";
const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";

/// A gateway, and the script it asks.
fn served(jobs: &[&[Line]]) -> (Arc<Script>, Router) {
    let model = ServedModel { context_max: 4096, ..model("tiny", Some(TEMPLATE)) };
    let script = Arc::new(Script { models: vec![Arc::new(model)], ..Script::new(jobs) });
    let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
    (script, router(gateway))
}

fn ask(router: &Router, request: Request<Body>) -> (u16, String) {
    let (status, _, body) =
        run(async { read(router.clone().oneshot(request).await.unwrap()).await });
    (status.as_u16(), body)
}

fn json_of(router: &Router, request: Request<Body>) -> (u16, Value) {
    let (status, body) = ask(router, request);
    (status, serde_json::from_str(&body).unwrap())
}

fn create(router: &Router, fields: &Value) -> Value {
    let (status, response) = json_of(router, post(RESPONSES, &body(fields)));
    assert_eq!(status, 200, "{response}");
    response
}

fn body(fields: &Value) -> String {
    let mut body = json!({"model": "tiny", "input": "hi"});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

fn tools() -> Value {
    json!([{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}])
}

/// The prompt of the n-th request, as text.
fn prompt(script: &Script, index: usize) -> String {
    let tokens = script.requests.lock().unwrap()[index].prompt.clone();
    script.models[0].tokenizer.decode(&tokens)
}

/// The events of a stream: their types and what they add.
fn events(stream: &str) -> Vec<Value> {
    let events: Vec<Value> = stream
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
            assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
            data
        })
        .collect();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    events
}

#[test]
fn response_repeats_what_was_asked_and_says_what_was_answered() {
    let (script, router) = served(&[&[Line::Prompt(1), Line::Text("Hello"), Line::End]]);
    let fields = json!({"instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0.5,
        "metadata": {"a": "b"}, "truncation": "disabled", "background": false, "include": []});
    let mut response = create(&router, &fields);
    let id = response["id"].take();
    let name = id.as_str().unwrap().strip_prefix("resp_").unwrap();
    assert_eq!(response["output"][0]["id"].take(), json!(format!("msg_{name}_0")));
    assert!(response["created_at"].take().as_u64().unwrap() > 1_700_000_000);
    assert_eq!(prompt(&script, 0), "(system: Be brief.)(user: hi)");
    expect![[r#"
        {
          "id": null,
          "object": "response",
          "created_at": null,
          "status": "completed",
          "background": false,
          "error": null,
          "incomplete_details": null,
          "output": [
            {
              "id": null,
              "type": "message",
              "status": "completed",
              "role": "assistant",
              "content": [
                {
                  "type": "output_text",
                  "text": "Hello",
                  "annotations": [],
                  "logprobs": []
                }
              ]
            }
          ],
          "usage": {
            "input_tokens": 29,
            "input_tokens_details": {
              "cached_tokens": 1,
              "cache_write_tokens": 0
            },
            "output_tokens": 6,
            "output_tokens_details": {
              "reasoning_tokens": 0
            },
            "total_tokens": 35
          },
          "truncation": "disabled",
          "service_tier": "default",
          "model": "tiny",
          "system_fingerprint": "int-1:bafytiny",
          "tools": [],
          "tool_choice": "auto",
          "parallel_tool_calls": true,
          "text": {
            "format": {
              "type": "text"
            }
          },
          "metadata": {
            "a": "b"
          },
          "temperature": 0.5,
          "top_p": 1.0,
          "max_output_tokens": 9,
          "instructions": "Be brief.",
          "previous_response_id": null
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&response).unwrap());
}

#[test]
fn stream_tells_every_beginning_and_its_end() {
    let lines = [Line::Prompt(0), Line::Text("So "), Line::Text(CALL), Line::End];
    let (_, router) = served(&[&lines]);
    let fields = json!({"stream": true, "tools": tools()});
    let (status, stream) = ask(&router, post(RESPONSES, &body(&fields)));
    assert_eq!(status, 200);
    let told = events(&stream);
    let lines: Vec<String> = told
        .iter()
        .map(|event| {
            let says = ["delta", "text", "arguments"].iter().find_map(|name| event.get(*name));
            let status = event["item"].get("status").or(event["response"].get("status"));
            let index = event.get("output_index").unwrap_or(&Value::Null);
            let says = says.or(status).unwrap_or(&Value::Null);
            format!("{index} {} {says}\n", event["type"].as_str().unwrap())
        })
        .collect();
    expect![[r#"
        null response.created "in_progress"
        null response.in_progress "in_progress"
        0 response.output_item.added "in_progress"
        0 response.content_part.added null
        0 response.output_text.delta "S"
        0 response.output_text.delta "o"
        0 response.output_text.done "So"
        0 response.content_part.done null
        0 response.output_item.done "completed"
        1 response.output_item.added "in_progress"
        1 response.function_call_arguments.delta "{\"x\":1}"
        1 response.function_call_arguments.done "{\"x\":1}"
        1 response.output_item.done "completed"
        null response.completed "completed"
    "#]]
    .assert_eq(&lines.concat());
    let response = &told.last().unwrap()["response"];
    let path = format!("{RESPONSES}/{}", response["id"].as_str().unwrap());
    assert_eq!(json_of(&router, get(&path)), (200, response.clone()));

    // Told again, deltas of one text are one.
    let again = events(&ask(&router, get(&format!("{path}?stream=true"))).1);
    let kinds = |events: &[Value]| {
        let mut kinds: Vec<Value> = events.iter().map(|event| event["type"].clone()).collect();
        kinds.dedup();
        kinds
    };
    assert_eq!((kinds(&again), &again.last().unwrap()["response"]), (kinds(&told), response));
    let late = ask(&router, get(&format!("{path}?stream=true&starting_after=3"))).1;
    assert!(late.contains("\"sequence_number\":4") && !late.contains("\"sequence_number\":3}"));
}

#[test]
fn later_request_goes_on_from_what_is_kept() {
    let call = [Line::Prompt(0), Line::Text(CALL), Line::End];
    let text = [Line::Prompt(0), Line::Text("It is 2."), Line::End];
    let (script, router) = served(&[&call, &text, &text]);
    let first = create(&router, &json!({"tools": tools(), "instructions": "once"}));
    let call_id = first["output"][0]["call_id"].clone();
    let given = json!([{"type": "function_call_output", "call_id": call_id, "output": "2"}]);
    let fields = json!({"input": given, "previous_response_id": first["id"]});
    let second = create(&router, &fields);
    assert_eq!(
        prompt(&script, 1),
        r#"(user: hi)(assistant: {"name": "f", "arguments": {"x": 1}})(tool: 2)"#
    );
    // The same without the server's memory.
    let mut items =
        vec![json!({"role": "user", "content": [{"type": "input_text", "text": "hi"}]})];
    items.extend(first["output"].as_array().unwrap().iter().chain([&given[0]]).cloned());
    items.extend(second["output"].as_array().unwrap().iter().cloned());
    items.push(json!({"type": "message", "role": "user", "content": "more"}));
    let third = create(&router, &json!({"input": items, "store": false}));
    assert_eq!(
        prompt(&script, 2),
        r#"(user: hi)(assistant: {"name": "f", "arguments": {"x": 1}})(tool: 2)(assistant: It is 2.)(user: more)"#
    );
    let path = |response: &Value| format!("{RESPONSES}/{}", response["id"].as_str().unwrap());
    assert_eq!(ask(&router, get(&path(&third))).0, 404, "it was not to be kept");

    let (_, page) = json_of(&router, get(&format!("{}/input_items", path(&second))));
    assert_eq!(page["data"][0]["output"], "2");
    assert_eq!((&page["has_more"], &page["first_id"]), (&json!(false), &page["data"][0]["id"]));
    let delete = || Request::delete(path(&second)).body(Body::empty()).unwrap();
    assert_eq!(json_of(&router, delete()).1["deleted"], true);
    assert_eq!(ask(&router, delete()).0, 404);
    assert_eq!(ask(&router, get(&path(&second))).0, 404);
}

#[test]
fn input_items_come_in_pages() {
    let (_, router) = served(&[&[Line::Prompt(0), Line::End]]);
    let input: Vec<Value> =
        (0..5).map(|i| json!({"role": "user", "content": "x", "id": format!("i{i}")})).collect();
    let response = create(&router, &json!({"input": input}));
    let path = format!("{RESPONSES}/{}/input_items", response["id"].as_str().unwrap());
    let page = |query: &str| {
        let (status, page) = json_of(&router, get(&format!("{path}?{query}")));
        let items = page["data"].as_array().into_iter().flatten();
        let ids: Vec<&str> = items.map(|item| item["id"].as_str().unwrap()).collect();
        (status, ids.join(" "), page["has_more"] == true)
    };
    assert_eq!(page(""), (200, "i4 i3 i2 i1 i0".to_owned(), false));
    assert_eq!(page("limit=2&order=asc"), (200, "i0 i1".to_owned(), true));
    assert_eq!(page("limit=3&order=asc&after=i1"), (200, "i2 i3 i4".to_owned(), false));
    for wrong in ["limit=0", "limit=101", "order=up", "after=i9", "include=x"] {
        assert_eq!(page(wrong).0, 400, "{wrong}");
    }
}

#[test]
fn full_and_broken_responses_do_not_look_complete() {
    let full = [Line::Prompt(0), Line::Text("Hel"), Line::Full];
    let broken = [Line::Prompt(0), Line::Text("Hel"), Line::Break];
    let (_, router) = served(&[&full, &broken, &broken]);
    let response = create(&router, &json!({}));
    let found = (&response["status"], &response["incomplete_details"]["reason"]);
    assert_eq!(found, (&json!("incomplete"), &json!("max_output_tokens")));
    let (status, answer) = json_of(&router, post(RESPONSES, &body(&json!({}))));
    assert_eq!((status, &answer["error"]["code"]), (502, &json!("answer_broken")));
    let (_, stream) = ask(&router, post(RESPONSES, &body(&json!({"stream": true}))));
    let told = events(&stream);
    let last = told.last().unwrap();
    assert_eq!(
        (&last["type"], &last["response"]["error"]["code"]),
        (&json!("response.failed"), &json!("server_error"))
    );
    let path = format!("{RESPONSES}/{}", last["response"]["id"].as_str().unwrap());
    assert_eq!(ask(&router, get(&path)).0, 404, "what broke off is not kept");
}

#[test]
fn a_call_for_which_there_was_no_room_is_incomplete() {
    let begun = "<tool_call>{\"name\": \"f\", \"arguments\": {\"x\"";
    let (_, router) = served(&[&[Line::Prompt(0), Line::Text(begun), Line::Full]]);
    let response = create(&router, &json!({"tools": tools()}));
    let call = &response["output"][0];
    assert_eq!(
        (&response["status"], &call["status"]),
        (&json!("incomplete"), &json!("incomplete"))
    );
    assert_eq!((&call["name"], &call["arguments"]), (&json!("f"), &json!("{\"x\"")));
}

#[test]
fn wrong_requests_are_told_what_is_wrong() {
    let (_, router) = served(&[]);
    let cases = [
        json!({"model": null}),
        json!({"input": null}),
        json!({"input": []}),
        json!({"input": [{"type": "reasoning"}]}),
        json!({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}),
        json!({"input": [{"role": "user", "content": "x", "mood": 1}]}),
        json!({"previous_response_id": "resp_none"}),
        json!({"background": true}),
        json!({"truncation": "auto"}),
        json!({"include": ["reasoning.encrypted_content"]}),
        json!({"conversation": "c"}),
        json!({"reasoning": {"effort": "low"}}),
        json!({"text": {"verbosity": "low"}}),
        json!({"text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "x"}}}}),
        json!({"tools": [{"type": "web_search"}]}),
        json!({"max_output_tokens": 0}),
        json!({"n": 2}),
        json!({"messages": []}),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|fields| {
            let (status, answer) = json_of(&router, post(RESPONSES, &body(fields)));
            let error = &answer["error"];
            let message = error["message"].as_str().unwrap();
            format!("{status} {} {}: {message}\n", error["code"], error["param"])
        })
        .collect();
    expect![[r#"
        400 "missing_required_parameter" "model": `model` is missing
        400 "missing_required_parameter" "input": `input` is missing
        400 "invalid_value" "input": `input` has 0 items, outside 1 to 4096
        400 "unsupported_parameter" "input[0].type": `input[0].type` with the value `"reasoning"` is not supported by this server
        400 "unsupported_parameter" "input[0].content[0].type": `input[0].content[0].type` with the value `"input_image"` is not supported by this server
        400 "unsupported_parameter" "input[0].mood": `input[0].mood` with the value `1` is not supported by this server
        404 "response_not_found" "previous_response_id": there is no response `resp_none` here
        400 "unsupported_parameter" "background": `background` with the value `true` is not supported by this server
        400 "unsupported_parameter" "truncation": `truncation` with the value `"auto"` is not supported by this server
        400 "unsupported_parameter" "include": `include` is not supported by this server
        400 "unsupported_parameter" "conversation": `conversation` with the value `"c"` is not supported by this server
        400 "unsupported_parameter" "reasoning": `reasoning` is not supported by this server
        400 "unsupported_parameter" "text.verbosity": `text.verbosity` with the value `"low"` is not supported by this server
        400 "invalid_value" "text.format": `text.format` cannot be followed: at 2(9): failed to compile JSON schema: Invalid type: x
        400 "unsupported_parameter" "tools[0].type": `tools[0].type` with the value `"web_search"` is not supported by this server
        400 "invalid_value" "max_output_tokens": `max_output_tokens` is 0, outside 1 to 4294967295
        400 "unsupported_parameter" "n": `n` with the value `2` is not supported by this server
        400 "unsupported_parameter" "messages": `messages` is not supported by this server
    "#]].assert_eq(&told.concat());
}

#[test]
fn tokens_are_counted_without_an_answer() {
    let (script, router) = served(&[]);
    let path = format!("{RESPONSES}/input_tokens");
    let counted = json_of(&router, post(&path, &body(&json!({}))));
    let expected = "(user: hi)".len();
    let object = "response.input_tokens";
    assert_eq!(counted, (200, json!({"object": object, "input_tokens": expected})));
    assert!(script.requests.lock().unwrap().is_empty());
}

#[test]
fn only_what_runs_in_the_background_could_be_cancelled() {
    let (_, router) = served(&[&[Line::Prompt(0), Line::End]]);
    let id = create(&router, &json!({}))["id"].as_str().unwrap().to_owned();
    let cancel = |id: &str| {
        let path = format!("{RESPONSES}/{id}/cancel");
        ask(&router, Request::builder().method(Method::POST).uri(path).body(Body::empty()).unwrap())
            .0
    };
    assert_eq!((cancel(&id), cancel("resp_none")), (400, 404));
}
