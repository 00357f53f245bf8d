//! Remember what is not to be deleted.
//!
//! A pin is a small file in `pins/`, named by the CID, whose text is what people call it.
//!
//! Invariants:
//! - At most `PIN_COUNT_MAX` pins.
//! - A pin that was set is there after a loss of power, and so is none that was taken away.
//!
//! Not here: whether what is pinned is here.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use super::error::at;
use super::{Blobs, StoreError, remove_if_there, sync_dir};
use crate::cid::Cid;

/// Where pins are, inside the folder of blobs.
pub(super) const PINS: &str = "pins";
/// Pins, at most.
pub const PIN_COUNT_MAX: usize = 65_536;
/// Bytes of a pin's name, at most; longer ones are cut.
pub const PIN_NAME_SIZE_MAX: usize = 256;

/// Something that is not to be deleted, with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// What.
    pub cid: Cid,
    /// What people call it; may be empty.
    pub name: String,
}

impl Blobs {
    /// Pins, or names the pin anew.
    ///
    /// # Errors
    ///
    /// `Pins` when there are too many; `Io`.
    pub fn pin(&self, cid: &Cid, name: &str) -> Result<(), StoreError> {
        let path = self.pin_path(cid);
        if !path.is_file() && super::list(&self.dir.join(PINS))?.len() >= PIN_COUNT_MAX {
            return Err(StoreError::Pins);
        }
        let end =
            (0..=name.len().min(PIN_NAME_SIZE_MAX)).rev().find(|at| name.is_char_boundary(*at));
        let name = name.get(..end.unwrap_or(0)).unwrap_or_default();
        let mut part = self.begin()?;
        part.write_all(name.as_bytes()).map_err(at(&path))?;
        part.file.sync_all().map_err(at(&path))?;
        fs::rename(&part.path, &path).map_err(at(&path))?;
        self.sync_pins()
    }

    /// Takes a pin away; says whether there was one.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn unpin(&self, cid: &Cid) -> Result<bool, StoreError> {
        let path = self.pin_path(cid);
        let was = path.is_file();
        remove_if_there(&path)?;
        self.sync_pins()?;
        Ok(was)
    }

    /// Whether it is pinned itself.
    #[must_use]
    pub fn is_pinned(&self, cid: &Cid) -> bool {
        self.pin_path(cid).is_file()
    }

    /// All pins, by CID.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let mut pins = Vec::new();
        for cid in super::list(&self.dir.join(PINS))? {
            // A name that cannot be read is no reason to lose the pin.
            let name = fs::read(self.pin_path(&cid)).unwrap_or_default();
            let name = name.get(..PIN_NAME_SIZE_MAX).unwrap_or(&name);
            pins.push(Pin { cid, name: String::from_utf8_lossy(name).into_owned() });
        }
        Ok(pins)
    }

    fn pin_path(&self, cid: &Cid) -> PathBuf {
        self.dir.join(PINS).join(cid.to_string())
    }

    fn sync_pins(&self) -> Result<(), StoreError> {
        let folder = self.dir.join(PINS);
        sync_dir(&folder).map_err(at(&folder))
    }
}
