use super::{FixtureError, compare};
use crate::small::{bpe, tokenizer};
use crate::tokenizer::SpecialTokens;

fn tokens() -> crate::tokenizer::Tokenizer {
    tokenizer(&bpe("gpt-2", &[("a", "b")]))
}

#[test]
fn equal_ids_are_no_mismatch() {
    let fixture = r#"{"cases": [{"text": "ab", "special": true, "ids": [260]},
        {"text": "<s>", "special": true, "ids": [0]}]}"#;
    let report = compare(&tokens(), fixture).unwrap();
    assert_eq!((report.cases, report.mismatches), (2, Vec::new()));
}

#[test]
fn a_mismatch_tells_both_sides() {
    let fixture = r#"{"cases": [{"text": "ab", "special": false, "ids": [1, 2]}]}"#;
    let report = compare(&tokens(), fixture).unwrap();
    let mismatch = &report.mismatches[0];
    assert_eq!((mismatch.index, mismatch.special), (0, SpecialTokens::Plain));
    assert_eq!(
        (mismatch.expected.as_slice(), mismatch.found.as_slice()),
        (&[1, 2][..], &[260][..])
    );
}

#[test]
fn a_fixture_of_another_form_is_refused() {
    let error = |fixture| compare(&tokens(), fixture).unwrap_err();
    assert!(matches!(error("{"), FixtureError::Json(_)));
    assert!(matches!(error("{}"), FixtureError::NoCases));
    for (fixture, missing) in [
        (r#"{"cases": [{}]}"#, "text"),
        (r#"{"cases": [{"text": ""}]}"#, "special"),
        (r#"{"cases": [{"text": "", "special": true}]}"#, "ids"),
        (r#"{"cases": [{"text": "", "special": true, "ids": [-1]}]}"#, "ids"),
    ] {
        let found = error(fixture);
        assert!(
            matches!(found, FixtureError::Field { index: 0, field } if field == missing),
            "{found}"
        );
    }
}

#[test]
fn the_recorded_fixtures_are_readable() {
    for fixture in [
        include_str!("../../../../fixtures/tokens/smollm2.json"),
        include_str!("../../../../fixtures/tokens/gemma3.json"),
    ] {
        assert!(compare(&tokens(), fixture).unwrap().cases >= 200);
    }
}
