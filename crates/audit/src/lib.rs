//! Commit to answers, and find out who computed them wrongly.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod commitment;
#[cfg(feature = "std")]
pub mod receipt;
pub mod replay;
pub mod tree;
#[cfg(feature = "std")]
pub mod verify;
