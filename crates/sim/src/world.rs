//! A whole network, from one seed: nodes, the wires between them, members, and what goes wrong.
//!
//! A run has two parts. In the first, messages are late, lost and overtaken, nodes crash and come back,
//! and the network falls apart and heals. In the second nothing fails but the liars, and every honest
//! node must get ahead.
//!
//! Invariants: one plan gives one run, to the last message; nothing reads a clock.
//!
//! Not here: what must hold (`check`), and what liars do (`byzantine`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use chain::chain::Chain;
use chain::store::Store;
use consensus::application::{Application as _, Fault};
use consensus::simulated::message::gossip;
use consensus::simulated::replica::{Replica, Wish};
use sha2::{Digest, Sha256};
use types::amount::Height;
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::byzantine::equivocator::Plot;
use crate::byzantine::{Around, Behaviour, Kind, Sent};
use crate::check::{self, SKEW_MAX, Violation};
use crate::flaw::Flaw;
use crate::machine::Simulated;
use crate::node::{Ledger, Place, batch};
use crate::people::{People, Workload, genesis};
use crate::random::Random;
use crate::record::{Record, Restart, Shared};

/// The world's time when a run begins, in milliseconds since 1970.
const START: u64 = 1_700_000_000_000;
/// How long things go wrong, in milliseconds.
const STORM: u64 = 6_000;
/// How long the honest nodes have then to get ahead, and by how many blocks.
const CALM_MAX: u64 = 240_000;
const AHEAD: u64 = 2;
/// How often a liar does something of its own accord, and members do something, in milliseconds.
const TICK: u64 = 900;
const ORDER: u64 = 220;
/// Events of a run, at most: a flood that feeds itself is a fault.
const EVENTS_MAX: u64 = 2_000_000;

/// What a run is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All luck comes from it.
    pub seed: u64,
    /// How many validators there are.
    pub validators: usize,
    /// Those of them that lie.
    pub liars: Vec<Kind>,
    /// A rule that all of them break.
    pub flaw: Option<Flaw>,
}

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// A hash of all that happened, in its order.
    pub hash: Hash,
    /// Checks that failed.
    pub violations: Vec<Violation>,
    /// What the run reached.
    pub reached: Reached,
}

/// What a run reached, to see that runs reach what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Blocks.
    pub height: u64,
    /// Orders in blocks.
    pub orders: u64,
    /// Crashes.
    pub crashes: u64,
    /// Proposals that were executed.
    pub executed: u64,
    /// Proofs against liars.
    pub accused: u64,
    /// Blocks that took more than one round.
    pub later_rounds: u64,
    /// Messages.
    pub messages: u64,
}

/// A node and what is around it.
struct Station {
    secret: NodeSecret,
    key: Hash,
    machine: Simulated,
    replica: Option<Replica<Ledger, Simulated>>,
    liar: Option<Box<dyn Behaviour>>,
    /// Counts starts, so that what was meant for an earlier one is dropped.
    epoch: u64,
    skew: u64,
    /// Whether its file was opened once: then it must open again.
    has_begun: bool,
    tasks: BTreeMap<u64, Box<dyn FnOnce() + Send>>,
    gossiped: u64,
}

enum Event {
    Deliver { to: usize, from: usize, bytes: Arc<[u8]> },
    Wake { node: usize, epoch: u64, number: u64 },
    Task { node: usize, epoch: u64, number: u64 },
    Order,
    Tick { node: usize },
    Crash { node: usize },
    StopDisk { node: usize, operations: u64 },
    Restart { node: usize },
    Split { sides: Vec<bool> },
    Heal,
}

struct World {
    plan: Plan,
    rng: Random,
    now: u64,
    sequence: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    stations: Vec<Station>,
    record: Shared,
    people: People,
    workload: Workload,
    /// Which side of a split each node is on.
    sides: Vec<bool>,
    /// Messages lost, of a hundred, and how late the others are.
    loss: u64,
    delay: (u64, u64),
    is_calm: bool,
    hash: Sha256,
    reached: Reached,
}

