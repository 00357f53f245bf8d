//! Fetch a file or a directory by its CID from several sources at once.
//!
//! The nodes over a file's chunks are fetched first, each checked against the name that led to it.
//! From then on every chunk's SHA-256 is known, and any source's bytes can be checked before they
//! are placed.
//!
//! Invariants:
//! - Nobody is trusted: a chunk that does not hash to its name is not placed, and its source is not
//!   asked again.
//! - What has arrived survives a kill, and is hashed again before it counts.
//! - A file is in the store whole or not at all, a directory only after what is in it.
//!
//! Not here: finding sources, and how one is talked to.

mod beginning;
pub mod http;
mod nodes;
mod part;
mod plan;
pub mod source;
mod span;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use store::blobs::{Blobs, Pieces, StoreError};
use store::cid::{Cid, Codec};
use store::leaves::{Leaves, LeavesRefusal};
use store::unix_fs::Kind;
use store::walk::{self, BLOCK_COUNT_MAX, WalkError};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::space;
use nodes::Asking;
use plan::Plan;
use source::{Source, SourceError};

pub use beginning::Beginning;
pub use plan::{Part, Verdict};

/// Sources of one fetch, at most.
pub const SOURCE_COUNT_MAX: usize = 64;

/// Bytes of directories' blocks of one fetch, at most; they are in memory until all that is in them is
/// here. The entries of `BLOCK_COUNT_MAX` files with names of 80 characters take as much.
pub const NODES_SIZE_MAX: usize = 256 << 20;

/// How long someone else may be at a file that is to be fetched: as long as a slow disk takes for what
/// a fetch that was ended had not written yet.
const BUSY_MAX: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// How long to wait, and how much may be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// For a source's next bytes.
    pub silence: Duration,
    /// For one source's block before another is asked too.
    pub hedge: Duration,
    /// Requests to one source at once.
    pub streams: usize,
    /// Bytes that may be added to the store.
    pub room: u64,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            silence: Duration::from_secs(15),
            hedge: Duration::from_secs(1),
            streams: 3,
            room: u64::MAX,
        }
    }
}

/// What happens while something is fetched, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A file is begun, or another chunk of it is here.
    Received {
        /// The file.
        cid: Cid,
        /// Bytes here, those of earlier attempts included.
        done: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// A source is not asked again.
    Dropped {
        /// Its name.
        source: &'a str,
        /// Why.
        why: &'a Verdict,
    },
}

/// Is told what happens, from several threads.
pub type Report = dyn Fn(Event<'_>) + Send + Sync;

/// What a fetch came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What each source did, in the order given.
    pub parts: Vec<Part>,
    /// Files that were not here before.
    pub files: usize,
    /// Bytes of those files, what earlier attempts left included.
    pub bytes: u64,
}

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file is not laid out as files are here.
    #[error(transparent)]
    Leaves(#[from] LeavesRefusal),
    /// A directory is none.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// There is no source, or too many.
    #[error("there are {0} sources; name 1 to {SOURCE_COUNT_MAX}")]
    Sources(usize),
    /// The disk or the quota has no room.
    #[error("{cid} needs {needed} bytes of room, and there are {room}")]
    Room {
        /// The file.
        cid: Cid,
        /// Bytes that are missing.
        needed: u64,
        /// Bytes that may be taken.
        room: u64,
    },
    /// A file's chunks do not have the sizes that its nodes say.
    #[error("{cid} has chunks of other sizes than its nodes say")]
    Sizes {
        /// The file.
        cid: Cid,
    },
    /// No source delivered all of it.
    #[error("no source has delivered {cid}:{}", lines(parts))]
    Nobody {
        /// What is missing.
        cid: Cid,
        /// What each source did.
        parts: Vec<Part>,
    },
    /// A task ended without a result: a fault of this program.
    #[error("a task ended without a result")]
    Task,
}

fn lines(parts: &[Part]) -> String {
    parts.iter().map(|part| format!("\n  {part}")).collect()
}

/// Fetches everything at and below `root`.
///
/// # Errors
/// When the sources together do not have it, or the store has no room for it.
pub async fn fetch(
    blobs: &Blobs,
    root: Cid,
    sources: &[Arc<dyn Source>],
    rules: &Rules,
    report: Arc<Report>,
) -> Result<Outcome, FetchError> {
    let plan = plan(sources, rules, report)?;
    let mut work = Work { blobs, plan, files: 0, bytes: 0 };
    work.all(root).await?;
    Ok(Outcome { parts: work.plan.parts(), files: work.files, bytes: work.bytes })
}

fn plan(
    sources: &[Arc<dyn Source>],
    rules: &Rules,
    report: Arc<Report>,
) -> Result<Arc<Plan>, FetchError> {
    if sources.is_empty() || sources.len() > SOURCE_COUNT_MAX {
        return Err(FetchError::Sources(sources.len()));
    }
    Ok(Arc::new(Plan::new(sources.to_vec(), *rules, report)))
}

struct Work<'a> {
    blobs: &'a Blobs,
    plan: Arc<Plan>,
    files: usize,
    bytes: u64,
}

