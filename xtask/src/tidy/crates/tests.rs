//! Each rule about crates fires on a tree with one fault.

use super::*;
use crate::tree::File;

const MANIFEST: &str = "[package]\nname = \"text\"\ndescription = \"Turn text into tokens.\"\n\n\
    [dependencies]\nengine.workspace = true\nserde = { version = \"1\", features = [\n    \"alloc\",\n] }\n\n\
    [target.'cfg(unix)'.dev-dependencies]\nlibc = \"1\"\n\n[dependencies.sha2]\nversion = \"1\"\n";
const ROOT: &str = "//! Turn text into tokens.\n";
const MAP: &str = "# A\n\n## Code map\n\n### text\n\nTurn text into tokens.\n\n## Z\n";
const REASONS: &str =
    "## text\n\n- `serde`: x.\n- `libc`, `sha2`: y.\n\n## other\n\n- `redb`: z.\n";

/// The findings of a good tree in which one text was changed.
fn messages(changed: &str, from: &str, to: &str) -> Vec<String> {
    let mut tree = Tree::default();
    for (path, text) in [
        ("crates/text/Cargo.toml", MANIFEST),
        ("crates/text/src/lib.rs", ROOT),
        ("ARCHITECTURE.md", MAP),
        ("docs/dependencies.md", REASONS),
    ] {
        let text = if path == changed { text.replace(from, to) } else { text.to_owned() };
        tree.paths.insert(path.to_owned());
        tree.files.push(File { path: path.to_owned(), text });
    }
    check(&tree).into_iter().map(|finding| finding.message).collect()
}

#[test]
fn a_good_tree_has_no_findings() {
    assert_eq!(messages("", "", ""), [""; 0]);
}

#[test]
fn an_arrow_that_points_up_is_found() {
    let found = messages("crates/text/Cargo.toml", "engine.workspace", "node.workspace");
    assert_eq!(found, ["node is not below this crate"]);
}

#[test]
fn a_runtime_below_the_shell_is_found() {
    let found = messages("crates/text/Cargo.toml", "sha2", "tokio-util");
    assert!(found.contains(&"only the shell crates may know a runtime".to_owned()), "{found:?}");
}

#[test]
fn an_unknown_crate_is_found() {
    let found = messages("crates/text/Cargo.toml", "name = \"text\"", "name = \"texts\"");
    assert!(found.contains(&"folder and package differ in name".to_owned()), "{found:?}");
    assert!(found.iter().any(|message| message.contains("no row")), "{found:?}");
}

#[test]
fn every_dependency_has_its_line() {
    for (line, name) in [("- `serde`: x.\n", "serde"), ("`libc`, ", "libc"), (", `sha2`", "sha2")] {
        let found = messages("docs/dependencies.md", line, "");
        assert_eq!(found, [format!("{name} has no line in docs/dependencies.md")]);
    }
}

#[test]
fn every_line_has_its_dependency() {
    let found = messages("docs/dependencies.md", "- `serde`", "- `gone`: a.\n- `serde`");
    assert_eq!(found, ["text no longer uses: - `gone`: a."]);
}

#[test]
fn the_three_sentences_agree() {
    for path in ["crates/text/src/lib.rs", "ARCHITECTURE.md"] {
        assert_eq!(messages(path, "Turn", "Make").len(), 1, "{path}");
    }
    assert_eq!(messages("crates/text/Cargo.toml", "Turn", "Make").len(), 2);
    assert_eq!(messages("ARCHITECTURE.md", "## Code map", "## Other").len(), 1);
}
