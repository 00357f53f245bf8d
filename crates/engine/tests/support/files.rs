//! Small models as files, in each format that can be imported.

use engine::artifact::config::Family;
use engine::import::family::Shape;
use engine::import::gguf::Gguf;
use engine::import::gguf_build::random;
use engine::import::tensor::{Encoding, Tensor};
use serde_json::{Map, Value, json};

pub(crate) const FAMILIES: [Family; 4] =
    [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3];

pub(crate) fn shape(family: Family) -> Shape {
    Shape {
        family,
        vocabulary: 40,
        layers: 1,
        width: 64,
        hidden: 32,
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

pub(crate) fn gguf(family: Family, encoding: Encoding) -> Vec<u8> {
    random::model(&shape(family), encoding, 1).unwrap().to_bytes().unwrap()
}

/// A model as Hugging Face's libraries store it.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) config: Value,
    pub(crate) tokenizer: Value,
    pub(crate) tokenizer_config: Value,
    pub(crate) tensors: Vec<StoredTensor>,
}

/// A tensor of F32 numbers.
#[derive(Clone)]
pub(crate) struct StoredTensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<u8>,
}

/// The model of `gguf(family, F32)`.
pub(crate) fn stored(family: Family) -> Stored {
    stored_from(&gguf(family, Encoding::F32), family)
}

/// The model of a GGUF file in F32 with the family's `shape`.
pub(crate) fn stored_from(bytes: &[u8], family: Family) -> Stored {
    let gguf = Gguf::parse(bytes).unwrap();
    let tensors = gguf.tensors().map(|tensor| stored_tensor(tensor, family)).collect();
    Stored {
        config: config(family),
        tokenizer: tokenizer(&gguf, family),
        tokenizer_config: json!({"bos_token": "<s>", "eos_token": {"content": "</s>"}}),
        tensors,
    }
}

const NAMES: [(&str, &str); 18] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("attn_norm.weight", "input_layernorm.weight"),
    ("attn_q.weight", "self_attn.q_proj.weight"),
    ("attn_k.weight", "self_attn.k_proj.weight"),
    ("attn_v.weight", "self_attn.v_proj.weight"),
    ("attn_q.bias", "self_attn.q_proj.bias"),
    ("attn_k.bias", "self_attn.k_proj.bias"),
    ("attn_v.bias", "self_attn.v_proj.bias"),
    ("attn_q_norm.weight", "self_attn.q_norm.weight"),
    ("attn_k_norm.weight", "self_attn.k_norm.weight"),
    ("attn_output.weight", "self_attn.o_proj.weight"),
    ("ffn_gate.weight", "mlp.gate_proj.weight"),
    ("ffn_up.weight", "mlp.up_proj.weight"),
    ("ffn_down.weight", "mlp.down_proj.weight"),
    ("post_attention_norm.weight", "post_attention_layernorm.weight"),
    ("ffn_norm.weight", ""),
    ("post_ffw_norm.weight", "post_feedforward_layernorm.weight"),
];

fn stored_tensor(tensor: &Tensor<'_>, family: Family) -> StoredTensor {
    let gemma = family == Family::Gemma3;
    let suffix = tensor.name.strip_prefix("blk.0.");
    let (_, name) =
        NAMES.iter().find(|(known, _)| *known == suffix.unwrap_or(tensor.name)).unwrap();
    let name = match (*name, gemma) {
        ("", true) => "pre_feedforward_layernorm.weight",
        ("", false) => "post_attention_layernorm.weight",
        (name, _) => name,
    };
    let layer = if suffix.is_some() { "model.layers.0." } else { "" };
    let mut rows: Vec<Vec<u8>> = (0..tensor.rows).map(|row| tensor.row(row).to_vec()).collect();
    if family == Family::Llama && (name.contains("q_proj") || name.contains("k_proj")) {
        rows = split_halves(&rows, 32);
    }
    if gemma && name.contains("norm") {
        rows.iter_mut().for_each(|row| subtract_one(row));
    }
    let shape = match tensor.rows {
        1 => vec![tensor.columns],
        rows => vec![rows, tensor.columns],
    };
    StoredTensor { name: format!("{layer}{name}"), shape, data: rows.concat() }
}

