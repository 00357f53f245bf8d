//! What must hold in every run, each recomputed from the record.
//!
//! Invariants: a check trusts nothing that a node says of itself where it can compute it again.
//!
//! Not here: what happened (`record`).

use std::collections::{BTreeMap, BTreeSet};

use chain::block::{Block, DRIFT_MAX};
use chain::chain::Chain;
use chain::store::Store;
use ledger::governance::{Proposal, Stage};
use ledger::state::State;
use types::agreement::Certificate;
use types::amount::Nonce;
use types::envelope::Signed;
use types::id::{Address, Hash};
use types::measure::{Measure, Parameter};
use types::transaction::Action;

use crate::record::Record;

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub check: &'static str,
    /// What was seen.
    pub what: String,
}

/// How far a node's clock may be from the world's, in milliseconds.
pub const SKEW_MAX: u64 = 500;

/// A check: what it sees that must not be.
type Check = fn(&Record) -> Result<(), String>;

/// All checks, with their names.
pub const CHECKS: [(&str, Check); 12] = [
    ("agreement", agreement),
    ("blocks are decided", decided),
    ("credits are conserved", conservation),
    ("no double spend", double_spend),
    ("votes count once", votes),
    ("parameters change by vote", parameters),
    ("states follow from blocks", replay),
    ("time", time),
    ("commits last", durability),
    ("honest nodes contradict nobody", honesty),
    ("honest nodes go on", stops),
    ("pools hold nothing spent", pools),
];

/// What is wrong with a run. Whether the nodes arrived in time is `liveness`.
#[must_use]
pub fn all(record: &Record) -> Vec<Violation> {
    let checks = CHECKS.into_iter().chain([("liveness", liveness as Check)]);
    let failed =
        checks.filter_map(|(check, run)| run(record).err().map(|what| Violation { check, what }));
    failed.collect()
}

