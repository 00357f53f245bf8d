//! What 10 to 10,000 workers cost one node, by hand: `scale [WORKERS]...`.
//!
//! Announcements, the table of nodes, the choice of a worker and the look into the ledger are those of
//! the program; connections and gossip are not made, and their traffic is computed from sizes and
//! intervals. Prints the tables of `docs/scale.md`.
#![expect(clippy::print_stdout, reason = "a program for people")]

use std::collections::BTreeMap;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use ledger::apply::{apply, end_block};
use ledger::genesis::{Founder, Genesis};
use ledger::nodes::{NODES_MAX, Registration};
use ledger::state::State as LedgerState;
use network::membership::{Announcement, Offer, PASS_TIME, SignedAnnouncement, SignedPass};
use network::revocation::Revocations;
use node::peers::files::Member;
use node::peers::state::State;
use node::route::{Candidate, Ended, Table};
use types::bounded::{List, Text};
use types::codec::encode;
use types::envelope::Order;
use types::id::{Hash, keccak256};
use types::measure::AdmitValidator;
use types::node_key::{NodeSecret, NodeSigned};
use types::signature::Secret;
use types::transaction::{Action, Consent, RegisterNode};
use types::word::Policy;

/// The wall clock of the measurement, in milliseconds since 1970.
const NOW: u64 = 1_800_000_000_000;
const NETWORK: Hash = Hash([1; 32]);
const MODEL: &str = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi";
/// Nodes that let the workers in, each itself let in by the one that began the network.
const INVITERS: u64 = 100;
/// Seconds between two announcements of one node: `peers::ANNOUNCE_INTERVAL`.
const ANNOUNCE_SECONDS: f64 = 30.0;
/// Copies of a message that a node gets: gossipsub's degree, 6, less the link that it came by.
const COPIES: f64 = 5.0;
/// Bytes of a message's name and its frame, in how many heartbeats of a second each it is told of, and
/// to how many of 64 connected nodes: a quarter of those outside the mesh.
const NAMES: (f64, f64, f64) = (34.0, 3.0, 14.0);
/// Decisions that are measured.
const DECISIONS: u32 = 1000;

/// A measurement ends at what it did not expect.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|it| it.parse().ok()).collect();
    let sizes = if given.is_empty() { vec![10, 100, 1_000, 10_000] } else { given };
    println!(
        "| workers | bytes of one | memory, KiB each | check and take in, us | look at the ledger, us | newest 64, us | all for `peers`, us | gossip in, KB/s | of it names, KB/s | checks, ms/s |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut decisions = Vec::new();
    for count in sizes {
        let made: Vec<SignedAnnouncement> = (0..count).map(announcement).collect::<Outcome<_>>()?;
        let made: Vec<Vec<u8>> = made.iter().map(encode).collect();
        let registered = registry(count)?;
        let before = resident();
        let (state, took) = measured(|| learn(&made));
        let mut state = state?;
        let memory = resident().saturating_sub(before) / count;
        let (_, ledger) = measured(|| consult(&mut state, &registered));
        let (_, newest) = measured(|| state.freshest(NOW));
        let (_, all) = measured(|| state.known(NOW));
        let (rate, size) = (count as f64 / ANNOUNCE_SECONDS, made.first().map_or(0, Vec::len));
        let names = rate * NAMES.0 * NAMES.1 * NAMES.2;
        let gossip = rate * size as f64 * COPIES + names;
        let each = took / count as f64;
        println!(
            "| {count} | {size} | {:.1} | {each:.0} | {ledger:.0} | {newest:.0} | {all:.0} | {:.1} | {:.1} | {:.1} |",
            memory as f64 / 1024.0,
            gossip / 1000.0,
            names / 1000.0,
            rate * each / 1000.0,
        );
        // As many as this node connects to by itself, as many as a node can be connected to, and all.
        for connected in [64, 1024, u64::MAX] {
            let connected = connected.min(count);
            connect(&mut state, connected)?;
            decisions.push((count, connected, decide(&state)));
        }
    }
    println!("\n| workers known | connected | decision, median us | 99 of 100, us |");
    println!("| --- | --- | --- | --- |");
    decisions.dedup_by_key(|(count, connected, _)| (*count, *connected));
    for (count, connected, (median, slow)) in decisions {
        println!("| {count} | {connected} | {median:.0} | {slow:.0} |");
    }
    Ok(())
}

/// What something gives, and how many microseconds it takes.
fn measured<T>(act: impl FnOnce() -> T) -> (T, f64) {
    let began = Instant::now();
    let given = black_box(act());
    (given, began.elapsed().as_secs_f64() * 1e6)
}

/// Bytes of memory that this process has.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split_whitespace().nth(1).and_then(|it| it.parse().ok());
    4096 * pages.unwrap_or(0u64)
}

fn secret(kind: &str, number: u64) -> NodeSecret {
    NodeSecret::new(keccak256(format!("{kind} {number}").as_bytes()).0)
}

/// The node whose table it is, which began the network.
fn root() -> NodeSecret {
    secret("root", 0)
}

fn worker(number: u64) -> NodeSecret {
    secret("worker", number)
}

