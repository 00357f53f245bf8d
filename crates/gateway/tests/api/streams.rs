//! Streams that wait, break or are abandoned.

use std::sync::Arc;

use axum::body::Body;
use expect_test::{Expect, expect};
use futures_util::StreamExt;
use gateway::router::{Gateway, Options, router};
use tower::ServiceExt;

use crate::world::{CHAT, HI, HI_STREAM, Line, Script, check, post, print, read, run};

#[test]
fn broken_stream_ends_with_an_error_and_is_never_done() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("H"), Line::Break]]),
        CHAT,
        HI_STREAM,
        expect![[r#"
            200
            {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"H"},finish_reason:null,index:0,logprobs:null}]}
            {error:{code:"answer_broken",message:"the answer broke off before its end",param:null,type:"server_error"}}
        "#]],
    );
}

#[test]
fn backend_that_goes_away_breaks_the_stream() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("H")]]),
        CHAT,
        HI_STREAM,
        expect![[r#"
        200
        {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{content:"H"},finish_reason:null,index:0,logprobs:null}]}
        {error:{code:"answer_broken",message:"the answer broke off before its end",param:null,type:"server_error"}}
    "#]],
    );
}

#[test]
fn broken_answer_has_an_error_status() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("H"), Line::Break]]),
        CHAT,
        HI,
        expect![[r#"
            502
            error: {code:"answer_broken",message:"the answer broke off before its end",param:null,type:"server_error"}
        "#]],
    );
}

#[test]
fn one_broken_choice_breaks_the_answer() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("H"), Line::End], &[Line::Break]]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"n":2}"#,
        expect![[r#"
            502
            error: {code:"answer_broken",message:"the answer broke off before its end",param:null,type:"server_error"}
        "#]],
    );
}

#[test]
fn silent_stream_pings_and_is_given_up_in_the_end() {
    check_silence(
        HI_STREAM,
        expect![[r#"
            1 x 200
            1 x {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
            1 x {choices:[{delta:{content:"H"},finish_reason:null,index:0,logprobs:null}]}
            59 x : ping
            1 x {error:{code:"answer_timeout",message:"the answer stayed silent too long",param:null,type:"server_error"}}
        "#]],
    );
}

#[test]
fn silent_answer_is_given_up_in_the_end() {
    check_silence(
        HI,
        expect![[r#"
            1 x 504
            1 x error: {code:"answer_timeout",message:"the answer stayed silent too long",param:null,type:"server_error"}
        "#]],
    );
}

/// Prints with runs of equal lines counted.
fn check_silence(body: &str, expect: Expect) {
    let script = Script::new(&[&[Line::Prompt(0), Line::Text("H"), Line::Hang]]);
    let gateway = Gateway::new(Arc::new(script), &Options::default());
    let printed = run(async {
        let response = router(Arc::clone(&gateway)).oneshot(post(CHAT, body)).await.unwrap();
        let (status, headers, body) = read(response).await;
        print(status, &headers, &body)
    });
    let lines: Vec<&str> = printed.lines().collect();
    let runs = lines.chunk_by(|a, b| a == b);
    let counted: Vec<String> = runs.map(|run| format!("{} x {}\n", run.len(), run[0])).collect();
    expect.assert_eq(&counted.concat());
}

#[test]
fn hang_up_cancels_every_job() {
    let lines: &[Line] = &[Line::Prompt(0), Line::Text("H"), Line::Hang];
    let script = Arc::new(Script::new(&[lines; 2]));
    let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
    let body =
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true,"n":2}"#;
    run(async {
        let response = router(gateway).oneshot(post(CHAT, body)).await.unwrap();
        let mut pieces = Body::into_data_stream(response.into_body());
        pieces.next().await.unwrap().unwrap();
        assert!(script.hanging.lock().unwrap().iter().all(|sender| !sender.is_closed()));
        drop(pieces);
        assert!(script.hanging.lock().unwrap().iter().all(|sender| sender.is_closed()));
    });
}

#[test]
fn stop_string_cancels_its_job() {
    let script = Arc::new(Script::new(&[&[Line::Prompt(0), Line::Text("a."), Line::Hang]]));
    let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stop":"."}"#;
    run(async {
        let response = router(gateway).oneshot(post(CHAT, body)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(script.hanging.lock().unwrap().iter().all(|sender| sender.is_closed()));
    });
}

#[test]
fn request_that_only_partly_fits_the_queue_cancels_what_was_queued() {
    let script = Arc::new(Script::new(&[&[Line::Hang]]));
    let gateway = Gateway::new(Arc::clone(&script) as _, &Options::default());
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"n":2}"#;
    run(async {
        let response = router(gateway).oneshot(post(CHAT, body)).await.unwrap();
        assert_eq!(response.status(), 429);
        assert!(script.hanging.lock().unwrap().iter().all(|sender| sender.is_closed()));
    });
}
