//! Snapshots: the whole state after a block as one file, from which another node can begin.
//!
//! Specified in `docs/spec/snapshot.md`. A snapshot is made of the state after every block whose height
//! is a multiple of what the genesis says; the next block's header names it by its CID.
//!
//! Invariants:
//! - The bytes follow from the state, its height and its block alone.
//! - A snapshot file under its name is whole.
//! - What is installed has the root and the validators that a trusted block stands for, or nothing is.
//!
//! Not here: how a snapshot comes from another node.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use ::store::cid::{CidBuilder, Codec};
use ledger::check::{Broken, check};
use ledger::genesis::Genesis;
use ledger::state::State;
use redb::{ReadTransaction, ReadableTable as _, ReadableTableMetadata as _};
use types::agreement::{Certificate, Uncertified};
use types::amount::Height;
use types::codec::{Canonical, Malformed, decode, encode, write_length};
use types::id::{Cid, Hash};
use types::record;

use crate::block::{Block, validators_hash};
use crate::chain::{Tip, Validators};
use crate::proof::PART_MAX;
use crate::store::{Changes, ENTRIES, Install, Store, StoreError};
use crate::tree;

/// Bytes of a snapshot, at most: a state that fills a machine of 16 GiB, which holds it in memory.
pub const SNAPSHOT_SIZE_MAX: u64 = 4 << 30;
/// Snapshots that a node keeps: while the last one is fetched, the next one is made.
pub const KEPT: usize = 2;
/// Bytes that are hashed and written at a time.
const BUFFER_SIZE: usize = 256 << 10;
/// Begins a snapshot.
const TAG: &[u8; 24] = b"mashaa/chain/snapshot/v1";
/// Bytes of `Head`.
const HEAD_SIZE: usize = 32 + 8 + 32 + 8;
/// The file that is being written.
const UNFINISHED: &str = "unfinished";

record! {
    /// What stands before the entries.
    Head {
        /// The network: the hash of its genesis.
        network: Hash,
        /// The height of the block after which the state is this one.
        height: Height,
        /// The block's name.
        block: Hash,
        /// How many entries follow.
        count: u64,
    }
}

/// A snapshot, and the block that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The naming block's height; the snapshot is of the state after the block before.
    pub height: Height,
    /// The naming block's name: whoever trusts it can begin from the snapshot.
    pub block: Hash,
    /// The snapshot's name.
    pub cid: Cid,
}

/// Two blocks that another node sends, with what it takes to check them.
#[derive(Clone, Debug)]
pub struct Base {
    /// The bytes of the block that names the snapshot.
    pub block: Vec<u8>,
    /// That it was decided.
    pub certificate: Certificate,
    /// The bytes of its parent, after which the state is the snapshot's.
    pub parent: Vec<u8>,
    /// Who decided the parent.
    pub deciders: Validators,
}

/// A base whose blocks are those that a trusted name stands for.
#[derive(Clone, Debug)]
pub struct Checked {
    base: Base,
    block: Block,
    parent: Block,
    certificate: Certificate,
    cid: Cid,
}

