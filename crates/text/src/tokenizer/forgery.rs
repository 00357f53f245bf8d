//! Where a text could be read as a control token.
//!
//! A template puts the words of users between control tokens and may cut and trim them. This finds
//! the characters that must be marked before, so that none becomes part of a control token after.
//!
//! Invariants:
//! - Every control token written out in a text has a marked character.
//! - So have the ends of a text that the text around it could complete to a control token. Spaces
//!   at either end do not count, since templates trim them.
//!
//! Not here: how characters are marked (`template::guard`).

use std::collections::BTreeSet;

use super::special::Specials;

/// The control tokens' texts in two orders, to look up what begins or ends like one.
#[derive(Debug, Default)]
pub(super) struct Edges {
    /// Ascending.
    forwards: Vec<Vec<u8>>,
    /// Written backwards, ascending.
    backwards: Vec<Vec<u8>>,
    size_max: usize,
}

impl Edges {
    pub(super) fn new(specials: &Specials) -> Edges {
        let mut forwards: Vec<Vec<u8>> =
            specials.control_texts().map(|text| text.as_bytes().to_vec()).collect();
        let mut backwards: Vec<Vec<u8>> =
            forwards.iter().map(|text| text.iter().rev().copied().collect()).collect();
        let size_max = forwards.iter().map(Vec::len).max().unwrap_or(0);
        forwards.sort_unstable();
        backwards.sort_unstable();
        Edges { forwards, backwards, size_max }
    }

    /// Offsets of the characters of a text that must not become part of a control token.
    pub(super) fn forgeable(&self, specials: &Specials, text: &str) -> BTreeSet<usize> {
        let mut offsets: BTreeSet<usize> =
            specials.control_ranges(text).map(|range| range.start).collect();
        let start = text.len() - text.trim_start().len();
        let trimmed = text.trim();
        if self.begins_like_an_end(trimmed) {
            offsets.insert(start);
        }
        if self.ends_like_a_beginning(trimmed) {
            let last = trimmed.chars().next_back().map_or(0, char::len_utf8);
            offsets.insert(start + trimmed.len() - last);
        }
        offsets
    }

    /// Whether the text starts with the end of a control token.
    fn begins_like_an_end(&self, text: &str) -> bool {
        let head = text.as_bytes().iter().take(self.size_max).copied();
        let mut end = Vec::with_capacity(self.size_max);
        for byte in head {
            end.insert(0, byte);
            if has_longer(&self.backwards, &end) {
                return true;
            }
        }
        false
    }

    /// Whether the text ends with the beginning of a control token.
    fn ends_like_a_beginning(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        let sizes = 1..=bytes.len().min(self.size_max);
        sizes.into_iter().any(|size| {
            bytes.get(bytes.len() - size..).is_some_and(|tail| has_longer(&self.forwards, tail))
        })
    }
}

/// Whether an entry of the ascending list starts with these bytes and goes on.
fn has_longer(sorted: &[Vec<u8>], start: &[u8]) -> bool {
    let first = sorted.partition_point(|entry| entry.as_slice() <= start);
    sorted.get(first).is_some_and(|entry| entry.starts_with(start))
}

#[cfg(test)]
mod tests;
