//! Keep content available while machines come and go: copies of pins on other nodes, and of theirs here.
//!
//! A pin may have a wanted availability. This node then measures how often the others are there
//! (`uptime`), chooses the fewest that suffice (`placement`), asks them to keep a copy (`network::keep`),
//! checks now and then that they have it, and asks others where one is lost (`care`).
//!
//! Invariants:
//! - Nothing is kept for others unless the owner has pledged space, and no more than that.
//! - What this node keeps for another stays while its lease lasts, whoever collects.
//! - Asking, checking and fetching have limits on how many at once and how long.
//!
//! Not here: content that nobody pinned, and paying for copies.

pub mod care;
pub mod chance;
pub mod files;
mod keeper;
pub mod placement;
pub mod plan;
mod rounds;
mod tunnel;
pub mod uptime;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use store::blobs::{Blobs, StoreError};
use store::cid::Cid;
use store::collect::reach;
use tokio::sync::Semaphore;
use types::id::{Address, Hash};

use crate::config::{Config, ConfigError};
use crate::home::Home;
use crate::ledger::Ledger;
use crate::models::Models;
use crate::peers::{Peers, now};
use care::{Care, Rules};
use files::{CopiesError, Files, LEASES_MAX, Lease, UPTIMES_MAX};
use placement::{Candidate, Subnet};
use uptime::Uptime;

/// Copies that are fetched for others at once, at most: more would only slow each other down.
const FETCHES_MAX: usize = 2;
/// Reasons why copies for others could not be fetched, that wait until they are asked about, at most.
const FAILURES_MAX: usize = 256;

/// How a node takes part.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is kept about copies.
    pub files: Files,
    /// The models of this home, whose files stay.
    pub models: Models,
    /// Bytes for copies of others'.
    pub pledge: u64,
    /// Bytes that the store may take in all.
    pub quota: u64,
    /// How often the others are looked at.
    pub look: Duration,
    /// How long a node must be looked at to count as seen rather than assumed, in milliseconds.
    pub prior: u64,
    /// When what is done.
    pub rules: Rules,
}

impl Settings {
    /// What the settings of a home say.
    ///
    /// # Errors
    /// When one of them is not what it takes.
    pub fn of(config: &Config, home: &Home) -> Result<Settings, ConfigError> {
        let seconds = |key| config.number(key, 1..=2_592_000, "seconds from 1 to 2592000, 30 days");
        let look = seconds("copies_look_seconds")?;
        let wanted = "a number of MiB, 0 to 2^40; 0 keeps nothing for others";
        let pledge = config.number("store_pledge_mib", 0..=1 << 40, wanted)? << 20;
        let quota = match config.number("store_gib", 0..=1 << 24, "a number of GiB up to 2^24")? {
            0 => u64::MAX,
            gib => gib << 30,
        };
        let rules = Rules {
            grace: seconds("copies_grace_seconds")? * 1000,
            check: seconds("copies_check_seconds")? * 1000,
            lease: seconds("copies_lease_seconds")? * 1000,
            // Who had no room has perhaps some after a few looks.
            pause: look * 1000 * 10,
        };
        Ok(Settings {
            files: Files::of(home),
            models: Models::of(home),
            pledge,
            quota,
            look: Duration::from_secs(look),
            prior: seconds("copies_prior_seconds")? * 1000,
            rules,
        })
    }
}

/// Copies of this node's pins on others, and of others' here.
#[derive(Debug)]
pub struct Copies {
    settings: Settings,
    blobs: Blobs,
    peers: Arc<Peers>,
    ledger: Option<Ledger>,
    state: Mutex<State>,
    fetches: Arc<Semaphore>,
}

/// What was last heard of a node.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// Bytes that it has free for others; none while it does not answer.
    room: Option<u64>,
    /// Where it is or was, if that is known.
    subnet: Option<Subnet>,
    /// What its owner calls it.
    name: String,
}

#[derive(Debug, Default)]
struct State {
    uptimes: BTreeMap<Hash, Uptime>,
    seen: BTreeMap<Hash, Seen>,
    cares: BTreeMap<Cid, Care>,
    leases: BTreeMap<(Cid, Hash), Lease>,
    /// What is being fetched for others.
    fetching: BTreeSet<Cid>,
    /// Why something was not fetched, for whoever asks next.
    failures: BTreeMap<(Cid, Hash), String>,
    /// Whose lease has ended, and that may be deleted.
    ended: BTreeSet<Cid>,
    /// Bytes that disk and quota leave, when it was last looked.
    spare: u64,
}

