//! A home in one file, and a home made of it again.
//!
//! The file is an archive of blocks (CARv1) with one root: a directory with what the home cannot get from
//! elsewhere, and `manifest.json`, which says what it is and what is to be fetched again. So the root's CID
//! is about every byte. Specified in `docs/cli.md`, "Backup".
//!
//! Invariants:
//! - Nobody changes the home meanwhile: it is locked.
//! - What a backup is made of never enters the home's own store, from which others read.
//! - Nothing is placed before all of it was checked, and nothing that is there is overwritten.
//! - Of a validator among others no home is made that could contradict what its key has signed.
//!
//! Not here: who asks for it (`cli`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use chain::chain::Chain;
use chain::store::Store;
use consensus::start::fall_silent;
use ledger::genesis::Genesis;
use serde_json::{Value, json};
use store::blobs::{Blobs, StoreError};
use store::car::{self, CarError};
use store::cid::Cid;
use store::directory::{self, Entry};
use store::index::Index;
use store::walk::Scope;

use crate::folder::{self, FolderError, Taking, Writing};
use crate::home::{Home, Lock};
use crate::ledger::FILE as LEDGER;
use crate::models::Models;
use crate::space;

/// What goes into a backup, by its name in the home. Not the store and the models, which are fetched again
/// by their CIDs; not what others have been promised of them (`copies`); not the channels to workers
/// (`paid`), of which an old state would grant what was granted already.
const PARTS: [&str; 11] = [
    "config.toml",
    "wallets",
    "keys",
    "api",
    "receipts",
    "earned",
    "audits",
    "network",
    "texts",
    "worker",
    "ledger",
];
/// Of the ledger: not the agreement's journal, which must not be an old one.
const LEDGER_PARTS: [&str; 3] = ["genesis.toml", "node.key", LEDGER];
const MANIFEST: &str = "manifest.json";
/// Bytes of the manifest, at most: some thousand models and pins.
const MANIFEST_SIZE_MAX: u64 = 1 << 20;
/// The edition of the manifest.
const VERSION: u64 = 1;

/// Why there is no backup, or no home of one.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// A file cannot be read or written.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder cannot be taken in or written out.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The archive is none, or not whole.
    #[error(transparent)]
    Archive(#[from] CarError),
    /// Blocks cannot be kept on the way.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The home's ledger cannot be read.
    #[error("the ledger of this home: {0}")]
    Ledger(String),
    /// There is something where the home is to be.
    #[error("{} is there already, and nothing is overwritten; choose a new place with --home", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// A part of the home is somewhere else.
    #[error("{} is a symbolic link, and a backup has none; put what it leads to in its place", path.display())]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// It is an archive, and no backup.
    #[error("it is no backup of a home: {0}")]
    Foreign(String),
    /// It is another backup than the one that is wanted.
    #[error("it is the backup {found}, not {wanted}")]
    Other {
        /// Its root.
        found: Cid,
        /// The root that is wanted.
        wanted: Cid,
    },
    /// It is of a validator, which may have signed more since.
    #[error(
        "it is of a validator, {key}, at height {height}, one of {count}; what its key has signed since is not in it, and to contradict that loses its bond. Make sure that the old machine never runs again; then take the height H that another node's `mashaa ledger status` shows, and give --silent-until H+2"
    )]
    Validator {
        /// The node's key.
        key: String,
        /// The height of its ledger.
        height: u64,
        /// How many validators there are.
        count: u64,
    },
}

/// How a home is made again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// The root that the backup must have, if that is known.
    pub root: Option<Cid>,
    /// The height up to which the node signs nothing, if it is a validator.
    pub silent_until: Option<u64>,
}

fn at(path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_path_buf();
    move |source| BackupError::File { path: path.clone(), source }
}

/// Writes a backup to a new file that only its owner can read: it has keys. Gives its root and manifest.
///
/// # Errors
/// When something cannot be read or written; then there is no file.
pub fn make(
    home: &Home,
    _lock: &Lock,
    genesis: Option<&Genesis>,
    (file, now): (&Path, u64),
) -> Result<(Cid, Value), BackupError> {
    let manifest = manifest(home, genesis, now)?;
    let scratch = home.work().join("backup");
    // Of a run that was killed.
    remove(&scratch)?;
    private_folder(&scratch)?;
    let made = pack(home, &scratch, (&manifest, file));
    remove(&scratch)?;
    Ok((made?, manifest))
}

fn pack(
    home: &Home,
    scratch: &Path,
    (manifest, file): (&Value, &Path),
) -> Result<Cid, BackupError> {
    let blobs = Blobs::open(scratch.join("blobs"))?;
    let mut entries = BTreeMap::new();
    for name in PARTS {
        let path = home.path().join(name);
        if name == "ledger" {
            let parts = LEDGER_PARTS.into_iter().map(|part| (part, path.join(part)));
            let mut within = BTreeMap::new();
            for (part, path) in parts.filter(|(_, path)| path.exists()) {
                within.insert(part.as_bytes().to_vec(), take_in(&blobs, &path)?);
            }
            entries.insert(name.as_bytes().to_vec(), keep(&blobs, &within)?);
        } else if path.exists() {
            entries.insert(name.as_bytes().to_vec(), take_in(&blobs, &path)?);
        }
    }
    let told = scratch.join(MANIFEST);
    fs::write(&told, manifest.to_string()).map_err(at(&told))?;
    entries.insert(MANIFEST.as_bytes().to_vec(), take_in(&blobs, &told)?);
    let root = keep(&blobs, &entries)?.cid;
    let written = write(&blobs, &root, file);
    if written.is_err() && !matches!(&written, Err(BackupError::Exists { .. })) {
        // Half an archive is of no use.
        drop(fs::remove_file(file));
    }
    written.map(|()| root)
}

