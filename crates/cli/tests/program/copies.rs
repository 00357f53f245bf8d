//! Copies of pins on other machines: kept, checked, repaired and let go of, while machines come and go.
//!
//! One second here is a minute of the defaults: machines are looked at once a second.
//! `MASHAA_COPIES_SECONDS=600` follows the schedule for ten hours of such time, as the release's
//! figures say (`docs/benchmarks.md`).

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use store::cid::{CHUNK_SIZE, Cid};

use crate::kill::Random;
use crate::ledger::{mashaa, until};
use crate::world::Ended;

/// Seconds of the schedule, where nothing else is said: half an hour of compressed time.
const SECONDS: u64 = 30;
/// Seconds in which a machine that is there half of the time comes and goes once, on average.
const CYCLE: u64 = 20;
/// How often a reader looks for what is pinned.
const LOOK: Duration = Duration::from_millis(500);

/// A machine: a home, and a process while it is there.
struct Host {
    name: String,
    home: PathBuf,
    /// Where the others find it again after it was away.
    port: u16,
    pledge_mib: u32,
    /// Seconds of looking that the assumption about a machine weighs as much as.
    prior: &'static str,
    child: Option<Child>,
    address: String,
    agent: ureq::Agent,
}

impl Host {
    fn new(folder: &Path, number: usize, pledge_mib: u32, prior: &'static str) -> Host {
        static COUNT: AtomicU16 = AtomicU16::new(0);
        // Ports of this process's own, below those of the other tests.
        let port = 10_000 + u16::try_from(std::process::id() % 100).unwrap() * 20;
        let port = port + COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("host-{number}");
        let home = folder.join(&name);
        let settings = ureq::Agent::config_builder();
        let agent = settings.timeout_global(Some(Duration::from_secs(5))).build().new_agent();
        Host { name, home, port, pledge_mib, prior, child: None, address: String::new(), agent }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = mashaa(&self.home, arguments);
        for (key, value) in [
            ("NETWORK_LISTEN", format!("127.0.0.1:{}", self.port).as_str()),
            ("NETWORK_NEARBY", "no"),
            ("NETWORK_NAME", &self.name),
            ("STORE_PLEDGE_MIB", &self.pledge_mib.to_string()),
            ("COPIES_LOOK_SECONDS", "1"),
            ("COPIES_PRIOR_SECONDS", self.prior),
            ("COPIES_GRACE_SECONDS", "12"),
            ("COPIES_CHECK_SECONDS", "4"),
            ("COPIES_LEASE_SECONDS", "120"),
        ] {
            command.env(format!("MASHAA_{key}"), value);
        }
        command
    }

