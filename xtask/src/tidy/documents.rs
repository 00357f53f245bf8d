//! Rules for Markdown: links that lead somewhere, blocks that are run, one sentence per line.

use super::Finding;
use crate::markdown::{self, Block};
use crate::tree::{File, Tree};

/// Paths of one machine, which mean nothing on another.
const MACHINE_PATHS: [&str; 2] = ["/work/", "/tmp/"];
/// Blocks that show data and not something to run.
const DATA: [&str; 6] = ["text", "json", "toml", "http", "hex", "diff"];
/// Lines that a document may have, by the start of its path: what someone reads in one sitting.
const LINES_MAX: [(&str, usize); 3] =
    [("README.", 120), ("ARCHITECTURE.md", 300), ("docs/adr/0", 60)];
/// Full stops that end no sentence.
const ABBREVIATIONS: [&str; 4] = ["e.g", "i.e", "vs", "cf"];

/// Checks every document in the tree.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = vec![];
    for file in tree.ending(".md") {
        findings.extend(lines(file));
        findings.extend(links(tree, file));
        let blocks = markdown::blocks(&file.text);
        let stray = blocks.iter().filter(|block| !is_checked(tree, &file.path, block));
        findings.extend(stray.map(|block| {
            let message = format!("nothing runs this `{}` block", block.tag);
            Finding::new(&file.path, block.line, message)
        }));
    }
    findings
}

fn lines(file: &File) -> Vec<Finding> {
    let mut findings = vec![];
    for (index, line) in file.text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            findings.push(Finding::new(&file.path, index + 1, "trailing spaces"));
        }
        if MACHINE_PATHS.iter().any(|path| line.contains(path)) {
            findings.push(Finding::new(&file.path, index + 1, "a path of one machine"));
        }
    }
    let count = file.text.lines().count();
    for (start, limit) in LINES_MAX {
        if file.path.starts_with(start) && count > limit {
            findings.push(Finding::new(&file.path, 0, format!("{count} lines, {limit} at most")));
        }
    }
    for (number, line) in markdown::prose(&file.text) {
        if !line.starts_with('|') && has_two_sentences(&line) {
            findings.push(Finding::new(&file.path, number, "two sentences on one line"));
        }
    }
    findings
}

fn links(tree: &Tree, file: &File) -> Vec<Finding> {
    let mut findings = vec![];
    for (number, line) in markdown::prose(&file.text) {
        for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let is_external = target.contains("://") || target.starts_with("mailto:");
            let path = target.split('#').next().unwrap_or("");
            let resolved = resolve(&file.path, path);
            let is_there = resolved.is_some_and(|path| tree.paths.contains(&path));
            if is_external || path.is_empty() || is_there {
                continue;
            }
            findings.push(Finding::new(&file.path, number, format!("{target} leads nowhere")));
        }
    }
    findings
}

/// Whether a block is data, is run, is compiled through `include_str!`, or says why not.
fn is_checked(tree: &Tree, path: &str, block: &Block) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_included = || {
        let included = |line: &str| line.contains("include_str!") && line.contains(name);
        tree.ending(".rs").any(|file| file.text.lines().any(included))
    };
    match block.tag.as_str() {
        _ if block.is_excused => true,
        "console" => true,
        "rust" | "rust,no_run" | "rust,should_panic" => is_included(),
        tag => DATA.contains(&tag),
    }
}

fn has_two_sentences(line: &str) -> bool {
    line.match_indices(". ").any(|(at, _)| {
        let ends = line[..at].ends_with(|char: char| char.is_lowercase() || ")`\"".contains(char));
        let starts = line[at + 2..].starts_with(|char: char| char.is_uppercase());
        ends && starts && !ABBREVIATIONS.iter().any(|word| line[..at].ends_with(word))
    })
}

/// The path that a link in a document means, from the root; none if it leaves the tree.
fn resolve(document: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in link.trim_end_matches('/').split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests;
