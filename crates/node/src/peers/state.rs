//! What a node knows of the others: plain data, times are arguments.
//!
//! Invariants:
//! - At most `KNOWN_MAX` nodes; those that were silent longest go first.
//! - A node that cannot be reached is tried more and more seldom.
//!
//! Not here: checking announcements, and acting on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use network::membership::{ANNOUNCEMENT_AGE_MAX, OFFERS_MAX, Offer, SignedAnnouncement};
use network::network::{Multiaddr, is_private};
use network::ticket::{ADDRESSES_MAX, AddressText};
use types::bounded::List;
use types::id::Hash;

use super::files::Member;
use super::{GREET_PAUSE, worth_telling};

/// Nodes that are known, at most.
const KNOWN_MAX: usize = 10_000;
/// Nodes that this one connects to by itself, at most; more come by themselves.
const CONNECTIONS_WANTED: usize = 64;
/// Addresses on the same LAN that are kept of a node, at most: two families, two transports.
const NEARBY_MAX: usize = 4;
/// How long after a failure a node is tried again, in milliseconds; doubled each time.
const RETRY_MIN: u64 = 1_000;
/// The longest wait, in milliseconds.
const RETRY_MAX: u64 = 60_000;

/// A connection, as a person may see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where.
    pub address: Multiaddr,
    /// Whether by way of a relay.
    pub relayed: bool,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
}

/// What is known of a node.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its key.
    pub node: Hash,
    /// What it says of itself; none for one that was only heard of.
    pub announcement: Option<SignedAnnouncement>,
    /// How it is connected, if it is.
    pub connection: Option<Connection>,
    /// There and back.
    pub ping: Option<Duration>,
    addresses: Vec<String>,
    /// Where it was found on the same LAN.
    nearby: Vec<Multiaddr>,
    tries: u32,
    next_try: u64,
    dialling: bool,
    /// When this node says hello, if no announcement counts by then.
    next_hello: u64,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct State {
    pub(super) member: Member,
    pub(super) offered: List<Offer, OFFERS_MAX>,
    me: Hash,
    nodes: BTreeMap<Hash, Known>,
    listening: BTreeSet<Multiaddr>,
    told: Vec<AddressText>,
}

impl Known {
    fn new(node: Hash) -> Known {
        Known {
            node,
            announcement: None,
            connection: None,
            ping: None,
            addresses: Vec::new(),
            nearby: Vec::new(),
            tries: 0,
            next_try: 0,
            dialling: false,
            next_hello: 0,
        }
    }

    fn issued(&self) -> u64 {
        self.announcement.as_ref().map_or(0, |it| it.announcement().issued)
    }

    /// Where it is connected without a relay, if this side began.
    fn direct_address(&self) -> Option<Multiaddr> {
        let connection = self.connection.as_ref().filter(|it| !it.relayed)?;
        let here = connection.address.to_string();
        // An address that the node did not tell is that of its side of a connection.
        let told = self.addresses.iter().any(|it| here.starts_with(it.as_str()));
        told.then(|| connection.address.clone())
    }

    /// Whether what it says of itself counts now.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        now.saturating_sub(self.issued()) <= ANNOUNCEMENT_AGE_MAX
    }
}

impl State {
    pub(super) fn new(member: Member, me: Hash) -> State {
        State {
            member,
            offered: List::default(),
            me,
            nodes: BTreeMap::new(),
            listening: BTreeSet::new(),
            told: Vec::new(),
        }
    }

    pub(super) fn known(&self, now: u64) -> Vec<Known> {
        let there = |it: &&Known| it.connection.is_some() || it.is_fresh(now);
        self.nodes.values().filter(there).cloned().collect()
    }

    pub(super) fn offers(&self, model: &str, now: u64) -> Vec<(Hash, u64, Offer)> {
        let mut found = Vec::new();
        for known in self.nodes.values().filter(|it| it.is_fresh(now)) {
            let (Some(signed), Some(connection)) = (&known.announcement, &known.connection) else {
                continue;
            };
            let offers = signed.announcement().offers.as_slice().iter();
            let offers = offers.filter(|offer| offer.model.as_str() == model);
            found.extend(offers.map(|offer| (known.node, connection.since, offer.clone())));
        }
        found
    }

    /// Whether a node is a member whose announcement counts now.
    pub(super) fn is_member(&self, node: &Hash, now: u64) -> bool {
        self.nodes.get(node).is_some_and(|it| it.announcement.is_some() && it.is_fresh(now))
    }

    /// Takes in what was checked.
    pub(super) fn learn(&mut self, announcement: SignedAnnouncement, now: u64) {
        let said = announcement.announcement();
        if said.node == self.me {
            return;
        }
        let addresses = said.addresses.as_slice().iter().map(|it| it.as_str().to_owned()).collect();
        let Some(known) = self.entry(said.node) else { return };
        if said.issued > known.issued() {
            known.addresses = addresses;
            if known.announcement.is_none() {
                (known.tries, known.next_try) = (0, now);
            }
            known.announcement = Some(announcement);
        }
    }

    /// A node that was there once, or may be.
    pub(super) fn recall(&mut self, node: Hash, addresses: Vec<String>) {
        if node != self.me
            && let Some(known) = self.entry(node)
            && known.addresses.is_empty()
        {
            known.addresses = addresses;
        }
    }

    /// A node that was found on the same LAN; what it told of itself may be out of date.
    pub(super) fn nearby(&mut self, node: Hash, address: &Multiaddr, now: u64) {
        if node == self.me {
            return;
        }
        let Some(known) = self.entry(node) else { return };
        if !known.nearby.contains(address) {
            known.nearby.insert(0, address.clone());
            known.nearby.truncate(NEARBY_MAX);
            (known.tries, known.next_try) = (0, now);
        }
    }

