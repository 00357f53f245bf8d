//! The vocabulary: every token's text and kind, and the merges that build tokens from bytes.
//!
//! It is carried inside the artifact as one section of bytes (`docs/spec/artifact.md`, section 5)
//! and read in place. The engine itself never turns text into tokens; the `text` crate does, from
//! this view.
//!
//! Invariants:
//! - Every offset, id and length was checked when the view was made; accessors cannot fail for an id
//!   below `len()`.
//!
//! Not here: tokenization rules.

use alloc::string::String;
use alloc::vec::Vec;

/// Tokens in a vocabulary, at most. Gemma 3 has 262,145; the bound keeps one file from claiming
/// gigabytes of tables.
pub const TOKENS_MAX: usize = 1 << 20;
/// Merges in a vocabulary, at most. Llama 3 has 280,147.
pub const MERGES_MAX: usize = 1 << 21;
/// Bytes of all token texts together, at most.
pub const TEXT_SIZE_MAX: usize = 1 << 26;
/// Tokens that end a generation, at most.
pub const ENDS_MAX: usize = 64;

const HEADER_SIZE: usize = 64;
const NONE: u32 = u32::MAX;

/// How text becomes tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocabularyModel {
    /// Byte-level byte-pair encoding by ranked merges (GPT-2's scheme).
    Bpe,
    /// SentencePiece's byte-pair encoding: merges ranked by score, with byte fallback.
    SentencePiece,
    /// WordPiece (BERT's scheme): the longest token first, `##` before what goes on within a word.
    WordPiece,
}

/// What a token is. Values are those of `tokenizer.ggml.token_type` in GGUF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Ordinary text.
    Normal,
    /// Stands for text that the vocabulary cannot express.
    Unknown,
    /// A control token, such as the end of a turn; it has no text of its own.
    Control,
    /// A whole word added by the model's author, matched before any merge.
    UserDefined,
    /// A hole in the numbering.
    Unused,
    /// One raw byte, written `<0xNN>`.
    Byte,
}

impl TokenKind {
    /// The kind with this GGUF number, if there is one.
    #[must_use]
    pub fn from_number(number: u32) -> Option<TokenKind> {
        Some(match number {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => return None,
        })
    }

    /// The kind's GGUF number.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            TokenKind::Normal => 1,
            TokenKind::Unknown => 2,
            TokenKind::Control => 3,
            TokenKind::UserDefined => 4,
            TokenKind::Unused => 5,
            TokenKind::Byte => 6,
        }
    }
}

/// A vocabulary as values, for building the artifact's section and for tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VocabularyParts {
    /// How text becomes tokens.
    pub model: VocabularyModel,
    /// The pre-tokenizer's name as GGUF spells it (`smollm`, `llama-bpe`, `qwen2`), or empty.
    pub pre: String,
    /// Each token's text as the source file spells it, by id. Byte-level vocabularies use GPT-2's
    /// printable alphabet; SentencePiece writes a space as U+2581.
    pub tokens: Vec<Vec<u8>>,
    /// Each token's kind, by id.
    pub kinds: Vec<TokenKind>,
    /// Each token's score as the bits of an f32, by id; empty where the model ranks by merges.
    pub score_bits: Vec<u32>,
    /// Pairs of ids that merge, best first; empty where the model ranks by score.
    pub merges: Vec<[u32; 2]>,
    /// Token put before a prompt.
    pub begin: Option<u32>,
    /// Token that stands for text outside the vocabulary.
    pub unknown: Option<u32>,
    /// Tokens that end a generation, ascending.
    pub ends: Vec<u32>,
    /// Whether `begin` is put before every prompt.
    pub adds_begin: bool,
    /// Whether a space is put before the first word (SentencePiece's dummy prefix).
    pub adds_space_prefix: bool,
}

/// A vocabulary read in place from an artifact's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary<'a> {
    header: Header,
    offsets: &'a [u8],
    scores: &'a [u8],
    merges: &'a [u8],
    ends: &'a [u8],
    kinds: &'a [u8],
    pre: &'a str,
    text: &'a [u8],
}

#[derive(Clone, Copy, Debug)]
struct Header {
    model: VocabularyModel,
    flags: u32,
    begin: u32,
    unknown: u32,
    token_count: usize,
    merge_count: usize,
}

/// Why a vocabulary section was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VocabularyError {
    /// The section ends before its tables do.
    #[error("vocabulary needs {needed} bytes and has {size}")]
    Truncated {
        /// Bytes that the header's counts ask for.
        needed: usize,
        /// Bytes that are there.
        size: usize,
    },
    /// A count is zero or above its limit.
    #[error("vocabulary's {what} is {count}, outside {min}..={max}")]
    Count {
        /// Which count.
        what: &'static str,
        /// What the file says.
        count: usize,
        /// Least allowed.
        min: usize,
        /// Most allowed.
        max: usize,
    },
    /// A field holds a value with no meaning.
    #[error("vocabulary's {what} has no meaning: {value}")]
    Field {
        /// Which field.
        what: &'static str,
        /// What the file says.
        value: u32,
    },
    /// The tables for tokens do not have one entry each.
    #[error("vocabulary has {tokens} tokens but {entries} {what}")]
    Uneven {
        /// Tokens.
        tokens: usize,
        /// Entries in the other table.
        entries: usize,
        /// Which table.
        what: &'static str,
    },
}

