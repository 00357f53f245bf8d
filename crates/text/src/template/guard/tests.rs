use super::Guard;
use crate::small::{Random, bpe, tokenizer};

#[test]
fn the_sentinel_is_in_none_of_the_texts() {
    let tokenizer = tokenizer(&bpe("gpt-2", &[]));
    let all: String = ('\u{FDD0}'..='\u{FDEF}').collect();
    let texts = [all.as_str(), "\u{F0000}"];
    let guard = Guard::new(&tokenizer, texts.into_iter()).unwrap();
    assert_eq!(guard.sentinel, '\u{F0001}');
}

#[test]
fn texts_with_every_candidate_are_refused() {
    let tokenizer = tokenizer(&bpe("gpt-2", &[]));
    let mut all: String = ('\u{FDD0}'..='\u{FDEF}').collect();
    all.extend('\u{F0000}'..='\u{10FFFD}');
    assert!(Guard::new(&tokenizer, [all.as_str()].into_iter()).is_none());
}

#[test]
fn unmarking_gives_the_text_and_its_guarded_places() {
    let tokenizer = tokenizer(&bpe("gpt-2", &[]));
    let guard = Guard::new(&tokenizer, [].into_iter()).unwrap();
    let text = "\u{645}<s>b<";
    let marked = guard.mark(text);
    assert_eq!(marked.chars().count(), text.chars().count() + 2);
    assert_eq!(guard.unmark(&marked), (text.to_owned(), vec![2, 6]));
}

#[test]
fn marking_can_always_be_undone() {
    let tokenizer = tokenizer(&bpe("gpt-2", &[]));
    for seed in 0..200 {
        let text = Random(seed).text(20);
        let guard = Guard::new(&tokenizer, [text.as_str()].into_iter()).unwrap();
        assert_eq!(guard.unmark(&guard.mark(&text)).0, text, "seed {seed}");
    }
}
