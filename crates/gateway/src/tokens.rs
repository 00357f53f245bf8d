//! `POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`: a model's tokens, for programs that
//! count and compare them. The shapes are those of vLLM, which evaluation harnesses know.
//!
//! Not here: the tokens of a conversation (`/v1/responses/input_tokens`).

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};
use text::tokenizer::SpecialTokens;

use crate::backend::ServedModel;
use crate::error::{ApiError, Code, json_response};
use crate::parameters::{Fields, array, boolean, invalid, string, wrong_type};
use crate::plan::find;
use crate::router::Gateway;

/// `POST /tokenize`.
pub(crate) async fn tokenize(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = gateway.read(request).await?;
    let tokens = gateway.prepare(move |models| {
        let mut fields = Fields::parse(&body.bytes)?;
        let model = model(&mut fields, models)?;
        let prompt = fields.require("prompt", string)?;
        let whole = fields.take("add_special_tokens", boolean)?.unwrap_or(true);
        fields.finish()?;
        let tokens = match whole {
            true => model.tokenizer.encode_prompt(&prompt, SpecialTokens::Parse),
            false => model.tokenizer.encode(&prompt, SpecialTokens::Parse),
        };
        Ok(json!({"tokens": tokens, "count": tokens.len(), "max_model_len": model.context_max}))
    });
    Ok(json_response(StatusCode::OK, &tokens.await?))
}

/// `POST /detokenize`.
pub(crate) async fn detokenize(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    let body = gateway.read(request).await?;
    let text = gateway.prepare(move |models| {
        let mut fields = Fields::parse(&body.bytes)?;
        let model = model(&mut fields, models)?;
        let count = model.tokenizer.len();
        let tokens = fields.require("tokens", |path, value| tokens(path, value, count))?;
        fields.finish()?;
        Ok(json!({"prompt": model.tokenizer.decode(&tokens)}))
    });
    Ok(json_response(StatusCode::OK, &text.await?))
}

/// `GET /tokenizer_info`: of the only model that is served, or the first.
pub(crate) async fn info(State(gateway): State<Arc<Gateway>>) -> Result<Response, ApiError> {
    let models = gateway.backend().models();
    let model =
        models.first().ok_or_else(|| ApiError::new(Code::NotReady, "no model is served"))?;
    let info = json!({
        "model": model.name, "bos_token": model.begin_text, "eos_token": model.end_text,
        "vocab_size": model.tokenizer.len(), "max_model_len": model.context_max,
        "chat_template": model.template.as_ref().map(text::template::Template::source),
    });
    Ok(json_response(StatusCode::OK, &info))
}

/// The model that is named, or the only one.
fn model(fields: &mut Fields, models: &[Arc<ServedModel>]) -> Result<Arc<ServedModel>, ApiError> {
    match (fields.take("model", string)?, models) {
        (None, [only]) => Ok(Arc::clone(only)),
        (Some(name), _) => find(models, &name),
        (None, _) => fields.require("model", string).and_then(|name| find(models, &name)),
    }
}

fn tokens(path: &str, value: Value, count: usize) -> Result<Vec<u32>, ApiError> {
    let token = |value: Value| {
        let id = value.as_u64().ok_or_else(|| wrong_type(path, "an array of token ids"))?;
        let known = u32::try_from(id).ok().filter(|&id| (id as usize) < count);
        known.ok_or_else(|| {
            invalid(path, format!("names the token {id}, and the model has only {count} tokens"))
        })
    };
    array(path, value)?.into_iter().map(token).collect()
}
