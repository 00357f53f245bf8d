//! Log-probabilities in the API's two shapes.
//!
//! The engine reports integers; `natural` turns them into the decimals of the API by the formula
//! that `engine::request::Logprobs` states. They describe the model's distribution before
//! temperature, penalties and bias.
//!
//! Invariants:
//! - A token that is not valid UTF-8 by itself is written `bytes:\xe2\x80`, as in the OpenAI API,
//!   and its bytes are given as well where the shape has a place for them.

use engine::request::Logprobs;
use serde_json::{Map, Value, json};
use text::tokenizer::Tokenizer;

use crate::transcript::Record;

/// The shape of chat completions: `{"content":[...],"refusal":null}`.
pub(crate) fn chat(tokenizer: &Tokenizer, records: &[Record]) -> Value {
    let content: Vec<Value> = records.iter().map(|record| chat_entry(tokenizer, record)).collect();
    json!({"content": content, "refusal": null})
}

/// The shape of completions: parallel arrays, one entry a token.
pub(crate) fn completions(tokenizer: &Tokenizer, records: &[Record]) -> Value {
    let values = |f: &dyn Fn(&Record) -> Value| records.iter().map(f).collect::<Vec<Value>>();
    json!({
        "tokens": values(&|record| json!(spelling(tokenizer, record.token))),
        "token_logprobs": values(&|record| json!(chosen(record))),
        "top_logprobs": values(&|record| top_map(tokenizer, record)),
        "text_offset": values(&|record| json!(record.offset)),
    })
}

/// The natural log-probability of a token with this logit, Q16.
pub(crate) fn natural(logprobs: &Logprobs, logit: i32) -> f64 {
    // Both are integers below 2^53, so that only the logarithm and the last subtraction round.
    let distance = (i64::from(logit) - i64::from(logprobs.max)) as f64 / 65536.0;
    let total = logprobs.total as f64 / (1u64 << 30) as f64;
    distance - total.ln()
}

fn chat_entry(tokenizer: &Tokenizer, record: &Record) -> Value {
    let alternatives = record.logprobs.iter().flat_map(|logprobs| {
        let entry = |&(token, logit)| token_entry(tokenizer, token, Some(natural(logprobs, logit)));
        logprobs.top.iter().map(entry)
    });
    let alternatives: Vec<Value> = alternatives.map(Value::Object).collect();
    let mut entry = token_entry(tokenizer, record.token, chosen(record));
    entry.insert("top_logprobs".to_owned(), Value::Array(alternatives));
    Value::Object(entry)
}

fn token_entry(tokenizer: &Tokenizer, token: u32, logprob: Option<f64>) -> Map<String, Value> {
    let entry = [
        ("token", json!(spelling(tokenizer, token))),
        ("logprob", json!(logprob)),
        ("bytes", json!(tokenizer.bytes(token))),
    ];
    entry.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn chosen(record: &Record) -> Option<f64> {
    record.logprobs.as_ref().map(|logprobs| natural(logprobs, logprobs.chosen.1))
}

/// The likeliest tokens by their spelling, and always the one that stands there. Of two tokens
/// with one spelling the likelier counts.
fn top_map(tokenizer: &Tokenizer, record: &Record) -> Value {
    let Some(logprobs) = &record.logprobs else {
        return Value::Null;
    };
    let mut map = Map::new();
    for &(token, logit) in logprobs.top.iter().chain([&logprobs.chosen]) {
        let value = json!(natural(logprobs, logit));
        map.entry(spelling(tokenizer, token)).or_insert(value);
    }
    Value::Object(map)
}

/// A token as text: its bytes if they are text, its name if it has none.
fn spelling(tokenizer: &Tokenizer, token: u32) -> String {
    match tokenizer.bytes(token) {
        Some(bytes) if !bytes.is_empty() => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => {
                let escapes = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
                format!("bytes:{}", escapes.collect::<String>())
            }
        },
        _ => tokenizer.name(token).unwrap_or_default(),
    }
}
