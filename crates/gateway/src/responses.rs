//! `/v1/responses`: conversations of which the server keeps what was said.
//!
//! A request becomes the same plan as a chat, and the answer is written as items. What was asked and
//! answered is kept for a while, so that a later request can go on from it.
//!
//! Invariants:
//! - A response is kept only once it is complete, and only if `store` is not false.
//!
//! Not here: reading a request (`read`), writing a response and its events (`write`), what is kept
//! (`kept`).

pub(crate) mod kept;
mod read;
mod write;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use crate::answer::Answer;
use crate::body::Id;
use crate::error::{ApiError, Code, json_response, quote};
use crate::limits::{PING_INTERVAL, SILENCE_TIME_MAX};
use crate::observe::{RequestId, log};
use crate::parameters::{invalid, unsupported};
use crate::responses::kept::{Kept, Responses};
use crate::responses::write::Writer;
use crate::router::Gateway;
use crate::stream::events;

pub(crate) use crate::responses::read::{Asked, plan};

/// Items of one page, at most, and if nothing is said, as in the OpenAI API.
const PAGE_MAX: usize = 100;
const PAGE: usize = 20;

/// What the query of a request says, in pairs.
type Pairs = Query<Vec<(String, String)>>;

/// `POST /v1/responses`.
pub(crate) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    gateway.check_ready()?;
    let asked = gateway.asked(request).await?;
    let answer = Answer::start(&asked.plan, gateway.backend(), gateway.metrics_shared()).await?;
    let worker = answer.worker();
    let streams = asked.plan.stream.is_some();
    let run = Run::new(gateway, answer, asked)?;
    let mut response = if streams { run.stream(id) } else { run.whole().await? };
    if let Some(worker) = worker {
        response.headers_mut().insert("x-mashaa-worker", worker);
    }
    Ok(response)
}

/// `POST /v1/responses/input_tokens`.
pub(crate) async fn count(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = gateway.asked(request).await?;
    let count: usize = asked.plan.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
    let counted = json!({"object": "response.input_tokens", "input_tokens": count});
    Ok(json_response(StatusCode::OK, &counted))
}

/// `GET /v1/responses/{id}`, also as the stream that it was or could have been.
pub(crate) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let kept = find(gateway.responses(), &id)?;
    let (mut streams, mut after) = (false, None);
    for (name, value) in &pairs {
        match (name.as_str(), value.as_str()) {
            ("stream", "true") => streams = true,
            ("stream" | "include_obfuscation", "false") => {}
            ("starting_after", number) => {
                let number = number.parse::<u64>();
                after = Some(number.map_err(|_| invalid("starting_after", "is no number"))?);
            }
            _ => return Err(unsupported(name, &json!(value))),
        }
    }
    if !streams {
        if after.is_some() {
            return Err(invalid("starting_after", "has a meaning only where `stream` is true"));
        }
        return Ok(json_response(StatusCode::OK, &kept.response));
    }
    let told = Writer::replay(&kept.response).into_iter();
    let later = told.filter(|event| {
        after.is_none_or(|after| event["sequence_number"].as_u64().is_some_and(|it| it > after))
    });
    let body: String = later.map(|it| event(&it)).collect();
    Ok(events(stream::once(async { Ok::<Bytes, Infallible>(Bytes::from(body)) })))
}

/// `DELETE /v1/responses/{id}`.
pub(crate) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    gateway.responses().remove(&id).ok_or_else(|| unknown(&id))?;
    let deleted = json!({"id": id, "object": "response", "deleted": true});
    Ok(json_response(StatusCode::OK, &deleted))
}

/// `POST /v1/responses/{id}/cancel`: nothing is made in the background that could be cancelled.
pub(crate) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    find(gateway.responses(), &id)?;
    let message =
        "only a response made in the background can be cancelled; hang up to cancel others";
    Err(ApiError::new(Code::InvalidValue, message))
}

