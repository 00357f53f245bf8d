//! Writing a conversation the way a model was trained to read it.
//!
//! A model's file carries a Jinja2 template. It comes from strangers, and so do the messages: the
//! template runs under a budget, and messages cannot forge the control tokens it writes.
//!
//! Invariants:
//! - The same template and conversation give the same text on every machine.
//! - In `encode_chat`, no character of a message, its extra fields or the tools becomes part of a
//!   control token, and text without control tokens gets the ids it has by itself in that place.
//!
//! Not here: how a request's JSON becomes messages. Two things are the template's own doing: it can
//! write half a control token on both sides of a message, and it can delete what stands between
//! two halves inside one.

mod environment;
mod guard;
mod json;
mod stack;

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;

use minijinja::value::Value;
use minijinja::{Environment, ErrorKind};

use self::environment::Raised;
use self::guard::Guard;
use self::stack::on_deep_stack;
use crate::tokenizer::Tokenizer;

/// Bytes of a template's source, at most. The longest of 70 in use has 16,738.
pub const SOURCE_SIZE_MAX: usize = 128 * 1024;
/// Bytes of a rendered prompt, at most: room for a million tokens. It bounds a conversation's
/// texts together too.
pub const OUTPUT_SIZE_MAX: usize = 8 * 1024 * 1024;
/// Messages in a conversation, at most.
pub const MESSAGES_MAX: usize = 4096;
/// Bytes of a role's name, at most.
pub const ROLE_SIZE_MAX: usize = 64;
/// Values inside values in tools and extra fields, at most: what `serde_json` parses.
pub const DEPTH_MAX: usize = 128;

const NAME: &str = "chat";

/// A chat template, ready to render.
#[derive(Debug)]
pub struct Template {
    source: String,
    environment: Environment<'static>,
}

/// What a template writes.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// The messages, first to last.
    pub messages: &'a [Message],
    /// Whether the text ends where the assistant's next message starts.
    pub add_generation_prompt: bool,
    /// The text of the token before a prompt (`bos_token`), or empty.
    pub begin: &'a str,
    /// The text of the token that ends a message (`eos_token`), or empty.
    pub end: &'a str,
    /// Descriptions of the tools that the model may call, as in the OpenAI API.
    pub tools: Option<&'a serde_json::Value>,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Who speaks (`user`): letters, digits, `_` and `-`, as templates write it between control
    /// tokens.
    pub role: String,
    /// What is said.
    pub content: String,
    /// Further fields that templates read: `name`, `tool_calls`, `tool_call_id`. A `role` or
    /// `content` here is ignored.
    pub extra: serde_json::Map<String, serde_json::Value>,
}

