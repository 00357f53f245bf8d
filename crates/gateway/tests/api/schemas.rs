//! What an answer under a schema may be, as the grammar of the request says it.

use std::sync::Arc;

use axum::http::StatusCode;
use engine::guide::Guide as _;
use gateway::router::{Gateway, Options, router};
use serde_json::{Map, Value, json};
use text::tokenizer::SpecialTokens;
use tower::ServiceExt;

use crate::world::{CHAT, Line, Script, post, read, run};

/// A request for an answer under a schema.
fn body(schema: &Value) -> String {
    let format = json!({"type": "json_schema", "json_schema": {"name": "s", "schema": schema}});
    let messages = json!([{"role": "user", "content": "hi"}]);
    json!({"model": "tiny", "messages": messages, "response_format": format}).to_string()
}

/// The texts of a list that an answer under a schema may be.
fn allowed<'a>(schema: &Value, texts: &[&'a str]) -> Vec<&'a str> {
    let script = Arc::new(Script::new(&[&[Line::Prompt(0), Line::Full]]));
    let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
    let response = run(router(gateway).oneshot(post(CHAT, &body(schema)))).unwrap();
    let status = response.status();
    assert_eq!(status, StatusCode::OK, "{schema}: {}", run(read(response)).2);
    let grammar = script.requests.lock().unwrap()[0].grammar.clone().unwrap();
    let tokenizer = &script.models[0].tokenizer;
    let is_allowed = |text: &&&str| {
        let mut guide = tokenizer.guide(&grammar).unwrap();
        let mut tokens = tokenizer.encode(text, SpecialTokens::Plain);
        tokens.extend(tokenizer.ends().first());
        tokens.iter().all(|token| guide.take(*token))
    };
    texts.iter().filter(is_allowed).copied().collect()
}

#[test]
fn dates_are_of_the_calendar_and_minutes_have_sixty_seconds() {
    let days = [
        "\"0001-01-01\"",
        "\"2023-12-31\"",
        "\"2024-02-29\"",
        "\"2000-02-29\"",
        "\"0400-02-29\"",
        "\"1996-02-29\"",
    ];
    let none = [
        "\"0000-01-01\"",
        "\"0000-02-29\"",
        "\"2023-02-29\"",
        "\"1900-02-29\"",
        "\"2024-02-30\"",
        "\"2024-04-31\"",
        "\"2024-13-01\"",
        "\"2024-1-1\"",
        "\"2024-01-01 \"",
    ];
    let all = [&days[..], &none[..]].concat();
    let date = json!({"type": "string", "format": "date"});
    assert_eq!(allowed(&date, &all), days);
    // Wherever it stands, and beside what is there already.
    let inside = json!({"anyOf": [{"$ref": "#/$defs/day"}],
        "$defs": {"day": {"format": "date", "pattern": "-02-", "type": "string"}}});
    let february: Vec<&str> = days.into_iter().filter(|it| it.contains("-02-")).collect();
    assert_eq!(allowed(&inside, &all), february);
    let both = json!({"format": "date", "pattern": "-02-", "type": "string",
        "allOf": [{"pattern": "^\\d{3}0"}]});
    assert_eq!(allowed(&both, &all), ["\"2000-02-29\"", "\"0400-02-29\""]);

    let times = ["\"23:59:59Z\"", "\"00:00:00.25+02:00\""];
    let none = ["\"23:59:60Z\"", "\"24:00:00Z\"", "\"12:00\""];
    let time = json!({"type": "string", "format": "time"});
    assert_eq!(allowed(&time, &[&times[..], &none[..]].concat()), times);
    let both = ["\"2024-02-29T23:59:59Z\""];
    let none = ["\"2023-02-29T23:59:59Z\"", "\"2024-02-29T23:59:60Z\"", "\"2024-02-29\""];
    let schema = json!({"type": "array", "items": {"type": "string", "format": "date-time"}});
    let listed: Vec<String> = both.iter().chain(&none).map(|it| format!("[{it}]")).collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(allowed(&schema, &listed), [format!("[{}]", both[0])]);
}

