//! `mashaa bench --ledger`: payments a second through a network of processes on this machine, how long
//! each took, and how near that is to what checking signatures alone allows.
//!
//! Invariants: signing is not measured; figures are of the steady part, which leaves out the first
//! fifth of the time.
//!
//! Not here: sending and seeing payments (`load`).

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde_json::json;
use types::id::Hash;

use super::load::{Look, Payers, Progress, Seen, watch};
use crate::arguments::{LoadArguments, TestnetArguments};
use crate::client::{Client, number, text};
use crate::context::{Context, cores};
use crate::outcome::Outcome;
use crate::testnet::{self, Network};

/// How many pay: with the validators' own accounts, what a genesis has room for.
const PAYERS: usize = 240;
/// Ticks of `/proc` in a second, which is the same on every Linux.
const TICKS: f64 = 100.0;
/// Payments that are signed beforehand, at most: 400 bytes each.
const PAYMENTS_MAX: usize = 1 << 20;
/// Senders: a node checks the signatures of one request on one thread, and a thread waits for the
/// chain's lock while a block is executed.
const SENDERS: usize = 8;
/// How long the last payments and the slowest node may take.
const TAIL: Duration = Duration::from_secs(60);
/// Between two looks, where nothing tells.
const LOOK: Duration = Duration::from_millis(20);
/// Signatures that are checked to see what one costs.
const SAMPLE: usize = 4000;

/// What one signature costs on one core, in seconds.
struct Cost {
    /// Recovering its key.
    recover: f64,
    /// With the hash that was signed, and the order's name.
    verify: f64,
}

/// A network of this program's own, which ends with this value before its folder does.
struct Own {
    network: Network,
    _folder: Folder,
}

/// A folder that ends with this value.
pub(super) struct Folder(pub(super) PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What was seen of a run.
struct Run {
    progress: Progress,
    blocks: Vec<Seen>,
    /// When each node told of each block, in microseconds from the start.
    looks: Vec<BTreeMap<u64, u64>>,
}

/// What the run came to.
struct Figures {
    sent: usize,
    done: usize,
    rate: f64,
    /// Milliseconds, by half and by 99 of 100 payments.
    latency: [f64; 2],
    blocks: usize,
    largest: usize,
    /// Microseconds of a core for each payment, of all validators together.
    spent: Option<f64>,
}

/// Measures one network at one rate.
pub(super) fn run(context: &Context, it: &LoadArguments) -> anyhow::Result<Outcome> {
    let mut payers = Payers::new(PAYERS)?;
    if it.payers {
        payers.founders().iter().for_each(|founder| println!("{founder}"));
        return Ok(Outcome::Done);
    }
    let cost = cost(&payers)?;
    let (own, addresses) = match it.nodes.is_empty() {
        true => {
            let (own, addresses) = begin(context, it, &payers)?;
            (Some(own), addresses)
        }
        false => (None, it.nodes.clone()),
    };
    let nodes: Vec<Client> = addresses.iter().map(|address| Client::at(address)).collect();
    payers.ask(nodes.first().context("a network has a node")?)?;
    let before = own.as_ref().and_then(Own::seconds);
    let run = load(&nodes, &payers, it, bound(nodes.len(), &cost))?;
    let spent = own.as_ref().and_then(Own::seconds).zip(before).map(|(now, then)| now - then);
    let figures = figures(it, nodes.len(), &payers, &run, spent)?;
    agreement(&nodes, &run.blocks)?;
    drop(own);
    show(context, it, nodes.len(), &figures, &cost);
    Ok(Outcome::Done)
}

/// Begins a network in a folder of its own; the addresses of its APIs.
fn begin(
    context: &Context,
    it: &LoadArguments,
    payers: &Payers,
) -> anyhow::Result<(Own, Vec<String>)> {
    let folder = std::env::temp_dir().join(format!("mashaa-bench-{}", std::process::id()));
    let folder = Folder(folder);
    let net = TestnetArguments {
        validators: it.validators,
        folder: None,
        interval_ms: it.interval_ms,
        snapshot_blocks: None,
        port: port(it.validators)?,
        // Members' quotas are for people; this is what a network can do.
        set: vec!["quota_bytes=4294967296".to_owned()],
    };
    let network = testnet::start(context, &folder.0, &net, &payers.founders())?;
    let addresses = (0..it.validators).map(|at| testnet::address(&net, at));
    Ok((Own { network, _folder: folder }, addresses.collect::<anyhow::Result<_>>()?))
}

impl Own {
    /// Seconds of a core that the validators have taken; none where the system does not say.
    fn seconds(&self) -> Option<f64> {
        let ticks = self.network.processes().map(|process| {
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
            // The name before it ends with a bracket and may hold anything (proc(5)).
            let fields = stat.rsplit_once(')')?.1.split_whitespace();
            let times = fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().ok());
            times.sum::<Option<u64>>()
        });
        Some(ticks.sum::<Option<u64>>()? as f64 / TICKS)
    }
}

