//! JSON from strangers, read in bounded memory.
//!
//! Invariants:
//! - No key stands twice in an object: readers disagree on which one counts.
//! - Objects are no denser than in sound files, as each costs hundreds of bytes however short it is.
//!
//! Not here: what keys mean.

use alloc::string::{String, ToString};

use serde_json::Value;

/// Bytes of text for each object, at least. The shortest object of a sound file, a tensor's entry in
/// a safetensors header, takes 48; those of small files may be shorter.
const OBJECT_SIZE_MIN: usize = 40;
/// Objects that may be shorter.
const SHORT_OBJECTS_MAX: usize = 256;

/// Parses a text.
///
/// # Errors
/// Says what is wrong, and at which line and column where it is not JSON.
pub(super) fn parse(text: &[u8]) -> Result<Value, String> {
    let written = scan(text);
    let objects_max = SHORT_OBJECTS_MAX + text.len() / OBJECT_SIZE_MIN;
    if written.objects > objects_max {
        let found = written.objects;
        return Err(alloc::format!("{found} objects in {} bytes, more than sound", text.len()));
    }
    let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    match written.keys == kept_keys(&value) {
        true => Ok(value),
        false => Err("a key stands twice".to_string()),
    }
}

/// What a text holds, if it is JSON.
struct Scan {
    /// Strings before a colon.
    keys: usize,
    objects: usize,
}

fn scan(text: &[u8]) -> Scan {
    let mut found = Scan { keys: 0, objects: 0 };
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'"' => {
                at = string_end(text, at + 1);
                let rest = text.get(at..).unwrap_or_default();
                let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
                found.keys += usize::from(next == Some(&b':'));
            }
            byte => {
                found.objects += usize::from(byte == b'{');
                at += 1;
            }
        }
    }
    found
}

/// One past the quote that ends the string whose first byte is at `at`.
fn string_end(text: &[u8], mut at: usize) -> usize {
    while at < text.len() && text[at] != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

/// Keys in a value: fewer than were written where one replaced another.
fn kept_keys(value: &Value) -> usize {
    match value {
        Value::Object(map) => map.len() + map.values().map(kept_keys).sum::<usize>(),
        Value::Array(values) => values.iter().map(kept_keys).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_outside_of_strings() {
        for text in [r#"{}"#, r#"{"a":1,"b":{"a":2}}"#, r#"[{"a\":{":"\\"},{"a" : ":{"}]"#] {
            assert!(parse(text.as_bytes()).is_ok(), "{text}");
        }
        for text in [r#"{"a":1,"a":2}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#, "{\"a\":1,\"a\"\n:1}"] {
            assert_eq!(parse(text.as_bytes()), Err("a key stands twice".to_string()), "{text}");
        }
        for text in ["", "{", "\"\\", "nul", "{} {}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn many_short_objects_are_refused() {
        let text = alloc::format!("[{}0]", r#"{"":0},"#.repeat(1_000));
        assert!(parse(text.as_bytes()).unwrap_err().contains("1000 objects"));
    }
}
