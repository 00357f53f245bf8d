//! Lengths of functions and files.
//!
//! Files over the limit stand in `xtask/ratchet.txt`, each with the number of lines it may not pass;
//! the number can only go down.

use super::{Finding, is_ours};
use crate::source;
use crate::tree::Tree;

/// Lines of a function that fit a screen.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;
/// Functions over that length, at most this many in a thousand. axum, the best tree measured, has 4.
const LONG_PER_THOUSAND_MAX: usize = 5;
/// Lines of a file, tests included.
const FILE_LINES_MAX: usize = 800;
const RATCHET: &str = "xtask/ratchet.txt";

/// The findings, and a summary in words.
pub(crate) fn check(tree: &Tree) -> (Vec<Finding>, String) {
    let mut findings = files(tree);
    let (mut lengths, mut long, mut count) = (vec![], vec![], 0);
    for file in tree.ending(".rs").filter(|file| is_ours(&file.path)) {
        count += 1;
        for function in source::functions(&source::lines(&file.text)) {
            lengths.push(function.length);
            if function.length > FUNCTION_LINES_MAX {
                let message = format!("{} has {} lines", function.name, function.length);
                long.push(Finding::new(&file.path, function.line + 1, message));
            }
        }
    }
    lengths.sort_unstable();
    let median = lengths.get(lengths.len() / 2).copied().unwrap_or(0);
    let summary = format!(
        "{count} Rust files, {} functions, median {median} lines, {} over {FUNCTION_LINES_MAX}",
        lengths.len(),
        long.len()
    );
    if long.len() * 1000 > lengths.len() * LONG_PER_THOUSAND_MAX {
        findings.extend(long);
    }
    (findings, summary)
}

fn files(tree: &Tree) -> Vec<Finding> {
    let entries = ratchet(tree.text(RATCHET));
    let mut findings = vec![];
    for file in tree.ending(".rs").filter(|file| is_ours(&file.path)) {
        let lines = file.text.lines().count();
        let allowed = entries.iter().find(|entry| entry.path == file.path);
        if lines > allowed.map_or(FILE_LINES_MAX, |entry| entry.lines) {
            findings.push(Finding::new(&file.path, 0, format!("{lines} lines: divide it")));
        }
    }
    for entry in entries {
        let lines = tree.text(entry.path).lines().count();
        if lines <= FILE_LINES_MAX {
            findings.push(Finding::new(RATCHET, entry.line, "needs no entry any more"));
        } else if lines < entry.lines {
            findings.push(Finding::new(RATCHET, entry.line, format!("lower it to {lines}")));
        }
        if entry.reason.is_empty() {
            findings.push(Finding::new(RATCHET, entry.line, "an entry without its reason"));
        }
    }
    findings
}

struct Entry<'a> {
    line: usize,
    path: &'a str,
    lines: usize,
    reason: &'a str,
}

fn ratchet(text: &str) -> Vec<Entry<'_>> {
    text.lines().enumerate().filter_map(|(index, line)| entry(index + 1, line)).collect()
}

fn entry(line: usize, text: &str) -> Option<Entry<'_>> {
    let mut parts = text.splitn(3, ' ');
    let path = parts.next().filter(|path| !path.is_empty() && !path.starts_with('#'))?;
    let lines = parts.next().and_then(|lines| lines.parse().ok()).unwrap_or(0);
    Some(Entry { line, path, lines, reason: parts.next().unwrap_or("") })
}

#[cfg(test)]
mod tests;
