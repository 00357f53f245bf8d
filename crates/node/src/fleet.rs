//! Answers from whichever machine is best, and from another one when it stops.
//!
//! The gateway's side: it holds the prompt and the tokens so far, and since every machine computes the
//! same bits, another goes on in the middle of an answer and nobody can tell.
//!
//! A worker that is quiet, or late with a token although it lives, is not waited for: another starts as well, and
//! whoever is first goes on. A client that reads slowly holds no worker: the work stops, and goes on from
//! where it was once there is room.
//!
//! Invariants:
//! - A token is passed on once, in order, whoever computes it.
//! - Attempts are bounded in number and in time, and at most two compute one answer.
//! - At most `AHEAD_MAX` outputs wait for a client.
//!
//! Not here: the order in which workers are asked (`route`), the way to them (`remote`, `peers`).

mod paying;
mod quotes;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use engine::request::{Output, Request};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use gateway::auth::account::Bill;
use gateway::backend::{
    Backend, Broken, Busy, Job, Pause, Places, Quote, ReceiptSlot, Seeding, ServedModel,
    Submitting, Urgency,
};
use gateway::embeddings::Embedder;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use types::amount::Amount;
use types::id::Hash;

use crate::pay::{Payer, Reserved};
use crate::peers::{Peers, now};
use crate::receipts::Receipts;
use crate::remote::{Fault, Heard, QUIET_TIME, Remote};
use crate::route::{Candidate, Ended, Standing, Table, WorkerId};
use crate::seeding::{SeedOf, Wanted};
use crate::worker::Worker;

/// How long a request may look for a worker before it is refused as busy.
const SUBMIT_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an answer that lost its worker may look for another.
const RESUME_TIME_MAX: Duration = Duration::from_secs(60);
/// The pause between two rounds of asking every worker.
const ROUND_PAUSE: Duration = Duration::from_millis(200);
/// Workers that one answer may lose, at most.
const LOSSES_MAX: u32 = 16;
/// A token that is so many times later than expected makes a second worker start.
const HEDGE_FACTOR: u64 = 4;
/// The least time until a second worker starts.
const HEDGE_MIN: Duration = Duration::from_secs(2);
/// Outputs that wait for a client which reads slowly, at most: some seconds of a fast machine's work.
const AHEAD_MAX: usize = 256;
/// How long a worker waits for such a client before it is let go. Its past positions stay in its cache
/// as long as nobody else needs the room.
const WAIT_TIME_MAX: Duration = Duration::from_millis(250);
/// How long a worker may take to end an answer of which nobody wants more: a step of the engine and the
/// way there and back.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
/// Times that a worker is asked, where something is mended in between: it is told who asks, or another
/// channel is opened.
const MENDS_MAX: u32 = 3;
/// Seconds after which a client that found every machine busy may come back.
const RETRY_AFTER: u32 = 2;
/// What this node is taken to compute in a second, until it is measured.
const UNMEASURED: (u32, u32) = (200, 20);

type Outputs = Sender<Result<Output, Broken>>;
type Asking = Pin<Box<dyn Future<Output = Result<Attempt, Fault>> + Send>>;

/// The machines that answer.
#[derive(Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    served: Arc<ServedModel>,
    here: Option<Arc<Worker>>,
    peers: Arc<Peers>,
    /// Who keeps the receipts of answers, if someone does.
    receipts: Option<Arc<Receipts>>,
    /// The models that make embeddings, which this node computes itself.
    embedders: Vec<Arc<dyn Embedder>>,
    /// Who pays workers that ask for something, if someone does.
    payer: Option<Arc<Payer>>,
    table: Mutex<Table>,
    /// Tokens a second of this node: prompt, answer.
    speed: Mutex<(u32, u32)>,
}

/// An answer that a worker is computing.
#[derive(Debug)]
struct Attempt {
    place: Place,
    source: Source,
    /// Who has chosen the seed with which it computes.
    seed: SeedOf,
    /// How it is paid for, if it is.
    deal: Option<Box<Reserved>>,
    /// Tokens of the answer that the worker was given.
    given: usize,
    /// When the first and the last token came, and how many did.
    first: Option<Instant>,
    last: Option<Instant>,
    tokens: u32,
}