fn take_in(blobs: &Blobs, path: &Path) -> Result<Entry, BackupError> {
    expect_no_links(path)?;
    let room = space::free(blobs.dir()).unwrap_or(u64::MAX);
    Ok(folder::add(blobs, path, Taking { hidden: true, room })?)
}

/// Refuses a symbolic link: what it leads to would not be in the backup.
fn expect_no_links(path: &Path) -> Result<(), BackupError> {
    let kind = fs::symlink_metadata(path).map_err(at(path))?.file_type();
    if kind.is_symlink() {
        return Err(BackupError::Link { path: path.to_path_buf() });
    }
    if kind.is_dir() {
        for entry in fs::read_dir(path).map_err(at(path))? {
            expect_no_links(&entry.map_err(at(path))?.path())?;
        }
    }
    Ok(())
}

fn keep(blobs: &Blobs, entries: &BTreeMap<Vec<u8>, Entry>) -> Result<Entry, BackupError> {
    let made = directory::make(entries);
    let made = made.map_err(|error| BackupError::Foreign(error.to_string()))?;
    for (cid, block) in &made.blocks {
        blobs.put_node(cid, block)?;
    }
    Ok(made.entry)
}

fn write(blobs: &Blobs, root: &Cid, file: &Path) -> Result<(), BackupError> {
    let index = Index::open(blobs.clone())?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let opened = options.open(file).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists { path: file.to_path_buf() },
        _ => at(file)(error),
    })?;
    let mut out = BufWriter::with_capacity(1 << 20, opened);
    car::export(&index, root, &Scope::All, &mut out)?;
    out.flush().map_err(at(file))?;
    out.get_ref().sync_all().map_err(at(file))
}

/// What the backup says of itself.
fn manifest(home: &Home, genesis: Option<&Genesis>, now: u64) -> Result<Value, BackupError> {
    let models = Models::of(home).list();
    let models = models.map_err(|error| BackupError::Foreign(error.to_string()))?;
    let models: Vec<Value> =
        models.iter().map(|it| json!({"name": it.name, "artifact": it.artifact})).collect();
    let pins = Blobs::open(home.blobs())?.pins()?;
    let pins: Vec<Value> =
        pins.iter().map(|it| json!({"cid": it.cid.to_string(), "name": it.name})).collect();
    let ledger = genesis.map_or(Ok(Value::Null), |genesis| standing(home, genesis))?;
    Ok(json!({
        "what": "mashaa home", "version": VERSION, "made": now, "program": env!("CARGO_PKG_VERSION"),
        "models": models, "pins": pins, "ledger": ledger,
    }))
}

/// Where the ledger of a home is, and what its node is there.
fn standing(home: &Home, genesis: &Genesis) -> Result<Value, BackupError> {
    let wrong = |error: &dyn std::fmt::Display| BackupError::Ledger(error.to_string());
    let path = home.ledger().join(LEDGER);
    let secret = home.ledger().join("node.key");
    if !path.exists() || !secret.exists() {
        return Ok(Value::Null);
    }
    let key = crate::ledger::node_key::open(&secret).map_err(|error| wrong(&error))?.key();
    let store = Store::open(&path).map_err(|error| wrong(&error))?;
    let mut chain = Chain::open(store, genesis, 1).map_err(|error| wrong(&error))?;
    let height = chain.tip().height.0;
    let state = chain.state();
    Ok(json!({
        "network": genesis.hash().to_string(), "node": key.to_string(), "height": height,
        "validators": state.all_validators().count(),
        "is_validator": state.validator(&key).is_some(),
    }))
}

/// Makes a home of a backup, at a place where nothing is yet. Gives the root and the manifest.
///
/// # Errors
/// When the backup is none, is not whole or another than is wanted, is of a validator among others and
/// nothing is said of its silence, or something is there already; then nothing is placed.
pub fn restore(archive: &Path, to: &Path, options: Options) -> Result<(Cid, Value), BackupError> {
    let is_free = match fs::read_dir(to) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if !is_free {
        return Err(BackupError::Exists { path: to.to_path_buf() });
    }
    let mut scratch = to.as_os_str().to_owned();
    scratch.push(".part");
    let scratch = PathBuf::from(scratch);
    if let Some(parent) = to.parent().filter(|it| !it.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(at(parent))?;
    }
    DirBuilder::new().create(&scratch).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists { path: scratch.clone() },
        _ => at(&scratch)(error),
    })?;
    let restored = unpack(archive, &scratch, options).and_then(|(root, manifest, home)| {
        fs::rename(&home, to).map_err(at(to))?;
        Ok((root, manifest))
    });
    remove(&scratch)?;
    restored
}

