//! Rules about the crates: directions, dependencies and their one sentence.
//!
//! Read from the manifests as they are written, so a dependency counts whatever its features or
//! target.
//!
//! Not here: what dependencies depend on themselves (`deny.toml`).

use super::Finding;
use crate::tree::Tree;

/// Each crate, and the crates of ours it may use. An arrow that is not here does not exist.
const DIRECTIONS: [(&str, &[&str]); 16] = [
    ("types", &[]),
    ("merkle", &[]),
    // Its tests run a small model, and prove chunks of it.
    ("ledger", &["types", "merkle", "store", "engine", "audit"]),
    ("chain", &["types", "merkle", "ledger", "store"]),
    ("consensus", &["types"]),
    ("network", &["types"]),
    // The simulator of honesty computes and disputes answers of a small model.
    ("sim", &["types", "ledger", "chain", "consensus", "merkle", "store", "engine", "audit"]),
    ("wallet", &["types"]),
    ("engine", &[]),
    ("audit", &["types", "merkle", "store", "engine"]),
    ("text", &["engine"]),
    ("store", &[]),
    ("gateway", &["engine", "text", "store"]),
    (
        "node",
        &[
            "types",
            "ledger",
            "chain",
            "consensus",
            "network",
            "engine",
            "audit",
            "merkle",
            "text",
            "store",
            "gateway",
        ],
    ),
    (
        "cli",
        &[
            "types",
            "ledger",
            "chain",
            "consensus",
            "network",
            "wallet",
            "engine",
            "audit",
            "text",
            "store",
            "gateway",
            "node",
        ],
    ),
    ("xtask", &[]),
];
/// The crates that may know a runtime.
const SHELL: [&str; 5] = ["consensus", "network", "gateway", "node", "cli"];

/// What the rules need of a `Cargo.toml`.
#[derive(Debug, Default)]
struct Manifest {
    name: String,
    description: String,
    /// Name and 1-based line, of every kind and target.
    dependencies: Vec<(String, usize)>,
}

/// Checks every crate in the tree.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = vec![];
    for file in tree.ending("/Cargo.toml") {
        let folder = file.path.trim_end_matches("/Cargo.toml");
        if folder != "xtask" && !folder.starts_with("crates/") {
            continue;
        }
        let manifest = parse(&file.text);
        if folder.rsplit('/').next() != Some(&manifest.name) {
            findings.push(Finding::new(&file.path, 0, "folder and package differ in name"));
        }
        findings.extend(directions(&file.path, &manifest));
        findings.extend(sentence(tree, &file.path, folder, &manifest));
        findings.extend(reasons(tree.text("docs/dependencies.md"), &file.path, &manifest));
    }
    findings
}

fn directions(path: &str, manifest: &Manifest) -> Vec<Finding> {
    let row = DIRECTIONS.iter().find(|(name, _)| *name == manifest.name);
    let Some((_, below)) = row else {
        return vec![Finding::new(path, 0, "the crate has no row in the table of directions")];
    };
    let mut findings = vec![];
    for (name, line) in &manifest.dependencies {
        if is_own(name) && !below.contains(&name.as_str()) {
            findings.push(Finding::new(path, *line, format!("{name} is not below this crate")));
        }
        if name.starts_with("tokio") && !SHELL.contains(&manifest.name.as_str()) {
            findings.push(Finding::new(path, *line, "only the shell crates may know a runtime"));
        }
    }
    findings
}

/// The description, the first line of the root module and the code map say the same.
fn sentence(tree: &Tree, path: &str, folder: &str, manifest: &Manifest) -> Vec<Finding> {
    let wanted = format!("//! {}", manifest.description);
    let roots = [format!("{folder}/src/lib.rs"), format!("{folder}/src/main.rs")];
    let root = roots.iter().find(|root| tree.paths.contains(*root));
    let mut findings = vec![];
    if let Some(root) = root
        && tree.text(root).lines().next() != Some(&wanted)
    {
        findings.push(Finding::new(root, 1, format!("does not begin with `{wanted}`")));
    }
    let map = section(tree.text("ARCHITECTURE.md"), "## Code map", "## ");
    if !map.iter().any(|line| line.contains(&manifest.description)) {
        findings.push(Finding::new(
            path,
            0,
            "its description is not in ARCHITECTURE.md's code map",
        ));
    }
    findings
}

/// Every dependency has its line in the section of its crate, and every line its dependency.
fn reasons(document: &str, path: &str, manifest: &Manifest) -> Vec<Finding> {
    let lines = section(document, &format!("## {}", manifest.name), "## ");
    let names = |line: &str| -> Vec<String> {
        let head = line.trim_start_matches(['-', '*', '|', ' ']).split([':', '|']).next();
        let words = head.unwrap_or("").split(|char: char| !is_name_char(char));
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let listed = lines.iter().filter(|line| line.starts_with(['-', '*', '|']));
    let listed: Vec<Vec<String>> = listed.map(|line| names(line)).collect();
    let mut findings = vec![];
    for (name, line) in manifest.dependencies.iter().filter(|(name, _)| !is_own(name)) {
        if !listed.iter().any(|names| names.contains(name)) {
            let message = format!("{name} has no line in docs/dependencies.md");
            findings.push(Finding::new(path, *line, message));
        }
    }
    let is_used = |name: &String| manifest.dependencies.iter().any(|(used, _)| used == name);
    for line in lines.iter().filter(|line| line.starts_with("- `")) {
        if !names(line).iter().any(is_used) {
            let message = format!("{} no longer uses: {line}", manifest.name);
            findings.push(Finding::new("docs/dependencies.md", 0, message));
        }
    }
    findings
}

/// The lines after a heading, up to the next one that starts with `until`.
fn section<'a>(text: &'a str, heading: &str, until: &str) -> Vec<&'a str> {
    let after = text.lines().skip_while(|line| line.trim_end() != heading).skip(1);
    after.take_while(|line| !line.starts_with(until)).collect()
}

fn parse(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    let mut table = "";
    for (index, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            table = line.trim().trim_matches(['[', ']']);
            if let Some((_, name)) = table.split_once("dependencies.") {
                manifest.dependencies.push((name.to_owned(), index + 1));
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let name: String = key.chars().take_while(|&char| is_name_char(char)).collect();
        let value = value.trim().trim_matches('"');
        match (table, name.as_str()) {
            (_, "") => {}
            ("package", "name") => value.clone_into(&mut manifest.name),
            ("package", "description") => value.clone_into(&mut manifest.description),
            _ if table.ends_with("dependencies") => manifest.dependencies.push((name, index + 1)),
            _ => {}
        }
    }
    manifest
}

fn is_own(name: &str) -> bool {
    DIRECTIONS.iter().any(|(own, _)| *own == name)
}

fn is_name_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_' || char == '-'
}

#[cfg(test)]
mod tests;
