//! Snapshots: made alike by all, installed whole or not at all, and refused when anything is changed.

use std::fs;
use std::path::Path;

use chain::block::Block;
use chain::chain::Chain;
use chain::snapshot::{Base, Checked, Named, NotInstalled};
use chain::store::Store;
use types::agreement::Certificate;
use types::amount::Height;
use types::bounded::List;
use types::codec::encode;
use types::id::{Cid, Hash};

use crate::disk::Disk;
use crate::world::*;

/// Blocks from one snapshot to the next, in the genesis of these tests.
const EVERY: u64 = 4;

/// Commits a block of one payment.
fn grow(chain: &mut Chain) {
    let nonce = chain.state().nonce(&address("amal")).0;
    chain.submit(pay("amal", nonce, "badr", 1)).unwrap();
    block(chain);
}

/// A chain whose last block names a snapshot, and the snapshot's bytes.
fn named(folder: &Path) -> (Chain, Named, Vec<u8>) {
    let mut chain = in_memory();
    chain.keep_snapshots(folder).unwrap();
    (0..=EVERY).for_each(|_| grow(&mut chain));
    let named = *chain.snapshots().last().unwrap();
    assert_eq!((named.height.0, named.block), (EVERY + 1, chain.tip().id));
    let bytes = fs::read(folder.join(named.cid.to_string())).unwrap();
    (chain, named, bytes)
}

fn base(chain: &Chain, height: Height) -> Base {
    let parent = Height(height.0 - 1);
    let decided = chain.decided(height).unwrap().unwrap();
    Base {
        block: decided.block,
        certificate: Certificate::decode(&decided.certificate).unwrap(),
        parent: chain.decided(parent).unwrap().unwrap().block,
        deciders: chain.validators_of(parent).unwrap().unwrap(),
    }
}

fn checked(chain: &Chain, named: &Named) -> Checked {
    base(chain, named.height).check(chain.network(), &named.block).unwrap()
}

/// Goes on with the block that names the snapshot.
fn go_on(chain: &mut Chain, checked: &Checked) {
    let (block, certificate) = checked.block();
    chain.check(NOW + 60_000, block).unwrap();
    chain.commit(certificate).unwrap();
}

#[test]
fn a_node_that_begins_with_a_snapshot_makes_the_next_ones_like_all_others() {
    let folders = tempfile::tempdir().unwrap();
    let (one, two) = (folders.path().join("one"), folders.path().join("two"));
    let (mut old, first, bytes) = named(&one);
    let store = Store::in_memory().unwrap();
    let checked = checked(&old, &first);
    checked.install(&store, &genesis(0), &*bytes).unwrap();
    let again = checked.install(&store, &genesis(0), &*bytes);
    assert!(matches!(again, Err(NotInstalled::Begun { height: EVERY })));
    let mut new = open(store);
    assert_eq!((new.tip().height.0, new.first().unwrap().0), (EVERY, EVERY));
    // The snapshot that it began with is made again of what was installed.
    new.keep_snapshots(&two).unwrap();
    assert_eq!(fs::read(two.join(first.cid.to_string())).unwrap(), bytes);
    go_on(&mut new, &checked);
    for _ in 0..3 * EVERY {
        let nonce = old.state().nonce(&address("amal")).0;
        old.submit(pay("amal", nonce, "badr", 1)).unwrap();
        let proposal = old.propose(NOW, &node()).unwrap();
        let height = old.tip().height.0 + 1;
        assert_eq!(new.check(u64::MAX, &proposal.bytes).unwrap(), proposal.id);
        for chain in [&mut old, &mut new] {
            chain.commit(&agreed(height, proposal.id)).unwrap();
        }
        assert_eq!(old.tip(), new.tip());
        assert_eq!(old.snapshots().last(), new.snapshots().last());
        let names = Block::decode(&proposal.bytes).unwrap().header.snapshot;
        assert_eq!(names.is_some(), height % EVERY == 1 && height > 1, "block {height}");
    }
    assert_eq!(old.state().entries(), new.state().entries());
    assert_eq!(old.prove_entry(&[0]).unwrap(), new.prove_entry(&[0]).unwrap());
    assert_eq!((old.first().unwrap().0, new.first().unwrap().0), (1, EVERY));
    assert_eq!(new.decided(Height(EVERY - 1)).unwrap(), None);
    let files = |folder: &Path| {
        let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap());
        let mut files: Vec<_> =
            files.map(|file| (file.file_name(), fs::read(file.path()).unwrap())).collect();
        files.sort();
        files
    };
    assert_eq!(files(&one).len(), 2);
    assert_eq!(files(&one), files(&two));
    let mut named = old.snapshots().iter();
    assert!(named.all(|named| one.join(named.cid.to_string()).exists()));
}

