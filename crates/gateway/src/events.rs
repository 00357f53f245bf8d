//! An answer as events that have names, for the operations that tell it in their own words.
//!
//! Invariants:
//! - What broke off is told as that, and nothing follows.
//! - The client's hang-up drops the stream, and with it the answer.
//!
//! Not here: the events of the two completions (`stream`), what the events say (`Teller`).

use std::convert::Infallible;

use axum::body::Bytes;
use axum::response::Response;
use futures_util::stream::unfold;
use serde_json::Value;
use tokio::time::{Duration, timeout};

use crate::answer::Answer;
use crate::error::ApiError;
use crate::limits::{PING_INTERVAL, SILENCE_TIME_MAX};
use crate::observe::{RequestId, log};
use crate::shape::Usage;
use crate::transcript::Piece;

/// Tells an answer in the words of one operation.
pub(crate) trait Teller: Send + 'static {
    /// The events since the last look; each has its name as its `type`.
    fn take(&mut self) -> Vec<Value>;

    /// Takes the next piece of the answer.
    fn piece(&mut self, piece: &Piece);

    /// Ends it.
    fn end(&mut self, usage: Usage);

    /// Ends what broke off.
    fn fail(&mut self, error: &ApiError);
}

/// Waits for the whole answer, and gives back who knows it.
pub(crate) async fn whole<T: Teller>(mut answer: Answer, mut teller: T) -> Result<T, ApiError> {
    loop {
        let Ok(next) = timeout(SILENCE_TIME_MAX, answer.next()).await else {
            return Err(answer.silent());
        };
        let Some((_, piece)) = next.transpose()? else { break };
        teller.piece(&piece);
    }
    teller.end(answer.usage());
    Ok(teller)
}

/// Streams an answer.
pub(crate) fn stream<T: Teller>(answer: Answer, teller: T, id: RequestId) -> Response {
    let run = Run { answer, teller, id, silence: Duration::ZERO, is_over: false };
    crate::stream::events(unfold(run, |mut run| async move {
        let bytes = run.next().await?;
        Some((Ok::<Bytes, Infallible>(Bytes::from(bytes)), run))
    }))
}

/// An event under its own name.
pub(crate) fn event(value: &Value) -> String {
    format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or("error"))
}

struct Run<T> {
    answer: Answer,
    teller: T,
    id: RequestId,
    /// How long the answer has been silent.
    silence: Duration,
    is_over: bool,
}

impl<T: Teller> Run<T> {
    /// The next events; `None` after the last.
    async fn next(&mut self) -> Option<String> {
        loop {
            let told: String = self.teller.take().iter().map(event).collect();
            if !told.is_empty() {
                return Some(told);
            }
            if self.is_over {
                return None;
            }
            let error = match timeout(PING_INTERVAL, self.answer.next()).await {
                Ok(Some(Ok((_, piece)))) => {
                    self.silence = Duration::ZERO;
                    self.teller.piece(&piece);
                    continue;
                }
                Ok(None) => {
                    self.teller.end(self.answer.usage());
                    self.is_over = true;
                    continue;
                }
                Ok(Some(Err(error))) => error,
                Err(_) => {
                    self.silence += PING_INTERVAL;
                    if self.silence < SILENCE_TIME_MAX {
                        return Some(": ping\n\n".to_owned());
                    }
                    self.answer.silent()
                }
            };
            log(&error, &self.id);
            self.teller.fail(&error);
            self.is_over = true;
        }
    }
}
