//! The hash that chooses an entry's slot in a large directory: MurmurHash3 x64, its first 64 bits.
//!
//! Austin Appleby 2011, `MurmurHash3_x64_128` with seed 0; the bytes of the first half are written
//! the most significant first, as Kubo does.
//!
//! Not here: security; an attacker can make names that collide, and shards have a bounded depth.

const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

/// The hash of a name.
pub(crate) fn hash(bytes: &[u8]) -> [u8; 8] {
    let (mut h1, mut h2) = (0u64, 0u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (k1, k2) = halves(block);
        h1 = (h1 ^ mix1(k1)).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(k2)).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    // A missing half mixes to zero, which changes nothing.
    let mut last = [0; 16];
    last[..tail.len()].copy_from_slice(tail);
    let (k1, k2) = halves(&last);
    let size = bytes.len() as u64;
    h2 ^= mix2(k2) ^ size;
    h1 ^= mix1(k1) ^ size;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finish(h1);
    h2 = finish(h2);
    h1.wrapping_add(h2).to_be_bytes()
}

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    // The low and the high half.
    (both as u64, (both >> 64) as u64)
}

fn mix1(k: u64) -> u64 {
    k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mix2(k: u64) -> u64 {
    k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finish(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::hash;

    /// First halves that the reference implementation gives.
    #[test]
    fn the_reference_is_met() {
        assert_eq!(hash(b""), [0; 8]);
        assert_eq!(hash(b"hello"), 0xcbd8_a7b3_41bd_9b02u64.to_be_bytes());
        assert_eq!(hash(b"hello, world"), 0x342f_ac62_3a5e_bc8eu64.to_be_bytes());
        assert_eq!(
            hash(b"The quick brown fox jumps over the lazy dog."),
            0xcd99_481f_9ee9_02c9u64.to_be_bytes()
        );
    }
}
