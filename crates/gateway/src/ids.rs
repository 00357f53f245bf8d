//! Ids that sort as they were made.
//!
//! The first 14 digits are microseconds since 1970, the last 18 are random, so that nobody guesses one.
//!
//! Invariants:
//! - Of two ids of one process with the same prefix, the later one is the larger.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::ApiError;
use crate::observe::hex;
use crate::sampling::random;

/// The microsecond of the last id.
static LAST: AtomicU64 = AtomicU64::new(0);

/// A new id.
pub(crate) fn fresh(prefix: &str) -> Result<String, ApiError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    let now = u64::try_from(now).unwrap_or(u64::MAX);
    let after = |last: u64| Some(now.max(last.saturating_add(1)));
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).unwrap_or(now);
    let at = now.max(last.saturating_add(1));
    Ok(format!("{prefix}{at:014x}{}", hex(&random::<9>()?)))
}

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_ids_are_larger() {
        let ids: Vec<String> = (0..1000).map(|_| fresh("it-").unwrap()).collect();
        assert!(ids.is_sorted() && ids[0] != ids[1], "{ids:?}");
        assert!(ids.iter().all(|id| id.len() == 35), "{ids:?}");
    }
}
