use super::{byte_value, rank};
use crate::small::{names, sentencepiece, tokenizer};
use crate::tokenizer::SpecialTokens;

fn pieces(words: &[(&str, f32)], text: &str) -> String {
    let tokenizer = tokenizer(&sentencepiece(words));
    names(&tokenizer, &tokenizer.encode(text, SpecialTokens::Parse))
}

#[test]
fn the_highest_score_merges_first() {
    let words = [("a", -9.0), ("b", -9.0), ("c", -9.0), ("ab", -2.0), ("bc", -1.0)];
    assert_eq!(pieces(&[&words[..], &[("\u{2581}", -9.0)]].concat(), "abc"), " |a|bc");
}

#[test]
fn a_space_comes_first_and_after_each_control_token() {
    let words = [("\u{2581}", -3.0), ("a", -3.0), ("\u{2581}a", -1.0)];
    assert_eq!(pieces(&words, "a"), " a");
    assert_eq!(pieces(&words, "a</s>a"), " a|</s>| a");
    assert_eq!(pieces(&words, " a"), " | a");
    assert_eq!(pieces(&words, ""), "");
}

#[test]
fn characters_without_a_token_become_their_bytes() {
    let tokenizer = tokenizer(&sentencepiece(&[("\u{2581}", 0.0)]));
    let ids = tokenizer.encode("\u{645}", SpecialTokens::Plain);
    assert_eq!(ids, [259, 3 + 0xD9, 3 + 0x85]);
    assert_eq!(tokenizer.decode(&ids), " \u{645}");
}

#[test]
fn a_byte_token_written_out_is_text() {
    let words = [("\u{2581}", 0.0), ("<0x4", 0.0), ("1>", 0.0), ("<0", 0.0), ("x4", 0.0)];
    assert_eq!(pieces(&words, "<0x41>").matches('A').count(), 0);
}

#[test]
fn byte_tokens_are_read_in_both_cases() {
    assert_eq!(byte_value(b"<0x0A>"), Some(10));
    assert_eq!(byte_value(b"<0xff>"), Some(255));
    for written in ["<0x>", "<0xA>", "<0x0AA>", "<0x+A>", "0x0A", "<0xGG>", "<0x\u{e9}>"] {
        assert_eq!(byte_value(written.as_bytes()), None, "{written}");
    }
}

#[test]
fn ranks_order_scores_from_high_to_low() {
    let scores =
        [f32::INFINITY, 1e9, 1.0, f32::MIN_POSITIVE, 0.0, -1e-9, -1.0, -1e9, -f32::INFINITY];
    let ranks: Vec<u32> = scores.iter().map(|score| rank(score.to_bits()).unwrap()).collect();
    assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    assert_eq!(rank((-0.0f32).to_bits()), rank(0));
    assert_eq!(rank(f32::NAN.to_bits()), None);
}
