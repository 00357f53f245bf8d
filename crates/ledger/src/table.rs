//! A part of the state: an ordered map that can take back what was written since it was sealed, and
//! that knows which keys those writes changed.
//!
//! Invariants:
//! - `rollback` to a mark restores every entry as it was when the mark was taken.
//! - `changed` has every key written since the last `seal`, and no key that was rolled back.
//!
//! Not here: bytes of keys and values (`state`).

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::ops::RangeBounds;

/// An ordered map with undo.
#[derive(Clone, Debug)]
pub struct Table<K, V> {
    entries: BTreeMap<K, V>,
    /// What each write since the last seal replaced, oldest first.
    undo: Vec<(K, Option<V>)>,
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Table { entries: BTreeMap::new(), undo: vec![] }
    }
}

/// Two tables are equal if their entries are.
impl<K: PartialEq, V: PartialEq> PartialEq for Table<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K: Ord + Clone, V: Clone> Table<K, V> {
    /// The value at a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.entries.iter()
    }

    /// The entries with keys in a range, in order.
    pub fn range(&self, range: impl RangeBounds<K>) -> btree_map::Range<'_, K, V> {
        self.entries.range(range)
    }

    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// Writes an entry.
    pub(crate) fn put(&mut self, key: K, value: V) {
        let old = self.entries.insert(key.clone(), value);
        self.undo.push((key, old));
    }

    /// Removes an entry, if it is there.
    pub(crate) fn remove(&mut self, key: &K) {
        if let Some(old) = self.entries.remove(key) {
            self.undo.push((key.clone(), Some(old)));
        }
    }

    /// A mark to roll back to.
    pub(crate) fn mark(&self) -> usize {
        self.undo.len()
    }

    /// Takes back every write since the mark.
    pub(crate) fn rollback(&mut self, mark: usize) {
        while self.undo.len() > mark {
            match self.undo.pop() {
                Some((key, Some(old))) => drop(self.entries.insert(key, old)),
                Some((key, None)) => drop(self.entries.remove(&key)),
                None => return,
            }
        }
    }

    /// The keys written since the last seal.
    pub(crate) fn changed(&self) -> BTreeSet<&K> {
        self.undo.iter().map(|(key, _)| key).collect()
    }

    /// Makes the writes final.
    pub(crate) fn seal(&mut self) {
        self.undo.clear();
    }
}

#[cfg(test)]
mod tests;
