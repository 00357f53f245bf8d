//! Tokens without an answer.

use std::sync::Arc;

use gateway::router::{Gateway, Options, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{Script, get, model, post, read, run};

fn ask(script: Script, request: axum::http::Request<axum::body::Body>) -> (u16, Value) {
    let gateway = Gateway::new(Arc::new(script), &Options::default());
    let (status, _, body) =
        run(async { read(router(gateway).oneshot(request).await.unwrap()).await });
    (status.as_u16(), serde_json::from_str(&body).unwrap())
}

#[test]
fn texts_become_tokens_and_tokens_texts() {
    let text = json!({"model": "tiny", "prompt": "ab<|im_end|>", "add_special_tokens": false});
    let tokens = json!({"tokens": [258, 257], "count": 2, "max_model_len": 64});
    assert_eq!(ask(Script::new(&[]), post("/tokenize", &text.to_string())), (200, tokens));
    let tokens = json!({"tokens": [258, 99]});
    let text = json!({"prompt": "abc"});
    assert_eq!(ask(Script::new(&[]), post("/detokenize", &tokens.to_string())), (200, text));
    let (status, info) = ask(Script::new(&[]), get("/tokenizer_info"));
    assert_eq!(
        (status, &info["eos_token"], &info["vocab_size"]),
        (200, &json!("<|im_end|>"), &json!(259))
    );
}

#[test]
fn model_may_be_left_out_only_where_there_is_one() {
    let two = || {
        let models = ["one", "two"].map(|name| Arc::new(model(name, None)));
        Script { models: models.into(), ..Script::new(&[]) }
    };
    let code = |script: Script, path: &str, body: Value| {
        let (status, answer) = ask(script, post(path, &body.to_string()));
        (status, answer["error"]["code"].as_str().unwrap_or("none").to_owned())
    };
    let missing = (400, "missing_required_parameter".to_owned());
    assert_eq!(code(two(), "/tokenize", json!({"prompt": "a"})), missing);
    let found = code(two(), "/tokenize", json!({"prompt": "a", "model": "two"}));
    assert_eq!(found, (200, "none".to_owned()));
    let strange = json!({"tokens": [259]});
    let invalid = (400, "invalid_value".to_owned());
    assert_eq!(code(Script::new(&[]), "/detokenize", strange), invalid);
    let more = json!({"prompt": "a", "messages": []});
    assert_eq!(code(Script::new(&[]), "/tokenize", more).1, "unsupported_parameter");
}

#[test]
fn keys_guard_tokens_too() {
    let options = Options { api_keys: vec!["k".to_owned()], ..Options::default() };
    let status = |request| {
        let gateway = Gateway::new(Arc::new(Script::new(&[])), &options);
        run(router(gateway).oneshot(request)).unwrap().status().as_u16()
    };
    let body = r#"{"prompt":"a"}"#;
    let guarded = [post("/tokenize", body), post("/detokenize", body), get("/tokenizer_info")];
    for request in guarded {
        let path = request.uri().path().to_owned();
        assert_eq!(status(request), 401, "{path}");
    }
    assert_eq!(status(get("/openapi.json")), 200);
}
