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
use engine::kernels::element::{self, SoftmaxRow};
use engine::kernels::rows::room;
use engine::numeric::{KEY_MAX, Scale, VALUE_MAX};

use crate::formulas::isa;

/// Quantised heads: those of one position, or those of one number at the positions seen.
#[derive(Debug, Default)]
pub(super) struct Heads {
    values: Vec<i16>,
    scales: Vec<i32>,
}

/// Memory that is used again for each head and layer.
#[derive(Debug, Default)]
pub(super) struct Attention {
    keys: Heads,
    values: Heads,
    scores: Vec<i32>,
    weights: Vec<i16>,
    sums: Vec<i64>,
}

impl Heads {
    /// Quantises heads that stand one after the other.
    pub(super) fn quantise(&mut self, row: &[i32], size: usize, (limit, bits): (i32, u32)) {
        self.values.resize(row.len(), 0);
        self.scales.clear();
        let heads = row.chunks_exact(size).zip(self.values.chunks_exact_mut(size));
        let scales = heads.map(|(head, out)| element::quantise_head(isa(), head, limit, bits, out));
        self.scales.extend(scales);
    }

    /// A head and its scale.
    fn of(&self, head: usize, size: usize) -> Option<(&[i16], i32)> {
        Some((self.values.get(head * size..(head + 1) * size)?, *self.scales.get(head)?))
    }

    /// Takes the heads of one number from the rows of past positions, and then that of this one.
    fn take<'a>(
        &mut self,
        past: impl Iterator<Item = &'a Vec<u8>>,
        own: &Heads,
        (head, size): (usize, usize),
        most: i32,
    ) -> Option<()> {
        self.values.clear();
        self.scales.clear();
        for row in past {
            let bytes = row.get(head * (2 * size + 4)..(head + 1) * (2 * size + 4))?;
            let (values, scale) = bytes.split_last_chunk::<4>()?;
            let values = values.as_chunks::<2>().0.iter().map(|it| i16::from_le_bytes(*it));
            self.values.extend(values);
            self.scales.push(i32::from_le_bytes(*scale));
        }
        let is_sound = self.scales.iter().fold(i32::MAX, |min, scale| min.min(*scale)) > 0;
        // At most 2,047.
        let largest = self.values.iter().fold(0u16, |max, value| max.max(value.unsigned_abs()));
        let (values, scale) = own.of(head, size)?;
        self.values.extend_from_slice(values);
        self.scales.push(scale);
        (is_sound && largest <= most as u16).then_some(())
    }
}

impl Attention {
    /// Computes the results of all heads of a position, from the heads before it (keys before values,
    /// position by position) and its own queries, keys and values.
    pub(super) fn attend(
        &mut self,
        config: &Config,
        past: &[Vec<u8>],
        [queries, keys, values]: &[Heads; 3],
        out: &mut [i32],
    ) -> Option<()> {
        let (size, shared) = (config.head_size, config.heads / config.kv_heads);
        let past = |odd: usize| past.iter().skip(odd).step_by(2);
        for (kv_head, out) in out.chunks_mut(shared * size).enumerate() {
            self.keys.take(past(0), keys, (kv_head, size), KEY_MAX)?;
            self.values.take(past(1), values, (kv_head, size), VALUE_MAX)?;
            for (head, out) in out.chunks_mut(size).enumerate() {
                let (query, scale) = queries.of(kv_head * shared + head, size)?;
                let product = u128::from(scale.unsigned_abs()) * u128::from(config.score_scale);
                self.result(query, Scale::new(product, 60, 16), out)?;
            }
        }
        Some(())
    }

    fn result(&mut self, query: &[i16], scale: Scale, out: &mut [i32]) -> Option<()> {
        let Attention { keys, values, scores, weights, sums } = self;
        let seen = keys.scales.len();
        let (scores, weights) = (room(scores, seen), room(weights, seen));
        element::scores(isa(), query, &keys.values, scores);
        let exponent = scale.exponent.clamp(1, 62) as u32;
        let row = SoftmaxRow { from: 0, to: seen, mantissa: scale.mantissa, exponent };
        let (total, length) =
            element::softmax(isa(), row, scores, &keys.scales, &values.scales, weights);
        let is_sound = (1..1 << 32).contains(&total) && (15..=31).contains(&length);
        if !is_sound {
            return None;
        }
        let sums = room(sums, query.len());
        element::weighted(isa(), weights, &values.values, sums);
        // |sum| <= 127 * total, or a product of the last step could leave 64 bits.
        if sums.iter().any(|sum| sum.unsigned_abs() > 127 * total) {
            return None;
        }
        element::finish_head(isa(), sums, total, length, out);
        Some(())
    }
}
