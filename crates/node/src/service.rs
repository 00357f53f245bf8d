//! Serving: a worker behind a gateway, until someone asks it to end.
//!
//! Invariants:
//! - Answers in flight are finished, within the gateway's time, before `serve` returns.
//!
//! Not here: what is served (`worker`), routes (`gateway`).

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use gateway::router::{Gateway, Options};
use tokio::net::TcpListener;

use crate::worker::Worker;

/// Why serving did not start.
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
}

/// Serves `worker` at `address` until the process is asked to end (SIGINT, SIGTERM) and the answers
/// in flight are done. `ready` is told the address once clients can connect.
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(
    worker: Worker,
    options: &Options,
    address: &str,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(ServeError::Runtime)?;
    runtime.block_on(async {
        let listen = |source| ServeError::Listen { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let local = listener.local_addr().map_err(listen)?;
        let router = gateway::router::router(Gateway::new(Arc::new(worker), options));
        // Listening for the signal begins before anyone is told that the node is ready.
        let ending = ending().map_err(ServeError::Runtime)?;
        ready(local);
        gateway::serve::serve(listener, router, ending).await;
        Ok(())
    })
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
