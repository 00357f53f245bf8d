//! Text to token ids, and token ids to bytes.
//!
//! Ids equal those of llama.cpp, which models in GGUF are used with; `fixtures/tokens` records them.
//! The merge loops are this crate's own (`docs/adr/0010-own-tokenizer.md`).
//!
//! Invariants:
//! - Text encoded as `SpecialTokens::Plain` never gives a control token.
//! - `bytes`, `name` and `decode` take any id and never fail.
//!
//! Not here: how a conversation is written (`template`).

mod alphabet;
mod bpe;
mod forgery;
mod merge;
mod pretokenizer;
mod sentencepiece;
mod special;
mod stream;
mod wordpiece;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use engine::vocabulary::{TokenKind, Vocabulary, VocabularyModel};

use self::bpe::Bpe;
use self::forgery::Edges;
use self::sentencepiece::{Prefix, SentencePiece};
use self::special::{Allowed, Fragment, Specials};
pub use self::stream::StreamDecoder;
use self::wordpiece::WordPiece;
use crate::grammar::{GrammarError, Grammars, TextGuide};

/// Turns text into token ids and back, for one vocabulary.
#[derive(Debug)]
pub struct Tokenizer {
    scheme: Scheme,
    specials: Specials,
    edges: Edges,
    pieces: Pieces,
    begin: Option<u32>,
    ends: Vec<u32>,
    adds_begin: bool,
    adds_space_prefix: bool,
    /// Made when the first grammar comes: most models never see one.
    grammars: OnceLock<Result<Grammars, GrammarError>>,
}

/// What control tokens written in a text mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// They become their ids: for text that a template wrote.
    Parse,
    /// They are ordinary text: for text that a user wrote, who then cannot forge a turn.
    Plain,
}

/// Why a vocabulary was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenizerError {
    /// The pre-tokenizer's name is not known; a guess would give the model wrong words.
    #[error("vocabulary names the pre-tokenizer {name:?}, which is not known")]
    PreTokenizer {
        /// The name in the vocabulary.
        name: String,
    },
    /// A token's score is not a number, so that merges have no order.
    #[error("score of token {id} is not a number")]
    Score {
        /// The token.
        id: u32,
    },
    /// The tokens matched before merging are too many or too long.
    #[error("vocabulary has more than {count_max} special tokens or {size_max} bytes of them")]
    Specials {
        /// Most tokens allowed.
        count_max: usize,
        /// Most bytes of their texts allowed.
        size_max: usize,
    },
}

#[derive(Debug)]
enum Scheme {
    Bpe(Box<Bpe>),
    SentencePiece(Box<SentencePiece>),
    WordPiece(Box<WordPiece>),
}

/// What each token is in output text, one after another.
#[derive(Debug)]
struct Pieces {
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Whether a token is left out of output text; its piece is then its name.
    silent: Vec<bool>,
}

impl Tokenizer {
    /// Builds the tables of a vocabulary. Nothing of it is borrowed.
    ///
    /// # Errors
    /// When the pre-tokenizer is not known, a score is not a number, or there are too many special
    /// tokens.
    pub fn new(vocabulary: &Vocabulary<'_>) -> Result<Tokenizer, TokenizerError> {
        let unknown = || TokenizerError::PreTokenizer { name: vocabulary.pre().to_owned() };
        let scheme = match vocabulary.model() {
            VocabularyModel::Bpe => {
                Scheme::Bpe(Box::new(Bpe::new(vocabulary).ok_or_else(unknown)?))
            }
            VocabularyModel::WordPiece => {
                Scheme::WordPiece(Box::new(WordPiece::new(vocabulary).ok_or_else(unknown)?))
            }
            VocabularyModel::SentencePiece => Scheme::SentencePiece(Box::new(
                SentencePiece::new(vocabulary).map_err(|id| TokenizerError::Score { id })?,
            )),
        };
        let specials = Specials::new(vocabulary).ok_or(TokenizerError::Specials {
            count_max: special::SPECIALS_MAX,
            size_max: special::SPECIALS_SIZE_MAX,
        })?;
        Ok(Tokenizer {
            scheme,
            edges: Edges::new(&specials),
            specials,
            pieces: Pieces::new(vocabulary),
            begin: vocabulary.begin(),
            ends: vocabulary.ends().collect(),
            adds_begin: vocabulary.adds_begin(),
            adds_space_prefix: vocabulary.adds_space_prefix(),
            grammars: OnceLock::new(),
        })
    }

