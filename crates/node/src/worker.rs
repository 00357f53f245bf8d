//! The thread that owns an engine, and the handle through which requests reach it.
//!
//! Requests are of three classes: the owner's own, those of others, and those of the owner's batches.
//! Own ones go first, batches last, and what the owner's preferences say holds for both of the others; where they stop them, running answers stand still at
//! the next step, and are given back if that lasts.
//!
//! Invariants:
//! - The engine is touched by its own thread only.
//! - A request whose client has gone costs at most the step that is running.
//! - Others' requests never take the last places in the queue.
//!
//! Not here: HTTP (`gateway`), why the work is stopped (`preferences`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audit::commitment::{Committer, Leaves};
use engine::batch::{Engine, Options, Priority};
use engine::fingerprint::{standard_prompt, standard_request};
use engine::guide::Guide;
use engine::model::Model;
use engine::request::{Output, Request, SequenceId};
use engine::trace::Observer;
use gateway::backend::{
    Backend, Broken, Busy, Job, Pause, Places, Receipt, ReceiptSlot, Seeding, ServedModel,
    StopSign, Submitting, Urgency,
};
use gateway::limits::CHOICES_MAX;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use types::amount::Amount;

use crate::preferences::{Gate, RETRY_AFTER_MAX, Rule, Verdict};
use crate::receipts::{Asker, Receipts};
use crate::seeding::{SeedOf, Wanted};
use crate::unfinished::Unfinished;

/// Seconds after which a client that met a full queue may come back.
const RETRY_AFTER: u32 = 2;
/// How often suspended requests are looked at, whose clients may have gone.
const LOOK: Duration = Duration::from_secs(1);

/// Tokens of the prompt of the run that measures, and tokens of its answer after the first one.
const MEASURED_PROMPT: u32 = 64;
const MEASURED_ANSWER: u32 = 8;
/// Runs, of which the fastest counts: what else the machine does at its start is over soon.
const MEASURED_RUNS: usize = 3;

type Outputs = UnboundedSender<Result<Output, Broken>>;

/// Whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Of this machine's own API.
    Own,
    /// Of another node.
    Others,
    /// Of a batch of this machine's own API, for which nobody waits.
    Idle,
}

impl Class {
    fn priority(self) -> Priority {
        match self {
            Class::Own => Priority(0),
            Class::Others => Priority(1),
            Class::Idle => Priority(2),
        }
    }
}

/// Why a request was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// `busy`, `grammar`, or the code of the preference (`Rule::code`).
    pub code: &'static str,
    /// The same in words.
    pub reason: String,
    /// When to come back, in seconds.
    pub retry_after: u32,
}

impl NotTaken {
    fn busy(reason: &str) -> NotTaken {
        NotTaken { code: "busy", reason: reason.to_owned(), retry_after: RETRY_AFTER }
    }

    /// The HTTP status that says the same.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self.code {
            "busy" => 429,
            "grammar" => 400,
            _ => 503,
        }
    }
}

/// What a worker holds now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Own requests, running and waiting.
    pub own: usize,
    /// Requests of others, running and waiting.
    pub others: usize,
    /// Requests of own batches, running and waiting.
    pub idle: usize,
    /// Requests of either that wait for their turn or stand still.
    pub waiting: usize,
    /// Bytes that others' requests may take for past positions.
    pub others_memory: u64,
    /// Threads that computed the last step.
    pub threads: usize,
}

/// Whether an answer broke off because the owner's preferences stopped it for too long.
#[must_use]
pub fn is_given_back(broken: &Broken) -> bool {
    let code = broken.0.split_once(": ").map(|(code, _)| code);
    Rule::ALL.into_iter().any(|rule| Some(rule.code()) == code)
}

/// A running engine.
#[derive(Debug)]
pub struct Worker {
    model: Arc<Model>,
    served: Arc<ServedModel>,
    messages: Sender<Message>,
    load: watch::Sender<Load>,
    held_max: usize,
    verdict: watch::Sender<Judged>,
    receipts: Option<Arc<Receipts>>,
    thread: JoinHandle<()>,
}

