//! Ask a gateway for a part of a file, and read the part straight into the reader's memory.
//!
//! `hyper` hands bodies out in memory of its own, from which every byte would be copied once more;
//! with hashing, that copy was a tenth of a fetch's time (`docs/benchmarks.md`). The head of the
//! answer is `httparse`'s work, and a body of a stated length is the stream itself.
//!
//! Invariants:
//! - A head has at most `HEAD_SIZE_MAX` bytes and `HEADER_COUNT_MAX` lines.
//! - Nothing beyond the part is read, and a connection is kept for the next request only after the
//!   part's last byte.
//!
//! Not here: single blocks (`http`), and bodies in chunks, whose gateway is asked for blocks instead.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, Take};

use super::source::SourceError;

/// Bytes of an answer's head, at most: what web servers allow each other.
const HEAD_SIZE_MAX: usize = 16 << 10;
/// Lines of an answer's head, at most.
const HEADER_COUNT_MAX: usize = 64;
/// Connections that wait for the next request, at most.
const IDLE_COUNT_MAX: usize = 8;

/// Connections that wait for the next request.
pub(super) type Idle<S> = Arc<Mutex<Vec<S>>>;

/// A part that is asked for.
pub(super) struct Asked<'a> {
    /// Who the gateway is told it is.
    pub(super) host: &'a str,
    /// What of it.
    pub(super) path: &'a str,
    /// Which bytes, at least one.
    pub(super) range: Range<u64>,
}

/// The bytes of a part, as they come.
#[derive(Debug)]
pub(super) struct Part<S> {
    /// Bytes that came with the head.
    ahead: Bytes,
    /// The rest of the part; `None` once its connection was given back.
    rest: Option<Take<S>>,
    /// Where the connection goes; `None` for one that is not used again.
    idle: Option<Idle<S>>,
}

/// Asks over this connection.
///
/// # Errors
/// When the answer is not that part.
pub(super) async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    asked: &Asked<'_>,
    idle: &Idle<S>,
) -> Result<Part<S>, SourceError> {
    let broken = |error: io::Error| SourceError::Broken(error.to_string());
    stream.write_all(asked.request().as_bytes()).await.map_err(broken)?;
    let mut bytes = Vec::with_capacity(1 << 10);
    let head = loop {
        if bytes.len() >= HEAD_SIZE_MAX {
            return Err(SourceError::Broken("an endless head".to_owned()));
        }
        let mut more = (&mut stream).take((HEAD_SIZE_MAX - bytes.len()) as u64);
        if more.read_buf(&mut bytes).await.map_err(broken)? == 0 {
            return Err(SourceError::Broken("no answer".to_owned()));
        }
        if let Some(head) = Head::read(&bytes)? {
            break head;
        }
    };
    let size = asked.expect(&head)?;
    let ahead = Bytes::from(bytes).slice(head.size..);
    // What comes after the part was not asked for.
    let left = size.checked_sub(ahead.len() as u64).ok_or(SourceError::TooMuch)?;
    let idle = head.stays.then(|| Arc::clone(idle));
    Ok(Part { ahead, rest: Some(stream.take(left)), idle })
}

impl Asked<'_> {
    fn request(&self) -> String {
        let Asked { host, path, range } = self;
        let last = range.end.saturating_sub(1);
        format!(
            "GET {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/octet-stream, */*;q=0.5\r\nrange: bytes={}-{last}\r\n\r\n",
            range.start
        )
    }

    /// Bytes of the part that the head promises, which must be the one asked for.
    fn expect(&self, head: &Head) -> Result<u64, SourceError> {
        match head.status {
            206 => {}
            404 => return Err(SourceError::Missing),
            status @ (429 | 503) => return Err(SourceError::Status(status)),
            // The whole file, a redirect, or no answer in this form.
            _ => return Err(SourceError::NoRanges),
        }
        let last = self.range.end.saturating_sub(1);
        let size = self.range.end.saturating_sub(self.range.start);
        let is_it = head.range.starts_with(&format!("bytes {}-{last}/", self.range.start));
        if is_it && head.length == Some(size) { Ok(size) } else { Err(SourceError::NoRanges) }
    }
}

/// What counts of an answer's head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    /// Bytes of it.
    size: usize,
    status: u16,
    /// Bytes of the body; `None` where that is not said in advance.
    length: Option<u64>,
    /// Which part of which whole.
    range: String,
    /// Whether the connection may be used again.
    stays: bool,
}

impl Head {
    /// Reads a head; `None` while it is not all there.
    fn read(bytes: &[u8]) -> Result<Option<Head>, SourceError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(bytes);
        let size = match parsed.map_err(|error| SourceError::Broken(error.to_string()))? {
            httparse::Status::Complete(size) => size,
            httparse::Status::Partial => return Ok(None),
        };
        let mut head = Head {
            size,
            status: response.code.unwrap_or_default(),
            length: None,
            range: String::new(),
            stays: response.version == Some(1),
        };
        let (mut is_chunked, mut lengths) = (false, 0);
        for header in response.headers.iter() {
            let value = String::from_utf8_lossy(header.value);
            match header.name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    (head.length, lengths) = (value.trim().parse().ok(), lengths + 1);
                }
                "content-range" => head.range = value.into_owned(),
                "transfer-encoding" => is_chunked = true,
                "connection" => head.stays &= !value.to_ascii_lowercase().contains("close"),
                _ => {}
            }
        }
        // RFC 9112 6.3: where both are there, or several lengths, none is to be believed.
        if is_chunked || lengths > 1 {
            head.length = None;
        }
        Ok(Some(head))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Part<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead.split_to(count));
            self.give_back();
            return Poll::Ready(Ok(()));
        }
        let Some(rest) = &mut self.rest else { return Poll::Ready(Ok(())) };
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *rest).poll_read(context, buffer))?;
        if buffer.filled().len() == before && rest.limit() > 0 && buffer.remaining() > 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.give_back();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead> Part<S> {
    /// Gives the connection back after the last byte.
    fn give_back(&mut self) {
        let is_over = |rest: &mut Take<S>| rest.limit() == 0;
        if !self.ahead.is_empty() {
            return;
        }
        if let (Some(rest), Some(idle)) = (self.rest.take_if(is_over), &self.idle) {
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE_COUNT_MAX {
                idle.push(rest.into_inner());
            }
        }
    }
}

#[cfg(test)]
mod tests;