/// Payments a second if nothing were done but to recover each signature once on every validator.
fn bound(validators: usize, cost: &Cost) -> f64 {
    cores() as f64 / (validators as f64 * cost.recover)
}

/// What a signature costs here.
fn cost(payers: &Payers) -> anyhow::Result<Cost> {
    let network = Hash([7; 32]);
    let sample = (0..SAMPLE).map(|index| {
        let (order, payer) = payers.order(index, 1).context("a payment of the sample")?;
        Ok((order.signing_hash(&network), order.sign(payer, &network)))
    });
    let sample = sample.collect::<anyhow::Result<Vec<_>>>()?;
    let each = |began: Instant| began.elapsed().as_secs_f64() / SAMPLE as f64;
    let began = Instant::now();
    for (hash, signed) in &sample {
        signed.signature.recover(hash)?;
    }
    let recover = each(began);
    let began = Instant::now();
    for (_, signed) in &sample {
        signed.verify(&network)?;
    }
    Ok(Cost { recover, verify: each(began) })
}

/// The first of as many free ports as the validators take.
fn port(validators: usize) -> anyhow::Result<u16> {
    for _ in 0..64 {
        let first = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let count = u16::try_from(validators * 2).unwrap_or(u16::MAX);
        let Some(end) = first.checked_add(count) else { continue };
        if (first..end).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return Ok(first);
        }
    }
    bail!("no {} free ports in a row on 127.0.0.1", validators * 2)
}

/// Sends the payments and sees them in blocks.
fn load(nodes: &[Client], payers: &Payers, it: &LoadArguments, bound: f64) -> anyhow::Result<Run> {
    let first = nodes.first().context("a network has a validator")?;
    let status = first.get("/ledger")?;
    let network = Hash::parse(text(&status, "network")?).context("the node names no network")?;
    // More than the bound cannot be taken.
    let rate = if it.rate == 0 { bound } else { f64::from(it.rate) };
    let count = ((rate * f64::from(it.seconds)) as usize).clamp(1, PAYMENTS_MAX);
    let senders = SENDERS.max(nodes.len());
    let signed = std::thread::scope(|scope| {
        let own = |sender: usize| {
            (0..count).filter(move |index| index % payers.count() % senders == sender)
        };
        let network = &network;
        let sign = |sender| scope.spawn(move || payers.sign(network, it.accounts, own(sender)));
        let signing: Vec<_> = (0..senders).map(sign).collect();
        signing.into_iter().map(|thread| thread.join().ok().flatten()).collect::<Option<Vec<_>>>()
    });
    let signed = signed.context("the payments could not be signed")?;
    let last = number(&first.get("/ledger")?, "height")?;
    eprintln!("{count} payments signed; sending for {} s", it.seconds);
    let progress = Progress::new(count, payers.count(), senders, it);
    let (to, events) = channel();
    let (mut blocks, mut looks) = (vec![], vec![BTreeMap::new(); nodes.len()]);
    std::thread::scope(|scope| {
        let progress = &progress;
        for (at, node) in nodes.iter().enumerate() {
            let to = to.clone();
            scope.spawn(move || watch(at, node, progress, &to));
        }
        let mut sending = vec![];
        for (payments, node) in signed.into_iter().zip(nodes.iter().cycle()) {
            sending.push(scope.spawn(move || progress.send(node, payments)));
        }
        let seen = see(first, payers, progress, events, last, &mut blocks, &mut looks);
        progress.is_over.store(true, Ordering::Relaxed);
        let joined =
            sending.into_iter().map(|it| it.join().unwrap_or_else(|_| bail!("a sender ended")));
        joined.collect::<anyhow::Result<Vec<()>>>().and(seen)
    })?;
    Ok(Run { progress, blocks, looks })
}