impl Copies {
    /// Reads what is kept; nothing is begun.
    ///
    /// # Errors
    /// When a file cannot be read or is not one.
    pub fn open(
        settings: Settings,
        blobs: Blobs,
        peers: Arc<Peers>,
        ledger: Option<Ledger>,
    ) -> Result<Arc<Copies>, CopiesError> {
        let files = &settings.files;
        let mut state = State { uptimes: files.uptimes()?, ..State::default() };
        for cid in files.cared_for()? {
            if let Some(mut care) = files.care(&cid)? {
                care.begin(now());
                state.cares.insert(cid, care);
            }
        }
        for lease in files.leases()?.into_iter().take(LEASES_MAX) {
            state.leases.insert((lease.cid, lease.node), lease);
        }
        let (state, fetches) = (Mutex::new(state), Arc::new(Semaphore::new(FETCHES_MAX)));
        Ok(Arc::new(Copies { settings, blobs, peers, ledger, state, fetches }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What a thread that ended left is still what it saw.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All nodes whose uptime is measured, as placement sees them.
    fn candidates(&self) -> Vec<Candidate> {
        let nodes: Vec<Hash> = self.state().uptimes.keys().copied().collect();
        let owners = self.owners(&nodes);
        let state = self.state();
        let candidate = |(node, uptime): (&Hash, &Uptime)| {
            let seen = state.seen.get(node);
            Candidate {
                node: *node,
                away: uptime.away(self.settings.prior),
                room: seen.and_then(|seen| seen.room),
                subnet: seen.and_then(|seen| seen.subnet),
                owner: owners.get(node).copied(),
            }
        };
        state.uptimes.iter().map(candidate).collect()
    }

    /// The accounts that answer for nodes: the ledger knows those of registered ones and of validators.
    fn owners(&self, nodes: &[Hash]) -> BTreeMap<Hash, Address> {
        let Some(ledger) = &self.ledger else { return BTreeMap::new() };
        let mut chain = ledger.chain();
        let said = chain.state();
        let owner = |node: &Hash| {
            let registered = said.node(node).map(|it| it.account);
            Some((*node, registered.or_else(|| Some(said.validator(node)?.account))?))
        };
        nodes.iter().filter_map(owner).collect()
    }
}

impl State {
    /// Books a look at all nodes that are known; those that answer become known by it.
    fn book(&mut self, answers: BTreeMap<Hash, Seen>, time: u64) {
        for seen in self.seen.values_mut() {
            seen.room = None;
        }
        for (node, mut seen) in answers {
            if seen.room.is_some() && self.make_room_for(&node) {
                self.uptimes.entry(node).or_default();
            }
            if self.uptimes.contains_key(&node) {
                // Where a connection does not say where it leads, an earlier one may have.
                seen.subnet = seen.subnet.or(self.seen.get(&node).and_then(|it| it.subnet));
                self.seen.insert(node, seen);
            }
        }
        for (node, uptime) in &mut self.uptimes {
            uptime.book(self.seen.get(node).is_some_and(|seen| seen.room.is_some()), time);
        }
    }

    /// Forgets the node that was seen least and keeps nothing, if there is no room for this one.
    fn make_room_for(&mut self, node: &Hash) -> bool {
        if self.uptimes.len() < UPTIMES_MAX || self.uptimes.contains_key(node) {
            return true;
        }
        let is_keeper = |node: &Hash| self.cares.values().any(|it| it.keepers.contains_key(node));
        let others = self.uptimes.iter().filter(|(node, _)| !is_keeper(node));
        let Some(least) = others.min_by_key(|(_, it)| it.there()).map(|(node, _)| *node) else {
            return false;
        };
        self.uptimes.remove(&least);
        self.seen.remove(&least);
        true
    }

    fn fail(&mut self, cid: Cid, node: Hash, why: String) {
        if self.failures.len() < FAILURES_MAX {
            self.failures.insert((cid, node), why);
        }
    }
}

/// Bytes of everything at and below a root; `None` unless all of it is here.
fn whole_size(blobs: &Blobs, cid: Cid) -> Result<Option<u64>, StoreError> {
    let reached = reach(blobs, [cid])?;
    if !reached.missing.is_empty() {
        return Ok(None);
    }
    let mut size = 0u64;
    for cid in reached.counts.keys() {
        size = size.saturating_add(match std::fs::metadata(blobs.path(cid)) {
            Ok(file) => file.len(),
            Err(_) => blobs.node(cid)?.map_or(0, |block| block.len() as u64),
        });
    }
    Ok(Some(size))
}

#[cfg(test)]
mod tests;
