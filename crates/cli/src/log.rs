//! The log: what a node notices while no person waits for it, on standard error.
//!
//! The setting `log` says how much of it, as `warn` or `info,network=debug,libp2p=off`; `log_format` says
//! how.
//!
//! Invariants:
//! - Nothing is written but to standard error, and nobody reading it ends nothing.
//! - Under `info`, no line holds what a user wrote, unless `log_prompts` says so.
//!
//! Not here: what a command tells the person who gave it (`say`).

use std::io::{self, Write};
use std::sync::Arc;

use node::config::{Config, ConfigError};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::traces::{self, Layered, Sending, Spans};

/// Libraries whose warnings are about strangers' connections, and say nothing to a person; the last one
/// has an error for each vote that nobody else hears, of which a network of one has thousands.
const CHATTY: [(&str, LevelFilter); 5] = [
    ("libp2p", LevelFilter::ERROR),
    ("multistream_select", LevelFilter::ERROR),
    ("quinn", LevelFilter::ERROR),
    ("yamux", LevelFilter::ERROR),
    ("arc_malachitebft_network", LevelFilter::OFF),
];
/// What the setting takes.
const WANTED: &str = "error, warn, info, debug, trace or off, or such a level for each of several \
    parts, as in `warn,network=debug`";

/// Standard error, where a line that cannot be written is lost.
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins the log as the settings say, and the spans that are made of it, which it gives to the end.
///
/// # Errors
/// When a setting is not what it takes.
pub(crate) fn start(config: &Config) -> Result<Option<Sending>, ConfigError> {
    let said = config.text("log");
    // A word alone is a level; `Targets` would take any other for a part, and tell all of it.
    let is_clear = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
    let said = said.split(',').all(is_clear).then(|| said.parse::<Targets>().ok()).flatten();
    let said = said.ok_or_else(|| config.wrong("log", WANTED))?;
    let shown = Targets::new().with_targets(CHATTY).with_targets(said.iter());
    let shown = shown.with_default(said.default_level().unwrap_or(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Lines);
    let lines = match config.text("log_format") {
        "text" => lines.boxed(),
        "json" => lines.json().flatten_event(true).boxed(),
        _ => return Err(config.wrong("log_format", "text or json")),
    };
    let spans = Spans::of(config)?.map(Arc::new);
    let told = Targets::new().with_target(traces::TARGET, LevelFilter::INFO);
    let layer = spans.clone().map(|spans| Layered(spans).with_filter(told));
    // It fails only where a log has begun already, and one is enough.
    let _ = tracing_subscriber::registry().with(lines.with_filter(shown)).with(layer).try_init();
    Ok(spans.as_ref().map(Sending::of))
}
