//! Merging neighbours, best pair first, until no pair merges.
//!
//! Both schemes need it: byte-pair encoding ranks pairs by their place in a list (Sennrich et al.
//! 2016), SentencePiece by the score of the token they make (Kudo and Richardson 2018). A heap over
//! a linked list makes it n log n for a text of n symbols.
//!
//! Invariants:
//! - Of two pairs of equal rank, the one further left merges first.
//! - `next` and `previous` name live symbols or `NONE`; a merged-away symbol has an empty range.
//!
//! Not here: where symbols come from and what their rank is.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// No symbol, or no token.
pub(super) const NONE: u32 = u32::MAX;

/// A piece of the text on its way to becoming a token.
#[derive(Clone, Debug)]
pub(super) struct Symbol {
    /// Its bytes in the text; empty once it was merged into its left neighbour.
    pub(super) range: Range<usize>,
    /// Its token, or `NONE` if it is none.
    pub(super) id: u32,
    previous: u32,
    next: u32,
}

/// What two neighbours become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Its place in the order; the least merges first.
    pub(super) rank: u32,
    /// The token they make, or `NONE` if the vocabulary lacks it.
    pub(super) id: u32,
}

/// A line of symbols and the pairs that may merge. Kept between words to reuse its memory.
#[derive(Debug, Default)]
pub(super) struct Line {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

/// A pair that could merge when it was queued. Ordered by rank, then from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: u32,
    right: u32,
    size: usize,
    id: u32,
}

impl Line {
    /// Empties the line.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.queue.clear();
    }

    /// Puts a symbol at the right end. Symbols beyond the 2^32 - 2 that can be numbered are left
    /// out; a text that long does not fit a request.
    pub(super) fn push(&mut self, range: Range<usize>, id: u32) {
        let index = self.symbols.len() as u32;
        if self.symbols.len() >= NONE as usize {
            return;
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = index;
        }
        let previous = index.checked_sub(1).unwrap_or(NONE);
        self.symbols.push(Symbol { range, id, previous, next: NONE });
    }

    /// Merges neighbours until `pair` knows no pair of neighbours.
    pub(super) fn merge(&mut self, pair: impl Fn(&Symbol, &Symbol) -> Option<Pair>) {
        for right in 1..self.symbols.len() as u32 {
            self.consider(right - 1, right, &pair);
        }
        while let Some(Reverse(candidate)) = self.queue.pop() {
            if self.is_stale(&candidate) {
                continue;
            }
            let (previous, next) = self.join(&candidate);
            self.consider(previous, candidate.left, &pair);
            self.consider(candidate.left, next, &pair);
        }
    }

    /// The symbols left, in the order of the text.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| !symbol.range.is_empty())
    }

    fn get(&self, index: u32) -> Option<&Symbol> {
        self.symbols.get(index as usize)
    }

    fn consider(
        &mut self,
        left: u32,
        right: u32,
        pair: &impl Fn(&Symbol, &Symbol) -> Option<Pair>,
    ) {
        let (Some(a), Some(b)) = (self.get(left), self.get(right)) else { return };
        let Some(Pair { rank, id }) = pair(a, b) else { return };
        let size = a.range.len() + b.range.len();
        self.queue.push(Reverse(Candidate { rank, left, right, size, id }));
    }

    /// Whether either side has been merged since the candidate was queued.
    fn is_stale(&self, candidate: &Candidate) -> bool {
        let (Some(a), Some(b)) = (self.get(candidate.left), self.get(candidate.right)) else {
            return true;
        };
        a.range.is_empty()
            || b.range.is_empty()
            || a.range.len() + b.range.len() != candidate.size
            || a.next != candidate.right
    }

    /// Merges the right symbol into the left one; returns the neighbours of the result.
    fn join(&mut self, candidate: &Candidate) -> (u32, u32) {
        let Some(right) = self.symbols.get_mut(candidate.right as usize) else {
            return (NONE, NONE);
        };
        let (end, next) = (right.range.end, right.next);
        right.range = end..end;
        if let Some(after) = self.symbols.get_mut(next as usize) {
            after.previous = candidate.left;
        }
        let Some(left) = self.symbols.get_mut(candidate.left as usize) else {
            return (NONE, NONE);
        };
        left.range.end = end;
        left.next = next;
        left.id = candidate.id;
        (left.previous, next)
    }
}

#[cfg(test)]
mod tests;
