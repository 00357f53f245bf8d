//! A store whose program is killed at random moments of add, get, pin, unpin and gc.
//!
//! `MASHAA_KILLS=100` kills it as often as the release's figures say (`docs/benchmarks.md`), and
//! `MASHAA_FETCH_BYTES=2000000000` fetches as much in the test of one that goes on.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use node::folder::{self, Taking};
use serde_json::Value;
use store::blobs::Blobs;
use store::cid::{CHUNK_SIZE, Cid};
use store::collect::reach;

use crate::store::{Serving, succeed};
use crate::world::{NAME, World, files};

/// Kills, where nothing else is said: what a few seconds have room for.
const KILLS: u64 = 24;
/// Files, folders and folders in folders that are pinned before the first kill, at least: more than are
/// unpinned.
const PINS: usize = 60;
/// Commands that are killed, in turn.
const KINDS: u64 = 5;
/// How long a command may take that is not killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Marsaglia 2003, "Xorshift RNGs".
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A moment within this time.
    fn moment(&mut self, life: Duration) -> Duration {
        life.mul_f64((self.next() >> 11) as f64 / (1u64 << 53) as f64)
    }

    fn bytes(&mut self, size: usize) -> Vec<u8> {
        (0..size.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(size).collect()
    }
}

/// Runs a command and kills it at the moment. Says what it printed if it ended before.
fn kill_at(world: &World, arguments: &[&str], moment: Duration) -> Option<String> {
    let mut command = world.command(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    let (tell, told) = channel();
    let reading = std::thread::spawn(move || {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut out, &mut text).unwrap();
        // The test has stopped waiting where it has killed the program.
        let _ = tell.send(());
        text
    });
    if told.recv_timeout(moment) == Err(RecvTimeoutError::Timeout) {
        child.kill().unwrap();
    }
    let ended = child.wait().unwrap();
    let text = reading.join().unwrap();
    ended.success().then(|| text.trim().to_owned())
}

/// Everything under a name hashes to it, and everything that was pinned is here.
fn check(world: &World, pinned: &BTreeSet<Cid>, when: &str) {
    for path in files(&world.home("blobs")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let got = Cid::of_reader(File::open(&path).unwrap()).unwrap();
        assert_eq!(got.to_string(), name, "{when}: a blob that does not hash to its name");
    }
    let report = world.run(&["store", "fsck", "--json"]);
    let found: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report.code, Some(0), "{when}: {found}");
    for field in ["damaged", "damaged_directory_blocks", "missing"] {
        assert_eq!(found[field], Value::Array(vec![]), "{when}: {field}");
    }
    let blobs = Blobs::open(world.home("blobs")).unwrap();
    let here: BTreeSet<Cid> = blobs.pins().unwrap().into_iter().map(|pin| pin.cid).collect();
    let lost: Vec<&Cid> = pinned.difference(&here).collect();
    assert!(lost.is_empty(), "{when}: lost the pins {lost:?}");
    let reached = reach(&blobs, here).unwrap();
    assert!(reached.missing.is_empty(), "{when}: pins lead to {:?}", reached.missing);
    world.check(when);
}