/// What may run.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// What.
    pub verdict: Verdict,
    /// When that was found, in seconds since 1970.
    pub at: u64,
}

/// What reaches the engine's thread.
enum Message {
    Take(Held, Request, Option<Box<dyn Guide>>),
    Obey(Terms, SyncSender<()>),
}

/// What the engine's thread knows of a verdict.
#[derive(Debug, Default)]
struct Terms {
    others: Gate,
    own: Gate,
    /// Threads for steps with requests of others; 0: as many as there are.
    threads: usize,
    suspend_max: Duration,
    /// Said to those whose answers are given back.
    reason: String,
}

/// A request that was taken.
struct Held {
    class: Class,
    outputs: Outputs,
    stop: StopSign,
    /// What its receipt is to be about, if there is to be one.
    account: Option<Box<Account>>,
    _seat: Seat,
}

/// What a receipt is made of.
struct Account {
    receipts: Arc<Receipts>,
    /// Who has asked; none for this node's own API.
    asker: Option<Asker>,
    wanted: Wanted,
    /// Tokens that the engine has chosen.
    chosen: Vec<u32>,
    slot: ReceiptSlot,
}

impl Account {
    fn hear(&mut self, output: &Output) {
        if let Output::Token { token, .. } = output {
            self.chosen.push(*token);
        }
    }

    /// States what was answered, if all of it was committed to.
    fn close(self, leaves: Option<Leaves>) {
        let Account { receipts, asker, wanted, chosen, slot } = self;
        let id = leaves.and_then(|leaves| receipts.state(asker, wanted, &chosen, &leaves));
        // To its own API a node gives its work for nothing.
        let receipt = id.map(|id| Receipt { id: id.to_string(), cost: Amount::ZERO.to_string() });
        receipt.into_iter().for_each(|it| slot.say(it));
    }

    /// States what there is of an answer that was stopped. Where no token was chosen, or not all were
    /// committed to, nothing was done that anyone could check.
    fn close_early(self, leaves: Leaves) {
        let count = self.wanted.request.said.len() + self.chosen.len();
        if !self.chosen.is_empty() && leaves.as_slice().len() == count {
            self.close(Some(leaves));
        }
    }
}

/// A request's place in the load, until it is dropped.
pub(crate) struct Seat {
    load: watch::Sender<Load>,
    class: Class,
    memory: u64,
    /// What its answer follows, until it begins.
    guide: Option<Box<dyn Guide>>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.load.send_modify(|load| match self.class {
            Class::Own => load.own -= 1,
            Class::Idle => load.idle -= 1,
            Class::Others => {
                load.others -= 1;
                load.others_memory -= self.memory;
            }
        });
    }
}

