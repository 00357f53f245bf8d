//! Small models with random weights, assembled from integers.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::artifact::config::{Activation, Config, Family};
use engine::artifact::matrix::{BAND, Bits, Layout, Matrix};
use engine::artifact::pack::BandRows;
use engine::artifact::vector::{Vector, steps_to_bytes};
use engine::artifact::writer::Plan;
use engine::artifact::{Kind, SectionId, strings};
use engine::model::{LAYER_MATRICES, Model, shape};
use engine::vocabulary::{TokenKind, VocabularyModel, VocabularyParts};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn within(&mut self, min: i64, max: i64) -> i64 {
        min + (self.next() % (max - min + 1) as u64) as i64
    }
}

/// A configuration whose sizes are not round: padding, odd heads, a window shorter than the run.
pub(crate) fn config(family: Family) -> Config {
    let gemma = family == Family::Gemma3;
    Config {
        family,
        activation: if gemma { Activation::Gelu } else { Activation::Silu },
        vocabulary: 150,
        layers: 3,
        width: 96,
        hidden: 1_120,
        heads: 6,
        kv_heads: 2,
        head_size: 32,
        context_max: 512,
        residual_fraction: if gemma { 10 } else { 12 },
        epsilon: 720_575_940_379,
        embedding_multiplier: if gemma { 164_385_040 } else { 1 << 24 },
        score_scale: 70_000_000_000,
        window: if gemma { 21 } else { 0 },
        window_period: if gemma { 3 } else { 0 },
    }
}

/// Assembles a model with weights from `seed`.
pub(crate) fn artifact(config: &Config, bits: Bits, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut sections: BTreeMap<SectionId, Vec<u8>> = BTreeMap::new();
    let mut put = |kind, layer, bytes| sections.insert(SectionId { kind, layer }, bytes);
    put(Kind::Config, 0, config.to_bytes());
    put(Kind::Strings, 0, strings::to_bytes(&BTreeMap::new()));
    put(Kind::Vocabulary, 0, vocabulary(config.vocabulary));
    let steps: Vec<u64> = (0..config.head_size / 2).map(|i| (u64::MAX / 7) >> i).collect();
    put(Kind::RopeGlobal, 0, steps_to_bytes(&steps));
    if config.window_period != 0 {
        put(Kind::RopeLocal, 0, steps_to_bytes(&steps));
    }
    put(Kind::Embedding, 0, matrix(config, Kind::Embedding, Bits::Eight, &mut random));
    put(Kind::OutputNorm, 0, norm(config.width, &mut random));
    for layer in 0..config.layers as u32 {
        for kind in LAYER_MATRICES {
            put(kind, layer, matrix(config, kind, bits, &mut random));
        }
        for (kind, count) in vectors(config) {
            put(kind, layer, norm(count, &mut random));
        }
    }
    let sizes = sections.iter().map(|(&id, bytes)| (id, bytes.len())).collect();
    let plan = Plan::new(sizes);
    let mut out = plan.header();
    for (index, bytes) in sections.values().enumerate() {
        out.extend_from_slice(bytes);
        out.resize(out.len() + plan.padding_after(index), 0);
    }
    out
}

pub(crate) fn model(config: &Config, bits: Bits, seed: u64) -> Arc<Model> {
    let model =
        Model::open(Arc::new(artifact(config, bits, seed))).expect("the small model is sound");
    model.validate().expect("the small model is sound");
    Arc::new(model)
}

fn vectors(config: &Config) -> Vec<(Kind, usize)> {
    let family = config.family;
    let mut vectors = vec![(Kind::AttentionNorm, config.width), (Kind::MlpNorm, config.width)];
    if family.has_biases() {
        vectors.push((Kind::QueryBias, config.query_width()));
        vectors.extend([Kind::KeyBias, Kind::ValueBias].map(|kind| (kind, config.kv_width())));
    }
    if family.has_head_norms() {
        vectors.extend([Kind::QueryNorm, Kind::KeyNorm].map(|kind| (kind, config.head_size)));
    }
    if family.has_post_norms() {
        let kinds = [Kind::AttentionPostNorm, Kind::MlpPostNorm];
        vectors.extend(kinds.map(|kind| (kind, config.width)));
    }
    vectors
}

fn norm(count: usize, random: &mut Random) -> Vec<u8> {
    let elements = (0..count).map(|_| random.within(-20_000, 90_000) as i32).collect();
    Vector { elements, exponent: 16 }.to_bytes()
}

fn matrix(config: &Config, kind: Kind, bits: Bits, random: &mut Random) -> Vec<u8> {
    let (rows, columns) = shape(config, kind).expect("the small model is sound");
    let layout = Layout { rows, columns, bits };
    let exponent = 48;
    let mut out = vec![0u8; layout.size()];
    out[..64].copy_from_slice(&Matrix::header(layout, exponent));
    for row in 0..rows {
        let scale = random.within(1 << 29, (1 << 31) - 1) as i32;
        out[64 + row * 4..][..4].copy_from_slice(&scale.to_le_bytes());
    }
    for band in 0..layout.rows_padded() / BAND {
        let mut packed = BandRows::new(layout);
        for row in 0..BAND.min(rows - band * BAND) {
            fill(packed.row(row), columns, (bits, band % 2 == 0), random);
        }
        let (head, groups) = out.split_at_mut(layout.group_offset(2 * band));
        let norms = layout.norms_offset() + band * layout.chunks() * 8;
        let norms = &mut head[norms..][..layout.chunks() * 8];
        packed.write(&mut groups[..2 * layout.group_size()], norms);
    }
    out
}

/// One row. In bands that are not `calm` every eighth is as large as the format allows, so that
/// guards and runs are reached; calm bands are small enough for the kernels that the guards allow.
fn fill(
    row: engine::artifact::pack::BandRow<'_>,
    columns: usize,
    (bits, calm): (Bits, bool),
    random: &mut Random,
) {
    let extreme = random.within(0, 7) == 0 && !calm;
    let scale_max = match (calm, bits) {
        (true, _) => 40,
        (false, Bits::Four) => 255,
        (false, Bits::Eight) => 127,
    };
    for (block, scale) in row.scales.iter_mut().enumerate().take(columns.div_ceil(32)) {
        let quants = &mut row.quants[block * 32..(block * 32 + 32).min(columns)];
        *scale = if extreme { scale_max as u8 } else { random.within(1, scale_max) as u8 };
        match bits {
            Bits::Four => {
                let offset =
                    if extreme { 270 } else { i64::from(*scale) * -8 + random.within(-50, 50) };
                row.offsets[block] = offset as i16;
                quants.iter_mut().for_each(|quant| {
                    *quant = if extreme { 15 } else { random.within(0, 15) as u8 }
                });
            }
            Bits::Eight => {
                quants.iter_mut().for_each(|quant| {
                    *quant = if extreme { 255 } else { random.within(1, 255) as u8 }
                });
            }
        }
    }
}

fn vocabulary(tokens: usize) -> Vec<u8> {
    VocabularyParts {
        model: VocabularyModel::Bpe,
        pre: "smollm".to_owned(),
        tokens: (0..tokens).map(|id| format!("t{id}").into_bytes()).collect(),
        kinds: vec![TokenKind::Normal; tokens],
        score_bits: Vec::new(),
        merges: Vec::new(),
        begin: Some(1),
        unknown: None,
        ends: vec![2],
        adds_begin: false,
        adds_space_prefix: false,
    }
    .to_bytes()
    .expect("the small model is sound")
}
