//! libp2p's parts, put together, and the task that drives them.
//!
//! Invariants:
//! - A peer that does not answer pings is disconnected, so that nobody waits for it.
//! - A relayed connection ends once nobody uses it and there is a better one.
//! - Where a hole could not be punched, it is tried again, more and more seldom.
//!
//! Not here: what travels on streams.

use std::num::NonZeroU8;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    ConnectionId, FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, SwarmEvent,
};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, connection_limits, dcutr, gossipsub, identify, mdns,
    noise, ping, relay, tcp, yamux,
};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::membership::ANNOUNCEMENT_SIZE_MAX;
use crate::network::{
    Command, Event, NetworkError, Options, is_reachable_from_elsewhere, node_of, peer_of,
};
use crate::runs::{self, Runs};
use crate::streams;
use crate::ticket::ADDRESSES_MAX;

/// Connections to one node, at most: a relayed one, a direct one, and two that both sides began.
const CONNECTIONS_PER_NODE_MAX: u32 = 4;
/// Connections at once, at most.
const CONNECTIONS_MAX: u32 = 1024;
/// Connections that are being made at once, at most, in each direction.
const PENDING_MAX: u32 = 128;
/// How long a connection without a stream is kept: gossip and pings want it.
const IDLE_TIME_MAX: Duration = Duration::from_secs(3600);
/// How often a peer is asked whether it is there.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const PING_TIME_MAX: Duration = Duration::from_secs(5);
/// Nodes without an address of their own that this one relays for at once, at most.
const CIRCUITS_MAX: usize = 64;
/// Of them, those that one node may have begun: it may know many others whose routers hide them.
const CIRCUITS_PER_NODE_MAX: usize = 32;
/// Bytes of one relayed connection, at most: hours of tokens, or one model.
const CIRCUIT_SIZE_MAX: u64 = 4 << 30;
/// How long one relayed connection lasts, at most.
const CIRCUIT_TIME_MAX: Duration = Duration::from_secs(3600);
/// Nodes that relay for this one at once, at most: one does, as long as it is there.
const RELAYS_MAX: usize = 1;
/// How long a node is tried directly before it is tried by way of a relay as well.
const DIRECT_TIME: Duration = Duration::from_millis(500);
/// How long a relayed connection is kept without a use beside a better one: what was sent before the
/// last stream was closed may still be on its way.
const RELAYED_IDLE_TIME: Duration = Duration::from_secs(5);
/// How long after a relayed connection was made a hole is punched again, if none was: the first time
/// the two may not have known yet where they are seen. Each time is this many times longer.
const PUNCH_PAUSE: Duration = Duration::from_secs(2);
const PUNCH_PAUSE_GROWTH: u32 = 4;
/// How often it grows, at most: to half an hour.
const PUNCH_PAUSE_STEPS: u32 = 5;
/// How often it is looked whose time has come.
const TICK: Duration = Duration::from_millis(250);

#[derive(NetworkBehaviour)]
pub(crate) struct Parts {
    limits: connection_limits::Behaviour,
    relayed: relay::client::Behaviour,
    relay: relay::Behaviour,
    punch: dcutr::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    nearby: Toggle<mdns::tokio::Behaviour>,
    gossip: gossipsub::Behaviour,
    streams: streams::Behaviour,
}

/// The swarm, and the topic of announcements.
pub(crate) struct Driver {
    swarm: Swarm<Parts>,
    topic: gossipsub::IdentTopic,
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    /// Whether it listens for other processes of this machine only.
    alone: bool,
    links: Vec<Link>,
    /// Whom this node listens through.
    relays: Vec<(PeerId, ListenerId)>,
    dialling: Vec<Dialling>,
    /// Who waits for the end of the connections to whom.
    leaving: Vec<(PeerId, Answer)>,
    runs: Runs,
}

/// A connection.
struct Link {
    peer: PeerId,
    id: ConnectionId,
    address: Multiaddr,
    relayed: bool,
    /// When it was last of use.
    used: Instant,
    /// How many relayed connections to the peer there were before it, and when the next one is due,
    /// with which a hole is punched again.
    tries: u32,
    next_try: Option<Instant>,
}

