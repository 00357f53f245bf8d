//! What of an artifact a gateway needs: its configuration, texts and vocabulary, and no weights.
//!
//! These sections stand first in the file, so that its first bytes are enough: some megabytes of a model
//! of any size.
//!
//! Invariants:
//! - What is opened was checked as a whole artifact's is.
//!
//! Not here: computing with weights (`model`), and whether the bytes are the artifact's.

use alloc::string::ToString;
use alloc::vec::Vec;

use crate::artifact::config::Config;
use crate::artifact::strings::{self, Strings};
use crate::artifact::{ArtifactError, Directory, Kind, Section};
use crate::model::{Reader, check_generates, check_vocabulary};
use crate::vocabulary::Vocabulary;

/// The first part of an artifact.
#[derive(Debug)]
pub struct Texts {
    bytes: Vec<u8>,
    config: Config,
    strings: Strings,
    vocabulary: Section,
}

impl Texts {
    /// How many of an artifact's first bytes are needed. `first` are some, with the section table, and
    /// `whole` is the artifact's size in bytes.
    ///
    /// # Errors
    /// When it is no artifact, or has no vocabulary.
    pub fn size_of(first: &[u8], whole: u64) -> Result<usize, ArtifactError> {
        let vocabulary = Directory::read_first(first, whole)?.need(Kind::Vocabulary, 0)?;
        Ok(vocabulary.offset + vocabulary.size)
    }

    /// Opens the first bytes of an artifact of `whole` bytes.
    ///
    /// # Errors
    /// When they are too few, or not an artifact's that generates text.
    pub fn open(bytes: Vec<u8>, whole: u64) -> Result<Texts, ArtifactError> {
        let directory = Directory::read_first(&bytes, whole)?;
        let vocabulary = directory.need(Kind::Vocabulary, 0)?;
        let (needed, found) = (vocabulary.offset + vocabulary.size, bytes.len());
        // Sections ascend, so that the others which are read end before it.
        if found < needed {
            return Err(ArtifactError::Size { expected: needed as u64, found: found as u64 });
        }
        let reader = Reader { data: &bytes, directory: &directory };
        let config = reader.get(Kind::Config, 0, Config::from_bytes)?;
        check_generates(&config)?;
        let strings = reader.get(Kind::Strings, 0, strings::from_bytes)?;
        reader.get(Kind::Vocabulary, 0, |bytes| {
            let vocabulary = Vocabulary::new(bytes).map_err(|error| error.to_string())?;
            check_vocabulary(&vocabulary, &config)
        })?;
        Ok(Texts { bytes, config, strings, vocabulary })
    }

    /// The model's shape and constants.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Name, licence, chat template and other texts.
    #[must_use]
    pub fn strings(&self) -> &Strings {
        &self.strings
    }

    /// The bytes of the vocabulary's section.
    #[must_use]
    pub fn vocabulary_bytes(&self) -> &[u8] {
        &self.bytes[self.vocabulary.offset..][..self.vocabulary.size]
    }

    /// The vocabulary, read in place.
    ///
    /// # Panics
    /// Never: the section was checked when this was opened.
    #[must_use]
    pub fn vocabulary(&self) -> Vocabulary<'_> {
        Vocabulary::new(self.vocabulary_bytes()).expect("the vocabulary was checked at opening")
    }
}
