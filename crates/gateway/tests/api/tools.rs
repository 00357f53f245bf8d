//! Tools, calls of them, and answers under a grammar.

use std::sync::Arc;

use axum::http::StatusCode;
use expect_test::{Expect, expect};
use gateway::backend::ServedModel;
use gateway::router::{Gateway, Options, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{CHAT, Line, Script, check, model, post, read, run};

/// Writes tools in one line, as Qwen's template does in many.
const TAGGED: &str = "{% if tools %}[{% for tool in tools %}{{ tool | tojson }}{% endfor %}]\
    <tool_call>{% endif %}{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}{% for call in message.tool_calls %}({{ call.function.name }} \
    {{ call.function.arguments | tojson }}){% endfor %}<|im_end|>{% endfor %}";
/// Like Llama 3's.
const BARE: &str = "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}\
    <|im_start|>{{ message.content }}<|im_end|>{% endfor %}";
/// A template that knows no tools.
const PLAIN: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n\
    {{ message.content }}<|im_end|>{% endfor %}";
const CALL: &str = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>";

fn script(template: &str, jobs: &[&[Line]]) -> Script {
    let model = ServedModel { context_max: 4096, ..model("tiny", Some(template)) };
    Script { models: vec![Arc::new(model)], ..Script::new(jobs) }
}

/// A chat with the tool `f`, and more fields.
fn body(fields: &Value) -> String {
    let parameters = json!({"type": "object", "properties": {"x": {"type": "integer"}},
        "required": ["x"], "additionalProperties": false});
    let function = json!({"name": "f", "description": "d", "parameters": parameters});
    let mut body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", "function": function}]});
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body.to_string()
}

/// What the model is told, as text.
fn prompt(template: &str, body: &str) -> String {
    let script = Arc::new(script(template, &[&[Line::Prompt(0), Line::End]]));
    let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
    let response = run(router(gateway).oneshot(post(CHAT, body))).unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let tokens = script.requests.lock().unwrap()[0].prompt.clone();
    let tokenizer = &script.models[0].tokenizer;
    let texts = tokens.iter().map(|&token| match tokenizer.bytes(token) {
        Some([]) => tokenizer.name(token).unwrap(),
        _ => tokenizer.decode(&[token]),
    });
    texts.collect()
}

/// The grammar that an answer must follow.
fn grammar(template: &str, fields: &Value, expect: &Expect) {
    let script = Arc::new(script(template, &[&[Line::Prompt(0), Line::Full]]));
    let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
    let response = run(router(gateway).oneshot(post(CHAT, &body(fields)))).unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let grammar = script.requests.lock().unwrap()[0].grammar.clone();
    expect.assert_eq(grammar.as_deref().unwrap_or("none"));
}

fn ask(script: Script, body: &str) -> (u16, Value) {
    let gateway = Gateway::new(Arc::new(script), &Options::default());
    let (status, _, body) =
        run(async { read(router(gateway).oneshot(post(CHAT, body)).await.unwrap()).await });
    (status.as_u16(), serde_json::from_str(&body).unwrap())
}

#[test]
fn calls_come_at_once() {
    let lines = [Line::Prompt(0), Line::Text("Let me see.\n"), Line::Text(CALL), Line::End];
    let (status, mut answer) = ask(script(TAGGED, &[&lines]), &body(&json!({})));
    let choice = &mut answer["choices"][0];
    let id = choice["message"]["tool_calls"][0]["id"].take();
    assert!(id.as_str().unwrap().starts_with("call_"), "{id}");
    assert_eq!(status, 200);
    assert_eq!(
        *choice,
        json!({"finish_reason": "tool_calls", "index": 0, "logprobs": null, "message": {
        "role": "assistant", "content": "Let me see.", "refusal": null, "tool_calls": [
            {"id": null, "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}
        ]}})
    );
}

#[test]
fn a_call_for_which_there_was_no_room_is_given_as_far_as_it_goes() {
    let begun = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\"";
    let lines = [Line::Prompt(0), Line::Text(begun), Line::Full];
    let forced = body(&json!({"tool_choice": "required"}));
    let (status, answer) = ask(script(TAGGED, &[&lines]), &forced);
    let choice = &answer["choices"][0];
    let function = &choice["message"]["tool_calls"][0]["function"];
    assert_eq!((status, &choice["finish_reason"]), (200, &json!("length")));
    assert_eq!(function, &json!({"name": "f", "arguments": "{\"x\""}));
    assert_eq!(choice["message"]["content"], Value::Null);
}

#[test]
fn calls_in_a_stream_are_numbered_from_zero() {
    let lines = [Line::Prompt(0), Line::Text(CALL), Line::Text("\n"), Line::Text(CALL), Line::End];
    let gateway = Gateway::new(Arc::new(script(TAGGED, &[&lines])), &Options::default());
    let request = post(CHAT, &body(&json!({"stream": true})));
    let (_, _, stream) = run(async { read(router(gateway).oneshot(request).await.unwrap()).await });
    let events: Vec<Value> = stream
        .split_terminator("\n\n")
        .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
        .collect();
    let deltas = events.iter().map(|event| &event["choices"][0]["delta"]);
    let calls: Vec<&Value> = deltas.filter_map(|delta| delta["tool_calls"].get(0)).collect();
    let indexes: Vec<&Value> = calls.iter().map(|call| &call["index"]).collect();
    assert_eq!(indexes, [&json!(0), &json!(1)]);
    assert_ne!(calls[0]["id"], calls[1]["id"]);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
    assert!(!stream.contains("<tool_call>") && stream.ends_with("data: [DONE]\n\n"), "{stream}");
}

#[test]
fn model_is_told_of_tools_in_its_templates_way() {
    let history = json!({"messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "tool_calls": [{"id": "1", "type": "function",
            "function": {"name": "f", "arguments": "{\"x\": 1}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "2"}]});
    let prompts = [
        prompt(TAGGED, &body(&history)),
        prompt(PLAIN, &body(&history)),
        prompt(PLAIN, &body(&json!({"tool_choice": "none"}))),
    ];
    expect![[r#"
        [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": false}}}]<tool_call><|im_start|>user
        hi<|im_end|><|im_start|>assistant
        (f {"x": 1})<|im_end|><|im_start|>tool
        2<|im_end|>
        ----
        <|im_start|>system
        # Tools

        You may call one or more functions to assist with the user query.

        You are provided with function signatures within <tools></tools> XML tags:
        <tools>
        {"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"x":{"type":"integer"}},"required":["x"],"additionalProperties":false}}}
        </tools>

        For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
        <tool_call>
        {"name": <function-name>, "arguments": <args-json-object>}
        </tool_call><|im_end|><|im_start|>user
        hi<|im_end|><|im_start|>assistant
        <tool_call>
        {"name":"f","arguments":{"x":1}}
        </tool_call><|im_end|><|im_start|>user
        <tool_response>
        2
        </tool_response><|im_end|>
        ----
        <|im_start|>user
        hi<|im_end|>"#]]
    .assert_eq(&prompts.join("\n----\n"));
}

#[test]
fn forced_calls_and_formats_become_grammars() {
    let schema = json!({"type": "json_schema", "json_schema": {"name": "s", "schema":
        {"type": "object", "properties": {"a": {"type": "string"}}}}});
    grammar(TAGGED, &json!({}), &expect!["none"]);
    grammar(
        TAGGED,
        &json!({"tool_choice": "required"}),
        &expect![[r#"
            start: calls
            calls: call ("\n" call)*
            arguments_0: %json {"type":"object","properties":{"x":{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991}},"required":["x"],"additionalProperties":false,"x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}}
            call: "<tool_call>\n{\"name\": \"f\", \"arguments\": " arguments_0 "}\n</tool_call>"
        "#]],
    );
    let named = json!({"type": "function", "function": {"name": "f"}});
    let alone = json!({"tool_choice": named});
    grammar(
        PLAIN,
        &alone,
        &expect![[r#"
            start: calls
            calls: call
            arguments_0: %json {"type":"object","properties":{"x":{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991}},"required":["x"],"additionalProperties":false,"x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}}
            call: "<tool_call>\n{\"name\": \"f\", \"arguments\": " arguments_0 "}\n</tool_call>"
        "#]],
    );
    grammar(
        BARE,
        &json!({"tool_choice": "required"}),
        &expect![[r#"
            start: calls
            calls: call
            arguments_0: %json {"type":"object","properties":{"x":{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991}},"required":["x"],"additionalProperties":false,"x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}}
            call: "{\"name\": \"f\", \"parameters\": " arguments_0 "}"
        "#]],
    );
    grammar(
        TAGGED,
        &json!({"response_format": schema}),
        &expect![[r#"
            start: calls | format
            format: %json {"type":"object","properties":{"a":{"type":"string"}},"x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}}
            calls: call ("\n" call)*
            arguments_0: %json {"type":"object","properties":{"x":{"type":"integer","minimum":-9007199254740991,"maximum":9007199254740991}},"required":["x"],"additionalProperties":false,"x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}}
            call: "<tool_call>\n{\"name\": \"f\", \"arguments\": " arguments_0 "}\n</tool_call>"
        "#]],
    );
    let beside = json!({"type": "json_object", "schema": {"type": "object", "required": ["b"]}});
    grammar(
        PLAIN,
        &json!({"tools": null, "response_format": beside}),
        &expect![[r#"
        start: format
        format: %json {"type":"object","required":["b"],"x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}}
    "#]],
    );
    let object = json!({"tools": null, "response_format": {"type": "json_object"}});
    grammar(
        PLAIN,
        &object,
        &expect![[r#"
        start: format
        format: %json {"type":"object","x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}}
    "#]],
    );
}

#[test]
fn answer_that_does_not_follow_its_grammar_is_broken() {
    let format = json!({"tools": null, "response_format": {"type": "json_object"}});
    let answer = |text, end: Line| {
        let lines = [Line::Prompt(0), Line::Text(text), end];
        let (status, answer) = ask(script(PLAIN, &[&lines]), &body(&format));
        let content = &answer["choices"][0]["message"]["content"];
        let said = content.as_str().or(answer["error"]["code"].as_str());
        (status, said.unwrap().to_owned())
    };
    assert_eq!(answer("{\"a\": [1, null]}", Line::End), (200, "{\"a\": [1, null]}".to_owned()));
    assert_eq!(answer("{\"a\": ", Line::Full), (200, "{\"a\": ".to_owned()), "for want of room");
    assert_eq!(answer("{\"a\": ", Line::End), (502, "answer_broken".to_owned()));
    assert_eq!(answer("so {}", Line::End), (502, "answer_broken".to_owned()));
}

#[test]
fn wrong_tools_and_schemas_are_named() {
    let tool = |function: Value| json!([{"type": "function", "function": function}]);
    let schema = |schema: Value| {
        json!({"response_format":
            {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}})
    };
    let cases = [
        json!({"tools": [{"type": "custom", "custom": {}}]}),
        json!({"tools": tool(json!({"description": "no name"}))}),
        json!({"tools": tool(json!({"name": "two words"}))}),
        json!({"tools": tool(json!({"name": "f", "colour": 1}))}),
        json!({"tools": tool(json!({"name": "f", "parameters": {"type": "sphere"}})),
            "tool_choice": "required"}),
        json!({"tools": null, "tool_choice": "required"}),
        json!({"tool_choice": "sometimes"}),
        json!({"tool_choice": {"type": "function", "function": {"name": "g"}}}),
        json!({"response_format": {"type": "xml"}}),
        json!({"response_format": {"type": "json_schema"}}),
        schema(json!({"type": "object", "x-guidance": {}})),
        schema(json!({"type": "object", "properties": {"a": {"$ref": "http://example.org/x"}}})),
        json!({"messages": [{"role": "assistant", "tool_calls": [{"id": "1"}]}]}),
    ];
    let told: Vec<String> = cases
        .iter()
        .map(|fields| {
            let (status, answer) = ask(script(TAGGED, &[]), &body(fields));
            let error = &answer["error"];
            let message = error["message"].as_str().unwrap();
            format!("{status} {} {}: {message}\n", error["code"], error["param"])
        })
        .collect();
    expect![[r#"
        400 "unsupported_parameter" "tools[0].type": `tools[0].type` with the value `"custom"` is not supported by this server
        400 "missing_required_parameter" "tools[0].function.name": `tools[0].function.name` is missing
        400 "invalid_value" "tools[0].function.name": `tools[0].function.name` must be 1 to 64 letters, digits, `_` and `-`
        400 "unsupported_parameter" "tools[0].function.colour": `tools[0].function.colour` with the value `1` is not supported by this server
        400 "invalid_value" "tools": `tools` cannot be followed: at 3(14): failed to compile JSON schema: Invalid type: sphere
        400 "invalid_value" "tool_choice": `tool_choice` asks for a call where there are no `tools`
        400 "unsupported_parameter" "tool_choice": `tool_choice` with the value `"sometimes"` is not supported by this server
        400 "invalid_value" "tool_choice": `tool_choice` names `g`, which is not among `tools`
        400 "unsupported_parameter" "response_format.type": `response_format.type` with the value `"xml"` is not supported by this server
        400 "missing_required_parameter" "response_format.json_schema": `response_format.json_schema` is missing
        400 "unsupported_parameter" "response_format.json_schema.schema.x-guidance": `response_format.json_schema.schema.x-guidance` is not supported by this server
        400 "invalid_value" "response_format": `response_format` cannot be followed: at 2(9): failed to compile JSON schema: Only absolute $ref's (#/...) are supported without 'referencing' feature; ref 'http://example.org/x'
        400 "missing_required_parameter" "messages[0].tool_calls[0].type": `messages[0].tool_calls[0].type` is missing
    "#]].assert_eq(&told.concat());
}

#[test]
fn text_of_a_model_that_calls_nothing_comes_as_it_is() {
    check(
        script(TAGGED, &[&[Line::Prompt(0), Line::Text("a < b "), Line::End]]),
        CHAT,
        &body(&json!({"stream": true})),
        expect![[r#"
            200
            {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"a"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:" <"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:" b"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:" "},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{},finish_reason:"stop",index:0,logprobs:null}]}
            data: [DONE]
        "#]],
    );
}
