//! What a grammar is made of: a client's JSON schema, narrowed to texts that every reader takes.
//!
//! `llguidance` takes a format for a form of text. A date of 30 February, a year 0 or a second 60 have the form
//! and are no dates to most readers, so that dates and times get a pattern beside their format.
//!
//! A whole number may have any number of digits, and a small model that has begun with zeros does not end them;
//! few readers take more than 2^53 - 1 exactly (RFC 8259, section 6), which is what it gets where a schema says
//! nothing of its size.
//!
//! A reference is a fragment of a URI, in which all but ASCII is written as `%` and two digits (RFC 6901, section
//! 6), and `llguidance` looks for the text as it stands, so that it is given the name itself.
//!
//! Invariants:
//! - What the narrowed schema allows, the client's own schema allows.
//!
//! Not here: which texts a schema allows (`llguidance`), where a request has its schemas (`tools`).

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value, json};

/// How JSON is written under a grammar: as models write it, in one line.
pub(crate) const SPELLING: &str = "x-guidance";

/// Days that the calendar has, of years from 1 on, at the beginning of a text that has the form of a date.
const DAY: &str = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])\
    -(?:(?:0[13-9]|1[0-2])-[0-9]{2}|02-(?:[01][0-9]|2[0-8]))\
    |(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)-02-29";
/// A time without a leap second, which few readers know, and which only some days have.
const TIME: &str = "[0-9]{2}:[0-9]{2}:[0-5]";

/// Digits of `multipleOf`, at most, without the zeros at its ends: of 4, a whole answer took 0.6 s, and one of
/// 8 was not read in twenty seconds.
const MULTIPLE_DIGITS_MAX: usize = 4;
/// The same with those zeros: `llguidance` 1.9 overflows at 10.
const MULTIPLE_SIZE_MAX: usize = 6;

/// The largest whole number that every reader takes exactly.
const INTEGER_MAX: i64 = (1 << 53) - 1;
/// Keywords that say which numbers there are, beside or instead of a size of ours.
const NUMBERS: [&str; 11] = [
    "$ref",
    "allOf",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maximum",
    "minimum",
    "multipleOf",
    "oneOf",
];

/// Properties of one object that need not be there, at most: what is looked at for a token rises with their
/// square, and one of 4,000 took 375 ms, of 1,000 24 ms.
const OPTIONAL_MAX: usize = 1_000;

/// Keywords that have one schema, or a list of them.
const SCHEMAS: [&str; 8] = [
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "items",
    "oneOf",
    "prefixItems",
];
/// Keywords that have schemas by names.
const NAMED: [&str; 4] = ["$defs", "definitions", "patternProperties", "properties"];

/// A schema as grammars follow it: narrowed, and with the one way in which it is written, in one line, so that
/// no answer gets lost in blanks. Otherwise why it cannot be followed.
pub(crate) fn followed(mut schema: Value) -> Result<Value, String> {
    narrow(&mut schema)?;
    if let Some(fields) = schema.as_object_mut() {
        let spelling = json!({
            "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": ",
        });
        fields.insert(SPELLING.to_owned(), spelling);
    }
    Ok(schema)
}

/// Narrows a schema and all within it, which are not deeper than JSON may be.
fn narrow(schema: &mut Value) -> Result<(), String> {
    let Some(fields) = schema.as_object_mut() else { return Ok(()) };
    check(fields)?;
    for name in SCHEMAS {
        match fields.get_mut(name) {
            Some(Value::Array(schemas)) => schemas.iter_mut().try_for_each(narrow)?,
            Some(schema) => narrow(schema)?,
            None => {}
        }
    }
    for name in NAMED {
        let schemas = fields.get_mut(name).and_then(Value::as_object_mut);
        schemas.into_iter().flat_map(|schemas| schemas.values_mut()).try_for_each(narrow)?;
    }
    if let Some(Value::String(reference)) = fields.get_mut("$ref") {
        *reference = decoded(reference);
    }
    if is_integer(fields) && !NUMBERS.iter().any(|name| fields.contains_key(*name)) {
        fields.insert("minimum".to_owned(), json!(-INTEGER_MAX));
        fields.insert("maximum".to_owned(), json!(INTEGER_MAX));
    }
    let pattern = match fields.get("format").and_then(Value::as_str) {
        Some("date") => format!("^(?:{DAY})$"),
        Some("time") => format!("^{TIME}"),
        Some("date-time") => format!("^(?:{DAY})[tT]{TIME}"),
        _ => return Ok(()),
    };
    add_pattern(fields, pattern);
    Ok(())
}

/// Whether the numbers that a schema allows are whole ones.
fn is_integer(fields: &Map<String, Value>) -> bool {
    match fields.get("type") {
        Some(Value::Array(types)) => {
            types.contains(&json!("integer")) && !types.contains(&json!("number"))
        }
        kind => kind == Some(&json!("integer")),
    }
}

/// Refuses what a grammar would follow wrongly, or not in time.
fn check(fields: &Map<String, Value>) -> Result<(), String> {
    let least = fields.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
    let required = fields.get("required").and_then(Value::as_array);
    let required: BTreeSet<&str> =
        required.into_iter().flatten().filter_map(Value::as_str).collect();
    // A grammar does not remember names: the same one twice would count as two.
    let most = required.len() + 1;
    if least > most as u64 {
        return Err(format!("`minProperties` of more than its `required` and one ({most})"));
    }
    let properties = fields.get("properties").and_then(Value::as_object);
    let names = properties.into_iter().flat_map(Map::keys);
    if names.filter(|name| !required.contains(name.as_str())).count() > OPTIONAL_MAX {
        return Err(format!("`properties` of which more than {OPTIONAL_MAX} are not `required`"));
    }
    // A remainder of each size is a state of its own, and what is large or small overflows.
    let is_fine = |number: &Number| {
        let text = number.to_string();
        let text = text.strip_suffix(".0").unwrap_or(&text);
        let digits: String = text.chars().filter(|it| *it != '.').collect();
        let is_plain = digits.bytes().all(|it| it.is_ascii_digit());
        is_plain
            && digits.len() <= MULTIPLE_SIZE_MAX
            && digits.trim_matches('0').len() <= MULTIPLE_DIGITS_MAX
    };
    match fields.get("multipleOf") {
        Some(Value::Number(number)) if !is_fine(number) => Err(format!(
            "`multipleOf` with more than {MULTIPLE_DIGITS_MAX} digits, or {MULTIPLE_SIZE_MAX} with its zeros"
        )),
        _ => Ok(()),
    }
}

/// Adds a pattern beside one that a schema may have already.
fn add_pattern(fields: &mut Map<String, Value>, pattern: String) {
    if !fields.contains_key("pattern") {
        fields.insert("pattern".to_owned(), json!(pattern));
        return;
    }
    let all = fields.entry("allOf").or_insert_with(|| json!([]));
    // What is no list is no schema, and is refused as such.
    if let Some(schemas) = all.as_array_mut() {
        schemas.push(json!({"pattern": pattern}));
    }
}

/// A text without the escapes of a URI; as it is where they are no UTF-8.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        let is_escape = |digits: &&[u8]| *byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit);
        let digits = after.get(..2).filter(is_escape);
        let digits = digits.and_then(|digits| str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &after[2..];
            }
            None => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}
