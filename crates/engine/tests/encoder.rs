//! An encoder read from Hugging Face's files gives the same bits however it is computed, and what the
//! same formulas give in floating point.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::artifact::ArtifactError;
use engine::encoder::{EmbedError, Encoder, EncoderModel};
use engine::import::hugging_face::{self, Files};
use engine::import::safetensors::Safetensors;
use engine::import::{ImportError, Options, assemble};
use engine::kernels::Isa;
use engine::model::Model;
use serde_json::{Value, json};

/// Sizes that are not round: padding, an odd number of heads.
const WIDTH: usize = 48;
const HIDDEN: usize = 112;
const HEADS: usize = 3;
const LAYERS: usize = 2;
const POSITIONS: usize = 160;
const TOKENS: usize = 70;
const EPSILON: f64 = 1e-12;

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// SplitMix64 (Steele, Lea, Flood 2014), as a number in -1..1.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn tensors() -> Tensors {
    let mut random = Random(5);
    let mut tensors = Tensors::new();
    let mut put = |name: String, shape: &[usize], scale: f32, plus: f32| {
        let count = shape.iter().product();
        let numbers = (0..count).map(|_| random.number() * scale + plus).collect();
        tensors.insert(name, (shape.to_vec(), numbers));
    };
    put("embeddings.word_embeddings.weight".to_owned(), &[TOKENS, WIDTH], 0.1, 0.0);
    put("embeddings.position_embeddings.weight".to_owned(), &[POSITIONS, WIDTH], 0.05, 0.0);
    put("embeddings.token_type_embeddings.weight".to_owned(), &[2, WIDTH], 0.05, 0.0);
    put("embeddings.LayerNorm.weight".to_owned(), &[WIDTH], 0.3, 1.0);
    put("embeddings.LayerNorm.bias".to_owned(), &[WIDTH], 0.2, 0.0);
    put("pooler.dense.weight".to_owned(), &[WIDTH, WIDTH], 1.0, 0.0);
    for layer in 0..LAYERS {
        for (name, rows, columns) in [
            ("attention.self.query", WIDTH, WIDTH),
            ("attention.self.key", WIDTH, WIDTH),
            ("attention.self.value", WIDTH, WIDTH),
            ("attention.output.dense", WIDTH, WIDTH),
            ("intermediate.dense", HIDDEN, WIDTH),
            ("output.dense", WIDTH, HIDDEN),
        ] {
            let name = format!("encoder.layer.{layer}.{name}");
            put(format!("{name}.weight"), &[rows, columns], 0.4, 0.0);
            put(format!("{name}.bias"), &[rows], 0.5, 0.0);
        }
        for name in ["attention.output.LayerNorm", "output.LayerNorm"] {
            let name = format!("encoder.layer.{layer}.{name}");
            put(format!("{name}.weight"), &[WIDTH], 0.3, 1.0);
            put(format!("{name}.bias"), &[WIDTH], 0.2, 0.0);
        }
    }
    tensors
}

/// A file of the tensors, with the numbers of positions as old libraries store them.
fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let mut data = vec![0u8; 8 * POSITIONS];
    let mut header = json!({"embeddings.position_ids": {
        "dtype": "I64", "shape": [1, POSITIONS], "data_offsets": [0, data.len()],
    }});
    for (name, (shape, numbers)) in tensors {
        let from = data.len();
        numbers.iter().for_each(|number| data.extend_from_slice(&number.to_le_bytes()));
        header[name] = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]});
    }
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn config() -> Value {
    json!({
        "model_type": "bert", "architectures": ["BertModel"], "hidden_act": "gelu",
        "hidden_size": WIDTH, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "max_position_embeddings": POSITIONS,
        "vocab_size": TOKENS, "layer_norm_eps": EPSILON, "position_embedding_type": "absolute",
    })
}

fn tokenizer() -> Value {
    let names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
    let names = names.into_iter().chain((4..TOKENS).map(|id| format!("t{id}")));
    let vocab: serde_json::Map<String, Value> =
        names.enumerate().map(|(id, name)| (name, json!(id))).collect();
    json!({
        "added_tokens": [{"id": 0, "content": "[PAD]"}],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab},
    })
}

const POOLING: &str = r#"{"pooling_mode_mean_tokens": true, "pooling_mode_cls_token": false}"#;

/// The artifact of these files.
fn import(
    config: &Value,
    tensors: &Tensors,
    pooling: Option<&str>,
) -> Result<Vec<u8>, ImportError> {
    let (file, config, tokenizer) =
        (safetensors(tensors), config.to_string(), tokenizer().to_string());
    let weights = [Safetensors::parse(&file)?];
    let files = Files {
        config: config.as_bytes(),
        tokenizer: tokenizer.as_bytes(),
        tokenizer_config: None,
        generation_config: None,
        chat_template: None,
        pooling: pooling.map(str::as_bytes),
        weights: &weights,
    };
    let options = Options::default();
    let parts = hugging_face::read(&files, &options)?;
    let mut artifact = Vec::new();
    let mut sink = |bytes: &[u8]| {
        artifact.extend_from_slice(bytes);
        Ok(())
    };
    assemble::write(&parts, &options, 2, &mut sink, &mut |_, _| {})?;
    Ok(artifact)
}

