//! Reads an encoder of BERT's kind, as Hugging Face's libraries store it.
//!
//! Invariants:
//! - Every tensor is used, or the model is refused. Left out are the numbers of positions, and the
//!   pooler, which models that average rows do not use.
//! - Settings that change the computation and are not known here are refused by name.
//!
//! Not here: the weights' files (`safetensors`), the files of models that generate (`hugging_face`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde_json::Value;

use super::assemble::{Parts, Source};
use super::family::Shape;
use super::hugging_face::{Files, Found, Texts, all_tensors, json, need, unsupported, wrong};
use super::tensor::Tensor;
use super::{ImportError, Options};
use crate::artifact::config::{Family, LAYERS_MAX};
use crate::artifact::{Kind, SectionId};
use crate::vocabulary::{TOKENS_MAX, TokenKind, VocabularyModel, VocabularyParts};

/// A layer's tensors, after `encoder.layer.N.`.
const LAYER_TENSORS: [(Kind, &str); 16] = [
    (Kind::Query, "attention.self.query.weight"),
    (Kind::QueryBias, "attention.self.query.bias"),
    (Kind::Key, "attention.self.key.weight"),
    (Kind::KeyBias, "attention.self.key.bias"),
    (Kind::Value, "attention.self.value.weight"),
    (Kind::ValueBias, "attention.self.value.bias"),
    (Kind::AttentionOutput, "attention.output.dense.weight"),
    (Kind::AttentionOutputBias, "attention.output.dense.bias"),
    (Kind::AttentionNorm, "attention.output.LayerNorm.weight"),
    (Kind::AttentionNormBias, "attention.output.LayerNorm.bias"),
    (Kind::Up, "intermediate.dense.weight"),
    (Kind::UpBias, "intermediate.dense.bias"),
    (Kind::Down, "output.dense.weight"),
    (Kind::DownBias, "output.dense.bias"),
    (Kind::MlpNorm, "output.LayerNorm.weight"),
    (Kind::MlpNormBias, "output.LayerNorm.bias"),
];
/// The model's own tensors, after `embeddings.`.
const TENSORS: [(Kind, &str); 5] = [
    (Kind::Embedding, "word_embeddings.weight"),
    (Kind::Positions, "position_embeddings.weight"),
    (Kind::TokenType, "token_type_embeddings.weight"),
    (Kind::EmbeddingNorm, "LayerNorm.weight"),
    (Kind::EmbeddingNormBias, "LayerNorm.bias"),
];
/// Settings that must have this value where they are there.
const SETTINGS: [(&str, &str); 4] = [
    ("hidden_act", "gelu"),
    ("position_embedding_type", "absolute"),
    ("is_decoder", "false"),
    ("add_cross_attention", "false"),
];
/// Ways to pool rows that are not the mean, as the files name them.
const OTHER_POOLING: [&str; 4] = [
    "pooling_mode_cls_token",
    "pooling_mode_max_tokens",
    "pooling_mode_mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens",
];
/// Characters of a word, at most, as in every published file; a longer word is unknown.
const WORD_LENGTH_MAX: u64 = 100;

/// Reads a model whose `config.json` is `config`.
pub(super) fn read<'a>(
    files: &Files<'a>,
    config: &Value,
    options: &Options,
) -> Result<Parts<'a>, ImportError> {
    refuse_unsupported(config)?;
    refuse_pooling(files.pooling)?;
    let shape = shape(config)?;
    let found = all_tensors(files.weights)?;
    let tensors = tensors(&found, &shape)?;
    let vocabulary = vocabulary(files.tokenizer, &shape)?;
    Ok(Parts { shape, vocabulary, strings: Texts::read(files)?.strings(options), tensors })
}

fn refuse_unsupported(config: &Value) -> Result<(), ImportError> {
    for (key, known) in SETTINGS {
        match config.get(key) {
            None | Some(Value::Null) => {}
            Some(value) => {
                let said = value.as_str().map_or_else(|| value.to_string(), Into::into);
                if said != known {
                    return Err(unsupported(&format!("the setting {key} {value}")));
                }
            }
        }
    }
    Ok(())
}

