//! Tools: what a request says of them, how the model is told, and which grammar a forced call follows.
//!
//! A model's template says how tools are described and how a call is written: between `<tool_call>`
//! and `</tool_call>`, as Hermes and Qwen do, or as one JSON object, as Llama 3 does. A model whose
//! template has no place for tools is told of them in the system message, in the former way.
//!
//! Invariants:
//! - What is asked of the model is asked in its template's own way, or not at all.
//!
//! Not here: finding the calls in what the model says (`calls`).

use std::fmt;

use serde_json::{Map, Value, json};
use text::template::{Message, Template};

use crate::error::{ApiError, Code, quote};
use crate::limits::TOOLS_MAX;
use crate::parameters::{Fields, array, boolean, invalid, kind, string, unsupported, wrong_type};
use crate::schema::{self, SPELLING};

/// Characters of a tool's name, at most, as in the OpenAI API.
const NAME_SIZE_MAX: usize = 64;

/// The tools that a model may call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tools {
    /// Their descriptions, as templates read them.
    pub(crate) descriptions: Vec<Value>,
    pub(crate) names: Vec<String>,
    /// What their arguments look like, a schema each.
    pub(crate) schemas: Vec<Value>,
    pub(crate) choice: Choice,
    /// Whether an answer may have several calls.
    pub(crate) parallel: bool,
}

/// Which tools an answer calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Choice {
    /// None.
    None,
    /// Whichever the model wants, or none.
    #[default]
    Auto,
    /// At least one.
    Required,
    /// The one of this name.
    Named(String),
}

/// How a model writes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, any number of times.
    Tagged,
    /// `{"name": ..., "parameters": {...}}` and nothing else.
    Bare,
}

impl Syntax {
    /// That of a model with this template.
    pub(crate) fn of(template: &Template) -> Syntax {
        let is_tagged = template.mentions("<tool_call>") || !template.mentions("tools");
        if is_tagged { Syntax::Tagged } else { Syntax::Bare }
    }

    fn arguments(self) -> &'static str {
        match self {
            Syntax::Tagged => "arguments",
            Syntax::Bare => "parameters",
        }
    }
}

impl Tools {
    /// Takes the fields that concern tools.
    pub(crate) fn take(fields: &mut Fields) -> Result<Tools, ApiError> {
        let mut tools = Tools { parallel: true, ..Tools::default() };
        let values = fields.take("tools", within)?.unwrap_or_default();
        for (index, value) in values.into_iter().enumerate() {
            tools.add(&format!("tools[{index}]"), value)?;
        }
        tools.choose(fields)?;
        Ok(tools)
    }

    /// Takes how the tools that are there already are to be chosen.
    pub(crate) fn choose(&mut self, fields: &mut Fields) -> Result<(), ApiError> {
        self.parallel = fields.take("parallel_tool_calls", boolean)?.unwrap_or(true);
        let chosen = fields.take("tool_choice", choice)?;
        self.decide(chosen.unwrap_or_default())
    }

    /// Says how they are to be chosen.
    pub(crate) fn decide(&mut self, choice: Choice) -> Result<(), ApiError> {
        match &choice {
            Choice::Required | Choice::Named(_) if self.names.is_empty() => {
                return Err(invalid("tool_choice", "asks for a call where there are no `tools`"));
            }
            Choice::Named(name) if !self.names.contains(name) => {
                let problem = format!("names {}, which is not among `tools`", quote(name));
                return Err(invalid("tool_choice", problem));
            }
            _ => {}
        }
        self.choice = choice;
        Ok(())
    }

    fn add(&mut self, path: &str, value: Value) -> Result<(), ApiError> {
        let mut fields = Fields::object(path, value)?;
        fields.require("type", function_type)?;
        let function = fields.require("function", Fields::object)?;
        fields.finish()?;
        self.add_function(path, function)
    }

    /// Adds a function, described by the fields of an object at a path.
    pub(crate) fn add_function(&mut self, path: &str, mut fields: Fields) -> Result<(), ApiError> {
        let name = fields.require("name", name)?;
        if self.names.contains(&name) {
            let problem = format!("has the name {}, as another tool has", quote(&name));
            return Err(invalid(path, problem));
        }
        let mut function = Map::new();
        function.insert("name".to_owned(), json!(name));
        if let Some(description) = fields.take("description", string)? {
            function.insert("description".to_owned(), json!(description));
        }
        // Arguments follow their schema where a call is forced, whatever this says.
        fields.take("strict", boolean)?;
        let schema = fields.take("parameters", object)?;
        let schema = schema.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        function.insert("parameters".to_owned(), schema.clone());
        fields.finish()?;
        self.descriptions.push(json!({"type": "function", "function": function}));
        self.names.push(name);
        self.schemas.push(schema);
        Ok(())
    }

