//! The network of machines: who is there, what they offer, and this node's part in it.
//!
//! It begins when the home has a folder `network/`: once someone was invited, or the node joined.
//!
//! Invariants:
//! - Only announcements whose passes are good now are kept, passed on or used, unless the members let
//!   anyone compute.
//! - Nobody but members of the network is worked for or reaches the ledger.
//!
//! Not here: which worker is asked (`route`), what is asked (`remote`), the files (`files`).

pub mod explorer;
pub mod files;
pub(crate) mod guests;
pub mod join;
pub mod revoke;
pub mod state;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chain::chain::Tip;
use ledger::nodes::Registration;
use network::frame;
use network::membership::{Announcement, Offer, Refused, SignedAnnouncement};
use network::messages::{HELLO_SIZE_MAX, Hello, KNOWN_MAX};
use network::network::{
    Event, Multiaddr, Network, NetworkError, Options, Purpose, Stream, is_reachable_from_elsewhere,
};
use network::revocation::Revocations;
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};
use types::bounded::{List, Text};
use types::codec::encode;
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::ledger::Ledger;
use crate::supervisor::Supervisor;
use files::{Files, FilesError, Member};
use state::State;
pub use state::{Connection, Known};

/// How often a node looks whether it is to have a network.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often a node announces itself: a third of the time that an announcement counts.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(30);
/// How often nodes that are not connected are tried, if their turn has come.
const DIAL_INTERVAL: Duration = Duration::from_secs(1);
/// How long a node waits for the other's hello, and before it says its own again, in milliseconds.
pub(crate) const GREET_PAUSE: u64 = 2_000;
/// How long two nodes take to say hello, at most.
const HELLO_TIME_MAX: Duration = Duration::from_secs(10);
/// Members whose stores programs of this machine reach at once, at most.
const STORES_MAX: usize = 64;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder `network/`.
    pub files: Files,
    /// The network: the hash of its ledger's genesis.
    pub network: Hash,
    /// The text of its genesis file, for those who join.
    pub genesis: String,
    /// The node's key.
    pub secret: NodeSecret,
    /// Where others reach this node.
    pub listen: SocketAddr,
    /// Other addresses at which others reach it, such as a router's.
    pub announced: Vec<Multiaddr>,
    /// Whether to look for nodes on the same LAN.
    pub nearby: bool,
    /// What its owner calls it.
    pub name: String,
    /// Where the ledger of this node listens, for members' ledgers.
    pub ledger: Option<SocketAddr>,
}

/// A node's part in a network of machines.
#[derive(Debug)]
pub struct Peers {
    settings: Settings,
    network: OnceLock<Network>,
    /// Where this process serves its store to members, on the loopback address.
    store: OnceLock<SocketAddr>,
    /// The ledger, which says whose machines may compute.
    ledger: OnceLock<Ledger>,
    /// Where programs of this machine reach members' stores.
    stores: tokio::sync::Mutex<BTreeMap<Hash, SocketAddr>>,
    state: Mutex<State>,
    /// Told when there is something new to announce.
    news: tokio::sync::Notify,
}

