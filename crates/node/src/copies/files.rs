//! What a node keeps of copies, in the folder `copies/` of its home.
//!
//! ```text
//! wanted/CID           how available a pin is to be; the owner's word
//! pins/CID.toml        who keeps copies of it, and what was repaired
//! leases/CID-NODE.toml what this node keeps for another, and until when
//! uptimes.toml         how often the others were there
//! ```
//!
//! Invariants:
//! - A file is replaced whole, by one rename.
//! - The number of files of a kind and their sizes have limits.
//!
//! Not here: what follows from them (`care`, `keeper`).

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use store::cid::Cid;
use types::id::Hash;

use super::care::{Care, Keeper};
use super::chance::Wanted;
use super::uptime::Uptime;
use crate::home::Home;
use crate::remembered::{RememberedError, read, remove, write};

/// Pins that are to be available, at most: each is looked at every time the others are.
pub const WANTED_MAX: usize = 1024;
/// Things that this node keeps for others, at most.
pub const LEASES_MAX: usize = 4096;
/// Nodes whose uptime is known, at most; those that were seen least go first.
pub const UPTIMES_MAX: usize = 256;
/// Bytes of one small file, at most: 32 keepers and as many that are not asked, of 200 bytes each.
const FILE_SIZE_MAX: u64 = 64 << 10;
/// Bytes of the file of uptimes, at most: 256 nodes with 30 days of 30 bytes.
const UPTIMES_SIZE_MAX: u64 = 1 << 20;

/// Why something was not kept.
#[derive(Debug, thiserror::Error)]
pub enum CopiesError {
    /// A file failed.
    #[error(transparent)]
    File(#[from] RememberedError),
    /// There are too many of them.
    #[error(
        "{WANTED_MAX} pins are to be available already; unpin some, or pin this one here alone"
    )]
    TooMany,
}

