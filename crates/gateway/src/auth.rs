//! API keys: who may ask, what, and how much.
//!
//! There are the keys of the settings, which may do everything, and those of a key ring, each with scopes
//! and limits. Without either every key is accepted, and so is none: clients insist on sending one.
//!
//! Invariants:
//! - Only hashes of keys are kept, and all of them are compared in full, so that the time taken
//!   says nothing about how much of a guess was right.
//! - A ring that cannot be read opens nothing.
//!
//! Not here: a key (`key`), the file of the ring (`ring`), what a key has used (`account`), who owns a
//! node (`node::control`).

pub mod account;
pub mod key;
pub mod ring;

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::auth::account::Grant;
use crate::auth::key::Scope;
use crate::auth::ring::Ring;
use crate::error::{ApiError, Code};
use crate::ids::seconds;
use crate::router::Gateway;

/// The keys that open the API. No keys: open to all.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Hashes of those that may do everything.
    masters: Vec<[u8; 32]>,
    ring: Option<Arc<Ring>>,
}

impl Keys {
    /// Takes the keys that may do everything.
    #[must_use]
    pub fn new(keys: &[String]) -> Keys {
        Keys { masters: keys.iter().map(hash).collect(), ring: None }
    }

    /// And a ring of keys with scopes and limits.
    #[must_use]
    pub fn with_ring(self, ring: Arc<Ring>) -> Keys {
        Keys { ring: Some(ring), ..self }
    }

    /// Whether no key is needed now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.masters.is_empty() && self.ring.as_ref().is_none_or(|ring| ring.is_empty())
    }

    /// Whether there are keys that may do everything.
    #[must_use]
    pub fn has_masters(&self) -> bool {
        !self.masters.is_empty()
    }

    /// Looks for a known key among a request's headers, and whether it may do this. What a key of the
    /// ring is allowed comes back.
    ///
    /// # Errors
    /// When a key is needed, and there is none, or it is not known, not good any more, or not for this.
    pub fn admit(&self, headers: &HeaderMap, scope: Scope) -> Result<Option<Grant>, ApiError> {
        if self.is_open() {
            return Ok(None);
        }
        let key = headers.get(header::AUTHORIZATION).and_then(|value| bearer(value.as_bytes()));
        // Where Anthropic's clients have it.
        let other = headers.get("x-api-key").map(|value| value.as_bytes());
        let Some(key) = key.or(other) else {
            let message = "an API key is needed, as the header `Authorization: Bearer KEY`";
            return Err(ApiError::new(Code::InvalidApiKey, message));
        };
        let given = hash(key);
        if self.masters.iter().fold(0, |found, known| found | u8::from(same(known, &given))) == 1 {
            return Ok(None);
        }
        let grant = match &self.ring {
            Some(ring) => ring.find(&given)?,
            None => None,
        };
        let grant = grant.ok_or_else(unknown)?;
        grant.key().check(scope, seconds())?;
        Ok(Some(grant))
    }

    /// What the key of the ring with this id is allowed, for what it has left to be done later.
    ///
    /// # Errors
    /// When it is not good any more, or not for this.
    pub(crate) fn later(&self, id: &str, scope: Scope) -> Result<Grant, ApiError> {
        let grant = self.ring.as_ref().map_or(Ok(None), |ring| ring.by_id(id))?;
        let grant = grant.ok_or_else(unknown)?;
        grant.key().check(scope, seconds())?;
        Ok(grant)
    }
}

/// Refuses requests that use a model, or what was said to one, and carry no key that may.
pub(crate) async fn authenticate(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(scope) = scope(request.uri().path()) else { return next.run(request).await };
    let grant = match gateway.keys().admit(request.headers(), scope) {
        Ok(None) => return next.run(request).await,
        Ok(Some(grant)) => grant,
        Err(error) => return error.into_response(),
    };
    let mut response = match grant.enter() {
        Ok(()) => {
            request.extensions_mut().insert(grant.clone());
            next.run(request).await
        }
        Err(error) => error.into_response(),
    };
    response.extensions_mut().insert(grant);
    response
}

/// What a key needs to be for, for a path; none where no key is needed.
fn scope(path: &str) -> Option<Scope> {
    let is_under = |folder: &str| {
        path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match path {
        "/tokenizer_info" => Some(Scope::Models),
        "/tokenize" | "/detokenize" => Some(Scope::Inference),
        _ if is_under("/v1/models") => Some(Scope::Models),
        _ if is_under("/v1/files") => Some(Scope::Files),
        _ if is_under("/v1/batches") => Some(Scope::Batches),
        _ if path.starts_with("/v1/") => Some(Scope::Inference),
        _ => None,
    }
}

fn unknown() -> ApiError {
    ApiError::new(Code::InvalidApiKey, "the API key is not known here")
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, key) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

/// A key's name in the ring: its secret has 256 random bits, so that a fast hash hides it as well as a
/// slow one.
fn hash(key: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(key.as_ref()).into()
}

fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// An amount of credits, from millionths.
pub(crate) struct Credits(pub(crate) u64);

impl fmt::Display for Credits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Credits(millionths) = self;
        let (whole, rest) = (millionths / 1_000_000, millionths % 1_000_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{rest:06}").trim_end_matches('0'))
    }
}
