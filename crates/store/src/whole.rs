//! Files that are replaced whole.
//!
//! Invariants: whenever the power fails, there is the old file or the new one, and no half of either.
//!
//! Not here: what is in them, and files that only their owner may read (`ledger::node_key`, `wallet`).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes a file in place of the one that is there, if there is one, and makes its folder.
///
/// # Errors
/// When it cannot be written; the old one is still there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    // No suffix of its own is lost: `name.toml` and `name.txt` do not share `name.part`.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    // The name is on the disk only with its folder; Windows has no such thing to flush.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}
