//! Where a node keeps its files, and the lock that lets one process serve from them.
//!
//! ```text
//! config.toml   settings
//! blobs/        files by CID
//! models/       one small file a model: which blobs it is
//! ledger/       genesis, node key, blocks and state
//! wallets/      one keystore a wallet, and the passphrases of those that need no person
//! earned/       receipts of answers that others pay for, and their vouchers
//! paid/         channels to other machines, and what was vouched for
//! receipts/     receipts of the last answers, and what they are about
//! keys/         API keys, as hashes, and what they have used
//! api/          files that clients of the API have left, and batches
//! worker/       a pause that lasts, and the month's traffic for others
//! copies/       who keeps copies of pins, and what is kept for others
//! work/         files that are not complete
//! lock          held by the process that serves; holds its process id
//! ```
//!
//! Invariants:
//! - At most one process holds a home's lock; the system frees it when the process ends, however.
//!
//! Not here: what is in the files.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The environment variable that names the home.
pub const HOME_VARIABLE: &str = "MASHAA_HOME";

/// A node's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
}

/// Proof that this process alone serves from the home.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why a home cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The system does not say where a user's files go.
    #[error("no home directory is known; say where with --home or {HOME_VARIABLE}")]
    Unknown,
    /// A file or directory could not be made or read.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Another process serves from it.
    #[error("{path} is in use by process {process}; stop it, or choose another with --home")]
    InUse {
        /// The home.
        path: PathBuf,
        /// The other's process id, or "unknown".
        process: String,
    },
}

impl Home {
    /// Opens the home that the flag, the environment or the platform's convention names, and makes
    /// its directories.
    ///
    /// # Errors
    /// When no place is known, or a directory cannot be made.
    pub fn open(
        flag: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Home, HomeError> {
        let home = Home { path: Home::place(flag, variable)? };
        for directory in [home.path.clone(), home.models(), home.texts(), home.work()] {
            std::fs::create_dir_all(&directory)
                .map_err(|source| HomeError::File { path: directory, source })?;
        }
        Ok(home)
    }

    /// Where the home is, or would be.
    ///
    /// # Errors
    /// When no place is known.
    pub fn place(
        flag: Option<&Path>,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<PathBuf, HomeError> {
        let set = || variable(HOME_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        let found = flag.map(Path::to_path_buf).or_else(set);
        found.or_else(|| convention(variable)).ok_or(HomeError::Unknown)
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    /// Files by CID.
    #[must_use]
    pub fn blobs(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// One small file a model.
    #[must_use]
    pub fn models(&self) -> PathBuf {
        self.path.join("models")
    }

    /// Of models whose weights are elsewhere, what it takes to ask for answers.
    #[must_use]
    pub fn texts(&self) -> PathBuf {
        self.path.join("texts")
    }

    /// The members' ledger.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger")
    }

    /// One keystore a wallet. It is made with the first one, for its owner's eyes only.
    #[must_use]
    pub fn wallets(&self) -> PathBuf {
        self.path.join("wallets")
    }

    /// What was earned with work for others.
    #[must_use]
    pub fn earned(&self) -> PathBuf {
        self.path.join("earned")
    }

    /// What was found in audits that are not over.
    #[must_use]
    pub fn audits(&self) -> PathBuf {
        self.path.join("audits")
    }

    /// The file of the channels that this node has opened to others.
    #[must_use]
    pub fn paid(&self) -> PathBuf {
        self.path.join("paid").join("channels")
    }

    /// Receipts of answers.
    #[must_use]
    pub fn receipts(&self) -> PathBuf {
        self.path.join("receipts")
    }

    /// API keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.path.join("keys")
    }

    /// Files that clients of the API have left, and batches.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        self.path.join("api")
    }

    /// What a worker remembers.
    #[must_use]
    pub fn worker(&self) -> PathBuf {
        self.path.join("worker")
    }

    /// Files that are not complete.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// When another process has it, or the file cannot be made.
    pub fn lock(&self) -> Result<Lock, HomeError> {
        let path = self.path.join("lock");
        let wrong = |source| HomeError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut process = String::new();
                let known = file.read_to_string(&mut process).is_ok() && !process.trim().is_empty();
                let process = if known { process.trim() } else { "unknown" }.to_owned();
                return Err(HomeError::InUse { path: self.path.clone(), process });
            }
            Err(TryLockError::Error(source)) => return Err(wrong(source)),
        }
        file.set_len(0).map_err(wrong)?;
        file.rewind().map_err(wrong)?;
        writeln!(file, "{}", std::process::id()).map_err(wrong)?;
        Ok(Lock { _file: file })
    }
}

/// The platform's place for a program's data.
fn convention(variable: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if cfg!(windows) {
        return Some(set("LOCALAPPDATA")?.join("mashaa"));
    }
    if cfg!(target_os = "macos") {
        return Some(set("HOME")?.join("Library/Application Support/mashaa"));
    }
    // XDG Base Directory Specification 0.8: a relative path is invalid and ignored.
    let data = set("XDG_DATA_HOME").filter(|path| path.is_absolute());
    let data = data.or_else(|| Some(set("HOME")?.join(".local/share")))?;
    Some(data.join("mashaa"))
}

#[cfg(test)]
mod tests;
