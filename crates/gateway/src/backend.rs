//! Where answers come from.
//!
//! The node implements `Backend` over its engines; tests over a script.
//!
//! Invariants:
//! - Dropping a `Job` is the cancellation: its sender sees `is_closed`.
//!
//! Not here: how a backend picks a worker, queues and pays.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use engine::request::{Output, Request};
use serde_json::{Value, json};
use text::template::Template;
use text::tokenizer::Tokenizer;
use tokio::sync::mpsc;

use crate::auth::account::Bill;
use crate::embeddings::Embedder;

/// A sequence on its way into a queue.
pub type Submitting<'a> = Pin<Box<dyn Future<Output = Result<Job, Busy>> + Send + 'a>>;

/// Where answers come from.
pub trait Backend: Send + Sync + 'static {
    /// The models served now. An empty list means that nothing can be answered.
    fn models(&self) -> Vec<Arc<ServedModel>>;

    /// Queues one sequence. The future is ready once a machine has taken it. Where the seed is open, the
    /// machine that computes it may have a part in the seed; that of the request is then not used.
    ///
    /// A backend whose queue is shorter than `limits::CHOICES_MAX` can never take the largest
    /// request, however often its client comes back.
    ///
    /// # Errors
    /// When the queue is full.
    fn submit<'a>(
        &'a self,
        model: &'a ServedModel,
        request: Request,
        seeding: Seeding,
        urgency: Urgency,
    ) -> Submitting<'a>;

    /// What machines would ask for these sequences, all of one request; the one that would be asked
    /// first before the others. None where nothing is known of any.
    fn quotes(&self, _model: &ServedModel, _requests: &[Request]) -> Vec<Quote> {
        Vec::new()
    }

    /// The models that make embeddings.
    fn embedders(&self) -> Vec<Arc<dyn Embedder>> {
        Vec::new()
    }

    /// The places of the queue, where it has some.
    fn places(&self) -> Option<Places> {
        None
    }

    /// What a million tokens cost, at most, in millionths of a credit: 0 where nothing is ever paid.
    fn price_max(&self) -> u64 {
        0
    }

    /// Why no request is taken now, where the machine's owner has stopped the work for a while.
    fn pause(&self) -> Option<Pause> {
        None
    }

    /// Whether a request would be answered now.
    ///
    /// # Errors
    /// Says in words what is missing; clients and orchestrators see it.
    fn ready(&self) -> Result<(), String>;
}

/// Whether a client has asked for a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeding {
    /// It has: the request's.
    Fixed,
    /// It has not: whichever is as random.
    Open,
}

/// Whether somebody waits for an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Urgency {
    /// Somebody does.
    #[default]
    Now,
    /// It is part of a batch: whatever is urgent goes first, and it runs while the owner's preferences
    /// let the machine work.
    Idle,
}

impl Urgency {
    /// That of a request, which the gateway itself has made where it is part of a batch.
    pub(crate) fn of(request: &axum::extract::Request) -> Urgency {
        request.extensions().get().copied().unwrap_or_default()
    }
}

/// A model that is served, and what turns its text into tokens and back.
pub struct ServedModel {
    /// The name in the API, such as `smollm2-135m-instruct`.
    pub name: String,
    /// Other names that clients may use.
    pub aliases: Vec<String>,
    /// The artifact's content id. Clients may use it as a name, too.
    pub cid: String,
    /// The numeric profile, such as `int-1`.
    pub profile: &'static str,
    /// When the artifact was made, in seconds since 1970.
    pub created: u64,
    /// Tokens of prompt and answer together, at most.
    pub context_max: u32,
    /// The licence under which the weights were published, as an SPDX expression if known.
    pub licence: Option<String>,
    /// Who made the model, as the API's `owned_by`.
    pub owner: String,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// How a conversation becomes a prompt; a base model has none.
    pub template: Option<Template>,
    /// The text of the token that begins a prompt, for the template; empty if there is none.
    pub begin_text: String,
    /// The text of the token that ends a turn, for the template; empty if there is none.
    pub end_text: String,
}

/// One queued sequence: what the backend says about it, in order. Dropping it cancels the work.
#[derive(Debug)]
pub struct Job {
    outputs: Outputs,
    worker: Option<String>,
    receipt: ReceiptSlot,
    stop: StopSign,
    bill: Bill,
}

/// Where whoever follows a sequence says that it wants no more of it, but what there is.
#[derive(Clone, Debug, Default)]
pub struct StopSign(Arc<AtomicBool>);

/// Where a backend says which receipt is about an answer, before the answer's last output.
#[derive(Clone, Debug, Default)]
pub struct ReceiptSlot(Arc<OnceLock<Receipt>>);

/// The receipt about an answer, for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its name.
    pub id: String,
    /// What the answer has cost, in credits.
    pub cost: String,
}

/// What a machine would ask for an answer, and how long it would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Which machine: its node's key.
    pub worker: String,
    /// Whether it is this one.
    pub is_here: bool,
    /// Credits for a million tokens, of the prompt and of the answer alike.
    pub price: String,
    /// What the answer costs, in credits, if it is as long as it may be.
    pub cost_max: String,
    /// How the answer would be checked.
    pub trust: Trust,
    /// Milliseconds until the first token that are expected.
    pub wait: u64,
    /// Milliseconds until the end that are expected, if the answer is as long as it may be.
    pub time_max: u64,
    /// Answers out of a thousand that came to their end, lately.
    pub reliability: u32,
}