/// Why a conversation was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A limit of this module was passed.
    #[error("{what} of {size} exceeds {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is, or where counting stopped.
        size: usize,
        /// How large it may be.
        max: usize,
    },
    /// The source is not a template.
    #[error("template is wrong at line {line}: {message}")]
    Syntax {
        /// The line, from 1; 0 if it is not known.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// The template does not accept the conversation (`raise_exception`).
    #[error("the model's template refuses the conversation: {message}")]
    Refused {
        /// The template's own words.
        message: String,
    },
    /// The template needed more steps or memory than a render may take.
    #[error("the model's template needs more than its budget")]
    Budget,
    /// The template did something impossible.
    #[error("the model's template failed at line {line}: {message}")]
    Failed {
        /// The line, from 1; 0 if it is not known.
        line: usize,
        /// What happened.
        message: String,
    },
    /// A role is empty or has a character that could forge a turn.
    #[error("role {role:?} is not a word of letters, digits, '_' and '-'")]
    Role {
        /// The role, cut to `ROLE_SIZE_MAX` characters.
        role: String,
    },
    /// The conversation uses every character that could mark its text.
    #[error("conversation uses up the characters for private use")]
    NoSentinel,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// When the source is too long or not a template.
    pub fn new(source: &str) -> Result<Template, TemplateError> {
        within("template source", source.len(), SOURCE_SIZE_MAX)?;
        let environment = on_deep_stack(|| environment::environment(NAME, source))?;
        let environment = environment.map_err(|error| TemplateError::Syntax {
            line: error.line().unwrap_or(0),
            message: describe(&error),
        })?;
        Ok(Template { source: source.to_owned(), environment })
    }

    /// The source.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether the template's source has these words. A template that has no word for something has
    /// no place for it.
    #[must_use]
    pub fn mentions(&self, words: &str) -> bool {
        self.source.contains(words)
    }

    /// The text of a conversation. Control tokens that a message writes out are in it as they are:
    /// use `encode_chat` for ids.
    ///
    /// # Errors
    /// When a limit is passed, a role is not a word, or the template refuses or fails.
    pub fn render(&self, conversation: &Conversation<'_>) -> Result<String, TemplateError> {
        self.render_with(conversation, &|text| text.to_owned())
    }

    /// The ids of a conversation, with the beginning token where the vocabulary asks for it. The
    /// template's control tokens are parsed; those written in messages and tools are text.
    ///
    /// # Errors
    /// As `render`, and when no character is left to mark text with.
    pub fn encode_chat(
        &self,
        tokenizer: &Tokenizer,
        conversation: &Conversation<'_>,
    ) -> Result<Vec<u32>, TemplateError> {
        conversation.check()?;
        let mut texts = vec![self.source.as_str(), conversation.begin, conversation.end];
        conversation.collect_texts(&mut texts);
        let guard = Guard::new(tokenizer, texts.into_iter()).ok_or(TemplateError::NoSentinel)?;
        let marked = self.render_with(conversation, &|text| guard.mark(text))?;
        let (text, guarded) = guard.unmark(&marked);
        Ok(tokenizer.encode_guarded(&text, &guarded))
    }

    fn render_with(
        &self,
        conversation: &Conversation<'_>,
        mark: &dyn Fn(&str) -> String,
    ) -> Result<String, TemplateError> {
        conversation.check()?;
        let context = conversation.context(mark);
        on_deep_stack(|| self.run(context))?
    }

    fn run(&self, context: Value) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME).map_err(|error| failed(&error))?;
        let mut output = Output::default();
        let rendered = template.render_captured_to(context, &mut output);
        if output.is_full {
            let (size, max) = (OUTPUT_SIZE_MAX, OUTPUT_SIZE_MAX);
            return Err(TemplateError::TooLarge { what: "rendered prompt", size, max });
        }
        rendered.map_err(|error| failed(&error))?;
        // A template writes strings only; nothing is lost here.
        Ok(String::from_utf8_lossy(&output.bytes).into_owned())
    }
}

impl<'a> Conversation<'a> {
    fn check(&self) -> Result<(), TemplateError> {
        within("number of messages", self.messages.len(), MESSAGES_MAX)?;
        for message in self.messages {
            check_role(&message.role)?;
        }
        let values = self.messages.iter().flat_map(|message| message.extra.values());
        let size = values.chain(self.tools).try_fold(0usize, |size, value| {
            Ok::<usize, TemplateError>(size.saturating_add(json_size(value, DEPTH_MAX)?))
        })?;
        let contents = self.messages.iter().map(|message| message.content.len());
        within("conversation", contents.fold(size, usize::saturating_add), OUTPUT_SIZE_MAX)
    }

    /// Every string of the conversation that a user can choose.
    fn collect_texts(&self, texts: &mut Vec<&'a str>) {
        for message in self.messages {
            texts.push(&message.content);
            for (key, value) in &message.extra {
                texts.push(key);
                collect_json_texts(value, texts);
            }
        }
        if let Some(tools) = self.tools {
            collect_json_texts(tools, texts);
        }
    }

