//! A node's place among the others: whom it reaches, and streams to them.
//!
//! Invariants:
//! - Events that nobody takes stop the network, not the memory.
//! - A stream is opened in `OPEN_TIME_MAX`, or not at all.
//!
//! Not here: libp2p's parts (`swarm`).

use std::net::SocketAddr;
use std::time::Duration;

pub use libp2p::gossipsub::MessageId;
pub use libp2p::{Multiaddr, PeerId};

pub use crate::streams::Stream;

use libp2p::StreamProtocol;
use libp2p::identity::{PublicKey, ed25519};
use libp2p::multiaddr::Protocol;
use tokio::sync::{mpsc, oneshot};
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::streams::{Control, Kind};
use crate::swarm;

/// Events that wait for the node, at most.
const EVENTS_MAX: usize = 256;
/// Commands that wait for the swarm, at most.
const COMMANDS_MAX: usize = 256;
/// How long connecting to a node may take.
const DIAL_TIME_MAX: Duration = Duration::from_secs(15);
/// How long ending a connection may take.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long opening a stream may take.
const OPEN_TIME_MAX: Duration = Duration::from_secs(5);

/// How a node takes its place.
#[derive(Clone, Debug)]
pub struct Options {
    /// The network: the hash of its ledger's genesis.
    pub network: Hash,
    /// The node's key.
    pub secret: NodeSecret,
    /// Where others reach it; a node that only asks needs none.
    pub listen: Option<SocketAddr>,
    /// Whether to look for nodes on the same LAN.
    pub nearby: bool,
    /// Other addresses at which others reach it, such as a router's.
    pub announced: Vec<Multiaddr>,
}

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// It cannot begin.
    #[error("the network cannot start: {0}")]
    Start(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({why}), choose another with network_listen")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// Another node cannot be reached.
    #[error("{node} cannot be reached: {why}")]
    Unreachable {
        /// Which.
        node: Hash,
        /// Why.
        why: String,
    },
}

/// What nodes open streams for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Two nodes meet: `messages::Hello` both ways.
    Hello,
    /// A node tells which passes were taken back: `messages::Revoked`.
    Revoked,
    /// A node wants to join: `messages::Knock` and `messages::Reply`.
    Join,
    /// A sequence is to be computed: `work`.
    Work,
    /// The bytes of a connection between the two nodes' ledgers.
    Ledger,
    /// HTTP/1.1, as `docs/spec/network.md`, section 8, says.
    Http,
    /// A copy of content is to be kept: `keep`.
    Keep,
    /// An auditor wants a receipt that was drawn, and its payload: `audit`.
    Audit,
}

/// What the swarm is told.
#[derive(Debug)]
pub(crate) enum Command {
    Dial { node: Hash, addresses: Vec<Multiaddr>, answer: oneshot::Sender<Result<(), String>> },
    Publish(Vec<u8>),
    Judge { id: MessageId, from: PeerId, good: bool },
    ListenThrough { relay: Hash, address: Multiaddr },
    Drop { node: Hash, answer: oneshot::Sender<Result<(), String>> },
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// Others may reach the node here.
    Listening(Multiaddr),
    /// And no longer at these.
    NotListening(Vec<Multiaddr>),
    /// A connection was made, or another one is the best now: this is it.
    Connected {
        /// To whom.
        node: Hash,
        /// Where.
        address: Multiaddr,
        /// Whether by way of a relay.
        relayed: bool,
    },
    /// The last connection ended.
    Disconnected {
        /// To whom.
        node: Hash,
    },
    /// No connection could be made.
    Unreachable {
        /// To whom.
        node: Hash,
        /// Why.
        why: String,
    },
    /// A node answered after so long.
    Ping {
        /// Which.
        node: Hash,
        /// There and back.
        time: Duration,
    },
    /// Nodes of any network on the same LAN.
    Nearby(Vec<(Hash, Multiaddr)>),
    /// A hole was punched, or not.
    Punched {
        /// To whom.
        node: Hash,
        /// Whether there is a direct connection now.
        direct: bool,
    },
    /// Someone's announcement, to be judged by `Network::judge`.
    Announced {
        /// What to judge it by.
        id: MessageId,
        /// Who passed it on.
        from: PeerId,
        /// The announcement.
        bytes: Vec<u8>,
    },
}

/// A handle to the network; the last one that is dropped ends it.
#[derive(Clone)]
pub struct Network {
    name: Hash,
    me: Hash,
    commands: mpsc::Sender<Command>,
    control: Control,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Network {} of {}", self.name, self.me)
    }
}

impl Network {
    /// Takes a node's place. Runs on the present runtime.
    ///
    /// # Errors
    ///
    /// When an address cannot be listened on, or the system refuses what libp2p needs.
    pub fn start(options: &Options) -> Result<(Network, mpsc::Receiver<Event>), NetworkError> {
        let (events, happened) = mpsc::channel(EVENTS_MAX);
        let (commands, orders) = mpsc::channel(COMMANDS_MAX);
        let mut driver = swarm::build(options, events, orders)?;
        if let Some(at) = options.listen {
            driver.listen(at)?;
        }
        let control = driver.control();
        tokio::spawn(driver.run());
        let (name, me) = (options.network, options.secret.key());
        Ok((Network { name, me, commands, control }, happened))
    }

    /// The node's own key.
    #[must_use]
    pub fn me(&self) -> Hash {
        self.me
    }

    /// The network's name.
    #[must_use]
    pub fn name(&self) -> Hash {
        self.name
    }

