//! Wallets by name in a folder.
//!
//! ```text
//! NAME.json         a keystore
//! NAME.passphrase   its passphrase, if it was made to be opened without a person
//! ```
//!
//! Both are for their owner's eyes only (mode 0600). A passphrase beside its keystore protects
//! against one thing: that someone gets hold of a copy of the keystore alone. Whoever can read the
//! folder has the key.
//!
//! Invariants: no file is ever replaced or removed. At most `WALLETS_MAX` wallets are listed.
//!
//! Not here: asking for passphrases.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{self, PathBuf};

use types::id::Address;

use crate::derive;
use crate::files::{self, FileError, Source};
use crate::keystore::{self, Keystore, KeystoreError, NotSealed};
use crate::passphrase::{Passphrase, PassphraseError};
use crate::wallet::Wallet;

/// The name of the wallet that is meant where none is named.
pub const MAIN: &str = "main";
/// Bytes of a name, which is a file's name with an ending.
pub const NAME_MAX: usize = 64;
/// Wallets of a folder. More than anyone names by hand, and few enough to read at once.
pub const WALLETS_MAX: usize = 1024;

/// A folder of wallets, which need not be there before the first is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wallets {
    folder: PathBuf,
}

/// What can be said of a wallet without its passphrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// The address that the file states, if it does; proved only when the wallet is opened.
    pub address: Option<Address>,
    /// Where the key is in its phrase's tree, if the file says that it came from one.
    pub path: Option<derive::Path>,
    /// Its passphrase is beside it.
    pub unattended: bool,
}

/// Why a wallet is not kept, listed or opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalletsError {
    /// A name that is not one everywhere.
    #[error("{name:?} is no name of a wallet: letters, digits, `-` and `_`, at most {NAME_MAX}")]
    Name {
        /// The name.
        name: String,
    },
    /// There is no wallet of that name.
    #[error("there is no wallet {name:?} in {folder}; make one with `mashaa wallet new`")]
    Unknown {
        /// The name.
        name: String,
        /// The folder.
        folder: PathBuf,
    },
    /// The folder has more wallets than can be listed.
    #[error("{folder} has over {WALLETS_MAX} wallets; move some to another folder")]
    TooMany {
        /// The folder.
        folder: PathBuf,
    },
    /// A file or the disk.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file that is no keystore, or that the passphrase does not open.
    #[error("{file}")]
    Keystore {
        /// The file.
        file: PathBuf,
        /// Why.
        source: KeystoreError,
    },
    /// The passphrase is too short for a new wallet.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
    /// The system gives no random bytes, or no memory.
    #[error(transparent)]
    NotSealed(#[from] NotSealed),
}

impl Wallets {
    /// The wallets of a folder.
    #[must_use]
    pub fn of(folder: PathBuf) -> Wallets {
        Wallets { folder }
    }

