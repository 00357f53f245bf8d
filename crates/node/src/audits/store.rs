//! The artifacts that audits compute with, and pieces of them as evidence.
//!
//! Invariants:
//! - Nothing is fetched: an auditor audits with what it has.
//!
//! Not here: blobs (`store`), what is computed (`party`).

use std::sync::Arc;

use ::store::blobs::Blobs;
use ::store::cid::Cid as Name;
use audit::artifact::Piece;
use engine::model::Model;
use types::codec::encode;
use types::id::Cid;

/// The store of this node.
#[derive(Clone, Debug)]
pub(super) struct Store(pub(super) Blobs);

impl Store {
    /// Whether an artifact is here.
    pub(super) fn has(&self, work: &Cid) -> bool {
        name(work).is_ok_and(|name| self.0.contains(&name))
    }

    /// Opens an artifact.
    pub(super) fn model(&self, work: &Cid) -> Result<Arc<Model>, String> {
        let bytes = self.0.map(&name(work)?).map_err(|error| error.to_string())?;
        Ok(Arc::new(Model::open(bytes).map_err(|error| error.to_string())?))
    }

    /// Whether an artifact's bytes have its name's hash.
    pub(super) fn verify(&self, work: &Cid) -> Result<(), String> {
        self.0.verify(&name(work)?).map_err(|error| error.to_string())
    }

    /// A chunk of an artifact, with the nodes over it.
    pub(super) fn piece(&self, work: &Cid, index: u64) -> Result<Piece, String> {
        let name = name(work)?;
        let leaves = self.0.leaves(&name).map_err(|error| error.to_string())?;
        let bytes = self.0.map(&name).map_err(|error| error.to_string())?;
        let piece = Piece::cut(&leaves, bytes.as_ref().as_ref(), index);
        piece.ok_or_else(|| format!("the artifact has no chunk {index}"))
    }
}

fn name(work: &Cid) -> Result<Name, String> {
    Name::from_bytes(&encode(work)).map_err(|error| error.to_string())
}
