//! A model stored by Hugging Face's libraries is the same model.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

#[path = "support/files.rs"]
mod files;

use std::collections::BTreeMap;

use engine::artifact::Kind;
use engine::artifact::config::Family;
use engine::import::assemble::{self, Parts};
use engine::import::gguf::Gguf;
use engine::import::hugging_face::{self, Files};
use engine::import::safetensors::Safetensors;
use engine::import::tensor::Encoding;
use engine::import::{ImportError, Options, gguf_model};
use engine::vocabulary::{TokenKind, VocabularyModel, VocabularyParts};
use files::{FAMILIES, Stored, file, gguf, safetensors, stored, stored_from};
use serde_json::{Value, json};

fn options() -> Options {
    Options { name: Some("random".to_owned()), ..Options::default() }
}

/// Reads a stored model and hands it on; its tensors are spread over two files.
fn with<T>(model: &Stored, then: impl FnOnce(Result<Parts<'_>, ImportError>) -> T) -> T {
    let (first, second) = model.tensors.split_at(model.tensors.len() / 2);
    let bytes = [safetensors(first), safetensors(second)];
    let weights = bytes.each_ref().map(|bytes| Safetensors::parse(bytes).unwrap());
    let [config, tokenizer, tokenizer_config] =
        [&model.config, &model.tokenizer, &model.tokenizer_config].map(Value::to_string);
    let files = Files {
        config: config.as_bytes(),
        tokenizer: tokenizer.as_bytes(),
        tokenizer_config: Some(tokenizer_config.as_bytes()),
        generation_config: None,
        pooling: None,
        chat_template: None,
        weights: &weights,
    };
    then(hugging_face::read(&files, &options()))
}

fn artifact(parts: &Parts<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sink = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    assemble::write(parts, &options(), 1, &mut sink, &mut |_, _| {}).unwrap();
    out
}

fn vocabulary(model: &Stored) -> VocabularyParts {
    with(model, |parts| parts.unwrap().vocabulary)
}

fn refusal(model: &Stored) -> String {
    with(model, |parts| parts.unwrap_err().to_string())
}

#[test]
fn the_same_model_gives_the_same_artifact_as_from_gguf() {
    for family in FAMILIES {
        let bytes = gguf(family, Encoding::F32);
        let parsed = Gguf::parse(&bytes).unwrap();
        let expected = gguf_model::read(&parsed, &options()).unwrap();
        with(&stored(family), |parts| {
            let mut parts = parts.unwrap();
            assert_eq!(parts.shape, expected.shape);
            if family == Family::Gemma3 {
                // This vocabulary has no merges, so its scores are others.
                parts.vocabulary = expected.vocabulary.clone();
            }
            assert_eq!(parts.vocabulary, expected.vocabulary);
            assert!(artifact(&parts) == artifact(&expected), "{family:?}");
        });
    }
}

/// Sets column 3 of the first layer's attention norm to 128 and divides what reads it.
fn with_outlier(mut bytes: Vec<u8>) -> Vec<u8> {
    for name in ["attn_norm", "attn_q", "attn_k", "attn_v"] {
        let (at, rows, columns) = {
            let gguf = Gguf::parse(&bytes).unwrap();
            let tensor = gguf.tensor(&format!("blk.0.{name}.weight")).unwrap();
            let at = tensor.data.as_ptr().addr() - bytes.as_ptr().addr();
            (at, tensor.rows, tensor.columns)
        };
        for row in 0..rows {
            let number = &mut bytes[at + 4 * (row * columns + 3)..][..4];
            let value = f32::from_le_bytes([number[0], number[1], number[2], number[3]]);
            let value = if name == "attn_norm" { 128.0 } else { value / 128.0 };
            number.copy_from_slice(&value.to_le_bytes());
        }
    }
    bytes
}

#[test]
fn outliers_are_evened_out_in_both_formats_alike() {
    for family in FAMILIES {
        let bytes = with_outlier(gguf(family, Encoding::F32));
        let parsed = Gguf::parse(&bytes).unwrap();
        let expected = gguf_model::read(&parsed, &options()).unwrap();
        let written = assemble::write(&expected, &options(), 1, &mut |_| Ok(()), &mut |_, _| {});
        assert_eq!(written.unwrap().raised, 1);
        with(&stored_from(&bytes, family), |parts| {
            let mut parts = parts.unwrap();
            parts.vocabulary = expected.vocabulary.clone();
            assert!(artifact(&parts) == artifact(&expected), "{family:?}");
        });
    }
}

#[test]
fn settings_that_change_the_computation_are_refused() {
    for (family, key, value, what) in [
        (Family::Llama, "model_type", json!("phi3"), "phi3"),
        (Family::Llama, "architectures", json!(["LlamaForSequenceClassification"]), "LlamaForSeq"),
        (Family::Llama, "hidden_act", json!("relu"), "relu"),
        (Family::Llama, "attention_bias", json!(true), "attention_bias"),
        (Family::Llama, "sliding_window", json!(32), "sliding window"),
        (Family::Llama, "rope_scaling", json!({"rope_type": "yarn"}), "yarn"),
        (Family::Llama, "rope_scaling", json!({"rope_type": "linear"}), "factor"),
        (Family::Llama, "partial_rotary_factor", json!(0.5), "partial_rotary_factor"),
        (Family::Llama, "quantization_config", json!({}), "quantization_config"),
        (Family::Llama, "num_hidden_layers", json!(-1), "num_hidden_layers"),
        (Family::Llama, "num_hidden_layers", json!(2), "model.layers.1."),
        (Family::Llama, "num_hidden_layers", Value::Null, "num_hidden_layers is missing"),
        (Family::Llama, "rms_norm_eps", json!("1"), "rms_norm_eps"),
        (Family::Llama, "tie_word_embeddings", json!(false), "lm_head.weight"),
        (Family::Qwen2, "use_sliding_window", json!(true), "use_sliding_window"),
        (Family::Qwen3, "layer_types", json!(["sliding_attention"]), "windows"),
        (Family::Gemma3, "layer_types", json!(["full_attention"]), "windows"),
        (Family::Gemma3, "final_logit_softcapping", json!(30), "final_logit_softcapping"),
        (Family::Gemma3, "rope_local_base_freq", json!(5_000), "rotary base"),
    ] {
        let mut model = stored(family);
        model.config[key] = value;
        let message = refusal(&model);
        assert!(message.contains(what), "{key}: {message}");
    }
}

#[test]
fn settings_that_change_nothing_are_read() {
    for (family, key, value) in [
        (Family::Llama, "model_type", json!("mistral")),
        (Family::Llama, "sliding_window", Value::Null),
        (Family::Llama, "sliding_window", json!(64)),
        (Family::Llama, "rope_scaling", json!({"rope_type": "default"})),
        (Family::Qwen2, "sliding_window", json!(32)),
        (Family::Gemma3, "layer_types", json!(["sliding_attention"])),
        (Family::Gemma3, "sliding_window_pattern", json!(6)),
    ] {
        let mut model = stored(family);
        model.config[key] = value;
        if key == "model_type" {
            model.config["architectures"] = json!(["MistralForCausalLM"]);
        }
        with(&model, |parts| assert!(parts.is_ok(), "{key}: {:?}", parts.err()));
    }
}

#[test]
fn rotary_settings_of_every_version_are_understood() {
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32});
    let mut old = stored(Family::Llama);
    old.config["rope_scaling"] = llama3.clone();
    old.config["rope_theta"] = json!(5e5);
    let mut new = stored(Family::Llama);
    new.config["rope_theta"] = Value::Null;
    new.config["rope_parameters"] = llama3;
    new.config["rope_parameters"]["rope_theta"] = json!(5e5);
    let shape = |model: &Stored| with(model, |parts| parts.unwrap().shape);
    let (old, new) = (shape(&old), shape(&new));
    assert_eq!(old, new);
    assert_eq!(old.rope_base, 5e5);
    assert_eq!((old.rope_factors.len(), old.rope_factors[15]), (16, 8.0));

    let mut old = stored(Family::Gemma3);
    old.config["rope_scaling"] = json!({"type": "linear", "factor": 8});
    old.config["rope_theta"] = json!(1e6);
    let mut new = stored(Family::Gemma3);
    new.config["rope_parameters"] = json!({
        "full_attention": {"rope_type": "linear", "factor": 8, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    });
    let (old, new) = (shape(&old), shape(&new));
    assert_eq!(old, new);
    assert_eq!((old.rope_base, old.rope_linear), (1e6, 8.0));
}

