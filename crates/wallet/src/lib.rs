//! Keep a member's key, and sign with it.
#![cfg_attr(
    not(test),
    deny(
        clippy::float_arithmetic,
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::as_conversions
    )
)]

pub mod passphrase;
pub mod phrase;

pub mod derive;
pub mod keystore;
pub mod wallet;

pub mod files;
pub mod wallets;
