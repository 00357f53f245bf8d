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
use futures_util::stream::once;
use serde_json::{Value, json};

use crate::answer::{Answer, name_worker};
use crate::body::Id;
use crate::caller::Caller;
use crate::error::{ApiError, Code, json_response, quote};
use crate::events::{self, Teller, event};
use crate::observe::RequestId;
use crate::paging::{Page, Pairs};
use crate::parameters::{invalid, unsupported};
use crate::responses::kept::{Kept, Responses};
use crate::responses::write::Writer;
use crate::router::Gateway;
use crate::shape::Usage;
use crate::stream;
use crate::transcript::Piece;

pub(crate) use crate::responses::read::{Asked, call, message, plan};

/// Items of one page, at most, and if nothing is said, as in the OpenAI API.
const PAGE_MAX: usize = 100;
const PAGE: usize = 20;

/// `POST /v1/responses`.
pub(crate) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    gateway.check_ready()?;
    let caller = Caller::of(&gateway, &request);
    let mut asked = gateway.asked(request).await?;
    asked.plan.caller = caller;
    let answer = Answer::start(&asked.plan, &gateway).await?;
    let worker = answer.worker();
    let streams = asked.plan.stream.is_some();
    let writer = Writer::new(&asked)?;
    let making = Making { gateway, asked, writer };
    let mut response = match streams {
        true => events::stream(answer, making, id),
        false => {
            let made = events::whole(answer, making).await?;
            json_response(StatusCode::OK, &made.writer.response())
        }
    };
    name_worker(&mut response, worker);
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
    Ok(stream::events(once(async { Ok::<Bytes, Infallible>(Bytes::from(body)) })))
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
    let page = Page::read(&pairs, (PAGE, PAGE_MAX), |_, _| false)?;
    let page = page.of(kept.items.clone(), "this response")?;
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
struct Making {
    gateway: Arc<Gateway>,
    asked: Asked,
    writer: Writer,
}

impl Teller for Making {
    fn take(&mut self) -> Vec<Value> {
        self.writer.take()
    }

    fn piece(&mut self, piece: &Piece) {
        self.writer.piece(piece);
    }

    /// Ends the response, which is kept if that was asked for.
    fn end(&mut self, usage: Usage) {
        self.writer.end(usage);
        if self.asked.store {
            let response = self.writer.response();
            let (items, messages) = (self.asked.items.clone(), self.writer.messages(&self.asked));
            self.gateway.responses().keep(self.writer.id(), Kept::new(&response, items, messages));
        }
    }

    fn fail(&mut self, error: &ApiError) {
        self.writer.fail(error);
    }
}
