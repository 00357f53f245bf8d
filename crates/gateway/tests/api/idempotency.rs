//! `Idempotency-Key`, and what answers say of asking again.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use gateway::backend::Places;
use gateway::router::{Gateway, Options, router};
use tower::ServiceExt;

use crate::world::{Line, Script, post, read, run};

const BODY: &str = r#"{"model":"tiny","prompt":"a","seed":1}"#;

fn answered(text: &'static str) -> Vec<Line> {
    vec![Line::Prompt(0), Line::Text(text), Line::End]
}

fn serve(jobs: &[Vec<Line>]) -> Router {
    let jobs: Vec<&[Line]> = jobs.iter().map(Vec::as_slice).collect();
    router(Gateway::new(Arc::new(Script::new(&jobs)), &Options::default()))
}

fn keyed(key: &str, body: &str) -> Request<Body> {
    let mut request = post("/v1/completions", body);
    request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    request
}

async fn ask(router: &Router, request: Request<Body>) -> (u16, HeaderMap, String) {
    let (status, headers, body) = read(router.clone().oneshot(request).await.unwrap()).await;
    (status.as_u16(), headers, body)
}

#[test]
fn the_same_request_gets_the_first_answer_again_and_another_is_refused() {
    run(async {
        let router = serve(&[answered("one"), answered("two"), answered("three")]);
        let (status, headers, first) = ask(&router, keyed("k", BODY)).await;
        assert_eq!((status, headers.get("idempotent-replayed")), (200, None), "{first}");
        let (status, headers, again) = ask(&router, keyed("k", BODY)).await;
        assert_eq!((status, &again), (200, &first));
        assert_eq!(headers["idempotent-replayed"], "true");
        let (status, headers, error) = ask(&router, keyed("k", "{}")).await;
        assert_eq!(status, 422, "{error}");
        assert!(error.contains("idempotency_key_reused"), "{error}");
        assert_eq!(headers["x-should-retry"], "false");
        let (_, _, other) = ask(&router, keyed("l", BODY)).await;
        assert!(other.contains("two"), "{other}");
        let (status, _, error) = ask(&router, keyed(&"k".repeat(256), BODY)).await;
        assert_eq!(status, 400, "{error}");
        // An hour is not too long, two days are.
        tokio::time::advance(std::time::Duration::from_secs(3600)).await;
        assert_eq!(ask(&router, keyed("k", BODY)).await.2, first);
        tokio::time::advance(std::time::Duration::from_secs(48 * 3600)).await;
        assert!(ask(&router, keyed("k", BODY)).await.2.contains("three"));
    });
}

#[test]
fn a_stream_is_kept_once_it_is_whole_and_a_broken_one_is_made_again() {
    let body = r#"{"model":"tiny","prompt":"a","seed":1,"stream":true}"#;
    run(async {
        let broken = vec![Line::Prompt(0), Line::Text("o"), Line::Break];
        let router = serve(&[broken, answered("one")]);
        let (_, _, torn) = ask(&router, keyed("k", body)).await;
        assert!(torn.contains("answer_broken"), "{torn}");
        let (_, _, first) = ask(&router, keyed("k", body)).await;
        assert!(!first.contains("error") && first.ends_with("data: [DONE]\n\n"), "{first}");
        let (_, headers, again) = ask(&router, keyed("k", body)).await;
        assert_eq!(
            (again, &headers["content-type"]),
            (first, &"text/event-stream".parse().unwrap())
        );
    });
}

#[test]
fn while_the_first_is_being_answered_the_second_is_told_to_come_back() {
    run(async {
        let hanging: &[Line] = &[Line::Prompt(0), Line::Hang];
        let script = Arc::new(Script::new(&[hanging, &answered("one")]));
        let router = router(Gateway::new(Arc::clone(&script) as _, &Options::default()));
        let first = tokio::spawn(router.clone().oneshot(keyed("k", BODY)));
        while script.hanging.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let (status, headers, error) = ask(&router, keyed("k", BODY)).await;
        assert!(status == 409 && error.contains("idempotency_key_in_use"), "{error}");
        assert_eq!(
            (&headers["retry-after"], &headers["retry-after-ms"]),
            (&"1".parse().unwrap(), &"1000".parse().unwrap())
        );
        assert_eq!(headers["x-should-retry"], "true");
        // Whoever hangs up frees the key.
        first.abort();
        assert!(first.await.is_err());
        assert!(ask(&router, keyed("k", BODY)).await.2.contains("one"));
    });
}

#[test]
fn answers_tell_the_places_of_the_queue() {
    run(async {
        for (free, reset) in [(3, "0s"), (0, "1s")] {
            let mut script = Script::new(&[&answered("one")]);
            script.places = Some(Places { count: 8, free });
            let router = router(Gateway::new(Arc::new(script), &Options::default()));
            let (_, headers, _) = ask(&router, post("/v1/completions", BODY)).await;
            assert_eq!(headers["x-ratelimit-limit-requests"], "8");
            assert_eq!(headers["x-ratelimit-remaining-requests"], free.to_string().as_str());
            assert_eq!(headers["x-ratelimit-reset-requests"], reset);
        }
        let (_, headers, _) = ask(&serve(&[answered("one")]), post("/v1/completions", BODY)).await;
        assert!(!headers.contains_key("x-ratelimit-limit-requests"));
    });
}
