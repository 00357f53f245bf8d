use super::*;
use crate::signature::Secret;

const TEXT: &str = include_str!("../../../../fixtures/orders/siwe.txt");
const ETH_ACCOUNT: &str = include_str!("../../../../fixtures/orders/siwe_eth_account.txt");
const VIEM: &str = include_str!("../../../../fixtures/orders/siwe_viem.txt");

fn signature() -> Signature {
    read(ETH_ACCOUNT)
}

fn read(text: &str) -> Signature {
    let digits = text.trim().trim_start_matches("0x");
    Signature(data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap().try_into().unwrap())
}

/// 2026-11-23T19:05:00Z.
const NOW: i64 = 1_795_460_700;

fn expected() -> Expected<'static> {
    Expected { domain: "localhost:8420", nonce: "32891756aA", now: NOW }
}

#[test]
fn sign_ins_by_other_wallets_are_accepted() {
    let cow = Secret::new(keccak256(b"cow").0).unwrap().address();
    for signature in [ETH_ACCOUNT, VIEM].map(read) {
        assert_eq!(sign_in(TEXT, &signature, &expected()), Ok(cow));
    }
}

#[test]
fn the_personal_hash_is_that_of_eip_191() {
    let hash = "0x50b2c43fd39106bafbba0da34fc430e1f91e3c96ea2acee2bc34119f92b37750";
    assert_eq!(personal_hash("hello").to_string(), hash);
}

#[test]
fn each_circumstance_has_its_refusal() {
    let check = |expected: Expected<'_>| sign_in(TEXT, &signature(), &expected);
    let good = expected();
    assert_eq!(check(Expected { domain: "evil", ..good }), Err(NotSignedIn::OtherDomain));
    assert_eq!(check(Expected { nonce: "32891756aB", ..good }), Err(NotSignedIn::OtherNonce));
    assert_eq!(check(Expected { now: NOW - 301, ..good }), Err(NotSignedIn::TooEarly));
    assert_eq!(check(Expected { now: NOW + 300, ..good }), Err(NotSignedIn::Expired));
    assert!(check(Expected { now: NOW + 299, ..good }).is_ok());
}

#[test]
fn a_sign_in_of_someone_else_is_refused() {
    let text = TEXT.replace("Sign in", "Log in");
    assert_eq!(sign_in(&text, &signature(), &expected()), Err(NotSignedIn::OtherSigner));
}

#[test]
fn texts_with_a_line_too_few_or_too_many_are_no_sign_ins() {
    let lines: Vec<&str> = TEXT.split('\n').collect();
    let optional = ["Sign in", "Expiration", "Not Before", "Request", "- "];
    for (at, line) in lines.iter().enumerate() {
        if optional.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        let mut fewer = lines.clone();
        fewer.remove(at);
        assert_eq!(Siwe::parse(&fewer.join("\n")), None, "without {line:?}");
        let mut more = lines.clone();
        more.insert(at, "more");
        assert_eq!(Siwe::parse(&more.join("\n")), None, "before {line:?}");
    }
    assert_eq!(Siwe::parse(&format!("{TEXT}\n")), None);
    assert_eq!(Siwe::parse(&"a".repeat(TEXT_MAX + 1)), None);
}

#[test]
fn a_text_without_a_statement_has_two_empty_lines() {
    let text = TEXT.replace("Sign in to Mashaa.\n\n", "\n");
    assert_eq!(Siwe::parse(&text).unwrap().statement, None);
    assert_eq!(Siwe::parse(&TEXT.replace("Sign in to Mashaa.\n\n", "")), None);
}

#[test]
fn every_prefix_and_changed_byte_is_refused_or_read_back() {
    for at in 0..TEXT.len() {
        let mut bytes = TEXT.as_bytes().to_vec();
        bytes[at] ^= 1;
        for text in [&TEXT[..at], &String::from_utf8(bytes).unwrap()] {
            if let Some(siwe) = Siwe::parse(text) {
                assert_eq!(siwe.to_string(), text);
            }
        }
    }
}

#[test]
fn times_are_read_as_rfc_3339_has_them() {
    let seconds = |text| Time::parse(text).map(|time| time.seconds());
    assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
    assert_eq!(seconds("2000-02-29T12:00:00.5Z"), Some(951_825_600));
    assert_eq!(seconds("2026-11-23T20:05:00+01:00"), Some(NOW));
    assert_eq!(seconds("2026-11-23T18:35:00-00:30"), Some(NOW));
    assert_eq!(seconds("1969-12-31T23:59:59Z"), Some(-1));
    for bad in [
        "2026-02-29T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00Z ",
        "26-01-01T00:00:00Z",
        "2026-01-01T00:00:00+24:00",
    ] {
        assert_eq!(seconds(bad), None, "{bad}");
    }
}
