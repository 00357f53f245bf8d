//! Trees of every small size: paths lead to the root, and nothing else does.

use super::*;

fn leaves(count: usize) -> Vec<Digest> {
    (0..count).map(|index| leaf(&index.to_le_bytes())).collect()
}

#[test]
fn every_leaf_and_only_it_has_its_place_in_the_root() {
    for count in 1..=33usize {
        let leaves = leaves(count);
        let root = root(&leaves);
        for index in 0..count {
            let path = path(&leaves, index).unwrap();
            assert!(path.len() <= PATH_MAX);
            let at = |index: usize, count: usize, path: &[Digest]| {
                root_of(leaves[index], index as u64, count as u64, path)
            };
            assert_eq!(at(index, count, &path), Some(root), "{index} of {count}");
            for other in (0..count).filter(|other| *other != index) {
                let moved = root_of(leaves[index], other as u64, count as u64, &path);
                assert_ne!(moved, Some(root), "{index} as {other} of {count}");
            }
            let longer = [path.as_slice(), &[[0; 32]]].concat();
            assert_eq!(at(index, count, &longer), None);
            if let [shorter @ .., _] = path.as_slice() {
                assert_eq!(at(index, count, shorter), None);
            }
        }
        assert_eq!(path(&leaves, count), None);
        assert_eq!(root_of(leaves[0], count as u64, count as u64, &[]), None);
    }
}

#[test]
fn an_inner_node_is_no_leaf() {
    let leaves = leaves(2);
    let inner = [leaves[0], leaves[1]].concat();
    assert_ne!(leaf(&inner), root(&leaves));
    assert_ne!(root(&[leaf(&inner)]), root(&leaves));
}

/// The tree hash as RFC 6962 defines it: split at the largest power of two below the length.
fn by_definition(leaves: &[Digest]) -> Digest {
    match leaves {
        [] => Sha256::digest([]).into(),
        [one] => *one,
        _ => {
            let split = leaves.len().next_power_of_two() / 2;
            node(&by_definition(&leaves[..split]), &by_definition(&leaves[split..]))
        }
    }
}

#[test]
fn roots_and_paths_are_those_of_the_definition() {
    for count in 0..70u32 {
        let leaves: Vec<Digest> = (0..count).map(|index| leaf(&index.to_le_bytes())).collect();
        let expected = by_definition(&leaves);
        assert_eq!(root(&leaves), expected, "{count} leaves");
        assert_eq!(path(&leaves, leaves.len()), None);
        for (index, &leaf) in leaves.iter().enumerate() {
            let path = path(&leaves, index).expect("the leaf is there");
            let index = index as u64;
            let count = u64::from(count);
            assert_eq!(root_of(leaf, index, count, &path), Some(expected));
            for other in (0..count + 3).filter(|&other| other != index) {
                assert_ne!(
                    root_of(leaf, other, count, &path),
                    Some(expected),
                    "{other} of {count}"
                );
            }
            let longer = [&path[..], &[leaf]].concat();
            assert_eq!(root_of(leaf, index, count, &longer), None);
            if let Some((_, shorter)) = path.split_last() {
                assert_eq!(root_of(leaf, index, count, shorter), None);
            }
        }
    }
}

#[test]
fn the_empty_lists_root_is_the_rfcs() {
    let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let root: std::string::String =
        root(&[]).iter().map(|byte| std::format!("{byte:02x}")).collect();
    assert_eq!(root, text);
}
