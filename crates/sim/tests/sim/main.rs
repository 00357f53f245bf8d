//! Whole networks: what holds whatever goes wrong, and that the checks would notice if it did not.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

#[path = "../../../engine/tests/support/mod.rs"]
mod support;

mod checks;
mod disk;
mod flaws;
mod honesty;
mod seeds;
