//! Find any block: the chunks and nodes of blobs, and the blocks of directories.
//!
//! Blobs are plain files, so a chunk is a place in one, and a file's nodes are made from its table.
//!
//! Invariants:
//! - A block that is handed out hashes to its name.
//! - A blob that appears or goes away while the index is open is noticed at the next question.
//!
//! Not here: blocks that nobody keeps here.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::blobs::{Blobs, StoreError, at};
use crate::cid::{CHUNK_SIZE, Cid, Codec};
use crate::kernel_map::Mapped;
use crate::leaves::Leaves;

/// Where every block is.
#[derive(Debug)]
pub struct Index {
    blobs: Blobs,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Blobs of several chunks, with their tables.
    files: BTreeMap<Cid, Arc<Leaves>>,
    /// Chunks and nodes of `files`; where two files share one, the first that was seen.
    places: BTreeMap<Cid, Place>,
    /// When a blob last appeared or went away, as the file system says.
    changed: Option<SystemTime>,
}

#[derive(Clone, Debug)]
enum Place {
    /// A chunk of the blob.
    Leaf(Cid, u32),
    /// A node over the blob's chunks.
    Node(Cid, Arc<[u8]>),
}

impl Place {
    fn blob(&self) -> &Cid {
        match self {
            Place::Leaf(blob, _) | Place::Node(blob, _) => blob,
        }
    }
}

/// A whole file, open.
#[derive(Debug)]
pub struct Stored {
    /// The table of its chunks.
    pub leaves: Arc<Leaves>,
    /// Its bytes.
    pub file: File,
}