impl Plan {
    /// The plan of a seed: networks of some sizes, with liars of some kinds, or none, or of all kinds.
    #[must_use]
    pub fn of_seed(seed: u64, sizes: &[usize], kind: Option<Kind>) -> Plan {
        let mut rng = Random::new(seed ^ 0x5eed);
        let validators = rng.of(sizes);
        let most = validators.saturating_sub(1) / 3;
        let liars = match (kind, rng.index(Kind::ALL.len() + 2)) {
            (Some(kind), _) => vec![kind; most],
            (None, 0) => vec![],
            (None, 1) => (0..most).map(|_| rng.of(&Kind::ALL)).collect(),
            (None, index) => vec![Kind::ALL[index - 2]; most],
        };
        Plan { seed, validators, liars, flaw: None }
    }
}

/// Runs a plan.
#[must_use]
pub fn run(plan: &Plan) -> Outcome {
    let made = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan.clone());
        world.play();
        world.end()
    }));
    made.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let what = text.unwrap_or_else(|| "no reason was given".to_owned());
        let violations = vec![Violation { check: "nothing panics", what }];
        Outcome { hash: Hash([0; 32]), violations, reached: Reached::default() }
    })
}

impl World {
    fn new(plan: Plan) -> World {
        let mut rng = Random::new(plan.seed);
        let secret = |number: usize| {
            NodeSecret::new(Sha256::digest(format!("node {number}").as_bytes()).into())
        };
        let mut secrets: Vec<NodeSecret> = (0..plan.validators).map(secret).collect();
        // The order of keys is that of proposers: the liars' turns are not always alike.
        let turn = rng.index(secrets.len());
        secrets.rotate_left(turn);
        let genesis = genesis(&secrets);
        let people = People::new(genesis.hash());
        let (liars, habits) = (plan.liars.len(), Flaw::habits(plan.flaw));
        let nodes = secrets.iter().enumerate();
        let nodes = nodes.map(|(number, secret)| (secret.key(), number >= liars)).collect();
        let sides = (0..plan.validators).map(|number| number % 2 == 0).collect();
        let plot = Plot::new(sides, secrets[..liars].to_vec());
        let mut stations = vec![];
        for (number, secret) in secrets.into_iter().enumerate() {
            let liar = plan.liars.get(number).map(|kind| kind.behaviour(&plot));
            stations.push(Station {
                key: secret.key(),
                secret,
                machine: Simulated::new(habits),
                replica: None,
                liar,
                epoch: 0,
                has_begun: false,
                skew: rng.below(SKEW_MAX),
                tasks: BTreeMap::new(),
                gossiped: 0,
            });
        }
        let delay = (rng.between(1, 40), rng.between(5, 150));
        World {
            loss: if rng.chance(60) { rng.below(12) } else { 0 },
            delay,
            sides: vec![true; stations.len()],
            now: START,
            sequence: 0,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            record: Shared::new(Record::new(genesis, nodes)),
            workload: Workload::new(people.clone()),
            people,
            stations,
            is_calm: false,
            hash: Sha256::new(),
            reached: Reached::default(),
            rng,
            plan,
        }
    }

