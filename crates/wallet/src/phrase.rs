//! The words from which a key can be made again: BIP-39, with the English list.
//!
//! Invariants: a phrase's checksum is right, it is never shown but by `text`, and it is erased when
//! it is dropped.
//!
//! Not here: which key is made from it (`derive`).

use std::fmt;

use bip39::{Language, Mnemonic};
use zeroize::Zeroizing;

/// Bytes of a phrase as it is typed in: 24 words of at most 8 letters, with room for more spaces.
pub const TEXT_MAX: usize = 1024;
/// Bytes of a seed.
const SEED_SIZE: usize = 64;

/// 12, 15, 18, 21 or 24 words.
#[derive(Clone)]
pub struct Phrase(Mnemonic);

/// How many words a new phrase has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Words {
    /// 12 words, 128 random bits: as hard to guess as a key of this curve.
    #[default]
    Twelve,
    /// 24 words, 256 random bits.
    TwentyFour,
}

/// What keys are derived from.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; SEED_SIZE]>);

/// Why words are no phrase. The words themselves are not told, since they may be nearly right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhraseError {
    /// There are more than `TEXT_MAX` bytes.
    #[error("text is too long for a phrase")]
    TooLong,
    /// The number of words is none of the five.
    #[error("phrase has {found} words, and not 12, 15, 18, 21 or 24")]
    WordCount {
        /// How many there are.
        found: usize,
    },
    /// A word is not in the English list.
    #[error("word {number} of the phrase is not in the English list of BIP-39")]
    UnknownWord {
        /// Which, from 1 on.
        number: usize,
    },
    /// The last word does not fit the others: one was mistaken for another, or two were exchanged.
    #[error("words are in the list, and their checksum is wrong; compare them, and their order")]
    Checksum,
}

impl Phrase {
    /// A new phrase.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn random(words: Words) -> Result<Phrase, getrandom::Error> {
        match words {
            Words::Twelve => Phrase::draw::<16>(),
            Words::TwentyFour => Phrase::draw::<32>(),
        }
    }

    fn draw<const SIZE: usize>() -> Result<Phrase, getrandom::Error> {
        let mut entropy = Zeroizing::new([0; SIZE]);
        getrandom::fill(&mut *entropy)?;
        let mnemonic = Mnemonic::from_entropy_in(Language::English, &*entropy);
        Ok(Phrase(mnemonic.expect("16 and 32 bytes are sizes of BIP-39")))
    }

    /// Reads a phrase, in letters of any case and with any white space between the words.
    ///
    /// # Errors
    ///
    /// When the words are no phrase.
    pub fn parse(text: &str) -> Result<Phrase, PhraseError> {
        if text.len() > TEXT_MAX {
            return Err(PhraseError::TooLong);
        }
        let text = Zeroizing::new(text.to_ascii_lowercase());
        let found = || text.split_whitespace().count();
        match Mnemonic::parse_in_normalized(Language::English, &text) {
            Ok(mnemonic) => Ok(Phrase(mnemonic)),
            Err(bip39::Error::UnknownWord(index)) => {
                Err(PhraseError::UnknownWord { number: index.saturating_add(1) })
            }
            Err(bip39::Error::InvalidChecksum) => Err(PhraseError::Checksum),
            Err(_) => Err(PhraseError::WordCount { found: found() }),
        }
    }

    /// The words, with a space between them.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        // Room for all at once, so that no shorter copy is left behind.
        let mut text = Zeroizing::new(String::with_capacity(TEXT_MAX));
        for word in self.0.words() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(word);
        }
        text
    }

    /// The seed, with BIP-39's own passphrase, which may be empty. It is brought to NFKD, and every
    /// passphrase gives a seed: a wrong one gives another wallet.
    #[must_use]
    pub fn seed(&self, passphrase: &str) -> Seed {
        Seed(Zeroizing::new(self.0.to_seed(passphrase)))
    }
}

impl Seed {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for Phrase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Phrase of {} words", self.0.word_count())
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Seed")
    }
}

#[cfg(test)]
mod tests;
