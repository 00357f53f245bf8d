use gateway::error::Code;
use node::preferences::Rule;

use super::*;

fn names(kind: Kind) -> Vec<String> {
    let entries = entries().into_iter().filter(|it| it.kind == kind);
    let mut names: Vec<String> = entries.filter_map(|it| it.name).collect();
    names.sort();
    names
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn every_code_has_a_sentence_in_both_languages() {
    for entry in entries() {
        let is_arabic = |c: char| ('\u{600}'..='\u{6ff}').contains(&c);
        assert!(entry.arabic.chars().any(is_arabic), "{entry:?}");
        assert!(!entry.english.is_empty() && !entry.english.chars().any(is_arabic), "{entry:?}");
    }
}

#[test]
fn the_documents_have_every_code_of_the_program_and_no_other() {
    assert_eq!(names(Kind::Api), sorted(Code::ALL.into_iter().map(Code::name)));
    assert_eq!(names(Kind::Preference), sorted(Rule::ALL.into_iter().map(Rule::code)));
    let refusals = entries().into_iter().filter(|it| it.kind == Kind::Refusal).count();
    assert_eq!(refusals, REFUSALS.matches("\n| ").count() - 2, "but for head and rule");
    let exits = entries().into_iter().filter(|it| it.kind == Kind::Exit);
    let exits: Vec<String> = exits.filter_map(|it| it.number).collect();
    let known = [
        Outcome::Done,
        Outcome::Failed,
        Outcome::Usage,
        Outcome::NotFound,
        Outcome::Refused,
        Outcome::Interrupted,
    ];
    assert_eq!(exits, known.map(|it| (it as u8).to_string()));
    for entry in entries().iter().filter(|it| it.kind == Kind::Api) {
        let code = Code::ALL.into_iter().find(|it| Some(it.name()) == entry.name.as_deref());
        let status = code.map(|it| it.status().as_u16().to_string());
        assert_eq!(entry.number, status, "{entry:?}");
    }
}

#[test]
fn a_code_is_found_however_it_is_spelled() {
    let entries = entries();
    for code in ["NotEnough", "not_enough", "NOT-ENOUGH"] {
        assert_eq!(find(&entries, code)[0].number.as_deref(), Some("41"), "{code}");
    }
    let kinds = |code| find(&entries, code).iter().map(|it| it.kind).collect::<Vec<_>>();
    assert_eq!(kinds("4"), [Kind::Refusal, Kind::Exit]);
    assert_eq!(kinds("paused"), [Kind::Api, Kind::Preference]);
    assert!(kinds("429").len() > 1 && kinds("").is_empty() && kinds("|").is_empty());
}

#[test]
fn an_unknown_code_is_near_others() {
    let entries = entries();
    assert_eq!(near(&entries, "NotEnogh")[0], "NotEnough");
    assert_eq!(near(&entries, "api_key")[0], "invalid_api_key");
    assert!(near(&entries, "xyzzyxyzzy").is_empty());
    assert_eq!((distance("kitten", "sitting"), distance("", "ab")), (3, 2));
}
