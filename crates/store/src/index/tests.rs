use std::collections::BTreeMap;

use super::Index;
use crate::blobs::Blobs;
use crate::cid::tests::chacha20;
use crate::cid::{CHUNK_SIZE, Cid, Codec};
use crate::directory::{self, Entry};

/// A store with a file of three chunks, and the file's bytes.
pub(crate) fn world() -> (tempfile::TempDir, Index, Cid, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    let bytes = chacha20("index", 2 * CHUNK_SIZE + 77);
    let cid = blobs.put(bytes.as_slice()).unwrap();
    (dir, Index::open(blobs).unwrap(), cid, bytes)
}

/// Puts a directory of these files into the store; its name.
pub(crate) fn put_directory(blobs: &Blobs, files: &[(&str, &[u8])]) -> Cid {
    let entries = files.iter().map(|(name, bytes)| {
        let cid = blobs.put(*bytes).unwrap();
        let total_size = blobs.leaves(&cid).unwrap().total_size();
        (name.as_bytes().to_vec(), Entry { cid, total_size })
    });
    let made = directory::make(&entries.collect::<BTreeMap<_, _>>()).unwrap();
    made.blocks.iter().for_each(|(cid, block)| blobs.put_node(cid, block).unwrap());
    made.entry.cid
}

#[test]
fn every_block_of_a_file_is_found() {
    let (_dir, index, cid, bytes) = world();
    let leaves = index.file(&cid).unwrap().unwrap().leaves;
    assert_eq!(leaves.count(), 3);
    for (leaf, chunk) in leaves.iter().zip(bytes.chunks(CHUNK_SIZE)) {
        assert_eq!(index.block(&leaf).unwrap().unwrap(), chunk);
    }
    let root = index.block(&cid).unwrap().unwrap();
    assert_eq!(Cid::of_block(Codec::DagPb, &root), cid);
    assert_eq!(index.block(&Cid::of(b"elsewhere")).unwrap(), None);
}

#[test]
fn what_appears_and_what_goes_away_is_noticed() {
    let (_dir, index, first, _) = world();
    let bytes = chacha20("later", CHUNK_SIZE + 1);
    let leaf = Cid::of(&bytes[..CHUNK_SIZE]);
    assert_eq!(index.block(&leaf).unwrap(), None);
    let second = index.blobs().put(bytes.as_slice()).unwrap();
    assert!(index.block(&second).unwrap().is_some());
    assert_eq!(index.block(&leaf).unwrap().unwrap(), &bytes[..CHUNK_SIZE]);
    index.blobs().remove(&second).unwrap();
    assert_eq!(index.block(&leaf).unwrap(), None);
    assert_eq!(index.block(&second).unwrap(), None);
    assert!(index.block(&first).unwrap().is_some());
}

#[test]
fn a_chunk_that_two_files_share_outlives_either() {
    let (_dir, index, first, bytes) = world();
    let longer = [&bytes[..], &[7]].concat();
    let second = index.blobs().put(longer.as_slice()).unwrap();
    assert!(index.block(&second).unwrap().is_some());
    index.blobs().remove(&first).unwrap();
    assert_eq!(index.block(&Cid::of(&bytes[..CHUNK_SIZE])).unwrap().unwrap(), &bytes[..CHUNK_SIZE]);
}

#[test]
fn a_damaged_chunk_is_not_handed_out() {
    let (dir, index, cid, mut bytes) = world();
    let leaves = index.file(&cid).unwrap().unwrap().leaves;
    bytes[CHUNK_SIZE + 3] ^= 1;
    let path = dir.path().join(cid.to_string());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, &bytes).unwrap();
    assert!(index.block(&leaves.leaf(0)).unwrap().is_some());
    assert_eq!(index.block(&leaves.leaf(1)).unwrap(), None);
}

#[test]
fn a_table_that_is_lost_or_wrong_is_made_again() {
    let (dir, index, cid, _) = world();
    let table = dir.path().join("leaves").join(cid.to_string());
    let good = std::fs::read(&table).unwrap();
    for damage in [None, Some(&b"no table"[..]), Some(&good[..good.len() - 1])] {
        std::fs::remove_file(&table).unwrap();
        damage.iter().for_each(|bytes| std::fs::write(&table, bytes).unwrap());
        let again = Index::open(index.blobs().clone()).unwrap();
        assert!(again.block(&cid).unwrap().is_some());
        assert_eq!(std::fs::read(&table).unwrap(), good);
    }
}