impl Worker {
    /// Starts an engine's thread. The engine itself is made there, and is ready when this returns.
    /// Own answers have receipts where there is someone to make them.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        model: Arc<Model>,
        served: ServedModel,
        options: Options,
        receipts: Option<Arc<Receipts>>,
    ) -> std::io::Result<Worker> {
        let (messages, inbox) = channel();
        let load = watch::Sender::new(Load::default());
        let (shown, kept) = (load.clone(), model.clone());
        let (made, wait) = channel();
        let thread = std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
            let engine = Engine::new(model, options);
            // The receiver waits below; where it is gone, nobody needs to know.
            let _ = made.send(());
            let (held, terms, threads) = (BTreeMap::new(), Terms::default(), options.threads);
            let (committer, unfinished) = (Committer::default(), Unfinished::default());
            let (load, closed) = (shown, None);
            Loop { engine, inbox, load, held, terms, threads, committer, unfinished, closed }.run();
        })?;
        wait.recv().map_err(|_| std::io::Error::other("the engine's thread ended at its start"))?;
        let (served, held_max) = (Arc::new(served), options.sequences_max);
        let verdict = watch::Sender::default();
        Ok(Worker { model: kept, served, messages, load, held_max, verdict, receipts, thread })
    }

    /// The model that is served.
    #[must_use]
    pub fn served(&self) -> &Arc<ServedModel> {
        &self.served
    }

    /// Tells of what the worker holds.
    #[must_use]
    pub fn load(&self) -> watch::Receiver<Load> {
        self.load.subscribe()
    }

    /// Obeys a verdict found at a second of 1970's. When this returns, what it stops stands still.
    pub fn obey(&self, verdict: &Verdict, now: u64, suspend_max: Duration) {
        self.verdict.send_replace(Judged { verdict: verdict.clone(), at: now });
        let reason = verdict.reason();
        let reason = reason.map(|it| format!("{}: {}", it.rule.code(), it.sentence));
        let terms = Terms {
            others: verdict.others,
            own: verdict.own,
            threads: verdict.threads,
            suspend_max,
            reason: reason.unwrap_or_default(),
        };
        let (done, wait) = sync_channel(1);
        // A thread that has ended computes nothing, which is in order.
        if self.messages.send(Message::Obey(terms, done)).is_ok() {
            let _ = wait.recv();
        }
    }

    /// Queues one sequence of a class.
    ///
    /// # Errors
    /// When the queue is full, or the owner's preferences do not let it run now.
    pub fn submit_for(&self, class: Class, request: Request) -> Result<Job, NotTaken> {
        let receipts = self.receipts.as_ref().filter(|_| class == Class::Own);
        let seat = self.place(class, &request)?;
        let wanted = Wanted { request, seed: SeedOf::Caller, urgency: Urgency::Now };
        self.submit_with(seat, wanted, receipts.map(|receipts| (receipts, None)))
    }

    /// Queues one sequence of this node's own API, and makes its seed where it is open.
    ///
    /// # Errors
    /// As `submit_for`.
    pub(crate) fn submit_own(&self, wanted: Wanted) -> Result<Job, NotTaken> {
        let class = match wanted.urgency {
            Urgency::Now => Class::Own,
            Urgency::Idle => Class::Idle,
        };
        let seat = self.place(class, &wanted.request)?;
        let receipts = self.receipts.as_ref().map(|receipts| (receipts, None));
        self.submit_with(seat, wanted.seeded_here(), receipts)
    }

    /// Queues one sequence of another node, for which there is a place. That node is to have the
    /// receipt.
    ///
    /// # Errors
    /// When the engine has stopped.
    pub(crate) fn submit_from(
        &self,
        seat: Seat,
        asker: Asker,
        wanted: Wanted,
    ) -> Result<Job, NotTaken> {
        let receipts = self.receipts.as_ref().map(|receipts| (receipts, Some(asker)));
        self.submit_with(seat, wanted, receipts)
    }

    /// Who makes receipts of what it computes, if someone does.
    pub(crate) fn receipts(&self) -> Option<&Arc<Receipts>> {
        self.receipts.as_ref()
    }

    /// Keeps a place for a sequence.
    ///
    /// # Errors
    /// As `submit_for`.
    pub(crate) fn place(&self, class: Class, request: &Request) -> Result<Seat, NotTaken> {
        let memory_max = self.check(class)?;
        let memory = match class {
            Class::Own | Class::Idle => 0,
            Class::Others => Engine::kv_size(&self.model, request) as u64,
        };
        if let Some(max) = memory_max.filter(|max| memory > *max) {
            let reason = format!(
                "the request needs {} MiB for past positions and others' requests have {} (work_memory_mib)",
                memory.div_ceil(1 << 20),
                max >> 20
            );
            let code = Rule::Memory.code();
            return Err(NotTaken { code, reason, retry_after: RETRY_AFTER_MAX });
        }
        let guide = self.guide(request)?;
        let mut seat = self.seat(class, memory, memory_max)?;
        seat.guide = guide;
        Ok(seat)
    }

    fn submit_with(
        &self,
        mut seat: Seat,
        wanted: Wanted,
        receipts: Option<(&Arc<Receipts>, Option<Asker>)>,
    ) -> Result<Job, NotTaken> {
        let guide = seat.guide.take();
        // A receipt has no place for a grammar: it would seem to be about an answer without one.
        let receipts = receipts.filter(|_| guide.is_none());
        let (outputs, job) = Job::channel();
        let request = wanted.request.clone();
        let account = receipts.map(|(receipts, asker)| {
            Box::new(Account {
                receipts: Arc::clone(receipts),
                asker,
                wanted,
                chosen: Vec::new(),
                slot: job.receipt().clone(),
            })
        });
        let (class, stop) = (seat.class, job.stop().clone());
        let held = Held { class, outputs, stop, account, _seat: seat };
        let sent = self.messages.send(Message::Take(held, request, guide));
        sent.map_err(|_| NotTaken::busy("the engine has stopped"))?;
        Ok(job)
    }

    /// Who says which tokens may come, where the answer follows a grammar.
    fn guide(&self, request: &Request) -> Result<Option<Box<dyn Guide>>, NotTaken> {
        let Some(grammar) = &request.grammar else { return Ok(None) };
        match self.served.tokenizer.guide(grammar) {
            Ok(guide) => Ok(Some(Box::new(guide))),
            Err(error) => {
                Err(NotTaken { code: "grammar", reason: error.to_string(), retry_after: 0 })
            }
        }
    }

    /// Whether a class may come in, and how much memory it has.
    fn check(&self, class: Class) -> Result<Option<u64>, NotTaken> {
        let judged = self.verdict.borrow();
        let (verdict, now) = (&judged.verdict, judged.at);
        let (gate, memory_max) = match class {
            Class::Own => (verdict.own, None),
            // What the owner says of work for others holds for work that can wait.
            Class::Idle => (verdict.others, None),
            Class::Others => (verdict.others, verdict.memory_max),
        };
        match (gate, verdict.reason()) {
            (Gate::Open, _) => Ok(memory_max),
            (_, None) => Err(NotTaken::busy("the work is paused")),
            (_, Some(why)) => Err(NotTaken {
                code: why.rule.code(),
                reason: why.sentence.clone(),
                retry_after: verdict.retry_after(now),
            }),
        }
    }

    /// Takes a place, if there is one for the class.
    fn seat(&self, class: Class, memory: u64, memory_max: Option<u64>) -> Result<Seat, NotTaken> {
        let reserve = (self.held_max / 2).min(CHOICES_MAX);
        let mut full = None;
        self.load.send_if_modified(|load| {
            let held = load.own + load.others + load.idle;
            match class {
                Class::Own if held >= self.held_max => full = Some("the queue is full"),
                Class::Others | Class::Idle if held >= self.held_max - reserve => {
                    full = Some("the queue is full for others");
                }
                Class::Others
                    if memory_max.is_some_and(|max| load.others_memory + memory > max) =>
                {
                    full = Some("others' requests have no more memory for past positions");
                }
                Class::Own => load.own += 1,
                Class::Idle => load.idle += 1,
                Class::Others => {
                    load.others += 1;
                    load.others_memory += memory;
                }
            }
            full.is_none()
        });
        match full {
            Some(reason) => Err(NotTaken::busy(reason)),
            None => Ok(Seat { load: self.load.clone(), class, memory, guide: None }),
        }
    }

    /// Tells of what may run.
    #[must_use]
    pub fn verdict(&self) -> watch::Receiver<Judged> {
        self.verdict.subscribe()
    }
}

