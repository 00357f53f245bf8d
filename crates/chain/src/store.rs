//! Blocks, the state's entries and its tree, in one file.
//!
//! Invariants:
//! - A block, its certificate and all that it changed are written together or not at all, and are on
//!   the disk when `write` returns.
//!
//! Not here: what is in a block (`block`) and whether it is good (`chain`).

use std::collections::BTreeMap;
use std::path::Path;

use jmt::storage::TreeUpdateBatch;
use redb::backends::FileBackend;
use redb::{
    Builder, Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, StorageBackend,
    TableDefinition,
};
use types::id::Hash;

use crate::block::Block;
use crate::tree::place;

/// Memory for pages of the file, in bytes.
const CACHE_SIZE: usize = 64 << 20;

/// Blocks that one commit removes, at most: more than come in, so that a node which is told to keep
/// fewer gets there, and few enough that no commit takes long.
const PRUNED_MAX: usize = 4;

/// The genesis, by the key 0.
const GENESIS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("genesis");
/// Blocks, by height.
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// Who decided blocks, by the height from which on they did.
const VALIDATORS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("validators");
/// Certificates of blocks, by height.
const CERTIFICATES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("certificates");
/// Where orders are: height and place in the block, by the order's name.
const ORDERS: TableDefinition<'_, [u8; 32], (u64, u32)> = TableDefinition::new("orders");
/// The state's entries.
pub(crate) const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// The nodes of the state's tree.
pub(crate) const NODES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("nodes");
/// The values of the state's tree, by the hash of their key.
pub(crate) const VALUES: TableDefinition<'_, [u8; 32], &[u8]> = TableDefinition::new("values");

/// Why the file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file, or what holds it, failed.
    #[error(
        "the ledger's file could not be read or written: {0}; check the disk's space and health"
    )]
    File(#[from] redb::Error),
    /// The file is not what this program wrote.
    #[error("the ledger's file is damaged: {0}; restore it from a backup or fetch the blocks anew")]
    Damaged(String),
}

macro_rules! from {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> StoreError {
                StoreError::File(error.into())
            }
        }
    )*};
}
from!(CommitError, DatabaseError, StorageError, TableError, TransactionError);

impl From<anyhow::Error> for StoreError {
    fn from(error: anyhow::Error) -> StoreError {
        StoreError::Damaged(format!("{error:#}"))
    }
}

/// What a block writes.
#[derive(Debug)]
pub(crate) struct Writes<'a> {
    pub(crate) height: u64,
    pub(crate) block: &'a [u8],
    pub(crate) certificate: &'a [u8],
    /// Who decided the block, if they are not those of the block before.
    pub(crate) validators: Option<&'a [u8]>,
    /// The orders' names, in their order.
    pub(crate) orders: &'a [Hash],
    pub(crate) changes: &'a Changes,
    pub(crate) nodes: &'a TreeUpdateBatch,
    /// Blocks under this height are no longer kept.
    pub(crate) first: u64,
}

/// What a store begins with that does not begin at the genesis.
#[derive(Debug)]
pub(crate) struct Install<'a> {
    pub(crate) genesis: &'a [u8],
    /// The block after which the state is that of the entries.
    pub(crate) height: u64,
    pub(crate) block: &'a [u8],
    pub(crate) certificate: &'a [u8],
    pub(crate) validators: &'a [u8],
    pub(crate) entries: &'a Changes,
    pub(crate) nodes: &'a TreeUpdateBatch,
}

/// New values of entries; none where the entry is gone.
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// An entry of the state: its key and value.
type Entry = (Vec<u8>, Vec<u8>);

/// A committed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// Its bytes.
    pub block: Vec<u8>,
    /// The certificate that it was decided.
    pub certificate: Vec<u8>,
}

/// The file.
#[derive(Debug)]
pub struct Store {
    database: Database,
}

