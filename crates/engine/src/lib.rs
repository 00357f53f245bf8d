//! Run a language model so that every honest machine gets the same bits.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod artifact;
pub mod batch;
pub mod encoder;
pub mod fingerprint;
pub mod forward;
pub mod guide;
pub mod import;
pub mod kernels;
pub mod kv;
pub mod model;
pub mod numeric;
pub mod pages;
pub mod request;
pub mod sampler;
pub mod sampling;
pub mod texts;
pub mod trace;
pub mod vocabulary;
