//! The JSON of an answer, whole and in pieces, for both operations.
//!
//! Invariants:
//! - All chunks of one answer have one `id`, `created` and `model`.
//! - `finish_reason` is in every chunk's choice, and null until the choice's last.
//!
//! Not here: framing as server-sent events (`stream`), log-probabilities (`logprobs`).

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::backend::ServedModel;
use crate::calls::Call;
use crate::error::ApiError;
use crate::logprobs;
use crate::observe::hex;
use crate::plan::Plan;
use crate::sampling::random;
use crate::transcript::{Piece, Reason, Record, Records};

/// The operation, and with it the shape of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

/// Tokens of an answer, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Each prompt once, however many choices it has.
    pub(crate) prompt: u64,
    /// Those of `prompt` that were found in a cache.
    pub(crate) cached: u64,
    /// Generated ones, of all choices.
    pub(crate) completion: u64,
}

/// What an answer's objects have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    surface: Surface,
    model: Arc<ServedModel>,
    records: Records,
    id: String,
    created: u64,
}

impl Usage {
    /// The usage object.
    pub(crate) fn json(self) -> Value {
        json!({
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
            "completion_tokens_details": {"reasoning_tokens": 0},
        })
    }
}

impl Shape {
    /// The shape of one answer, with a fresh id.
    pub(crate) fn new(plan: &Plan) -> Result<Shape, ApiError> {
        let prefix = match plan.surface {
            Surface::Chat => "chatcmpl",
            Surface::Completions => "cmpl",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Shape {
            surface: plan.surface,
            model: Arc::clone(&plan.model),
            records: plan.records(),
            id: format!("{prefix}-{}", hex(&random::<16>()?)),
            created: now.map_or(0, |now| now.as_secs()),
        })
    }

    /// The choices that open a stream: in chat, each says who speaks.
    pub(crate) fn opening(&self, choices: usize) -> Vec<Value> {
        match self.surface {
            Surface::Completions => Vec::new(),
            Surface::Chat => (0..choices)
                .map(|index| {
                    let delta = json!({"role": "assistant", "content": ""});
                    json!({"index": index, "delta": delta, "logprobs": null, "finish_reason": null})
                })
                .collect(),
        }
    }

    /// The choices of a piece of a stream: what it says, and then that it ended.
    pub(crate) fn piece(&self, index: usize, piece: &Piece) -> Vec<Value> {
        let mut choices = Vec::new();
        // Log-probabilities of a call's tokens come with a delta that has no text.
        if !piece.text.is_empty() || !piece.records.is_empty() {
            let logprobs = self.logprobs(&piece.records);
            choices.push(match self.surface {
                Surface::Chat => json!({
                    "index": index, "delta": {"content": piece.text},
                    "logprobs": logprobs, "finish_reason": null,
                }),
                Surface::Completions => json!({
                    "index": index, "text": piece.text,
                    "logprobs": logprobs, "finish_reason": null,
                }),
            });
        }
        for call in &piece.calls {
            let mut call_json = self.call(index, call);
            if let Some(fields) = call_json.as_object_mut() {
                fields.insert("index".to_owned(), json!(call.index));
            }
            let delta = json!({"tool_calls": [call_json]});
            choices.push(json!({
                "index": index, "delta": delta, "logprobs": null, "finish_reason": null,
            }));
        }
        let ending = piece.finish.map(|reason| self.ending(index, reason));
        choices.extend(ending.map(|choice| with_receipt(choice, piece)));
        choices
    }

    /// A choice of an answer given at once.
    fn whole(&self, index: usize, piece: &Piece) -> Value {
        let logprobs = self.logprobs(&piece.records);
        let finish = piece.finish.map(Reason::name);
        let choice = match self.surface {
            Surface::Chat => json!({
                "index": index,
                "message": self.message(index, piece),
                "logprobs": logprobs,
                "finish_reason": finish,
            }),
            Surface::Completions => json!({
                "index": index, "text": piece.text,
                "logprobs": logprobs, "finish_reason": finish,
            }),
        };
        with_receipt(choice, piece)
    }

    /// One object of a stream.
    pub(crate) fn chunk(&self, choices: Vec<Value>) -> Map<String, Value> {
        self.envelope(choices, "chat.completion.chunk")
    }

    /// The object of an answer given at once, of whose choices these are all the pieces.
    pub(crate) fn answer(&self, pieces: &[Piece], usage: Usage) -> Value {
        let indexed = pieces.iter().enumerate();
        let choices = indexed.map(|(index, piece)| self.whole(index, piece)).collect();
        let mut answer = self.envelope(choices, "chat.completion");
        answer.insert("usage".to_owned(), usage.json());
        Value::Object(answer)
    }

    /// The message of a choice. One that only calls tools has no content.
    fn message(&self, index: usize, piece: &Piece) -> Value {
        let mut message = json!({"role": "assistant", "content": piece.text, "refusal": null});
        let calls: Vec<Value> = piece.calls.iter().map(|call| self.call(index, call)).collect();
        if let (Some(fields), false) = (message.as_object_mut(), calls.is_empty()) {
            if piece.text.is_empty() {
                fields.insert("content".to_owned(), Value::Null);
            }
            fields.insert("tool_calls".to_owned(), Value::Array(calls));
        }
        message
    }

    /// A call of a tool. Its id is made of the answer's, and so is known nowhere else.
    fn call(&self, index: usize, call: &Call) -> Value {
        let answer = self.id.rsplit('-').next().unwrap_or_default();
        let id = format!("call_{answer}_{index}_{}", call.index);
        let function = json!({"name": call.name, "arguments": call.arguments});
        json!({"id": id, "type": "function", "function": function})
    }

    fn ending(&self, index: usize, reason: Reason) -> Value {
        let reason = reason.name();
        match self.surface {
            Surface::Chat => {
                json!({"index": index, "delta": {}, "logprobs": null, "finish_reason": reason})
            }
            Surface::Completions => {
                json!({"index": index, "text": "", "logprobs": null, "finish_reason": reason})
            }
        }
    }

    fn logprobs(&self, records: &[Record]) -> Value {
        match self.surface {
            _ if self.records == Records::Off => Value::Null,
            Surface::Chat => logprobs::chat(&self.model.tokenizer, records),
            Surface::Completions => logprobs::completions(&self.model.tokenizer, records),
        }
    }

    fn envelope(&self, choices: Vec<Value>, chat_object: &str) -> Map<String, Value> {
        let object = match self.surface {
            Surface::Chat => chat_object,
            Surface::Completions => "text_completion",
        };
        let fields = [
            ("id", json!(self.id)),
            ("object", json!(object)),
            ("created", json!(self.created)),
            ("model", json!(self.model.name)),
            ("system_fingerprint", json!(self.model.fingerprint())),
            ("choices", Value::Array(choices)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Adds the receipt to a choice that has ended, if there is one.
fn with_receipt(mut choice: Value, piece: &Piece) -> Value {
    piece.receipt.iter().for_each(|receipt| receipt.add_to(&mut choice));
    choice
}