    /// The ids of a text. Never adds a token at the beginning or the end.
    #[must_use]
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Vec<u32> {
        self.encode_allowing(text, special.allowed())
    }

    /// The ids of a prompt: as `encode`, with the beginning token first where the vocabulary asks
    /// for one and the text does not start with it.
    #[must_use]
    pub fn encode_prompt(&self, text: &str, special: SpecialTokens) -> Vec<u32> {
        self.begun(self.encode(text, special))
    }

    /// The ids of a text that an encoder reads: the beginning token, the text as a user wrote it, and
    /// the token that ends it.
    #[must_use]
    pub fn encode_enclosed(&self, text: &str) -> Vec<u32> {
        let ids = self.encode(text, SpecialTokens::Plain);
        self.begin.into_iter().chain(ids).chain(self.ends.first().copied()).collect()
    }

    /// The bytes that a token stands for in output text: none for a control token. `None` outside
    /// the vocabulary. A character can be spread over several tokens (`StreamDecoder`).
    #[must_use]
    pub fn bytes(&self, id: u32) -> Option<&[u8]> {
        let (piece, silent) = self.pieces.get(id)?;
        Some(if silent { &[] } else { piece })
    }

    /// A token for people to read: its text, or its name if it has none (`<|im_end|>`). `None`
    /// outside the vocabulary.
    #[must_use]
    pub fn name(&self, id: u32) -> Option<String> {
        self.pieces.get(id).map(|(piece, _)| String::from_utf8_lossy(piece).into_owned())
    }

    /// The text of ids: their bytes joined, U+FFFD for what is not UTF-8. Ids outside the
    /// vocabulary have no text. The dummy space of a SentencePiece vocabulary is kept, so that the
    /// text equals that of a `StreamDecoder` over the same ids.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let bytes: Vec<u8> =
            ids.iter().filter_map(|&id| self.bytes(id)).flatten().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How many tokens there are, at least 1.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a vocabulary is never empty")]
    pub fn len(&self) -> usize {
        self.pieces.ends.len()
    }

    /// The token put before a prompt, if the model has one.
    #[must_use]
    pub fn begin(&self) -> Option<u32> {
        self.begin
    }

    /// The tokens that end a generation, ascending.
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// A guide through one answer that follows a grammar. The first one takes a while.
    ///
    /// # Errors
    /// When the text is no grammar or too large a one, or nothing ends an answer of this model.
    pub fn guide(&self, grammar: &str) -> Result<TextGuide, GrammarError> {
        match self.grammars.get_or_init(|| Grammars::new(self)) {
            Ok(grammars) => grammars.guide(grammar),
            Err(error) => Err(error.clone()),
        }
    }

    /// The ids of a prompt that a template wrote: control tokens are parsed wherever they hold no
    /// byte of `guarded`, ascending offsets into the text.
    pub(crate) fn encode_guarded(&self, text: &str, guarded: &[usize]) -> Vec<u32> {
        self.begun(self.encode_allowing(text, Allowed::Except(guarded)))
    }

    /// Offsets of the characters of a text that must not become part of a control token when a
    /// template puts the text between others.
    pub(crate) fn forgeable(&self, text: &str) -> BTreeSet<usize> {
        self.edges.forgeable(&self.specials, text)
    }