#[test]
fn an_untied_head_is_read_and_a_tied_one_left_out() {
    for (is_tied, heads) in [(false, 1), (true, 0)] {
        let mut model = stored(Family::Qwen3);
        let mut head = model.tensors.iter().find(|t| t.name.contains("embed")).unwrap().clone();
        head.name = "lm_head.weight".to_owned();
        model.tensors.push(head);
        model.config["tie_word_embeddings"] = json!(is_tied);
        let count = |parts: &Parts<'_>| {
            parts.tensors.iter().filter(|(id, _)| id.kind == Kind::Head).count()
        };
        assert_eq!(with(&model, |parts| count(&parts.unwrap())), heads);
    }
}

#[test]
fn tensors_that_are_missing_unknown_or_twice_are_refused() {
    for family in FAMILIES {
        let sound = stored(family);
        for at in 0..sound.tensors.len() {
            let mut model = sound.clone();
            let name = model.tensors.remove(at).name;
            assert!(refusal(&model).contains(&name), "{name}");
            let mut model = sound.clone();
            model.tensors[at].name.push('2');
            assert!(refusal(&model).contains(&name), "{name}");
        }
        let mut model = sound.clone();
        let mut more = model.tensors[0].clone();
        more.name = "model.layers.0.adapter.weight".to_owned();
        model.tensors.push(more);
        assert!(refusal(&model).contains("adapter"), "{}", refusal(&model));
        let mut model = sound.clone();
        model.tensors.push(model.tensors[0].clone());
        assert!(refusal(&model).contains("two files"), "{}", refusal(&model));
    }
}

