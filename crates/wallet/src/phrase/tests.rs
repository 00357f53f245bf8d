use super::*;

const VECTORS: &str = include_str!("../../../../fixtures/wallet/bip39.txt");

/// Each vector of the reference implementation: entropy, words and seed.
fn vectors() -> Vec<[&'static str; 3]> {
    let lines: Vec<&str> = VECTORS.lines().collect();
    lines.as_chunks::<3>().0.to_vec()
}

fn bytes(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn the_reference_vectors_give_their_words_and_seeds() {
    assert_eq!(vectors().len(), 24);
    for [entropy, words, seed] in vectors() {
        let phrase = Phrase::parse(words).unwrap();
        let made = Phrase(Mnemonic::from_entropy_in(Language::English, &bytes(entropy)).unwrap());
        assert_eq!(*made.text(), words);
        assert_eq!(*phrase.text(), words);
        assert_eq!(phrase.seed("TREZOR").bytes(), bytes(seed), "{words}");
    }
}

#[test]
fn case_and_white_space_do_not_matter() {
    let [_, words, seed] = vectors()[12];
    let typed = format!("  {}\n", words.to_uppercase().replace(' ', " \t\n"));
    assert_eq!(Phrase::parse(&typed).unwrap().seed("TREZOR").bytes(), bytes(seed));
}

#[test]
fn a_passphrase_is_the_same_however_its_letters_are_composed() {
    let phrase = Phrase::parse(vectors()[0][1]).unwrap();
    let seed = |passphrase: &str| phrase.seed(passphrase).bytes().to_vec();
    assert_eq!(seed("caf\u{E9}"), seed("cafe\u{301}"));
    // Lam with alef: one sign, or two letters.
    assert_eq!(seed("\u{FEFB}"), seed("\u{644}\u{627}"));
    assert_ne!(seed("a"), seed("b"));
    assert_ne!(seed(""), seed(" "));
}

#[test]
fn what_is_no_phrase_is_refused_and_no_word_is_told() {
    let about = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon";
    let check = |text: &str, wanted: PhraseError| {
        let error = Phrase::parse(text).unwrap_err();
        assert_eq!(error, wanted, "{text}");
        assert!(!error.to_string().contains("abandon"), "{error}");
    };
    check("", PhraseError::WordCount { found: 0 });
    check(&format!("{about} about"), PhraseError::WordCount { found: 11 });
    check(&format!("{about} abandon abandon"), PhraseError::Checksum);
    check(&format!("{about} abandn about"), PhraseError::UnknownWord { number: 11 });
    check(
        &format!("{about} abandon \u{645}\u{634}\u{627}\u{639}"),
        PhraseError::UnknownWord { number: 12 },
    );
    check(&format!("{about} about abandon"), PhraseError::Checksum);
    check(&"a".repeat(TEXT_MAX + 1), PhraseError::TooLong);
    check(&"a ".repeat(TEXT_MAX / 2), PhraseError::WordCount { found: 512 });
}

#[test]
fn every_word_of_a_phrase_counts() {
    let [_, words, _] = vectors()[14];
    let words: Vec<&str> = words.split(' ').collect();
    let whole = Phrase::parse(&words.join(" ")).unwrap().seed("").bytes().to_vec();
    for index in 0..words.len() {
        let mut other = words.clone();
        other[index] = if other[index] == "zoo" { "zone" } else { "zoo" };
        // The checksum of 24 words lets one change in 256 pass; that is another phrase then.
        if let Ok(phrase) = Phrase::parse(&other.join(" ")) {
            assert_ne!(phrase.seed("").bytes(), whole);
        }
    }
}

#[test]
fn new_phrases_have_the_wanted_words_and_differ() {
    for (words, count) in [(Words::Twelve, 12), (Words::TwentyFour, 24)] {
        let phrases = [Phrase::random(words).unwrap(), Phrase::random(words).unwrap()];
        assert_ne!(phrases[0].text(), phrases[1].text());
        for phrase in phrases {
            assert_eq!(phrase.text().split(' ').count(), count);
            Phrase::parse(&phrase.text()).unwrap();
        }
    }
}

#[test]
fn debugging_shows_no_word() {
    let phrase = Phrase::parse(vectors()[0][1]).unwrap();
    assert_eq!(format!("{phrase:?} {:?}", phrase.seed("")), "Phrase of 12 words Seed");
}
