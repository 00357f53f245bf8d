//! Each line rule fires on a bad line, and only there.

use super::*;

/// The messages for a file that begins as it should.
fn messages(path: &str, body: &str) -> Vec<String> {
    let findings = check(path, &format!("//! A file.\n{body}\n"));
    findings.into_iter().map(|finding| format!("{}: {}", finding.line, finding.message)).collect()
}

fn fires(path: &str, body: &str) -> bool {
    match messages(path, body).as_slice() {
        [] => false,
        [_] => true,
        many => panic!("one fault, many findings: {many:?}"),
    }
}

#[test]
fn a_file_begins_with_what_it_is() {
    assert_eq!(check("crates/a/src/b.rs", "use c;\n").len(), 1);
    assert_eq!(check("crates/a/src/b.rs", "//! B.\nuse c;\n").len(), 0);
    assert_eq!(check("crates/a/src/b/tests.rs", "use c;\n").len(), 0);
}

#[test]
fn banned_words_are_found_in_code_only() {
    for body in ["dbg!(1);", "#[ignore = \"slow\"]", "#[allow(dead_code)]", "#![allow(dead_code)]"]
    {
        assert!(fires("crates/a/src/b.rs", body), "{body}");
        assert!(!fires("crates/a/src/b.rs", &format!("let x = r\"{body}\";")), "{body}");
    }
}

#[test]
fn unwrap_is_for_tests() {
    assert!(fires("crates/a/src/b.rs", "x.unwrap();"));
    assert!(!fires("crates/a/src/b.rs", "x.unwrap_or(1);"));
    assert!(!fires("crates/a/src/b.rs", "#[cfg(test)]\nmod tests {\n    x.unwrap();\n}"));
    assert!(!fires("crates/a/src/b/tests.rs", "x.unwrap();"));
    assert!(!fires("crates/a/tests/b.rs", "x.unwrap();"));
}

#[test]
fn tests_do_not_sleep() {
    assert!(fires("crates/a/src/b/tests.rs", "std::thread::sleep(x);"));
    assert!(fires("crates/a/tests/b.rs", "tokio::time::sleep(x).await;"));
    assert!(!fires("crates/a/src/b.rs", "std::thread::sleep(x);"));
}

#[test]
fn comments_hold_no_code_and_no_debts() {
    for body in [
        "// let x = 1;",
        "// x.push(1);",
        "// if a {",
        "// }",
        "// #[test]",
        "// FIXME: x",
        "/// FIXME",
        "// TODO: x",
    ] {
        assert!(fires("crates/a/src/b.rs", body), "{body}");
    }
    for body in [
        "// A sum of squares; it cannot overflow,",
        "// see `x` (32 bits);",
        "/// let x = 1;",
        "// TODO(#12): x",
        "// if x is odd",
        "// #[cfg] takes no effect here",
    ] {
        assert!(!fires("crates/a/src/b.rs", body), "{body}");
    }
}

#[test]
fn only_literals_may_leave_ascii() {
    assert!(fires("crates/a/src/b.rs", "// \u{2264}"));
    assert!(fires("crates/a/src/b.rs", "let \u{e9} = 1;"));
    assert!(!fires("crates/a/src/b.rs", "let x = \"\u{645}\";"));
}

#[test]
fn unsafe_lives_in_the_kernels() {
    assert!(fires("crates/a/src/b.rs", "unsafe { x() }"));
    assert!(!fires("crates/a/src/b.rs", "#![forbid(unsafe_code)]"));
    assert!(!fires("crates/a/src/kernels/b.rs", "unsafe { x() }"));
}

#[test]
fn the_exact_engine_has_no_floats() {
    assert!(fires("crates/engine/src/forward.rs", "let x: f32 = y;"));
    assert!(fires("crates/engine/src/forward.rs", "let x = f64::from(y);"));
    assert!(!fires("crates/engine/src/forward.rs", "/// The bits of an f32.\nlet x = my_f32();"));
    assert!(!fires("crates/engine/src/import/family.rs", "let x: f32 = y;"));
    assert!(!fires("crates/engine/src/forward/tests.rs", "let x: f32 = y;"));
    assert!(!fires("crates/gateway/src/b.rs", "let x: f32 = y;"));
}

#[test]
fn an_expectation_has_a_reason() {
    assert!(fires("crates/a/src/b.rs", "#[expect(dead_code)]"));
    assert!(fires("crates/a/src/b.rs", "#![expect(\n    dead_code,\n)]"));
    assert!(!fires("crates/a/src/b.rs", "#[expect(dead_code, reason = \"x\")]"));
    assert!(!fires("crates/a/src/b.rs", "#[expect(\n    dead_code,\n    reason = \"x\"\n)]"));
}

#[test]
fn a_finding_names_its_line() {
    assert_eq!(messages("crates/a/src/b.rs", "\n// }"), ["3: commented-out code"]);
}
