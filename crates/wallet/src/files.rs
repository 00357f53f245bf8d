//! Files that only their owner may read.
//!
//! Invariants:
//! - A new file is whole and on the disk before it has its name, and no file that is there is ever
//!   replaced.
//! - What others can read is not taken for a secret.
//!
//! Not here: what is in the files. Systems without Unix permissions are not asked about readers.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::passphrase::PassphraseError;

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses.
    #[error("{path}")]
    System {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is a file of that name, which is not replaced.
    #[error("{path} is there already, and is not replaced; choose another name")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may read or write a secret.
    #[error("{path} can be read or written by others (mode {mode:o}); run: chmod 600 {path}")]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file has more bytes than anything that is meant.
    #[error("{path} has over {max} bytes, which is too many")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most.
        max: usize,
    },
    /// The file is no UTF-8.
    #[error("{path} is no text in UTF-8")]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The file holds no passphrase.
    #[error("{path}")]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PassphraseError,
    },
}

/// A file that is open for reading.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn open(path: &Path) -> Result<Source, FileError> {
        let path = path.to_path_buf();
        match File::open(&path) {
            Ok(file) => Ok(Source { path, file }),
            Err(source) => Err(FileError::System { path, source }),
        }
    }

    /// Checks that only its owner may read or write it. The opened file is asked and not its name,
    /// which could come to mean another in between.
    ///
    /// # Errors
    ///
    /// When others may, or the system does not tell.
    #[cfg(unix)]
    pub fn check_private(&self) -> Result<(), FileError> {
        use std::os::unix::fs::PermissionsExt;
        let metadata = self.file.metadata().map_err(|source| self.wrong(source))?;
        let mode = metadata.permissions().mode() & 0o777;
        match mode & 0o077 {
            0 => Ok(()),
            _ => Err(FileError::NotPrivate { path: self.path.clone(), mode }),
        }
    }

    /// Checks nothing: this system has other permissions.
    ///
    /// # Errors
    ///
    /// Never.
    #[cfg(not(unix))]
    pub fn check_private(&self) -> Result<(), FileError> {
        Ok(())
    }

    /// Reads a text of at most `max` bytes.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, is longer, or is no text.
    pub fn read(self, max: usize) -> Result<Zeroizing<String>, FileError> {
        // Room for all at once, so that growing leaves no copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(max.saturating_add(1)));
        let limit = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        let read = (&self.file).take(limit).read_to_end(&mut bytes);
        read.map_err(|source| self.wrong(source))?;
        if bytes.len() > max {
            return Err(FileError::TooLong { path: self.path, max });
        }
        match str::from_utf8(&bytes) {
            Ok(text) => Ok(Zeroizing::new(text.to_owned())),
            Err(_) => Err(FileError::NotText { path: self.path }),
        }
    }

    fn wrong(&self, source: std::io::Error) -> FileError {
        FileError::System { path: self.path.clone(), source }
    }
}

/// Writes a new file that only its owner may read, in a folder that is made if need be.
///
/// # Errors
///
/// When there is a file of that name, or the disk fails.
pub fn write_new(path: &Path, text: &str) -> Result<(), FileError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let wrong = |source| FileError::System { path: path.to_path_buf(), source };
    make_folder(folder)?;
    // `tempfile` makes it with mode 0600, and removes it again if anything fails.
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder).map_err(wrong)?;
    file.write_all(text.as_bytes()).map_err(wrong)?;
    file.as_file().sync_all().map_err(wrong)?;
    // One system call that fails if the name is taken, also by who took it this moment.
    file.persist_noclobber(path).map_err(|error| match error.error.kind() {
        ErrorKind::AlreadyExists => FileError::Exists { path: path.to_path_buf() },
        _ => wrong(error.error),
    })?;
    sync_folder(folder)
}

fn make_folder(folder: &Path) -> Result<(), FileError> {
    if folder.is_dir() {
        return Ok(());
    }
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
        .recursive(true)
        .create(folder)
        .map_err(|source| FileError::System { path: folder.to_path_buf(), source })
}

/// Makes a new name durable: on Unix it is in its folder's own bytes.
fn sync_folder(folder: &Path) -> Result<(), FileError> {
    if !cfg!(unix) {
        return Ok(());
    }
    let synced = File::open(folder).and_then(|file| file.sync_all());
    synced.map_err(|source| FileError::System { path: folder.to_path_buf(), source })
}

#[cfg(test)]
mod tests;
