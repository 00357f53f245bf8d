//! `/v1/files`: files that clients leave here, to be read by batches, and what batches have written.
//!
//! Invariants:
//! - A file is there once its bytes are on the disk, and has the name that follows from them (`cid`).
//! - A web page that may not call the API cannot leave a file: the browser would let it send this kind
//!   of body without asking first.
//!
//! Not here: reading what is sent (`upload`), the disk (`shelf`).

pub(crate) mod shelf;
mod upload;

use std::io;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::stream;
use serde_json::{Value, json};

use crate::archive::Archive;
use crate::body::Id;
use crate::error::{ApiError, Code, json_response, quote};
use crate::files::shelf::{PIECE_SIZE, Stored};
use crate::paging::{Page, Pairs};
use crate::router::Gateway;

/// Files of one page, at most, as in the OpenAI API, and if nothing is said.
const PAGE_MAX: usize = 10_000;

/// `POST /v1/files`.
pub(crate) async fn create(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    let archive = gateway.archive()?;
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && !gateway.origins().allow(origin)
    {
        return Err(ApiError::new(Code::Forbidden, "this web page may not call the API"));
    }
    let stored = upload::read(request, &archive.shelf).await?;
    Ok(json_response(StatusCode::OK, &stored.json()))
}

/// `GET /v1/files`.
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let archive = gateway.archive()?;
    let mut purpose = None;
    let page = Page::read(&pairs, (PAGE_MAX, PAGE_MAX), |name, value| {
        purpose = (name == "purpose").then(|| value.to_owned()).or(purpose.take());
        name == "purpose"
    })?;
    let files = archive.shelf.list().into_iter();
    let files = files.filter(|it| purpose.as_ref().is_none_or(|purpose| it.purpose == *purpose));
    let page = page.of(files.map(|it| it.json()).collect(), "the list")?;
    Ok(json_response(StatusCode::OK, &page))
}

/// `GET /v1/files/{id}`.
pub(crate) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let stored = find(gateway.archive()?, &id)?;
    Ok(json_response(StatusCode::OK, &stored.json()))
}

/// `GET /v1/files/{id}/content`.
pub(crate) async fn content(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let archive = gateway.archive()?;
    let stored = find(archive, &id)?;
    // Opened before the answer begins, so that a file that goes away meanwhile is read to its end.
    let file = archive.shelf.read(&id).map_err(|error| broken(&error))?;
    let body = stream::try_unfold(file, |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; PIECE_SIZE];
            let count = io::Read::read(&mut file, &mut piece)?;
            piece.truncate(count);
            io::Result::Ok((piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        io::Result::Ok((!piece.is_empty()).then(|| (Bytes::from(piece), file)))
    });
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(stored.size));
    Ok(response)
}

/// `DELETE /v1/files/{id}`. A batch that reads the file has a copy of its own.
pub(crate) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let archive = gateway.archive()?;
    find(archive, &id)?;
    let (shelf, name) = (Arc::clone(&archive.shelf), id.clone());
    on_disk(move || shelf.remove(&name)).await?;
    Ok(json_response(StatusCode::OK, &json!({"id": id, "object": "file", "deleted": true})))
}

/// A file that is kept.
pub(crate) fn find(archive: &Archive, id: &str) -> Result<Arc<Stored>, ApiError> {
    archive.shelf.get(id).ok_or_else(|| {
        ApiError::new(Code::FileNotFound, format!("there is no file {} here", quote(id)))
    })
}

/// Works on the disk, off the threads that serve sockets.
pub(crate) async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.flatten().map_err(|error| broken(&error))
}

/// The error for a disk that does not do as it is told.
pub(crate) fn broken(error: &io::Error) -> ApiError {
    ApiError::new(Code::Internal, "the disk failed").because(error)
}

impl Stored {
    /// The file as clients see it.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": self.id,
            "object": "file",
            "bytes": self.size,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "cid": self.cid,
        })
    }
}
