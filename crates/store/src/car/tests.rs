use std::io::Cursor;

use super::{CarError, HEADER_SIZE_MAX, HeaderRefusal, export, import};
use crate::blobs::Blobs;
use crate::cid::{Cid, Codec};
use crate::dag_pb::{Link, Node};
use crate::index::Index;
use crate::index::tests::{put_directory, world};
use crate::protobuf::put_varint;
use crate::unix_fs;
use crate::walk::Scope;

fn archive(index: &Index, root: &Cid) -> Vec<u8> {
    let mut bytes = Vec::new();
    export(index, root, &Scope::All, &mut bytes).unwrap();
    bytes
}

fn empty() -> (tempfile::TempDir, Blobs) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path()).unwrap();
    (dir, blobs)
}

fn read(blobs: &Blobs, bytes: &[u8]) -> Result<super::Imported, CarError> {
    import(blobs, &mut Cursor::new(bytes), u64::MAX)
}

/// An archive of these blocks, whose hashes are right.
fn made(roots: &[Cid], blocks: &[(Cid, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = super::header::encode(roots);
    put_varint(&mut bytes, header.len() as u64);
    bytes.extend(header);
    for (cid, block) in blocks {
        super::section(cid, block, &mut bytes).unwrap();
    }
    bytes
}

#[test]
fn what_is_exported_is_imported() {
    let (_dir, index, file, bytes) = world();
    let folder =
        put_directory(index.blobs(), &[("long", &bytes), ("short", b"hi"), ("empty", b"")]);
    for root in [file, folder, Cid::of(b"hi")] {
        let car = archive(&index, &root);
        let (_other, blobs) = empty();
        let done = read(&blobs, &car).unwrap();
        assert_eq!((done.roots, done.unused), (vec![root], 0));
        assert_eq!(archive(&Index::open(blobs).unwrap(), &root), car);
    }
}

/// The bytes of a small archive, as the specification has them.
#[test]
fn an_archive_has_the_bytes_of_the_specification() {
    let (_dir, index, _, _) = world();
    index.blobs().put(&b"hi"[..]).unwrap();
    let cid = Cid::of(b"hi");
    let car = archive(&index, &cid);
    let header = [&b"\xa2\x65roots\x81\xd8\x2a\x58\x25\0"[..], &cid.to_bytes(), b"\x67version\x01"];
    let header = header.concat();
    let expected = [&[58][..], &header, &[38], &cid.to_bytes(), b"hi"].concat();
    assert_eq!(header.len(), 58);
    assert_eq!(car, expected);
}

/// Every prefix and every flipped bit of an archive, and nothing is kept that should not be.
#[test]
fn damaged_archives_are_refused() {
    let (_dir, index, _, _) = world();
    let root = put_directory(index.blobs(), &[("a", b"some bytes"), ("b", b"others")]);
    let car = archive(&index, &root);
    let (_other, blobs) = empty();
    let mut cut_between = 0;
    for end in 0..car.len() {
        match read(&blobs, &car[..end]) {
            // The archive ends between two blocks: what the root needs is not there.
            Err(CarError::Lacks { .. }) => cut_between += 1,
            result => drop(result.unwrap_err()),
        }
    }
    assert_eq!(cut_between, 3, "after the header and each block but the last");
    for at in 0..car.len() {
        for bit in 0..8 {
            let mut other = car.clone();
            other[at] ^= 1 << bit;
            read(&blobs, &other).unwrap_err();
        }
    }
    assert_eq!(blobs.list_nodes().unwrap(), []);
    assert!(blobs.used().unwrap() == 0, "a block of a refused archive was kept");
}

#[test]
fn lengths_that_promise_too_much_are_refused_before_anything_is_allocated() {
    let (_other, blobs) = empty();
    let mut long = Vec::new();
    put_varint(&mut long, HEADER_SIZE_MAX + 1);
    let refused = read(&blobs, &long).unwrap_err();
    assert!(matches!(refused, CarError::Header(HeaderRefusal::TooLarge { .. })), "{refused}");
    for size in [0, 35, super::SECTION_SIZE_MAX + 1, u64::MAX] {
        let mut car = made(&[Cid::of(b"x")], &[]);
        put_varint(&mut car, size);
        let refused = read(&blobs, &car).unwrap_err();
        assert!(matches!(refused, CarError::Section { .. }), "{size}: {refused}");
    }
    let endless = [vec![0x80; 10], vec![1]].concat();
    assert!(matches!(read(&blobs, &endless).unwrap_err(), CarError::Length { at: 0 }));
    let version_2 = b"\x0a\xa1\x67version\x02rest";
    let refused = read(&blobs, version_2).unwrap_err();
    assert!(matches!(refused, CarError::Header(HeaderRefusal::Version2)), "{refused}");
    // A header of 2^32 roots.
    let roots = b"\x0c\xa2\x65roots\x9a\xff\xff\xff\xff";
    assert!(matches!(read(&blobs, roots).unwrap_err(), CarError::Header(HeaderRefusal::Other)));
}

/// A terabyte of zeros in four kilobytes: true as a file, and refused for the room it takes.
#[test]
fn a_small_archive_of_a_huge_file_is_refused_by_its_size() {
    let leaf = vec![0; 1 << 20];
    let leaves = crate::leaves::Leaves::of(1 << 30, vec![*Cid::of(&leaf).digest(); 1 << 10]);
    let mut blocks = leaves.nodes();
    blocks.push((Cid::of(&leaf), leaf));
    let car = made(&[leaves.root()], &blocks);
    let (_other, blobs) = empty();
    let refused = import(&blobs, &mut Cursor::new(car), 1 << 29).unwrap_err();
    assert!(
        matches!(refused, CarError::Room { needed, room } if needed == 1 << 30 && room == 1 << 29),
        "{refused}"
    );
    assert!(blobs.used().unwrap() == 0);
}

/// Chunks that are shorter than the nodes over them say.
#[test]
fn a_file_whose_chunks_are_of_other_sizes_is_refused() {
    let leaf = b"short".to_vec();
    let leaves = crate::leaves::Leaves::of(2 << 20, vec![*Cid::of(&leaf).digest(); 2]);
    let mut blocks = leaves.nodes();
    blocks.push((Cid::of(&leaf), leaf));
    let (_other, blobs) = empty();
    let refused = read(&blobs, &made(&[leaves.root()], &blocks)).unwrap_err();
    assert!(matches!(refused, CarError::Leaves(_)), "{refused}");
    assert_eq!(blobs.list().unwrap(), []);
}

/// A chunk may not be kept under a name that links to it, and a node not without what it links to.
#[test]
fn blocks_that_no_root_leads_to_are_not_kept() {
    let stray = (Cid::of(b"stray"), b"stray".to_vec());
    let kept = (Cid::of(b"kept"), b"kept".to_vec());
    let (_other, blobs) = empty();
    let done = read(&blobs, &made(&[kept.0], &[stray.clone(), kept.clone()])).unwrap();
    assert_eq!((done.files, done.unused), (1, 1));
    assert_eq!(blobs.list().unwrap(), [kept.0]);
    let link = Link { cid: Cid::of(b"absent"), name: b"a".to_vec(), size: 0 };
    let node = Node { links: vec![link], data: unix_fs::directory() }.encode();
    let root = Cid::of_block(Codec::DagPb, &node);
    let refused = read(&blobs, &made(&[root], &[(root, node)])).unwrap_err();
    assert!(matches!(refused, CarError::Lacks { .. }), "{refused}");
    assert_eq!(blobs.list_nodes().unwrap(), []);
}

/// Every prefix and every flipped byte of nodes of every kind is read or refused, never more.
#[test]
fn damaged_nodes_are_refused_or_read() {
    let (_dir, index, file, _) = world();
    let folder = put_directory(index.blobs(), &[("a", b"some bytes"), ("b", b"others")]);
    let link = |name: &[u8]| Link { cid: Cid::of(b"x"), name: name.to_vec(), size: 1 };
    let shard = Node {
        links: vec![link(b"0Aname"), link(b"FF")],
        data: unix_fs::shard(&unix_fs::bitmap([0x0a, 0xff]).unwrap()),
    };
    let symlink = Node { links: vec![], data: unix_fs::symlink(b"some/where") };
    let nodes = [
        index.block(&file).unwrap().unwrap(),
        index.block(&folder).unwrap().unwrap(),
        shard.encode(),
        symlink.encode(),
    ];
    for block in nodes {
        let decode = |block: &[u8]| crate::walk::decode(&file, block).is_ok();
        assert!(decode(&block));
        for end in 0..block.len() {
            decode(&block[..end]);
        }
        for at in 0..block.len() {
            for value in 0..=255 {
                let mut other = block.clone();
                other[at] = value;
                decode(&other);
                let _ = crate::leaves::Gathering::begin(file, &other);
            }
        }
    }
}

/// Identity CIDs, CIDv0, other codecs and hashes; as roots and as blocks.
#[test]
fn blocks_and_roots_of_other_kinds_are_refused_by_name() {
    let (_other, blobs) = empty();
    let hi = Cid::of(b"hi");
    let names: [&[u8]; 4] = [
        // The identity of "hi", filled up to the length of a name with its block.
        &[&[0x01, 0x55, 0x00, 0x02][..], b"hi", &[0; 40]].concat(),
        &[&[0x12, 0x20][..], &[7; 40]].concat(),
        &[&[0x01, 0x71, 0x12, 0x20][..], &[7; 40]].concat(),
        &[&[0x01, 0x55, 0x13, 0x40][..], &[7; 64]].concat(),
    ];
    for name in names {
        let mut car = made(&[hi], &[(hi, b"hi".to_vec())]);
        put_varint(&mut car, name.len() as u64);
        car.extend(name);
        let refused = read(&blobs, &car).unwrap_err();
        assert!(matches!(refused, CarError::Name { .. }), "{refused}");
    }
    // The root as an identity, whose length differs, and as a CID with another codec.
    for root in [
        &[0x01, 0x55, 0x00, 0x02, b'h', b'i'][..],
        &[&[1, 0x71, 0x12, 0x20][..], &[7; 32]].concat(),
    ] {
        let size = root.len() as u8 + 1;
        let header = [&b"\xa2\x65roots\x81\xd8\x2a\x58"[..], &[size, 0], root, b"\x67version\x01"];
        let header = header.concat();
        let car = [&[header.len() as u8][..], &header].concat();
        let refused = read(&blobs, &car).unwrap_err();
        assert!(matches!(refused, CarError::Header(HeaderRefusal::Root(_))), "{refused}");
    }
    assert!(blobs.used().unwrap() == 0);
}

#[test]
fn a_root_that_is_not_there_is_named_and_blocks_may_come_twice() {
    let (_other, blobs) = empty();
    let (hi, absent) = (Cid::of(b"hi"), Cid::of(b"absent"));
    let car = made(&[absent], &[(hi, b"hi".to_vec())]);
    let refused = read(&blobs, &car).unwrap_err();
    assert!(matches!(refused, CarError::Lacks { cid } if cid == absent), "{refused}");
    let block = (hi, b"hi".to_vec());
    let done = read(&blobs, &made(&[hi, hi], &[block.clone(), block.clone(), block])).unwrap();
    assert_eq!((done.files, done.unused), (1, 0));
    let none = read(&blobs, &made(&[], &[(hi, b"hi".to_vec())])).unwrap();
    assert_eq!((none.files, none.unused), (0, 1));
}

#[test]
fn more_roots_than_the_limit_are_refused() {
    let roots = |count: u16| {
        let root = [&[0xd8, 0x2a, 0x58, 37, 0][..], &Cid::of(b"hi").to_bytes()].concat();
        let count_bytes = count.to_be_bytes();
        let begin = [&b"\xa2\x65roots\x99"[..], &count_bytes].concat();
        let header = [begin, root.repeat(usize::from(count)), b"\x67version\x01".to_vec()].concat();
        let mut car = Vec::new();
        put_varint(&mut car, header.len() as u64);
        car.extend(header);
        super::section(&Cid::of(b"hi"), b"hi", &mut car).unwrap();
        car
    };
    let (_other, blobs) = empty();
    let most = super::ROOT_COUNT_MAX as u16;
    assert_eq!(read(&blobs, &roots(most)).unwrap().files, 1);
    let refused = read(&blobs, &roots(most + 1)).unwrap_err();
    assert!(matches!(refused, CarError::Header(_)), "{refused}");
}

/// Many files of 1 TiB each in a few blocks: they are counted up no further than there is room for.
#[test]
fn an_archive_of_many_huge_files_is_refused_at_the_first_that_does_not_fit() {
    let leaf = vec![0; 1 << 20];
    let digest = *Cid::of(&leaf).digest();
    let mut blocks = vec![(Cid::of(&leaf), leaf)];
    let mut roots = Vec::new();
    for count in 1020..1024 {
        let leaves = crate::leaves::Leaves::of(count << 20, vec![digest; count as usize]);
        roots.push(leaves.root());
        blocks.extend(leaves.nodes());
    }
    let (_other, blobs) = empty();
    let room = 1 << 31;
    let refused = import(&blobs, &mut Cursor::new(made(&roots, &blocks)), room).unwrap_err();
    assert!(
        matches!(refused, CarError::Room { needed, .. } if needed == (1020 + 1021 + 1022) << 20),
        "{refused}"
    );
    assert!(blobs.used().unwrap() == 0);
}
