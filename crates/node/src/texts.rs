//! Models whose weights are elsewhere: what it takes to ask other machines for answers.
//!
//! A record beside those of whole models, and the artifact's first bytes, by its CID.
//!
//! Invariants:
//! - What is kept was checked against the artifact's CID when it was fetched.
//!
//! Not here: fetching weights (`fetch`), models that are here (`models`).

use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::artifact::{ArtifactError, FIRST_SIZE_MAX, strings};
use engine::texts::Texts;
use store::cid::Cid;

use crate::fetch::{Beginning, FetchError};
use crate::home::Home;
use crate::models::{ModelRecord, Models, ModelsError};
use store::whole::replace;

/// Why there are no texts of a model.
#[derive(Debug, thiserror::Error)]
pub enum TextsError {
    /// They were not fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// They are no artifact's.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// Their record cannot be read or written.
    #[error(transparent)]
    Models(#[from] ModelsError),
    /// Their file cannot be read or written.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a home has of models whose weights are elsewhere.
#[derive(Clone, Debug)]
pub struct KeptTexts {
    records: Models,
    folder: PathBuf,
}

impl KeptTexts {
    /// Those of `home`.
    #[must_use]
    pub fn of(home: &Home) -> KeptTexts {
        KeptTexts { records: Models::without_weights(home), folder: home.texts() }
    }

    /// The texts of the model with this name or CID; `None` where there are none.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<(ModelRecord, Texts)>, TextsError> {
        let record = match self.records.get(name) {
            Err(ModelsError::Unknown { .. }) => return Ok(None),
            record => record?,
        };
        let path = self.path(&record.artifact);
        let bytes = std::fs::read(&path).map_err(|source| TextsError::File { path, source })?;
        let texts = Texts::open(bytes, record.artifact_size)?;
        Ok(Some((record, texts)))
    }

    /// Fetches the texts of an artifact and keeps them. `name` is what it is to be called; without one,
    /// what it calls itself.
    ///
    /// # Errors
    /// When they are not fetched, are no artifact's, or cannot be kept.
    pub async fn take(
        &self,
        cid: &Cid,
        artifact: &mut Beginning,
        name: Option<&str>,
    ) -> Result<ModelRecord, TextsError> {
        let whole = artifact.whole();
        let size = Texts::size_of(artifact.first(FIRST_SIZE_MAX).await?, whole)?;
        // What follows is weights.
        let first = artifact.first(size).await?.get(..size).unwrap_or_default().to_vec();
        let texts = Texts::open(first.clone(), whole)?;
        let text = |key: &str| texts.strings().get(key).cloned().unwrap_or_default();
        let record = ModelRecord {
            name: name.map_or_else(|| text(strings::NAME), str::to_owned),
            artifact: cid.to_string(),
            artifact_size: whole,
            source: text(strings::SOURCE),
            family: texts.config().family.name().to_owned(),
            bits: text(strings::BITS),
            licence: text(strings::LICENCE),
            licence_url: String::new(),
            added: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        };
        let path = self.path(&record.artifact);
        replace(&path, &first).map_err(|source| TextsError::File { path, source })?;
        self.records.put(&record)?;
        Ok(record)
    }

    fn path(&self, artifact: &str) -> PathBuf {
        self.folder.join(artifact)
    }
}
