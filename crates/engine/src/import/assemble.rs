//! Writes an artifact from a model's tensors.
//!
//! Sections are made one at a time in the order of the file and handed to a sink, so memory holds one
//! matrix, not the model. Bands of rows are quantised in parallel; the bytes do not depend on it.
//!
//! Invariants:
//! - Equal sources and options give equal bytes on every machine.
//!
//! Not here: where tensors come from, the choice of quants (`quantise`) and of powers of two
//! (`equalise`).

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::equalise::Powers;
use super::family::Shape;
use super::quantise::{self, Grid};
use super::tensor::Tensor;
use super::{ImportError, Options, Precision, dequantise};
use crate::artifact::config::Config;
use crate::artifact::matrix::{self, BAND, BLOCK, Bits, Layout};
use crate::artifact::pack::BandRows;
use crate::artifact::strings::{self, Strings};
use crate::artifact::vector::{NORM_WEIGHT_MAX, Vector, steps_to_bytes};
use crate::artifact::writer::Plan;
use crate::artifact::{Kind, SectionId};
use crate::kernels::rows::{Rows, for_each};
use crate::kernels::{Isa, Pool, per_thread};
use crate::model::shape;
use crate::vocabulary::VocabularyParts;

/// Fraction bits of a bias.
const BIAS_FRACTION: i32 = 16;
/// Biases are below this, so that they fit 32 bits.
const BIAS_MAX: f64 = 32_767.0;

/// A model ready to be written.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its configuration.
    pub shape: Shape,
    /// Its vocabulary.
    pub vocabulary: VocabularyParts,
    /// Its texts.
    pub strings: Strings,
    /// Its matrices, norms and biases.
    pub tensors: Vec<(SectionId, Source<'a>)>,
}

/// Where a section's numbers come from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The tensor.
    pub tensor: Tensor<'a>,
    /// Elements of a head whose rotary pairs are neighbours in the source, so that its rows must be
    /// reordered to halves; 0 where rows stay as they are.
    pub interleaved: usize,
    /// Added to each element: 1 for norms that store their distance from one.
    pub plus: f32,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Bytes of the artifact.
    pub size: u64,
    /// Matrices with 4 bits a weight.
    pub four: usize,
    /// Matrices with 8 bits a weight.
    pub eight: usize,
    /// Columns that were raised to their neighbours.
    pub raised: usize,
}

/// Takes the artifact's bytes in order.
pub type Sink<'a> = dyn FnMut(&[u8]) -> Result<(), String> + 'a;

/// Memory of one thread.
#[derive(Debug, Default)]
struct Scratch {
    values: Vec<f32>,
    grids: Vec<Grid>,
    band: Option<BandRows>,
    error: Option<ImportError>,
}

/// Writes the artifact; `progress` is told bytes written and bytes in all.
///
/// # Errors
/// When a tensor has not its shape, holds a number that is not finite, or the sink refuses.
pub fn write(
    parts: &Parts<'_>,
    options: &Options,
    threads: usize,
    sink: &mut Sink<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Written, ImportError> {
    let config = parts.shape.config().map_err(ImportError::Config)?;
    check_vocabulary(parts, &config)?;
    let mut pool = Pool::new(threads);
    let powers = Powers::of(parts, &config, &mut pool)?;
    let sections = sections(parts, &config, options, &powers)?;
    let plan = Plan::new(sections.iter().map(|(id, section)| (*id, section.size())).collect());
    let total = plan.size() as u64;
    let mut done = plan.header().len() as u64;
    let mut emit = |bytes: &[u8]| sink(bytes).map_err(ImportError::Sink);
    emit(&plan.header())?;
    for (index, planned) in plan.sections().iter().enumerate() {
        let section = sections.iter().find(|(id, _)| *id == planned.id);
        let (_, section) = section.expect("the plan was made from these sections");
        emit(&section.bytes(&mut pool)?)?;
        emit(&vec![0; plan.padding_after(index)])?;
        done += (planned.size + plan.padding_after(index)) as u64;
        progress(done, total);
    }
    let count = |bits| {
        let matrix = |section: &Section<'_>| matches!(section, Section::Matrix(matrix) if matrix.layout.bits == bits);
        sections.iter().filter(|(_, section)| matrix(section)).count()
    };
    let (four, eight) = (count(Bits::Four), count(Bits::Eight));
    Ok(Written { size: total, four, eight, raised: powers.count() })
}

fn check_vocabulary(parts: &Parts<'_>, config: &Config) -> Result<(), ImportError> {
    let (tokens, rows) = (parts.vocabulary.tokens.len(), config.vocabulary);
    if tokens > rows {
        let what = alloc::format!("{tokens} tokens do not fit {rows} rows of the embedding");
        return Err(ImportError::Config(what));
    }
    Ok(())
}

/// A section before its bytes.
enum Section<'a> {
    Bytes(Vec<u8>),
    Matrix(Matrix<'a>),
}

/// A matrix before its bytes.
struct Matrix<'a> {
    source: Source<'a>,
    layout: Layout,
    /// What columns are multiplied by, and rows divided: one power of two each, or none.
    columns: &'a [f32],
    rows: &'a [f32],
}