const ADDS_BEGIN: u32 = 1;
const ADDS_SPACE_PREFIX: u32 = 2;

impl VocabularyParts {
    /// The section's bytes. The same parts give the same bytes everywhere.
    ///
    /// # Errors
    /// When a table has not one entry a token, or a count is out of bounds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, VocabularyError> {
        let tokens = self.tokens.len();
        self.check_tables(tokens)?;
        let text_size: usize = self.tokens.iter().map(Vec::len).sum();
        count("text size", text_size, 0, TEXT_SIZE_MAX)?;
        let mut out =
            Vec::with_capacity(HEADER_SIZE + tokens * 9 + self.merges.len() * 8 + text_size);
        let model = match self.model {
            VocabularyModel::Bpe => 1u32,
            VocabularyModel::SentencePiece => 2,
            VocabularyModel::WordPiece => 3,
        };
        let flags = u32::from(self.adds_begin) * ADDS_BEGIN
            + u32::from(self.adds_space_prefix) * ADDS_SPACE_PREFIX;
        for word in [
            model,
            flags,
            self.begin.unwrap_or(NONE),
            self.unknown.unwrap_or(NONE),
            tokens as u32,
            self.merges.len() as u32,
            self.ends.len() as u32,
            text_size as u32,
            self.pre.len() as u32,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.resize(HEADER_SIZE, 0);
        let mut offset = 0u32;
        out.extend_from_slice(&offset.to_le_bytes());
        for token in &self.tokens {
            offset += token.len() as u32;
            out.extend_from_slice(&offset.to_le_bytes());
        }
        for id in 0..tokens {
            let bits = self.score_bits.get(id).copied().unwrap_or(0);
            out.extend_from_slice(&bits.to_le_bytes());
        }
        for id in self.merges.iter().flatten().chain(&self.ends) {
            out.extend_from_slice(&id.to_le_bytes());
        }
        out.extend(self.kinds.iter().map(|kind| kind.number()));
        out.extend_from_slice(self.pre.as_bytes());
        self.tokens.iter().for_each(|token| out.extend_from_slice(token));
        Vocabulary::new(&out).map(|_| out.clone())
    }

    fn check_tables(&self, tokens: usize) -> Result<(), VocabularyError> {
        count("token count", tokens, 1, TOKENS_MAX)?;
        count("merge count", self.merges.len(), 0, MERGES_MAX)?;
        let uneven = |what, entries| Err(VocabularyError::Uneven { tokens, entries, what });
        if self.kinds.len() != tokens {
            return uneven("kinds", self.kinds.len());
        }
        if !self.score_bits.is_empty() && self.score_bits.len() != tokens {
            return uneven("scores", self.score_bits.len());
        }
        Ok(())
    }
}

impl<'a> Vocabulary<'a> {
    /// Reads a vocabulary section. Time is linear in its size; nothing is copied.
    ///
    /// # Errors
    /// When a count is out of bounds, a table is cut short, or an id names no token.
    pub fn new(bytes: &'a [u8]) -> Result<Vocabulary<'a>, VocabularyError> {
        let size = bytes.len();
        if size < HEADER_SIZE {
            return Err(VocabularyError::Truncated { needed: HEADER_SIZE, size });
        }
        let field = |index: usize| word(bytes, index);
        let model = match field(0) {
            1 => VocabularyModel::Bpe,
            2 => VocabularyModel::SentencePiece,
            3 => VocabularyModel::WordPiece,
            value => return Err(VocabularyError::Field { what: "model", value }),
        };
        let token_count = count("token count", field(4) as usize, 1, TOKENS_MAX)?;
        let merge_count = count("merge count", field(5) as usize, 0, MERGES_MAX)?;
        let end_count = count("end count", field(6) as usize, 0, ENDS_MAX)?;
        let text_size = count("text size", field(7) as usize, 0, TEXT_SIZE_MAX)?;
        let pre_size = count("pre-tokenizer name", field(8) as usize, 0, 256)?;
        if let Some(index) = (9..HEADER_SIZE / 4).find(|&index| field(index) != 0) {
            return Err(VocabularyError::Field { what: "reserved word", value: field(index) });
        }
        // The counts above bound this sum below 2^31, so it cannot overflow.
        let needed = HEADER_SIZE
            + (token_count + 1) * 4
            + token_count * 5
            + merge_count * 8
            + end_count * 4
            + pre_size
            + text_size;
        if needed != size {
            return Err(VocabularyError::Truncated { needed, size });
        }
        let mut rest = &bytes[HEADER_SIZE..];
        let mut take = |size: usize| {
            let (head, tail) = rest.split_at(size);
            rest = tail;
            head
        };
        let header = Header {
            model,
            flags: field(1),
            begin: field(2),
            unknown: field(3),
            token_count,
            merge_count,
        };
        let vocabulary = Vocabulary {
            header,
            offsets: take((token_count + 1) * 4),
            scores: take(token_count * 4),
            merges: take(merge_count * 8),
            ends: take(end_count * 4),
            kinds: take(token_count),
            pre: core::str::from_utf8(take(pre_size))
                .map_err(|_| VocabularyError::Field { what: "pre-tokenizer name", value: 0 })?,
            text: take(text_size),
        };
        vocabulary.check()?;
        Ok(vocabulary)
    }

    /// How text becomes tokens.
    #[must_use]
    pub fn model(&self) -> VocabularyModel {
        self.header.model
    }

    /// The pre-tokenizer's name as GGUF spells it, or empty.
    #[must_use]
    pub fn pre(&self) -> &'a str {
        self.pre
    }