/// What a worker announces: two addresses, two passes, one model.
fn announcement(number: u64) -> Outcome<SignedAnnouncement> {
    let (node, inviter) = (worker(number), secret("inviter", number % INVITERS));
    let expires = NOW / 1000 + PASS_TIME;
    let pass = |node: Hash, by: &NodeSecret| SignedPass::issue(NETWORK, node, expires, by);
    let passes = vec![pass(node.key(), &inviter), pass(inviter.key(), &root())];
    let (a, b) = (number / 250 % 250, number % 250);
    let address = |way: &str| Text::new(&format!("/ip4/198.51.{a}.{b}/{way}"));
    let addresses = vec![address("tcp/8422")?, address("udp/8422/quic-v1")?];
    let offer = Offer {
        model: Text::new(MODEL)?,
        name: Text::new("smollm2-135m")?,
        context: 8192,
        price: number % 1000,
        prefill: 200 + u32::try_from(number % 100)?,
        decode: 20 + u32::try_from(number % 10)?,
        slots: 8,
    };
    let announcement = Announcement {
        network: NETWORK,
        node: node.key(),
        issued: NOW - number,
        name: Text::new(&format!("worker {number}"))?,
        addresses: List::new(addresses)?,
        passes: List::new(passes)?,
        offers: List::new(vec![offer])?,
    };
    Ok(SignedAnnouncement::sign(announcement, &node))
}

/// Reads, checks and takes in what was announced, as it comes from gossip.
fn learn(made: &[Vec<u8>]) -> Outcome<State> {
    let root = root().key();
    let member = Member { root, passes: List::default(), contact: None };
    let mut state = State::new(member, root, Revocations::default(), 7);
    for bytes in made {
        let signed = SignedAnnouncement::read(bytes)?;
        signed.check(&NETWORK, NOW)?;
        let chain = signed.check_passes(&NETWORK, &root, NOW);
        state.learn(signed, chain, NOW)?;
    }
    Ok(state)
}

/// A ledger on which every worker is registered by one of the members.
fn registry(count: u64) -> Outcome<LedgerState> {
    let per = NODES_MAX as u64;
    let secret = |number: u64| Secret::new(keccak256(format!("member {number}").as_bytes()).0);
    let members: Option<Vec<Secret>> = (0..count.div_ceil(per)).map(secret).collect();
    let members = members.ok_or("a hash is no key")?;
    let founder = |it: &Secret| Founder { account: it.address(), name: Text::default() };
    let founders: Vec<Founder> = members.iter().map(founder).collect();
    let account = founders.first().ok_or("there are no workers")?.account;
    let validator = AdmitValidator { node_key: root().key(), account, power: 1 };
    let genesis = Genesis {
        name: Text::default(),
        made: 0,
        interval: 1000,
        snapshot_blocks: 3600,
        policy: Policy::Mutual,
        constitution: None,
        founders: List::new(founders)?,
        validators: List::new(vec![validator])?,
        parameters: List::default(),
        cashier: None,
    };
    let mut state = genesis.state()?;
    let (network, now) = (state.meta().genesis, state.now());
    for (number, member) in (0..count).zip(members.iter().flat_map(|it| [it; NODES_MAX])) {
        let (account, node) = (member.address(), worker(number));
        let (node_key, until) = (node.key(), now);
        let consent = Consent { network, account, node_key, until }.sign(&node);
        let action = Action::RegisterNode(RegisterNode { node_key, until, consent });
        let order = Order { account, nonce: state.nonce(&account), valid_until: now, action };
        apply(&mut state, now, &order.sign(member, &network))?;
    }
    end_block(&mut state, now)?;
    state.seal();
    Ok(state)
}

/// Asks the ledger after a block, as a node does.
fn consult(state: &mut State, ledger: &LedgerState) {
    let found = state.nodes().into_iter();
    let found = found.filter_map(|node| Some((node, ledger.registration(&node)?)));
    let found: BTreeMap<Hash, Registration> = found.collect();
    assert_eq!(found.len(), state.nodes().len(), "all are registered");
    state.consult(ledger.workers(), |node| found.get(node).copied());
}

fn connect(state: &mut State, count: u64) -> Outcome<()> {
    for number in 0..count {
        let address = "/ip4/198.51.100.7/udp/8422/quic-v1".parse()?;
        state.connected(worker(number).key(), address, false, NOW);
    }
    Ok(())
}

/// Chooses among those that are connected, all of which have answered before.
fn decide(state: &State) -> (f64, f64) {
    let mut table = Table::default();
    for (node, ..) in state.offers(MODEL, NOW) {
        table.judge(Some(node), Ended::Well { tokens: 100, time: 4000 }, NOW);
    }
    let prompt: Vec<u32> = (0..512).collect();
    if let Some((node, ..)) = state.offers(MODEL, NOW).last() {
        table.remember(&prompt, Some(*node), NOW);
    }
    let decide = || {
        let offers = state.offers(MODEL, NOW).into_iter();
        let candidates: Vec<Candidate> = offers
            .filter(|(_, _, offer)| offer.context >= 1024)
            .map(|(node, since, offer)| Candidate {
                worker: Some(node),
                since,
                price: offer.price,
                prefill: offer.prefill.max(1),
                decode: offer.decode.max(1),
            })
            .collect();
        table.order(&candidates, &prompt, 256, NOW)
    };
    let mut times: Vec<f64> = (0..DECISIONS).map(|_| measured(decide).1).collect();
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}
