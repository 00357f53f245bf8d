use super::StreamDecoder;
use crate::small::Random;

/// What each push returns, and what the end returns.
fn pushed(pieces: &[&[u8]]) -> (Vec<String>, String) {
    let mut decoder = StreamDecoder::new();
    let texts = pieces.iter().map(|piece| decoder.push(piece)).collect();
    (texts, decoder.finish())
}

#[test]
fn a_character_is_held_back_until_it_is_complete() {
    let (texts, end) = pushed(&[b"a\xF0", b"\x9F\x98", b"\x80b"]);
    assert_eq!((texts, end.as_str()), (vec!["a".into(), String::new(), "\u{1F600}b".into()], ""));
}

#[test]
fn a_stream_that_ends_inside_a_character_says_so() {
    assert_eq!(pushed(&[b"a\xE4\xB8"]), (vec!["a".to_owned()], "\u{FFFD}".to_owned()));
}

#[test]
fn bytes_that_cannot_be_text_do_not_hold_the_rest_back() {
    assert_eq!(pushed(&[b"\xFFa"]).0, ["\u{FFFD}a"]);
    assert_eq!(pushed(&[b"\xC0\x80"]).0, ["\u{FFFD}\u{FFFD}"]);
    assert_eq!(pushed(&[b"\xE4", b"a"]).0, ["", "\u{FFFD}a"]);
}

#[test]
fn any_cut_gives_the_text_of_the_whole() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut bytes = random.text(8).into_bytes();
        bytes.extend((0..random.below(8)).map(|_| random.next() as u8));
        let mut decoder = StreamDecoder::new();
        let mut text = String::new();
        for piece in bytes.chunks(1 + random.below(4)) {
            text.push_str(&decoder.push(piece));
        }
        text.push_str(&decoder.finish());
        assert_eq!(text, String::from_utf8_lossy(&bytes), "seed {seed}");
    }
}
