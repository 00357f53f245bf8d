//! A backup, and the home that is made of it: all of it, or nothing.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::keys::{complete, key};
use crate::up::{Node, world};
use crate::world::{Ended, World};

fn restore(world: &World, file: &Path, more: &[&str]) -> Ended {
    let (file, new) = (file.to_str().unwrap(), world.path("new"));
    let arguments = ["restore", file, "--home", new.to_str().unwrap()];
    world.run(&[&arguments[..], more].concat())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// A home with a key, a wallet and a ledger of one, its backup, and the backup's root.
fn backed_up() -> (World, String, String) {
    let world = world();
    let secret = key(&world, &["laptop"]);
    let made = world.run(&["wallet", "new", "--unattended"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let node = Node::start_with(&world, &[], &[]);
    assert_eq!(complete(&node, &secret).0, 200);
    let file = world.path("backup.car");
    let running = world.run(&["backup", file.to_str().unwrap()]);
    assert_eq!(running.code, Some(1), "a home in use: {}", running.stderr);
    assert!(running.stderr.contains("stop it") && !file.exists(), "{}", running.stderr);
    assert_eq!(node.stop("-TERM").0, Some(0));
    let made = world.run(&["backup", file.to_str().unwrap()]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stderr.contains("random"), "models are named: {}", made.stderr);
    (world, secret, made.stdout.trim().to_owned())
}

#[test]
fn a_home_comes_back_from_its_backup_with_its_keys_and_serves() {
    let (world, secret, root) = backed_up();
    let file = world.path("backup.car");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(world.run(&["backup", file.to_str().unwrap()]).code, Some(2), "it is there");
    let restored = restore(&world, &file, &["--root", &root]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    let new = world.path("new");
    for name in ["ledger/node.key", "wallets/main.json", "keys/keys.json", "ledger/genesis.toml"] {
        let (old, new) = (fs::read(world.home(name)).unwrap(), fs::read(new.join(name)).unwrap());
        assert!(old == new, "{name}");
        assert_eq!(mode(&world.path("new").join(name)), 0o600, "{name}");
    }
    assert!(!new.join("manifest.json").exists() && !world.path("new.part").exists());
    assert_eq!(mode(&new), 0o700);
    let again = restore(&world, &file, &[]);
    assert_eq!(again.code, Some(2), "nothing is overwritten: {}", again.stderr);
    // The model is fetched again, here from the file that it was made of.
    fs::rename(world.path("home"), world.path("old")).unwrap();
    fs::rename(&new, world.path("home")).unwrap();
    let source = world.path("random.gguf");
    assert_eq!(world.run(&["model", "add", source.to_str().unwrap()]).code, Some(0));
    let node = Node::start_with(&world, &[], &[]);
    assert_eq!((complete(&node, &secret).0, complete(&node, "other").0), (200, 401));
    assert_eq!(node.stop("-TERM").0, Some(0));
}

#[test]
fn a_backup_that_is_damaged_or_another_places_nothing() {
    let (world, _, root) = backed_up();
    let file = world.path("backup.car");
    let whole = fs::read(&file).unwrap();
    let other = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    assert_eq!(restore(&world, &file, &["--root", other]).code, Some(4));
    let damaged = world.path("damaged.car");
    for at in [40, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&damaged, bytes).unwrap();
        let refused = restore(&world, &damaged, &[]);
        assert_eq!(refused.code, Some(4), "byte {at}: {}", refused.stderr);
        fs::write(&damaged, &whole[..at]).unwrap();
        let refused = restore(&world, &damaged, &[]);
        assert_eq!(refused.code, Some(4), "cut at {at}: {}", refused.stderr);
        assert!(!world.path("new").exists() && !world.path("new.part").exists(), "{at}");
    }
    // An archive of something else.
    let poem = world.path("poem");
    fs::create_dir(&poem).unwrap();
    fs::write(poem.join("lock"), "roses").unwrap();
    let added = world.run(&["store", "add", poem.to_str().unwrap()]);
    let cid = added.stdout.trim();
    let exported = world.run(&["store", "export", cid, world.path("poem.car").to_str().unwrap()]);
    assert_eq!(exported.code, Some(0), "{}", exported.stderr);
    let refused = restore(&world, &world.path("poem.car"), &[]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(!world.path("new").exists());
    assert_eq!(restore(&world, &file, &["--root", &root]).code, Some(0));
}

#[test]
fn a_validator_among_others_comes_back_silent_or_not_at_all() {
    let world = World::new();
    let other = "0x5866666666666666666666666666666666666666666666666666666666666666";
    let me = world.run(&["ledger", "key"]).stdout;
    let begun = world.run(&["init", "--validator", me.trim(), "--validator", other]);
    assert_eq!(begun.code, Some(0), "{}", begun.stderr);
    let file = world.path("backup.car");
    let mut command = world.command(&["ledger", "run", "--listen", "127.0.0.1:0"]);
    let mut node = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(node.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(told.any(|line| line.starts_with("ready: ")), "the ledger runs");
    node.kill().unwrap();
    node.wait().unwrap();
    let made = world.run(&["backup", file.to_str().unwrap(), "--json"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let told: Value = serde_json::from_str(&made.stdout).unwrap();
    let ledger = &told["manifest"]["ledger"];
    assert_eq!((&ledger["is_validator"], &ledger["validators"]), (&true.into(), &2.into()));
    let refused = restore(&world, &file, &[]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    assert!(refused.stderr.contains("--silent-until"), "{}", refused.stderr);
    assert!(!world.path("new").exists());
    let restored = restore(&world, &file, &["--silent-until", "1234"]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    let silent = fs::read(world.path("new/ledger/agreement/silent")).unwrap();
    assert_eq!(silent, 1234u64.to_le_bytes());
}
