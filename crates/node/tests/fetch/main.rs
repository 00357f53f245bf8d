//! Fetch from real servers on this machine: honest ones, and those that lie, stall, or know nothing.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]
#![expect(clippy::print_stderr, reason = "a large fetch says how it went")]

mod routes;
mod server;
mod sources;
