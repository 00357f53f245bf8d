//! `mashaa store`, and artifacts that come from other nodes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;
use store::cid::{CHUNK_SIZE, Cid};

use crate::world::{Ended, NAME, World, files};

/// Runs the program in another home of this world.
fn run(world: &World, home: &str, arguments: &[&str]) -> Ended {
    let mut command = world.command(arguments);
    Ended::of(&command.env("MASHAA_HOME", world.path(home)).output().unwrap())
}

/// Runs it, and expects it to succeed.
pub(crate) fn succeed(world: &World, home: &str, arguments: &[&str]) -> String {
    let ended = run(world, home, arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended.stdout.trim().to_owned()
}

fn json(world: &World, home: &str, arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(world, home, &[arguments, &["--json"]].concat())).unwrap()
}

/// A node that serves a home; ends with the test.
pub(crate) struct Serving {
    pub(crate) url: String,
    child: Child,
}

impl Serving {
    pub(crate) fn of(world: &World, home: &str) -> Serving {
        let mut command = world.command(&["ledger", "run", "--listen", "127.0.0.1:0"]);
        command.env("MASHAA_HOME", world.path(home)).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.find_map(|line| {
            Some(line.unwrap().strip_prefix("ready: ")?.trim_end_matches("/ledger").to_owned())
        });
        // The pipe is read on, so that nothing waits for it.
        std::thread::spawn(move || lines.for_each(drop));
        Serving { url: ready.unwrap(), child }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder with a large file, a small one, a hidden one, an empty folder and a link.
fn folder(world: &World) -> std::path::PathBuf {
    let folder = world.path("folder");
    fs::create_dir_all(folder.join("inner/empty")).unwrap();
    let large: Vec<u8> =
        (0..3 * CHUNK_SIZE as u32).map(|it| (it.wrapping_mul(it) >> 8) as u8).collect();
    fs::write(folder.join("large"), large).unwrap();
    fs::write(folder.join("inner/small"), "hello world").unwrap();
    fs::write(folder.join(".hidden"), "secret").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("inner/small", folder.join("link")).unwrap();
    folder
}

fn same(a: &Path, b: &Path) {
    for name in ["large", "inner/small"] {
        assert!(fs::read(a.join(name)).unwrap() == fs::read(b.join(name)).unwrap(), "{name}");
    }
    assert!(b.join("inner/empty").is_dir());
    assert!(!b.join(".hidden").exists());
    #[cfg(unix)]
    assert_eq!(fs::read_link(b.join("link")).unwrap(), Path::new("inner/small"));
}

#[test]
fn a_folder_goes_in_and_out_and_into_an_archive() {
    let world = World::new();
    let folder = folder(&world);
    let cid = succeed(&world, "home", &["store", "add", folder.to_str().unwrap()]);
    assert_eq!(
        succeed(&world, "other", &["store", "add", "--no-pin", folder.to_str().unwrap()]),
        cid
    );
    let entries = json(&world, "home", &["store", "ls", &cid]);
    let names: Vec<&str> =
        entries.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        if cfg!(unix) { vec!["inner", "large", "link"] } else { vec!["inner", "large"] }
    );
    let listed = json(&world, "home", &["store", "ls"]);
    assert_eq!(
        (&listed[0]["cid"], &listed[0]["name"]),
        (&Value::from(&*cid), &Value::from("folder"))
    );
    let out = world.path("out");
    succeed(&world, "home", &["store", "get", &cid, "-o", out.to_str().unwrap()]);
    same(&folder, &out);
    let again = run(&world, "home", &["store", "get", &cid, "-o", out.to_str().unwrap()]);
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    let archive = world.path("archive.car");
    let car = archive.to_str().unwrap();
    succeed(&world, "home", &["store", "export", &cid, car]);
    assert_eq!(succeed(&world, "third", &["store", "import", car]), cid);
    assert_eq!(json(&world, "third", &["store", "fsck"])["missing"], Value::Array(vec![]));
    let out = world.path("out of the archive");
    succeed(&world, "third", &["store", "get", &cid, "-o", out.to_str().unwrap()]);
    same(&folder, &out);
    let mut damaged = fs::read(&archive).unwrap();
    damaged[200] ^= 1;
    fs::write(&archive, damaged).unwrap();
    let refused = run(&world, "fourth", &["store", "import", car]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
}

#[test]
fn what_is_pinned_and_what_models_are_made_of_survives_a_collection() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    let source = world.path("random.gguf");
    succeed(&world, "home", &["model", "add", source.to_str().unwrap(), "--name", NAME]);
    fs::write(world.path("a"), "kept").unwrap();
    fs::write(world.path("b"), "not kept").unwrap();
    let kept = succeed(&world, "home", &["store", "add", world.path("a").to_str().unwrap()]);
    let lost = succeed(&world, "home", &["store", "add", world.path("b").to_str().unwrap()]);
    succeed(&world, "home", &["store", "unpin", &lost]);
    assert_eq!(run(&world, "home", &["store", "unpin", &lost]).code, Some(3));
    let collected = json(&world, "home", &["store", "gc"]);
    assert_eq!(collected["files"], 1, "{collected}");
    world.check("after gc");
    assert_eq!(json(&world, "home", &["store", "stat", &kept])["pinned"], true);
    assert_eq!(run(&world, "home", &["store", "stat", &lost]).code, Some(3));
    // A model's files that are pinned outlive the model.
    let listed = json(&world, "home", &["model", "ls"]);
    let artifact = listed[0]["artifact"].as_str().unwrap();
    succeed(&world, "home", &["store", "pin", artifact]);
    succeed(&world, "home", &["model", "rm", NAME]);
    assert!(world.home("blobs").join(artifact).is_file());
    assert_eq!(json(&world, "home", &["store", "gc"])["files"], 0);
}

#[test]
fn an_artifact_comes_from_other_nodes_and_is_a_model() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    let source = world.path("random.gguf");
    let made = succeed(&world, "home", &["model", "add", source.to_str().unwrap(), "--name", NAME]);
    let artifact = made.split(' ').nth(1).unwrap();
    succeed(
        &world,
        "second",
        &["store", "add", world.home("blobs").join(artifact).to_str().unwrap()],
    );
    let (first, second) = (Serving::of(&world, "home"), Serving::of(&world, "second"));
    let pull = ["model", "pull", artifact, "--from", &first.url, "--from", &second.url];
    assert_eq!(succeed(&world, "third", &pull), made);
    let [here, there] = ["home", "third"].map(|home| json(&world, home, &["model", "show", NAME]));
    for field in ["artifact", "artifact_size", "source", "family", "bits", "licence"] {
        assert_eq!(here[field], there[field], "{field}");
    }
    let hashes = ["home", "third"].map(|home| succeed(&world, home, &["hash", NAME]));
    assert_eq!(hashes[0], hashes[1]);
    // Again, and under another name; a model of that name with other bytes is not replaced.
    assert_eq!(succeed(&world, "third", &["model", "pull", artifact]), made);
    let named = succeed(&world, "third", &["model", "pull", artifact, "--as", "other"]);
    assert_eq!(named, format!("other {artifact}"));
    let absent = Cid::of(b"absent").to_string();
    let missing = run(&world, "third", &["model", "pull", &absent, "--from", &first.url]);
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    let alone = run(&world, "third", &["model", "pull", &absent]);
    assert_eq!(alone.code, Some(3), "{}", alone.stderr);
}

