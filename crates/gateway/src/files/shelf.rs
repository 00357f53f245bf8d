//! Files on the disk, with what is known of each beside it.
//!
//! Invariants:
//! - What is listed is on the disk whole: `ID.json` gets its name after the bytes of `ID` are there.
//! - Clients fill no more than the settings say; what batches write counts, and is always taken.
//!
//! Not here: how a client sends a file (`upload`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use store::cid::CidBuilder;
use store::whole;

use crate::archive::Settings;
use crate::error::{ApiError, Code};
use crate::files::broken;
use crate::ids::seconds;

/// Bytes that are read from or written to the disk at a time.
pub(crate) const PIECE_SIZE: usize = 256 << 10;
/// What a file that is not whole has after its name.
const PART: &str = "part";

/// The files.
#[derive(Debug)]
pub(crate) struct Shelf {
    directory: PathBuf,
    file_size_max: u64,
    size_max: u64,
    count_max: usize,
    inner: Mutex<Inner>,
}

/// What is known of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) purpose: String,
    pub(crate) filename: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Seconds since 1970.
    pub(crate) created_at: u64,
    /// When it goes away, in seconds since 1970.
    pub(crate) expires_at: Option<u64>,
    /// The name that follows from its bytes, by the profile `unixfs-v1-2025`.
    pub(crate) cid: String,
}

/// What is said of a file before its bytes are there.
#[derive(Clone, Debug)]
pub(crate) struct Label {
    pub(crate) id: String,
    pub(crate) purpose: String,
    pub(crate) filename: String,
    pub(crate) expires_at: Option<u64>,
}

/// A file on its way in. Dropped, it leaves nothing.
#[derive(Debug)]
pub(crate) struct Incoming {
    shelf: Arc<Shelf>,
    path: PathBuf,
    sink: Option<Sink>,
    /// Bytes that are counted for it.
    held: u64,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<String, Arc<Stored>>,
    /// Files on their way in.
    incoming: usize,
    /// Bytes of both.
    size: u64,
}

/// Bytes on their way to the disk, which are named as they come.
#[derive(Debug)]
struct Sink {
    file: File,
    cid: CidBuilder,
    size: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.cid.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Shelf {
    /// Opens what there is.
    pub(crate) fn open(settings: &Settings) -> io::Result<Shelf> {
        let directory = settings.directory.join("files");
        fs::create_dir_all(&directory)?;
        let mut inner = Inner::default();
        let mut bare = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            match path.extension().and_then(|it| it.to_str()) {
                Some("json") => {
                    let stored = Stored::parse(&fs::read(&path)?);
                    let stored = stored.filter(|it| directory.join(&it.id).is_file());
                    let Some(stored) = stored else {
                        tracing::warn!(path = %path.display(), "this is of no file, and stays");
                        continue;
                    };
                    inner.size += stored.size;
                    inner.files.insert(stored.id.clone(), Arc::new(stored));
                }
                _ => bare.push(path),
            }
        }
        // Bytes of which nothing is known were not complete when the process ended.
        for path in bare {
            let mut known = path.clone().into_os_string();
            known.push(".json");
            if !Path::new(&known).exists() {
                fs::remove_file(&path)?;
            }
        }
        let Settings { file_size_max, size_max, count_max, .. } = *settings;
        Ok(Shelf { directory, file_size_max, size_max, count_max, inner: Mutex::new(inner) })
    }

    /// Bytes of one file, at most.
    pub(crate) fn file_size_max(&self) -> u64 {
        self.file_size_max
    }

    /// Makes room for one more.
    pub(crate) fn begin(self: &Arc<Shelf>, id: &str) -> Result<Incoming, ApiError> {
        self.sweep();
        let mut inner = self.lock();
        if inner.files.len() + inner.incoming >= self.count_max {
            let problem = format!("there are {} files here, and no more are kept", self.count_max);
            return Err(ApiError::new(Code::StorageFull, problem + " (files_count)"));
        }
        let path = self.directory.join(format!("{id}.{PART}"));
        let file = File::create(&path).map_err(|error| broken(&error))?;
        inner.incoming += 1;
        let sink = Some(Sink::new(file));
        Ok(Incoming { shelf: Arc::clone(self), path, sink, held: 0 })
    }

    /// Keeps a file of this node's own making, in place of the one with its id if there is one.
    pub(crate) fn put(
        &self,
        label: &Label,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Arc<Stored>> {
        let path = self.directory.join(format!("{}.{PART}", label.id));
        let mut writer = BufWriter::with_capacity(PIECE_SIZE, Sink::new(File::create(&path)?));
        write(&mut writer)?;
        let sink = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        let stored = self.settle(sink, &path, label)?;
        let mut inner = self.lock();
        inner.size += stored.size;
        if let Some(old) = inner.files.insert(stored.id.clone(), Arc::clone(&stored)) {
            inner.size -= old.size;
        }
        Ok(stored)
    }

    /// A file that is kept.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Stored>> {
        self.sweep();
        self.lock().files.get(id).cloned()
    }

