//! The ledger's rules, seen from outside: orders go in, events and refusals come out.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, which fail by panicking")]

#[path = "../../../engine/tests/support/mod.rs"]
mod support;

mod audit_random;
mod audit_story;
mod audits;
mod beacon;
mod bytes;
mod disputes;
mod nodes;
mod parameters;
mod payments;
mod random;
mod refusals;
mod runs;
mod stakes;
mod story;
mod validators;
mod votes;
mod world;
