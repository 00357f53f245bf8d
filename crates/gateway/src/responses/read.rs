//! Reading a request for a response.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use text::template::Message;

use crate::backend::ServedModel;
use crate::chat;
use crate::error::ApiError;
use crate::limits::MESSAGES_MAX;
use crate::observe::hex;
use crate::parameters::{
    Fields, array, boolean, count, invalid, kind, string, unsupported, wrong_type,
};
use crate::plan::{Common, Plan};
use crate::responses::kept::Responses;
use crate::sampling::random;
use crate::tools::{self, Tools};

/// Whether a field has a value that leaves the answer as it is.
type Harmless = fn(&Value) -> bool;

/// Fields of this operation that may only ask for what happens anyway.
const WITHOUT_EFFECT: &[(&str, Harmless)] = &[
    ("background", |value| value == false),
    ("include", |value| value.as_array().is_some_and(Vec::is_empty)),
    ("top_logprobs", |value| value == 0),
    ("truncation", |value| value == "disabled"),
];

/// A request understood.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) plan: Plan,
    /// Whether the response is kept.
    pub(crate) store: bool,
    /// What was asked, each with an id.
    pub(crate) items: Vec<Value>,
    /// The conversation without the instructions, which hold for one response.
    pub(crate) messages: Vec<Message>,
    /// Fields of the response that repeat the request.
    pub(crate) echo: Map<String, Value>,
}

/// Decodes a request and turns its conversation into tokens.
pub(crate) fn plan(
    body: &[u8],
    models: &[Arc<ServedModel>],
    responses: &Responses,
) -> Result<Asked, ApiError> {
    let mut fields = Fields::parse(body)?;
    let mut echo = Map::new();
    let tools = take_tools(&mut fields, &mut echo)?;
    let format = fields.take("text", text)?;
    let (format, shown) = format.unwrap_or_else(|| (None, json!({"type": "text"})));
    echo.insert("text".to_owned(), json!({"format": shown}));
    let store = fields.take("store", boolean)?.unwrap_or(true);
    let metadata = fields.take("metadata", object)?.unwrap_or_else(|| json!({}));
    echo.insert("metadata".to_owned(), metadata);
    for (name, allowed) in WITHOUT_EFFECT {
        fields.take(
            name,
            |path, value| {
                if allowed(&value) { Ok(()) } else { Err(unsupported(path, &value)) }
            },
        )?;
    }
    for name in ["temperature", "top_p"] {
        let value = fields.peek(name).cloned().unwrap_or_else(|| json!(1.0));
        echo.insert(name.to_owned(), value);
    }
    let common = Common::take(&mut fields, models)?;
    if common.n != 1 {
        return Err(unsupported("n", &json!(common.n)));
    }
    let limit = |path: &str, value: Value| count(path, &value, 1..=u32::MAX);
    let tokens_max = fields.take("max_output_tokens", limit)?;
    echo.insert("max_output_tokens".to_owned(), json!(tokens_max));
    let instructions = fields.take("instructions", string)?;
    echo.insert("instructions".to_owned(), json!(instructions));
    let previous = fields.take("previous_response_id", string)?;
    echo.insert("previous_response_id".to_owned(), json!(previous));
    let (mut messages, items) = fields.require("input", input)?;
    fields.finish()?;
    if let Some(previous) = previous {
        let kept = responses
            .get(&previous)
            .ok_or_else(|| super::unknown(&previous).at("previous_response_id"))?;
        messages.splice(..0, kept.messages.iter().cloned());
    }
    if messages.len() >= MESSAGES_MAX {
        let problem = format!("makes {} messages, more than {MESSAGES_MAX}", messages.len());
        return Err(invalid("input", problem));
    }
    let mut told = messages.clone();
    if let Some(instructions) = instructions {
        told.insert(0, message("system", instructions));
    }
    let ask = chat::Ask { messages: told, tools, format, tokens_max, logprobs: None };
    let plan = chat::plan_of(common, ask, ("input", "text.format"))?;
    Ok(Asked { plan, store, items, messages, echo })
}

/// The tools, whose descriptions are flat here.
fn take_tools(fields: &mut Fields, echo: &mut Map<String, Value>) -> Result<Tools, ApiError> {
    let mut tools = Tools::default();
    let values = fields.take("tools", tools::within)?.unwrap_or_default();
    for (index, value) in values.into_iter().enumerate() {
        let path = format!("tools[{index}]");
        let mut function = Fields::object(&path, value)?;
        function.require("type", tools::function_type)?;
        tools.add_function(&path, function)?;
    }
    let choice = fields.peek("tool_choice").cloned().unwrap_or_else(|| json!("auto"));
    tools.choose(fields)?;
    let flat = tools.descriptions.iter().map(|tool| {
        let mut flat = tool["function"].clone();
        flat["type"] = json!("function");
        flat["strict"] = Value::Null;
        flat
    });
    echo.insert("tools".to_owned(), flat.collect());
    echo.insert("tool_choice".to_owned(), choice);
    echo.insert("parallel_tool_calls".to_owned(), json!(tools.parallel));
    Ok(tools)
}