    /// Whether an answer may have more than one call: a tool that is asked for by its name is called once.
    pub(crate) fn may_repeat(&self) -> bool {
        self.parallel && !matches!(self.choice, Choice::Named(_))
    }

    /// Whether the model may call any.
    pub(crate) fn are_offered(&self) -> bool {
        !self.names.is_empty() && self.choice != Choice::None
    }

    /// Writes tools and calls into messages for a model whose template has no place for them, and gives
    /// what the template is to see of the tools.
    pub(crate) fn tell(&self, template: &Template, messages: &mut Vec<Message>) -> Option<Value> {
        let offered = self.are_offered().then(|| Value::Array(self.descriptions.clone()));
        if template.mentions("tools") {
            return offered;
        }
        messages.iter_mut().for_each(tell_call);
        if offered.is_some() {
            let text = self.text();
            match messages.first_mut().filter(|message| message.role == "system") {
                Some(system) => system.content = format!("{}\n\n{text}", system.content),
                None => messages.insert(0, message("system", text)),
            }
        }
        None
    }

    /// The words with which models of the Hermes and Qwen families are told.
    fn text(&self) -> String {
        let tools: Vec<String> = self.descriptions.iter().map(Value::to_string).collect();
        format!(
            "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n\
             You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n{}\n\
             </tools>\n\nFor each function call, return a json object with function name and arguments \
             within <tool_call></tool_call> XML tags:\n<tool_call>\n\
             {{\"name\": <function-name>, \"arguments\": <args-json-object>}}\n</tool_call>",
            tools.join("\n")
        )
    }

    /// The grammar of an answer that must call a tool, or follow a schema; none if it need not. Otherwise
    /// why a schema cannot be followed.
    pub(crate) fn grammar(
        &self,
        syntax: Syntax,
        format: Option<Value>,
    ) -> Result<Option<String>, String> {
        let calls = match &self.choice {
            Choice::Required => Some(None),
            Choice::Named(name) => Some(Some(name)),
            Choice::Auto if format.is_some() && self.are_offered() => Some(None),
            Choice::None | Choice::Auto => None,
        };
        let is_forced = matches!(self.choice, Choice::Required | Choice::Named(_));
        let start = match (&calls, &format) {
            (None, None) => return Ok(None),
            (None, Some(_)) => "format",
            (Some(_), Some(_)) if !is_forced => "calls | format",
            (Some(_), _) => "calls",
        };
        let mut grammar = format!("start: {start}\n");
        if let Some(format) = format.filter(|_| !is_forced) {
            grammar += &format!("format: %json {}\n", schema::followed(format)?);
        }
        if let Some(only) = calls {
            grammar += &self.calls(syntax, only)?;
        }
        Ok(Some(grammar))
    }

    fn calls(&self, syntax: Syntax, only: Option<&String>) -> Result<String, String> {
        let (before, after) = match syntax {
            Syntax::Tagged => ("<tool_call>\n", "\n</tool_call>"),
            Syntax::Bare => ("", ""),
        };
        let again = match syntax {
            Syntax::Tagged if self.may_repeat() => " (\"\\n\" call)*",
            _ => "",
        };
        let mut rules = format!("calls: call{again}\n");
        let mut calls = Vec::new();
        for (index, (name, schema)) in self.names.iter().zip(&self.schemas).enumerate() {
            if only.is_some_and(|only| only != name) {
                continue;
            }
            let head = format!("{before}{{\"name\": \"{name}\", \"{}\": ", syntax.arguments());
            let (head, tail) = (json!(head), json!(format!("}}{after}")));
            calls.push(format!("{head} arguments_{index} {tail}"));
            rules += &format!("arguments_{index}: %json {}\n", schema::followed(schema.clone())?);
        }
        Ok(format!("{rules}call: {}\n", calls.join(" | ")))
    }
}

/// Takes which JSON the answer is to be, if any; with the path of a schema that the client gave.
pub(crate) fn format(path: &str, value: Value) -> Result<Option<Value>, ApiError> {
    let mut fields = Fields::object(path, value)?;
    let kind = fields.require("type", string)?;
    let schema = match kind.as_str() {
        "text" => None,
        // A schema beside it is how llama.cpp's server and others are given one.
        "json_object" => {
            Some(fields.take("schema", object)?.unwrap_or_else(|| json!({"type": "object"})))
        }
        "json_schema" => Some(
            fields.require("json_schema", |path, value| schema(Fields::object(path, value)?))?,
        ),
        _ => return Err(unsupported(&format!("{path}.type"), &json!(kind))),
    };
    fields.finish()?;
    Ok(schema)
}

