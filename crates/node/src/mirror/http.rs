//! Fetch a source from a web server, from where an earlier attempt stopped.
//!
//! Invariants:
//! - Every wait has a limit, and so has the count of redirects and of requests.
//! - A server that ignores where to start is read from its first byte, never spliced in.
//!
//! Not here: uploads, cookies, caches, compression.

use std::time::Duration;

use ureq::http::Response;
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, RANGE};
use ureq::{Agent, Body};

use super::{Delivery, MirrorError};

/// Most redirects of one request: a file's address, a store's, a nearer store's, and two to spare.
const REDIRECT_COUNT_MAX: u32 = 5;

/// Bytes by which a broken request must have helped to be worth another. It bounds the requests
/// by the source's size, and no working connection breaks before that much has come.
const GAIN_MIN: u64 = 1024 * 1024;

/// Slowest rate, in bytes per second, at which a request may go on: that of a poor mobile link.
/// Without it a server could hold us for years with a byte every now and then.
const RATE_MIN: u64 = 16 * 1024;

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For an address to be resolved, and again for a connection to be made.
    pub(crate) connect: Duration,
    /// For the head of an answer.
    pub(crate) answer: Duration,
    /// For the next bytes of a body.
    pub(crate) read: Duration,
}

impl Patience {
    /// Long enough for a server on the other side of the world behind a slow link.
    pub(crate) fn usual() -> Patience {
        Patience {
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(30),
            read: Duration::from_secs(30),
        }
    }
}

/// Reads the file at `url` into the staged blob, on from the bytes that are there already.
pub(crate) fn fetch(
    url: &str,
    patience: Patience,
    delivery: &mut Delivery<'_>,
) -> Result<(), MirrorError> {
    if delivery.staged.len() > delivery.size {
        delivery.restart()?;
    }
    let agent = agent(patience, delivery.missing());
    while delivery.missing() > 0 {
        let start = delivery.staged.len();
        match request(&agent, url, delivery) {
            Ok(()) => {}
            // The connection broke, but what has come was worth making it again.
            Err(MirrorError::Broken { .. } | MirrorError::Short { .. })
                if delivery.staged.len() >= start.saturating_add(GAIN_MIN) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn agent(patience: Patience, missing: u64) -> Agent {
    let body = Duration::from_secs(missing / RATE_MIN) + patience.read;
    Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(REDIRECT_COUNT_MAX)
        .timeout_resolve(Some(patience.connect))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.answer))
        .timeout_per_read(Some(patience.read))
        .timeout_recv_body(Some(body))
        .build()
        .new_agent()
}

/// One request for all bytes that are missing.
fn request(agent: &Agent, url: &str, delivery: &mut Delivery<'_>) -> Result<(), MirrorError> {
    let start = delivery.staged.len();
    let mut request = agent.get(url);
    if start > 0 {
        request = request.header(RANGE, format!("bytes={start}-"));
    }
    let response = request.call().map_err(|error| MirrorError::Http(Box::new(error)))?;
    match response.status().as_u16() {
        200 => {
            check_size(header(&response, &CONTENT_LENGTH).parse().ok(), delivery.size)?;
            delivery.restart()?;
        }
        206 => check_range(header(&response, &CONTENT_RANGE), start, delivery.size)?,
        other => return Err(MirrorError::Status(other)),
    }
    delivery.take_from(response.into_body().into_reader())?;
    delivery.expect_whole()
}

/// The header's text; empty when it is missing or no text.
fn header<'a>(response: &'a Response<Body>, name: &HeaderName) -> &'a str {
    response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// A size that the server does not tell is no reason to refuse it.
fn check_size(got: Option<u64>, wanted: u64) -> Result<(), MirrorError> {
    match got {
        Some(got) if got != wanted => Err(MirrorError::OtherSize { wanted, got }),
        _ => Ok(()),
    }
}

/// Reads `bytes 5-9/10` or `bytes 5-9/*` (RFC 9110 14.4). The end does not matter: bytes that are
/// missing then are asked for again.
fn check_range(range: &str, start: u64, size: u64) -> Result<(), MirrorError> {
    let other = || MirrorError::OtherRange { start, range: range.to_owned() };
    let (span, total) =
        range.strip_prefix("bytes ").and_then(|range| range.split_once('/')).ok_or_else(other)?;
    let first = span.split_once('-').and_then(|(first, _)| first.parse::<u64>().ok());
    if first != Some(start) {
        return Err(other());
    }
    check_size(total.parse().ok(), size)
}

#[cfg(test)]
mod tests;
