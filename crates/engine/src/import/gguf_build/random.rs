//! Random models of any shape, for tests and for measuring machines without a download.
//!
//! Rows are drawn while they are written, each from its own seed, so that a model of any size needs
//! memory for one row. Weights are about as large as those of a trained model.
//!
//! Invariants:
//! - The same shape, encoding and seed give the same bytes on every machine.
//!
//! Not here: models that say anything.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Data, Field, GgufBuilder};
use crate::artifact::config::Family;
use crate::import::family::Shape;
use crate::import::tensor::Encoding;

/// Tokens before those of single bytes: unknown, begin, end.
const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];

/// A model's file. Matrices have `encoding`, norms and biases F32.
///
/// # Errors
/// When a matrix's columns are no whole number of the encoding's blocks.
pub fn model(shape: &Shape, encoding: Encoding, seed: u64) -> Result<GgufBuilder<'static>, String> {
    let mut file = GgufBuilder::new();
    put_keys(&mut file, shape);
    put_vocabulary(&mut file, shape);
    let (query, kv) = (shape.heads * shape.head_size, shape.kv_heads * shape.head_size);
    let mut draws = Draws { file: &mut file, encoding, seed };
    draws.matrix("token_embd.weight", shape.vocabulary, shape.width)?;
    draws.vector("output_norm.weight", shape.width)?;
    for layer in 0..shape.layers {
        let name = |suffix: &str| format!("blk.{layer}.{suffix}");
        draws.vector(&name("attn_norm.weight"), shape.width)?;
        draws.vector(&name("ffn_norm.weight"), shape.width)?;
        draws.matrix(&name("attn_q.weight"), query, shape.width)?;
        draws.matrix(&name("attn_k.weight"), kv, shape.width)?;
        draws.matrix(&name("attn_v.weight"), kv, shape.width)?;
        draws.matrix(&name("attn_output.weight"), shape.width, query)?;
        draws.matrix(&name("ffn_gate.weight"), shape.hidden, shape.width)?;
        draws.matrix(&name("ffn_up.weight"), shape.hidden, shape.width)?;
        draws.matrix(&name("ffn_down.weight"), shape.width, shape.hidden)?;
        if shape.family.has_biases() {
            draws.vector(&name("attn_q.bias"), query)?;
            draws.vector(&name("attn_k.bias"), kv)?;
            draws.vector(&name("attn_v.bias"), kv)?;
        }
        if shape.family.has_head_norms() {
            draws.vector(&name("attn_q_norm.weight"), shape.head_size)?;
            draws.vector(&name("attn_k_norm.weight"), shape.head_size)?;
        }
        if shape.family.has_post_norms() {
            draws.vector(&name("post_attention_norm.weight"), shape.width)?;
            draws.vector(&name("post_ffw_norm.weight"), shape.width)?;
        }
    }
    Ok(file)
}

fn put_keys(file: &mut GgufBuilder<'_>, shape: &Shape) {
    let family = shape.family.name();
    file.key("general.architecture", Field::Text(family));
    file.key("general.name", Field::Text("random"));
    let mut put = |suffix: &str, field| {
        file.key(&format!("{family}.{suffix}"), field);
    };
    for (suffix, size) in [
        ("block_count", shape.layers),
        ("embedding_length", shape.width),
        ("feed_forward_length", shape.hidden),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("attention.key_length", shape.head_size),
        ("attention.value_length", shape.head_size),
        ("context_length", shape.context_max),
    ] {
        put(suffix, Field::U32(size as u32));
    }
    put("attention.layer_norm_rms_epsilon", Field::F32(shape.epsilon as f32));
    put("rope.freq_base", Field::F32(shape.rope_base as f32));
    if shape.rope_linear != 1.0 {
        put("rope.scaling.type", Field::Text("linear"));
        put("rope.scaling.factor", Field::F32(shape.rope_linear as f32));
    }
    if shape.window != 0 {
        put("attention.sliding_window", Field::U32(shape.window as u32));
    }
}

/// Tokens of every byte, then made-up words, so that any text can be a prompt.
fn put_vocabulary(file: &mut GgufBuilder<'_>, shape: &Shape) {
    let is_bpe = shape.family != Family::Gemma3;
    let byte = |byte: u8| match is_bpe {
        true => String::from(alphabet(byte)),
        false => format!("<0x{byte:02X}>"),
    };
    let specials = SPECIAL.into_iter().map(String::from);
    let words = (0..).map(|index: u32| format!("word{index}"));
    let all = specials.chain((0..=255).map(byte)).chain(words);
    let tokens: Vec<Vec<u8>> = all.take(shape.vocabulary).map(String::into_bytes).collect();
    let kind = |id: usize| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 if !is_bpe => 6,
        _ => 1,
    };
    let kinds: Vec<i32> = (0..tokens.len()).map(kind).collect();
    let mut put = |suffix: &str, field| {
        file.key(&format!("tokenizer.ggml.{suffix}"), field);
    };
    put("model", Field::Text(if is_bpe { "gpt2" } else { "llama" }));
    put("tokens", Field::Texts(&tokens));
    put("token_type", Field::I32s(&kinds));
    put("unknown_token_id", Field::U32(0));
    put("bos_token_id", Field::U32(1));
    put("eos_token_id", Field::U32(2));
    if is_bpe {
        let pre = if shape.family == Family::Llama { "llama-bpe" } else { "qwen2" };
        put("pre", Field::Text(pre));
        put("merges", Field::Texts(&[]));
    } else {
        let scores: Vec<f32> = (0..tokens.len()).map(|id| -(id as f32)).collect();
        put("scores", Field::F32s(&scores));
    }
}