#[test]
fn what_is_damaged_is_found_and_only_that_is_fetched_again() {
    let world = World::new();
    let folder = folder(&world);
    let cid = succeed(&world, "home", &["store", "add", folder.to_str().unwrap()]);
    let large = Cid::of(&fs::read(folder.join("large")).unwrap());
    let serving = Serving::of(&world, "home");
    let got = json(&world, "other", &["store", "get", &cid, "--from", &serving.url]);
    assert_eq!(got["sources"][0]["verdict"], "good");
    let blob = world.path("other/blobs").join(large.to_string());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[CHUNK_SIZE + 1] ^= 1;
    fs::remove_file(&blob).unwrap();
    fs::write(&blob, &bytes).unwrap();
    let found = run(&world, "other", &["store", "fsck", "--json"]);
    assert_eq!(found.code, Some(4), "{}", found.stderr);
    let report: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(report["damaged"][0], large.to_string());
    assert!(!blob.exists());
    let mended = json(&world, "other", &["store", "fsck", "--from", &serving.url]);
    assert_eq!(mended["fetched"][0], large.to_string());
    assert_eq!(Cid::of(&fs::read(&blob).unwrap()), large);
    assert_eq!(
        files(&world.path("other/blobs/staging"))
            .iter()
            .filter(|it| it.extension().is_none())
            .count(),
        0
    );
}

