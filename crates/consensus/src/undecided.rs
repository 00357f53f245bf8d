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
use std::io;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::context::{Head, Name};
use crate::machine::Machine;
use crate::parts::{Whole, digest};
use crate::silence;

/// Blocks of one height that are held, at most: one of each of its last rounds.
const BLOCKS_MAX: usize = 16;

/// The blocks.
#[derive(Debug, Default)]
pub(crate) struct Undecided {
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
    /// Looks through the machine's files. Those of the height after `height` were found good before
    /// they were written, and are kept as they are: writing them again could tear them. Gives what
    /// there is of later heights, unchecked.
    pub(crate) fn open(
        machine: &mut impl Machine,
        height: u64,
    ) -> io::Result<(Undecided, Vec<Whole>)> {
        let (mut undecided, mut later) = (Undecided::default(), vec![]);
        let next = height.saturating_add(1);
        for name in machine.files()?.into_iter().filter(|name| name != silence::FILE) {
            let room = undecided.blocks.len().saturating_add(later.len()) < BLOCKS_MAX;
            match read(&machine.read(&name)?).filter(|_| room) {
                Some(block) if block.head.height.0 == next => {
                    let kept = Kept { block, is_good: true, is_on_disk: true };
                    undecided.blocks.insert(kept.block.head.block, kept);
                }
                Some(block) if block.head.height.0 > next => later.push(block),
                // Decided since, or torn by a crash, and so never voted for.
                _ => machine.remove(&name)?,
            }
        }
        Ok((undecided, later))
    }

    /// Keeps a block. It is on the disk when this returns.
    pub(crate) fn keep(
        &mut self,
        machine: &mut impl Machine,
        block: Whole,
        is_good: bool,
    ) -> io::Result<()> {
        let name = block.head.block;
        if !self.blocks.get(&name).is_some_and(|kept| kept.is_on_disk) {
            self.make_room(machine, &name)?;
            let mut bytes = vec![];
            block.head.serialize(&mut bytes)?;
            bytes.extend_from_slice(&block.bytes);
            machine.write(&name.to_string(), &bytes)?;
        }
        self.blocks.insert(name, Kept { block, is_good, is_on_disk: true });
        Ok(())
    }

    /// Holds a block that was decided without this node, in memory only: nobody here votes for it, and
    /// who gave it gives it again. Writing it would be half of what catching up costs. Malachite's
    /// journal remembers it all the same: after a crash it can be decided and not be here.
    pub(crate) fn hold(&mut self, machine: &mut impl Machine, block: Whole) -> io::Result<()> {
        let name = block.head.block;
        if !self.blocks.contains_key(&name) {
            self.make_room(machine, &name)?;
            self.blocks.insert(name, Kept { block, is_good: true, is_on_disk: false });
        }
        Ok(())
    }

    fn make_room(&mut self, machine: &mut impl Machine, name: &Name) -> io::Result<()> {
        if self.blocks.len() >= BLOCKS_MAX && !self.blocks.contains_key(name) {
            let oldest = self.blocks.iter().min_by_key(|(_, kept)| kept.block.head.round);
            if let Some(oldest) = oldest.map(|(name, _)| *name) {
                self.forget(machine, &oldest)?;
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
    pub(crate) fn clear(&mut self, machine: &mut impl Machine) -> io::Result<()> {
        let names: Vec<Name> = self.blocks.keys().copied().collect();
        names.iter().try_for_each(|name| self.forget(machine, name))
    }

    fn forget(&mut self, machine: &mut impl Machine, name: &Name) -> io::Result<()> {
        self.blocks.remove(name);
        machine.remove(&name.to_string())
    }
}

/// The block of a file, if it is whole.
fn read(mut bytes: &[u8]) -> Option<Whole> {
    let head = Head::deserialize(&mut bytes).ok()?;
    (digest(bytes) == head.digest).then(|| Whole { head, bytes: bytes.to_vec() })
}

#[cfg(test)]
mod tests;
