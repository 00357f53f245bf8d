//! What a node knows of the others: plain data, times are arguments.
//!
//! Invariants:
//! - At most `KNOWN_MAX` nodes; those that were silent longest go first.
//! - A node that cannot be reached is tried more and more seldom.
//! - A node without a good chain of passes counts only where the members let anyone compute.
//!
//! Not here: checking announcements, and acting on them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ledger::nodes::{Registration, Unfit, Workers};
use network::membership::{ANNOUNCEMENT_AGE_MAX, OFFERS_MAX, Offer, Refused, SignedAnnouncement};
use network::network::{Multiaddr, is_private};
use network::revocation::{Revocations, SignedRevocation};
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
    /// Whether passes let it in, as of its last announcement.
    pub pass: Result<(), Refused>,
    /// Who has registered it on the ledger, as of the last block.
    pub registration: Option<Registration>,
    addresses: Vec<String>,
    /// Where it was found on the same LAN.
    nearby: Vec<Multiaddr>,
    tries: u32,
    next_try: u64,
    dialling: bool,
    /// When this node says hello, if no announcement counts by then.
    next_hello: u64,
    /// Whether it was told over this connection what is known of passes that were taken back.
    told: bool,
}

/// All that is known.
#[derive(Debug)]
pub struct State {
    pub(super) member: Member,
    pub(super) offered: List<Offer, OFFERS_MAX>,
    me: Hash,
    /// The model whose workers are wanted, if this node asks others for one.
    wanted: Option<String>,
    /// Nobody else knows in which order this node connects to others.
    salt: u64,
    nodes: BTreeMap<Hash, Known>,
    listening: BTreeSet<Multiaddr>,
    told: Vec<AddressText>,
    /// Passes that were taken back.
    revocations: Revocations,
    /// Whose machines may compute for others, and who has registered this node, as of the last block.
    workers: Workers,
    registration: Option<Registration>,
    /// Whether the ledger is still to be asked about some node.
    unasked: bool,
}

impl Known {
    fn new(node: Hash) -> Known {
        Known {
            node,
            announcement: None,
            connection: None,
            ping: None,
            pass: Err(Refused::NoChain),
            registration: None,
            addresses: Vec::new(),
            nearby: Vec::new(),
            tries: 0,
            next_try: 0,
            dialling: false,
            next_hello: 0,
            told: false,
        }
    }

