//! An answer piece by piece, as server-sent events.
//!
//! Invariants:
//! - `[DONE]` is sent only after every choice said why it ended. A broken answer ends with an
//!   `error` event instead, so that no client takes it for a whole one.
//! - The client's hang-up drops the stream, and with it the jobs.
//!
//! Not here: what the chunks look like (`shape`).

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::{Stream, stream};
use serde_json::{Map, Value};
use tokio::time::{Duration, timeout};

use crate::answer::Answer;
use crate::error::ApiError;
use crate::limits::{PING_INTERVAL, SILENCE_TIME_MAX};
use crate::observe::{RequestId, log};
use crate::plan::StreamOptions;
use crate::shape::Shape;
use crate::stored::Keeper;
use crate::transcript::Piece;

/// Streams an answer.
pub(crate) fn respond(
    answer: Answer,
    shape: Shape,
    options: StreamOptions,
    request_id: RequestId,
    keeper: Option<Keeper>,
) -> Response {
    let (silence, phase) = (Duration::ZERO, Phase::Opening);
    let keeper = keeper.map(|it| (it, (0..answer.len()).map(|_| Piece::default()).collect()));
    let events = Events { answer, shape, options, request_id, phase, silence, keeper };
    let body = stream::unfold(events, |mut events| async {
        let bytes = events.next().await?;
        Some((Ok::<Bytes, Infallible>(bytes), events))
    });
    self::events(body)
}

/// A response of events.
pub(crate) fn events(
    body: impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // nginx would collect the pieces otherwise.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

struct Events {
    answer: Answer,
    shape: Shape,
    options: StreamOptions,
    request_id: RequestId,
    phase: Phase,
    /// How long the answer has been silent.
    silence: Duration,
    /// Who keeps the answer, if it is kept, and what there is of each choice.
    keeper: Option<(Keeper, Vec<Piece>)>,
}

#[derive(Clone, Copy)]
enum Phase {
    Opening,
    Pieces,
    Closing,
    Ended,
}

impl Events {
    /// The next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let bytes = match self.phase {
                Phase::Opening => self.opening(),
                Phase::Pieces => self.piece().await,
                Phase::Closing => self.closing(),
                Phase::Ended => return None,
            };
            if !bytes.is_empty() {
                return Some(Bytes::from(bytes));
            }
        }
    }

    fn opening(&mut self) -> String {
        self.phase = Phase::Pieces;
        let choices = self.shape.opening(self.answer.len());
        self.chunks(choices)
    }

    async fn piece(&mut self) -> String {
        match timeout(PING_INTERVAL, self.answer.next()).await {
            Err(_) => self.ping(),
            Ok(None) => {
                self.phase = Phase::Closing;
                String::new()
            }
            Ok(Some(Err(error))) => self.broken(&error),
            Ok(Some(Ok((index, piece)))) => {
                let said = self.said(index, &piece);
                let kept = self.keeper.as_mut().and_then(|(_, pieces)| pieces.get_mut(index));
                if let Some(kept) = kept {
                    kept.absorb(piece);
                }
                said
            }
        }
    }

    fn said(&mut self, index: usize, piece: &Piece) -> String {
        self.silence = Duration::ZERO;
        let choices = self.shape.piece(index, piece);
        self.chunks(choices)
    }

    fn ping(&mut self) -> String {
        self.silence += PING_INTERVAL;
        if self.silence < SILENCE_TIME_MAX {
            return ": ping\n\n".to_owned();
        }
        let error = self.answer.silent();
        self.broken(&error)
    }

    fn broken(&mut self, error: &ApiError) -> String {
        self.phase = Phase::Ended;
        log(error, &self.request_id);
        event(&error.body())
    }

    fn closing(&mut self) -> String {
        self.phase = Phase::Ended;
        if let Some((keeper, pieces)) = self.keeper.take() {
            keeper.keep(&self.shape.answer(&pieces, self.answer.usage()));
        }
        let mut bytes = String::new();
        if self.options.include_usage {
            let mut chunk = self.shape.chunk(Vec::new());
            chunk.insert("usage".to_owned(), self.answer.usage().json());
            bytes = event(&Value::Object(chunk));
        }
        bytes + "data: [DONE]\n\n"
    }

    /// One event for each choice.
    fn chunks(&self, choices: Vec<Value>) -> String {
        let chunk = |choice| event(&Value::Object(self.with_usage(self.shape.chunk(vec![choice]))));
        choices.into_iter().map(chunk).collect()
    }

    fn with_usage(&self, mut chunk: Map<String, Value>) -> Map<String, Value> {
        if self.options.include_usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        chunk
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}
