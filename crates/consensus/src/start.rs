//! Starting and ending a node's part in the agreement.
//!
//! Invariants: a network's nodes speak to no other network's, whose protocols have other names.
//!
//! Not here: what is agreed on.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use malachite::{
    ConsensusContext, EngineHandle, NetworkContext, NetworkIdentity, NetworkMsg, RequestContext,
    Signer, SyncContext, WalContext, start_engine,
};
use malachite_app::config::{
    ChannelNames, ConsensusConfig, NodeConfig, P2pConfig, ProtocolNames, PubSubProtocol,
    ValueSyncConfig,
};
use malachite_app::types::Keypair;
use malachite_app::types::codec::Codec;
use malachite_app::types::streaming::{StreamId, StreamMessage};
use malachite_engine::util::streaming::StreamContent;
use tokio::runtime::Handle;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::application::{Application, Fault};
use crate::codec::Wire;
use crate::context::{Mashaa, Name, Part};
use crate::driver::Driver;
use crate::machine::{Real, clock};
use crate::signing::Keys;
use crate::silence;

/// Bytes of one piece of gossip that has several things in it, at most. One thing alone may have more:
/// the largest order is 1.5 MiB, and the network carries 4 MiB.
pub const GOSSIP_SIZE_MAX: usize = 256 << 10;
/// How often nodes tell each other their heights: once a block, within these bounds.
const STATUS_MIN: Duration = Duration::from_millis(50);
/// See `STATUS_MIN`.
const STATUS_MAX: Duration = Duration::from_secs(1);
/// Connections from one address, at most: several nodes of one household, or of one test.
const CONNECTIONS_MAX: usize = 64;

/// A node's part.
#[derive(Clone, Debug)]
pub struct Options {
    /// The network: the hash of its genesis.
    pub network: Hash,
    /// The node's key.
    pub secret: NodeSecret,
    /// Where undecided blocks and votes are kept.
    pub directory: PathBuf,
    /// Where other nodes reach this one.
    pub listen: SocketAddr,
    /// Where this one reaches other nodes.
    pub peers: Vec<Peer>,
}

/// Another node's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// An IP address or a host's name.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// Why a node cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A directory cannot be used.
    #[error("{path}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An address is of no use.
    #[error("{address} is no address of a node; write HOST:PORT")]
    Address {
        /// The address.
        address: String,
    },
    /// Malachite does not start.
    #[error("the agreement cannot start: {0}")]
    Engine(String),
}

/// A node that takes part.
#[derive(Debug)]
pub struct Running {
    gossip: Gossip,
    fault: watch::Receiver<Option<String>>,
    engine: Engine,
}

/// Sends to other nodes.
#[derive(Clone, Debug)]
pub struct Gossip {
    network: Sender<NetworkMsg<Mashaa>>,
    count: std::sync::Arc<AtomicU64>,
}

/// Malachite's handle, which has no `Debug`.
struct Engine(EngineHandle);

impl std::fmt::Debug for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Engine")
    }
}

#[derive(Clone, Debug)]
struct Settings {
    name: String,
    consensus: ConsensusConfig,
    sync: ValueSyncConfig,
}

impl NodeConfig for Settings {
    fn moniker(&self) -> &str {
        &self.name
    }

    fn consensus(&self) -> &ConsensusConfig {
        &self.consensus
    }

    fn consensus_mut(&mut self) -> &mut ConsensusConfig {
        &mut self.consensus
    }

    fn value_sync(&self) -> &ValueSyncConfig {
        &self.sync
    }

    fn value_sync_mut(&mut self) -> &mut ValueSyncConfig {
        &mut self.sync
    }
}

impl Peer {
    /// Reads `HOST:PORT`; an IPv6 address stands in brackets.
    ///
    /// # Errors
    ///
    /// When it is not that.
    pub fn parse(text: &str) -> Result<Peer, StartError> {
        let wrong = || StartError::Address { address: text.to_owned() };
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(plain) {
            return Err(wrong());
        }
        Ok(Peer { host: host.to_owned(), port: port.parse().map_err(|_| wrong())? })
    }

    fn multiaddr(&self) -> String {
        let kind = match self.host.parse::<std::net::IpAddr>() {
            Ok(std::net::IpAddr::V4(_)) => "ip4",
            Ok(std::net::IpAddr::V6(_)) => "ip6",
            Err(_) => "dns",
        };
        format!("/{kind}/{}/tcp/{}", self.host, self.port)
    }
}

