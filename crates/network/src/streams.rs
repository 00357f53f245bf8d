//! Plain streams to other nodes, each over the best connection that there is now.
//!
//! libp2p's own behaviour for this takes any of a peer's connections, and drops what comes in while
//! its taker is busy with the one before.
//!
//! Invariants:
//! - A stream takes a direct connection before a relayed one, and a later one before an earlier one,
//!   which may be that of a process that has ended.
//! - Streams that wait, in either direction, are bounded.
//!
//! Not here: what travels on streams, and connections (`swarm`).

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use futures_util::{AsyncRead, AsyncWrite};
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::core::{Endpoint, multiaddr::Protocol};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId,
    FromSwarm, NetworkBehaviour, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, StreamProtocol};
use tokio::sync::{mpsc, oneshot};

/// Streams that others opened and that wait for their taker, at most; those on top are dropped.
const INCOMING_MAX: usize = 256;
/// Streams that are being opened on one connection at once, at most; the others wait.
const OPENING_MAX: usize = 64;

/// A stream to another node, which knows that it is in use.
#[derive(Debug)]
pub struct Stream {
    stream: libp2p::Stream,
    /// Keeps its connection, unless whoever uses it opens another one by itself.
    _held: Option<Arc<()>>,
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

/// A kind of stream, and whether one of them keeps its connection.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    pub(crate) protocol: StreamProtocol,
    pub(crate) holds: bool,
}

/// Of several connections to a peer the one that is greatest by this is used: a direct one before a
/// relayed one, and a later one before an earlier one.
pub(crate) fn rank(relayed: bool, id: ConnectionId) -> impl Ord {
    (!relayed, id)
}

type Taker = mpsc::Sender<(PeerId, Stream)>;

/// What the behaviour, its handlers and its users share.
#[derive(Debug, Default)]
struct Shared {
    takers: HashMap<StreamProtocol, (Taker, bool)>,
    ways: BTreeMap<ConnectionId, Way>,
}

/// A connection, as streams see it.
#[derive(Debug)]
struct Way {
    peer: PeerId,
    relayed: bool,
    open: mpsc::Sender<Wanted>,
    /// Held by the connection's handler, and by each stream that keeps the connection.
    held: Weak<()>,
}

/// A stream that someone waits for.
#[derive(Debug)]
pub(crate) struct Wanted {
    kind: Kind,
    answer: oneshot::Sender<Result<Stream, String>>,
}

/// Opens streams and takes those that others open.
#[derive(Clone, Debug, Default)]
pub(crate) struct Control(Arc<Mutex<Shared>>);

impl Control {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing is left half done where a thread ended.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a stream to a peer that is connected; the error is why there is none.
    pub(crate) async fn open(&self, peer: &PeerId, kind: Kind) -> Result<Stream, String> {
        let ended = || "the connection has ended".to_owned();
        let (answer, opened) = oneshot::channel();
        let way = {
            let shared = self.lock();
            let ways = shared.ways.iter().filter(|(_, way)| way.peer == *peer);
            let best = ways.max_by_key(|(id, way)| rank(way.relayed, **id));
            best.map(|(_, way)| way.open.clone()).ok_or("it is not connected")?
        };
        way.send(Wanted { kind, answer }).await.map_err(|_| ended())?;
        opened.await.map_err(|_| ended())?
    }

    /// Takes streams of a kind; nothing where someone takes them already.
    pub(crate) fn accept(&self, kind: Kind) -> Option<mpsc::Receiver<(PeerId, Stream)>> {
        let mut shared = self.lock();
        if shared.takers.get(&kind.protocol).is_some_and(|(taker, _)| !taker.is_closed()) {
            return None;
        }
        let (taker, taken) = mpsc::channel(INCOMING_MAX);
        shared.takers.insert(kind.protocol, (taker, kind.holds));
        Some(taken)
    }

    /// Whether a stream keeps a connection.
    pub(crate) fn is_held(&self, connection: ConnectionId) -> bool {
        self.lock().ways.get(&connection).is_some_and(|way| way.held.strong_count() > 1)
    }

