//! A pull that is killed at any moment leaves nothing wrong, and a later one completes.
//!
//! The test runs itself as a child, which pulls and tells how far it has come; then the child is
//! killed. No clock is involved: the moments are counted in bytes.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use node::catalogue::{Mirror, SourceEntry};
use node::pull::{Progress, pull_source};
use store::blobs::Blobs;
use store::cid::Cid;

use crate::server::{Behaviour, Random, Server, noise};

const ROUND_COUNT: usize = 50;
const SIZE: usize = 6_000_000;
const FILE_SEED: u64 = 7;
const KILL_SEED: u64 = 11;

/// Set for the child: the folder to pull into.
const DIR: &str = "MASHAA_TEST_PULL_DIR";
/// Set for the child: the mirror's address.
const URL: &str = "MASHAA_TEST_PULL_URL";
/// Set for the child: what to pull.
const CID: &str = "MASHAA_TEST_PULL_CID";

/// When the child is killed.
enum Moment {
    /// When it has staged so many more bytes and waits for the next, which do not come.
    Waiting(usize),
    /// When it has staged so many more bytes, and goes on.
    Reading(usize),
    /// When it begins to check what it has.
    Checking,
}

/// Does nothing but in the child.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (url, cid) = (std::env::var(URL).unwrap(), std::env::var(CID).unwrap());
    pull(Path::new(&dir), &url, cid.parse().unwrap(), &mut |progress| {
        // Straight to the pipe, past what the test runner would hold back.
        let told = match progress {
            Progress::Received { done, .. } => writeln!(std::io::stderr(), "{done}"),
            Progress::Checking => writeln!(std::io::stderr(), "checking"),
            _ => Ok(()),
        };
        told.unwrap();
    });
}

fn pull(dir: &Path, url: &str, cid: Cid, report: &mut dyn FnMut(Progress<'_>)) {
    let entry = SourceEntry {
        file: "model.gguf".to_owned(),
        size: SIZE as u64,
        cid,
        mirrors: vec![Mirror::Http { url: url.to_owned() }],
        files: Vec::new(),
    };
    let blobs = Blobs::open(dir.join("blobs")).unwrap();
    pull_source(&blobs, &entry, None, &dir.join("staging"), report).unwrap();
}

fn spawn(dir: &Path, url: &str, cid: &Cid) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child"])
        .env(DIR, dir)
        .env(URL, url)
        .env(CID, cid.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Up to a tenth of the file at a time, so that kills fall on many lengths of what is staged.
fn plan(round: usize, random: &mut Random) -> Moment {
    let count = 1 + random.below(SIZE / 10);
    match round % 5 {
        0..3 => Moment::Waiting(count),
        3 => Moment::Reading(count),
        _ => Moment::Checking,
    }
}

/// Reads what the child tells until the moment has come, or the child has ended.
fn wait_for(moment: &Moment, staged_before: usize, told: ChildStderr) {
    for line in BufReader::new(told).lines() {
        let line = line.unwrap();
        let come = match moment {
            Moment::Waiting(count) | Moment::Reading(count) => {
                line.parse().is_ok_and(|done: usize| done >= staged_before + count)
            }
            Moment::Checking => line == "checking",
        };
        if come {
            return;
        }
    }
}

fn staged(blobs: &Blobs, cid: &Cid) -> usize {
    blobs.stage(cid).unwrap().len() as usize
}

fn check(blobs: &Blobs, dir: &Path, round: usize) {
    let list = blobs.list().unwrap();
    for cid in &list {
        blobs.verify(cid).unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    let named = fs::read_dir(dir.join("blobs")).unwrap();
    let files = named.filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_file());
    assert_eq!(files.count(), list.len(), "round {round}: a file that is no blob");
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let blobs = Blobs::open(dir.path().join("blobs")).unwrap();
    let file = noise(FILE_SEED, SIZE);
    let cid = Cid::of(&file);
    let server = Server::new(file, Behaviour::Honest);
    let mut random = Random(KILL_SEED);
    for round in 0..ROUND_COUNT {
        let moment = plan(round, &mut random);
        server.set(match moment {
            Moment::Waiting(count) => Behaviour::Pauses(count),
            Moment::Reading(_) | Moment::Checking => Behaviour::Honest,
        });
        let before = staged(&blobs, &cid);
        let mut child = spawn(dir.path(), &server.url, &cid);
        wait_for(&moment, before, child.stderr.take().unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
        check(&blobs, dir.path(), round);
        match moment {
            _ if blobs.contains(&cid) => blobs.remove(&cid).unwrap(),
            Moment::Waiting(count) => {
                assert_eq!(staged(&blobs, &cid), before + count, "round {round}");
            }
            Moment::Reading(count) => assert!(staged(&blobs, &cid) >= before + count),
            Moment::Checking => assert_eq!(staged(&blobs, &cid), SIZE),
        }
    }
    server.set(Behaviour::Honest);
    pull(dir.path(), &server.url, cid, &mut |_| {});
    blobs.verify(&cid).unwrap();
    let resumed = server.starts().iter().filter(|start| **start > 0).count();
    assert!(resumed >= ROUND_COUNT / 2, "{resumed} requests took up what was there");
}
