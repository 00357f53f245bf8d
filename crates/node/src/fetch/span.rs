//! Bring chunks from one source, and check each before it is placed.
//!
//! Not here: which chunks.

use std::sync::Arc;

use axum::body::Bytes;
use futures_util::StreamExt;
use store::blobs::Pieces;
use store::cid::CHUNK_SIZE;
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
        let changes = &mut changes;
        let mut worker = Worker { plan, pieces, source, task, brought: false, changes };
        let ended = if worker.task.by_block { worker.blocks().await } else { worker.range().await };
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
    pieces: &'a Arc<Pieces>,
    source: usize,
    task: Task,
    /// Whether a chunk of the span has come.
    brought: bool,
    changes: &'a mut watch::Receiver<u64>,
}

impl Worker<'_> {
    fn silent(&self) -> SourceError {
        SourceError::Silent(self.plan.rules.silence.as_secs())
    }

    /// Brings the chunks one after the other as blocks.
    async fn blocks(&mut self) -> Result<(), Stop> {
        for index in self.task.chunks.clone() {
            if self.pieces.has(index) {
                continue;
            }
            let leaf = self.pieces.leaves().leaf(index);
            let source = self.plan.source(self.source);
            let block = timeout(self.plan.rules.silence, source.block(leaf)).await;
            let block = block.map_err(|_| self.silent())??;
            self.place(index, block.to_vec()).await?;
        }
        Ok(())
    }

    /// Brings the chunks as one part of the file.
    async fn range(&mut self) -> Result<(), Stop> {
        let leaves = self.pieces.leaves();
        let chunks = self.task.chunks.clone();
        let last = chunks.end.saturating_sub(1);
        let bytes = leaves.range(chunks.start).start..leaves.range(last).end;
        let source = self.plan.source(self.source);
        let flow = timeout(self.plan.rules.silence, source.range(self.pieces.root(), bytes)).await;
        let flow = flow.map_err(|_| self.silent())??;
        let mut reading = Reading { flow, ahead: Bytes::new(), spare: Vec::new() };
        for index in chunks {
            let range = self.pieces.leaves().range(index);
            // At most `CHUNK_SIZE`.
            let chunk = self.chunk(&mut reading, (range.end - range.start) as usize).await?;
            reading.spare = self.place(index, chunk).await?;
        }
        // To the end, which gives the connection back.
        let _ = timeout(self.plan.rules.silence, reading.flow.next()).await;
        Ok(())
    }

    /// The next bytes of the flow, exactly so many.
    async fn chunk(&mut self, reading: &mut Reading, size: usize) -> Result<Vec<u8>, Stop> {
        let mut chunk = std::mem::take(&mut reading.spare);
        chunk.clear();
        chunk.reserve_exact(CHUNK_SIZE);
        loop {
            let count = reading.ahead.len().min(size - chunk.len());
            chunk.extend_from_slice(&reading.ahead.split_to(count));
            if chunk.len() == size {
                return Ok(chunk);
            }
            let end = Instant::now() + self.plan.rules.silence;
            let bytes = loop {
                tokio::select! {
                    bytes = timeout_at(end, reading.flow.next()) => break bytes,
                    changed = self.changes.changed() => {
                        if changed.is_err() || self.is_brought() {
                            return Err(Stop::Done);
                        }
                    }
                }
            };
            match bytes.map_err(|_| self.silent())? {
                Some(bytes) => reading.ahead = bytes?,
                None => return Err(SourceError::Broken("too few bytes".to_owned()).into()),
            }
        }
    }

    /// Whether others have brought all that is left of the span.
    fn is_brought(&self) -> bool {
        self.task.chunks.clone().all(|index| self.pieces.has(index))
    }

    /// Checks a chunk and places it; gives its memory back.
    async fn place(&mut self, index: usize, chunk: Vec<u8>) -> Result<Vec<u8>, Stop> {
        let was_here = self.pieces.has(index);
        let (pieces, size) = (Arc::clone(self.pieces), chunk.len() as u64);
        let placing = tokio::task::spawn_blocking(move || {
            let placed = pieces.place(index, &chunk);
            (placed, chunk)
        });
        let (placed, chunk) = placing.await.map_err(|_| Stop::Fetch(FetchError::Task))?;
        match placed {
            Ok(true) => {
                let size = if was_here { 0 } else { size };
                self.brought = true;
                self.plan.placed(&self.task, (self.source, index), self.pieces, size);
                Ok(chunk)
            }
            Ok(false) => Err(Stop::Lie(index)),
            Err(error) => Err(Stop::Fetch(error.into())),
        }
    }
}

/// A part of a file that is on its way.
struct Reading {
    flow: Flow,
    /// Bytes that came with a chunk and belong to the next one.
    ahead: Bytes,
    /// Memory for the next chunk.
    spare: Vec<u8>,
}
