//! The machine under an agreement's driver: its clock, and the files of undecided blocks.
//!
//! Invariants: the driver knows no other clock and no other files, so that a simulation can give it
//! its own.
//!
//! Not here: the journal of votes and the sockets, which are Malachite's.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;

/// A clock, and a folder of small files.
pub trait Machine: Send + 'static {
    /// Milliseconds since 1970.
    fn now(&self) -> u64;

    /// Does something later, unless the node has ended by then.
    fn after(&self, wait: Duration, then: Box<dyn FnOnce() + Send>);

    /// The files' names.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn files(&self) -> io::Result<Vec<String>>;

    /// A file's bytes.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;

    /// Writes a file. It is on the disk when this returns.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;

    /// Removes a file, if it is there.
    ///
    /// # Errors
    ///
    /// When the disk fails.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// The machine that the process runs on.
#[derive(Debug)]
pub(crate) struct Real {
    directory: PathBuf,
    runtime: Handle,
}

/// Milliseconds since 1970 by this machine's clock.
pub(crate) fn clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Real {
    /// Keeps files in a directory, which it makes.
    pub(crate) fn new(directory: &Path, runtime: Handle) -> io::Result<Real> {
        fs::create_dir_all(directory)?;
        Ok(Real { directory: directory.to_path_buf(), runtime })
    }
}

impl Machine for Real {
    fn now(&self) -> u64 {
        clock()
    }

    fn after(&self, wait: Duration, then: Box<dyn FnOnce() + Send>) {
        self.runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            then();
        });
    }

    fn files(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.directory)?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.directory.join(name))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(self.directory.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        File::open(&self.directory)?.sync_all()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.directory.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
