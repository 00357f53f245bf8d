//! Answers that follow a grammar.
//!
//! A grammar is a text in the Lark dialect of `llguidance`, which follows an answer token by token and
//! says what may come next. The tokens' bytes are all that it knows of a vocabulary, so that what it
//! allows is a function of these, the grammar and the tokens taken (`docs/spec/int-1.md`, section 9.4).
//!
//! Invariants:
//! - A grammar may come from a stranger: its size, its steps and its memory are limited.
//! - A control token is never allowed, unless it ends the answer.
//!
//! Not here: which grammar a request asks for (`gateway`), the choice among tokens (`engine`).

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use engine::guide::{Guide, allows};
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory};

use crate::tokenizer::Tokenizer;

/// Bytes of a grammar, at most: schemas in use have a few thousand.
pub const GRAMMAR_SIZE_MAX: usize = 64 << 10;
/// States of a grammar's lexer, at most, of one or two kilobytes each.
const LEXER_STATES_MAX: usize = 25_000;
/// Symbols of a grammar, at most: some megabytes.
const SYMBOLS_MAX: usize = 200_000;
/// Ways in which a text can go on at one place, and all that a token's mask looks at. A schema has two for
/// each property that may come next, and a grammar's bytes leave room for some ten thousand.
const ITEMS_MAX: usize = 30_000;
const STEP_ITEMS_MAX: usize = 1_000_000;

/// Bytes of the stack on which a grammar is made. Making one goes as deep as its rules, properties or
/// definitions lead to each other, and 64 KiB hold thousands of them; what is not used costs nothing.
const STACK_SIZE: usize = 512 << 20;
/// Grammars that are kept after they were made: one that is asked for is needed at least twice, by
/// whoever checks the answer and by whoever computes it, and clients ask for the same again.
const KEPT_MAX: usize = 16;

/// Why a grammar was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrammarError {
    /// The model never ends an answer by itself.
    #[error("the model has no token that ends an answer")]
    NoEnd,
    /// The text is too long.
    #[error("a grammar of {size} bytes exceeds {GRAMMAR_SIZE_MAX}")]
    TooLarge {
        /// Bytes.
        size: usize,
    },
    /// It is no grammar, or needs more than it may.
    #[error("{message}")]
    Refused {
        /// What is wrong, in one line.
        message: String,
    },
}

/// What all grammars over one vocabulary share.
pub(crate) struct Grammars {
    factory: ParserFactory,
    /// The tokens that end an answer, as bits.
    ends: Vec<u32>,
    /// The last ones that were made, the latest last, as they were before any token.
    kept: Mutex<VecDeque<(Box<str>, Matcher)>>,
}

/// Follows one answer.
pub struct TextGuide {
    matcher: Matcher,
    ends: Vec<u32>,
    /// What is allowed now, once that was asked.
    mask: Option<Vec<u32>>,
    has_ended: bool,
}

impl Grammars {
    /// Sorts the tokens of a vocabulary; takes a while.
    pub(crate) fn new(tokenizer: &Tokenizer) -> Result<Grammars, GrammarError> {
        let first = *tokenizer.ends().first().ok_or(GrammarError::NoEnd)?;
        let count = tokenizer.len() as u32;
        let words: Vec<Vec<u8>> = (0..count).map(|id| word(tokenizer, id)).collect();
        let trie = TokTrie::from(&TokRxInfo::new(count, first), &words);
        let trie = trie.with_eos_tokens(tokenizer.ends());
        // It does not say how a text is cut into tokens, so that each way is allowed.
        let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
        let mut factory = ParserFactory::new_simple(&environment).map_err(|it| refused(&it))?;
        factory.quiet();
        let limits = factory.limits_mut();
        limits.max_lexer_states = LEXER_STATES_MAX;
        limits.max_grammar_size = SYMBOLS_MAX;
        limits.max_items_in_row = ITEMS_MAX;
        limits.step_max_items = STEP_ITEMS_MAX;
        limits.verbose_errors = false;
        let mut ends = vec![0; (count as usize).div_ceil(32)];
        for &end in tokenizer.ends() {
            ends.get_mut(end as usize / 32).into_iter().for_each(|it| *it |= 1 << (end % 32));
        }
        Ok(Grammars { factory, ends, kept: Mutex::default() })
    }

    /// A guide through one answer.
    pub(crate) fn guide(&self, grammar: &str) -> Result<TextGuide, GrammarError> {
        if grammar.len() > GRAMMAR_SIZE_MAX {
            return Err(GrammarError::TooLarge { size: grammar.len() });
        }
        let matcher = match self.kept(grammar) {
            Some(matcher) => matcher,
            None => {
                let matcher = self.make(grammar)?;
                self.keep(grammar, &matcher);
                matcher
            }
        };
        Ok(TextGuide { matcher, ends: self.ends.clone(), mask: None, has_ended: false })
    }