impl Work<'_> {
    /// Files are fetched as they are met; directories are kept at the end, children first.
    async fn all(&mut self, root: Cid) -> Result<(), FetchError> {
        let (mut seen, mut left, mut nodes) = (BTreeSet::new(), vec![root], Vec::new());
        let mut node_bytes = 0;
        while let Some(cid) = left.pop() {
            // A directory that is here may have lost what is in it, so only files end the search.
            if !seen.insert(cid) || self.blobs.contains(&cid) {
                continue;
            }
            if seen.len() > BLOCK_COUNT_MAX {
                let what = "it has too many entries";
                return Err(WalkError::Limit { cid: root, what }.into());
            }
            let block = match self.blobs.node(&cid)? {
                Some(block) => block,
                // The table of a file that was begun before tells what its nodes would.
                None => match self.blobs.read_leaves(&cid) {
                    Ok(leaves) => {
                        self.file(leaves).await?;
                        continue;
                    }
                    Err(_) => self.asking().block(cid).await?.to_vec(),
                },
            };
            if cid.codec() == Codec::Raw {
                self.keep(cid, block).await?;
                continue;
            }
            let (node, kind) = walk::decode(&cid, &block)?;
            if let Kind::File { .. } = kind {
                let leaves = self.asking().leaves(cid, &block).await?;
                self.file(leaves).await?;
                continue;
            }
            left.extend(node.links.iter().map(|link| link.cid).rev());
            node_bytes += block.len();
            // Protects the memory: who serves a directory can make it as large as it likes.
            if node_bytes > NODES_SIZE_MAX || seen.len() + left.len() > BLOCK_COUNT_MAX {
                let what = "its directories are too large";
                return Err(WalkError::Limit { cid: root, what }.into());
            }
            nodes.push((cid, block));
        }
        for (cid, block) in nodes.iter().rev() {
            self.blobs.put_node(cid, block)?;
        }
        Ok(())
    }

    fn asking(&self) -> Asking<'_> {
        Asking { plan: &self.plan }
    }

    /// Keeps a file of one chunk.
    async fn keep(&mut self, cid: Cid, block: Vec<u8>) -> Result<(), FetchError> {
        let size = block.len() as u64;
        self.expect_room(cid, size)?;
        let blobs = self.blobs.clone();
        let kept = tokio::task::spawn_blocking(move || blobs.put(block.as_slice())).await;
        let got = kept.map_err(|_| FetchError::Task)??;
        // More than one chunk's bytes would have got another name.
        if got != cid {
            self.blobs.remove(&got)?;
            return Err(FetchError::Sizes { cid });
        }
        self.plan.received(cid, size, size);
        (self.files, self.bytes) = (self.files + 1, self.bytes.saturating_add(size));
        Ok(())
    }

    /// Fetches a file whose chunks are known.
    async fn file(&mut self, leaves: Leaves) -> Result<(), FetchError> {
        let size = leaves.size();
        let pieces = Arc::new(self.open(Arc::new(leaves)).await?);
        let cid = pieces.root();
        self.expect_room(cid, size.saturating_sub(pieces.size()))?;
        self.plan.begin(&pieces);
        let mut workers = JoinSet::new();
        // Dropped with this future, whatever becomes of it.
        let (wanting, wanted) = watch::channel(());
        for source in 0..self.plan.source_count() {
            for _ in 0..self.plan.rules.streams {
                let (plan, pieces) = (Arc::clone(&self.plan), Arc::clone(&pieces));
                let (handle, wanted) = (Handle::current(), wanted.clone());
                workers.spawn_blocking(move || {
                    handle.block_on(span::work(&plan, &pieces, source, wanted))
                });
            }
        }
        let mut outcome = Ok(());
        while let Some(ended) = workers.join_next().await {
            if pieces.is_whole() {
                break;
            }
            outcome = ended.unwrap_or(Err(FetchError::Task));
            if outcome.is_err() {
                break;
            }
        }
        // Whoever still waits for a source that is slow ends here.
        drop(wanting);
        workers.shutdown().await;
        self.plan.end(&pieces);
        outcome?;
        if !pieces.is_whole() {
            return Err(FetchError::Nobody { cid, parts: self.plan.parts() });
        }
        self.commit(pieces).await?;
        (self.files, self.bytes) = (self.files + 1, self.bytes.saturating_add(size));
        Ok(())
    }

    /// Opens the place where the chunks arrive. A fetch that was ended holds it until its last chunks
    /// are on the disk.
    async fn open(&self, leaves: Arc<Leaves>) -> Result<Pieces, FetchError> {
        let end = Instant::now() + BUSY_MAX;
        loop {
            let (leaves, blobs) = (Arc::clone(&leaves), self.blobs.clone());
            let opening = tokio::task::spawn_blocking(move || blobs.pieces(leaves)).await;
            match opening.map_err(|_| FetchError::Task)? {
                Err(StoreError::Busy { .. }) if Instant::now() < end => sleep(BUSY_PAUSE).await,
                opened => return Ok(opened?),
            }
        }
    }

    async fn commit(&self, pieces: Arc<Pieces>) -> Result<(), FetchError> {
        let committing = tokio::task::spawn_blocking(move || pieces.commit()).await;
        committing.map_err(|_| FetchError::Task)??;
        Ok(())
    }

    fn expect_room(&self, cid: Cid, needed: u64) -> Result<(), FetchError> {
        let free = space::free(self.blobs.dir()).unwrap_or(u64::MAX);
        let room = free.min(self.plan.rules.room.saturating_sub(self.bytes));
        if needed > room { Err(FetchError::Room { cid, needed, room }) } else { Ok(()) }
    }
}

impl FetchError {
    /// Whether a source sent other bytes than were asked for.
    #[must_use]
    pub fn is_other_bytes(&self) -> bool {
        let lied = |part: &Part| matches!(part.verdict, Verdict::Lies { .. });
        matches!(self, FetchError::Nobody { parts, .. } if parts.iter().any(lied))
    }

    /// Whether every source that answered said that it has it not.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        let missing = |part: &Part| part.verdict == Verdict::Failed(SourceError::Missing);
        matches!(self, FetchError::Nobody { parts, .. } if parts.iter().all(missing))
    }
}
