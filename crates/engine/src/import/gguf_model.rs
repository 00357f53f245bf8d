//! Reads a model out of a GGUF file: which tensor is what, and what the keys say.
//!
//! Invariants:
//! - Every tensor of the file is used, or the model is refused: an unknown tensor is a part of the
//!   computation that would be left out.
//!
//! Not here: the bytes of the file (`gguf`).

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::assemble::{Parts, Source};
use super::family::Shape;
use super::gguf::{Gguf, GgufError, Value};
use super::tensor::Tensor;
use super::{ImportError, Options, dequantise};
use crate::artifact::config::Family;
use crate::artifact::strings::{self, Strings};
use crate::artifact::{Kind, SectionId};
use crate::vocabulary::{ENDS_MAX, TokenKind, VocabularyModel, VocabularyParts};

/// Names of a layer's tensors, after `blk.N.`.
const LAYER_TENSORS: [(Kind, &str); 16] = [
    (Kind::AttentionNorm, "attn_norm.weight"),
    (Kind::Query, "attn_q.weight"),
    (Kind::Key, "attn_k.weight"),
    (Kind::Value, "attn_v.weight"),
    (Kind::QueryBias, "attn_q.bias"),
    (Kind::KeyBias, "attn_k.bias"),
    (Kind::ValueBias, "attn_v.bias"),
    (Kind::QueryNorm, "attn_q_norm.weight"),
    (Kind::KeyNorm, "attn_k_norm.weight"),
    (Kind::AttentionOutput, "attn_output.weight"),
    (Kind::AttentionPostNorm, "post_attention_norm.weight"),
    (Kind::MlpNorm, "ffn_norm.weight"),
    (Kind::Gate, "ffn_gate.weight"),
    (Kind::Up, "ffn_up.weight"),
    (Kind::Down, "ffn_down.weight"),
    (Kind::MlpPostNorm, "post_ffw_norm.weight"),
];
/// Name of the tensor that divides rotary frequencies (Llama 3).
const ROPE_FACTORS: &str = "rope_freqs.weight";
/// Texts of tokens that end a turn in the families' chat formats.
const END_TEXTS: [&str; 6] =
    ["<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>", "<|end_of_text|>", "<|endoftext|>"];

/// Reads the model of a parsed file.
///
/// # Errors
/// When the family is not supported, a key or tensor is missing, or something is left over.
pub fn read<'a>(gguf: &Gguf<'a>, options: &Options) -> Result<Parts<'a>, ImportError> {
    let name = gguf.text("general.architecture")?;
    let family = Family::from_name(name).filter(|family| !family.is_encoder());
    // An encoder is read from the files of its makers only.
    let family = family.ok_or_else(|| ImportError::Family { family: name.to_string() })?;
    refuse_unsupported(gguf, name)?;
    let shape = shape(gguf, family)?;
    let tensors = tensors(gguf, family, &shape)?;
    let vocabulary = vocabulary(gguf)?;
    Ok(Parts { shape, vocabulary, strings: texts(gguf, options), tensors })
}

fn unsupported(what: &str) -> ImportError {
    ImportError::Unsupported { what: what.to_string() }
}

fn refuse_unsupported(gguf: &Gguf<'_>, family: &str) -> Result<(), ImportError> {
    let key = |suffix: &str| format!("{family}.{suffix}");
    if gguf.unsigned(&key("expert_count")).is_ok_and(|count| count > 0) {
        return Err(unsupported("a mixture of experts"));
    }
    for (suffix, what) in [
        ("attn_logit_softcapping", "soft-capped attention scores"),
        ("final_logit_softcapping", "soft-capped logits"),
    ] {
        if gguf.float(&key(suffix)).is_ok_and(|cap| cap != 0.0) {
            return Err(unsupported(what));
        }
    }
    match gguf.text(&key("rope.scaling.type")) {
        Ok("none" | "linear") | Err(_) => Ok(()),
        Ok(other) => Err(unsupported(&format!("rotary scaling of type {other:?}"))),
    }
}

