//! Apply ordered transactions to the shared state.
#![cfg_attr(
    not(test),
    deny(
        clippy::float_arithmetic,
        clippy::arithmetic_side_effects,
        clippy::indexing_slicing,
        clippy::as_conversions
    )
)]

pub mod accounts;
pub mod apply;
pub mod audits;
pub mod batches;
pub mod beacon;
pub mod channels;
pub mod check;
pub mod coop;
pub mod disputes;
pub mod divide;
pub mod event;
pub mod genesis;
pub mod governance;
pub mod measures;
pub mod members;
pub mod nodes;
pub mod parameters;
pub mod refusal;
pub mod sessions;
pub mod stakes;
pub mod standing;
pub mod state;
pub mod table;
pub mod validators;
pub mod works;