    /// Every file, the oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Stored>> {
        self.sweep();
        let mut files: Vec<Arc<Stored>> = self.lock().files.values().cloned().collect();
        // Ids sort by age among files of one kind only.
        files.sort_by_key(|it| it.created_at);
        files
    }

    /// Opens the bytes of a file that is kept.
    pub(crate) fn read(&self, id: &str) -> io::Result<File> {
        File::open(self.directory.join(id))
    }

    /// Gives the bytes of a file another name, under which they stay when the file is forgotten.
    pub(crate) fn link(&self, id: &str, to: &Path) -> io::Result<()> {
        let from = self.directory.join(id);
        // Where the file system has one name for a file only, it takes a copy.
        fs::hard_link(&from, to).or_else(|_| fs::copy(&from, to).map(|_| ()))
    }

    /// Forgets a file.
    pub(crate) fn remove(&self, id: &str) -> io::Result<()> {
        let mut inner = self.lock();
        let Some(stored) = inner.files.remove(id) else { return Ok(()) };
        inner.size -= stored.size;
        drop(inner);
        // First what makes it a file that is kept.
        fs::remove_file(self.directory.join(format!("{id}.json")))?;
        fs::remove_file(self.directory.join(id))
    }

    /// Forgets files whose time is over.
    fn sweep(&self) {
        let now = seconds();
        let is_over = |it: &Arc<Stored>| it.expires_at.is_some_and(|end| end <= now);
        let over: Vec<Arc<Stored>> =
            self.lock().files.values().filter(|it| is_over(it)).cloned().collect();
        for stored in over {
            if let Err(error) = self.remove(&stored.id) {
                tracing::warn!(file = stored.id, %error, "a file whose time is over stays");
            }
        }
    }

    /// Brings bytes to the disk, and then what is known of them.
    fn settle(&self, sink: Sink, path: &Path, label: &Label) -> io::Result<Arc<Stored>> {
        let Sink { file, cid, size } = sink;
        file.sync_all()?;
        drop(file);
        fs::rename(path, self.directory.join(&label.id))?;
        let stored = Stored {
            id: label.id.clone(),
            purpose: label.purpose.clone(),
            filename: label.filename.clone(),
            size,
            created_at: seconds(),
            expires_at: label.expires_at,
            cid: cid.finish().to_string(),
        };
        let known = self.directory.join(format!("{}.json", label.id));
        whole::replace(&known, stored.json().to_string().as_bytes())?;
        Ok(Arc::new(stored))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Incoming {
    /// Takes more bytes, if there is room.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), ApiError> {
        let more = bytes.len() as u64;
        if self.held + more > self.shelf.file_size_max {
            let max = self.shelf.file_size_max;
            let problem = format!("the file is larger than {max} bytes (files_mib)");
            return Err(ApiError::new(Code::BodyTooLarge, problem));
        }
        let mut inner = self.shelf.lock();
        if inner.size + more > self.shelf.size_max {
            let max = self.shelf.size_max;
            let problem = format!("all files here would have more than {max} bytes together");
            return Err(ApiError::new(Code::StorageFull, problem + " (files_total_mib)"));
        }
        inner.size += more;
        drop(inner);
        self.held += more;
        let written = self.sink.as_mut().map_or(Ok(()), |sink| sink.write_all(bytes));
        written.map_err(|error| broken(&error))
    }

    /// Keeps the file.
    pub(crate) fn keep(mut self, label: &Label) -> io::Result<Arc<Stored>> {
        let sink = self.sink.take().ok_or_else(|| io::Error::other("kept already"))?;
        let stored = self.shelf.settle(sink, &self.path, label)?;
        let mut inner = self.shelf.lock();
        inner.files.insert(stored.id.clone(), Arc::clone(&stored));
        // What was counted for the file on its way in is that of the file now.
        drop(inner);
        self.held = 0;
        Ok(stored)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let mut inner = self.shelf.lock();
        inner.incoming -= 1;
        inner.size -= self.held;
        drop(inner);
        // Where it was kept, there is nothing by this name any more.
        let _ = fs::remove_file(&self.path);
    }
}

impl Sink {
    fn new(file: File) -> Sink {
        Sink { file, cid: CidBuilder::new(), size: 0 }
    }
}

impl Stored {
    /// What was written of a file.
    fn parse(bytes: &[u8]) -> Option<Stored> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Stored {
            id: text("id")?,
            purpose: text("purpose")?,
            filename: text("filename")?,
            size: value["bytes"].as_u64()?,
            created_at: value["created_at"].as_u64()?,
            expires_at: value["expires_at"].as_u64(),
            cid: text("cid")?,
        })
    }
}
