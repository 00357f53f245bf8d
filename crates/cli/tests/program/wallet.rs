//! Wallets, as a person or a program makes and uses them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::world::{Ended, World, files};

/// The first account of development chains.
const JUNK: &str = "test test test test test test test test test test test junk";
const JUNK_ADDRESS: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// The key in the documentation of web3.js, and what it signs there.
const DOCUMENTED: &str = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
const SOME_DATA: &str = "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd\
                         6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c";

impl World {
    /// A file that only its owner can read.
    fn secret(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs a `wallet` command without a terminal, with a text for standard input.
    fn wallet_with(&self, arguments: &[&str], input: &str) -> Ended {
        let program = env!("CARGO_BIN_EXE_mashaa");
        let mut command = Command::new("setsid");
        command.args(["--wait", program, "wallet"]).args(arguments);
        command.env_clear().env("MASHAA_HOME", self.path("home")).env("PATH", "/usr/bin:/bin");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that has ended takes no text.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ended::of(&child.wait_with_output().unwrap())
    }

    fn wallet(&self, arguments: &[&str]) -> Ended {
        self.wallet_with(arguments, "")
    }

    /// Runs a `wallet` command that is to succeed, and reads its JSON.
    fn wallet_json(&self, arguments: &[&str]) -> Value {
        let ended = self.wallet(&[arguments, &["--json"]].concat());
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).unwrap()
    }

    /// Runs a `wallet` command that is to fail with this code, and these words in its message.
    fn refused(&self, arguments: &[&str], code: i32, words: &[&str]) {
        let ended = self.wallet(arguments);
        assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.stderr);
        for word in words {
            assert!(
                ended.stderr.contains(word),
                "{arguments:?}: {word:?} is not in {}",
                ended.stderr
            );
        }
        assert_eq!(ended.stdout, "", "{arguments:?}");
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_new_wallet_comes_back_from_its_words_and_from_its_file() {
    let world = World::new();
    let passphrase = world.secret("passphrase", "open sesame\n");
    let made = world.wallet_json(&["new", "--passphrase-file", &passphrase]);
    let words = made["phrase"].as_str().unwrap();
    assert_eq!(words.split(' ').count(), 12);
    let file = world.home("wallets/main.json");
    assert_eq!(made["file"].as_str(), file.to_str());
    assert_eq!((mode(&file), mode(&world.home("wallets"))), (0o600, 0o700));
    assert!(!fs::read_to_string(&file).unwrap().contains(words));

    let phrase = world.secret("phrase", words);
    let other = world.secret("other", "another passphrase");
    let from = ["import", "--name", "words", "--from", &phrase, "--passphrase-file", &other];
    assert_eq!(world.wallet_json(&from)["address"], made["address"]);

    // A keystore may be read by anyone, and gets a passphrase of its own here.
    let copy = world.path("copy.json");
    fs::copy(&file, &copy).unwrap();
    fs::set_permissions(&copy, PermissionsExt::from_mode(0o644)).unwrap();
    let copy = copy.to_str().unwrap();
    let from = ["import", "--name", "file", "--from", copy, "--from-passphrase-file", &passphrase];
    let again = world.wallet_json(&[&from[..], &["--passphrase-file", &other]].concat());
    assert_eq!(again["address"], made["address"]);
    assert_eq!(again["path"], "m/44'/60'/0'/0/0");

    let listed = world.wallet_json(&["list"]);
    let listed: Vec<&Value> = listed.as_array().unwrap().iter().collect();
    let names: Vec<&str> = listed.iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["file", "main", "words"]);
    assert!(listed.iter().all(|entry| entry["address"] == made["address"]));
    assert!(listed.iter().all(|entry| entry.get("phrase").is_none()));
    let shown = world.wallet(&["show"]);
    assert!(shown.stdout.contains(made["address"].as_str().unwrap()), "{}", shown.stdout);
}