fn model() -> Arc<EncoderModel> {
    let artifact = import(&config(), &tensors(), Some(POOLING)).unwrap();
    let model = EncoderModel::open(Arc::new(artifact)).unwrap();
    model.validate().unwrap();
    Arc::new(model)
}

fn texts() -> Vec<Vec<u32>> {
    let mut random = Random(9);
    let mut text = |size| (0..size).map(|_| (random.next() % TOKENS as u64) as u32).collect();
    [1, 2, 5, 15, 16, 17, 40, 64, 33, 159, 160].into_iter().map(&mut text).collect()
}

#[test]
fn every_instruction_set_thread_count_and_company_gives_the_same_embedding() {
    let (model, texts) = (model(), texts());
    let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let mut alone = Encoder::new(model.clone(), Isa::Scalar, 1);
    let alone: Vec<Vec<i32>> =
        texts.iter().map(|text| alone.embed(&[text]).unwrap().remove(0)).collect();
    assert!(alone.windows(2).all(|pair| pair[0] != pair[1]), "texts differ");
    for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
        for threads in [1, 3] {
            let mut encoder = Encoder::new(model.clone(), isa, threads);
            assert!(encoder.embed(&texts).unwrap() == alone, "{isa:?} {threads} together");
            let again: Vec<Vec<i32>> =
                texts.iter().map(|text| encoder.embed(&[text]).unwrap().remove(0)).collect();
            assert!(again == alone, "{isa:?} {threads} alone");
            let many: Vec<&[u32]> = texts.iter().cycle().take(44).copied().collect();
            let many = encoder.embed(&many).unwrap();
            assert!(many.chunks(texts.len()).all(|part| part == alone), "{isa:?} {threads} many");
        }
    }
}

#[test]
fn integers_follow_the_formulas_in_floating_point() {
    let (tensors, texts) = (tensors(), texts());
    let mut encoder = Encoder::new(model(), Isa::best(), 1);
    for text in &texts {
        let found = encoder.embed(&[text]).unwrap().remove(0);
        let length: f64 = found.iter().map(|&it| f64::from(it).powi(2)).sum::<f64>().sqrt();
        assert!((length / f64::from(1 << 30) - 1.0).abs() < 1e-6, "length {length}");
        let expected = floats(&tensors, text);
        let cosine: f64 = found.iter().zip(&expected).map(|(a, b)| f64::from(*a) * b).sum();
        let cosine = cosine / f64::from(1 << 30);
        assert!(cosine > 0.9995, "{} tokens: cosine {cosine}", text.len());
    }
}

#[test]
fn texts_beyond_the_model_are_refused_before_anything_is_computed() {
    let mut encoder = Encoder::new(model(), Isa::best(), 1);
    let max = POSITIONS;
    let long = vec![1; max + 1];
    let refused = EmbedError::Length { text: 1, tokens: max + 1, max };
    assert_eq!(encoder.embed(&[&[1], &long]), Err(refused));
    let refused = EmbedError::Length { text: 0, tokens: 0, max };
    assert_eq!(encoder.embed(&[&[]]), Err(refused));
    let (token, count) = (TOKENS as u32, TOKENS);
    assert_eq!(encoder.embed(&[&[token]]), Err(EmbedError::Token { text: 0, token, count }));
    assert_eq!(encoder.embed(&[]), Ok(Vec::new()));
}

#[test]
fn an_encoder_is_no_model_that_generates() {
    let artifact = import(&config(), &tensors(), Some(POOLING)).unwrap();
    let refused = Model::open(Arc::new(artifact)).unwrap_err();
    assert!(matches!(refused, ArtifactError::Section { .. }), "{refused}");
    assert!(refused.to_string().contains("embeddings"), "{refused}");
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    for (key, value) in [
        ("hidden_act", json!("relu")),
        ("position_embedding_type", json!("relative_key")),
        ("is_decoder", json!(true)),
        ("num_attention_heads", json!(5)),
        ("layer_norm_eps", Value::Null),
    ] {
        let mut config = config();
        config[key] = value;
        let refused = import(&config, &tensors(), Some(POOLING)).unwrap_err().to_string();
        assert!(refused.contains(key), "{refused}");
    }
    let cls = r#"{"pooling_mode_mean_tokens": false, "pooling_mode_cls_token": true}"#;
    let refused = import(&config(), &tensors(), Some(cls)).unwrap_err().to_string();
    assert!(refused.contains("pooling_mode_cls_token"), "{refused}");
    let refused = import(&config(), &tensors(), None).unwrap_err().to_string();
    assert!(refused.contains("1_Pooling/config.json"), "{refused}");
    let mut more = tensors();
    more.insert("classifier.weight".to_owned(), (vec![1], vec![0.0]));
    let refused = import(&config(), &more, Some(POOLING)).unwrap_err().to_string();
    assert!(refused.contains("classifier.weight"), "{refused}");
    let mut less = tensors();
    less.remove("encoder.layer.1.output.dense.bias");
    let refused = import(&config(), &less, Some(POOLING)).unwrap_err().to_string();
    assert!(refused.contains("encoder.layer.1.output.dense.bias"), "{refused}");
}