/// What a worker was asked for, in the table from the asking to the end: of many requests that come
/// together, each sees the others.
#[derive(Debug)]
struct Place {
    worker: WorkerId,
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
    /// The answer so far, and its seed: that which the first worker has a part in stays.
    wanted: Wanted,
    prompted: bool,
    outputs: Outputs,
    /// Where the client is told of the receipt.
    receipt: ReceiptSlot,
    /// Where is said what the answer has cost.
    bill: Bill,
    /// Who computes; none while another is looked for.
    lead: Option<Attempt>,
    /// Whether it has fallen silent.
    quiet: bool,
    /// When it is late with the next token.
    late: Option<Instant>,
    /// How long it may take to the first token, and from one to the next.
    patience: (Duration, Duration),
    /// Who started as well, since the lead is quiet or late.
    spare: Option<Attempt>,
    /// A search for one of them.
    asking: Option<Asking>,
    losses: u32,
}

/// What happens to an answer.
enum Event {
    Lead(Result<Heard, Fault>),
    Spare(Result<Heard, Fault>),
    Asked(Result<Attempt, Fault>),
    Late,
    Unwanted,
}

/// How an answer stands.
#[derive(PartialEq, Eq)]
enum Stage {
    Goes,
    Over,
}

impl Fleet {
    /// The machines that serve a model: this node if it has a worker, and whoever is announced.
    #[must_use]
    pub fn new(
        served: Arc<ServedModel>,
        here: Option<Arc<Worker>>,
        peers: Arc<Peers>,
        receipts: Option<Arc<Receipts>>,
        payer: Option<Arc<Payer>>,
        embedders: Vec<Arc<dyn Embedder>>,
    ) -> Fleet {
        let (table, speed) = (Mutex::new(Table::default()), Mutex::new(UNMEASURED));
        let inner = Inner { served, here, peers, receipts, embedders, payer, table, speed };
        Fleet(Arc::new(inner))
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

    fn submit<'a>(
        &'a self,
        _model: &'a ServedModel,
        request: Request,
        seeding: Seeding,
        urgency: Urgency,
    ) -> Submitting<'a> {
        Box::pin(Inner::submit(self.0.clone(), Wanted::of(request, seeding, urgency)))
    }

    fn quotes(&self, _model: &ServedModel, requests: &[Request]) -> Vec<Quote> {
        self.0.quotes(requests)
    }

    fn embedders(&self) -> Vec<Arc<dyn Embedder>> {
        self.0.embedders.clone()
    }

    /// Those of this machine; others say only when they are asked.
    fn places(&self) -> Option<Places> {
        self.0.here.as_ref().and_then(|worker| worker.places())
    }

    fn price_max(&self) -> u64 {
        self.0.payer.as_ref().map_or(0, |payer| payer.price_max().millionths())
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
        let price_max = self.payer.as_ref().map_or(Amount::ZERO, |payer| payer.price_max());
        let offers = self.peers.offers(&self.served.cid).into_iter();
        let offers = offers.filter(|(_, _, offer)| offer.price <= price_max.millionths());
        let there = offers.filter_map(|(node, since, offer)| {
            Candidate::of(node, since, &offer, &self.served.cid, room)
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

    async fn submit(self: Arc<Inner>, wanted: Wanted) -> Result<Job, Busy> {
        let busy = Busy { retry_after: RETRY_AFTER };
        let (outputs, job) = Job::bounded(AHEAD_MAX);
        let first = match timeout(SUBMIT_TIME_MAX, self.clone().first(&wanted)).await {
            Ok(Ok(first)) => first,
            Ok(Err(Fault::Busy(_) | Fault::Stranger(_) | Fault::Spent(_) | Fault::Failed(_)))
            | Err(_) => {
                return Err(busy);
            }
            Ok(Err(Fault::Never(why))) => {
                // The other end is right here, and has room.
                let _ = outputs.try_send(Err(Broken(why)));
                return Ok(job);
            }
        };
        let name = first.place.worker.unwrap_or_else(|| self.peers.me()).to_string();
        let ends = (outputs, job.receipt().clone(), job.bill().clone());
        tokio::spawn(Run::new(self, wanted, ends, first).follow());
        Ok(job.by(name))
    }

    /// Looks for the first worker. One that is lost as it is asked is no reason to refuse: others may
    /// be about to come back.
    async fn first(self: Arc<Inner>, wanted: &Wanted) -> Result<Attempt, Fault> {
        loop {
            match self.clone().round(wanted.clone(), None).await {
                Err(Fault::Failed(_)) => sleep(ROUND_PAUSE).await,
                found => return found,
            }
        }
    }

    /// Asks the candidates in turn, once each, but for one. Whoever does not answer at once may be gone:
    /// the next is asked as well, and the first to take the work has it.
    async fn round(
        self: Arc<Inner>,
        wanted: Wanted,
        except: Option<WorkerId>,
    ) -> Result<Attempt, Fault> {
        let mut worst = Fault::Busy("no machine runs the model now".to_owned());
        let mut tried: Vec<WorkerId> = except.into_iter().collect();
        let (mut asked, mut waiting) = (FuturesUnordered::new(), Vec::new());
        loop {
            // Those who came back meanwhile are among them.
            let order = self.order(&wanted.request).into_iter();
            if let Some(worker) = order.map(|it| it.worker).find(|it| !tried.contains(it)) {
                let (inner, wanted) = (&self, &wanted);
                asked.push(async move { (worker, inner.start(worker, wanted).await) });
                tried.push(worker);
                waiting.push(worker);
            }
            let (worker, outcome) = tokio::select! {
                outcome = asked.next() => match outcome {
                    Some(outcome) => outcome,
                    None => return Err(worst),
                },
                () = sleep(QUIET_TIME) => continue,
            };
            let at = waiting.iter().position(|it| *it == worker).unwrap_or(waiting.len());
            match outcome {
                Ok(attempt) => {
                    // Whoever was asked before and says nothing yet has been overtaken.
                    let overtaken = waiting.into_iter().take(at);
                    overtaken.for_each(|it| self.table().judge(it, Ended::Badly, now()));
                    return Ok(attempt);
                }
                Err(Fault::Busy(why)) => worst = Fault::Busy(why),
                Err(Fault::Never(why)) => return Err(Fault::Never(why)),
                Err(Fault::Failed(why) | Fault::Stranger(why) | Fault::Spent(why)) => {
                    tracing::info!(worker = %name(worker), why, "a worker is passed over");
                    self.table().judge(worker, Ended::Badly, now());
                    worst = Fault::Failed(why);
                }
            }
            waiting.retain(|it| *it != worker);
        }
    }

    /// Looks for a worker until there is one, or its time is up. Whoever was lost is asked again only
    /// where there is nobody else.
    async fn search(
        self: Arc<Inner>,
        wanted: Wanted,
        lost: Option<WorkerId>,
    ) -> Result<Attempt, Fault> {
        let until = Instant::now() + RESUME_TIME_MAX;
        let mut except = lost;
        loop {
            let why = match self.clone().round(wanted.clone(), except).await {
                Ok(attempt) => return Ok(attempt),
                Err(Fault::Never(why)) => return Err(Fault::Never(why)),
                Err(
                    Fault::Busy(why)
                    | Fault::Stranger(why)
                    | Fault::Spent(why)
                    | Fault::Failed(why),
                ) => why,
            };
            except = None;
            if Instant::now() > until {
                return Err(Fault::Never(format!("no worker could go on: {why}")));
            }
            sleep(ROUND_PAUSE).await;
        }
    }

    async fn start(self: &Arc<Inner>, worker: WorkerId, wanted: &Wanted) -> Result<Attempt, Fault> {
        self.table().began(worker);
        let place = Place { worker, inner: self.clone(), ended: false };
        let (source, seed, deal) = match worker {
            None => {
                let wanted = wanted.clone().seeded_here();
                let seed = wanted.seed;
                (Source::Here(self.start_here(wanted)?), seed, None)
            }
            Some(node) => {
                let (remote, seed, deal) = self.start_there(node, wanted).await?;
                (Source::There(remote), seed, deal)
            }
        };
        let given = wanted.request.said.len();
        Ok(Attempt { place, source, seed, deal, given, first: None, last: None, tokens: 0 })
    }

    fn start_here(&self, wanted: Wanted) -> Result<Job, Fault> {
        let none = || Fault::Busy("this node does not compute".to_owned());
        let here = self.here.as_ref().ok_or_else(none)?;
        here.ready().map_err(Fault::Failed)?;
        here.submit_own(wanted).map_err(|not| Fault::Busy(not.reason))
    }

    async fn start_there(
        &self,
        node: Hash,
        wanted: &Wanted,
    ) -> Result<(Remote, SeedOf, Option<Box<Reserved>>), Fault> {
        let none = || Fault::Failed("there is no network".to_owned());
        let network = self.peers.network().ok_or_else(none)?;
        let mut mends = 0;
        loop {
            let deal = self.agree(node, &wanted.request).await?;
            let payment = deal.as_ref().map(|it| it.deal.payment());
            mends += 1;
            match Remote::ask(network, node, &self.served.cid, wanted, payment).await {
                // Its announcement was here before this node's was there.
                Err(Fault::Stranger(_)) if mends < MENDS_MAX => {
                    self.peers.say_hello_to(network, node).await;
                }
                // The next agreement is on another one.
                Err(Fault::Spent(_)) if mends < MENDS_MAX => self.leave(deal).await,
                asked => return asked.map(|(remote, seed)| (remote, seed, deal)),
            }
        }
    }

    /// Uses the channel of an agreement no more.
    async fn leave(&self, deal: Option<Box<Reserved>>) {
        if let (Some(payer), Some(it)) = (&self.payer, deal) {
            payer.leave(it.deal.channel).await;
        }
    }
}

fn name(worker: WorkerId) -> String {
    worker.map_or_else(|| "this node".to_owned(), |node| node.to_string())
}

impl Attempt {
    async fn next(&mut self) -> Result<Heard, Fault> {
        let heard = match &mut self.source {
            Source::There(remote) => remote.next().await?,
            Source::Here(job) => match job.next().await {
                Some(Ok(output)) => Heard::Output(output),
                Some(Err(Broken(why))) => return Err(Fault::Never(why)),
                None if job.stop().is_raised() => Heard::Stopped,
                None => return Err(Fault::Failed("the engine has stopped".to_owned())),
            },
        };
        if matches!(heard, Heard::Output(Output::Token { .. })) {
            let now = Instant::now();
            self.first.get_or_insert(now);
            self.last = Some(now);
            self.tokens = self.tokens.saturating_add(1);
        }
        Ok(heard)
    }

    /// Asks for no more than there is.
    fn stop(&self) {
        match &self.source {
            Source::Here(job) => job.stop().raise(),
            Source::There(remote) => remote.stop(),
        }
    }

    /// Ends as a fault has it, and gives the reason.
    fn end_of(&mut self, fault: Fault) -> String {
        let (why, how) = match fault {
            // It gave the answer back, as its owner wants it to.
            Fault::Busy(why) => (why, Ended::Unneeded),
            Fault::Failed(why) | Fault::Stranger(why) | Fault::Spent(why) | Fault::Never(why) => {
                (why, Ended::Badly)
            }
        };
        self.place.end(how);
        why
    }

    fn end_well(&mut self) {
        let time = self.first.zip(self.last).map_or(Duration::ZERO, |(first, last)| last - first);
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.place.end(Ended::Well { tokens: self.tokens, time });
    }
}

impl Place {
    fn end(&mut self, how: Ended) {
        if !std::mem::replace(&mut self.ended, true) {
            self.inner.table().ended(self.worker, how, now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end(Ended::Unneeded);
    }
}

impl Run {
    fn new(
        inner: Arc<Inner>,
        wanted: Wanted,
        (outputs, receipt, bill): (Outputs, ReceiptSlot, Bill),
        first: Attempt,
    ) -> Run {
        let wanted = wanted.with(first.seed);
        let candidates = inner.candidates(&wanted.request);
        let candidate = candidates.iter().find(|it| it.worker == first.place.worker);
        let patience = |prompt| {
            let expected = candidate.map_or(0, |it| inner.table().patience(it, prompt, now()));
            Duration::from_millis(expected.saturating_mul(HEDGE_FACTOR)).max(HEDGE_MIN)
        };
        let patience = (patience(wanted.request.prompt.len()), patience(0));
        let (lead, late) = (Some(first), Some(Instant::now() + patience.0));
        Run {
            inner,
            wanted,
            prompted: false,
            outputs,
            receipt,
            bill,
            lead,
            quiet: false,
            late,
            patience,
            spare: None,
            asking: None,
            losses: 0,
        }
    }

    /// Passes on what the workers say, until the answer has ended or nobody wants it.
    async fn follow(mut self) {
        loop {
            let event = self.event().await;
            match self.heed(event).await {
                Ok(Stage::Goes) => {}
                Ok(Stage::Over) => return,
                // Where nobody waits, nobody needs to know.
                Err(why) => return drop(self.outputs.send(Err(Broken(why))).await),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let Run { lead, spare, asking, late, outputs, .. } = self;
        let asked = async {
            match asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        let is_late = async {
            match late {
                Some(late) => sleep_until(*late).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            heard = next_of(lead) => Event::Lead(heard),
            heard = next_of(spare) => Event::Spare(heard),
            asked = asked => Event::Asked(asked),
            () = is_late => Event::Late,
            () = outputs.closed() => Event::Unwanted,
        }
    }

    async fn heed(&mut self, event: Event) -> Result<Stage, String> {
        match event {
            Event::Lead(Ok(Heard::Output(output))) => return Ok(self.pass_on(output).await),
            Event::Lead(Ok(Heard::Quiet)) => {
                self.quiet = true;
                self.ask_another();
            }
            Event::Late => {
                self.late = None;
                self.ask_another();
            }
            Event::Spare(Ok(Heard::Output(output))) => {
                self.overtake();
                return Ok(self.pass_on(output).await);
            }
            Event::Spare(Ok(Heard::Quiet)) => {}
            // Nobody has asked it to.
            Event::Lead(Ok(Heard::Stopped)) => self.lose(Fault::Failed("it stopped".to_owned()))?,
            Event::Spare(Ok(Heard::Stopped)) => self.spare = None,
            Event::Lead(Err(Fault::Never(why)))
            | Event::Spare(Err(Fault::Never(why)))
            | Event::Asked(Err(Fault::Never(why))) => return Err(why),
            Event::Lead(Err(fault)) => self.lose(fault)?,
            Event::Spare(Err(fault)) => {
                self.spare.take().into_iter().for_each(|mut it| drop(it.end_of(fault.clone())));
            }
            Event::Asked(found) => {
                self.asking = None;
                // A new lead has the prompt to compute; where there is no second worker, one may come.
                self.late = Some(Instant::now() + self.patience.0);
                let place = if self.lead.is_none() { &mut self.lead } else { &mut self.spare };
                *place = found.ok();
                if self.lead.is_none() {
                    self.asking = Some(self.search(None));
                }
            }
            Event::Unwanted => {
                self.remember();
                self.wind_up().await;
                return Ok(Stage::Over);
            }
        }
        Ok(Stage::Goes)
    }

    /// Asks for a second worker, unless there is one or will be.
    fn ask_another(&mut self) {
        if self.spare.is_none() && self.asking.is_none() {
            let except = self.lead.as_ref().map(|it| it.place.worker);
            self.asking = Some(Box::pin(self.inner.clone().round(self.rest(), except)));
        }
    }

    /// The second worker was first.
    fn overtake(&mut self) {
        let mut lead = std::mem::replace(&mut self.lead, self.spare.take());
        if let Some(lead) = lead.as_mut().filter(|_| self.quiet) {
            let why = Fault::Failed("silent, and overtaken by another".to_owned());
            let why = lead.end_of(why);
            tracing::info!(worker = %name(lead.place.worker), why, "an answer goes to another worker");
        }
    }

    /// The lead is lost; whoever started as well goes on, or whoever is found.
    fn lose(&mut self, fault: Fault) -> Result<(), String> {
        let Some(mut lead) = std::mem::replace(&mut self.lead, self.spare.take()) else {
            return Ok(());
        };
        let why = lead.end_of(fault);
        let said = self.wanted.request.said.len();
        tracing::info!(worker = %name(lead.place.worker), said, why, "an answer goes to another worker");
        self.losses += 1;
        if self.losses > LOSSES_MAX {
            return Err(format!("{} workers were lost", self.losses));
        }
        self.quiet = false;
        if self.lead.is_none() && self.asking.is_none() {
            self.asking = Some(self.search(Some(lead.place.worker)));
        }
        Ok(())
    }

    fn search(&self, lost: Option<WorkerId>) -> Asking {
        Box::pin(self.inner.clone().search(self.rest(), lost))
    }

    /// What is left to compute.
    fn rest(&self) -> Wanted {
        let mut rest = self.wanted.clone();
        rest.request.prompt_logprobs &= !self.prompted;
        rest
    }

    /// Passes on one output of the lead, which nobody needs to help now.
    async fn pass_on(&mut self, output: Output) -> Stage {
        (self.quiet, self.spare, self.asking) = (false, None, None);
        self.late = Some(Instant::now() + self.patience.1);
        let mut last = false;
        match &output {
            // A worker that took over has computed the prompt again, which was told already.
            Output::Prompt { .. } if std::mem::replace(&mut self.prompted, true) => {
                return Stage::Goes;
            }
            Output::Prompt { .. } => {}
            Output::Token { token, .. } => self.wanted.request.said.push(*token),
            Output::Finished(_) => {
                self.remember();
                self.say_receipt().await;
                self.lead.take().into_iter().for_each(|mut lead| lead.end_well());
                last = true;
            }
        }
        if self.send(output).await.is_none() || last { Stage::Over } else { Stage::Goes }
    }

    /// Sends one output, and lets the worker go while the client takes none; `None` if it has gone.
    async fn send(&mut self, output: Output) -> Option<()> {
        let outputs = self.outputs.clone();
        match timeout(WAIT_TIME_MAX, outputs.reserve()).await {
            Ok(permit) => permit.ok()?.send(Ok(output)),
            Err(_) => {
                self.remember();
                let held = self.lead.take();
                let was_held = held.is_some();
                drop(held);
                // So much room that the next worker has something to do.
                let mut permits = outputs.reserve_many(AHEAD_MAX / 2).await.ok()?;
                permits.next()?.send(Ok(output));
                if was_held {
                    self.asking = Some(self.search(None));
                }
            }
        }
        Some(())
    }

    /// Ends the work where it is, since nobody wants more, and keeps the receipt of what there is.
    async fn wind_up(&mut self) {
        (self.spare, self.asking) = (None, None);
        let (Some(lead), said) = (&mut self.lead, &mut self.wanted.request.said) else { return };
        lead.stop();
        let rest = async {
            loop {
                match lead.next().await {
                    Ok(Heard::Output(Output::Token { token, .. })) => said.push(token),
                    Ok(Heard::Output(Output::Finished(_)) | Heard::Stopped) => return true,
                    Ok(Heard::Output(Output::Prompt { .. }) | Heard::Quiet) => {}
                    Err(_) => return false,
                }
            }
        };
        if let Ok(true) = timeout(STOP_TIME_MAX, rest).await {
            self.say_receipt().await;
        }
    }

    /// Says which is the receipt of what the lead has computed, if there is one.
    async fn say_receipt(&mut self) {
        let Some(lead) = &self.lead else { return };
        let receipt = lead.receipt(&self.wanted, &self.bill).await;
        receipt.into_iter().for_each(|it| self.receipt.say(it));
    }

    /// The lead's cache has the conversation so far.
    fn remember(&self) {
        if let Some(lead) = self.lead.as_ref().filter(|it| it.tokens > 0) {
            let request = &self.wanted.request;
            let tokens = [request.prompt.as_slice(), &request.said].concat();
            self.inner.table().remember(&tokens, lead.place.worker, now());
        }
    }
}

async fn next_of(attempt: &mut Option<Attempt>) -> Result<Heard, Fault> {
    match attempt {
        Some(attempt) => attempt.next().await,
        None => std::future::pending().await,
    }
}