#[test]
fn gemma_with_eyes_is_read_without_them() {
    let plain = stored(Family::Gemma3);
    let expected = with(&plain, |parts| artifact(&parts.unwrap()));
    let mut model = plain.clone();
    model.config = json!({
        "model_type": "gemma3",
        "architectures": ["Gemma3ForConditionalGeneration"],
        "text_config": plain.config,
        "eos_token_id": [2],
    });
    for tensor in &mut model.tensors {
        tensor.name = format!("language_model.{}", tensor.name);
    }
    let mut eye = model.tensors[0].clone();
    eye.name = "vision_tower.weight".to_owned();
    model.tensors.push(eye);
    assert!(with(&model, |parts| artifact(&parts.unwrap())) == expected);
}

#[test]
fn word_rules_get_the_names_that_gguf_files_have() {
    let digits = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": true},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true},
    ]});
    let plain = json!({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true});
    for (words, name) in [(Value::Null, "qwen2"), (digits.clone(), "smollm"), (plain, "gpt-2")] {
        let mut model = stored(Family::Qwen2);
        if !words.is_null() {
            model.tokenizer["pre_tokenizer"] = words;
        }
        assert_eq!(vocabulary(&model).pre, name);
    }
    let mut model = stored(Family::Llama);
    assert_eq!(vocabulary(&model).pre, "llama-bpe");
    model.tokenizer["model"]["ignore_merges"] = json!(false);
    assert!(refusal(&model).contains("ignore_merges"));
    model.tokenizer["pre_tokenizer"] = digits;
    assert_eq!(vocabulary(&model).pre, "smollm");
}

#[test]
fn vocabularies_that_cut_text_in_unknown_ways_are_refused() {
    let unknown = json!({"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated"});
    for (family, at, value) in [
        (Family::Qwen2, "/pre_tokenizer/pretokenizers/0", unknown),
        (Family::Qwen2, "/pre_tokenizer/pretokenizers/0/invert", json!(true)),
        (Family::Qwen2, "/pre_tokenizer/pretokenizers/0/behavior", json!("Removed")),
        (Family::Qwen2, "/pre_tokenizer/pretokenizers/1/add_prefix_space", json!(true)),
        (Family::Qwen2, "/pre_tokenizer", Value::Null),
        (Family::Qwen2, "/normalizer", json!({"type": "Lowercase"})),
        (Family::Qwen2, "/model/type", json!("WordPiece")),
        (Family::Qwen2, "/model/merges", json!(["a"])),
        (Family::Qwen2, "/model/merges", json!(["<s> </s>"])),
        (Family::Qwen2, "/model/vocab", json!({"x": 40})),
        (Family::Qwen2, "/model/vocab", json!({"x": -1})),
        (Family::Qwen2, "/added_tokens/0/content", json!("other")),
        (Family::Llama, "/post_processor/single", json!([{"Sequence": {}}, {"Sequence": {}}])),
        (Family::Gemma3, "/normalizer", Value::Null),
        (Family::Gemma3, "/normalizer", json!({"type": "NFKC"})),
        (Family::Gemma3, "/pre_tokenizer", json!({"type": "ByteLevel"})),
    ] {
        let mut model = stored(family);
        *model.tokenizer.pointer_mut(at).unwrap() = value;
        refusal(&model);
    }
}

