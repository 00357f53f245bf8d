//! What clients leave here for longer than a request: files, and batches of requests.
//!
//! ```text
//! files/ID        a file's bytes
//! files/ID.json   what is known of it, written once the bytes are on the disk
//! batches/ID/     a batch that is kept: `batch.json`, and until its end `input` and `journal`
//! ```
//!
//! Not here: the files (`files`), the batches (`batches`), who chooses the limits (the node's settings).

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::batches::desk::Desk;
use crate::files::shelf::Shelf;

/// Where it is kept, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A folder for nothing else.
    pub directory: PathBuf,
    /// Bytes of one file, at most.
    pub file_size_max: u64,
    /// Bytes of all files, above which none is taken in.
    pub size_max: u64,
    /// Files, above which none is taken in.
    pub count_max: usize,
    /// Requests of batches that are answered at once, at most; at least one.
    pub lines_at_once: usize,
}

/// Files and batches on the disk.
#[derive(Debug)]
pub struct Archive {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) lines_at_once: usize,
}

impl Archive {
    /// Opens what there is; what was not complete when the process ended is taken away.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(settings: &Settings) -> io::Result<Archive> {
        let shelf = Shelf::open(settings)?;
        let desk = Desk::open(settings.directory.join("batches"))?;
        let lines_at_once = settings.lines_at_once.max(1);
        Ok(Archive { shelf: Arc::new(shelf), desk: Arc::new(desk), lines_at_once })
    }
}
