//! JSON as Python writes it, for the `tojson` filter.
//!
//! Chat templates were written for `json.dumps(value, ensure_ascii=False, indent=indent)`: a space
//! after each comma and colon, and no escapes but those that JSON asks for.
//!
//! Invariants:
//! - The output is at most `size_max` bytes, however often a value contains another.
//!
//! Not here: reading JSON.

use std::fmt::Write;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

/// Values inside values, at most. Python's own limit is about 1,000 calls; no tool is described
/// in more than a dozen.
const DEPTH_MAX: usize = 100;
/// Spaces of one step of indentation, at most.
const INDENT_MAX: usize = 16;

/// Writes a value as JSON, on one line or indented.
pub(super) fn write(
    value: &Value,
    indent: Option<usize>,
    size_max: usize,
) -> Result<String, Error> {
    let indent = indent.map(|width| width.min(INDENT_MAX));
    let mut writer = Writer { out: String::new(), indent, size_max };
    writer.value(value, 0)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    indent: Option<usize>,
    size_max: usize,
}

impl Writer {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > DEPTH_MAX {
            return Err(refused("value is nested too deeply for json"));
        }
        match value.kind() {
            ValueKind::None => self.push("null"),
            ValueKind::Bool => self.push(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.push(&value.to_string()),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.sequence(value, depth),
            ValueKind::Map => self.map(value, depth),
            kind => Err(refused(format!("{kind} cannot be written as json"))),
        }
    }

    fn sequence(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.push("[")?;
        let mut is_first = true;
        for item in value.try_iter()? {
            self.separate(is_first, depth + 1)?;
            self.value(&item, depth + 1)?;
            is_first = false;
        }
        self.close(is_first, depth, "]")
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.push("{")?;
        let mut is_first = true;
        for key in value.try_iter()? {
            self.separate(is_first, depth + 1)?;
            self.string(key.as_str().unwrap_or(&key.to_string()))?;
            self.push(": ")?;
            self.value(&value.get_item(&key)?, depth + 1)?;
            is_first = false;
        }
        self.close(is_first, depth, "}")
    }

    /// Goes to the place of the next item.
    fn separate(&mut self, is_first: bool, depth: usize) -> Result<(), Error> {
        match (self.indent, is_first) {
            (None, true) => Ok(()),
            (None, false) => self.push(", "),
            (Some(_), true) => self.line(depth),
            (Some(_), false) => self.push(",").and_then(|()| self.line(depth)),
        }
    }

    fn close(&mut self, is_empty: bool, depth: usize, bracket: &str) -> Result<(), Error> {
        if self.indent.is_some() && !is_empty {
            self.line(depth)?;
        }
        self.push(bracket)
    }

    fn line(&mut self, depth: usize) -> Result<(), Error> {
        let spaces = " ".repeat(self.indent.unwrap_or(0) * depth);
        self.push("\n")?;
        self.push(&spaces)
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        let mut quoted = String::with_capacity(text.len() + 2);
        quoted.push('"');
        for character in text.chars() {
            match character {
                '"' => quoted.push_str("\\\""),
                '\\' => quoted.push_str("\\\\"),
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '\t' => quoted.push_str("\\t"),
                '\u{8}' => quoted.push_str("\\b"),
                '\u{C}' => quoted.push_str("\\f"),
                control if control < ' ' => {
                    // Writing to a string cannot fail.
                    let _ = write!(quoted, "\\u{:04x}", u32::from(control));
                }
                ordinary => quoted.push(ordinary),
            }
        }
        quoted.push('"');
        self.push(&quoted)
    }

    fn push(&mut self, text: &str) -> Result<(), Error> {
        if self.out.len() + text.len() > self.size_max {
            return Err(refused(format!("json is longer than {} bytes", self.size_max)));
        }
        self.out.push_str(text);
        Ok(())
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

#[cfg(test)]
mod tests;
