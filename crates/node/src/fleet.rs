//! Answers from whichever machine is best, and from another one when it stops.
//!
//! The gateway's side: it holds the prompt and the tokens so far, and since every machine computes the
//! same bits, another goes on in the middle of an answer and nobody can tell.
//!
//! Invariants:
//! - A token is passed on once, in order, whoever computes it.
//! - Attempts are bounded in number and in time.
//!
//! Not here: the order in which workers are asked (`route`), the way to them (`remote`, `peers`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::request::{Output, Request};
use gateway::backend::{Backend, Broken, Busy, Job, Pause, ServedModel, Submitting};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use types::id::Hash;

use crate::peers::{Peers, now};
use crate::remote::{Fault, Remote};
use crate::route::{Candidate, Ended, Standing, Table, WorkerId};
use crate::worker::{Class, Worker};

/// How long a request may look for a worker before it is refused as busy.
const SUBMIT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an answer that lost its worker may look for another.
const RESUME_TIME_MAX: Duration = Duration::from_secs(60);
/// The pause between two rounds of asking every worker.
const ROUND_PAUSE: Duration = Duration::from_millis(200);
/// Workers that one answer may lose, at most.
const LOSSES_MAX: u32 = 16;
/// A first token that is so many times later than expected makes a second worker start.
const HEDGE_FACTOR: u64 = 4;
/// The least time until a second worker starts.
const HEDGE_MIN: Duration = Duration::from_secs(2);
/// Seconds after which a client that found every machine busy may come back.
const RETRY_AFTER: u32 = 2;
/// What this node is taken to compute in a second, until it is measured.
const UNMEASURED: (u32, u32) = (200, 20);

type Outputs = UnboundedSender<Result<Output, Broken>>;

/// The machines that answer.
#[derive(Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    served: Arc<ServedModel>,
    here: Option<Arc<Worker>>,
    peers: Arc<Peers>,
    table: Mutex<Table>,
    /// Tokens a second of this node: prompt, answer.
    speed: Mutex<(u32, u32)>,
}

/// An answer that a worker is computing.
#[derive(Debug)]
struct Attempt {
    worker: WorkerId,
    source: Source,
    /// When the first and the last token came, and how many did.
    first: Option<Instant>,
    last: Option<Instant>,
    tokens: u32,
    inner: Arc<Inner>,
    ended: bool,
}

#[derive(Debug)]
enum Source {
    Here(Job),
    There(Remote),
}

/// One answer, from its first worker to its last.
struct Run {
    inner: Arc<Inner>,
    request: Request,
    prompted: bool,
    outputs: Outputs,
}

impl Fleet {
    /// The machines that serve a model: this node if it has a worker, and whoever is announced.
    #[must_use]
    pub fn new(served: Arc<ServedModel>, here: Option<Arc<Worker>>, peers: Arc<Peers>) -> Fleet {
        let (table, speed) = (Mutex::new(Table::default()), Mutex::new(UNMEASURED));
        Fleet(Arc::new(Inner { served, here, peers, table, speed }))
    }

    /// What was seen of a worker.
    #[must_use]
    pub fn standing(&self, worker: &WorkerId) -> Standing {
        self.0.table().standing(worker, now())
    }

    /// What this node computes in a second: tokens of prompt, tokens of answer.
    pub fn set_speed(&self, prefill: u32, decode: u32) {
        *self.0.speed.lock().unwrap_or_else(PoisonError::into_inner) = (prefill, decode);
    }
}

impl Backend for Fleet {
    fn models(&self) -> Vec<Arc<ServedModel>> {
        vec![self.0.served.clone()]
    }

    fn submit<'a>(&'a self, _model: &'a ServedModel, request: Request) -> Submitting<'a> {
        Box::pin(Inner::submit(self.0.clone(), request))
    }

    fn pause(&self) -> Option<Pause> {
        let pause = self.0.here.as_ref()?.pause()?;
        self.0.peers.offers(&self.0.served.cid).is_empty().then_some(pause)
    }

