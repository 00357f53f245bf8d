//! What the gateway counts, as Prometheus text.
//!
//! Written by hand: a dozen numbers need no library. Names follow Prometheus' rules (letters,
//! digits and underscores, base units, `_total` on counters).
//!
//! Invariants:
//! - Labels come from fixed sets, so that no client can grow the page.
//!
//! Not here: a machine's and an engine's own numbers, which the node knows.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::backend::{Places, Urgency};

/// Upper bounds of the buckets of waiting for an answer's first token, in milliseconds.
const FIRST_TOKEN_BUCKETS: &[u64] =
    &[10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000];
/// Upper bounds of the buckets of waiting for one more token, in milliseconds.
const TOKEN_BUCKETS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

/// The gateway's numbers.
#[derive(Debug)]
pub struct Metrics {
    /// Behind a lock because it is a map; held for one increment.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    pub(crate) prompt_tokens: Counter,
    pub(crate) cached_tokens: Counter,
    pub(crate) completion_tokens: Counter,
    pub(crate) answers_broken: Counter,
    pub(crate) in_flight: Gauge,
    /// Those of batches, which are in no other gauge of answers.
    pub(crate) in_flight_idle: Gauge,
    pub(crate) queued: Gauge,
    pub(crate) time_to_first_token: Histogram,
    pub(crate) time_per_token: Histogram,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

/// How many of something there are now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauge(Arc<AtomicI64>);

/// One of what a gauge counts, until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold(Gauge);

/// How long something took, in buckets.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is longer than all.
    counts: Vec<AtomicU64>,
    sum_microseconds: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            requests: Mutex::default(),
            prompt_tokens: Counter::default(),
            cached_tokens: Counter::default(),
            completion_tokens: Counter::default(),
            answers_broken: Counter::default(),
            in_flight: Gauge::default(),
            in_flight_idle: Gauge::default(),
            queued: Gauge::default(),
            time_to_first_token: Histogram::new(FIRST_TOKEN_BUCKETS),
            time_per_token: Histogram::new(TOKEN_BUCKETS),
        }
    }
}

impl Metrics {
    /// Counts one response.
    pub(crate) fn responded(&self, endpoint: &'static str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((endpoint, status)).or_default() += 1;
    }

    /// The answers of an urgency that are being generated.
    pub(crate) fn in_flight(&self, urgency: Urgency) -> &Gauge {
        match urgency {
            Urgency::Now => &self.in_flight,
            Urgency::Idle => &self.in_flight_idle,
        }
    }

    /// The page that Prometheus reads, with the places of the backend's queue, where it has some, and
    /// the bytes of request bodies that are held.
    #[must_use]
    pub fn render(&self, places: Option<Places>, bodies_size: usize) -> String {
        let mut page = String::new();
        head(&mut page, "build_info", "The program's version, as a label", "gauge");
        line(&mut page, concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}"), 1);
        self.render_requests(&mut page);
        render_held(&mut page, places, bodies_size);
        let counters = [
            ("prompt_tokens", "Prompt tokens of all sequences", &self.prompt_tokens),
            ("cached_tokens", "Prompt tokens found in a cache", &self.cached_tokens),
            ("completion_tokens", "Tokens generated", &self.completion_tokens),
            ("answers_broken", "Answers that broke off before their end", &self.answers_broken),
        ];
        for (name, help, Counter(value)) in counters {
            let value = value.load(Ordering::Relaxed);
            head(&mut page, &format!("{name}_total"), help, "counter");
            line(&mut page, &format!("{name}_total"), value);
        }
        let gauges = [
            ("answers_in_flight", "Answers being generated", &self.in_flight),
            ("batch_answers_in_flight", "Those of batches", &self.in_flight_idle),
            ("sequences_queued", "Sequences whose prompt is not computed yet", &self.queued),
        ];
        for (name, help, Gauge(value)) in gauges {
            head(&mut page, name, help, "gauge");
            line(&mut page, name, value.load(Ordering::Relaxed));
        }
        let first = "Time from a request's start to its first token";
        self.time_to_first_token.render(&mut page, "time_to_first_token_seconds", first);
        let each = "Time between one token and the next of a sequence";
        self.time_per_token.render(&mut page, "time_per_token_seconds", each);
        page
    }

    fn render_requests(&self, page: &mut String) {
        head(page, "http_requests_total", "Responses, by endpoint and status", "counter");
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for ((endpoint, status), count) in requests.iter() {
            let labels = format!("{{endpoint=\"{endpoint}\",status=\"{status}\"}}");
            line(page, &format!("http_requests_total{labels}"), count);
        }
    }
}

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
}

impl Gauge {
    /// Whether there is none.
    pub(crate) fn is_zero(&self) -> bool {
        self.0.load(Ordering::Relaxed) <= 0
    }

    /// Counts one until the hold is dropped.
    pub(crate) fn hold(&self) -> Hold {
        self.0.fetch_add(1, Ordering::Relaxed);
        Hold(self.clone())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Hold(Gauge(value)) = self;
        value.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Histogram {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Histogram { bounds, counts, sum_microseconds: AtomicU64::default() }
    }

    pub(crate) fn observe(&self, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = self.bounds.partition_point(|bound| bound * 1000 < microseconds);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    fn render(&self, page: &mut String, name: &str, help: &str) {
        head(page, name, help, "histogram");
        let bounds = self.bounds.iter().map(|&bound| (bound as f64 / 1000.0).to_string());
        let mut total = 0;
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(&self.counts) {
            total += count.load(Ordering::Relaxed);
            line(page, &format!("{name}_bucket{{le=\"{bound}\"}}"), total);
        }
        let sum = self.sum_microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        line(page, &format!("{name}_sum"), sum);
        line(page, &format!("{name}_count"), total);
    }
}

fn render_held(page: &mut String, places: Option<Places>, bodies_size: usize) {
    let name = "request_body_bytes_held";
    head(page, name, "Bytes of request bodies that are held", "gauge");
    line(page, name, bodies_size);
    let Some(Places { count, free }) = places else { return };
    let held = count.saturating_sub(free);
    head(page, "sequences_held", "Sequences in the queue, running or waiting", "gauge");
    line(page, "sequences_held", held);
    head(page, "sequences_max", "Places of the queue", "gauge");
    line(page, "sequences_max", count);
}

// Writing to a string cannot fail.
fn head(page: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(page, "# HELP mashaa_{name} {help}.\n# TYPE mashaa_{name} {kind}");
}

fn line(page: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = writeln!(page, "mashaa_{name} {value}");
}
