//! The models that a home has: which blobs each is, and under which terms.
//!
//! One TOML file a model in `models/`, written whole and renamed into place.
//!
//! Invariants:
//! - A model that is listed had its blobs when it was added.
//!
//! Not here: fetching (`pull`), making artifacts (`importer`).

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use store::blobs::{Blobs, StoreError};
use store::cid::Cid;
use store::collect;
use store::whole::replace;

use crate::home::Home;
use crate::source::Source;

/// Bytes of a model's name, at most.
pub const NAME_SIZE_MAX: usize = 128;
/// Bytes of one record, at most.
pub const RECORD_SIZE_MAX: u64 = 64 * 1024;

/// One model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRecord {
    /// Its name in the API and on the command line.
    pub name: String,
    /// CID of the artifact.
    pub artifact: String,
    /// Bytes of the artifact.
    pub artifact_size: u64,
    /// CID of the file that it was made from.
    pub source: String,
    /// Its family.
    pub family: String,
    /// The rule by which matrices got 4 or 8 bits.
    pub bits: String,
    /// Licence: an SPDX expression or a name.
    pub licence: String,
    /// Where the licence's text is, or empty.
    pub licence_url: String,
    /// When it was added, in seconds since 1970.
    pub added: u64,
}

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ModelsError {
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A blob cannot be deleted.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is not what this program wrote.
    #[error("{path}: {what}")]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A name cannot be a file's name.
    #[error("{name:?} is no model name: use 1 to {NAME_SIZE_MAX} letters, digits and .-_")]
    Name {
        /// The name.
        name: String,
    },
    /// No model has the name.
    #[error(
        "there is no model {name:?} here; `mashaa model ls` lists them, `mashaa model pull` fetches"
    )]
    Unknown {
        /// The name.
        name: String,
    },
}

/// The records of a home.
#[derive(Clone, Debug)]
pub struct Models {
    directory: PathBuf,
}

impl Models {
    /// The records of `home`.
    #[must_use]
    pub fn of(home: &Home) -> Models {
        Models { directory: home.models() }
    }

    /// The records of models of which `home` has the texts alone.
    #[must_use]
    pub fn without_weights(home: &Home) -> Models {
        Models { directory: home.texts() }
    }

    /// All models, by name.
    ///
    /// # Errors
    /// When a file cannot be read or is not a record.
    pub fn list(&self) -> Result<Vec<ModelRecord>, ModelsError> {
        let wrong = |source| ModelsError::File { path: self.directory.clone(), source };
        let mut records = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                records.push(read(path)?);
            }
        }
        records.sort_by(|a: &ModelRecord, b| a.name.cmp(&b.name));
        Ok(records)
    }

    /// The model with this name or artifact CID.
    ///
    /// # Errors
    /// When there is none, or records cannot be read.
    pub fn get(&self, name: &str) -> Result<ModelRecord, ModelsError> {
        let found =
            self.list()?.into_iter().find(|record| record.name == name || record.artifact == name);
        found.ok_or_else(|| ModelsError::Unknown { name: name.to_owned() })
    }

    /// Adds or replaces a record.
    ///
    /// # Errors
    /// When the name cannot be a file's name, or the file cannot be written.
    pub fn put(&self, record: &ModelRecord) -> Result<(), ModelsError> {
        let path = self.path(&record.name)?;
        let text = toml::to_string(record)
            .map_err(|error| ModelsError::Record { path: path.clone(), what: error.to_string() })?;
        replace(&path, text.as_bytes()).map_err(|source| ModelsError::File { path, source })
    }

    /// Removes a record; its blobs stay.
    ///
    /// # Errors
    /// When the name is none, or the file cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), ModelsError> {
        let path = self.path(name)?;
        std::fs::remove_file(&path).map_err(|source| ModelsError::File { path, source })
    }

    /// The blobs that models are made of.
    ///
    /// # Errors
    /// When records cannot be read.
    pub fn roots(&self, blobs: &Blobs) -> Result<Vec<Cid>, ModelsError> {
        let mut roots = Vec::new();
        for record in self.list()? {
            roots.extend(record.artifact.parse::<Cid>());
            roots.extend(record.source.parse::<Cid>().iter().flat_map(|cid| parts(blobs, cid)));
        }
        Ok(roots)
    }

    /// Deletes those of these blobs that no model is made of and neither a pin nor what is kept for
    /// others leads to, with the files that sources among them list. Other blobs stay, since another
    /// process may be fetching them.
    ///
    /// # Errors
    /// When records cannot be read, or a blob cannot be deleted.
    pub fn sweep(
        &self,
        blobs: &Blobs,
        unneeded: &[Cid],
        kept: Vec<Cid>,
    ) -> Result<(), ModelsError> {
        let pins = blobs.pins()?.into_iter().map(|pin| pin.cid).chain(kept);
        let mut needed: BTreeSet<Cid> = collect::reach(blobs, pins)?.counts.into_keys().collect();
        needed.extend(self.roots(blobs)?);
        for cid in unneeded.iter().flat_map(|cid| parts(blobs, cid)) {
            if !needed.contains(&cid) {
                blobs.remove(&cid)?;
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> Result<PathBuf, ModelsError> {
        check_name(name)?;
        Ok(self.directory.join(format!("{name}.toml")))
    }
}

/// The blobs of a source; of what cannot be read, at least itself.
fn parts(blobs: &Blobs, cid: &Cid) -> Vec<Cid> {
    Source::blobs(blobs, cid).unwrap_or_else(|_| vec![*cid])
}

/// Checks that a name can be a file's name everywhere.
///
/// # Errors
/// When it cannot.
pub fn check_name(name: &str) -> Result<(), ModelsError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match !name.is_empty()
        && name.len() <= NAME_SIZE_MAX
        && !name.starts_with('.')
        && name.chars().all(plain)
    {
        true => Ok(()),
        false => Err(ModelsError::Name { name: name.to_owned() }),
    }
}

fn read(path: PathBuf) -> Result<ModelRecord, ModelsError> {
    let wrong = |source| ModelsError::File { path: path.clone(), source };
    let size = std::fs::metadata(&path).map_err(wrong)?.len();
    if size > RECORD_SIZE_MAX {
        let what = format!("{size} bytes are more than a record has");
        return Err(ModelsError::Record { path, what });
    }
    let text = std::fs::read_to_string(&path).map_err(wrong)?;
    toml::from_str(&text).map_err(|error| ModelsError::Record { path, what: error.to_string() })
}
