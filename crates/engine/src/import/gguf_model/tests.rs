//! What keys and tensors of a GGUF file mean.

use super::*;
use crate::import::gguf_build::{Data, Field, GgufBuilder, random};
use crate::import::tensor::Encoding;

const FAMILIES: [Family; 4] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3];

fn shape_of(family: Family) -> Shape {
    Shape {
        family,
        vocabulary: 300,
        layers: 2,
        width: 64,
        hidden: 96,
        heads: 2,
        kv_heads: 1,
        head_size: 32,
        context_max: 64,
        epsilon: f64::from(1.0e-5f32),
        rope_base: 50_000.0,
        rope_factors: Vec::new(),
        rope_linear: 2.0,
        window: if family == Family::Gemma3 { 8 } else { 0 },
        score_divisor: 32.0,
    }
}

fn builder(family: Family) -> GgufBuilder<'static> {
    random::model(&shape_of(family), Encoding::Q8_0, 1).unwrap()
}

fn with<T>(builder: &GgufBuilder<'_>, then: impl FnOnce(Result<Parts<'_>, ImportError>) -> T) -> T {
    let bytes = builder.to_bytes().unwrap();
    then(read(&Gguf::parse(&bytes).unwrap(), &Options::default()))
}

fn refusal(builder: &GgufBuilder<'_>) -> String {
    with(builder, |parts| parts.unwrap_err().to_string())
}

fn small() -> Data<'static> {
    Data::Bytes(vec![0; 128])
}

#[test]
fn every_family_has_the_shape_that_was_written() {
    for family in FAMILIES {
        with(&builder(family), |parts| assert_eq!(parts.unwrap().shape, shape_of(family)));
    }
}

#[test]
fn a_tensor_that_no_part_uses_is_refused() {
    for name in ["blk.0.attn_sinks.weight", "blk.2.attn_q.weight", "blk.0.attn_q_norm.bias"] {
        let mut builder = builder(Family::Qwen3);
        builder.tensor(name, &[32], Encoding::F32, small()).unwrap();
        assert!(refusal(&builder).contains(name), "{}", refusal(&builder));
    }
}

#[test]
fn a_tensor_that_is_missing_is_named() {
    let mut builder = builder(Family::Llama);
    let bytes = builder.to_bytes().unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let mut shape = shape_of(Family::Llama);
    shape.layers = 3;
    assert!(
        tensors(&gguf, Family::Llama, &shape).unwrap_err().to_string().contains("blk.2.attn_norm")
    );
    builder.tensor("output.weight", &[32], Encoding::F32, small()).unwrap();
    with(&builder, |parts| {
        let parts = parts.unwrap();
        assert!(parts.tensors.iter().any(|(id, _)| id.kind == Kind::Head), "an untied head");
    });
}

#[test]
fn settings_that_change_the_computation_are_refused() {
    for (key, field, what) in [
        ("llama.expert_count", Field::U32(8), "mixture"),
        ("llama.attn_logit_softcapping", Field::F32(50.0), "attention scores"),
        ("llama.final_logit_softcapping", Field::F32(30.0), "logits"),
        ("llama.rope.dimension_count", Field::U32(16), "rope.dimension_count"),
    ] {
        let mut builder = builder(Family::Llama);
        builder.key(key, field);
        assert!(refusal(&builder).contains(what), "{key}: {}", refusal(&builder));
    }
    let mut other = GgufBuilder::new();
    other.key("general.architecture", Field::Text("mamba"));
    assert!(refusal(&other).contains("mamba"));
}

#[test]
fn rotary_rows_are_reordered_for_llama_alone() {
    for family in FAMILIES {
        with(&builder(family), |parts| {
            let parts = parts.unwrap();
            let turned = parts.tensors.iter().filter(|(_, source)| source.interleaved != 0);
            assert_eq!(turned.count(), if family == Family::Llama { 4 } else { 0 });
        });
    }
}

#[test]
fn rotary_factors_of_the_file_are_used() {
    let mut builder = builder(Family::Llama);
    let factors = (1..=16u8).map(f32::from).flat_map(f32::to_le_bytes).collect();
    builder.tensor(ROPE_FACTORS, &[16], Encoding::F32, Data::Bytes(factors)).unwrap();
    with(&builder, |parts| {
        let expected: Vec<f64> = (1..=16u8).map(f64::from).collect();
        assert_eq!(parts.unwrap().shape.rope_factors, expected);
    });
}

/// A vocabulary of six tokens and more keys.
fn words(more: &[(&str, Field<'_>)]) -> Result<VocabularyParts, ImportError> {
    let tokens: Vec<Vec<u8>> =
        ["a", "b", "ab", " ", " b", "<|im_end|>"].map(|text| text.as_bytes().to_vec()).into();
    let mut builder = GgufBuilder::new();
    builder.key("tokenizer.ggml.model", Field::Text("gpt2"));
    builder.key("tokenizer.ggml.tokens", Field::Texts(&tokens));
    for (key, field) in more {
        builder.key(&format!("tokenizer.ggml.{key}"), *field);
    }
    let bytes = builder.to_bytes().unwrap();
    vocabulary(&Gguf::parse(&bytes).unwrap())
}

#[test]
fn merges_are_pairs_of_tokens_around_one_space() {
    let merges = |texts: &[&str]| {
        let texts: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
        words(&[("merges", Field::Texts(&texts))]).map(|parts| parts.merges)
    };
    assert_eq!(merges(&["a b", "  b"]).unwrap(), [[0, 1], [3, 1]]);
    for bad in ["a", "", " ", "a c", "ab", "a  b c"] {
        assert!(merges(&[bad]).is_err(), "{bad:?}");
    }
}

#[test]
fn tokens_that_end_a_generation_are_found_by_id_and_by_text() {
    let merges = ("merges", Field::Texts(&[]));
    let kinds = ("token_type", Field::I32s(&[1, 1, 1, 1, 1, 3]));
    let parts = words(&[merges, kinds, ("eos_token_id", Field::U32(2))]).unwrap();
    assert_eq!(parts.ends, [2, 5]);
    let parts = words(&[merges, ("eos_token_id", Field::U32(6))]).unwrap();
    assert!(parts.ends.is_empty(), "no kinds make the text an ordinary one, and 6 is no token");
}

#[test]
fn the_first_token_is_added_where_the_file_or_its_kind_says_so() {
    let merges = ("merges", Field::Texts(&[]));
    let begin = ("bos_token_id", Field::U32(1));
    let adds = |more: &[(&str, Field<'_>)]| words(more).unwrap().adds_begin;
    assert!(!adds(&[merges, begin]));
    assert!(adds(&[merges, begin, ("pre", Field::Text("llama-bpe"))]));
    assert!(adds(&[merges, begin, ("add_bos_token", Field::Bool(true))]));
    assert!(!adds(&[merges, ("add_bos_token", Field::Bool(true))]), "there is none to add");
}

#[test]
fn tables_of_unsound_values_are_refused_by_key() {
    let merges = ("merges", Field::Texts(&[]));
    for (key, field) in [
        ("token_type", Field::I32s(&[1, 1, 1, 1, 1, 7])),
        ("token_type", Field::I32s(&[1, 1, 1, 1, 1, -1])),
        ("token_type", Field::F32s(&[1.0; 6])),
        ("token_type", Field::U32(1)),
    ] {
        let error = words(&[merges, (key, field)]).unwrap_err().to_string();
        assert!(error.contains(key), "{error}");
    }
    let error = words(&[]).unwrap_err().to_string();
    assert!(error.contains("merges"), "{error}");
}