/// How an answer is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// This machine computes it.
    Own,
    /// Another member computes it for nothing; its receipt may be computed again.
    Unpaid,
    /// Paid, and checked by whom the payer shows it to.
    Private,
    /// Paid, and strangers may be drawn to compute it again.
    Checked,
}

#[derive(Debug)]
enum Outputs {
    Free(mpsc::UnboundedReceiver<Result<Output, Broken>>),
    Bounded(mpsc::Receiver<Result<Output, Broken>>),
}

/// Why a backend did not take a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy {
    /// When to come back, in seconds.
    pub retry_after: u32,
}

/// How many sequences a queue takes at once, and how many more it would take now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// All places.
    pub count: usize,
    /// Those that are free.
    pub free: usize,
}

/// Why a machine's owner lets it answer nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Said to the client.
    pub reason: String,
    /// When to come back, in seconds.
    pub retry_after: u32,
}

/// Why an answer broke off. The text goes to the log, not to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

impl ServedModel {
    /// Whether clients may call the model by this name.
    #[must_use]
    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.cid == name || self.aliases.iter().any(|alias| alias == name)
    }

    /// What decides an answer besides the request: the numeric profile and the weights.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        format!("{}:{}", self.profile, self.cid)
    }
}

impl fmt::Debug for ServedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedModel").field("name", &self.name).field("cid", &self.cid).finish()
    }
}

impl ReceiptSlot {
    /// Says which; what was said first stays.
    pub fn say(&self, receipt: Receipt) {
        let _ = self.0.set(receipt);
    }

    /// Which, once it was said.
    #[must_use]
    pub fn said(&self) -> Option<&Receipt> {
        self.0.get()
    }
}

impl Receipt {
    /// Adds it to the object that it is about.
    pub(crate) fn add_to(&self, object: &mut Value) {
        if let Some(fields) = object.as_object_mut() {
            fields.insert("receipt".to_owned(), json!(self.id));
            fields.insert("cost".to_owned(), json!(self.cost));
        }
    }
}

impl Trust {
    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Trust::Own => "own",
            Trust::Unpaid => "unpaid",
            Trust::Private => "private",
            Trust::Checked => "checked",
        }
    }
}

impl StopSign {
    /// Says it.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was said.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Job {
    /// A job and the end that an engine keeps, which must not wait for a slow reader.
    ///
    /// The channel needs no bound of its own: a sequence has at most `Request::tokens_max` tokens.
    /// Whoever reads it on behalf of a client does so at once.
    #[must_use]
    pub fn channel() -> (mpsc::UnboundedSender<Result<Output, Broken>>, Job) {
        let (sender, outputs) = mpsc::unbounded_channel();
        (sender, Job::of(Outputs::Free(outputs)))
    }

    /// A job of which at most `count` outputs wait, at least one, and the end that the backend keeps:
    /// there it is felt how fast the client reads.
    #[must_use]
    pub fn bounded(count: usize) -> (mpsc::Sender<Result<Output, Broken>>, Job) {
        let (sender, outputs) = mpsc::channel(count.max(1));
        (sender, Job::of(Outputs::Bounded(outputs)))
    }

    fn of(outputs: Outputs) -> Job {
        let (receipt, stop) = (ReceiptSlot::default(), StopSign::default());
        Job { outputs, worker: None, receipt, stop, bill: Bill::default() }
    }

    /// Where it is said that no more is wanted: what was made till then still comes, the receipt is
    /// about that, and no `Finished` follows.
    #[must_use]
    pub fn stop(&self) -> &StopSign {
        &self.stop
    }

    /// Where the backend says which receipt is about the answer.
    #[must_use]
    pub fn receipt(&self) -> &ReceiptSlot {
        &self.receipt
    }

    /// Where the backend says what was paid for the answer. It keeps its own until no more can be.
    #[must_use]
    pub fn bill(&self) -> &Bill {
        &self.bill
    }

    /// Says who computes the answer, for the header `x-mashaa-worker`.
    #[must_use]
    pub fn by(self, worker: String) -> Job {
        Job { worker: Some(worker), ..self }
    }

    pub(crate) fn worker(&self) -> Option<&str> {
        self.worker.as_deref()
    }

    /// The next output. `None` when the backend went away. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Output, Broken>> {
        match &mut self.outputs {
            Outputs::Free(outputs) => outputs.recv().await,
            Outputs::Bounded(outputs) => outputs.recv().await,
        }
    }

    /// The next output that is there already; `None` if there is none yet, or no more.
    pub fn try_next(&mut self) -> Option<Result<Output, Broken>> {
        match &mut self.outputs {
            Outputs::Free(outputs) => outputs.try_recv().ok(),
            Outputs::Bounded(outputs) => outputs.try_recv().ok(),
        }
    }

    /// The same as `next`, for whoever follows several jobs.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Output, Broken>>> {
        match &mut self.outputs {
            Outputs::Free(outputs) => outputs.poll_recv(context),
            Outputs::Bounded(outputs) => outputs.poll_recv(context),
        }
    }
}
