//! The key stream of RFC 8439, which the test files of IPIP-499 consist of.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// The key stream, from its first byte on.
pub(crate) struct KeyStream {
    start: [u32; 16],
    block: [u8; 64],
    /// Bytes of the block that were given out.
    given: usize,
}

impl KeyStream {
    /// The stream whose key is the seed's SHA-256.
    pub(crate) fn of(seed: &str) -> KeyStream {
        let key = Sha256::digest(seed);
        let mut start = [0; 16];
        start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        for (word, bytes) in start[4..12].iter_mut().zip(key.as_chunks().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        KeyStream { start, block: [0; 64], given: 64 }
    }

    fn next_block(&mut self) {
        let mut state = self.start;
        for _ in 0..10 {
            for [a, b, c, d] in [[0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15]] {
                quarter(&mut state, [a, b, c, d]);
            }
            for [a, b, c, d] in [[0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14]] {
                quarter(&mut state, [a, b, c, d]);
            }
        }
        let words = state.iter().zip(self.start);
        for (out, (word, first)) in self.block.as_chunks_mut().0.iter_mut().zip(words) {
            *out = word.wrapping_add(first).to_le_bytes();
        }
        self.start[12] = self.start[12].wrapping_add(1);
        self.given = 0;
    }
}

impl Read for KeyStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            if self.given == self.block.len() {
                self.next_block();
            }
            let count = (buffer.len() - filled).min(self.block.len() - self.given);
            let from = &self.block[self.given..self.given + count];
            buffer[filled..filled + count].copy_from_slice(from);
            (filled, self.given) = (filled + count, self.given + count);
        }
        Ok(filled)
    }
}

fn quarter(state: &mut [u32; 16], [a, b, c, d]: [usize; 4]) {
    for (x, y, z, bits) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
        state[x] = state[x].wrapping_add(state[y]);
        state[z] = (state[z] ^ state[x]).rotate_left(bits);
    }
}
