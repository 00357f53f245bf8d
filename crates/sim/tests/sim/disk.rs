//! A chain on a disk that stops after any number of operations.

use chain::chain::Chain;
use chain::store::Store;
use sim::disk::Disk;
use sim::people::{People, genesis};
use types::agreement::{Certificate, Seal};
use types::amount::{Amount, Height, Nonce};
use types::bounded::{List, Text};
use types::envelope::{Order, Signed};
use types::id::{Address, Hash};
use types::node_key::{NodeSecret, NodeSigned};
use types::transaction::{Action, Transfer};

/// Blocks of the run.
const BLOCKS: u64 = 4;
const NOW: u64 = 1_700_000_000_000;

fn node() -> NodeSecret {
    NodeSecret::new([1; 32])
}

fn network() -> Hash {
    genesis(&[node()]).hash()
}

/// The first founder and the second.
fn pair() -> (Address, Address) {
    let founders = genesis(&[node()]).founders;
    (founders.as_slice()[0].account, founders.as_slice()[1].account)
}

fn pay(nonce: u64) -> Signed {
    let ((account, to), amount) = (pair(), Amount::new(1).unwrap());
    let action = Action::Transfer(Transfer { to, amount, note: Text::default() });
    let order = Order { account, nonce: Nonce(nonce), valid_until: Height(1000), action };
    People::new(network()).sign(order).unwrap()
}

fn agreed(height: u64, block: Hash) -> Certificate {
    let seals = List::default();
    let mut certificate = Certificate { height: Height(height), round: 0, block, seals };
    let signature = certificate.statement(network()).sign(&node());
    certificate.seals = List::new(vec![Seal { validator: node().key(), signature }]).unwrap();
    certificate
}

fn open(store: Store) -> Chain {
    Chain::open(store, &genesis(&[node()]), 1).unwrap()
}

/// Commits blocks of one payment each until the disk stops; how many were acknowledged. The chain is
/// given too, for a crash does not close its file.
fn run(disk: &Disk) -> (u64, Option<Chain>) {
    let Ok(store) = Store::open_on(disk.clone()) else { return (0, None) };
    let Ok(mut chain) = Chain::open(store, &genesis(&[node()]), 1) else { return (0, None) };
    for height in 0..BLOCKS {
        chain.submit(pay(height)).unwrap();
        let Ok(proposal) = chain.propose(NOW, &node()) else { return (height, Some(chain)) };
        if chain.commit(&agreed(chain.tip().height.0 + 1, proposal.id)).is_err() {
            return (height, Some(chain));
        }
    }
    (BLOCKS, Some(chain))
}

#[test]
fn a_disk_that_stops_at_any_write_loses_nothing_that_was_acknowledged() {
    let healthy = Disk::default();
    let (acknowledged, chain) = run(&healthy);
    assert_eq!(acknowledged, BLOCKS);
    let operations = healthy.operations();
    drop(chain);
    assert!(operations > 30, "{operations} operations");
    let mut seen = [0u64; BLOCKS as usize];
    for stop in 0..operations {
        let disk = Disk::default();
        disk.stop_after(stop);
        let (acknowledged, _chain) = run(&disk);
        assert!(disk.has_stopped());
        seen[usize::try_from(acknowledged).unwrap()] += 1;
        for luck in [0, 0b10_1101, 0xff, u64::MAX, 0x1234_5678_9abc_def0] {
            let place = format!("stopped after {stop}, luck {luck}");
            let store = match Store::open_on(disk.after_a_crash(luck)) {
                Ok(store) => store,
                // A file that was never begun whole has nothing to lose.
                Err(error) => {
                    assert_eq!(acknowledged, 0, "{place}: {error}");
                    continue;
                }
            };
            let mut chain = open(store);
            let height = chain.tip().height.0;
            assert!(height >= acknowledged && height <= acknowledged + 1, "{place}: {height}");
            let balance = chain.state().account(&pair().1).balance;
            assert_eq!(balance, i128::from(height), "{place}");
            ledger::check::check(chain.state()).expect(&place);
            for later in height..BLOCKS {
                chain.submit(pay(later)).expect(&place);
                let proposal = chain.propose(NOW, &node()).unwrap();
                chain.commit(&agreed(later + 1, proposal.id)).expect(&place);
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "the disk stopped within every block: {seen:?}");
}

#[test]
fn a_disk_that_lies_about_sync_loses_what_was_acknowledged() {
    let disk = Disk::default();
    disk.lie();
    let (acknowledged, _chain) = run(&disk);
    assert_eq!(acknowledged, BLOCKS);
    let found = open(Store::open_on(disk.after_a_crash(0)).unwrap()).tip().height.0;
    assert!(found < BLOCKS, "{found}");
}
