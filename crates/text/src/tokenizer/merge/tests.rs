use super::{Line, NONE, Pair};

/// Merges the letters of `text`, where `pairs` are the pairs that merge, best first.
fn merged(text: &str, pairs: &[(&str, &str)]) -> String {
    let mut line = Line::default();
    for index in 0..text.len() {
        line.push(index..index + 1, NONE);
    }
    line.merge(|a, b| {
        let written = (&text[a.range.clone()], &text[b.range.clone()]);
        let rank = pairs.iter().position(|pair| *pair == written)?;
        Some(Pair { rank: rank as u32, id: rank as u32 })
    });
    let pieces: Vec<&str> = line.symbols().map(|symbol| &text[symbol.range.clone()]).collect();
    pieces.join(" ")
}

#[test]
fn the_best_pair_merges_before_the_leftmost() {
    assert_eq!(merged("abc", &[("b", "c"), ("a", "b")]), "a bc");
    assert_eq!(merged("abc", &[("a", "b"), ("b", "c")]), "ab c");
}

#[test]
fn equal_pairs_merge_from_the_left() {
    assert_eq!(merged("aaa", &[("a", "a")]), "aa a");
    assert_eq!(merged("aaaaa", &[("a", "a"), ("aa", "a")]), "aa aaa");
}

#[test]
fn merged_symbols_merge_again() {
    assert_eq!(merged("abcd", &[("a", "b"), ("c", "d"), ("ab", "cd")]), "abcd");
}

#[test]
fn a_line_without_pairs_is_unchanged() {
    assert_eq!(merged("abc", &[]), "a b c");
    assert_eq!(merged("", &[("a", "b")]), "");
}
