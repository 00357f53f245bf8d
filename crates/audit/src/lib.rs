//! Commit to answers, and find out who computed them wrongly.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod tree;
pub mod commitment;
pub mod replay;
