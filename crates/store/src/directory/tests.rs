use std::collections::BTreeMap;

use super::{Entry, PLAIN_SIZE_MAX, is_name, make};
use crate::cid::Cid;
use crate::cid::tests::chacha20;

/// IPIP-499's recipe: names out of the key stream, each file the byte `x`.
fn published(last: usize) -> BTreeMap<Vec<u8>, Entry> {
    const ALPHABET: &[u8; 39] = b"abcdefghijklmnopqrstuvwxyz01234567890-_";
    let stream = chacha20("hamt-unixfs-v1-2025", 1 << 20);
    let mut bytes = stream.iter();
    let file = Entry { cid: Cid::of(b"x"), total_size: 1 };
    let mut name = |size: usize| {
        let name = bytes.by_ref().take(size).map(|byte| ALPHABET[usize::from(*byte) % 39]);
        name.collect::<Vec<u8>>()
    };
    (0..4766).map(|index| (name(if index == 4765 { last } else { 11 }), file)).collect()
}

/// The published vectors at the size where a directory becomes shards.
#[test]
fn directories_have_the_published_names() {
    let flat = make(&published(21)).unwrap();
    assert_eq!(
        flat.entry.cid.to_string(),
        "bafybeic3h7rwruealwxkacabdy45jivq2crwz6bufb5ljwupn36gicplx4"
    );
    assert_eq!(flat.blocks.len(), 1);
    assert_eq!(flat.blocks[0].1.len(), PLAIN_SIZE_MAX);
    let shards = make(&published(22)).unwrap();
    assert_eq!(
        shards.entry.cid.to_string(),
        "bafybeiegvuterwurhdtkikfhbxcldohmxp566vpjdofhzmnhv6o4freidu"
    );
    assert!(shards.blocks.len() > 256);
}

#[test]
fn an_empty_directory_has_its_known_name() {
    let made = make(&BTreeMap::new()).unwrap();
    assert_eq!(
        made.entry.cid.to_string(),
        "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let long = [b'a'; 1023];
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
        assert!(!is_name(name), "{name:?}");
        let entry = Entry { cid: Cid::of(b"x"), total_size: 1 };
        make(&BTreeMap::from([(name.to_vec(), entry)])).unwrap_err();
    }
    assert!(is_name(&long[..1022]));
}
