//! Many sequences in one engine: continuous batching, chunked prefill and a shared prefix cache.
//!
//! Each step advances every sequence that is past its prompt by one token, or by some where drafts
//! were right (`drafts`), and fills the rest of the step with pieces of prompts. Because the
//! computation is exact, none of this changes a bit: a sequence may even lose its pages to others and
//! be computed again, unseen.
//!
//! Invariants:
//! - What a sequence answers depends on its request alone.
//! - At most `Options::sequences_max` sequences are held, and their pages fit `Options::kv_size_max`.
//!
//! Not here: threads and clocks around the engine (the node's), text.

use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::forward::Forward;
use crate::guide::Guide;
use crate::kernels::Isa;
use crate::kernels::attention::Segment;
use crate::kv::{KvPages, KvShape, PAGE};
use crate::model::Model;
use crate::pages::{PageTable, Prefix};
use crate::request::{Finish, Logprobs, Output, Request, SequenceId, TOP_LOGPROBS_MAX};
use crate::sampler::{Context, Sampler, logprobs};
use crate::sampling::SamplingError;
use crate::trace::{Answered, Observer, RowId};
use drafts::Drafter;

pub use drafts::Drafts;
mod drafts;

/// Rows whose logits are computed at once for a prompt's log-probabilities: bounds the memory of a
/// large vocabulary's rows to some tens of megabytes.
const LOGIT_ROWS_MAX: usize = 32;

/// How an engine is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Instruction set.
    pub isa: Isa,
    /// Threads, at least 1.
    pub threads: usize,
    /// Bytes for keys and values, at most.
    pub kv_size_max: usize,
    /// Rows in one step, at most; at least 1.
    pub step_rows_max: usize,
    /// Sequences held at once, running and waiting, at most.
    pub sequences_max: usize,
    /// Whether prefixes are kept and found again.
    pub prefix_cache: bool,
    /// Whether tokens that may follow are computed beside a sequence's next one; no bit depends on it.
    pub drafts: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            isa: Isa::best(),
            threads: 1,
            kv_size_max: 1 << 30,
            step_rows_max: 256,
            sequences_max: 256,
            prefix_cache: true,
            drafts: true,
        }
    }
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The prompt has no token.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// A token is not in the vocabulary.
    #[error("token {token} is outside the vocabulary of {tokens}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Tokens in the vocabulary.
        tokens: usize,
    },
    /// The prompt does not leave room for the tokens asked for.
    #[error("{prompt} prompt tokens and {asked} more do not fit a context of {room}")]
    TooLong {
        /// Prompt tokens.
        prompt: usize,
        /// Tokens to generate.
        asked: usize,
        /// Positions there are.
        room: usize,
    },
    /// A sampling parameter is out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// A grammar without a guide, or the other way round, or what was said does not follow it.
    #[error("the answer does not follow its grammar")]
    Grammar,
    /// More alternatives were asked for than are reported.
    #[error("top_logprobs is {asked}, at most {TOP_LOGPROBS_MAX} are reported")]
    TooManyLogprobs {
        /// What was asked for.
        asked: u8,
    },
    /// As many sequences are held as may be.
    #[error("the engine holds {held} sequences already")]
    Full {
        /// How many.
        held: usize,
    },
}

/// Whose turn it is first: a lower number goes before a higher one, wherever they compete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub u8);

/// An engine for one model.
#[derive(Debug)]
pub struct Engine {
    forward: Forward,
    kv: KvPages,
    table: PageTable,
    options: Options,
    /// The most urgent first, and of these the oldest.
    running: Vec<Sequence>,
    /// In the same order.
    waiting: VecDeque<Sequence>,
    /// Sequences of this priority and less urgent ones stand still.
    held_from: Option<Priority>,
    sampler: Sampler,
    next_id: u64,
    rows: Vec<i32>,
    logits: Vec<i32>,
    drafts: Drafts,
}