/// Why a snapshot was not installed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum NotInstalled {
    /// The file of the ledger failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The snapshot cannot be read.
    #[error("the snapshot could not be read: {0}")]
    Read(#[from] io::Error),
    /// There are blocks already.
    #[error("the ledger here is at block {height} already and goes on by itself; start it")]
    Begun {
        /// The last one's height.
        height: u64,
    },
    /// A block is not what the trusted name stands for.
    #[error("{0}")]
    Block(&'static str),
    /// A certificate proves nothing.
    #[error("the certificate of block {height}: {error}")]
    Certificate {
        /// Of which block.
        height: u64,
        /// What is wrong with it.
        error: Uncertified,
    },
    /// The bytes are others than the block names.
    #[error("the bytes are the snapshot {found} and not {wanted}, which the block names")]
    OtherSnapshot {
        /// The name in the block.
        wanted: Cid,
        /// The bytes' name.
        found: Cid,
    },
    /// The bytes are no snapshot.
    #[error("the snapshot is malformed: {0}")]
    Malformed(&'static str),
    /// An entry is none of a state.
    #[error("an entry of the snapshot: {0}")]
    Entry(#[from] Malformed),
    /// The state breaks what always holds.
    #[error("the state of the snapshot: {0}")]
    Broken(#[from] Broken),
}

/// The snapshots of one chain.
#[derive(Debug)]
pub(crate) struct Snapshots {
    /// Blocks from one to the next.
    every: u64,
    /// Where they are kept; none if they are not.
    folder: Option<PathBuf>,
    /// The one of the state after a block, once it is made.
    made: Option<(Height, Cid)>,
    /// Those that the chain's last blocks name, oldest first, at most `KEPT`.
    named: Vec<Named>,
}

impl Snapshots {
    /// Finds those that the chain names.
    pub(crate) fn open(
        store: &Store,
        tip: Height,
        genesis: &Genesis,
    ) -> Result<Snapshots, StoreError> {
        let every = u64::from(genesis.snapshot_blocks.max(1));
        let mut snapshots = Snapshots { every, folder: None, made: None, named: vec![] };
        // Naming blocks come right after the multiples.
        let last = tip.0.saturating_sub(1).checked_div(every).unwrap_or(0);
        let kept = u64::try_from(KEPT).unwrap_or(u64::MAX);
        for multiple in last.saturating_sub(kept).saturating_add(1)..=last {
            let height = multiple.saturating_mul(every).saturating_add(1);
            let Some(decided) = store.decided(height)? else { continue };
            let block = Block::decode(&decided.block)
                .map_err(|error| StoreError::Damaged(format!("block {height}: {error}")))?;
            snapshots.note(block.header.id(), Height(height), block.header.snapshot);
        }
        Ok(snapshots)
    }

    /// Those that the chain's last blocks name, oldest first.
    pub(crate) fn named(&self) -> &[Named] {
        &self.named
    }

    /// Blocks that a node keeps at least, so that both snapshots can be begun from.
    pub(crate) fn blocks_min(&self) -> u64 {
        self.every.saturating_mul(2)
    }

    /// Takes in a committed block's header.
    pub(crate) fn note(&mut self, block: Hash, height: Height, snapshot: Option<Cid>) {
        let Some(cid) = snapshot else { return };
        if self.named.len() >= KEPT {
            self.named.remove(0);
        }
        self.named.push(Named { height, block, cid });
    }

    /// Keeps snapshots in a folder from now on.
    pub(crate) fn keep_in(&mut self, folder: &Path) -> Result<(), StoreError> {
        fs::create_dir_all(folder).map_err(disk)?;
        (self.folder, self.made) = (Some(folder.to_path_buf()), None);
        Ok(())
    }

    /// The name of the snapshot of the state after the tip, if the next block must have one. It is
    /// made if it is not made yet, and is on the disk when this returns, if snapshots are kept.
    pub(crate) fn of_tip(
        &mut self,
        store: &Store,
        network: Hash,
        tip: &Tip,
    ) -> Result<Option<Cid>, StoreError> {
        let height = tip.height;
        if height.0 == 0 || height.0.checked_rem(self.every) != Some(0) {
            return Ok(None);
        }
        if let Some((_, cid)) = self.made.filter(|(of, _)| *of == height) {
            return Ok(Some(cid));
        }
        let head = Head { network, height, block: tip.id, count: 0 };
        let read = store.read()?;
        let cid = match &self.folder {
            None => write(&read, head, &mut io::sink())?,
            Some(folder) => {
                let cid = write_file(&read, head, folder)?;
                self.tidy(folder, cid)?;
                cid
            }
        };
        self.made = Some((height, cid));
        Ok(Some(cid))
    }

    /// Removes all but the newest snapshot and the one before.
    fn tidy(&self, folder: &Path, newest: Cid) -> Result<(), StoreError> {
        let before = self.named.iter().map(|named| named.cid).rfind(|cid| *cid != newest);
        let kept = [Some(newest), before].map(|cid| cid.map(|cid| cid.to_string()));
        for entry in fs::read_dir(folder).map_err(disk)? {
            let entry = entry.map_err(disk)?;
            let is_kept = |name: &str| kept.iter().flatten().any(|kept| kept == name);
            if !entry.file_name().to_str().is_some_and(is_kept) {
                fs::remove_file(entry.path()).map_err(disk)?;
            }
        }
        Ok(())
    }
}

fn disk(error: io::Error) -> StoreError {
    StoreError::File(redb::Error::Io(error))
}

/// Writes a snapshot into a folder, under its name, whole or not at all.
fn write_file(read: &ReadTransaction, head: Head, folder: &Path) -> Result<Cid, StoreError> {
    let unfinished = folder.join(UNFINISHED);
    let mut file = File::create(&unfinished).map_err(disk)?;
    let cid = write(read, head, &mut file)?;
    file.sync_all().map_err(disk)?;
    fs::rename(&unfinished, folder.join(cid.to_string())).map_err(disk)?;
    // Where folders cannot be opened, the file system keeps names by itself.
    if cfg!(unix) {
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(disk)?;
    }
    Ok(cid)
}

/// Writes the committed state as a snapshot; its name.
fn write(read: &ReadTransaction, head: Head, out: &mut impl Write) -> Result<Cid, StoreError> {
    let entries = read.open_table(ENTRIES)?;
    let (mut cid, mut buffer) = (CidBuilder::new(), TAG.to_vec());
    Head { count: entries.len()?, ..head }.write(&mut buffer);
    for entry in entries.iter()? {
        let (key, value) = entry?;
        for part in [key.value(), value.value()] {
            write_length(part.len(), &mut buffer);
            buffer.extend_from_slice(part);
        }
        if buffer.len() >= BUFFER_SIZE {
            cid.update(&buffer);
            out.write_all(&buffer).map_err(disk)?;
            buffer.clear();
        }
    }
    cid.update(&buffer);
    out.write_all(&buffer).map_err(disk)?;
    Ok(name(cid))
}

fn name(bytes: CidBuilder) -> Cid {
    let cid = bytes.finish();
    let digest = Hash(*cid.digest());
    match cid.codec() {
        Codec::Raw => Cid::raw(digest),
        Codec::DagPb => Cid::node(digest),
    }
}

/// A reader that names what it has read.
struct Naming<R> {
    inner: R,
    cid: CidBuilder,
}

impl<R: Read> Read for Naming<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.cid.update(buffer.get(..count).unwrap_or_default());
        Ok(count)
    }
}

/// Reads the next bytes; the ending of the file is a malformed snapshot.
fn exact(reader: &mut impl Read, buffer: &mut [u8]) -> Result<(), NotInstalled> {
    reader.read_exact(buffer).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => NotInstalled::Malformed("it ends too early"),
        _ => NotInstalled::Read(error),
    })
}

