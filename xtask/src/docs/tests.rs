//! Commands, shown output, and blocks that really run.

use super::*;

fn block(lines: &[&str]) -> Block {
    let lines = lines.iter().map(|&line| line.to_owned()).collect();
    Block { tag: "console".to_owned(), line: 1, lines, is_excused: false }
}

fn run_block(name: &str, lines: &[&str]) -> Result<(), String> {
    let home = std::env::temp_dir().join(format!("mashaa-test-{name}-{}", std::process::id()));
    fs::create_dir_all(&home).expect("the temporary folder can be made");
    let block = block(lines);
    let output = execute(Path::new("."), &home, &script(&block));
    fs::remove_dir_all(&home).expect("the temporary folder is still there");
    compare(&shown(&block), &output?)
}

#[test]
fn commands_and_output_are_told_apart() {
    let block = block(&["$ a \\", "  b", "c", "", "$ d", "e"]);
    assert_eq!(script(&block), "a \\\n  b\nd\n");
    assert_eq!(shown(&block), ["c", "e"]);
}

#[test]
fn shown_lines_must_be_printed_in_order() {
    assert_eq!(compare(&["a", "c"], "a\nb\nc\n"), Ok(()));
    assert!(compare(&["c", "a"], "a\nb\nc\n").is_err());
    assert!(compare(&["d"], "a\n").is_err());
    assert_eq!(compare(&["a ..."], "a b\n"), Ok(()));
    assert!(compare(&["a ..."], "ab\n").is_err());
}

#[test]
fn a_block_runs_with_its_home() {
    let lines = ["$ test -d \"$MASHAA_HOME\"", "$ echo $((1 + 1))", "2"];
    assert_eq!(run_block("home", &lines), Ok(()));
}

#[test]
fn a_block_fails_with_its_command() {
    assert!(run_block("false", &["$ false", "$ true"]).is_err());
    assert!(run_block("pipe", &["$ false | true"]).is_err());
    assert!(run_block("output", &["$ echo 1", "2"]).is_err());
}