#[derive(Debug)]
struct Sequence {
    id: SequenceId,
    priority: Priority,
    request: Request,
    /// The prompt, then what was generated.
    tokens: Vec<u32>,
    pages: Vec<u32>,
    /// Positions whose keys and values are in the pages.
    computed: usize,
    /// Where the last published page is in the tree of prefixes, and how many pages are published.
    published: (Prefix, usize),
    cached: u32,
    /// Tokens of the answer whose rows an observer has been shown.
    shown: usize,
    prompt_reported: bool,
    prompt_logprobs: Vec<Logprobs>,
    /// Says which tokens may come next, if not every one may.
    guide: Option<Box<dyn Guide>>,
    drafter: Drafter,
}

impl Sequence {
    /// Whether the prompt's log-probabilities are still to be told.
    fn scores_prompt(&self) -> bool {
        self.request.prompt_logprobs && !self.prompt_reported
    }

    /// The position of the first row of the answer that an observer has not been shown.
    fn first_unshown(&self) -> usize {
        self.request.prompt.len() - 1 + self.shown
    }

    /// What orders sequences.
    fn rank(&self) -> (Priority, SequenceId) {
        (self.priority, self.id)
    }

    fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.request.prompt.len()
    }
}

/// A part of a step: rows of one running sequence, and then of its drafts.
#[derive(Clone, Copy, Debug)]
struct Part {
    sequence: usize,
    count: usize,
    drafted: usize,
}

impl Part {
    fn rows(&self) -> usize {
        self.count + self.drafted
    }
}

/// A row of a step after which a token is to be chosen.
#[derive(Clone, Copy, Debug)]
struct Ready {
    sequence: usize,
    row: usize,
    /// The row's own token, if it is a draft: the row counts only if that one was chosen.
    draft: Option<(usize, u32)>,
}

impl Engine {
    /// An engine for `model`. Memory for keys and values is reserved, and used as it fills.
    ///
    /// # Panics
    /// When the machine does not have `options.isa`.
    #[must_use]
    pub fn new(model: Arc<Model>, options: Options) -> Engine {
        let shape = KvShape::of(model.config());
        let context_pages = model.config().context_max.div_ceil(PAGE);
        // One whole context must fit, or a long sequence could never finish.
        let pages = (options.kv_size_max / shape.page_size()).max(context_pages);
        Engine {
            forward: Forward::new(model, options.isa, options.threads),
            kv: KvPages::new(shape, pages),
            table: PageTable::new(pages),
            options,
            running: Vec::new(),
            waiting: VecDeque::new(),
            held_from: None,
            sampler: Sampler::default(),
            next_id: 0,
            rows: Vec::new(),
            logits: Vec::new(),
            drafts: Drafts::default(),
        }
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        self.forward.model()
    }