/// The embedding by the formulas of Devlin et al. (2019), in binary64.
fn floats(tensors: &Tensors, text: &[u32]) -> Vec<f64> {
    let numbers = |name: &str| &tensors[name].1;
    let row = |name: &str, row: usize| &numbers(name)[row * WIDTH..][..WIDTH];
    let mut rows: Vec<Vec<f64>> = text
        .iter()
        .enumerate()
        .map(|(position, &token)| {
            let parts = [
                row("embeddings.word_embeddings.weight", token as usize),
                row("embeddings.position_embeddings.weight", position),
                row("embeddings.token_type_embeddings.weight", 0),
            ];
            (0..WIDTH).map(|k| parts.iter().map(|part| f64::from(part[k])).sum()).collect()
        })
        .collect();
    let norm = |rows: &mut Vec<Vec<f64>>, name: &str| {
        for row in rows {
            let mean = row.iter().sum::<f64>() / WIDTH as f64;
            let variance = row.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / WIDTH as f64;
            let weights = numbers(&format!("{name}.weight")).iter();
            let bias = numbers(&format!("{name}.bias"));
            for ((it, weight), bias) in row.iter_mut().zip(weights).zip(bias) {
                *it = (*it - mean) / (variance + EPSILON).sqrt() * f64::from(*weight)
                    + f64::from(*bias);
            }
        }
    };
    let dense = |rows: &[Vec<f64>], name: &str| -> Vec<Vec<f64>> {
        let (weights, bias) =
            (numbers(&format!("{name}.weight")), numbers(&format!("{name}.bias")));
        let product = |row: &Vec<f64>| {
            let sums = weights.chunks(row.len()).zip(bias);
            let sum = |(weights, bias): (&[f32], &f32)| {
                let terms = weights.iter().zip(row).map(|(w, x)| f64::from(*w) * x);
                terms.sum::<f64>() + f64::from(*bias)
            };
            sums.map(sum).collect()
        };
        rows.iter().map(product).collect()
    };
    let add = |rows: &mut Vec<Vec<f64>>, other: Vec<Vec<f64>>| {
        for (row, other) in rows.iter_mut().zip(other) {
            row.iter_mut().zip(other).for_each(|(it, other)| *it += other);
        }
    };
    norm(&mut rows, "embeddings.LayerNorm");
    for layer in 0..LAYERS {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let part = |part: &str| dense(&rows, &name(&format!("attention.self.{part}")));
        let attended = attention(&part("query"), &part("key"), &part("value"));
        let output = dense(&attended, &name("attention.output.dense"));
        add(&mut rows, output);
        norm(&mut rows, &name("attention.output.LayerNorm"));
        let mut inner = dense(&rows, &name("intermediate.dense"));
        inner.iter_mut().flatten().for_each(|it| *it = gelu(*it));
        let output = dense(&inner, &name("output.dense"));
        add(&mut rows, output);
        norm(&mut rows, &name("output.LayerNorm"));
    }
    let sums: Vec<f64> = (0..WIDTH).map(|k| rows.iter().map(|row| row[k]).sum()).collect();
    let length = sums.iter().map(|it| it * it).sum::<f64>().sqrt();
    sums.into_iter().map(|it| it / length).collect()
}

fn attention(query: &[Vec<f64>], key: &[Vec<f64>], value: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let size = WIDTH / HEADS;
    let mut out = vec![vec![0.0; WIDTH]; query.len()];
    for head in 0..HEADS {
        let part = head * size..(head + 1) * size;
        for (query, out) in query.iter().zip(&mut out) {
            let dot = |key: &Vec<f64>| -> f64 {
                query[part.clone()].iter().zip(&key[part.clone()]).map(|(q, k)| q * k).sum()
            };
            let scores: Vec<f64> =
                key.iter().map(|key| (dot(key) / (size as f64).sqrt()).exp()).collect();
            let total: f64 = scores.iter().sum();
            for (score, value) in scores.iter().zip(value) {
                for k in part.clone() {
                    out[k] += score / total * value[k];
                }
            }
        }
    }
    out
}

/// GELU by the integral of the bell curve, in steps.
fn gelu(x: f64) -> f64 {
    const STEPS: usize = 400;
    let step = x / STEPS as f64;
    let bell = |t: f64| (-t * t / 2.0).exp() / core::f64::consts::TAU.sqrt();
    // Simpson's rule.
    let weight = |k: usize| if k == 0 || k == STEPS { 1.0 } else { 2.0 + 2.0 * (k % 2) as f64 };
    let area: f64 =
        (0..=STEPS).map(|k| weight(k) * bell(k as f64 * step)).sum::<f64>() * step / 3.0;
    x * (0.5 + area)
}
