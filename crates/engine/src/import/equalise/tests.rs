//! Columns are raised where a model was rescaled, and nowhere else.

use alloc::string::String;
use alloc::sync::Arc;

use super::*;
use crate::artifact::config::Family;
use crate::import::dequantise::MAGNITUDE_MAX;
use crate::import::family::Shape;
use crate::import::gguf::Gguf;
use crate::import::gguf_build::{Data, random};
use crate::import::measure::measure;
use crate::import::{Options, Precision, assemble, gguf_model};
use crate::kernels::Isa;
use crate::model::Model;

const FAMILIES: [Family; 4] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3];
/// Norms, by layer, and what reads them.
const NORMS: [(&str, &[&str]); 2] = [
    ("attn_norm.weight", &["attn_q.weight", "attn_k.weight", "attn_v.weight"]),
    ("ffn_norm.weight", &["ffn_gate.weight", "ffn_up.weight"]),
];
/// Channels that the tests change, of every norm and inner row: the first and one of the last block.
const CHANNELS: [usize; 2] = [0, 67];

fn shape_of(family: Family) -> Shape {
    Shape {
        family,
        vocabulary: 300,
        layers: 2,
        width: 80,
        hidden: 70,
        heads: 2,
        kv_heads: 1,
        head_size: 32,
        context_max: 64,
        epsilon: 1.0e-5,
        rope_base: 10_000.0,
        rope_factors: Vec::new(),
        rope_linear: 1.0,
        window: if family == Family::Gemma3 { 8 } else { 0 },
        score_divisor: 32.0,
    }
}

/// A random model with a head of its own.
fn file(shape: &Shape, encoding: Encoding) -> Vec<u8> {
    let mut file = random::model(shape, encoding, 1).unwrap();
    let head = random::matrix_bytes(encoding, shape.vocabulary, shape.width, 9);
    let dimensions = [shape.width as u64, shape.vocabulary as u64];
    file.tensor("output.weight", &dimensions, encoding, Data::Bytes(head)).unwrap();
    file.to_bytes().unwrap()
}

/// Changes the numbers of a tensor in F32, given row and column.
fn edit(file: &mut [u8], name: &str, change: impl Fn(usize, usize, f32) -> f32) {
    let (at, rows, columns) = {
        let gguf = Gguf::parse(file).unwrap();
        let tensor = gguf.tensor(name).unwrap();
        assert_eq!(tensor.encoding, Encoding::F32);
        (tensor.data.as_ptr().addr() - file.as_ptr().addr(), tensor.rows, tensor.columns)
    };
    let numbers = file[at..][..4 * rows * columns].as_chunks_mut::<4>().0;
    for (index, bytes) in numbers.iter_mut().enumerate() {
        let (row, column) = (index / columns, index % columns);
        *bytes = change(row, column, f32::from_le_bytes(*bytes)).to_le_bytes();
    }
}

/// Multiplies norms and rows of `up` by `factor` on the channels, and divides what reads them.
fn stress(file: &mut [u8], shape: &Shape, factor: f32) {
    let is_changed = |channel: usize| CHANNELS.contains(&channel);
    let times = |channel, value| if is_changed(channel) { value * factor } else { value };
    let over = |channel, value| if is_changed(channel) { value / factor } else { value };
    edit(file, "output_norm.weight", |_, column, value| times(column, value));
    edit(file, "output.weight", |_, column, value| over(column, value));
    for layer in 0..shape.layers {
        let name = |suffix: &str| alloc::format!("blk.{layer}.{suffix}");
        for (norm, readers) in NORMS {
            edit(file, &name(norm), |_, column, value| times(column, value));
            for reader in readers {
                edit(file, &name(reader), |_, column, value| over(column, value));
            }
        }
        edit(file, &name("ffn_up.weight"), |row, _, value| times(row, value));
        edit(file, &name("ffn_down.weight"), |_, column, value| over(column, value));
    }
}

/// The artifact and how many columns were raised.
fn import(file: &[u8], precision: Precision, threads: usize) -> Result<(Vec<u8>, usize), String> {
    let options = Options { precision, ..Options::default() };
    let gguf = Gguf::parse(file).unwrap();
    let parts = gguf_model::read(&gguf, &options).unwrap();
    let mut out = Vec::new();
    let mut sink = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    let written = assemble::write(&parts, &options, threads, &mut sink, &mut |_, _| {});
    let written = written.map_err(|error| alloc::format!("{error}"))?;
    Ok((out, written.raised))
}

