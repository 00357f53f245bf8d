//! Finding the tokens that are matched in text before anything else.
//!
//! Control tokens (`<|im_end|>`) are matched only where the caller allows; words that the model's
//! author added (`UserDefined`) are matched everywhere, as llama.cpp does.
//!
//! Invariants:
//! - A longer token wins over a shorter one, wherever they overlap; of equal ones, the lower id.
//! - A guarded byte is never part of a control token.
//!
//! Not here: which bytes are guarded (`forgery`).

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Match};
use engine::vocabulary::{TokenKind, Vocabulary};

/// Tokens matched before any merge, at most. Gemma 3 has 6,414.
pub(super) const SPECIALS_MAX: usize = 1 << 16;
/// Bytes of their texts together, at most; bounds the automaton that finds them to about 32 MB.
pub(super) const SPECIALS_SIZE_MAX: usize = 1 << 20;

/// Tokens that steer a conversation even where a vocabulary's file calls them ordinary: llama.cpp
/// reads them as control tokens by their name, and so must everyone who wants equal ids.
const CONTROL_NAMES: [&str; 44] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<\u{FF5C}end\u{2581}of\u{2581}sentence\u{FF5C}>",
    "[e~[",
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<\u{FF5C}fim\u{2581}begin\u{FF5C}>",
    "<PRE>",
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<\u{FF5C}fim\u{2581}hole\u{FF5C}>",
    "<SUF>",
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<\u{FF5C}fim\u{2581}end\u{FF5C}>",
    "<MID>",
    "<|fim_pad|>",
    "<fim-pad>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<fim-repo>",
    "<|file_sep|>",
];

/// How text is cut: stretches of text, and the tokens between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fragment {
    /// Text to be encoded.
    Text(Range<usize>),
    /// A token that was written out.
    Token(u32),
}

/// The special tokens of one vocabulary, longest first.
#[derive(Debug)]
pub(super) struct Specials {
    tokens: Vec<Special>,
    finder: AhoCorasick,
}

#[derive(Debug)]
struct Special {
    id: u32,
    text: String,
    is_control: bool,
}

/// Where control tokens may be matched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed<'a> {
    /// Nowhere.
    Nowhere,
    /// Everywhere but over these bytes, ascending offsets.
    Except(&'a [usize]),
}

/// Whether a token is one that text may only stand for where control tokens are allowed.
pub(super) fn is_control(kind: TokenKind, text: &[u8]) -> bool {
    matches!(kind, TokenKind::Control | TokenKind::Unknown)
        || (matches!(text.first(), Some(b'<' | b'[' | b'_'))
            && CONTROL_NAMES.iter().any(|name| name.as_bytes() == text))
}

impl Specials {
    /// Collects a vocabulary's special tokens. A token whose text is empty or not UTF-8 can never
    /// be written in a text and is left out. `None` if they exceed the limits above.
    pub(super) fn new(vocabulary: &Vocabulary<'_>) -> Option<Specials> {
        let mut tokens: Vec<Special> =
            (0..vocabulary.len() as u32).filter_map(|id| special(vocabulary, id)).collect();
        let size: usize = tokens.iter().map(|token| token.text.len()).sum();
        if tokens.len() > SPECIALS_MAX || size > SPECIALS_SIZE_MAX {
            return None;
        }
        tokens.sort_by(|a, b| b.text.len().cmp(&a.text.len()).then(a.id.cmp(&b.id)));
        let finder = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(tokens.iter().map(|token| &token.text))
            .ok()?;
        Some(Specials { tokens, finder })
    }

    /// Cuts a text at its special tokens. Time is linear in the text for each different token that
    /// occurs in it.
    pub(super) fn split(&self, text: &str, allowed: Allowed<'_>) -> Vec<Fragment> {
        let mut fragments = Vec::new();
        if !text.is_empty() {
            fragments.push(Fragment::Text(0..text.len()));
        }
        for token in self.occurring(text) {
            let guarded: &[usize] = match allowed {
                Allowed::Nowhere if token.is_control => continue,
                Allowed::Except(guarded) if token.is_control => guarded,
                Allowed::Nowhere | Allowed::Except(_) => &[],
            };
            let mut cut = Vec::with_capacity(fragments.len());
            for fragment in fragments {
                match fragment {
                    Fragment::Text(range) => token.split(text, range, guarded, &mut cut),
                    Fragment::Token(_) => cut.push(fragment),
                }
            }
            fragments = cut;
        }
        fragments
    }

    /// The ranges of a text that control tokens could be read from, overlaps included.
    pub(super) fn control_ranges(&self, text: &str) -> impl Iterator<Item = Range<usize>> {
        let is_control = |found: &Match| {
            self.tokens.get(found.pattern().as_usize()).is_some_and(|token| token.is_control)
        };
        self.finder
            .try_find_overlapping_iter(text)
            .into_iter()
            .flatten()
            .filter(is_control)
            .map(|found| found.range())
    }

    /// The texts of the control tokens.
    pub(super) fn control_texts(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().filter(|token| token.is_control).map(|token| token.text.as_str())
    }

    fn occurring(&self, text: &str) -> impl Iterator<Item = &Special> {
        let mut occurs = vec![false; self.tokens.len()];
        for found in self.finder.try_find_overlapping_iter(text).into_iter().flatten() {
            if let Some(flag) = occurs.get_mut(found.pattern().as_usize()) {
                *flag = true;
            }
        }
        self.tokens.iter().zip(occurs).filter(|(_, occurs)| *occurs).map(|(token, _)| token)
    }
}

impl Special {
    /// Cuts one stretch of text at this token, leftmost occurrence first.
    fn split(&self, text: &str, range: Range<usize>, guarded: &[usize], out: &mut Vec<Fragment>) {
        let mut start = range.start;
        let mut from = range.start;
        while let Some(offset) = text[from..range.end].find(&self.text) {
            let found = from + offset..from + offset + self.text.len();
            if holds_any(guarded, &found) {
                from = found.start + text[found].chars().next().map_or(1, char::len_utf8);
                continue;
            }
            if start < found.start {
                out.push(Fragment::Text(start..found.start));
            }
            out.push(Fragment::Token(self.id));
            start = found.end;
            from = found.end;
        }
        if start < range.end {
            out.push(Fragment::Text(start..range.end));
        }
    }
}

fn special(vocabulary: &Vocabulary<'_>, id: u32) -> Option<Special> {
    let (kind, text) = (vocabulary.kind(id)?, vocabulary.token(id)?);
    let is_control = is_control(kind, text);
    if text.is_empty() || !(is_control || kind == TokenKind::UserDefined) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?.to_owned();
    Some(Special { id, text, is_control })
}

/// Whether an offset of the ascending list lies in the range.
fn holds_any(offsets: &[usize], range: &Range<usize>) -> bool {
    let first = offsets.partition_point(|&offset| offset < range.start);
    offsets.get(first).is_some_and(|&offset| offset < range.end)
}

#[cfg(test)]
mod tests;
