//! Run a language model so that every honest machine gets the same bits.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod request;
pub mod sampling;
pub mod vocabulary;
