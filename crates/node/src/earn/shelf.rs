//! The receipts that were earned with, by their places in their channels.
//!
//! Invariants:
//! - A receipt goes only once nothing of the ledger can ask for it: it is in no open batch, and will be
//!   in none.
//!
//! Not here: the files (`receipts::kept`), what a receipt is worth (`earn`).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use audit::receipt::Receipt;
use types::amount::{Amount, Epoch};
use types::id::Hash;

use crate::receipts::Statement;
use crate::receipts::kept::Kept;

/// A channel's number, and a sequence in it.
pub(crate) type Place = (u64, u64);

/// What a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The receipt's id.
    pub(crate) id: Hash,
    /// What it is due.
    pub(crate) due: Amount,
    /// In which its answer was given.
    pub(crate) epoch: Epoch,
    /// The node that asked for it.
    pub(crate) gateway: Hash,
}

impl Entry {
    fn of(receipt: &Receipt) -> Entry {
        let (epoch, gateway) = (receipt.terms.epoch, receipt.terms.gateway);
        Entry { id: receipt.id(), due: receipt.due, epoch, gateway }
    }
}

/// Receipts, and where each stands.
#[derive(Debug)]
pub(super) struct Shelf {
    kept: Kept,
    places: BTreeMap<Place, Entry>,
}

impl Shelf {
    /// What a folder has.
    pub(super) fn open(folder: PathBuf) -> io::Result<Shelf> {
        let kept = Kept::open_whole(folder)?;
        let place = |it: &Receipt| ((it.terms.channel, it.terms.sequence), Entry::of(it));
        let places = kept.all().iter().map(place).collect();
        Ok(Shelf { kept, places })
    }

    /// Keeps one more.
    pub(super) fn keep(&mut self, id: Hash, statement: &Statement) -> io::Result<()> {
        if self.kept.is_full() {
            return Err(io::Error::other("too many receipts wait to be redeemed"));
        }
        self.kept.keep(id, statement)?;
        let receipt = &statement.signed.receipt;
        let place = (receipt.terms.channel, receipt.terms.sequence);
        self.places.insert(place, Entry::of(receipt));
        Ok(())
    }

    /// Whether there is room for one more, once those have gone that nothing needs.
    pub(super) fn has_room(&mut self, is_needed: impl Fn(Place) -> bool) -> bool {
        if !self.kept.is_full() {
            return true;
        }
        let done = self.places.keys().copied().filter(|place| !is_needed(*place));
        for place in done.collect::<Vec<Place>>() {
            self.places.remove(&place).iter().for_each(|it| self.kept.remove(&it.id));
        }
        !self.kept.is_full()
    }

    /// The receipts of a channel from a sequence on, as far as none is missing.
    pub(super) fn from(&self, channel: u64, first: u64) -> Vec<Entry> {
        let places = self.places.range((channel, first)..=(channel, u64::MAX));
        let whole = places.zip(first..).take_while(|((place, _), wanted)| place.1 == *wanted);
        whole.map(|((_, entry), _)| *entry).collect()
    }

    /// What stands at a place.
    pub(super) fn statement(&self, place: Place) -> Option<Statement> {
        self.kept.get(&self.places.get(&place)?.id)
    }

    /// All receipts, and when each was made, in seconds since 1970.
    pub(super) fn dated(&self) -> Vec<(Receipt, u64)> {
        self.kept.dated()
    }

    /// All receipts by their sequences, whatever their channels.
    pub(super) fn all(&self) -> Vec<Receipt> {
        let mut all = self.kept.all();
        all.sort_by_key(|receipt| receipt.terms.sequence);
        all
    }
}
