//! Get a model's source onto this machine.
//!
//! The user's own file comes first, then the mirrors of the catalogue in turn. Nobody is trusted:
//! whoever delivers, the content's hash decides, and one who delivers something else is named.
//!
//! Invariants:
//! - Nothing gets the source's name among the blobs but the source.
//! - Bytes that arrived are kept over failures, kills and mirrors, until they turn out wrong.
//! - Bytes that an earlier attempt left are never held against the mirror that completed them.
//!
//! Not here: how a mirror is talked to; importing the source.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use store::blobs::{Blobs, StoreError};

use crate::catalogue::{Mirror, SourceEntry};
use crate::mirror::file;
use crate::mirror::http::{self, Patience};
use crate::mirror::wheel::{self, PYTHONS, Wheels};
use crate::mirror::{Delivery, MirrorError};
use crate::source::{Source, SourceError};
use crate::space;

/// What happens while a source is fetched, for whoever shows it.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A mirror is asked.
    Trying {
        /// The mirror's name.
        mirror: &'a str,
    },
    /// A Python package is fetched, silently until it is there.
    Package {
        /// Its name and version.
        package: &'a str,
    },
    /// Bytes arrived. Told often.
    Received {
        /// Bytes here, those of earlier attempts included.
        done: u64,
        /// Bytes of the whole source.
        total: u64,
    },
    /// All bytes are here and are hashed.
    Checking,
    /// A mirror did not deliver; the next one is asked.
    Failed {
        /// The mirror's name.
        mirror: &'a str,
        /// What went wrong.
        reason: &'a MirrorError,
    },
}

/// Why a source is not here.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The blobs' folder is unusable, or another process fetches the source: no mirror can help.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The list of the files cannot be kept.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The files do not make the list that the catalogue names: a fault of the catalogue.
    #[error("the files of {file} make the list {made}, and the catalogue names {cid}")]
    List {
        /// The source's usual name.
        file: String,
        /// What the catalogue names.
        cid: store::cid::Cid,
        /// What the files make.
        made: store::cid::Cid,
    },
    /// No mirror delivered.
    #[error("no mirror has delivered {file} ({cid}):{}", Failures(failures))]
    Nobody {
        /// The source's usual file name.
        file: String,
        /// Its content.
        cid: store::cid::Cid,
        /// Each mirror's name, and what went wrong there.
        failures: Vec<(String, MirrorError)>,
    },
}

/// Shows each failure on a line of its own, with its causes.
struct Failures<'a>(&'a [(String, MirrorError)]);

impl fmt::Display for Failures<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (mirror, reason) in self.0 {
            write!(f, "\n  {mirror}: {}", reason.with_causes())?;
        }
        Ok(())
    }
}

/// A place to ask: the user's own, or one of the catalogue.
enum Place<'a> {
    Own(&'a Path),
    Listed(&'a Mirror),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Own(path) => write!(f, "{}", path.display()),
            Place::Listed(Mirror::Http { url }) => f.write_str(url),
            Place::Listed(Mirror::Pip { packages }) => {
                let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
                write!(f, "pip download {}", names.join(" "))
            }
        }
    }
}

