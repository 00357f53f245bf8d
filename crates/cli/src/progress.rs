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
        let rate =
            (done - resumed.min(done)) as f64 / self.started.elapsed().as_secs_f64().max(1e-3);
        let left = total.saturating_sub(done) as f64 / rate.max(1.0);
        let percent = (done * 100).checked_div(total).unwrap_or(100);
        let line = format!(
            "{}: {percent:3} % of {:.1} MB, {:.1} MB/s, {left:.0} s left",
            self.label,
            total as f64 / 1e6,
            rate / 1e6
        );
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