/// `GET /v1/responses/{id}/input_items`.
pub(crate) async fn input_items(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let kept = find(gateway.responses(), &id)?;
    let (mut limit, mut ascending, mut after) = (PAGE, false, None);
    for (name, value) in &pairs {
        match (name.as_str(), value.as_str()) {
            ("limit", number) => {
                let number = number.parse().ok().filter(|it| (1..=PAGE_MAX).contains(it));
                let problem = || invalid("limit", format!("is outside 1 to {PAGE_MAX}"));
                limit = number.ok_or_else(problem)?;
            }
            ("order", "asc") => ascending = true,
            ("order", "desc") => ascending = false,
            ("after", id) => after = Some(id.to_owned()),
            _ => return Err(unsupported(name, &json!(value))),
        }
    }
    let mut items: Vec<&Value> = kept.items.iter().collect();
    if !ascending {
        items.reverse();
    }
    if let Some(after) = after {
        let at = items.iter().position(|item| item["id"] == after.as_str());
        let at = at.ok_or_else(|| invalid("after", "names no item of this response"))?;
        items.drain(..=at);
    }
    let has_more = items.len() > limit;
    items.truncate(limit);
    let end = |item: Option<&&Value>| item.map_or(json!(""), |item| item["id"].clone());
    let page = json!({
        "object": "list", "first_id": end(items.first()), "last_id": end(items.last()),
        "has_more": has_more, "data": items,
    });
    Ok(json_response(StatusCode::OK, &page))
}

fn find(responses: &Responses, id: &str) -> Result<Arc<Kept>, ApiError> {
    responses.get(id).ok_or_else(|| unknown(id))
}

/// The error for a response that is not kept, or no more.
fn unknown(id: &str) -> ApiError {
    ApiError::new(Code::ResponseNotFound, format!("there is no response {} here", quote(id)))
}

/// A response being made.
struct Run {
    gateway: Arc<Gateway>,
    answer: Answer,
    asked: Asked,
    writer: Writer,
}

impl Run {
    fn new(gateway: Arc<Gateway>, answer: Answer, asked: Asked) -> Result<Run, ApiError> {
        let writer = Writer::new(&asked)?;
        Ok(Run { gateway, answer, asked, writer })
    }

    async fn whole(mut self) -> Result<Response, ApiError> {
        loop {
            let Ok(next) = timeout(SILENCE_TIME_MAX, self.answer.next()).await else {
                return Err(self.answer.silent());
            };
            let Some((_, piece)) = next.transpose()? else { break };
            self.writer.piece(&piece);
        }
        let response = self.end();
        Ok(json_response(StatusCode::OK, &response))
    }

    /// The response, which is kept if that was asked for.
    fn end(&mut self) -> Value {
        self.writer.end(self.answer.usage());
        let response = self.writer.response();
        if self.asked.store {
            let (items, messages) = (self.asked.items.clone(), self.writer.messages(&self.asked));
            self.gateway.responses().keep(self.writer.id(), Kept::new(&response, items, messages));
        }
        response
    }

    fn stream(self, request_id: RequestId) -> Response {
        let state = (self, request_id, Duration::ZERO, false);
        events(stream::unfold(state, |(mut run, id, mut silence, ended)| async move {
            if ended {
                return None;
            }
            let (bytes, ended) = run.next(&id, &mut silence).await;
            Some((Ok::<Bytes, Infallible>(Bytes::from(bytes)), (run, id, silence, ended)))
        }))
    }

    /// The next events, and whether they are the last.
    async fn next(&mut self, id: &RequestId, silence: &mut Duration) -> (String, bool) {
        let told = self.writer.take();
        if !told.is_empty() {
            return (told.iter().map(event).collect(), false);
        }
        let error = match timeout(PING_INTERVAL, self.answer.next()).await {
            Ok(Some(Ok((_, piece)))) => {
                *silence = Duration::ZERO;
                self.writer.piece(&piece);
                return (self.writer.take().iter().map(event).collect(), false);
            }
            Ok(None) => {
                self.end();
                return (self.writer.take().iter().map(event).collect(), true);
            }
            Ok(Some(Err(error))) => error,
            Err(_) => {
                *silence += PING_INTERVAL;
                if *silence < SILENCE_TIME_MAX {
                    return (": ping\n\n".to_owned(), false);
                }
                self.answer.silent()
            }
        };
        log(&error, id);
        self.writer.fail(&error);
        (self.writer.take().iter().map(event).collect(), true)
    }
}

/// An event under its own name.
fn event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or("error"))
}
