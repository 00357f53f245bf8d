//! The state's Merkle tree: a Jellyfish Merkle tree (Gao, Hu, Wu 2021) over the ledger's entries.
//!
//! Specified in `docs/spec/block.md`, section 4. A version of the tree is a block's height.
//!
//! Invariants: reads see the last committed block, whatever is being tried on top of it.
//!
//! Not here: writing it (`store`).

use anyhow::Context as _;
use jmt::storage::{LeafNode, Node, NodeKey, TreeReader, TreeUpdateBatch};
use jmt::{JellyfishMerkleTree, KeyHash, OwnedValue, Version};
use redb::ReadTransaction;
use sha2::{Digest, Sha256};
use types::id::Hash;

use crate::store::{Changes, NODES, VALUES};

/// The tree of SHA-256.
pub(crate) type Tree<'a> = JellyfishMerkleTree<'a, Nodes<'a>, Sha256>;

/// The nodes of the last committed block.
pub(crate) struct Nodes<'a>(pub(crate) &'a ReadTransaction);

/// An entry's place in the tree.
pub(crate) fn place(key: &[u8]) -> KeyHash {
    KeyHash(Sha256::digest(key).into())
}

/// The root after changes, and the nodes that it takes.
pub(crate) fn update(
    read: &ReadTransaction,
    height: u64,
    changes: &Changes,
) -> anyhow::Result<(Hash, TreeUpdateBatch)> {
    let nodes = Nodes(read);
    let set = changes.iter().map(|(key, value)| (place(key), value.clone()));
    let (root, batch) = Tree::new(&nodes).put_value_set(set, height)?;
    Ok((Hash(root.0), batch))
}

/// The tree of a whole state, as if all of it had been written at one height.
pub(crate) fn build(height: u64, entries: &Changes) -> anyhow::Result<(Hash, TreeUpdateBatch)> {
    let set = entries.iter().map(|(key, value)| (place(key), value.clone()));
    let (root, batch) =
        JellyfishMerkleTree::<'_, _, Sha256>::new(&Nothing).put_value_set(set, height)?;
    Ok((Hash(root.0), batch))
}

/// A tree with no entries at any height.
struct Nothing;

impl TreeReader for Nothing {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        Ok(key.nibble_path().is_empty().then_some(Node::Null))
    }

    fn get_value_option(&self, _: Version, _: KeyHash) -> anyhow::Result<Option<OwnedValue>> {
        Ok(None)
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        Ok(None)
    }
}

impl TreeReader for Nodes<'_> {
    fn get_node_option(&self, key: &NodeKey) -> anyhow::Result<Option<Node>> {
        let table = self.0.open_table(NODES)?;
        let node = table.get(borsh::to_vec(key)?.as_slice())?;
        let node = node.map(|bytes| borsh::from_slice(bytes.value()));
        node.transpose().context("a node of the state's tree is damaged")
    }

    fn get_value_option(
        &self,
        _version: Version,
        place: KeyHash,
    ) -> anyhow::Result<Option<OwnedValue>> {
        let value = self.0.open_table(VALUES)?.get(place.0)?;
        Ok(value.map(|bytes| bytes.value().to_vec()))
    }

    fn get_rightmost_leaf(&self) -> anyhow::Result<Option<(NodeKey, LeafNode)>> {
        // Only a restoration in parts asks for it; a node loads a whole state at once.
        anyhow::bail!("the tree is not restored in parts")
    }
}

/// The root at a height that is not yet pruned.
pub(crate) fn root(read: &ReadTransaction, height: u64) -> anyhow::Result<Hash> {
    let nodes = Nodes(read);
    Ok(Hash(Tree::new(&nodes).get_root_hash(height)?.0))
}
