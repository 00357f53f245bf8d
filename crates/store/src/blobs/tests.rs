use std::fs;
use std::io;

use tempfile::TempDir;

use super::{Blobs, STAGING, StoreError};
use crate::cid::Cid;

fn blobs() -> (TempDir, Blobs) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
    (dir, blobs)
}

#[test]
fn a_blob_is_kept_under_its_hash() {
    let (_dir, blobs) = blobs();
    let cid = blobs.put(&b"hello world"[..]).unwrap();
    assert_eq!(cid, Cid::of(b"hello world"));
    assert!(blobs.contains(&cid));
    assert_eq!(blobs.list().unwrap(), [cid]);
    assert_eq!(&blobs.map(&cid).unwrap()[..], b"hello world");
    blobs.verify(&cid).unwrap();
}

#[test]
fn putting_a_blob_twice_keeps_one() {
    let (_dir, blobs) = blobs();
    let cid = blobs.put(&b"twice"[..]).unwrap();
    assert_eq!(blobs.put(&b"twice"[..]).unwrap(), cid);
    assert_eq!(blobs.list().unwrap(), [cid]);
    assert_eq!(fs::read_dir(blobs.dir.join(STAGING)).unwrap().count(), 0);
}

#[test]
fn a_source_that_breaks_leaves_nothing() {
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the cable is out"))
        }
    }
    let (_dir, blobs) = blobs();
    assert!(matches!(blobs.put(Broken), Err(StoreError::Source { .. })));
    assert!(blobs.list().unwrap().is_empty());
    assert_eq!(fs::read_dir(blobs.dir.join(STAGING)).unwrap().count(), 0);
}

#[test]
fn staged_bytes_wait_for_the_next_attempt() {
    let (_dir, blobs) = blobs();
    let cid = Cid::of(b"hello world");
    let mut staged = blobs.stage(&cid).unwrap();
    staged.write_all(b"hello ").unwrap();
    drop(staged);
    assert!(!blobs.contains(&cid));
    let mut staged = blobs.stage(&cid).unwrap();
    assert_eq!(staged.len(), 6);
    staged.write_all(b"world").unwrap();
    staged.commit().unwrap();
    blobs.verify(&cid).unwrap();
}

#[test]
fn other_bytes_are_thrown_away_and_both_names_told() {
    let (_dir, blobs) = blobs();
    let (wanted, got) = (Cid::of(b"this"), Cid::of(b"that"));
    let mut staged = blobs.stage(&wanted).unwrap();
    staged.write_all(b"that").unwrap();
    let error = staged.commit().unwrap_err();
    assert_eq!(error.to_string(), format!("wanted {wanted}, got the bytes of {got}"));
    assert!(!blobs.contains(&wanted) && !blobs.contains(&got));
    assert!(blobs.stage(&wanted).unwrap().is_empty());
}

#[test]
fn cleared_bytes_are_not_part_of_the_blob() {
    let (_dir, blobs) = blobs();
    let cid = Cid::of(b"right");
    let mut staged = blobs.stage(&cid).unwrap();
    staged.write_all(b"wrong").unwrap();
    staged.clear().unwrap();
    staged.write_all(b"right").unwrap();
    staged.commit().unwrap();
    blobs.verify(&cid).unwrap();
}

#[test]
fn one_at_a_time_stages_a_blob() {
    let (_dir, blobs) = blobs();
    let cid = Cid::of(b"x");
    let first = blobs.stage(&cid).unwrap();
    assert!(matches!(blobs.stage(&cid), Err(StoreError::Busy { .. })));
    blobs.stage(&Cid::of(b"y")).unwrap();
    drop(first);
    blobs.stage(&cid).unwrap();
}

#[test]
fn a_removed_blob_is_gone_but_its_map_lives_on() {
    let (_dir, blobs) = blobs();
    let cid = blobs.put(&b"hello"[..]).unwrap();
    let map = blobs.map(&cid).unwrap();
    blobs.remove(&cid).unwrap();
    blobs.remove(&cid).unwrap();
    assert_eq!(&map[..], b"hello");
    assert!(matches!(blobs.map(&cid), Err(StoreError::Missing { .. })));
    assert!(matches!(blobs.verify(&cid), Err(StoreError::Missing { .. })));
}

#[test]
fn a_changed_blob_is_found_out() {
    let (_dir, blobs) = blobs();
    let cid = blobs.put(&b"hello"[..]).unwrap();
    let path = blobs.path(&cid);
    assert!(fs::metadata(&path).unwrap().permissions().readonly());
    fs::remove_file(&path).unwrap();
    fs::write(&path, b"jello").unwrap();
    assert!(matches!(blobs.verify(&cid), Err(StoreError::Mismatch { .. })));
}

#[test]
fn files_with_other_names_are_no_blobs() {
    let (_dir, blobs) = blobs();
    fs::write(blobs.dir.join("notes.txt"), b"x").unwrap();
    assert!(blobs.list().unwrap().is_empty());
}

#[test]
fn an_empty_blob_can_be_mapped() {
    let (_dir, blobs) = blobs();
    let cid = blobs.put(&b""[..]).unwrap();
    assert!(blobs.map(&cid).unwrap().is_empty());
}

#[test]
fn what_a_killed_process_was_writing_is_swept_and_what_is_written_now_is_not() {
    let (_dir, blobs) = blobs();
    let staging = blobs.dir.join(STAGING);
    fs::write(staging.join("unnamed-1-0"), b"half").unwrap();
    let mut first = blobs.begin().unwrap();
    io::Write::write_all(&mut first, b"first").unwrap();
    let second = blobs.begin().unwrap();
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 2);
    drop(second);
    assert_eq!(first.commit().unwrap(), Cid::of(b"first"));
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0);
}