#[test]
fn tokens_get_their_kinds_and_holes_are_filled() {
    let mut model = stored(Family::Gemma3);
    model.tokenizer["model"]["vocab"] =
        json!({"<unk>": 0, "<s>": 1, "</s>": 2, "<0x41>": 3, "a": 4, "b": 5, "ab": 7});
    model.tokenizer["model"]["merges"] = json!([["a", "b"]]);
    let more = json!({"id": 9, "content": "<pause>", "special": false});
    model.tokenizer["added_tokens"].as_array_mut().unwrap().push(more);
    let found = vocabulary(&model);
    let unused = (b"[PAD6]".to_vec(), TokenKind::Unused);
    assert_eq!((found.tokens[6].clone(), found.kinds[6]), unused);
    assert_eq!(
        found.kinds[..4],
        [TokenKind::Unknown, TokenKind::Control, TokenKind::Control, TokenKind::Byte]
    );
    assert_eq!((found.kinds[4], found.kinds[9]), (TokenKind::Normal, TokenKind::UserDefined));
    assert_eq!((found.tokens.len(), found.model), (40, VocabularyModel::SentencePiece));
    assert_eq!((found.begin, found.adds_begin, found.ends), (Some(1), true, vec![2]));
    assert!(!found.adds_space_prefix);
    model.tokenizer["normalizer"] = json!({"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u{2581}"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"},
    ]});
    assert!(vocabulary(&model).adds_space_prefix);
    model.tokenizer["normalizer"] = Value::Null;
    model.tokenizer["pre_tokenizer"] =
        json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "first"});
    assert!(vocabulary(&model).adds_space_prefix);
}

#[test]
fn the_chat_template_is_found_wherever_it_is() {
    let template =
        |model: &Stored| with(model, |parts| parts.unwrap().strings.get("chat_template").cloned());
    let mut model = stored(Family::Qwen2);
    assert_eq!(template(&model), None);
    model.tokenizer_config["chat_template"] = json!("hi");
    assert_eq!(template(&model).as_deref(), Some("hi"));
    model.tokenizer_config["chat_template"] =
        json!([{"name": "tool", "template": "no"}, {"name": "default", "template": "yes"}]);
    assert_eq!(template(&model).as_deref(), Some("yes"));
}

/// SplitMix64 (Steele, Lea, Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Merges neighbours, the smallest key first and the leftmost of equals, until none has a key.
fn merge<K: Ord>(text: &str, key: impl Fn(&str, &str) -> Option<K>) -> Vec<String> {
    let mut parts: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let pairs = parts.windows(2).enumerate();
        let keyed = pairs.filter_map(|(at, pair)| Some((key(&pair[0], &pair[1])?, at)));
        let Some((_, at)) = keyed.min() else { return parts };
        let right = parts.remove(at + 1);
        parts[at].push_str(&right);
    }
}