/// A node that is being reached.
struct Dialling {
    peer: PeerId,
    /// The attempts under way.
    attempts: Vec<ConnectionId>,
    /// Addresses by way of relays, whose turn has not come.
    later: Vec<Multiaddr>,
    since: Instant,
    answers: Vec<Answer>,
}

type Answer = oneshot::Sender<Result<(), String>>;

fn failed(what: impl std::fmt::Display) -> NetworkError {
    NetworkError::Start(what.to_string())
}

/// Puts the swarm together; it does not listen yet.
pub(crate) fn build(
    options: &Options,
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
) -> Result<Driver, NetworkError> {
    let pair = keypair(&options.secret)?;
    let network = options.network.to_string();
    let parts = |pair: &libp2p::identity::Keypair, relayed| parts(pair, relayed, options);
    let swarm = SwarmBuilder::with_existing_identity(pair)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(failed)?
        .with_quic()
        .with_dns()
        .map_err(failed)?
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .map_err(failed)?
        .with_behaviour(parts)
        .map_err(failed)?
        .with_swarm_config(|config| {
            // All addresses of a node at once: one that leads nowhere takes long to say so.
            let at_once = u8::try_from(ADDRESSES_MAX).ok().and_then(NonZeroU8::new);
            config
                .with_idle_connection_timeout(IDLE_TIME_MAX)
                .with_dial_concurrency_factor(at_once.unwrap_or(NonZeroU8::MIN))
        })
        .build();
    let topic = gossipsub::IdentTopic::new(format!("/mashaa/{network}/announcements/1"));
    let alone = options.listen.is_some_and(|at| at.ip().is_loopback());
    let (links, relays, dialling, leaving) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let runs = Runs::default();
    let mut driver =
        Driver { swarm, topic, events, commands, alone, links, relays, dialling, leaving, runs };
    for address in &options.announced {
        driver.tell_of(address);
    }
    let topic = driver.topic.clone();
    driver.swarm.behaviour_mut().gossip.subscribe(&topic).map_err(failed)?;
    Ok(driver)
}

fn keypair(secret: &NodeSecret) -> Result<libp2p::identity::Keypair, NetworkError> {
    libp2p::identity::Keypair::ed25519_from_bytes(secret.bytes()).map_err(failed)
}

fn parts(
    pair: &libp2p::identity::Keypair,
    relayed: relay::client::Behaviour,
    options: &Options,
) -> Result<Parts, Box<dyn std::error::Error + Send + Sync>> {
    let me = pair.public().to_peer_id();
    let limits = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX))
        .with_max_established(Some(CONNECTIONS_MAX))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_NODE_MAX));
    let relay = relay::Config {
        max_circuits: CIRCUITS_MAX,
        max_circuits_per_peer: CIRCUITS_PER_NODE_MAX,
        max_circuit_bytes: CIRCUIT_SIZE_MAX,
        max_circuit_duration: CIRCUIT_TIME_MAX,
        ..relay::Config::default()
    };
    let gossip = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Anonymous)
        .validate_messages()
        .max_transmit_size(ANNOUNCEMENT_SIZE_MAX + 1024)
        .message_id_fn(|message| gossipsub::MessageId::new(&Sha256::digest(&message.data)))
        .build()?;
    let gossip = gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Anonymous, gossip)?;
    let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIME_MAX);
    let nearby = match options.nearby {
        true => Some(mdns::tokio::Behaviour::new(mdns::Config::default(), me)?),
        false => None,
    };
    let version = format!("/mashaa/{}/1", options.network);
    let identify = identify::Config::new(version, pair.public());
    let identify = identify.with_agent_version(runs::own_name(&options.network));
    Ok(Parts {
        limits: connection_limits::Behaviour::new(limits),
        relayed,
        relay: relay::Behaviour::new(me, relay),
        punch: dcutr::Behaviour::new(me),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping),
        nearby: nearby.into(),
        gossip,
        streams: streams::Behaviour::default(),
    })
}

impl Driver {
    /// Opens streams and takes those that others open.
    pub(crate) fn control(&self) -> streams::Control {
        self.swarm.behaviour().streams.control()
    }

