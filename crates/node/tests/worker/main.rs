//! Each preference by what it does to a worker that computes.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod fleet;
mod grammar;
mod machine;
mod preferences;
mod queue;