/// What this node keeps for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What.
    pub cid: Cid,
    /// For whom.
    pub node: Hash,
    /// Bytes that were set aside for it.
    pub size: u64,
    /// Until when, in milliseconds since 1970.
    pub until: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseFile {
    cid: String,
    node: String,
    size: u64,
    until: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WantedFile {
    millionths: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CareFile {
    size: u64,
    millionths: u32,
    repairs: u64,
    releases: u64,
    owed: u64,
    estimate: u32,
    #[serde(default)]
    keepers: BTreeMap<String, KeeperFile>,
    #[serde(default)]
    shunned: BTreeMap<String, u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeeperFile {
    lease: u64,
    checked: u64,
    seen: u64,
    lost: bool,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct UptimesFile {
    #[serde(default)]
    nodes: BTreeMap<String, Uptime>,
}

/// The folder.
#[derive(Clone, Debug)]
pub struct Files(PathBuf);

impl Files {
    /// The folder of a home.
    #[must_use]
    pub fn of(home: &Home) -> Files {
        Files(home.path().join("copies"))
    }

    /// How available a pin is to be; none if nobody said.
    ///
    /// # Errors
    /// When its file cannot be read or is not one.
    pub fn wanted_of(&self, cid: &Cid) -> Result<Option<Wanted>, CopiesError> {
        let path = self.wanted_path(cid);
        let Some(file) = read::<WantedFile>(&path, FILE_SIZE_MAX)? else { return Ok(None) };
        let nonsense = || nonsense(&path, format!("{} is no availability", file.millionths));
        Ok(Some(Wanted::new(file.millionths).ok_or_else(nonsense)?))
    }

    /// What is to be available, and how much.
    ///
    /// # Errors
    /// When a file cannot be read or is not one.
    pub fn wanted(&self) -> Result<BTreeMap<Cid, Wanted>, CopiesError> {
        let mut all = BTreeMap::new();
        for name in names(&self.0.join("wanted"))? {
            let Ok(cid) = name.parse() else { continue };
            // Taken away since it was listed, or too many: a person put them there.
            if let Some(wanted) = self.wanted_of(&cid)?
                && all.len() < WANTED_MAX
            {
                all.insert(cid, wanted);
            }
        }
        Ok(all)
    }

    /// Says how available a pin is to be; none: nothing is asked of others.
    ///
    /// # Errors
    /// When there are too many, or the file cannot be written.
    pub fn set_wanted(&self, cid: &Cid, wanted: Option<Wanted>) -> Result<(), CopiesError> {
        let path = self.wanted_path(cid);
        let Some(wanted) = wanted else { return Ok(remove(path)?) };
        if !path.is_file() && names(&self.0.join("wanted"))?.len() >= WANTED_MAX {
            return Err(CopiesError::TooMany);
        }
        Ok(write(path, &WantedFile { millionths: wanted.millionths() })?)
    }

    fn wanted_path(&self, cid: &Cid) -> PathBuf {
        self.0.join("wanted").join(cid.to_string())
    }

    fn care_path(&self, cid: &Cid) -> PathBuf {
        self.0.join("pins").join(format!("{cid}.toml"))
    }

    /// Who keeps copies of a pin; none if nobody was asked.
    ///
    /// # Errors
    /// When its file cannot be read or is not one.
    pub fn care(&self, cid: &Cid) -> Result<Option<Care>, CopiesError> {
        let path = self.care_path(cid);
        let Some(file) = read::<CareFile>(&path, FILE_SIZE_MAX)? else { return Ok(None) };
        let node = |text: &str| {
            Hash::parse(text).ok_or_else(|| nonsense(&path, format!("{text:?} is no node")))
        };
        let wanted = Wanted::new(file.millionths);
        let wanted = wanted.ok_or_else(|| nonsense(&path, "no availability".to_owned()))?;
        let mut care = Care::new(file.size, wanted);
        (care.repairs, care.releases) = (file.repairs, file.releases);
        (care.owed, care.estimate) = (file.owed, file.estimate);
        for (name, KeeperFile { lease, checked, seen, lost }) in file.keepers {
            care.keepers.insert(node(&name)?, Keeper { lease, checked, seen, lost });
        }
        for (name, until) in file.shunned {
            care.shunned.insert(node(&name)?, until);
        }
        Ok(Some(care))
    }

    /// The pins of which copies were asked for.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn cared_for(&self) -> Result<Vec<Cid>, CopiesError> {
        let names = names(&self.0.join("pins"))?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".toml")?.parse().ok()).collect())
    }

    /// Keeps who keeps copies of a pin.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_care(&self, cid: &Cid, care: &Care) -> Result<(), CopiesError> {
        let keepers = care.keepers.iter().map(|(node, it)| {
            let Keeper { lease, checked, seen, lost } = *it;
            (node.to_string(), KeeperFile { lease, checked, seen, lost })
        });
        let file = CareFile {
            size: care.size,
            millionths: care.wanted.millionths(),
            repairs: care.repairs,
            releases: care.releases,
            owed: care.owed,
            estimate: care.estimate,
            keepers: keepers.collect(),
            shunned: care.shunned.iter().map(|(node, it)| (node.to_string(), *it)).collect(),
        };
        Ok(write(self.care_path(cid), &file)?)
    }

    /// Forgets who keeps copies of what is no pin any more.
    ///
    /// # Errors
    /// When the file cannot be deleted.
    pub fn forget_care(&self, cid: &Cid) -> Result<(), CopiesError> {
        Ok(remove(self.care_path(cid))?)
    }

    /// What this node keeps for others, whether or not the time is over.
    ///
    /// # Errors
    /// When a file cannot be read or is not one.
    pub fn leases(&self) -> Result<Vec<Lease>, CopiesError> {
        let folder = self.0.join("leases");
        let mut leases = Vec::new();
        for name in names(&folder)?.iter().filter(|name| name.ends_with(".toml")) {
            let path = folder.join(name);
            let Some(file) = read::<LeaseFile>(&path, FILE_SIZE_MAX)? else { continue };
            let wrong = || nonsense(&path, "its CID or node is none".to_owned());
            leases.push(Lease {
                cid: file.cid.parse().map_err(|_| wrong())?,
                node: Hash::parse(&file.node).ok_or_else(wrong)?,
                size: file.size,
                until: file.until,
            });
        }
        Ok(leases)
    }

    /// Keeps a lease.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_lease(&self, lease: &Lease) -> Result<(), CopiesError> {
        let Lease { cid, node, size, until } = *lease;
        let file = LeaseFile { cid: cid.to_string(), node: node.to_string(), size, until };
        Ok(write(self.lease_path(&cid, &node), &file)?)
    }

    /// Ends a lease.
    ///
    /// # Errors
    /// When the file cannot be deleted.
    pub fn end_lease(&self, cid: &Cid, node: &Hash) -> Result<(), CopiesError> {
        Ok(remove(self.lease_path(cid, node))?)
    }

    fn lease_path(&self, cid: &Cid, node: &Hash) -> PathBuf {
        self.0.join("leases").join(format!("{cid}-{node}.toml"))
    }

    /// How often the others were there.
    ///
    /// # Errors
    /// When the file cannot be read or is not one.
    pub fn uptimes(&self) -> Result<BTreeMap<Hash, Uptime>, CopiesError> {
        let path = self.0.join("uptimes.toml");
        let file: UptimesFile = read(&path, UPTIMES_SIZE_MAX)?.unwrap_or_default();
        let mut uptimes = BTreeMap::new();
        for (name, uptime) in file.nodes.into_iter().take(UPTIMES_MAX) {
            let node = Hash::parse(&name);
            let node = node.ok_or_else(|| nonsense(&path, format!("{name:?} is no node")))?;
            uptimes.insert(node, uptime);
        }
        Ok(uptimes)
    }

    /// Keeps how often the others were there.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn keep_uptimes(&self, uptimes: &BTreeMap<Hash, Uptime>) -> Result<(), CopiesError> {
        let nodes = uptimes.iter().map(|(node, it)| (node.to_string(), it.clone())).collect();
        Ok(write(self.0.join("uptimes.toml"), &UptimesFile { nodes })?)
    }
}

