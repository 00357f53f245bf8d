//! Sockets: accepting connections, and ending well.
//!
//! Invariants:
//! - At most `CONNECTIONS_MAX` connections are open.
//! - After shutdown is asked for, no connection is accepted, and answers in flight have
//!   `SHUTDOWN_TIME_MAX` to finish.
//!
//! Not here: TLS, which a proxy in front does.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::limits::{ACCEPT_PAUSE, CONNECTIONS_MAX, HEAD_TIME_MAX, SHUTDOWN_TIME_MAX};
use crate::patience::Patience;

/// Serves until `shutdown` is ready, and then until the answers in flight are finished or their
/// time is up.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let mut server = Server {
        router,
        room: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
        connections: JoinSet::new(),
        graceful: GracefulShutdown::new(),
    };
    tokio::pin!(shutdown);
    loop {
        let room = Arc::clone(&server.room);
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = server.connections.join_next() => {}
            Some((stream, peer, permit)) = accept(&listener, room) => {
                server.open(stream, peer, permit);
            }
        }
    }
    drop(listener);
    server.finish().await;
}

/// Where a request's connection comes from; among the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// The open connections.
struct Server {
    router: Router,
    /// A permit for each connection that may still be opened.
    room: Arc<Semaphore>,
    connections: JoinSet<()>,
    graceful: GracefulShutdown,
}

impl Server {
    fn open(&mut self, stream: TcpStream, peer: Peer, permit: OwnedSemaphorePermit) {
        // Tokens are small and must not wait for each other; a socket that cannot do it still
        // works.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone().layer(Extension(peer)));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIME_MAX)
            .serve_connection(TokioIo::new(Patience::new(stream)), service);
        let connection = self.graceful.watch(connection);
        self.connections.spawn(async move {
            let _permit = permit;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }

    /// Lets the answers in flight finish, and then closes what is left.
    async fn finish(mut self) {
        let finished = timeout(SHUTDOWN_TIME_MAX, self.graceful.shutdown()).await;
        if finished.is_err() {
            tracing::warn!(
                connections = self.connections.len(),
                "closing before their answers end"
            );
        }
        self.connections.shutdown().await;
    }
}

/// The next connection, once there is room for one. `None` if the operating system refused.
async fn accept(
    listener: &TcpListener,
    room: Arc<Semaphore>,
) -> Option<(TcpStream, Peer, OwnedSemaphorePermit)> {
    let permit = room.acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, Peer(peer), permit)),
        Err(error) => {
            tracing::warn!(%error, "no connection could be accepted");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}
