//! Chains of real orders: what is decided stays, what is not leaves nothing, and proofs hold.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod blocks;
mod proofs;
mod world;