fn nonsense(path: &Path, what: String) -> RememberedError {
    RememberedError::Nonsense { path: path.to_path_buf(), what }
}

/// The names in a folder, which need not be there.
fn names(folder: &Path) -> Result<Vec<String>, RememberedError> {
    let wrong = |source| RememberedError::File { path: folder.to_path_buf(), source };
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(wrong)?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect::<Result<_, _>>().map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (tempfile::TempDir, Files) {
        let folder = tempfile::tempdir().unwrap();
        let files = Files(folder.path().join("copies"));
        (folder, files)
    }

    #[test]
    fn everything_is_read_back_as_it_was_kept() {
        let (_folder, files) = files();
        let (cid, node) = (Cid::of(b"a"), Hash([1; 32]));
        assert!(files.wanted().unwrap().is_empty() && files.leases().unwrap().is_empty());
        let wanted: Wanted = "0.999".parse().unwrap();
        files.set_wanted(&cid, Some(wanted)).unwrap();
        assert_eq!(files.wanted().unwrap(), [(cid, wanted)].into());
        let mut care = Care::new(7, wanted);
        care.keepers.insert(node, Keeper { lease: 1, checked: 2, seen: 3, lost: true });
        care.shunned.insert(Hash([2; 32]), 9);
        (care.repairs, care.releases, care.owed, care.estimate) = (4, 5, 6, 7);
        files.keep_care(&cid, &care).unwrap();
        assert_eq!(files.care(&cid).unwrap(), Some(care));
        assert_eq!(files.cared_for().unwrap(), [cid]);
        let lease = Lease { cid, node, size: 5, until: 6 };
        files.keep_lease(&lease).unwrap();
        assert_eq!(files.leases().unwrap(), [lease]);
        let mut uptime = Uptime::default();
        uptime.book(true, 5);
        files.keep_uptimes(&[(node, uptime.clone())].into()).unwrap();
        assert_eq!(files.uptimes().unwrap(), [(node, uptime)].into());
        files.set_wanted(&cid, None).unwrap();
        files.forget_care(&cid).unwrap();
        files.end_lease(&cid, &node).unwrap();
        assert!(files.wanted().unwrap().is_empty() && files.leases().unwrap().is_empty());
        assert_eq!(files.care(&cid).unwrap(), None);
    }

    #[test]
    fn a_file_that_says_something_else_is_refused_by_its_name() {
        let (_folder, files) = files();
        let cid = Cid::of(b"a");
        for name in ["wanted", "pins", "leases"] {
            std::fs::create_dir_all(files.0.join(name)).unwrap();
        }
        let lease = "cid = \"b\"\nnode = \"0x\"\nsize = 1\nuntil = 1\n";
        std::fs::write(files.0.join("leases/x.toml"), lease).unwrap();
        assert!(files.leases().unwrap_err().to_string().contains("x.toml"));
        std::fs::write(files.wanted_path(&cid), "millionths = 1000000").unwrap();
        assert!(files.wanted().unwrap_err().to_string().contains(&cid.to_string()));
        std::fs::write(files.care_path(&cid), "size = -1").unwrap();
        assert!(files.care(&cid).is_err());
        std::fs::write(files.0.join("uptimes.toml"), "[nodes.0x12]\ndays = []\n").unwrap();
        assert!(files.uptimes().unwrap_err().to_string().contains("0x12"));
    }

    #[test]
    fn no_more_pins_are_to_be_available_than_the_limit() {
        let (_folder, files) = files();
        let wanted = "0.9".parse().ok();
        for number in 0..WANTED_MAX as u32 {
            files.set_wanted(&Cid::of(&number.to_le_bytes()), wanted).unwrap();
        }
        let more = files.set_wanted(&Cid::of(b"more"), wanted);
        assert!(matches!(more, Err(CopiesError::TooMany)), "{more:?}");
        files.set_wanted(&Cid::of(&[0; 4]), "0.8".parse().ok()).unwrap();
    }
}