    /// A node's entry; room is made by forgetting the one that is silent longest.
    fn entry(&mut self, node: Hash) -> Option<&mut Known> {
        if self.nodes.len() >= KNOWN_MAX && !self.nodes.contains_key(&node) {
            let silent = self.nodes.values().filter(|it| it.connection.is_none());
            let silent = silent.min_by_key(|it| it.issued()).map(|it| it.node)?;
            self.nodes.remove(&silent);
        }
        Some(self.nodes.entry(node).or_insert_with(|| Known::new(node)))
    }

    /// Books a connection, and when this side says hello over it.
    pub(super) fn connected(&mut self, node: Hash, address: Multiaddr, relayed: bool, hello: u64) {
        let Some(known) = self.entry(node) else { return };
        known.connection = Some(Connection { address, relayed, since: hello });
        (known.tries, known.next_hello) = (0, hello);
    }

    /// Nodes that are connected, at most as many as this one connects to by itself.
    pub(super) fn connected_nodes(&self) -> Vec<Hash> {
        let connected = self.nodes.values().filter(|it| it.connection.is_some());
        connected.map(|it| it.node).take(CONNECTIONS_WANTED).collect()
    }

    /// Nodes that are connected, whose last announcement is half over, and whose turn has come.
    pub(super) fn strangers(&mut self, now: u64) -> Vec<Hash> {
        let strange = |it: &&mut Known| {
            let silent = now.saturating_sub(it.issued()) > ANNOUNCEMENT_AGE_MAX / 2;
            it.connection.is_some() && it.next_hello <= now && silent
        };
        let mut found = Vec::new();
        for known in self.nodes.values_mut().filter(strange).take(CONNECTIONS_WANTED) {
            known.next_hello = now + GREET_PAUSE;
            found.push(known.node);
        }
        found
    }

    pub(super) fn disconnected(&mut self, node: &Hash, now: u64) {
        if let Some(known) = self.nodes.get_mut(node) {
            (known.connection, known.ping, known.next_try) = (None, None, now);
        }
    }

    pub(super) fn ping(&mut self, node: &Hash, time: Duration) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.ping = Some(time);
        }
    }

    /// Whom to connect to now, and where; each is due again only after `tried`.
    pub(super) fn due(&mut self, now: u64) -> Vec<(Hash, Vec<Multiaddr>)> {
        let connected = self.nodes.values().filter(|it| it.connection.is_some()).count();
        let room = CONNECTIONS_WANTED.saturating_sub(connected);
        let due = |it: &&mut Known| {
            it.connection.is_none()
                && !it.dialling
                && it.next_try <= now
                && !(it.addresses.is_empty() && it.nearby.is_empty())
        };
        let mut found = Vec::new();
        for known in self.nodes.values_mut().filter(due).take(room) {
            known.dialling = true;
            let told = known.addresses.iter().filter_map(|it| it.parse().ok());
            let addresses = known.nearby.iter().cloned().chain(told);
            found.push((known.node, addresses.take(ADDRESSES_MAX).collect()));
        }
        found
    }

    pub(super) fn tried(&mut self, node: &Hash, reached: bool, now: u64) {
        let Some(known) = self.nodes.get_mut(node) else { return };
        known.dialling = false;
        if !reached {
            let wait = (RETRY_MIN << known.tries.min(10)).min(RETRY_MAX);
            (known.tries, known.next_try) = (known.tries.saturating_add(1), now + wait);
        }
    }

    pub(super) fn listening(&mut self, addresses: &[Multiaddr], begins: bool, more: &[Multiaddr]) {
        for address in addresses {
            if begins {
                self.listening.insert(address.clone());
            } else {
                self.listening.remove(address);
            }
        }
        let mut all: Vec<Multiaddr> = more.to_vec();
        all.extend(self.listening.iter().cloned());
        let text = |it: &Multiaddr| AddressText::new(&it.to_string()).ok();
        self.told = worth_telling(&all).iter().filter_map(text).take(ADDRESSES_MAX).collect();
    }

    pub(super) fn own_addresses(&self) -> Vec<AddressText> {
        self.told.clone()
    }

    /// Who may relay for this node, and where it is: the one that let this node in before others, and
    /// those that everyone reaches before those of a LAN.
    pub(super) fn relay(&self) -> Option<(Hash, Multiaddr)> {
        let contact = self.member.contact.as_ref().map(|it| it.node);
        let reached = self.nodes.values().filter_map(|it| Some((it.node, it.direct_address()?)));
        reached.max_by_key(|(node, address)| (Some(*node) == contact, !is_private(address)))
    }

    /// Announcements of others that count now, the newest first.
    pub(super) fn freshest(&self, now: u64) -> Vec<SignedAnnouncement> {
        let fresh = self.nodes.values().filter(|it| it.is_fresh(now));
        let mut fresh: Vec<&Known> = fresh.filter(|it| it.announcement.is_some()).collect();
        fresh.sort_by_key(|it| std::cmp::Reverse(it.issued()));
        fresh.truncate(network::messages::KNOWN_MAX);
        fresh.into_iter().filter_map(|it| it.announcement.clone()).collect()
    }

    /// Announcements to find nodes again by, whether or not they count now.
    pub(super) fn worth_keeping(&self) -> Vec<SignedAnnouncement> {
        let mut all: Vec<&SignedAnnouncement> =
            self.nodes.values().filter_map(|it| it.announcement.as_ref()).collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.announcement().issued));
        all.into_iter().take(network::messages::KNOWN_MAX).cloned().collect()
    }
}
