//! The attention of one position, all its heads at once, from opened key and value heads.
//!
//! The same formulas as those of `step`, over rows that are read once instead of once for each head.
//!
//! Invariants:
//! - No bytes make it panic: heads that no run has give nothing.
//!
//! Not here: whether the opened heads are those of the run.

use alloc::vec::Vec;

use engine::artifact::config::Config;
use engine::kernels::Isa;
use engine::kernels::element::{self, SoftmaxRow};
use engine::numeric::{KEY_MAX, Scale, VALUE_MAX};

use crate::step::{bytes32, read_head};

/// Positions whose products are added up in 32 bits: 2^15 * 2^7 each.
const RUN: usize = 256;

/// The key or value heads of one number at the positions seen.
struct Heads {
    values: Vec<i16>,
    scales: Vec<i32>,
}

/// The results of all heads of a position, from the heads before it (keys before values, position by
/// position) and its own queries, keys and values.
pub(super) fn results(
    config: &Config,
    past: &[Vec<u8>],
    [query, key, value]: [&[u8]; 3],
) -> Option<Vec<Vec<u8>>> {
    let size = config.head_size;
    let mut out = Vec::with_capacity(config.heads);
    let shared = config.heads / config.kv_heads;
    let seen = past.len() / 2 + 1;
    let rows = |odd: usize| past.iter().skip(odd).step_by(2).map(Vec::as_slice);
    for kv_head in 0..config.kv_heads {
        let keys = heads(rows(0).chain([key]), kv_head, size, (seen, KEY_MAX))?;
        let values = heads(rows(1).chain([value]), kv_head, size, (seen, VALUE_MAX))?;
        for head in kv_head * shared..(kv_head + 1) * shared {
            let bytes = query.get(head * (2 * size + 4)..(head + 1) * (2 * size + 4))?;
            let (query, scale) = read_head(bytes, size)?;
            if !are_small(&query, KEY_MAX) || scale <= 0 {
                return None;
            }
            let product = u128::from(scale.unsigned_abs()) * u128::from(config.score_scale);
            out.push(bytes32(&result(&query, Scale::new(product, 60, 16), &keys, &values)?));
        }
    }
    Some(out)
}

fn heads<'a>(
    rows: impl Iterator<Item = &'a [u8]>,
    head: usize,
    size: usize,
    (count, most): (usize, i32),
) -> Option<Heads> {
    let mut heads =
        Heads { values: Vec::with_capacity(count * size), scales: Vec::with_capacity(count) };
    for row in rows {
        let (head, scale) =
            row.get(head * (2 * size + 4)..(head + 1) * (2 * size + 4))?.split_last_chunk::<4>()?;
        heads.values.extend(head.as_chunks::<2>().0.iter().map(|it| i16::from_le_bytes(*it)));
        heads.scales.push(i32::from_le_bytes(*scale));
    }
    let is_sound = heads.scales.iter().fold(i32::MAX, |min, scale| min.min(*scale)) > 0;
    (is_sound && are_small(&heads.values, most)).then_some(heads)
}

fn are_small(values: &[i16], most: i32) -> bool {
    // At most 2,047.
    values.iter().fold(0u16, |max, value| max.max(value.unsigned_abs())) <= most as u16
}

fn result(query: &[i16], scale: Scale, keys: &Heads, values: &Heads) -> Option<Vec<i32>> {
    let isa = Isa::best();
    let (size, seen) = (query.len(), keys.scales.len());
    // At most 512 products of numbers up to 2,047.
    let score = |key: &[i16]| {
        query.iter().zip(key).map(|(&q, &k)| i32::from(q) * i32::from(k)).sum::<i32>()
    };
    let mut scores: Vec<i32> = keys.values.chunks_exact(size).map(score).collect();
    let exponent = scale.exponent.clamp(1, 62) as u32;
    let row = SoftmaxRow { from: 0, to: seen, mantissa: scale.mantissa, exponent };
    let mut weights = alloc::vec![0i16; seen];
    let (total, length) =
        element::softmax(isa, row, &mut scores, &keys.scales, &values.scales, &mut weights);
    let is_sound = (1..1 << 32).contains(&total) && (15..=31).contains(&length);
    if !is_sound {
        return None;
    }
    let mut sums = alloc::vec![0i64; size];
    let mut run = alloc::vec![0i32; size];
    for (weights, values) in weights.chunks(RUN).zip(values.values.chunks(RUN * size)) {
        run.fill(0);
        for (&weight, value) in weights.iter().zip(values.chunks_exact(size)) {
            for (sum, &value) in run.iter_mut().zip(value) {
                *sum += i32::from(weight) * i32::from(value);
            }
        }
        sums.iter_mut().zip(&run).for_each(|(sum, run)| *sum += i64::from(*run));
    }
    // |sum| <= 127 * total, or a product of the last step could leave 64 bits.
    if sums.iter().any(|sum| sum.unsigned_abs() > 127 * total) {
        return None;
    }
    let mut out = alloc::vec![0; size];
    element::finish_head(isa, &sums, total, length, &mut out);
    Some(out)
}
