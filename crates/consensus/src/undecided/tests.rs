use std::fs;
use std::path::Path;

use malachite_types::Round;

use super::*;
use crate::context::{Height, Sealed};
use crate::machine::Real;

/// A machine whose files are in a folder, and which does nothing later.
fn machine(folder: &Path) -> Real {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    Real::new(folder, runtime.handle().clone()).unwrap()
}

fn whole(height: u64, round: u32, bytes: &[u8]) -> Whole {
    let head = Head {
        height: Height(height),
        round: Round::new(round),
        valid_round: Round::Nil,
        proposer: Name([1; 32]),
        block: digest(&[bytes, b"name"].concat()),
        length: u32::try_from(bytes.len()).unwrap(),
        digest: digest(bytes),
        signature: Sealed([2; 64]),
    };
    Whole { head, bytes: bytes.to_vec() }
}

#[test]
fn a_block_that_was_kept_is_there_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(folder.path());
    let (mut undecided, found) = Undecided::open(&mut machine, 4).unwrap();
    assert_eq!(found, []);
    undecided.keep(&mut machine, whole(5, 0, b"first"), true).unwrap();
    undecided.keep(&mut machine, whole(7, 0, b"later"), true).unwrap();
    drop(undecided);
    let (undecided, found) = Undecided::open(&mut machine, 4).unwrap();
    let kept: Vec<&Whole> = undecided.iter().map(|kept| &kept.block).collect();
    assert_eq!(kept, [&whole(5, 0, b"first")]);
    assert!(undecided.iter().all(|kept| kept.is_good));
    // A later height's is checked when its height comes.
    assert_eq!(found, [whole(7, 0, b"later")]);
    // Once its height is decided nobody needs it.
    let (undecided, found) = Undecided::open(&mut machine, 7).unwrap();
    assert_eq!((undecided.iter().count(), found), (0, vec![]));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_block_that_is_on_the_disk_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(folder.path());
    let (mut undecided, _) = Undecided::open(&mut machine, 4).unwrap();
    undecided.keep(&mut machine, whole(5, 0, b"first"), true).unwrap();
    let (mut undecided, _) = Undecided::open(&mut machine, 4).unwrap();
    // A write could be torn, and so it would be seen.
    let path = folder.path().join(whole(5, 0, b"first").head.block.to_string());
    fs::remove_file(&path).unwrap();
    undecided.keep(&mut machine, whole(5, 0, b"first"), true).unwrap();
    assert!(!path.exists());
}

#[test]
fn the_file_of_silence_is_no_block_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(folder.path());
    machine.write(silence::FILE, &[1; 8]).unwrap();
    let (undecided, found) = Undecided::open(&mut machine, 4).unwrap();
    assert_eq!((undecided.iter().count(), found), (0, vec![]));
    assert_eq!(machine.read(silence::FILE).unwrap(), [1; 8]);
}

#[test]
fn a_torn_file_is_no_block_and_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(folder.path());
    let (mut undecided, _) = Undecided::open(&mut machine, 4).unwrap();
    undecided.keep(&mut machine, whole(5, 0, b"first"), true).unwrap();
    let path = folder.path().join(whole(5, 0, b"first").head.block.to_string());
    let bytes = fs::read(&path).unwrap();
    for end in 0..bytes.len() {
        fs::write(&path, &bytes[..end]).unwrap();
        let (undecided, found) = Undecided::open(&mut machine, 4).unwrap();
        assert_eq!((undecided.iter().count(), found), (0, vec![]), "{end} bytes");
        assert!(!path.exists());
    }
}

#[test]
fn of_too_many_blocks_the_one_of_the_oldest_round_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut machine = machine(folder.path());
    let (mut undecided, _) = Undecided::open(&mut machine, 4).unwrap();
    let count = u32::try_from(BLOCKS_MAX).unwrap();
    for round in 0..=count {
        undecided.keep(&mut machine, whole(5, round, &round.to_le_bytes()), true).unwrap();
    }
    assert_eq!(undecided.iter().count(), BLOCKS_MAX);
    assert!(undecided.get(&whole(5, 0, &0u32.to_le_bytes()).head.block).is_none());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), BLOCKS_MAX);
    undecided.clear(&mut machine).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