fn unpack(
    archive: &Path,
    scratch: &Path,
    options: Options,
) -> Result<(Cid, Value, PathBuf), BackupError> {
    make_private(scratch, 0o700)?;
    let blobs = Blobs::open(scratch.join("blobs"))?;
    let mut file = File::open(archive).map_err(at(archive))?;
    let room = space::free(scratch).unwrap_or(u64::MAX);
    let imported = car::import(&blobs, &mut file, room)?;
    let [root] = imported.roots[..] else {
        return Err(BackupError::Foreign("it has not one root".to_owned()));
    };
    if let Some(wanted) = options.root.filter(|wanted| *wanted != root) {
        return Err(BackupError::Other { found: root, wanted });
    }
    let home = scratch.join("home");
    folder::write_out(&Index::open(blobs)?, &root, &home, Writing::default())?;
    check_names(&home)?;
    let manifest = read_manifest(&home.join(MANIFEST))?;
    let silent = silence(&manifest, options.silent_until)?;
    protect(&home)?;
    fs::remove_file(home.join(MANIFEST)).map_err(at(&home))?;
    if let Some(height) = silent {
        let agreement = home.join("ledger").join("agreement");
        private_folder(&agreement)?;
        fall_silent(&agreement, height).map_err(at(&agreement))?;
    }
    Ok((root, manifest, home))
}

/// Whether all that is there may be in a home: a backup that somebody made up places nothing else.
fn check_names(home: &Path) -> Result<(), BackupError> {
    let known = BTreeSet::from_iter(PARTS.into_iter().chain([MANIFEST]));
    let within = BTreeSet::from_iter(LEDGER_PARTS);
    for (folder, known) in [(home.to_path_buf(), known), (home.join("ledger"), within)] {
        if !folder.is_dir() {
            let what = format!("{} is no folder", folder.display());
            return Err(BackupError::Foreign(what));
        }
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let name = entry.map_err(at(&folder))?.file_name();
            if !name.to_str().is_some_and(|name| known.contains(name)) {
                let what = format!("{} is no part of a home", name.display());
                return Err(BackupError::Foreign(what));
            }
        }
    }
    Ok(())
}

fn read_manifest(path: &Path) -> Result<Value, BackupError> {
    let foreign = |what: &str| BackupError::Foreign(what.to_owned());
    let metadata = fs::symlink_metadata(path).map_err(|_| foreign("it has no manifest"))?;
    if !metadata.is_file() || metadata.len() > MANIFEST_SIZE_MAX {
        return Err(foreign("its manifest is no file, or too large"));
    }
    let text = fs::read_to_string(path).map_err(at(path))?;
    let manifest: Value =
        serde_json::from_str(&text).map_err(|_| foreign("its manifest is no JSON"))?;
    if manifest["what"] != "mashaa home" {
        return Err(foreign("its manifest is of something else"));
    }
    match manifest["version"].as_u64() {
        Some(VERSION) => Ok(manifest),
        _ => Err(BackupError::Foreign(format!(
            "it is of version {}, and this program reads {VERSION}",
            manifest["version"]
        ))),
    }
}

/// The height up to which the node must sign nothing.
fn silence(manifest: &Value, said: Option<u64>) -> Result<Option<u64>, BackupError> {
    let ledger = &manifest["ledger"];
    let height = ledger["height"].as_u64().unwrap_or(0);
    let count = ledger["validators"].as_u64().unwrap_or(0);
    // Whoever is alone contradicts nobody but the machine that it was.
    let is_among_others = ledger["is_validator"] == true && count > 1;
    match said {
        Some(said) => Ok(Some(said)),
        None if !is_among_others => Ok(None),
        None => {
            let key = ledger["node"].as_str().unwrap_or("unknown").to_owned();
            Err(BackupError::Validator { key, height, count })
        }
    }
}

/// Lets only the owner read all of it: an archive has no modes, and keys must be private.
fn protect(path: &Path) -> Result<(), BackupError> {
    let kind = fs::symlink_metadata(path).map_err(at(path))?.file_type();
    if kind.is_symlink() {
        return Err(BackupError::Foreign("it has a symbolic link".to_owned()));
    }
    if !kind.is_dir() {
        make_private(path, 0o600)?;
        let file = OpenOptions::new().write(true).open(path);
        return file.and_then(|file| file.sync_all()).map_err(at(path));
    }
    make_private(path, 0o700)?;
    for entry in fs::read_dir(path).map_err(at(path))? {
        protect(&entry.map_err(at(path))?.path())?;
    }
    Ok(())
}

fn private_folder(path: &Path) -> Result<(), BackupError> {
    fs::create_dir_all(path).map_err(at(path))?;
    make_private(path, 0o700)
}

#[cfg(unix)]
fn make_private(path: &Path, mode: u32) -> Result<(), BackupError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(at(path))
}

#[cfg(not(unix))]
fn make_private(_path: &Path, _mode: u32) -> Result<(), BackupError> {
    Ok(())
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}