/// Only the mean of all rows is computed; a guess would give other embeddings than the model's.
fn refuse_pooling(file: Option<&[u8]>) -> Result<(), ImportError> {
    let missing =
        || wrong("1_Pooling/config.json", "is missing, so how rows are pooled is not known");
    let pooling = json("1_Pooling/config.json", file.ok_or_else(missing)?)?;
    let flag = |key: &str| pooling.get(key).and_then(Value::as_bool) == Some(true);
    match OTHER_POOLING.into_iter().find(|key| flag(key)) {
        Some(other) => Err(unsupported(other)),
        None if flag("pooling_mode_mean_tokens") => Ok(()),
        None => Err(unsupported("pooling other than by the mean of all tokens")),
    }
}

fn shape(config: &Value) -> Result<Shape, ImportError> {
    let size = |key: &str| match config.get(key).and_then(Value::as_u64) {
        // Beyond 2^32 every later range check refuses; the clamp keeps the cast exact.
        Some(size) => Ok(size.min(u64::from(u32::MAX)) as usize),
        None => Err(wrong("config.json", &format!("{key} is missing or not a whole number"))),
    };
    let (width, heads) = (size("hidden_size")?, size("num_attention_heads")?);
    let head_size = match width.checked_div(heads) {
        Some(head_size) if head_size * heads == width => head_size,
        _ => return Err(wrong("config.json", "num_attention_heads does not divide hidden_size")),
    };
    let epsilon = config.get("layer_norm_eps").and_then(Value::as_f64);
    Ok(Shape {
        family: Family::Bert,
        vocabulary: size("vocab_size")?,
        layers: size("num_hidden_layers")?,
        width,
        hidden: size("intermediate_size")?,
        heads,
        kv_heads: heads,
        head_size,
        context_max: size("max_position_embeddings")?,
        epsilon: epsilon.ok_or_else(|| wrong("config.json", "layer_norm_eps is missing"))?,
        rope_base: 1.0,
        rope_factors: Vec::new(),
        rope_linear: 1.0,
        window: 0,
        score_divisor: head_size as f64,
    })
}

fn tensors<'a>(
    found: &Found<'a>,
    shape: &Shape,
) -> Result<Vec<(SectionId, Source<'a>)>, ImportError> {
    let prefixes = ["", "bert."];
    let has = |prefix: &&str| {
        found.contains_key(format!("{prefix}embeddings.word_embeddings.weight").as_str())
    };
    let prefix = prefixes.into_iter().find(has).unwrap_or_default();
    let mut named: Vec<(SectionId, String)> = TENSORS
        .iter()
        .map(|(kind, name)| {
            (SectionId { kind: *kind, layer: 0 }, format!("{prefix}embeddings.{name}"))
        })
        .collect();
    // A file with more layers than the format allows is refused when its shape is written.
    for layer in 0..shape.layers.min(LAYERS_MAX as usize) as u32 {
        named.extend(LAYER_TENSORS.iter().map(|(kind, name)| {
            (SectionId { kind: *kind, layer }, format!("{prefix}encoder.layer.{layer}.{name}"))
        }));
    }
    let source = |(id, name): &(SectionId, String)| {
        let tensor = need(found, name)?;
        let tensor = if id.kind == Kind::TokenType { first_row(tensor) } else { tensor };
        Ok((*id, Source { tensor, interleaved: 0, plus: 0.0 }))
    };
    let sources = named.iter().map(source).collect::<Result<_, ImportError>>()?;
    let used: BTreeSet<&str> = named.iter().map(|(_, name)| name.as_str()).collect();
    let pooler = format!("{prefix}pooler.dense.");
    let is_left = |name: &&&str| !used.contains(**name) && !name.starts_with(&pooler);
    match found.keys().find(is_left) {
        Some(left) => Err(unsupported(&format!("tensor {left:?}"))),
        None => Ok(sources),
    }
}