#[test]
fn known_keys_have_their_addresses_and_signatures() {
    let world = World::new();
    let passphrase = world.secret("passphrase", "open sesame");
    let with = |arguments: &[&'static str], from: &str| {
        let passphrase = ["--from", from, "--passphrase-file", &passphrase];
        world.wallet_json(&[&["import"], arguments, &passphrase].concat())
    };
    let junk = world.secret("junk", &format!("{JUNK}\n"));
    assert_eq!(with(&["--name", "junk"], &junk)["address"], JUNK_ADDRESS);
    let second = with(&["--name", "junk1", "--index", "1"], &junk);
    assert_eq!(second["address"], "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    assert_eq!(second["path"], "m/44'/60'/0'/0/1");
    let key = world.secret("key", DOCUMENTED);
    assert_eq!(with(&[], &key)["address"], "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23");

    let signed = world.wallet_with(&["sign", "--passphrase-file", &passphrase], "Some data");
    assert_eq!(signed.stdout, format!("{SOME_DATA}\n"), "{}", signed.stderr);
    let text = world.secret("text", "Some data");
    let signed = world.wallet_json(&["sign", &text, "--passphrase-file", &passphrase]);
    assert_eq!(signed["signature"], SOME_DATA);
    let line = world.wallet_with(&["sign", "--passphrase-file", &passphrase], "Some data\n");
    assert_ne!(line.stdout, format!("{SOME_DATA}\n"), "a line end is part of the text");

    let hex = world.wallet(&["export", "--hex", "--passphrase-file", &passphrase]);
    assert_eq!(hex.stdout, format!("0x{DOCUMENTED}\n"));
    let exported = world.wallet_json(&["export"]);
    assert_eq!(exported["keystore"]["version"], 3);
    let to = world.path("out/key");
    let to = to.to_str().unwrap();
    let written = ["export", "--hex", "--to", to, "--passphrase-file", &passphrase];
    assert_eq!(world.wallet(&written).code, Some(0));
    assert_eq!(mode(Path::new(to)), 0o600);
    world.refused(&["export", "--to", to], 2, &["is there already"]);
}

#[test]
fn an_unattended_wallet_signs_without_a_person() {
    let world = World::new();
    let made = world.wallet_json(&["new", "--name", "server", "--unattended"]);
    assert_eq!((&made["unattended"], made.get("phrase")), (&Value::Bool(true), None));
    for name in ["wallets/server.json", "wallets/server.passphrase"] {
        assert_eq!(mode(&world.home(name)), 0o600);
    }
    let signed = world.wallet_with(&["sign", "--name", "server"], "hello");
    assert_eq!(signed.code, Some(0), "{}", signed.stderr);
    assert!(signed.stdout.starts_with("0x") && signed.stdout.len() == 133, "{}", signed.stdout);
    let beside = world.home("wallets/server.passphrase");
    fs::set_permissions(&beside, PermissionsExt::from_mode(0o640)).unwrap();
    world.refused(&["sign", "--name", "server"], 4, &["chmod 600", "server.passphrase"]);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_kept() {
    let world = World::new();
    let passphrase = world.secret("passphrase", "open sesame");
    let new = |file: &str, code: i32, words: &[&str]| {
        world.refused(&["new", "--passphrase-file", file], code, words);
    };
    let public = world.secret("public", "open sesame");
    fs::set_permissions(&public, PermissionsExt::from_mode(0o604)).unwrap();
    new(&public, 4, &["mode 604", "chmod 600"]);
    new(&world.secret("short", "sesame"), 4, &["6 characters", "8"]);
    new(&world.secret("empty", "\n"), 4, &["empty"]);
    new("/there/is/no/file", 1, &["/there/is/no/file"]);
    world.refused(&["new"], 2, &["no terminal", "--passphrase-file"]);
    world.refused(&["new", "--name", "../main"], 2, &["../main"]);
    world.refused(&["new", "--passphrase", "open sesame"], 2, &["--passphrase"]);

    let import = |text: &str, more: &[&str], code: i32, words: &[&str]| {
        let from = world.secret("from", text);
        let from = ["import", "--from", &from, "--passphrase-file", &passphrase];
        world.refused(&[&from[..], more].concat(), code, words);
    };
    import(&JUNK.replace("junk", "junc"), &[], 4, &["word 12"]);
    import(&JUNK.replace("junk", "test"), &[], 4, &["checksum"]);
    import("test test", &[], 4, &["2 words"]);
    import(&DOCUMENTED[1..], &[], 4, &["64 hexadecimal"]);
    import(DOCUMENTED, &["--index", "1"], 2, &["--index"]);
    import(JUNK, &["--index", "2147483648"], 2, &["--index"]);
    import("{\"version\": 1}", &["--from-passphrase-file", &passphrase], 4, &["version"]);
    import("{\"version\": 3}", &[], 2, &["no terminal", "--from-passphrase-file"]);
    let from = world.secret("from", JUNK);
    fs::set_permissions(&from, PermissionsExt::from_mode(0o644)).unwrap();
    world.refused(&["import", "--from", &from], 4, &["chmod 600"]);
    assert!(files(&world.home("wallets")).is_empty());
}

#[test]
fn a_wallet_is_neither_replaced_nor_opened_with_a_wrong_passphrase() {
    let world = World::new();
    let passphrase = world.secret("passphrase", "open sesame");
    let made = world.wallet(&["new", "--words", "24", "--passphrase-file", &passphrase]);
    let words = made.stdout.lines().find_map(|line| line.strip_prefix("phrase   ")).unwrap();
    assert_eq!(words.split(' ').count(), 24);
    assert!(made.stderr.contains("paper"), "{}", made.stderr);
    let before = fs::read(world.home("wallets/main.json")).unwrap();
    for command in [&["new"][..], &["new", "--unattended"], &["import", "--from", &passphrase]] {
        world.refused(command, 2, &["main.json", "not replaced"]);
    }
    assert_eq!(fs::read(world.home("wallets/main.json")).unwrap(), before);
    assert_eq!(files(&world.home("wallets")).len(), 1);

    let wrong = world.secret("wrong", "open sesam");
    world.refused(&["export", "--hex", "--passphrase-file", &wrong], 4, &["passphrase is wrong"]);
    world.refused(&["sign", "--passphrase-file", &wrong], 4, &["passphrase is wrong"]);
    world.refused(&["show", "--name", "nothing"], 3, &["nothing", "mashaa wallet new"]);
    world.refused(&["sign"], 2, &["no terminal"]);

    fs::write(world.home("wallets/broken.json"), "{").unwrap();
    let listed = world.wallet(&["list"]);
    assert_eq!(listed.code, Some(4));
    assert!(listed.stdout.starts_with("main ") && listed.stderr.contains("broken.json"));
}

/// A terminal of its own, with someone who types.
#[cfg(target_os = "linux")]
struct Typist {
    child: std::process::Child,
    seen: String,
    /// The file with the terminal's name.
    named: std::path::PathBuf,
}

#[cfg(target_os = "linux")]
impl Typist {
    fn new(world: &World, command: &str) -> Typist {
        let program = env!("CARGO_BIN_EXE_mashaa");
        let mut script = Command::new("script");
        let named = world.path("tty");
        let line = format!("tty > {}; exec {program} wallet {command}", named.display());
        script.args(["--quiet", "--return", "--command", &line]);
        script.arg("/dev/null").env("MASHAA_HOME", world.path("home"));
        let child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Typist { child, seen: String::new(), named }
    }

    /// Waits for a question, and answers it.
    fn answer(&mut self, question: &str, answer: &str) {
        let from = self.seen.len();
        let mut byte = [0];
        while !self.seen[from..].ends_with(question) {
            let read = self.child.stdout.as_mut().unwrap().read(&mut byte).unwrap();
            assert_eq!(read, 1, "{question:?} was not asked: {}", self.seen);
            self.seen.push(byte[0].into());
        }
        // A question is shown a moment before the terminal stops showing what is typed, which nobody
        // is quick enough to see but a test.
        let terminal = fs::read_to_string(&self.named).unwrap();
        let hides = || {
            let shown = Command::new("stty").args(["-F", terminal.trim(), "-a"]).output().unwrap();
            String::from_utf8(shown.stdout).unwrap().split_whitespace().any(|word| word == "-echo")
        };
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while !hides() {
            assert!(std::time::Instant::now() < end, "the terminal shows what is typed");
        }
        self.child.stdin.as_mut().unwrap().write_all(answer.as_bytes()).unwrap();
    }

    /// The exit code, and all that the terminal showed.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = Vec::new();
        self.child.stdout.as_mut().unwrap().read_to_end(&mut rest).unwrap();
        self.seen.push_str(&String::from_utf8_lossy(&rest));
        (self.child.wait().unwrap().code(), self.seen)
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_passphrase_that_is_typed_is_asked_for_twice_and_not_shown() {
    let world = World::new();
    let mut typist = Typist::new(&world, "new --name typed");
    typist.answer("Passphrase for the new wallet: ", "open sesame\n");
    typist.answer("The same again: ", "open sesame\n");
    let (code, seen) = typist.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("address  0x") && !seen.contains("sesame"), "{seen}");

    let mut typist = Typist::new(&world, "export --hex --name typed");
    typist.answer("Passphrase of typed: ", "open sesame\n");
    let (code, seen) = typist.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains("Whoever sees the secret key has the account.") && seen.contains("0x"));

    let mut typist = Typist::new(&world, "new --name other");
    typist.answer("Passphrase for the new wallet: ", "open sesame\n");
    typist.answer("The same again: ", "open sesam\n");
    let (code, seen) = typist.end();
    assert_eq!(code, Some(4), "{seen}");
    assert!(seen.contains("differ"), "{seen}");
    assert!(!world.home("wallets/other.json").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn a_phrase_that_is_typed_is_not_shown() {
    let world = World::new();
    let mut typist = Typist::new(&world, "import");
    typist.answer("Phrase or secret key: ", &format!("{JUNK}\n"));
    typist.answer("Passphrase for the new wallet: ", "open sesame\n");
    typist.answer("The same again: ", "open sesame\n");
    let (code, seen) = typist.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains(JUNK_ADDRESS) && !seen.contains("junk"), "{seen}");
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_at_a_question_keeps_nothing() {
    let world = World::new();
    let mut typist = Typist::new(&world, "new");
    typist.answer("Passphrase for the new wallet: ", "open\x03");
    let (code, seen) = typist.end();
    assert_eq!(code, Some(130), "{seen}");
    assert!(!world.home("wallets").exists());
}
