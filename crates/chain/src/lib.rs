//! Turn ordered blocks into a durable, provable state.
#![cfg_attr(
    not(test),
    deny(
        clippy::float_arithmetic,
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::as_conversions
    )
)]

pub mod block;
pub mod chain;
pub mod error;
pub mod pool;
pub mod proof;
pub mod snapshot;
pub mod store;
mod tree;
