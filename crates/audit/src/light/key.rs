//! What replaces the weights for one beacon.
//!
//! Invariants:
//! - What a check reads of the sections was looked at when the key was made or read.
//!
//! Not here: its bytes in files (`bytes`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use engine::artifact::Kind;
use engine::artifact::matrix::Layout;
use engine::artifact::vector::{NORM_WEIGHT_MAX, Vector};
use engine::model::{LAYER_MATRICES, Model, shape};
use merkle::Digest;

use super::sums::{Held, Sums};
use super::{embedding_leaves, field};
use crate::digest::tagged;
use crate::graph::Graph;
use crate::step::{HEAD, matrix_head};

const KEY_TAG: &str = "mashaa/audit/key/v1";

pub(super) type MatrixId = (Kind, usize);

/// What replaces the weights, for one beacon.
#[derive(Clone, Debug)]
pub struct Key {
    pub(super) graph: Graph,
    pub(super) beacon: Digest,
    /// Small sections whole, and matrices up to their row scales.
    pub(super) sections: BTreeMap<MatrixId, Vec<u8>>,
    /// Every matrix that multiplies.
    pub(super) factors: BTreeMap<MatrixId, Factor>,
    /// The sections that are norms.
    pub(super) norms: BTreeMap<MatrixId, Vector>,
    /// The tree over the embedding's groups of rows.
    pub(super) embedding: Digest,
    pub(super) groups: u64,
}

/// What a key has of a matrix.
#[derive(Clone, Debug)]
pub(super) struct Factor {
    pub(super) layout: Layout,
    pub(super) exponent: i32,
    /// r, a number for each row.
    pub(super) random: Vec<u64>,
    /// v, a number for each column.
    pub(super) columns: Vec<u64>,
}

impl Key {
    /// Makes a key from the weights; anyone who has them makes the same. None when the artifact's
    /// bytes are not of their form.
    #[must_use]
    pub fn new(model: &Model, beacon: Digest) -> Option<Key> {
        let graph = Graph::of(model);
        let layers = graph.config.layers;
        let mut sections = BTreeMap::new();
        for kind in Kind::ALL {
            for layer in 0..layers {
                let Some(bytes) = model.section_bytes(kind, layer as u32) else { continue };
                let size = match shape(&graph.config, kind) {
                    Some(_) => HEAD + 4 * matrix_head(&graph, kind, bytes)?.0.rows_padded(),
                    None if matches!(kind, Kind::Vocabulary | Kind::Strings) => 0,
                    None => bytes.len(),
                };
                sections.insert((kind, layer), bytes.get(..size)?.to_vec());
            }
        }
        let mut factors = BTreeMap::new();
        for id in matrices(&graph) {
            let bytes = model.section_bytes(id.0, id.1 as u32)?;
            let (layout, exponent) = matrix_head(&graph, id.0, bytes)?;
            let random = field::random_rows(&beacon, id, layout.rows);
            let columns = field::combined(&layout, bytes, &random)?;
            factors.insert(id, Factor { layout, exponent, random, columns });
        }
        let norms = norms(&graph, &sections)?;
        let leaves = embedding_leaves(&graph, model)?;
        let (embedding, groups) = (merkle::root(&leaves), leaves.len() as u64);
        Some(Key { graph, beacon, sections, factors, norms, embedding, groups })
    }

    /// Bytes that are kept or sent: sections, and v; r follows from the beacon.
    #[must_use]
    pub fn size(&self) -> usize {
        let columns: usize = self.factors.values().map(|it| 8 * it.columns.len()).sum();
        self.sections.values().map(Vec::len).sum::<usize>() + columns + 64
    }

    /// The key's hash, by which two that were made apart are compared: v of every matrix, ascending by
    /// kind and layer, and the root of the embedding's tree.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let columns = self.factors.values().flat_map(|it| &it.columns);
        let bytes: Vec<u8> = columns.flat_map(|number| number.to_le_bytes()).collect();
        tagged(KEY_TAG, &[&self.beacon, &bytes, &self.embedding])
    }

    /// The beacon that it was made from.
    #[must_use]
    pub fn beacon(&self) -> &Digest {
        &self.beacon
    }
}

impl Factor {
    /// Whether sums are those of the matrix over an input, with an error of 2^-61.
    pub(super) fn holds(&self, x: &[i16], sums: &Sums) -> bool {
        if sums.count() != self.random.len() || x.len() != self.columns.len() {
            return false;
        }
        let left = match &sums.0 {
            Held::Short(sums) => Some(field::dot_short(&self.random, sums)),
            Held::Wide(sums) => field::dot_sums(&self.random, sums),
        };
        left == Some(field::dot_row(&self.columns, x))
    }
}

/// The matrices that multiply.
pub(super) fn matrices(graph: &Graph) -> Vec<MatrixId> {
    let layered =
        (0..graph.config.layers).flat_map(|layer| LAYER_MATRICES.map(|kind| (kind, layer)));
    layered.chain([(graph.head, 0)]).collect()
}

/// The norms among the sections. None where one is not of its form.
pub(super) fn norms(
    graph: &Graph,
    sections: &BTreeMap<MatrixId, Vec<u8>>,
) -> Option<BTreeMap<MatrixId, Vector>> {
    let mut norms = BTreeMap::new();
    for (&id, bytes) in sections {
        let count = match id.0 {
            Kind::AttentionNorm
            | Kind::AttentionPostNorm
            | Kind::MlpNorm
            | Kind::MlpPostNorm
            | Kind::OutputNorm => graph.config.width,
            Kind::QueryNorm | Kind::KeyNorm => graph.config.head_size,
            _ => continue,
        };
        norms.insert(id, Vector::from_bytes(bytes, count, NORM_WEIGHT_MAX).ok()?);
    }
    Some(norms)
}
