use std::net::IpAddr;

use super::*;

fn node(number: u16) -> Hash {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_le_bytes());
    Hash(key)
}

fn answering(number: u16, room: u64) -> (Hash, Seen) {
    let subnet = Some(Subnet::of(IpAddr::from([10, 0, 0, 1])));
    (node(number), Seen { room: Some(room), subnet, name: String::new() })
}

#[test]
fn who_answered_once_is_looked_at_from_then_on_and_nobody_else() {
    let mut state = State::default();
    state.book([answering(1, 5), (node(2), Seen::default())].into(), 10);
    assert_eq!(state.uptimes.keys().copied().collect::<Vec<_>>(), [node(1)]);
    // It is away twice, once while its connection is still there, and its place is not forgotten.
    state.book([(node(1), Seen::default())].into(), 10);
    state.book(BTreeMap::new(), 20);
    let uptime = &state.uptimes[&node(1)];
    assert_eq!((uptime.there(), uptime.looked()), (10, 40));
    assert_eq!((state.seen[&node(1)].room, state.seen[&node(1)].subnet.is_some()), (None, true));
}

#[test]
fn no_more_nodes_are_looked_at_than_the_limit_and_keepers_are_not_forgotten() {
    let mut state = State::default();
    let all = u16::try_from(UPTIMES_MAX).unwrap();
    state.book((0..all).map(|number| answering(number, 1)).collect(), 10);
    let mut care = Care::new(1, "0.9".parse().unwrap());
    let keeper = care::Keeper { lease: 1, checked: 1, seen: 1, lost: true };
    care.keepers.insert(node(0), keeper);
    state.cares.insert(Cid::of(b"a"), care);
    // All but two were there longer than those two; one of the two is a keeper.
    state.book((2..all).map(|number| answering(number, 1)).collect(), 10);
    state.book([answering(all, 1)].into(), 10);
    assert_eq!(state.uptimes.len(), UPTIMES_MAX);
    assert!(state.uptimes.contains_key(&node(0)) && state.uptimes.contains_key(&node(all)));
    assert!(!state.uptimes.contains_key(&node(1)) && !state.seen.contains_key(&node(1)));
}

#[test]
fn something_is_as_large_as_all_that_is_below_it_and_has_no_size_where_a_part_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(folder.path().join("blobs")).unwrap();
    let inside = folder.path().join("folder");
    std::fs::create_dir(&inside).unwrap();
    std::fs::write(inside.join("a"), "12345").unwrap();
    std::fs::write(inside.join("b"), "678").unwrap();
    let taking = crate::folder::Taking { hidden: false, room: u64::MAX };
    let root = crate::folder::add(&blobs, &inside, taking).unwrap().cid;
    let block = blobs.node(&root).unwrap().unwrap().len() as u64;
    assert_eq!(whole_size(&blobs, root).unwrap(), Some(8 + block));
    blobs.remove(&Cid::of(b"678")).unwrap();
    assert_eq!(whole_size(&blobs, root).unwrap(), None);
}