/// Sees the payments in the first node's blocks, and the blocks on every node, until all that were
/// taken in are there.
fn see(
    first: &Client,
    payers: &Payers,
    progress: &Progress,
    events: Receiver<Look>,
    mut last: u64,
    blocks: &mut Vec<Seen>,
    looks: &mut [BTreeMap<u64, u64>],
) -> anyhow::Result<()> {
    let (mut done, mut end) = (0, None);
    loop {
        match events.recv_timeout(LOOK) {
            Ok(Look { node, height, time }) => {
                if let Some(looks) = looks.get_mut(node) {
                    looks.insert(height, time);
                }
                while node == 0 && last < height {
                    last += 1;
                    let answer = first.get(&format!("/ledger/blocks/{last}/raw"))?;
                    let block = payers.read(text(&answer, "block")?, progress)?;
                    done += block.payments.len();
                    blocks.push(block);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("no node tells of blocks any more"),
        }
        if progress.senders.load(Ordering::Relaxed) == 0 {
            let taken = progress.count();
            if done >= taken {
                return Ok(());
            }
            if Instant::now() > *end.get_or_insert_with(|| Instant::now() + TAIL) {
                bail!("{} of {taken} payments that nodes took in are in no block", taken - done);
            }
        }
    }
}

/// Makes figures of the steady part of a run.
fn figures(
    it: &LoadArguments,
    nodes: usize,
    payers: &Payers,
    run: &Run,
    spent: Option<f64>,
) -> anyhow::Result<Figures> {
    let Run { progress, blocks, looks } = run;
    let sent = progress.count();
    let steady = u64::from(it.seconds) * 200_000..progress.last();
    let began = progress.began.duration_since(UNIX_EPOCH)?.as_micros();
    let time = |block: &Seen| (u128::from(block.time) * 1000).saturating_sub(began);
    let is_steady = |block: &&Seen| steady.contains(&u64::try_from(time(block)).unwrap_or(0));
    let mut within = blocks.iter().filter(is_steady);
    let first = within.next().context("no block in the steady part; give it more seconds")?;
    let (mut last, mut count) = (first, 0);
    for block in within {
        (last, count) = (block, count + block.payments.len());
    }
    let seconds = (time(last) - time(first)) as f64 / 1e6;
    let senders = SENDERS.max(nodes);
    let mut latencies = vec![];
    for block in blocks {
        for &index in &block.payments {
            let node = index % payers.count() % senders % nodes;
            // A node that had several blocks at once told of the last one.
            let seen = looks.get(node).and_then(|it| it.range(block.height..).next());
            let (Some((_, seen)), Some(sent)) = (seen, progress.sent(index)) else { continue };
            if steady.contains(&sent) {
                latencies.push(seen.saturating_sub(sent));
            }
        }
    }
    latencies.sort_unstable();
    let at = |parts: usize| {
        let place = (latencies.len() * parts / 100).min(latencies.len().saturating_sub(1));
        latencies.get(place).map_or(0.0, |time| *time as f64 / 1e3)
    };
    let done: usize = blocks.iter().map(|block| block.payments.len()).sum();
    Ok(Figures {
        sent,
        done,
        spent: spent.map(|seconds| seconds * 1e6 / done.max(1) as f64),
        rate: if seconds > 0.0 { count as f64 / seconds } else { 0.0 },
        latency: [at(50), at(99)],
        blocks: blocks.len(),
        largest: blocks.iter().map(|block| block.payments.len()).max().unwrap_or(0),
    })
}

/// Checks that the nodes have the same state after the last block of the run, and that its balances sum
/// to zero.
fn agreement(nodes: &[Client], blocks: &[Seen]) -> anyhow::Result<()> {
    let last = blocks.last().context("no block was seen")?.height;
    let end = Instant::now() + TAIL;
    let mut roots = vec![];
    for node in nodes {
        loop {
            let status = node.get("/ledger")?;
            if text(&status, "sum")? != "0" {
                bail!("the balances of a node sum to {}", status["sum"]);
            }
            if number(&status, "height")? >= last {
                break;
            }
            if Instant::now() > end {
                bail!("a node has not come to block {last}");
            }
            std::thread::sleep(LOOK);
        }
        roots.push(node.get(&format!("/ledger/blocks/{last}"))?["state"].clone());
    }
    if roots.iter().any(|root| Some(root) != roots.first()) {
        bail!("the nodes have different states after block {last}: {roots:?}");
    }
    Ok(())
}

fn show(context: &Context, it: &LoadArguments, validators: usize, figures: &Figures, cost: &Cost) {
    let bound = bound(validators, cost);
    let share = figures.rate / bound;
    let [half, most] = figures.latency;
    if context.json {
        let value = json!({
            "validators": validators, "accounts": it.accounts, "rate": it.rate,
            "seconds": it.seconds, "interval_ms": it.interval_ms, "cores": cores(),
            "taken": figures.sent, "committed": figures.done, "orders_per_second": figures.rate,
            "latency_ms_p50": half, "latency_ms_p99": most,
            "blocks": figures.blocks, "largest_block": figures.largest,
            "core_us_per_order": figures.spent,
            "recover_us": cost.recover * 1e6, "verify_us": cost.verify * 1e6,
            "bound_per_second": bound, "share": share, "equal_states": true, "sum": "0",
        });
        println!("{value}");
        return;
    }
    println!(
        "validators accounts asked/s orders/s   p50 ms   p99 ms  blocks  largest  core us  \
         signature us  bound/s  share"
    );
    println!(
        "{validators:10} {:8} {:>7} {:8.0} {half:8.1} {most:8.1} {:7} {:8} {:>8} {:13.1} \
         {bound:8.0} {:5.1}%",
        it.accounts,
        if it.rate == 0 { "most".to_owned() } else { it.rate.to_string() },
        figures.rate,
        figures.blocks,
        figures.largest,
        figures.spent.map_or("-".to_owned(), |spent| format!("{spent:.1}")),
        cost.recover * 1e6,
        share * 100.0
    );
    eprintln!(
        "{} payments taken in, {} in blocks; equal states, sum 0; a signature with what is signed: {:.1} us",
        figures.sent,
        figures.done,
        cost.verify * 1e6
    );
}
