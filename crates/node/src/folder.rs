//! Take folders of the user's into the store, and write directories of the store out again.
//!
//! Invariants:
//! - Hidden files are left out unless they are asked for, symbolic links are kept as links, as the
//!   profile `unixfs-v1-2025` has it.
//! - Nothing that is there is overwritten, and nothing is written outside the place that was named:
//!   links are made last, so that nothing is written through one.
//! - What is refused is refused before anything of it is written.
//!
//! Not here: the blocks of directories (`store::directory`).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use store::blobs::{Blobs, StoreError};
use store::cid::{Cid, Codec};
use store::directory::{self, DirectoryRefusal, Entry};
use store::index::Index;
use store::unix_fs::Kind;
use store::walk::{self, WalkError};

use crate::space;

/// Folders within folders, at most.
pub const DEPTH_MAX: usize = 128;
/// Files and folders that are taken in or written out at once, at most.
pub const ENTRIES_MAX: usize = 1 << 20;
/// Bytes of all paths of what is written out at once, at most: 256 for each entry.
const PATHS_SIZE_MAX: usize = ENTRIES_MAX << 8;

/// Why a folder was not taken in or written out.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder cannot be made a directory.
    #[error("{}: {source}", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: DirectoryRefusal,
    },
    /// A directory cannot be read.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// It is neither a file, a folder nor a link.
    #[error("{} is neither a file, a folder nor a symbolic link", path.display())]
    Kind {
        /// Which.
        path: PathBuf,
    },
    /// The quota has no room.
    #[error(
        "{needed} bytes are needed, and the store may take {room} more; `mashaa store gc` makes room, and the setting store_gib gives it"
    )]
    Room {
        /// Bytes that would be added.
        needed: u64,
        /// Bytes that may be added.
        room: u64,
    },
    /// The disk has no room.
    #[error("{needed} bytes are to be written, and the disk has room for {room}")]
    Disk {
        /// Bytes of the files.
        needed: u64,
        /// Bytes that are free.
        room: u64,
    },
    /// A symbolic link leads out of the folder.
    #[error(
        "{} would be a symbolic link to {target:?}, out of the folder; `--outside-links` makes it all the same",
        path.display()
    )]
    Link {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: String,
    },
    /// Folders are too deep, or too many.
    #[error("{} has more than {ENTRIES_MAX} files, or folders more than {DEPTH_MAX} deep", path.display())]
    TooMuch {
        /// Where it was noticed.
        path: PathBuf,
    },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_path_buf();
    move |source| FolderError::File { path, source }
}

/// How a folder is taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taking {
    /// Files whose name begins with a dot too.
    pub hidden: bool,
    /// Bytes that may be added.
    pub room: u64,
}

/// Takes a file or a folder into the store.
///
/// # Errors
/// When something in it cannot be read or is no file, folder or link, or there is no room.
pub fn add(blobs: &Blobs, path: &Path, taking: Taking) -> Result<Entry, FolderError> {
    let mut adding = Adding { blobs, taking, needed: 0, count: 0 };
    adding.any(path, 0)
}

struct Adding<'a> {
    blobs: &'a Blobs,
    taking: Taking,
    /// Bytes of the files so far.
    needed: u64,
    count: usize,
}

