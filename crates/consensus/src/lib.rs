//! Agree on blocks: alone, or with other validators.
//!
//! Malachite's Tendermint behind one narrow trait, `Application`; a network of one runs the same path.
#![cfg_attr(not(test), deny(clippy::float_arithmetic, clippy::indexing_slicing))]

pub mod application;
mod codec;
mod context;
mod driver;
pub mod machine;
mod parts;
mod signing;
mod silence;
pub mod simulated;
pub mod start;
mod undecided;
