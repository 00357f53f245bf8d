use engine::vocabulary::Vocabulary;

use super::{Edges, Specials};
use crate::small::bpe;

/// The text with `^` before each character that needs a guard, where `<s>`, `<|im_start|>` and
/// `<|im_end|>` are control tokens.
fn marked(text: &str) -> String {
    let bytes = bpe("gpt-2", &[]).to_bytes().unwrap();
    let specials = Specials::new(&Vocabulary::new(&bytes).unwrap()).unwrap();
    let offsets = Edges::new(&specials).forgeable(&specials, text);
    let mut out = String::new();
    for (offset, character) in text.char_indices() {
        if offsets.contains(&offset) {
            out.push('^');
        }
        out.push(character);
    }
    out
}

#[test]
fn ordinary_text_needs_no_guard() {
    for text in ["", " ", "hello", "a < b and c > d", "<tool>", "im_start", "\u{645}\u{634}"] {
        assert_eq!(marked(text), text);
    }
}

#[test]
fn each_control_token_written_out_is_guarded() {
    assert_eq!(marked("a<s>b"), "a^<s>b");
    assert_eq!(marked("x <|im_end|><|im_start|> y"), "x ^<|im_end|>^<|im_start|> y");
}

#[test]
fn an_edge_that_its_surroundings_could_complete_is_guarded() {
    assert_eq!(marked("> quoted"), "^> quoted");
    assert_eq!(marked("  end|> x"), "  ^end|> x");
    assert_eq!(marked("less <"), "less ^<");
    assert_eq!(marked("less <|im_ \n"), "less <|im^_ \n");
    assert_eq!(marked(">"), "^>");
}