impl Adding<'_> {
    fn any(&mut self, path: &Path, depth: usize) -> Result<Entry, FolderError> {
        self.count += 1;
        if depth > DEPTH_MAX || self.count > ENTRIES_MAX {
            return Err(FolderError::TooMuch { path: path.to_path_buf() });
        }
        // What the user names is followed if it is a link; what is in a folder is kept as a link.
        let metadata = if depth == 0 { fs::metadata(path) } else { fs::symlink_metadata(path) };
        let metadata = metadata.map_err(at(path))?;
        let kind = metadata.file_type();
        if kind.is_file() {
            self.file(path, metadata.len())
        } else if kind.is_dir() {
            self.folder(path, depth)
        } else if kind.is_symlink() {
            let target = fs::read_link(path).map_err(at(path))?;
            self.keep(directory::symlink(&bytes_of(target.as_os_str())))
        } else {
            Err(FolderError::Kind { path: path.to_path_buf() })
        }
    }

    fn file(&mut self, path: &Path, size: u64) -> Result<Entry, FolderError> {
        self.needed = self.needed.saturating_add(size);
        let (needed, room) = (self.needed, self.taking.room);
        if needed > room {
            return Err(FolderError::Room { needed, room });
        }
        let cid = self.blobs.put(File::open(path).map_err(at(path))?)?;
        let total_size = self.blobs.leaves(&cid)?.total_size();
        Ok(Entry { cid, total_size })
    }

    fn folder(&mut self, path: &Path, depth: usize) -> Result<Entry, FolderError> {
        let mut entries = BTreeMap::new();
        for entry in fs::read_dir(path).map_err(at(path))? {
            let name = bytes_of(&entry.map_err(at(path))?.file_name());
            if self.taking.hidden || !name.starts_with(b".") {
                let within = path.join(name_of(&name));
                entries.insert(name, self.any(&within, depth + 1)?);
            }
        }
        let refused = |source| FolderError::Directory { path: path.to_path_buf(), source };
        self.keep(directory::make(&entries).map_err(refused)?)
    }

    fn keep(&self, made: directory::Made) -> Result<Entry, FolderError> {
        for (cid, block) in &made.blocks {
            self.blobs.put_node(cid, block)?;
        }
        Ok(made.entry)
    }
}

/// How a directory is written out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Writing {
    /// Make symbolic links that lead out of the folder too.
    pub outside_links: bool,
}

/// Writes a file or directory of the store to a place where nothing is yet. What is to be written is
/// looked through first, so that nothing is written of what is refused.
///
/// # Errors
/// When something is there already, a part of it is not in the store, or it is more than fits.
pub fn write_out(index: &Index, cid: &Cid, to: &Path, writing: Writing) -> Result<(), FolderError> {
    let plan = Plan::of(index, cid, to, writing)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
    let room = space::free(parent.unwrap_or(Path::new("."))).unwrap_or(u64::MAX);
    if plan.bytes > room {
        return Err(FolderError::Disk { needed: plan.bytes, room });
    }
    for (path, step) in &plan.steps {
        match step {
            Step::Folder => fs::create_dir(path).map_err(at(path))?,
            Step::Blob(cid) => copy(index.blobs(), cid, path)?,
            Step::Chunk(cid) => {
                let block = index.block(cid).map_err(WalkError::from)?;
                let block = block.ok_or(StoreError::Missing { cid: *cid })?;
                let mut file = File::create_new(path).map_err(at(path))?;
                io::Write::write_all(&mut file, &block).map_err(at(path))?;
            }
        }
    }
    plan.links.iter().try_for_each(|(path, target)| link(target, path).map_err(at(path)))
}

/// What is to be written, folders before what is in them.
#[derive(Default)]
struct Plan {
    steps: Vec<(PathBuf, Step)>,
    /// Symbolic links and where they lead; made last, so that nothing is written through one.
    links: Vec<(PathBuf, Vec<u8>)>,
    /// Bytes of files.
    bytes: u64,
}

/// What is made at a place.
enum Step {
    Folder,
    Blob(Cid),
    /// A chunk of another file, whole in itself.
    Chunk(Cid),
}

