//! Copy a source that the user has already.
//!
//! Invariants:
//! - The user's file is only read: a link to it would change whenever the user changes it.
//!
//! Not here: looking for the file anywhere else than where the user says.

use std::fs::{self, File};
use std::path::Path;

use super::{Delivery, MirrorError};

/// Copies the file at `path`, or the one called `name` in the folder at `path`.
pub(crate) fn fetch(
    path: &Path,
    name: &str,
    delivery: &mut Delivery<'_>,
) -> Result<(), MirrorError> {
    let path = if path.is_dir() { path.join(name) } else { path.to_path_buf() };
    let error = |source| MirrorError::File { path: path.clone(), source };
    let size = fs::metadata(&path).map_err(error)?.len();
    if size != delivery.size {
        return Err(MirrorError::OtherSize { wanted: delivery.size, got: size });
    }
    let file = File::open(&path).map_err(error)?;
    delivery.restart()?;
    delivery.take_from(file)?;
    delivery.expect_whole()
}
