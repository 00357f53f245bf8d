use super::*;

/// The tree hash as RFC 6962 defines it: split at the largest power of two below the length.
fn by_definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Hash(Sha256::digest([]).into()),
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
        let leaves: Vec<Hash> = (0..count).map(|index| leaf(&index.to_le_bytes())).collect();
        let expected = by_definition(&leaves);
        assert_eq!(root(&leaves), expected, "{count} leaves");
        assert_eq!(path(&leaves, leaves.len()), None);
        for (index, &leaf) in leaves.iter().enumerate() {
            let path = path(&leaves, index).expect("the leaf is there");
            let index = u32::try_from(index).expect("under 70");
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
    let text = "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Some(root(&[])), Hash::parse(text));
}
