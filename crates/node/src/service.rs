//! Serving: a worker behind a gateway, and the ledger, until someone asks it to end.
//!
//! Invariants:
//! - Answers in flight are finished, within the gateway's time, before `serve` returns.
//!
//! Not here: what is served (`worker`), routes (`gateway`).

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use std::time::Duration;

use axum::Router;
use gateway::router::{Gateway, Options};
use store::blobs::{Blobs, StoreError};
use tokio::net::TcpListener;

use crate::ledger::{self, Ledger, LedgerError, explorer};
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
    /// The ledger cannot start.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger cannot go on.
    #[error("the ledger stopped: {0}")]
    LedgerStopped(String),
}

/// What a node does for others.
#[derive(Debug, Default)]
pub struct Roles {
    /// It runs a model behind the API.
    pub model: Option<(Worker, Options)>,
    /// It has the members' ledger.
    pub ledger: Option<ledger::Settings>,
    /// It serves what its store has.
    pub store: Option<Blobs>,
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
    let started = match &roles.ledger {
        Some(settings) => Some(Ledger::start(settings).await?),
        None => None,
    };
    let mut router = Router::new();
    if let Some((worker, options)) = roles.model {
        router = gateway::router::router(Gateway::new(Arc::new(worker), &options));
    }
    if let Some((ledger, _)) = &started {
        router = router.merge(explorer::router(ledger.clone()));
    }
    if let Some(blobs) = roles.store {
        let node = started.as_ref().map(|(ledger, _)| ledger.node_key().0);
        router = router.merge(trustless::open(blobs, node, local)?);
    }
    // Listening for the signal begins before anyone is told that the node is ready.
    let ending = ending().map_err(ServeError::Runtime)?;
    ready(local, started.as_ref().map(|(ledger, _)| ledger));
    let fault = started.as_ref().map(|(_, running)| running.fault());
    let stopped = async {
        match fault {
            Some(mut fault) => {
                // Also when there is no reason, since nothing ends the agreement while it is served.
                let reason = fault.wait_for(Option::is_some).await.map(|reason| reason.clone());
                reason.ok().flatten().unwrap_or_else(|| "the agreement ended".to_owned())
            }
            None => std::future::pending().await,
        }
    };
    let mut reason = None;
    let end = async {
        tokio::select! {
            () = ending => {}
            why = stopped => reason = Some(why),
        }
    };
    gateway::serve::serve(listener, router, end).await;
    if let Some((_, running)) = started {
        running.stop().await;
    }
    reason.map_or(Ok(()), |reason| Err(ServeError::LedgerStopped(reason)))
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
