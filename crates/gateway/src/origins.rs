//! Which web pages may call the API from a browser (CORS).
//!
//! Requests without an `Origin` header, from programs, are not concerned. A page that is not
//! allowed cannot send a request with a JSON body at all: the browser asks first, and is not told
//! yes. That is also why a body must be declared as JSON (`body`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::router::Gateway;

/// Seconds for which a browser may remember a preflight's answer.
const PREFLIGHT_AGE: &str = "600";

/// Headers that a page may read.
const EXPOSED: &str = "x-request-id, request-id, openai-processing-ms, retry-after, retry-after-ms, \
    x-should-retry, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, \
    x-ratelimit-reset-requests, idempotent-replayed";

/// The web pages that may call the API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages served from this machine: `localhost`, `127.0.0.1` and `[::1]`, any port.
    #[default]
    Localhost,
    /// None.
    Nobody,
    /// These, written as browsers send them: `https://chat.example.org`.
    Listed(Vec<String>),
}

impl Origins {
    /// Whether this page may.
    pub(crate) fn allow(&self, origin: &HeaderValue) -> bool {
        let Ok(origin) = origin.to_str() else { return false };
        match self {
            Origins::Nobody => false,
            Origins::Listed(list) => list.iter().any(|listed| listed == origin),
            Origins::Localhost => origin.parse::<Uri>().is_ok_and(|origin| {
                matches!(origin.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
            }),
        }
    }
}

/// Answers preflights, and marks the responses that the page may read.
pub(crate) async fn share(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let Some(origin) = origin.filter(|origin| gateway.origins().allow(origin)) else {
        return next.run(request).await;
    };
    let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if request.method() == Method::OPTIONS && asks {
        preflight(request.headers())
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let exposed = HeaderValue::from_static(EXPOSED);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    response
}

fn preflight(request: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    let methods = HeaderValue::from_static("GET, POST, DELETE, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_AGE));
    if let Some(wanted) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    response
}
