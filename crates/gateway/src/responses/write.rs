//! Writing a response: its items as they come, and the events that tell of them.
//!
//! Invariants:
//! - Events are numbered from 0 without a gap.
//! - Every item, part and text that was begun is ended before the response is.
//! - A response that broke off ends with `response.failed`, never with `response.completed`.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use text::template::Message;

use crate::backend::{Receipt, ServedModel};
use crate::calls::Call;
use crate::error::ApiError;
use crate::observe::hex;
use crate::responses::read::{Asked, call, message};
use crate::sampling::random;
use crate::shape::Usage;
use crate::tools::call_value;
use crate::transcript::{Piece, Reason};

/// A response being written.
#[derive(Debug)]
pub(crate) struct Writer {
    /// What its ids are made of.
    name: String,
    id: String,
    created: u64,
    model: Option<Arc<ServedModel>>,
    echo: Map<String, Value>,
    output: Vec<Value>,
    /// The text of the last item, while it is a message that is not ended.
    open: Option<String>,
    status: &'static str,
    reason: Option<Reason>,
    receipt: Option<Receipt>,
    usage: Value,
    error: Value,
    told: Vec<Value>,
    number: u64,
}

impl Writer {
    /// A response that has just begun, with a fresh id.
    pub(crate) fn new(asked: &Asked) -> Result<Writer, ApiError> {
        let name = hex(&random::<16>()?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        let mut writer = Writer::empty(name, asked.echo.clone());
        writer.created = now;
        writer.model = Some(Arc::clone(&asked.plan.model));
        let response = writer.response();
        writer.tell(json!({"type": "response.created", "response": response}));
        writer.tell(json!({"type": "response.in_progress", "response": response}));
        Ok(writer)
    }

    fn empty(name: String, echo: Map<String, Value>) -> Writer {
        Writer {
            id: format!("resp_{name}"),
            name,
            created: 0,
            model: None,
            echo,
            output: Vec::new(),
            open: None,
            status: "in_progress",
            reason: None,
            receipt: None,
            usage: Value::Null,
            error: Value::Null,
            told: Vec::new(),
            number: 0,
        }
    }

    /// The response's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The events since the last look.
    pub(crate) fn take(&mut self) -> Vec<Value> {
        std::mem::take(&mut self.told)
    }

    /// Takes the next piece of the answer.
    pub(crate) fn piece(&mut self, piece: &Piece) {
        if !piece.text.is_empty() {
            self.say(&piece.text);
        }
        piece.calls.iter().for_each(|call| self.call(call));
        if piece.finish.is_some() {
            self.reason = piece.finish;
            self.receipt.clone_from(&piece.receipt);
        }
    }

    /// Ends the response.
    pub(crate) fn end(&mut self, usage: Usage) {
        if self.output.is_empty() {
            self.begin_message();
        }
        let is_full = self.reason == Some(Reason::Length);
        self.end_message(if is_full { "incomplete" } else { "completed" });
        self.status = if is_full { "incomplete" } else { "completed" };
        self.usage = json!({
            "input_tokens": usage.prompt,
            "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
            "output_tokens": usage.completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": usage.prompt + usage.completion,
        });
        let kind = format!("response.{}", self.status);
        let response = self.response();
        self.tell(json!({"type": kind, "response": response}));
    }

    /// Ends a response that broke off.
    pub(crate) fn fail(&mut self, error: &ApiError) {
        self.end_message("incomplete");
        self.status = "failed";
        let code = if error.code.status().as_u16() == 429 {
            "rate_limit_exceeded"
        } else {
            "server_error"
        };
        self.error = json!({"code": code, "message": error.public});
        let response = self.response();
        self.tell(json!({"type": "response.failed", "response": response}));
    }

    /// The response as it stands.
    pub(crate) fn response(&self) -> Value {
        let details = match self.status {
            "incomplete" => json!({"reason": "max_output_tokens"}),
            _ => Value::Null,
        };
        let mut response = json!({
            "id": self.id, "object": "response", "created_at": self.created,
            "status": self.status, "background": false, "error": self.error,
            "incomplete_details": details, "output": self.output, "usage": self.usage,
            "truncation": "disabled", "service_tier": "default",
        });
        if let Some(model) = &self.model {
            response["model"] = json!(model.name);
            response["system_fingerprint"] = json!(model.fingerprint());
        }
        self.receipt.iter().for_each(|receipt| receipt.add_to(&mut response));
        for (name, value) in &self.echo {
            response[name.as_str()] = value.clone();
        }
        response
    }

    /// The conversation with the answer.
    pub(crate) fn messages(&self, asked: &Asked) -> Vec<Message> {
        let mut messages = asked.messages.clone();
        // A message of its own, so that no call is added to what was asked.
        messages.push(message("assistant", String::new()));
        for item in &self.output {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            if item["type"] == "function_call" {
                let (id, name) = (text(&item["call_id"]), text(&item["name"]));
                call(&mut messages, call_value(&id, &name, &text(&item["arguments"])));
            } else if let Some(last) = messages.last_mut() {
                last.content += &text(&item["content"][0]["text"]);
            }
        }
        messages
    }

    /// The events of a response that is kept.
    pub(crate) fn replay(response: &Value) -> Vec<Value> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let id = text(&response["id"]);
        let name = id.strip_prefix("resp_").unwrap_or(&id).to_owned();
        let mut writer = Writer::empty(name, Map::new());
        let mut begun = response.clone();
        begun["status"] = json!("in_progress");
        begun["output"] = json!([]);
        begun["usage"] = Value::Null;
        begun["incomplete_details"] = Value::Null;
        writer.tell(json!({"type": "response.created", "response": begun}));
        writer.tell(json!({"type": "response.in_progress", "response": begun}));
        for item in response["output"].as_array().into_iter().flatten() {
            if item["type"] == "function_call" {
                let index =
                    text(&item["call_id"]).rsplit('_').next().and_then(|it| it.parse().ok());
                let (name, arguments) = (text(&item["name"]), text(&item["arguments"]));
                let (index, is_cut) = (index.unwrap_or(0), item["status"] == "incomplete");
                writer.call(&Call { index, name, arguments, is_cut });
            } else {
                writer.begin_message();
                writer.say(&text(&item["content"][0]["text"]));
            }
        }
        let status = text(&response["status"]);
        writer.end_message(if status == "incomplete" { "incomplete" } else { "completed" });
        writer.tell(json!({"type": format!("response.{status}"), "response": response}));
        writer.told
    }

