//! Say what went wrong with a blob.
//!
//! Not here: texts that are no names; see `CidRefusal`.

use std::io;
use std::path::{Path, PathBuf};

use crate::cid::Cid;

/// Why a blob could not be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The blob is not here.
    #[error("blob {cid} is not here")]
    Missing {
        /// The blob that was asked for.
        cid: Cid,
    },
    /// The bytes are not those of the blob.
    #[error("wanted {wanted}, got the bytes of {got}")]
    Mismatch {
        /// The blob that the bytes were to be.
        wanted: Cid,
        /// What they are.
        got: Cid,
    },
    /// Someone else is staging the same blob.
    #[error("another process is fetching {cid}")]
    Busy {
        /// The blob that is staged.
        cid: Cid,
    },
    /// Someone is adding, so that nothing may be deleted.
    #[error("another process is adding to the store; try again when it has ended")]
    Held,
    /// More is referred to than a walk visits.
    #[error("more than {} blocks are referred to", crate::walk::BLOCK_COUNT_MAX)]
    TooMany,
    /// Too much is pinned.
    #[error("at most {} pins fit; unpin some", super::PIN_COUNT_MAX)]
    Pins,
    /// The bytes to be kept could not be read.
    #[error("the bytes to be kept cannot be read")]
    Source {
        /// What the reader said.
        source: io::Error,
    },
    /// The disk, or the right to use it, is missing.
    #[error("{}", path.display())]
    Io {
        /// The file or folder at fault.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Names the file at which an operation failed.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { path, source }
}