/// The row of a text that stands alone, the first of the types.
fn first_row(tensor: Tensor<'_>) -> Tensor<'_> {
    let size = tensor.data.len() / tensor.rows.max(1);
    Tensor { rows: 1, data: &tensor.data[..size], ..tensor }
}

/// Reads `tokenizer.json`: WordPiece, cut and normalised as BERT's own.
fn vocabulary(bytes: &[u8], shape: &Shape) -> Result<VocabularyParts, ImportError> {
    let file = json("tokenizer.json", bytes)?;
    let wrong = |what: &str| wrong("tokenizer.json", what);
    let pre = normaliser(&file)?;
    let model = file.get("model").ok_or_else(|| wrong("has no model"))?;
    let text = |key: &str| model.get(key).and_then(Value::as_str);
    if text("type") != Some("WordPiece") || text("continuing_subword_prefix") != Some("##") {
        return Err(unsupported("a vocabulary of another type than WordPiece with ##"));
    }
    let longest = model.get("max_input_chars_per_word").and_then(Value::as_u64);
    if longest != Some(WORD_LENGTH_MAX) {
        return Err(unsupported("words of other than 100 characters"));
    }
    let entries = model.get("vocab").and_then(Value::as_object);
    let entries = entries.ok_or_else(|| wrong("has no vocab"))?;
    let count = entries.len().min(TOKENS_MAX).min(shape.vocabulary);
    let mut tokens = vec![None; count];
    for (token, id) in entries {
        let slot = id.as_u64().and_then(|id| tokens.get_mut(usize::try_from(id).ok()?));
        *slot.ok_or_else(|| wrong("vocab's numbers leave holes or the embedding"))? =
            Some(token.as_bytes().to_vec());
    }
    let tokens: Option<Vec<Vec<u8>>> = tokens.into_iter().collect();
    let tokens = tokens.ok_or_else(|| wrong("vocab's numbers leave holes"))?;
    let ids: BTreeMap<&str, u32> = entries
        .iter()
        .filter_map(|(token, id)| Some((token.as_str(), u32::try_from(id.as_u64()?).ok()?)))
        .collect();
    let special =
        |name: &str| ids.get(name).copied().ok_or_else(|| wrong(&format!("has no token {name}")));
    let (begin, end) = (special("[CLS]")?, special("[SEP]")?);
    let unknown = special(text("unk_token").unwrap_or("[UNK]"))?;
    let mut kinds = vec![TokenKind::Normal; tokens.len()];
    let added = file.get("added_tokens").and_then(Value::as_array);
    for token in added.into_iter().flatten() {
        let id = token.get("id").and_then(Value::as_u64).and_then(|id| usize::try_from(id).ok());
        let slot = id.and_then(|id| kinds.get_mut(id));
        *slot.ok_or_else(|| wrong("an added token is not of the vocab"))? = TokenKind::Control;
    }
    for id in [begin, end, unknown] {
        kinds[id as usize] = TokenKind::Control;
    }
    kinds[unknown as usize] = TokenKind::Unknown;
    Ok(VocabularyParts {
        model: VocabularyModel::WordPiece,
        pre: pre.to_string(),
        tokens,
        kinds,
        score_bits: Vec::new(),
        merges: Vec::new(),
        begin: Some(begin),
        unknown: Some(unknown),
        ends: vec![end],
        adds_begin: true,
        adds_space_prefix: false,
    })
}

/// The name of the rule that normalises text: with or without lower case.
fn normaliser(file: &Value) -> Result<&'static str, ImportError> {
    let part = |key: &str| file.get(key).unwrap_or(&Value::Null);
    let kind = |value: &Value| value.get("type").and_then(Value::as_str).map(ToString::to_string);
    let normaliser = part("normalizer");
    let flag = |key: &str| normaliser.get(key).and_then(Value::as_bool);
    let known = kind(normaliser).as_deref() == Some("BertNormalizer")
        && kind(part("pre_tokenizer")).as_deref() == Some("BertPreTokenizer")
        && flag("clean_text") == Some(true)
        && flag("handle_chinese_chars") == Some(true);
    // Without a word on accents they are stripped where letters become lower case.
    match (known, flag("lowercase"), flag("strip_accents")) {
        (true, Some(true), None | Some(true)) => Ok("bert-uncased"),
        (true, Some(false), None | Some(false)) => Ok("bert-cased"),
        _ => Err(unsupported("text normalised in another way than BERT's")),
    }
}