    fn at(&mut self, wait: u64, event: Event) {
        let at = self.now.saturating_add(wait);
        self.queue.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, event);
        self.sequence += 1;
    }

    fn play(&mut self) {
        self.forecast();
        for node in 0..self.stations.len() {
            let wait = self.rng.below(300);
            self.at(wait, Event::Restart { node });
        }
        self.at(ORDER, Event::Order);
        self.until(START + STORM, |_| false);
        // Whatever was down comes back, and nothing is lost any more.
        self.is_calm = true;
        self.loss = 0;
        self.sides.fill(true);
        for node in 0..self.stations.len() {
            if self.stations[node].replica.is_none() {
                self.start(node);
            }
        }
        let wanted = self.heights().into_iter().max().unwrap_or(0) + AHEAD;
        let has_arrived = move |world: &World| world.heights().iter().all(|at| *at >= wanted);
        self.until(START + STORM + CALM_MAX, has_arrived);
        let honest: Vec<usize> = self.honest().collect();
        for (node, height) in honest.into_iter().zip(self.heights()) {
            if height < wanted {
                self.record.get().late.push((node, height, wanted));
            }
        }
    }

    /// What will go wrong, and when.
    fn forecast(&mut self) {
        let count = self.stations.len();
        for node in 0..count {
            if self.stations[node].liar.is_some() {
                self.at(TICK, Event::Tick { node });
            }
        }
        for _ in 0..self.rng.below(4) {
            let (node, at) = (self.rng.index(count), self.rng.between(300, STORM - 500));
            let operations = self.rng.below(30);
            match self.rng.chance(60) {
                true => self.at(at, Event::StopDisk { node, operations }),
                false => self.at(at, Event::Crash { node }),
            }
        }
        // The power of the whole house.
        if self.rng.chance(25) {
            let at = self.rng.between(600, STORM - 1500);
            for node in 0..count {
                let wait = self.rng.below(20);
                self.at(at + wait, Event::Crash { node });
            }
        }
        if self.rng.chance(35) {
            let (at, long) = (self.rng.between(500, STORM / 2), self.rng.between(500, 2500));
            let sides = (0..count).map(|_| self.rng.chance(50)).collect();
            self.at(at, Event::Split { sides });
            self.at(at + long, Event::Heal);
        }
    }

    fn honest(&self) -> impl Iterator<Item = usize> {
        self.plan.liars.len()..self.stations.len()
    }

    fn heights(&self) -> Vec<u64> {
        let replicas = self.honest().map(|node| self.stations[node].replica.as_ref());
        replicas.map(|it| it.map_or(0, |replica| replica.app().height())).collect()
    }

    fn until(&mut self, end: u64, is_done: impl Fn(&World) -> bool) {
        let mut commits = usize::MAX;
        while let Some(&Reverse((at, sequence))) = self.queue.peek() {
            let count = self.record.get().commits.len();
            if at > end || self.sequence > EVENTS_MAX || (count != commits && is_done(self)) {
                self.now = self.now.max(end.min(at));
                return;
            }
            commits = count;
            self.queue.pop();
            self.now = at;
            self.record.get().now = at;
            if let Some(event) = self.events.remove(&sequence) {
                self.happen(event);
            }
        }
    }

    fn note(&mut self, kind: u8, node: usize, bytes: &[u8]) {
        self.hash.update([kind]);
        self.hash.update(self.now.to_le_bytes());
        self.hash.update((node as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { to, from, bytes } => {
                self.note(0, to, &bytes);
                self.reached.messages += 1;
                let from = self.stations[from].key;
                self.with(to, |replica| replica.receive(&from, &bytes));
            }
            Event::Wake { node, epoch, number } => {
                self.note(1, node, &number.to_le_bytes());
                if self.stations[node].epoch == epoch {
                    self.with(node, |replica| replica.wake(number));
                }
            }
            Event::Task { node, epoch, number } => {
                self.note(2, node, &number.to_le_bytes());
                if self.stations[node].epoch == epoch
                    && let Some(task) = self.stations[node].tasks.remove(&number)
                {
                    task();
                    self.with(node, Replica::go_on);
                }
            }
            Event::Order => self.order(),
            Event::Tick { node } => self.tick(node),
            Event::Crash { node } => self.crash(node),
            Event::StopDisk { node, operations } => {
                self.note(3, node, &operations.to_le_bytes());
                self.stations[node].machine.disk().stop_after(operations);
            }
            Event::Restart { node } => {
                if self.stations[node].replica.is_none() {
                    self.start(node);
                }
            }
            Event::Split { sides } if !self.is_calm => self.sides = sides,
            Event::Split { .. } => {}
            Event::Heal => self.sides.fill(true),
        }
    }

    /// Does something with a node that is up, and then what it wants done.
    fn with(
        &mut self,
        node: usize,
        action: impl FnOnce(&mut Replica<Ledger, Simulated>) -> Result<(), Fault>,
    ) {
        let station = &mut self.stations[node];
        station.machine.set_clock(self.now + station.skew);
        let Some(replica) = &mut station.replica else { return };
        let outcome = action(replica);
        let wishes = replica.wishes();
        self.grant(node, wishes);
        if let Err(Fault(why)) = outcome {
            self.stop(node, why);
        }
    }

    /// A node cannot go on: because its disk has stopped, or it should have.
    fn stop(&mut self, node: usize, why: String) {
        let is_disk = self.stations[node].machine.disk().has_stopped();
        if is_disk {
            self.crash(node);
            return;
        }
        self.note(4, node, why.as_bytes());
        self.stations[node].replica = None;
        self.stations[node].epoch += 1;
        if self.stations[node].liar.is_none() {
            self.record.get().stopped.push((node, why));
        }
    }

    fn grant(&mut self, node: usize, wishes: Vec<Wish>) {
        let epoch = self.stations[node].epoch;
        for wish in wishes {
            match wish {
                Wish::Wake(wait, number) => self.at(wait, Event::Wake { node, epoch, number }),
                Wish::Send(bytes) => self.broadcast(node, bytes),
                Wish::SendTo(key, bytes) => {
                    let answers = self.stations[node].liar.as_ref().is_none_or(|it| it.answers());
                    let to = self.stations.iter().position(|station| station.key == key);
                    if let Some(to) = to.filter(|_| answers) {
                        self.deliver(node, to, &bytes.into());
                    }
                }
            }
        }
        for (wait, task) in self.stations[node].machine.later() {
            let number = self.sequence;
            self.stations[node].tasks.insert(number, task);
            self.at(wait, Event::Task { node, epoch, number });
        }
    }

    fn broadcast(&mut self, node: usize, bytes: Vec<u8>) {
        let sent = self.lie(node, |liar, around| liar.send(around, &bytes));
        let sent = sent.unwrap_or_else(|| vec![Sent { to: None, bytes }]);
        self.send(node, sent);
    }

    /// Lets a liar act; none if the node is honest or down.
    fn lie(
        &mut self,
        node: usize,
        act: impl FnOnce(&mut dyn Behaviour, &mut Around<'_>) -> Vec<Sent>,
    ) -> Option<Vec<Sent>> {
        let count = self.stations.len();
        let (network, station) = (self.record.get().genesis.hash(), &mut self.stations[node]);
        let (liar, replica) = (station.liar.as_mut()?, station.replica.as_ref()?);
        let mut around = Around {
            network,
            secret: &station.secret,
            count,
            now: self.now + station.skew,
            rng: &mut self.rng,
            ledger: replica.app(),
            people: &self.people,
        };
        Some(act(liar.as_mut(), &mut around))
    }

    fn send(&mut self, node: usize, sent: Vec<Sent>) {
        for Sent { to, bytes } in sent {
            let bytes: Arc<[u8]> = bytes.into();
            match to {
                Some(to) => self.deliver(node, to, &bytes),
                None => (0..self.stations.len()).for_each(|to| self.deliver(node, to, &bytes)),
            }
        }
    }

    fn deliver(&mut self, from: usize, to: usize, bytes: &Arc<[u8]>) {
        let is_lost = self.rng.chance(self.loss);
        if from == to || self.sides[from] != self.sides[to] || is_lost {
            return;
        }
        let mut wait = self.delay.0 + self.rng.below(self.delay.1);
        // Some are overtaken by much later ones.
        if !self.is_calm && self.rng.chance(2) {
            wait += self.rng.below(1500);
        }
        self.at(wait, Event::Deliver { to, from, bytes: Arc::clone(bytes) });
    }

    fn order(&mut self) {
        let node = self.rng.index(self.stations.len());
        let station = &self.stations[node];
        if let Some(replica) = &station.replica {
            let orders = self.workload.next(&mut self.rng, &mut replica.app().chain());
            // Two with one nonce go to two nodes.
            let is_double = matches!(orders.as_slice(), [one, two]
                if (one.order.account, one.order.nonce) == (two.order.account, two.order.nonce));
            for (index, signed) in orders.into_iter().enumerate() {
                let to = (node + if is_double { index } else { 0 }) % self.stations.len();
                let Some(replica) = &self.stations[to].replica else { continue };
                if replica.app().submit(signed.clone()).is_ok() {
                    self.stations[to].gossiped += 1;
                    let count = (1 << 32) + self.stations[to].gossiped;
                    let message = gossip(count, batch(vec![signed])).unwrap_or_default();
                    self.broadcast(to, message);
                }
            }
        }
        self.at(ORDER, Event::Order);
    }

    fn tick(&mut self, node: usize) {
        let sent = self.lie(node, |liar, around| liar.tick(around));
        self.send(node, sent.unwrap_or_default());
        self.at(TICK, Event::Tick { node });
    }

    fn crash(&mut self, node: usize) {
        let station = &mut self.stations[node];
        let has_stopped = station.machine.disk().has_stopped();
        if (self.is_calm || station.replica.is_none()) && !has_stopped {
            return;
        }
        let luck = self.rng.number();
        station.epoch += 1;
        station.tasks.clear();
        // Before the node is dropped: a crash does not close the file.
        station.machine = station.machine.after_a_crash(luck);
        station.replica = None;
        self.note(5, node, &luck.to_le_bytes());
        self.reached.crashes += 1;
        let wait = self.rng.between(50, 2000);
        self.at(wait, Event::Restart { node });
    }

    fn start(&mut self, node: usize) {
        self.note(6, node, &[]);
        let station = &mut self.stations[node];
        station.epoch += 1;
        station.machine.set_clock(self.now + station.skew);
        let (machine, genesis) = (station.machine.clone(), self.record.get().genesis.clone());
        let network = genesis.hash();
        let opened = Store::open_on(machine.disk())
            .map_err(|error| error.to_string())
            .and_then(|store| Chain::open(store, &genesis, 1).map_err(|error| error.to_string()));
        let is_honest = station.liar.is_none();
        let chain = match opened {
            Ok(chain) => chain,
            Err(_) if machine.disk().has_stopped() => return self.crash(node),
            Err(_) if !self.stations[node].has_begun => {
                // A file that was never begun whole has nothing to lose.
                let habits = Flaw::habits(self.plan.flaw);
                self.stations[node].machine = Simulated::new(habits);
                self.at(10, Event::Restart { node });
                return;
            }
            Err(why) => return self.stop(node, why),
        };
        self.remember(node, &chain);
        let place = Place {
            number: node,
            is_honest,
            flaw: self.plan.flaw,
            people: self.people.clone(),
            record: self.record.clone(),
        };
        let station = &mut self.stations[node];
        station.has_begun = true;
        let secret = station.secret.clone();
        match Replica::start(Ledger::new(chain, place), network, secret, machine) {
            Ok(replica) => {
                station.replica = Some(replica);
                self.with(node, |_| Ok(()));
            }
            Err(Fault(why)) => self.stop(node, why),
        }
    }

    /// The last block that an honest node has acknowledged.
    fn last(&self, node: usize) -> Option<(u64, Hash)> {
        let record = self.record.get();
        let last = record.commits.iter().rev().find(|commit| commit.node == node);
        last.map(|commit| (commit.height, commit.id))
    }

    /// Writes down whether a node's chain has what the node has acknowledged.
    fn remember(&self, node: usize, chain: &Chain) {
        let Some(acknowledged) = self.last(node) else { return };
        let bytes = chain.decided(Height(acknowledged.0)).ok().flatten().map(|it| it.block);
        let block = bytes.and_then(|bytes| chain::block::Block::decode(&bytes).ok());
        let found = block.map(|block| block.header.id());
        self.record.get().restarts.push(Restart { node, acknowledged, found });
    }

    fn end(mut self) -> Outcome {
        for node in self.honest().collect::<Vec<_>>() {
            let Some(replica) = &self.stations[node].replica else { continue };
            let mut chain = replica.app().chain();
            self.remember(node, &chain);
            let waiting: Vec<_> = chain.pool().in_turn().map(|it| it.signed.clone()).collect();
            for signed in waiting {
                if signed.order.nonce < chain.state().nonce(&signed.order.account) {
                    self.record.get().spent_waiting.push((node, signed.id()));
                }
            }
        }
        let record = self.record.get().clone();
        for (height, block) in &record.blocks {
            self.hash.update(height.to_le_bytes());
            self.hash.update(block.id.0);
            self.reached.later_rounds += u64::from(block.certificate.round > 0);
            let block = chain::block::Block::decode(&block.bytes);
            self.reached.orders += block.map_or(0, |block| block.orders.as_slice().len() as u64);
        }
        self.reached.height = record.blocks.len() as u64;
        self.reached.accused = record.accused.len() as u64;
        if let Some((_, state)) = record.states.last_key_value() {
            let stage = ledger::governance::Stage::Executed;
            let executed = state.all_proposals().filter(|(_, it)| it.stage == stage);
            self.reached.executed = executed.count() as u64;
        }
        let violations = check::all(&record);
        let hash = Hash(self.hash.finalize().into());
        Outcome { hash, violations, reached: self.reached }
    }
}
