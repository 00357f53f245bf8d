//! Who holds which page, and the cache of shared prefixes.
//!
//! A full page is known by the chain of token ids that leads to it, so a sequence whose prompt begins
//! like an earlier one finds its pages again. Pages that nobody holds stay until memory is needed;
//! the longest unused leaves go first.
//!
//! Invariants:
//! - A page is free, or held by `references` sequences, or cached and unheld; never two of them.
//! - A cached page's parent is cached as long as it is.
//!
//! Not here: what pages contain (`kv`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::kv::PAGE;

/// A page's place in the tree of prefixes; 0 is the root, the empty prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(u64);

type Tokens = [u32; PAGE];

#[derive(Clone, Debug, Default)]
struct Page {
    references: u32,
    children: u32,
    prefix: Option<Prefix>,
    parent: Prefix,
    tokens: Tokens,
    used: u64,
}

/// The table of pages.
#[derive(Debug)]
pub struct PageTable {
    pages: Vec<Page>,
    free: Vec<u32>,
    cache: BTreeMap<(Prefix, Tokens), u32>,
    /// Pages of cached prefixes, by prefix.
    places: BTreeMap<Prefix, u32>,
    /// Cached pages without holders and children, by last use.
    idle: BTreeSet<(u64, u32)>,
    next_prefix: u64,
    clock: u64,
}

impl PageTable {
    /// A table of `count` free pages.
    #[must_use]
    pub fn new(count: usize) -> PageTable {
        PageTable {
            pages: alloc::vec![Page::default(); count],
            free: (0..count as u32).rev().collect(),
            cache: BTreeMap::new(),
            places: BTreeMap::new(),
            idle: BTreeSet::new(),
            next_prefix: 1,
            clock: 0,
        }
    }

    /// Takes a page, dropping the longest unused cached one if none is free. `None` when every page
    /// is held.
    pub fn take(&mut self) -> Option<u32> {
        let page = match self.free.pop() {
            Some(page) => page,
            None => {
                let page = self.idle.first()?.1;
                self.forget(page);
                page
            }
        };
        self.pages[page as usize].references = 1;
        Some(page)
    }

    /// Gives a page back.
    pub fn release(&mut self, page: u32) {
        let entry = &mut self.pages[page as usize];
        entry.references -= 1;
        if entry.references > 0 {
            return;
        }
        if entry.prefix.is_none() {
            self.free.push(page);
        } else {
            self.rest(page);
        }
    }

    /// Finds the cached pages that go on from a prefix with as many of `tokens` as there are, whole pages
    /// only, and holds them.
    pub fn find(&mut self, mut prefix: Prefix, tokens: &[u32]) -> (Vec<u32>, Prefix) {
        let mut found = Vec::new();
        for tokens in tokens.as_chunks::<PAGE>().0 {
            let Some(&page) = self.cache.get(&(prefix, *tokens)) else { break };
            let entry = &mut self.pages[page as usize];
            self.idle.remove(&(entry.used, page));
            entry.references += 1;
            prefix = entry.prefix.unwrap_or_default();
            found.push(page);
        }
        (found, prefix)
    }

    /// Makes a full page findable under its prefix; returns the prefix that its successor has. Where
    /// an equal page is cached already, that one stays.
    pub fn publish(&mut self, parent: Prefix, tokens: Tokens, page: u32) -> Prefix {
        if let Some(&known) = self.cache.get(&(parent, tokens)) {
            return self.pages[known as usize].prefix.unwrap_or_default();
        }
        let prefix = Prefix(self.next_prefix);
        self.next_prefix += 1;
        self.cache.insert((parent, tokens), page);
        self.places.insert(prefix, page);
        let entry = &mut self.pages[page as usize];
        (entry.prefix, entry.parent, entry.tokens) = (Some(prefix), parent, tokens);
        if let Some(&above) = self.places.get(&parent) {
            let above_page = &mut self.pages[above as usize];
            above_page.children += 1;
            self.idle.remove(&(above_page.used, above));
        }
        prefix
    }

    /// Whether a prefix is still cached, so that a successor may be published under it.
    #[must_use]
    pub fn knows(&self, prefix: Prefix) -> bool {
        prefix == Prefix::default() || self.places.contains_key(&prefix)
    }

    /// Forgets every cached prefix that nobody holds.
    pub fn clear(&mut self) {
        while let Some(&(_, page)) = self.idle.first() {
            self.forget(page);
            self.free.push(page);
        }
    }

    /// Pages that could be taken now: free, or cached without holders and successors.
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.len() + self.idle.len()
    }

    /// Notes that nobody holds a cached page now.
    fn rest(&mut self, page: u32) {
        self.clock += 1;
        let entry = &mut self.pages[page as usize];
        entry.used = self.clock;
        if entry.children == 0 {
            self.idle.insert((entry.used, page));
        }
    }

    /// Takes an idle page out of the cache.
    fn forget(&mut self, page: u32) {
        let entry = core::mem::take(&mut self.pages[page as usize]);
        self.idle.remove(&(entry.used, page));
        self.cache.remove(&(entry.parent, entry.tokens));
        if let Some(prefix) = entry.prefix {
            self.places.remove(&prefix);
        }
        if let Some(&above) = self.places.get(&entry.parent) {
            let above_page = &mut self.pages[above as usize];
            above_page.children -= 1;
            if above_page.children == 0 && above_page.references == 0 {
                self.idle.insert((above_page.used, above));
            }
        }
    }
}

#[cfg(test)]
mod tests;
