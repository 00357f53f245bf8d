//! Read long answers from the disk, as fast as the client takes them.
//!
//! Invariants:
//! - At most `AHEAD_MAX` pieces are read ahead of the client.
//!
//! Not here: what is answered.

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use store::car;
use store::kernel_map::Mapped;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Found, Refused, Served, scope};

/// Bytes of a piece of an archive.
const PIECE_SIZE: usize = 512 << 10;
/// Bytes of a piece of a file. It takes no memory of its own, and each is handed from thread to thread.
const FILE_PIECE_SIZE: usize = 2 << 20;
/// Pieces that wait for the client, at most.
const AHEAD_MAX: usize = 2;
/// The archive that is written: parents before children, each block once.
const CAR_KIND: &str = "application/vnd.ipld.car; version=1; order=dfs; dups=n";

type Sent = io::Result<Bytes>;

fn body(from: Receiver<Sent>) -> Body {
    Body::from_stream(unfold(from, |mut from| async { Some((from.recv().await?, from)) }))
}

/// The bytes of a file, which are sent from the system's own memory of it: a copy, and new memory for
/// each piece, took a third of the sender's time.
pub(super) fn file(map: Mapped, span: Range<usize>, turn: OwnedSemaphorePermit) -> Body {
    let (to, from) = channel(AHEAD_MAX);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let map = Arc::new(map);
        for start in span.clone().step_by(FILE_PIECE_SIZE) {
            let part = start..span.end.min(start + FILE_PIECE_SIZE);
            // A page that the disk cannot give is noticed here and not by who sends it.
            let brought = map.bring(part.clone());
            let piece = brought.map(|()| Bytes::from_owner(Piece { map: Arc::clone(&map), part }));
            let is_error = piece.is_err();
            if let Err(error) = &piece {
                tracing::warn!(%error, "a file of the store cannot be read to its end");
            }
            // Where nobody takes it, nobody reads any more.
            if to.blocking_send(piece).is_err() || is_error {
                return;
            }
        }
    });
    body(from)
}

/// A piece of a file in memory.
struct Piece {
    map: Arc<Mapped>,
    /// Within the file.
    part: Range<usize>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.map.get(self.part.clone()).unwrap_or_default()
    }
}

/// An archive of what was found. One that lacks a block breaks off, which the client notices.
pub(super) fn car(
    served: &Served,
    found: &Found,
    turn: OwnedSemaphorePermit,
) -> Result<Response, Refused> {
    let index = &served.0.index;
    let scope = scope(index, found)?;
    let kind = [(CONTENT_TYPE, CAR_KIND)];
    if found.head_only {
        return Ok((kind, Body::empty()).into_response());
    }
    let (to, from) = channel(AHEAD_MAX);
    let (served, cid, way) = (served.clone(), found.cid, found.way.clone());
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut pieces = Pieces { piece: Vec::new(), to };
        let index = &served.0.index;
        let written = car::export_from(index, &cid, &way, &scope, &mut pieces);
        let written = written.and_then(|()| Ok(pieces.flush()?));
        if let Err(error) = written {
            tracing::debug!(%error, "an archive breaks off");
            let _ = pieces.to.blocking_send(Err(io::Error::other(error.to_string())));
        }
    });
    Ok((kind, body(from)).into_response())
}

/// Gathers what is written into pieces.
struct Pieces {
    piece: Vec<u8>,
    to: Sender<Sent>,
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_SIZE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        self.to.blocking_send(Ok(piece.into())).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}
