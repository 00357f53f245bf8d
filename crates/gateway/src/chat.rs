//! `POST /v1/chat/completions`: a conversation becomes one prompt.
//!
//! Not here: the fields it shares with completions (`plan`), the answer's shape (`shape`).

use std::sync::Arc;

use engine::request::TOP_LOGPROBS_MAX;
use serde_json::{Map, Value};
use text::template::{Conversation, Message, TemplateError};

use crate::backend::ServedModel;
use crate::error::{ApiError, Code, quote};
use crate::limits::MESSAGES_MAX;
use crate::parameters::{Fields, array, boolean, count, invalid, string, unsupported, wrong_type};
use crate::plan::{Common, Plan, Prompt};
use crate::shape::Surface;

/// Fields of a message that only its template reads.
const EXTRAS: &[&str] = &["name", "tool_call_id", "tool_calls"];

/// Decodes a request and turns its conversation into tokens.
pub(crate) fn plan(body: &[u8], models: &[Arc<ServedModel>]) -> Result<Plan, ApiError> {
    let mut fields = Fields::parse(body)?;
    let common = Common::take(&mut fields, models)?;
    let messages = fields.require("messages", messages)?;
    let tokens_max = tokens_max(&mut fields)?;
    let logprobs = logprobs(&mut fields)?;
    fields.finish()?;
    let tokens = tokens(&common.model, &messages)?;
    let plan = Plan {
        surface: Surface::Chat,
        model: common.model,
        prompts: vec![Prompt { tokens: tokens.into(), echo: None }],
        n: common.n,
        sampling: common.sampling,
        seeding: common.seeding,
        tokens_max,
        stops: common.stops,
        logprobs,
        stream: common.stream,
    };
    plan.check()
}

fn tokens(model: &ServedModel, messages: &[Message]) -> Result<Vec<u32>, ApiError> {
    let Some(template) = &model.template else {
        let message = format!("`{}` has no chat template; use /v1/completions", model.name);
        return Err(ApiError::new(Code::TemplateRefused, message).at("model"));
    };
    let conversation = Conversation {
        messages,
        add_generation_prompt: true,
        begin: &model.begin_text,
        end: &model.end_text,
        tools: None,
    };
    template.encode_chat(&model.tokenizer, &conversation).map_err(|error| {
        let code = match error {
            TemplateError::TooLarge { .. } => Code::ContextLengthExceeded,
            _ => Code::TemplateRefused,
        };
        ApiError::new(code, error.to_string()).at("messages")
    })
}

fn messages(path: &str, value: Value) -> Result<Vec<Message>, ApiError> {
    let values = array(path, value)?;
    if values.is_empty() || values.len() > MESSAGES_MAX {
        let problem = format!("has {} messages, outside 1 to {MESSAGES_MAX}", values.len());
        return Err(invalid(path, problem));
    }
    let indexed = values.into_iter().enumerate();
    indexed.map(|(index, value)| message(&format!("{path}[{index}]"), value)).collect()
}

fn message(path: &str, value: Value) -> Result<Message, ApiError> {
    let mut fields = Fields::object(path, value)?;
    let role = fields.require("role", role)?;
    let mut extra = Map::new();
    for name in EXTRAS {
        if let Some(value) = fields.take(name, |_, value| Ok(value))? {
            extra.insert((*name).to_owned(), value);
        }
    }
    // An assistant that called a tool may have said nothing.
    let content = if extra.contains_key("tool_calls") {
        fields.take("content", content)?.unwrap_or_default()
    } else {
        fields.require("content", content)?
    };
    fields.finish()?;
    Ok(Message { role, content, extra })
}

fn role(path: &str, value: Value) -> Result<String, ApiError> {
    let role = string(path, value)?;
    match role.as_str() {
        "developer" => Ok("system".to_owned()),
        "system" | "user" | "assistant" | "tool" => Ok(role),
        _ => Err(invalid(path, format!("is {}, which is no role", quote(&role)))),
    }
}

/// A text, or text parts, which become lines of one text.
fn content(path: &str, value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        Value::Array(parts) => {
            let parts = parts.into_iter().enumerate();
            let texts: Result<Vec<String>, ApiError> =
                parts.map(|(index, part)| text_part(&format!("{path}[{index}]"), part)).collect();
            Ok(texts?.join("\n"))
        }
        _ => Err(wrong_type(path, "a string or an array of text parts")),
    }
}

fn text_part(path: &str, value: Value) -> Result<String, ApiError> {
    let mut fields = Fields::object(path, value)?;
    fields.require("type", |path, kind| match kind.as_str() {
        Some("text") => Ok(()),
        Some(_) => Err(unsupported(path, &kind)),
        None => Err(wrong_type(path, "a string")),
    })?;
    let text = fields.require("text", string)?;
    fields.finish()?;
    Ok(text)
}

fn tokens_max(fields: &mut Fields) -> Result<Option<u32>, ApiError> {
    let limit = |path: &str, value: Value| count(path, &value, 1..=u32::MAX);
    let old = fields.take("max_tokens", limit)?;
    let new = fields.take("max_completion_tokens", limit)?;
    match (old, new) {
        (Some(old), Some(new)) if old != new => {
            Err(invalid("max_tokens", format!("is {old} and `max_completion_tokens` is {new}")))
        }
        _ => Ok(new.or(old)),
    }
}

fn logprobs(fields: &mut Fields) -> Result<Option<u8>, ApiError> {
    let wanted = fields.take("logprobs", boolean)?.unwrap_or(false);
    let top = fields.take("top_logprobs", |path, value| {
        let top = count(path, &value, 0..=TOP_LOGPROBS_MAX as u32)?;
        if wanted { Ok(top as u8) } else { Err(invalid(path, "needs `logprobs` to be true")) }
    })?;
    Ok(wanted.then(|| top.unwrap_or(0)))
}
