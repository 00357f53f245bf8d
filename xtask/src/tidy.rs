//! Rules of style that no compiler checks.
//!
//! Each rule is a function from texts to findings, and each has a test that shows it fail. The rules
//! themselves are explained in `STYLE.md`.
//!
//! Not here: what clippy, rustfmt and rustdoc check already.

use std::path::Path;

use crate::tree::Tree;

mod crates;
mod documents;
mod rust;
mod size;

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// 1-based; 0 is the file as a whole.
    line: usize,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, message: message.into() }
    }
}

/// Checks the tree under `root`, and prints what it found.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root).map_err(|error| format!("the tree cannot be read: {error}"))?;
    let (mut findings, summary) = size::check(&tree);
    for file in tree.ending(".rs").filter(|file| is_ours(&file.path)) {
        findings.extend(rust::check(&file.path, &file.text));
    }
    findings.extend(crates::check(&tree));
    findings.extend(documents::check(&tree));
    findings.sort();
    for finding in &findings {
        println!("{}:{}: {}", finding.path, finding.line, finding.message);
    }
    println!("tidy: {summary}; {} findings", findings.len());
    if findings.is_empty() { Ok(()) } else { Err("the tree is not tidy".to_owned()) }
}

/// Whether the Rust rules hold for the file: the crates and this program.
fn is_ours(path: &str) -> bool {
    path.starts_with("crates/") || path.starts_with("xtask/")
}

/// Whether the whole file is test code.
fn is_test_file(path: &str) -> bool {
    path.ends_with("tests.rs") || path.contains("/tests/") || path.contains("/benches/")
}
