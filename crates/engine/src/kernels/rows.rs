//! Disjoint pieces of buffers for items of one job.
//!
//! A job's item i may write row i of each buffer it was given, and nothing else; this file is where
//! that promise is turned into `&mut`.
//!
//! Invariants:
//! - Two items never see the same element.
//!
//! Not here: the threads (`pool`).
#![expect(unsafe_code, reason = "hands out disjoint mutable rows of one slice to threads")]

use alloc::vec::Vec;
use core::marker::PhantomData;

use super::Pool;

/// A slice cut into rows of one length; the last row may be shorter.
#[derive(Debug)]
pub struct Rows<'a, T> {
    start: *mut T,
    size: usize,
    row_size: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: rows are handed out disjointly, so sharing the cutter shares no element.
unsafe impl<T: Send> Sync for Rows<'_, T> {}

impl<'a, T> Rows<'a, T> {
    /// Cuts `slice` into rows of `row_size` elements.
    pub fn new(slice: &'a mut [T], row_size: usize) -> Rows<'a, T> {
        Rows { start: slice.as_mut_ptr(), size: slice.len(), row_size, slice: PhantomData }
    }

    /// Where the slice starts, for kernels that write strided pieces.
    pub(super) fn start(&self) -> *mut T {
        self.start
    }
}

/// The first `size` elements of a buffer that grows but never shrinks, so that buffers which take
/// turns at two sizes are not cleared at each turn.
pub fn room<T: Clone + Default>(buffer: &mut Vec<T>, size: usize) -> &mut [T] {
    if buffer.len() < size {
        buffer.resize(size, T::default());
    }
    &mut buffer[..size]
}

/// Buffers that can be cut into one disjoint piece an item.
pub trait Disjoint: Sync {
    /// An item's piece.
    type Piece;

    /// Item `index`'s piece; empty where the buffer has no such row.
    ///
    /// # Safety
    /// No two live pieces may have the same index.
    unsafe fn piece(&self, index: usize) -> Self::Piece;
}

impl<'a, T: Send> Disjoint for Rows<'a, T> {
    type Piece = &'a mut [T];

    unsafe fn piece(&self, index: usize) -> &'a mut [T] {
        let from = index.saturating_mul(self.row_size).min(self.size);
        let size = self.row_size.min(self.size - from);
        // SAFETY: the range lies in the slice that `self` borrows mutably for its life, and rows of
        // different indexes do not meet.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(from), size) }
    }
}

macro_rules! tuples {
    ($($name:ident $at:tt),+) => {
        impl<$($name: Disjoint),+> Disjoint for ($($name,)+) {
            type Piece = ($($name::Piece,)+);

            unsafe fn piece(&self, index: usize) -> Self::Piece {
                // SAFETY: passed on from the caller.
                unsafe { ($(self.$at.piece(index),)+) }
            }
        }
    };
}
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);

/// Runs items 0..count, each with its piece of `buffers` and its thread's scratch.
pub fn for_each<D: Disjoint, S: Send>(
    pool: &mut Pool,
    count: usize,
    buffers: D,
    scratch: &mut [S],
    item: impl Fn(usize, D::Piece, &mut S) + Sync,
) {
    assert!(scratch.len() >= pool.threads(), "one scratch a thread");
    let scratch = Rows::new(scratch, 1);
    pool.run(count, &|index, thread| {
        // SAFETY: the pool runs each index once, and no two items at one time on one thread.
        let (piece, scratch) = unsafe { (buffers.piece(index), scratch.piece(thread)) };
        if let [scratch] = scratch {
            item(index, piece, scratch);
        }
    });
}
