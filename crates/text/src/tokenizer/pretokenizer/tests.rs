use super::PreTokenizer;
use crate::small::Random;

/// Every name that is known, one for each family first.
const NAMES: [&str; 13] = [
    "default",
    "gpt-2",
    "smollm",
    "llama-bpe",
    "qwen2",
    "qwen35",
    "tekken",
    "gpt-4o",
    "falcon",
    "deepseek-v3",
    "deepseek-coder",
    "deepseek-llm",
    "",
];

fn words(name: &str, text: &str) -> Vec<String> {
    let split = PreTokenizer::named(name).unwrap().split(text);
    split.into_iter().map(|range| text[range].to_owned()).collect()
}

#[test]
fn families_differ_in_digits() {
    assert_eq!(words("gpt-2", "a 12345"), ["a", " 12345"]);
    assert_eq!(words("smollm", "a 12345"), ["a", " ", "1", "2", "3", "4", "5"]);
    assert_eq!(words("llama-bpe", "a 12345"), ["a", " ", "123", "45"]);
    assert_eq!(words("qwen2", "a 123"), ["a", " ", "1", "2", "3"]);
}

#[test]
fn a_run_of_spaces_leaves_its_last_one_to_the_next_word() {
    assert_eq!(words("gpt-2", "a   b"), ["a", "  ", " b"]);
    assert_eq!(words("gpt-2", "a   "), ["a", "   "]);
    assert_eq!(words("gpt-2", "a\n\nb"), ["a", "\n", "\n", "b"]);
    assert_eq!(words("llama-bpe", "a \u{3000}b"), ["a", " ", "\u{3000}b"]);
}

#[test]
fn line_ends_stay_together_where_the_family_keeps_them() {
    assert_eq!(words("llama-bpe", "a \n\n  b"), ["a", " \n\n", " ", " b"]);
    assert_eq!(words("qwen2", "x;\n\ny"), ["x", ";\n\n", "y"]);
}

#[test]
fn endings_are_cut_off() {
    assert_eq!(words("gpt-2", "I'm HE'S"), ["I", "'m", " HE", "'", "S"]);
    assert_eq!(words("llama-bpe", "I'm HE'S"), ["I", "'m", " HE", "'S"]);
    assert_eq!(words("gpt-4o", "I'm HelloWorld"), ["I'm", " Hello", "World"]);
}

#[test]
fn marks_stay_in_words_only_where_the_family_says_so() {
    assert_eq!(words("qwen2", "e\u{301}a"), ["e", "\u{301}a"]);
    assert_eq!(words("qwen35", "e\u{301}a"), ["e\u{301}a"]);
}

#[test]
fn an_unknown_name_is_not_guessed() {
    for name in ["gpt2", "Default", "qwen3 ", "\0"] {
        assert!(PreTokenizer::named(name).is_none(), "{name:?}");
    }
}

#[test]
fn the_pieces_are_the_text() {
    for name in NAMES {
        let pre = PreTokenizer::named(name).unwrap();
        for seed in 0..200 {
            let text = Random(seed).text(30);
            let mut end = 0;
            for piece in pre.split(&text) {
                assert!(piece.start == end && piece.end > end, "{name}, seed {seed}");
                end = piece.end;
            }
            assert_eq!(end, text.len(), "{name}, seed {seed}");
        }
    }
}
