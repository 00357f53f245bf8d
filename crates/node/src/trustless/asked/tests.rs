use axum::http::HeaderMap;
use axum::http::header::ACCEPT;

use super::{Asked, Bytes, Form, matches, thousandths};

fn form(query: &str, accept: &str) -> Result<Form, u16> {
    let pair = query.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let query: Vec<(String, String)> = pair.into_iter().collect();
    let mut headers = HeaderMap::new();
    if !accept.is_empty() {
        headers.insert(ACCEPT, accept.parse().unwrap());
    }
    Asked::read(&query, &headers).map(|asked| asked.form).map_err(|refused| refused.status.as_u16())
}

#[test]
fn the_form_is_what_the_address_says_and_then_the_header() {
    assert_eq!(form("", ""), Ok(Form::File));
    assert_eq!(form("", "*/*"), Ok(Form::File));
    assert_eq!(form("format=raw", "application/vnd.ipld.car"), Ok(Form::Raw));
    assert_eq!(form("format=car", ""), Ok(Form::Car));
    assert_eq!(form("format=dag-json", ""), Err(406));
    assert_eq!(form("", "application/vnd.ipld.raw"), Ok(Form::Raw));
    let both = "application/vnd.ipld.raw;q=0.5, application/vnd.ipld.car; version=1; order=dfs";
    assert_eq!(form("", both), Ok(Form::Car));
    assert_eq!(form("", "application/vnd.ipld.car;version=2"), Err(406));
    assert_eq!(form("", "application/vnd.ipld.raw;q=0"), Err(406));
    assert_eq!(form("", "text/html"), Err(406));
    assert_eq!(form("dag-scope=none", ""), Err(400));
    assert_eq!(form("entity-bytes=1", ""), Err(400));
}

#[test]
fn bytes_count_from_both_ends() {
    let of = |text: &str| Bytes::parse(text).map(|bytes| bytes.of(10)).ok();
    assert_eq!(of("0:*"), Some(0..10));
    assert_eq!(of("2:4"), Some(2..5));
    assert_eq!(of("-3:*"), Some(7..10));
    assert_eq!(of("-3:-2"), Some(7..9));
    assert_eq!(of("0:-1"), Some(0..10));
    assert_eq!(of("-30:99"), Some(0..10));
    assert_eq!(of("8:2"), Some(8..8));
    assert_eq!(of("99:*"), Some(10..10));
    assert_eq!(of("0:9223372036854775807"), Some(0..10));
    assert_eq!(of("x:y"), None);
}

#[test]
fn qualities_and_tags_are_compared_as_http_has_them() {
    assert_eq!(
        ["1", "0.5", "0.05", "0", "1.000", "x"].map(thousandths),
        [1000, 500, 50, 0, 1000, 0]
    );
    assert!(matches("\"a\", W/\"b\"", "\"b\"") && matches("*", "\"b\""));
    assert!(!matches("\"a\"", "\"b\""));
}
