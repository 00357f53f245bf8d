use std::sync::Arc;

use super::check;
use crate::cid::{CHUNK_SIZE, Cid};
use crate::index::tests::{put_directory, world};

#[test]
fn damage_is_found_and_what_is_right_is_kept() {
    let (dir, index, file, mut bytes) = world();
    let blobs = index.blobs();
    let folder = put_directory(blobs, &[("a", b"one")]);
    blobs.pin(&file, "").unwrap();
    blobs.pin(&folder, "").unwrap();
    assert!(check(blobs, &[], &mut |_, _| {}).unwrap().is_sound());
    bytes[CHUNK_SIZE] ^= 1;
    let write = |path: std::path::PathBuf, bytes: &[u8]| {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    };
    write(blobs.path(&file), &bytes);
    write(dir.path().join("nodes").join(folder.to_string()), b"no node");
    let report = check(blobs, &[Cid::of(b"a model")], &mut |_, _| {}).unwrap();
    assert_eq!(report.damaged, [file]);
    assert_eq!(report.damaged_nodes, [folder]);
    assert_eq!(report.missing, [file, folder, Cid::of(b"a model")].into());
    assert!(!blobs.contains(&file));
    let leaves = Arc::new(blobs.read_leaves(&file).unwrap());
    let pieces = blobs.pieces(leaves).unwrap();
    assert_eq!([0, 1, 2].map(|index| pieces.has(index)), [true, false, true]);
    assert!(!pieces.place(1, &bytes[CHUNK_SIZE..2 * CHUNK_SIZE]).unwrap());
    bytes[CHUNK_SIZE] ^= 1;
    assert!(pieces.place(1, &bytes[CHUNK_SIZE..2 * CHUNK_SIZE]).unwrap());
    assert_eq!(pieces.commit().unwrap(), file);
    blobs.verify(&file).unwrap();
    assert_eq!(std::fs::read(blobs.path(&file)).unwrap(), bytes);
}

#[test]
fn a_lost_table_is_made_again() {
    let (dir, index, file, _) = world();
    std::fs::remove_file(dir.path().join("leaves").join(file.to_string())).unwrap();
    let report = check(index.blobs(), &[], &mut |_, _| {}).unwrap();
    assert_eq!(report.tables, [file]);
    assert!(report.is_sound());
    assert!(check(index.blobs(), &[], &mut |_, _| {}).unwrap().tables.is_empty());
}
