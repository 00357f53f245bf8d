//! Chains of real orders: what is decided stays, what is not leaves nothing, and proofs hold.
#![expect(clippy::unwrap_used, reason = "helpers of tests, which fail by panicking")]

mod blocks;
mod discipline;
#[path = "../../../sim/src/disk.rs"]
#[expect(dead_code, unreachable_pub, reason = "the simulator, whose it is, uses all of it")]
mod disk;
mod proofs;
mod pruning;
mod snapshots;
mod world;
