//! A pull that is killed at any moment leaves nothing wrong, and a later one completes.
//!
//! The test runs itself as a child, which pulls; the server tells how far it has come, and then
//! the child is killed. No clock is involved: the rounds differ by the bytes that were sent.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use node::catalogue::{Mirror, SourceEntry};
use node::pull::pull_source;
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

enum Event {
    /// The server has sent what it was told to.
    Sent,
    /// The child has ended by itself.
    Ended,
}

/// Does nothing but in the child.
#[test]
fn child() {
    let (Ok(dir), Ok(url)) = (std::env::var(DIR), std::env::var(URL)) else { return };
    pull(Path::new(&dir), &url);
}

fn pull(dir: &Path, url: &str) {
    let entry = SourceEntry {
        file: "model.gguf".to_owned(),
        size: SIZE as u64,
        cid: Cid::of(&noise(FILE_SEED, SIZE)),
        mirrors: vec![Mirror::Http { url: url.to_owned() }],
    };
    let blobs = Blobs::open(dir.join("blobs")).unwrap();
    pull_source(&blobs, &entry, None, &dir.join("staging"), &mut |_| {}).unwrap();
}

fn spawn(dir: &Path, url: &str, events: mpsc::Sender<Event>) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child"])
        .env(DIR, dir)
        .env(URL, url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        // The child's end closes its output.
        let _ = output.read_to_end(&mut Vec::new());
        let _ = events.send(Event::Ended);
    });
    child
}

/// Pieces of up to a tenth of the file; every fifth time all the rest, so that the kill falls
/// somewhere between the last bytes and the blob's new name.
fn plan(round: usize, random: &mut Random) -> Behaviour {
    match round % 5 {
        4 => Behaviour::Announces,
        _ => Behaviour::Pauses(random.below(SIZE / 10)),
    }
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
    let cid = Cid::of(&noise(FILE_SEED, SIZE));
    let (sender, events) = mpsc::channel();
    let sent = sender.clone();
    let file = noise(FILE_SEED, SIZE);
    let server = Server::with_pauses(file, Behaviour::Honest, move || {
        let _ = sent.send(Event::Sent);
    });
    let mut random = Random(KILL_SEED);
    for round in 0..ROUND_COUNT {
        server.set(plan(round, &mut random));
        let mut child = spawn(dir.path(), &server.url, sender.clone());
        let mut event = events.recv().unwrap();
        // Ignored when the child has ended.
        let _ = child.kill();
        child.wait().unwrap();
        while !matches!(event, Event::Ended) {
            event = events.recv().unwrap();
        }
        check(&blobs, dir.path(), round);
        if blobs.contains(&cid) {
            blobs.remove(&cid).unwrap();
        }
    }
    server.set(Behaviour::Honest);
    pull(dir.path(), &server.url);
    blobs.verify(&cid).unwrap();
    let resumed = server.starts().iter().filter(|start| **start > 0).count();
    assert!(resumed > ROUND_COUNT / 2, "{resumed} requests took up what was there");
}