    fn has_address(&self) -> bool {
        !(self.addresses.is_empty() && self.nearby.is_empty())
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
    /// A node that knows nobody. `salt` is random.
    #[must_use]
    pub fn new(member: Member, me: Hash, revocations: Revocations, salt: u64) -> State {
        State {
            member,
            offered: List::default(),
            me,
            wanted: None,
            salt,
            nodes: BTreeMap::new(),
            listening: BTreeSet::new(),
            told: Vec::new(),
            revocations,
            workers: Workers::Admitted,
            registration: None,
            unasked: true,
        }
    }

    /// Whether what a node says of itself counts now.
    fn counts(&self, known: &Known, now: u64) -> bool {
        let is_let_in = known.pass.is_ok() || self.workers == Workers::Anyone;
        known.announcement.is_some() && known.is_fresh(now) && is_let_in
    }

    /// Whether a node may compute for others, by what the members have voted.
    pub fn fit(&self, known: &Known) -> Result<(), Unfit> {
        self.workers.admit(known.pass.is_ok(), known.registration.as_ref())
    }

    /// Whether this node may, as it knows the ledger.
    pub fn own_fit(&self) -> Result<(), Unfit> {
        self.workers.admit(self.own_pass().is_ok(), self.registration.as_ref())
    }

    /// Whether this node's own passes are still good.
    pub fn own_pass(&self) -> Result<(), Refused> {
        self.revocations.check(&self.me, &self.member.passes)
    }

    /// Whose machines may compute for others.
    pub fn workers(&self) -> Workers {
        self.workers
    }

    /// The account that has registered this node, if one has.
    pub fn own_registration(&self) -> Option<&Registration> {
        self.registration.as_ref()
    }

    /// Whether the ledger is to be asked about a node that is new here.
    pub fn is_unasked(&self) -> bool {
        self.unasked
    }

    /// Takes in what the ledger says now: whose machines may compute, and who has registered a node.
    pub fn consult(
        &mut self,
        workers: Workers,
        registration: impl Fn(&Hash) -> Option<Registration>,
    ) {
        self.workers = workers;
        self.registration = registration(&self.me);
        for known in self.nodes.values_mut() {
            known.registration = registration(&known.node);
        }
        self.unasked = false;
    }

    /// The keys of all nodes that are known.
    pub fn nodes(&self) -> Vec<Hash> {
        self.nodes.keys().copied().collect()
    }

    /// Nodes that are connected or whose announcement counts still.
    pub fn known(&self, now: u64) -> Vec<Known> {
        let there = |it: &&Known| it.connection.is_some() || it.is_fresh(now);
        self.nodes.values().filter(there).cloned().collect()
    }

    /// Offers of a model by connected nodes that may compute: whose, since when, and what.
    pub fn offers(&self, model: &str, now: u64) -> Vec<(Hash, u64, Offer)> {
        let mut found = Vec::new();
        let used = |it: &&Known| self.counts(it, now) && self.fit(it).is_ok();
        for known in self.nodes.values().filter(used) {
            let (Some(signed), Some(connection)) = (&known.announcement, &known.connection) else {
                continue;
            };
            let offers = signed.announcement().offers.as_slice().iter();
            let offers = offers.filter(|offer| offer.model.as_str() == model);
            found.extend(offers.map(|offer| (known.node, connection.since, offer.clone())));
        }
        found
    }

    /// How many nodes offer something that the members do not let them compute.
    pub fn unfit_offering(&self, now: u64) -> usize {
        let offers = |it: &Known| {
            let said = it.announcement.as_ref().map(|it| it.announcement());
            said.is_some_and(|it| !it.offers.as_slice().is_empty())
        };
        let unfit = |it: &&Known| it.is_fresh(now) && offers(it) && self.fit(it).is_err();
        self.nodes.values().filter(unfit).count()
    }

    /// Whether a node is a member whose announcement counts now.
    pub fn is_member(&self, node: &Hash, now: u64) -> bool {
        self.nodes.get(node).is_some_and(|it| self.counts(it, now))
    }

    /// Takes in what was checked, and whether its passes lead to where this network began.
    ///
    /// # Errors
    ///
    /// When no pass lets the node in, and the members want one.
    pub fn learn(
        &mut self,
        announcement: SignedAnnouncement,
        chain: Result<(), Refused>,
        now: u64,
    ) -> Result<(), Refused> {
        let said = announcement.announcement();
        if said.node == self.me {
            return Ok(());
        }
        let pass = chain.and_then(|()| self.revocations.check(&said.node, &said.passes));
        if self.workers != Workers::Anyone {
            pass.clone()?;
        }
        let addresses = said.addresses.as_slice().iter().map(|it| it.as_str().to_owned()).collect();
        let Some(known) = self.entry(said.node) else { return Ok(()) };
        if said.issued > known.issued() {
            known.pass = pass;
            known.addresses = addresses;
            if known.announcement.is_none() {
                (known.tries, known.next_try) = (0, now);
            }
            known.announcement = Some(announcement);
        }
        Ok(())
    }

    /// Whether nothing is new in a revocation.
    pub fn has_taken_back(&self, signed: &SignedRevocation) -> bool {
        self.revocations.has(&signed.revocation)
    }

    /// Takes in which passes were taken back now; gives whoever does not count any more.
    pub fn take_back(&mut self, revocations: Revocations) -> Vec<Hash> {
        self.revocations = revocations;
        let mut fallen = Vec::new();
        for known in self.nodes.values_mut() {
            known.told = false;
            let Some(said) = known.announcement.as_ref().map(|it| it.announcement()) else {
                continue;
            };
            let taken = self.revocations.check(&said.node, &said.passes);
            if known.pass.is_ok() && taken.is_err() {
                known.pass = taken;
                fallen.push(known.node);
            }
        }
        fallen.retain(|_| self.workers != Workers::Anyone);
        fallen
    }

    /// Passes that were taken back.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Connected members that are to be told of them now.
    pub fn untold(&mut self, now: u64) -> Vec<Hash> {
        if self.revocations.iter().next().is_none() {
            return Vec::new();
        }
        let is_untold = |it: &&Known| !it.told && it.connection.is_some() && self.counts(it, now);
        let untold = self.nodes.values().filter(is_untold).take(CONNECTIONS_WANTED);
        let untold: Vec<Hash> = untold.map(|it| it.node).collect();
        for node in &untold {
            self.nodes.entry(*node).and_modify(|it| it.told = true);
        }
        untold
    }

    /// What a node says of itself, as it was heard last.
    pub fn said_by(&self, node: &Hash) -> Option<&SignedAnnouncement> {
        self.nodes.get(node)?.announcement.as_ref()
    }

    /// A node that was there once, or may be, until it says itself where it is.
    pub fn recall(&mut self, node: Hash, addresses: Vec<String>) {
        if node != self.me
            && let Some(known) = self.entry(node)
            && (known.announcement.is_none() || known.addresses.is_empty())
        {
            for address in addresses {
                if known.addresses.len() < ADDRESSES_MAX && !known.addresses.contains(&address) {
                    known.addresses.push(address);
                }
            }
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
        let new = || {
            self.unasked = true;
            Known::new(node)
        };
        Some(self.nodes.entry(node).or_insert_with(new))
    }

    /// Books a connection, and when this side says hello over it.
    pub fn connected(&mut self, node: Hash, address: Multiaddr, relayed: bool, hello: u64) {
        let Some(known) = self.entry(node) else { return };
        known.connection = Some(Connection { address, relayed, since: hello });
        (known.tries, known.next_hello, known.told) = (0, hello, false);
    }

    /// Nodes that are connected, at most as many as this one connects to by itself.
    pub fn connected_nodes(&self) -> Vec<Hash> {
        let connected = self.nodes.values().filter(|it| it.connection.is_some());
        connected.map(|it| it.node).take(CONNECTIONS_WANTED).collect()
    }

    /// Nodes that are connected, whose last announcement is half over, and whose turn has come.
    pub fn strangers(&mut self, now: u64) -> Vec<Hash> {
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

    /// Books the end of the last connection to a node.
    pub fn disconnected(&mut self, node: &Hash, now: u64) {
        if let Some(known) = self.nodes.get_mut(node) {
            (known.connection, known.ping, known.next_try) = (None, None, now);
        }
    }

    /// Books how long there and back takes.
    pub fn ping(&mut self, node: &Hash, time: Duration) {
        if let Some(known) = self.nodes.get_mut(node) {
            known.ping = Some(time);
        }
    }

    /// Whom to connect to now, and where; each is due again only after `tried`. Workers of the wanted
    /// model come first, and have room of their own.
    pub fn due(&mut self, now: u64) -> Vec<(Hash, Vec<Multiaddr>)> {
        let is_open = self.workers == Workers::Anyone;
        if !is_open && self.own_pass().is_err() {
            // Nobody would keep the connection.
            return Vec::new();
        }
        let (mut workers, mut all, mut due) = (0, 0, Vec::new());
        for known in self.nodes.values() {
            let is_worker = self.is_wanted(known);
            let is_out = !is_open && matches!(known.pass, Err(Refused::Revoked { .. }));
            if known.connection.is_some() || known.dialling {
                (workers, all) = (workers + usize::from(is_worker), all + 1);
            } else if known.next_try <= now && known.has_address() && !is_out {
                due.push((!is_worker, self.place(&known.node), known.node));
            }
        }
        // Otherwise all nodes of a large network would connect to the same few.
        due.sort_unstable();
        let mut found = Vec::new();
        for (is_other, _, node) in due {
            let has_room = if is_other { all } else { workers } < CONNECTIONS_WANTED;
            let Some(known) = self.nodes.get_mut(&node).filter(|_| has_room) else { continue };
            (workers, all) = (workers + usize::from(!is_other), all + 1);
            known.dialling = true;
            let told = known.addresses.iter().filter_map(|it| it.parse().ok());
            let addresses = known.nearby.iter().cloned().chain(told);
            found.push((node, addresses.take(ADDRESSES_MAX).collect()));
        }
        found
    }

    /// Says which model's workers are wanted.
    pub fn want(&mut self, model: &str) {
        self.wanted = Some(model.to_owned());
    }

    /// Whether a node offers the wanted model.
    fn is_wanted(&self, known: &Known) -> bool {
        let (Some(wanted), Some(signed)) = (&self.wanted, &known.announcement) else {
            return false;
        };
        let offers = signed.announcement().offers.as_slice();
        offers.iter().any(|offer| offer.model.as_str() == wanted)
    }

    /// A node's place in this node's own order of all, as good as random (SplitMix64; Steele, Lea and
    /// Flood 2014).
    fn place(&self, node: &Hash) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = node.0;
        let mut z = u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ self.salt;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Books how an attempt to connect has ended.
    pub fn tried(&mut self, node: &Hash, reached: bool, now: u64) {
        let Some(known) = self.nodes.get_mut(node) else { return };
        known.dialling = false;
        if !reached {
            let wait = (RETRY_MIN << known.tries.min(10)).min(RETRY_MAX);
            (known.tries, known.next_try) = (known.tries.saturating_add(1), now + wait);
        }
    }

    /// Books where this node listens, or no longer does; `more` are addresses that its owner knows.
    pub fn listening(&mut self, addresses: &[Multiaddr], begins: bool, more: &[Multiaddr]) {
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

    /// What others are told of where this node is.
    pub fn own_addresses(&self) -> Vec<AddressText> {
        self.told.clone()
    }

    /// Who may relay for this node, and where it is: the one that let this node in before others, and
    /// those that everyone reaches before those of a LAN.
    pub fn relay(&self) -> Option<(Hash, Multiaddr)> {
        let contact = self.member.contact.as_ref().map(|it| it.node);
        let reached = self.nodes.values().filter_map(|it| Some((it.node, it.direct_address()?)));
        reached.max_by_key(|(node, address)| (Some(*node) == contact, !is_private(address)))
    }

    /// Announcements of others that count now, the newest first.
    pub fn freshest(&self, now: u64) -> Vec<SignedAnnouncement> {
        let mut fresh: Vec<&Known> =
            self.nodes.values().filter(|it| self.counts(it, now)).collect();
        fresh.sort_by_key(|it| std::cmp::Reverse(it.issued()));
        fresh.truncate(network::messages::KNOWN_MAX);
        fresh.into_iter().filter_map(|it| it.announcement.clone()).collect()
    }

    /// How many nodes have announced where they are reached.
    pub fn announced(&self) -> usize {
        let announcements = self.nodes.values().filter_map(|it| it.announcement.as_ref());
        announcements.filter(|it| !it.announcement().addresses.as_slice().is_empty()).count()
    }

    /// Announcements to find nodes again by, whether or not they count now.
    pub fn worth_keeping(&self) -> Vec<SignedAnnouncement> {
        let mut all: Vec<&SignedAnnouncement> =
            self.nodes.values().filter_map(|it| it.announcement.as_ref()).collect();
        all.sort_by_key(|it| std::cmp::Reverse(it.announcement().issued));
        all.into_iter().take(network::messages::KNOWN_MAX).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
