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
