//! A disk that stops after a number of operations, and what is on it then.

use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex};

use chain::chain::Chain;
use chain::store::Store;
use redb::StorageBackend;

use crate::world::*;

/// Blocks of the run.
const BLOCKS: u64 = 4;

#[derive(Debug, Default)]
struct Content {
    /// What is read back while the machine runs.
    live: Vec<u8>,
    /// What was synced last.
    synced: Vec<u8>,
    /// Writes and changes of length since then, in order.
    since: Vec<(u64, Vec<u8>)>,
    /// Operations left before the disk stops; none if it never does.
    left: Option<u64>,
    done: u64,
}

impl Content {
    fn step(&mut self) -> Result<(), Error> {
        self.done += 1;
        match &mut self.left {
            Some(0) => Err(Error::other("the disk has stopped")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What a restart finds: all that was synced, and some of the later writes, one of them torn.
    fn after_a_crash(&self, luck: u64) -> Vec<u8> {
        let mut found = self.synced.clone();
        for (index, (at, bytes)) in (0u64..).zip(&self.since) {
            let kept = match (luck >> (index % 8)) % 4 {
                0 => 0,
                1 => bytes.len() / 2,
                _ => bytes.len(),
            };
            let at = usize::try_from(*at).unwrap();
            let end = at + kept;
            if found.len() < end {
                found.resize(end, 0);
            }
            found[at..end].copy_from_slice(&bytes[..kept]);
        }
        // A file does not shrink below what the database believes its length to be.
        if found.len() < self.live.len() {
            found.resize(self.live.len(), 0);
        }
        found
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Mutex<Content>>);

impl Disk {
    /// A disk that stops after so many operations.
    pub(crate) fn stopping_after(operations: u64) -> Disk {
        let disk = Disk::default();
        disk.0.lock().unwrap().left = Some(operations);
        disk
    }

    /// How many operations there were.
    pub(crate) fn operations(&self) -> u64 {
        self.0.lock().unwrap().done
    }

    /// The disk as a restart finds it.
    pub(crate) fn restarted(&self, luck: u64) -> Disk {
        let found = self.0.lock().unwrap().after_a_crash(luck);
        let content = Content { live: found.clone(), synced: found, ..Content::default() };
        Disk(Arc::new(Mutex::new(content)))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.0.lock().unwrap().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let content = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let bytes = content.live.get(from..from + out.len());
        let bytes = bytes.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        let mut content = self.0.lock().unwrap();
        content.step()?;
        content.live.resize(usize::try_from(length).unwrap(), 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut content = self.0.lock().unwrap();
        content.step()?;
        content.synced = content.live.clone();
        content.since.clear();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut content = self.0.lock().unwrap();
        content.step()?;
        let from = usize::try_from(offset).unwrap();
        content.live[from..from + data.len()].copy_from_slice(data);
        content.since.push((offset, data.to_vec()));
        Ok(())
    }
}

/// Commits blocks of one payment each until the disk stops; how many were acknowledged.
fn run(disk: &Disk) -> u64 {
    let Ok(store) = Store::open_on(disk.clone()) else { return 0 };
    let Ok(mut chain) = Chain::open(store, &genesis(0), 1) else { return 0 };
    for height in 0..BLOCKS {
        chain.submit(pay("amal", height, "badr", 1)).unwrap();
        let Ok(proposal) = chain.propose(NOW, node().key()) else { return height };
        if chain.commit(&agreed(chain.tip().height.0 + 1, proposal.id)).is_err() {
            return height;
        }
    }
    BLOCKS
}

#[test]
fn a_disk_that_stops_at_any_write_loses_nothing_that_was_acknowledged() {
    let healthy = Disk::default();
    assert_eq!(run(&healthy), BLOCKS);
    let operations = healthy.operations();
    assert!(operations > 30, "{operations} operations");
    let mut seen = [0u64; BLOCKS as usize + 1];
    for stop in 0..operations {
        let disk = Disk::stopping_after(stop);
        let acknowledged = run(&disk);
        seen[usize::try_from(acknowledged).unwrap()] += 1;
        for luck in [0, 0b10_1101, 0xff] {
            let place = format!("stopped after {stop}, luck {luck}");
            let store = match Store::open_on(disk.restarted(luck)) {
                Ok(store) => store,
                // A file that was never begun whole has nothing to lose.
                Err(error) => {
                    assert_eq!(acknowledged, 0, "{place}: {error}");
                    continue;
                }
            };
            let mut chain = Chain::open(store, &genesis(0), 1).expect(&place);
            let height = chain.tip().height.0;
            assert!(height >= acknowledged && height <= acknowledged + 1, "{place}: {height}");
            assert_eq!(balance(&mut chain, "badr"), i128::from(height), "{place}");
            ledger::check::check(chain.state()).expect(&place);
            for later in height..BLOCKS {
                chain.submit(pay("amal", later, "badr", 1)).expect(&place);
                assert_eq!(block(&mut chain), later + 1, "{place}");
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 0), "the disk stopped within every block: {seen:?}");
}
