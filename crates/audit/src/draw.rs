//! Who audits what: drawn from a beacon, so that anyone draws the same.
//!
//! Each receipt of a batch is drawn or not by a hash of the beacon, the batch's number and its own
//! place in the batch: nothing of it that a worker could choose. For each that is drawn, auditors are
//! drawn by their standing, never a party of the batch.
//! Specified in `docs/spec/audit.md`, section 10.
//!
//! Invariants:
//! - A draw is a function of the beacon, the batch and the auditors; their order is no part of it.
//! - Every receipt of a batch has the same chance, also where fewer are drawn than the rate asks for.
//!
//! Not here: which beacon (one fixed after the batch was), and what standing is.

use alloc::vec::Vec;

use merkle::Digest;

use crate::digest::tagged;

/// Receipts of a batch, at most.
pub const RECEIPTS_MAX: u32 = 1 << 16;
/// Receipts that are drawn of a batch, at most: 6.25 % of the largest batch of the ledger.
pub const DRAWS_MAX: usize = 256;
/// Auditors that may be drawn, at most.
pub const AUDITORS_MAX: usize = 1 << 12;
/// Auditors of one receipt, at most.
pub const DRAWN_MAX: usize = 8;
/// The rate at which every receipt is drawn.
pub const RATE_ONE: u32 = 1_000_000;

const RECEIPT_TAG: &str = "mashaa/audit/draw/v2";
const AUDITOR_TAG: &str = "mashaa/audit/auditor/v2";

/// An account's name.
pub type Account = [u8; 20];

/// Someone who may audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Auditor {
    /// Its name.
    pub account: Account,
    /// Its weight; nothing: it is not drawn.
    pub standing: u32,
}

/// A batch of receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    /// Its number.
    pub number: u64,
    /// Its receipts.
    pub count: u32,
    /// Who may not audit it: its worker, its payer and its gateway.
    pub parties: &'a [Account],
}

/// A receipt that is audited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    /// Its place in the batch, from 0.
    pub index: u32,
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

/// Draws receipts at a rate in millionths, at most `DRAWS_MAX`, and `wanted` auditors for each.
///
/// # Errors
/// When there are too many of something.
pub fn draw(
    beacon: &Digest,
    batch: &Batch<'_>,
    auditors: &[Auditor],
    (rate, wanted): (u32, usize),
) -> Result<Vec<Drawn>, NoDraw> {
    let limits = [
        ("receipts", batch.count as usize, RECEIPTS_MAX as usize),
        ("auditors", auditors.len(), AUDITORS_MAX),
        ("auditors of a receipt", wanted, DRAWN_MAX),
    ];
    for (of, count, max) in limits {
        if count > max {
            return Err(NoDraw::TooMany { of, count, max });
        }
    }
    let mut fit: Vec<Auditor> = auditors.to_vec();
    fit.retain(|auditor| !batch.parties.contains(&auditor.account));
    fit.sort_unstable();
    fit.dedup_by_key(|auditor| auditor.account);
    let indices = indices(beacon, batch, rate).into_iter();
    let choose = |index| Drawn { index, auditors: choose(beacon, batch, index, &fit, wanted) };
    Ok(indices.map(choose).collect())
}

/// Whether a receipt of a batch would be drawn at a rate in millionths, if there were room for all.
#[must_use]
pub fn is_drawn(beacon: &Digest, batch: u64, index: u32, rate: u32) -> bool {
    let random = u128::from(lot(beacon, batch, index));
    random * u128::from(RATE_ONE) < u128::from(rate) << 64
}

/// The places that are drawn, ascending; where they are too many, those with the smallest lots.
fn indices(beacon: &Digest, batch: &Batch<'_>, rate: u32) -> Vec<u32> {
    let drawn = (0..batch.count).filter(|index| is_drawn(beacon, batch.number, *index, rate));
    let mut lots: Vec<(u64, u32)> =
        drawn.map(|index| (lot(beacon, batch.number, index), index)).collect();
    lots.sort_unstable();
    lots.truncate(DRAWS_MAX);
    let mut indices: Vec<u32> = lots.into_iter().map(|(_, index)| index).collect();
    indices.sort_unstable();
    indices
}

/// Chooses auditors, each with a chance by its standing.
fn choose(
    beacon: &Digest,
    batch: &Batch<'_>,
    index: u32,
    auditors: &[Auditor],
    wanted: usize,
) -> Vec<Account> {
    let mut chosen: Vec<Account> = Vec::with_capacity(wanted);
    for turn in 0..wanted as u32 {
        let left = || auditors.iter().filter(|auditor| !chosen.contains(&auditor.account));
        // At most 2^12 times 2^32.
        let total: u64 = left().map(|auditor| u64::from(auditor.standing)).sum();
        let place = place(batch.number, index);
        let random = first(tagged(AUDITOR_TAG, &[beacon, &place, &turn.to_le_bytes()]));
        let mut at = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        let found = left().find(|auditor| {
            let is_it = at < u64::from(auditor.standing);
            at = at.saturating_sub(auditor.standing.into());
            is_it
        });
        let Some(found) = found.map(|auditor| auditor.account) else { break };
        chosen.push(found);
    }
    chosen
}

/// A receipt's lot, which is drawn where it is small.
fn lot(beacon: &Digest, batch: u64, index: u32) -> u64 {
    first(tagged(RECEIPT_TAG, &[beacon, &place(batch, index)]))
}

fn place(batch: u64, index: u32) -> [u8; 12] {
    let mut place = [0; 12];
    place[..8].copy_from_slice(&batch.to_le_bytes());
    place[8..].copy_from_slice(&index.to_le_bytes());
    place
}

/// A hash's first 8 bytes.
fn first(hash: Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests;
