//! Pull a source from mirrors on this machine: good ones, liars, and through kills.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod kill;
mod liars;
mod server;
