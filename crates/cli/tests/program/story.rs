//! The story that `docs/ledger.md` prints, played by the program on a network of two validators.
//!
//! The steps are commands, and the lines are told of what the commands answer. They must be those of
//! `fixtures/ledger/story.txt`, which the rules' own test writes (`crates/ledger/tests/rules/story.rs`):
//! the keys are made of the same names, so that even the order of the dividends is the same. Only the
//! blocks differ, since a network makes them as time goes by; no number of the story depends on them as
//! long as all three payments are in the first period.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ::ledger::accounts::{CAPITAL, COMMONS, RESERVE, TREASURY};
use serde_json::{Value, json};
use tempfile::TempDir;
use types::amount::{AMOUNT_MAX, Amount};
use types::id::{Address, Cid, keccak256};
use types::signature::Secret;

use crate::ledger::{Node, json, mashaa, ports, until};
use crate::world::Ended;

const STORY: &str = include_str!("../../../../fixtures/ledger/story.txt");
const PEOPLE: [&str; 6] = ["amal", "badr", "dina", "hadi", "layla", "nour"];
const FUNDS: [(&str, Address); 4] =
    [("treasury", TREASURY), ("reserve", RESERVE), ("commons", COMMONS), ("capital", CAPITAL)];
/// Milliseconds between blocks.
const INTERVAL: u64 = 100;
/// Blocks of voting, six seconds: three ballots take less than one.
const VOTING: u64 = 60;
/// Blocks between the vote and its execution.
const TIMELOCK: u64 = 5;
/// Blocks of an epoch. A period has two, 24 seconds, of which all before the division takes about ten.
const EPOCH: u64 = 120;
/// What the wallets' files are locked with: of "open sesame" and the salt "story", one round of
/// PBKDF2 makes 32 bytes; the first 16 encrypt 32 zeros to these (AES-128-CTR), and these are the rest.
/// A wallet of the program's own takes a second to open, a file of one round none.
const PASSPHRASE: &str = "open sesame";
const STREAM: [u8; 32] = [
    0x6f, 0xc3, 0x10, 0xe3, 0x72, 0x95, 0x09, 0x75, 0x25, 0xff, 0x6d, 0x78, 0x87, 0x18, 0xd9, 0x6c,
    0x30, 0xe5, 0x1b, 0x26, 0x88, 0x73, 0x1d, 0xe3, 0x8a, 0xfe, 0x0e, 0x4a, 0x4f, 0x2b, 0x1d, 0xea,
];
const REST: [u8; 16] = [
    0x90, 0x17, 0x90, 0x8e, 0xa5, 0x38, 0x42, 0x40, 0x75, 0xe0, 0xa2, 0x38, 0x97, 0xfe, 0x33, 0x4e,
];

/// A network, and what was told of it.
struct Teller {
    _dir: TempDir,
    /// Amal's and Badr's. All wallets are in the first one's home.
    nodes: [Node; 2],
    lines: Vec<String>,
    /// Lines of balances, and the block after which they were.
    balances: Vec<(u64, String)>,
    /// How many of the replay's events were told.
    told: usize,
    /// The block of the last order.
    height: u64,
}

fn address(name: &str) -> Address {
    Secret::new(keccak256(name.as_bytes()).0).unwrap().address()
}

fn shown(name: &str) -> String {
    address(name).to_string()
}

