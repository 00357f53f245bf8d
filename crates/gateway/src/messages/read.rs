//! Reading a request for a message.

use std::sync::Arc;

use serde_json::{Value, json};
use text::template::Message;

use crate::backend::ServedModel;
use crate::chat;
use crate::error::ApiError;
use crate::limits::MESSAGES_MAX;
use crate::parameters::{
    Fields, array, boolean, count, invalid, kind, string, unsupported, wrong_type,
};
use crate::plan::{Common, Plan, stops};
use crate::responses::{call, message};
use crate::tools::{self, Choice, Tools};

/// Decodes a request and turns its conversation into tokens.
pub(crate) fn plan(body: &[u8], models: &[Arc<ServedModel>]) -> Result<Plan, ApiError> {
    let mut fields = Fields::parse(body)?;
    let limit = |path: &str, value: Value| count(path, &value, 1..=u32::MAX);
    let tokens_max = fields.require("max_tokens", limit)?;
    read(fields, Some(tokens_max), models)
}

/// Decodes a request whose tokens are only to be counted.
pub(crate) fn counted(body: &[u8], models: &[Arc<ServedModel>]) -> Result<Plan, ApiError> {
    read(Fields::parse(body)?, None, models)
}

fn read(
    mut fields: Fields,
    tokens_max: Option<u32>,
    models: &[Arc<ServedModel>],
) -> Result<Plan, ApiError> {
    let tools = take_tools(&mut fields)?;
    let system = fields.take("system", text)?;
    let mut messages = fields.require("messages", messages)?;
    if let Some(system) = system {
        messages.insert(0, message("system", system));
    }
    let stops = fields.take("stop_sequences", stops)?;
    cache_control(&mut fields)?;
    // How long the answer is thought about, and by whom it is answered, is not for the client to say.
    harmless(&mut fields, "thinking", |value| *value == json!({"type": "disabled"}))?;
    harmless(&mut fields, "service_tier", |value| value == "auto" || value == "standard_only")?;
    let mut common = Common::take(&mut fields, models)?;
    if common.n != 1 {
        return Err(unsupported("n", &json!(common.n)));
    }
    fields.finish()?;
    common.stops = stops.unwrap_or(common.stops);
    let ask = chat::Ask { messages, tools, format: None, tokens_max, logprobs: None };
    chat::plan_of(common, ask, ("messages", "tools"))
}

fn harmless(
    fields: &mut Fields,
    name: &str,
    is_so: impl FnOnce(&Value) -> bool,
) -> Result<(), ApiError> {
    let taken = fields.take(name, |path, value| match is_so(&value) {
        true => Ok(()),
        false => Err(unsupported(path, &value)),
    });
    taken.map(|_| ())
}

/// The tools, whose schema has another name here.
fn take_tools(fields: &mut Fields) -> Result<Tools, ApiError> {
    let mut tools = Tools { parallel: true, ..Tools::default() };
    for (index, value) in
        fields.take("tools", tools::within)?.unwrap_or_default().into_iter().enumerate()
    {
        let path = format!("tools[{index}]");
        let mut tool = Fields::object(&path, value)?;
        tool.take("type", kind(&["custom"]))?;
        cache_control(&mut tool)?;
        let schema = tool.require("input_schema", |path, value| match value {
            Value::Object(_) => Ok(value),
            _ => Err(wrong_type(path, "an object")),
        })?;
        tool.put("parameters", schema);
        tools.add_function(&path, tool)?;
    }
    let choice = fields.take("tool_choice", choice)?;
    let (choice, is_parallel) = choice.unwrap_or((Choice::Auto, true));
    tools.decide(choice)?;
    tools.parallel = is_parallel;
    Ok(tools)
}

fn choice(path: &str, value: Value) -> Result<(Choice, bool), ApiError> {
    let mut fields = Fields::object(path, value)?;
    let kind = fields.require("type", string)?;
    let is_single = fields.take("disable_parallel_tool_use", boolean)?.unwrap_or(false);
    let choice = match kind.as_str() {
        "auto" => Choice::Auto,
        "any" => Choice::Required,
        "none" => Choice::None,
        "tool" => Choice::Named(fields.require("name", string)?),
        _ => return Err(unsupported(&format!("{path}.type"), &json!(kind))),
    };
    fields.finish()?;
    Ok((choice, !is_single))
}