    /// The file of the wallet with this name, whether or not it is there.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn file(&self, name: &str) -> Result<PathBuf, WalletsError> {
        check_name(name)?;
        Ok(self.folder.join(format!("{name}.json")))
    }

    /// The file of a wallet's passphrase, whether or not it is there.
    ///
    /// # Errors
    ///
    /// When the name is none.
    pub fn passphrase_file(&self, name: &str) -> Result<PathBuf, WalletsError> {
        check_name(name)?;
        Ok(self.folder.join(format!("{name}.passphrase")))
    }

    /// Checks that a new wallet can have this name, before anyone is asked for a passphrase.
    ///
    /// # Errors
    ///
    /// When the name is none, or taken.
    pub fn check_free(&self, name: &str) -> Result<(), WalletsError> {
        for path in [self.file(name)?, self.passphrase_file(name)?] {
            if path.symlink_metadata().is_ok() {
                return Err(FileError::Exists { path }.into());
            }
        }
        Ok(())
    }

    /// Keeps a wallet under a name.
    ///
    /// # Errors
    ///
    /// When the name is none, or taken, the passphrase is too short, or the disk fails.
    pub fn keep(
        &self,
        name: &str,
        wallet: &Wallet,
        passphrase: &Passphrase,
    ) -> Result<PathBuf, WalletsError> {
        self.check_free(name)?;
        passphrase.check_new()?;
        let file = self.file(name)?;
        files::write_new(&file, &wallet.to_keystore(passphrase)?)?;
        Ok(file)
    }

    /// Makes a wallet that opens without a person: its random passphrase is kept beside it, which
    /// protects against a copy of one of the two files and against nothing else. No phrase gives the
    /// key back; both files together are its backup.
    ///
    /// # Errors
    ///
    /// When the name is none, or taken, or the disk fails.
    pub fn create_unattended(&self, name: &str) -> Result<Wallet, WalletsError> {
        let (file, beside) = (self.file(name)?, self.passphrase_file(name)?);
        if file.symlink_metadata().is_ok() {
            return Err(FileError::Exists { path: file }.into());
        }
        // A passphrase without a wallet is what a crash between the two leaves; it is as good as new.
        let passphrase = match Passphrase::read(&beside) {
            Err(FileError::System { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let passphrase = Passphrase::random()?;
                files::write_new(&beside, passphrase.text())?;
                passphrase
            }
            there => there?,
        };
        let wallet = Wallet::random()?;
        files::write_new(&file, &wallet.to_keystore(&passphrase)?)?;
        Ok(wallet)
    }

    /// Opens the wallet with this name.
    ///
    /// # Errors
    ///
    /// When there is none, its file is unsound, or the passphrase is wrong.
    pub fn open(&self, name: &str, passphrase: &Passphrase) -> Result<Wallet, WalletsError> {
        let text = self.text(name)?;
        let file = self.file(name)?;
        Wallet::from_keystore(&text, passphrase)
            .map_err(|source| WalletsError::Keystore { file, source })
    }

    /// The passphrase beside the wallet with this name, if it has one.
    ///
    /// # Errors
    ///
    /// When its file is there and cannot be read, or others can read it too.
    pub fn passphrase(&self, name: &str) -> Result<Option<Passphrase>, WalletsError> {
        match Passphrase::read(&self.passphrase_file(name)?) {
            Err(FileError::System { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Ok(None)
            }
            read => Ok(Some(read?)),
        }
    }

    /// The text of a wallet's file.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or it cannot be read.
    pub fn text(&self, name: &str) -> Result<String, WalletsError> {
        match Source::open(&self.file(name)?).and_then(|file| file.read(keystore::SIZE_MAX)) {
            Err(FileError::System { source, .. }) if source.kind() == ErrorKind::NotFound => {
                Err(WalletsError::Unknown { name: name.to_owned(), folder: self.folder.clone() })
            }
            read => Ok(read?.to_string()),
        }
    }

    /// What can be said of the wallet with this name without its passphrase.
    ///
    /// # Errors
    ///
    /// When there is none, or its file is unsound.
    pub fn entry(&self, name: &str) -> Result<Entry, WalletsError> {
        let (text, file) = (self.text(name)?, self.file(name)?);
        let keystore = Keystore::parse(&text)
            .map_err(|source| WalletsError::Keystore { file: file.clone(), source })?;
        Ok(Entry {
            name: name.to_owned(),
            file,
            address: keystore.address(),
            path: keystore.path(),
            unattended: self.passphrase_file(name)?.is_file(),
        })
    }

    /// The names of all wallets, sorted.
    ///
    /// # Errors
    ///
    /// When the folder cannot be read, or has too many.
    pub fn names(&self) -> Result<Vec<String>, WalletsError> {
        let wrong = |source| FileError::System { path: self.folder.clone(), source };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(wrong)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry.map_err(wrong)?.path();
            let Some(name) = name_of(&path).filter(|name| check_name(name).is_ok()) else {
                continue;
            };
            if names.len() >= WALLETS_MAX {
                return Err(WalletsError::TooMany { folder: self.folder.clone() });
            }
            names.push(name.to_owned());
        }
        names.sort();
        Ok(names)
    }
}

fn name_of(path: &path::Path) -> Option<&str> {
    let is_wallet = path.extension() == Some(OsStr::new("json"));
    path.file_stem().filter(|_| is_wallet)?.to_str()
}

fn check_name(name: &str) -> Result<(), WalletsError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    match (1..=NAME_MAX).contains(&name.len()) && name.chars().all(plain) {
        true => Ok(()),
        false => Err(WalletsError::Name { name: name.to_owned() }),
    }
}

#[cfg(test)]
mod tests;