/// Rows whose rotary pairs were neighbours, with pairs half a head apart.
fn split_halves(rows: &[Vec<u8>], head: usize) -> Vec<Vec<u8>> {
    let from = |row: usize| {
        let (first, at) = (row / head * head, row % head);
        if at < head / 2 { first + 2 * at } else { first + 2 * (at - head / 2) + 1 }
    };
    (0..rows.len()).map(|row| rows[from(row)].clone()).collect()
}

fn subtract_one(row: &mut [u8]) {
    for bytes in row.as_chunks_mut::<4>().0 {
        *bytes = (f32::from_le_bytes(*bytes) - 1.0).to_le_bytes();
    }
}

fn config(family: Family) -> Value {
    let (model, architecture) = match family {
        Family::Llama => ("llama", "LlamaForCausalLM"),
        Family::Qwen2 => ("qwen2", "Qwen2ForCausalLM"),
        Family::Qwen3 => ("qwen3", "Qwen3ForCausalLM"),
        Family::Gemma3 => ("gemma3_text", "Gemma3ForCausalLM"),
        Family::Bert => ("bert", "BertModel"),
    };
    let mut config = json!({
        "model_type": model,
        "architectures": [architecture],
        "hidden_size": 64,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 32,
        "max_position_embeddings": 64,
        // The decimal that the other format's binary32 stands for.
        "rms_norm_eps": f64::from(1.0e-5f32),
        "rope_theta": 10000.0,
        "tie_word_embeddings": true,
        "hidden_act": "silu",
    });
    if family == Family::Gemma3 {
        config["hidden_act"] = json!("gelu_pytorch_tanh");
        config["sliding_window"] = json!(8);
        config["query_pre_attn_scalar"] = json!(32);
        config["rope_local_base_freq"] = json!(10000);
    }
    config
}

fn tokenizer(gguf: &Gguf<'_>, family: Family) -> Value {
    let tokens = gguf.array("tokenizer.ggml.tokens").unwrap();
    let text = |value| match value {
        engine::import::gguf::Value::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
        _ => None,
    };
    let ids: Map<String, Value> =
        tokens.iter().filter_map(text).zip((0..).map(|id| json!(id))).collect();
    let added = ["<unk>", "<s>", "</s>"].into_iter().enumerate();
    let added: Vec<Value> =
        added.map(|(id, text)| json!({"id": id, "content": text, "special": true})).collect();
    let pattern = |number: &str| {
        let words = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|";
        let rest = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
        let regex = [words, number, rest].concat();
        json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
        ]})
    };
    let begins = json!({"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
    ]});
    let replaced = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let (normalizer, words, processor) = match family {
        Family::Llama => (Value::Null, pattern(r"\p{N}{1,3}"), begins),
        Family::Qwen2 | Family::Qwen3 => {
            (json!({"type": "NFC"}), pattern(r"\p{N}"), json!({"type": "ByteLevel"}))
        }
        Family::Gemma3 | Family::Bert => (replaced, Value::Null, begins),
    };
    json!({
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": words,
        "post_processor": processor,
        "model": {
            "type": "BPE",
            "vocab": ids,
            "merges": [],
            "unk_token": "<unk>",
            "byte_fallback": family == Family::Gemma3,
            "ignore_merges": family == Family::Llama,
        },
    })
}

/// A file of the tensors, in their order.
pub(crate) fn safetensors(tensors: &[StoredTensor]) -> Vec<u8> {
    let mut header = json!({"__metadata__": {"format": "pt"}});
    let mut data = Vec::new();
    for tensor in tensors {
        let from = data.len();
        data.extend_from_slice(&tensor.data);
        let offsets = [from, data.len()];
        header[&tensor.name] =
            json!({"dtype": "F32", "shape": tensor.shape, "data_offsets": offsets});
    }
    file(&header.to_string(), &data)
}

/// A file with this header.
pub(crate) fn file(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}