    /// Whether a peer is connected by way of a relay, among others.
    #[cfg(test)]
    pub(crate) fn is_relayed(&self, peer: &PeerId) -> bool {
        let shared = self.lock();
        shared.ways.values().any(|it| it.peer == *peer && it.relayed && !it.open.is_closed())
    }

    fn handler(&self, id: ConnectionId, peer: PeerId, address: &Multiaddr) -> Handler {
        let (open, wanted) = mpsc::channel(OPENING_MAX);
        let held = Arc::new(());
        let relayed = address.iter().any(|it| it == Protocol::P2pCircuit);
        let way = Way { peer, relayed, open, held: Arc::downgrade(&held) };
        let mut shared = self.lock();
        // Those of connections that came to nothing, or have ended.
        shared.ways.retain(|_, way| !way.open.is_closed());
        shared.ways.insert(id, way);
        Handler { peer, control: self.clone(), wanted, held, opening: 0 }
    }

    fn incoming(&self, peer: PeerId, stream: libp2p::Stream, name: &StreamProtocol, of: &Arc<()>) {
        let Some((taker, holds)) = self.lock().takers.get(name).cloned() else { return };
        let stream = Stream { stream, _held: holds.then(|| of.clone()) };
        if taker.try_send((peer, stream)).is_err() {
            tracing::debug!(%peer, %name, "a stream too many");
        }
    }
}

/// Makes the handlers; they do the rest.
#[derive(Debug, Default)]
pub(crate) struct Behaviour(Control);

impl Behaviour {
    /// Opens streams and takes those that others open.
    pub(crate) fn control(&self) -> Control {
        self.0.clone()
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        here: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.0.handler(connection, peer, here))
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        there: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.0.handler(connection, peer, there))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) = event {
            self.0.lock().ways.remove(&connection_id);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// One connection's streams.
#[derive(Debug)]
pub(crate) struct Handler {
    peer: PeerId,
    control: Control,
    wanted: mpsc::Receiver<Wanted>,
    held: Arc<()>,
    opening: usize,
}

impl Handler {
    /// Gives a stream to whoever waits for it, or the reason why there is none.
    fn answer(&mut self, wanted: Wanted, outcome: Result<libp2p::Stream, String>) {
        self.opening = self.opening.saturating_sub(1);
        let held = wanted.kind.holds.then(|| self.held.clone());
        // Whoever waited may have given up, which closes the stream.
        let _ = wanted.answer.send(outcome.map(|stream| Stream { stream, _held: held }));
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Names;
    type OutboundProtocol = Names;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Wanted;

    fn listen_protocol(&self) -> SubstreamProtocol<Names> {
        let names = self.control.lock().takers.keys().cloned().collect();
        SubstreamProtocol::new(Names(names), ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Names, Wanted, Infallible>> {
        if self.opening < OPENING_MAX
            && let Poll::Ready(Some(wanted)) = self.wanted.poll_recv(cx)
        {
            self.opening += 1;
            let names = Names(vec![wanted.kind.protocol.clone()]);
            let protocol = SubstreamProtocol::new(names, wanted);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol });
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Names, Names, (), Wanted>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, name),
                ..
            }) => self.control.incoming(self.peer, stream, &name, &self.held),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (stream, _),
                info,
            }) => self.answer(info, Ok(stream)),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let why = match error {
                    StreamUpgradeError::NegotiationFailed => {
                        format!("it does not support {}", info.kind.protocol)
                    }
                    StreamUpgradeError::Timeout => "it does not answer".to_owned(),
                    StreamUpgradeError::Io(error) => error.to_string(),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                self.answer(info, Err(why));
            }
            _ => {}
        }
    }
}

/// Protocols whose streams need no words before the first byte.
#[derive(Clone, Debug)]
pub(crate) struct Names(Vec<StreamProtocol>);

impl UpgradeInfo for Names {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<libp2p::Stream> for Names {
    type Output = (libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: libp2p::Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}

impl OutboundUpgrade<libp2p::Stream> for Names {
    type Output = (libp2p::Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: libp2p::Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((stream, name)))
    }
}
