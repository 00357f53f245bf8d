//! The ledger's rules, seen from outside: orders go in, events and refusals come out.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, which fail by panicking")]

mod beacon;
mod bytes;
mod nodes;
mod parameters;
mod payments;
mod random;
mod refusals;
mod story;
mod validators;
mod votes;
mod world;