impl Section<'_> {
    fn size(&self) -> usize {
        match self {
            Section::Bytes(bytes) => bytes.len(),
            Section::Matrix(matrix) => matrix.layout.size(),
        }
    }

    fn bytes(&self, pool: &mut Pool) -> Result<Vec<u8>, ImportError> {
        match self {
            Section::Bytes(bytes) => Ok(bytes.clone()),
            Section::Matrix(matrix) => matrix.bytes(pool),
        }
    }
}

fn sections<'a>(
    parts: &Parts<'a>,
    config: &Config,
    options: &Options,
    powers: &'a Powers,
) -> Result<Vec<(SectionId, Section<'a>)>, ImportError> {
    let global = |kind| SectionId { kind, layer: 0 };
    let steps = |windowed| parts.shape.rope_steps(windowed).map_err(ImportError::Config);
    let vocabulary = parts.vocabulary.to_bytes().map_err(ImportError::Vocabulary)?;
    let mut sections = vec![
        (global(Kind::Config), Section::Bytes(config.to_bytes())),
        (global(Kind::Strings), Section::Bytes(strings::to_bytes(&parts.strings))),
        (global(Kind::Vocabulary), Section::Bytes(vocabulary)),
    ];
    if !config.family.is_encoder() {
        sections.push((global(Kind::RopeGlobal), Section::Bytes(steps_to_bytes(&steps(false)?))));
    }
    if config.window_period != 0 {
        sections.push((global(Kind::RopeLocal), Section::Bytes(steps_to_bytes(&steps(true)?))));
    }
    for &(id, source) in &parts.tensors {
        let section = match shape(config, id.kind) {
            Some(expected) => {
                check_matrix(&source.tensor, expected)?;
                let bits = bits(&source.tensor, options);
                let layout = Layout { rows: expected.0, columns: expected.1, bits };
                let (columns, rows) = (powers.of_columns(id), powers.of_feeder(id));
                Section::Matrix(Matrix { source, layout, columns, rows })
            }
            None => {
                let numbers = vector_numbers(&source, vector_length(config, id.kind))?;
                let fraction = bias_fraction(config, id.kind);
                Section::Bytes(vector(&source, numbers, powers.of_feeder(id), fraction)?)
            }
        };
        sections.push((id, section));
    }
    Ok(sections)
}

/// The rule by which a matrix gets 4 or 8 bits: 4 where the source's own grid has 4, so that nothing
/// is lost twice; 8 for every finer source. A row that ends inside a block gets 8 always: 4-bit
/// blocks have offsets, so the padding's weights would not be zero.
fn bits(tensor: &Tensor<'_>, options: &Options) -> Bits {
    match options.precision {
        _ if !tensor.columns.is_multiple_of(BLOCK) => Bits::Eight,
        Precision::AllEight => Bits::Eight,
        Precision::AllFour => Bits::Four,
        Precision::BySource if tensor.encoding.has_four_bit_grid() => Bits::Four,
        Precision::BySource => Bits::Eight,
    }
}

/// Refuses a matrix of another shape than its section.
pub(super) fn check_matrix(
    tensor: &Tensor<'_>,
    expected: (usize, usize),
) -> Result<(), ImportError> {
    match (tensor.rows, tensor.columns) {
        found if found == expected => Ok(()),
        found => Err(ImportError::Shape { tensor: tensor.name.to_string(), found, expected }),
    }
}

fn vector_length(config: &Config, kind: Kind) -> usize {
    match kind {
        Kind::QueryBias => config.query_width(),
        Kind::KeyBias | Kind::ValueBias => config.kv_width(),
        Kind::QueryNorm | Kind::KeyNorm => config.head_size,
        Kind::UpBias => config.hidden,
        _ => config.width,
    }
}

/// Fraction bits of what is added to projections or rows; `None` for norms.
fn bias_fraction(config: &Config, kind: Kind) -> Option<i32> {
    match kind {
        Kind::QueryBias | Kind::KeyBias | Kind::ValueBias | Kind::UpBias => Some(BIAS_FRACTION),
        Kind::TokenType
        | Kind::EmbeddingNormBias
        | Kind::AttentionOutputBias
        | Kind::AttentionNormBias
        | Kind::DownBias
        | Kind::MlpNormBias => Some(config.residual_fraction as i32),
        _ => None,
    }
}

/// The numbers of a norm or a bias, in the artifact's order.
pub(super) fn vector_numbers(source: &Source<'_>, length: usize) -> Result<Vec<f64>, ImportError> {
    let tensor = &source.tensor;
    if tensor.rows * tensor.columns != length {
        return Err(ImportError::Shape {
            tensor: tensor.name.to_string(),
            found: (tensor.rows, tensor.columns),
            expected: (1, length),
        });
    }
    let mut values = vec![0f32; length];
    dequantise::row(tensor, 0, &mut values)?;
    let number = |row| f64::from(values[source_row(source, row)]) + f64::from(source.plus);
    Ok((0..length).map(number).collect())
}