#[test]
fn a_snapshot_that_a_crash_has_kept_from_the_disk_is_made_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.redb");
    let mut chain = open(Store::open(&path).unwrap());
    // Its snapshots are not kept, as if the machine had stopped before the file was written.
    (0..EVERY).for_each(|_| grow(&mut chain));
    drop(chain);
    let snapshots = folder.path().join("snapshots");
    fs::create_dir(&snapshots).unwrap();
    fs::write(snapshots.join("unfinished"), "half").unwrap();
    let mut chain = open(Store::open(&path).unwrap());
    chain.keep_snapshots(&snapshots).unwrap();
    grow(&mut chain);
    let named = *chain.snapshots().last().unwrap();
    let files: Vec<_> =
        fs::read_dir(&snapshots).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(files, [named.cid.to_string().as_str()]);
    drop(chain);
    let chain = open(Store::open(&path).unwrap());
    assert_eq!(chain.snapshots(), [named]);
}

#[test]
fn a_snapshots_bytes_are_those_of_the_fixture() {
    let folder = tempfile::tempdir().unwrap();
    let (_, named, bytes) = named(folder.path());
    let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = format!("cid {}\nsnapshot {hex}\n", named.cid);
    expect_test::expect_file!["../../../../fixtures/chain/snapshot.txt"].assert_eq(&text);
}

#[test]
fn every_cut_and_flip_of_a_snapshot_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, named, bytes) = named(folder.path());
    let (store, checked) = (Store::in_memory().unwrap(), checked(&chain, &named));
    for length in 0..bytes.len() {
        let refused = checked.install(&store, &genesis(0), &bytes[..length]);
        assert!(matches!(refused, Err(NotInstalled::Malformed(_))), "{length} bytes");
    }
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            assert!(checked.install(&store, &genesis(0), &*flipped).is_err(), "byte {at}");
        }
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(checked.install(&store, &genesis(0), &*longer).is_err());
    store.expect_none().unwrap();
    checked.install(&store, &genesis(0), &*bytes).unwrap();
}

/// A base whose block names other bytes as its snapshot, decided by the validators all the same.
fn naming(chain: &Chain, height: Height, bytes: &[u8]) -> (Base, Hash) {
    let mut base = base(chain, height);
    let mut block = Block::decode(&base.block).unwrap();
    let cid = store::cid::Cid::of(bytes).to_string();
    block.header.snapshot = Cid::parse(&cid);
    let id = block.header.id();
    base.block = encode(&block);
    base.certificate = agreed(height.0, id);
    (base, id)
}

#[test]
fn a_state_that_is_not_the_parents_is_refused_whatever_the_block_says() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, named, bytes) = named(folder.path());
    let store = Store::in_memory().unwrap();
    let install = |bytes: &[u8]| {
        let (base, id) = naming(&chain, named.height, bytes);
        let checked = base.check(chain.network(), &id).unwrap();
        checked.install(&store, &genesis(0), bytes).unwrap_err().to_string()
    };
    let head = 24 + 32 + 8 + 32 + 8;
    let (mut value, mut swapped) = (bytes.clone(), bytes[..head].to_vec());
    // The first entry has the key 0 and begins with the network's name.
    value[head + 4 + 1 + 4 + 40] ^= 1;
    assert!(install(&value).contains("root"), "{}", install(&value));
    let mut entries = vec![];
    let mut rest = &bytes[head..];
    while !rest.is_empty() {
        let length = |from: &[u8]| {
            4 + usize::try_from(u32::from_le_bytes(from[..4].try_into().unwrap())).unwrap()
        };
        let key = length(rest);
        let (entry, left) = rest.split_at(key + length(&rest[key..]));
        entries.push(entry);
        rest = left;
    }
    entries.swap(1, 2);
    swapped.extend(entries.concat());
    assert_eq!(swapped.len(), bytes.len());
    assert!(install(&swapped).contains("ascending"), "{}", install(&swapped));
    let twice = [&bytes[..head], entries[0], entries[0], &entries[2..].concat()].concat();
    assert!(install(&twice).contains("ascending"), "{}", install(&twice));
    let mut of_another = bytes.clone();
    of_another[24 + 32] ^= 1;
    assert!(install(&of_another).contains("another block"));
    store.expect_none().unwrap();
}