    /// Sequences held: running, waiting.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    /// Whether there is nothing to do: every sequence has ended or is held.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        // The first of both is the most urgent: where it is held, so are the others.
        let first = self.running.first().into_iter().chain(self.waiting.front());
        first.into_iter().all(|sequence| self.is_held(sequence))
    }

    /// Bytes for keys and values that a request needs at its longest.
    #[must_use]
    pub fn kv_size(model: &Model, request: &Request) -> usize {
        let tokens = request.prompt.len().saturating_add(request.tokens_max as usize);
        let pages = tokens.min(model.config().context_max).div_ceil(PAGE);
        pages.saturating_mul(KvShape::of(model.config()).page_size())
    }

    /// Threads that compute.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.forward.threads()
    }

    /// Threads that compute from the next step on; no bit depends on them.
    pub fn set_threads(&mut self, threads: usize) {
        if core::mem::replace(&mut self.options.threads, threads) != threads {
            self.forward.set_threads(threads);
        }
    }

    /// Lets sequences of this priority and less urgent ones stand still from the next step on, or
    /// none. They keep their pages until others need them, and go on with the same bits.
    pub fn hold_from(&mut self, priority: Option<Priority>) {
        self.held_from = priority;
    }

    fn is_held(&self, sequence: &Sequence) -> bool {
        self.held_from.is_some_and(|held| sequence.priority >= held)
    }

    /// Takes a request of the most urgent kind.
    ///
    /// # Errors
    /// Says why the request cannot be computed, or that the engine is full.
    pub fn submit(&mut self, request: Request) -> Result<SequenceId, Refused> {
        self.submit_with(request, Priority::default())
    }

    /// Takes a request, which waits behind the more urgent ones.
    ///
    /// # Errors
    /// Says why the request cannot be computed, or that the engine is full.
    pub fn submit_with(
        &mut self,
        request: Request,
        priority: Priority,
    ) -> Result<SequenceId, Refused> {
        self.submit_guided(request, priority, None)
    }

    /// Takes a request whose answer follows a grammar, with a guide that has taken nothing yet.
    ///
    /// # Errors
    /// As `submit_with`, and when there is a grammar without a guide or a guide without a grammar.
    pub fn submit_guided(
        &mut self,
        request: Request,
        priority: Priority,
        mut guide: Option<Box<dyn Guide>>,
    ) -> Result<SequenceId, Refused> {
        self.check(&request)?;
        let mut said = request.said.iter();
        let follows = guide.as_mut().is_none_or(|guide| said.all(|&token| guide.take(token)));
        if request.grammar.is_some() != guide.is_some() || !follows {
            return Err(Refused::Grammar);
        }
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.wait(Sequence {
            id,
            priority,
            tokens: [request.prompt.as_slice(), &request.said].concat(),
            request,
            pages: Vec::new(),
            computed: 0,
            published: (Prefix::default(), 0),
            cached: 0,
            shown: 0,
            prompt_reported: false,
            prompt_logprobs: Vec::new(),
            guide,
            drafter: Drafter::default(),
        });
        Ok(id)
    }

    /// Spares an observer the rows of so many of the tokens that another run has generated, which it
    /// knows already; for a sequence that was just taken.
    pub fn skip_shown(&mut self, id: SequenceId, count: usize) {
        if let Some(sequence) = self.waiting.iter_mut().find(|it| it.id == id) {
            sequence.shown = count.min(sequence.request.said.len());
        }
    }

    fn check(&self, request: &Request) -> Result<(), Refused> {
        let config = self.model().config();
        let held = self.running.len() + self.waiting.len();
        if held >= self.options.sequences_max {
            return Err(Refused::Full { held });
        }
        if request.prompt.is_empty() {
            return Err(Refused::EmptyPrompt);
        }
        let tokens = self.model().vocabulary_size();
        let mut given = request.prompt.iter().chain(&request.said);
        if let Some(&token) = given.find(|&&token| token as usize >= tokens) {
            return Err(Refused::UnknownToken { token, tokens });
        }
        let prompt = request.prompt.len();
        let asked = (request.tokens_max as usize).max(request.said.len());
        if prompt.saturating_add(asked) > config.run_max() {
            return Err(Refused::TooLong { prompt, asked, room: config.run_max() });
        }
        match request.logprobs {
            Some(asked) if usize::from(asked) > TOP_LOGPROBS_MAX => {
                Err(Refused::TooManyLogprobs { asked })
            }
            _ => Ok(request.sampling.check()?),
        }
    }

    /// Drops a sequence; nothing more is reported of it. Unknown ones are ignored.
    pub fn cancel(&mut self, id: SequenceId) {
        self.waiting.retain(|sequence| sequence.id != id);
        if let Some(at) = self.running.iter().position(|sequence| sequence.id == id) {
            let sequence = self.running.remove(at);
            sequence.pages.into_iter().for_each(|page| self.table.release(page));
        }
    }

    /// Forgets cached prefixes.
    pub fn clear_prefix_cache(&mut self) {
        self.table.clear();
    }

    /// Advances every sequence that fits the step, and says what happened. Does nothing when idle.
    pub fn step(&mut self, observer: &mut Observer<'_>) -> Vec<(SequenceId, Output)> {
        let shows_answers = observer.wants_answers().is_some();
        self.admit(shows_answers);
        let mut parts = self.plan(shows_answers);
        if parts.is_empty() {
            return Vec::new();
        }
        if self.options.drafts && !observer.wants_every_logit() {
            self.draft(&mut parts);
        }
        self.compute(&parts, observer);
        let mut outputs = Vec::new();
        let mut ready = Vec::new();
        let mut from = 0;
        for part in &parts {
            let to = from + part.count;
            if self.advance(*part, from..to, observer, &mut outputs) {
                ready.push(Ready { sequence: part.sequence, row: to - 1, draft: None });
                ready.extend(self.drafted(part, to));
            }
            from = to + part.drafted;
        }
        for ready in ready.chunks(LOGIT_ROWS_MAX) {
            self.choose(ready, observer, &mut outputs);
        }
        self.settle(&parts);
        self.retire(&mut outputs);
        outputs
    }

    /// Puts a sequence in its place among those that wait.
    fn wait(&mut self, sequence: Sequence) {
        let at = self.waiting.partition_point(|other| other.rank() < sequence.rank());
        self.waiting.insert(at, sequence);
    }

    /// Frees a page for a sequence of this priority, at the cost of less urgent ones.
    fn make_room(&mut self, priority: Priority) -> bool {
        while self.table.available() == 0 {
            let last = self.running.last().filter(|last| last.priority > priority);
            if last.is_none() {
                return false;
            }
            self.suspend(self.running.len() - 1);
        }
        true
    }

    /// Lets waiting sequences run while pages last. Where answers are shown, rows of an answer that
    /// were not shown are computed, whatever is cached.
    fn admit(&mut self, shows_answers: bool) {
        while let Some(mut sequence) = self.waiting.pop_front() {
            if self.is_held(&sequence) || !self.make_room(sequence.priority) {
                self.waiting.push_front(sequence);
                return;
            }
            sequence.cached = if sequence.prompt_reported { sequence.cached } else { 0 };
            if self.options.prefix_cache {
                find(&mut self.table, &mut sequence, shows_answers);
            }
            let at = self.running.partition_point(|other| other.rank() < sequence.rank());
            self.running.insert(at, sequence);
        }
    }

    /// Chooses the step's rows: one for each sequence past its prompt, then pieces of prompts, the
    /// most urgent first, and of these the oldest. A page that several prompts need is computed for the
    /// first of them; the others find it at the next step.
    fn plan(&mut self, shows_answers: bool) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let mut begun = BTreeSet::new();
        let mut left = self.options.step_rows_max.max(1);
        for generating in [true, false] {
            let mut index = 0;
            while index < self.running.len() && left > 0 {
                if self.is_held(&self.running[index]) {
                    break;
                }
                let sequence = &mut self.running[index];
                let is_asked = (sequence.pending() == 1) == generating;
                let next = match is_asked && !generating && self.options.prefix_cache {
                    true => find(&mut self.table, sequence, shows_answers),
                    false => None,
                };
                let is_new = next.is_none_or(|next| begun.insert(next));
                if is_asked && (is_new || !sequence.computed.is_multiple_of(PAGE)) {
                    let count = sequence.pending().min(left);
                    if !self.reserve(&mut index, count, &mut parts) {
                        break;
                    }
                    parts.push(Part { sequence: index, count, drafted: 0 });
                    left -= count;
                }
                index += 1;
            }
        }
        parts.sort_unstable_by_key(|part| part.sequence);
        parts
    }

    /// Finds pages for `count` more positions of a sequence, taking them from the last one if need
    /// be. False when the sequence itself must wait.
    fn reserve(&mut self, index: &mut usize, count: usize, parts: &mut Vec<Part>) -> bool {
        loop {
            let sequence = &self.running[*index];
            let needed = (sequence.computed + count).div_ceil(PAGE);
            if sequence.pages.len() >= needed {
                return true;
            }
            if let Some(page) = self.table.take() {
                self.running[*index].pages.push(page);
                continue;
            }
            let last = self.running.len() - 1;
            self.suspend(last);
            parts.retain(|part| part.sequence != last);
            if last == *index {
                return false;
            }
        }
    }

    /// Takes a sequence's pages; it waits, first of its kind, and is computed again.
    fn suspend(&mut self, index: usize) {
        let mut sequence = self.running.remove(index);
        sequence.pages.drain(..).for_each(|page| self.table.release(page));
        sequence.computed = 0;
        sequence.published = (Prefix::default(), 0);
        sequence.prompt_logprobs.clear();
        self.wait(sequence);
    }

    /// Runs the step's rows through the model, up to the head.
    fn compute(&mut self, parts: &[Part], observer: &mut Observer<'_>) {
        self.rows.clear();
        let mut segments = Vec::with_capacity(parts.len());
        let (mut names, mut read) = (Vec::new(), Vec::with_capacity(parts.len()));
        let mut from = 0;
        for part in parts {
            let sequence = &self.running[part.sequence];
            let positions = sequence.computed..sequence.computed + part.rows();
            let tokens = sequence.computed..sequence.computed + part.count;
            self.forward.embed(&sequence.tokens[tokens], &mut self.rows);
            self.forward.embed(sequence.drafter.draft(), &mut self.rows);
            if observer.is_some() {
                let id = sequence.id;
                names.extend(positions.map(|position| RowId { sequence: id, position }));
            }
            let rows = from..from + part.rows();
            from = rows.end;
            read.push(rows.start + self.first_read(part, observer)..rows.end);
            segments.push(Segment { pages: &sequence.pages, position: sequence.computed, rows });
        }
        observer.step(&names);
        self.forward.layers_read(&mut self.rows, &segments, &read, &mut self.kv, observer);
    }

    /// Rows of a part before the first that is read: after which a token is chosen, or which is scored
    /// or shown.
    fn first_read(&self, part: &Part, observer: &Observer<'_>) -> usize {
        let sequence = &self.running[part.sequence];
        if sequence.scores_prompt() || observer.wants_every_logit() {
            return 0;
        }
        let is_complete = sequence.pending() == part.count;
        let chosen = part.count - usize::from(is_complete);
        let said = sequence.first_unshown().saturating_sub(sequence.computed);
        let said = observer.wants_answers().map(|_| said);
        chosen.min(said.unwrap_or(chosen))
    }

    /// Books a part's rows and reports a finished prompt. True when the sequence's next token is to be
    /// chosen.
    fn advance(
        &mut self,
        part: Part,
        rows: core::ops::Range<usize>,
        observer: &mut Observer<'_>,
        outputs: &mut Vec<(SequenceId, Output)>,
    ) -> bool {
        let sequence = &mut self.running[part.sequence];
        let position = sequence.computed;
        sequence.computed += part.count;
        if self.options.prefix_cache {
            publish(&mut self.table, sequence);
        }
        let sequence = &self.running[part.sequence];
        let (complete, id) = (sequence.pending() == 0, sequence.id);
        if sequence.scores_prompt() || observer.wants_every_logit() {
            self.score_rows(part.sequence, position, rows.clone(), observer);
        }
        if let Some(logits) = observer.wants_answers() {
            self.show_said(part.sequence, position, rows.clone(), (observer, logits));
        }
        if !complete {
            return false;
        }
        let sequence = &mut self.running[part.sequence];
        if !sequence.prompt_reported {
            sequence.prompt_reported = true;
            let logprobs = core::mem::take(&mut sequence.prompt_logprobs);
            outputs.push((id, Output::Prompt { cached: sequence.cached, logprobs }));
        }
        finish(sequence).is_none()
    }

    /// Computes logits of all rows of a part, for the prompt's log-probabilities and the observer.
    fn score_rows(
        &mut self,
        index: usize,
        position: usize,
        rows: core::ops::Range<usize>,
        observer: &mut Observer<'_>,
    ) {
        let config = *self.forward.model().config();
        let stride = self.forward.logits_stride();
        let tokens = self.forward.model().vocabulary_size();
        for from in rows.clone().step_by(LOGIT_ROWS_MAX) {
            let to = rows.end.min(from + LOGIT_ROWS_MAX);
            let part = &self.rows[from * config.width..to * config.width];
            self.forward.logits(part, &mut self.logits);
            let sequence = &mut self.running[index];
            for (row, logits) in (from..to).zip(self.logits.chunks_exact(stride)) {
                let logits = &logits[..tokens];
                let at = position + row - rows.start;
                if observer.wants_every_logit() {
                    observer.logits(RowId { sequence: sequence.id, position: at }, logits);
                }
                let next = sequence.request.prompt.get(at + 1);
                if let (true, Some(&next)) = (sequence.request.prompt_logprobs, next) {
                    let count = usize::from(sequence.request.logprobs.unwrap_or(0));
                    sequence.prompt_logprobs.push(logprobs(logits, next, count));
                }
            }
        }
    }

    /// Shows the observer the rows of a part, the first at `position`, after which tokens of the
    /// answer stand already.
    fn show_said(
        &mut self,
        index: usize,
        position: usize,
        rows: core::ops::Range<usize>,
        (observer, wants_logits): (&mut Observer<'_>, bool),
    ) {
        let width = self.forward.model().config().width;
        let tokens = self.forward.model().vocabulary_size();
        let stride = self.forward.logits_stride();
        let sequence = &mut self.running[index];
        let before = sequence.request.prompt.len() - 1;
        let first = sequence.first_unshown().max(position);
        let end = (sequence.tokens.len() - 1).min(position + rows.len());
        let mut at = first;
        while at < end {
            let count = (end - at).min(LOGIT_ROWS_MAX);
            let from = rows.start + at - position;
            let part = &self.rows[from * width..(from + count) * width];
            match wants_logits {
                true => self.forward.logits(part, &mut self.logits),
                false => self.forward.head_input(part),
            }
            for row in 0..count {
                let (hidden, scale) = self.forward.head_row(row);
                let logits = wants_logits.then(|| &self.logits[row * stride..][..tokens]);
                let id = RowId { sequence: sequence.id, position: at + row };
                let (index, token) = (at + row - before, sequence.tokens[at + row + 1]);
                observer.answered(Answered { row: id, index, hidden, scale, logits, token });
            }
            at += count;
            sequence.shown = at - before;
        }
    }

    /// Chooses the next tokens of sequences, after each row that counts.
    fn choose(
        &mut self,
        ready: &[Ready],
        observer: &mut Observer<'_>,
        outputs: &mut Vec<(SequenceId, Output)>,
    ) {
        let width = self.forward.model().config().width;
        let stride = self.forward.logits_stride();
        // Rows of the embedding past the vocabulary are no tokens and are never chosen.
        let tokens = self.forward.model().vocabulary_size();
        let rows = ready.iter().flat_map(|it| &self.rows[it.row * width..][..width]);
        let last_rows: Vec<i32> = rows.copied().collect();
        self.forward.logits(&last_rows, &mut self.logits);
        let shows = observer.wants_answers().is_some();
        let rows = ready.iter().zip(self.logits.chunks_exact(stride));
        for (row, (it, logits)) in rows.enumerate() {
            let logits = &logits[..tokens];
            let sequence = &mut self.running[it.sequence];
            if !sequence.takes(it.draft) {
                continue;
            }
            let (prompt, generated) = sequence.tokens.split_at(sequence.request.prompt.len());
            let context = Context { prompt, generated };
            let sampling = &sequence.request.sampling;
            let allowed = sequence.guide.as_mut().map(|guide| guide.allowed());
            let token = self.sampler.choose_among(logits, allowed, sampling, context);
            if let Some(guide) = &mut sequence.guide {
                // It is one of those that it allows.
                let _ = guide.take(token);
            }
            let report = |count: u8| logprobs(logits, token, usize::from(count));
            let logprobs = sequence.request.logprobs.map(report);
            if shows {
                let (hidden, scale) = self.forward.head_row(row);
                let (index, position) = (generated.len(), sequence.tokens.len() - 1);
                let row = RowId { sequence: sequence.id, position };
                let logits = Some(logits);
                observer.answered(Answered { row, index, hidden, scale, logits, token });
                sequence.shown = index + 1;
            }
            sequence.tokens.push(token);
            outputs.push((sequence.id, Output::Token { token, logprobs }));
        }
    }

    /// Ends sequences that are complete.
    fn retire(&mut self, outputs: &mut Vec<(SequenceId, Output)>) {
        let mut index = 0;
        while index < self.running.len() {
            let Some(finish) = finish(&self.running[index]) else {
                index += 1;
                continue;
            };
            let sequence = self.running.remove(index);
            sequence.pages.into_iter().for_each(|page| self.table.release(page));
            outputs.push((sequence.id, Output::Finished(finish)));
        }
    }
}

