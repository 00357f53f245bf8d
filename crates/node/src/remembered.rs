//! What a worker remembers over a restart: the owner's pause, and the month's traffic for others.
//!
//! Two small TOML files in `worker/`, each written whole and renamed into place.
//!
//! Not here: what follows from them (`supervisor`).

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use store::whole::replace;

use crate::preferences::Mode;

/// Bytes of one file, at most.
pub const FILE_SIZE_MAX: u64 = 4096;

/// The folder of the files.
#[derive(Clone, Debug)]
pub struct Remembered {
    folder: PathBuf,
}

/// Bytes that went to and from others in one month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Month {
    /// The year.
    pub year: i16,
    /// The month, from 1.
    pub month: i8,
    /// How many.
    pub bytes: u64,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RememberedError {
    /// It cannot be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what this program wrote.
    #[error("{path}: {what}; remove the file to forget what it says")]
    Nonsense {
        /// Which.
        path: PathBuf,
        /// Why.
        what: String,
    },
}

/// A mode as its file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModeFile {
    /// `pause` or `drain`.
    mode: String,
    /// Whether it holds for own requests as well.
    all: bool,
    /// The end of a pause, in seconds since 1970.
    until: Option<u64>,
}

impl Remembered {
    /// The files in a folder, which is made when something is written.
    #[must_use]
    pub fn at(folder: PathBuf) -> Remembered {
        Remembered { folder }
    }

    /// The owner's last word.
    ///
    /// # Errors
    /// When its file cannot be read or is not one.
    pub fn mode(&self) -> Result<Mode, RememberedError> {
        let path = self.folder.join("mode.toml");
        let Some(file) = read::<ModeFile>(&path, FILE_SIZE_MAX)? else { return Ok(Mode::Work) };
        match (file.mode.as_str(), file.all, file.until) {
            ("pause", all, until) => Ok(Mode::Pause { until, all }),
            ("drain", all, None) => Ok(Mode::Drain { all }),
            (mode, ..) => {
                let what = format!("{mode:?} is no mode with these fields");
                Err(RememberedError::Nonsense { path, what })
            }
        }
    }

    /// Keeps the owner's word.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn keep_mode(&self, mode: Mode) -> Result<(), RememberedError> {
        let path = self.folder.join("mode.toml");
        let (name, all, until) = match mode {
            Mode::Pause { until, all } => ("pause", all, until),
            Mode::Drain { all } => ("drain", all, None),
            Mode::Work => return remove(path),
        };
        write(path, &ModeFile { mode: name.to_owned(), all, until })
    }

    /// The traffic of the month in which it was last kept.
    ///
    /// # Errors
    /// When its file cannot be read or is not one.
    pub fn month(&self) -> Result<Month, RememberedError> {
        Ok(read(&self.folder.join("traffic.toml"), FILE_SIZE_MAX)?.unwrap_or_default())
    }

    /// Keeps the month's traffic.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub fn keep_month(&self, month: &Month) -> Result<(), RememberedError> {
        write(self.folder.join("traffic.toml"), month)
    }
}

/// Writes a file whole, or leaves the one that is there.
pub(crate) fn write(path: PathBuf, value: &impl Serialize) -> Result<(), RememberedError> {
    let text = toml::to_string(value).map_err(|error| RememberedError::Nonsense {
        path: path.clone(),
        what: error.to_string(),
    })?;
    replace(&path, text.as_bytes()).map_err(|source| RememberedError::File { path, source })
}

/// Reads a file of at most `max` bytes, which need not be there.
pub(crate) fn read<T: DeserializeOwned>(
    path: &Path,
    max: u64,
) -> Result<Option<T>, RememberedError> {
    let wrong = |source| RememberedError::File { path: path.to_path_buf(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file.map_err(wrong)?,
    };
    let mut text = String::new();
    file.take(max).read_to_string(&mut text).map_err(wrong)?;
    let nonsense = |error: toml::de::Error| {
        let what = error.message().to_owned();
        RememberedError::Nonsense { path: path.to_path_buf(), what }
    };
    toml::from_str(&text).map(Some).map_err(nonsense)
}

/// Deletes a file, which need not be there.
pub(crate) fn remove(path: PathBuf) -> Result<(), RememberedError> {
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(RememberedError::File { path, source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
