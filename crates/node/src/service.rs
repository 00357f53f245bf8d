//! Serving: a worker behind a gateway, and the ledger, until someone asks it to end.
//!
//! Invariants:
//! - Answers in flight are finished, within the gateway's time, before `serve` returns.
//!
//! Not here: what is served (`worker`), routes (`gateway`).

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use std::time::{Duration, Instant};

use axum::Router;
use consensus::start::{Peer, Running};
use gateway::auth::Keys;
use gateway::backend::ServedModel;
use gateway::embeddings::Embedder;
use gateway::router::{Gateway, Options};
use network::membership::Offer;
use store::blobs::{Blobs, StoreError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use types::amount::Amount;
use types::bounded::Text;

use crate::audits::{self, Audits};
use crate::control::{self, Control};
use crate::copies::files::CopiesError;
use crate::copies::{self, Copies};
use crate::earn::Earned;
use crate::fleet::Fleet;
use crate::ledger::{self, Ledger, LedgerError, explorer};
use crate::orders::{Sender, Signer};
use crate::pay::Payer;
use crate::peers::files::FilesError;
use crate::peers::{self, Peers, join};
use crate::receipts::Receipts;
use crate::redeem::Redeemer;
use crate::supervisor::Supervisor;
use crate::trustless;
use crate::worker::Worker;

/// How long tasks have to end once nothing is served any more.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Why serving did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}, choose another with --listen")]
    Listen {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// The runtime cannot be made.
    #[error("the runtime cannot start: {0}")]
    Runtime(std::io::Error),
    /// The network of machines cannot start.
    #[error(transparent)]
    Network(#[from] FilesError),
    /// The ledger cannot start.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is kept of copies cannot be read.
    #[error(transparent)]
    Copies(#[from] CopiesError),
    /// The ledger cannot go on.
    #[error("the ledger stopped: {0}")]
    LedgerStopped(String),
}

/// What a node does for others.
#[derive(Debug, Default)]
pub struct Roles {
    /// It serves a model behind the API.
    pub model: Option<Serving>,
    /// The receipts of its own answers.
    pub receipts: Option<Arc<Receipts>>,
    /// What it earns with work for others.
    pub earned: Option<Arc<Earned>>,
    /// Who pays the workers that it uses.
    pub payer: Option<Arc<Payer>>,
    /// Who signs the orders that it sends by itself.
    pub signer: Option<Signer>,
    /// How it plays its part in audits, where someone signs for it.
    pub audits: Option<audits::Options>,
    /// Keys that open what only its owner may see and do.
    pub keys: Keys,
    /// It has the members' ledger.
    pub ledger: Option<ledger::Settings>,
    /// It serves what its store has.
    pub store: Option<Blobs>,
    /// It is one of a network of machines, once its home has one.
    pub network: Option<peers::Settings>,
    /// It keeps copies for others, and asks others to.
    pub copies: Option<copies::Settings>,
}

/// A model behind the API.
#[derive(Debug)]
pub struct Serving {
    /// The model.
    pub served: Arc<ServedModel>,
    /// What computes it here, as far as its owner lets it; none where only others do.
    pub supervisor: Option<Arc<Supervisor>>,
    /// Sequences that are computed here at once, at most.
    pub slots: u32,
    /// The models that make embeddings.
    pub embedders: Vec<Arc<dyn Embedder>>,
    /// How the API is served.
    pub options: Options,
}

/// Serves at `address` until the process is asked to end (SIGINT, SIGTERM) and the answers in flight
/// are done. `ready` is told the address once clients can connect.
///
/// # Errors
/// When the address cannot be listened on, or the ledger cannot start or go on.
pub fn serve(
    roles: Roles,
    address: &str,
    ready: impl FnOnce(SocketAddr, Option<&Ledger>),
) -> Result<(), ServeError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(ServeError::Runtime)?;
    let outcome = runtime.block_on(serve_roles(roles, address, ready));
    // What is still running has nothing to lose: blocks are written whole or not at all.
    runtime.shutdown_timeout(SHUTDOWN);
    outcome
}

async fn serve_roles(
    roles: Roles,
    address: &str,
    ready: impl FnOnce(SocketAddr, Option<&Ledger>),
) -> Result<(), ServeError> {
    let listen = |source| ServeError::Listen { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let (mut router, mut ledger) = (Router::new(), roles.ledger);
    let peers = roles.network.map(Peers::new).transpose()?;
    if let (Some(peers), Some(ledger)) = (&peers, &mut ledger) {
        ledger.peers.extend(ledger_of_contact(peers).await.map_err(listen)?);
    }
    let started = match &ledger {
        Some(settings) => Some(Ledger::start(settings).await?),
        None => None,
    };
    let served = roles.model.as_ref().map(|serving| serving.served.clone());
    let supervisor = roles.model.as_ref().and_then(|serving| serving.supervisor.clone());
    // Looks until this function ends.
    let _watch = match &supervisor {
        Some(supervisor) => Some(supervisor.watch().map_err(ServeError::Runtime)?),
        None => None,
    };
    let known = started.as_ref().map(|(ledger, _)| ledger.clone());
    let copies = keep_copies(roles.copies, roles.store.as_ref(), peers.as_ref(), known.clone())?;
    let sender = roles.signer.zip(known.clone());
    let sender = sender.map(|(signer, ledger)| Arc::new(Sender::new(signer, ledger)));
    let redeemer = redeem(sender.as_ref(), roles.earned.as_ref());
    let load = supervisor.as_ref().map(|it| it.worker().load());
    let audits = roles.audits.zip(roles.store.clone()).zip(sender);
    let audits = audits.map(|((options, blobs), sender)| {
        let (earned, receipts, peers) =
            (roles.earned.clone(), roles.receipts.clone(), peers.clone());
        audit(audits::Settings { options, blobs, earned, receipts, peers, load }, sender)
    });
    let control = Control {
        served,
        supervisor,
        ledger: known,
        ledger_peers: ledger.as_ref().map_or(0, |settings| settings.peers.len()),
        peers: peers.clone(),
        copies,
        receipts: roles.receipts.clone(),
        earned: roles.earned.clone(),
        payer: roles.payer.clone(),
        redeemer,
        audits,
        keys: roles.keys,
        started: Instant::now(),
    };
    let members = peers.clone();
    if let Some((ledger, _)) = &started {
        tell(ledger, peers.as_ref(), (roles.earned.as_ref(), roles.payer.as_ref()));
    }
    if let Some(peers) = peers {
        let price = roles.earned.map_or(Amount::ZERO, |earned| earned.price());
        router = take_part(peers, roles.model, price, (roles.receipts, roles.payer));
    }
    router = router.merge(control::router(control));
    if let Some((ledger, _)) = &started {
        router = router.merge(explorer::router(ledger.clone()));
    }
    if let Some(blobs) = roles.store {
        let node = started.as_ref().map(|(ledger, _)| ledger.node_key().0);
        let routes = trustless::open(blobs, node, local)?;
        if let Some(peers) = members {
            serve_members(&peers, routes.clone()).await.map_err(listen)?;
        }
        router = router.merge(routes);
    }
    // Listening for the signal begins before anyone is told that the node is ready.
    let ending = ending().map_err(ServeError::Runtime)?;
    ready(local, started.as_ref().map(|(ledger, _)| ledger));
    until_end(listener, router, ending, started.map(|(_, running)| running)).await
}

/// Serves until the process is asked to end, or the agreement cannot go on.
async fn until_end(
    listener: TcpListener,
    router: Router,
    ending: impl Future<Output = ()> + Send + 'static,
    running: Option<Running>,
) -> Result<(), ServeError> {
    let stopped = stopped(running.as_ref().map(Running::fault));
    let mut reason = None;
    let end = async {
        tokio::select! {
            () = ending => {}
            why = stopped => reason = Some(why),
        }
    };
    gateway::serve::serve(listener, router, end).await;
    if let Some(running) = running {
        running.stop().await;
    }
    reason.map_or(Ok(()), |reason| Err(ServeError::LedgerStopped(reason)))
}

/// Ready with the reason when the agreement cannot go on.
async fn stopped(fault: Option<watch::Receiver<Option<String>>>) -> String {
    let Some(mut fault) = fault else { return std::future::pending().await };
    // Also when there is no reason, since nothing ends the agreement while it is served.
    let reason = fault.wait_for(Option::is_some).await.map(|reason| reason.clone());
    reason.ok().flatten().unwrap_or_else(|| "the agreement ended".to_owned())
}

/// Where the ledger of the node that let this one in is reached, if one did.
async fn ledger_of_contact(peers: &Arc<Peers>) -> std::io::Result<Option<Peer>> {
    let Some(contact) = peers.member().contact else { return Ok(None) };
    let at = join::ledger_of(peers, contact.node).await?;
    Ok(Some(Peer { host: at.ip().to_string(), port: at.port() }))
}

/// Tells all who ask the ledger which it is.
fn tell(
    ledger: &Ledger,
    peers: Option<&Arc<Peers>>,
    (earned, payer): (Option<&Arc<Earned>>, Option<&Arc<Payer>>),
) {
    peers.into_iter().for_each(|it| it.set_ledger(ledger.clone()));
    earned.into_iter().for_each(|it| it.set_ledger(ledger.clone()));
    payer.into_iter().for_each(|it| it.set_ledger(ledger.clone()));
}

/// Begins to audit, and to stand by what was answered.
fn audit(settings: audits::Settings, sender: Arc<Sender>) -> Arc<Audits> {
    let audits = Arc::new(Audits::new(settings, sender));
    tokio::spawn(audits.clone().run());
    audits
}

/// Begins to redeem what is earned.
fn redeem(sender: Option<&Arc<Sender>>, earned: Option<&Arc<Earned>>) -> Option<Arc<Redeemer>> {
    let redeemer = Arc::new(Redeemer::new(Arc::clone(earned?), Arc::clone(sender?)));
    tokio::spawn(redeemer.clone().run());
    Some(redeemer)
}

/// Begins to keep copies for others, and to ask others for some.
fn keep_copies(
    settings: Option<copies::Settings>,
    store: Option<&Blobs>,
    peers: Option<&Arc<Peers>>,
    ledger: Option<Ledger>,
) -> Result<Option<Arc<Copies>>, ServeError> {
    let (Some(settings), Some(blobs), Some(peers)) = (settings, store, peers) else {
        return Ok(None);
    };
    let copies = Copies::open(settings, blobs.clone(), peers.clone(), ledger)?;
    tokio::spawn(copies.clone().run());
    Ok(Some(copies))
}

/// Lets members reach the store, and nothing else that this machine serves.
async fn serve_members(peers: &Peers, routes: Router) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    peers.set_store(listener.local_addr()?);
    tokio::spawn(gateway::serve::serve(listener, routes, std::future::pending()));
    Ok(())
}

/// Begins a node's part among the others, and gives what it serves.
fn take_part(
    peers: Arc<Peers>,
    model: Option<Serving>,
    price: Amount,
    (receipts, payer): (Option<Arc<Receipts>>, Option<Arc<Payer>>),
) -> Router {
    let (mut router, mut fleet, mut supervisor) = (Router::new(), None, None);
    if let Some(serving) = model {
        supervisor = serving.supervisor;
        let (served, slots) = (serving.served, serving.slots);
        let worker = supervisor.as_ref().map(|it| it.worker().clone());
        peers.want(&served.cid);
        let made = Arc::new(Fleet::new(
            served,
            worker.clone(),
            peers.clone(),
            receipts,
            payer,
            serving.embedders,
        ));
        let gateway = Gateway::new(made.clone(), &serving.options);
        tokio::spawn(gateway::batches::work::work(gateway.clone()));
        router = gateway::router::router(gateway);
        if let Some(worker) = worker {
            tokio::spawn(offer(worker, made.clone(), peers.clone(), (slots, price)));
        }
        fleet = Some(made);
    }
    let part = peers.clone();
    tokio::spawn(async move {
        if let Err(error) = part.run(supervisor).await {
            tracing::error!(%error, "the network of machines is off");
        }
    });
    router.merge(peers::explorer::router(peers, fleet))
}

/// Measures this machine, and offers what it computes while its owner lets it.
async fn offer(
    worker: Arc<Worker>,
    fleet: Arc<Fleet>,
    peers: Arc<Peers>,
    (slots, price): (u32, Amount),
) {
    let mut verdict = worker.verdict();
    let served = worker.served();
    let (Ok(model), Ok(name)) = (Text::new(&served.cid), Text::new(&served.name)) else { return };
    let context = served.context_max;
    let mut speed = None;
    loop {
        let Ok(_) = verdict.wait_for(|it| it.verdict.is_offered()).await else { return };
        if speed.is_none() {
            speed = worker.measure().await;
            speed.into_iter().for_each(|(prefill, decode)| fleet.set_speed(prefill, decode));
        }
        let Some((prefill, decode)) = speed else { return };
        let (model, name) = (model.clone(), name.clone());
        let price = price.millionths();
        let offer = Offer { model, name, context, price, prefill, decode, slots };
        peers.set_offers(vec![offer]);
        let Ok(_) = verdict.wait_for(|it| !it.verdict.is_offered()).await else { return };
        peers.set_offers(Vec::new());
    }
}

/// Ready when the process is asked to end.
#[cfg(unix)]
fn ending() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ready when the process is asked to end.
#[cfg(not(unix))]
fn ending() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        // Without the signal there is nothing to wait for; the process is then ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
