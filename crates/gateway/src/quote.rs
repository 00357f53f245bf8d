//! `"dry_run": true`: what an answer would cost and how long it would take, and no answer.
//!
//! Not here: what machines ask, and how fast they are (the backend).

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::backend::{Backend, Quote};
use crate::error::json_response;
use crate::plan::Plan;

/// Tells what machines would do this, the one that would be asked first before the others.
pub(crate) fn respond(plan: &Plan, backend: &dyn Backend) -> Response {
    let requests: Vec<_> = plan.requests().map(|(_, request)| request).collect();
    let prompt: usize = plan.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
    let completion: u64 = requests.iter().map(|request| u64::from(request.tokens_max)).sum();
    let quotes = backend.quotes(&plan.model, &requests);
    let body = json!({
        "object": "mashaa.quote",
        "model": plan.model.name,
        "system_fingerprint": plan.model.fingerprint(),
        "prompt_tokens": prompt,
        "completion_tokens_max": completion,
        "quotes": quotes.iter().map(show).collect::<Vec<_>>(),
    });
    json_response(StatusCode::OK, &body)
}

fn show(quote: &Quote) -> Value {
    json!({
        "worker": quote.worker,
        "is_here": quote.is_here,
        "price": quote.price,
        "cost_max": quote.cost_max,
        "trust": quote.trust.name(),
        "wait_ms": quote.wait,
        "time_max_ms": quote.time_max,
        "reliability": quote.reliability,
    })
}