    fn context(&self, mark: &dyn Fn(&str) -> String) -> Value {
        let messages = self.messages.iter().map(|message| message.value(mark));
        let tools = self.tools.map_or(Value::from(()), |tools| json_value(tools, mark));
        Value::from_pairs([
            ("messages", messages.collect()),
            ("add_generation_prompt", Value::from(self.add_generation_prompt)),
            ("bos_token", Value::from(self.begin)),
            ("eos_token", Value::from(self.end)),
            ("tools", tools),
        ])
    }
}

impl Message {
    fn value(&self, mark: &dyn Fn(&str) -> String) -> Value {
        let mut fields = BTreeMap::new();
        for (key, value) in &self.extra {
            fields.insert(mark(key), json_value(value, mark));
        }
        fields.insert("role".to_owned(), Value::from(self.role.as_str()));
        fields.insert("content".to_owned(), Value::from(mark(&self.content)));
        Value::from_pairs(fields)
    }
}

/// Where a render writes; refuses what would pass `OUTPUT_SIZE_MAX`.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    is_full: bool,
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > OUTPUT_SIZE_MAX {
            self.is_full = true;
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn within(what: &'static str, size: usize, max: usize) -> Result<(), TemplateError> {
    if size > max { Err(TemplateError::TooLarge { what, size, max }) } else { Ok(()) }
}

fn check_role(role: &str) -> Result<(), TemplateError> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if role.is_empty() || role.len() > ROLE_SIZE_MAX || !role.bytes().all(is_word) {
        return Err(TemplateError::Role { role: role.chars().take(ROLE_SIZE_MAX).collect() });
    }
    Ok(())
}

/// Bytes of all strings in a value, and one for each value; refuses values nested too deeply,
/// which protects the functions below that call themselves.
fn json_size(value: &serde_json::Value, depth: usize) -> Result<usize, TemplateError> {
    let Some(depth) = depth.checked_sub(1) else {
        let (what, max) = ("nesting of a json value", DEPTH_MAX);
        return Err(TemplateError::TooLarge { what, size: max + 1, max });
    };
    match value {
        serde_json::Value::String(text) => Ok(1 + text.len()),
        serde_json::Value::Array(items) => items
            .iter()
            .try_fold(1usize, |size, item| Ok(size.saturating_add(json_size(item, depth)?))),
        serde_json::Value::Object(fields) => fields.iter().try_fold(1usize, |size, (key, item)| {
            Ok(size.saturating_add(key.len()).saturating_add(json_size(item, depth)?))
        }),
        _ => Ok(1),
    }
}

fn collect_json_texts<'a>(value: &'a serde_json::Value, texts: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::String(text) => texts.push(text),
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| collect_json_texts(item, texts));
        }
        serde_json::Value::Object(fields) => {
            for (key, item) in fields {
                texts.push(key);
                collect_json_texts(item, texts);
            }
        }
        _ => {}
    }
}

fn json_value(value: &serde_json::Value, mark: &dyn Fn(&str) -> String) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(mark(text)),
        serde_json::Value::Array(items) => {
            items.iter().map(|item| json_value(item, mark)).collect()
        }
        serde_json::Value::Object(fields) => {
            Value::from_pairs(fields.iter().map(|(key, item)| (mark(key), json_value(item, mark))))
        }
    }
}

fn failed(error: &minijinja::Error) -> TemplateError {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(Raised(message)) = cause.downcast_ref::<Raised>() {
            return TemplateError::Refused { message: message.clone() };
        }
        source = cause.source();
    }
    match error.kind() {
        ErrorKind::OutOfFuel => TemplateError::Budget,
        _ => TemplateError::Failed { line: error.line().unwrap_or(0), message: describe(error) },
    }
}

fn describe(error: &minijinja::Error) -> String {
    error.detail().map_or_else(|| error.kind().to_string(), str::to_owned)
}

#[cfg(test)]
mod tests;
