use engine::guide::{Guide as _, allows};

use super::{GRAMMAR_SIZE_MAX, GrammarError, TextGuide};
use crate::small::{Random, bpe, tokenizer};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// The token that ends an answer of `bpe`.
const END: u32 = 2;

fn vocabulary() -> Tokenizer {
    tokenizer(&bpe("gpt-2", &[("a", "b"), ("t", "r"), ("\"", ":")]))
}

fn guide(grammar: &str) -> TextGuide {
    vocabulary().guide(grammar).unwrap()
}

/// The texts of the tokens that may come next, the end as `END`.
fn next(guide: &mut TextGuide, tokenizer: &Tokenizer) -> Vec<String> {
    let allowed = guide.allowed().to_vec();
    let ids = (0..tokenizer.len() as u32).filter(|&id| allows(&allowed, id));
    let text = |id| if id == END { "END".to_owned() } else { tokenizer.decode(&[id]) };
    ids.map(text).collect()
}

#[test]
fn only_what_begins_a_text_of_the_grammar_may_come() {
    let tokenizer = vocabulary();
    let mut guide = tokenizer.guide("start: \"abab\" | \"b\"").unwrap();
    assert_eq!(next(&mut guide, &tokenizer), ["a", "b", "ab"]);
    let take = |guide: &mut TextGuide, text: &str| {
        tokenizer.encode(text, SpecialTokens::Plain).iter().all(|&token| guide.take(token))
    };
    assert!(take(&mut guide, "ab"));
    assert_eq!(next(&mut guide, &tokenizer), ["a", "ab"]);
    assert!(take(&mut guide, "ab"));
    assert_eq!(next(&mut guide, &tokenizer), ["END"]);
    assert!(guide.take(END) && !guide.take(END), "nothing follows the end");
}

#[test]
fn what_does_not_follow_is_not_taken() {
    let a = vocabulary().encode("a", SpecialTokens::Plain);
    assert!(!guide("start: \"b\"").take(a[0]));
    assert!(!guide("start: \"a\"").take(END), "too early");
    for control in [0, 1] {
        assert!(!guide("start: /(.|\\n)*/").take(control), "a control token is no text");
    }
}

#[test]
fn random_choices_under_a_schema_give_json_of_it() {
    let tokenizer = vocabulary();
    let schema = r#"start: %json {"type":"object","properties":{"a":{"enum":["tr","b"]},
        "n":{"type":"integer","minimum":0,"maximum":99},"l":{"type":"array","items":
        {"type":"boolean"},"maxItems":2}},"required":["a","n","l"],"additionalProperties":false,
        "x-guidance":{"whitespace_flexible":false,"item_separator":", ","key_separator":": "}}"#;
    for seed in 0..50 {
        let mut random = Random(seed);
        let mut guide = tokenizer.guide(schema).unwrap();
        let (mut ids, mut ended) = (Vec::new(), false);
        while !ended {
            let allowed = guide.allowed().to_vec();
            let may: Vec<u32> =
                (0..tokenizer.len() as u32).filter(|&id| allows(&allowed, id)).collect();
            let token = may[random.below(may.len())];
            assert!(guide.take(token), "seed {seed}: it is allowed");
            ended = token == END;
            ids.push(token);
        }
        let text = tokenizer.decode(&ids);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(value["n"].as_u64().is_some_and(|n| n < 100), "seed {seed}: {text}");
        assert!(value["a"] == "tr" || value["a"] == "b", "seed {seed}: {text}");
        assert!(value["l"].as_array().is_some_and(|l| l.len() < 3), "seed {seed}: {text}");
    }
}

#[test]
fn two_guides_allow_the_same() {
    let tokenizer = vocabulary();
    let (mut one, mut two) = (guide("start: /[ab]{3,9}/"), guide("start: /[ab]{3,9}/"));
    for token in tokenizer.encode("abbab", SpecialTokens::Plain) {
        assert_eq!(one.allowed(), two.allowed());
        assert!(one.take(token));
        let mut copy = two.clone();
        assert!(two.take(token));
        assert!(copy.take(token), "a copy goes its own way");
    }
}