/// Takes a named schema.
pub(crate) fn schema(mut fields: Fields) -> Result<Value, ApiError> {
    fields.require("name", name)?;
    // A label for people, and a promise that is kept anyway.
    fields.take("description", string)?;
    fields.take("strict", boolean)?;
    let schema = fields.take("schema", object)?;
    fields.finish()?;
    Ok(schema.unwrap_or_else(|| json!({"type": "object"})))
}

/// The calls of an assistant's message, as templates read them: with arguments that are objects.
pub(crate) fn calls(path: &str, value: Value) -> Result<Value, ApiError> {
    let values = array(path, value)?;
    let indexed = values.into_iter().enumerate();
    let calls = indexed.map(|(index, value)| call(&format!("{path}[{index}]"), value));
    Ok(Value::Array(calls.collect::<Result<Vec<Value>, ApiError>>()?))
}

fn call(path: &str, value: Value) -> Result<Value, ApiError> {
    let mut fields = Fields::object(path, value)?;
    fields.require("type", function_type)?;
    let id = fields.require("id", string)?;
    let mut function = fields.require("function", Fields::object)?;
    let name = function.require("name", string)?;
    let arguments = function.require("arguments", string)?;
    function.finish()?;
    fields.finish()?;
    Ok(call_value(&id, &name, &arguments))
}

/// A call as templates read it.
pub(crate) fn call_value(id: &str, name: &str, arguments: &str) -> Value {
    let object = serde_json::from_str(arguments).ok().filter(Value::is_object);
    let arguments = object.unwrap_or_else(|| json!(arguments));
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

/// Writes what only a template with tools understands as text.
fn tell_call(message: &mut Message) {
    if let Some(Value::Array(calls)) = message.extra.remove("tool_calls") {
        let texts = calls.iter().map(|call| {
            let function = call.get("function").unwrap_or(call);
            format!("<tool_call>\n{function}\n</tool_call>")
        });
        let said = Some(message.content.clone()).filter(|content| !content.is_empty());
        message.content = said.into_iter().chain(texts).collect::<Vec<String>>().join("\n");
    }
    if message.role == "tool" {
        message.role = "user".to_owned();
        message.content = format!("<tool_response>\n{}\n</tool_response>", message.content);
    }
}

fn message(role: &str, content: String) -> Message {
    Message { role: role.to_owned(), content, extra: Map::new() }
}

fn choice(path: &str, value: Value) -> Result<Choice, ApiError> {
    if let Value::String(word) = &value {
        return match word.as_str() {
            "none" => Ok(Choice::None),
            "auto" => Ok(Choice::Auto),
            "required" => Ok(Choice::Required),
            _ => Err(unsupported(path, &value)),
        };
    }
    let mut fields = Fields::object(path, value)
        .map_err(|_| wrong_type(path, "`none`, `auto`, `required` or an object"))?;
    fields.require("type", function_type)?;
    // The responses API has the name itself here.
    let name = match fields.take("function", Fields::object)? {
        Some(mut function) => {
            let name = function.require("name", string)?;
            function.finish()?;
            name
        }
        None => fields.require("name", string)?,
    };
    fields.finish()?;
    Ok(Choice::Named(name))
}

/// As many tools as there may be.
pub(crate) fn within(path: &str, value: Value) -> Result<Vec<Value>, ApiError> {
    let values = array(path, value)?;
    if values.len() > TOOLS_MAX {
        let count = values.len();
        return Err(invalid(path, format!("has {count} tools, more than {TOOLS_MAX}")));
    }
    Ok(values)
}

pub(crate) fn function_type(path: &str, value: Value) -> Result<(), ApiError> {
    kind(&["function"])(path, value)
}

/// A name that needs no escape wherever it is written.
fn name(path: &str, value: Value) -> Result<String, ApiError> {
    let name = string(path, value)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=NAME_SIZE_MAX).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(name);
    }
    let problem = format!("must be 1 to {NAME_SIZE_MAX} letters, digits, `_` and `-`");
    Err(invalid(path, problem))
}

fn object(path: &str, value: Value) -> Result<Value, ApiError> {
    match &value {
        Value::Object(fields) if fields.contains_key(SPELLING) => {
            Err(unsupported(&format!("{path}.{SPELLING}"), &Value::Null))
        }
        Value::Object(_) => Ok(value),
        _ => Err(wrong_type(path, "an object")),
    }
}

/// The error for a grammar that a request's schemas do not make.
pub(crate) fn refused(path: &str, error: &dyn fmt::Display) -> ApiError {
    ApiError::new(Code::InvalidValue, format!("`{path}` cannot be followed: {error}")).at(path)
}
