//! What is printed without a home: explanations, completions, the manual, a unit for systemd.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::up::{Node, world};
use crate::world::World;

fn said(world: &World, arguments: &[&str]) -> String {
    let ended = world.run(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended.stdout
}

#[test]
fn a_code_is_explained_in_two_languages_and_a_wrong_one_is_near_others() {
    let world = World::new();
    fs::remove_dir_all(world.path("home")).unwrap();
    assert!(said(&world, &["explain", "41"]).contains("The account has not enough."));
    let arabic = said(&world, &["explain", "not_enough", "--lang", "ar"]);
    assert!(arabic.contains("ليس في الحساب ما يكفي"), "{arabic}");
    assert!(said(&world, &["explain", "insufficient_scope"]).contains("the key is not for this"));
    let unknown = world.run(&["explain", "NotEnogh"]);
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    assert!(unknown.stderr.contains("NotEnough"), "{}", unknown.stderr);
    assert_eq!(world.run(&["explain", "41", "--lang", "fr"]).code, Some(2));
    assert!(!world.path("home").exists(), "it needs no home");
}

#[test]
fn a_shell_completes_commands_and_options() {
    let world = World::new();
    let script = world.path("mashaa.bash");
    fs::write(&script, said(&world, &["completions", "bash"])).unwrap();
    let complete = |words: &str, at: usize| {
        let ask = format!(
            "source {} && COMP_WORDS=({words}) COMP_CWORD={at} && _mashaa mashaa \
             \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{}]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display(),
            at - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = complete("mashaa key ''", 2);
    assert!(commands.contains("new") && commands.contains("revoke"), "{commands}");
    let options = complete("mashaa key new --sp", 3);
    assert!(options.contains("--spend"), "{options}");
    for shell in ["zsh", "fish"] {
        assert!(said(&world, &["completions", shell]).contains("requests-per-minute"), "{shell}");
    }
}

#[test]
fn the_manual_has_a_page_for_each_command() {
    let world = World::new();
    assert!(said(&world, &["man"]).contains(".TH mashaa 1"));
    let folder = world.path("man1");
    said(&world, &["man", "--folder", folder.to_str().unwrap()]);
    for name in ["mashaa.1", "mashaa-up.1", "mashaa-key-new.1", "mashaa-explain.1"] {
        let page = fs::read_to_string(folder.join(name)).unwrap();
        assert!(page.contains(".SH NAME") && page.contains(".SH SYNOPSIS"), "{name}: {page}");
    }
}

#[test]
fn a_unit_is_one_that_systemd_reads() {
    let world = World::new();
    let path = world.path("mashaa.service");
    fs::write(&path, said(&world, &["service", "systemd"])).unwrap();
    let verify = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output();
    // Where there is no systemd, nobody reads it.
    if let Ok(output) = verify {
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() && !told.contains("mashaa.service"), "{told}");
    }
}

#[test]
fn a_node_tells_systemd_when_it_is_ready() {
    let world = world();
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let node = Node::start_with(&world, &[], &[("NOTIFY_SOCKET", path.to_str().unwrap())]);
    let mut state = [0; 64];
    let size = socket.recv(&mut state).unwrap();
    assert_eq!(&state[..size], b"READY=1\n");
    assert_eq!(node.stop("-TERM").0, Some(0));
}
