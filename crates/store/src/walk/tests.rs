use super::{Scope, WalkError, blocks, entries, resolve};
use crate::cid::{CHUNK_SIZE, Cid, Codec};
use crate::dag_pb::{Link, Node};
use crate::index::Index;
use crate::index::tests::{put_directory, world};
use crate::unix_fs;

/// The blocks of a walk, by name.
fn walked(index: &Index, root: &Cid, scope: &Scope) -> Result<Vec<Cid>, WalkError> {
    let mut seen = Vec::new();
    blocks(index, root, scope, |cid, _| {
        seen.push(*cid);
        Ok::<(), WalkError>(())
    })?;
    Ok(seen)
}

#[test]
fn a_part_of_a_file_needs_the_blocks_of_that_part() {
    let (_dir, index, cid, bytes) = world();
    let leaf = |at: usize| Cid::of(bytes.chunks(CHUNK_SIZE).nth(at).unwrap());
    let chunk = CHUNK_SIZE as u64;
    let part = |range| walked(&index, &cid, &Scope::Entity(Some(range))).unwrap();
    assert_eq!(part(0..1), [cid, leaf(0)]);
    assert_eq!(part(chunk - 1..chunk + 1), [cid, leaf(0), leaf(1)]);
    assert_eq!(part(2 * chunk..3 * chunk), [cid, leaf(2)]);
    assert_eq!(part(9 * chunk..10 * chunk), [cid]);
    let all = [cid, leaf(0), leaf(1), leaf(2)];
    assert_eq!(walked(&index, &cid, &Scope::All).unwrap(), all);
    assert_eq!(walked(&index, &cid, &Scope::Entity(None)).unwrap(), all);
    assert_eq!(walked(&index, &cid, &Scope::Block).unwrap(), [cid]);
}

#[test]
fn a_directory_lists_its_entries_and_leads_to_them() {
    let (_dir, index, _, _) = world();
    let inner = put_directory(index.blobs(), &[("b", b"two"), ("a", b"one")]);
    let names: Vec<_> =
        entries(&index, &inner).unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(names, [b"a".to_vec(), b"b".to_vec()]);
    let (found, way) = resolve(&index, &inner, &[b"b".to_vec()]).unwrap();
    assert_eq!((found, way), (Cid::of(b"two"), vec![inner]));
    for name in [&b"c"[..], b"..", b""] {
        let error = resolve(&index, &inner, &[name.to_vec()]).unwrap_err();
        assert!(matches!(error, WalkError::NoEntry { .. }), "{error}");
    }
    let error = resolve(&index, &inner, &[b"a".to_vec(), b"x".to_vec()]).unwrap_err();
    assert!(matches!(error, WalkError::NotADirectory { .. }), "{error}");
    assert_eq!(walked(&index, &inner, &Scope::Entity(None)).unwrap(), [inner]);
    assert_eq!(walked(&index, &inner, &Scope::All).unwrap().len(), 3);
}

/// The largest plain directory's entries and more, so that there are shards of shards.
#[test]
fn a_directory_of_shards_lists_its_entries_and_leads_to_them() {
    let (_dir, index, _, _) = world();
    let file = index.blobs().put(&b"x"[..]).unwrap();
    let entry = crate::directory::Entry { cid: file, total_size: 1 };
    let named = (0..9000).map(|number| (format!("entry {number}").into_bytes(), entry));
    let made = crate::directory::make(&named.collect()).unwrap();
    for (cid, block) in &made.blocks {
        index.blobs().put_node(cid, block).unwrap();
    }
    let root = made.entry.cid;
    assert_eq!(entries(&index, &root).unwrap().len(), 9000);
    for number in [0, 77, 8999] {
        let path = [format!("entry {number}").into_bytes()];
        let (found, way) = resolve(&index, &root, &path).unwrap();
        assert_eq!((found, way[0]), (file, root));
        assert!(way.len() > 1);
    }
    resolve(&index, &root, &[b"entry 9000".to_vec()]).unwrap_err();
}

/// Shards whose bitmap and links differ, shards too deep, and two entries of one name.
#[test]
fn directories_that_contradict_themselves_are_refused_by_name() {
    let (_dir, index, _, _) = world();
    let file = index.blobs().put(&b"x"[..]).unwrap();
    let link = |cid, name: &[u8]| Link { cid, name: name.to_vec(), size: 1 };
    let put = |links: Vec<Link>, data: Vec<u8>| {
        let block = Node { links, data }.encode();
        let cid = Cid::of_block(Codec::DagPb, &block);
        index.blobs().put_node(&cid, &block).unwrap();
        cid
    };
    let shard = |slots: &[u8]| unix_fs::shard(&unix_fs::bitmap(slots.iter().copied()).unwrap());
    let good = put(vec![link(file, b"0Aa"), link(file, b"FFb")], shard(&[0x0a, 0xff]));
    assert_eq!(entries(&index, &good).unwrap().len(), 2);
    let cases = [
        (vec![link(file, b"0Aa")], shard(&[0x0a, 0xff])),
        (vec![link(file, b"0Aa"), link(file, b"FFb")], shard(&[0x0a])),
        (vec![link(file, b"0Aa"), link(file, b"FFb")], unix_fs::shard(&[])),
        (vec![link(file, b"0Aa"), link(file, b"0Ab")], shard(&[0x0a])),
        (vec![], unix_fs::shard(&[1; 33])),
    ];
    for (links, data) in cases {
        let error = entries(&index, &put(links, data)).unwrap_err();
        assert!(error.to_string().contains("bitmap"), "{error}");
    }
    for name in [&b"0aa"[..], b"G0a", b"0", b""] {
        let error = entries(&index, &put(vec![link(file, name)], shard(&[0x0a]))).unwrap_err();
        assert!(matches!(error, WalkError::UnixFs { .. }), "{error}");
    }
    let twice = vec![link(file, b"a"), link(file, b"b"), link(good, b"a")];
    let error = entries(&index, &put(twice, unix_fs::directory())).unwrap_err();
    assert!(matches!(&error, WalkError::Twice { name, .. } if name == "a"), "{error}");
    // A name's hash has eight bytes, so no sound directory is deeper.
    let mut cid = good;
    for _ in 0..super::SHARD_DEPTH_MAX {
        cid = put(vec![link(cid, b"0A")], shard(&[0x0a]));
    }
    let error = entries(&index, &cid).unwrap_err();
    assert!(matches!(error, WalkError::Limit { .. }), "{error}");
    // A file where a shard should be.
    let root = put(vec![link(file, b"0A")], shard(&[0x0a]));
    let error = entries(&index, &root).unwrap_err();
    assert!(matches!(error, WalkError::NotADirectory { .. }), "{error}");
}

/// 40 directories, each of which has the next one 100 times: 100^40 paths, and 41 blocks.
#[test]
fn directories_that_multiply_cost_no_more_than_they_are() {
    let (_dir, index, _, _) = world();
    let mut cid = index.blobs().put(&b"x"[..]).unwrap();
    for _ in 0..40 {
        let link = |number| Link { cid, name: format!("{number:02}").into_bytes(), size: u64::MAX };
        let node =
            Node { links: (0..100).map(link).collect(), data: unix_fs::directory() }.encode();
        cid = Cid::of_block(Codec::DagPb, &node);
        index.blobs().put_node(&cid, &node).unwrap();
    }
    assert_eq!(walked(&index, &cid, &Scope::All).unwrap().len(), 41);
    let reached = crate::collect::reach(index.blobs(), [cid]).unwrap();
    assert_eq!(reached.counts.len(), 41);
}
