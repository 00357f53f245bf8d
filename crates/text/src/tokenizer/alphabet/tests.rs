use super::{byte, bytes, letter, spell};

#[test]
fn every_byte_has_its_own_printable_letter() {
    let mut letters: Vec<char> = (0..=255).map(letter).collect();
    for (value, &spelled) in (0..=255u8).zip(&letters) {
        assert_eq!(byte(spelled), Some(value), "{spelled:?}");
        assert!(!spelled.is_whitespace() && !spelled.is_control(), "{spelled:?}");
    }
    letters.sort_unstable();
    letters.dedup();
    assert_eq!(letters.len(), 256);
}

#[test]
fn spelling_is_that_of_gpt_2() {
    assert_eq!(spell(" a\n"), "\u{120}a\u{10A}");
    assert_eq!(spell("\u{AD}\u{7F}"), "\u{C2}\u{143}\u{121}");
    assert_eq!(bytes("\u{120}a"), Some(b" a".to_vec()));
    assert_eq!(bytes(" "), None);
}
