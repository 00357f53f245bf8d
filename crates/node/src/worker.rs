//! The thread that owns an engine, and the handle through which requests reach it.
//!
//! Invariants:
//! - The engine is touched by its own thread only.
//! - A request whose client has gone costs at most the step that is running.
//!
//! Not here: HTTP (`gateway`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use engine::batch::{Engine, Options};
use engine::fingerprint::{standard_prompt, standard_request};
use engine::model::Model;
use engine::request::{Output, Request, SequenceId};
use engine::trace::Observer;
use gateway::backend::{Backend, Broken, Busy, Job, ServedModel, Submitting};
use tokio::sync::mpsc::UnboundedSender;

/// Seconds after which a client that met a full queue may come back.
const RETRY_AFTER: u32 = 2;

/// Tokens of the prompt of the run that measures, and tokens of its answer after the first one.
const MEASURED_PROMPT: u32 = 64;
const MEASURED_ANSWER: u32 = 8;

type Outputs = UnboundedSender<Result<Output, Broken>>;

/// A running engine.
#[derive(Debug)]
pub struct Worker {
    served: Arc<ServedModel>,
    requests: Sender<(Request, Outputs)>,
    /// Requests taken and not finished.
    held: Arc<AtomicUsize>,
    held_max: usize,
    vocabulary: usize,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts an engine's thread. The engine itself is made there, and is ready when this returns.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(
        model: Arc<Model>,
        served: ServedModel,
        options: Options,
    ) -> std::io::Result<Worker> {
        let (requests, inbox) = channel();
        let vocabulary = model.vocabulary_size();
        let held = Arc::new(AtomicUsize::new(0));
        let count = held.clone();
        let (made, wait) = channel();
        let thread = std::thread::Builder::new().name("worker".to_owned()).spawn(move || {
            let engine = Engine::new(model, options);
            // The receiver waits below; where it is gone, nobody needs to know.
            let _ = made.send(());
            Loop { engine, inbox, count, outputs: BTreeMap::new() }.run();
        })?;
        wait.recv().map_err(|_| std::io::Error::other("the engine's thread ended at its start"))?;
        let (served, held_max) = (Arc::new(served), options.sequences_max);
        Ok(Worker { served, requests, held, held_max, vocabulary, thread: Some(thread) })
    }

    /// The model that is served.
    #[must_use]
    pub fn served(&self) -> &Arc<ServedModel> {
        &self.served
    }

    fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }
}

impl Backend for Worker {
    fn models(&self) -> Vec<Arc<ServedModel>> {
        vec![self.served.clone()]
    }

    fn submit<'a>(&'a self, _model: &'a ServedModel, request: Request) -> Submitting<'a> {
        Box::pin(std::future::ready(self.try_submit(request)))
    }

    fn ready(&self) -> Result<(), String> {
        match self.is_running() {
            true => Ok(()),
            false => Err("the engine has stopped; restart the node".to_owned()),
        }
    }
}

impl Worker {
    /// Queues one sequence.
    ///
    /// # Errors
    /// When the queue is full, or the engine has stopped.
    pub fn try_submit(&self, request: Request) -> Result<Job, Busy> {
        let busy = Busy { retry_after: RETRY_AFTER };
        if self.held.fetch_add(1, Ordering::SeqCst) >= self.held_max {
            self.held.fetch_sub(1, Ordering::SeqCst);
            return Err(busy);
        }
        let (outputs, job) = Job::channel();
        if self.requests.send((request, outputs)).is_err() {
            self.held.fetch_sub(1, Ordering::SeqCst);
            return Err(busy);
        }
        Ok(job)
    }

    /// Tokens a second of a short run: of its prompt, of its answer. `None` if it is not computed.
    pub async fn measure(&self) -> Option<(u32, u32)> {
        let mut prompt = standard_prompt(self.vocabulary);
        prompt.truncate(MEASURED_PROMPT as usize);
        let started = Instant::now();
        let mut job = self.try_submit(standard_request(prompt, 1 + MEASURED_ANSWER)).ok()?;
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
    inbox: Receiver<(Request, Outputs)>,
    count: Arc<AtomicUsize>,
    outputs: BTreeMap<SequenceId, Outputs>,
}

impl Loop {
    /// Works until every handle is gone.
    fn run(mut self) {
        loop {
            if self.engine.is_idle() {
                let Ok(request) = self.inbox.recv() else { return };
                self.take(request);
            }
            while let Ok(request) = self.inbox.try_recv() {
                self.take(request);
            }
            self.drop_abandoned();
            for (id, output) in self.engine.step(&mut Observer::none()) {
                self.deliver(id, output);
            }
        }
    }

    fn take(&mut self, (request, outputs): (Request, Outputs)) {
        match self.engine.submit(request) {
            Ok(id) => {
                self.outputs.insert(id, outputs);
            }
            Err(refused) => {
                self.count.fetch_sub(1, Ordering::SeqCst);
                // A client that has gone need not hear it.
                drop(outputs.send(Err(Broken(refused.to_string()))));
            }
        }
    }

    /// Cancels the sequences whose clients have gone.
    fn drop_abandoned(&mut self) {
        let gone = |(id, outputs): (&SequenceId, &Outputs)| outputs.is_closed().then_some(*id);
        let gone: Vec<SequenceId> = self.outputs.iter().filter_map(gone).collect();
        for id in gone {
            self.engine.cancel(id);
            self.outputs.remove(&id);
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    fn deliver(&mut self, id: SequenceId, output: Output) {
        let finished = matches!(output, Output::Finished(_));
        if let Some(outputs) = self.outputs.get(&id) {
            // A closed channel is noticed before the next step.
            drop(outputs.send(Ok(output)));
        }
        if finished && self.outputs.remove(&id).is_some() {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
