//! Archives whose blocks were changed at random, and whose names were made right again.
//!
//! So the changes get past the hashes, to what reads nodes, sizes, names and shards. Whatever such an
//! archive leads to, nothing panics, what is kept hashes to its name, and a root that was taken in can be
//! listed, walked and written again. `MASHAA_MUTATIONS=100000` changes as many.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test ends at what it did not expect, and says how much it has tried"
)]

use std::io::Cursor;

use store::blobs::Blobs;
use store::car;
use store::cid::{CHUNK_SIZE, Cid, Codec};
use store::collect::{collect, reach};
use store::dag_pb::{Link, Node};
use store::directory;
use store::index::Index;
use store::walk::{self, Scope};

/// Archives, where nothing else is said: what a few seconds have room for.
const MUTATIONS: u64 = 400;
/// Bytes that readers of lengths and keys stumble over.
const NASTY: [u8; 9] = [0, 1, 0x0a, 0x12, 0x18, 0x20, 0x7f, 0x80, 0xff];

/// Steele, Lea and Flood 2014.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

type Blocks = Vec<(Cid, Vec<u8>)>;

fn node(links: &[(&[u8], Cid)], data: &[u8]) -> (Cid, Vec<u8>) {
    let link = |(name, cid): &(&[u8], Cid)| Link { cid: *cid, name: name.to_vec(), size: 9 };
    let links = links.iter().map(link).collect();
    let block = Node { links, data: data.to_vec() }.encode();
    (Cid::of_block(Codec::DagPb, &block), block)
}

/// A directory with a file of two chunks, a small one, shards, a directory and a symbolic link; parents
/// before their children.
fn sound() -> Blocks {
    let long = [vec![0; CHUNK_SIZE], b"and a bit".to_vec()].concat();
    let leaves = Cid::leaves_of_reader(long.as_slice()).unwrap();
    let small = (Cid::of(b"small"), b"small".to_vec());
    let symlink = directory::symlink(b"some/where").blocks.remove(0);
    // Slots 1 and 2, and 256 slots of murmur3.
    let shard = |bits: u8| [0x08, 5, 0x12, 1, bits, 0x28, 0x22, 0x30, 0x80, 2];
    let deep = node(&[(b"01x", small.0), (b"02y", symlink.0)], &shard(6));
    let shards = node(&[(b"01", deep.0), (b"02name", small.0)], &shard(6));
    let inner = node(&[(b"a", small.0), (b"b", small.0)], &[0x08, 1]);
    let root = node(
        &[
            (b"inner", inner.0),
            (b"long", leaves.root()),
            (b"shards", shards.0),
            (b"symlink", symlink.0),
        ],
        &[0x08, 1],
    );
    let chunks = long.chunks(CHUNK_SIZE).map(|chunk| (Cid::of(chunk), chunk.to_vec()));
    let mut blocks = vec![root, inner];
    blocks.extend(leaves.nodes());
    blocks.extend(chunks);
    blocks.extend([shards, deep, small, symlink]);
    blocks
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn archive(blocks: &Blocks) -> Vec<u8> {
    let root = blocks[0].0.to_bytes();
    let header = [&b"\xa2\x65roots\x81\xd8\x2a\x58\x25\0"[..], &root, b"\x67version\x01"].concat();
    let mut car = vec![header.len() as u8];
    car.extend(header);
    for (cid, block) in blocks {
        varint(&mut car, 36 + block.len() as u64);
        car.extend(cid.to_bytes());
        car.extend(block);
    }
    car
}

fn change(random: &mut Random, bytes: &mut Vec<u8>) {
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(12)).min(bytes.len());
    match random.below(7) {
        0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (random.next() % 8)),
        1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = NASTY[random.below(9)]),
        2 => bytes.insert(at, NASTY[random.below(9)]),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let part = bytes.get(at..end).unwrap_or_default().to_vec();
            bytes.splice(at..at, part);
        }
        5 => {
            let mut number = Vec::new();
            varint(&mut number, u64::MAX >> random.below(64));
            bytes.splice(at..at, number);
        }
        _ => bytes.truncate(at),
    }
}

/// Changes some blocks, and names them and what leads to them anew.
fn mutated(random: &mut Random, blocks: &Blocks) -> Blocks {
    let mut blocks = blocks.clone();
    for _ in 0..1 + random.below(3) {
        let at = random.below(blocks.len());
        for _ in 0..1 + random.below(4) {
            change(random, &mut blocks[at].1);
        }
    }
    for at in (0..blocks.len()).rev() {
        let old = blocks[at].0;
        let new = Cid::of_block(old.codec(), &blocks[at].1);
        blocks[at].0 = new;
        for (_, parent) in blocks[..at].iter_mut().filter(|(cid, _)| cid.codec() == Codec::DagPb) {
            let wanted = old.to_bytes();
            let places = (0..parent.len().saturating_sub(35)).collect::<Vec<_>>();
            for place in places {
                if parent[place..place + 36] == wanted {
                    parent[place..place + 36].copy_from_slice(&new.to_bytes());
                }
            }
        }
    }
    blocks
}

/// Takes an archive in; says whether it was taken.
fn take_in(blobs: &Blobs, car: &[u8], when: &str) -> bool {
    let Ok(imported) = car::import(blobs, &mut Cursor::new(car), 1 << 30) else { return false };
    for cid in blobs.list().unwrap() {
        blobs.verify(&cid).unwrap_or_else(|error| panic!("{when}: {error}"));
    }
    let index = Index::open(blobs.clone()).unwrap();
    for root in &imported.roots {
        let reached = reach(blobs, [*root]).unwrap();
        assert!(reached.missing.is_empty(), "{when}: {root} is not whole");
        let mut again = Vec::new();
        car::export(&index, root, &Scope::All, &mut again)
            .unwrap_or_else(|error| panic!("{when}: {error}"));
        // Names may still be refused, which whoever keeps a directory does not look at.
        let _ = walk::entries(&index, root);
    }
    true
}

#[test]
fn archives_with_changed_blocks_and_right_names_break_nothing() {
    let count = std::env::var("MASHAA_MUTATIONS").map_or(MUTATIONS, |count| count.parse().unwrap());
    let seed = std::env::var("MASHAA_SEED").map_or(1, |seed| seed.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let blocks = sound();
    assert!(take_in(&blobs, &archive(&blocks), "unchanged"));
    let mut taken = 0;
    for number in 0..count {
        let mut random = Random(seed << 32 | number);
        let mut car = archive(&mutated(&mut random, &blocks));
        if random.below(4) == 0 {
            // The archive's own bytes too; the large chunk makes the ends interesting alone.
            let mut head = car.drain(..600.min(car.len())).collect();
            change(&mut random, &mut head);
            car.splice(..0, head);
        }
        taken += u64::from(take_in(&blobs, &car, &format!("seed {seed}, archive {number}")));
        collect(&blobs, || Ok(vec![])).unwrap();
        assert_eq!(blobs.used().unwrap(), 0, "seed {seed}, archive {number}: something is left");
    }
    eprintln!("{taken} of {count} archives were taken in");
    assert!(taken > 0 && taken < count, "{taken} of {count} archives were taken in");
}