    /// Listens on one port, over QUIC and TCP.
    pub(crate) fn listen(&mut self, at: std::net::SocketAddr) -> Result<(), NetworkError> {
        let ip = Multiaddr::from(at.ip());
        let quic = ip.clone().with(Protocol::Udp(at.port())).with(Protocol::QuicV1);
        let tcp = ip.with(Protocol::Tcp(at.port()));
        for address in [tcp, quic] {
            let wrong = |error: libp2p::TransportError<std::io::Error>| NetworkError::Listen {
                address: at,
                why: error.to_string(),
            };
            self.swarm.listen_on(address).map_err(wrong)?;
        }
        Ok(())
    }

    /// Tells others of an address of this node: those whom it relays for, and those with whom it
    /// punches holes, who hear by themselves only of addresses that nobody was told of before.
    fn tell_of(&mut self, address: &Multiaddr) {
        if !is_relayed(address) && (self.alone || is_reachable_from_elsewhere(address)) {
            self.swarm.add_external_address(address.clone());
            let candidate = NewExternalAddrCandidate { addr: address };
            let punch = &mut self.swarm.behaviour_mut().punch;
            punch.on_swarm_event(FromSwarm::NewExternalAddrCandidate(candidate));
        }
    }

    /// Drives the swarm until nobody holds the network any more.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                _ = tick.tick() => self.look(),
                event = self.swarm.select_next_some() => {
                    if let Some(event) = self.heed(event)
                        && self.events.send(event).await.is_err()
                    {
                        return;
                    }
                }
                command = self.commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Dial { node, addresses, answer } => self.dial(&node, addresses, answer),
            Command::Publish(bytes) => {
                let topic = self.topic.clone();
                // Nobody may be there to hear it, which the next `Hello` makes up for.
                let _ = self.swarm.behaviour_mut().gossip.publish(topic, bytes);
            }
            Command::Judge { id, from, good } => {
                let verdict = match good {
                    true => gossipsub::MessageAcceptance::Accept,
                    false => gossipsub::MessageAcceptance::Reject,
                };
                let gossip = &mut self.swarm.behaviour_mut().gossip;
                gossip.report_message_validation_result(&id, &from, verdict);
            }
            Command::ListenThrough { relay, address } => self.listen_through(&relay, address),
            Command::Drop { node, answer } => {
                if let Some(peer) = peer_of(&node)
                    && self.swarm.disconnect_peer_id(peer).is_ok()
                {
                    self.leaving.push((peer, answer));
                }
            }
        }
    }

    /// Asks a node to relay for this one, unless one does.
    fn listen_through(&mut self, relay: &Hash, address: Multiaddr) {
        let Some(peer) = peer_of(relay).filter(|_| self.relays.len() < RELAYS_MAX) else { return };
        let through = match address.iter().last() {
            Some(Protocol::P2p(_)) => address,
            _ => address.with(Protocol::P2p(peer)),
        };
        match self.swarm.listen_on(through.with(Protocol::P2pCircuit)) {
            Ok(listener) => self.relays.push((peer, listener)),
            Err(error) => tracing::debug!(%error, "no reservation at a relay"),
        }
    }

    /// Reaches a node: directly, and through relays where that fails or takes long.
    fn dial(&mut self, node: &Hash, addresses: Vec<Multiaddr>, answer: Answer) {
        let Some(peer) = peer_of(node) else {
            let _ = answer.send(Err("its key is no key".to_owned()));
            return;
        };
        if self.swarm.is_connected(&peer) {
            let _ = answer.send(Ok(()));
            return;
        }
        if addresses.is_empty() {
            let _ = answer.send(Err("it is not connected".to_owned()));
            return;
        }
        if let Some(under_way) = self.dialling.iter_mut().find(|it| it.peer == peer) {
            under_way.answers.push(answer);
            return;
        }
        let (later, direct) = addresses.into_iter().partition(is_relayed);
        let (attempts, since, answers) = (Vec::new(), Instant::now(), vec![answer]);
        self.dialling.push(Dialling { peer, attempts, later, since, answers });
        self.attempt(peer, direct);
    }

    /// Begins an attempt at these addresses.
    fn attempt(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let options =
            DialOpts::peer_id(peer).addresses(addresses).condition(PeerCondition::Always).build();
        let id = options.connection_id();
        if let Some(dialling) = self.dialling.iter_mut().find(|it| it.peer == peer) {
            dialling.attempts.push(id);
        }
        if let Err(error) = self.swarm.dial(options) {
            self.failed(&peer, id, &error.to_string());
        }
    }

    /// An attempt came to nothing; what is left is tried, and else those who wait are told.
    fn failed(&mut self, peer: &PeerId, attempt: ConnectionId, why: &str) {
        let Some(at) = self.dialling.iter().position(|it| it.peer == *peer) else { return };
        let Some(dialling) = self.dialling.get_mut(at) else { return };
        let before = dialling.attempts.len();
        dialling.attempts.retain(|it| *it != attempt);
        if dialling.attempts.len() == before || !dialling.attempts.is_empty() {
            return;
        }
        let later = std::mem::take(&mut dialling.later);
        if later.is_empty() {
            self.answer(peer, &Err(why.to_owned()));
        } else {
            self.attempt(*peer, later);
        }
    }

    /// Answers those who wait for a connection to a peer.
    fn answer(&mut self, peer: &PeerId, outcome: &Result<(), String>) {
        let Some(at) = self.dialling.iter().position(|it| it.peer == *peer) else { return };
        for answer in self.dialling.swap_remove(at).answers {
            // Whoever waited may have given up.
            let _ = answer.send(outcome.clone());
        }
    }

    /// Does what its time has come for.
    fn look(&mut self) {
        let mut due = Vec::new();
        for dialling in self.dialling.iter_mut().filter(|it| it.since.elapsed() >= DIRECT_TIME) {
            if !dialling.later.is_empty() {
                due.push((dialling.peer, std::mem::take(&mut dialling.later)));
            }
        }
        for (peer, addresses) in due {
            self.attempt(peer, addresses);
        }
        self.punch_again();
        self.leave_relays();
    }

    /// Books a connection.
    fn link(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        address: Multiaddr,
        relayed: bool,
        began: bool,
    ) {
        let now = Instant::now();
        let before = self.links.iter().filter(|it| it.peer == peer && it.relayed);
        let tries = before.map(|it| it.tries + 1).max().unwrap_or(0);
        let pause = PUNCH_PAUSE * PUNCH_PAUSE_GROWTH.pow(tries.min(PUNCH_PAUSE_STEPS));
        let next_try = (relayed && began).then(|| now + pause);
        self.links.push(Link { peer, id, address, relayed, used: now, tries, next_try });
    }

    /// Begins another relayed connection to peers that are not reached directly, since with each the
    /// two sides try once more to punch a hole.
    fn punch_again(&mut self) {
        let now = Instant::now();
        let direct = self.reached_directly();
        let is_due = |it: &&mut Link| it.next_try.is_some_and(|at| at <= now);
        let mut due = Vec::new();
        for link in self.links.iter_mut().filter(is_due) {
            link.next_try = None;
            if !direct.contains(&link.peer) {
                due.push((link.peer, link.address.clone()));
            }
        }
        for (peer, address) in due {
            let options = DialOpts::peer_id(peer).condition(PeerCondition::Always);
            if let Err(error) = self.swarm.dial(options.addresses(vec![address]).build()) {
                tracing::debug!(%peer, %error, "no hole is punched again");
            }
        }
    }

    fn reached_directly(&self) -> Vec<PeerId> {
        self.links.iter().filter(|it| !it.relayed).map(|it| it.peer).collect()
    }

    /// Ends relayed connections that nobody uses to peers that are reached better.
    fn leave_relays(&mut self) {
        let control = self.control();
        let best: Vec<ConnectionId> =
            self.links.iter().filter_map(|it| self.best(&it.peer)).map(|it| it.id).collect();
        let mut idle = Vec::new();
        for link in self.links.iter_mut().filter(|it| it.relayed) {
            if best.contains(&link.id) || control.is_held(link.id) {
                link.used = Instant::now();
            } else if link.used.elapsed() >= RELAYED_IDLE_TIME {
                idle.push(link.id);
            }
        }
        for id in idle {
            self.swarm.close_connection(id);
        }
    }

    /// The connection that streams to a peer take.
    fn best(&self, peer: &PeerId) -> Option<&Link> {
        let links = self.links.iter().filter(|it| it.peer == *peer);
        links.max_by_key(|it| streams::rank(it.relayed, it.id))
    }

    /// What an event means to the node.
    fn heed(&mut self, event: SwarmEvent<PartsEvent>) -> Option<Event> {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                self.tell_of(&address);
                Some(Event::Listening(address))
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
                Some(Event::NotListening(vec![address]))
            }
            SwarmEvent::ListenerClosed { listener_id, addresses, reason } => {
                tracing::debug!(?addresses, ?reason, "no longer listened");
                self.relays.retain(|(_, listener)| *listener != listener_id);
                addresses.iter().for_each(|it| self.swarm.remove_external_address(it));
                Some(Event::NotListening(addresses))
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.answer(&peer_id, &Ok(()));
                let (address, relayed) = (address_of(&endpoint, peer_id), endpoint.is_relayed());
                self.link(peer_id, connection_id, address, relayed, endpoint.is_dialer());
                self.best(&peer_id).filter(|it| it.id == connection_id).and_then(connected)
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                let was_best = self.best(&peer_id).is_some_and(|it| it.id == connection_id);
                self.links.retain(|it| it.id != connection_id);
                self.runs.closed(connection_id);
                if num_established == 0 {
                    // Whoever waits is woken by the end of its sender.
                    self.leaving.retain(|(peer, _)| *peer != peer_id);
                    return Some(Event::Disconnected { node: node_of(&peer_id)? });
                }
                self.best(&peer_id).filter(|_| was_best).and_then(connected)
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, connection_id } => {
                let why = error.to_string();
                self.failed(&peer, connection_id, &why);
                Some(Event::Unreachable { node: node_of(&peer)?, why })
            }
            SwarmEvent::Behaviour(event) => self.heed_part(event),
            _ => None,
        }
    }

    fn heed_part(&mut self, event: PartsEvent) -> Option<Event> {
        match event {
            PartsEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            }) => {
                let (id, from) = (message_id, propagation_source);
                Some(Event::Announced { id, from, bytes: message.data })
            }
            PartsEvent::Ping(ping::Event { peer, connection, result }) => {
                match result {
                    Ok(time) => return Some(Event::Ping { node: node_of(&peer)?, time }),
                    Err(error) => {
                        tracing::debug!(%peer, %error, "a peer does not answer");
                        self.swarm.close_connection(connection);
                    }
                }
                None
            }
            PartsEvent::Identify(identify::Event::Received { connection_id, peer_id, info }) => {
                for dead in self.runs.heard(peer_id, connection_id, &info.agent_version) {
                    tracing::debug!(%peer_id, "a connection of an earlier run ends");
                    self.swarm.close_connection(dead);
                }
                None
            }
            PartsEvent::Nearby(mdns::Event::Discovered(found)) => {
                let found = found.into_iter();
                let found = found.filter_map(|(peer, address)| Some((node_of(&peer)?, address)));
                Some(Event::Nearby(found.collect()))
            }
            PartsEvent::Punch(dcutr::Event { remote_peer_id, result }) => {
                let node = node_of(&remote_peer_id)?;
                if let Err(error) = &result {
                    tracing::debug!(%node, %error, "no hole was punched");
                }
                Some(Event::Punched { node, direct: result.is_ok() })
            }
            _ => None,
        }
    }
}

/// What the node is told of a connection.
fn connected(link: &Link) -> Option<Event> {
    let (address, relayed) = (link.address.clone(), link.relayed);
    Some(Event::Connected { node: node_of(&link.peer)?, address, relayed })
}

/// Where a peer is, as a person may see it: by way of whom, if a relay is between.
fn address_of(endpoint: &ConnectedPoint, peer: PeerId) -> Multiaddr {
    match endpoint {
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => {
            local_addr.clone().with(Protocol::P2p(peer))
        }
        _ => endpoint.get_remote_address().clone(),
    }
}

fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|it| it == Protocol::P2pCircuit)
}