#[test]
fn scores_choose_the_merges_that_ranks_choose() {
    for seed in 0..200u64 {
        let mut state = seed;
        // Ascending letters: no token overlaps itself, where the two schemes are known to differ.
        let mut tokens: Vec<String> = "abcdefgh".chars().map(String::from).collect();
        for _ in 0..24 {
            let mask = next(&mut state) & next(&mut state);
            let token: String = ('a'..='h')
                .enumerate()
                .filter(|(i, _)| mask >> i & 1 == 1)
                .map(|(_, c)| c)
                .collect();
            if token.len() > 1 && !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        let mut merges = Vec::new();
        for token in &tokens {
            let splits = (1..token.len()).map(|at| token.split_at(at));
            let is_token = |part: &str| tokens.iter().any(|token| token == part);
            merges.extend(splits.filter(|(left, right)| is_token(left) && is_token(right)));
        }
        let mut model = stored(Family::Gemma3);
        let ids = tokens.iter().zip(3..).map(|(token, id)| (token.clone(), json!(id)));
        model.tokenizer["model"]["vocab"] = ids.collect();
        let joined: Vec<String> =
            merges.iter().map(|(left, right)| format!("{left} {right}")).collect();
        model.tokenizer["model"]["merges"] = json!(joined);
        let found = vocabulary(&model);
        let scores: BTreeMap<&str, f32> = tokens
            .iter()
            .zip(&found.score_bits[3..])
            .map(|(token, &bits)| (token.as_str(), f32::from_bits(bits)))
            .collect();
        for _ in 0..20 {
            let letters = (0..24).map(|_| char::from(b'a' + (next(&mut state) % 8) as u8));
            let text: String = letters.collect();
            let by_rank =
                merge(&text, |left, right| merges.iter().position(|m| *m == (left, right)));
            let by_score = merge(&text, |left, right| {
                scores.get([left, right].concat().as_str()).map(|score| -score as u32)
            });
            assert_eq!(by_rank, by_score, "seed {seed}");
        }
    }
}

#[test]
fn merges_that_no_scores_express_are_refused() {
    let mut model = stored(Family::Gemma3);
    model.tokenizer["model"]["vocab"] = json!({"a": 3, "b": 4, "c": 5, "ab": 6, "bc": 7, "abc": 8});
    for (merges, is_sound) in [
        (json!(["a b", "b c", "ab c", "a bc"]), true),
        (json!(["a b", "b c", "ab c"]), false),
        (json!(["b c", "ab c", "a b", "a bc"]), false),
    ] {
        model.tokenizer["model"]["merges"] = merges.clone();
        assert_eq!(with(&model, |parts| parts.is_ok()), is_sound, "{merges}");
    }
}

#[test]
fn safetensors_files_of_unsound_form_are_refused_by_name() {
    let entry = |dtype: &str, shape: &str, from: usize, to: usize| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |name: &str, from, to| format!(r#""{name}":{}"#, entry("F32", "[2]", from, to));
    let object = |entries: &[String]| format!("{{{}}}", entries.join(","));
    let sound = object(&[one("a", 8, 16), one("b", 0, 8), r#""__metadata__":{"x":"y"}"#.into()]);
    let bytes = file(&sound, &[0; 16]);
    let parsed = Safetensors::parse(&bytes).unwrap();
    assert_eq!(parsed.tensor("a").unwrap().data.len(), 8);
    assert_eq!(parsed.tensors().map(|tensor| tensor.name).collect::<Vec<_>>(), ["a", "b"]);
    let of = |dtype, shape| object(&[format!(r#""a":{}"#, entry(dtype, shape, 0, 16))]);
    for (header, what) in [
        (object(&[one("a", 0, 8), one("b", 4, 12)]), "\"b\": begins at 4 and overlaps"),
        (object(&[one("a", 0, 8), one("b", 9, 17)]), "\"b\": lies at 9..17"),
        (object(&[one("a", 0, 8)]), "end at byte 8"),
        (object(&[one("a", 8, 16)]), "\"a\": begins at 8 and leaves a hole"),
        (object(&[one("a", 0, 8), one("a", 8, 16)]), "twice"),
        (of("F64", "[2]"), "\"a\": dtype \"F64\""),
        (of("I8", "[16]"), "\"a\": dtype \"I8\""),
        (of("F32", "[5]"), "\"a\": shape [5]"),
        (of("F16", "[0,8]"), "\"a\": shape [0, 8]"),
        (of("F32", "[4611686018427387904,4]"), "\"a\": shape"),
        (of("F32", "[-4]"), "\"a\": has no shape"),
        (of("F32", "[18446744073709551616]"), "\"a\": has no shape"),
        (
            r#"{"a":{"dtype":"F32","shape":[4],"data_offsets":[16,0]}}"#.into(),
            "\"a\": lies at 16..0",
        ),
        (
            r#"{"a":{"dtype":"F32","dtype":"F16","shape":[8],"data_offsets":[0,16]}}"#.into(),
            "twice",
        ),
        (r#"{"a":1}"#.into(), "\"a\": has no dtype"),
        (format!(" {sound}"), "does not begin with {"),
        ("{".into(), "header at byte 8"),
        (String::new(), "header at byte 8"),
        ("[".repeat(1_000), "header at byte 8"),
        (format!("{{\"a\":{}", "[".repeat(100_000)), "header at byte 8"),
    ] {
        let message = Safetensors::parse(&file(&header, &[0; 16])).unwrap_err().to_string();
        assert!(message.contains(what), "{header:.60}: {message}");
    }
    for size in [0u64, 1 << 32, 1 << 63, u64::MAX, 100_000_001, bytes.len() as u64] {
        let mut bytes = bytes.clone();
        bytes[..8].copy_from_slice(&size.to_le_bytes());
        assert!(Safetensors::parse(&bytes).is_err(), "header of {size}");
    }
}
