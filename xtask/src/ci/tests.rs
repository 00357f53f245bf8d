//! Counting tests.

use super::*;

#[test]
fn only_closing_lines_are_counted() {
    let mut tests = Tests::default();
    for line in [
        "test a ... ok",
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        "9 passed; 9 failed;",
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
    ] {
        tests.add(line);
    }
    assert_eq!(tests, Tests { passed: 4, failed: 2 });
}
