use super::*;

fn new(text: &str) -> Result<Passphrase, PassphraseError> {
    Passphrase::new(Zeroizing::new(text.to_owned()))
}

#[test]
fn a_passphrase_has_a_byte_and_no_more_than_the_limit() {
    assert_eq!(new("").unwrap_err(), PassphraseError::Empty);
    assert_eq!(new("x").unwrap().text(), "x");
    assert_eq!(new(&"x".repeat(SIZE_MAX)).unwrap().text().len(), SIZE_MAX);
    assert_eq!(new(&"x".repeat(SIZE_MAX + 1)).unwrap_err(), PassphraseError::TooLong);
}

#[test]
fn a_new_file_wants_eight_characters_and_not_bytes() {
    let short = "\u{645}\u{634}\u{627}\u{639}123";
    let error = new(short).unwrap().check_new().unwrap_err();
    assert_eq!(error, PassphraseError::TooShort { length: 7 });
    new(&format!("{short}4")).unwrap().check_new().unwrap();
}

#[test]
fn random_passphrases_differ_and_are_not_shown() {
    let (one, other) = (Passphrase::random().unwrap(), Passphrase::random().unwrap());
    assert!(one != other);
    assert_eq!(one.text().len(), 2 * RANDOM_SIZE);
    assert_eq!(format!("{one:?}"), "Passphrase");
}