fn shape(gguf: &Gguf<'_>, family: Family) -> Result<Shape, ImportError> {
    let name = family.name();
    let key = |suffix: &str| format!("{name}.{suffix}");
    let size = |suffix: &str| -> Result<usize, GgufError> {
        // Beyond 2^32 every later range check refuses; the clamp keeps the cast exact.
        Ok(gguf.unsigned(&key(suffix))?.min(u64::from(u32::MAX)) as usize)
    };
    let heads = size("attention.head_count")?;
    let width = size("embedding_length")?;
    let head_size = match gguf.get(&key("attention.key_length")) {
        Some(_) => size("attention.key_length")?,
        None => width.checked_div(heads).unwrap_or(0),
    };
    for suffix in ["attention.value_length", "rope.dimension_count"] {
        if gguf.get(&key(suffix)).is_some() && size(suffix)? != head_size {
            return Err(unsupported(&format!("{} other than the head's size", key(suffix))));
        }
    }
    let embedding = need(gguf, "token_embd.weight")?;
    let float_or = |suffix: &str, default: f64| gguf.float(&key(suffix)).unwrap_or(default);
    let linear = gguf.text(&key("rope.scaling.type")) == Ok("linear");
    let layers = size("block_count")?;
    // Gemma 3 27B alone divides scores by the root of width / heads (its configuration's
    // query_pre_attn_scalar); it is the one with 62 layers.
    let wide = family == Family::Gemma3 && layers == 62;
    let divisor = if wide { width as f64 / heads as f64 } else { head_size as f64 };
    Ok(Shape {
        family,
        vocabulary: embedding.rows,
        layers,
        width,
        hidden: size("feed_forward_length")?,
        heads,
        kv_heads: if gguf.get(&key("attention.head_count_kv")).is_some() {
            size("attention.head_count_kv")?
        } else {
            heads
        },
        head_size,
        context_max: size("context_length")?,
        epsilon: gguf.float(&key("attention.layer_norm_rms_epsilon"))?,
        rope_base: float_or("rope.freq_base", 10_000.0),
        rope_factors: rope_factors(gguf)?,
        rope_linear: if linear { float_or("rope.scaling.factor", 1.0) } else { 1.0 },
        window: if family == Family::Gemma3 { size("attention.sliding_window")? } else { 0 },
        score_divisor: divisor,
    })
}

fn rope_factors(gguf: &Gguf<'_>) -> Result<Vec<f64>, ImportError> {
    let Some(tensor) = gguf.tensor(ROPE_FACTORS) else { return Ok(Vec::new()) };
    let mut values = vec![0f32; tensor.columns];
    dequantise::row(&tensor, 0, &mut values)?;
    Ok(values.into_iter().map(f64::from).collect())
}

fn need<'a>(gguf: &Gguf<'a>, name: &str) -> Result<Tensor<'a>, ImportError> {
    gguf.tensor(name).ok_or_else(|| ImportError::Missing { name: name.to_string() })
}

fn tensors<'a>(
    gguf: &Gguf<'a>,
    family: Family,
    shape: &Shape,
) -> Result<Vec<(SectionId, Source<'a>)>, ImportError> {
    let plain = |tensor| Source { tensor, interleaved: 0, plus: 0.0 };
    let global = |kind| SectionId { kind, layer: 0 };
    let mut found = vec![
        (global(Kind::Embedding), plain(need(gguf, "token_embd.weight")?)),
        (global(Kind::OutputNorm), plain(need(gguf, "output_norm.weight")?)),
    ];
    if let Some(head) = gguf.tensor("output.weight") {
        found.push((global(Kind::Head), plain(head)));
    }
    // ggml's Llama files keep rotary pairs side by side; the others already split them.
    let interleaved = if family == Family::Llama { shape.head_size } else { 0 };
    for layer in 0..shape.layers as u32 {
        for (kind, suffix) in LAYER_TENSORS.into_iter().filter(|(kind, _)| uses(family, *kind)) {
            let tensor = need(gguf, &format!("blk.{layer}.{suffix}"))?;
            let turned = matches!(kind, Kind::Query | Kind::Key);
            let interleaved = if turned { interleaved } else { 0 };
            found.push((SectionId { kind, layer }, Source { tensor, interleaved, plus: 0.0 }));
        }
    }
    let used: BTreeSet<&str> = found.iter().map(|(_, source)| source.tensor.name).collect();
    match gguf.tensors().find(|tensor| tensor.name != ROPE_FACTORS && !used.contains(tensor.name)) {
        Some(left) => Err(unsupported(&format!("tensor {:?}", left.name))),
        None => Ok(found),
    }
}

/// Whether a family has a layer's section of this kind.
pub(super) fn uses(family: Family, kind: Kind) -> bool {
    match kind {
        Kind::QueryBias | Kind::KeyBias | Kind::ValueBias => family.has_biases(),
        Kind::QueryNorm | Kind::KeyNorm => family.has_head_norms(),
        Kind::AttentionPostNorm | Kind::MlpPostNorm => family.has_post_norms(),
        _ => true,
    }
}

fn texts(gguf: &Gguf<'_>, options: &Options) -> Strings {
    let mut texts = Strings::new();
    let mut put = |key: &str, value: Option<&str>| {
        let value =
            value.filter(|value| !value.is_empty() && value.len() <= strings::VALUE_SIZE_MAX);
        value.map(|value| texts.insert(key.to_owned(), value.to_owned()));
    };
    let name = options.name.as_deref().or_else(|| gguf.text("general.name").ok());
    let licence = options.licence.as_deref().or_else(|| gguf.text("general.license").ok());
    put(strings::NAME, name);
    put(strings::LICENCE, licence);
    put(strings::CHAT_TEMPLATE, gguf.text("tokenizer.chat_template").ok());
    put(strings::SOURCE, Some(&options.source_cid));
    put(strings::BITS, Some(options.precision.name()));
    texts
}

