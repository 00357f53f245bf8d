//! Receipts on the disk, each with what it is about in one file.
//!
//! ```text
//! receipts/NUMBER-ID   a signed receipt of 692 bytes, and its payload
//! ```
//!
//! The number goes up, so that names say which came first. A file is written beside and gets its name
//! when it is whole, so that a process that is killed leaves none that is half. Nothing is flushed: what
//! the power takes is the last few answers' receipts, while flushing would hold every answer's end up.
//!
//! Invariants:
//! - At most `RECEIPTS_MAX` are kept, of at most `SIZE_MAX` bytes; the oldest go first, or none comes.
//! - What is read back is a receipt with the id that it is asked by, or nothing.
//!
//! Not here: what is right about a receipt.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use audit::receipt::{Receipt, SIZE, SignedReceipt};
use types::id::Hash;

use super::Statement;

/// Receipts that are kept, at most: some weeks of one person's questions, and few enough files for one
/// folder.
pub(super) const RECEIPTS_MAX: usize = 16_384;
/// Bytes of the files, at most: hundreds of the longest context, tens of thousands of usual ones.
pub(super) const SIZE_MAX: u64 = 256 << 20;

/// A file that is not whole.
const PART: &str = "part";

/// What is kept, by id and by age.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    numbers: BTreeMap<Hash, u64>,
    /// By number: whose, and how many bytes.
    files: BTreeMap<u64, (Hash, u64)>,
    size: u64,
    /// Whether the oldest go where there is no room; else whoever keeps them says which go.
    has_end: bool,
}

impl Kept {
    /// What there is in a folder, which is made if it is not there.
    pub(crate) fn open(folder: PathBuf) -> io::Result<Kept> {
        let mut kept = Kept { has_end: true, ..Kept::open_whole(folder)? };
        kept.forget();
        Ok(kept)
    }

    /// The same, of which none goes by itself.
    pub(crate) fn open_whole(folder: PathBuf) -> io::Result<Kept> {
        fs::create_dir_all(&folder)?;
        let (numbers, files) = (BTreeMap::new(), BTreeMap::new());
        let mut kept = Kept { folder, numbers, files, size: 0, has_end: false };
        for entry in fs::read_dir(&kept.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            // Others' files are none of ours.
            let Some((number, id)) = name.to_str().and_then(parse) else { continue };
            let size = entry.metadata()?.len();
            kept.numbers.insert(id, number);
            kept.files.insert(number, (id, size));
            kept.size += size;
        }
        Ok(kept)
    }

    /// Whether there is as much as there may be.
    pub(crate) fn is_full(&self) -> bool {
        self.files.len() >= RECEIPTS_MAX || self.size >= SIZE_MAX
    }

    /// Lets one go.
    pub(crate) fn remove(&mut self, id: &Hash) {
        let Some(number) = self.numbers.remove(id) else { return };
        let size = self.files.remove(&number).map_or(0, |(_, size)| size);
        self.size = self.size.saturating_sub(size);
        remove(&self.path(number, id));
    }

    /// Keeps one more; the oldest go for it.
    pub(crate) fn keep(&mut self, id: Hash, statement: &Statement) -> io::Result<()> {
        let bytes = [statement.receipt.as_slice(), &statement.payload].concat();
        let number = self.files.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let part = self.folder.join(PART);
        fs::write(&part, &bytes)?;
        fs::rename(part, self.path(number, &id))?;
        let size = bytes.len() as u64;
        self.numbers.insert(id, number);
        self.files.insert(number, (id, size));
        self.size += size;
        if self.has_end {
            self.forget();
        }
        Ok(())
    }

    /// What is kept by this id.
    pub(crate) fn get(&self, id: &Hash) -> Option<Statement> {
        let number = self.numbers.get(id)?;
        let bytes = fs::read(self.path(*number, id)).ok()?;
        let (receipt, payload) = bytes.split_at_checked(SIZE)?;
        let signed = SignedReceipt::decode(receipt).ok().filter(|it| it.receipt.id() == *id)?;
        Some(Statement { signed, receipt: receipt.to_vec(), payload: payload.to_vec() })
    }

    /// The ids of the last ones, the latest first.
    pub(crate) fn last(&self, count: usize) -> Vec<Hash> {
        self.files.values().rev().take(count).map(|(id, _)| *id).collect()
    }