#[test]
fn a_quota_is_kept() {
    let world = World::new();
    let large = world.path("large");
    // A hole: nothing is written to the disk.
    fs::File::create(&large).unwrap().set_len((1 << 30) + 1).unwrap();
    let mut command = world.command(&["store", "add", large.to_str().unwrap()]);
    let ended = Ended::of(&command.env("MASHAA_STORE_GIB", "1").output().unwrap());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("store_gib"), "{}", ended.stderr);
    assert_eq!(json(&world, "home", &["store", "stat"])["files"], 0);
}

#[test]
fn what_is_no_cid_or_not_here_is_refused_by_name() {
    let world = World::new();
    for arguments in [&["store", "get", "nonsense"][..], &["store", "get", "bafkqaaa"]] {
        assert_eq!(run(&world, "home", arguments).code, Some(2));
    }
    let absent = Cid::of(b"absent").to_string();
    for command in ["get", "pin", "stat"] {
        let ended = run(&world, "home", &["store", command, &absent]);
        assert_eq!(ended.code, Some(3), "{command}: {}", ended.stderr);
    }
    let https = ["store", "get", &absent, "--from", "https://127.0.0.1:1"];
    assert_eq!(run(&world, "home", &https).code, Some(2));
    let nobody = ["store", "get", &absent, "--from", "http://127.0.0.1:1"];
    assert_eq!(run(&world, "home", &nobody).code, Some(1));
}

#[test]
fn whoever_is_named_to_be_asked_says_where_content_is_and_nobody_else_is_asked() {
    let world = World::new();
    fs::write(world.path("a"), vec![7; CHUNK_SIZE * 2 + 1]).unwrap();
    let cid = succeed(&world, "home", &["store", "add", world.path("a").to_str().unwrap()]);
    let serving = Serving::of(&world, "home");
    let get = |home: &str, routing: &str| {
        let mut command = world.command(&["store", "get", &cid, "--json"]);
        command.env("MASHAA_HOME", world.path(home)).env("MASHAA_STORE_ROUTING", routing);
        Ended::of(&command.output().unwrap())
    };
    let alone = get("other", "");
    assert_eq!(alone.code, Some(3), "{}", alone.stderr);
    assert!(alone.stderr.contains("store_routing"), "{}", alone.stderr);
    // One that answers nothing is named, and spoils nothing.
    let found = get("other", &format!("http://127.0.0.1:1,{}", serving.url));
    assert_eq!(found.code, Some(0), "{}", found.stderr);
    assert!(found.stderr.contains("http://127.0.0.1:1: "), "{}", found.stderr);
    let value: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(value["sources"][0]["source"], serving.url);
    assert_eq!(json(&world, "other", &["store", "stat", &cid])["whole"], true);
    // It knows nothing of what it has not.
    fs::write(world.path("b"), "elsewhere").unwrap();
    let other = succeed(&world, "third", &["store", "add", world.path("b").to_str().unwrap()]);
    let mut command = world.command(&["store", "get", &other]);
    command.env("MASHAA_STORE_ROUTING", &serving.url).env("MASHAA_HOME", world.path("fourth"));
    let ended = Ended::of(&command.output().unwrap());
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let mut command = world.command(&["store", "get", &other]);
    command.env("MASHAA_STORE_ROUTING", "ftp://x").env("MASHAA_HOME", world.path("fourth"));
    let ended = Ended::of(&command.output().unwrap());
    assert_ne!(ended.code, Some(0));
    assert!(ended.stderr.contains("ftp://x"), "{}", ended.stderr);
}