#[test]
fn whole_numbers_end_where_readers_lose_digits() {
    let texts = ["9007199254740991", "-9007199254740991", "0", "-12"];
    let none = ["9007199254740992", "-9007199254740992", "20000000000000000000", "1.5", "01"];
    let all = [&texts[..], &none[..]].concat();
    for schema in [
        json!({"type": "integer"}),
        json!({"type": ["integer", "null"]}),
        json!({"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}),
    ] {
        assert_eq!(allowed(&schema, &all), texts, "{schema}");
    }
    // Where the schema says more, it is followed.
    let large = json!({"type": "integer", "minimum": 0, "maximum": 1e18});
    assert_eq!(allowed(&large, &["9007199254740993", "-1"]), ["9007199254740993"]);
    let one = json!({"type": "integer", "const": 9_007_199_254_740_992_u64});
    assert_eq!(allowed(&one, &all), ["9007199254740992"]);
    let numbers = json!({"type": ["integer", "number"]});
    assert_eq!(allowed(&numbers, &["9007199254740993.5"]), ["9007199254740993.5"]);
}

#[test]
fn what_only_looks_like_a_format_stays_as_it_is() {
    let schema = json!({"enum": [{"format": "date"}, "0000-00-00"], "default": {"format": "date"}});
    let texts = ["{\"format\": \"date\"}", "\"0000-00-00\""];
    assert_eq!(allowed(&schema, &texts), texts);
    let schema = json!({"type": "object", "properties": {"format": {"const": "date"}},
        "required": ["format"], "additionalProperties": false});
    assert_eq!(allowed(&schema, &texts), [texts[0]]);
}

#[test]
fn references_may_be_escaped() {
    let yes = json!({"const": "yes"});
    for (name, reference) in [
        ("عقدة", "#/$defs/%D8%B9%D9%82%D8%AF%D8%A9"),
        ("عقدة", "#/$defs/عقدة"),
        ("a b", "#/%24defs/a%20b"),
        ("100%", "#/$defs/100%"),
        ("%+1", "#/$defs/%+1"),
    ] {
        let schema = json!({"$defs": {name: yes}, "items": {"$ref": reference}, "type": "array"});
        assert_eq!(allowed(&schema, &["[\"yes\"]", "[\"no\"]"]), ["[\"yes\"]"], "{reference}");
    }
}

#[test]
fn what_would_be_followed_wrongly_or_not_in_time_is_refused() {
    for (schema, reason) in [
        (json!({"type": "object", "minProperties": 2}), "`minProperties` of more than"),
        (json!({"items": {"minProperties": 4, "required": ["a", "b"]}}), "`minProperties` of more"),
        (json!({"minProperties": 3, "required": ["a", "a"]}), "`minProperties` of more"),
        (json!({"type": "integer", "multipleOf": 99_999_989}), "`multipleOf` with more than 4"),
        (json!({"properties": {"a": {"multipleOf": 1.0001}}}), "`multipleOf` with more than 4"),
        (json!({"multipleOf": 1e9}), "or 6 with its zeros"),
        (json!({"multipleOf": 1e-9}), "or 6 with its zeros"),
        (json!({"multipleOf": -5}), "`multipleOf`"),
        (json!({"items": {"properties": properties(1001)}}), "more than 1000 are not `required`"),
        (
            json!({"properties": properties(1002), "required": ["a1", "a1", "other"]}),
            "more than 1000 are not `required`",
        ),
    ] {
        let script = Script::new(&[]);
        let gateway = Gateway::new(Arc::new(script), &Options::default());
        let asked = router(gateway).oneshot(post(CHAT, &body(&schema)));
        let (status, _, answer) = run(async { read(asked.await.unwrap()).await });
        assert_eq!(status, StatusCode::BAD_REQUEST, "{schema}");
        assert!(answer.contains(reason) && answer.contains("\"response_format\""), "{answer}");
    }
    for schema in
        [json!({"multipleOf": 1e3}), json!({"multipleOf": 0.01}), json!({"multipleOf": 128})]
    {
        assert_eq!(
            allowed(&schema, &["128000000000", "1"]).first(),
            Some(&"128000000000"),
            "{schema}"
        );
    }
    let many = json!({"type": "object", "properties": properties(1000)});
    let text = "{\"a1\": 1, \"a999\": 2}";
    assert_eq!(allowed(&many, &[text, "{\"a2\": 1, \"a1\": 2}"]), [text]);
    let one = json!({"minProperties": 1, "type": "object"});
    assert_eq!(allowed(&one, &["{}", "{\"a\": 1}"]), ["{\"a\": 1}"]);
}

fn properties(count: usize) -> Value {
    (0..count).map(|index| (format!("a{index}"), json!({}))).collect::<Map<_, _>>().into()
}
