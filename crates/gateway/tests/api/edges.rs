//! What surrounds the operations: paths, bodies, keys, origins, readiness.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request};
use expect_test::{Expect, expect};
use futures_util::{StreamExt, stream};
use gateway::limits::BODIES_SIZE_MAX;
use gateway::origins::Origins;
use gateway::router::{Gateway, Options, router};
use tower::ServiceExt;

use crate::world::{CHAT, COMPLETIONS, HI, Line, Script, check_request, get, model, post, run};

fn check(request: Request<Body>, expect: Expect) {
    check_request(Script::new(&[]), &Options::default(), request, expect);
}

#[test]
fn unknown_paths_and_methods_have_the_one_error_shape() {
    check(
        get("/v1/nothing"),
        expect![[r#"
        404
        error: {code:"unknown_url",message:"there is nothing at `/v1/nothing`",param:null,type:"invalid_request_error"}
    "#]],
    );
    check(
        get(COMPLETIONS),
        expect![[r#"
        405
        allow: POST
        error: {code:"method_not_allowed",message:"`/v1/completions` does not take GET",param:null,type:"invalid_request_error"}
    "#]],
    );
    check(
        post("/v1/models", "{}"),
        expect![[r#"
        405
        allow: GET,HEAD
        error: {code:"method_not_allowed",message:"`/v1/models` does not take POST",param:null,type:"invalid_request_error"}
    "#]],
    );
    check(
        get("/v1/models/nobody/nothing"),
        expect![[r#"
        404
        error: {code:"model_not_found",message:"`nobody/nothing` is not served here; /v1/models lists what is",param:"model",type:"invalid_request_error"}
    "#]],
    );
}

#[test]
fn models_are_listed_with_what_decides_their_answers() {
    let mut script = Script::new(&[]);
    script.models.push(Arc::new(model("base", None)));
    check_request(
        script,
        &Options::default(),
        get("/v1/models"),
        expect![[r#"
        200
        data: [{aliases:["org/tiny"],cid:"bafytiny",context_window:64,created:1700000000,id:"tiny",licence:"Apache-2.0",object:"model",owned_by:"tests",profile:"int-1"},{aliases:["org/base"],cid:"bafybase",context_window:64,created:1700000000,id:"base",licence:"Apache-2.0",object:"model",owned_by:"tests",profile:"int-1"}]
        object: "list"
    "#]],
    );
}

#[test]
fn model_is_found_by_any_of_its_names() {
    for name in ["tiny", "org/tiny", "org%2Ftiny", "bafytiny"] {
        let script = Script::new(&[]);
        let request = get(&format!("/v1/models/{name}"));
        check_request(
            script,
            &Options::default(),
            request,
            expect![[r#"
            200
            aliases: ["org/tiny"]
            cid: "bafytiny"
            context_window: 64
            created: 1700000000
            id: "tiny"
            licence: "Apache-2.0"
            object: "model"
            owned_by: "tests"
            profile: "int-1"
        "#]],
        );
    }
}

#[test]
fn model_without_a_template_takes_no_chat() {
    let mut script = Script::new(&[]);
    script.models = vec![Arc::new(model("tiny", None))];
    check_request(
        script,
        &Options::default(),
        post(CHAT, HI),
        expect![[r#"
        400
        error: {code:"chat_template_refused",message:"`tiny` has no chat template; use /v1/completions",param:"model",type:"invalid_request_error"}
    "#]],
    );
}

#[test]
fn full_queue_says_when_to_come_back() {
    check(
        post(CHAT, HI),
        expect![[r#"
        429
        retry-after: 3
        error: {code:"busy",message:"all machines are busy",param:null,type:"rate_limit_error"}
    "#]],
    );
}

#[test]
fn node_that_cannot_answer_says_why() {
    for request in [get("/readyz"), post(CHAT, HI)] {
        let mut script = Script::new(&[]);
        script.ready = Err("loading tiny".to_owned());
        check_request(
            script,
            &Options::default(),
            request,
            expect![[r#"
            503
            retry-after: 5
            error: {code:"not_ready",message:"not ready: loading tiny",param:null,type:"server_error"}
        "#]],
        );
    }
    check(
        get("/readyz"),
        expect![[r#"
        200
        status: "ready"
    "#]],
    );
    check(
        get("/livez"),
        expect![[r#"
        200
        status: "alive"
    "#]],
    );
}

#[test]
fn body_must_be_declared_as_json() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let mut request = post(CHAT, HI);
        request.headers_mut().insert("content-type", kind.parse().unwrap());
        check(
            request,
            expect![[r#"
            415
            error: {code:"unsupported_media_type",message:"the body must have the header `Content-Type: application/json`",param:null,type:"invalid_request_error"}
        "#]],
        );
    }
    let mut request = post(CHAT, HI);
    request
        .headers_mut()
        .insert("content-type", "Application/JSON; charset=utf-8".parse().unwrap());
    let script = Script::new(&[&[Line::Prompt(0), Line::Full]]);
    check_request(
        script,
        &Options::default(),
        request,
        expect![[r#"
        200
        choices: [{finish_reason:"length",index:0,logprobs:null,message:{content:"",refusal:null,role:"assistant"}}]
        model: "tiny"
        object: "chat.completion"
        system_fingerprint: "int-1:bafytiny"
        usage: {completion_tokens:0,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:21,prompt_tokens_details:{cached_tokens:0},total_tokens:21}
    "#]],
    );
}

#[test]
fn body_over_the_limit_is_refused_and_at_the_limit_taken() {
    let options = |body_size_max| Options { body_size_max, ..Options::default() };
    let script = || Script::new(&[]);
    check_request(
        script(),
        &options(HI.len() - 1),
        post(CHAT, HI),
        expect![[r#"
        413
        error: {code:"request_too_large",message:"the body is larger than 59 bytes",param:null,type:"invalid_request_error"}
    "#]],
    );
    check_request(
        script(),
        &options(HI.len()),
        post(CHAT, HI),
        expect![[r#"
        429
        retry-after: 3
        error: {code:"busy",message:"all machines are busy",param:null,type:"rate_limit_error"}
    "#]],
    );
    // A body whose size is not declared.
    let undeclared = || {
        let halves = HI.as_bytes().chunks(40).map(|half| Ok::<_, String>(Bytes::from(half)));
        let builder = Request::builder().method(Method::POST).uri(CHAT);
        let builder = builder.header("content-type", "application/json");
        builder.body(Body::from_stream(stream::iter(halves))).unwrap()
    };
    check_request(
        script(),
        &options(HI.len() - 1),
        undeclared(),
        expect![[r#"
        413
        error: {code:"request_too_large",message:"the body is larger than 59 bytes",param:null,type:"invalid_request_error"}
    "#]],
    );
    check_request(
        script(),
        &options(HI.len()),
        undeclared(),
        expect![[r#"
        429
        retry-after: 3
        error: {code:"busy",message:"all machines are busy",param:null,type:"rate_limit_error"}
    "#]],
    );
}

#[test]
fn body_that_never_ends_is_given_up() {
    let pieces = stream::iter([Ok::<_, String>(Bytes::from("{"))]).chain(stream::pending());
    let builder = Request::builder().method(Method::POST).uri(CHAT);
    let builder = builder.header("content-type", "application/json");
    check(
        builder.body(Body::from_stream(pieces)).unwrap(),
        expect![[r#"
        408
        error: {code:"request_timeout",message:"the body did not come in time",param:null,type:"invalid_request_error"}
    "#]],
    );
}

#[test]
fn bodies_that_fill_the_memory_for_them_make_others_wait() {
    let options = Options { body_size_max: BODIES_SIZE_MAX, ..Options::default() };
    let gateway = Gateway::new(Arc::new(Script::new(&[])), &options);
    run(async {
        let mut endless = post(CHAT, "");
        *endless.body_mut() = Body::from_stream(stream::pending::<Result<Bytes, String>>());
        let reading = tokio::spawn(router(Arc::clone(&gateway)).oneshot(endless));
        tokio::task::yield_now().await;
        let response = router(Arc::clone(&gateway)).oneshot(post(CHAT, HI)).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &"1".parse().unwrap())
        );
        // The first gives its memory back when its time is up; now only the queue is full.
        assert_eq!(reading.await.unwrap().unwrap().status(), 408);
        let response = router(gateway).oneshot(post(CHAT, HI)).await.unwrap();
        assert_eq!(response.headers()["retry-after"], "3");
    });
}

#[test]
fn keys_are_asked_for_only_where_they_are_configured() {
    let options = Options { api_keys: vec!["one".into(), "two".into()], ..Options::default() };
    let with = |key: &str| {
        let mut request = get("/v1/models/tiny");
        request.headers_mut().insert("authorization", key.parse().unwrap());
        request
    };
    let mut statuses = Vec::new();
    for request in [
        with("Bearer one"),
        with("bearer two"),
        with("Bearer three"),
        with("Bearer on"),
        with("Basic one"),
        with("Bearer"),
        get("/v1/models/tiny"),
        get("/v1/nothing"),
        get("/livez"),
    ] {
        let gateway = Gateway::new(Arc::new(Script::new(&[])), &options);
        let response = run(router(gateway).oneshot(request)).unwrap();
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 401, 401, 401, 401, 401, 401, 200]);
    check_request(
        Script::new(&[]),
        &options,
        with("Bearer x"),
        expect![[r#"
        401
        www-authenticate: Bearer
        error: {code:"invalid_api_key",message:"the API key is not known here",param:null,type:"invalid_request_error"}
    "#]],
    );
    check_request(
        Script::new(&[]),
        &options,
        get("/v1/models"),
        expect![[r#"
        401
        www-authenticate: Bearer
        error: {code:"invalid_api_key",message:"an API key is needed, as the header `Authorization: Bearer KEY`",param:null,type:"invalid_request_error"}
    "#]],
    );
}

#[test]
fn only_pages_of_this_machine_may_call_by_default() {
    let origin = |origins: Origins, origin: &str| {
        let options = Options { origins, ..Options::default() };
        let gateway = Gateway::new(Arc::new(Script::new(&[])), &options);
        let mut request = get("/livez");
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let response = run(router(gateway).oneshot(request)).unwrap();
        response.headers().get("access-control-allow-origin").cloned()
    };
    for page in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"] {
        assert_eq!(origin(Origins::Localhost, page).unwrap(), page);
        assert_eq!(origin(Origins::Nobody, page), None);
    }
    for page in ["http://localhost.evil.com", "https://evil.com", "null", "file://", "http://a@b"] {
        assert_eq!(origin(Origins::Localhost, page), None, "{page}");
    }
    let listed = Origins::Listed(vec!["https://chat.example.org".to_owned()]);
    assert!(origin(listed.clone(), "https://chat.example.org").is_some());
    assert!(origin(listed, "http://localhost").is_none());
}

#[test]
fn preflight_is_answered_without_a_key() {
    let options = Options { api_keys: vec!["one".into()], ..Options::default() };
    let gateway = Gateway::new(Arc::new(Script::new(&[])), &options);
    let request = Request::builder()
        .method(Method::OPTIONS)
        .uri(CHAT)
        .header("origin", "http://localhost:3000")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type");
    let response = run(router(gateway).oneshot(request.body(Body::empty()).unwrap())).unwrap();
    assert_eq!(response.status(), 204);
    let headers = response.headers();
    assert_eq!(headers["access-control-allow-headers"], "authorization,content-type");
    assert_eq!(headers["access-control-allow-methods"], "GET, POST, DELETE, OPTIONS");
}
