//! Exit codes and messages, as `docs/cli.md` promises them.

use std::fs;
use std::process::Stdio;

use crate::world::{World, files};

/// Runs the program and checks its code, and that its message has each of these words.
fn check(world: &World, arguments: &[&str], code: i32, words: &[&str]) {
    let ended = world.run(arguments);
    let told = &ended.stderr;
    assert_eq!(ended.code, Some(code), "{arguments:?}: {told}");
    for word in words {
        assert!(told.contains(word), "{arguments:?}: {word:?} is not in {told}");
    }
}

#[test]
fn a_mistake_in_the_command_line_is_code_2() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    check(&world, &["modle"], 2, &["modle", "Usage"]);
    check(&world, &["model", "pull", "--form", "x"], 2, &["--form", "--from"]);
}

#[test]
fn what_is_not_there_is_code_3() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    for command in ["pull", "show", "rm", "path"] {
        check(&world, &["model", command, "nothing"], 3, &["nothing"]);
    }
    check(&world, &["chat", "--model", "nothing", "hello"], 3, &["nothing"]);
}

#[test]
fn what_the_world_denies_is_code_1() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    check(&world, &["model", "pull"], 1, &["http://127.0.0.1:1/none", &world.cid.to_string()]);
    check(&world, &["model", "add", "/there/is/no/file.gguf"], 1, &["/there/is/no/file.gguf"]);
    world.catalogue(&[]);
    check(&world, &["model", "pull"], 1, &["catalogue.toml", "mirror"]);
}

#[test]
fn a_file_that_is_no_model_is_code_4() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    let path = world.path("poem.gguf");
    fs::write(&path, "roses are red").unwrap();
    check(&world, &["model", "add", path.to_str().unwrap()], 4, &["poem"]);
    assert!(files(&world.home("blobs")).is_empty(), "the poem is kept");
    let folder = world.path("folder");
    fs::create_dir(&folder).unwrap();
    check(&world, &["model", "add", folder.to_str().unwrap()], 4, &["config.json"]);
    fs::write(folder.join("config.json"), "{}").unwrap();
    check(&world, &["model", "add", folder.to_str().unwrap()], 4, &["tokenizer.json"]);
    assert!(files(&world.home("blobs")).is_empty(), "the folder's files are kept");
}

#[test]
fn a_model_has_every_name_that_the_catalogue_gives_it() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    let not_here = world.run(&["model", "show", "rnd", "--json"]);
    assert!(not_here.stdout.contains("\"here\":false"), "{}", not_here.stdout);
    let source = world.path("random.gguf");
    assert_eq!(world.run(&["model", "add", source.to_str().unwrap()]).code, Some(0));
    let here = world.run(&["model", "show", "rnd", "--json"]);
    assert!(here.stdout.contains("\"name\":\"random\""), "{}", here.stdout);
    let again = ["model", "add", source.to_str().unwrap(), "--name", "again", "--all-8-bit"];
    assert_eq!(world.run(&again).code, Some(0));
    assert_eq!(world.run(&["model", "rm", "rnd"]).code, Some(0));
    assert!(!world.has_model());
    world.check("the source is still needed");
    assert_eq!(world.run(&["model", "rm", "again"]).code, Some(0));
    assert!(files(&world.home("blobs")).is_empty());
}

#[test]
fn a_blob_that_rots_is_found_out() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    let source = world.path("random.gguf");
    assert_eq!(world.run(&["model", "add", source.to_str().unwrap()]).code, Some(0));
    let path = world.run(&["model", "path", "random"]).stdout.trim_end().to_owned();
    let mut bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::remove_file(&path).unwrap();
    fs::write(&path, bytes).unwrap();
    let ended = world.run(&["doctor"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stdout);
    assert!(ended.stdout.contains("mashaa model rm random"), "{}", ended.stdout);
}

#[test]
fn an_unknown_setting_is_refused_by_name_and_line() {
    let world = World::new();
    world.catalogue(&[]);
    fs::write(world.home("config.toml"), "threads = 1\n\n\"modle\" = \"x\"\n").unwrap();
    check(&world, &["config", "show"], 1, &["config.toml:3", "\"modle\""]);
}

#[test]
fn every_value_has_its_origin_and_no_key_is_shown() {
    let world = World::new();
    world.catalogue(&[]);
    fs::write(world.home("config.toml"), "threads = 1\n").unwrap();
    let mut command = world.command(&["config", "show", "--origin"]);
    let output = command.env("MASHAA_API_KEYS", "hush,quiet").output().unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("threads = \"1\"  # ") && shown.contains("config.toml"), "{shown}");
    assert!(shown.contains("environment MASHAA_API_KEYS"), "{shown}");
    assert!(shown.contains("isa = \"auto\"  # default"), "{shown}");
    assert!(!shown.contains("hush") && !shown.contains("quiet"), "{shown}");
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = world.command(&["config", "show"]);
    let output = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = output.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}