    fn start(&mut self) {
        let mut command = self.command(&["ledger", "run", "--listen", "127.0.0.1:0"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let ready = lines.by_ref().find(|line| line.starts_with("ready: "));
        let ready = ready.expect("the node ends before it is ready");
        self.address = ready["ready: http://".len()..].trim_end_matches("/ledger").to_owned();
        std::thread::spawn(move || lines.for_each(drop));
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(&self.command(arguments).output().unwrap())
    }

    fn succeed(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        ended.stdout.trim().to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeed(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// Takes in content that is like no other, and wants it to be available.
    fn pin(&self, number: u8, chunks: usize, availability: &str) -> Cid {
        let file = self.home.join("content");
        let bytes = (0..chunks * CHUNK_SIZE + 1).map(|at| (at >> 12) as u8 ^ number);
        fs::write(&file, bytes.collect::<Vec<u8>>()).unwrap();
        let cid = self.succeed(&["store", "add", file.to_str().unwrap()]);
        self.succeed(&["store", "pin", &cid, "--availability", availability]);
        cid.parse().unwrap()
    }

    fn copies(&self, cid: &Cid) -> Value {
        self.json(&["store", "stat", &cid.to_string()])["copies"].clone()
    }

    fn estimate(&self, cid: &Cid) -> f64 {
        self.copies(cid)["estimated"].as_str().unwrap().parse().unwrap()
    }

    /// Whether a reader gets the file here, whole.
    fn serves(&self, cid: &Cid) -> bool {
        let url = format!("http://{}/ipfs/{cid}", self.address);
        self.child.is_some() && self.agent.head(url).call().is_ok_and(|it| it.status() == 200)
    }

    fn has(&self, cid: &Cid) -> bool {
        self.home.join("blobs").join(cid.to_string()).is_file()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Machines of one network, all there; the first one let the others in.
fn network(folder: &Path, pledges: &[u32], prior: &'static str) -> Vec<Host> {
    let pledges = pledges.iter().enumerate();
    let mut hosts: Vec<Host> =
        pledges.map(|(at, pledge)| Host::new(folder, at, *pledge, prior)).collect();
    let (first, others) = hosts.split_first_mut().unwrap();
    first.start();
    let ticket = first.succeed(&["invite"]);
    for host in others {
        host.succeed(&["join", &ticket, "--no-up"]);
        host.start();
    }
    hosts
}

fn keepers(hosts: &[Host], cid: &Cid) -> Vec<usize> {
    (1..hosts.len()).filter(|at| hosts[*at].serves(cid)).collect()
}

#[test]
fn a_copy_that_is_lost_is_made_again_and_one_that_is_not_needed_is_let_go_of() {
    let folder = tempfile::tempdir().unwrap();
    // The last one has pledged nothing. Everyone counts as there half of the time for this hour.
    let mut hosts = network(folder.path(), &[0, 64, 64, 64, 64, 64, 0], "3600");
    let cid = hosts[0].pin(1, 2, "0.85");
    let name = cid.to_string();
    let count = |hosts: &[Host]| hosts[0].copies(&cid)["keepers"].as_array().unwrap().len();
    let repairs = |hosts: &[Host]| hosts[0].copies(&cid)["repairs"].as_u64().unwrap();
    until("three copies that were checked", || count(&hosts) == 3);
    assert_eq!(keepers(&hosts, &cid).len(), 3);
    assert!(!hosts[6].has(&cid), "only where space was pledged");
    // Nobody collects what is kept for another.
    let keeper = keepers(&hosts, &cid)[0];
    let listed = hosts[keeper].json(&["store", "ls"]);
    assert_eq!((&listed[0]["kind"], &listed[0]["cid"]), (&"kept".into(), &name.as_str().into()));
    hosts[keeper].succeed(&["store", "gc"]);
    assert!(hosts[keeper].has(&cid));
    // A plan says what was measured, and why.
    let words = ["host-1", " over ", "keeps a copy", "no space for others", "erasure coding"];
    until("the plan has all machines", || {
        let plan = hosts[0].succeed(&["store", "plan", &name, "--node", &hosts[0].address]);
        words.iter().all(|it| plan.contains(it))
    });
    // A disk that is lost, without a word.
    fs::remove_file(hosts[keeper].home.join("blobs").join(&name)).unwrap();
    until("the check notices, and another copy is made", || repairs(&hosts) == 1);
    // A machine that is away for too long, and comes back.
    let keeper = keepers(&hosts, &cid)[0];
    hosts[keeper].kill();
    until("the absence is noticed, and another copy is made", || repairs(&hosts) == 2);
    assert_eq!(keepers(&hosts, &cid).len(), 3);
    hosts[keeper].start();
    until("what is back counts again", || count(&hosts) == 4);
    hosts[0].succeed(&["store", "pin", &name, "--availability", "0.4"]);
    until("copies are let go of", || count(&hosts) == 2 && keepers(&hosts, &cid).len() == 2);
    // What is pinned no longer is kept by nobody, and not even its bytes.
    hosts[0].succeed(&["store", "unpin", &name]);
    until("all copies are deleted", || (1..7).all(|at| !hosts[at].has(&cid)));
    assert!(hosts[0].has(&cid));
}

/// When a machine comes and goes, in milliseconds from the beginning.
fn turns(up_percent: u64, milliseconds: u64, random: &mut Random) -> Vec<u64> {
    let (mut turns, mut at, mut is_there) = (Vec::new(), 0, true);
    while at < milliseconds {
        let share = if is_there { up_percent } else { 100 - up_percent };
        // As long as to be there this often, and at least as long as a process takes to start.
        let mean = CYCLE * 1000 * share / 100;
        at += 500 + random.below(usize::try_from(2 * mean).unwrap()) as u64;
        turns.push(at);
        is_there = !is_there;
    }
    turns
}

struct Pinned {
    owner: usize,
    cid: Cid,
    wanted: &'static str,
    looks: u64,
    found: u64,
    copies: u64,
}

/// Looks for each pin on all machines but its owner's.
fn look(hosts: &[Host], pins: &mut [Pinned]) {
    for pin in pins {
        let others = hosts.iter().enumerate().filter(|(at, _)| *at != pin.owner);
        let copies = others.filter(|(_, host)| host.serves(&pin.cid)).count() as u64;
        pin.looks += 1;
        pin.found += u64::from(copies > 0);
        pin.copies += copies;
    }
}

#[test]
fn what_is_pinned_is_there_as_often_as_is_wanted_while_machines_come_and_go() {
    let seconds: u64 =
        std::env::var("MASHAA_COPIES_SECONDS").map_or(SECONDS, |it| it.parse().unwrap());
    let ups = [92, 88, 80, 70, 60, 50];
    let folder = tempfile::tempdir().unwrap();
    let mut hosts = network(folder.path(), &[256; 6], "60");
    let pinned = |owner: usize, number, wanted| {
        let cid = hosts[owner].pin(number, 1, wanted);
        Pinned { owner, cid, wanted, looks: 0, found: 0, copies: 0 }
    };
    let mut pins = vec![pinned(0, 10, "0.8"), pinned(0, 20, "0.9"), pinned(1, 30, "0.95")];
    for pin in &pins {
        let wanted: f64 = pin.wanted.parse().unwrap();
        until("all copies are there", || hosts[pin.owner].estimate(&pin.cid) >= wanted);
    }
    let seed = 4;
    let mut random = Random(seed);
    let mut schedule: Vec<(u64, usize)> = Vec::new();
    for (at, up) in ups.iter().enumerate() {
        schedule.extend(turns(*up, seconds * 1000, &mut random).into_iter().map(|it| (it, at)));
    }
    schedule.sort_unstable();
    let (started, mut there) = (Instant::now(), [Duration::ZERO; 6]);
    let (mut next, mut kills, mut last) = (schedule.into_iter().peekable(), 0, started);
    while started.elapsed() < Duration::from_secs(seconds) {
        let now = started.elapsed().as_millis();
        while let Some((_, host)) = next.next_if(|(at, _)| u128::from(*at) <= now) {
            if hosts[host].child.is_some() {
                hosts[host].kill();
                kills += 1;
            } else {
                hosts[host].start();
            }
        }
        look(&hosts, &mut pins);
        let passed = last.elapsed();
        last = Instant::now();
        for (there, _) in there.iter_mut().zip(&hosts).filter(|(_, host)| host.child.is_some()) {
            *there += passed;
        }
        // The schedule is made of time itself; nothing is waited for.
        std::thread::park_timeout(LOOK.saturating_sub(last.elapsed()));
    }
    let uptimes =
        there.map(|it| (it.as_secs_f64() / started.elapsed().as_secs_f64() * 100.0).round());
    println!("seed {seed}, {seconds} s, {kills} kills, machines there {uptimes:?} % of the time");
    for pin in &pins {
        let copies = hosts[pin.owner].copies(&pin.cid);
        let measured = pin.found as f64 / pin.looks as f64;
        let mean = pin.copies as f64 / pin.looks as f64;
        println!(
            "wanted {}, measured {measured:.4} in {} looks, {mean:.2} machines on average, estimated {}, {} repairs, {} let go",
            pin.wanted, pin.looks, copies["estimated"], copies["repairs"], copies["let_go"]
        );
        let wanted: f64 = pin.wanted.parse().unwrap();
        // In half an hour each machine comes and goes but once or twice.
        let slack = if seconds < 300 { 0.1 } else { 0.01 };
        assert!(measured + slack >= wanted, "{}: {measured}", pin.wanted);
    }
    // And a reader gets the bytes, from whoever is there.
    for host in hosts.iter_mut().filter(|host| host.child.is_none()) {
        host.start();
    }
    let reader = Host::new(folder.path(), 9, 0, "60");
    for pin in &pins {
        let at = |host: usize| format!("http://{}", hosts[host].address);
        let have: Vec<usize> =
            (0..6).filter(|host| *host != pin.owner && hosts[*host].serves(&pin.cid)).collect();
        let cid = pin.cid.to_string();
        reader.succeed(&["store", "get", &cid, "--from", &at(*have.first().unwrap())]);
        assert!(reader.has(&pin.cid));
    }
}
