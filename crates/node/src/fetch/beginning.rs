//! Fetch the first bytes of a file by its CID.
//!
//! Invariants:
//! - What is given is the file's: the chunks that have it are checked like those of whole files.
//!
//! Not here: keeping it.

use std::sync::Arc;

use store::cid::{CHUNK_SIZE, Cid};
use store::leaves::Leaves;

use super::nodes::Asking;
use super::plan::Plan;
use super::source::Source;
use super::{FetchError, Part, Report, Rules, plan};

/// Bytes of a file's beginning, at most; they are in memory. An artifact's vocabulary has at most as many.
pub(super) const BEGINNING_SIZE_MAX: usize = 256 << 20;

/// A file whose chunks are known, of which the first are fetched one after the other.
pub struct Beginning {
    plan: Arc<Plan>,
    leaves: Leaves,
    bytes: Vec<u8>,
}

impl Beginning {
    /// Fetches the nodes over the file.
    ///
    /// # Errors
    /// When the sources together do not have them, or it is no file.
    pub async fn open(
        root: Cid,
        sources: &[Arc<dyn Source>],
        rules: &Rules,
        report: Arc<Report>,
    ) -> Result<Beginning, FetchError> {
        let plan = plan(sources, rules, report)?;
        let asking = Asking { plan: &plan };
        let block = asking.block(root).await?;
        let leaves = asking.leaves(root, &block).await?;
        Ok(Beginning { plan, leaves, bytes: Vec::new() })
    }

    /// Bytes of the whole file.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.leaves.size()
    }

    /// At least so many of the first bytes, or all that the file has.
    ///
    /// # Errors
    /// When no source has them, or they are too many.
    pub async fn first(&mut self, size: usize) -> Result<&[u8], FetchError> {
        let cid = self.leaves.root();
        if size > BEGINNING_SIZE_MAX {
            let (needed, room) = (size as u64, BEGINNING_SIZE_MAX as u64);
            return Err(FetchError::Room { cid, needed, room });
        }
        while self.bytes.len() < size && (self.bytes.len() as u64) < self.whole() {
            let index = self.bytes.len() / CHUNK_SIZE;
            let block = Asking { plan: &self.plan }.block(self.leaves.leaf(index)).await?;
            let range = self.leaves.range(index);
            if block.len() as u64 != range.end - range.start {
                return Err(FetchError::Sizes { cid });
            }
            self.bytes.extend_from_slice(&block);
            self.plan.received(cid, self.bytes.len() as u64, self.whole());
        }
        Ok(&self.bytes)
    }

    /// What each source did, in the order given.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        self.plan.parts()
    }
}

impl std::fmt::Debug for Beginning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beginning").field("whole", &self.whole()).finish_non_exhaustive()
    }
}
