//! `Idempotency-Key`: a request that is sent again gets the first answer again.
//!
//! A client that heard nothing cannot know whether its request was answered. With a key of its own it may
//! send it again: what was answered is kept, and what is being answered is not begun a second time.
//! The codes are those of Stripe and of the IETF's draft: 409 while the first one runs, 422 for another
//! body.
//!
//! Invariants:
//! - An answer is kept whole, or not at all: not one that broke off, and not a refusal.
//! - At most `IDEMPOTENCY_KEYS_MAX` keys are kept, with answers of at most `IDEMPOTENCY_SIZE_MAX` bytes, for
//!   at most `IDEMPOTENCY_TIME_MAX`, in memory.
//!
//! Not here: files, which are too large to be compared before they are taken.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::error::{ApiError, Code};
use crate::limits::{
    IDEMPOTENCY_KEY_SIZE_MAX, IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_SIZE_MAX, IDEMPOTENCY_TIME_MAX,
};
use crate::parameters::invalid;
use crate::router::Gateway;

/// The header with the key, and the one that says that an answer is the first one again.
const KEY: &str = "idempotency-key";
const AGAIN: &str = "idempotent-replayed";
/// How the events of an answer end that is whole.
const ENDS: [&[u8]; 4] = [
    b"data: [DONE]\n\n",
    b"event: response.completed\n",
    b"event: response.incomplete\n",
    b"event: message_stop\n",
];

type Name = [u8; 32];

/// The answers that are kept.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kept: BTreeMap<Name, Kept>,
    /// Those with an answer, the oldest first.
    order: VecDeque<Name>,
    size: usize,
}

#[derive(Debug)]
struct Kept {
    /// The hash of the request's body.
    body: Name,
    /// None while it is being made.
    answer: Option<Answer>,
    since: Instant,
}

#[derive(Clone, Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The first request with a key, until its answer is whole. Dropped before, it frees the key.
#[derive(Debug)]
struct First {
    answers: Arc<Answers>,
    name: Name,
    head: (StatusCode, HeaderMap),
    /// What was sent so far; none where it is too much to be kept.
    sent: Option<Vec<u8>>,
    is_kept: bool,
}

/// Wraps a request that has a key.
pub(crate) async fn once(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    let concerned = request.method() == Method::POST && request.uri().path() != "/v1/files";
    match request.headers().get(KEY).cloned().filter(|_| concerned) {
        None => next.run(request).await,
        Some(key) => match answer(&gateway, &key, request, next).await {
            Ok(response) => response,
            Err(error) => error.into_response(),
        },
    }
}

async fn answer(
    gateway: &Gateway,
    key: &HeaderValue,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_SIZE_MAX {
        let problem = format!("has {} bytes, outside 1 to {IDEMPOTENCY_KEY_SIZE_MAX}", key.len());
        return Err(invalid(KEY, problem));
    }
    let name = name(&request, key);
    let (parts, body) = request.into_parts();
    let bytes = gateway.collect(body).await?;
    let body = hash(&[&bytes]);
    let answers = gateway.answers();
    if let Some(answer) = answers.begin(name, body)? {
        return Ok(answer.again());
    }
    let (answers, sent) = (Arc::clone(answers), Some(Vec::new()));
    let head = (StatusCode::OK, HeaderMap::new());
    let mut first = First { answers, name, head, sent, is_kept: false };
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    if !response.status().is_success() {
        return Ok(response);
    }
    let (parts, body) = response.into_parts();
    first.head = (parts.status, parts.headers.clone());
    if !first.streams() {
        let broken =
            |error| ApiError::new(Code::Internal, "the answer is not whole").because(error);
        let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(broken)?;
        first.hear(&bytes);
        first.end();
        return Ok(Response::from_parts(parts, Body::from(bytes)));
    }
    let pieces = futures_util::stream::unfold(
        (body.into_data_stream(), first),
        |(mut pieces, mut first)| async move {
            let piece = pieces.next().await;
            match &piece {
                Some(Ok(piece)) => first.hear(piece),
                Some(Err(_)) => first.sent = None,
                None => first.end(),
            }
            Some((piece?, (pieces, first)))
        },
    );
    Ok(Response::from_parts(parts, Body::from_stream(pieces)))
}

impl Answers {
    /// The answer to a request that was made before; none for the first one.
    fn begin(&self, name: Name, body: Name) -> Result<Option<Answer>, ApiError> {
        let mut inner = self.lock();
        inner.forget();
        match inner.kept.get(&name) {
            Some(kept) if kept.body != body => {
                let message = "this `idempotency-key` was used for a request with another body";
                Err(ApiError::new(Code::KeyReused, message).at(KEY))
            }
            Some(Kept { answer: Some(answer), .. }) => Ok(Some(answer.clone())),
            Some(Kept { answer: None, .. }) => {
                let message = "the first request with this `idempotency-key` is being answered";
                Err(ApiError::new(Code::KeyInUse, message).at(KEY).retry_after(1))
            }
            None => {
                inner.kept.insert(name, Kept { body, answer: None, since: Instant::now() });
                Ok(None)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Lets go what is too old or too much.
    fn forget(&mut self) {
        while let Some(&oldest) = self.order.front() {
            let kept = self.kept.get(&oldest);
            let is_old = kept.is_none_or(|it| it.since.elapsed() > IDEMPOTENCY_TIME_MAX);
            let is_much =
                self.order.len() > IDEMPOTENCY_KEYS_MAX || self.size > IDEMPOTENCY_SIZE_MAX;
            if !is_old && !is_much {
                return;
            }
            self.order.pop_front();
            let gone = self.kept.remove(&oldest).and_then(|it| it.answer);
            self.size -= gone.map_or(0, |it| it.body.len());
        }
    }
}

impl First {
    fn streams(&self) -> bool {
        let kind = self.head.1.get(header::CONTENT_TYPE);
        kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    }

    fn hear(&mut self, piece: &[u8]) {
        let room = IDEMPOTENCY_SIZE_MAX - self.sent.as_ref().map_or(0, Vec::len);
        match &mut self.sent {
            Some(sent) if piece.len() <= room => sent.extend_from_slice(piece),
            sent => *sent = None,
        }
    }

    /// Keeps the answer, if it is whole.
    fn end(&mut self) {
        let (status, headers) = self.head.clone();
        let Some(sent) = self.sent.take() else { return };
        let ends = |end: &&[u8]| sent.windows(end.len()).any(|it| it == *end);
        if self.streams() && !ENDS.iter().any(ends) {
            return;
        }
        let mut inner = self.answers.lock();
        let Some(kept) = inner.kept.get_mut(&self.name) else { return };
        let size = sent.len();
        (kept.answer, kept.since) =
            (Some(Answer { status, headers, body: Bytes::from(sent) }), Instant::now());
        inner.order.push_back(self.name);
        inner.size += size;
        inner.forget();
        self.is_kept = true;
    }
}

impl Drop for First {
    fn drop(&mut self) {
        if !self.is_kept {
            self.answers.lock().kept.remove(&self.name);
        }
    }
}

impl Answer {
    fn again(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response.headers_mut().insert(AGAIN, HeaderValue::from_static("true"));
        response
    }
}

/// A key belongs to its caller and its operation.
fn name(request: &Request, key: &HeaderValue) -> Name {
    let word = |name| request.headers().get(name).map_or(&b""[..], HeaderValue::as_bytes);
    let (caller, other) = (word("authorization"), word("x-api-key"));
    hash(&[caller, other, request.uri().path().as_bytes(), key.as_bytes()])
}

fn hash(parts: &[&[u8]]) -> Name {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
