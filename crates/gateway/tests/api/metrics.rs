//! The page that Prometheus reads.

use std::collections::{BTreeMap, BTreeSet};
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
        # HELP mashaa_build_info The program's version, as a label.
        # TYPE mashaa_build_info gauge
        mashaa_build_info{version="0.1.0"} 1
        # HELP mashaa_http_requests_total Responses, by endpoint and status.
        # TYPE mashaa_http_requests_total counter
        mashaa_http_requests_total{endpoint="chat_completions",status="200"} 1
        mashaa_http_requests_total{endpoint="chat_completions",status="429"} 1
        mashaa_http_requests_total{endpoint="chat_completions",status="502"} 1
        mashaa_http_requests_total{endpoint="livez",status="200"} 1
        # HELP mashaa_request_body_bytes_held Bytes of request bodies that are held.
        # TYPE mashaa_request_body_bytes_held gauge
        mashaa_request_body_bytes_held 0
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

/// The page as Prometheus reads it (text format 0.0.4), and its rules for names: base units last, `_total`
/// on counters and on nothing else.
#[test]
fn the_page_is_legal_for_prometheus() {
    let script = Script::new(&[&[Line::Prompt(4), Line::Text("Hi"), Line::End], &[Line::Break]]);
    let gateway = Gateway::new(Arc::new(script), &Options::default());
    let page = run(async {
        for request in [post(CHAT, HI), post(CHAT, HI), post("/v1/nothing", "{}")] {
            router(Arc::clone(&gateway)).oneshot(request).await.unwrap();
        }
        page(&gateway).await
    });
    let is_name = |name: &str| {
        let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        name.starts_with("mashaa_") && name.bytes().all(is_fine) && !name.contains("__")
    };
    let (mut kinds, mut seen, mut samples) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
    let mut family = String::new();
    for line in page.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                assert!(is_name(name) && help.ends_with('.'), "{line}");
                family = name.to_owned();
            }
            ["#", "TYPE", name, kind] => {
                assert_eq!(name, family, "HELP comes first");
                assert!(kinds.insert(name, kind).is_none(), "{name} is there twice");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                let wrong = ["_ms", "_milliseconds", "_seconds_total", "_kib", "_count", "_sum"];
                assert!(!wrong.iter().any(|unit| name.ends_with(unit)), "{line}");
                assert!(kind != "histogram" || name.ends_with("_seconds"), "{line}");
            }
            [series, value] => {
                assert!(seen.insert(series), "{series} is there twice");
                let value: f64 = value.parse().unwrap();
                let name = series.split('{').next().unwrap();
                let base = match kinds[family.as_str()] {
                    "histogram" => ["_bucket", "_sum", "_count"]
                        .iter()
                        .find_map(|end| name.strip_suffix(end))
                        .unwrap(),
                    _ => name,
                };
                assert_eq!(base, family, "{line} stands under another name");
                samples.insert(series, value);
            }
            _ => panic!("{line:?} is no line of the format"),
        }
    }
    for name in kinds.iter().filter(|(_, kind)| **kind == "histogram").map(|(name, _)| name) {
        let bucket = format!("{name}_bucket{{le=\"");
        let bounds = page.lines().filter_map(|line| line.strip_prefix(&bucket)?.split_once("\"} "));
        let bounds: Vec<(f64, f64)> = bounds
            .map(|(bound, count)| {
                (bound.replace("+Inf", "inf").parse().unwrap(), count.parse().unwrap())
            })
            .collect();
        assert!(bounds.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{name}: {bounds:?}");
        let &(last, count) = bounds.last().unwrap();
        assert!(last.is_infinite() && count == samples[format!("{name}_count").as_str()], "{name}");
    }
    assert!(kinds.len() > 10 && kinds.values().filter(|kind| **kind == "histogram").count() == 2);
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
