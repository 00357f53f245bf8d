//! Limits of functions and files, and the ratchet.

use super::*;
use crate::tree::File;

const PATH: &str = "crates/a/src/b.rs";

fn tree(files: &[(&str, String)]) -> Tree {
    let file =
        |(path, text): &(&str, String)| File { path: (*path).to_owned(), text: text.clone() };
    Tree { files: files.iter().map(file).collect(), ..Tree::default() }
}

fn function(lines: usize) -> String {
    format!("fn a() {{\n{}}}\n", "b();\n".repeat(lines - 2))
}

fn count(files: &[(&str, String)]) -> usize {
    check(&tree(files)).0.len()
}

#[test]
fn one_long_function_in_a_thousand_is_let_be() {
    assert_eq!(count(&[(PATH, function(FUNCTION_LINES_MAX))]), 0);
    assert_eq!(count(&[(PATH, function(FUNCTION_LINES_MAX + 1))]), 1);
    let short = "fn c() {}\n".repeat(199);
    assert_eq!(count(&[(PATH, function(FUNCTION_LINES_MAX + 1) + &short)]), 0);
    let short = "fn c() {}\n".repeat(198);
    assert_eq!(count(&[(PATH, function(FUNCTION_LINES_MAX + 1) + &short)]), 1);
}

#[test]
fn a_long_file_needs_its_entry() {
    let long = |lines: usize| (PATH, "// b\n".repeat(lines));
    let ratchet = |text: &str| (RATCHET, format!("# head\n{text}\n"));
    assert_eq!(count(&[long(FILE_LINES_MAX)]), 0);
    assert_eq!(count(&[long(FILE_LINES_MAX + 1)]), 1);
    assert_eq!(count(&[long(900), ratchet("crates/a/src/b.rs 900 one machine")]), 0);
    assert_eq!(count(&[long(901), ratchet("crates/a/src/b.rs 900 one machine")]), 1);
}

#[test]
fn the_ratchet_only_goes_down() {
    let long = |lines: usize| (PATH, "// b\n".repeat(lines));
    let ratchet = |text: &str| (RATCHET, text.to_owned());
    assert_eq!(count(&[long(899), ratchet("crates/a/src/b.rs 900 one machine")]), 1);
    assert_eq!(count(&[long(800), ratchet("crates/a/src/b.rs 900 one machine")]), 1);
    assert_eq!(count(&[ratchet("crates/a/src/gone.rs 900 one machine")]), 1);
    assert_eq!(count(&[long(900), ratchet("crates/a/src/b.rs 900")]), 1);
}

#[test]
fn the_summary_states_the_median() {
    let summary = check(&tree(&[(PATH, function(3) + &function(9) + &function(71))])).1;
    assert_eq!(summary, "1 Rust files, 3 functions, median 9 lines, 1 over 70");
}
