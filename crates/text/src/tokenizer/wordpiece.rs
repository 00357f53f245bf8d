//! WordPiece, cut and normalised as BERT's authors do (Devlin et al. 2019, `BasicTokenizer`).
//!
//! Control characters go, ideographs and punctuation stand alone; the uncased form drops accents and
//! capitals. Each word then becomes the longest token that it begins with, and so on with the rest.
//!
//! Invariants:
//! - A word is one unknown token, or tokens that together spell it.
//!
//! Not here: the tokens around a text (`Tokenizer::encode_enclosed`).

use std::collections::HashMap;

use engine::vocabulary::{TokenKind, Vocabulary};
use regex::Regex;
use unicode_normalization::UnicodeNormalization;

/// Characters of a word, at most, as in every published vocabulary; a longer one is unknown.
const WORD_LENGTH_MAX: usize = 100;
/// What stands before a token that goes on within a word.
pub(super) const PREFIX: &[u8] = b"##";
/// Characters that a text loses: control and format characters, those of private use, and U+FFFD.
const DROPPED: &str = r"[\p{Cc}\p{Cf}\p{Co}\x{FFFD}--\t\n\r]";
/// Marks that sit on letters.
const MARKS: &str = r"\p{Mn}+";
/// A punctuation mark, which ASCII's symbols count among, or a run of other characters.
const WORDS: &str = r"[\p{P}!-/:-@\[-`{-~]|[^\s\p{P}!-/:-@\[-`{-~]+";
/// Ideographs, each of which is a word.
const IDEOGRAPHS: [(u32, u32); 8] = [
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
];

/// The tables of a WordPiece vocabulary.
#[derive(Debug)]
pub(super) struct WordPiece {
    /// Tokens that begin a word.
    heads: HashMap<Box<str>, u32>,
    /// Tokens that go on within one, without their prefix.
    tails: HashMap<Box<str>, u32>,
    unknown: u32,
    uncased: bool,
    dropped: Regex,
    marks: Regex,
    words: Regex,
}

impl WordPiece {
    /// Builds the tables. `None` where the rule for normalising is not known, or no token stands for
    /// unknown words.
    pub(super) fn new(vocabulary: &Vocabulary<'_>) -> Option<WordPiece> {
        let uncased = match vocabulary.pre() {
            "bert-uncased" => true,
            "bert-cased" => false,
            _ => return None,
        };
        let (mut heads, mut tails) = (HashMap::new(), HashMap::new());
        for id in 0..vocabulary.len() as u32 {
            let normal = vocabulary.kind(id) == Some(TokenKind::Normal);
            let text = vocabulary.token(id).filter(|_| normal).unwrap_or_default();
            let (text, table) = match text.strip_prefix(PREFIX) {
                Some(rest) => (rest, &mut tails),
                None => (text, &mut heads),
            };
            if let Some(text) = std::str::from_utf8(text).ok().filter(|text| !text.is_empty()) {
                table.insert(Box::from(text), id);
            }
        }
        let [dropped, marks, words] = [DROPPED, MARKS, WORDS].map(Regex::new);
        let (dropped, marks, words) = (dropped.ok()?, marks.ok()?, words.ok()?);
        let unknown = vocabulary.unknown()?;
        Some(WordPiece { heads, tails, unknown, uncased, dropped, marks, words })
    }

    /// Appends a text's ids.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let text = self.normalise(text);
        for word in self.words.find_iter(&text) {
            self.push(word.as_str(), out);
        }
    }

    fn normalise(&self, text: &str) -> String {
        let mut clean = String::with_capacity(text.len());
        for character in self.dropped.replace_all(text, "").chars() {
            match is_ideograph(character) {
                true => clean.extend([' ', character, ' ']),
                false => clean.push(character),
            }
        }
        if !self.uncased {
            return clean;
        }
        let apart: String = clean.nfd().collect();
        // Letter by letter: at the end of a word, too, a capital sigma becomes the ordinary one.
        self.marks.replace_all(&apart, "").chars().flat_map(char::to_lowercase).collect()
    }

    fn push(&self, word: &str, out: &mut Vec<u32>) {
        let whole = out.len();
        let mut rest = word;
        while !rest.is_empty() {
            let table = if rest.len() == word.len() { &self.heads } else { &self.tails };
            let longest = |end: &usize| table.get(rest.get(..*end).unwrap_or_default()).copied();
            let ends = rest.char_indices().map(|(start, it)| start + it.len_utf8());
            // A word within the limit has as many ends, each tried once for each token.
            let ends: Vec<usize> = ends.take(WORD_LENGTH_MAX + 1).collect();
            let found = ends.iter().rev().find_map(|end| longest(end).map(|id| (*end, id)));
            match found {
                Some((end, id)) if ends.len() <= WORD_LENGTH_MAX => {
                    out.push(id);
                    rest = rest.get(end..).unwrap_or_default();
                }
                _ => {
                    out.truncate(whole);
                    out.push(self.unknown);
                    return;
                }
            }
        }
    }
}

fn is_ideograph(character: char) -> bool {
    let number = u32::from(character);
    IDEOGRAPHS.iter().any(|&(first, last)| (first..=last).contains(&number))
}

#[cfg(test)]
mod tests;
