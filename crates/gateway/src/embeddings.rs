//! `POST /v1/embeddings`: texts to vectors.
//!
//! A vector leaves the engine as integers. It is cut to `dimensions` and brought to length one as
//! integers too, and each becomes the binary32 nearest to it, ties to even: whoever has the integers
//! has every bit of the answer.
//!
//! Invariants:
//! - No text is cut: it fits the model's context, or the request is refused with the numbers.
//!
//! Not here: who computes (`Embedder`).

use std::fmt::{self, Write};
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use data_encoding::BASE64;
use engine::encoder::{EMBEDDING_FRACTION, unit};
use serde_json::{Value, json};
use text::tokenizer::Tokenizer;

use crate::auth::account::Grant;
use crate::backend::{Broken, Busy};
use crate::error::{ApiError, Code, quote};
use crate::limits::{EMBEDDING_INPUTS_MAX, EMBEDDING_TOKENS_MAX};
use crate::parameters::{Fields, count, invalid, string, wrong_type};
use crate::router::Gateway;

/// Embeddings on their way: for each text the elements that the engine gives, in its fixed point.
pub type Embedding<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<Vec<i32>>, NotEmbedded>> + Send + 'a>>;

/// A model that makes embeddings, and the machine that computes them.
pub trait Embedder: fmt::Debug + Send + Sync + 'static {
    /// What is known of the model.
    fn served(&self) -> &ServedEncoder;

    /// Embeds texts, each of 1 to `ServedEncoder::context_max` tokens of the vocabulary. Dropping the
    /// future cancels the work.
    fn embed(&self, texts: Vec<Vec<u32>>) -> Embedding<'_>;
}

/// A model that makes embeddings, as clients see it.
#[derive(Debug)]
pub struct ServedEncoder {
    /// The name in the API, such as `minilm`.
    pub name: String,
    /// The artifact's content id. Clients may use it as a name, too.
    pub cid: String,
    /// The numeric profile, such as `int-1`.
    pub profile: &'static str,
    /// When the artifact was made, in seconds since 1970.
    pub created: u64,
    /// Tokens of a text, at most, those that begin and end it among them.
    pub context_max: u32,
    /// Elements of an embedding.
    pub dimensions: u32,
    /// The licence under which the weights were published, as an SPDX expression if known.
    pub licence: Option<String>,
    /// Text to tokens.
    pub tokenizer: Tokenizer,
}

/// Why texts were not embedded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotEmbedded {
    /// The queue is full.
    Busy(Busy),
    /// The work broke off. The text goes to the log, not to the client.
    Broken(Broken),
}

/// What a request asks for.
struct Plan {
    embedder: Arc<dyn Embedder>,
    texts: Vec<Vec<u32>>,
    dimensions: usize,
    base64: bool,
}

