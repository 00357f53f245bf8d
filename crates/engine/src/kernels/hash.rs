//! SHA-256 of many short messages of one length, sixteen at a time.
//!
//! A trace is hashed in cells of 64 bytes and in pairs of digests, of which one alone waits for each of
//! its rounds; sixteen side by side do not. The function is that of FIPS 180-4, section 6.2.
//!
//! Invariants:
//! - Every instruction set gives the digests that one message after the other has.
//!
//! Not here: what is hashed.
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls the body compiled for the instruction set that was detected"
    )
)]

use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

use super::{Isa, per_isa};

/// Messages side by side: the 32-bit numbers of a register of AVX-512, or of two of AVX2.
const LANES: usize = 16;

/// One 32-bit number of each message.
type Word = [u32; LANES];

/// The first words of the state (FIPS 180-4, section 5.3.3).
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// The rounds' constants (section 4.2.2).
#[rustfmt::skip]
const ROUNDS: [u32; 64] = [
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
];

/// The digests of messages that stand one after the other, each of `size` bytes but the last, which may
/// be shorter, and each hashed after one more byte.
#[must_use]
pub fn each(isa: Isa, first: u8, messages: &[u8], size: usize) -> Vec<[u8; 32]> {
    let size = size.max(1);
    let mut out = Vec::with_capacity(messages.len().div_ceil(size));
    let mut rest = messages;
    if matches!(isa, Isa::Avx2 | Isa::Avx512) {
        let groups = messages.chunks_exact(LANES * size);
        rest = groups.remainder();
        for group in groups {
            let mut state = START.map(|word| [word; LANES]);
            for block in 0..blocks(size) {
                take(isa, &mut state, &words(first, group, size, block));
            }
            out.extend((0..LANES).map(|lane| digest(&state, lane)));
        }
    }
    let one = |message: &[u8]| -> [u8; 32] {
        Sha256::new().chain_update([first]).chain_update(message).finalize().into()
    };
    out.extend(rest.chunks(size).map(one));
    out
}

/// Blocks of a message with its first byte, the bit after it, and its length.
fn blocks(size: usize) -> usize {
    (size + 10).div_ceil(64)
}

/// A block of each message (section 5.1.1), as big-endian numbers.
fn words(first: u8, messages: &[u8], size: usize, block: usize) -> [Word; 16] {
    let mut out = [[0; LANES]; 16];
    let (start, end) = (64 * block, 64 * block + 64);
    for (lane, message) in messages.chunks_exact(size).enumerate() {
        let mut bytes = [0u8; 64];
        if block == 0 {
            bytes[0] = first;
            let count = size.min(63);
            bytes[1..][..count].copy_from_slice(&message[..count]);
        } else if let Some(rest) = message.get(start - 1..) {
            let count = rest.len().min(64);
            bytes[..count].copy_from_slice(&rest[..count]);
        }
        if (start..end).contains(&(size + 1)) {
            bytes[size + 1 - start] = 0x80;
        }
        if block + 1 == blocks(size) {
            bytes[56..].copy_from_slice(&(8 * (size as u64 + 1)).to_be_bytes());
        }
        for (out, word) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
            out[lane] = u32::from_be_bytes(*word);
        }
    }
    out
}

fn digest(state: &[Word; 8], lane: usize) -> [u8; 32] {
    let mut out = [0; 32];
    for (out, word) in out.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *out = word[lane].to_be_bytes();
    }
    out
}

per_isa! {
    /// Takes a block of each message into its state (section 6.2.2).
    fn take = take_body(state: &mut [Word; 8], block: &[Word; 16])
}

#[inline(always)]
fn take_body(state: &mut [Word; 8], block: &[Word; 16]) {
    let mut words = *block;
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for eight in 0..8 {
        let at = 8 * (eight % 2);
        if eight > 1 {
            for round in at..at + 8 {
                schedule(&mut words, round);
            }
        }
        let constants = &ROUNDS[8 * eight..][..8];
        let words = &words[at..][..8];
        round(a, b, c, &mut d, e, f, g, &mut h, constants[0], &words[0]);
        round(h, a, b, &mut c, d, e, f, &mut g, constants[1], &words[1]);
        round(g, h, a, &mut b, c, d, e, &mut f, constants[2], &words[2]);
        round(f, g, h, &mut a, b, c, d, &mut e, constants[3], &words[3]);
        round(e, f, g, &mut h, a, b, c, &mut d, constants[4], &words[4]);
        round(d, e, f, &mut g, h, a, b, &mut c, constants[5], &words[5]);
        round(c, d, e, &mut f, g, h, a, &mut b, constants[6], &words[6]);
        round(b, c, d, &mut e, f, g, h, &mut a, constants[7], &words[7]);
    }
    let [sa, sb, sc, sd, se, sf, sg, sh] = state;
    add(sa, &a);
    add(sb, &b);
    add(sc, &c);
    add(sd, &d);
    add(se, &e);
    add(sf, &f);
    add(sg, &g);
    add(sh, &h);
}

#[inline(always)]
fn add(state: &mut Word, new: &Word) {
    state.iter_mut().zip(new).for_each(|(state, new)| *state = state.wrapping_add(*new));
}

/// The next word of the message, in the place of the one sixteen before it.
#[inline(always)]
fn schedule(words: &mut [Word; 16], round: usize) {
    let (near, middle, far) =
        (words[(round + 1) % 16], words[(round + 9) % 16], words[(round + 14) % 16]);
    for (lane, word) in words[round].iter_mut().enumerate() {
        let near = near[lane];
        let far = far[lane];
        let near = near.rotate_right(7) ^ near.rotate_right(18) ^ (near >> 3);
        let far = far.rotate_right(17) ^ far.rotate_right(19) ^ (far >> 10);
        *word = word.wrapping_add(near).wrapping_add(middle[lane]).wrapping_add(far);
    }
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "the standard's eight working variables")]
fn round(
    a: Word,
    b: Word,
    c: Word,
    d: &mut Word,
    e: Word,
    f: Word,
    g: Word,
    h: &mut Word,
    constant: u32,
    word: &Word,
) {
    for (lane, (d, h)) in d.iter_mut().zip(h).enumerate() {
        let (a, b, c, e, f, g) = (a[lane], b[lane], c[lane], e[lane], f[lane], g[lane]);
        let sum = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let choice = (e & f) ^ (!e & g);
        let first = h
            .wrapping_add(sum)
            .wrapping_add(choice)
            .wrapping_add(constant)
            .wrapping_add(word[lane]);
        let sum = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let majority = (a & b) ^ (a & c) ^ (b & c);
        *d = d.wrapping_add(first);
        *h = first.wrapping_add(sum).wrapping_add(majority);
    }
}

#[cfg(test)]
mod tests;