/// A norm or a bias in integers: norms with the finest common exponent, biases with their `fraction`
/// bits. Each number is divided by its power of two, where there are any.
fn vector(
    source: &Source<'_>,
    mut numbers: Vec<f64>,
    powers: &[f32],
    fraction: Option<i32>,
) -> Result<Vec<u8>, ImportError> {
    numbers.iter_mut().zip(powers).for_each(|(number, &power)| *number /= f64::from(power));
    let exponent = fraction.unwrap_or_else(|| finest_exponent(&numbers, NORM_WEIGHT_MAX));
    let bias_max = libm::scalbn(BIAS_MAX, BIAS_FRACTION - exponent);
    if fraction.is_some() && numbers.iter().any(|bias| bias.abs() >= bias_max) {
        let (tensor, max) = (source.tensor.name.to_string(), bias_max as f32);
        return Err(ImportError::TooLarge { tensor, row: 0, max });
    }
    let element = |&value: &f64| libm::rint(libm::scalbn(value, exponent)) as i32;
    let elements = numbers.iter().map(element).collect();
    Ok(Vector { elements, exponent }.to_bytes())
}

/// The largest exponent, -64 to 64, at which every value's magnitude rounds to at most `max`.
fn finest_exponent(values: &[f64], max: i32) -> i32 {
    let largest = values.iter().fold(0f64, |most, value| most.max(value.abs()));
    let fits = |exponent| libm::rint(libm::scalbn(largest, exponent)) <= f64::from(max);
    (-64..=64).rev().find(|&exponent| fits(exponent)).unwrap_or(-64)
}

/// The source's row for row `row`.
pub(super) fn source_row(source: &Source<'_>, row: usize) -> usize {
    let size = source.interleaved;
    if size == 0 {
        return row;
    }
    let (head, at) = (row / size * size, row % size);
    head + if at < size / 2 { 2 * at } else { 2 * (at - size / 2) + 1 }
}

impl Matrix<'_> {
    /// The section's bytes.
    fn bytes(&self, pool: &mut Pool) -> Result<Vec<u8>, ImportError> {
        let layout = self.layout;
        let mut bytes = vec![0u8; layout.size()];
        let mut scales = vec![0f64; layout.rows_padded()];
        let groups_at = layout.group_offset(0);
        let (head, groups) = bytes.split_at_mut(groups_at);
        let norms = &mut head[layout.norms_offset()..];
        let mut scratch = per_thread(pool, Scratch::default);
        let bands = layout.rows_padded() / BAND;
        let buffers = (
            Rows::new(groups, 2 * layout.group_size()),
            Rows::new(norms, layout.chunks() * 8),
            Rows::new(&mut scales, BAND),
        );
        for_each(pool, bands, buffers, &mut scratch, |band, (groups, norms, scales), scratch| {
            let norms = &mut norms[..layout.chunks() * 8];
            if let Err(error) = self.quantise_band(band, (groups, norms, scales), scratch) {
                scratch.error.get_or_insert(error);
            }
        });
        if let Some(error) = scratch.iter_mut().find_map(|scratch| scratch.error.take()) {
            return Err(error);
        }
        // Dividing a row divides its scale alone: the quants are those of the source's row.
        scales.iter_mut().zip(self.rows).for_each(|(scale, &power)| *scale /= f64::from(power));
        let exponent = finest_exponent(&scales, i32::MAX);
        bytes[..64].copy_from_slice(&matrix::Matrix::header(layout, exponent));
        for (slot, &scale) in bytes[64..].chunks_exact_mut(4).zip(&scales) {
            let integer = libm::rint(libm::scalbn(scale, exponent)) as i32;
            slot.copy_from_slice(&integer.to_le_bytes());
        }
        Ok(bytes)
    }

    /// Quantises and interleaves one band of 32 rows.
    fn quantise_band(
        &self,
        band: usize,
        (groups, norms, scales): (&mut [u8], &mut [u8], &mut [f64]),
        scratch: &mut Scratch,
    ) -> Result<(), ImportError> {
        let Matrix { source, layout, columns, .. } = self;
        let Scratch { values, grids, band: rows, .. } = scratch;
        let rows = rows.insert(BandRows::new(*layout));
        values.clear();
        values.resize(layout.columns.next_multiple_of(BLOCK), 0.0);
        let first = band * BAND;
        for row in first..layout.rows.min(first + BAND) {
            let from = source_row(source, row);
            dequantise::row(&source.tensor, from, &mut values[..layout.columns])?;
            values.iter_mut().zip(*columns).for_each(|(value, power)| *value *= power);
            dequantise::grids(&source.tensor, from, layout.bits, grids);
            let out = &mut rows.row(row - first);
            scales[row - first] = match layout.bits {
                Bits::Four => quantise::row4(Isa::best(), values, grids, out),
                Bits::Eight => quantise::row8(Isa::best(), values, grids, out),
            };
        }
        rows.write(groups, norms);
        Ok(())
    }
}
