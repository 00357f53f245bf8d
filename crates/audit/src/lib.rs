//! Commit to answers, and find out who computed them wrongly.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

#[cfg(feature = "std")]
pub mod artifact;
#[cfg(feature = "std")]
mod bytes;
#[cfg(feature = "std")]
pub mod case;
pub mod commitment;
mod digest;
pub mod dispute;
pub mod draw;
mod formulas;
pub mod graph;
pub mod light;
#[cfg(feature = "std")]
pub mod receipt;
#[cfg(feature = "std")]
pub mod referee;
pub mod replay;
#[cfg(feature = "std")]
pub mod rows;
pub mod step;
pub mod trace;
#[cfg(feature = "std")]
pub mod verify;
