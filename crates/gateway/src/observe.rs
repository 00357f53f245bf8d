//! Around every request: its id, its headers, its line in the log, its place in the metrics.
//!
//! Not here: what is refused before the handlers run (`auth`, `origins`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::router::Gateway;
use crate::sampling::random;

/// A request's name in the log and in `x-request-id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    fn new() -> RequestId {
        // An id without randomness is useless but harmless.
        RequestId(format!("req_{}", hex(&random::<16>().unwrap_or_default())))
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
    }
    gateway.metrics().responded(endpoint, response.status().as_u16());
    let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let headers = response.headers_mut();
    headers.insert("openai-processing-ms", HeaderValue::from(milliseconds));
    if let Ok(id) = HeaderValue::try_from(id.0) {
        headers.insert("x-request-id", id);
    }
    response
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
        _ if path == "/v1/responses" || path.starts_with("/v1/responses/") => "responses",
        "/tokenize" | "/detokenize" | "/tokenizer_info" => "tokens",
        "/openapi.json" => "openapi",
        "/v1/embeddings" => "embeddings",
        "/livez" => "livez",
        "/readyz" => "readyz",
        "/metrics" => "metrics",
        _ if path == "/v1/models" || path.starts_with("/v1/models/") => "models",
        _ => "other",
    }
}