impl Options {
    /// `interval` is how long a height lasts, at least.
    fn settings(&self, interval: Duration) -> Result<Settings, StartError> {
        // Names of channels have at most 64 bytes; those of protocols hold the whole hash.
        let network = self.network.to_string();
        let short: String = network.chars().skip(2).take(16).collect();
        let channel = |what: &str| format!("/mashaa/{short}/{what}/1");
        let listen = Peer { host: self.listen.ip().to_string(), port: self.listen.port() };
        let address = |peer: &Peer| {
            let text = peer.multiaddr();
            text.parse().map_err(|_| StartError::Address { address: text })
        };
        let name = |what: &str| format!("/mashaa/{network}/{what}/1");
        let mut p2p = P2pConfig {
            listen_addr: address(&listen)?,
            persistent_peers: self.peers.iter().map(address).collect::<Result<_, _>>()?,
            protocol: PubSubProtocol::default(),
            protocol_names: ProtocolNames {
                consensus: name("consensus"),
                discovery_kad: name("kad"),
                discovery_regres: name("peers"),
                sync: name("sync"),
                validator_proof: name("validator"),
            },
            channel_names: ChannelNames {
                consensus: channel("votes"),
                proposal_parts: channel("parts"),
                sync: channel("status"),
                liveness: channel("liveness"),
            },
            ..P2pConfig::default()
        };
        p2p.discovery.max_connections_per_ip = CONNECTIONS_MAX;
        p2p.discovery.ip_throttle_duration = Duration::ZERO;
        let consensus = ConsensusConfig { p2p, ..ConsensusConfig::default() };
        let sync = ValueSyncConfig {
            // A node that is behind learns of each block soon enough to take part in the next: no
            // proposer waits for it, since whoever was absent rests.
            status_update_interval: interval.clamp(STATUS_MIN, STATUS_MAX),
            batch_size: 20,
            ..ValueSyncConfig::default()
        };
        Ok(Settings { name: self.secret.key().to_string(), consensus, sync })
    }
}

/// Has a node that will start from a directory sign nothing up to a height: what its key has signed there
/// is not known.
///
/// # Errors
/// When the file cannot be written.
pub fn fall_silent(directory: &Path, height: u64) -> io::Result<()> {
    silence::begin(directory, height)
}

/// Takes part in the agreement until the process or the runtime ends.
///
/// # Errors
///
/// When a directory or an address cannot be used.
pub async fn start(options: &Options, app: impl Application) -> Result<Running, StartError> {
    let settings = options.settings(app.interval())?;
    let path = options.directory.clone();
    std::fs::create_dir_all(&path)
        .map_err(|source| StartError::Directory { path: path.clone(), source })?;
    let keys = Keys::new(options.network, options.secret.clone());
    let identity = identity(&keys).await?;
    let me = Name::from(options.secret.key());
    let started = start_engine(
        Mashaa,
        settings,
        WalContext::new(path.join("votes.wal"), Wire),
        NetworkContext::new(identity, Wire),
        // Also a node that is no validator has its key here: it may be admitted while it runs.
        ConsensusContext::new_validator(me, Box::new(keys.clone()), Box::new(keys.clone())),
        SyncContext::new(Wire),
        RequestContext::new(16),
    );
    let (channels, engine) = started.await.map_err(|error| engine_error(&error))?;
    let blocks = path.join("undecided");
    let driver = Real::new(&blocks, Handle::current())
        .and_then(|machine| Driver::new(app, keys, machine, channels.network.clone()))
        .map_err(|source| StartError::Directory { path: blocks, source })?;
    let (tell, fault) = watch::channel(None);
    let thread = std::thread::Builder::new().name("agreement".to_owned());
    let run = move || {
        let reason = match driver.run(channels.consensus) {
            Err(Fault(reason)) => reason,
            Ok(()) => "Malachite has ended".to_owned(),
        };
        tell.send_replace(Some(reason));
    };
    thread.spawn(run).map_err(|error| engine_error(&error))?;
    let count = std::sync::Arc::new(AtomicU64::new(clock()));
    let gossip = Gossip { network: channels.network, count };
    Ok(Running { gossip, fault, engine: Engine(engine) })
}

fn engine_error(error: &dyn std::fmt::Display) -> StartError {
    StartError::Engine(error.to_string())
}

/// Who the node is to its peers: its key, and its own proof that it has it.
async fn identity(keys: &Keys) -> Result<NetworkIdentity, StartError> {
    let pair = Keypair::ed25519_from_bytes(keys.secret.bytes());
    let pair = pair.map_err(|error| engine_error(&error))?;
    let (key, peer) = (keys.secret.key(), pair.public().to_peer_id().to_bytes());
    let proof = keys.sign_validator_proof(key.0.to_vec(), peer).await;
    let proof = proof.map_err(|error| engine_error(&error))?;
    let proof = Wire.encode(&proof).map_err(|error| engine_error(&error))?;
    Ok(NetworkIdentity::new_validator(key.to_string(), pair, key.to_string(), proof))
}

impl Running {
    /// Sends to other nodes.
    #[must_use]
    pub fn gossip(&self) -> Gossip {
        self.gossip.clone()
    }

    /// Why the node could not go on, once it could not.
    #[must_use]
    pub fn fault(&self) -> watch::Receiver<Option<String>> {
        self.fault.clone()
    }

    /// Ends the node's part. What it has committed is on the disk already.
    pub async fn stop(self) {
        self.engine.0.actor.stop(None);
        // The engine has ended, or was ended by its runtime.
        let _ = self.engine.0.handle.await;
    }
}

impl Gossip {
    /// Sends bytes of the application's (`GOSSIP_SIZE_MAX`) to every node that can be reached;
    /// false if the agreement has ended. Gossip is never certain to arrive.
    pub async fn send(&self, bytes: Vec<u8>) -> bool {
        let id = self.count.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        let id = StreamId::new(Bytes::copy_from_slice(&id));
        let message = StreamMessage::new(id, 0, StreamContent::Data(Part::Gossip(bytes)));
        self.network.send(NetworkMsg::PublishProposalPart(message)).await.is_ok()
    }
}