fn divergence(source: &[u8], artifact: Vec<u8>) -> f64 {
    let model = Arc::new(Model::open(Arc::new(artifact)).unwrap());
    model.validate().unwrap();
    let gguf = Gguf::parse(source).unwrap();
    let parts = gguf_model::read(&gguf, &Options::default()).unwrap();
    let tokens: Vec<u32> = (0..48).map(|index| index * 37 % 300).collect();
    measure(&parts, &model, &tokens, 16, (Isa::best(), 1)).unwrap().mean_kl
}

#[test]
fn a_rescaled_model_computes_what_the_model_computed() {
    for family in FAMILIES {
        let shape = shape_of(family);
        let plain = file(&shape, Encoding::F32);
        for precision in [Precision::BySource, Precision::AllFour] {
            let (artifact, raised) = import(&plain, precision, 1).unwrap();
            assert_eq!(raised, 0, "{family:?}: a model without outliers is left alone");
            let before = divergence(&plain, artifact);
            for factor in [100.0, 1_000.0] {
                let mut rescaled = plain.clone();
                stress(&mut rescaled, &shape, factor);
                let (artifact, raised) = import(&rescaled, precision, 1).unwrap();
                assert_eq!(raised, CHANNELS.len() * (3 * shape.layers + 1), "{family:?}");
                let after = divergence(&plain, artifact);
                assert!(after < 1.5 * before + 1.0e-6, "{family:?} {factor}: {before} {after}");
            }
        }
    }
}

#[test]
fn powers_of_two_are_undone_to_the_byte() {
    let shape = shape_of(Family::Llama);
    let mut plain = file(&shape, Encoding::F32);
    // All columns have one largest magnitude, so that the median says exactly how much to undo.
    let flat = |_, _, value: f32| if value < 0.0 { -0.125 } else { 0.125 };
    edit(&mut plain, "output.weight", flat);
    for layer in 0..shape.layers {
        for name in NORMS.iter().flat_map(|(_, readers)| *readers).chain(&["ffn_down.weight"]) {
            edit(&mut plain, &alloc::format!("blk.{layer}.{name}"), flat);
        }
    }
    let expected = import(&plain, Precision::BySource, 1).unwrap().0;
    for factor in [8.0, 64.0, 1_024.0] {
        let mut rescaled = plain.clone();
        stress(&mut rescaled, &shape, factor);
        let (artifact, raised) = import(&rescaled, Precision::BySource, 1).unwrap();
        assert_eq!(raised, CHANNELS.len() * (3 * shape.layers + 1));
        assert!(artifact == expected, "{factor}");
    }
}

#[test]
fn the_bytes_do_not_depend_on_threads() {
    let shape = shape_of(Family::Gemma3);
    let mut file = file(&shape, Encoding::F32);
    stress(&mut file, &shape, 300.0);
    let expected = import(&file, Precision::BySource, 1).unwrap();
    for threads in 2..5 {
        assert!(import(&file, Precision::BySource, threads).unwrap() == expected, "{threads}");
    }
}

#[test]
fn sources_in_blocks_and_tied_heads_are_left_alone() {
    let shape = Shape { width: 64, hidden: 64, ..shape_of(Family::Llama) };
    for encoding in [Encoding::Q4_0, Encoding::Q4_1, Encoding::Q5_0, Encoding::Q8_0] {
        let mut file = file(&shape, encoding);
        // Rows of `up` are no reason either, whatever their norm.
        edit(
            &mut file,
            "blk.0.ffn_norm.weight",
            |_, column, _| if column == 0 { 1.0e3 } else { 1.0 },
        );
        assert_eq!(import(&file, Precision::AllEight, 1).unwrap().1, 0, "{encoding:?}");
    }
    let mut tied = random::model(&shape, Encoding::F32, 1).unwrap().to_bytes().unwrap();
    edit(
        &mut tied,
        "output_norm.weight",
        |_, column, value| if column == 3 { 1.0e3 } else { value },
    );
    edit(
        &mut tied,
        "token_embd.weight",
        |_, column, value| if column == 3 { value / 1.0e3 } else { value },
    );
    assert_eq!(import(&tied, Precision::BySource, 1).unwrap().1, 0);
}

