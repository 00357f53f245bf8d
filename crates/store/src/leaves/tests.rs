use super::{Gathering, Leaves, LeavesRefusal};
use crate::cid::{CHUNK_SIZE, Cid, Codec};
use crate::dag_pb::{Link, Node};

/// A table of so many chunks, all of one digest.
fn table(count: usize) -> Leaves {
    Leaves::of((count * CHUNK_SIZE) as u64, vec![[7; 32]; count])
}

fn gather(root: Cid, nodes: &[(Cid, Vec<u8>)]) -> Result<Leaves, LeavesRefusal> {
    let block = |cid: Cid| &nodes.iter().find(|node| node.0 == cid).unwrap().1;
    let mut gathering = Gathering::begin(root, block(root))?;
    while let Some(wanted) = gathering.wanted() {
        gathering.take(block(wanted))?;
    }
    gathering.finish()
}

#[test]
fn a_table_is_gathered_from_the_nodes_it_makes() {
    for count in [2, 1023, 1024, 1025, 3000] {
        let leaves = table(count);
        assert_eq!(gather(leaves.root(), &leaves.nodes()).unwrap(), leaves, "{count} chunks");
    }
}

#[test]
fn a_table_is_read_back_and_nothing_else_is() {
    let leaves = table(3);
    let (root, bytes) = (leaves.root(), leaves.encode());
    assert_eq!(Leaves::decode(&root, &bytes).unwrap(), leaves);
    for index in 0..bytes.len() {
        let mut other = bytes.clone();
        other[index] ^= 1;
        assert!(Leaves::decode(&root, &other).is_err(), "byte {index}");
        assert!(Leaves::decode(&root, &bytes[..index]).is_err(), "prefix {index}");
    }
}

/// Nodes that say what the profile would not: other sizes, chunks or depths.
#[test]
fn other_layouts_are_refused() {
    let node = |links: Vec<Cid>, data: &[u8]| {
        let link = |cid| Link { cid, name: Vec::new(), size: 0 };
        let node =
            Node { links: links.into_iter().map(link).collect(), data: data.to_vec() }.encode();
        (Cid::of_block(Codec::DagPb, &node), node)
    };
    let leaf = Cid::of(b"x");
    let many = [&[0x08, 2, 0x18, 2][..], &[0x20, 1, 0x20, 1]].concat();
    let cases = [
        // Two chunks of a byte each.
        (node(vec![leaf, leaf], &many), "more chunks than its size says"),
        // Bytes within the node.
        (node(vec![], &[0x08, 2, 0x12, 1, b'x', 0x18, 1]), "bytes within a node"),
        // One chunk below a node.
        (node(vec![leaf], &[0x08, 2, 0x18, 1, 0x20, 1]), "another tree"),
    ];
    for ((root, block), what) in cases {
        let error = gather(root, &[(root, block)]).unwrap_err().to_string();
        assert!(error.contains(what), "{error}, not {what}");
    }
}

#[test]
fn a_file_that_claims_to_be_too_large_is_refused_before_its_table() {
    // 2^63 bytes, in one link.
    let size = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1];
    let data = [&[0x08, 2, 0x18][..], &size, &[0x20], &size].concat();
    let links = vec![Link { cid: Cid::of(b"x"), name: Vec::new(), size: 0 }];
    let block = Node { links, data }.encode();
    let root = Cid::of_block(Codec::DagPb, &block);
    let refused = Gathering::begin(root, &block).unwrap_err();
    assert!(matches!(refused, LeavesRefusal::TooLarge { size } if size == 1 << 63), "{refused}");
}

/// The bytes that `docs/spec/store.md` has, of the file that IPIP-499 publishes.
#[test]
fn a_node_has_the_bytes_of_the_specification() {
    let bytes = crate::cid::tests::chacha20("chunk-v1-seed", CHUNK_SIZE + 1);
    let [first, second] = [&bytes[..CHUNK_SIZE], &bytes[CHUNK_SIZE..]].map(Cid::of);
    let expected = [
        &[0x12, 0x2c, 0x0a, 0x24][..],
        &first.to_bytes(),
        &[0x12, 0x00, 0x18, 0x80, 0x80, 0x40],
        &[0x12, 0x2a, 0x0a, 0x24],
        &second.to_bytes(),
        &[0x12, 0x00, 0x18, 0x01],
        &[0x0a, 0x0c, 0x08, 0x02, 0x18, 0x81, 0x80, 0x40],
        &[0x20, 0x80, 0x80, 0x40, 0x20, 0x01],
    ]
    .concat();
    let leaves = Cid::leaves_of_reader(bytes.as_slice()).unwrap();
    assert_eq!(leaves.nodes(), [(leaves.root(), expected)]);
    assert_eq!(
        leaves.root().to_string(),
        "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64"
    );
}
