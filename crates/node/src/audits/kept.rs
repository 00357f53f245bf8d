//! What of an audit the ledger does not know, on the disk before the order that needs it leaves.
//!
//! ```text
//! audits/BATCH-INDEX   what an auditor has found, its salt, and what the worker gave it
//! ```
//!
//! Invariants:
//! - A commitment that the ledger may have can be revealed, whenever the process is killed.
//! - There is a file for each audit that is not over, at most.
//!
//! Not here: what is found (`auditor`).

use std::fs;
use std::io;
use std::path::PathBuf;

use ledger::audits::{Key, commitment};
use store::whole::replace;
use types::codec::{decode, encode};
use types::id::{Address, Hash};
use types::record;
use types::transaction::{Action, CommitVerdict, OpenPayload, RevealVerdict};
use types::word::Finding;

record! {
    /// What an auditor has found about a receipt.
    Verdict {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// What was found.
        finding: Finding,
        /// The root that was computed; zeros where none was.
        root: Hash,
        /// What hides the finding until it is revealed.
        salt: Hash,
        /// What the worker gave; none where the ledger has it, or nothing was wanted.
        given: Option<OpenPayload>,
    }
}

/// A folder of verdicts.
#[derive(Debug)]
pub(super) struct Kept {
    folder: PathBuf,
}

impl Verdict {
    /// The order that commits to it.
    pub(super) fn commit(&self, auditor: &Address) -> Action {
        let Verdict { batch, index, finding, root, salt, .. } = self;
        let hash = commitment(auditor, (*batch, *index), (*finding, root), salt);
        Action::CommitVerdict(CommitVerdict { batch: *batch, index: *index, hash })
    }

    /// The order that reveals it.
    pub(super) fn reveal(&self) -> Action {
        let Verdict { batch, index, finding, root, salt, .. } = *self;
        Action::RevealVerdict(RevealVerdict { batch, index, finding, root, salt })
    }
}

impl Kept {
    pub(super) fn new(folder: PathBuf) -> Kept {
        Kept { folder }
    }

    /// Keeps a verdict.
    pub(super) fn put(&self, verdict: &Verdict) -> io::Result<()> {
        replace(&self.path((verdict.batch, verdict.index)), &encode(verdict))
    }

    /// The verdict of an audit, if one was kept.
    pub(super) fn get(&self, key: Key) -> Option<Verdict> {
        let bytes = fs::read(self.path(key)).ok()?;
        let verdict = decode::<Verdict>(&bytes);
        let read = verdict.inspect_err(|error| {
            tracing::error!(batch = key.0, index = key.1, %error, "a kept verdict is none");
        });
        read.ok().filter(|it| (it.batch, it.index) == key)
    }

    /// Lets those go whose audits are over.
    pub(super) fn forget(&self, is_open: impl Fn(Key) -> bool) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(key) = name.and_then(parse) else { continue };
            if !is_open(key)
                && let Err(error) = fs::remove_file(&path)
            {
                tracing::warn!(path = %path.display(), %error, "a verdict stays");
            }
        }
    }

    fn path(&self, (batch, index): Key) -> PathBuf {
        self.folder.join(format!("{batch}-{index}"))
    }
}

fn parse(name: &str) -> Option<Key> {
    let (batch, index) = name.split_once('-')?;
    Some((batch.parse().ok()?, index.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    fn verdict(batch: u64, index: u32) -> Verdict {
        let (root, salt) = (Hash([1; 32]), Hash([2; 32]));
        Verdict { batch, index, finding: Finding::Match, root, salt, given: None }
    }

    #[test]
    fn a_verdict_is_read_back_until_its_audit_is_over() {
        let folder = tempdir().unwrap();
        let kept = Kept::new(folder.path().join("audits"));
        kept.forget(|_| false);
        assert_eq!(kept.get((1, 0)), None);
        for (batch, index) in [(1, 0), (1, 2)] {
            kept.put(&verdict(batch, index)).unwrap();
        }
        let again = Kept::new(folder.path().join("audits"));
        assert_eq!(again.get((1, 2)), Some(verdict(1, 2)));
        again.forget(|key| key == (1, 2));
        assert_eq!(again.get((1, 0)), None);
        fs::copy(again.path((1, 2)), again.path((1, 3))).unwrap();
        assert_eq!(again.get((1, 3)), None, "another audit's");
        fs::write(again.path((1, 2)), b"half").unwrap();
        assert_eq!(again.get((1, 2)), None, "no verdict");
    }

    #[test]
    fn what_is_revealed_is_what_was_committed_to() {
        let (auditor, it) = (Address([3; 20]), verdict(4, 5));
        let Action::CommitVerdict(committed) = it.commit(&auditor) else { unreachable!() };
        let Action::RevealVerdict(revealed) = it.reveal() else { unreachable!() };
        let said = (revealed.finding, &revealed.root);
        let hash = commitment(&auditor, (revealed.batch, revealed.index), said, &revealed.salt);
        assert_eq!(committed.hash, hash);
    }
}
