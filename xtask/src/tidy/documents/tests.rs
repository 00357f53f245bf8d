//! Each rule about documents fires on a bad one.

use super::*;

fn tree(path: &str, text: &str) -> Tree {
    let mut tree = Tree::default();
    let source = "#![doc = include_str!(\"../docs/compiled.md\")]";
    for (path, text) in [(path, text), ("crates/a/src/lib.rs", source), ("STYLE.md", "# S")] {
        tree.paths.insert(path.to_owned());
        tree.files.push(File { path: path.to_owned(), text: text.to_owned() });
    }
    tree
}

fn fires(path: &str, text: &str) -> bool {
    match check(&tree(path, text)).as_slice() {
        [] => false,
        [_] => true,
        many => panic!("one fault, many findings: {many:?}"),
    }
}

#[test]
fn lines_are_clean() {
    assert!(fires("docs/a.md", "a \n"));
    assert!(fires("docs/a.md", "see /work/a\n"));
    assert!(fires("docs/a.md", "```console\n$ ls /tmp/a\n```\n"));
    assert!(!fires("docs/a.md", "a\n"));
}

#[test]
fn documents_for_one_sitting_are_short() {
    for (path, limit) in [("README.md", 120), ("README.ar.md", 120), ("docs/adr/0009-a.md", 60)] {
        assert!(fires(path, &"a\n".repeat(limit + 1)), "{path}");
        assert!(!fires(path, &"a\n".repeat(limit)), "{path}");
    }
    assert!(!fires("docs/spec/a.md", &"a\n".repeat(400)));
}

#[test]
fn one_sentence_stands_on_one_line() {
    assert!(fires("docs/a.md", "One. Two.\n"));
    assert!(fires("docs/a.md", "- see `x`. Then y.\n"));
    for text in
        ["One.\nTwo.\n", "e.g. Rust, 1. X\n", "| One. Two. |\n", "```text\nOne. Two.\n```\n"]
    {
        assert!(!fires("docs/a.md", text), "{text}");
    }
}

#[test]
fn a_link_leads_to_a_file() {
    for text in ["[a](gone.md)", "[a](STYLE.md)", "[a](../../STYLE.md)", "![a](a.png)"] {
        assert!(fires("docs/a.md", text), "{text}");
    }
    for text in
        ["[a](../STYLE.md#b)", "[a](#b)", "[a](https://a.b/c)", "`[a](gone.md)`", "[a](./a.md)"]
    {
        assert!(!fires("docs/a.md", text), "{text}");
    }
}

#[test]
fn a_block_is_run_or_compiled_or_says_why_not() {
    for tag in ["", "sh", "bash", "python", "rust", "rust,ignore"] {
        assert!(fires("docs/a.md", &format!("```{tag}\na\n```\n")), "{tag}");
        let excused = format!("<!-- not run: it never ends -->\n```{tag}\na\n```\n");
        assert!(!fires("docs/a.md", &excused), "{tag}");
    }
    for tag in ["console", "text", "json"] {
        assert!(!fires("docs/a.md", &format!("```{tag}\na\n```\n")), "{tag}");
    }
    assert!(!fires("docs/compiled.md", "```rust\na\n```\n"));
    assert!(fires("docs/compiled.md", "```rust,ignore\na\n```\n"));
}
