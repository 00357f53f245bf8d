//! Small vocabularies, and the random texts that tests run over them.
//!
//! Not here: real vocabularies; `fixtures/tokens` has ids recorded from them.

use engine::vocabulary::{TokenKind, Vocabulary, VocabularyModel, VocabularyParts};

use crate::tokenizer::{Tokenizer, TokenizerError};

/// How GPT-2's alphabet spells a space.
pub(crate) const SPACE: &str = "\u{120}";

/// A byte-level vocabulary: `<s>` (the beginning), `<|im_start|>`, `<|im_end|>` (an end), the user
/// defined `<tool>`, every byte, and what the merges make.
pub(crate) fn bpe(pre: &str, merges: &[(&str, &str)]) -> VocabularyParts {
    let mut tokens: Vec<Vec<u8>> =
        ["<s>", "<|im_start|>", "<|im_end|>", "<tool>"].map(|text| text.as_bytes().to_vec()).into();
    let mut kinds = vec![TokenKind::Control; 3];
    kinds.push(TokenKind::UserDefined);
    tokens.extend((0..=255).map(|byte| letter(byte).to_string().into_bytes()));
    let mut pairs = Vec::new();
    for (left, right) in merges {
        let find = |text: &str| {
            tokens
                .iter()
                .position(|token| token == text.as_bytes())
                .expect("the small vocabulary is sound")
        };
        pairs.push([find(left) as u32, find(right) as u32]);
        let merged = [*left, *right].concat().into_bytes();
        if !tokens.contains(&merged) {
            tokens.push(merged);
        }
    }
    kinds.resize(tokens.len(), TokenKind::Normal);
    VocabularyParts {
        model: VocabularyModel::Bpe,
        pre: pre.to_owned(),
        tokens,
        kinds,
        score_bits: Vec::new(),
        merges: pairs,
        begin: Some(0),
        unknown: None,
        ends: vec![2],
        adds_begin: false,
        adds_space_prefix: false,
    }
}

/// A SentencePiece vocabulary: `<unk>`, `<s>` (the beginning), `</s>` (an end), every byte, and
/// words with their scores.
pub(crate) fn sentencepiece(words: &[(&str, f32)]) -> VocabularyParts {
    let mut tokens: Vec<Vec<u8>> = ["<unk>", "<s>", "</s>"].map(|text| text.into()).into();
    tokens.extend((0..=255u8).map(|byte| format!("<0x{byte:02X}>").into_bytes()));
    let mut kinds = vec![TokenKind::Unknown, TokenKind::Control, TokenKind::Control];
    kinds.resize(tokens.len(), TokenKind::Byte);
    let mut score_bits = vec![0; tokens.len()];
    tokens.extend(words.iter().map(|(word, _)| word.as_bytes().to_vec()));
    score_bits.extend(words.iter().map(|(_, score)| score.to_bits()));
    kinds.resize(tokens.len(), TokenKind::Normal);
    VocabularyParts {
        model: VocabularyModel::SentencePiece,
        pre: String::new(),
        tokens,
        kinds,
        score_bits,
        merges: Vec::new(),
        begin: Some(1),
        unknown: Some(0),
        ends: vec![2],
        adds_begin: true,
        adds_space_prefix: true,
    }
}

/// A tokenizer of these parts.
pub(crate) fn tokenizer(parts: &VocabularyParts) -> Tokenizer {
    try_tokenizer(parts).expect("the small vocabulary is sound")
}

/// A tokenizer of these parts, or why there is none.
pub(crate) fn try_tokenizer(parts: &VocabularyParts) -> Result<Tokenizer, TokenizerError> {
    let bytes = parts.to_bytes().expect("the small vocabulary is sound");
    Tokenizer::new(&Vocabulary::new(&bytes).expect("the small vocabulary is sound"))
}

/// The names of a text's ids, joined by `|`.
pub(crate) fn names(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let names: Vec<String> =
        ids.iter().map(|&id| tokenizer.name(id).expect("the small vocabulary is sound")).collect();
    names.join("|")
}

/// SplitMix64 (Steele et al. 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// A text of up to `count` pieces: words, spaces, signs and any character at all.
    pub(crate) fn text(&mut self, count: usize) -> String {
        const PIECES: [&str; 16] = [
            "a",
            "ab",
            "hello",
            " ",
            "  ",
            "\n",
            "\r\n",
            "\t",
            "12",
            "'s",
            "!?",
            "\u{645}\u{64E}",
            "\u{4E2D}",
            "\u{1F468}\u{200D}\u{1F469}",
            "<",
            "|>",
        ];
        let mut text = String::new();
        for _ in 0..self.below(count + 1) {
            match self.below(4) {
                0 => text.push(char::from_u32(self.below(0x11_0000) as u32).unwrap_or('\0')),
                _ => text.push_str(PIECES[self.below(PIECES.len())]),
            }
        }
        text
    }
}

fn letter(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, 0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !printable(other)).count();
    char::from_u32(256 + before as u32).expect("the small vocabulary is sound")
}