/// GPT-2's printable character for a byte.
fn alphabet(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !is_printable(other)).count() as u32;
    char::from_u32(256 + before).unwrap_or(' ')
}

struct Draws<'f> {
    file: &'f mut GgufBuilder<'static>,
    encoding: Encoding,
    seed: u64,
}

impl Draws<'_> {
    /// A generator's seed for the next tensor.
    fn next_seed(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(1);
        mix(self.seed)
    }

    fn matrix(&mut self, name: &str, rows: usize, columns: usize) -> Result<(), String> {
        let (seed, encoding) = (self.next_seed(), self.encoding);
        let fill = move |row: usize, out: &mut [u8]| fill_row(out, (encoding, columns), seed, row);
        let dimensions = [columns as u64, rows as u64];
        self.file.tensor(name, &dimensions, encoding, Data::Rows(Box::new(fill))).map(|_| ())
    }

    /// Numbers from 0.5 to 1.5: norms, and biases that are not zero.
    fn vector(&mut self, name: &str, length: usize) -> Result<(), String> {
        let mut random = Random(self.next_seed());
        let number = |_| 0.5 + (random.next() >> 40) as f32 / 16_777_216.0;
        let bytes = (0..length).map(number).flat_map(f32::to_le_bytes).collect();
        let dimensions = [length as u64];
        self.file.tensor(name, &dimensions, Encoding::F32, Data::Bytes(bytes)).map(|_| ())
    }
}

/// The bytes of a matrix alone; none where its columns are no whole number of blocks.
#[must_use]
pub fn matrix_bytes(encoding: Encoding, rows: usize, columns: usize, seed: u64) -> Vec<u8> {
    let size = encoding.row_size(columns).unwrap_or(0);
    let mut bytes = vec![0; rows * size];
    let each = bytes.chunks_mut(size.max(1)).enumerate();
    each.for_each(|(row, out)| fill_row(out, (encoding, columns), seed, row));
    bytes
}

fn fill_row(out: &mut [u8], (encoding, columns): (Encoding, usize), seed: u64, row: usize) {
    let mut random = Random(mix(seed ^ row as u64));
    let exponent = exponent(encoding, columns);
    for block in out.chunks_mut(encoding.block_size()) {
        fill_block(block, encoding, exponent, &mut random);
    }
}

/// The exponent, biased as in binary16, at which weights are about `1 / sqrt(columns)`.
fn exponent(encoding: Encoding, columns: usize) -> u16 {
    let half = (columns.max(1).ilog2() / 2) as i32;
    // How many times larger than their scale weights usually are, as a power of two.
    let spread = match encoding {
        Encoding::F32 | Encoding::F16 | Encoding::Bf16 => 0,
        Encoding::Q4_0 | Encoding::Q4_1 => 2,
        Encoding::Q5_0 | Encoding::Q5_1 => 3,
        Encoding::Q8_0 => 6,
        Encoding::Q4K => 8,
        Encoding::Q5K | Encoding::Q6K => 9,
    };
    (15 - half - spread).max(1) as u16
}

/// Random bytes with sound scales in their places.
fn fill_block(block: &mut [u8], encoding: Encoding, exponent: u16, random: &mut Random) {
    block.iter_mut().for_each(|byte| *byte = random.next() as u8);
    let mantissa = (random.next() & 0x3ff) as u16;
    let half = |exponent: u16| (exponent << 10 | mantissa).to_le_bytes();
    let sign = (random.next() as u8) & 0x80;
    // A minimum of half the range of quants, negative where the format adds it.
    let minimum =
        |more: u16, sign: u16| (sign << 15 | (exponent + more) << 10 | mantissa).to_le_bytes();
    match encoding {
        Encoding::F32 => {
            let value = (u32::from(exponent) + 112) << 23 | u32::from(mantissa) << 13;
            block.copy_from_slice(&value.to_le_bytes());
            block[3] |= sign;
        }
        Encoding::Bf16 => {
            let value = (exponent + 112) << 7 | mantissa >> 3;
            block.copy_from_slice(&value.to_le_bytes());
            block[1] |= sign;
        }
        Encoding::F16 => {
            block.copy_from_slice(&half(exponent));
            block[1] |= sign;
        }
        // ggml gives these the sign of the largest weight, so half of the scales are negative.
        Encoding::Q4_0 | Encoding::Q5_0 => {
            block[..2].copy_from_slice(&half(exponent));
            block[1] |= sign;
        }
        Encoding::Q8_0 => block[..2].copy_from_slice(&half(exponent)),
        Encoding::Q4_1 | Encoding::Q5_1 => {
            let more = if encoding == Encoding::Q4_1 { 3 } else { 4 };
            block[..2].copy_from_slice(&half(exponent));
            block[2..4].copy_from_slice(&minimum(more, 1));
        }
        Encoding::Q4K | Encoding::Q5K => {
            let more = if encoding == Encoding::Q4K { 3 } else { 4 };
            block[..2].copy_from_slice(&half(exponent));
            block[2..4].copy_from_slice(&minimum(more, 0));
        }
        Encoding::Q6K => {
            // Scales of -32 to 31, so that the weights' spread is that of the others.
            block[192..208].iter_mut().for_each(|scale| *scale = (*scale as i8 / 4) as u8);
            block[208..].copy_from_slice(&half(exponent));
            block[209] |= sign;
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }
}

fn mix(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