impl Backend for Worker {
    fn models(&self) -> Vec<Arc<ServedModel>> {
        vec![self.served.clone()]
    }

    fn submit<'a>(
        &'a self,
        _model: &'a ServedModel,
        request: Request,
        seeding: Seeding,
        urgency: Urgency,
    ) -> Submitting<'a> {
        let taken = self.submit_own(Wanted::of(request, seeding, urgency));
        Box::pin(std::future::ready(taken.map_err(|it| Busy { retry_after: it.retry_after })))
    }

    fn places(&self) -> Option<Places> {
        let load = *self.load.borrow();
        let held = load.own + load.others + load.idle;
        Some(Places { count: self.held_max, free: self.held_max.saturating_sub(held) })
    }

    fn pause(&self) -> Option<Pause> {
        let refused = self.check(Class::Own).err()?;
        Some(Pause { reason: refused.reason, retry_after: refused.retry_after })
    }

    fn ready(&self) -> Result<(), String> {
        match self.thread.is_finished() {
            false => Ok(()),
            true => Err("the engine has stopped; restart the node".to_owned()),
        }
    }
}

impl Worker {
    /// Tokens a second of the fastest of some short runs: of its prompt, of its answer. `None` if they
    /// are not computed.
    pub async fn measure(&self) -> Option<(u32, u32)> {
        let prompt = standard_prompt(self.model.vocabulary_size());
        let mut best = (0, 0);
        for run in 0..MEASURED_RUNS {
            // Each begins elsewhere, so that no cache helps.
            let tokens = prompt.iter().skip(run).cycle().take(MEASURED_PROMPT as usize);
            let (prefill, decode) = self.measure_run(tokens.copied().collect()).await?;
            best = (best.0.max(prefill), best.1.max(decode));
        }
        Some(best)
    }