impl Index {
    /// The index of these blobs. Tables that are missing are made, for which their blobs are read.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn open(blobs: Blobs) -> Result<Index, StoreError> {
        let index = Index { blobs, state: Mutex::default() };
        index.refresh()?;
        Ok(index)
    }

    /// The blobs.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// A block; `None` where it is not here.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn block(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(block) = self.find(cid)? {
            return Ok(Some(block));
        }
        match self.refresh()? {
            true => self.find(cid),
            false => Ok(None),
        }
    }

    /// Whether a block is here. It is not read.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn has(&self, cid: &Cid) -> Result<bool, StoreError> {
        if self.blobs.contains(cid) || self.blobs.has_node(cid) {
            return Ok(true);
        }
        self.refresh()?;
        Ok(self.state().places.contains_key(cid))
    }

    /// A whole file; `None` where it is not here, or is no file.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn file(&self, cid: &Cid) -> Result<Option<Stored>, StoreError> {
        let leaves = match cid.codec() {
            Codec::Raw => Arc::new(match self.blobs.leaves(cid) {
                Err(StoreError::Missing { .. }) => return Ok(None),
                leaves => leaves?,
            }),
            Codec::DagPb => match self.table(cid)? {
                Some(leaves) => leaves,
                None => return Ok(None),
            },
        };
        match self.blobs.open_blob(cid) {
            Ok(file) => Ok(Some(Stored { leaves, file })),
            Err(StoreError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn find(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        let place = self.state().places.get(cid).cloned();
        let found = match place {
            Some(Place::Node(blob, block)) if self.blobs.contains(&blob) => Some(block.to_vec()),
            Some(Place::Leaf(blob, index)) => self.leaf(&blob, index as usize)?,
            _ => None,
        };
        if let Some(block) = found.filter(|block| cid.is_of(block)) {
            return Ok(Some(block));
        }
        if cid.codec() == Codec::Raw {
            return Ok(self.whole(cid)?.filter(|block| cid.is_of(block)));
        }
        if let Some(node) = self.blobs.node(cid)? {
            return Ok(Some(node));
        }
        // A file that appeared since; its root is its table's first node.
        let leaves = self.table(cid)?;
        Ok(leaves.and_then(|leaves| Some(leaves.nodes().into_iter().next()?.1)))
    }

    /// A blob of one chunk.
    fn whole(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.blobs.path(cid);
        let file = match self.blobs.open_blob(cid) {
            Err(StoreError::Missing { .. }) => return Ok(None),
            file => file?,
        };
        let mut block = Vec::new();
        // One byte more than a chunk has would not hash to its name.
        file.take(CHUNK_SIZE as u64 + 1).read_to_end(&mut block).map_err(at(&path))?;
        Ok(Some(block))
    }

    fn leaf(&self, blob: &Cid, index: usize) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(stored) = self.file(blob)? else { return Ok(None) };
        stored.leaf(index).map(Some).map_err(at(&self.blobs.path(blob)))
    }

    /// The table of a blob of several chunks that is here.
    fn table(&self, cid: &Cid) -> Result<Option<Arc<Leaves>>, StoreError> {
        if let Some(leaves) = self.state().files.get(cid) {
            return Ok(Some(Arc::clone(leaves)));
        }
        // May read the whole blob, so nothing is locked meanwhile.
        match self.blobs.leaves(cid) {
            Ok(leaves) => Ok(Some(self.state().add(cid, leaves))),
            Err(StoreError::Missing { .. } | StoreError::Mismatch { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Takes in what has changed; says whether anything has.
    fn refresh(&self) -> Result<bool, StoreError> {
        let dir = self.blobs.dir();
        let changed = fs::metadata(dir).and_then(|folder| folder.modified()).map_err(at(dir))?;
        if self.state().changed == Some(changed) {
            return Ok(false);
        }
        let listed = self.blobs.list()?.into_iter().filter(|cid| cid.codec() == Codec::DagPb);
        let listed: BTreeSet<Cid> = listed.collect();
        self.state().keep_only(&listed);
        for cid in &listed {
            self.table(cid)?;
        }
        // What changes from here on has another time, or is found by its root.
        self.state().changed = Some(changed);
        Ok(true)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever was left is still true of the blobs, or is noticed when they are read.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, cid: &Cid, leaves: Leaves) -> Arc<Leaves> {
        let leaves = Arc::new(leaves);
        for (index, leaf) in leaves.iter().enumerate() {
            // A table has at most 2^20 chunks.
            self.places.entry(leaf).or_insert(Place::Leaf(*cid, index as u32));
        }
        for (node, block) in leaves.nodes() {
            self.places.entry(node).or_insert_with(|| Place::Node(*cid, block.into()));
        }
        self.files.insert(*cid, Arc::clone(&leaves));
        leaves
    }

    fn keep_only(&mut self, listed: &BTreeSet<Cid>) {
        if self.files.keys().all(|cid| listed.contains(cid)) {
            return;
        }
        // Blocks that a file which stays shares with one that went away are found again.
        let gone: BTreeSet<Cid> =
            self.files.keys().filter(|cid| !listed.contains(cid)).copied().collect();
        self.files.retain(|cid, _| listed.contains(cid));
        self.places.retain(|_, place| !gone.contains(place.blob()));
        for (cid, leaves) in std::mem::take(&mut self.files) {
            self.add(&cid, Arc::unwrap_or_clone(leaves));
        }
    }
}

impl Stored {
    /// Maps the whole file into memory, read-only.
    ///
    /// # Errors
    ///
    /// When the system refuses.
    pub fn map(&self) -> std::io::Result<Mapped> {
        Mapped::of(&self.file)
    }

    /// The bytes of a chunk, as the disk has them; the file must have it.
    ///
    /// # Errors
    ///
    /// When it cannot be read.
    pub fn leaf(&self, index: usize) -> std::io::Result<Vec<u8>> {
        let range = self.leaves.range(index);
        // At most `CHUNK_SIZE`.
        let mut block = vec![0; (range.end - range.start) as usize];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(range.start))?;
        file.read_exact(&mut block)?;
        Ok(block)
    }
}

#[cfg(test)]
pub(crate) mod tests;
