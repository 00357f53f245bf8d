//! Writing a message: its blocks as they come, and the events that tell of them.
//!
//! Invariants:
//! - Every block that was begun is ended before the message is, and they are numbered from 0.
//! - A message that broke off ends with `error`, never with `message_stop`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::backend::{Receipt, ServedModel};
use crate::calls::Call;
use crate::error::ApiError;
use crate::events::Teller;
use crate::messages::error_json;
use crate::observe::hex;
use crate::plan::Plan;
use crate::sampling::random;
use crate::shape::Usage;
use crate::transcript::{Piece, Reason};

/// A message being written.
#[derive(Debug)]
pub(crate) struct Writer {
    /// What its ids are made of.
    name: String,
    model: Arc<ServedModel>,
    content: Vec<Value>,
    /// Whether the last block is a text that may go on.
    is_open: bool,
    /// Why it ended, and the stop string that ended it.
    ending: (Option<&'static str>, Option<String>),
    receipt: Option<Receipt>,
    usage: Value,
    told: Vec<Value>,
}

impl Writer {
    /// A message that has just begun, with a fresh id.
    pub(crate) fn new(plan: &Plan) -> Result<Writer, ApiError> {
        let prompt: usize = plan.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
        let mut writer = Writer {
            name: hex(&random::<16>()?),
            model: Arc::clone(&plan.model),
            content: Vec::new(),
            is_open: false,
            ending: (None, None),
            receipt: None,
            usage: usage(Usage { prompt: prompt as u64, ..Usage::default() }),
            told: Vec::new(),
        };
        let message = writer.message();
        writer.told.push(json!({"type": "message_start", "message": message}));
        Ok(writer)
    }

    /// The message as it stands.
    pub(crate) fn message(&self) -> Value {
        let (reason, stop) = &self.ending;
        let mut message = json!({
            "id": format!("msg_{}", self.name), "type": "message", "role": "assistant",
            "model": self.model.name, "content": self.content, "stop_reason": reason,
            "stop_sequence": stop, "usage": self.usage,
        });
        self.receipt.iter().for_each(|receipt| receipt.add_to(&mut message));
        message
    }

    fn say(&mut self, text: &str) {
        if !self.is_open {
            self.begin(json!({"type": "text", "text": ""}));
            self.is_open = true;
        }
        if let Some(Value::String(said)) =
            self.content.last_mut().and_then(|block| block.get_mut("text"))
        {
            said.push_str(text);
        }
        self.delta(json!({"type": "text_delta", "text": text}));
    }

    fn call(&mut self, call: &Call) {
        self.end_block();
        let id = format!("toolu_{}_{}", self.name, call.index);
        let block = json!({"type": "tool_use", "id": id, "name": call.name, "input": {}});
        self.begin(block);
        // A model may call with arguments that are no object, which an input must be. Of a call that was cut
        // a stream has the beginning.
        let input: Option<Value> = serde_json::from_str(&call.arguments).ok();
        let input = input.filter(Value::is_object);
        let (input, told) = match input {
            None if call.is_cut => (json!({}), call.arguments.clone()),
            input => {
                let input = input.unwrap_or_else(|| json!({"arguments": call.arguments}));
                (input.clone(), input.to_string())
            }
        };
        self.delta(json!({"type": "input_json_delta", "partial_json": told}));
        if let Some(block) = self.content.last_mut() {
            block["input"] = input;
        }
        self.is_open = true;
        self.end_block();
    }

    fn begin(&mut self, block: Value) {
        let index = self.content.len();
        self.told
            .push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        self.content.push(block);
    }

    fn delta(&mut self, delta: Value) {
        let index = self.content.len().saturating_sub(1);
        self.told.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }

    /// Ends the block that is open, if one is.
    fn end_block(&mut self) {
        if std::mem::replace(&mut self.is_open, false) {
            let index = self.content.len().saturating_sub(1);
            self.told.push(json!({"type": "content_block_stop", "index": index}));
        }
    }
}

impl Teller for Writer {
    fn take(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.told)
    }

    fn piece(&mut self, piece: &Piece) {
        if !piece.text.is_empty() {
            self.say(&piece.text);
        }
        piece.calls.iter().for_each(|call| self.call(call));
        if let Some(reason) = piece.finish {
            let reason = match reason {
                Reason::Stop if piece.stop.is_some() => "stop_sequence",
                Reason::Stop => "end_turn",
                Reason::Length => "max_tokens",
                Reason::ToolCalls => "tool_use",
            };
            self.ending = (Some(reason), piece.stop.clone());
            self.receipt.clone_from(&piece.receipt);
        }
    }

    fn end(&mut self, used: Usage) {
        self.end_block();
        self.usage = usage(used);
        let (reason, stop) = &self.ending;
        let mut delta = json!({"stop_reason": reason, "stop_sequence": stop});
        self.receipt.iter().for_each(|receipt| receipt.add_to(&mut delta));
        self.told.push(json!({"type": "message_delta", "delta": delta, "usage": self.usage}));
        self.told.push(json!({"type": "message_stop"}));
    }

    fn fail(&mut self, error: &ApiError) {
        let mut event = error_json(error, "");
        event.as_object_mut().map(|fields| fields.remove("request_id"));
        self.told.push(event);
    }
}

/// Tokens as this API counts them: those that were found in a cache apart.
fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt.saturating_sub(usage.cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
    })
}
