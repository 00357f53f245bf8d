//! API keys.
//!
//! Without keys configured every key is accepted, and so is none: clients insist on sending one.
//!
//! Invariants:
//! - Only hashes of keys are kept, and all of them are compared in full, so that the time taken
//!   says nothing about how much of a guess was right.
//!
//! Not here: who pays.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::error::{ApiError, Code};
use crate::router::Gateway;

/// The keys that open the API, as hashes. No keys: open to all.
#[derive(Clone, Debug, Default)]
pub struct Keys(Vec<[u8; 32]>);

impl Keys {
    /// Takes the keys' hashes.
    #[must_use]
    pub fn new(keys: &[String]) -> Keys {
        Keys(keys.iter().map(hash).collect())
    }

    /// Whether no key is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Looks for a known key among a request's headers.
    ///
    /// # Errors
    /// When there is none, and one is needed.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let key = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        // Where Anthropic's clients have it.
        let other = headers.get("x-api-key").map(|value| value.as_bytes());
        let Some(key) = key.or(other) else {
            let message = "an API key is needed, as the header `Authorization: Bearer KEY`";
            return Err(ApiError::new(Code::InvalidApiKey, message));
        };
        let given = hash(key);
        let matches = self.0.iter().fold(0, |found, known| found | u8::from(same(known, &given)));
        if matches == 0 {
            return Err(ApiError::new(Code::InvalidApiKey, "the API key is not known here"));
        }
        Ok(())
    }
}

/// Refuses requests that use a model, or what was said to one, and carry no known key.
pub(crate) async fn authenticate(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Response {
    if needs_key(request.uri().path())
        && let Err(error) = gateway.keys().check(request.headers())
    {
        return error.into_response();
    }
    next.run(request).await
}

fn needs_key(path: &str) -> bool {
    let tokens = ["/tokenize", "/detokenize", "/tokenizer_info"];
    path.starts_with("/v1/") || tokens.contains(&path)
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

fn hash(key: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(key.as_ref()).into()
}

fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}
