//! Run whole networks in one thread from one seed, and let everything go wrong.
//!
//! The tests run two hundred seeds; `cargo run --release -p sim --example seeds -- 0 10000` runs more by
//! hand, and `--validators 4` and `--liar withholder` choose among networks. `honesty` has cheats at paid
//! work instead of faults, on one ledger: `cargo run --release -p sim --example honesty`.

pub mod byzantine;
pub mod check;
pub mod disk;
pub mod flaw;
pub mod honesty;
pub mod machine;
pub mod node;
pub mod people;
pub mod random;
pub mod record;
pub mod world;
