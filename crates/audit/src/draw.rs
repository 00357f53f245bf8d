//! Who audits what: drawn from a beacon, so that anyone draws the same.
//!
//! Each receipt of a batch is drawn or not by a hash of the beacon and its id, and for each that is
//! drawn auditors by their standing, never of the worker's owner.
//! Specified in `docs/spec/audit.md`, section 10.
//!
//! Invariants:
//! - A draw is a function of the beacon, the receipts and the auditors; their order is no part of it.
//!
//! Not here: which beacon (one fixed after the batch was), and what standing is.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use merkle::Digest;

use crate::digest::tagged;

/// Receipts of one draw, at most: those of a batch.
pub const RECEIPTS_MAX: usize = 1 << 16;
/// Auditors that may be drawn, at most.
pub const AUDITORS_MAX: usize = 1 << 12;
/// Auditors of one receipt, at most.
pub const DRAWN_MAX: usize = 8;
/// The rate at which every receipt is drawn.
pub const RATE_ONE: u32 = 1_000_000;

const RECEIPT_TAG: &str = "mashaa/audit/draw/v1";
const AUDITOR_TAG: &str = "mashaa/audit/auditor/v1";

/// An account's name.
pub type Account = [u8; 20];

/// Someone who may audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auditor {
    /// Its name.
    pub account: Account,
    /// Whose it is.
    pub owner: Account,
    /// Its weight; nothing: it is not drawn.
    pub standing: u32,
}

/// A receipt of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Drawable {
    /// The receipt's id.
    pub id: Digest,
    /// Whose the worker is.
    pub owner: Account,
}

/// A receipt that is audited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// The receipt's id.
    pub id: Digest,
    /// Who audits it; fewer than wanted where there are no more.
    pub auditors: Vec<Account>,
}

/// Why nothing is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDraw {
    /// More receipts, auditors or auditors of one receipt than may be.
    #[error("there are {count} {of}, and {max} may be")]
    TooMany {
        /// Of what.
        of: &'static str,
        /// How many.
        count: usize,
        /// At most.
        max: usize,
    },
}

/// Draws receipts at a rate in millionths, and `wanted` auditors for each.
///
/// # Errors
/// When there are too many of something.
pub fn draw(
    beacon: &Digest,
    receipts: &[Drawable],
    auditors: &[Auditor],
    (rate, wanted): (u32, usize),
) -> Result<Vec<Drawn>, NoDraw> {
    let limits = [
        ("receipts", receipts.len(), RECEIPTS_MAX),
        ("auditors", auditors.len(), AUDITORS_MAX),
        ("auditors of a receipt", wanted, DRAWN_MAX),
    ];
    for (of, count, max) in limits {
        if count > max {
            return Err(NoDraw::TooMany { of, count, max });
        }
    }
    let by_account: BTreeMap<Account, Auditor> =
        auditors.iter().map(|auditor| (auditor.account, *auditor)).collect();
    let mut sorted: Vec<Drawable> = receipts.to_vec();
    sorted.sort_unstable();
    sorted.dedup_by_key(|receipt| receipt.id);
    let drawn = sorted.into_iter().filter(|receipt| is_drawn(beacon, &receipt.id, rate));
    Ok(drawn
        .map(|receipt| Drawn {
            id: receipt.id,
            auditors: choose(beacon, &receipt, &by_account, wanted),
        })
        .collect())
}

/// Whether a receipt is drawn at a rate in millionths.
#[must_use]
pub fn is_drawn(beacon: &Digest, id: &Digest, rate: u32) -> bool {
    let random = u128::from(first(tagged(RECEIPT_TAG, &[beacon, id])));
    random * u128::from(RATE_ONE) < u128::from(rate) << 64
}

/// Chooses auditors, each with a chance by its standing, no two of one owner.
fn choose(
    beacon: &Digest,
    receipt: &Drawable,
    auditors: &BTreeMap<Account, Auditor>,
    wanted: usize,
) -> Vec<Account> {
    let mut left = auditors.clone();
    left.retain(|_, auditor| auditor.owner != receipt.owner && auditor.account != receipt.owner);
    let mut chosen = Vec::with_capacity(wanted);
    for turn in 0..wanted as u32 {
        // At most 2^12 times 2^32.
        let total: u64 = left.values().map(|auditor| u64::from(auditor.standing)).sum();
        let random = first(tagged(AUDITOR_TAG, &[beacon, &receipt.id, &turn.to_le_bytes()]));
        let mut at = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        let found = left.values().find(|auditor| {
            let is_it = at < u64::from(auditor.standing);
            at = at.saturating_sub(auditor.standing.into());
            is_it
        });
        let Some(found) = found.copied() else { break };
        chosen.push(found.account);
        left.retain(|_, auditor| auditor.owner != found.owner);
    }
    chosen
}

/// A hash's first 8 bytes.
fn first(hash: Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
