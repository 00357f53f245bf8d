//! Blocks and prose.

use super::*;

#[test]
fn a_block_knows_its_tag_line_and_excuse() {
    let text = "a\n\n```console\n$ b\n```\n<!-- not run: never ends -->\n\n```sh\nc\n```\n";
    let found: Vec<_> = blocks(text)
        .into_iter()
        .map(|one| (one.tag, one.line, one.lines, one.is_excused))
        .collect();
    let first = ("console".to_owned(), 3, vec!["$ b".to_owned()], false);
    let second = ("sh".to_owned(), 8, vec!["c".to_owned()], true);
    assert_eq!(found, [first, second]);
}

#[test]
fn an_excuse_needs_a_reason_and_holds_for_one_block() {
    assert!(!blocks("<!-- not run: -->\n```sh\n```\n")[0].is_excused);
    assert!(!blocks("<!-- not run: a -->\nb\n```sh\n```\n")[0].is_excused);
    assert!(!blocks("<!-- not run: a -->\n```sh\n```\n```sh\n```\n")[1].is_excused);
}

#[test]
fn prose_has_no_code() {
    assert_eq!(prose("a `b` c\n```\nd\n```\ne"), [(1, "a `` c".to_owned()), (5, "e".to_owned())]);
}
