//! The API over a scripted backend: requests in, responses out, in one process.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

mod batches;
mod chat;
mod completions;
mod document;
mod edges;
mod embeddings;
mod idempotency;
mod messages;
mod metrics;
mod properties;
mod refusals;
mod requests;
mod responses;
mod schemas;
mod sockets;
mod stored;
mod streams;
mod tokens;
mod tools;
