//! Everything that cargo can check, in order, with the seconds that each step took.
//!
//! Stops at the first step that fails. The last line says how many tests ran.
//!
//! A test that fails beside the others is run once more without them: these tests start whole networks
//! of processes, and a machine that has two cores and hundreds of them is no fault of the code's. One
//! that fails again has failed; one that passes is named as unsteady, for someone to look at.
//!
//! Not here: the oracle, WebAssembly and emulated machines, which need more than cargo (`.ci/run`).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::{docs, supply, tidy};

/// Tests that may fail beside the others and pass alone, at most. More of them are no accident.
const UNSTEADY_MAX: usize = 2;

/// What libtest's lines say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tests {
    passed: u64,
    failed: u64,
    /// The names of those that failed.
    names: Vec<String>,
}

/// Runs all steps.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let mut tests = Tests::default();
    let mut times: Vec<(&str, f64)> = vec![];
    let mut step = |name: &'static str, body: &mut dyn FnMut() -> Result<(), String>| {
        println!("\n== {name}");
        let started = Instant::now();
        let outcome = body();
        times.push((name, started.elapsed().as_secs_f64()));
        outcome.map_err(|error| format!("{name}: {error}"))
    };
    step("fmt", &mut || component(root, &["fmt", "--all", "--check"]))?;
    step("clippy", &mut || component(root, &CLIPPY))?;
    step("clippy without std", &mut || component(root, &CLIPPY_CORE))?;
    step("test", &mut || test(root, &mut tests))?;
    step("doc", &mut || document(root))?;
    step("supply", &mut || supply::run(root))?;
    step("tidy", &mut || tidy::run(root))?;
    step("docs", &mut || docs::run(root))?;
    println!("\n== seconds");
    for (name, seconds) in &times {
        println!("{seconds:8.1}  {name}");
    }
    println!("{} passed, {} failed", tests.passed, tests.failed);
    Ok(())
}

const CLIPPY: [&str; 6] = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
const CLIPPY_CORE: [&str; 9] = [
    "clippy",
    "--package",
    "engine",
    "--package",
    "audit",
    "--no-default-features",
    "--",
    "-D",
    "warnings",
];

/// Runs cargo and waits.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<(), String> {
    finish(command(root).args(arguments), arguments)
}

/// Runs a tool that a Rust toolchain may lack; says so if it does.
fn component(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let probe = command(root).args([arguments[0], "--version"]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("skipped: this toolchain has no cargo {}", arguments[0]);
        return Ok(());
    }
    cargo(root, arguments)
}

fn document(root: &Path) -> Result<(), String> {
    let arguments = ["doc", "--workspace", "--no-deps"];
    finish(command(root).args(arguments).env("RUSTDOCFLAGS", "-D warnings"), &arguments)
}

/// Runs the README's test command, and what failed once more.
fn test(root: &Path, tests: &mut Tests) -> Result<(), String> {
    let is_over = count(root, &["--no-fail-fast"], tests)?;
    if tests.passed == 0 {
        return Err("no test ran".to_owned());
    }
    if is_over {
        return Ok(());
    }
    let failed = format!("{} passed, {} failed: {:?}", tests.passed, tests.failed, tests.names);
    // A program of tests that was killed fails without a name.
    if tests.names.len() as u64 != tests.failed || !(1..=UNSTEADY_MAX).contains(&tests.names.len())
    {
        return Err(failed);
    }
    println!("\n== once more: {:?}", tests.names);
    let mut again = Tests::default();
    let mut arguments = vec!["--", "--exact", "--test-threads", "1"];
    arguments.extend(tests.names.iter().map(String::as_str));
    let is_over = count(root, &arguments, &mut again)?;
    if !is_over || again.passed < tests.failed {
        return Err(failed);
    }
    for name in &tests.names {
        println!("unsteady: {name} failed beside the other tests and passed alone");
    }
    (tests.passed, tests.failed) = (tests.passed + tests.failed, 0);
    Ok(())
}

/// Runs tests, passes their output on and counts; says whether all passed.
fn count(root: &Path, arguments: &[&str], tests: &mut Tests) -> Result<bool, String> {
    let mut child = command(root)
        .args(["test", "--workspace"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo: {error}"))?;
    let output = child.stdout.take().expect("the output was piped");
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("cargo: {error}"))?;
        println!("{line}");
        tests.add(&line);
    }
    let status = child.wait().map_err(|error| format!("cargo: {error}"))?;
    Ok(status.success())
}

impl Tests {
    /// Adds a line such as `test result: ok. 3 passed; 0 failed; ...` or `test some::name ... FAILED`;
    /// ignores any other.
    fn add(&mut self, line: &str) {
        let name = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        self.names.extend(name.map(str::to_owned));
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let words: Vec<&str> = result.split_whitespace().collect();
        for pair in words.windows(2) {
            let count = pair[0].parse().unwrap_or(0);
            match pair[1] {
                "passed;" => self.passed += count,
                "failed;" => self.failed += count,
                _ => {}
            }
        }
    }
}

fn command(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    // What cargo told this program of itself: build scripts that look at it, as that of `ring` does,
    // would run again, and all that stands on them would be built again.
    for (key, _) in std::env::vars_os() {
        let name = key.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&key);
        }
    }
    command
}

fn finish(command: &mut Command, arguments: &[&str]) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed", arguments.join(" "))) }
}

#[cfg(test)]
mod tests;