/// Reads a key or a value.
fn part(reader: &mut impl Read) -> Result<Vec<u8>, NotInstalled> {
    let mut length = [0; 4];
    exact(reader, &mut length)?;
    // The check bounds what is allocated next.
    let length = usize::try_from(u32::from_le_bytes(length)).ok().filter(|it| *it <= PART_MAX);
    let length = length.ok_or(NotInstalled::Malformed("a key or a value is too long"))?;
    let mut bytes = vec![0; length];
    exact(reader, &mut bytes)?;
    Ok(bytes)
}

/// Reads a snapshot; also its name.
fn read(reader: impl Read) -> Result<(Head, Changes, Cid), NotInstalled> {
    let inner = Naming { inner: reader.take(SNAPSHOT_SIZE_MAX), cid: CidBuilder::new() };
    let mut reader = BufReader::with_capacity(BUFFER_SIZE, inner);
    let mut tag = [0; TAG.len()];
    exact(&mut reader, &mut tag)?;
    if tag != *TAG {
        return Err(NotInstalled::Malformed("it does not begin as one of version 1 does"));
    }
    let mut head = [0; HEAD_SIZE];
    exact(&mut reader, &mut head)?;
    let head: Head = decode(&head)?;
    let mut entries = Changes::new();
    for _ in 0..head.count {
        let (key, value) = (part(&mut reader)?, part(&mut reader)?);
        if entries.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(NotInstalled::Malformed("its keys are not ascending"));
        }
        entries.insert(key, Some(value));
    }
    // It also makes sure that all bytes have been hashed.
    if reader.read(&mut [0])? != 0 {
        return Err(NotInstalled::Malformed("bytes follow its last entry"));
    }
    Ok((head, entries, name(reader.into_inner().cid)))
}

