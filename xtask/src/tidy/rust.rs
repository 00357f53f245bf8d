//! Rules for one Rust file, line by line.

use super::{Finding, is_test_file};
use crate::source::{self, Line, has_word};

#[derive(Clone, Copy, PartialEq)]
enum Scope {
    All,
    Tests,
    NotTests,
}

/// Words that code may not contain, where, and what to do instead.
const BANNED: [(&str, Scope, &str); 7] = [
    ("dbg!", Scope::All, "dbg! is for the desk, not the tree"),
    ("#[ignore", Scope::All, "an ignored test is dead: delete it or make it quick"),
    ("#[allow(", Scope::All, "use #[expect(lint, reason = ...)]"),
    ("#![allow(", Scope::All, "use #![expect(lint, reason = ...)]"),
    (".unwrap()", Scope::NotTests, "use expect with the invariant in words, or return an error"),
    ("thread::sleep", Scope::Tests, "a test that sleeps is slow or flaky: wait for the event"),
    ("time::sleep", Scope::Tests, "a test that sleeps is slow or flaky: wait for the event"),
];

/// First words of a comment that is a statement taken out of use, when it ends like one.
const STATEMENTS: [&str; 10] =
    ["let ", "use ", "pub ", "fn ", "mod ", "const ", "return ", "assert", "self.", "if "];

/// Where floats may stand in the engine: what reads source files.
const READERS: [&str; 3] = ["import", "gguf", "safetensors"];

/// Checks one file. A `tests.rs` needs no head of its own: it belongs to the module above it.
pub(crate) fn check(path: &str, text: &str) -> Vec<Finding> {
    let mut lines = source::lines(text);
    if is_test_file(path) {
        lines.iter_mut().for_each(|line| line.in_test = true);
    }
    let mut findings = vec![];
    if !text.trim_start().starts_with("//!") && !path.ends_with("/tests.rs") {
        findings.push(Finding::new(path, 1, "the file does not begin with what it is (//!)"));
    }
    for (index, line) in lines.iter().enumerate() {
        let found = |message: &str| Finding::new(path, index + 1, message);
        findings.extend(banned(line).map(found));
        findings.extend(in_comment(&line.comment).map(found));
        if !line.code.is_ascii() || !line.comment.is_ascii() {
            findings.push(found("not ASCII outside a literal"));
        }
        if has_word(&line.code, "unsafe") && !path.contains("kernel") {
            findings.push(found("unsafe outside the kernels"));
        }
        let is_float = has_word(&line.code, "f32") || has_word(&line.code, "f64");
        if is_float && !line.in_test && is_exact(path) {
            findings.push(found("a float in the exact engine"));
        }
        if lacks_reason(&lines, index) {
            findings.push(found("an expectation without its reason"));
        }
    }
    findings
}

fn is_exact(path: &str) -> bool {
    let engine = path.strip_prefix("crates/engine/src/");
    engine.is_some_and(|path| !READERS.iter().any(|reader| path.starts_with(reader)))
}

fn banned(line: &Line) -> impl Iterator<Item = &'static str> {
    let scope = if line.in_test { Scope::Tests } else { Scope::NotTests };
    let hits = |(word, where_, _): &&(&str, Scope, &str)| {
        line.code.contains(word) && (*where_ == Scope::All || *where_ == scope)
    };
    BANNED.iter().filter(hits).map(|(_, _, message)| *message).collect::<Vec<_>>().into_iter()
}

fn in_comment(comment: &str) -> Option<&'static str> {
    if has_word(comment, "FIXME") {
        return Some("a known fault does not merge: mend it or file it");
    }
    if has_word(comment, "TODO") && !comment.contains("TODO(#") {
        return Some("a task needs its issue: TODO(#number)");
    }
    let text = comment.strip_prefix("//")?;
    if text.starts_with(['/', '!']) {
        return None;
    }
    is_code(text.trim()).then_some("commented-out code")
}

fn is_code(text: &str) -> bool {
    let is_statement = STATEMENTS.iter().any(|word| text.starts_with(word));
    let is_call = text.ends_with(");") && !text.split('(').next().unwrap_or("").contains(' ');
    let is_block = text.ends_with(" {") || ["}", "};", "})", "});"].contains(&text);
    let is_attribute = text.starts_with("#[") && text.ends_with(']');
    is_block || is_call || is_attribute || (is_statement && text.ends_with(';'))
}

/// Whether an expectation starts on the line and ends without a reason.
fn lacks_reason(lines: &[Line], index: usize) -> bool {
    let code = lines[index].code.trim_start();
    if !code.starts_with("#[expect(") && !code.starts_with("#![expect(") {
        return false;
    }
    let attribute = lines[index..].iter().map(|line| line.code.as_str());
    let end = attribute.clone().position(|code| code.trim_end().ends_with(']')).unwrap_or(0);
    !attribute.take(end + 1).any(|code| code.contains("reason = "))
}

#[cfg(test)]
mod tests;
