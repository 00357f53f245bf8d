//! What the tree is built of: that every crate comes from the registry, under a licence that a binary
//! of ours can carry.
//!
//! `deny.toml` is the rule, and `cargo deny check` its full form for whoever has it; this check needs
//! cargo alone. Licences are SPDX expressions (SPDX 2.3, annex D).
//!
//! Not here: known faults of crates, whose list is no crate.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The one place that crates come from.
const REGISTRY: &str = "\"registry+https://github.com/rust-lang/crates.io-index\"";

/// Checks the crates of every platform.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let read = |name: &str| {
        std::fs::read_to_string(root.join(name)).map_err(|error| format!("{name}: {error}"))
    };
    let allowed = allowed(&read("deny.toml")?);
    let crates = listed(root)?;
    let mut findings = strange_sources(&read("Cargo.lock")?);
    for line in &crates {
        let (name, licence) = line.split_once('|').unwrap_or((line, ""));
        if !permits(licence, &allowed) {
            findings.push(format!("{name}: the licence {licence:?} is not in deny.toml"));
        }
    }
    for finding in &findings {
        println!("{finding}");
    }
    println!("supply: {} crates, {} findings", crates.len(), findings.len());
    if findings.is_empty() { Ok(()) } else { Err("a crate may not be used".to_owned()) }
}

/// Every crate that any platform needs, as `NAME VERSION|LICENCE`.
fn listed(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root).args(["tree", "--workspace", "--locked", "--target", "all"]);
    command.args(["--edges", "normal,build,dev", "--prefix", "none", "--format", "{p}|{l}"]);
    let output = command.output().map_err(|error| format!("cargo tree: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)").trim_end());
    Ok(lines.filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

/// Sources of a lock file that are not the registry.
fn strange_sources(lock: &str) -> Vec<String> {
    let sources = lock.lines().filter_map(|line| line.strip_prefix("source = "));
    let strange = sources.filter(|source| *source != REGISTRY);
    strange.map(|source| format!("Cargo.lock: a crate comes from {source}")).collect()
}

/// The strings of `allow` in the section of licences.
fn allowed(rules: &str) -> BTreeSet<String> {
    let section = rules.split("[licenses]").nth(1).unwrap_or_default();
    let list = section.split("allow = [").nth(1).unwrap_or_default();
    let list = list.split(']').next().unwrap_or_default();
    list.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Whether an expression can be met with the licences that are allowed.
fn permits(licence: &str, allowed: &BTreeSet<String>) -> bool {
    // Crates from before SPDX expressions write a slash for OR.
    let licence = licence.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = licence.split_whitespace().peekable();
    let is_met = either(&mut words, allowed);
    is_met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut is_met = both(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        is_met |= both(words, allowed);
    }
    is_met
}

fn both(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut is_met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        is_met &= one(words, allowed);
    }
    is_met
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    match words.next() {
        Some("(") => {
            let is_met = either(words, allowed);
            is_met && words.next() == Some(")")
        }
        Some(name) => {
            let exception = words.next_if_eq(&"WITH").and_then(|_| words.next());
            let whole = exception.map_or(name.to_owned(), |it| format!("{name} WITH {it}"));
            allowed.contains(&whole)
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
