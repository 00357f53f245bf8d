//! libp2p's parts, put together, and the task that drives them.
//!
//! Invariants: a peer that does not answer pings is disconnected, so that nobody waits for it.
//!
//! Not here: what travels on streams.

use std::time::Duration;

use futures_util::StreamExt as _;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError, NetworkBehaviour, SwarmEvent};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, connection_limits, dcutr, gossipsub, identify, mdns,
    noise, ping, relay, tcp, yamux,
};
use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot};
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::membership::ANNOUNCEMENT_SIZE_MAX;
use crate::network::{Command, Event, NetworkError, Options, node_of, peer_of};
use crate::runs::{self, Runs};

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
/// Bytes of one relayed connection, at most: hours of tokens, or one model.
const CIRCUIT_SIZE_MAX: u64 = 4 << 30;
/// How long one relayed connection lasts, at most.
const CIRCUIT_TIME_MAX: Duration = Duration::from_secs(3600);

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
    streams: libp2p_stream::Behaviour,
}

/// The swarm, and the topic of announcements.
pub(crate) struct Driver {
    swarm: Swarm<Parts>,
    topic: gossipsub::IdentTopic,
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    /// Connections by way of a relay.
    circuits: Vec<(PeerId, ConnectionId)>,
    /// Who waits for a connection to whom.
    waiting: Vec<(PeerId, Answer)>,
    /// Who waits for the end of the connections to whom.
    leaving: Vec<(PeerId, Answer)>,
    runs: Runs,
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
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIME_MAX))
        .build();
    let topic = gossipsub::IdentTopic::new(format!("/mashaa/{network}/announcements/1"));
    let (circuits, waiting, leaving) = (Vec::new(), Vec::new(), Vec::new());
    let runs = Runs::default();
    let mut driver = Driver { swarm, topic, events, commands, circuits, waiting, leaving, runs };
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
        streams: libp2p_stream::Behaviour::new(),
    })
}

impl Driver {
    /// Opens streams and takes those that others open.
    pub(crate) fn control(&self) -> libp2p_stream::Control {
        self.swarm.behaviour().streams.new_control()
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

    /// Drives the swarm until nobody holds the network any more.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
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
            Command::ListenThrough(relay) => {
                // Refused where it listens there already.
                if let Err(error) = self.swarm.listen_on(relay.with(Protocol::P2pCircuit)) {
                    tracing::debug!(%error, "no reservation at a relay");
                }
            }
            Command::Drop { node, answer } => {
                if let Some(peer) = peer_of(&node)
                    && self.swarm.disconnect_peer_id(peer).is_ok()
                {
                    self.leaving.push((peer, answer));
                }
            }
        }
    }

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
        self.waiting.push((peer, answer));
        let options = DialOpts::peer_id(peer)
            .addresses(addresses)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        match self.swarm.dial(options) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => self.answer(&peer, &Err(error.to_string())),
        }
    }

    /// Answers those who wait for a connection to a peer.
    fn answer(&mut self, peer: &PeerId, outcome: &Result<(), String>) {
        let (these, others) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(it, _)| it == peer);
        self.waiting = others;
        for (_, answer) in these {
            // Whoever waited may have given up.
            let _ = answer.send(outcome.clone());
        }
    }

    /// What an event means to the node.
    fn heed(&mut self, event: SwarmEvent<PartsEvent>) -> Option<Event> {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                // Others may be told of it, and a relay gives it to those it relays for.
                self.swarm.add_external_address(address.clone());
                Some(Event::Listening(address))
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
                Some(Event::NotListening(address))
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.answer(&peer_id, &Ok(()));
                let relayed = endpoint.is_relayed();
                if relayed {
                    self.circuits.push((peer_id, connection_id));
                }
                let address = endpoint.get_remote_address().clone();
                Some(Event::Connected { node: node_of(&peer_id)?, address, relayed })
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.circuits.retain(|(_, id)| *id != connection_id);
                self.runs.closed(connection_id);
                if num_established == 0 {
                    // Whoever waits is woken by the end of its sender.
                    self.leaving.retain(|(peer, _)| *peer != peer_id);
                }
                let node = node_of(&peer_id)?;
                (num_established == 0).then_some(Event::Disconnected { node })
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => {
                let why = error.to_string();
                if !self.swarm.is_connected(&peer) {
                    self.answer(&peer, &Err(why.clone()));
                }
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
                let direct = result.is_ok();
                if direct {
                    self.leave_relay(&remote_peer_id);
                }
                Some(Event::Punched { node, direct })
            }
            _ => None,
        }
    }

    /// Ends relayed connections to a peer that is reached directly now, so that no stream takes them.
    fn leave_relay(&mut self, peer: &PeerId) {
        for (of, connection) in std::mem::take(&mut self.circuits) {
            if of == *peer {
                self.swarm.close_connection(connection);
            } else {
                self.circuits.push((of, connection));
            }
        }
    }
}
