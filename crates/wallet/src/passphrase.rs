//! The text that opens a wallet's file.
//!
//! Invariants: a passphrase is never shown, and its bytes are erased when it is dropped.
//!
//! Not here: asking a person for it.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::files::{FileError, Source};

/// Bytes of a passphrase: many lines of text, and little enough to hash at once.
pub const SIZE_MAX: usize = 1024;
/// Characters of a passphrase for a new file, at least (NIST SP 800-63B, section 5.1.1). Files that
/// are there may have shorter ones.
pub const LENGTH_MIN: usize = 8;
/// Bytes of a random passphrase: as many as the key that it keeps.
const RANDOM_SIZE: usize = 32;

/// A passphrase.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

/// Why a text is no passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PassphraseError {
    /// There is nothing.
    #[error("passphrase is empty")]
    Empty,
    /// There are more than `SIZE_MAX` bytes.
    #[error("passphrase has over {SIZE_MAX} bytes")]
    TooLong,
    /// A new file asks for more than this.
    #[error("passphrase has {length} characters; choose one of at least {LENGTH_MIN}")]
    TooShort {
        /// Its characters.
        length: usize,
    },
}

impl Passphrase {
    /// A passphrase of 1 to `SIZE_MAX` bytes.
    ///
    /// # Errors
    ///
    /// When there are none, or more.
    pub fn new(text: Zeroizing<String>) -> Result<Passphrase, PassphraseError> {
        match text.len() {
            0 => Err(PassphraseError::Empty),
            size if size > SIZE_MAX => Err(PassphraseError::TooLong),
            _ => Ok(Passphrase(text)),
        }
    }

    /// Reads a file that only its owner may read. One line end at its end does not count.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, others may read it too, or it holds no passphrase.
    pub fn read(path: &Path) -> Result<Passphrase, FileError> {
        let source = Source::open(path)?;
        source.check_private()?;
        // With room for the line end.
        let text = source.read(SIZE_MAX.saturating_add(2))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        Passphrase::new(Zeroizing::new(line.to_owned()))
            .map_err(|source| FileError::Passphrase { path: path.to_path_buf(), source })
    }

    /// A passphrase that nobody can guess, and nobody remembers.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn random() -> Result<Passphrase, getrandom::Error> {
        let mut bytes = Zeroizing::new([0; RANDOM_SIZE]);
        getrandom::fill(&mut *bytes)?;
        Ok(Passphrase(Zeroizing::new(data_encoding::HEXLOWER.encode(&*bytes))))
    }

    /// Checks that it is long enough for a new file.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check_new(&self) -> Result<(), PassphraseError> {
        match self.0.chars().count() {
            length if length < LENGTH_MIN => Err(PassphraseError::TooShort { length }),
            _ => Ok(()),
        }
    }

    /// Its text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Compares two entries of a new passphrase.
impl PartialEq for Passphrase {
    fn eq(&self, other: &Passphrase) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Passphrase")
    }
}

#[cfg(test)]
mod tests;
