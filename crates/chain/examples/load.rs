//! How many payments a second one validator takes in, executes, proves and writes to the disk, and how
//! long a snapshot of all these accounts takes to make and to begin from.
//!
//! `cargo run --release -p chain --example load -- ACCOUNTS ORDERS DIRECTORY`
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement prints times")]

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use chain::chain::Chain;
use chain::snapshot::Base;
use chain::store::Store;
use ledger::genesis::{Founder, Genesis};
use types::agreement::{Certificate, Seal};
use types::amount::{Amount, Height, Nonce};
use types::bounded::{List, Text};
use types::envelope::{Order, Signed};
use types::id::{Address, Hash, keccak256};
use types::measure::{AdmitValidator, Parameter, SetParameter};
use types::node_key::{NodeSecret, NodeSigned};
use types::signature::Secret;
use types::transaction::{Action, Transfer};
use types::word::Policy;

/// Payers, who are members and pay no fee.
const PAYERS: u64 = 200;
/// Orders in flight: what a payer may leave in the pool.
const BURST: u64 = 40;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = || arguments.next().and_then(|text| text.parse::<u64>().ok());
    let (Some(accounts), Some(orders)) = (number(), number()) else {
        return Err("usage: load ACCOUNTS ORDERS DIRECTORY".into());
    };
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());
    let path = Path::new(&directory).join(format!("load-{accounts}.redb"));
    if path.exists() {
        std::fs::remove_file(&path)?;
    }
    let payers: Vec<Secret> = (0..PAYERS).map(key).collect();
    // More blocks than the run has, so that the only snapshot is the one at its end.
    let blocks = u32::try_from(2 * (accounts + orders) / (PAYERS * BURST) + 8)?;
    let genesis = genesis(&payers, blocks)?;
    let mut chain = Chain::open(Store::open(&path)?, &genesis, 2)?;
    // Fill the state: each account is paid once.
    let began = Instant::now();
    run(&mut chain, &payers, &genesis.hash(), accounts, |at| at)?;
    println!("{accounts} accounts made in {:.1} s", began.elapsed().as_secs_f64());
    let spent = run(&mut chain, &payers, &genesis.hash(), orders, |at| {
        at.wrapping_mul(0x9e37_79b9) % accounts
    })?;
    let rate = |time: Duration| orders as f64 / time.as_secs_f64();
    let all = spent.iter().sum::<Duration>();
    let [submit, propose, commit] = spent.map(|time| time.as_secs_f64() / orders as f64 * 1e6);
    println!(
        "{accounts} accounts: {:.0} orders/s; microseconds an order: {submit:.1} taken in \
         (signature), {propose:.1} executed and proved, {commit:.1} written",
        rate(all)
    );
    snapshot(&mut chain, &genesis, &path)?;
    std::fs::remove_file(&path)?;
    Ok(())
}

