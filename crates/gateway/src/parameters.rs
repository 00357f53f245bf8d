//! Fields of a request, taken by name, so that none is ever ignored.
//!
//! A field is taken once, with a decoder that says what is wrong with it; whatever is left at the
//! end is refused by name. `null` means absent.
//!
//! Invariants:
//! - A request that is answered had every one of its fields read, or listed here as having no
//!   effect on the answer.
//!
//! Not here: what the fields mean (`sampling`, `chat`, `completions`).

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::error::{ApiError, Code, quote};

/// Whether a field with this value leaves the answer as it is.
type Harmless = fn(&Value) -> bool;

/// Fields that cannot change an answer, with the test that their value is one of those that do
/// not. The rest of the values, and every field that nobody takes, are refused.
const WITHOUT_EFFECT: &[(&str, Harmless)] = &[
    // Labels for the client's own books.
    ("user", Value::is_string),
    ("metadata", Value::is_object),
    ("safety_identifier", Value::is_string),
    ("prompt_cache_key", Value::is_string),
    // Asks for what happens anyway.
    ("store", |value| value == false),
    ("service_tier", |value| value == "auto" || value == "default"),
    ("best_of", |value| value == 1),
    ("modalities", |value| *value == serde_json::json!(["text"])),
    ("response_format", |value| *value == serde_json::json!({"type": "text"})),
    // Says how to use tools where there are none.
    ("tools", |value| value.as_array().is_some_and(Vec::is_empty)),
    ("tool_choice", |value| value == "none" || value == "auto"),
    ("parallel_tool_calls", Value::is_boolean),
    ("functions", |value| value.as_array().is_some_and(Vec::is_empty)),
    ("function_call", |value| value == "none" || value == "auto"),
];

/// The fields of one JSON object that are not taken yet.
#[derive(Debug)]
pub(crate) struct Fields {
    path: String,
    values: Map<String, Value>,
}

impl Fields {
    /// The fields of a request's body.
    pub(crate) fn parse(body: &[u8]) -> Result<Fields, ApiError> {
        let value = serde_json::from_slice(body).map_err(|error| {
            ApiError::new(Code::InvalidJson, format!("the body is not valid JSON: {error}"))
        })?;
        match value {
            Value::Object(values) => Ok(Fields { path: String::new(), values }),
            _ => Err(ApiError::new(Code::InvalidType, "the body must be a JSON object")),
        }
    }

    /// The fields of an object inside the body, found at `path`.
    pub(crate) fn object(path: &str, value: Value) -> Result<Fields, ApiError> {
        match value {
            Value::Object(values) => Ok(Fields { path: format!("{path}."), values }),
            _ => Err(wrong_type(path, "an object")),
        }
    }

    /// Takes a field through a decoder, which gets the field's path and value.
    pub(crate) fn take<T>(
        &mut self,
        name: &str,
        decode: impl FnOnce(&str, Value) -> Result<T, ApiError>,
    ) -> Result<Option<T>, ApiError> {
        match self.values.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => decode(&self.at(name), value).map(Some),
        }
    }

    /// Puts a field back, under the name by which it is taken next.
    pub(crate) fn put(&mut self, name: &str, value: Value) {
        self.values.insert(name.to_owned(), value);
    }

    /// A field that stays to be taken.
    pub(crate) fn peek(&self, name: &str) -> Option<&Value> {
        self.values.get(name).filter(|value| !value.is_null())
    }

    /// Takes a field that must be there.
    pub(crate) fn require<T>(
        &mut self,
        name: &str,
        decode: impl FnOnce(&str, Value) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let missing = self.at(name);
        self.take(name, decode)?.ok_or_else(|| {
            ApiError::new(Code::MissingParameter, format!("`{missing}` is missing")).at(missing)
        })
    }

    /// Drops the fields of a whole request that have no effect on its answer.
    pub(crate) fn drop_without_effect(&mut self) -> Result<(), ApiError> {
        for (name, allowed) in WITHOUT_EFFECT {
            self.take(
                name,
                |path, value| {
                    if allowed(&value) { Ok(()) } else { Err(unsupported(path, &value)) }
                },
            )?;
        }
        Ok(())
    }

    /// Refuses what nobody took, naming the first by alphabet.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        let rest = self.values.iter().filter(|(_, value)| !value.is_null());
        match rest.min_by_key(|(name, _)| name.as_str()) {
            None => Ok(()),
            Some((name, value)) => Err(unsupported(&self.at(name), value)),
        }
    }

    fn at(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }
}

/// Refuses a field, or this value of it. A short value is repeated, since it may be at fault.
pub(crate) fn unsupported(path: &str, value: &Value) -> ApiError {
    let shown = match value {
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            format!(" with the value {}", quote(&value.to_string()))
        }
        _ => String::new(),
    };
    let message = format!("{}{shown} is not supported by this server", quote(path));
    ApiError::new(Code::UnsupportedParameter, message).at(cut(path))
}

/// Refuses a value for its JSON type.
pub(crate) fn wrong_type(path: &str, expected: &str) -> ApiError {
    ApiError::new(Code::InvalidType, format!("`{path}` must be {expected}")).at(path)
}

/// Refuses a value for what it says.
pub(crate) fn invalid(path: &str, problem: impl std::fmt::Display) -> ApiError {
    ApiError::new(Code::InvalidValue, format!("`{path}` {problem}")).at(path)
}

/// Decodes `true` or `false`.
pub(crate) fn boolean(path: &str, value: Value) -> Result<bool, ApiError> {
    value.as_bool().ok_or_else(|| wrong_type(path, "true or false"))
}

/// Decodes a string.
pub(crate) fn string(path: &str, value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(wrong_type(path, "a string")),
    }
}

/// Decodes a `type` that is one of these.
pub(crate) fn kind(
    known: &'static [&'static str],
) -> impl FnOnce(&str, Value) -> Result<(), ApiError> {
    move |path, kind| match kind.as_str() {
        Some(word) if known.contains(&word) => Ok(()),
        Some(_) => Err(unsupported(path, &kind)),
        None => Err(wrong_type(path, "a string")),
    }
}

/// Decodes an array.
pub(crate) fn array(path: &str, value: Value) -> Result<Vec<Value>, ApiError> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(wrong_type(path, "an array")),
    }
}

/// Decodes an integer of 64 bits with sign.
pub(crate) fn integer(path: &str, value: Value) -> Result<i64, ApiError> {
    value.as_i64().ok_or_else(|| wrong_type(path, "an integer between -2^63 and 2^63 - 1"))
}

/// Decodes a count within a range.
pub(crate) fn count(
    path: &str,
    value: &Value,
    range: RangeInclusive<u32>,
) -> Result<u32, ApiError> {
    let Some(number) = value.as_i64() else {
        return Err(wrong_type(path, "an integer"));
    };
    u32::try_from(number).ok().filter(|number| range.contains(number)).ok_or_else(|| {
        invalid(path, format!("is {number}, outside {} to {}", range.start(), range.end()))
    })
}

fn cut(path: &str) -> String {
    path.chars().take(crate::limits::QUOTE_LENGTH_MAX).collect()
}