    fn ready(&self) -> Result<(), String> {
        match &self.0.here {
            Some(worker) => worker.ready(),
            None if self.0.peers.offers(&self.0.served.cid).is_empty() => {
                Err("no machine that runs the model is connected".to_owned())
            }
            None => Ok(()),
        }
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn candidates(&self, request: &Request) -> Vec<Candidate> {
        let (prefill, decode) = *self.speed.lock().unwrap_or_else(PoisonError::into_inner);
        let here = self.here.iter().map(|_| Candidate {
            worker: None,
            price: 0,
            prefill,
            decode,
            since: 0,
        });
        let room = request.prompt.len().saturating_add(request.tokens_max as usize);
        let offers = self.peers.offers(&self.served.cid).into_iter();
        let offers = offers.filter(|(_, _, offer)| offer.context as usize >= room);
        let there = offers.map(|(node, since, offer)| Candidate {
            worker: Some(node),
            since,
            price: offer.price,
            prefill: offer.prefill.max(1),
            decode: offer.decode.max(1),
        });
        here.chain(there).collect()
    }

    /// Candidates, best first.
    fn order(&self, request: &Request) -> Vec<Candidate> {
        let candidates = self.candidates(request);
        let tokens = request.tokens_max.saturating_sub(request.said.len() as u32);
        let order = self.table().order(&candidates, &request.prompt, tokens, now());
        let found: BTreeMap<WorkerId, Candidate> =
            candidates.into_iter().map(|it| (it.worker, it)).collect();
        order.iter().filter_map(|worker| found.get(worker).copied()).collect()
    }

    async fn submit(self: Arc<Inner>, request: Request) -> Result<Job, Busy> {
        let busy = Busy { retry_after: RETRY_AFTER };
        let first = match timeout(SUBMIT_TIME_MAX, self.round(&request, &[])).await {
            Ok(Ok(first)) => first,
            Ok(Err(Fault::Busy(_) | Fault::Stranger(_) | Fault::Failed(_))) | Err(_) => {
                return Err(busy);
            }
            Ok(Err(Fault::Never(why))) => {
                let (outputs, job) = Job::channel();
                // The other end is right here.
                let _ = outputs.send(Err(Broken(why)));
                return Ok(job);
            }
        };
        let name = first.worker.unwrap_or_else(|| self.peers.me()).to_string();
        let (outputs, job) = Job::channel();
        let run = Run { inner: self, request, prompted: false, outputs };
        tokio::spawn(run.follow(first));
        Ok(job.by(name))
    }

    /// Asks the candidates in turn, once each, but for some.
    async fn round(
        self: &Arc<Inner>,
        request: &Request,
        except: &[WorkerId],
    ) -> Result<Attempt, Fault> {
        let mut worst = Fault::Busy("no machine runs the model now".to_owned());
        for candidate in self.order(request) {
            if except.contains(&candidate.worker) {
                continue;
            }
            match self.start(candidate.worker, request).await {
                Ok(attempt) => return Ok(attempt),
                Err(Fault::Busy(why)) => worst = Fault::Busy(why),
                Err(Fault::Never(why)) => return Err(Fault::Never(why)),
                Err(Fault::Failed(why) | Fault::Stranger(why)) => {
                    tracing::info!(worker = %name(candidate.worker), why, "a worker is passed over");
                    self.table().judge(candidate.worker, Ended::Badly, now());
                    worst = Fault::Failed(why);
                }
            }
        }
        Err(worst)
    }

    async fn start(
        self: &Arc<Inner>,
        worker: WorkerId,
        request: &Request,
    ) -> Result<Attempt, Fault> {
        let source = match worker {
            None => Source::Here(self.start_here(request)?),
            Some(node) => Source::There(self.start_there(node, request).await?),
        };
        self.table().began(worker);
        let inner = self.clone();
        Ok(Attempt { worker, source, first: None, last: None, tokens: 0, inner, ended: false })
    }

    fn start_here(&self, request: &Request) -> Result<Job, Fault> {
        let none = || Fault::Busy("this node does not compute".to_owned());
        let here = self.here.as_ref().ok_or_else(none)?;
        here.ready().map_err(Fault::Failed)?;
        here.submit_for(Class::Own, request.clone()).map_err(|not| Fault::Busy(not.reason))
    }

    async fn start_there(&self, node: Hash, request: &Request) -> Result<Remote, Fault> {
        let none = || Fault::Failed("there is no network".to_owned());
        let network = self.peers.network().ok_or_else(none)?;
        match Remote::ask(network, node, &self.served.cid, request).await {
            // Its announcement was here before this node's was there.
            Err(Fault::Stranger(_)) => {
                self.peers.say_hello_to(network, node).await;
                Remote::ask(network, node, &self.served.cid, request).await
            }
            asked => asked,
        }
    }
}

fn name(worker: WorkerId) -> String {
    worker.map_or_else(|| "this node".to_owned(), |node| node.to_string())
}

impl Attempt {
    async fn next(&mut self) -> Result<Output, Fault> {
        let output = match &mut self.source {
            Source::There(remote) => remote.next().await?,
            Source::Here(job) => match job.next().await {
                Some(Ok(output)) => output,
                Some(Err(Broken(why))) => return Err(Fault::Never(why)),
                None => return Err(Fault::Failed("the engine has stopped".to_owned())),
            },
        };
        if matches!(output, Output::Token { .. }) {
            let now = Instant::now();
            self.first.get_or_insert(now);
            self.last = Some(now);
            self.tokens = self.tokens.saturating_add(1);
        }
        Ok(output)
    }

    fn end(&mut self, how: Ended) {
        if !std::mem::replace(&mut self.ended, true) {
            self.inner.table().ended(self.worker, how, now());
        }
    }

    /// Ends as a fault has it, and gives the reason.
    fn end_of(&mut self, fault: Fault) -> String {
        let (why, how) = match fault {
            // It gave the answer back, as its owner wants it to.
            Fault::Busy(why) => (why, Ended::Unneeded),
            Fault::Failed(why) | Fault::Stranger(why) | Fault::Never(why) => (why, Ended::Badly),
        };
        self.end(how);
        why
    }