fn cid(name: &str) -> String {
    Cid::raw(keccak256(name.as_bytes())).to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// Writes the keystore of a person's key, as another wallet would, and its passphrase beside it.
fn wallet(home: &Path, name: &str) {
    let key = keccak256(name.as_bytes()).0;
    let hidden: Vec<u8> = key.iter().zip(STREAM).map(|(key, stream)| key ^ stream).collect();
    let mac = keccak256(&[&REST, hidden.as_slice()].concat());
    let file = json!({"version": 3, "address": hex(&address(name).0), "crypto": {
        "cipher": "aes-128-ctr", "cipherparams": {"iv": "00".repeat(16)}, "ciphertext": hex(&hidden),
        "kdf": "pbkdf2", "mac": hex(&mac.0),
        "kdfparams": {"c": 1, "dklen": 32, "prf": "hmac-sha256", "salt": hex(b"story")},
    }});
    private(&home.join(format!("{name}.json")), &file.to_string());
    private(&home.join(format!("{name}.passphrase")), PASSPHRASE);
}

/// What a command prints that needs no node.
fn output(home: &Path, arguments: &[&str]) -> String {
    let ended = Ended::of(&mashaa(home, arguments).output().unwrap());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended.stdout.trim().to_owned()
}

/// The genesis of the story: that of the rules' test but for what is counted in blocks.
fn begin(homes: &[PathBuf; 2]) {
    let mut init: Vec<String> =
        ["init", "--name", "story", "--interval-ms"].map(String::from).into();
    init.push(INTERVAL.to_string());
    for name in PEOPLE.iter().filter(|name| **name != "nour") {
        init.extend(["--founder".to_owned(), format!("{name}={}", shown(name))]);
    }
    for (home, name) in homes.iter().zip(PEOPLE) {
        let key = output(home, &["ledger", "key"]);
        init.extend(["--validator".to_owned(), format!("{key}={}", shown(name))]);
    }
    for set in [
        format!("epoch_blocks={EPOCH}"),
        "period_epochs=2".to_owned(),
        "member_share=5000000".to_owned(),
        format!("ordinary_voting={VOTING}"),
        format!("ordinary_timelock={TIMELOCK}"),
        "validator_bond=0".to_owned(),
    ] {
        init.extend(["--set".to_owned(), set]);
    }
    output(&homes[0], &init.iter().map(String::as_str).collect::<Vec<_>>());
    let genesis = homes[0].join("ledger/genesis.toml");
    output(&homes[1], &["init", "--genesis", genesis.to_str().unwrap()]);
}

impl Teller {
    fn new() -> Teller {
        let dir = tempfile::tempdir().unwrap();
        let homes = ["amal", "badr"].map(|name| dir.path().join(name));
        begin(&homes);
        let wallets = homes[0].join("wallets");
        fs::create_dir_all(&wallets).unwrap();
        PEOPLE.iter().for_each(|name| wallet(&wallets, name));
        // The last two of the twenty that `Testnet` leaves free to each process.
        let port = ports() + 18;
        let own = |at: u16| format!("127.0.0.1:{}", port + at);
        let start = |at: u16| {
            let (own, other) = (own(at), own(1 - at));
            let flags = ["--ledger-listen", &own, "--ledger-peers", &other];
            Node::start(&homes[usize::from(at)], &flags)
        };
        let nodes = [start(0), start(1)];
        Teller { _dir: dir, nodes, lines: vec![], balances: vec![], told: 0, height: 0 }
    }

    /// What a person does; the two nodes are asked in turn.
    fn act(&mut self, name: &str, arguments: &[&str]) {
        let node = &self.nodes[usize::try_from(self.height % 2).unwrap()];
        let by = ["--wallet", name];
        let sent = json(&self.nodes[0].home, &node.address, &[arguments, &by].concat());
        assert_eq!(sent["status"], "done", "{name} {arguments:?}: {sent}");
        self.height = sent["height"].as_u64().unwrap();
        until("the order's block on both", || {
            self.nodes.iter().all(|it| it.height() >= self.height)
        });
    }

    fn say(&mut self, line: &str) {
        self.lines.push(line.to_owned());
    }

    /// Tells the balances that both nodes show.
    fn balances(&mut self) {
        let of = |node: &Node, of: &Address| {
            node.json(&["ledger", "account", &of.to_string()])["balance"].clone()
        };
        let lines = [0, 1].map(|at| line(|address| of(&self.nodes[at], address)));
        assert_eq!(lines[0], lines[1]);
        assert_eq!(self.nodes[1].json(&["ledger", "status"])["sum"], "0");
        self.balances.push((self.height, lines[0].clone()));
        self.lines.push(lines[0].clone());
    }

    /// Tells what a replay finds to have happened at the ends of blocks, and was not told before.
    fn happened(&mut self) {
        let replayed = self.nodes[1].json(&["ledger", "replay", "--events"]);
        self.height = replayed["height"].as_u64().unwrap();
        assert_eq!(replayed["events_left_out"], 0);
        let events = replayed["events"].as_array().unwrap().iter();
        let events = events.map(|it| it["event"].as_str().unwrap().to_owned());
        let is_told = |event: &String| {
            [" is over: ", " is executed", "a surplus of ", " as capital"]
                .iter()
                .any(|part| event.contains(part))
        };
        let events: Vec<String> = events.filter(is_told).map(named).collect();
        self.lines.extend(events[self.told..].iter().cloned());
        self.told = events.len();
    }

    fn makers(&self) -> Value {
        self.nodes[0].json(&["registry", "show", &cid("model")])["makers"].clone()
    }

    /// A member's capital, as the other node shows it.
    fn capital(&self, name: &str) -> Value {
        self.nodes[1].json(&["ledger", "account", &shown(name)])["member"]["capital"].clone()
    }
}

/// A line of balances, as the story writes it.
fn line(balance: impl Fn(&Address) -> Value) -> String {
    let mut line = String::from("    balances:");
    let mut sum = 0;
    let people = PEOPLE.map(|name| (name, address(name)));
    for (name, address) in people.iter().chain(&FUNDS) {
        let balance = balance(address);
        let text = balance.as_str().unwrap();
        let amount = Amount::parse(text.trim_start_matches('-')).unwrap().millionths();
        let amount = i64::try_from(amount.min(AMOUNT_MAX)).unwrap();
        sum += if text.starts_with('-') { -amount } else { amount };
        write!(line, " {name} {text},").unwrap();
    }
    write!(line, " sum {sum}").unwrap();
    line
}

/// A sentence with people's names for their addresses.
fn named(sentence: String) -> String {
    PEOPLE.iter().fold(sentence, |sentence, name| sentence.replace(&shown(name), name))
}

/// A line without its block.
fn without_block(line: &str) -> &str {
    match line.split_once(": ") {
        Some((start, rest)) if start.contains("block ") => rest,
        _ => line,
    }
}

#[test]
fn a_network_of_the_program_lives_the_story_of_the_rules() {
    let mut it = Teller::new();
    it.say("amal, badr, dina, hadi and layla have founded a co-op with mutual credit");
    it.balances();
    admit(&mut it);
    work(&mut it);
    change(&mut it);
    divide_and_leave(&mut it);
    let expected: Vec<&str> = STORY.lines().map(without_block).collect();
    for (told, expected) in it.lines.iter().zip(&expected) {
        assert_eq!(told, expected);
    }
    assert_eq!(it.lines.len(), expected.len());
    compute_again(&it);
}

fn admit(it: &mut Teller) {
    let nour = shown("nour");
    it.act("amal", &["member", "sponsor", &nour]);
    it.act("nour", &["member", "apply", "Nour"]);
    it.act("badr", &["member", "sponsor", &nour]);
    it.say("amal and badr vouch for nour, who becomes a member and pays a share of 5");
    assert_eq!(it.capital("nour"), "5");
    it.balances();
}

fn register(it: &mut Teller, of: &str, makers: &[(&str, u32)], parent: Option<&str>) {
    let makers: Vec<String> =
        makers.iter().map(|(name, parts)| format!("{}={parts}", shown(name))).collect();
    let (work, parent) = (cid(of), parent.map(|parent| format!("{}=1", cid(parent))));
    let mut command = vec!["registry", "register", &work, "--name", of, "--licence", "Apache-2.0"];
    command.extend(makers.iter().flat_map(|maker| ["--maker", maker.as_str()]));
    command.extend(parent.iter().flat_map(|parent| ["--parent", parent.as_str()]));
    let by = if of == "base" { "hadi" } else { "amal" };
    it.act(by, &command);
}

fn pay(it: &mut Teller, name: &str, amount: &str) {
    let (model, dina) = (cid("model"), shown("dina"));
    it.act(name, &["registry", "pay", &model, amount, "--worker", &dina]);
}

fn work(it: &mut Teller) {
    register(it, "base", &[("hadi", 1)], None);
    register(it, "model", &[("amal", 60), ("badr", 40)], Some("base"));
    it.say("amal registers a model: 60 parts amal, 40 parts badr, made from a base of hadi's");
    pay(it, "nour", "40");
    pay(it, "layla", "10.000001");
    it.say("nour pays 40 and layla 10.000001 for its use on dina's machine");
    it.balances();
}

fn makers(parts: [u32; 2]) -> Value {
    let makers = ["amal", "badr"].iter().zip(parts);
    makers.map(|(name, parts)| json!({"account": shown(name), "parts": parts})).collect()
}

fn change(it: &mut Teller) {
    it.act("layla", &["delegate", "ordinary", &shown("dina")]);
    it.say("layla lets dina vote on ordinary business");
    let admit = format!("admit-work {}", cid("model"));
    let split = format!("set-split {} {}=50 {}=50", cid("model"), shown("amal"), shown("badr"));
    it.act("badr", &["propose", "an even split", "--do", &admit, "--do", &split]);
    it.say("badr proposes to take the model into the commons and to split it evenly");
    for (name, choice) in [("badr", "yes"), ("dina", "yes"), ("amal", "no")] {
        it.act(name, &["vote", "1", choice]);
    }
    assert_eq!(it.makers(), makers([60, 40]));
    let proposal = |it: &Teller| it.nodes[0].json(&["ledger", "proposals", "1"]);
    until("the proposal's execution", || proposal(it)["stage"] == "executed");
    assert_eq!(it.makers(), makers([50, 50]));
    let live = proposal(it);
    assert_eq!(live["executes"].as_u64(), live["closes"].as_u64().map(|it| it + TIMELOCK));
    until("the execution on the other", || {
        it.nodes[1].height() >= live["executes"].as_u64().unwrap()
    });
    it.happened();
    let recounted = it.nodes[1].json(&["ledger", "recount", "1"]);
    for count in [&live, &recounted] {
        let told = format!(
            "vote 1 is over: {} yes, {} no, {} abstain; passed: {}",
            count["yes"],
            count["no"],
            count["abstain"],
            count["stage"] == "executed"
        );
        assert!(it.lines.contains(&told), "{told}");
    }
    let by_delegate = recounted["ballots"].as_array().unwrap().iter();
    let by_delegate: Vec<_> = by_delegate.filter(|it| it["voter"] != it["by"]).collect();
    assert_eq!(by_delegate.len(), 1);
    assert_eq!(
        (&by_delegate[0]["voter"], &by_delegate[0]["by"]),
        (&json!(shown("layla")), &json!(shown("dina")))
    );
    it.act("layla", &["delegate", "ordinary", "none"]);
    it.say("layla takes her delegation back");
    pay(it, "nour", "20");
    it.say("nour pays 20 more");
    let period = it.nodes[0].json(&["ledger", "status"])["period"].clone();
    assert_eq!(
        period,
        0,
        "this machine is too slow: the first period has ended in block {}",
        2 * EPOCH
    );
    it.balances();
}

fn divide_and_leave(it: &mut Teller) {
    until("the period's end", || it.nodes.iter().all(|it| it.height() >= 2 * EPOCH));
    it.happened();
    it.balances();
    for line in it.lines.iter().filter(|line| line.ends_with(" as capital")) {
        // `NAME gets CASH and CAPITAL as capital`.
        let words: Vec<&str> = line.split(' ').collect();
        let share = if words[0] == "nour" { "5" } else { "0" };
        let capital = Amount::parse(words[4]).unwrap().checked_add(Amount::parse(share).unwrap());
        assert_eq!(it.capital(words[0]), capital.unwrap().to_string());
    }
    it.act("dina", &["member", "leave"]);
    it.say("dina leaves, and her capital is paid out");
    assert_eq!(it.capital("dina"), "0");
    it.balances();
}

/// Every line of balances is what the blocks lead to, by the record of either node.
fn compute_again(it: &Teller) {
    assert_eq!(it.balances.len(), 6);
    let beyond = it.nodes[0].run(&["ledger", "replay", "--until", "1000000"]);
    assert_eq!(beyond.code, Some(3), "{}", beyond.stderr);
    for (at, (height, told)) in it.balances.iter().enumerate() {
        let until = ["ledger", "replay", "--accounts", "--until", &height.to_string()];
        let replayed = it.nodes[at % 2].json(&until);
        assert_eq!((&replayed["height"], &replayed["sum"]), (&json!(height), &json!("0")));
        let accounts = replayed["accounts"].as_array().unwrap();
        let balance = |of: &Address| {
            let account = accounts.iter().find(|it| it["address"] == of.to_string());
            account.map_or(json!("0"), |it| it["balance"].clone())
        };
        assert_eq!(line(balance), *told, "after block {height}");
    }
}
