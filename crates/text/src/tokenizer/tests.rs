use engine::vocabulary::TokenKind;

use super::{SpecialTokens, StreamDecoder, TokenizerError};
use crate::small::{Random, SPACE, bpe, names, sentencepiece, tokenizer, try_tokenizer};

const MERGES: [(&str, &str); 6] =
    [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), (SPACE, "hello"), ("a", "b")];

#[test]
fn words_merge_by_the_ranked_list() {
    let tokenizer = tokenizer(&bpe("gpt-2", &MERGES));
    let ids = tokenizer.encode("hello hello abc", SpecialTokens::Plain);
    assert_eq!(names(&tokenizer, &ids), "hello| hello| |ab|c");
}

#[test]
fn control_tokens_are_read_only_where_they_are_parsed() {
    let tokenizer = tokenizer(&bpe("gpt-2", &MERGES));
    let text = "<|im_start|>ab<|im_end|>";
    let parsed = tokenizer.encode(text, SpecialTokens::Parse);
    assert_eq!(names(&tokenizer, &parsed), "<|im_start|>|ab|<|im_end|>");
    let plain = tokenizer.encode(text, SpecialTokens::Plain);
    assert!(plain.iter().all(|id| ![0, 1, 2].contains(id)), "{plain:?}");
    assert_eq!(tokenizer.decode(&plain), text);
}

#[test]
fn user_defined_tokens_are_read_everywhere() {
    let tokenizer = tokenizer(&bpe("gpt-2", &MERGES));
    for special in [SpecialTokens::Parse, SpecialTokens::Plain] {
        assert_eq!(names(&tokenizer, &tokenizer.encode("ab<tool>", special)), "ab|<tool>");
    }
}

#[test]
fn a_prompt_begins_once() {
    let mut parts = bpe("gpt-2", &MERGES);
    let prompt = |parts: &_, text| {
        let tokenizer = tokenizer(parts);
        names(&tokenizer, &tokenizer.encode_prompt(text, SpecialTokens::Parse))
    };
    assert_eq!(prompt(&parts, "ab"), "ab");
    parts.adds_begin = true;
    assert_eq!(prompt(&parts, "ab"), "<s>|ab");
    assert_eq!(prompt(&parts, "<s>ab"), "<s>|ab");
    assert_eq!(prompt(&parts, ""), "<s>");
    parts.begin = None;
    assert_eq!(prompt(&parts, "ab"), "ab");
}

#[test]
fn control_tokens_have_a_name_and_no_bytes() {
    let tokenizer = tokenizer(&bpe("gpt-2", &MERGES));
    assert_eq!(tokenizer.bytes(2), Some([].as_slice()));
    assert_eq!(tokenizer.name(2).as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.bytes(3), Some(b"<tool>".as_slice()));
    let space = tokenizer.encode(" ", SpecialTokens::Plain)[0];
    assert_eq!(tokenizer.bytes(space), Some(b" ".as_slice()));
}

#[test]
fn ids_outside_the_vocabulary_have_nothing() {
    let tokenizer = tokenizer(&bpe("gpt-2", &MERGES));
    for id in [tokenizer.len() as u32, u32::MAX] {
        assert_eq!((tokenizer.bytes(id), tokenizer.name(id)), (None, None));
        assert_eq!(tokenizer.decode(&[id]), "");
    }
}

#[test]
fn a_merge_into_no_token_falls_back_to_bytes() {
    let mut parts = bpe("gpt-2", &[("a", "b"), ("ab", "c")]);
    let last = parts.tokens.len() - 1;
    parts.tokens[last] = b"unrelated".to_vec();
    let tokenizer = tokenizer(&parts);
    let ids = tokenizer.encode("abc", SpecialTokens::Plain);
    assert_eq!(names(&tokenizer, &ids), "a|b|c");
}

#[test]
fn whole_words_skip_merging_where_the_family_does() {
    let merges = [("a", "b"), ("c", "d"), ("ab", "cd"), ("b", "c")];
    let mut parts = bpe("llama-bpe", &merges);
    parts.merges.remove(2);
    let whole = tokenizer(&parts);
    assert_eq!(names(&whole, &whole.encode("abcd", SpecialTokens::Plain)), "abcd");
    parts.pre = "qwen2".to_owned();
    let merged = tokenizer(&parts);
    assert_eq!(names(&merged, &merged.encode("abcd", SpecialTokens::Plain)), "ab|cd");
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_by_name() {
    let refused = try_tokenizer(&bpe("llama-9", &MERGES)).unwrap_err();
    assert_eq!(refused, TokenizerError::PreTokenizer { name: "llama-9".to_owned() });
    assert!(refused.to_string().contains("\"llama-9\""));
}

#[test]
fn a_score_that_is_no_number_is_refused() {
    let parts = sentencepiece(&[("a", 0.0), ("b", f32::NAN)]);
    assert_eq!(try_tokenizer(&parts).unwrap_err(), TokenizerError::Score { id: 260 });
}

#[test]
fn more_special_tokens_than_the_limit_are_refused() {
    let mut parts = bpe("gpt-2", &MERGES);
    let count = super::special::SPECIALS_MAX - 4;
    for number in 0..count {
        parts.tokens.push(format!("<{number}>").into_bytes());
        parts.kinds.push(TokenKind::UserDefined);
    }
    assert!(try_tokenizer(&parts).is_ok());
    parts.tokens.push(b"<one more>".to_vec());
    parts.kinds.push(TokenKind::UserDefined);
    assert!(matches!(try_tokenizer(&parts), Err(TokenizerError::Specials { .. })));
}

#[test]
fn byte_level_text_survives_encoding_and_decoding() {
    let families =
        ["gpt-2", "default", "smollm", "llama-bpe", "qwen2", "tekken", "gpt-4o", "deepseek-llm"];
    for seed in 0..200 {
        let mut random = Random(seed);
        let tokenizer = tokenizer(&bpe(families[random.below(families.len())], &MERGES));
        let text = random.text(40);
        let ids = tokenizer.encode(&text, SpecialTokens::Plain);
        assert_eq!(tokenizer.decode(&ids), text, "seed {seed}");
        let mut stream = StreamDecoder::new();
        let mut streamed: String =
            ids.iter().map(|&id| stream.push(tokenizer.bytes(id).unwrap())).collect();
        streamed.push_str(&stream.finish());
        assert_eq!(streamed, text, "seed {seed}");
    }
}

#[test]
fn no_vocabulary_makes_plain_text_a_control_token() {
    let pieces = ["<", "|", "im_", "start", "end", "|>", "<s>", "</s>", "<s", ">", " "];
    let words = [("<s", 1.0), ("</s", 1.0), ("</", 2.0), ("im", 0.5)];
    let byte_level = tokenizer(&bpe("gpt-2", &MERGES));
    let sentences = tokenizer(&sentencepiece(&words));
    for seed in 0..200 {
        let mut random = Random(seed);
        let text: String = (0..12).map(|_| pieces[random.below(pieces.len())]).collect();
        for tokenizer in [&byte_level, &sentences] {
            let ids = tokenizer.encode(&text, SpecialTokens::Plain);
            assert!(ids.iter().all(|&id| id > 2), "seed {seed}: {text:?}");
        }
    }
}
