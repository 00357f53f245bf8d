//! The batches that are kept, each in a folder of its own.
//!
//! Invariants:
//! - What is told of a batch is on the disk, but for how many of its requests are answered, which
//!   follows from its journal.
//! - At most `BATCHES_MAX` are kept.
//!
//! Not here: who works on them (`work`).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use store::whole;
use tokio::sync::watch;

use crate::batches::journal::Journal;
use crate::batches::record::{Batch, Counts};
use crate::limits::BATCHES_MAX;

/// The batches.
#[derive(Debug)]
pub(crate) struct Desk {
    directory: PathBuf,
    /// By id, which sorts by age.
    batches: Mutex<BTreeMap<String, Batch>>,
    /// Held while a batch is changed.
    writing: Mutex<()>,
    changed: watch::Sender<()>,
}

impl Desk {
    /// Opens what there is.
    pub(crate) fn open(directory: PathBuf) -> io::Result<Desk> {
        fs::create_dir_all(&directory)?;
        let mut batches = BTreeMap::new();
        for entry in fs::read_dir(&directory)? {
            let folder = entry?.path();
            if !folder.is_dir() {
                continue;
            }
            let known = match fs::read(folder.join("batch.json")) {
                Ok(known) => known,
                // The process ended before a client was told of it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::remove_dir_all(&folder)?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let Some(mut batch) = Batch::parse(&known) else {
                tracing::warn!(folder = %folder.display(), "this is no batch, and stays as it is");
                continue;
            };
            match batch.status().is_end() {
                true => tidy(&folder),
                false => batch.counts = Journal::open(&folder.join("journal"))?.counts(),
            }
            batches.insert(batch.id().to_owned(), batch);
        }
        let (writing, changed) = (Mutex::new(()), watch::Sender::new(()));
        Ok(Desk { directory, batches: Mutex::new(batches), writing, changed })
    }

    /// Keeps a new batch; `input` gives its file a name of the batch's own. False where there is no room.
    pub(crate) fn add(
        &self,
        batch: &Batch,
        input: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<bool> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.make_room()? {
            return Ok(false);
        }
        let folder = self.folder(batch.id());
        fs::create_dir_all(&folder)?;
        input(&folder.join("input"))?;
        whole::replace(&folder.join("batch.json"), batch.json().to_string().as_bytes())?;
        self.lock().insert(batch.id().to_owned(), batch.clone());
        self.changed.send_replace(());
        Ok(true)
    }

    /// Changes a batch, and brings that to the disk, unless `change` returns false.
    pub(crate) fn change(
        &self,
        id: &str,
        change: impl FnOnce(&mut Batch) -> bool,
    ) -> io::Result<Option<Batch>> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut batch) = self.get(id) else { return Ok(None) };
        if !change(&mut batch) {
            return Ok(Some(batch));
        }
        let path = self.folder(id).join("batch.json");
        whole::replace(&path, batch.json().to_string().as_bytes())?;
        if batch.status().is_end() {
            tidy(&self.folder(id));
        }
        self.lock().insert(id.to_owned(), batch.clone());
        self.changed.send_replace(());
        Ok(Some(batch))
    }

    /// Says how many requests of a batch are answered, as its journal has it.
    pub(crate) fn count(&self, id: &str, counts: Counts) {
        if let Some(batch) = self.lock().get_mut(id) {
            batch.counts = counts;
        }
    }

    /// A batch that is kept.
    pub(crate) fn get(&self, id: &str) -> Option<Batch> {
        self.lock().get(id).cloned()
    }

    /// Every batch, the oldest first.
    pub(crate) fn list(&self) -> Vec<Batch> {
        self.lock().values().cloned().collect()
    }

    /// The oldest batch of those that are wanted.
    pub(crate) fn first(&self, is_wanted: impl Fn(&Batch) -> bool) -> Option<Batch> {
        self.lock().values().find(|it| is_wanted(it)).cloned()
    }

    /// Tells when a batch was added or changed.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Where a batch's files are.
    pub(crate) fn folder(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    /// Lets the oldest batch that has ended go, if there are too many.
    fn make_room(&self) -> io::Result<bool> {
        let mut batches = self.lock();
        if batches.len() < BATCHES_MAX {
            return Ok(true);
        }
        let ended = batches.values().find(|it| it.status().is_end()).map(|it| it.id().to_owned());
        let Some(id) = ended else { return Ok(false) };
        batches.remove(&id);
        drop(batches);
        fs::remove_dir_all(self.folder(&id))?;
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Batch>> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes away what a batch that has ended needs no more.
fn tidy(folder: &Path) {
    for name in ["journal", "input"] {
        // It may be gone already, and is in nobody's way.
        let _ = fs::remove_file(folder.join(name));
    }
}
