//! Read a blob through the kernel's page cache, without copying it into the heap.
//!
//! Invariants:
//! - This is the crate's only unsafe code.
//! - A mapping is read-only, and made only of a file that already bears a blob's name.
//!
//! Not here: checking that the bytes still hash to the name; see `Blobs::verify`.

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};

/// The bytes of one blob, mapped read-only for as long as this value lives.
#[derive(Debug)]
pub struct Mapped {
    map: memmap2::Mmap,
}

impl Mapped {
    /// Maps all of `file`, which may be closed afterwards.
    ///
    /// # Errors
    ///
    /// When the operating system refuses the mapping.
    #[expect(unsafe_code, reason = "a mapping is sound only while nobody changes the file")]
    pub(crate) fn of(file: &File) -> io::Result<Mapped> {
        // SAFETY: blobs are written in `staging` alone and made read-only before they get the name
        // under which they are mapped. This program never writes to or truncates them again, and
        // `remove` and the renaming of an equal blob over this one leave a mapped file's pages
        // as they were.
        let map = unsafe { memmap2::Mmap::map(file)? };
        // Pages of 2 MiB where the file is not in memory yet: reading weights through pages of
        // 4 KiB took three times as long (Linux 6.18, ext4). A kernel without them says so, and
        // nothing else changes.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Mapped { map })
    }
}

impl Mapped {
    /// Brings a part into memory, so that whoever reads it next waits for no disk.
    ///
    /// # Errors
    ///
    /// When the disk cannot give it, or the part is not within the file.
    pub fn bring(&self, part: Range<usize>) -> io::Result<()> {
        if self.map.get(part.clone()).is_none() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        #[cfg(target_os = "linux")]
        match self.map.advise_range(memmap2::Advice::PopulateRead, part.start, part.len()) {
            // A kernel before 5.14 does not know how; then the next reader waits.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
            brought => brought?,
        }
        Ok(())
    }
}

/// Asks the kernel to forget the small pages through which a file on disk was written or read, so
/// that the next mapping brings it into large ones. Best effort.
pub(crate) fn forget_pages(file: &File) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}
