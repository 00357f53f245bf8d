use std::path::Path;

use store::blobs::Blobs;
use store::cid::{Cid, Codec};
use store::dag_pb::{Link, Node};
use store::directory;
use store::index::Index;
use store::walk::WalkError;

use super::{FolderError, Writing, is_inside, write_out};

/// The data of a directory's node.
const DIRECTORY: &[u8] = &[0x08, 1];

fn world() -> (tempfile::TempDir, Index) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
    (dir, Index::open(blobs).unwrap())
}

/// Keeps a directory of these entries, whatever their names are.
fn put(index: &Index, entries: &[(&[u8], Cid)]) -> Cid {
    let link = |(name, cid): &(&[u8], Cid)| Link { cid: *cid, name: name.to_vec(), size: 1 };
    let links = entries.iter().map(link).collect();
    let block = Node { links, data: DIRECTORY.to_vec() }.encode();
    let cid = Cid::of_block(Codec::DagPb, &block);
    index.blobs().put_node(&cid, &block).unwrap();
    cid
}

fn symlink(index: &Index, target: &[u8]) -> Cid {
    let made = directory::symlink(target);
    let (cid, block) = &made.blocks[0];
    index.blobs().put_node(cid, block).unwrap();
    *cid
}

/// What is refused leaves nothing.
fn refused(index: &Index, cid: &Cid, to: &Path) -> FolderError {
    let error = write_out(index, cid, to, Writing::default()).unwrap_err();
    assert!(std::fs::symlink_metadata(to).is_err(), "{error}: something was written");
    error
}

#[test]
fn names_that_lead_elsewhere_are_refused_before_anything_is_written() {
    let (dir, index) = world();
    let file = index.blobs().put(&b"x"[..]).unwrap();
    let long = [b'a'; 1023];
    let names = [&b"../x"[..], b"..", b".", b"/etc/x", b"a/b", b"a\0b", &long];
    for name in names {
        let root = put(&index, &[(b"good", file), (name, file)]);
        let outer = put(&index, &[(b"inner", root)]);
        for cid in [root, outer] {
            let error = refused(&index, &cid, &dir.path().join("out"));
            assert!(matches!(error, FolderError::Walk(WalkError::Name { .. })), "{error}");
        }
    }
    let root = put(&index, &[(b"a", file), (b"b", file), (b"a", root_of_nothing(&index))]);
    let error = refused(&index, &root, &dir.path().join("out"));
    assert!(matches!(error, FolderError::Walk(WalkError::Twice { .. })), "{error}");
}

fn root_of_nothing(index: &Index) -> Cid {
    put(index, &[])
}

/// 40 directories, each of which has the next one 30,000 times.
#[test]
fn folders_that_multiply_are_refused_before_anything_is_written() {
    let (dir, index) = world();
    let file = index.blobs().put(&b"x"[..]).unwrap();
    let mut root = file;
    let names: Vec<Vec<u8>> = (0..30_000).map(|it: u32| it.to_string().into_bytes()).collect();
    for _ in 0..40 {
        let entries: Vec<(&[u8], Cid)> = names.iter().map(|name| (&**name, root)).collect();
        root = put(&index, &entries);
    }
    let error = refused(&index, &root, &dir.path().join("out"));
    assert!(matches!(error, FolderError::TooMuch { .. }), "{error}");
    // 200 folders within each other.
    let mut root = file;
    for _ in 0..200 {
        root = put(&index, &[(b"deeper", root)]);
    }
    let error = refused(&index, &root, &dir.path().join("out"));
    assert!(matches!(error, FolderError::TooMuch { .. }), "{error}");
}

/// A file that is a hole of 1 TiB, under a thousand names.
#[test]
fn more_than_the_disk_has_room_for_is_refused() {
    let (dir, index) = world();
    let huge = Cid::of(b"huge");
    let hole = std::fs::File::create(index.blobs().path(&huge)).unwrap();
    hole.set_len(1 << 40).unwrap();
    let names: Vec<Vec<u8>> = (0..1000).map(|it: u32| it.to_string().into_bytes()).collect();
    let entries: Vec<(&[u8], Cid)> = names.iter().map(|name| (&**name, huge)).collect();
    let root = put(&index, &entries);
    let error = refused(&index, &root, &dir.path().join("out"));
    assert!(matches!(error, FolderError::Disk { needed, .. } if needed == 1000 << 40), "{error}");
}

#[test]
fn links_that_lead_out_are_refused_and_made_when_asked_for() {
    let (dir, index) = world();
    for target in [&b"/etc/passwd"[..], b"..", b"../x", b"a/../../x", b"d/d/d/../../..", b""] {
        let inner = put(&index, &[(b"link", symlink(&index, target))]);
        let error = refused(&index, &inner, &dir.path().join("out"));
        assert!(matches!(error, FolderError::Link { .. }), "{error}");
        let alone = symlink(&index, target);
        assert!(matches!(
            refused(&index, &alone, &dir.path().join("out")),
            FolderError::Link { .. }
        ));
    }
    let outside = put(&index, &[(b"link", symlink(&index, b"/etc/passwd"))]);
    let to = dir.path().join("outside");
    write_out(&index, &outside, &to, Writing { outside_links: true }).unwrap();
    assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/etc/passwd"));
    let file = index.blobs().put(&b"x"[..]).unwrap();
    let inner = put(&index, &[(b"link", symlink(&index, b"../file"))]);
    let root = put(&index, &[(b"file", file), (b"inner", inner)]);
    let to = dir.path().join("inside");
    write_out(&index, &root, &to, Writing::default()).unwrap();
    assert_eq!(std::fs::read(to.join("inner/link")).unwrap(), b"x");
}

#[test]
fn where_a_link_leads_is_counted_from_its_folder() {
    let inside = [(&b"a"[..], 1), (b"./a", 1), (b"../a", 2), (b"../../a/b", 3), (b"..", 2)];
    let outside =
        [(&b".."[..], 1), (b"../a", 1), (b"../../a", 2), (b"a/..", 3), (b"/a", 9), (b"", 1)];
    for (target, depth) in inside {
        assert!(is_inside(target, depth), "{target:?} {depth}");
    }
    for (target, depth) in outside.into_iter().chain([(&b"a"[..], 0), (b"a\0", 1)]) {
        assert!(!is_inside(target, depth), "{target:?} {depth}");
    }
}