fn must(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Two honest nodes have the same block and state at the same height, and a node one block.
fn agreement(record: &Record) -> Result<(), String> {
    let mut seen: BTreeMap<u64, (Hash, Hash)> = BTreeMap::new();
    for commit in &record.commits {
        let first = *seen.entry(commit.height).or_insert((commit.id, commit.root));
        must(first == (commit.id, commit.root), || {
            format!("node {} has another block or state at height {}", commit.node, commit.height)
        })?;
    }
    Ok(())
}

/// More than two thirds of the power decided each block, and the blocks are a chain.
fn decided(record: &Record) -> Result<(), String> {
    let network = record.genesis.hash();
    let mut parent = network;
    for (height, (number, block)) in (1..).zip(&record.blocks) {
        must(height == *number, || format!("there is no block {height}"))?;
        let header = Block::decode(&block.bytes).map_err(|error| error.to_string())?.header;
        let is_next = (header.id(), header.parent) == (block.id, parent);
        must(is_next, || format!("block {height} does not follow its parent"))?;
        let before = match number {
            1 => None,
            _ => record.states.get(&(number - 1)),
        };
        let validators = match before {
            Some(state) => state.validators_at(header.height),
            None => genesis_state(record)?.validators_at(header.height),
        };
        let Certificate { block: of, .. } = block.certificate;
        must(of == block.id, || format!("the certificate of block {height} is another's"))?;
        block
            .certificate
            .verify(network, &validators)
            .map_err(|error| format!("block {height}: {error}"))?;
        parent = block.id;
    }
    Ok(())
}

fn genesis_state(record: &Record) -> Result<State, String> {
    record.genesis.state().map_err(|error| error.to_string())
}

/// The balances of every state sum to zero, and the ledger's own invariants hold.
fn conservation(record: &Record) -> Result<(), String> {
    for (height, state) in &record.states {
        let sum: i128 = state.all_accounts().map(|(_, account)| account.balance).sum();
        must(sum == 0, || format!("the balances at height {height} sum to {sum}"))?;
        ledger::check::check(state).map_err(|error| format!("height {height}: {error}"))?;
    }
    Ok(())
}

fn orders(record: &Record) -> Result<Vec<(u64, Signed)>, String> {
    let mut orders = vec![];
    for (height, block) in &record.blocks {
        let block = Block::decode(&block.bytes).map_err(|error| error.to_string())?;
        orders.extend(block.orders.as_slice().iter().map(|order| (*height, order.clone())));
    }
    Ok(orders)
}

/// Each order is in one block once; an account's nonces are 0, 1, 2 ...; no transfer is made twice.
fn double_spend(record: &Record) -> Result<(), String> {
    let (mut names, mut notes) = (BTreeSet::new(), BTreeSet::new());
    let mut nonces: BTreeMap<Address, Nonce> = BTreeMap::new();
    for (height, signed) in orders(record)? {
        let order = &signed.order;
        must(names.insert(signed.id()), || format!("an order is twice in the blocks, {height}"))?;
        let next = nonces.entry(order.account).or_default();
        must(order.nonce == *next, || format!("a nonce is used twice, or left out, {height}"))?;
        *next = next.after(1);
        if let Action::Transfer(it) = &order.action {
            let note = it.note.to_string();
            must(notes.insert(note.clone()), || format!("{note} is made twice, {height}"))?;
        }
    }
    let Some((height, last)) = record.states.last_key_value() else { return Ok(()) };
    for (account, nonce) in nonces {
        must(last.nonce(&account) == nonce, || {
            format!("{account} has another count of orders at height {height} than the blocks")
        })?;
    }
    Ok(())
}

/// Each ballot was cast by an elector in time, or by the one whom it lets vote; each counts once.
fn votes(record: &Record) -> Result<(), String> {
    let (mut cast, mut lent) = (BTreeMap::new(), BTreeSet::new());
    for (height, signed) in orders(record)? {
        let account = signed.order.account;
        match &signed.order.action {
            Action::Vote(it) => drop(cast.insert((it.proposal, account), (it.choice, height))),
            Action::Delegate(it) => drop(lent.insert((account, it.to))),
            _ => {}
        }
    }
    let Some((_, state)) = record.states.last_key_value() else { return Ok(()) };
    for ((number, voter), ballot) in state.all_ballots() {
        let place = || format!("the ballot of {voter} on proposal {number}");
        let proposal = state.proposal(*number).ok_or_else(place)?;
        let member = state.member(voter).ok_or_else(place)?;
        must(member.was_active(proposal.opened), place)?;
        let own = cast.get(&(*number, *voter));
        if ballot.by == *voter {
            let is_own = own
                .is_some_and(|(choice, at)| *choice == ballot.choice && *at <= proposal.closes.0);
            must(is_own, || format!("{} was not cast", place()))?;
        } else {
            let of = cast.get(&(*number, ballot.by));
            let is_lent = lent.contains(&(*voter, ballot.by));
            let is_right = is_lent && of.is_some_and(|(choice, _)| *choice == ballot.choice);
            must(is_right && own.is_none(), || format!("{} was not lent", place()))?;
        }
    }
    let closed = state.all_proposals().filter(|(_, it)| it.stage != Stage::Voting);
    for (number, proposal) in closed {
        let ballots = state.all_ballots().filter(|((of, _), _)| of == number).count();
        let tally = proposal.tally;
        let counted = u64::from(tally.yes) + u64::from(tally.no) + u64::from(tally.abstain);
        must(counted == ballots as u64 && counted <= u64::from(proposal.electorate), || {
            format!("proposal {number} counts {counted} ballots and has {ballots}")
        })?;
    }
    Ok(())
}

/// Whether the ballots pass the bar, by the specification's formula.
fn has_passed(proposal: &Proposal) -> bool {
    let [yes, no, abstain] =
        [proposal.tally.yes, proposal.tally.no, proposal.tally.abstain].map(u64::from);
    (yes + no + abstain) * 1000 >= u64::from(proposal.electorate) * proposal.quorum
        && yes * 1000 > (yes + no) * proposal.threshold
}

/// Where a parameter changed, a proposal that passed was executed and set it.
fn parameters(record: &Record) -> Result<(), String> {
    let mut before = genesis_state(record)?;
    for (height, state) in &record.states {
        let executed: Vec<&Proposal> = state
            .all_proposals()
            .filter(|(number, it)| {
                let was = before.proposal(**number).map(|it| it.stage);
                it.stage == Stage::Executed && was != Some(Stage::Executed)
            })
            .map(|(_, it)| it)
            .collect();
        for proposal in &executed {
            must(has_passed(proposal) && proposal.executes.0 == *height, || {
                format!("a proposal that has not passed was executed at height {height}")
            })?;
        }
        let sets = |parameter: Parameter| {
            let measures = executed.iter().flat_map(|it| it.measures.as_slice());
            let values = measures.filter_map(move |measure| match measure {
                Measure::SetParameter(it) if it.parameter == parameter => Some(it.value),
                _ => None,
            });
            values.collect::<Vec<u64>>()
        };
        for &parameter in Parameter::ALL {
            let (old, new) = (before.parameter(parameter), state.parameter(parameter));
            must(old == new || sets(parameter).contains(&new), || {
                format!("{parameter} changed from {old} to {new} at height {height} by no vote")
            })?;
        }
        before = state.clone();
    }
    Ok(())
}

/// A chain that is made again from the genesis and the blocks has the same states.
fn replay(record: &Record) -> Result<(), String> {
    let store = Store::in_memory().map_err(|error| error.to_string())?;
    let chain = Chain::open(store, &record.genesis, 1);
    let mut chain = chain.map_err(|error| error.to_string())?;
    for (height, block) in &record.blocks {
        chain.check(u64::MAX, &block.bytes).map_err(|error| format!("block {height}: {error}"))?;
        chain.commit(&block.certificate).map_err(|error| format!("block {height}: {error}"))?;
        let root = chain.tip().state;
        let same = record.commits.iter().filter(|commit| commit.height == *height);
        let is_same = same.clone().all(|commit| commit.root == root);
        must(is_same, || format!("the state's root at height {height} is another"))?;
        let shown = record.states.get(height);
        must(shown == Some(chain.state()), || format!("the state at height {height} is another"))?;
    }
    Ok(())
}

/// Blocks' times are later by the interval or more, and not ahead of the clocks.
fn time(record: &Record) -> Result<(), String> {
    let mut before: Option<u64> = None;
    for (height, block) in &record.blocks {
        let time = Block::decode(&block.bytes).map_err(|error| error.to_string())?.header.time;
        let after = before.map_or(1, |before| before + u64::from(record.genesis.interval));
        must(time >= after, || format!("block {height} is too soon after its parent"))?;
        must(time <= block.at + DRIFT_MAX + SKEW_MAX, || {
            format!("block {height} is {} ms ahead of the clocks", time - block.at)
        })?;
        before = Some(time);
    }
    Ok(())
}

/// What a node has acknowledged it still has after each crash.
fn durability(record: &Record) -> Result<(), String> {
    for restart in &record.restarts {
        let (height, id) = restart.acknowledged;
        must(restart.found == Some(id), || {
            format!("node {} had acknowledged block {height}, and lost it", restart.node)
        })?;
    }
    Ok(())
}

/// Nobody has a proof that an honest node contradicted itself.
fn honesty(record: &Record) -> Result<(), String> {
    for accused in &record.accused {
        let node = record.nodes.iter().position(|(key, is_honest)| key == accused && *is_honest);
        must(node.is_none(), || format!("node {node:?} is honest and contradicted itself"))?;
    }
    Ok(())
}

/// No honest node stopped for a reason but its disk's.
fn stops(record: &Record) -> Result<(), String> {
    match record.stopped.first() {
        Some((node, why)) => Err(format!("node {node}: {why}")),
        None => Ok(()),
    }
}

/// No order waits whose nonce is used.
fn pools(record: &Record) -> Result<(), String> {
    match record.spent_waiting.first() {
        Some((node, order)) => Err(format!("order {order} waits at node {node} and is spent")),
        None => Ok(()),
    }
}

/// After the faults, every honest node got as far as it should.
fn liveness(record: &Record) -> Result<(), String> {
    match record.late.first() {
        Some((node, height, wanted)) => {
            Err(format!("node {node} is at height {height} and should be at {wanted}"))
        }
        None => Ok(()),
    }
}