    fn end_well(&mut self) {
        let time = self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| last - first);
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.end(Ended::Well { tokens: self.tokens, time });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.end(Ended::Unneeded);
    }
}

impl Run {
    /// Passes on what the workers say, until the answer has ended or nobody wants it.
    async fn follow(mut self, first: Attempt) {
        let mut attempt = match self.begin(first).await {
            Ok(attempt) => attempt,
            Err(why) => return self.give_up(why),
        };
        let mut losses = 0;
        loop {
            let outputs = self.outputs.clone();
            let next = tokio::select! {
                next = attempt.next() => next,
                () = outputs.closed() => return,
            };
            match next {
                Ok(output) => {
                    if self.pass_on(output, &mut attempt) {
                        return;
                    }
                }
                Err(Fault::Never(why)) => return self.give_up(why),
                Err(fault) => {
                    losses += 1;
                    let why = attempt.end_of(fault);
                    let (lost, said) = (name(attempt.worker), self.request.said.len());
                    tracing::info!(worker = %lost, said, why, "an answer goes to another worker");
                    match self.resume(attempt.worker, losses).await {
                        Ok(next) => attempt = next,
                        Err(why) => return self.give_up(why),
                    }
                }
            }
        }
    }

    /// Waits for a first sign of the prompt; where it is late, asks a second worker, and goes on with
    /// whichever is first.
    async fn begin(&mut self, mut first: Attempt) -> Result<Attempt, String> {
        let candidates = self.inner.candidates(&self.request);
        let expected = candidates.iter().find(|it| it.worker == first.worker);
        let prompt = self.request.prompt.len();
        let expected = expected.map_or(0, |it| self.inner.table().patience(it, prompt));
        let late = Duration::from_millis(expected.saturating_mul(HEDGE_FACTOR)).max(HEDGE_MIN);
        let late = Instant::now() + late;
        let outputs = self.outputs.clone();
        let mut second: Option<Attempt> = None;
        let mut hedged = false;
        loop {
            let (from_second, next) = tokio::select! {
                next = first.next() => (false, next),
                next = next_of(&mut second) => (true, next),
                () = sleep_until(late), if !hedged => {
                    hedged = true;
                    let except = [first.worker];
                    second = self.inner.round(&self.request, &except).await.ok();
                    continue;
                }
                () = outputs.closed() => return Err("nobody waits for the answer".to_owned()),
            };
            match (next, from_second, second.take()) {
                (Ok(output), false, _) => {
                    self.pass_on(output, &mut first);
                    return Ok(first);
                }
                (Ok(output), true, Some(mut second)) => {
                    self.pass_on(output, &mut second);
                    return Ok(second);
                }
                (Err(Fault::Never(why)), ..) => return Err(why),
                (Err(fault), true, Some(mut second)) => drop(second.end_of(fault)),
                (Err(fault), false, Some(second)) => {
                    first.end_of(fault);
                    first = second;
                }
                (Err(fault), false, None) => {
                    first.end_of(fault);
                    first = self.resume(first.worker, 1).await?;
                }
                (_, true, None) => {}
            }
        }
    }

    /// Passes one output on; true if it was the last, or nobody takes it.
    fn pass_on(&mut self, output: Output, attempt: &mut Attempt) -> bool {
        let last = match &output {
            // A worker that took over has computed the prompt again, which was told already.
            Output::Prompt { .. } if std::mem::replace(&mut self.prompted, true) => return false,
            Output::Prompt { .. } => false,
            Output::Token { token, .. } => {
                self.request.said.push(*token);
                false
            }
            Output::Finished(_) => {
                attempt.end_well();
                let tokens = [self.request.prompt.as_slice(), &self.request.said].concat();
                self.inner.table().remember(&tokens, attempt.worker, now());
                true
            }
        };
        self.outputs.send(Ok(output)).is_err() || last
    }

    /// Finds another worker for what is left of the answer.
    async fn resume(&mut self, lost: WorkerId, losses: u32) -> Result<Attempt, String> {
        if losses > LOSSES_MAX {
            return Err(format!("{losses} workers were lost"));
        }
        let mut rest = self.request.clone();
        rest.prompt_logprobs &= !self.prompted;
        let until = Instant::now() + RESUME_TIME_MAX;
        // Whoever was lost is asked again only where there is nobody else.
        let mut except = vec![lost];
        loop {
            let why = match self.inner.round(&rest, &except).await {
                Ok(attempt) => return Ok(attempt),
                Err(Fault::Never(why)) => return Err(why),
                Err(Fault::Busy(why) | Fault::Stranger(why) | Fault::Failed(why)) => why,
            };
            except.clear();
            if Instant::now() > until || self.outputs.is_closed() {
                return Err(format!("no worker could go on: {why}"));
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    fn give_up(&self, why: String) {
        // Where nobody waits, nobody needs to know.
        let _ = self.outputs.send(Err(Broken(why)));
    }
}

async fn next_of(attempt: &mut Option<Attempt>) -> Result<Output, Fault> {
    match attempt {
        Some(attempt) => attempt.next().await,
        None => std::future::pending().await,
    }
}
