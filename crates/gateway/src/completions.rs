//! `POST /v1/completions`: prompts as they are, as texts or as tokens.
//!
//! Not here: the fields it shares with chat (`plan`), the answer's shape (`shape`).

use std::sync::Arc;

use engine::request::TOP_LOGPROBS_MAX;
use serde_json::Value;
use text::tokenizer::SpecialTokens;

use crate::backend::ServedModel;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::limits::CHOICES_MAX;
use crate::parameters::{Fields, boolean, count, invalid, wrong_type};
use crate::plan::{Common, Plan, Prompt};
use crate::shape::Surface;

/// Decodes a request and turns its texts into tokens.
pub(crate) fn plan(body: &[u8], models: &[Arc<ServedModel>]) -> Result<Plan, ApiError> {
    let mut fields = Fields::parse(body)?;
    let common = Common::take(&mut fields, models)?;
    let texts = fields.require("prompt", prompts)?;
    let echo = fields.take("echo", boolean)?.unwrap_or(false);
    let tokens_max = fields.take("max_tokens", |path, value| count(path, &value, 0..=u32::MAX))?;
    let top = 0..=TOP_LOGPROBS_MAX as u32;
    let logprobs = fields.take("logprobs", |path, value| count(path, &value, top))?;
    let dry_run = fields.take("dry_run", boolean)?.unwrap_or(false);
    fields.finish()?;
    let prompts: Result<Vec<Prompt>, ApiError> =
        texts.into_iter().map(|text| text.tokenise(&common.model, echo)).collect();
    let plan = Plan {
        surface: Surface::Completions,
        input: "prompt",
        model: common.model,
        prompts: prompts?,
        n: common.n,
        sampling: common.sampling,
        seeding: common.seeding,
        caller: Caller::default(),
        tokens_max,
        stops: common.stops,
        logprobs: logprobs.map(|top| top as u8),
        stream: common.stream,
        tools: None,
        grammar: None,
        keep: None,
        dry_run,
    };
    plan.check()
}

/// A prompt as the client gave it.
enum Text {
    Characters(String),
    Tokens(Vec<u32>),
}

impl Text {
    fn tokenise(self, model: &ServedModel, echo: bool) -> Result<Prompt, ApiError> {
        let tokenizer = &model.tokenizer;
        match self {
            Text::Characters(text) => {
                // The author of a raw prompt may write control tokens; that is what it is for.
                let tokens = tokenizer.encode_prompt(&text, SpecialTokens::Parse).into();
                Ok(Prompt { tokens, echo: echo.then_some(text) })
            }
            Text::Tokens(tokens) => {
                if let Some(stranger) = tokens.iter().find(|&&id| id as usize >= tokenizer.len()) {
                    let problem = format!("names the token {stranger}, and `{}`", model.name);
                    let size = tokenizer.len();
                    return Err(invalid("prompt", format!("{problem} has only {size} tokens")));
                }
                let echo = echo.then(|| tokenizer.decode(&tokens));
                Ok(Prompt { tokens: tokens.into(), echo })
            }
        }
    }
}

/// A string, an array of strings, an array of tokens, or an array of arrays of tokens.
fn prompts(path: &str, value: Value) -> Result<Vec<Text>, ApiError> {
    let items = match value {
        Value::String(text) => return Ok(vec![Text::Characters(text)]),
        Value::Array(items) => items,
        _ => return Err(shape_error(path)),
    };
    if items.first().is_some_and(Value::is_number) {
        return Ok(vec![Text::Tokens(tokens(path, &items)?)]);
    }
    if items.is_empty() || items.len() > CHOICES_MAX {
        let problem = format!("has {} entries, outside 1 to {CHOICES_MAX}", items.len());
        return Err(invalid(path, problem));
    }
    items.into_iter().map(|item| prompt(path, item)).collect()
}

fn prompt(path: &str, value: Value) -> Result<Text, ApiError> {
    match value {
        Value::String(text) => Ok(Text::Characters(text)),
        Value::Array(items) => tokens(path, &items).map(Text::Tokens),
        _ => Err(shape_error(path)),
    }
}

fn tokens(path: &str, items: &[Value]) -> Result<Vec<u32>, ApiError> {
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    items.iter().map(|item| id(item).ok_or_else(|| shape_error(path))).collect()
}

fn shape_error(path: &str) -> ApiError {
    let shapes = "a string, an array of strings, an array of token ids, or an array of such arrays";
    wrong_type(path, shapes)
}
