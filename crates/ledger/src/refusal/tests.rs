use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/spec/refusals.md");

#[test]
fn the_document_lists_every_refusal_with_both_languages() {
    let rows: Vec<Vec<&str>> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows.len(), Refusal::ALL.len());
    for (row, refusal) in rows.iter().zip(Refusal::ALL) {
        let [number, name, english, arabic] = row[..] else { panic!("{row:?} has four columns") };
        assert_eq!(number, refusal.number().to_string());
        assert_eq!(name, format!("`{}`", refusal.name()));
        let message = refusal.to_string();
        assert_eq!(english.to_lowercase(), format!("{message}.").to_lowercase());
        let letters = |char: char| ('\u{621}'..='\u{64a}').contains(&char);
        assert!(arabic.chars().any(letters) && arabic.ends_with('.'), "{name}");
    }
}

#[test]
fn numbers_ascend() {
    let numbers: Vec<u32> = Refusal::ALL.iter().map(|refusal| refusal.number()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
}
