//! What an API key has used, and what it may use now.
//!
//! Requests and tokens of a minute are buckets that fill evenly. Tokens are counted as they are made, so
//! that a bucket may go below zero by the answers that run, and what is owed is waited for. Money is
//! claimed before an answer begins, for the most that it can cost, and spent when it is paid.
//!
//! Invariants:
//! - Spent and claimed together are never more than the cap.
//! - What is spent is on the disk before more is admitted; tokens of a day follow with each answer's end.
//!
//! Not here: who has the key (`ring`), what an answer costs (the backend).

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use store::whole;
use tokio::time::Instant;

use crate::auth::Credits;
use crate::auth::key::{Key, Limits};
use crate::error::{ApiError, Code};
use crate::ids::seconds;

/// Milliseconds of the time that a bucket is for.
const MINUTE: u64 = 60_000;
/// Seconds of a day of UTC.
const DAY: u64 = 86_400;
/// Seconds after which a client that has too many answers being made may come back: one may have ended.
const AT_ONCE_RETRY: u32 = 1;

/// What one key has used.
#[derive(Debug)]
pub struct Account {
    file: PathBuf,
    state: Mutex<State>,
    /// Held while the file is written, so that the last one to write knows the most.
    writing: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    requests: Bucket,
    tokens: Bucket,
    /// Answers being made.
    at_once: u64,
    /// The day of UTC, since 1970, that `day_tokens` is about.
    day: u64,
    day_tokens: u64,
    /// In millionths of a credit.
    spent: u64,
    claimed: u64,
}

/// What a key of a minute's rate may still use: things times milliseconds, below zero what it owes.
#[derive(Debug, Default)]
struct Bucket {
    level: i64,
    /// When it was last filled; none before it was first.
    at: Option<Instant>,
}

/// A key, and what it has used; goes with each request that it has opened.
#[derive(Clone, Debug)]
pub struct Grant {
    key: Arc<Key>,
    account: Arc<Account>,
}

/// An answer being made for a key, until it is dropped.
#[derive(Debug)]
pub(crate) struct Running(Grant);

/// The most that a sequence can cost, claimed until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    account: Arc<Account>,
    millionths: u64,
}

/// What a sequence has cost: said by whoever pays for it, and charged to whoever has asked.
#[derive(Clone, Debug, Default)]
pub struct Bill(Arc<Mutex<Due>>);

#[derive(Debug, Default)]
struct Due {
    /// Paid before it was known for whom.
    early: u64,
    claim: Option<Claim>,
}

impl Account {
    /// What a file says that a key has used; nothing, where it says nothing.
    pub(crate) fn open(file: PathBuf) -> Account {
        let known = fs::read(&file).ok().and_then(|it| serde_json::from_slice::<Value>(&it).ok());
        let number = |name: &str| known.as_ref().and_then(|it| it[name].as_u64()).unwrap_or(0);
        let (day, day_tokens, spent) = (number("day"), number("tokens"), number("spent"));
        let state = State { day, day_tokens, spent, ..State::default() };
        Account { file, state: Mutex::new(state), writing: Mutex::new(()) }
    }

    /// Tokens of today, and millionths of a credit in all.
    pub(crate) fn used(&self) -> (u64, u64) {
        let mut state = self.lock();
        (state.today(seconds()), state.spent)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn save(&self) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let text = {
            let state = self.lock();
            json!({"day": state.day, "tokens": state.day_tokens, "spent": state.spent}).to_string()
        };
        if let Err(error) = whole::replace(&self.file, text.as_bytes()) {
            tracing::error!(file = %self.file.display(), %error, "what a key has used is not kept");
        }
    }
}

impl State {
    /// Tokens of the day that it is.
    fn today(&mut self, now: u64) -> u64 {
        if self.day != now / DAY {
            (self.day, self.day_tokens) = (now / DAY, 0);
        }
        self.day_tokens
    }
}

impl Bucket {
    /// Fills it for the time that went by, at so many a minute; full at first.
    fn fill(&mut self, rate: u64, now: Instant) -> i64 {
        let full = scaled(rate);
        let Some(at) = self.at else {
            (self.level, self.at) = (full, Some(now));
            return full;
        };
        // What is less than a millisecond counts the next time.
        let passed = u64::try_from(now.duration_since(at).as_millis()).unwrap_or(u64::MAX);
        let more = signed(passed.saturating_mul(rate));
        self.level = self.level.saturating_add(more).min(full);
        self.at = Some(at.checked_add(Duration::from_millis(passed)).unwrap_or(now));
        self.level
    }

    fn take(&mut self, count: u64) {
        self.level = self.level.saturating_sub(scaled(count));
    }

    /// Whole things in it.
    fn left(&self) -> u64 {
        u64::try_from(self.level).unwrap_or(0) / MINUTE
    }

    /// Milliseconds until it holds so many.
    fn wait(&self, rate: u64, count: u64) -> u64 {
        let missing = scaled(count).saturating_sub(self.level);
        u64::try_from(missing).unwrap_or(0).div_ceil(rate.max(1))
    }
}