/// Why a sequence is complete, if it is.
fn finish(sequence: &Sequence) -> Option<Finish> {
    if !sequence.prompt_reported {
        return None;
    }
    let generated = sequence.generated();
    let last = sequence.tokens.last().filter(|_| generated > 0);
    if last.is_some_and(|token| sequence.request.end_tokens.contains(token)) {
        return Some(Finish::EndToken);
    }
    (generated >= sequence.request.tokens_max as usize).then_some(Finish::Length)
}

/// Gives a sequence the pages that go on from those it has and that others have computed. Says which
/// page it has to compute or to complete next, if that one can be shared.
fn find(
    table: &mut PageTable,
    sequence: &mut Sequence,
    shows_answers: bool,
) -> Option<(Prefix, [u32; PAGE])> {
    if sequence.request.prompt_logprobs {
        return None;
    }
    // The last token is always computed, since its logits are needed.
    let all = sequence.tokens.len() - 1;
    let shown = sequence.request.prompt.len() - 1 + sequence.shown;
    let usable = if shows_answers { all.min(shown) } else { all };
    let (mut prefix, mut count) = sequence.published;
    if sequence.computed == count * PAGE && sequence.pages.len() == count {
        let rest = sequence.tokens.get(sequence.computed..usable)?;
        let (pages, last) = table.find(prefix, rest);
        (prefix, count) = (last, count + pages.len());
        if !sequence.prompt_reported {
            sequence.cached += (pages.len() * PAGE) as u32;
        }
        sequence.computed = count * PAGE;
        sequence.published = (prefix, count);
        sequence.pages.extend(pages);
    }
    let is_next = sequence.computed < (count + 1) * PAGE;
    let next = sequence.tokens.get(count * PAGE..usable)?.first_chunk::<PAGE>()?;
    is_next.then_some((prefix, *next))
}

/// Makes a sequence's full pages findable.
fn publish(table: &mut PageTable, sequence: &mut Sequence) {
    let full = &sequence.tokens[..sequence.computed];
    let (mut prefix, mut count) = sequence.published;
    for tokens in full.as_chunks::<PAGE>().0.iter().skip(count) {
        if !table.knows(prefix) {
            return;
        }
        prefix = table.publish(prefix, *tokens, sequence.pages[count]);
        count += 1;
    }
    sequence.published = (prefix, count);
}
