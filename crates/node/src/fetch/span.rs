//! Bring chunks from one source, and check each before it is placed.
//!
//! A chunk is read, hashed and written by one thread, in memory that is used again: handing it from
//! thread to thread left a tenth of two cores idle, and what is hashed is still in the core's cache when
//! it is written.
//!
//! Not here: which chunks.

use std::io;

use store::blobs::{ChunkBuffer, Pieces};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
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

/// Brings span after span, until the file is whole, the source is dropped, or nobody wants it any more.
/// Blocks while it hashes and writes.
pub(super) async fn work(
    plan: &Plan,
    pieces: &Pieces,
    source: usize,
    mut wanted: watch::Receiver<()>,
) -> Result<(), FetchError> {
    tokio::select! {
        ended = bring(plan, pieces, source) => ended,
        _ = wanted.changed() => Ok(()),
    }
}

async fn bring(plan: &Plan, pieces: &Pieces, source: usize) -> Result<(), FetchError> {
    let mut changes = plan.changes();
    let mut buffer = ChunkBuffer::default();
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
        let changes = changes.clone();
        let mut worker = Worker { plan, pieces, source, task, brought: false, changes };
        let ended = match worker.task.by_block {
            true => worker.blocks(&mut buffer).await,
            false => worker.range(&mut buffer).await,
        };
        let stop = ended.err();
        // Before others learn that it has ended, so that they do not take it up from this source.
        match &stop {
            // One that breaks off after it has brought something gets on.
            Some(Stop::Source(_)) if worker.brought => {}
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
    pieces: &'a Pieces,
    source: usize,
    task: Task,
    /// Whether a chunk of the span has come.
    brought: bool,
    changes: watch::Receiver<u64>,
}

impl Worker<'_> {
    fn silent(&self) -> SourceError {
        SourceError::Silent(self.plan.rules.silence.as_secs())
    }

    /// Brings the chunks one after the other as blocks.
    async fn blocks(&mut self, buffer: &mut ChunkBuffer) -> Result<(), Stop> {
        for index in self.task.chunks.clone() {
            if self.pieces.has(index) {
                continue;
            }
            let leaf = self.pieces.leaves().leaf(index);
            let source = self.plan.source(self.source);
            let block = timeout(self.plan.rules.silence, source.block(leaf)).await;
            let block = block.map_err(|_| self.silent())??;
            let chunk = buffer.first(self.size(index));
            if block.len() != chunk.len() {
                // The chunk it is, but the nodes said another size of it.
                return Err(match leaf.is_of(&block) {
                    true => Stop::Fetch(FetchError::Sizes { cid: self.pieces.root() }),
                    false => Stop::Lie(index),
                });
            }
            chunk.copy_from_slice(&block);
            self.place(index, chunk)?;
        }
        Ok(())
    }

    /// Brings the chunks as one part of the file.
    async fn range(&mut self, buffer: &mut ChunkBuffer) -> Result<(), Stop> {
        let leaves = self.pieces.leaves();
        let chunks = self.task.chunks.clone();
        let last = chunks.end.saturating_sub(1);
        let bytes = leaves.range(chunks.start).start..leaves.range(last).end;
        let source = self.plan.source(self.source);
        let flow = timeout(self.plan.rules.silence, source.range(self.pieces.root(), bytes)).await;
        let mut flow = flow.map_err(|_| self.silent())??;
        for index in chunks {
            let chunk = buffer.first(self.size(index));
            self.fill(&mut flow, chunk).await?;
            self.place(index, chunk)?;
        }
        Ok(())
    }

    /// Bytes of a chunk, at most `CHUNK_SIZE`.
    fn size(&self, index: usize) -> usize {
        let range = self.pieces.leaves().range(index);
        (range.end - range.start) as usize
    }

    /// Reads the next bytes of the flow, as many as the chunk has.
    async fn fill(&mut self, flow: &mut Flow, chunk: &mut [u8]) -> Result<(), Stop> {
        let mut filled = 0;
        while let Some(rest) = chunk.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let end = Instant::now() + self.plan.rules.silence;
            let count = loop {
                tokio::select! {
                    count = timeout_at(end, flow.read(&mut *rest)) => break count,
                    changed = self.changes.changed() => {
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
        Ok(())
    }

    /// Whether others have brought all that is left of the span.
    fn is_brought(&self) -> bool {
        self.task.chunks.clone().all(|index| self.pieces.has(index))
    }

    /// Checks a chunk, and places it if it is not here.
    fn place(&mut self, index: usize, chunk: &[u8]) -> Result<(), Stop> {
        let was_here = self.pieces.has(index);
        match self.pieces.place(index, chunk) {
            Ok(true) => {
                self.brought = true;
                let size = if was_here { 0 } else { chunk.len() as u64 };
                self.plan.placed(&self.task, (self.source, index), self.pieces, size);
                Ok(())
            }
            Ok(false) => Err(Stop::Lie(index)),
            Err(error) => Err(Stop::Fetch(error.into())),
        }
    }
}
