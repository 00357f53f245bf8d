//! A request understood: what to generate, and in which shape to answer.
//!
//! Invariants:
//! - Every prompt of a plan fits the model's context, with room for what was asked.
//!
//! Not here: how the two operations say it (`chat`, `completions`).

use std::sync::Arc;

use engine::request::Request;
use engine::sampling::Sampling;
use serde_json::Value;
use text::grammar::TextGuide;

use crate::backend::{Seeding, ServedModel};
use crate::caller::Caller;
use crate::error::{ApiError, Code, quote};
use crate::limits::{CHOICES_MAX, STOP_SIZE_MAX, STOPS_MAX};
use crate::parameters::{Fields, boolean, count, invalid, string, unsupported, wrong_type};
use crate::sampling;
use crate::shape::Surface;
use crate::stored::Keep;
use crate::tools::{Syntax, Tools};
use crate::transcript::Records;

const STOP_SHAPES: &str = "a string or an array of strings";

/// What the two operations have in common.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) surface: Surface,
    /// The field that the prompt comes from.
    pub(crate) input: &'static str,
    pub(crate) model: Arc<ServedModel>,
    pub(crate) prompts: Vec<Prompt>,
    /// Choices a prompt.
    pub(crate) n: u32,
    pub(crate) sampling: Sampling,
    pub(crate) seeding: Seeding,
    pub(crate) caller: Caller,
    /// Tokens to generate, at most, if the client said so.
    pub(crate) tokens_max: Option<u32>,
    pub(crate) stops: Vec<String>,
    /// Alternatives reported a token; `None` reports no log-probabilities.
    pub(crate) logprobs: Option<u8>,
    /// Whether, and how, to answer piece by piece.
    pub(crate) stream: Option<StreamOptions>,
    /// How calls of tools are found in the answer, if there may be any.
    pub(crate) tools: Option<(Syntax, Tools)>,
    /// The grammar that the answer follows, if it follows one.
    pub(crate) grammar: Option<Grammar>,
    /// What is kept with the answer, if it is kept.
    pub(crate) keep: Option<Keep>,
    /// Whether the client wants to know what the answer would cost, and no answer.
    pub(crate) dry_run: bool,
}

/// A grammar, and a guide that has taken nothing yet.
#[derive(Debug)]
pub(crate) struct Grammar {
    pub(crate) text: Arc<str>,
    pub(crate) guide: TextGuide,
}

/// One prompt.
#[derive(Debug)]
pub(crate) struct Prompt {
    pub(crate) tokens: Arc<[u32]>,
    /// The prompt's text, if the answer begins with it.
    pub(crate) echo: Option<String>,
}

/// How to stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamOptions {
    /// Whether a last chunk counts the tokens.
    pub(crate) include_usage: bool,
}

/// The model of a request and the fields that both operations share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) model: Arc<ServedModel>,
    pub(crate) n: u32,
    pub(crate) sampling: Sampling,
    pub(crate) seeding: Seeding,
    pub(crate) stops: Vec<String>,
    pub(crate) stream: Option<StreamOptions>,
}

impl Common {
    /// Takes the shared fields.
    pub(crate) fn take(
        fields: &mut Fields,
        models: &[Arc<ServedModel>],
    ) -> Result<Common, ApiError> {
        let name = fields.require("model", string)?;
        let model = find(models, &name)?;
        fields.drop_without_effect()?;
        let choices = 1..=CHOICES_MAX as u32;
        let (sampling, seeding) = sampling::take(fields, model.tokenizer.len())?;
        Ok(Common {
            n: fields.take("n", |path, value| count(path, &value, choices))?.unwrap_or(1),
            sampling,
            seeding,
            stops: fields.take("stop", stops)?.unwrap_or_default(),
            stream: stream(fields)?,
            model,
        })
    }
}

