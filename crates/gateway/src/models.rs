//! `GET /v1/models` and `GET /v1/models/{id}`.
//!
//! Besides the fields of the OpenAI API a model says how long its context is, which weights it is,
//! by which arithmetic it runs, and under which licence.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::backend::ServedModel;
use crate::body::Id;
use crate::embeddings;
use crate::error::{ApiError, json_response};
use crate::plan::find;
use crate::router::Gateway;

/// Lists what is served now.
pub(crate) async fn list(State(gateway): State<Arc<Gateway>>) -> Response {
    let models = gateway.backend().models();
    let mut data: Vec<Value> = models.iter().map(|model| describe(model)).collect();
    let encoders = gateway.backend().embedders();
    data.extend(encoders.iter().map(|encoder| embeddings::describe(encoder.served())));
    json_response(StatusCode::OK, &json!({"object": "list", "data": data}))
}

/// Describes one model, by any of its names. Names may have slashes.
pub(crate) async fn one(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    if let Some(encoder) = embeddings::find(&gateway, &id) {
        return Ok(json_response(StatusCode::OK, &embeddings::describe(encoder.served())));
    }
    let model = find(&gateway.backend().models(), &id)?;
    Ok(json_response(StatusCode::OK, &describe(&model)))
}

fn describe(model: &ServedModel) -> Value {
    json!({
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": model.owner,
        "aliases": model.aliases,
        "context_window": model.context_max,
        "cid": model.cid,
        "profile": model.profile,
        "licence": model.licence,
    })
}