impl Plan {
    fn of(index: &Index, cid: &Cid, to: &Path, writing: Writing) -> Result<Plan, FolderError> {
        let mut plan = Plan::default();
        let mut left = vec![(*cid, to.to_path_buf(), 0)];
        let (mut count, mut words) = (0, 0);
        while let Some((cid, path, depth)) = left.pop() {
            // Counted before anything is made: a few directories that have each other many times are
            // more folders than any disk has room for.
            (count, words) = (count + 1, words + path.as_os_str().len());
            if depth > DEPTH_MAX || count + left.len() > ENTRIES_MAX || words > PATHS_SIZE_MAX {
                return Err(FolderError::TooMuch { path });
            }
            if index.blobs().contains(&cid) {
                let blob = index.blobs().path(&cid);
                let size = fs::metadata(&blob).map_err(at(&blob))?.len();
                plan.bytes = plan.bytes.saturating_add(size);
                plan.steps.push((path, Step::Blob(cid)));
                continue;
            }
            let missing = || WalkError::from(StoreError::Missing { cid });
            let block = index.block(&cid).map_err(WalkError::from)?.ok_or_else(missing)?;
            if cid.codec() == Codec::Raw {
                plan.bytes = plan.bytes.saturating_add(block.len() as u64);
                plan.steps.push((path, Step::Chunk(cid)));
                continue;
            }
            match walk::decode(&cid, &block)?.1 {
                Kind::Symlink(target) if writing.outside_links || is_inside(&target, depth) => {
                    plan.links.push((path, target));
                }
                Kind::Symlink(target) => {
                    let target = String::from_utf8_lossy(&target).into_owned();
                    return Err(FolderError::Link { path, target });
                }
                Kind::Directory | Kind::Shard => {
                    for link in walk::entries(index, &cid)? {
                        left.push((link.cid, path.join(name_of(&link.name)), depth + 1));
                    }
                    plan.steps.push((path, Step::Folder));
                }
                // A part of a file, which alone is none.
                Kind::File { .. } => return Err(missing().into()),
            }
        }
        Ok(plan)
    }
}

/// Whether a symbolic link in the folder `depth` folders below the one that is written leads to
/// something within that. It may climb first and then descend, and not climb again: what it descends
/// through can be a link itself.
fn is_inside(target: &[u8], depth: usize) -> bool {
    let steps: Vec<&[u8]> = target.split(|byte| *byte == b'/').collect();
    let climbs = steps.iter().take_while(|step| **step == b"..").count();
    let below = steps.get(climbs..).unwrap_or_default();
    let plain = |step: &&[u8]| *step != b".." && !step.contains(&0);
    !target.is_empty() && !target.starts_with(b"/") && climbs < depth && below.iter().all(plain)
}

/// Copies a blob, and checks what is copied.
fn copy(blobs: &Blobs, cid: &Cid, to: &Path) -> Result<(), FolderError> {
    let from = blobs.path(cid);
    let mut input = File::open(&from).map_err(at(&from))?;
    let mut output =
        File::options().read(true).write(true).create_new(true).open(to).map_err(at(to))?;
    io::copy(&mut input, &mut output).map_err(at(to))?;
    io::Seek::rewind(&mut output).map_err(at(to))?;
    let got = Cid::of_reader(&output).map_err(at(to))?;
    if got == *cid { Ok(()) } else { Err(StoreError::Mismatch { wanted: *cid, got }.into()) }
}

#[cfg(unix)]
fn bytes_of(name: &std::ffi::OsStr) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec()
}

#[cfg(not(unix))]
fn bytes_of(name: &std::ffi::OsStr) -> Vec<u8> {
    name.to_string_lossy().into_owned().into_bytes()
}

#[cfg(unix)]
fn name_of(name: &[u8]) -> std::ffi::OsString {
    std::os::unix::ffi::OsStringExt::from_vec(name.to_vec())
}

#[cfg(not(unix))]
fn name_of(name: &[u8]) -> std::ffi::OsString {
    // A backslash or a colon would lead elsewhere.
    String::from_utf8_lossy(name).replace(['\\', ':'], "_").into()
}

#[cfg(unix)]
fn link(target: &[u8], path: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(name_of(target), path)
}

#[cfg(not(unix))]
fn link(_target: &[u8], _path: &Path) -> io::Result<()> {
    Err(io::Error::other("symbolic links are not made on this system"))
}

#[cfg(test)]
mod tests;
