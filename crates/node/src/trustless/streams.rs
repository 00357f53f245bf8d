//! Read long answers from the disk, as fast as the client takes them.
//!
//! Invariants:
//! - At most `AHEAD_MAX` pieces are read ahead of the client.
//!
//! Not here: what is answered.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use store::car;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Found, Refused, Served, scope};

/// Bytes of a piece.
const PIECE_SIZE: usize = 512 << 10;
/// Pieces that wait for the client, at most.
const AHEAD_MAX: usize = 2;
/// The archive that is written: parents before children, each block once.
const CAR_KIND: &str = "application/vnd.ipld.car; version=1; order=dfs; dups=n";

type Piece = io::Result<Bytes>;

fn body(from: Receiver<Piece>) -> Body {
    Body::from_stream(unfold(from, |mut from| async { Some((from.recv().await?, from)) }))
}

/// The bytes of a file.
pub(super) fn file(mut file: File, span: Range<u64>, turn: OwnedSemaphorePermit) -> Body {
    let (to, from) = channel(AHEAD_MAX);
    tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let mut left = span.end - span.start;
        let mut read = || -> io::Result<()> {
            file.seek(SeekFrom::Start(span.start))?;
            while left > 0 {
                let mut piece = Vec::new();
                let size = left.min(PIECE_SIZE as u64);
                piece.reserve_exact(PIECE_SIZE.min(size as usize));
                if (&mut file).take(size).read_to_end(&mut piece)? as u64 != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                left -= size;
                if to.blocking_send(Ok(piece.into())).is_err() {
                    // Nobody reads any more.
                    return Ok(());
                }
            }
            Ok(())
        };
        if let Err(error) = read() {
            tracing::warn!(%error, "a file of the store cannot be read to its end");
            let _ = to.blocking_send(Err(error));
        }
    });
    body(from)
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
    to: Sender<Piece>,
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
