//! Embeddings: what is read, what is computed from, what is written.

use std::sync::{Arc, Mutex};

use engine::vocabulary::{TokenKind, Vocabulary, VocabularyModel, VocabularyParts};
use gateway::backend::{Backend, Broken, Busy, Job, Seeding, ServedModel, Submitting, Urgency};
use gateway::embeddings::{Embedder, Embedding, NotEmbedded, ServedEncoder};
use gateway::router::{Gateway, Options, router};
use serde_json::{Value, json};
use text::tokenizer::Tokenizer;
use tower::ServiceExt;

use crate::world::{get, model, post, read, run};

const PATH: &str = "/v1/embeddings";
/// 0.6, -0.8 and 0 in Q30.
const ELEMENTS: [i32; 3] = [644_245_094, -858_993_459, 0];

/// An encoder whose every text has the same embedding, and which keeps what it was asked.
#[derive(Debug)]
struct Small {
    served: ServedEncoder,
    asked: Mutex<Vec<Vec<Vec<u32>>>>,
    refusal: Option<NotEmbedded>,
}

impl Embedder for Small {
    fn served(&self) -> &ServedEncoder {
        &self.served
    }

    fn embed(&self, texts: Vec<Vec<u32>>) -> Embedding<'_> {
        let embeddings = vec![ELEMENTS.to_vec(); texts.len()];
        self.asked.lock().unwrap().push(texts);
        let answer = self.refusal.clone().map_or(Ok(embeddings), Err);
        Box::pin(std::future::ready(answer))
    }
}

/// A node with a model that generates, and an encoder.
struct Node(Arc<Small>);

impl Backend for Node {
    fn models(&self) -> Vec<Arc<ServedModel>> {
        vec![Arc::new(model("tiny", None))]
    }

    fn submit<'a>(
        &'a self,
        _model: &'a ServedModel,
        _request: engine::request::Request,
        _: Seeding,
        _: Urgency,
    ) -> Submitting<'a> {
        let busy: Result<Job, Busy> = Err(Busy { retry_after: 1 });
        Box::pin(std::future::ready(busy))
    }

    fn embedders(&self) -> Vec<Arc<dyn Embedder>> {
        vec![self.0.clone()]
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

fn small(refusal: Option<NotEmbedded>) -> Arc<Small> {
    let tokens = ["[UNK]", "[CLS]", "[SEP]", "hello", "world"];
    let mut kinds = vec![TokenKind::Control; 3];
    kinds[0] = TokenKind::Unknown;
    kinds.resize(tokens.len(), TokenKind::Normal);
    let parts = VocabularyParts {
        model: VocabularyModel::WordPiece,
        pre: "bert-uncased".to_owned(),
        tokens: tokens.map(|token| token.as_bytes().to_vec()).into(),
        kinds,
        score_bits: Vec::new(),
        merges: Vec::new(),
        begin: Some(1),
        unknown: Some(0),
        ends: vec![2],
        adds_begin: true,
        adds_space_prefix: false,
    };
    let bytes = parts.to_bytes().unwrap();
    let served = ServedEncoder {
        name: "small".to_owned(),
        cid: "bafysmall".to_owned(),
        profile: "int-1",
        created: 1_700_000_000,
        context_max: 5,
        dimensions: 3,
        licence: None,
        tokenizer: Tokenizer::new(&Vocabulary::new(&bytes).unwrap()).unwrap(),
    };
    Arc::new(Small { served, asked: Mutex::default(), refusal })
}

fn ask(small: &Arc<Small>, body: &Value) -> (u16, String) {
    let gateway = Gateway::new(Arc::new(Node(small.clone())), &Options::default());
    let request = post(PATH, &body.to_string());
    run(async {
        let (status, _, body) = read(router(gateway).oneshot(request).await.unwrap()).await;
        (status.as_u16(), body)
    })
}

#[track_caller]
fn refused(body: &Value, status: u16, code: &str, param: &str) -> String {
    let small = small(None);
    let (found, answer) = ask(&small, body);
    let error: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((found, &error["error"]["code"]), (status, &json!(code)), "{answer}");
    assert_eq!(error["error"]["param"], json!(param), "{answer}");
    assert!(small.asked.lock().unwrap().is_empty(), "nothing is computed");
    error["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn strings_and_tokens_alone_and_in_batches_are_read() {
    for (input, expected) in [
        (json!("Hello world"), vec![vec![1, 3, 4, 2]]),
        (json!(["hello", "", "x"]), vec![vec![1, 3, 2], vec![1, 2], vec![1, 0, 2]]),
        (json!([3, 4]), vec![vec![3, 4]]),
        (json!([[3], [4, 4]]), vec![vec![3], vec![4, 4]]),
    ] {
        let small = small(None);
        let (status, answer) = ask(&small, &json!({"model": "small", "input": input}));
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let tokens: usize = expected.iter().map(Vec::len).sum();
        assert_eq!(answer["usage"], json!({"prompt_tokens": tokens, "total_tokens": tokens}));
        let indexes: Vec<_> =
            answer["data"].as_array().unwrap().iter().map(|it| it["index"].clone()).collect();
        let expected_indexes: Vec<_> = (0..expected.len()).map(|index| json!(index)).collect();
        assert_eq!(indexes, expected_indexes);
        assert_eq!(*small.asked.lock().unwrap(), [expected]);
    }
}

#[test]
fn floats_are_those_nearest_to_the_integers_and_base64_has_the_same_bits() {
    let body = json!({"model": "bafysmall", "input": "hello", "user": "me"});
    let (_, answer) = ask(&small(None), &body);
    let expected = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.6,-0.8,0]}],"model":"small","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    assert_eq!(answer, expected);
    let body = json!({"model": "small", "input": "hello", "encoding_format": "base64"});
    let (_, answer) = ask(&small(None), &body);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    // The bytes of 0.6, -0.8 and 0 in binary32, little endian: 3f19999a, bf4ccccd, 00000000.
    assert_eq!(answer["data"][0]["embedding"], json!("mpkZP83MTL8AAAAA"));
}