    /// Connects to a node, unless it is connected.
    ///
    /// # Errors
    ///
    /// When none of the addresses leads to it in `DIAL_TIME_MAX`.
    pub async fn dial(&self, node: Hash, addresses: Vec<Multiaddr>) -> Result<(), NetworkError> {
        let (answer, wait) = oneshot::channel();
        self.tell(Command::Dial { node, addresses, answer }).await;
        let unreachable = |why: String| NetworkError::Unreachable { node, why };
        match tokio::time::timeout(DIAL_TIME_MAX, wait).await {
            Ok(Ok(outcome)) => outcome.map_err(unreachable),
            Ok(Err(_)) => Err(unreachable("the network has ended".to_owned())),
            Err(_) => Err(unreachable(format!("no answer in {} s", DIAL_TIME_MAX.as_secs()))),
        }
    }

    /// Tells every node an announcement of one's own.
    pub async fn publish(&self, bytes: Vec<u8>) {
        self.tell(Command::Publish(bytes)).await;
    }

    /// Passes an announcement on, or holds it against whoever sent it.
    pub async fn judge(&self, id: MessageId, from: PeerId, good: bool) {
        self.tell(Command::Judge { id, from, good }).await;
    }

    /// Lets others reach this node by way of another one, unless it listens through one already.
    pub async fn listen_through(&self, relay: Hash, address: Multiaddr) {
        self.tell(Command::ListenThrough { relay, address }).await;
    }

    /// Ends every connection to a node, and waits until the other side was told.
    pub async fn disconnect(&self, node: Hash) {
        let (answer, wait) = oneshot::channel();
        self.tell(Command::Drop { node, answer }).await;
        // Where it takes too long, the other side notices by itself.
        let _ = tokio::time::timeout(CLOSE_TIME_MAX, wait).await;
    }

    async fn tell(&self, command: Command) {
        // The swarm ends only with its runtime, when nothing matters any more.
        let _ = self.commands.send(command).await;
    }

    /// Opens a stream to a node that is connected.
    ///
    /// # Errors
    ///
    /// When it cannot be reached in time, or does not do this.
    pub async fn open(&self, node: Hash, purpose: Purpose) -> Result<Stream, NetworkError> {
        let unreachable = |why: String| NetworkError::Unreachable { node, why };
        let peer = peer_of(&node).ok_or_else(|| unreachable("its key is no key".to_owned()))?;
        self.dial(node, Vec::new()).await?;
        let opening = self.control.open(&peer, self.kind(purpose));
        match tokio::time::timeout(OPEN_TIME_MAX, opening).await {
            Ok(outcome) => outcome.map_err(unreachable),
            Err(_) => Err(unreachable(format!("no answer in {} s", OPEN_TIME_MAX.as_secs()))),
        }
    }

    /// Takes streams that others open for a purpose.
    ///
    /// # Errors
    ///
    /// When someone takes them already.
    pub fn accept(&self, purpose: Purpose) -> Result<Incoming, NetworkError> {
        let streams = self.control.accept(self.kind(purpose));
        let taken = || NetworkError::Start(format!("{purpose:?} streams are taken already"));
        streams.map(Incoming).ok_or_else(taken)
    }

    fn kind(&self, purpose: Purpose) -> Kind {
        let what = match purpose {
            Purpose::Hello => "hello/1",
            Purpose::Revoked => "revoked/1",
            Purpose::Join => "join/1",
            Purpose::Work => "work/3",
            Purpose::Ledger => "ledger/1",
            Purpose::Http => "http/1",
            Purpose::Keep => "keep/1",
            Purpose::Audit => "audit/1",
        };
        let name = format!("/mashaa/{}/{what}", self.name);
        // Begins with a slash, which is all that is asked of it.
        let protocol = StreamProtocol::try_from_owned(name);
        let protocol = protocol.unwrap_or(StreamProtocol::new("/mashaa"));
        // Ledgers stay connected and connect again by themselves: they would keep a relay for ever.
        Kind { protocol, holds: purpose != Purpose::Ledger }
    }
}

/// Streams that others open.
pub struct Incoming(mpsc::Receiver<(PeerId, Stream)>);

impl std::fmt::Debug for Incoming {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Incoming")
    }
}

impl Incoming {
    /// The next one, and who opened it; `None` when the network has ended.
    pub async fn next(&mut self) -> Option<(Hash, Stream)> {
        loop {
            let (peer, stream) = self.0.recv().await?;
            if let Some(node) = node_of(&peer) {
                return Some((node, stream));
            }
        }
    }
}

/// libp2p's name of a node; `None` where the bytes are no key.
pub(crate) fn peer_of(node: &Hash) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(&node.0).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The key of a node that libp2p names; `None` for other kinds of keys.
pub(crate) fn node_of(peer: &PeerId) -> Option<Hash> {
    let key = PublicKey::try_decode_protobuf(peer.as_ref().digest()).ok()?;
    Some(Hash(key.try_into_ed25519().ok()?.to_bytes()))
}

/// Whether an address leads nowhere but to machines of the same LAN.
#[must_use]
pub fn is_private(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.is_private() || ip.is_loopback() || ip.is_link_local(),
        Some(Protocol::Ip6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        _ => false,
    }
}

/// Whether an address is of use to a node on another machine.
#[must_use]
pub fn is_reachable_from_elsewhere(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => !ip.is_loopback() && !ip.is_unspecified() && !ip.is_link_local(),
        Some(Protocol::Ip6(ip)) => !ip.is_loopback() && !ip.is_unspecified(),
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
