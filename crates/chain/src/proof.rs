//! Proofs that stand without the chain: who trusts a block's name can check them alone.
//!
//! Specified in `docs/spec/block.md`, section 5.
//!
//! Invariants: a proof that checks against a block's name was made from that block.
//!
//! Not here: why a block's name is trusted.

use jmt::RootHash;
use jmt::proof::SparseMerkleProof;
use merkle::{Digest, PATH_MAX};
use sha2::Sha256;
use types::amount::Height;
use types::bounded::List;
use types::codec::encode;
use types::envelope::Signed;
use types::id::Hash;
use types::record;

use crate::block::{Block, Header, leaves};
use crate::chain::Chain;
use crate::store::StoreError;
use crate::tree::{Nodes, Tree, place};

/// Bytes of an entry's key, value, or path in the tree. The largest entry, a proposal, has under
/// 8 KiB; a path of 256 steps has under 20.
pub const PART_MAX: usize = 32 << 10;

record! {
    /// That an order took effect in a block.
    OrderProof {
        /// The block's header.
        header: Header,
        /// The order.
        order: Signed,
        /// Its place in the block.
        index: u32,
        /// How many orders the block has.
        count: u32,
        /// The neighbours on the way to the root of orders.
        path: List<Hash, PATH_MAX>,
    }
}

record! {
    /// That the state after a block has an entry, or that it has none.
    EntryProof {
        /// The block's header.
        header: Header,
        /// The entry's key.
        key: List<u8, PART_MAX>,
        /// Its value, if it is there.
        value: Option<List<u8, PART_MAX>>,
        /// The way to the state's root.
        path: List<u8, PART_MAX>,
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproved {
    /// The header is not that of the trusted block.
    #[error("the proof is for another block than the trusted one")]
    OtherBlock,
    /// The path does not lead from what is to be proved to the header's root.
    #[error("the proof does not lead to the block's root")]
    OtherRoot,
}

impl OrderProof {
    /// Checks the proof against the name of a block that is trusted.
    ///
    /// # Errors
    ///
    /// When it proves nothing about that block.
    pub fn check(&self, trusted: &Hash) -> Result<(), Unproved> {
        if self.header.id() != *trusted {
            return Err(Unproved::OtherBlock);
        }
        let leaf = merkle::leaf(&encode(&self.order));
        let path: Vec<Digest> = self.path.as_slice().iter().map(|hash| hash.0).collect();
        let root = merkle::root_of(leaf, self.index.into(), self.count.into(), &path);
        if root == Some(self.header.orders.0) { Ok(()) } else { Err(Unproved::OtherRoot) }
    }
}

impl EntryProof {
    /// Checks the proof against the name of a block that is trusted.
    ///
    /// # Errors
    ///
    /// When it proves nothing about that block's state.
    pub fn check(&self, trusted: &Hash) -> Result<(), Unproved> {
        if self.header.id() != *trusted {
            return Err(Unproved::OtherBlock);
        }
        let path: SparseMerkleProof<Sha256> =
            borsh::from_slice(self.path.as_slice()).map_err(|_| Unproved::OtherRoot)?;
        let value = self.value.as_ref().map(List::as_slice);
        path.verify(RootHash(self.header.state.0), place(self.key.as_slice()), value)
            .map_err(|_| Unproved::OtherRoot)
    }
}

impl Chain {
    /// A proof that an order took effect; none if it has not.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn prove_order(&self, id: &Hash) -> Result<Option<OrderProof>, StoreError> {
        let Some((height, index)) = self.store().order(id)? else { return Ok(None) };
        let Some(block) = self.block(Height(height))? else { return Ok(None) };
        let leaves = leaves(block.orders.as_slice());
        let damaged = || StoreError::Damaged(format!("the index of orders, at block {height}"));
        let at = usize::try_from(index).map_err(|_| damaged())?;
        let order = block.orders.as_slice().get(at).ok_or_else(damaged)?.clone();
        let path = merkle::path(&leaves, at);
        let path = path.and_then(|path| List::new(path.into_iter().map(Hash).collect()).ok());
        let (path, count) = path.zip(u32::try_from(leaves.len()).ok()).ok_or_else(damaged)?;
        Ok(Some(OrderProof { header: block.header, order, index, count, path }))
    }

    /// A proof of an entry of the state after the last committed block, or of its absence; none
    /// before the first block.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn prove_entry(&self, key: &[u8]) -> Result<Option<EntryProof>, StoreError> {
        let Some(block) = self.block(self.tip().height)? else { return Ok(None) };
        let read = self.store().read()?;
        let nodes = Nodes(&read);
        let (value, path) = Tree::new(&nodes).get_with_proof(place(key), block.header.height.0)?;
        let path = borsh::to_vec(&path).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let part = |bytes: Vec<u8>| {
            List::new(bytes).map_err(|error| StoreError::Damaged(error.to_string()))
        };
        let value = value.map(part).transpose()?;
        let (key, path) = (part(key.to_vec())?, part(path)?);
        Ok(Some(EntryProof { header: block.header, key, value, path }))
    }

    /// A committed block.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn block(&self, height: Height) -> Result<Option<Block>, StoreError> {
        let Some(decided) = self.decided(height)? else { return Ok(None) };
        let block = Block::decode(&decided.block);
        block.map(Some).map_err(|error| StoreError::Damaged(format!("block {}: {error}", height.0)))
    }
}