/// Milliseconds since 1970.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Peers {
    /// A node that has not begun yet.
    ///
    /// # Errors
    /// When the files of its membership cannot be read.
    pub fn new(settings: Settings) -> Result<Arc<Peers>, FilesError> {
        let member = settings.files.member(settings.secret.key())?;
        // Without randomness, whoever makes keys could be first in every node's order.
        let salt = getrandom::u64().unwrap_or_default();
        let (mut revocations, seconds) = (Revocations::default(), now() / 1000);
        for signed in settings.files.revocations()? {
            if let Err(error) = revocations.keep(signed, seconds) {
                tracing::debug!(%error, "a revocation is forgotten");
            }
        }
        let state = Mutex::new(State::new(member, settings.secret.key(), revocations, salt));
        let (network, store, ledger) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let stores = tokio::sync::Mutex::default();
        let news = tokio::sync::Notify::new();
        Ok(Arc::new(Peers { settings, network, store, ledger, stores, state, news }))
    }

    /// The network, once it has begun.
    #[must_use]
    pub fn network(&self) -> Option<&Network> {
        self.network.get()
    }

    /// This node's key.
    #[must_use]
    pub fn me(&self) -> Hash {
        self.settings.secret.key()
    }

    /// Why this node belongs.
    #[must_use]
    pub fn member(&self) -> Member {
        self.state().member.clone()
    }

    /// All nodes that are known now.
    #[must_use]
    pub fn known(&self) -> Vec<Known> {
        self.state().known(now())
    }

    /// Whether a node is a member whose announcement counts now.
    #[must_use]
    pub fn is_member(&self, node: &Hash) -> bool {
        self.state().is_member(node, now())
    }

    /// Nodes that offer a model and are connected, since when, and what they offer.
    #[must_use]
    pub fn offers(&self, model: &str) -> Vec<(Hash, u64, Offer)> {
        self.state().offers(model, now())
    }

    /// Where members' requests for the store go; said once.
    pub fn set_store(&self, at: SocketAddr) {
        self.store.get_or_init(|| at);
    }

    /// Looks for workers of a model first.
    pub fn want(&self, model: &str) {
        self.state().want(model);
    }

    /// The ledger of this node; said once.
    pub fn set_ledger(&self, ledger: Ledger) {
        self.ledger.get_or_init(|| ledger);
    }

    /// Asks the ledger whose machines may compute, and who has registered those that are known.
    fn consult(&self) {
        let Some(ledger) = self.ledger.get() else { return };
        let mut nodes = self.state().nodes();
        nodes.push(self.me());
        let (workers, found) = {
            let mut chain = ledger.chain();
            let said = chain.state();
            let found = nodes.into_iter().filter_map(|it| Some((it, said.registration(&it)?)));
            (said.workers(), found.collect::<BTreeMap<Hash, Registration>>())
        };
        self.state().consult(workers, |node| found.get(node).copied());
    }

    /// Where programs of this machine reach a member's store.
    ///
    /// # Errors
    /// When it is not known, or there are too many already.
    pub async fn store_at(&self, node: Hash) -> std::io::Result<SocketAddr> {
        let refused = |what: &str| Err(std::io::Error::other(what.to_owned()));
        let Some(network) = self.network() else { return refused("the network has not begun") };
        if !self.state().is_member(&node, now()) {
            return refused("no machine of this network that is there now has this key");
        }
        let mut stores = self.stores.lock().await;
        if let Some(at) = stores.get(&node) {
            return Ok(*at);
        }
        if stores.len() >= STORES_MAX {
            return refused("the stores of too many machines are open; restart the node");
        }
        let at = join::store_of(network, node).await?;
        stores.insert(node, at);
        Ok(at)
    }

    /// What this node offers; it is announced at once.
    pub fn set_offers(&self, offers: Vec<Offer>) {
        self.state().offered = List::new(offers).unwrap_or_default();
        self.news.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done where a thread ended: what is in there was checked before.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes part until the runtime ends; waits first until the home has a network.
    ///
    /// # Errors
    /// When the network cannot begin.
    pub async fn run(
        self: Arc<Peers>,
        supervisor: Option<Arc<Supervisor>>,
    ) -> Result<(), NetworkError> {
        let mut look = interval(LOOK_INTERVAL);
        while !self.settings.files.exist() {
            look.tick().await;
        }
        // Those of an earlier run are of no use to whoever is invited now.
        if let Err(error) = self.settings.files.set_addresses(&[]) {
            tracing::warn!(%error, "the node's addresses could not be kept");
        }
        let (network, events) = self.begin()?;
        let network = self.network.get_or_init(|| network).clone();
        self.recall();
        guests::receive(&self, &network, supervisor)?;
        self.live(network, events).await;
        Ok(())
    }

    /// Begins at the address of the settings; where that is taken, at any port.
    fn begin(&self) -> Result<(Network, mpsc::Receiver<Event>), NetworkError> {
        let mut options = Options {
            network: self.settings.network,
            secret: self.settings.secret.clone(),
            listen: Some(self.settings.listen),
            nearby: self.settings.nearby,
            announced: self.settings.announced.clone(),
        };
        match Network::start(&options) {
            Err(error @ NetworkError::Listen { .. }) if self.settings.listen.port() != 0 => {
                tracing::warn!(%error, "any other port is taken instead");
                options.listen = Some(SocketAddr::new(self.settings.listen.ip(), 0));
                Network::start(&options)
            }
            begun => begun,
        }
    }

    /// Nodes of earlier runs are tried again.
    fn recall(&self) {
        let known = self.settings.files.known();
        let mut state = self.state();
        // First where the ticket says that it is: it may be newer than what was heard last.
        if let Some(contact) = state.member.contact.clone() {
            state.recall(contact.node, contact.addresses);
        }
        for announcement in known {
            let said = announcement.announcement();
            let addresses = said.addresses.as_slice().iter().map(|it| it.as_str().to_owned());
            let addresses = addresses.collect();
            state.recall(said.node, addresses);
        }
    }

    async fn live(self: Arc<Peers>, network: Network, mut events: mpsc::Receiver<Event>) {
        let (mut announce, mut dial) = (interval(ANNOUNCE_INTERVAL), interval(DIAL_INTERVAL));
        let (mut tips, mut kept) = (self.ledger.get().map(Ledger::tips), 0);
        self.consult();
        loop {
            tokio::select! {
                () = next_block(&mut tips) => self.consult(),
                event = events.recv() => match event {
                    Some(event) => self.heed(&network, event).await,
                    None => return,
                },
                _ = announce.tick() => {
                    self.announce(&network).await;
                    self.through_relay(&network).await;
                }
                () = self.news.notified() => {
                    self.announce(&network).await;
                    self.greet_all(&network);
                }
                _ = dial.tick() => {
                    if self.state().is_unasked() {
                        self.consult();
                    }
                    // A new one soon, so that a node that is killed and comes back elsewhere finds it.
                    let count = self.state().announced();
                    if std::mem::replace(&mut kept, count) != count {
                        self.keep_known();
                    }
                    self.dial(&network);
                    self.greet(&network);
                    self.tell_all_revoked(&network);
                }
            }
        }
    }

    async fn announce(&self, network: &Network) {
        let bytes = encode(&self.own());
        network.publish(bytes).await;
        self.keep_known();
    }

    fn keep_known(&self) {
        let known = self.state().worth_keeping();
        if let Err(error) = self.settings.files.set_known(known) {
            tracing::warn!(%error, "nodes that are known could not be kept");
        }
    }

    /// What this node says of itself now.
    fn own(&self) -> SignedAnnouncement {
        let state = self.state();
        let announcement = Announcement {
            network: self.settings.network,
            node: self.settings.secret.key(),
            issued: now(),
            name: Text::new(&self.settings.name).unwrap_or_default(),
            addresses: List::new(state.own_addresses()).unwrap_or_default(),
            passes: state.member.passes.clone(),
            offers: state.offered.clone(),
        };
        SignedAnnouncement::sign(announcement, &self.settings.secret)
    }

    /// Connects to members that are not connected and whose turn has come.
    fn dial(self: &Arc<Peers>, network: &Network) {
        let due = self.state().due(now());
        for (node, addresses) in due {
            let (network, peers) = (network.clone(), self.clone());
            tokio::spawn(async move {
                let reached = network.dial(node, addresses).await;
                if let Err(error) = &reached {
                    tracing::debug!(%error, "a node is not reached");
                }
                peers.state().tried(&node, reached.is_ok(), now());
            });
        }
    }

    async fn heed(self: &Arc<Peers>, network: &Network, event: Event) {
        match event {
            Event::Listening(address) => self.listening(&[address], true),
            Event::NotListening(addresses) => self.listening(&addresses, false),
            Event::Connected { node, address, relayed } => {
                // One of the two begins; the other does where no hello has come.
                let wait = if self.me().0 < node.0 { 0 } else { GREET_PAUSE };
                self.state().connected(node, address, relayed, now() + wait);
                self.greet(network);
            }
            Event::Disconnected { node } => self.state().disconnected(&node, now()),
            Event::Unreachable { node, why } => tracing::debug!(%node, why, "not reached"),
            Event::Ping { node, time } => self.state().ping(&node, time),
            Event::Nearby(found) => {
                for (node, address) in found {
                    self.state().nearby(node, &address, now());
                }
            }
            Event::Punched { node, direct } => {
                tracing::info!(%node, direct, "hole punching");
            }
            Event::Announced { id, from, bytes } => {
                let learnt = SignedAnnouncement::read(&bytes).and_then(|it| self.learn(it));
                if let Err(error) = &learnt {
                    tracing::debug!(%error, "an announcement is refused");
                }
                network.judge(id, from, learnt.is_ok()).await;
            }
        }
    }

    fn listening(&self, addresses: &[Multiaddr], begins: bool) {
        let addresses = {
            let mut state = self.state();
            state.listening(addresses, begins, &self.settings.announced);
            state.own_addresses()
        };
        let lines: Vec<String> = addresses.iter().map(|it| it.as_str().to_owned()).collect();
        if let Err(error) = self.settings.files.set_addresses(&lines) {
            tracing::warn!(%error, "the node's addresses could not be kept");
        }
        self.news.notify_one();
    }

    fn root(&self) -> Hash {
        self.state().member.root
    }

    /// Takes in an announcement, if it counts.
    fn learn(&self, announcement: SignedAnnouncement) -> Result<(), Refused> {
        let (name, root, now) = (&self.settings.network, self.root(), now());
        announcement.check(name, now)?;
        let chain = announcement.check_passes(name, &root, now);
        self.state().learn(announcement, chain, now)
    }

    /// Says hello to nodes that are connected and of which nothing was heard for a while.
    fn greet(self: &Arc<Peers>, network: &Network) {
        let strangers = self.state().strangers(now());
        self.greet_these(network, strangers);
    }

    /// Tells what is new to everyone who is connected. Gossip alone does not do: a node that was
    /// started again is not told who listens, as long as its earlier connection is not given up.
    fn greet_all(self: &Arc<Peers>, network: &Network) {
        let connected = self.state().connected_nodes();
        self.greet_these(network, connected);
    }

    fn greet_these(self: &Arc<Peers>, network: &Network, nodes: Vec<Hash>) {
        for node in nodes {
            let (network, peers) = (network.clone(), self.clone());
            tokio::spawn(async move {
                peers.say_hello_to(&network, node).await;
                peers.through_relay(&network).await;
            });
        }
    }

    /// Tells a node that is connected who this one is, and hears who that one is.
    pub(crate) async fn say_hello_to(self: &Arc<Peers>, network: &Network, node: Hash) {
        let exchange = async {
            let mut stream = network.open(node, Purpose::Hello).await.ok()?;
            self.say_hello(&mut stream).await?;
            self.hear_hello(&mut stream, node).await
        };
        if timeout(HELLO_TIME_MAX, exchange).await.ok().flatten().is_none() {
            tracing::debug!(%node, "no hello");
        }
    }

    /// Lets others reach this node by way of one that it reaches, in case a router hides it.
    async fn through_relay(&self, network: &Network) {
        let relay = self.state().relay();
        if let Some((node, address)) = relay {
            network.listen_through(node, address).await;
        }
    }

    async fn say_hello(&self, stream: &mut Stream) -> Option<()> {
        frame::write(stream, &Hello { known: self.introductions() }).await.ok()
    }

    /// This node's announcement, and those of others that count now.
    fn introductions(&self) -> List<SignedAnnouncement, KNOWN_MAX> {
        let mut known = vec![self.own()];
        known.extend(self.state().freshest(now()));
        known.truncate(KNOWN_MAX);
        List::new(known).unwrap_or_default()
    }

    async fn hear_hello(self: &Arc<Peers>, stream: &mut Stream, from: Hash) -> Option<()> {
        let hello: Hello = frame::read(stream, HELLO_SIZE_MAX).await.ok()?;
        for announcement in hello.known.as_slice() {
            if let Err(error) = self.learn(announcement.clone()) {
                tracing::debug!(%error, "an announcement is refused");
                if announcement.announcement().node == from {
                    self.leave_if_revoked(from, &error);
                }
            }
        }
        Some(())
    }
}

/// Ready with the ledger's next block, if there is a ledger.
async fn next_block(tips: &mut Option<watch::Receiver<Tip>>) {
    if let Some(tips) = tips
        && tips.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}

/// The addresses that are worth telling others.
fn worth_telling(addresses: &[Multiaddr]) -> Vec<Multiaddr> {
    let public: Vec<Multiaddr> =
        addresses.iter().filter(|it| is_reachable_from_elsewhere(it)).cloned().collect();
    if public.is_empty() { addresses.to_vec() } else { public }
}
