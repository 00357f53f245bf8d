//! `/v1/messages`: the same answers, in the shape of Anthropic's API.
//!
//! A request becomes the same plan as a chat. Its errors have a shape of their own, too, which `observe`
//! gives to whatever is refused under this path.
//!
//! Not here: reading a request (`read`), writing the message and its events (`write`).

mod read;
mod write;

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::answer::{Answer, name_worker};
use crate::caller::Caller;
use crate::error::{ApiError, Code, json_response, quote};
use crate::events;
use crate::messages::write::Writer;
use crate::observe::RequestId;
use crate::router::Gateway;

/// Where the operations of this shape are.
pub(crate) const PATH: &str = "/v1/messages";
/// The header that says which edition of the API is spoken.
const EDITION: &str = "anthropic-version";
/// Those that are: in what is served here they have the same shape.
const EDITIONS: [&str; 2] = ["2023-06-01", "2026-10-21"];

/// `POST /v1/messages`.
pub(crate) async fn create(
    State(gateway): State<Arc<Gateway>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, ApiError> {
    gateway.check_ready()?;
    check_edition(request.headers())?;
    let caller = Caller::of(&gateway, &request);
    let body = gateway.read(request).await?;
    let mut plan = gateway.prepare(move |models| read::plan(&body.bytes, models)).await?;
    plan.caller = caller;
    let answer = Answer::start(&plan, &gateway).await?;
    let worker = answer.worker();
    let writer = Writer::new(&plan)?;
    let mut response = match plan.stream {
        Some(_) => events::stream(answer, writer, id),
        None => {
            let written = events::whole(answer, writer).await?;
            json_response(StatusCode::OK, &written.message())
        }
    };
    name_worker(&mut response, worker);
    Ok(response)
}

/// `POST /v1/messages/count_tokens`.
pub(crate) async fn count(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    check_edition(request.headers())?;
    let body = gateway.read(request).await?;
    let plan = gateway.prepare(move |models| read::counted(&body.bytes, models)).await?;
    let count: usize = plan.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
    Ok(json_response(StatusCode::OK, &json!({"input_tokens": count})))
}

/// An error in this shape. Its `type` follows from the status.
pub(crate) fn error_json(error: &ApiError, id: &str) -> Value {
    let kind = match error.code.status().as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": error.public}, "request_id": id})
}

fn check_edition(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(given) = headers.get(EDITION) else { return Ok(()) };
    if EDITIONS.iter().any(|it| it.as_bytes() == given.as_bytes()) {
        return Ok(());
    }
    let (given, known) = (String::from_utf8_lossy(given.as_bytes()), EDITIONS.join("` and `"));
    let message = format!("the header `{EDITION}` is {}, not one of `{known}`", quote(&given));
    Err(ApiError::new(Code::UnsupportedParameter, message).at(EDITION))
}