    async fn measure_run(&self, prompt: Vec<u32>) -> Option<(u32, u32)> {
        let started = Instant::now();
        let request = standard_request(prompt, 1 + MEASURED_ANSWER);
        let seat = self.place(Class::Own, &request).ok()?;
        let wanted = Wanted { request, seed: SeedOf::Caller, urgency: Urgency::Now };
        let mut job = self.submit_with(seat, wanted, None).ok()?;
        let (mut first, mut last) = (None, started);
        loop {
            match job.next().await?.ok()? {
                Output::Token { .. } => {
                    last = Instant::now();
                    first.get_or_insert(last);
                }
                Output::Prompt { .. } => {}
                Output::Finished(_) => break,
            }
        }
        let first = first?;
        let rate = |count: u32, time: Duration| {
            let rate = u128::from(count) * 1_000_000_000 / time.as_nanos().max(1);
            u32::try_from(rate).unwrap_or(u32::MAX).max(1)
        };
        Some((rate(MEASURED_PROMPT, first - started), rate(MEASURED_ANSWER, last - first)))
    }
}

/// The engine's side.
struct Loop {
    engine: Engine,
    inbox: Receiver<Message>,
    load: watch::Sender<Load>,
    held: BTreeMap<SequenceId, Held>,
    terms: Terms,
    /// Threads for own requests.
    threads: usize,
    /// Commits to the answers that are to have receipts.
    committer: Committer,
    /// What it committed to of those that were stopped.
    unfinished: Unfinished,
    /// Since when others' requests stand still.
    closed: Option<Instant>,
}

