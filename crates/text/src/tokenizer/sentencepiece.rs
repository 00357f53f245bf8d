//! SentencePiece's byte-pair encoding (Kudo and Richardson 2018).
//!
//! The text starts as single characters, spaces written U+2581; two neighbours merge when together
//! they are a token, the highest score first. Characters without a token become their bytes.
//!
//! Invariants:
//! - Scores are numbers, so that every machine orders them alike.
//!
//! Not here: special tokens; neither a control token nor a byte token can come out of a merge.

use std::collections::HashMap;

use engine::vocabulary::{TokenKind, Vocabulary};

use super::merge::{Line, NONE, Pair, Symbol};
use super::special;

/// How SentencePiece writes a space.
pub(super) const SPACE: &str = "\u{2581}";

/// The tables of a SentencePiece vocabulary.
#[derive(Debug)]
pub(super) struct SentencePiece {
    tokens: HashMap<Box<[u8]>, Pair>,
    /// The longest token's size; no longer text needs to be looked up.
    size_max: usize,
    /// The token of each raw byte, or `NONE`.
    bytes: [u32; 256],
    unknown: Option<u32>,
}

impl SentencePiece {
    /// Builds the tables.
    ///
    /// # Errors
    /// The id of a token whose score is not a number.
    pub(super) fn new(vocabulary: &Vocabulary<'_>) -> Result<SentencePiece, u32> {
        let mut tokens = HashMap::with_capacity(vocabulary.len());
        let mut bytes = [NONE; 256];
        let mut size_max = 0;
        for id in 0..vocabulary.len() as u32 {
            let (Some(text), Some(kind)) = (vocabulary.token(id), vocabulary.kind(id)) else {
                continue;
            };
            let rank = rank(vocabulary.score_bits(id)).ok_or(id)?;
            if kind == TokenKind::Byte {
                let slot = byte_value(text).and_then(|byte| bytes.get_mut(usize::from(byte)));
                slot.into_iter().for_each(|slot| *slot = id);
            } else if !special::is_control(kind, text) {
                size_max = size_max.max(text.len());
                tokens.insert(Box::from(text), Pair { rank, id });
            }
        }
        Ok(SentencePiece { tokens, size_max, bytes, unknown: vocabulary.unknown() })
    }

    /// Appends a text's ids; a space comes first if `prefix` says so.
    pub(super) fn encode(&self, text: &str, prefix: Prefix, out: &mut Vec<u32>) {
        let prefix = match prefix {
            Prefix::Space => SPACE,
            Prefix::Nothing => "",
        };
        let text = [prefix, &text.replace(' ', SPACE)].concat();
        let mut line = Line::default();
        for (start, character) in text.char_indices() {
            line.push(start..start + character.len_utf8(), NONE);
        }
        line.merge(|left, right| self.pair(&text, left, right));
        for symbol in line.symbols() {
            self.push(text.get(symbol.range.clone()).unwrap_or_default(), out);
        }
    }

    fn pair(&self, text: &str, left: &Symbol, right: &Symbol) -> Option<Pair> {
        let range = left.range.start..right.range.end;
        if range.len() > self.size_max {
            return None;
        }
        self.tokens.get(text.as_bytes().get(range)?).copied()
    }

    fn push(&self, piece: &str, out: &mut Vec<u32>) {
        if let Some(pair) = self.tokens.get(piece.as_bytes()) {
            out.push(pair.id);
            return;
        }
        for byte in piece.bytes() {
            let id = self.bytes.get(usize::from(byte)).copied().unwrap_or(NONE);
            out.extend(Some(id).filter(|&id| id != NONE).or(self.unknown));
        }
    }
}

/// Whether a space is put before a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Prefix {
    /// SentencePiece's dummy prefix.
    Space,
    /// The text as it is.
    Nothing,
}

/// The byte that a token written `<0xNN>` stands for.
pub(super) fn byte_value(text: &[u8]) -> Option<u8> {
    let digits = text.strip_prefix(b"<0x")?.strip_suffix(b">")?;
    if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// A rank that orders scores from high to low; `None` for what is not a number. The bits of an
/// IEEE 754 float order like integers once negative ones are flipped.
fn rank(score_bits: u32) -> Option<u32> {
    let score = f32::from_bits(score_bits);
    if score.is_nan() {
        return None;
    }
    // Zero and minus zero are one score.
    let bits = if score == 0.0 { 0 } else { score_bits };
    let ascending = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    Some(!ascending)
}

#[cfg(test)]
mod tests;