fn messages(path: &str, value: Value) -> Result<Vec<Message>, ApiError> {
    let values = array(path, value)?;
    // One more is the system's.
    if values.is_empty() || values.len() >= MESSAGES_MAX {
        let problem = format!("has {} messages, outside 1 to {}", values.len(), MESSAGES_MAX - 1);
        return Err(invalid(path, problem));
    }
    let mut messages = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        turn(&format!("{path}[{index}]"), value, &mut messages)?;
    }
    if messages.last().is_some_and(|last| last.role == "assistant") {
        let problem = "ends with the assistant, whose words are not gone on with here";
        return Err(invalid(path, problem));
    }
    Ok(messages)
}

/// Reads what one side says, which may become several messages: results of tools are their own.
fn turn(path: &str, value: Value, messages: &mut Vec<Message>) -> Result<(), ApiError> {
    let mut fields = Fields::object(path, value)?;
    let role = fields.require("role", string)?;
    if role != "user" && role != "assistant" {
        return Err(unsupported(&format!("{path}.role"), &json!(role)));
    }
    let blocks = fields.require("content", blocks)?;
    fields.finish()?;
    if role == "assistant" {
        messages.push(message(&role, String::new()));
    }
    for (index, block) in blocks.into_iter().enumerate() {
        self::block(&format!("{path}.content[{index}]"), block, &role, messages)?;
    }
    Ok(())
}

fn block(
    path: &str,
    value: Value,
    role: &str,
    messages: &mut Vec<Message>,
) -> Result<(), ApiError> {
    let block_type = value["type"].clone();
    match (block_type.as_str().unwrap_or_default(), role) {
        ("text", _) => say(messages, role, &text_block(path, value)?),
        ("tool_use", "assistant") => {
            let mut fields = Fields::object(path, value)?;
            fields.require("type", string)?;
            cache_control(&mut fields)?;
            let (id, name) = (fields.require("id", string)?, fields.require("name", string)?);
            let input = fields.require("input", |path, value| match value {
                Value::Object(_) => Ok(value),
                _ => Err(wrong_type(path, "an object")),
            })?;
            fields.finish()?;
            call(messages, tools::call_value(&id, &name, &input.to_string()));
        }
        ("tool_result", "user") => {
            let mut fields = Fields::object(path, value)?;
            fields.require("type", string)?;
            cache_control(&mut fields)?;
            let id = fields.require("tool_use_id", string)?;
            let result = fields.take("content", text)?.unwrap_or_default();
            let is_error = fields.take("is_error", boolean)?.unwrap_or(false);
            fields.finish()?;
            let result = if is_error { format!("Error: {result}") } else { result };
            let mut told = message("tool", result);
            told.extra.insert("tool_call_id".to_owned(), json!(id));
            messages.push(told);
        }
        _ => return Err(unsupported(&format!("{path}.type"), &block_type)),
    }
    Ok(())
}

/// Adds a text to what this side is saying.
fn say(messages: &mut Vec<Message>, role: &str, text: &str) {
    match messages.last_mut().filter(|last| last.role == role) {
        Some(last) if last.content.is_empty() => last.content.push_str(text),
        Some(last) => {
            last.content.push('\n');
            last.content.push_str(text);
        }
        None => messages.push(message(role, text.to_owned())),
    }
}

/// A text, or blocks of text, which become lines of one text.
fn text(path: &str, value: Value) -> Result<String, ApiError> {
    let blocks = blocks(path, value)?.into_iter().enumerate();
    let texts = blocks.map(|(index, block)| text_block(&format!("{path}[{index}]"), block));
    Ok(texts.collect::<Result<Vec<String>, ApiError>>()?.join("\n"))
}

fn text_block(path: &str, value: Value) -> Result<String, ApiError> {
    let mut fields = Fields::object(path, value)?;
    fields.require("type", kind(&["text"]))?;
    cache_control(&mut fields)?;
    harmless(&mut fields, "citations", |value| value.as_array().is_some_and(Vec::is_empty))?;
    let text = fields.require("text", string)?;
    fields.finish()?;
    Ok(text)
}

fn blocks(path: &str, value: Value) -> Result<Vec<Value>, ApiError> {
    match value {
        Value::String(text) => Ok(vec![json!({"type": "text", "text": text})]),
        Value::Array(blocks) => Ok(blocks),
        _ => Err(wrong_type(path, "a string or an array of blocks")),
    }
}

/// Every prefix is cached that can be, whatever this says.
fn cache_control(fields: &mut Fields) -> Result<(), ApiError> {
    harmless(fields, "cache_control", |value| value["type"] == "ephemeral")
}
