//! The page that Prometheus reads.

use std::sync::Arc;

use axum::body::Body;
use expect_test::expect;
use futures_util::StreamExt;
use gateway::router::{Gateway, Options, router};
use tower::ServiceExt;

use crate::world::{CHAT, HI, HI_STREAM, Line, Script, get, post, read, run};

async fn page(gateway: &Arc<Gateway>) -> String {
    let response = router(Arc::clone(gateway)).oneshot(get("/metrics")).await.unwrap();
    read(response).await.2
}

#[test]
fn metrics_count_what_happened() {
    let script = Script::new(&[&[Line::Prompt(4), Line::Text("Hi"), Line::End], &[Line::Break]]);
    let gateway = Gateway::new(Arc::new(script), &Options::default());
    let page = run(async {
        for request in [post(CHAT, HI), post(CHAT, HI), post(CHAT, HI), get("/livez")] {
            router(Arc::clone(&gateway)).oneshot(request).await.unwrap();
        }
        page(&gateway).await
    });
    // Of the buckets the least and the last.
    let shown =
        |line: &&str| !line.contains("_bucket") || line.contains("Inf") || line.contains("0.01\"");
    let lines: Vec<&str> = page.lines().filter(shown).collect();
    expect![[r##"
        # HELP mashaa_http_requests_total Responses, by endpoint and status.
        # TYPE mashaa_http_requests_total counter
        mashaa_http_requests_total{endpoint="chat_completions",status="200"} 1
        mashaa_http_requests_total{endpoint="chat_completions",status="429"} 1
        mashaa_http_requests_total{endpoint="chat_completions",status="502"} 1
        mashaa_http_requests_total{endpoint="livez",status="200"} 1
        # HELP mashaa_prompt_tokens_total Prompt tokens of all sequences.
        # TYPE mashaa_prompt_tokens_total counter
        mashaa_prompt_tokens_total 21
        # HELP mashaa_cached_tokens_total Prompt tokens found in a cache.
        # TYPE mashaa_cached_tokens_total counter
        mashaa_cached_tokens_total 4
        # HELP mashaa_completion_tokens_total Tokens generated.
        # TYPE mashaa_completion_tokens_total counter
        mashaa_completion_tokens_total 3
        # HELP mashaa_answers_broken_total Answers that broke off before their end.
        # TYPE mashaa_answers_broken_total counter
        mashaa_answers_broken_total 1
        # HELP mashaa_answers_in_flight Answers being generated.
        # TYPE mashaa_answers_in_flight gauge
        mashaa_answers_in_flight 0
        # HELP mashaa_batch_answers_in_flight Those of batches.
        # TYPE mashaa_batch_answers_in_flight gauge
        mashaa_batch_answers_in_flight 0
        # HELP mashaa_sequences_queued Sequences whose prompt is not computed yet.
        # TYPE mashaa_sequences_queued gauge
        mashaa_sequences_queued 0
        # HELP mashaa_time_to_first_token_seconds Time from a request's start to its first token.
        # TYPE mashaa_time_to_first_token_seconds histogram
        mashaa_time_to_first_token_seconds_bucket{le="0.01"} 1
        mashaa_time_to_first_token_seconds_bucket{le="+Inf"} 1
        mashaa_time_to_first_token_seconds_sum 0
        mashaa_time_to_first_token_seconds_count 1
        # HELP mashaa_time_per_token_seconds Time between one token and the next of a sequence.
        # TYPE mashaa_time_per_token_seconds histogram
        mashaa_time_per_token_seconds_bucket{le="0.01"} 2
        mashaa_time_per_token_seconds_bucket{le="+Inf"} 2
        mashaa_time_per_token_seconds_sum 0
        mashaa_time_per_token_seconds_count 2"##]]
    .assert_eq(&lines.join("\n"));
}

#[test]
fn gauges_fall_when_the_client_leaves() {
    let script = Script::new(&[&[Line::Hang]]);
    let gateway = Gateway::new(Arc::new(script), &Options::default());
    run(async {
        let request = post(CHAT, HI_STREAM);
        let response = router(Arc::clone(&gateway)).oneshot(request).await.unwrap();
        let mut pieces = Body::into_data_stream(response.into_body());
        pieces.next().await.unwrap().unwrap();
        let during = page(&gateway).await;
        assert!(during.contains("mashaa_answers_in_flight 1"), "{during}");
        assert!(during.contains("mashaa_sequences_queued 1"), "{during}");
        drop(pieces);
        let after = page(&gateway).await;
        assert!(after.contains("mashaa_answers_in_flight 0"), "{after}");
        assert!(after.contains("mashaa_sequences_queued 0"), "{after}");
    });
}