impl Store {
    /// Opens a file, or makes it.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, is in use, or is no ledger.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let mut options = std::fs::OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(path);
        let file = file.map_err(|error| StoreError::File(redb::Error::Io(error)))?;
        Store::open_on(FileBackend::new(file)?)
    }

    /// A store that ends with the process, for those who compute a chain again to check it.
    ///
    /// # Errors
    ///
    /// When there is no memory for it.
    pub fn in_memory() -> Result<Store, StoreError> {
        Store::open_on(redb::backends::InMemoryBackend::new())
    }

    /// Opens what a backend holds: a file, or a simulated disk.
    ///
    /// # Errors
    ///
    /// When the backend fails or holds something else.
    pub fn open_on(backend: impl StorageBackend) -> Result<Store, StoreError> {
        let database = Builder::new().set_cache_size(CACHE_SIZE).create_with_backend(backend)?;
        let write = database.begin_write()?;
        write.open_table(GENESIS)?;
        write.open_table(BLOCKS)?;
        write.open_table(CERTIFICATES)?;
        write.open_table(VALIDATORS)?;
        write.open_table(ORDERS)?;
        write.open_table(ENTRIES)?;
        write.open_table(NODES)?;
        write.open_table(VALUES)?;
        write.commit()?;
        Ok(Store { database })
    }

    pub(crate) fn read(&self) -> Result<ReadTransaction, StoreError> {
        Ok(self.database.begin_read()?)
    }

    /// The genesis that the file begins with, if it was begun.
    pub(crate) fn genesis(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let genesis = self.read()?.open_table(GENESIS)?.get(0)?;
        Ok(genesis.map(|bytes| bytes.value().to_vec()))
    }

    /// The height of the last block; 0 before the first.
    pub(crate) fn height(&self) -> Result<u64, StoreError> {
        let blocks = self.read()?.open_table(BLOCKS)?;
        Ok(blocks.last()?.map_or(0, |(height, _)| height.value()))
    }

    /// The height of the first block that is kept; 1 before the first.
    pub(crate) fn first(&self) -> Result<u64, StoreError> {
        let blocks = self.read()?.open_table(BLOCKS)?;
        Ok(blocks.first()?.map_or(1, |(height, _)| height.value()))
    }

    /// A committed block.
    pub(crate) fn decided(&self, height: u64) -> Result<Option<Decided>, StoreError> {
        let read = self.read()?;
        let block = read.open_table(BLOCKS)?.get(height)?;
        let certificate = read.open_table(CERTIFICATES)?.get(height)?;
        Ok(block.zip(certificate).map(|(block, certificate)| Decided {
            block: block.value().to_vec(),
            certificate: certificate.value().to_vec(),
        }))
    }

    /// Who decided the block at a height; none for a height before the first block's.
    pub(crate) fn validators(&self, height: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let validators = self.read()?.open_table(VALIDATORS)?;
        let last = validators.range(..=height)?.next_back().transpose()?;
        Ok(last.map(|(_, bytes)| bytes.value().to_vec()))
    }

    /// Where an order is: the block's height and the place in it.
    pub(crate) fn order(&self, id: &Hash) -> Result<Option<(u64, u32)>, StoreError> {
        let place = self.read()?.open_table(ORDERS)?.get(id.0)?;
        Ok(place.map(|place| place.value()))
    }

    /// All entries of the state.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>, StoreError> {
        let mut entries = vec![];
        for entry in self.read()?.open_table(ENTRIES)?.iter()? {
            let (key, value) = entry?;
            entries.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(entries)
    }

    /// Begins the file: the genesis and the state before the first block.
    pub(crate) fn begin(
        &self,
        genesis: &[u8],
        changes: &Changes,
        nodes: &TreeUpdateBatch,
    ) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        write.open_table(GENESIS)?.insert(0, genesis)?;
        write_state(&write, changes, nodes)?;
        write.commit()?;
        Ok(())
    }

    /// Writes a block. It is on the disk when this returns.
    pub(crate) fn write(&self, writes: &Writes<'_>) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        write.open_table(BLOCKS)?.insert(writes.height, writes.block)?;
        write.open_table(CERTIFICATES)?.insert(writes.height, writes.certificate)?;
        if let Some(validators) = writes.validators {
            write.open_table(VALIDATORS)?.insert(writes.height, validators)?;
        }
        {
            let mut orders = write.open_table(ORDERS)?;
            for (index, order) in (0u32..).zip(writes.orders) {
                orders.insert(order.0, (writes.height, index))?;
            }
        }
        write_state(&write, writes.changes, writes.nodes)?;
        prune(&write, writes.first)?;
        write.commit()?;
        Ok(())
    }

    /// Begins the file with a state that others have reached, in place of what was there.
    pub(crate) fn install(&self, it: &Install<'_>) -> Result<(), StoreError> {
        let write = self.database.begin_write()?;
        write.delete_table(VALIDATORS)?;
        write.delete_table(ENTRIES)?;
        write.delete_table(NODES)?;
        write.delete_table(VALUES)?;
        write.open_table(GENESIS)?.insert(0, it.genesis)?;
        write.open_table(BLOCKS)?.insert(it.height, it.block)?;
        write.open_table(CERTIFICATES)?.insert(it.height, it.certificate)?;
        write.open_table(VALIDATORS)?.insert(it.height, it.validators)?;
        write_state(&write, it.entries, it.nodes)?;
        write.commit()?;
        Ok(())
    }
}