#[test]
fn what_a_guide_foresees_comes_and_does_not_change_what_is_allowed() {
    let tokenizer = vocabulary();
    let schema = r#"start: "<" %json {"type":"object","properties":{"abtr":{"enum":["tr","trab"]},
        "n":{"type":"integer","minimum":0,"maximum":99}},"required":["abtr","n"],
        "additionalProperties":false,"x-guidance":{"whitespace_flexible":false,
        "item_separator":", ","key_separator":": "}}"#;
    for seed in 0..50 {
        let mut random = Random(seed);
        let (mut asked, mut unasked) =
            (tokenizer.guide(schema).unwrap(), tokenizer.guide(schema).unwrap());
        let (mut ids, mut ended, mut foreseen) = (Vec::new(), false, Vec::new());
        while !ended {
            foreseen.push((ids.len(), asked.foresee()));
            let allowed = unasked.allowed().to_vec();
            assert_eq!(asked.allowed(), allowed, "seed {seed}");
            let may: Vec<u32> =
                (0..tokenizer.len() as u32).filter(|&id| allows(&allowed, id)).collect();
            let token = may[random.below(may.len())];
            assert!(asked.take(token) && unasked.take(token), "seed {seed}: it is allowed");
            ended = token == END;
            ids.push(token);
        }
        for (at, foreseen) in &foreseen {
            let (rest, foreseen) = (tokenizer.decode(&ids[*at..]), tokenizer.decode(foreseen));
            assert!(rest.starts_with(&foreseen), "seed {seed}: {rest} after {foreseen}");
        }
        assert!(tokenizer.decode(&foreseen[0].1).starts_with(r#"<{"abtr": "tr"#), "seed {seed}");
    }
}

#[test]
fn what_is_no_grammar_is_refused_in_one_line() {
    let tokenizer = vocabulary();
    let too_large = "x".repeat(GRAMMAR_SIZE_MAX + 1);
    for grammar in ["x: \"a\"", "start: other", "start: %json {", "start: %json {\"type\":\"x\"}"] {
        let GrammarError::Refused { message } = tokenizer.guide(grammar).unwrap_err() else {
            panic!("{grammar:?} is refused for what it says");
        };
        assert!(!message.is_empty() && !message.contains('\n'), "{grammar:?}: {message:?}");
    }
    let size = too_large.len();
    assert_eq!(tokenizer.guide(&too_large).unwrap_err(), GrammarError::TooLarge { size });
    let mut endless = bpe("gpt-2", &[]);
    endless.ends = Vec::new();
    let endless = crate::small::tokenizer(&endless);
    assert_eq!(endless.guide("start: \"a\"").unwrap_err(), GrammarError::NoEnd);
}

#[test]
fn what_leads_a_thousand_times_to_the_next_is_made() {
    let tokenizer = vocabulary();
    let next = |index: usize| format!("\"a{index}\":{{\"$ref\":\"#/$defs/a{}\"}},", index + 1);
    let definitions: String = (0..1_500).map(next).collect();
    let schema =
        format!("\"$ref\":\"#/$defs/a0\",\"$defs\":{{{definitions}\"a1500\":{{\"const\":\"b\"}}}}");
    let rules: String =
        (0..3_000).map(|index| format!("R{index}: \"b\" R{}?\n", index + 1)).collect();
    for (grammar, text) in [
        (format!("start: %json {{{schema}}}"), "\"b\""),
        (format!("start: R0\n{rules}R3000: \"a\""), "bbb"),
    ] {
        let mut guide = tokenizer.guide(&grammar).unwrap();
        let tokens = tokenizer.encode(text, SpecialTokens::Plain);
        assert!(tokens.iter().all(|token| guide.take(*token)) && guide.take(END), "{text}");
    }
}

#[test]
fn a_kept_grammar_is_as_one_that_was_just_made() {
    let tokenizer = vocabulary();
    let grammar = |index: usize| format!("start: /[ab]{{2,3}}/ \"{}\"", "r".repeat(index + 1));
    let follow = |grammar: &str| {
        let mut guide = tokenizer.guide(grammar).unwrap();
        let tokens = tokenizer.encode("abr", SpecialTokens::Plain);
        let masks = tokens.into_iter().map(|token| {
            let allowed = guide.allowed().to_vec();
            (allowed, guide.take(token))
        });
        masks.collect::<Vec<_>>()
    };
    let first: Vec<_> = (0..=super::KEPT_MAX).map(|index| follow(&grammar(index))).collect();
    // The first one had to make room for the last; the others are there.
    for (index, masks) in first.iter().enumerate().rev() {
        assert_eq!(&follow(&grammar(index)), masks, "{index}");
    }
}
