//! A progress line on standard error: share, rate and time left.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two updates in a terminal, and in a log.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// A progress line.
#[derive(Debug)]
pub(crate) struct Progress {
    label: String,
    started: Instant,
    shown: Option<Instant>,
    /// Bytes that were there when it started, which say nothing about the rate.
    resumed: Option<u64>,
    terminal: bool,
}

impl Progress {
    /// A line that begins with `label`.
    pub(crate) fn new(label: &str) -> Progress {
        Progress {
            label: label.to_owned(),
            started: Instant::now(),
            shown: None,
            resumed: None,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// Shows `done` of `total` bytes, if it is time to.
    pub(crate) fn update(&mut self, done: u64, total: u64) {
        let resumed = *self.resumed.get_or_insert(done);
        let interval = if self.terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        let due = self.shown.is_none_or(|shown| shown.elapsed() >= interval);
        if !due && done < total {
            return;
        }
        self.shown = Some(Instant::now());
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        let (came, left) = (done.saturating_sub(resumed), total.saturating_sub(done));
        let pace = pace(came, left, self.started.elapsed());
        let line = format!("{}: {percent:3} % of {:.1} MB{pace}", self.label, total as f64 / 1e6);
        let mut out = std::io::stderr();
        // A terminal that went away must not end the work.
        let written = match (self.terminal, done < total) {
            (true, true) => write!(out, "\r{line}\x1b[K"),
            (true, false) => writeln!(out, "\r{line}\x1b[K"),
            (false, _) => writeln!(out, "{line}"),
        };
        drop(written);
    }
}

/// The rate and the time left; nothing before there is a rate.
fn pace(came: u64, left: u64, elapsed: Duration) -> String {
    if came == 0 {
        return String::new();
    }
    let rate = came as f64 / elapsed.as_secs_f64().max(1e-3);
    let seconds = (left as f64 / rate).ceil() as u64;
    let left = match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    };
    format!(", {:.1} MB/s, {left} left", rate / 1e6)
}