impl Plan {
    /// The choices of the answer, in order: for each, its prompt's index and the engine's request.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (usize, Request)> + '_ {
        let each = move |prompt| (0..self.n).map(move |choice| (prompt, choice));
        (0..self.prompts.len()).flat_map(each).filter_map(|(index, choice)| {
            let prompt = self.prompts.get(index)?;
            Some((index, self.request(prompt, choice)))
        })
    }

    /// Which tokens the answer describes. In chat the tokens joined are the message; a completion
    /// describes every token it counted.
    pub(crate) fn records(&self) -> Records {
        match self.surface {
            _ if self.logprobs.is_none() => Records::Off,
            Surface::Chat => Records::Text,
            Surface::Completions => Records::All,
        }
    }

    /// Refuses what does not fit.
    pub(crate) fn check(self) -> Result<Plan, ApiError> {
        let choices = self.prompts.len().saturating_mul(self.n as usize);
        if choices > CHOICES_MAX {
            let count = self.prompts.len();
            let problem = format!("asks for {count} prompts times {} choices each", self.n);
            return Err(invalid("n", format!("{problem}, more than {CHOICES_MAX} together")));
        }
        self.prompts.iter().try_for_each(|prompt| self.check_room(prompt.tokens.len()))?;
        Ok(self)
    }

    fn request(&self, prompt: &Prompt, choice: u32) -> Request {
        let room = self.model.context_max.saturating_sub(prompt.tokens.len() as u32);
        let mut sampling = self.sampling.clone();
        sampling.seed = sampling.seed.choice(choice);
        Request {
            prompt: prompt.tokens.to_vec(),
            said: Vec::new(),
            sampling,
            tokens_max: self.tokens_max.unwrap_or(room).min(room),
            end_tokens: self.model.tokenizer.ends().to_vec(),
            logprobs: self.logprobs,
            prompt_logprobs: prompt.echo.is_some() && self.logprobs.is_some(),
            grammar: self.grammar.as_ref().map(|grammar| Arc::clone(&grammar.text)),
        }
    }

    fn check_room(&self, tokens: usize) -> Result<(), ApiError> {
        let field = self.input;
        if tokens == 0 {
            return Err(invalid(field, "is empty: there is no token to continue"));
        }
        // An answer of at least one token must fit, unless none was asked for.
        let least = usize::from(self.tokens_max != Some(0));
        let context = self.model.context_max as usize;
        let room = context.saturating_sub(least);
        if tokens <= room {
            return Ok(());
        }
        let over = tokens - room;
        let message = format!(
            "the prompt has {tokens} tokens and the model has room for {room} (a context of \
             {context} tokens, of which {least} for the answer): {over} too many"
        );
        Err(ApiError::new(Code::ContextLengthExceeded, message).at(field))
    }
}

/// The model that a client calls by this name.
pub(crate) fn find(models: &[Arc<ServedModel>], name: &str) -> Result<Arc<ServedModel>, ApiError> {
    let found = models.iter().find(|model| model.answers_to(name));
    found.cloned().ok_or_else(|| {
        let message = format!("{} is not served here; /v1/models lists what is", quote(name));
        ApiError::new(Code::ModelNotFound, message).at("model")
    })
}

/// Decodes stop strings.
pub(crate) fn stops(path: &str, value: Value) -> Result<Vec<String>, ApiError> {
    let values = match value {
        Value::String(_) => vec![value],
        Value::Array(values) => values,
        _ => return Err(wrong_type(path, STOP_SHAPES)),
    };
    if values.len() > STOPS_MAX {
        let count = values.len();
        return Err(invalid(path, format!("has {count} strings, more than {STOPS_MAX}")));
    }
    values.into_iter().map(|value| stop(path, value)).collect()
}

fn stop(path: &str, value: Value) -> Result<String, ApiError> {
    let stop = string(path, value).map_err(|_| wrong_type(path, STOP_SHAPES))?;
    match stop.len() {
        0 => Err(invalid(path, "has an empty string, which would end every answer at once")),
        size if size > STOP_SIZE_MAX => {
            Err(invalid(path, format!("has a string of {size} bytes, more than {STOP_SIZE_MAX}")))
        }
        _ => Ok(stop),
    }
}

fn stream(fields: &mut Fields) -> Result<Option<StreamOptions>, ApiError> {
    let streams = fields.take("stream", boolean)?.unwrap_or(false);
    let options = fields.take("stream_options", |path, value| {
        if !streams {
            return Err(invalid(path, "has a meaning only where `stream` is true"));
        }
        let mut options = Fields::object(path, value)?;
        let include_usage = options.take("include_usage", boolean)?.unwrap_or(false);
        options.take("include_obfuscation", |path, value| match value {
            Value::Bool(false) => Ok(()),
            _ => Err(unsupported(path, &value)),
        })?;
        options.finish()?;
        Ok(StreamOptions { include_usage })
    })?;
    Ok(streams.then(|| options.unwrap_or_default()))
}