    /// All receipts, the oldest first.
    pub(crate) fn all(&self) -> Vec<Receipt> {
        let ids = self.files.values();
        ids.filter_map(|(id, _)| Some(self.get(id)?.signed.receipt)).collect()
    }

    /// The same, and when each was written, in seconds since 1970.
    pub(crate) fn dated(&self) -> Vec<(Receipt, u64)> {
        let dated = |(number, (id, _)): (&u64, &(Hash, u64))| {
            let receipt = self.get(id)?.signed.receipt;
            let at = fs::metadata(self.path(*number, id)).ok()?.modified().ok()?;
            Some((receipt, at.duration_since(UNIX_EPOCH).ok()?.as_secs()))
        };
        self.files.iter().filter_map(dated).collect()
    }

    fn path(&self, number: u64, id: &Hash) -> PathBuf {
        self.folder.join(format!("{number:016x}-{id}"))
    }

    /// Lets the oldest go until there is no more than may be.
    fn forget(&mut self) {
        while self.files.len() > RECEIPTS_MAX || self.size > SIZE_MAX {
            let Some((number, (id, size))) = self.files.pop_first() else { return };
            self.size -= size;
            self.numbers.remove(&id);
            remove(&self.path(number, &id));
        }
    }
}

/// A file that stays is counted again at the next start, and goes then.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "an old receipt stays");
    }
}

/// The number and the id in a file's name.
fn parse(name: &str) -> Option<(u64, Hash)> {
    let (number, id) = name.split_once('-')?;
    let is_number = number.len() == 16;
    let number = u64::from_str_radix(number, 16).ok().filter(|_| is_number)?;
    Some((number, Hash::parse(id)?))
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::receipts::tests::statement;

    #[test]
    fn what_is_kept_is_there_after_a_restart_in_its_order() {
        let folder = tempdir().unwrap();
        let mut kept = Kept::open(folder.path().join("receipts")).unwrap();
        let made: Vec<(Hash, Statement)> = (1..4).map(statement).collect();
        made.iter().for_each(|(id, it)| kept.keep(*id, it).unwrap());
        // What a process leaves that is killed while it writes, and what is not ours.
        fs::write(folder.path().join("receipts/part"), [0; 700]).unwrap();
        fs::write(folder.path().join("receipts/notes.txt"), "mine").unwrap();
        let kept = Kept::open(folder.path().join("receipts")).unwrap();
        for (id, statement) in &made {
            assert_eq!(kept.get(id).as_ref(), Some(statement));
        }
        let ids: Vec<Hash> = made.iter().rev().map(|(id, _)| *id).collect();
        assert_eq!(kept.last(9), ids);
        assert_eq!(kept.last(2), ids[..2]);
    }

    #[test]
    fn a_file_that_was_changed_or_cut_is_no_receipt() {
        let folder = tempdir().unwrap();
        let mut kept = Kept::open(folder.path().to_path_buf()).unwrap();
        let (id, made) = statement(1);
        kept.keep(id, &made).unwrap();
        let path = kept.path(0, &id);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..SIZE - 1]).unwrap();
        assert_eq!(kept.get(&id), None);
        let mut other = whole.clone();
        other[40] ^= 1;
        fs::write(&path, other).unwrap();
        assert_eq!(kept.get(&id), None);
        fs::write(&path, whole).unwrap();
        assert_eq!(kept.get(&id), Some(made));
    }

    #[test]
    fn the_oldest_go_first_and_their_files_with_them() {
        let folder = tempdir().unwrap();
        let mut kept = Kept::open(folder.path().to_path_buf()).unwrap();
        let made: Vec<(Hash, Statement)> = (1..4).map(statement).collect();
        made.iter().for_each(|(id, it)| kept.keep(*id, it).unwrap());
        // As if there were as many as there may be.
        kept.size += SIZE_MAX - kept.size;
        let (id, another) = statement(4);
        kept.keep(id, &another).unwrap();
        assert_eq!((kept.get(&made[0].0), kept.files.len()), (None, 3));
        assert!(kept.size <= SIZE_MAX && kept.get(&made[1].0).is_some());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        let id = |number: u64| Hash([u8::try_from(number % 251).unwrap(); 32]);
        kept.files = (0..=RECEIPTS_MAX as u64).map(|it| (it, (id(it), 0))).collect();
        kept.forget();
        assert_eq!((kept.files.len(), kept.files.contains_key(&0)), (RECEIPTS_MAX, false));
    }
}