    /// How many tokens there are, 1 to `TOKENS_MAX`.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary is never empty")]
    pub fn len(&self) -> usize {
        self.header.token_count
    }

    /// A token's text as the source file spells it; `None` for an id outside the vocabulary.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<&'a [u8]> {
        let index = id as usize;
        if index >= self.len() {
            return None;
        }
        let start = word(self.offsets, index) as usize;
        let end = word(self.offsets, index + 1) as usize;
        self.text.get(start..end)
    }

    /// A token's kind; `None` for an id outside the vocabulary.
    #[must_use]
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).and_then(|&number| TokenKind::from_number(u32::from(number)))
    }

    /// A token's score as the bits of an f32; 0 where the model ranks by merges.
    #[must_use]
    pub fn score_bits(&self, id: u32) -> u32 {
        if (id as usize) < self.len() { word(self.scores, id as usize) } else { 0 }
    }

    /// Pairs of ids that merge, best first.
    pub fn merges(&self) -> impl ExactSizeIterator<Item = [u32; 2]> + 'a {
        let merges = self.merges;
        (0..self.header.merge_count).map(move |i| [word(merges, 2 * i), word(merges, 2 * i + 1)])
    }

    /// Token put before a prompt, if the model has one.
    #[must_use]
    pub fn begin(&self) -> Option<u32> {
        Some(self.header.begin).filter(|&id| id != NONE)
    }

    /// Token that stands for text outside the vocabulary, if there is one.
    #[must_use]
    pub fn unknown(&self) -> Option<u32> {
        Some(self.header.unknown).filter(|&id| id != NONE)
    }

    /// Tokens that end a generation, ascending.
    pub fn ends(&self) -> impl ExactSizeIterator<Item = u32> + 'a {
        let ends = self.ends;
        (0..ends.len() / 4).map(move |i| word(ends, i))
    }

    /// Whether `begin` is put before every prompt.
    #[must_use]
    pub fn adds_begin(&self) -> bool {
        self.header.flags & ADDS_BEGIN != 0
    }

    /// Whether a space is put before the first word.
    #[must_use]
    pub fn adds_space_prefix(&self) -> bool {
        self.header.flags & ADDS_SPACE_PREFIX != 0
    }

    fn check(&self) -> Result<(), VocabularyError> {
        let flags = self.header.flags;
        if flags & !(ADDS_BEGIN | ADDS_SPACE_PREFIX) != 0 {
            return Err(VocabularyError::Field { what: "flags", value: flags });
        }
        let mut last = 0;
        for index in 0..=self.len() {
            let offset = word(self.offsets, index);
            if offset < last || offset as usize > self.text.len() {
                return Err(VocabularyError::Field { what: "token offset", value: offset });
            }
            last = offset;
        }
        if last as usize != self.text.len() || word(self.offsets, 0) != 0 {
            return Err(VocabularyError::Field { what: "last token offset", value: last });
        }
        for &number in self.kinds {
            let value = u32::from(number);
            if TokenKind::from_number(value).is_none() {
                return Err(VocabularyError::Field { what: "token kind", value });
            }
        }
        let ids = (self.merges().flatten().chain(self.ends())).chain(self.begin());
        for value in ids.chain(self.unknown()) {
            if value as usize >= self.len() {
                return Err(VocabularyError::Field { what: "token id", value });
            }
        }
        Ok(())
    }
}

fn word(bytes: &[u8], index: usize) -> u32 {
    let at = index * 4;
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn count(
    what: &'static str,
    count: usize,
    min: usize,
    max: usize,
) -> Result<usize, VocabularyError> {
    if (min..=max).contains(&count) {
        Ok(count)
    } else {
        Err(VocabularyError::Count { what, count, min, max })
    }
}
