//! Reads a model as Hugging Face's libraries store it: `config.json`, `tokenizer.json` and
//! safetensors files.
//!
//! Invariants:
//! - Every tensor is used, or the model is refused. Left out are only buffers that follow from the
//!   configuration, a head that is tied to the embedding, and the parts of Gemma 3 that see images.
//! - Settings that change the computation and are not known here are refused where their names are
//!   known; a newer library may add others.
//!
//! Not here: the weights' files (`safetensors`), the vocabulary (`tokenizer`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde_json::Value;

use super::assemble::{Parts, Source};
use super::bert;
use super::family::Shape;
use super::gguf_model::uses;
use super::safetensors::Safetensors;
use super::tensor::Tensor;
use super::{ImportError, Options};
use crate::artifact::config::{Family, LAYERS_MAX};
use crate::artifact::strings::{self, Strings};
use crate::artifact::{Kind, SectionId};

mod config;
mod tokenizer;

use config::Config;

/// A model's files.
#[derive(Clone, Copy, Debug)]
pub struct Files<'a> {
    /// `config.json`.
    pub config: &'a [u8],
    /// `tokenizer.json`.
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`, which has the chat template.
    pub tokenizer_config: Option<&'a [u8]>,
    /// `generation_config.json`, which names tokens that end a generation.
    pub generation_config: Option<&'a [u8]>,
    /// `chat_template.jinja`, where the template is a file of its own.
    pub chat_template: Option<&'a [u8]>,
    /// `1_Pooling/config.json`, which says how an encoder's rows become one.
    pub pooling: Option<&'a [u8]>,
    /// The files with weights.
    pub weights: &'a [Safetensors<'a>],
}

/// A layer's tensors, after `layers.N.`.
const LAYER_TENSORS: [(Kind, &str); 13] = [
    (Kind::AttentionNorm, "input_layernorm.weight"),
    (Kind::Query, "self_attn.q_proj.weight"),
    (Kind::Key, "self_attn.k_proj.weight"),
    (Kind::Value, "self_attn.v_proj.weight"),
    (Kind::QueryBias, "self_attn.q_proj.bias"),
    (Kind::KeyBias, "self_attn.k_proj.bias"),
    (Kind::ValueBias, "self_attn.v_proj.bias"),
    (Kind::QueryNorm, "self_attn.q_norm.weight"),
    (Kind::KeyNorm, "self_attn.k_norm.weight"),
    (Kind::AttentionOutput, "self_attn.o_proj.weight"),
    (Kind::Gate, "mlp.gate_proj.weight"),
    (Kind::Up, "mlp.up_proj.weight"),
    (Kind::Down, "mlp.down_proj.weight"),
];
/// Norms of layers with one norm before each block.
const NORMS: [(Kind, &str); 1] = [(Kind::MlpNorm, "post_attention_layernorm.weight")];
/// Norms of layers with norms before and after each block.
const POST_NORMS: [(Kind, &str); 3] = [
    (Kind::AttentionPostNorm, "post_attention_layernorm.weight"),
    (Kind::MlpNorm, "pre_feedforward_layernorm.weight"),
    (Kind::MlpPostNorm, "post_feedforward_layernorm.weight"),
];
/// Where the language model's tensors are, by the version that stored them.
const PREFIXES: [(&str, &str); 3] = [
    ("model.", "lm_head.weight"),
    ("language_model.model.", "language_model.lm_head.weight"),
    ("model.language_model.", "lm_head.weight"),
];
/// Parts of Gemma 3 that see images.
const IMAGE_PARTS: [&str; 4] = [
    "vision_tower.",
    "multi_modal_projector.",
    "model.vision_tower.",
    "model.multi_modal_projector.",
];

/// Reads a model.
///
/// # Errors
/// When a file is not sound JSON, the family or a setting is not supported, or a tensor is missing
/// or left over.
pub fn read<'a>(files: &Files<'a>, options: &Options) -> Result<Parts<'a>, ImportError> {
    let outer = json("config.json", files.config)?;
    let family = family(&outer)?;
    if family.is_encoder() {
        return bert::read(files, &outer, options);
    }
    let config = Config { family, value: outer.get("text_config").unwrap_or(&outer) };
    config.refuse_unsupported()?;
    let found = all_tensors(files.weights)?;
    let shape = config.shape(&found)?;
    let tensors = config.tensors(&found, &shape, &outer)?;
    let texts = Texts::read(files)?;
    let vocabulary = tokenizer::read(files.tokenizer, &texts, &[&outer, config.value], &shape)?;
    Ok(Parts { shape, vocabulary, strings: texts.strings(options), tensors })
}

pub(super) fn json(file: &'static str, bytes: &[u8]) -> Result<Value, ImportError> {
    super::json::parse(bytes).map_err(|what| wrong(file, &what))
}

pub(super) fn wrong(file: &'static str, what: &str) -> ImportError {
    ImportError::HuggingFace { file, what: what.to_string() }
}

pub(super) fn unsupported(what: &str) -> ImportError {
    ImportError::Unsupported { what: what.to_string() }
}

fn family(config: &Value) -> Result<Family, ImportError> {
    let model = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let (family, architectures) = match model {
        "llama" => (Family::Llama, ["LlamaForCausalLM", ""]),
        "mistral" => (Family::Llama, ["MistralForCausalLM", ""]),
        "qwen2" => (Family::Qwen2, ["Qwen2ForCausalLM", ""]),
        "qwen3" => (Family::Qwen3, ["Qwen3ForCausalLM", ""]),
        "bert" => (Family::Bert, ["BertModel", ""]),
        "gemma3" | "gemma3_text" => {
            (Family::Gemma3, ["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"])
        }
        other => return Err(ImportError::Family { family: other.to_string() }),
    };
    let named = config.get("architectures").and_then(|names| names.get(0)).and_then(Value::as_str);
    match named {
        Some(name) if !architectures.contains(&name) => {
            Err(ImportError::Family { family: name.to_string() })
        }
        _ => Ok(family),
    }
}

/// The texts beside the weights.
pub(super) struct Texts {
    tokenizer_config: Value,
    generation_config: Value,
    chat_template: Option<String>,
}

impl Texts {
    pub(super) fn read(files: &Files<'_>) -> Result<Texts, ImportError> {
        let optional = |file, bytes: Option<&[u8]>| match bytes {
            Some(bytes) => json(file, bytes),
            None => Ok(Value::Null),
        };
        let chat_template = files.chat_template.map(core::str::from_utf8).transpose();
        let chat_template =
            chat_template.map_err(|_| wrong("chat_template.jinja", "is not UTF-8"))?;
        Ok(Texts {
            tokenizer_config: optional("tokenizer_config.json", files.tokenizer_config)?,
            generation_config: optional("generation_config.json", files.generation_config)?,
            chat_template: chat_template.map(ToString::to_string),
        })
    }

    /// The chat template: a file of its own, a text, or the one named `default` of several.
    fn template(&self) -> Option<&str> {
        if let Some(template) = &self.chat_template {
            return Some(template);
        }
        match self.tokenizer_config.get("chat_template")? {
            Value::String(template) => Some(template),
            Value::Array(named) => {
                let is_default =
                    |entry: &&Value| entry.get("name").and_then(Value::as_str) == Some("default");
                named.iter().find(is_default)?.get("template")?.as_str()
            }
            _ => None,
        }
    }

    pub(super) fn strings(&self, options: &Options) -> Strings {
        let texts = [
            (strings::NAME, options.name.as_deref()),
            (strings::LICENCE, options.licence.as_deref()),
            (strings::CHAT_TEMPLATE, self.template()),
            (strings::SOURCE, Some(options.source_cid.as_str())),
            (strings::BITS, Some(options.precision.name())),
        ];
        let kept = |text: &&str| !text.is_empty() && text.len() <= strings::VALUE_SIZE_MAX;
        let pair = |(key, text): (&str, Option<&str>)| {
            text.filter(kept).map(|text| (key.to_string(), text.to_string()))
        };
        texts.into_iter().filter_map(pair).collect()
    }
}

pub(super) type Found<'a> = BTreeMap<&'a str, Tensor<'a>>;

pub(super) fn all_tensors<'a>(files: &'a [Safetensors<'a>]) -> Result<Found<'a>, ImportError> {
    let is_weight = |name: &&str| !name.ends_with("embeddings.position_ids");
    if let Some(name) = files.iter().flat_map(Safetensors::whole_numbers).find(is_weight) {
        return Err(unsupported(&format!("tensor {name:?} of whole numbers")));
    }
    let mut found = BTreeMap::new();
    for tensor in files.iter().flat_map(Safetensors::tensors) {
        if found.insert(tensor.name, tensor).is_some() {
            return Err(unsupported(&format!("tensor {:?} of two files", tensor.name)));
        }
    }
    Ok(found)
}

impl Config<'_> {
    fn tensors<'a>(
        &self,
        found: &Found<'a>,
        shape: &Shape,
        outer: &Value,
    ) -> Result<Vec<(SectionId, Source<'a>)>, ImportError> {
        let (prefix, head) = prefix(found)?;
        let mut named = vec![
            (SectionId { kind: Kind::Embedding, layer: 0 }, format!("{prefix}embed_tokens.weight")),
            (SectionId { kind: Kind::OutputNorm, layer: 0 }, format!("{prefix}norm.weight")),
        ];
        if !self.is_tied(outer) {
            named.push((SectionId { kind: Kind::Head, layer: 0 }, head.to_string()));
        }
        let norms: &[(Kind, &str)] =
            if self.family.has_post_norms() { &POST_NORMS } else { &NORMS };
        // A file with more layers than the format allows is refused when its shape is written.
        let layers = shape.layers.min(LAYERS_MAX as usize) as u32;
        for layer in 0..layers {
            let kinds = LAYER_TENSORS.iter().filter(|(kind, _)| uses(self.family, *kind));
            let id = |kind| SectionId { kind, layer };
            let name = |suffix: &str| format!("{prefix}layers.{layer}.{suffix}");
            named.extend(kinds.chain(norms).map(|(kind, suffix)| (id(*kind), name(suffix))));
        }
        let source = |(id, name): &(SectionId, String)| {
            let tensor = need(found, name)?;
            // Gemma's norms are stored as their distance from one.
            let plus = if self.family == Family::Gemma3 && is_norm(id.kind) { 1.0 } else { 0.0 };
            Ok((*id, Source { tensor, interleaved: 0, plus }))
        };
        let sources = named.iter().map(source).collect::<Result<_, ImportError>>()?;
        let used: BTreeSet<&str> = named.iter().map(|(_, name)| name.as_str()).collect();
        let is_left = |name: &&&str| !used.contains(**name) && !self.may_be_left(name, head);
        match found.keys().find(is_left) {
            Some(left) => Err(unsupported(&format!("tensor {left:?}"))),
            None => Ok(sources),
        }
    }

    /// Whether the embedding serves as the head. The default is the library's.
    fn is_tied(&self, outer: &Value) -> bool {
        let outer = outer.get("tie_word_embeddings").and_then(Value::as_bool);
        let gemma = self.family == Family::Gemma3;
        self.flag("tie_word_embeddings").or(outer).unwrap_or(gemma)
    }

    /// Whether a tensor that no section needs changes nothing. A head is among them only where it is
    /// tied: otherwise it is needed.
    fn may_be_left(&self, name: &str, head: &str) -> bool {
        let sees_images = IMAGE_PARTS.iter().any(|part| name.starts_with(part));
        name == head
            || name.ends_with("rotary_emb.inv_freq")
            || (self.family == Family::Gemma3 && sees_images)
    }
}

fn prefix(found: &Found<'_>) -> Result<(&'static str, &'static str), ImportError> {
    let name = |prefix: &str| format!("{prefix}embed_tokens.weight");
    let known = PREFIXES.into_iter().find(|(prefix, _)| found.contains_key(name(prefix).as_str()));
    known.ok_or_else(|| ImportError::Missing { name: name(PREFIXES[0].0) })
}

pub(super) fn need<'a>(found: &Found<'a>, name: &str) -> Result<Tensor<'a>, ImportError> {
    found.get(name).copied().ok_or_else(|| ImportError::Missing { name: name.to_string() })
}

fn is_norm(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::OutputNorm
            | Kind::AttentionNorm
            | Kind::MlpNorm
            | Kind::QueryNorm
            | Kind::KeyNorm
            | Kind::AttentionPostNorm
            | Kind::MlpPostNorm
    )
}