impl Base {
    /// Checks that the blocks are those that a trusted name stands for, and that the second one was
    /// decided by validators whose hash its header has.
    ///
    /// # Errors
    ///
    /// Says what is wrong.
    pub fn check(self, network: Hash, trusted: &Hash) -> Result<Checked, NotInstalled> {
        let block = Block::decode(&self.block)?;
        if block.header.id() != *trusted || !block.is_covered() {
            return Err(NotInstalled::Block("the block is not the one that is trusted"));
        }
        if block.header.network != network {
            return Err(NotInstalled::Block("the block is of another network than the genesis"));
        }
        let none = NotInstalled::Block("the block names no snapshot");
        let (cid, sealed) = block.header.snapshot.zip(block.certificate.clone()).ok_or(none)?;
        let parent = Block::decode(&self.parent)?;
        if parent.header.id() != block.header.parent || !parent.is_covered() {
            return Err(NotInstalled::Block("the block before is not the trusted one's parent"));
        }
        let height = parent.header.height;
        if validators_hash(self.deciders.as_slice()) != parent.header.validators {
            return Err(NotInstalled::Block("the validators are not those of the parent's header"));
        }
        let agreed = match (sealed.block, sealed.height) == (block.header.parent, height) {
            true => sealed.verify(network, self.deciders.as_slice()),
            false => Err(Uncertified::OtherBlock),
        };
        agreed.map_err(|error| NotInstalled::Certificate { height: height.0, error })?;
        Ok(Checked { base: self, block, parent, certificate: sealed, cid })
    }
}

impl Store {
    /// Whether there are no blocks yet, so that a snapshot can be installed.
    ///
    /// # Errors
    ///
    /// When there are, or the file fails.
    pub fn expect_none(&self) -> Result<(), NotInstalled> {
        match self.height()? {
            0 => Ok(()),
            height => Err(NotInstalled::Begun { height }),
        }
    }
}

impl Checked {
    /// The bytes of the block that names the snapshot, and its certificate.
    #[must_use]
    pub fn block(&self) -> (&[u8], &Certificate) {
        (&self.base.block, &self.base.certificate)
    }

    /// The snapshot's name.
    #[must_use]
    pub fn cid(&self) -> Cid {
        self.cid
    }

    /// Begins a store, which has no blocks, with the state of the snapshot, in one durable write. The
    /// chain then goes on with the block that names the snapshot.
    ///
    /// # Errors
    ///
    /// When the store has blocks, or the snapshot is not what the trusted block stands for; nothing has
    /// changed then.
    pub fn install(
        &self,
        store: &Store,
        genesis: &Genesis,
        snapshot: impl Read,
    ) -> Result<(), NotInstalled> {
        store.expect_none()?;
        let (head, entries, found) = read(snapshot)?;
        if found != self.cid {
            return Err(NotInstalled::OtherSnapshot { wanted: self.cid, found });
        }
        let nodes = self.check_state(genesis, &head, &entries)?;
        let height = self.parent.header.height.0;
        store.install(&Install {
            genesis: &encode(genesis),
            height,
            block: &self.base.parent,
            certificate: &self.certificate.encode(),
            validators: &encode(&self.base.deciders),
            entries: &entries,
            nodes: &nodes,
        })?;
        Ok(())
    }

    /// Checks that the entries are the state after the parent, with its root, and that the validators
    /// of that state decided the block.
    fn check_state(
        &self,
        genesis: &Genesis,
        head: &Head,
        entries: &Changes,
    ) -> Result<jmt::storage::TreeUpdateBatch, NotInstalled> {
        let (block, parent) = (&self.block.header, &self.parent.header);
        let wanted = (block.network, parent.height, block.parent);
        if (head.network, head.height, head.block) != wanted {
            return Err(NotInstalled::Malformed("its head is of another block"));
        }
        let (root, nodes) = tree::build(parent.height.0, entries).map_err(StoreError::from)?;
        if root != parent.state {
            return Err(NotInstalled::Block("the snapshot's root is not that of the block"));
        }
        let pairs = entries.iter();
        let pairs = pairs.filter_map(|(key, value)| Some((key.as_slice(), value.as_deref()?)));
        let state = State::from_entries(pairs)?;
        if state.meta().genesis != genesis.hash() || state.meta().height != parent.height {
            return Err(NotInstalled::Block("the snapshot's state is of another block"));
        }
        check(&state)?;
        let deciders = state.validators_at(block.height);
        if validators_hash(&deciders) != block.validators {
            return Err(NotInstalled::Block("the validators are not those of the block's header"));
        }
        let certificate = &self.base.certificate;
        let agreed = match (certificate.block, certificate.height) == (block.id(), block.height) {
            true => certificate.verify(block.network, &deciders),
            false => Err(Uncertified::OtherBlock),
        };
        agreed.map_err(|error| NotInstalled::Certificate { height: block.height.0, error })?;
        Ok(nodes)
    }
}
