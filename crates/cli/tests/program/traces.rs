//! Spans of answers at a collector of OpenTelemetry.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

use crate::up::{Node, world};

/// A span that takes longer is lost.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Takes one request, answers it, and gives its first line and its body.
fn take(collector: &TcpListener, status: &str) -> (String, Value) {
    let (mut stream, _) = collector.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut first, mut size) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(said) = line.strip_prefix("content-length: ") {
            size = said.parse().unwrap();
        }
    }
    let mut body = vec![0; size];
    reader.read_exact(&mut body).unwrap();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}")
        .unwrap();
    (first.trim().to_owned(), serde_json::from_slice(&body).unwrap())
}

/// A collector that turns its second request away, and what it is told: lines and bodies.
fn collector() -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for number in 1.. {
            let is_fine = number != 2;
            let status = if is_fine { "200 OK" } else { "503 Service Unavailable" };
            let told = take(&listener, status);
            // What it turns away, it has not been told.
            if is_fine && sender.send(told).is_err() {
                break;
            }
        }
    });
    (url, receiver)
}

/// Asks for three tokens; what the client is told.
fn ask(node: &Node, more: &str) -> String {
    let body = r#"{"model":"random","prompt":"heliotrope walrus","max_tokens":3}"#;
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: \
         application/json\r\ncontent-length: {}\r\n{more}",
        node.address,
        body.len()
    );
    node.send(&head, body)
}

fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    &attributes.iter().find(|it| it["key"] == key).unwrap()["value"]
}

#[test]
fn a_collector_gets_a_span_of_each_answer_and_no_prompt() {
    let world = world();
    let (url, told_to) = collector();
    let node = Node::start_with(&world, &[], &[("MASHAA_TRACES", &url)]);
    let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";
    let answer = ask(&node, parent);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (line, told) = told_to.recv_timeout(TIME_MAX).unwrap();
    assert_eq!(line, "POST /v1/traces HTTP/1.1");
    let resource = &told["resourceSpans"][0];
    assert_eq!(attribute(&resource["resource"], "service.name")["stringValue"], "mashaa");
    let span = &resource["scopeSpans"][0]["spans"][0];
    assert_eq!(span["name"], "text_completion random");
    assert_eq!(span["kind"], 2, "that of a server");
    assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    let time = |name: &str| span[name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"), "{span}");
    assert_eq!(attribute(span, "gen_ai.usage.output_tokens")["intValue"], "3");
    let reasons = &attribute(span, "gen_ai.response.finish_reasons")["arrayValue"]["values"];
    assert_eq!(reasons[0]["stringValue"], "length");
    let id = attribute(span, "mashaa.request_id")["stringValue"].as_str().unwrap();
    assert!(answer.contains(&format!("x-request-id: {id}")), "{answer}");
    assert!(!told.to_string().contains("heliotrope"), "{told}");

    // One more, which the collector takes when it is asked again, and the last, which is sent at the end.
    ask(&node, "");
    let (_, told) = told_to.recv_timeout(TIME_MAX).unwrap();
    let span = &told["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"].as_str().map(str::len), Some(32));
    assert!(span["parentSpanId"].as_str().is_none_or(str::is_empty), "{span}");
    assert!(ask(&node, "").starts_with("HTTP/1.1 200"));
    let (_, log) = node.stop("-TERM");
    assert!(log.contains("spans are not taken"), "{log}");
    let (_, last) = told_to.recv_timeout(TIME_MAX).unwrap();
    let last = &last["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_ne!(last["spanId"], span["spanId"]);
    assert!(last["spanId"].is_string(), "{last}");
}

#[test]
fn a_collector_s_address_that_is_none_is_refused_with_what_it_should_be() {
    let world = world();
    for wrong in ["127.0.0.1:4318", "ftp://127.0.0.1", "http://", "no"] {
        let ended = world.command(&["up"]).env("MASHAA_TRACES", wrong).output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{wrong}");
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.contains("MASHAA_TRACES") && said.contains("/v1/traces"), "{said}");
    }
}
