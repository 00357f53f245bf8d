//! Bring chunks from one source, and check each before it is placed.
//!
//! Not here: which chunks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store::blobs::{Pieces, StoreError};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use super::FetchError;
use super::plan::{Next, Plan, Task, Verdict};
use super::source::{Flow, SourceError};

/// Why a span ended before its end.
enum Stop {
    /// The source failed.
    Source(SourceError),
    /// The store failed, and with it the whole fetch.
    Fetch(FetchError),
    /// The chunk is not the one that was asked for.
    Lie(usize),
    /// Others have brought the rest.
    Done,
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Stop {
        Stop::Source(error)
    }
}

/// Brings span after span until the file is whole or the source is dropped.
pub(super) async fn work(
    plan: &Plan,
    pieces: &Arc<Pieces>,
    source: usize,
) -> Result<(), FetchError> {
    let mut changes = plan.changes();
    loop {
        changes.mark_unchanged();
        let task = match plan.next(source, pieces) {
            Next::End => return Ok(()),
            Next::Bring(task) => task,
            Next::Wait => {
                if changes.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        let worker = Worker {
            plan,
            pieces,
            source,
            task,
            brought: AtomicBool::new(false),
            changes: &changes,
        };
        let ended = if worker.task.by_block { worker.blocks().await } else { worker.range().await };
        let stop = ended.err();
        // Before others learn that it has ended, so that they do not take it up from this source.
        match &stop {
            // One that breaks off after it has brought something gets on.
            Some(Stop::Source(_)) if worker.brought.load(Ordering::Relaxed) => {}
            Some(Stop::Source(error)) => {
                plan.failed(source, error.clone(), worker.task.by_block);
            }
            Some(Stop::Lie(index)) => {
                plan.drop_source(source, Verdict::Lies { cid: pieces.leaves().leaf(*index) });
            }
            Some(Stop::Done | Stop::Fetch(_)) | None => {}
        }
        plan.ended(&worker.task, source, pieces);
        if let Some(Stop::Fetch(error)) = stop {
            return Err(error);
        }
    }
}

struct Worker<'a> {
    plan: &'a Plan,
    pieces: &'a Arc<Pieces>,
    source: usize,
    task: Task,
    /// Whether a chunk of the span has come.
    brought: AtomicBool,
    changes: &'a watch::Receiver<u64>,
}

impl Worker<'_> {
    fn silent(&self) -> SourceError {
        SourceError::Silent(self.plan.rules.silence.as_secs())
    }

    /// Brings the chunks one after the other as blocks.
    async fn blocks(&self) -> Result<(), Stop> {
        for index in self.task.chunks.clone() {
            if self.pieces.has(index) {
                continue;
            }
            let leaf = self.pieces.leaves().leaf(index);
            let source = self.plan.source(self.source);
            let block = timeout(self.plan.rules.silence, source.block(leaf)).await;
            let block = block.map_err(|_| self.silent())??;
            if block.len() != self.size(index) && leaf.is_of(&block) {
                // The chunk it is, but the nodes said another size of it.
                return Err(Stop::Fetch(FetchError::Sizes { cid: self.pieces.root() }));
            }
            let placing = self.begin(index, block.to_vec());
            self.end(Some(placing)).await?;
        }
        Ok(())
    }

    /// Brings the chunks as one part of the file. While one is hashed and written, the next one is read.
    async fn range(&self) -> Result<(), Stop> {
        let leaves = self.pieces.leaves();
        let chunks = self.task.chunks.clone();
        let last = chunks.end.saturating_sub(1);
        let bytes = leaves.range(chunks.start).start..leaves.range(last).end;
        let source = self.plan.source(self.source);
        let flow = timeout(self.plan.rules.silence, source.range(self.pieces.root(), bytes)).await;
        let mut flow = flow.map_err(|_| self.silent())??;
        let mut changes = self.changes.clone();
        let (mut before, mut spare) = (None, Vec::new());
        for index in chunks {
            let (size, memory) = (self.size(index), std::mem::take(&mut spare));
            // What was read before counts even if this fails, and a lie is noticed while this waits.
            let reading = async { Ok(self.chunk(&mut flow, &mut changes, size, memory).await) };
            let (read, back) = tokio::try_join!(reading, self.end(before.take()))?;
            spare = back;
            before = Some(self.begin(index, read?));
        }
        self.end(before).await.map(drop)
    }

    /// Bytes of a chunk, at most `CHUNK_SIZE`.
    fn size(&self, index: usize) -> usize {
        let range = self.pieces.leaves().range(index);
        (range.end - range.start) as usize
    }

    /// The next bytes of the flow, exactly so many, in the memory that is to spare.
    async fn chunk(
        &self,
        flow: &mut Flow,
        changes: &mut watch::Receiver<u64>,
        size: usize,
        mut chunk: Vec<u8>,
    ) -> Result<Vec<u8>, Stop> {
        chunk.resize(size, 0);
        let mut filled = 0;
        while filled < size {
            let end = Instant::now() + self.plan.rules.silence;
            let count = loop {
                let rest = chunk.get_mut(filled..).unwrap_or_default();
                tokio::select! {
                    count = timeout_at(end, flow.read(rest)) => break count,
                    changed = changes.changed() => {
                        if changed.is_err() || self.is_brought() {
                            return Err(Stop::Done);
                        }
                    }
                }
            };
            let broken = |error: io::Error| SourceError::Broken(error.to_string());
            match count.map_err(|_| self.silent())?.map_err(broken)? {
                0 => return Err(SourceError::Broken("too few bytes".to_owned()).into()),
                count => filled += count,
            }
        }
        Ok(chunk)
    }

    /// Whether others have brought all that is left of the span.
    fn is_brought(&self) -> bool {
        self.task.chunks.clone().all(|index| self.pieces.has(index))
    }

    /// Begins to check a chunk and to place it.
    fn begin(&self, index: usize, chunk: Vec<u8>) -> Placing {
        let (was_here, size) = (self.pieces.has(index), chunk.len() as u64);
        let pieces = Arc::clone(self.pieces);
        let done = tokio::task::spawn_blocking(move || {
            let placed = pieces.place(index, &chunk);
            (placed, chunk)
        });
        Placing { index, size: if was_here { 0 } else { size }, done }
    }

    /// Waits until a chunk is placed, if there is one; gives its memory back.
    async fn end(&self, placing: Option<Placing>) -> Result<Vec<u8>, Stop> {
        let Some(Placing { index, size, done }) = placing else { return Ok(Vec::new()) };
        let (placed, chunk) = done.await.map_err(|_| Stop::Fetch(FetchError::Task))?;
        match placed {
            Ok(true) => {
                self.brought.store(true, Ordering::Relaxed);
                self.plan.placed(&self.task, (self.source, index), self.pieces, size);
                Ok(chunk)
            }
            Ok(false) => Err(Stop::Lie(index)),
            Err(error) => Err(Stop::Fetch(error.into())),
        }
    }
}

/// A chunk that is being checked and placed.
struct Placing {
    index: usize,
    /// Its bytes, if it was not here.
    size: u64,
    /// Its memory comes back.
    done: JoinHandle<(Result<bool, StoreError>, Vec<u8>)>,
}
