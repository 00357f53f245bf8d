//! Comparing a tokenizer with recorded ids.
//!
//! A fixture is JSON: `{"cases": [{"text": "...", "special": true, "ids": [1, 2]}]}`, made with
//! llama.cpp (`fixtures/tokens/README.md`). `special` says whether control tokens in the text were
//! parsed; no beginning token is added.
//!
//! Not here: where the vocabulary of a fixture comes from.

use serde_json::Value;

use crate::tokenizer::{SpecialTokens, Tokenizer};

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many cases were compared.
    pub cases: usize,
    /// Those whose ids differ.
    pub mismatches: Vec<Mismatch>,
}

/// A text whose ids are not the recorded ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The case's place in the fixture, from 0.
    pub index: usize,
    /// The text.
    pub text: String,
    /// Whether control tokens were parsed.
    pub special: SpecialTokens,
    /// The recorded ids.
    pub expected: Vec<u32>,
    /// The tokenizer's ids.
    pub found: Vec<u32>,
}

/// Why a fixture could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// It is not JSON.
    #[error("fixture is not json")]
    Json(#[from] serde_json::Error),
    /// It has no list of cases.
    #[error("fixture has no list named \"cases\"")]
    NoCases,
    /// A case lacks a field, or has one of another type.
    #[error("case {index} of the fixture has no proper field {field:?}")]
    Field {
        /// The case's place in the fixture, from 0.
        index: usize,
        /// The field.
        field: &'static str,
    },
}

/// Encodes every text of a fixture and reports those whose ids differ from the recorded ones.
///
/// # Errors
/// When the fixture is not of the form above.
pub fn compare(tokenizer: &Tokenizer, fixture: &str) -> Result<Report, FixtureError> {
    let fixture: Value = serde_json::from_str(fixture)?;
    let cases = fixture.get("cases").and_then(Value::as_array).ok_or(FixtureError::NoCases)?;
    let mut mismatches = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let (text, special, expected) =
            read_case(case).map_err(|field| FixtureError::Field { index, field })?;
        let found = tokenizer.encode(text, special);
        if found != expected {
            let text = text.to_owned();
            mismatches.push(Mismatch { index, text, special, expected, found });
        }
    }
    Ok(Report { cases: cases.len(), mismatches })
}

/// A case's text, mode and ids, or the field that is wrong.
fn read_case(case: &Value) -> Result<(&str, SpecialTokens, Vec<u32>), &'static str> {
    let text = case.get("text").and_then(Value::as_str).ok_or("text")?;
    let special = match case.get("special").and_then(Value::as_bool).ok_or("special")? {
        true => SpecialTokens::Parse,
        false => SpecialTokens::Plain,
    };
    let ids = case.get("ids").and_then(Value::as_array).ok_or("ids")?;
    let id = |id: &Value| id.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids = ids.iter().map(id).collect::<Option<Vec<u32>>>().ok_or("ids")?;
    Ok((text, special, ids))
}

#[cfg(test)]
mod tests;