    fn begun(&self, mut ids: Vec<u32>) -> Vec<u32> {
        let begin = self.begin.filter(|_| self.adds_begin);
        if let Some(begin) = begin.filter(|begin| ids.first() != Some(begin)) {
            ids.insert(0, begin);
        }
        ids
    }

    fn encode_allowing(&self, text: &str, allowed: Allowed<'_>) -> Vec<u32> {
        let mut ids = Vec::new();
        let mut after_token = true;
        for fragment in self.specials.split(text, allowed) {
            match fragment {
                Fragment::Token(id) => {
                    ids.push(id);
                    after_token = true;
                }
                Fragment::Text(range) => {
                    let text = text.get(range).unwrap_or_default();
                    self.encode_text(text, after_token, &mut ids);
                    after_token = false;
                }
            }
        }
        ids
    }

    fn encode_text(&self, text: &str, after_token: bool, ids: &mut Vec<u32>) {
        match &self.scheme {
            Scheme::Bpe(bpe) => bpe.encode(text, ids),
            Scheme::WordPiece(scheme) => scheme.encode(text, ids),
            Scheme::SentencePiece(scheme) => {
                let spaced = self.adds_space_prefix && after_token;
                let prefix = if spaced { Prefix::Space } else { Prefix::Nothing };
                scheme.encode(text, prefix, ids);
            }
        }
    }
}

impl SpecialTokens {
    fn allowed(self) -> Allowed<'static> {
        match self {
            SpecialTokens::Parse => Allowed::Except(&[]),
            SpecialTokens::Plain => Allowed::Nowhere,
        }
    }
}

impl Pieces {
    fn new(vocabulary: &Vocabulary<'_>) -> Pieces {
        let count = vocabulary.len();
        let mut pieces = Pieces {
            text: Vec::new(),
            ends: Vec::with_capacity(count),
            silent: Vec::with_capacity(count),
        };
        let ends: Vec<u32> = vocabulary.ends().collect();
        for id in 0..count as u32 {
            let written = vocabulary.token(id).unwrap_or_default();
            let kind = vocabulary.kind(id).unwrap_or(TokenKind::Unused);
            let piece = piece(vocabulary.model(), kind, written);
            let silent = piece.is_none() || ends.contains(&id);
            pieces.text.extend_from_slice(piece.as_deref().filter(|_| !silent).unwrap_or(written));
            pieces.ends.push(pieces.text.len());
            pieces.silent.push(silent);
        }
        pieces
    }

    fn get(&self, id: u32) -> Option<(&[u8], bool)> {
        let index = id as usize;
        let start =
            index.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        let piece = self.text.get(start..*self.ends.get(index)?)?;
        Some((piece, *self.silent.get(index)?))
    }
}

/// What a token is in output text; `None` for one that has no place there.
fn piece(model: VocabularyModel, kind: TokenKind, written: &[u8]) -> Option<Vec<u8>> {
    match (kind, model) {
        (TokenKind::Control | TokenKind::Unknown | TokenKind::Unused, _) => None,
        (TokenKind::Byte, _) => sentencepiece::byte_value(written).map(|byte| vec![byte]),
        (TokenKind::UserDefined, _) => Some(written.to_vec()),
        (TokenKind::Normal, VocabularyModel::Bpe) => {
            let spelled = std::str::from_utf8(written).ok().and_then(alphabet::bytes);
            Some(spelled.unwrap_or_else(|| written.to_vec()))
        }
        (TokenKind::Normal, VocabularyModel::SentencePiece) => {
            let text = String::from_utf8_lossy(written);
            Some(text.replace(sentencepiece::SPACE, " ").into_bytes())
        }
        (TokenKind::Normal, VocabularyModel::WordPiece) => {
            Some(match written.strip_prefix(wordpiece::PREFIX) {
                Some(rest) => rest.to_vec(),
                None => [b" ", written].concat(),
            })
        }
    }
}

#[cfg(test)]
mod tests;
