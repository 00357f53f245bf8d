//! The numbers that say how a token is chosen, as machines tell them to each other.
//!
//! One record for what is asked of a worker and for what a receipt states, so that the two cannot
//! differ. The numbers are those of `docs/spec/int-1.md`, section 9.
//!
//! Not here: their ranges, and what they do (`engine::sampling`), biases and seeds.

use crate::record;

record! {
    /// How a token is chosen, but for biases and the seed.
    SamplingNumbers {
        /// Temperature, in units of 2^-16.
        temperature: u32,
        /// Tokens to choose among; 0: all.
        top_k: u32,
        /// Share to choose among, in units of 2^-16.
        top_p: u32,
        /// Least share of the likeliest, in units of 2^-16.
        min_p: u32,
        /// Repetition penalty, in units of 2^-16.
        repetition_penalty: u32,
        /// Presence penalty, in units of 2^-16.
        presence_penalty: i32,
        /// Frequency penalty, in units of 2^-16.
        frequency_penalty: i32,
    }
}
