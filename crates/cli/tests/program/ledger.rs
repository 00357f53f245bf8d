//! The members' ledger, as a person runs it: alone, killed, and with other validators.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Ended, World};

/// The first account of development chains.
pub(crate) const PAYEE: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// How long anything here may take.
const TIME_MAX: Duration = Duration::from_secs(120);

/// A running ledger.
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) address: String,
    pub(crate) home: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have been killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn mashaa(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mashaa"));
    command.env_clear().env("MASHAA_HOME", home).args(arguments).stdin(Stdio::null());
    command
}

impl Node {
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Node {
        Node::start_at(home, "127.0.0.1:0", arguments)
    }

    /// Starts the program, and does not wait for it.
    pub(crate) fn spawn(home: &Path, listen: &str, arguments: &[&str]) -> Child {
        let mut command = mashaa(home, &["ledger", "run", "--listen", listen]);
        command.args(arguments).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn start_at(home: &Path, listen: &str, arguments: &[&str]) -> Node {
        let mut child = Node::spawn(home, listen, arguments);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let ready = lines.by_ref().find(|line| line.starts_with("ready: "));
        let ready = ready.expect("the ledger ends before it is ready");
        let address = ready.trim_start_matches("ready: http://").trim_end_matches("/ledger");
        let address = address.to_owned();
        // What it says later is read, so that it never waits for a reader, and shown if the test fails.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        Node { child, address, home: home.to_path_buf() }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(&self.home, &self.address, arguments)
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        json(&self.home, &self.address, arguments)
    }

    pub(crate) fn height(&self) -> u64 {
        self.json(&["ledger", "status"])["height"].as_u64().unwrap()
    }
}

pub(crate) fn run(home: &Path, address: &str, arguments: &[&str]) -> Ended {
    Ended::of(&mashaa(home, arguments).args(["--node", address]).output().unwrap())
}

pub(crate) fn json(home: &Path, address: &str, arguments: &[&str]) -> Value {
    let ended = run(home, address, &[arguments, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Waits until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + TIME_MAX;
    while !holds() {
        assert!(Instant::now() < end, "{what} has not come to hold");
    }
}

#[test]
fn a_new_home_has_a_ledger_and_a_kill_loses_nothing_that_was_acknowledged() {
    let world = World::new();
    let home = world.path("home");
    let set = Ended::of(&mashaa(&home, &["init", "--interval-ms", "20"]).output().unwrap());
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let (mut node, mut ids) = (Node::start(&home, &[]), vec![]);
    for paid in 1..=4u64 {
        let sent = node.json(&["send", PAYEE, "0.5"]);
        assert_eq!(sent["status"], "done", "{sent}");
        ids.push(sent["id"].as_str().unwrap().to_owned());
        node.child.kill().unwrap();
        node.child.wait().unwrap();
        node = Node::start(&home, &[]);
        let account = node.json(&["ledger", "account", PAYEE]);
        let balance = ["0", "0.5", "1", "1.5", "2"][usize::try_from(paid).unwrap()];
        assert_eq!(account["balance"], balance);
    }
    until("a block after the kills", || node.height() > 5);
    let status = node.json(&["ledger", "status"]);
    assert_eq!((status["sum"].as_str(), status["members"].as_u64()), (Some("0"), Some(1)));
    let replayed = node.json(&["ledger", "replay"]);
    assert_eq!((replayed["orders"].as_u64(), replayed["sum"].as_str()), (Some(4), Some("0")));

    let refused = node.run(&["send", PAYEE, "1000"]);
    assert_eq!(refused.code, Some(4));
    assert!(
        refused.stderr.contains("refused (41): the account has not enough"),
        "{}",
        refused.stderr
    );
    proofs(&world, &node, &ids[2]);
}

/// A proof stands without the node, and nothing in it can be changed.
fn proofs(world: &World, node: &Node, id: &str) {
    let file = world.path("proof.json");
    let path = file.to_str().unwrap();
    assert_eq!(node.run(&["ledger", "prove", id, "--to", path]).code, Some(0));
    let proof: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let header = proof["header"].as_str().unwrap();
    let check = |header: &str| {
        // Another home, and no node.
        let arguments = ["ledger", "check", path, "--header", header];
        Ended::of(&mashaa(&world.path("elsewhere"), &arguments).output().unwrap())
    };
    let good = check(header);
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    assert!(good.stdout.contains(PAYEE), "{}", good.stdout);
    assert_eq!(check(&header.replace(['1', '2'], "3")).code, Some(4), "another block");
    let bytes = proof["proof"].as_str().unwrap().to_owned();
    for at in (2..bytes.len()).step_by(29) {
        let digit = if &bytes[at..=at] == "0" { "1" } else { "0" };
        let mut altered = proof.clone();
        altered["proof"] = format!("{}{digit}{}", &bytes[..at], &bytes[at + 1..]).into();
        fs::write(&file, altered.to_string()).unwrap();
        assert_eq!(check(header).code, Some(4), "digit {at}");
    }
    let mut altered = proof.clone();
    altered["height"] = 1_000_000.into();
    fs::write(&file, altered.to_string()).unwrap();
    assert_eq!(check(header).code, Some(4), "another height");
}

/// The first of twenty ports of this process's own, below those that the system gives to connections.
pub(crate) fn ports() -> u16 {
    12_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 20
}

/// A network of four validators in processes of their own, on ports of this test's own.
pub(crate) struct Testnet {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Drop for Testnet {
    fn drop(&mut self) {
        let process = self.child.id().to_string();
        // The validators are of the process's group.
        let _ = Command::new("kill").args(["-TERM", "--", &format!("-{process}")]).status();
        let _ = self.child.wait();
    }
}

impl Testnet {
    pub(crate) fn start(folder: &Path, settings: &[&str]) -> Testnet {
        use std::os::unix::process::CommandExt;
        static COUNT: AtomicU16 = AtomicU16::new(0);
        // Two networks at once, of eight ports each.
        let part = COUNT.fetch_add(1, Ordering::Relaxed) % 2 * 10;
        let port = ports() + part;
        let mut command = mashaa(folder, &["testnet", "--validators", "4"]);
        command.args(["--interval-ms", "100", "--port", &port.to_string(), "--folder"]);
        command.arg(folder).args(settings).process_group(0).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut said = vec![];
        let ready = lines.by_ref().find(|line| {
            said.push(line.clone());
            line.contains("validators agree")
        });
        assert!(ready.is_some(), "{said:?}");
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        Testnet { child, folder: folder.to_path_buf(), port }
    }

    pub(crate) fn home(&self, at: u16) -> PathBuf {
        self.folder.join(at.to_string())
    }

    pub(crate) fn address(&self, at: u16) -> String {
        format!("127.0.0.1:{}", self.port + 2 * at)
    }

    pub(crate) fn json(&self, at: u16, arguments: &[&str]) -> Value {
        json(&self.home(at), &self.address(at), arguments)
    }

    pub(crate) fn height(&self, at: u16) -> u64 {
        self.json(at, &["ledger", "status"])["height"].as_u64().unwrap()
    }

    /// The keys of the validators that rest.
    fn resting(&self, at: u16) -> Vec<Value> {
        let shown = self.json(at, &["ledger", "validators"])["validators"].clone();
        let resting = shown.as_array().unwrap().iter().filter(|it| it["rests"] == true);
        resting.map(|it| it["node_key"].clone()).collect()
    }

    /// Kills a validator; its key.
    fn kill(&self, at: u16) -> Value {
        let process = fs::read_to_string(self.home(at).join("lock")).unwrap();
        let node_key = self.json(at, &["ledger", "status"])["node_key"].clone();
        assert!(Command::new("kill").args(["-KILL", process.trim()]).status().unwrap().success());
        node_key
    }

    /// Starts a validator that was killed.
    fn again(&self, at: u16) -> Node {
        let listen = format!("127.0.0.1:{}", self.port + 2 * at + 1);
        let peers = self.peers(at);
        Node::start(&self.home(at), &["--ledger-listen", &listen, "--ledger-peers", &peers])
    }

    /// The other validators' addresses.
    pub(crate) fn peers(&self, except: u16) -> String {
        let ports = (0..4).filter(|at| *at != except).map(|at| self.port + 2 * at + 1);
        ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }
}

/// The state's root after a block, as a node shows it.
pub(crate) fn root(home: &Path, address: &str, height: u64) -> Value {
    json(home, address, &["ledger", "block", &height.to_string()])["state"].clone()
}

#[test]
fn four_validators_agree_without_one_of_them_and_change_who_they_are_by_vote() {
    let world = World::new();
    let quick = ["parameter_voting=150", "parameter_timelock=1", "proposal_deposit=0"];
    let set: Vec<&str> = quick.iter().flat_map(|set| ["--set", *set]).collect();
    let net = Testnet::start(&world.path("net"), &set);
    let sent = net.json(2, &["send", PAYEE, "3"]);
    let at = sent["height"].as_u64().unwrap();
    for node in 0..4 {
        until("the payment's block", || net.height(node) >= at);
        let balance = net.json(node, &["ledger", "account", PAYEE])["balance"].clone();
        assert_eq!(balance, "3", "validator {node}");
        assert_eq!(
            root(&net.home(node), &net.address(node), at),
            root(&net.home(0), &net.address(0), at)
        );
    }

    // One is killed: blocks go on, soon without waiting for it, and it catches up.
    let node_key = net.kill(3);
    let before = net.height(0);
    until("four blocks without the fourth", || net.height(0) > before + 4);
    until("the fourth's rest", || net.resting(0) == [node_key.clone()]);
    let fourth = net.again(3);
    let now = net.height(0);
    until("the fourth's height", || fourth.height() >= now);
    assert_eq!(root(&fourth.home, &fourth.address, now), root(&net.home(0), &net.address(0), now));
    until("a seal of the fourth's", || net.resting(0).is_empty());

    // A node that is no validator follows from the genesis.
    let other = world.path("other");
    let genesis = net.home(0).join("ledger/genesis.toml");
    let init = mashaa(&other, &["init", "--genesis"]).arg(genesis).output().unwrap();
    assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
    let full = Node::start(&other, &["--ledger-peers", &net.peers(3)]);
    let now = net.height(0);
    until("the full node's height", || full.height() >= now);
    assert_eq!(root(&full.home, &full.address, now), root(&net.home(0), &net.address(0), now));
    assert_eq!(full.json(&["ledger", "replay"])["orders"], 1);
    change_validators(&net);
}

/// What a validator does that had to empty its journal of votes (`consensus`, `silence`).
#[test]
fn a_silent_validator_follows_and_seals_again_after_that_height() {
    let world = World::new();
    let net = Testnet::start(&world.path("net"), &[]);
    let node_key = net.kill(3);
    // It may have sealed the next height already.
    let first = net.height(0) + 2;
    let last = first + 60;
    let file = net.home(3).join("ledger/agreement/undecided/silent");
    fs::write(file, last.to_le_bytes()).unwrap();
    let fourth = net.again(3);
    until("the fourth's height", || fourth.height() > last);
    let has_sealed = |height: u64| {
        let child = net.json(0, &["ledger", "block", &(height + 1).to_string()]);
        child["parent_sealed_by"].as_array().unwrap().contains(&node_key)
    };
    until("the last silent height's block", || net.height(0) > last + 1);
    assert!(!(first..=last).any(has_sealed));
    until("a seal of the fourth's", || has_sealed(net.height(0) - 1));
}

/// Members vote a validator out and in again.
fn change_validators(net: &Testnet) {
    let key = net.json(1, &["ledger", "status"])["node_key"].as_str().unwrap().to_owned();
    let account = net.json(1, &["ledger", "account"])["address"].as_str().unwrap().to_owned();
    let validators = || net.json(0, &["ledger", "status"])["validators"].as_u64();
    assert_eq!(validators(), Some(4));
    let changes =
        [(format!("remove-validator {key}"), 3), (format!("admit-validator {key} {account}"), 4)];
    for (number, (measure, count)) in (1u64..).zip(changes) {
        let number = number.to_string();
        net.json(0, &["propose", "change a validator", "--do", &measure]);
        // At once: opening a wallet takes a second, and the vote is short.
        std::thread::scope(|scope| {
            for member in 0..3 {
                let number = &number;
                scope.spawn(move || net.json(member, &["vote", number, "yes"]));
            }
        });
        until(&measure, || validators() == Some(count));
        let shown = net.json(0, &["ledger", "proposals", &number]);
        assert_eq!((shown["stage"].as_str(), shown["yes"].as_u64()), (Some("executed"), Some(3)));
        let recounted = net.json(0, &["ledger", "recount", &number]);
        assert_eq!((recounted["yes"].as_u64(), recounted["no"].as_u64()), (Some(3), Some(0)));
    }
    let before = net.height(1);
    until("blocks of the four again", || net.height(1) > before + 8);
}
