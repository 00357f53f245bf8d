//! Which tokens an answer may go on with, where not every token may stand anywhere.
//!
//! A guide follows one answer under a grammar. The engine knows nothing of the grammar: it asks for
//! the tokens that may come next, and chooses among them as it would among all
//! (`docs/spec/int-1.md`, section 9.4).
//!
//! Invariants:
//! - What is allowed is a function of the grammar, the vocabulary and the tokens taken, and of
//!   nothing else.
//!
//! Not here: grammars (`text`).

use alloc::vec::Vec;
use core::fmt::Debug;

/// Follows one answer.
pub trait Guide: Debug + Send {
    /// The tokens that may come next: bit `t % 32` of word `t / 32` for token `t`, and none past the
    /// end. At least one is set: a guide that cannot go on allows the tokens that end an answer.
    fn allowed(&mut self) -> &[u32];

    /// The answer goes on with this token. False if it was not allowed.
    fn take(&mut self, token: u32) -> bool;

    /// Tokens with which the answer may well go on, because the grammar leaves little choice. Nothing
    /// but time depends on them: what is allowed is what it would be without having been asked.
    fn foresee(&mut self) -> Vec<u32> {
        Vec::new()
    }
}

/// Whether a token is among those that a guide allows.
#[must_use]
pub fn allows(allowed: &[u32], token: u32) -> bool {
    allowed.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
}
