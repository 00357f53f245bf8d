//! Keeping what users write from becoming control tokens.
//!
//! A character that occurs nowhere in the conversation is put before each character that could be
//! part of a forged control token. It travels through the template with it; afterwards it is taken
//! out, and the character after it may not be part of a control token. Text is otherwise unchanged,
//! and so are its ids.
//!
//! Invariants:
//! - The sentinel is in no message, no tool and not in the template's source.
//!
//! Not here: which characters need a guard (`tokenizer::forgery`).

use std::collections::BTreeSet;

use crate::tokenizer::Tokenizer;

/// Puts sentinels into text before a template runs, and takes them out after.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guard<'a> {
    tokenizer: &'a Tokenizer,
    sentinel: char,
}

impl<'a> Guard<'a> {
    /// A guard whose sentinel is in none of these texts. `None` if they use up all 131,100
    /// candidates: Unicode's noncharacters and the two planes for private use.
    pub(super) fn new<'t>(
        tokenizer: &'a Tokenizer,
        texts: impl Iterator<Item = &'t str>,
    ) -> Option<Guard<'a>> {
        let used: BTreeSet<char> =
            texts.flat_map(str::chars).filter(|&character| character >= '\u{FDD0}').collect();
        let candidates = ('\u{FDD0}'..='\u{FDEF}').chain('\u{F0000}'..='\u{10FFFD}');
        let sentinel = candidates.into_iter().find(|character| !used.contains(character))?;
        Some(Guard { tokenizer, sentinel })
    }

    /// The text with a sentinel before each character that needs one.
    pub(super) fn mark(&self, text: &str) -> String {
        let mut marked = String::with_capacity(text.len());
        let mut start = 0;
        for offset in self.tokenizer.forgeable(text) {
            marked.push_str(text.get(start..offset).unwrap_or_default());
            marked.push(self.sentinel);
            start = offset;
        }
        marked.push_str(text.get(start..).unwrap_or_default());
        marked
    }

    /// The text without sentinels, and the ascending offsets of the characters they guarded.
    pub(super) fn unmark(&self, marked: &str) -> (String, Vec<usize>) {
        let mut text = String::with_capacity(marked.len());
        let mut guarded = Vec::new();
        for (index, part) in marked.split(self.sentinel).enumerate() {
            if index > 0 {
                guarded.push(text.len());
            }
            text.push_str(part);
        }
        guarded.dedup();
        (text, guarded)
    }
}

#[cfg(test)]
mod tests;
