//! Name things: ids, amounts, signed messages, and their canonical bytes.
#![cfg_attr(
    not(test),
    deny(
        clippy::float_arithmetic,
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::as_conversions
    )
)]

pub mod agreement;
pub mod amount;
pub mod bounded;
pub mod codec;
pub mod envelope;
pub mod evidence;
pub mod id;
pub mod measure;
pub mod node_key;
pub mod record;
pub mod sampling;
pub mod signature;
pub mod siwe;
pub mod transaction;
pub mod typed;
pub mod vrf;
pub mod word;