/// Things times milliseconds.
fn scaled(count: u64) -> i64 {
    signed(count.saturating_mul(MINUTE))
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Grant {
    pub(crate) fn new(key: Arc<Key>, account: Arc<Account>) -> Grant {
        Grant { key, account }
    }

    /// What was granted to a request, if it needed a key of a ring.
    pub(crate) fn of(request: &Request) -> Option<Grant> {
        request.extensions().get().cloned()
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    fn limits(&self) -> &Limits {
        &self.key.limits
    }

    /// Counts a request, if there is one left in this minute.
    pub(crate) fn enter(&self) -> Result<(), ApiError> {
        let Some(rate) = self.limits().requests_per_minute else { return Ok(()) };
        let mut state = self.account.lock();
        if state.requests.fill(rate, Instant::now()) < scaled(1) {
            let wait = state.requests.wait(rate, 1);
            let what = format!("this key may make {rate} requests a minute");
            return Err(limited(what, wait));
        }
        state.requests.take(1);
        Ok(())
    }

    /// Begins an answer, if its key has tokens left and not too many answers being made.
    pub(crate) fn begin(&self) -> Result<Running, ApiError> {
        let limits = *self.limits();
        let mut state = self.account.lock();
        if let Some(most) = limits.at_once.filter(|most| state.at_once >= *most) {
            let what = format!("this key may have {most} answers being made at once");
            return Err(limited(what, u64::from(AT_ONCE_RETRY) * 1000));
        }
        if let Some(rate) = limits.tokens_per_minute
            && state.tokens.fill(rate, Instant::now()) <= 0
        {
            let wait = state.tokens.wait(rate, 1);
            return Err(limited(format!("this key may use {rate} tokens a minute"), wait));
        }
        let now = seconds();
        if let Some(most) = limits.tokens_per_day
            && state.today(now) >= most
        {
            let wait = (DAY - now % DAY) * 1000;
            return Err(limited(format!("this key may use {most} tokens a day"), wait));
        }
        state.at_once += 1;
        drop(state);
        Ok(Running(self.clone()))
    }

    /// Claims the most that a sequence can cost.
    pub(crate) fn claim(&self, millionths: u64) -> Result<Claim, ApiError> {
        let cap = self.limits().spend.unwrap_or(u64::MAX);
        let mut state = self.account.lock();
        let left = cap.saturating_sub(state.spent).saturating_sub(state.claimed);
        // A key that has spent all asks for nothing more, not even of machines that work for nothing.
        if millionths > left || state.spent >= cap {
            let (cap, left, most) = (Credits(cap), Credits(left), Credits(millionths));
            let message = format!(
                "this key has {left} of its {cap} credits left, and a choice of this answer may cost {most}: ask for fewer tokens, or have its cap raised"
            );
            return Err(ApiError::new(Code::SpendingCap, message));
        }
        state.claimed += millionths;
        drop(state);
        Ok(Claim { account: Arc::clone(&self.account), millionths })
    }

    /// Says what is left of the key's limits, in headers that clients know.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        let (limits, now) = (*self.limits(), Instant::now());
        let mut state = self.account.lock();
        let State { requests, tokens, .. } = &mut *state;
        for (name, rate, bucket) in [
            ("requests", limits.requests_per_minute, requests),
            ("tokens", limits.tokens_per_minute, tokens),
        ] {
            let Some(rate) = rate else { continue };
            bucket.fill(rate, now);
            let reset = format!("{}ms", bucket.wait(rate, rate));
            let values = [("limit", rate.to_string()), ("remaining", bucket.left().to_string())];
            for (word, value) in values.into_iter().chain([("reset", reset)]) {
                insert(headers, &format!("x-ratelimit-{word}-{name}"), &value);
            }
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    let name = axum::http::HeaderName::try_from(name);
    if let (Ok(name), Ok(value)) = (name, HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

fn limited(what: String, wait_ms: u64) -> ApiError {
    let wait = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX).max(1);
    ApiError::new(Code::RateLimited, what).retry_after(wait)
}

impl Running {
    /// Counts tokens.
    pub(crate) fn count(&self, tokens: u64) {
        let Running(grant) = self;
        let limits = *grant.limits();
        let mut state = grant.account.lock();
        if let Some(rate) = limits.tokens_per_minute {
            state.tokens.fill(rate, Instant::now());
            state.tokens.take(tokens);
        }
        state.today(seconds());
        state.day_tokens = state.day_tokens.saturating_add(tokens);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Running(grant) = self;
        let mut state = grant.account.lock();
        state.at_once = state.at_once.saturating_sub(1);
        drop(state);
        if grant.limits().tokens_per_day.is_none() {
            return;
        }
        let account = Arc::clone(&grant.account);
        match tokio::runtime::Handle::try_current() {
            // The disk may take a while, and this thread serves sockets.
            Ok(runtime) => drop(runtime.spawn_blocking(move || account.save())),
            Err(_) => account.save(),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.account.lock();
        state.claimed = state.claimed.saturating_sub(self.millionths);
    }
}

impl Bill {
    /// Says that so many millionths of a credit were paid for the sequence.
    pub fn pay(&self, millionths: u64) {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut due.claim {
            Some(claim) => claim.spend(millionths),
            None => due.early = due.early.saturating_add(millionths),
        }
    }

    /// Charges it to whoever has claimed it. The claim lasts until nobody can pay for the sequence any
    /// more.
    pub(crate) fn charge(&self, mut claim: Claim) {
        let mut due = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if due.early > 0 {
            claim.spend(due.early);
        }
        due.claim = Some(claim);
    }
}

impl Claim {
    fn spend(&mut self, millionths: u64) {
        let mut state = self.account.lock();
        let claimed = millionths.min(self.millionths);
        self.millionths -= claimed;
        state.claimed = state.claimed.saturating_sub(claimed);
        state.spent = state.spent.saturating_add(millionths);
        drop(state);
        self.account.save();
    }
}

#[cfg(test)]
mod tests;
