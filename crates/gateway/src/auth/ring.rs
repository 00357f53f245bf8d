//! The file of the API keys, which one process serves from while others change it.
//!
//! ```text
//! keys/keys.json   every key, also those that are not good any more
//! keys/used/ID     what a key with a limit for a day, or on credits, has used
//! keys/lock        held while the keys are changed
//! ```
//!
//! Invariants:
//! - What another process has written holds from the next request on.
//! - A file that is there and cannot be read opens nothing, not even what was read before.
//! - At most `KEYS_MAX` keys are kept, in a file of at most `FILE_SIZE_MAX` bytes.
//!
//! Not here: what a key may do (`key`).

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde_json::{Value, json};
use store::whole;

use crate::auth::account::{Account, Grant};
use crate::auth::key::Key;
use crate::auth::same;
use crate::error::{ApiError, Code};

/// Keys, at most: those of a large household of programs; all are compared with each request.
pub const KEYS_MAX: usize = 4096;
/// Bytes of the file, at most: room for so many, with every limit said.
const FILE_SIZE_MAX: u64 = 4 << 20;
/// The edition of the file's format.
const VERSION: u64 = 1;

/// The keys of a folder, as they are now.
#[derive(Debug)]
pub struct Ring {
    folder: PathBuf,
    seen: Mutex<Seen>,
}

/// What was read of the file.
#[derive(Debug, Default)]
struct Seen {
    stamp: Option<Stamp>,
    was_there: bool,
    /// Why the file cannot be used, if it cannot.
    broken: Option<String>,
    keys: Vec<Arc<Key>>,
    accounts: BTreeMap<String, Arc<Account>>,
}

/// By which a file is known to be the one that was read: a change is a new file under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    size: u64,
    inode: u64,
}

impl Ring {
    /// The ring of a folder, which need not be there.
    #[must_use]
    pub fn of(folder: PathBuf) -> Ring {
        Ring { folder, seen: Mutex::default() }
    }

    /// Whether no key was ever made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let seen = self.look();
        seen.keys.is_empty() && seen.broken.is_none()
    }

    /// Every key, the oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self) -> io::Result<Vec<Arc<Key>>> {
        let seen = self.look();
        match &seen.broken {
            None => Ok(seen.keys.clone()),
            Some(why) => Err(io::Error::other(why.clone())),
        }
    }

    /// What a key has used: tokens today, and millionths of a credit in all.
    #[must_use]
    pub fn used(&self, key: &Key) -> (u64, u64) {
        Account::open(self.used_file(&key.id)).used()
    }

    /// Changes the keys, one process at a time; `change` says what is wrong with them.
    ///
    /// # Errors
    /// When the file cannot be read or written, or `change` refuses.
    pub fn change<T, E: From<io::Error>>(
        &self,
        change: impl FnOnce(&mut Vec<Key>) -> Result<T, E>,
    ) -> Result<T, E> {
        fs::create_dir_all(&self.folder)?;
        let mut options = OpenOptions::new();
        let lock =
            options.write(true).create(true).truncate(false).open(self.folder.join("lock"))?;
        lock.lock()?;
        let mut keys = read(&self.file())?.unwrap_or_default();
        let changed = change(&mut keys)?;
        if keys.len() > KEYS_MAX {
            let what = format!("there are {KEYS_MAX} keys, as many as can be kept");
            return Err(io::Error::other(what).into());
        }
        let keys: Vec<Value> = keys.iter().map(Key::json).collect();
        let text = serde_json::to_string_pretty(&json!({"version": VERSION, "keys": keys}));
        let text = text.map_err(io::Error::other)?;
        whole::replace(&self.file(), text.as_bytes())?;
        Ok(changed)
    }

    /// The key with this hash, and what it has used.
    pub(crate) fn find(&self, hash: &[u8; 32]) -> Result<Option<Grant>, ApiError> {
        // All of them, in full.
        self.pick(|keys| {
            let mut found = None;
            for key in keys {
                if same(&key.hash, hash) {
                    found = Some(Arc::clone(key));
                }
            }
            found
        })
    }

    /// The key with this id.
    pub(crate) fn by_id(&self, id: &str) -> Result<Option<Grant>, ApiError> {
        self.pick(|keys| keys.iter().find(|key| key.id == id).cloned())
    }

    fn pick(
        &self,
        pick: impl FnOnce(&[Arc<Key>]) -> Option<Arc<Key>>,
    ) -> Result<Option<Grant>, ApiError> {
        let mut seen = self.look();
        if let Some(why) = &seen.broken {
            let message = "the API keys of this node cannot be read";
            return Err(ApiError::new(Code::NotReady, message).because(why));
        }
        let Some(key) = pick(&seen.keys) else { return Ok(None) };
        let file = self.used_file(&key.id);
        let account = seen.accounts.entry(key.id.clone());
        let account = Arc::clone(account.or_insert_with(|| Arc::new(Account::open(file))));
        Ok(Some(Grant::new(key, account)))
    }

    /// What the file says now; read again where it is another one.
    fn look(&self) -> MutexGuard<'_, Seen> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it is read: what changes meanwhile is read again.
        let stamp = fs::metadata(self.file()).map(|it| Stamp::of(&it)).ok();
        if stamp.is_some() && stamp == seen.stamp {
            return seen;
        }
        seen.was_there |= stamp.is_some();
        seen.stamp = None;
        match read(&self.file()) {
            // A file that was there once does not go away by itself.
            Ok(None) if seen.was_there => {
                seen.broken = Some(format!("{} is gone", self.file().display()));
            }
            Ok(keys) => {
                seen.broken = None;
                seen.keys = keys.unwrap_or_default().into_iter().map(Arc::new).collect();
                seen.stamp = stamp;
            }
            Err(error) => seen.broken = Some(format!("{}: {error}", self.file().display())),
        }
        seen
    }

    fn file(&self) -> PathBuf {
        self.folder.join("keys.json")
    }

    fn used_file(&self, id: &str) -> PathBuf {
        self.folder.join("used").join(id)
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(metadata);
        #[cfg(not(unix))]
        let inode = 0;
        Stamp { modified: metadata.modified().ok(), size: metadata.len(), inode }
    }
}

/// The keys of a file; none where there is no file.
fn read(path: &Path) -> io::Result<Option<Vec<Key>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if file.metadata()?.len() > FILE_SIZE_MAX {
        return Err(io::Error::other(format!("has over {FILE_SIZE_MAX} bytes")));
    }
    let value: Value = serde_json::from_reader(io::BufReader::new(file))?;
    let version = value["version"].as_u64();
    if version != Some(VERSION) {
        let what = format!("is of version {}, and this program reads {VERSION}", value["version"]);
        return Err(io::Error::other(what));
    }
    let keys = value["keys"].as_array().map_or(&[][..], Vec::as_slice).iter();
    let keys = keys.map(Key::parse).collect::<Option<Vec<Key>>>();
    let keys = keys.filter(|keys| keys.len() <= KEYS_MAX);
    keys.map(Some).ok_or_else(|| io::Error::other("has a key that makes no sense"))
}

#[cfg(test)]
mod tests;
