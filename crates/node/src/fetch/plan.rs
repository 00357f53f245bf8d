//! Decide which source brings which chunks.
//!
//! Chunks are given out in spans, in order. When all are given out, who is free takes over what the
//! slowest has not brought yet; whoever is first counts.
//!
//! Invariants:
//! - A span has at most `SPAN_COUNT_MAX` chunks, fewer for a source that was slow.
//! - A source that sent other bytes is not asked again in the whole fetch.
//!
//! Not here: sockets and files.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use store::blobs::Pieces;
use store::cid::{CHUNK_SIZE, Cid};
use tokio::sync::watch;

use super::source::{Source, SourceError};
use super::{Event, Report, Rules};

/// Chunks of one request, at most: 16 MiB keep the requests' share of the time small.
const SPAN_COUNT_MAX: usize = 16;
/// A span is what a source brings in this time, so that little is left when the others are done.
const SPAN_TIME: Duration = Duration::from_secs(1);
/// Failures in a row after which a source is not asked again.
const FAILURE_COUNT_MAX: u32 = 3;

/// What a source did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name.
    pub source: String,
    /// Bytes that were checked and placed.
    pub bytes: u64,
    /// Chunks that another source had to bring in its stead.
    pub taken_over: u64,
    /// What is thought of it.
    pub verdict: Verdict,
}

/// What is thought of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It brought what it was asked for, or was not needed.
    Good,
    /// Others had to bring some of what it was asked for.
    Slow,
    /// It was asked and has brought nothing, without saying why.
    Stalls,
    /// It sent other bytes than those of this block.
    Lies {
        /// The block, or the chunk.
        cid: Cid,
    },
    /// It failed.
    Failed(SourceError),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Good => f.write_str("good"),
            Verdict::Slow => f.write_str("slow"),
            Verdict::Stalls => f.write_str("stalls"),
            Verdict::Lies { cid } => write!(f, "sends other bytes for {cid}"),
            Verdict::Failed(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, {} bytes", self.source, self.verdict, self.bytes)?;
        match self.taken_over {
            0 => Ok(()),
            count => write!(f, ", {count} chunks brought by others"),
        }
    }
}

/// Which source brings which chunks.
pub(super) struct Plan {
    pub(super) rules: Rules,
    sources: Vec<Arc<dyn Source>>,
    state: Mutex<State>,
    /// Counts changes, and wakes whoever waits for one.
    changes: watch::Sender<u64>,
    report: Arc<Report>,
}

struct State {
    standings: Vec<Standing>,
    /// Chunks that nobody has been asked for; false also for those that are here.
    todo: Vec<bool>,
    /// Below this index nothing is to do.
    first: usize,
    /// Spans that are being brought.
    spans: Vec<Span>,
    next_id: u64,
}

/// What is known of a source.
struct Standing {
    part: Part,
    dropped: bool,
    failures: u32,
    /// It serves blocks alone.
    by_block: bool,
    /// Bytes a second of its last span.
    rate: Option<u64>,
}

struct Span {
    id: u64,
    source: usize,
    chunks: Range<usize>,
    /// Someone else was asked for it too.
    doubled: bool,
    /// It was another's before.
    helps: bool,
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Brings these chunks.
    Bring(Task),
    /// Waits for a change.
    Wait,
    /// Ends: the file is whole, or its source is dropped.
    End,
}

/// Chunks that a worker brings.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: u64,
    pub(super) chunks: Range<usize>,
    pub(super) by_block: bool,
    begun: Instant,
}

impl Plan {
    pub(super) fn new(sources: Vec<Arc<dyn Source>>, rules: Rules, report: Arc<Report>) -> Plan {
        let standing = |source: &Arc<dyn Source>| Standing {
            part: Part {
                source: source.name().to_owned(),
                bytes: 0,
                taken_over: 0,
                verdict: Verdict::Good,
            },
            dropped: false,
            failures: 0,
            by_block: false,
            rate: None,
        };
        let standings = sources.iter().map(standing).collect();
        let state = State { standings, todo: vec![], first: 0, spans: vec![], next_id: 0 };
        let changes = watch::Sender::new(0);
        Plan { rules, sources, state: Mutex::new(state), changes, report }
    }

    pub(super) fn source(&self, source: usize) -> &dyn Source {
        &*self.sources[source]
    }

    pub(super) fn source_count(&self) -> usize {
        self.sources.len()
    }

    /// Sources that are not dropped, those that brought most first.
    pub(super) fn willing(&self) -> Vec<usize> {
        let state = self.state();
        let mut willing: Vec<usize> =
            (0..state.standings.len()).filter(|it| !state.standings[*it].dropped).collect();
        willing.sort_by_key(|it| std::cmp::Reverse(state.standings[*it].part.bytes));
        willing
    }

    pub(super) fn parts(&self) -> Vec<Part> {
        self.state().standings.iter().map(|standing| standing.part.clone()).collect()
    }

    /// Wakes when something has changed since it was called.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Begins a file: every chunk that is not here is to do.
    pub(super) fn begin(&self, pieces: &Pieces) {
        let mut state = self.state();
        state.todo = (0..pieces.leaves().count()).map(|index| !pieces.has(index)).collect();
        state.first = 0;
        state.spans.clear();
        drop(state);
        self.received(pieces.root(), pieces.size(), pieces.leaves().size());
    }

