//! Beginning with another node's snapshot instead of with the genesis.
//!
//! Invariants: a ledger that has blocks is not touched, and one that has none has none if this fails.
//!
//! Not here: fetching (`pull`), and what makes a snapshot good (`chain`).

use std::fs::File;
use std::path::Path;

use chain::chain::{Chain, Tip};
use chain::error::{ChainError, Rejected};
use chain::snapshot::{Checked, NotInstalled};
use chain::store::{Store, StoreError};
use ledger::genesis::Genesis;

use super::{FILE, LedgerError, SNAPSHOTS};

/// Why a ledger did not begin with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum NotBegun {
    /// The folder cannot be made, or the chain not opened.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The snapshot cannot be installed.
    #[error(transparent)]
    Snapshot(#[from] NotInstalled),
    /// The block that names the snapshot does not follow from it, which is a bug: it was checked.
    #[error("the snapshot is installed, and its block does not follow: {0}")]
    Block(#[from] Rejected),
}

impl From<ChainError> for NotBegun {
    fn from(error: ChainError) -> NotBegun {
        NotBegun::Ledger(error.into())
    }
}

impl From<StoreError> for NotBegun {
    fn from(error: StoreError) -> NotBegun {
        NotBegun::Ledger(error.into())
    }
}

fn open(folder: &Path) -> Result<Store, NotBegun> {
    std::fs::create_dir_all(folder)
        .map_err(|source| LedgerError::Folder { path: folder.to_path_buf(), source })?;
    Ok(Store::open(&folder.join(FILE))?)
}

/// Whether a ledger's folder has no blocks yet, before anything is fetched for it.
///
/// # Errors
///
/// When it has, or cannot be used.
pub fn expect_none(folder: &Path) -> Result<(), NotBegun> {
    Ok(open(folder)?.expect_none()?)
}

/// Begins the ledger in a folder with a snapshot and the block that names it.
///
/// # Errors
///
/// When there is a ledger already, or the snapshot is not what the block names.
pub fn begin(
    folder: &Path,
    genesis: &Genesis,
    checked: &Checked,
    snapshot: &File,
) -> Result<Tip, NotBegun> {
    let store = open(folder)?;
    checked.install(&store, genesis, snapshot)?;
    let mut chain = Chain::open(store, genesis, 1)?;
    // Made of what was installed, so that this node can give it to others.
    chain.keep_snapshots(&folder.join(SNAPSHOTS))?;
    let (block, certificate) = checked.block();
    // It was decided, so that it cannot be too far ahead.
    chain.check(u64::MAX, block)?;
    chain.commit(certificate)?;
    Ok(chain.tip())
}
