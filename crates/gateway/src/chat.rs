//! `POST /v1/chat/completions`: a conversation becomes one prompt.
//!
//! Not here: the fields it shares with completions (`plan`), the answer's shape (`shape`).

use std::sync::Arc;

use engine::request::TOP_LOGPROBS_MAX;
use serde_json::{Map, Value, json};
use text::template::{Conversation, Message, Template, TemplateError};

use crate::backend::ServedModel;
use crate::caller::Caller;
use crate::error::{ApiError, Code, quote};
use crate::limits::MESSAGES_MAX;
use crate::parameters::{Fields, array, boolean, count, invalid, kind, string, wrong_type};
use crate::plan::{Common, Grammar, Plan, Prompt};
use crate::shape::Surface;
use crate::stored::{Keep, metadata};
use crate::tools::{self, Syntax, Tools};

/// Fields of a message that only its template reads.
const EXTRAS: &[&str] = &["name", "tool_call_id", "tool_calls"];

/// What a conversation asks for besides the fields that all operations share.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) messages: Vec<Message>,
    pub(crate) tools: Tools,
    /// The schema that the answer follows, if it follows one.
    pub(crate) format: Option<Value>,
    pub(crate) tokens_max: Option<u32>,
    pub(crate) logprobs: Option<u8>,
}

/// Decodes a request and turns its conversation into tokens.
pub(crate) fn plan(body: &[u8], models: &[Arc<ServedModel>]) -> Result<Plan, ApiError> {
    let mut fields = Fields::parse(body)?;
    let tools = Tools::take(&mut fields)?;
    let format = fields.take("response_format", tools::format)?.flatten();
    let keep = keep(&mut fields)?;
    let common = Common::take(&mut fields, models)?;
    let messages = fields.require("messages", messages)?;
    let tokens_max = tokens_max(&mut fields)?;
    let logprobs = logprobs(&mut fields)?;
    let dry_run = fields.take("dry_run", boolean)?.unwrap_or(false);
    fields.finish()?;
    let ask = Ask { messages, tools, format, tokens_max, logprobs };
    let plan = plan_of(common, ask, ("messages", "response_format"))?;
    Ok(Plan { keep, dry_run, ..plan })
}

/// What is kept with the answer, where `store` asks for that. Otherwise labels are the client's own.
fn keep(fields: &mut Fields) -> Result<Option<Keep>, ApiError> {
    if !fields.take("store", boolean)?.unwrap_or(false) {
        return Ok(None);
    }
    let metadata = fields.take("metadata", metadata)?.unwrap_or_else(|| json!({}));
    let messages = fields.peek("messages").and_then(Value::as_array).cloned().unwrap_or_default();
    Ok(Some(Keep { metadata, messages }))
}

/// Turns a conversation into tokens. The paths are those of the conversation and of its schema.
pub(crate) fn plan_of(
    common: Common,
    mut ask: Ask,
    (input, format): (&'static str, &str),
) -> Result<Plan, ApiError> {
    let template = template(&common.model)?;
    let syntax = Syntax::of(template);
    let told = ask.tools.tell(template, &mut ask.messages);
    let tokens = tokens(&common.model, &ask.messages, told.as_ref(), input)?;
    let path = if ask.format.is_some() { format } else { "tools" };
    let grammar = ask.tools.grammar(syntax, ask.format);
    let grammar = grammar.map_err(|reason| tools::refused(path, &reason))?;
    let grammar = grammar.map(|text| grammar_of(&common.model, text, path)).transpose()?;
    let plan = Plan {
        surface: Surface::Chat,
        input,
        model: common.model,
        prompts: vec![Prompt { tokens: tokens.into(), echo: None }],
        n: common.n,
        sampling: common.sampling,
        seeding: common.seeding,
        caller: Caller::default(),
        tokens_max: ask.tokens_max,
        stops: common.stops,
        logprobs: ask.logprobs,
        stream: common.stream,
        tools: ask.tools.are_offered().then_some((syntax, ask.tools)),
        grammar,
        keep: None,
        dry_run: false,
    };
    plan.check()
}

fn template(model: &ServedModel) -> Result<&Template, ApiError> {
    model.template.as_ref().ok_or_else(|| {
        let message = format!("`{}` has no chat template; use /v1/completions", model.name);
        ApiError::new(Code::TemplateRefused, message).at("model")
    })
}

/// A grammar of a request's schemas, which are at a path.
fn grammar_of(model: &ServedModel, text: String, path: &str) -> Result<Grammar, ApiError> {
    let guide = model.tokenizer.guide(&text).map_err(|error| tools::refused(path, &error))?;
    Ok(Grammar { text: text.into(), guide })
}

fn tokens(
    model: &ServedModel,
    messages: &[Message],
    tools: Option<&Value>,
    path: &str,
) -> Result<Vec<u32>, ApiError> {
    let template = template(model)?;
    let conversation = Conversation {
        messages,
        add_generation_prompt: true,
        begin: &model.begin_text,
        end: &model.end_text,
        tools,
    };
    template.encode_chat(&model.tokenizer, &conversation).map_err(|error| {
        let code = match error {
            TemplateError::TooLarge { .. } => Code::ContextLengthExceeded,
            _ => Code::TemplateRefused,
        };
        ApiError::new(code, error.to_string()).at(path)
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
        let decode = if *name == "tool_calls" { tools::calls } else { text_value };
        if let Some(value) = fields.take(name, decode)? {
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

fn text_value(path: &str, value: Value) -> Result<Value, ApiError> {
    string(path, value).map(Value::String)
}

pub(crate) fn role(path: &str, value: Value) -> Result<String, ApiError> {
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
    fields.require("type", kind(&["text"]))?;
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