#[test]
fn powers_are_chosen_by_the_median() {
    let check = |largest: &[f32], expected: &[f32]| assert_eq!(choose(largest), expected);
    check(&[], &[]);
    check(&[1.0e-9], &[1.0]);
    check(&[0.0, 0.0, 0.0], &[1.0; 3]);
    // Zeros have nothing to raise, and a median of zero raises nothing.
    check(&[0.0, 1.0, 1.0], &[1.0; 3]);
    check(&[0.0, 0.0, 1.0], &[1.0; 3]);
    // The rule begins at 8 and ends at 1,024.
    check(&[1.0, 1.0, 0.126], &[1.0; 3]);
    check(&[1.0, 1.0, 0.125], &[1.0, 1.0, 8.0]);
    check(&[1.0, 1.0, 0.124, 9.0], &[1.0, 1.0, 8.0, 1.0]);
    check(&[1.0, 1.0, 0.01], &[1.0, 1.0, 64.0]);
    check(&[1.0, 1.0, 1.0e-9], &[1.0, 1.0, 1_024.0]);
    // Of two in the middle the lower one counts.
    check(&[1.0, 0.1], &[1.0, 1.0]);
    let (most, least) = (MAGNITUDE_MAX, f32::from_bits(1));
    check(&[most, most, least], &[1.0, 1.0, 1_024.0]);
    check(&[least, least, most], &[1.0; 3]);
}

#[test]
fn a_column_whose_norm_weight_is_small_stays() {
    let check = |weight: f64, expected: f32| {
        let mut powers = [1.0, 1.0, 1_024.0];
        limit(&mut powers, &[1.0, -2.0, weight]);
        assert_eq!(powers, [1.0, 1.0, expected], "{weight}");
    };
    check(1_000.0, 1_024.0);
    // The median is the weight itself, which may be divided by 8.
    check(1.5, 8.0);
    check(-1.0, 8.0);
    check(0.99, 1.0);
    check(0.0, 1.0);
    let mut powers = [8.0, 8.0];
    limit(&mut powers, &[0.0, 1.0]);
    assert_eq!(powers, [1.0, 8.0], "a weight of zero has nothing to give");
}

#[test]
fn extreme_numbers_give_a_sound_artifact() {
    let shape = shape_of(Family::Llama);
    let narrow = Shape { width: 1, hidden: 1, vocabulary: 300, ..shape_of(Family::Qwen3) };
    let (most, least) = (MAGNITUDE_MAX, f32::from_bits(1));
    let changes: [fn(usize, usize, f32) -> f32; 8] = [
        |_, _, _| 0.0,
        |_, column, value| if column % 3 == 0 { 0.0 } else { value },
        |_, column, _| if column == 5 { f32::from_bits(1) } else { MAGNITUDE_MAX },
        |_, column, _| if column == 5 { MAGNITUDE_MAX } else { f32::from_bits(1) },
        |row, column, _| if row == column { MAGNITUDE_MAX } else { 0.0 },
        |row, _, value| if row == 0 { MAGNITUDE_MAX } else { value * 1.0e-30 },
        |_, _, _| f32::from_bits(1),
        |_, column, value| value * libm::exp2f(-(column as f32)),
    ];
    for shape in [shape, narrow] {
        let names = [
            "attn_q.weight",
            "attn_norm.weight",
            "ffn_norm.weight",
            "ffn_up.weight",
            "ffn_down.weight",
        ];
        for change in changes {
            for names in names.windows(2).chain([&names[..]]) {
                let mut file = file(&shape, Encoding::F32);
                for name in names {
                    edit(&mut file, &alloc::format!("blk.0.{name}"), change);
                }
                for precision in [Precision::BySource, Precision::AllFour] {
                    let (artifact, _) = import(&file, precision, 2).unwrap();
                    Model::open(Arc::new(artifact)).unwrap().validate().unwrap();
                }
            }
        }
        let mut file = file(&shape, Encoding::F32);
        edit(&mut file, "blk.1.ffn_down.weight", |_, _, _| most * 2.0);
        assert!(import(&file, Precision::BySource, 2).unwrap_err().contains("ffn_down"));
        edit(&mut file, "blk.1.ffn_down.weight", |_, _, _| least / 0.0);
        assert!(import(&file, Precision::BySource, 2).unwrap_err().contains("not a finite"));
    }
}
