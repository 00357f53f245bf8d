//! Blocks that have been seen and not yet decided, in memory and on the disk.
//!
//! A validator that has voted for a block must still have it after a crash: the block may be decided by
//! votes that are already out.
//!
//! Invariants:
//! - What `keep` has returned for is on the disk, and what `hold` has is in memory.
//! - At most `BLOCKS_MAX` blocks are held, all of one height.
//!
//! Not here: blocks that are decided, which the application has.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use borsh::{BorshDeserialize, BorshSerialize};

use crate::context::{Head, Name};
use crate::parts::{Whole, digest};

/// Blocks of one height that are held, at most: one of each of its last rounds.
const BLOCKS_MAX: usize = 16;

/// The blocks.
#[derive(Debug)]
pub(crate) struct Undecided {
    directory: PathBuf,
    blocks: BTreeMap<Name, Kept>,
}

/// A block, and whether it may be decided.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) block: Whole,
    pub(crate) is_good: bool,
    is_on_disk: bool,
}

impl Undecided {
    /// Opens the directory; gives what it holds of blocks after `height`, unchecked.
    pub(crate) fn open(directory: &Path, height: u64) -> io::Result<(Undecided, Vec<Whole>)> {
        fs::create_dir_all(directory)?;
        let mut found = vec![];
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            match read(&fs::read(&path)?) {
                Some(block) if block.head.height.0 > height && found.len() < BLOCKS_MAX => {
                    found.push(block);
                }
                // Decided since, or torn by a crash, and so never voted for.
                _ => fs::remove_file(&path)?,
            }
        }
        let directory = directory.to_path_buf();
        Ok((Undecided { directory, blocks: BTreeMap::new() }, found))
    }

    /// Keeps a block. It is on the disk when this returns.
    pub(crate) fn keep(&mut self, block: Whole, is_good: bool) -> io::Result<()> {
        let name = block.head.block;
        if !self.blocks.get(&name).is_some_and(|kept| kept.is_on_disk) {
            self.make_room(&name)?;
            let mut bytes = vec![];
            block.head.serialize(&mut bytes)?;
            bytes.extend_from_slice(&block.bytes);
            let mut file = File::create(self.path(&name))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            File::open(&self.directory)?.sync_all()?;
        }
        self.blocks.insert(name, Kept { block, is_good, is_on_disk: true });
        Ok(())
    }

    /// Holds a block that was decided without this node, in memory only: nobody here votes for it, and
    /// who gave it gives it again. Writing it would be half of what catching up costs.
    pub(crate) fn hold(&mut self, block: Whole) -> io::Result<()> {
        let name = block.head.block;
        if !self.blocks.contains_key(&name) {
            self.make_room(&name)?;
            self.blocks.insert(name, Kept { block, is_good: true, is_on_disk: false });
        }
        Ok(())
    }

    fn make_room(&mut self, name: &Name) -> io::Result<()> {
        if self.blocks.len() >= BLOCKS_MAX && !self.blocks.contains_key(name) {
            let oldest = self.blocks.iter().min_by_key(|(_, kept)| kept.block.head.round);
            if let Some(oldest) = oldest.map(|(name, _)| *name) {
                self.forget(&oldest)?;
            }
        }
        Ok(())
    }

    pub(crate) fn get(&self, name: &Name) -> Option<&Kept> {
        self.blocks.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Kept> {
        self.blocks.values()
    }

    /// Forgets all blocks: their height is decided.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        let names: Vec<Name> = self.blocks.keys().copied().collect();
        names.iter().try_for_each(|name| self.forget(name))
    }

    fn forget(&mut self, name: &Name) -> io::Result<()> {
        self.blocks.remove(name);
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, name: &Name) -> PathBuf {
        self.directory.join(name.to_string())
    }
}

/// The block of a file, if it is whole.
fn read(mut bytes: &[u8]) -> Option<Whole> {
    let head = Head::deserialize(&mut bytes).ok()?;
    (digest(bytes) == head.digest).then(|| Whole { head, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests;
