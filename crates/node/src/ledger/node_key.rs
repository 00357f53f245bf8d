//! A node's key on disk: 64 hexadecimal digits in a file that only its owner can read.
//!
//! Invariants: a key that is there is never replaced.
//!
//! Not here: accounts' keys (`wallet`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use types::id::Hash;
use types::node_key::NodeSecret;

/// Why a node's key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    /// The file cannot be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file holds something else.
    #[error(
        "{path} holds no node key of 64 hexadecimal digits; restore it from a backup, or move it away for a new one"
    )]
    Malformed {
        /// Which.
        path: PathBuf,
    },
}

/// The key of the file; a new one where there is no file.
///
/// # Errors
///
/// When the file cannot be read or written, or holds something else.
pub fn open(path: &Path) -> Result<NodeSecret, NodeKeyError> {
    let wrong = |source| NodeKeyError::File { path: path.to_path_buf(), source };
    match File::open(path) {
        Ok(mut file) => {
            let mut text = String::new();
            // One more than a key has, so that a longer file is no key.
            io::Read::by_ref(&mut file).take(80).read_to_string(&mut text).map_err(wrong)?;
            let key = Hash::parse(&format!("0x{}", text.trim()));
            let malformed = || NodeKeyError::Malformed { path: path.to_path_buf() };
            Ok(NodeSecret::new(key.ok_or_else(malformed)?.0))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path).map_err(wrong),
        Err(error) => Err(wrong(error)),
    }
}

fn make(path: &Path) -> io::Result<NodeSecret> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // Beside the file first: a crash leaves no half of a key under its name.
    let beside = path.with_extension("new");
    let _ = std::fs::remove_file(&beside);
    let mut file = options.open(&beside)?;
    let digits = Hash(bytes).to_string();
    writeln!(file, "{}", digits.trim_start_matches("0x"))?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(NodeSecret::new(bytes))
}

#[cfg(test)]
mod tests;
