use engine::vocabulary::{TokenKind, Vocabulary};

use super::{Allowed, Fragment, Specials};
use crate::small::bpe;

/// Cuts a text at these control tokens; a token shows in brackets.
fn cut(tokens: &[&str], text: &str, guarded: &[usize]) -> String {
    let mut parts = bpe("gpt-2", &[]);
    parts.tokens.truncate(256);
    parts.kinds = vec![TokenKind::Normal; 256];
    parts.ends.clear();
    for token in tokens {
        parts.tokens.push(token.as_bytes().to_vec());
        parts.kinds.push(TokenKind::Control);
    }
    let bytes = parts.to_bytes().unwrap();
    let specials = Specials::new(&Vocabulary::new(&bytes).unwrap()).unwrap();
    let show = |fragment| match fragment {
        Fragment::Text(range) => text[range].to_owned(),
        Fragment::Token(id) => {
            format!("[{}]", String::from_utf8_lossy(&parts.tokens[id as usize]))
        }
    };
    let fragments: Vec<String> =
        specials.split(text, Allowed::Except(guarded)).into_iter().map(show).collect();
    fragments.join(" ")
}

#[test]
fn text_is_cut_at_each_token() {
    assert_eq!(cut(&["<a>"], "x<a><a>y", &[]), "x [<a>] [<a>] y");
    assert_eq!(cut(&["<a>"], "", &[]), "");
    assert_eq!(cut(&["<a>"], "<a", &[]), "<a");
}

#[test]
fn the_longer_token_wins_wherever_they_overlap() {
    assert_eq!(cut(&["ab", "bcd"], "abcd", &[]), "a [bcd]");
    assert_eq!(cut(&["aa", "aaa"], "aaaaa", &[]), "[aaa] [aa]");
}

#[test]
fn of_equally_long_tokens_the_lower_id_wins() {
    assert_eq!(cut(&["bc", "ab"], "abc", &[]), "a [bc]");
    assert_eq!(cut(&["ab", "bc"], "abc", &[]), "[ab] c");
}

#[test]
fn a_guarded_byte_is_in_no_control_token() {
    for guarded in 0..3 {
        assert_eq!(cut(&["<a>"], "<a><a>", &[guarded]), "<a> [<a>]", "{guarded}");
    }
    assert_eq!(cut(&["<a>"], "<a><a>", &[3]), "[<a>] <a>");
    assert_eq!(cut(&["aa"], "aaa", &[0]), "a [aa]");
}

#[test]
fn a_token_that_text_cannot_hold_is_never_found() {
    let mut parts = bpe("gpt-2", &[]);
    parts.tokens[1] = vec![0xFF, b'<'];
    parts.tokens[2] = Vec::new();
    let bytes = parts.to_bytes().unwrap();
    let specials = Specials::new(&Vocabulary::new(&bytes).unwrap()).unwrap();
    let found = specials.split("\u{FF}<", Allowed::Except(&[]));
    assert_eq!(found, [Fragment::Text(0..3)]);
}
