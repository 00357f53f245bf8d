//! Check the tree.
//!
//! `cargo xtask tidy` reads the files and refuses what `STYLE.md` forbids and no compiler sees;
//! `cargo xtask docs` runs the console blocks of the documents; `cargo xtask supply` asks where the
//! crates come from; `cargo xtask ci` runs everything that cargo can run and says how long it took.
//!
//! Invariants: standard library only, so that it builds in seconds; no step changes the tree.
//!
//! Not here: what needs other tools than cargo (`.ci/run` calls those).
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]

use std::path::PathBuf;
use std::process::ExitCode;

mod ci;
mod docs;
mod markdown;
mod source;
mod supply;
mod tidy;
mod tree;

const USAGE: &str = "usage: cargo xtask tidy | docs | supply | ci";

fn main() -> ExitCode {
    let command = std::env::args().nth(1);
    let outcome = match command.as_deref() {
        Some("tidy") => tidy::run(&root()),
        Some("docs") => docs::run(&root()),
        Some("supply") => supply::run(&root()),
        Some("ci") => ci::run(&root()),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's root: the parent of this crate, which cargo names when it runs the program.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let parent = package.as_deref().and_then(std::path::Path::parent);
    parent.map_or_else(|| PathBuf::from("."), PathBuf::from)
}