    fn tell(&mut self, mut event: Value) {
        event["sequence_number"] = json!(self.number);
        self.number += 1;
        self.told.push(event);
    }

    fn say(&mut self, text: &str) {
        if self.open.is_none() {
            self.begin_message();
        }
        if text.is_empty() {
            return;
        }
        if let Some(open) = &mut self.open {
            open.push_str(text);
        }
        let mut event = self.part_event("response.output_text.delta");
        event["delta"] = json!(text);
        event["logprobs"] = json!([]);
        self.tell(event);
    }

    fn begin_message(&mut self) {
        let id = format!("msg_{}_{}", self.name, self.output.len());
        let item = json!({"id": id, "type": "message", "status": "in_progress",
            "role": "assistant", "content": []});
        let index = self.output.len();
        self.tell(
            json!({"type": "response.output_item.added", "output_index": index, "item": item}),
        );
        self.output.push(item);
        self.open = Some(String::new());
        let mut event = self.part_event("response.content_part.added");
        event["part"] = part("");
        self.tell(event);
    }

    /// Ends the message that is open, if one is.
    fn end_message(&mut self, status: &str) {
        let Some(text) = self.open.take() else { return };
        let mut event = self.part_event("response.output_text.done");
        event["text"] = json!(text);
        event["logprobs"] = json!([]);
        self.tell(event);
        let mut event = self.part_event("response.content_part.done");
        event["part"] = part(&text);
        self.tell(event);
        let index = self.output.len().saturating_sub(1);
        if let Some(item) = self.output.last_mut() {
            item["status"] = json!(status);
            item["content"] = json!([part(&text)]);
            let item = item.clone();
            let kind = "response.output_item.done";
            self.tell(json!({"type": kind, "output_index": index, "item": item}));
        }
    }

    fn call(&mut self, call: &Call) {
        self.end_message("completed");
        let index = self.output.len();
        let id = format!("fc_{}_{index}", self.name);
        let call_id = format!("call_{}_{}", self.name, call.index);
        let mut item = json!({"id": id, "type": "function_call", "status": "in_progress",
            "call_id": call_id, "name": call.name, "arguments": ""});
        self.tell(
            json!({"type": "response.output_item.added", "output_index": index, "item": item}),
        );
        self.tell(json!({"type": "response.function_call_arguments.delta", "item_id": id,
            "output_index": index, "delta": call.arguments}));
        self.tell(json!({"type": "response.function_call_arguments.done", "item_id": id,
            "output_index": index, "name": call.name, "arguments": call.arguments}));
        item["status"] = json!(if call.is_cut { "incomplete" } else { "completed" });
        item["arguments"] = json!(call.arguments);
        self.tell(
            json!({"type": "response.output_item.done", "output_index": index, "item": item}),
        );
        self.output.push(item);
    }

    /// An event about the only part of the last item.
    fn part_event(&self, kind: &str) -> Value {
        let id = self.output.last().map_or(Value::Null, |item| item["id"].clone());
        let index = self.output.len().saturating_sub(1);
        json!({"type": kind, "item_id": id, "output_index": index, "content_index": 0})
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}