/// Answers a request.
pub(crate) async fn embeddings(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    if let Some(pause) = gateway.backend().pause() {
        return Err(ApiError::new(Code::Paused, pause.reason).retry_after(pause.retry_after));
    }
    let grant = Grant::of(&request);
    let body = gateway.read(request).await?;
    let preparing = Arc::clone(&gateway);
    let plan = gateway.prepare(move |_| plan(&body.bytes, &preparing)).await?;
    let tokens: usize = plan.texts.iter().map(Vec::len).sum();
    let running = grant.map(|grant| grant.begin()).transpose()?;
    let embeddings = plan.embedder.embed(plan.texts).await.map_err(refusal)?;
    running.iter().for_each(|running| running.count(tokens as u64));
    let name = plan.embedder.served().name.clone();
    let (dimensions, base64) = (plan.dimensions, plan.base64);
    let write = move |_: &[_]| Ok(render(&embeddings, dimensions, base64, &name, tokens));
    let mut response = Response::new(Body::from(gateway.prepare(write).await?));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

/// What `/v1/models` says of a model.
pub(crate) fn describe(encoder: &ServedEncoder) -> Value {
    json!({
        "id": encoder.name,
        "object": "model",
        "created": encoder.created,
        "owned_by": "mashaa",
        "aliases": [],
        "context_window": encoder.context_max,
        "dimensions": encoder.dimensions,
        "cid": encoder.cid,
        "profile": encoder.profile,
        "licence": encoder.licence,
    })
}

/// The model with this name or CID, if it is one that makes embeddings.
pub(crate) fn find(gateway: &Gateway, name: &str) -> Option<Arc<dyn Embedder>> {
    let is_named = |it: &Arc<dyn Embedder>| it.served().name == name || it.served().cid == name;
    gateway.backend().embedders().into_iter().find(is_named)
}

fn refusal(why: NotEmbedded) -> ApiError {
    match why {
        NotEmbedded::Busy(busy) => {
            let message = "too many texts are waiting to be embedded";
            ApiError::new(Code::Busy, message).retry_after(busy.retry_after)
        }
        NotEmbedded::Broken(Broken(why)) => {
            ApiError::new(Code::AnswerBroken, "the embeddings broke off").because(why)
        }
    }
}

fn plan(body: &[u8], gateway: &Gateway) -> Result<Plan, ApiError> {
    let mut fields = Fields::parse(body)?;
    let name = fields.require("model", string)?;
    let embedder = find(gateway, &name).ok_or_else(|| not_found(gateway, &name))?;
    let served = embedder.served();
    let texts = fields.require("input", |path, value| texts(path, value, served))?;
    let range = 1..=served.dimensions;
    let dimensions = fields.take("dimensions", |path, value| count(path, &value, range))?;
    let base64 = fields.take("encoding_format", encoding)?.unwrap_or(false);
    fields.drop_without_effect()?;
    fields.finish()?;
    let dimensions = dimensions.unwrap_or(served.dimensions) as usize;
    Ok(Plan { texts, dimensions, base64, embedder })
}

fn not_found(gateway: &Gateway, name: &str) -> ApiError {
    let generates = gateway.backend().models().iter().any(|model| model.answers_to(name));
    let why = match generates {
        true => "generates text, and makes no embeddings",
        false => "is not served here",
    };
    let message = format!("{} {why}; /v1/models lists what has `dimensions`", quote(name));
    ApiError::new(Code::ModelNotFound, message).at("model")
}

/// `true` for base64.
fn encoding(path: &str, value: Value) -> Result<bool, ApiError> {
    match string(path, value)?.as_str() {
        "float" => Ok(false),
        "base64" => Ok(true),
        other => Err(invalid(path, format!("is {}, not `float` or `base64`", quote(other)))),
    }
}

/// A string, an array of strings, an array of tokens, or an array of arrays of tokens. Strings get the
/// tokens that begin and end a text; tokens are taken as they are.
fn texts(path: &str, value: Value, served: &ServedEncoder) -> Result<Vec<Vec<u32>>, ApiError> {
    let items = match value {
        Value::String(_) => vec![value],
        Value::Array(items) if items.first().is_some_and(Value::is_number) => {
            vec![Value::Array(items)]
        }
        Value::Array(items) => items,
        _ => return Err(shape_error(path)),
    };
    if items.is_empty() || items.len() > EMBEDDING_INPUTS_MAX {
        let problem = format!("has {} texts, outside 1 to {EMBEDDING_INPUTS_MAX}", items.len());
        return Err(invalid(path, problem));
    }
    let (mut texts, mut total) = (Vec::with_capacity(items.len()), 0usize);
    for (index, item) in items.into_iter().enumerate() {
        let text = text(path, item, served)?;
        let (size, max) = (text.len(), served.context_max as usize);
        if size > max {
            let at = format!("{path}[{index}]");
            let message = format!("`{at}` has {size} tokens, and `{}` reads {max}", served.name);
            return Err(ApiError::new(Code::ContextLengthExceeded, message).at(path));
        }
        total += size;
        if total > EMBEDDING_TOKENS_MAX {
            let problem = format!("has more than {EMBEDDING_TOKENS_MAX} tokens in all");
            return Err(invalid(path, problem));
        }
        texts.push(text);
    }
    Ok(texts)
}

fn text(path: &str, item: Value, served: &ServedEncoder) -> Result<Vec<u32>, ApiError> {
    let items = match item {
        Value::String(text) => return Ok(served.tokenizer.encode_enclosed(&text)),
        Value::Array(items) if !items.is_empty() => items,
        _ => return Err(shape_error(path)),
    };
    let id = |item: &Value| item.as_u64().and_then(|id| u32::try_from(id).ok());
    let tokens: Option<Vec<u32>> = items.iter().map(id).collect();
    let tokens = tokens.ok_or_else(|| shape_error(path))?;
    let size = served.tokenizer.len();
    match tokens.iter().find(|&&token| token as usize >= size) {
        None => Ok(tokens),
        Some(stranger) => {
            let problem = format!("names the token {stranger}, and `{}`", served.name);
            Err(invalid(path, format!("{problem} has only {size} tokens")))
        }
    }
}

fn shape_error(path: &str) -> ApiError {
    let shapes = "a string, an array of strings, an array of token ids, or an array of such arrays";
    wrong_type(path, shapes)
}

/// The body of an answer. Floats are written as the shortest decimals that read back the same.
fn render(
    embeddings: &[Vec<i32>],
    dimensions: usize,
    base64: bool,
    name: &str,
    tokens: usize,
) -> String {
    let mut body = String::from(r#"{"object":"list","data":["#);
    for (index, embedding) in embeddings.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(body, r#"{comma}{{"object":"embedding","index":{index},"embedding":"#);
        let floats = floats(embedding, dimensions);
        if base64 {
            let bytes: Vec<u8> = floats.iter().flat_map(|float| float.to_le_bytes()).collect();
            let _ = write!(body, r#""{}"}}"#, BASE64.encode(&bytes));
        } else {
            let numbers: Vec<String> = floats.iter().map(f32::to_string).collect();
            let _ = write!(body, "[{}]}}", numbers.join(","));
        }
    }
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    let _ = write!(body, r#"],"model":{},"usage":{usage}}}"#, json!(name));
    body
}

/// The first `dimensions` elements, brought to length one again where that leaves some out.
fn floats(embedding: &[i32], dimensions: usize) -> Vec<f32> {
    let kept = &embedding[..dimensions.min(embedding.len())];
    let kept = match kept.len() == embedding.len() {
        true => kept.to_vec(),
        false => unit(&kept.iter().map(|&element| i64::from(element)).collect::<Vec<_>>()),
    };
    // The conversion rounds to nearest, ties to even, and a power of two divides exactly.
    kept.into_iter().map(|element| element as f32 / (1u32 << EMBEDDING_FRACTION) as f32).collect()
}