impl Loop {
    /// Works until every handle is gone.
    fn run(mut self) {
        loop {
            if self.engine.is_idle() {
                match self.wait() {
                    Ok(message) => self.take(message),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
            }
            while let Ok(message) = self.inbox.try_recv() {
                self.take(message);
            }
            self.drop_abandoned();
            self.give_back();
            self.step();
        }
    }

    /// The next message. While requests are suspended, a look at them comes in between.
    fn wait(&self) -> Result<Message, RecvTimeoutError> {
        if self.held.is_empty() {
            return self.inbox.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        let left = self.closed.map(|it| self.terms.suspend_max.saturating_sub(it.elapsed()));
        self.inbox.recv_timeout(left.unwrap_or(LOOK).min(LOOK))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Take(held, request, guide) => {
                match self.engine.submit_guided(request, held.class.priority(), guide) {
                    Ok(id) => {
                        if let Some(account) = &held.account {
                            let Request { prompt, said, .. } = &account.wanted.request;
                            let known = self.unfinished.take(prompt, said);
                            self.engine.skip_shown(id, known.as_slice().len());
                            // One too many has no receipt.
                            let _ = self.committer.follow_from(id, known);
                        }
                        self.held.insert(id, held);
                    }
                    // A client that has gone need not hear it.
                    Err(why) => drop(held.outputs.send(Err(Broken(why.to_string())))),
                }
            }
            Message::Obey(terms, done) => {
                self.closed = match terms.others {
                    Gate::Closed => self.closed.or_else(|| Some(Instant::now())),
                    _ => None,
                };
                self.engine.hold_from(match (terms.own, terms.others) {
                    (Gate::Closed, _) => Some(Class::Own.priority()),
                    (_, Gate::Closed) => Some(Class::Others.priority()),
                    _ => None,
                });
                self.terms = terms;
                self.give_back();
                self.tell();
                // Whoever asked may have gone.
                let _ = done.send(());
            }
        }
    }

    fn step(&mut self) {
        let threads = match self.terms.threads {
            0 => self.threads,
            _ if self.terms.others == Gate::Closed || !self.has_patient() => self.threads,
            threads => threads,
        };
        self.engine.set_threads(threads);
        let observer = match self.committer.is_idle() {
            true => &mut Observer::none(),
            false => &mut Observer::new(&mut self.committer),
        };
        for (id, output) in self.engine.step(observer) {
            self.deliver(id, output);
        }
        self.tell();
    }

    /// Whether there is any request that is not the owner's own and urgent.
    fn has_patient(&self) -> bool {
        self.held.values().any(|held| held.class != Class::Own)
    }

    /// Tells of the load what only this side knows.
    fn tell(&self) {
        let (_, waiting) = self.engine.load();
        let still = match (self.terms.own, self.terms.others) {
            (Gate::Closed, _) => self.held.len(),
            (_, Gate::Closed) => self.held.values().filter(|it| it.class != Class::Own).count(),
            _ => 0,
        };
        let (waiting, threads) = (waiting.max(still), self.engine.threads());
        self.load.send_if_modified(|load| {
            let before = std::mem::replace(load, Load { waiting, threads, ..*load });
            before != *load
        });
    }

    /// Cancels the sequences whose clients have gone, and ends those of which no more is wanted.
    fn drop_abandoned(&mut self) {
        let gone = |(id, held): (&SequenceId, &Held)| {
            (held.outputs.is_closed() || held.stop.is_raised()).then_some(*id)
        };
        let gone: Vec<SequenceId> = self.held.iter().filter_map(gone).collect();
        for id in gone {
            drop(self.leave(id));
        }
    }

    /// Gives others' requests back once they have stood still for too long, so that another machine
    /// can go on with them.
    fn give_back(&mut self) {
        if self.closed.is_none_or(|since| since.elapsed() < self.terms.suspend_max) {
            return;
        }
        let of_others = |(id, held): (&SequenceId, &Held)| match held.class {
            Class::Others => Some(*id),
            // Those of a batch wait, however long it takes.
            Class::Own | Class::Idle => None,
        };
        let ids: Vec<SequenceId> = self.held.iter().filter_map(of_others).collect();
        for id in ids {
            if let Some(held) = self.leave(id) {
                // A client that has gone need not hear it.
                drop(held.outputs.send(Err(Broken(self.terms.reason.clone()))));
            }
        }
    }

    /// Stops a sequence, with which this engine may be asked to go on.
    fn leave(&mut self, id: SequenceId) -> Option<Held> {
        self.engine.cancel(id);
        let leaves = self.committer.take(id);
        let mut held = self.held.remove(&id)?;
        if let (Some(leaves), Some(account)) = (leaves, held.account.take()) {
            let request = &account.wanted.request;
            let output = [request.said.as_slice(), &account.chosen].concat();
            self.unfinished.keep(request.prompt.clone(), output, leaves.clone());
            if held.stop.is_raised() {
                account.close_early(leaves);
            }
        }
        Some(held)
    }

    fn deliver(&mut self, id: SequenceId, output: Output) {
        let finished = matches!(output, Output::Finished(_));
        if finished {
            let leaves = self.committer.take(id);
            // Its place is free, and its receipt there, before its client knows that it has ended.
            if let Some(Held { outputs, account, _seat: seat, .. }) = self.held.remove(&id) {
                if let Some(account) = account {
                    account.close(leaves);
                }
                drop(seat);
                drop(outputs.send(Ok(output)));
            }
        } else if let Some(held) = self.held.get_mut(&id) {
            held.account.iter_mut().for_each(|account| account.hear(&output));
            // A closed channel is noticed before the next step.
            drop(held.outputs.send(Ok(output)));
        }
    }
}
