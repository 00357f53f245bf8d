//! Asks for weights before they are used, on x86-64.
//!
//! A product of one row reads each weight once, so it waits for memory. A core follows four streams
//! faster than one: what the short products' kernels read side by side, they ask for here as they go.
//!
//! Not here: the products (`avx2`, `avx512`).
#![expect(unsafe_code, reason = "prefetches through a pointer that may lie past the matrix")]

use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use core::ops::Range;

use crate::artifact::matrix::{BLOCK, GROUP, Group};

/// Bytes that a block of a group takes with its sub-scales and offsets: groups lie one after the
/// other, so asking in such steps covers the next groups whole.
pub(super) const SIZE4: usize = GROUP * (BLOCK / 2 + 1 + 2);
/// The same with 8 bits.
pub(super) const SIZE8: usize = GROUP * (BLOCK + 1);

/// Bytes ahead that are asked for, at least: what one core's bandwidth brings in about a microsecond.
const DISTANCE: usize = 16_384;

/// How many groups ahead kernels ask that read `G` groups side by side: a multiple of `G`.
#[inline(always)]
pub(super) const fn groups<const G: usize>(group: &Group<'_>) -> usize {
    G * DISTANCE.div_ceil(G * group.size())
}

/// Asks the second-level cache for bytes `part` of the group `ahead` groups after `group`, one line
/// in each `STEP` bytes. On Zen 4 every line must be asked for, but where AVX-512 uses 8-bit weights:
/// there so few instructions read so many bytes that the processor follows by itself when it is shown
/// one line of four, and asking for more was slower.
#[inline(always)]
pub(super) fn ask<const STEP: usize>(group: &Group<'_>, ahead: usize, part: Range<usize>) {
    let first = group.quants.as_ptr().wrapping_add(ahead * group.size());
    for at in (part.start.next_multiple_of(STEP)..part.end).step_by(STEP) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(first.wrapping_add(at).cast()) };
    }
}

/// Asks for `LINES` lines from `DISTANCE` bytes after `pointer` on. Where several tokens share the
/// weights, distance and count must be constants: with `ask` their kernel was compiled to half its
/// speed.
#[inline(always)]
pub(super) fn ask_lines<const LINES: usize>(pointer: *const u8) {
    for line in 0..LINES {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(pointer.wrapping_add(DISTANCE + line * 64).cast()) };
    }
}
