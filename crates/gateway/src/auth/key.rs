//! One API key: what it is for, how long it is good, and its limits.
//!
//! Specified in `docs/adr/0030-api-keys.md`.
//!
//! Invariants:
//! - A key's secret is nowhere but in the answer to whoever made it.
//!
//! Not here: what it has used (`account`), the file (`ring`).

use std::fmt;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use serde_json::{Value, json};

use crate::auth::hash;
use crate::error::{ApiError, Code};
use crate::ids::fresh;
use crate::observe::hex;
use crate::sampling::random;

/// How a secret begins, so that people and scanners for lost secrets know what it is.
const PREFIX: &str = "mashaa_";
/// Bytes of a name, at most: some words.
pub const NAME_SIZE_MAX: usize = 64;
/// A limit, at most, so that its products with milliseconds are far from overflowing.
pub const LIMIT_MAX: u64 = 1_000_000_000_000;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// See which models are served.
    Models,
    /// Ask models.
    Inference,
    /// Leave, read and delete files.
    Files,
    /// Have files of requests answered, which costs as asking does.
    Batches,
    /// Everything, also what only the node's owner may see and do.
    Admin,
}

/// How much a key may use; what is not said has no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute, of prompts and answers alike.
    pub tokens_per_minute: Option<u64>,
    /// Tokens in a day of UTC.
    pub tokens_per_day: Option<u64>,
    /// Answers being made at once.
    pub at_once: Option<u64>,
    /// Millionths of a credit that all answers may cost together, where the node pays other machines.
    pub spend: Option<u64>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// By which it is known where its name is not unique.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// From when on it is not good, if it ends.
    pub expires: Option<u64>,
    /// Since when it is not good, if it was taken back.
    pub revoked: Option<u64>,
    /// How much it may use.
    pub limits: Limits,
}

impl Scope {
    /// Each, with its name.
    pub const ALL: [(Scope, &'static str); 5] = [
        (Scope::Models, "models:read"),
        (Scope::Inference, "inference"),
        (Scope::Files, "files"),
        (Scope::Batches, "batches"),
        (Scope::Admin, "admin"),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Scope::ALL.into_iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    /// The scope with a name.
    #[must_use]
    pub fn of(name: &str) -> Option<Scope> {
        Scope::ALL.into_iter().find(|(_, known)| *known == name).map(|(scope, _)| scope)
    }
}

impl Limits {
    /// Each limit's name in the file.
    const NAMES: [&'static str; 5] =
        ["requests_per_minute", "tokens_per_minute", "tokens_per_day", "at_once", "spend"];

    fn values(&self) -> [Option<u64>; 5] {
        let Limits { requests_per_minute, tokens_per_minute, tokens_per_day, at_once, spend } =
            *self;
        [requests_per_minute, tokens_per_minute, tokens_per_day, at_once, spend]
    }

    /// As JSON: what is not limited is null.
    #[must_use]
    pub fn json(&self) -> Value {
        let pairs = Limits::NAMES.into_iter().zip(self.values());
        Value::Object(pairs.map(|(name, value)| (name.to_owned(), json!(value))).collect())
    }

    fn parse(value: &Value) -> Option<Limits> {
        let fields = value.as_object()?;
        if fields.keys().any(|name| !Limits::NAMES.contains(&name.as_str())) {
            return None;
        }
        let mut values = [None; 5];
        for (value, name) in values.iter_mut().zip(Limits::NAMES) {
            *value = optional(fields.get(name)?)?;
        }
        if values.iter().flatten().any(|value| *value > LIMIT_MAX) {
            return None;
        }
        let [requests_per_minute, tokens_per_minute, tokens_per_day, at_once, spend] = values;
        Some(Limits { requests_per_minute, tokens_per_minute, tokens_per_day, at_once, spend })
    }
}

impl Key {
    /// A new key, and its secret.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(
        name: &str,
        scopes: &[Scope],
        limits: Limits,
        (now, expires): (u64, Option<u64>),
    ) -> Result<(Key, String), ApiError> {
        let secret = format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&random::<32>()?));
        let mut scopes = scopes.to_vec();
        scopes.sort_unstable();
        scopes.dedup();
        let key = Key {
            id: fresh("key_")?,
            name: name.to_owned(),
            hash: hash(&secret),
            scopes,
            created: now,
            expires,
            revoked: None,
            limits,
        };
        Ok((key, secret))
    }

    /// Whether a name is one: letters, digits, `-`, `_` and `.`, so that it is never taken for a flag
    /// or a path, and reads well in a list.
    #[must_use]
    pub fn is_name(name: &str) -> bool {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        first && name.len() <= NAME_SIZE_MAX && name.bytes().all(is_fine)
    }

    /// Whether it is good at a time, in seconds since 1970.
    #[must_use]
    pub fn is_good(&self, now: u64) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    /// Whether it is good now, and for this.
    pub(crate) fn check(&self, scope: Scope, now: u64) -> Result<(), ApiError> {
        if self.revoked.is_some() {
            return Err(ApiError::new(Code::InvalidApiKey, "the API key was revoked"));
        }
        if !self.is_good(now) {
            return Err(ApiError::new(Code::InvalidApiKey, "the API key has expired"));
        }
        let may = |it| self.scopes.contains(&it);
        if may(scope) || may(Scope::Admin) {
            return Ok(());
        }
        let has: Vec<&str> = self.scopes.iter().map(|it| it.name()).collect();
        let (needed, has) = (scope.name(), has.join("`, `"));
        let message =
            format!("this needs a key with the scope `{needed}`, and this one has `{has}`");
        Err(ApiError::new(Code::InsufficientScope, message))
    }

    /// As the file has it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "sha256": hex(&self.hash),
            "scopes": self.scopes.iter().map(|it| it.name()).collect::<Vec<_>>(),
            "created": self.created,
            "expires": self.expires,
            "revoked": self.revoked,
            "limits": self.limits.json(),
        })
    }

    /// What was written of a key.
    #[must_use]
    pub fn parse(value: &Value) -> Option<Key> {
        let text = |name: &str| value[name].as_str();
        let scopes = value["scopes"].as_array()?.iter();
        let hash = HEXLOWER_PERMISSIVE.decode(text("sha256")?.as_bytes()).ok()?;
        Some(Key {
            id: text("id").filter(|id| Key::is_name(id))?.to_owned(),
            name: text("name").filter(|name| Key::is_name(name))?.to_owned(),
            hash: hash.try_into().ok()?,
            scopes: scopes.map(|it| Scope::of(it.as_str()?)).collect::<Option<_>>()?,
            created: value["created"].as_u64()?,
            expires: optional(&value["expires"])?,
            revoked: optional(&value["revoked"])?,
            limits: Limits::parse(&value["limits"])?,
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number or null; none for anything else.
fn optional(value: &Value) -> Option<Option<u64>> {
    match value {
        Value::Null => Some(None),
        value => value.as_u64().map(Some),
    }
}
