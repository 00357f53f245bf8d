//! Snapshots over HTTP: which there are, and the bytes of one, from where the reader asks.
//!
//! Specified in `docs/spec/snapshot.md`.
//!
//! Invariants: a file is read as fast as its reader takes it, a piece at a time.
//!
//! Not here: what is in a snapshot (`chain`).

use std::io;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chain::snapshot::Named;
use futures_util::stream::try_unfold;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use types::id::Cid;

use super::{Answer, Refused};
use crate::ledger::Ledger;

/// Bytes that are read at a time.
const PIECE_SIZE: u64 = 128 << 10;

/// What a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    All,
    /// From a byte on, so many of them.
    Part(u64, u64),
    /// Nothing that is there.
    Nothing,
}

/// A snapshot as JSON.
pub(super) fn show(named: &Named) -> Value {
    json!({
        "height": named.height.0,
        "block": named.block.to_string(),
        "cid": named.cid.to_string(),
    })
}

/// The snapshots that are here, and the blocks that name them; the newest is the last.
pub(super) async fn list(State(ledger): State<Ledger>) -> Answer {
    let named = ledger.chain().snapshots().to_vec();
    let mut found = vec![];
    for named in &named {
        if let Ok(metadata) = tokio::fs::metadata(ledger.snapshot(&named.cid)).await {
            let mut value = show(named);
            value["size"] = metadata.len().into();
            found.push(value);
        }
    }
    Ok(Json(json!({"snapshots": found})))
}

/// The bytes of a snapshot.
pub(super) async fn file(
    State(ledger): State<Ledger>,
    Path(cid): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    // Only a CID becomes a file's name.
    let parsed = Cid::parse(&cid).ok_or_else(|| Refused::bad(format!("{cid:?} is no CID")))?;
    let unknown = || {
        let what = format!(
            "snapshot {parsed} any more; ask for the newest, which `mashaa ledger status` shows"
        );
        Refused::unknown(what)
    };
    let mut file = File::open(ledger.snapshot(&parsed)).await.map_err(|_| unknown())?;
    let size = file.metadata().await.map_err(failed)?.len();
    let wanted = headers.get(RANGE).map_or(Wanted::All, |range| {
        range.to_str().map_or(Wanted::All, |range| wanted(range, size))
    });
    let (status, start, length, range) = match wanted {
        Wanted::All => (StatusCode::OK, 0, size, None),
        Wanted::Part(start, length) => {
            let last = start.saturating_add(length).saturating_sub(1);
            let range = format!("bytes {start}-{last}/{size}");
            (StatusCode::PARTIAL_CONTENT, start, length, Some(range))
        }
        Wanted::Nothing => {
            let range = [(CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
        }
    };
    file.seek(io::SeekFrom::Start(start)).await.map_err(failed)?;
    let head = [
        (CONTENT_TYPE, "application/octet-stream".to_owned()),
        (ACCEPT_RANGES, "bytes".to_owned()),
        (CONTENT_LENGTH, length.to_string()),
    ];
    let range = range.map(|range| [(CONTENT_RANGE, range)]);
    let body = Body::from_stream(try_unfold((file, length), piece));
    let mut response = (status, head, body).into_response();
    response.headers_mut().extend(range.into_iter().flat_map(header_values));
    Ok(response)
}

fn header_values(
    range: [(axum::http::HeaderName, String); 1],
) -> impl Iterator<Item = (axum::http::HeaderName, axum::http::HeaderValue)> {
    let valid = |(name, value): (_, String)| Some((name, value.parse().ok()?));
    range.into_iter().filter_map(valid)
}

/// The next piece of a file of which so many bytes are left to send.
async fn piece((mut file, left): (File, u64)) -> io::Result<Option<(Vec<u8>, (File, u64))>> {
    if left == 0 {
        return Ok(None);
    }
    let size = usize::try_from(left.min(PIECE_SIZE)).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    let count = file.read(&mut bytes).await?;
    if count == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    bytes.truncate(count);
    let count = u64::try_from(count).map_err(io::Error::other)?;
    Ok(Some((bytes, (file, left.saturating_sub(count)))))
}

/// Reads `bytes=5-` or `bytes=5-9` (RFC 9110 14.1.2); other ranges may be answered with everything.
fn wanted(range: &str, size: u64) -> Wanted {
    let span = range.strip_prefix("bytes=").and_then(|span| span.split_once('-'));
    let Some((first, last)) = span else { return Wanted::All };
    let Ok(first) = first.parse::<u64>() else { return Wanted::All };
    let end = match last {
        "" => Some(size),
        last => last.parse::<u64>().ok().map(|last| last.saturating_add(1).min(size)),
    };
    match end {
        _ if first >= size => Wanted::Nothing,
        Some(end) if end > first => Wanted::Part(first, end.saturating_sub(first)),
        _ => Wanted::All,
    }
}

fn failed(error: io::Error) -> Refused {
    Refused {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: "internal_error",
        message: format!("a snapshot could not be read: {error}"),
    }
}

#[cfg(test)]
mod tests;