/// Makes empty blocks until a snapshot is due, and begins another chain with it.
fn snapshot(chain: &mut Chain, genesis: &Genesis, path: &Path) -> Result<(), Box<dyn Error>> {
    let folder = path.with_extension("snapshots");
    chain.keep_snapshots(&folder)?;
    let mut took = Duration::ZERO;
    while chain.snapshots().is_empty() {
        let proposal = chain.propose(1, &node())?;
        let certificate = agreed(chain, proposal.id)?;
        let began = Instant::now();
        chain.commit(&certificate)?;
        took = took.max(began.elapsed());
    }
    let named = *chain.snapshots().last().ok_or("no snapshot")?;
    let file = folder.join(named.cid.to_string());
    let size = std::fs::metadata(&file)?.len();
    println!("snapshot of {:.1} MB: its block took {:.2} s", size as f64 / 1e6, took.as_secs_f64());
    let parent = Height(named.height.0 - 1);
    let decided = chain.decided(named.height)?.ok_or("no block")?;
    let base = Base {
        block: decided.block,
        certificate: Certificate::decode(&decided.certificate)?,
        parent: chain.decided(parent)?.ok_or("no block")?.block,
        deciders: chain.validators_of(parent)?.ok_or("no validators")?,
    };
    let other = path.with_extension("other");
    let began = Instant::now();
    let checked = base.check(chain.network(), &named.block)?;
    checked.install(&Store::open(&other)?, genesis, std::fs::File::open(&file)?)?;
    println!("begun from it in {:.1} s", began.elapsed().as_secs_f64());
    std::fs::remove_file(other)?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

/// Sends payments and makes blocks of them; the time to take in, propose, and commit.
fn run(
    chain: &mut Chain,
    payers: &[Secret],
    network: &Hash,
    orders: u64,
    to: impl Fn(u64) -> u64,
) -> Result<[Duration; 3], Box<dyn Error>> {
    let mut spent = [Duration::ZERO; 3];
    for from in (0..orders).step_by((PAYERS * BURST) as usize) {
        let state = chain.state();
        let signed = (from..orders.min(from + PAYERS * BURST)).map(|at| {
            let payer = &payers[(at % PAYERS) as usize];
            let nonce = state.nonce(&payer.address()).after((at - from) / PAYERS);
            pay(payer, nonce, to(at), network)
        });
        let signed: Vec<Signed> = signed.collect();
        let began = Instant::now();
        for order in signed {
            chain.submit(order)?;
        }
        spent[0] += began.elapsed();
        while chain.pool().count() > 0 {
            let began = Instant::now();
            let proposal = chain.propose(1, &node())?;
            let proposed = Instant::now();
            chain.commit(&agreed(chain, proposal.id)?)?;
            spent[1] += proposed - began;
            spent[2] += proposed.elapsed();
        }
    }
    Ok(spent)
}

fn key(number: u64) -> Secret {
    Secret::new(keccak256(&number.to_le_bytes()).0).expect("a hash is a key, but for one in 2^127")
}

fn pay(payer: &Secret, nonce: Nonce, to: u64, network: &Hash) -> Signed {
    let hash = keccak256(&[&to.to_le_bytes()[..], b"payee"].concat()).0;
    let to = Address(*hash.first_chunk().expect("a hash has more bytes than an address"));
    let action = Action::Transfer(Transfer {
        to,
        amount: Amount::new(1).expect("one is an amount"),
        note: Text::default(),
    });
    let valid_until = Height(u64::MAX);
    Order { account: payer.address(), nonce, valid_until, action }.sign(payer, network)
}

fn genesis(payers: &[Secret], snapshot_blocks: u32) -> Result<Genesis, Box<dyn Error>> {
    let founder = |payer: &Secret| Founder { account: payer.address(), name: Text::default() };
    let founders: Vec<Founder> = payers.iter().map(founder).collect();
    let validator =
        AdmitValidator { node_key: node().key(), account: founders[0].account, power: 1 };
    let quota = SetParameter { parameter: Parameter::QuotaBytes, value: 1 << 32 };
    Ok(Genesis {
        name: Text::new("load")?,
        made: 0,
        interval: 1000,
        snapshot_blocks,
        policy: Policy::Mutual,
        constitution: None,
        founders: List::new(founders)?,
        validators: List::new(vec![validator])?,
        parameters: List::new(vec![quota])?,
        cashier: None,
    })
}

/// That the only validator decided a block.
fn agreed(chain: &Chain, block: Hash) -> Result<Certificate, Box<dyn Error>> {
    let height = chain.tip().height.after(1);
    let mut certificate = Certificate { height, round: 0, block, seals: List::default() };
    let signature = certificate.statement(chain.network()).sign(&node());
    let seal = Seal { validator: node().key(), signature };
    certificate.seals = List::new(vec![seal])?;
    Ok(certificate)
}

fn node() -> NodeSecret {
    NodeSecret::new([1; 32])
}
