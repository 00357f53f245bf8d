//! Serve the OpenAI-compatible API.
//!
//! A request comes in as HTTP and JSON, leaves for a `Backend` as tokens and integers, and its
//! outputs come back as JSON, whole or piece by piece. The operations, parameters and errors are
//! listed in `docs/api.md`. Read `router` first, then follow a request: `plan`, `answer`,
//! `transcript`, `shape`, `stream`.
//!
//! Invariants:
//! - No parameter is ignored: it is obeyed, known to have no effect, or refused by name.
//! - No prompt is cut: it fits, or it is refused with the numbers.
//! - An answer that broke off is never told as a whole one.
//!
//! Not here: models, engines, money, TLS.

pub mod archive;
pub mod auth;
pub mod backend;
pub mod batches;
pub mod embeddings;
pub mod error;
pub mod limits;
pub mod metrics;
pub mod origins;
pub mod router;
pub mod serve;
pub mod stop;

mod answer;
mod body;
mod caller;
mod calls;
mod chat;
mod completions;
mod events;
mod files;
mod idempotency;
mod ids;
mod logprobs;
mod messages;
mod models;
mod observe;
mod paging;
mod parameters;
mod patience;
mod plan;
mod quote;
mod responses;
mod sampling;
mod schema;
mod shape;
mod stored;
mod stream;
mod tokens;
mod tools;
mod transcript;
mod turns;