/// A file, a folder of files, or folders in folders with a link, by turns.
fn make(random: &mut Random, at: &Path, number: usize) {
    let mut file = |path: &Path| {
        let size =
            random.next() % (CHUNK_SIZE as u64 * if number.is_multiple_of(10) { 3 } else { 1 } / 8);
        fs::write(path, random.bytes(size as usize)).unwrap();
    };
    if number.is_multiple_of(3) {
        return file(at);
    }
    let deepest = if number % 3 == 1 { at.to_path_buf() } else { at.join("one/two") };
    fs::create_dir_all(&deepest).unwrap();
    for name in ["a", "b", "c"] {
        file(&deepest.join(name));
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink("a", deepest.join("link")).unwrap();
}

/// A home with a model and many pins; gives the pins.
fn filled(world: &World, random: &mut Random, count: usize) -> BTreeSet<Cid> {
    world.catalogue(&["http://127.0.0.1:1/none"]);
    let source = world.path("random.gguf");
    succeed(world, "home", &["model", "add", source.to_str().unwrap(), "--name", NAME]);
    let blobs = Blobs::open(world.home("blobs")).unwrap();
    let mut pinned = BTreeSet::new();
    for number in 0..count {
        let path = world.path(&format!("pinned {number}"));
        make(random, &path, number);
        let entry = folder::add(&blobs, &path, Taking { hidden: false, room: u64::MAX }).unwrap();
        blobs.pin(&entry.cid, "at first").unwrap();
        pinned.insert(entry.cid);
    }
    assert_eq!(pinned.len(), count);
    pinned
}

/// What others have: a folder with a file of eight chunks and some small ones.
fn elsewhere(world: &World, random: &mut Random) -> String {
    let there = world.path("there");
    fs::create_dir(&there).unwrap();
    fs::write(there.join("large"), random.bytes(8 * CHUNK_SIZE + 5)).unwrap();
    for number in 0..8 {
        fs::write(there.join(format!("small {number}")), random.bytes(1000)).unwrap();
    }
    succeed(world, "elsewhere", &["store", "add", there.to_str().unwrap()])
}

#[test]
fn kills_at_random_moments_leave_nothing_wrong_and_lose_no_pin() {
    let kills = std::env::var("MASHAA_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let mut random = Random(u64::from(seed) | 1);
    let world = World::new();
    let wanted = elsewhere(&world, &mut random);
    let serving = Serving::of(&world, "elsewhere");
    let mut pinned = filled(&world, &mut random, PINS.max(kills as usize / 4));
    let mut killed = [0; KINDS as usize];
    // How long each command takes, as its first run shows, which is not killed.
    let mut lives = [PATIENCE; KINDS as usize];
    for kill in 0..kills + KINDS {
        let when = format!("seed {seed}, kill {kill}");
        let kind = (kill % KINDS) as usize;
        let new = world.path(&format!("new {kill}"));
        // One of what is pinned, in no order.
        let chosen = *pinned.iter().nth((random.next() % pinned.len() as u64) as usize).unwrap();
        let named = chosen.to_string();
        let arguments = match kind {
            0 => {
                make(&mut random, &new, kill as usize);
                vec!["store", "add", new.to_str().unwrap()]
            }
            1 => {
                // So that there is something to fetch.
                world.run(&["store", "unpin", &wanted]);
                world.run(&["store", "gc"]);
                vec!["store", "get", &wanted, "--from", &serving.url]
            }
            2 => vec!["store", "pin", &named, "--name", "another"],
            3 => {
                // From here on either will do: with its pin it is whole, without it may go.
                pinned.remove(&chosen);
                vec!["store", "unpin", &named]
            }
            _ => {
                // So that there is something to delete: what was fetched, and what was unpinned.
                world.run(&["store", "unpin", &wanted]);
                vec!["store", "gc"]
            }
        };
        let is_first = kill < KINDS;
        let moment = if is_first { PATIENCE } else { random.moment(lives[kind]) };
        let begun = Instant::now();
        let done = kill_at(&world, &arguments, moment);
        if is_first {
            assert!(done.is_some(), "{when}: {arguments:?} failed");
            lives[kind] = begun.elapsed();
        }
        if let (0, Some(cid)) = (kind, &done) {
            pinned.insert(cid.parse().unwrap());
        }
        killed[kind] += u64::from(done.is_none());
        check(&world, &pinned, &when);
    }
    assert!(
        killed.iter().sum::<u64>() * 4 > kills,
        "only {killed:?} of {kills} were killed in time"
    );
    succeed(&world, "home", &["store", "get", &wanted, "--from", &serving.url]);
    pinned.insert(wanted.parse().unwrap());
    succeed(&world, "home", &["store", "gc"]);
    check(&world, &pinned, "at the end");
    eprintln!(
        "seed {seed}: of {kills} runs, killed in time {killed:?} of add, get, pin, unpin and gc; {} pins kept",
        pinned.len()
    );
}

/// Bytes of a file that are on the disk, holes left out.
#[cfg(unix)]
fn on_disk(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).map_or(0, |file| file.blocks() * 512)
}

/// `kill -9` when a third of a file has come: the rest is fetched, and next to nothing twice.
#[cfg(unix)]
#[test]
fn a_fetch_that_is_killed_goes_on_where_it_was() {
    /// Chunks that three requests can have had in their hands, two each.
    const LOST_MAX: u64 = 6 * CHUNK_SIZE as u64;
    let size =
        std::env::var("MASHAA_FETCH_BYTES").map_or(100_000_000, |size| size.parse().unwrap());
    let world = World::new();
    let path = world.path("large");
    let mut random = Random(5);
    let mut file = File::create(&path).unwrap();
    for at in (0..size).step_by(CHUNK_SIZE) {
        let count = (size - at).min(CHUNK_SIZE as u64) as usize;
        std::io::Write::write_all(&mut file, &random.bytes(count)).unwrap();
    }
    let cid = succeed(&world, "elsewhere", &["store", "add", path.to_str().unwrap()]);
    fs::remove_file(&path).unwrap();
    let serving = Serving::of(&world, "elsewhere");
    let get = ["store", "get", &cid, "--from", &serving.url, "--json"];
    let mut child =
        world.command(&get).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let staged = world.home("blobs/staging").join(&cid);
    let deadline = Instant::now() + PATIENCE;
    while on_disk(&staged) < size / 3 {
        assert!(Instant::now() < deadline, "a third of the file has not come");
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let had = on_disk(&staged);
    let outcome: Value = serde_json::from_str(&succeed(&world, "home", &get)).unwrap();
    let fetched = outcome["sources"][0]["bytes"].as_u64().unwrap();
    eprintln!("{size} bytes: {had} were there at the kill, {fetched} were fetched after it");
    assert!(had >= size / 3 && had + fetched <= size + LOST_MAX, "{had} and {fetched} of {size}");
    let report = world.run(&["store", "fsck", "--json"]);
    assert_eq!(report.code, Some(0), "{}", report.stdout);
}
