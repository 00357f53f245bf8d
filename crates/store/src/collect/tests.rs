use super::{collect, collect_below};
use crate::blobs::{PIN_COUNT_MAX, StoreError};
use crate::cid::Cid;
use crate::index::tests::{put_directory, world};

#[test]
fn what_pins_and_roots_lead_to_stays_and_nothing_else() {
    let (_dir, index, file, bytes) = world();
    let blobs = index.blobs();
    let folder = put_directory(blobs, &[("a", b"one"), ("b", b"two")]);
    let other = put_directory(blobs, &[("b", b"two"), ("c", b"three")]);
    blobs.pin(&folder, "kept").unwrap();
    drop(blobs.stage(&Cid::of(b"half")).unwrap());
    let mapped = blobs.map(&file).unwrap();
    let root = blobs.put(&b"root"[..]).unwrap();
    let done = collect(blobs, || Ok(vec![root])).unwrap();
    let mut gone = [file, Cid::of(b"three")];
    gone.sort();
    assert_eq!((done.blobs, done.nodes, done.staged), (gone.to_vec(), vec![other], 1));
    assert!(done.bytes >= bytes.len() as u64, "{}", done.bytes);
    let mut left = [Cid::of(b"one"), Cid::of(b"two"), root];
    left.sort();
    assert_eq!(blobs.list().unwrap(), left);
    assert_eq!(blobs.list_leaves().unwrap(), []);
    assert_eq!(mapped[..], bytes[..], "who reads goes on reading");
    assert!(blobs.unpin(&folder).unwrap());
    assert!(!blobs.unpin(&folder).unwrap());
    collect(blobs, || Ok(vec![])).unwrap();
    assert_eq!(blobs.used().unwrap(), 0);
}

#[test]
fn nothing_is_deleted_while_someone_adds() {
    let (_dir, index, file, _) = world();
    let blobs = index.blobs();
    let hold = blobs.hold().unwrap();
    let _second = blobs.hold().unwrap();
    drop(hold);
    assert!(matches!(collect(blobs, || Ok(vec![])), Err(StoreError::Held)));
    assert!(blobs.contains(&file));
}

#[test]
fn pins_have_names_and_a_limit() {
    let (dir, index, file, _) = world();
    let blobs = index.blobs();
    blobs.pin(&file, &"\u{e9}".repeat(200)).unwrap();
    assert_eq!(blobs.pins().unwrap()[0].name, "\u{e9}".repeat(128));
    // Files as `pin` makes them, without waiting for the disk each time.
    for number in 0..PIN_COUNT_MAX as u64 - 1 {
        let cid = Cid::of(&number.to_le_bytes());
        std::fs::write(dir.path().join("pins").join(cid.to_string()), "").unwrap();
    }
    assert!(matches!(blobs.pin(&Cid::of(b"one more"), ""), Err(StoreError::Pins)));
    blobs.pin(&file, "renamed").unwrap();
}

#[test]
fn what_is_let_go_of_goes_alone_and_not_what_others_need() {
    let (_dir, index, file, _) = world();
    let blobs = index.blobs();
    let kept = put_directory(blobs, &[("a", b"one"), ("b", b"two")]);
    let gone = put_directory(blobs, &[("b", b"two"), ("c", b"three")]);
    let loose = blobs.put(&b"nobody's"[..]).unwrap();
    let done = collect_below(blobs, gone, || Ok(vec![kept])).unwrap();
    assert_eq!((done.blobs, done.nodes), (vec![Cid::of(b"three")], vec![gone]));
    assert!(blobs.contains(&loose) && blobs.contains(&file), "only what is below");
    blobs.pin(&file, "").unwrap();
    assert_eq!(collect_below(blobs, file, || Ok(vec![])).unwrap().blobs, []);
    let _hold = blobs.hold().unwrap();
    assert!(matches!(collect_below(blobs, loose, || Ok(vec![])), Err(StoreError::Held)));
}