    /// Ends a file: says what is thought of those who still were to bring something.
    pub(super) fn end(&self, pieces: &Pieces) {
        let mut state = self.state();
        for span in std::mem::take(&mut state.spans) {
            let here = span.chunks.clone().filter(|index| pieces.has(*index)).count() as u64;
            let standing = &mut state.standings[span.source];
            // What it placed itself was counted off when it was placed.
            standing.part.taken_over += if span.helps { 0 } else { here };
        }
        for standing in &mut state.standings {
            let part = &mut standing.part;
            // At the end fast sources take over from each other too, a little.
            let much = part.taken_over.saturating_mul(CHUNK_SIZE as u64) > part.bytes / 2;
            if part.verdict == Verdict::Good && part.taken_over > 0 && much {
                part.verdict = if part.bytes == 0 { Verdict::Stalls } else { Verdict::Slow };
            }
        }
    }

    pub(super) fn received(&self, cid: Cid, done: u64, total: u64) {
        (self.report)(Event::Received { cid, done, total });
    }

    pub(super) fn delivered_node(&self, source: usize, size: usize) {
        self.state().standings[source].part.bytes += size as u64;
    }

    /// A source is not asked again; the reason is told once.
    pub(super) fn drop_source(&self, source: usize, why: Verdict) {
        let mut state = self.state();
        let standing = &mut state.standings[source];
        if std::mem::replace(&mut standing.dropped, true) {
            return;
        }
        standing.part.verdict = why.clone();
        drop(state);
        (self.report)(Event::Dropped { source: self.source(source).name(), why: &why });
        self.change();
    }

    /// What a worker of this source does next.
    pub(super) fn next(&self, source: usize, pieces: &Pieces) -> Next {
        let mut state = self.state();
        if pieces.is_whole() || state.standings[source].dropped {
            return Next::End;
        }
        let count = state.standings[source].span_count();
        let own = state.take_todo(count);
        let helps = own.is_none();
        let Some(chunks) = own.or_else(|| state.take_over(source, pieces)) else {
            return Next::Wait;
        };
        state.next_id += 1;
        let id = state.next_id;
        state.spans.push(Span { id, source, chunks: chunks.clone(), doubled: helps, helps });
        let by_block = state.standings[source].by_block;
        Next::Bring(Task { id, chunks, by_block, begun: Instant::now() })
    }

    /// A chunk has been placed, or was there already: the span begins after it.
    pub(super) fn placed(
        &self,
        task: &Task,
        (source, index): (usize, usize),
        pieces: &Pieces,
        size: u64,
    ) {
        let mut state = self.state();
        if let Some(span) = state.spans.iter_mut().find(|span| span.id == task.id) {
            span.chunks.start = index + 1;
        }
        state.standings[source].part.bytes += size;
        state.standings[source].failures = 0;
        drop(state);
        self.received(pieces.root(), pieces.size(), pieces.leaves().size());
        self.change();
    }

    /// A span has ended; what it has not brought is to do again.
    pub(super) fn ended(&self, task: &Task, source: usize, pieces: &Pieces) {
        let mut state = self.state();
        let elapsed = task.begun.elapsed();
        let Some(at) = state.spans.iter().position(|span| span.id == task.id) else { return };
        let span = state.spans.swap_remove(at);
        let brought = (span.chunks.start - task.chunks.start) as u64 * CHUNK_SIZE as u64;
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX).max(1);
        state.standings[source].rate = Some(brought.saturating_mul(1_000_000) / micros);
        for index in span.chunks {
            if pieces.has(index) {
                state.standings[source].part.taken_over += u64::from(!span.helps);
            } else {
                state.todo[index] = true;
                state.first = state.first.min(index);
            }
        }
        drop(state);
        self.change();
    }

    /// A request failed, which was for a block or for a part of a file. A source that failed too often,
    /// or has it not, is dropped; says whether.
    pub(super) fn failed(&self, source: usize, error: SourceError, by_block: bool) -> bool {
        let mut state = self.state();
        let standing = &mut state.standings[source];
        if error == SourceError::NoRanges && !by_block {
            standing.by_block = true;
            return false;
        }
        standing.failures += 1;
        let hopeless = matches!(error, SourceError::Missing | SourceError::NoRanges);
        let is_last = standing.failures >= FAILURE_COUNT_MAX || hopeless;
        drop(state);
        if is_last {
            self.drop_source(source, Verdict::Failed(error));
        }
        is_last
    }

    fn change(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that can fail happens between two changes.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn span_count(&self) -> usize {
        let Some(rate) = self.rate else { return SPAN_COUNT_MAX / 4 };
        let chunks = rate.saturating_mul(SPAN_TIME.as_secs()) >> 20;
        usize::try_from(chunks).unwrap_or(SPAN_COUNT_MAX).clamp(1, SPAN_COUNT_MAX)
    }
}

impl State {
    /// The first chunks that nobody has been asked for, at most so many.
    fn take_todo(&mut self, count: usize) -> Option<Range<usize>> {
        let start = self.first + self.todo.get(self.first..)?.iter().position(|todo| *todo)?;
        let run = self.todo[start..].iter().take(count).take_while(|todo| **todo).count();
        self.todo[start..start + run].fill(false);
        self.first = start + run;
        Some(start..start + run)
    }

    /// What another source has most of still to bring: all but the chunk that it is at.
    fn take_over(&mut self, source: usize, pieces: &Pieces) -> Option<Range<usize>> {
        let open =
            |span: &&mut Span| span.source != source && !span.doubled && !span.chunks.is_empty();
        let span = self.spans.iter_mut().filter(open).max_by_key(|span| span.chunks.len())?;
        span.doubled = true;
        let chunks = span.chunks.clone();
        let start = chunks.clone().find(|index| !pieces.has(*index))?;
        Some(start..chunks.end)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("sources", &self.sources).finish_non_exhaustive()
    }
}
