//! Around every request: its id, its headers, its line in the log, its place in the metrics.
//!
//! Not here: what is refused before the handlers run (`auth`, `origins`).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use crate::auth::account::Grant;
use crate::backend::Places;
use crate::error::ApiError;
use crate::messages;
use crate::router::Gateway;
use crate::sampling::random;

/// The endpoint whose errors have another shape.
const MESSAGES: &str = "messages";
/// The endpoints whose answers take places of the queue.
const ANSWERING: [&str; 4] = ["chat_completions", "completions", "responses", MESSAGES];

/// A request's name in the log and in `x-request-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// A new name.
    pub(crate) fn new() -> RequestId {
        // An id without randomness is useless but harmless.
        RequestId(format!("req_{}", hex(&random::<16>().unwrap_or_default())))
    }

    /// The name itself.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Wraps a request.
pub(crate) async fn observe(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = RequestId::new();
    let endpoint = endpoint(request.uri().path());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        log(&error, &id);
        if endpoint == MESSAGES {
            let body = messages::error_json(&error, &id.0).to_string();
            *response.body_mut() = Body::from(body);
        }
    }
    if ANSWERING.contains(&endpoint) {
        tell_places(&gateway, response.headers_mut());
    }
    if let Some(grant) = response.extensions_mut().remove::<Grant>() {
        grant.tell(response.headers_mut());
    }
    gateway.metrics().responded(endpoint, response.status().as_u16());
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let headers = response.headers_mut();
    headers.insert("openai-processing-ms", HeaderValue::from(milliseconds));
    if let Ok(id) = HeaderValue::try_from(id.0) {
        if endpoint == MESSAGES {
            headers.insert("request-id", id.clone());
        }
        headers.insert("x-request-id", id);
    }
    response
}

/// Says how many places the queue has and how many are free: the limit on requests of all together. A
/// place is free again when its answer ends, and nobody knows when; it is soon asked for again.
fn tell_places(gateway: &Gateway, headers: &mut HeaderMap) {
    let Some(Places { count, free }) = gateway.backend().places() else { return };
    let reset = if free > 0 { "0s" } else { "1s" };
    headers.insert("x-ratelimit-limit-requests", HeaderValue::from(count));
    headers.insert("x-ratelimit-remaining-requests", HeaderValue::from(free));
    headers.insert("x-ratelimit-reset-requests", HeaderValue::from_static(reset));
}

/// Writes an error to the log: failures as warnings, refusals for whoever looks closely.
pub(crate) fn log(error: &ApiError, RequestId(id): &RequestId) {
    let (code, public) = (error.code.name(), error.public.as_str());
    let private = error.private.as_deref().unwrap_or_default();
    if error.code.status().is_server_error() {
        tracing::warn!(request_id = id, code, private, "{public}");
    } else {
        tracing::debug!(request_id = id, code, private, "{public}");
    }
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The endpoint's name in the metrics.
fn endpoint(path: &str) -> &'static str {
    match path {
        "/v1/chat/completions" => "chat_completions",
        "/v1/completions" => "completions",
        _ if path.starts_with("/v1/chat/completions/") => "chat_completions",
        _ if path == "/v1/responses" || path.starts_with("/v1/responses/") => "responses",
        "/tokenize" | "/detokenize" | "/tokenizer_info" => "tokens",
        "/openapi.json" => "openapi",
        "/v1/embeddings" => "embeddings",
        "/livez" => "livez",
        "/readyz" => "readyz",
        "/metrics" => "metrics",
        _ if path == messages::PATH || path.starts_with("/v1/messages/") => MESSAGES,
        _ if path == "/v1/files" || path.starts_with("/v1/files/") => "files",
        _ if path == "/v1/batches" || path.starts_with("/v1/batches/") => "batches",
        _ if path == "/v1/models" || path.starts_with("/v1/models/") => "models",
        _ => "other",
    }
}