/// Makes sure that the source is among the blobs, and tells where.
///
/// `extra` is a file of the user's own, or a folder that has it under its usual name; it is copied.
/// `staging` is a folder for what mirrors need besides the staged blob; it may be deleted at any
/// time when nothing is fetched.
///
/// # Errors
///
/// `Nobody` when no place delivered; `Store` when the blobs' folder is unusable or another process
/// fetches the same source.
pub fn pull_source(
    blobs: &Blobs,
    entry: &SourceEntry,
    extra: Option<&Path>,
    staging: &Path,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, PullError> {
    let wheels = Wheels { dir: staging.join(entry.cid.to_string()), pythons: &PYTHONS };
    if entry.files.is_empty() {
        let path = pull_file(blobs, entry, extra, &wheels, report)?;
        // The packages have served; a leftover does no harm.
        let _ = fs::remove_dir_all(&wheels.dir);
        return Ok(path);
    }
    let mut files = BTreeMap::new();
    for file in &entry.files {
        // One package may hold several of the files, so packages stay until all are here.
        pull_file(blobs, file, extra, &wheels, report)?;
        files.insert(file.file.clone(), file.cid);
    }
    let _ = fs::remove_dir_all(&wheels.dir);
    let cid = Source::keep_list(blobs, &files)?;
    match cid == entry.cid {
        true => Ok(blobs.path(&cid)),
        false => Err(PullError::List { file: entry.file.clone(), cid: entry.cid, made: cid }),
    }
}

/// Makes sure that one file is among the blobs, and tells where.
fn pull_file(
    blobs: &Blobs,
    entry: &SourceEntry,
    extra: Option<&Path>,
    wheels: &Wheels<'_>,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<PathBuf, PullError> {
    if blobs.contains(&entry.cid) {
        return Ok(blobs.path(&entry.cid));
    }
    let listed = entry.mirrors.iter().map(Place::Listed);
    let mut failures = Vec::new();
    for place in extra.map(Place::Own).into_iter().chain(listed) {
        let name = place.to_string();
        report(Progress::Trying { mirror: &name });
        match deliver(blobs, entry, &place, wheels, report) {
            Ok(()) => return Ok(blobs.path(&entry.cid)),
            Err(MirrorError::Store(error)) if !matches!(error, StoreError::Mismatch { .. }) => {
                return Err(error.into());
            }
            Err(reason) => {
                report(Progress::Failed { mirror: &name, reason: &reason });
                failures.push((name, reason));
            }
        }
    }
    Err(PullError::Nobody { file: entry.file.clone(), cid: entry.cid, failures })
}

/// Has one place fill the staged blob, and commits it.
fn deliver(
    blobs: &Blobs,
    entry: &SourceEntry,
    place: &Place<'_>,
    wheels: &Wheels<'_>,
    report: &mut dyn FnMut(Progress<'_>),
) -> Result<(), MirrorError> {
    loop {
        let mut staged = blobs.stage(&entry.cid)?;
        let mut delivery = Delivery::new(&mut staged, entry.size, report);
        expect_room(blobs, entry, place, delivery.missing())?;
        ask(place, entry, wheels, &mut delivery)?;
        let carried_over = delivery.carried_over();
        report(Progress::Checking);
        match staged.commit() {
            // The wrong bytes are gone now, so this comes round once at most.
            Err(StoreError::Mismatch { .. }) if carried_over => {}
            Err(error) => {
                // The packages are the wrong ones; a leftover does no harm.
                let _ = fs::remove_dir_all(&wheels.dir);
                return Err(error.into());
            }
            Ok(_) => return Ok(()),
        }
    }
}

/// Refuses to begin what the disk has no room for. Packages lie beside the source until it is whole;
/// they are compressed, so they take no more than it does.
fn expect_room(
    blobs: &Blobs,
    entry: &SourceEntry,
    place: &Place<'_>,
    missing: u64,
) -> Result<(), MirrorError> {
    let packages = if let Place::Listed(Mirror::Pip { .. }) = place { entry.size } else { 0 };
    let needed = missing.saturating_add(packages);
    match blobs.path(&entry.cid).parent().and_then(space::free) {
        Some(free) if free < needed => Err(MirrorError::Room { needed, free }),
        _ => Ok(()),
    }
}

fn ask(
    place: &Place<'_>,
    entry: &SourceEntry,
    wheels: &Wheels<'_>,
    delivery: &mut Delivery<'_>,
) -> Result<(), MirrorError> {
    match place {
        Place::Own(path) => file::fetch(path, &entry.file, delivery),
        Place::Listed(Mirror::Http { url }) => http::fetch(url, Patience::usual(), delivery),
        Place::Listed(Mirror::Pip { packages }) => wheel::fetch(packages, wheels, delivery),
    }
}
