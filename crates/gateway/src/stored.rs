//! Chat completions that are kept because `store` was true.
//!
//! They are kept as responses are, and as long: what was asked, what was answered, and the client's own
//! labels, which it may change.
//!
//! Not here: making them (`router`, `stream`).

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::body::Id;
use crate::error::{ApiError, Code, json_response, quote};
use crate::limits::METADATA_MAX;
use crate::paging::{Page, Pairs};
use crate::parameters::{Fields, invalid, wrong_type};
use crate::responses::kept::{Kept, Responses};
use crate::router::Gateway;

/// Entries of one page, at most, and if nothing is said, as in the OpenAI API.
const PAGE_MAX: usize = 100;
const PAGE: usize = 20;

/// What is kept beside an answer.
#[derive(Clone, Debug)]
pub(crate) struct Keep {
    /// The client's labels.
    pub(crate) metadata: Value,
    /// The conversation, as the client wrote it.
    pub(crate) messages: Vec<Value>,
}

/// Keeps one answer, once it is whole.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) completions: Arc<Responses>,
    pub(crate) keep: Keep,
}

impl Keeper {
    /// Keeps the answer.
    pub(crate) fn keep(self, answer: &Value) {
        let mut answer = answer.clone();
        answer["metadata"] = self.keep.metadata;
        let id = answer["id"].as_str().unwrap_or_default().to_owned();
        let messages = self.keep.messages.into_iter().enumerate().map(|(index, mut message)| {
            message["id"] = json!(format!("{id}-{index}"));
            message
        });
        self.completions.keep(&id, Kept::new(&answer, messages.collect(), Vec::new()));
    }
}

/// `GET /v1/chat/completions`, of one model and with some labels if asked.
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let mut wanted = Vec::new();
    let page = page(&pairs, |name, value| {
        let label = name.strip_prefix("metadata[").and_then(|it| it.strip_suffix(']'));
        let is_known = name == "model" || label.is_some();
        if is_known {
            wanted.push((label.map(str::to_owned), value.to_owned()));
        }
        is_known
    })?;
    let has = |answer: &Value| {
        wanted.iter().all(|(label, value)| match label {
            Some(label) => answer["metadata"][label] == value.as_str(),
            None => answer["model"] == value.as_str(),
        })
    };
    let kept = gateway.completions().list();
    let answers = kept.iter().map(|it| &it.response).filter(|it| has(it)).cloned().collect();
    Ok(json_response(StatusCode::OK, &page.of(answers, "the list")?))
}

/// `GET /v1/chat/completions/{id}`.
pub(crate) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    Ok(json_response(StatusCode::OK, &find(&gateway, &id)?.response))
}

/// `POST /v1/chat/completions/{id}`: gives it other labels.
pub(crate) async fn update(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
    request: Request,
) -> Result<Response, ApiError> {
    let body = gateway.read(request).await?;
    let mut fields = Fields::parse(&body.bytes)?;
    let labels = fields.take("metadata", metadata)?.unwrap_or_else(|| json!({}));
    fields.finish()?;
    let kept = find(&gateway, &id)?;
    let mut answer = kept.response.clone();
    answer["metadata"] = labels;
    gateway.completions().replace(&id, Kept::new(&answer, kept.items.clone(), Vec::new()));
    Ok(json_response(StatusCode::OK, &answer))
}

/// `DELETE /v1/chat/completions/{id}`.
pub(crate) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    gateway.completions().remove(&id).ok_or_else(|| unknown(&id))?;
    let deleted = json!({"id": id, "object": "chat.completion.deleted", "deleted": true});
    Ok(json_response(StatusCode::OK, &deleted))
}

/// `GET /v1/chat/completions/{id}/messages`: what was asked.
pub(crate) async fn messages(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let kept = find(&gateway, &id)?;
    let page = page(&pairs, |_, _| false)?;
    Ok(json_response(StatusCode::OK, &page.of(kept.items.clone(), "this completion")?))
}

/// Decodes labels: a few pairs of texts.
pub(crate) fn metadata(path: &str, value: Value) -> Result<Value, ApiError> {
    let Value::Object(pairs) = &value else { return Err(wrong_type(path, "an object")) };
    let (count_max, key_max, value_max) = METADATA_MAX;
    if pairs.len() > count_max {
        let problem = format!("has {} pairs, more than {count_max}", pairs.len());
        return Err(invalid(path, problem));
    }
    for (key, value) in pairs {
        let Some(text) = value.as_str() else {
            return Err(wrong_type(path, "an object of strings"));
        };
        if key.len() > key_max || text.len() > value_max {
            let problem =
                format!("has a key of over {key_max} or a value of over {value_max} bytes");
            return Err(invalid(path, problem));
        }
    }
    Ok(value)
}

/// The page that is asked for: here the oldest come first where nothing is said.
fn page(
    pairs: &[(String, String)],
    other: impl FnMut(&str, &str) -> bool,
) -> Result<Page, ApiError> {
    let page = Page::read(pairs, (PAGE, PAGE_MAX), other)?;
    let ascending = page.ascending || pairs.iter().all(|(name, _)| name != "order");
    Ok(Page { ascending, ..page })
}

fn find(gateway: &Gateway, id: &str) -> Result<Arc<Kept>, ApiError> {
    gateway.completions().get(id).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> ApiError {
    let message = format!("there is no chat completion {} here", quote(id));
    ApiError::new(Code::CompletionNotFound, message)
}