/// Removes the oldest blocks under a height, and what leads to their orders.
fn prune(write: &redb::WriteTransaction, below: u64) -> Result<(), StoreError> {
    let (mut blocks, mut certificates) =
        (write.open_table(BLOCKS)?, write.open_table(CERTIFICATES)?);
    let (mut orders, mut validators) = (write.open_table(ORDERS)?, write.open_table(VALIDATORS)?);
    let old = blocks.range(..below)?.take(PRUNED_MAX);
    let old = old.map(|entry| entry.map(|(height, _)| height.value()));
    for height in old.collect::<Result<Vec<u64>, _>>()? {
        let block = blocks.remove(height)?.map(|bytes| Block::decode(bytes.value()));
        let block = block.transpose();
        let block =
            block.map_err(|error| StoreError::Damaged(format!("block {height}: {error}")))?;
        for order in block.iter().flat_map(|block| block.orders.as_slice()) {
            orders.remove(order.id().0)?;
        }
        certificates.remove(height)?;
    }
    // The validators of the first block that is left may stand under an earlier height.
    let first = blocks.first()?.map_or(0, |(height, _)| height.value());
    let old = validators.range(..=first)?.rev().skip(1).take(PRUNED_MAX);
    let old = old.map(|entry| entry.map(|(height, _)| height.value()));
    for height in old.collect::<Result<Vec<u64>, _>>()? {
        validators.remove(height)?;
    }
    Ok(())
}

/// Writes changed entries and the tree's new nodes, and removes the nodes that they replace.
fn write_state(
    write: &redb::WriteTransaction,
    changes: &Changes,
    batch: &TreeUpdateBatch,
) -> Result<(), StoreError> {
    let mut entries = write.open_table(ENTRIES)?;
    let mut values = write.open_table(VALUES)?;
    for (key, value) in changes {
        let place = place(key).0;
        match value {
            Some(value) => {
                entries.insert(key.as_slice(), value.as_slice())?;
                values.insert(place, value.as_slice())?;
            }
            None => {
                entries.remove(key.as_slice())?;
                values.remove(place)?;
            }
        }
    }
    let mut nodes = write.open_table(NODES)?;
    let damaged = |error: std::io::Error| StoreError::Damaged(error.to_string());
    for stale in &batch.stale_node_index_batch {
        nodes.remove(borsh::to_vec(&stale.node_key).map_err(damaged)?.as_slice())?;
    }
    for (key, node) in batch.node_batch.nodes() {
        let (key, node) =
            (borsh::to_vec(key).map_err(damaged)?, borsh::to_vec(node).map_err(damaged)?);
        nodes.insert(key.as_slice(), node.as_slice())?;
    }
    Ok(())
}