fn vocabulary(gguf: &Gguf<'_>) -> Result<VocabularyParts, ImportError> {
    let key = |suffix: &str| format!("tokenizer.ggml.{suffix}");
    let model = match gguf.text(&key("model"))? {
        "gpt2" => VocabularyModel::Bpe,
        "llama" => VocabularyModel::SentencePiece,
        other => return Err(unsupported(&format!("a vocabulary of type {other:?}"))),
    };
    let tokens = tokens(gguf, &key("tokens"))?;
    let kinds = kinds(gguf, &key("token_type"), tokens.len())?;
    let bpe = model == VocabularyModel::Bpe;
    let pre = gguf.text(&key("pre")).unwrap_or_default();
    let flag = |suffix: &str, default: bool| match gguf.get(&key(suffix)) {
        Some(Value::Bool(flag)) => flag,
        _ => default,
    };
    let id = |suffix: &str| {
        let id = gguf.unsigned(&key(suffix)).ok()?;
        (id < tokens.len() as u64).then_some(id as u32)
    };
    let begin = id("bos_token_id");
    // ggml's own defaults where the key is absent.
    let adds_begin = flag("add_bos_token", !bpe || pre == "llama-bpe") && begin.is_some();
    Ok(VocabularyParts {
        model,
        pre: pre.to_string(),
        score_bits: if bpe { Vec::new() } else { scores(gguf, &key("scores"))? },
        merges: if bpe { merges(gguf, &key("merges"), &tokens)? } else { Vec::new() },
        begin,
        unknown: id("unknown_token_id"),
        ends: ends(
            &tokens,
            &kinds,
            ["eos_token_id", "eot_token_id", "eom_token_id"].into_iter().filter_map(id),
        ),
        adds_begin,
        adds_space_prefix: flag("add_space_prefix", !bpe),
        tokens,
        kinds,
    })
}

fn tokens(gguf: &Gguf<'_>, key: &str) -> Result<Vec<Vec<u8>>, ImportError> {
    let texts = gguf.array(key)?.iter().map(|value| match value {
        Value::Text(text) => Some(text.to_vec()),
        _ => None,
    });
    texts.collect::<Option<Vec<_>>>().ok_or_else(|| wrong(key, "is not a list of texts"))
}

fn wrong(key: &str, what: &str) -> ImportError {
    ImportError::Gguf(GgufError::Key { key: key.to_string(), what: what.to_string() })
}

fn kinds(gguf: &Gguf<'_>, key: &str, count: usize) -> Result<Vec<TokenKind>, ImportError> {
    if gguf.get(key).is_none() {
        return Ok(vec![TokenKind::Normal; count]);
    }
    let number = |value| match value {
        Value::Unsigned(number) => u32::try_from(number).ok(),
        Value::Signed(number) => u32::try_from(number).ok(),
        _ => None,
    };
    let kinds = gguf.array(key)?.iter().map(|value| number(value).and_then(TokenKind::from_number));
    kinds.collect::<Option<Vec<_>>>().ok_or_else(|| wrong(key, "holds an unknown kind of token"))
}

fn scores(gguf: &Gguf<'_>, key: &str) -> Result<Vec<u32>, ImportError> {
    let scores = gguf.array(key)?.iter().map(|value| match value {
        Value::Float(score) if score.is_finite() => Some((score as f32).to_bits()),
        _ => None,
    });
    scores.collect::<Option<Vec<_>>>().ok_or_else(|| wrong(key, "is not a list of finite numbers"))
}

/// Merges as pairs of ids. A merge is written as two texts around one space.
fn merges(gguf: &Gguf<'_>, key: &str, tokens: &[Vec<u8>]) -> Result<Vec<[u32; 2]>, ImportError> {
    let ids: BTreeMap<&[u8], u32> =
        tokens.iter().enumerate().map(|(id, text)| (text.as_slice(), id as u32)).collect();
    let pair = |text: &[u8]| {
        // The first byte may itself be part of a token, never the separator.
        let at = text.iter().skip(1).position(|&byte| byte == b' ')? + 1;
        Some([*ids.get(&text[..at])?, *ids.get(&text[at + 1..])?])
    };
    let merges = gguf.array(key)?.iter().map(|value| match value {
        Value::Text(text) => pair(text),
        _ => None,
    });
    merges
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| wrong(key, "holds a merge that is not two tokens of the vocabulary"))
}

/// Tokens that end a generation: those the file names, and those with a chat format's ending text.
pub(super) fn ends(
    tokens: &[Vec<u8>],
    kinds: &[TokenKind],
    named: impl IntoIterator<Item = u32>,
) -> Vec<u32> {
    let is_end = |text: &[u8]| END_TEXTS.iter().any(|end| end.as_bytes() == text);
    let special = |kind: TokenKind| matches!(kind, TokenKind::Control | TokenKind::UserDefined);
    let by_text = tokens
        .iter()
        .zip(kinds)
        .enumerate()
        .filter_map(|(id, (text, &kind))| (special(kind) && is_end(text)).then_some(id as u32));
    let ends: BTreeSet<u32> = named.into_iter().chain(by_text).collect();
    ends.into_iter().take(ENDS_MAX).collect()
}

#[cfg(test)]
mod tests;
