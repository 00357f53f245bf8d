//! scrypt (Colin Percival, 2009; RFC 7914): a hash that takes memory, so that guessing is dear.
//!
//! Our own, since `scrypt` 0.11 follows the RFC in refusing `n` from 2^(16 r) on, which errata 5971
//! call an error: the Web3 standard's own example and the files of eth-account have such an `n`. And
//! `scrypt` 0.12 would bring a second version of every hash crate.
//!
//! Invariants: memory that the system does not give is an error. What it held is erased.
//!
//! Not here: limits on the numbers (`read`).

#![cfg_attr(
    not(test),
    expect(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "indices are constants below 16, or taken modulo a length; sums wrap on purpose"
    )
)]

use pbkdf2::pbkdf2_hmac;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::NoMemory;

/// What Salsa20 mixes: 16 words, little endian in bytes.
type Block = [u32; 16];

/// scrypt's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scrypt {
    /// Rows of the table; a power of two.
    pub(super) n: u32,
    /// Half of a row's blocks, at least 1.
    pub(super) r: u32,
    /// Tables, one after the other, at least 1.
    pub(super) p: u32,
}

/// Fills `out` with the hash of a passphrase and a salt (RFC 7914, section 6).
pub(super) fn hash(
    passphrase: &[u8],
    salt: &[u8],
    numbers: Scrypt,
    out: &mut [u8],
) -> Result<(), NoMemory> {
    let (rows, row) = (size(numbers.n), size(numbers.r).saturating_mul(2));
    let bytes_size = row.saturating_mul(64).saturating_mul(size(numbers.p));
    let mut bytes = Zeroizing::new(room::<u8>(bytes_size)?);
    bytes.resize(bytes_size, 0);
    pbkdf2_hmac::<Sha256>(passphrase, salt, 1, &mut bytes);
    let mut table = Zeroizing::new(room::<Block>(rows.saturating_mul(row))?);
    let mut lane = Zeroizing::new(room::<Block>(row)?);
    let mut spare = Zeroizing::new(room::<Block>(row)?);
    spare.resize(row, [0; 16]);
    for bytes in bytes.chunks_exact_mut(row * 64) {
        lane.clear();
        lane.extend(bytes.as_chunks::<64>().0.iter().map(words));
        mix_lane(&mut lane, &mut table, &mut spare, rows);
        for (to, block) in bytes.as_chunks_mut::<64>().0.iter_mut().zip(&*lane) {
            to.as_chunks_mut::<4>().0.iter_mut().zip(block).for_each(|(to, word)| {
                *to = word.to_le_bytes();
            });
        }
    }
    pbkdf2_hmac::<Sha256>(passphrase, &bytes, 1, out);
    Ok(())
}

/// `scryptROMix` (section 5): writes a table, and reads it in an order that only its content tells.
fn mix_lane(lane: &mut Vec<Block>, table: &mut Vec<Block>, spare: &mut Vec<Block>, rows: usize) {
    let row = lane.len();
    table.clear();
    for _ in 0..rows {
        table.extend_from_slice(lane);
        mix_row(lane, spare);
        std::mem::swap(lane, spare);
    }
    for _ in 0..rows {
        // `Integerify`: the last block's first word, modulo a power of two.
        let start = (size(lane[row - 1][0]) & (rows - 1)) * row;
        for (block, other) in lane.iter_mut().zip(&table[start..start + row]) {
            block.iter_mut().zip(other).for_each(|(word, other)| *word ^= other);
        }
        mix_row(lane, spare);
        std::mem::swap(lane, spare);
    }
}

/// `scryptBlockMix` (section 4): the even blocks go to the first half, the odd ones to the second.
fn mix_row(row: &[Block], to: &mut [Block]) {
    let mut last = row[row.len() - 1];
    let (even, odd) = to.split_at_mut(row.len() / 2);
    let pairs = row.as_chunks::<2>().0;
    for ((pair, even), odd) in pairs.iter().zip(even).zip(odd) {
        *even = salsa(&last, &pair[0]);
        *odd = salsa(even, &pair[1]);
        last = *odd;
    }
}

/// Salsa20/8 of the sum of two blocks (section 3; Daniel J. Bernstein, 2005).
fn salsa(one: &Block, other: &Block) -> Block {
    let mut input = *one;
    input.iter_mut().zip(other).for_each(|(word, other)| *word ^= other);
    let mut x = input;
    for _ in 0..4 {
        for [a, b, c, d] in [[0, 4, 8, 12], [5, 9, 13, 1], [10, 14, 2, 6], [15, 3, 7, 11]] {
            quarter(&mut x, a, b, c, d);
        }
        for [a, b, c, d] in [[0, 1, 2, 3], [5, 6, 7, 4], [10, 11, 8, 9], [15, 12, 13, 14]] {
            quarter(&mut x, a, b, c, d);
        }
    }
    x.iter_mut().zip(input).for_each(|(word, input)| *word = word.wrapping_add(input));
    x
}

#[inline(always)]
fn quarter(x: &mut Block, a: usize, b: usize, c: usize, d: usize) {
    x[b] ^= x[a].wrapping_add(x[d]).rotate_left(7);
    x[c] ^= x[b].wrapping_add(x[a]).rotate_left(9);
    x[d] ^= x[c].wrapping_add(x[b]).rotate_left(13);
    x[a] ^= x[d].wrapping_add(x[c]).rotate_left(18);
}

fn words(bytes: &[u8; 64]) -> Block {
    let mut words = [0; 16];
    words.iter_mut().zip(bytes.as_chunks::<4>().0).for_each(|(word, bytes)| {
        *word = u32::from_le_bytes(*bytes);
    });
    words
}

/// An empty list with room for so many.
fn room<T>(count: usize) -> Result<Vec<T>, NoMemory> {
    let mut list = Vec::new();
    let given = list.try_reserve_exact(count);
    given.map_err(|_| NoMemory { size: count.saturating_mul(size_of::<T>()) })?;
    Ok(list)
}

fn size(number: u32) -> usize {
    usize::try_from(number).expect("a machine with files has 32-bit sizes")
}

#[cfg(test)]
mod tests;
