//! Run the console blocks of the documents.
//!
//! A line that starts with `$ ` is a command, and one that ends with `\` goes on. The other lines are
//! its output: each must appear, in this order, among the lines that the block really prints; one
//! that ends with `...` stands for any line that begins so. The
//! blocks of one document run in order at the root of the tree, with `mashaa` on the path and one
//! new `MASHAA_HOME` that is deleted afterwards.
//!
//! Not here: blocks marked `not run`, and Rust blocks, which rustdoc compiles.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::ci::cargo;
use crate::markdown::{self, Block};
use crate::tree::Tree;

/// Time for one block. A block that needs longer does not belong into a document.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(300);
/// Between two looks at whether a block has ended.
const POLL: Duration = Duration::from_millis(10);

/// Runs the blocks of every document; stops at the first that fails.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root).map_err(|error| format!("the tree cannot be read: {error}"))?;
    if tree.paths.contains("crates/cli/Cargo.toml") {
        // As the tests build it, which are built already where all checks run.
        cargo(root, &["test", "--workspace", "--no-run", "--quiet"])?;
    }
    let (mut run, mut excused) = (0, 0);
    for file in tree.ending(".md") {
        let blocks = markdown::blocks(&file.text);
        let (skipped, blocks): (Vec<_>, Vec<_>) = blocks
            .into_iter()
            .filter(|block| block.tag == "console")
            .partition(|block| block.is_excused);
        excused += skipped.len();
        run += blocks.len();
        if !blocks.is_empty() {
            document(root, &file.path, &blocks)?;
        }
    }
    println!("docs: {run} console blocks run, {excused} marked as not run");
    Ok(())
}

fn document(root: &Path, path: &str, blocks: &[Block]) -> Result<(), String> {
    let home = std::env::temp_dir().join(format!("mashaa-docs-{}", std::process::id()));
    fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
    let outcome = blocks.iter().try_for_each(|block| {
        println!("docs: {path}:{}", block.line);
        let script = script(block);
        let output = execute(root, &home, &script);
        let checked = output.and_then(|output| compare(&shown(block), &output));
        checked.map_err(|error| format!("{path}:{}: {error}", block.line))
    });
    let removed = fs::remove_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()));
    outcome.and(removed)
}

/// The commands of a block, as one shell script.
fn script(block: &Block) -> String {
    let mut script = String::new();
    let mut goes_on = false;
    for line in &block.lines {
        let command = if goes_on { Some(line.as_str()) } else { line.strip_prefix("$ ") };
        if let Some(command) = command {
            script.push_str(command);
            script.push('\n');
            goes_on = command.ends_with('\\');
        }
    }
    script
}

/// The output that a block shows.
fn shown(block: &Block) -> Vec<&str> {
    let mut shown = vec![];
    let mut goes_on = false;
    for line in &block.lines {
        let is_command = goes_on || line.starts_with("$ ");
        if !is_command && !line.is_empty() {
            shown.push(line.as_str());
        }
        goes_on = is_command && line.ends_with('\\');
    }
    shown
}

/// The shown lines are among the printed ones, in order.
fn compare(shown: &[&str], printed: &str) -> Result<(), String> {
    let mut lines = printed.lines().map(str::trim_end);
    for wanted in shown {
        let is_wanted = |line: &str| match wanted.strip_suffix("...") {
            Some(beginning) => line.starts_with(beginning),
            None => line == *wanted,
        };
        if !lines.any(is_wanted) {
            return Err(format!("`{wanted}` was not printed; the block printed:\n{printed}"));
        }
    }
    Ok(())
}

/// Runs a script in a process group of its own, and gives what it printed.
fn execute(root: &Path, home: &Path, script: &str) -> Result<String, String> {
    let log = home.join("output");
    let open = |error| format!("{}: {error}", log.display());
    let output = File::create(&log).map_err(open)?;
    let errors = output.try_clone().map_err(open)?;
    let mut child = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(root)
        .env("MASHAA_HOME", home)
        .env("PATH", path())
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("bash: {error}"))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| format!("bash: {error}"))? {
            Some(status) => break Some(status),
            None if started.elapsed() > BLOCK_TIME_MAX => break None,
            None => std::thread::sleep(POLL),
        }
    };
    // Also ends what the block left in the background.
    let group = format!("-{}", child.id());
    let kill = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    kill.map_err(|error| format!("kill: {error}"))?;
    let printed = fs::read(&log).map_err(open)?;
    let printed = String::from_utf8_lossy(&printed).into_owned();
    match status {
        Some(status) if status.success() => Ok(printed),
        Some(status) => Err(format!("{status}; the block printed:\n{printed}")),
        None => Err(format!("not done after {} s", BLOCK_TIME_MAX.as_secs())),
    }
}

/// The path, headed by the folder that this program was built into, where `mashaa` is too.
fn path() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("."));
    let folder = program.parent().unwrap_or(Path::new(".")).display().to_string();
    format!("{folder}:{}", std::env::var("PATH").unwrap_or_default())
}

#[cfg(test)]
mod tests;