    /// A copy of one that was made before, and its place behind the others.
    fn kept(&self, grammar: &str) -> Option<Matcher> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let index = kept.iter().position(|(text, _)| &**text == grammar)?;
        let found = kept.remove(index)?;
        let matcher = found.1.deep_clone();
        kept.push_back(found);
        Some(matcher)
    }

    fn keep(&self, grammar: &str, matcher: &Matcher) {
        let made = (grammar.into(), matcher.deep_clone());
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT_MAX {
            kept.pop_front();
        }
        kept.push_back(made);
    }

    /// Makes a grammar, on a stack that is deep enough for any.
    fn make(&self, grammar: &str) -> Result<Matcher, GrammarError> {
        let make = || {
            let grammar = TopLevelGrammar::from_lark(grammar.to_owned());
            let mut matcher = Matcher::new(self.factory.create_parser(grammar));
            if let Some(message) = matcher.get_error() {
                return Err(refused(&message));
            }
            // What cannot even begin is told before anything is computed.
            matcher.compute_mask_or_eos().map_err(|it| refused(&it))?;
            Ok(matcher)
        };
        thread::scope(|scope| {
            let thread = thread::Builder::new().name("grammar".to_owned()).stack_size(STACK_SIZE);
            let made = thread.spawn_scoped(scope, make).map_err(|it| refused(&it))?;
            made.join().unwrap_or_else(|_| Err(refused(&"it cannot be made")))
        })
    }
}

impl Guide for TextGuide {
    fn allowed(&mut self) -> &[u32] {
        let (matcher, ends) = (&mut self.matcher, &self.ends);
        self.mask.get_or_insert_with(|| {
            let mask = matcher.compute_mask_or_eos().ok();
            let mask = mask.as_ref().map_or(&[][..], |mask| mask.as_slice());
            let mask: Vec<u32> = mask.iter().zip(ends).map(|(word, _)| *word).collect();
            match mask.iter().all(|word| *word == 0) {
                true => ends.clone(),
                false => mask,
            }
        })
    }

    fn take(&mut self, token: u32) -> bool {
        self.mask = None;
        if std::mem::replace(&mut self.has_ended, allows(&self.ends, token)) {
            return false;
        }
        match self.has_ended {
            true => {
                let is_whole =
                    self.matcher.is_stopped() || self.matcher.is_accepting().unwrap_or(false);
                is_whole && !self.matcher.is_error()
            }
            false => self.matcher.try_consume_tokens(&[token]).is_ok_and(|count| count == 1),
        }
    }

    fn foresee(&mut self) -> Vec<u32> {
        let Ok(environment) = self.matcher.tok_env() else { return Vec::new() };
        let trie = environment.tok_trie();
        if !begin_alike(self.allowed(), trie) {
            return Vec::new();
        }
        // What is forced becomes part of a matcher's state, so that a copy is asked, of which nothing
        // is shared.
        let bytes = self.matcher.deep_clone().compute_ff_bytes();
        trie.greedy_tokenize(&bytes)
    }
}

/// A copy shares nothing with what it is a copy of: what a grammar may use up is each answer's own.
impl Clone for TextGuide {
    fn clone(&self) -> TextGuide {
        TextGuide {
            matcher: self.matcher.deep_clone(),
            ends: self.ends.clone(),
            mask: self.mask.clone(),
            has_ended: self.has_ended,
        }
    }
}

impl fmt::Debug for Grammars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grammars").finish_non_exhaustive()
    }
}

impl fmt::Debug for TextGuide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextGuide").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

/// What a grammar sees of a token: its bytes, or a mark and its name where it is no text.
fn word(tokenizer: &Tokenizer, id: u32) -> Vec<u8> {
    match tokenizer.bytes(id) {
        Some(bytes)
            if !bytes.is_empty() && bytes.first() != Some(&TokTrie::SPECIAL_TOKEN_MARKER) =>
        {
            bytes.to_vec()
        }
        _ => {
            let name = tokenizer.name(id).unwrap_or_default();
            [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()
        }
    }
}

/// Whether all allowed tokens begin with one byte: elsewhere none is forced.
fn begin_alike(allowed: &[u32], trie: &TokTrie) -> bool {
    let words = allowed.iter().zip((0u32..).step_by(32)).filter(|(word, _)| **word != 0);
    let mut bits = words.flat_map(|(word, from)| {
        (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| from + bit)
    });
    let Some(first) = bits.next().and_then(|token| trie.token(token).first()) else { return false };
    bits.all(|token| trie.token(token).first() == Some(first))
}

/// The first line says what is wrong; the rest would repeat the grammar.
fn refused(error: &dyn fmt::Display) -> GrammarError {
    let message = error.to_string();
    let line = message.lines().next().unwrap_or_default();
    GrammarError::Refused { message: line.chars().take(200).collect() }
}

#[cfg(test)]
mod tests;
