//! Keys and values of past positions, in pages of sixteen.
//!
//! A page holds sixteen positions of one sequence for every layer and head: keys as 12-bit integers,
//! values as 8-bit ones, and a scale for each position and head (`docs/spec/int-1.md`, section 6).
//! Pages have no owner here: a sequence is a list of page numbers, and sequences with a common prefix
//! share pages.
//!
//! Invariants:
//! - A page's memory is touched first when it is first written, so an empty cache costs nothing.
//!
//! Not here: who holds which page (`batch`).

use alloc::vec;
use alloc::vec::Vec;

use crate::artifact::config::Config;

/// Positions in a page: the lanes of one AVX-512 vector of scores.
pub const PAGE: usize = 16;

/// The memory of all pages.
#[derive(Debug)]
pub struct KvPages {
    pub(crate) keys: Vec<i16>,
    pub(crate) values: Vec<i8>,
    pub(crate) key_scales: Vec<i32>,
    pub(crate) value_scales: Vec<i32>,
    pub(crate) shape: KvShape,
    count: usize,
}

/// Sizes of one page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvShape {
    /// Layers.
    pub layers: usize,
    /// Key and value heads.
    pub heads: usize,
    /// Elements of a head.
    pub head_size: usize,
}

impl KvShape {
    /// The shape that a model needs.
    #[must_use]
    pub fn of(config: &Config) -> KvShape {
        KvShape { layers: config.layers, heads: config.kv_heads, head_size: config.head_size }
    }

    /// Bytes of one page.
    #[must_use]
    pub fn page_size(&self) -> usize {
        self.slots() * PAGE * (3 * self.head_size + 8)
    }

    /// Heads of all layers.
    pub(crate) fn slots(&self) -> usize {
        self.layers * self.heads
    }
}

impl KvPages {
    /// Room for `count` pages.
    #[must_use]
    pub fn new(shape: KvShape, count: usize) -> KvPages {
        let scales = count * shape.slots() * PAGE;
        KvPages {
            keys: vec![0; scales * shape.head_size],
            values: vec![0; scales * shape.head_size],
            key_scales: vec![0; scales],
            value_scales: vec![0; scales],
            shape,
            count,
        }
    }

    /// How many pages there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
}
