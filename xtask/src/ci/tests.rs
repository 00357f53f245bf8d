//! Counting tests.

use super::*;

#[test]
fn only_closing_lines_are_counted_and_only_failures_are_named() {
    let mut tests = Tests::default();
    for line in [
        "test a ... ok",
        "test b::c ... FAILED",
        "test crates/d/src/lib.rs - e (line 7) ... FAILED",
        "test f ... FAILED, it said",
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out",
        "9 passed; 9 failed;",
        "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
    ] {
        tests.add(line);
    }
    let names = ["b::c", "crates/d/src/lib.rs - e (line 7)"].map(str::to_owned).to_vec();
    assert_eq!(tests, Tests { passed: 4, failed: 2, names });
}
