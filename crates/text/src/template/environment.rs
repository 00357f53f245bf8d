//! What a template can call, and what it may cost.
//!
//! Templates are Jinja2 as the `transformers` library runs it: blocks are trimmed, Python's string
//! and dictionary methods work, `raise_exception` refuses a conversation, and `strftime_now`
//! answers with one fixed day, since a prompt must be the same on every machine.
//!
//! Invariants:
//! - Nothing here reads a clock, a file or the environment, or loads another template.
//! - A render executes at most `FUEL` steps; loops, strings, output and JSON are charged or bounded.
//!
//! Not here: what the conversation looks like (`template`). Nor a bound on one thing: the engine
//! does not charge for walking a list that holds another many times over, so a template made for it
//! can compare or join such lists for longer than anyone waits (`docs/adr/0010-own-tokenizer.md`).

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind};

use super::{OUTPUT_SIZE_MAX, json};

/// Steps of a render, at most. One step is an instruction or 64 bytes made, so this bounds a
/// render to about half a second and 64 MB. Rendering 100 messages takes a few thousand.
pub(super) const FUEL: u64 = 1_000_000;

/// The day that `strftime_now` tells, a Friday: the one that Llama 3.2's own template falls back on.
const DAY: [(char, &str); 11] = [
    ('a', "Fri"),
    ('A', "Friday"),
    ('b', "Jul"),
    ('B', "July"),
    ('d', "26"),
    ('m', "07"),
    ('y', "24"),
    ('Y', "2024"),
    ('H', "00"),
    ('M', "00"),
    ('S', "00"),
];

/// The message with which a template refused a conversation.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// An environment that holds the template `name`.
pub(super) fn environment(name: &'static str, source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_filter("tojson", tojson);
    environment.add_test("iterable", is_iterable);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_template_owned(name, source.to_owned())?;
    Ok(environment)
}

/// As Python: `none` is not iterable, whereas the engine would treat it as empty.
fn is_iterable(value: &Value) -> bool {
    value.kind() != ValueKind::None && value.try_iter().is_ok()
}

fn tojson(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    json::write(value, indent, OUTPUT_SIZE_MAX)
}

fn raise_exception(message: &str) -> Result<String, Error> {
    let source = Raised(message.to_owned());
    Err(Error::new(ErrorKind::InvalidOperation, "the template raised an exception")
        .with_source(source))
}

/// Formats the fixed day. A letter that it does not know stays as it is written.
fn strftime_now(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let Some(code) = letters.next() else {
            out.push('%');
            break;
        };
        match DAY.iter().find(|(known, _)| *known == code) {
            Some((_, text)) => out.push_str(text),
            None if code == '%' => out.push('%'),
            None => out.extend(['%', code]),
        }
    }
    out
}