#[test]
fn fewer_dimensions_are_cut_and_brought_to_length_one() {
    for (dimensions, expected) in [(1, "[1]"), (2, "[0.6,-0.8]"), (3, "[0.6,-0.8,0]")] {
        let body = json!({"model": "small", "input": "hello", "dimensions": dimensions});
        let (_, answer) = ask(&small(None), &body);
        assert!(answer.contains(&format!("\"embedding\":{expected}")), "{answer}");
    }
}

#[test]
fn what_is_not_served_is_refused_by_name() {
    let with = |key: &str, value: Value| {
        let mut body = json!({"model": "small", "input": "hello"});
        body[key] = value;
        body
    };
    for value in [json!({}), json!(3), json!([{}, {}]), json!([[]]), json!([1.5])] {
        refused(&with("input", value), 400, "invalid_type", "input");
    }
    refused(&with("input", Value::Null), 400, "missing_required_parameter", "input");
    refused(&with("input", json!([])), 400, "invalid_value", "input");
    refused(&with("input", json!(vec!["a"; 2049])), 400, "invalid_value", "input");
    refused(&with("input", json!([5])), 400, "invalid_value", "input");
    let long = with("input", json!(["hello", "hello world hello world"]));
    let message = refused(&long, 400, "context_length_exceeded", "input");
    assert_eq!(message, "`input[1]` has 6 tokens, and `small` reads 5");
    refused(&with("dimensions", json!(0)), 400, "invalid_value", "dimensions");
    refused(&with("dimensions", json!(4)), 400, "invalid_value", "dimensions");
    refused(&with("encoding_format", json!("int8")), 400, "invalid_value", "encoding_format");
    refused(&with("task", json!("search")), 400, "unsupported_parameter", "task");
    refused(&with("model", json!("other")), 404, "model_not_found", "model");
    let message = refused(&with("model", json!("tiny")), 404, "model_not_found", "model");
    assert!(message.contains("generates text"), "{message}");
}

#[test]
fn a_full_queue_and_a_broken_machine_are_told_apart() {
    let body = json!({"model": "small", "input": "hello"});
    let busy = small(Some(NotEmbedded::Busy(Busy { retry_after: 2 })));
    assert_eq!(ask(&busy, &body).0, 429);
    let broken = small(Some(NotEmbedded::Broken(Broken("the machine caught fire".to_owned()))));
    let (status, answer) = ask(&broken, &body);
    assert_eq!(status, 502);
    assert!(!answer.contains("fire"), "{answer}");
}

#[test]
fn the_list_of_models_has_encoders_with_their_dimensions() {
    let options = Options::default();
    let gateway = Gateway::new(Arc::new(Node(small(None))), &options);
    let list = |path: &str| {
        let request = get(path);
        let router = router(gateway.clone());
        let body = run(async { read(router.oneshot(request).await.unwrap()).await.2 });
        serde_json::from_str::<Value>(&body).unwrap()
    };
    let all = list("/v1/models");
    assert_eq!(all["data"][0]["id"], "tiny");
    assert_eq!(all["data"][1]["id"], "small");
    assert_eq!(list("/v1/models/small")["dimensions"], 3);
}
