//! Pull a source from mirrors on this machine: good ones, liars, and through kills.

#![expect(clippy::panic, reason = "tests")]

mod kill;
mod liars;
mod server;