#[test]
fn blocks_that_a_trusted_name_does_not_stand_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (mut chain, named, bytes) = named(folder.path());
    let (network, trusted) = (chain.network(), named.block);
    let good = base(&chain, named.height);
    let refused = |change: &dyn Fn(&mut Base)| {
        let mut altered = good.clone();
        change(&mut altered);
        altered.check(network, &trusted).unwrap_err().to_string()
    };
    let other = base(&chain, Height(named.height.0 - 1));
    assert!(refused(&|it| it.block.clone_from(&other.block)).contains("not the one"));
    assert!(refused(&|it| it.parent.clone_from(&other.parent)).contains("parent"));
    let deciders = List::new(vec![(Hash([7; 32]), 1)]).unwrap();
    assert!(refused(&|it| it.deciders = deciders.clone()).contains("validators"));
    for at in 0..good.block.len() {
        refused(&|it| it.block[at] ^= 1);
    }
    for at in 0..good.parent.len() {
        refused(&|it| it.parent[at] ^= 1);
    }
    assert!(good.clone().check(Hash([9; 32]), &trusted).is_err(), "another network");
    // A block that names none.
    grow(&mut chain);
    let later = base(&chain, chain.tip().height).check(network, &chain.tip().id);
    assert!(later.unwrap_err().to_string().contains("names no snapshot"));
    // The certificate of the block itself is checked with the state's validators.
    let store = Store::in_memory().unwrap();
    for certificate in [agreed(named.height.0, Hash([3; 32])), agreed(named.height.0 + 1, trusted)]
    {
        let base = Base { certificate, ..good.clone() };
        let checked = base.check(network, &trusted).unwrap();
        let found = checked.install(&store, &genesis(0), &*bytes);
        assert!(matches!(found, Err(NotInstalled::Certificate { height: 5, .. })));
    }
    store.expect_none().unwrap();
}

#[test]
fn a_disk_that_stops_while_a_snapshot_is_installed_has_all_of_it_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, named, bytes) = named(folder.path());
    let checked = checked(&chain, &named);
    let install = |disk: &Disk| {
        let store = Store::open_on(disk.clone()).map_err(|_| ())?;
        checked.install(&store, &genesis(0), &*bytes).map_err(|_| ())
    };
    let healthy = Disk::default();
    install(&healthy).unwrap();
    let (mut whole, mut none) = (0, 0);
    for stop in 0..healthy.operations() {
        let disk = Disk::default();
        disk.stop_after(stop);
        let is_done = install(&disk).is_ok();
        for luck in [0, 0b10_1101, 0xff] {
            let place = format!("stopped after {stop}, luck {luck}");
            let Ok(store) = Store::open_on(disk.after_a_crash(luck)) else {
                assert!(!is_done, "{place}");
                continue;
            };
            match store.expect_none() {
                Ok(()) => {
                    assert!(!is_done, "{place}");
                    none += 1;
                    checked.install(&store, &genesis(0), &*bytes).expect(&place);
                }
                Err(_) => whole += 1,
            }
            let mut chain = open(store);
            assert_eq!(chain.tip().height.0, EVERY, "{place}");
            go_on(&mut chain, &checked);
            grow(&mut chain);
        }
    }
    assert!(whole > 0 && none > 0, "{whole} whole and {none} none");
}
