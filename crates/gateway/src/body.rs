//! Reading a request's body, within bounds of size, time and memory, and the id in its path.
//!
//! Invariants:
//! - The bodies held at once are at most `BODIES_SIZE_MAX` bytes together.
//! - A body must be declared as JSON, which a foreign web page cannot do without asking first.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures_util::StreamExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{ApiError, Code};
use crate::limits::BODY_TIME_MAX;

/// A request's body and its share of the memory for bodies.
#[derive(Debug)]
pub(crate) struct HeldBody {
    pub(crate) bytes: Vec<u8>,
    _memory: OwnedSemaphorePermit,
}

/// What the last part of a path names.
#[derive(Debug)]
pub(crate) struct Id(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|error| {
            ApiError::new(Code::UnknownUrl, "the path is not UTF-8").because(error.body_text())
        })?;
        Ok(Id(id))
    }
}

/// Reads a JSON body of at most `size_max` bytes. `memory` has a permit for each byte.
pub(crate) async fn read(
    request: Request,
    size_max: usize,
    memory: &Arc<Semaphore>,
) -> Result<HeldBody, ApiError> {
    check_type(request.headers())?;
    hold(request.into_body(), size_max, memory).await
}

/// Reads a body of any kind of at most `size_max` bytes.
pub(crate) async fn hold(
    body: Body,
    size_max: usize,
    memory: &Arc<Semaphore>,
) -> Result<HeldBody, ApiError> {
    // Without a declared length the body may come to be of any size, so it takes the largest.
    let declared = body.size_hint().upper();
    let size = declared.map_or(size_max, |size| usize::try_from(size).unwrap_or(usize::MAX));
    if size > size_max {
        return Err(too_large(size_max));
    }
    let permits = u32::try_from(size).map_err(|_| too_large(size_max))?;
    let held = Arc::clone(memory).try_acquire_many_owned(permits).map_err(|_| {
        ApiError::new(Code::Busy, "too many requests are being read").retry_after(1)
    })?;
    let late = |_| ApiError::new(Code::RequestTimeout, "the body did not come in time");
    let bytes = timeout(BODY_TIME_MAX, collect(body, size_max)).await.map_err(late)??;
    Ok(HeldBody { bytes, _memory: held })
}

async fn collect(body: Body, size_max: usize) -> Result<Vec<u8>, ApiError> {
    let mut pieces = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| {
            ApiError::new(Code::InvalidJson, "the body broke off before its end").because(error)
        })?;
        if piece.len() > size_max - bytes.len() {
            return Err(too_large(size_max));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let declared = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = declared.unwrap_or_default().split(';').next().unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the body must have the header `Content-Type: application/json`";
    Err(ApiError::new(Code::UnsupportedMediaType, message))
}

fn too_large(size_max: usize) -> ApiError {
    ApiError::new(Code::BodyTooLarge, format!("the body is larger than {size_max} bytes"))
}
