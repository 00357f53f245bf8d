//! A store whose program is killed at random moments of add, get and gc.
//!
//! `MASHAA_KILLS=100` kills it as often as the release's figures say (`docs/benchmarks.md`).

use std::fs::{self, File};
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use store::cid::{CHUNK_SIZE, Cid};

use crate::store::{Serving, succeed};
use crate::world::{World, files};

/// Kills, where nothing else is said: what a few seconds have room for.
const KILLS: u64 = 24;
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
fn check(world: &World, pinned: &[String], when: &str) {
    for path in files(&world.home("blobs")) {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let got = Cid::of_reader(File::open(&path).unwrap()).unwrap();
        assert_eq!(got.to_string(), name, "{when}: a blob that does not hash to its name");
    }
    let report = world.run(&["store", "fsck", "--json"]);
    let found: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(report.code, Some(0), "{when}: {found}");
    assert_eq!(found["damaged_directory_blocks"], Value::Array(vec![]), "{when}");
    for cid in pinned {
        let stat = succeed(world, "home", &["store", "stat", cid, "--json"]);
        let stat: Value = serde_json::from_str(&stat).unwrap();
        assert_eq!(
            (&stat["pinned"], &stat["whole"]),
            (&true.into(), &true.into()),
            "{when}: {stat}"
        );
    }
}

#[test]
fn kills_at_random_moments_leave_nothing_wrong_and_lose_no_pin() {
    let kills = std::env::var("MASHAA_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let mut random = Random(u64::from(seed) | 1);
    let world = World::new();
    // What others have: a folder with a file of eight chunks and some small ones.
    let there = world.path("there");
    fs::create_dir(&there).unwrap();
    fs::write(there.join("large"), random.bytes(8 * CHUNK_SIZE + 5)).unwrap();
    for number in 0..8 {
        fs::write(there.join(format!("small {number}")), random.bytes(1000)).unwrap();
    }
    let wanted = succeed(&world, "elsewhere", &["store", "add", there.to_str().unwrap()]);
    let serving = Serving::of(&world, "elsewhere");
    let (mut pinned, mut killed) = (Vec::new(), 0);
    // How long each command takes, as its first run shows, which is not killed.
    let mut lives = [PATIENCE; 3];
    for kill in 0..kills + 3 {
        let when = format!("seed {seed}, kill {kill}");
        let kind = (kill % 3) as usize;
        let new = world.path(&format!("new {kill}"));
        let arguments = match kind {
            0 => {
                fs::create_dir(&new).unwrap();
                for number in 0..4 {
                    let size = (random.next() % (3 * CHUNK_SIZE as u64)) as usize;
                    fs::write(new.join(format!("{number}")), random.bytes(size)).unwrap();
                }
                vec!["store", "add", new.to_str().unwrap()]
            }
            1 => vec!["store", "get", &wanted, "--from", &serving.url],
            _ => {
                // So that there is something to delete: what was fetched, and nothing that is pinned.
                world.run(&["store", "unpin", &wanted]);
                vec!["store", "gc"]
            }
        };
        let is_first = kill < 3;
        let moment = if is_first { PATIENCE } else { random.moment(lives[kind]) };
        let begun = Instant::now();
        let done = kill_at(&world, &arguments, moment);
        if is_first {
            assert!(done.is_some(), "{when}: {arguments:?} failed");
            lives[kind] = begun.elapsed();
        }
        if kind == 0 {
            pinned.extend(done.clone());
        }
        killed += u64::from(done.is_none());
        check(&world, &pinned, &when);
    }
    assert!(killed * 2 > kills, "only {killed} of {kills} were killed in time");
    succeed(&world, "home", &["store", "get", &wanted, "--from", &serving.url]);
    pinned.push(wanted);
    succeed(&world, "home", &["store", "gc"]);
    check(&world, &pinned, "at the end");
    eprintln!(
        "seed {seed}: {killed} of {kills} runs were killed in time, {} pins kept",
        pinned.len()
    );
}
