use crate::small;
use engine::vocabulary::{TokenKind, VocabularyModel, VocabularyParts};

const TOKENS: [&str; 13] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "un", "##aff", "##able", "cafe", "!", "\u{4e2d}",
    "\u{633}", "[", "a",
];

fn parts(pre: &str) -> VocabularyParts {
    let mut kinds = vec![TokenKind::Normal; TOKENS.len()];
    kinds[..4].fill(TokenKind::Control);
    kinds[1] = TokenKind::Unknown;
    VocabularyParts {
        model: VocabularyModel::WordPiece,
        pre: pre.to_owned(),
        tokens: TOKENS.map(|token| token.as_bytes().to_vec()).into(),
        kinds,
        score_bits: Vec::new(),
        merges: Vec::new(),
        begin: Some(2),
        unknown: Some(1),
        ends: vec![3],
        adds_begin: true,
        adds_space_prefix: false,
    }
}

#[track_caller]
fn check(pre: &str, text: &str, expected: &[u32]) {
    let ids = small::tokenizer(&parts(pre)).encode_enclosed(text);
    let (first, last) = (ids[0], ids[ids.len() - 1]);
    assert_eq!((first, last), (2, 3), "{text:?}");
    assert_eq!(ids[1..ids.len() - 1], *expected, "{text:?}");
}

#[test]
fn words_become_their_longest_tokens() {
    check("bert-uncased", "unaffable", &[4, 5, 6]);
    check("bert-uncased", "unaffable!un", &[4, 5, 6, 8, 4]);
    check("bert-uncased", "", &[]);
    check("bert-uncased", "unaff able", &[4, 5, 1]);
}

#[test]
fn the_uncased_form_drops_accents_and_capitals_and_the_cased_one_keeps_them() {
    check("bert-uncased", "CAF\u{c9} Cafe\u{301}", &[7, 7]);
    check("bert-cased", "CAF\u{c9} cafe", &[1, 7]);
    check("bert-uncased", "\u{633}\u{64e}", &[10]);
}

#[test]
fn ideographs_and_marks_stand_alone_and_control_characters_go() {
    check("bert-uncased", "un\u{4e2d}un", &[4, 9, 4]);
    check("bert-uncased", "u\u{0}\u{200d}n\tun\u{a0}un\u{fffd}", &[4, 4, 4]);
}

#[test]
fn a_word_beyond_the_limit_is_unknown() {
    let word = |length: usize| "un".to_owned() + &"aff".repeat(length);
    check("bert-uncased", &word(32), &[&[4][..], &[5; 32]].concat());
    check("bert-uncased", &word(33), &[1]);
    check("bert-uncased", &"a".repeat(100_000), &[1]);
}

#[test]
fn a_text_cannot_forge_a_control_token() {
    check("bert-uncased", "[SEP]", &[11, 1, 1]);
}

#[test]
fn an_unknown_rule_is_refused() {
    assert!(small::try_tokenizer(&parts("bert-lower")).is_err());
}
