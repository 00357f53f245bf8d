//! Byte-level byte-pair encoding (Radford et al. 2019).
//!
//! Words are cut by the pre-tokenizer; each starts as single bytes and merges by the ranked list.
//!
//! Invariants:
//! - The ids of a text decode to its bytes, if every byte of it has a token. A byte without one is
//!   left out, as llama.cpp does: SmolLM2 has none for six control characters and the unused lead bytes.
//!
//! Not here: special tokens; no control token can come out of a merge.

use std::collections::HashMap;

use engine::vocabulary::{TokenKind, Vocabulary};

use super::merge::{Line, NONE, Pair};
use super::pretokenizer::PreTokenizer;
use super::{alphabet, special};

/// The tables of a byte-level vocabulary.
#[derive(Debug)]
pub(super) struct Bpe {
    words: PreTokenizer,
    /// The token of each single byte, or `NONE`.
    bytes: [u32; 256],
    merges: HashMap<[u32; 2], Pair>,
    /// Tokens by their spelling; empty unless whole words are looked up.
    spelled: HashMap<Box<[u8]>, u32>,
}

impl Bpe {
    /// Builds the tables. `None` if the vocabulary's pre-tokenizer is not known.
    pub(super) fn new(vocabulary: &Vocabulary<'_>) -> Option<Bpe> {
        let words = PreTokenizer::named(vocabulary.pre())?;
        let mut spelled = spelled(vocabulary);
        let mut bytes = [NONE; 256];
        for (byte, id) in (0..=255u8).zip(&mut bytes) {
            let letter = alphabet::letter(byte).to_string();
            *id = spelled.get(letter.as_bytes()).copied().unwrap_or(NONE);
        }
        let merges = merges(vocabulary, &spelled);
        if !words.takes_whole_words {
            spelled = HashMap::new();
        }
        Some(Bpe { words, bytes, merges, spelled })
    }

    /// Appends a text's ids.
    pub(super) fn encode(&self, text: &str, out: &mut Vec<u32>) {
        let mut line = Line::default();
        for word in self.words.split(text) {
            self.encode_word(&text[word], &mut line, out);
        }
    }

    fn encode_word(&self, word: &str, line: &mut Line, out: &mut Vec<u32>) {
        if let Some(id) = self.whole_word(word) {
            out.push(id);
            return;
        }
        line.clear();
        for (index, &byte) in word.as_bytes().iter().enumerate() {
            line.push(index..index + 1, self.byte(byte));
        }
        line.merge(|left, right| self.merges.get(&[left.id, right.id]).copied());
        for symbol in line.symbols() {
            if symbol.id == NONE {
                let bytes = word.as_bytes().get(symbol.range.clone()).unwrap_or_default();
                out.extend(bytes.iter().map(|&byte| self.byte(byte)).filter(|&id| id != NONE));
            } else {
                out.push(symbol.id);
            }
        }
    }

    fn whole_word(&self, word: &str) -> Option<u32> {
        if self.spelled.is_empty() {
            return None;
        }
        self.spelled.get(alphabet::spell(word).as_bytes()).copied()
    }

    fn byte(&self, byte: u8) -> u32 {
        self.bytes.get(usize::from(byte)).copied().unwrap_or(NONE)
    }
}

/// Every token that text may become, by its spelling.
fn spelled(vocabulary: &Vocabulary<'_>) -> HashMap<Box<[u8]>, u32> {
    let mut spelled = HashMap::with_capacity(vocabulary.len());
    for id in 0..vocabulary.len() as u32 {
        let (Some(text), Some(kind)) = (vocabulary.token(id), vocabulary.kind(id)) else {
            continue;
        };
        if kind != TokenKind::Byte && !special::is_control(kind, text) {
            spelled.insert(Box::from(text), id);
        }
    }
    spelled
}

/// What each pair of the vocabulary's list makes, by its first place in the list.
fn merges(
    vocabulary: &Vocabulary<'_>,
    spelled: &HashMap<Box<[u8]>, u32>,
) -> HashMap<[u32; 2], Pair> {
    let mut merges = HashMap::with_capacity(vocabulary.merges().len());
    let mut text = Vec::new();
    for (rank, pair) in vocabulary.merges().enumerate() {
        text.clear();
        for id in pair {
            text.extend_from_slice(vocabulary.token(id).unwrap_or_default());
        }
        let id = spelled.get(text.as_slice()).copied().unwrap_or(NONE);
        merges.entry(pair).or_insert(Pair { rank: rank as u32, id });
    }
    merges
}
