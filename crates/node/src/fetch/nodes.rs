//! Ask for single blocks: several sources in turn, and together when the first takes long.
//!
//! Not here: parts of files.

use axum::body::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use store::cid::Cid;
use store::leaves::{Gathering, Leaves};
use tokio::time::{sleep, timeout};

use super::FetchError;
use super::plan::{Plan, Verdict};
use super::source::SourceError;

/// Whoever asks.
pub(super) struct Asking<'a> {
    pub(super) plan: &'a Plan,
}

impl Asking<'_> {
    /// A block that hashes to its name.
    pub(super) async fn block(&self, cid: Cid) -> Result<Bytes, FetchError> {
        let mut asked = FuturesUnordered::new();
        let mut sources = self.plan.willing().into_iter();
        loop {
            let next = sources.next();
            asked.extend(next.map(|source| self.ask(source, cid)));
            if asked.is_empty() {
                return Err(FetchError::Nobody { cid, parts: self.plan.parts() });
            }
            // The first answer, or time to ask one more.
            tokio::select! {
                answer = asked.next() => {
                    if let Some(Some(block)) = answer {
                        return Ok(block);
                    }
                }
                () = sleep(self.plan.rules.hedge), if sources.len() > 0 => {}
            }
        }
    }

    async fn ask(&self, source: usize, cid: Cid) -> Option<Bytes> {
        let silence = self.plan.rules.silence;
        // Ends at `FAILURE_COUNT_MAX`, when the source is dropped.
        loop {
            let asked = timeout(silence, self.plan.source(source).block(cid)).await;
            match asked.unwrap_or(Err(SourceError::Silent(silence.as_secs()))) {
                Ok(block) if cid.is_of(&block) => {
                    self.plan.delivered_node(source, block.len());
                    return Some(block);
                }
                Ok(_) => {
                    self.plan.drop_source(source, Verdict::Lies { cid });
                    return None;
                }
                Err(error) => {
                    if self.plan.failed(source, error, true) {
                        return None;
                    }
                }
            }
        }
    }

    /// The table of the file whose root's block is known.
    pub(super) async fn leaves(&self, root: Cid, block: &[u8]) -> Result<Leaves, FetchError> {
        let mut gathering = Gathering::begin(root, block)?;
        while let Some(wanted) = gathering.wanted() {
            gathering.take(&self.block(wanted).await?)?;
        }
        Ok(gathering.finish()?)
    }
}
