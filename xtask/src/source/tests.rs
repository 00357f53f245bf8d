//! Where code ends and comments, literals, items and tests begin.

use super::*;

fn code(source: &str) -> Vec<String> {
    lines(source).into_iter().map(|line| line.code).collect()
}

#[test]
fn literals_are_emptied() {
    assert_eq!(code("a(\"x { \\\" // y\", 'c', '\\'', '\"', b'{')"), ["a(\"\", , , , b)"]);
    assert_eq!(code("a(r#\"x \" { \"#, br\"\\\", 1)"), ["a(r#\"\"#, br\"\", 1)"]);
    assert_eq!(code("fn a<'a>(x: &'a str)"), ["fn a<'a>(x: &'a str)"]);
}

#[test]
fn a_text_over_two_lines_leaves_two_lines() {
    assert_eq!(code("a(\"x \\\n  } y\");\nb"), ["a(\"", "\");", "b"]);
}

#[test]
fn comments_are_apart_from_code() {
    let lines = lines("a(); // b {\n/* c /* d */ e */ f\n/// g");
    let parts: Vec<_> = lines.iter().map(|line| (&*line.code, &*line.comment)).collect();
    assert_eq!(parts, [("a(); ", "// b {"), (" f", "/* c /* d */ e */"), ("", "/// g")]);
}

#[test]
fn a_function_is_as_long_as_its_braces_say() {
    let source =
        "fn a(x: [u8; 2]) -> u8 {\n    let y = \"}\";\n    b(|| { 1 });\n}\nfn c();\nfn d() {}\n";
    let found: Vec<_> =
        functions(&lines(source)).into_iter().map(|one| (one.name, one.line, one.length)).collect();
    assert_eq!(found, [("a".to_owned(), 0, 4), ("d".to_owned(), 5, 1)]);
}

#[test]
fn the_item_after_cfg_test_is_test_code() {
    let source = "a;\n#[cfg(test)]\nmod tests {\n    b;\n}\nc;\n#[cfg(test)] mod d;\ne;\n";
    let marked: Vec<bool> = lines(source).iter().map(|line| line.in_test).collect();
    assert_eq!(marked, [false, true, true, true, true, false, true, false]);
}

#[test]
fn a_source_that_ends_too_soon_is_read_to_its_end() {
    for source in ["\"", "'\\", "r#\"", "/*", "fn a() {", "#[cfg(test)]", "\\", "'"] {
        functions(&lines(source));
    }
}