/// The format of the text: its schema, if it has one, and what the response repeats of it.
fn text(path: &str, value: Value) -> Result<(Option<Value>, Value), ApiError> {
    let mut fields = Fields::object(path, value)?;
    let format = fields.take("format", |path, value| {
        let shown = value.clone();
        let mut fields = Fields::object(path, value)?;
        let kind = fields.require("type", string)?;
        let schema = match kind.as_str() {
            "json_schema" => Some(tools::schema(fields)?),
            "json_object" | "text" => {
                fields.finish()?;
                (kind == "json_object").then(|| json!({"type": "object"}))
            }
            _ => return Err(unsupported(&format!("{path}.type"), &json!(kind))),
        };
        Ok((schema, shown))
    })?;
    fields.finish()?;
    Ok(format.unwrap_or_else(|| (None, json!({"type": "text"}))))
}

/// A text, or items: messages, calls of tools, and what they gave.
fn input(path: &str, value: Value) -> Result<(Vec<Message>, Vec<Value>), ApiError> {
    let values = match value {
        Value::String(text) => vec![json!({"role": "user", "content": text})],
        Value::Array(values) => values,
        _ => return Err(wrong_type(path, "a string or an array of items")),
    };
    if values.is_empty() || values.len() > MESSAGES_MAX {
        let problem = format!("has {} items, outside 1 to {MESSAGES_MAX}", values.len());
        return Err(invalid(path, problem));
    }
    let (mut messages, mut items) = (Vec::new(), Vec::new());
    for (index, value) in values.into_iter().enumerate() {
        items.push(item(&format!("{path}[{index}]"), value, &mut messages)?);
    }
    Ok((messages, items))
}

/// Reads an item into the conversation, and gives it back as the API shows it.
fn item(path: &str, value: Value, messages: &mut Vec<Message>) -> Result<Value, ApiError> {
    let mut fields = Fields::object(path, value)?;
    let kind = fields.take("type", string)?.unwrap_or_else(|| "message".to_owned());
    let id = fields.take("id", string)?;
    // Labels that the server itself gave to what is repeated here.
    fields.take("status", string)?;
    let named = |prefix: &str| match id {
        Some(id) => Ok(id),
        None => Ok::<String, ApiError>(format!("{prefix}_{}", hex(&random::<12>()?))),
    };
    let shown = match kind.as_str() {
        "message" => {
            let role = fields.require("role", chat::role)?;
            let content = fields.require("content", content)?;
            messages.push(message(&role, content.clone()));
            let part = if role == "assistant" { "output_text" } else { "input_text" };
            let mut part = json!({"type": part, "text": content});
            if role == "assistant" {
                part["annotations"] = json!([]);
            }
            json!({"id": named("msg")?, "type": kind, "status": "completed", "role": role,
                "content": [part]})
        }
        "function_call" => {
            let call_id = fields.require("call_id", string)?;
            let name = fields.require("name", string)?;
            let arguments = fields.require("arguments", string)?;
            call(messages, tools::call_value(&call_id, &name, &arguments));
            json!({"id": named("fc")?, "type": kind, "status": "completed", "call_id": call_id,
                "name": name, "arguments": arguments})
        }
        "function_call_output" => {
            let call_id = fields.require("call_id", string)?;
            let output = fields.require("output", content)?;
            let mut told = message("tool", output.clone());
            told.extra.insert("tool_call_id".to_owned(), json!(call_id));
            messages.push(told);
            json!({"id": named("fco")?, "type": kind, "status": "completed", "call_id": call_id,
                "output": output})
        }
        _ => return Err(unsupported(&format!("{path}.type"), &json!(kind))),
    };
    fields.finish()?;
    Ok(shown)
}

/// Adds a call to the assistant's message, of which it may be the whole.
pub(crate) fn call(messages: &mut Vec<Message>, call: Value) {
    let speaks = messages.last().is_some_and(|last| last.role == "assistant");
    if !speaks {
        messages.push(message("assistant", String::new()));
    }
    if let Some(last) = messages.last_mut() {
        let calls = last.extra.entry("tool_calls").or_insert_with(|| json!([]));
        calls.as_array_mut().into_iter().for_each(|calls| calls.push(call.clone()));
    }
}

/// A text, or parts of text, which become lines of one text.
fn content(path: &str, value: Value) -> Result<String, ApiError> {
    if let Value::String(text) = value {
        return Ok(text);
    }
    let parts =
        array(path, value).map_err(|_| wrong_type(path, "a string or an array of parts"))?;
    let parts = parts.into_iter().enumerate().map(|(index, part)| {
        let path = format!("{path}[{index}]");
        let mut fields = Fields::object(&path, part)?;
        fields.require("type", kind(&["input_text", "output_text", "text"]))?;
        // What the server itself wrote beside a text that is repeated here.
        for name in ["annotations", "logprobs"] {
            fields.take(name, |path, value| match value.as_array() {
                Some(list) if list.is_empty() => Ok(()),
                _ => Err(unsupported(path, &value)),
            })?;
        }
        let text = fields.require("text", string)?;
        fields.finish()?;
        Ok(text)
    });
    Ok(parts.collect::<Result<Vec<String>, ApiError>>()?.join("\n"))
}

fn object(path: &str, value: Value) -> Result<Value, ApiError> {
    if value.is_object() { Ok(value) } else { Err(wrong_type(path, "an object")) }
}

pub(crate) fn message(role: &str, content: String) -> Message {
    Message { role: role.to_owned(), content, extra: Map::new() }
}
