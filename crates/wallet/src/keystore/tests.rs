use expect_test::expect_file;

use super::*;

const SCRYPT_VECTOR: &str = include_str!("../../../../fixtures/wallet/scrypt.json");
const PBKDF2_VECTOR: &str = include_str!("../../../../fixtures/wallet/pbkdf2.json");
const SHORT_KEY: &str = include_str!("../../../../fixtures/wallet/key30.json");

/// Numbers that take no time.
const QUICK: Scrypt = Scrypt { n: 2, r: 1, p: 1 };

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn hex(key: Zeroizing<[u8; 32]>) -> String {
    HEXLOWER.encode(&*key)
}

/// A file that is quick to open, of the key of EIP-712's example.
fn sealed(scrypt: Scrypt) -> String {
    let random = Random { salt: [1; 32], iv: [2; 16], id: [3; 16] };
    let key = keccak256(b"cow").0;
    seal_with((&key, Path::new(5)), &passphrase("open sesame"), (scrypt, random)).unwrap()
}

fn open(text: &str) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    Keystore::parse(text)?.open(&passphrase("open sesame"))
}

#[test]
fn the_standards_own_files_open() {
    let key = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d";
    for vector in [SCRYPT_VECTOR, PBKDF2_VECTOR] {
        let keystore = Keystore::parse(vector).unwrap();
        assert_eq!(hex(keystore.open(&passphrase("testpassword")).unwrap()), key);
        assert_eq!(keystore.address(), None);
    }
}

#[test]
fn a_key_whose_leading_zeros_were_left_away_opens() {
    let key = Keystore::parse(SHORT_KEY).unwrap().open(&passphrase("foo")).unwrap();
    assert_eq!(hex(key), "000081c29e8142bb6a81bef5a92bda7a8328a5c85bb2f9542e76f9b0f94fc018");
}

#[test]
fn a_new_file_has_the_bytes_of_the_specification() {
    // The one file with the numbers of real ones; the others of this module are quick.
    expect_file!["../../../../fixtures/wallet/sealed.json"].assert_eq(&sealed(SCRYPT));
    let keystore = Keystore::parse(&sealed(QUICK)).unwrap();
    assert_eq!(keystore.path(), Path::new(5));
    assert_eq!(keystore.address(), Some(Secret::new(keccak256(b"cow").0).unwrap().address()));
    assert_eq!(*open(&sealed(QUICK)).unwrap(), keccak256(b"cow").0);
}

#[test]
fn a_wrong_passphrase_is_said_to_be_wrong() {
    let keystore = Keystore::parse(&sealed(QUICK)).unwrap();
    for wrong in ["open sesam", "open sesame ", "Open sesame", "x"] {
        let error = keystore.open(&passphrase(wrong)).unwrap_err();
        assert_eq!(error, KeystoreError::WrongPassphrase);
    }
}

#[test]
fn every_prefix_of_a_file_is_refused() {
    for text in [sealed(QUICK), PBKDF2_VECTOR.to_owned(), SCRYPT_VECTOR.to_owned()] {
        let whole = text.trim_end().len();
        for end in 0..whole {
            let error = Keystore::parse(&text[..end]).unwrap_err();
            assert!(matches!(error, KeystoreError::NotJson(_)), "{end}: {error}");
        }
        Keystore::parse(&text[..whole]).unwrap();
    }
}

#[test]
fn a_flipped_bit_is_refused_or_changes_nothing() {
    let text = sealed(QUICK);
    let key = open(&text).unwrap();
    let (mut refused, mut same) = (0, 0);
    for index in 0..text.len() {
        for bit in 0..8 {
            let mut bytes = text.clone().into_bytes();
            bytes[index] ^= 1 << bit;
            // What is no UTF-8 is refused where files are read.
            let Ok(flipped) = String::from_utf8(bytes) else { continue };
            match open(&flipped) {
                // In the id, in the names of fields that need not be there, in white space.
                Ok(opened) => {
                    assert_eq!(opened, key, "byte {index}, bit {bit}");
                    same += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 5 * same, "{refused} refused, {same} the same");
}

/// A file of these numbers, that nobody opens.
fn scrypt(n: &str, r: &str, p: &str) -> Result<Keystore, KeystoreError> {
    let text = sealed(QUICK);
    let from = "\"n\": 2, \"r\": 1, \"p\": 1";
    assert!(text.contains(from));
    Keystore::parse(&text.replace(from, &format!("\"n\": {n}, \"r\": {r}, \"p\": {p}")))
}

#[test]
fn a_file_cannot_ask_for_more_than_the_limits() {
    let costly = |result: Result<Keystore, KeystoreError>| {
        let error = result.unwrap_err();
        assert!(matches!(error, KeystoreError::TooCostly { .. }), "{error}");
    };
    // 512 MiB, and twice that; the same by r.
    scrypt("524288", "8", "1").unwrap();
    costly(scrypt("1048576", "8", "1"));
    scrypt("262144", "16", "1").unwrap();
    costly(scrypt("262144", "17", "1"));
    // Four times the work of a new file, and more.
    scrypt("262144", "8", "4").unwrap();
    costly(scrypt("262144", "8", "5"));
    costly(scrypt("2147483648", "4294967295", "4294967295"));
    costly(scrypt("2", "1", "4294967295"));
    costly(scrypt("2", "4294967295", "1"));
    let rounds = |rounds: &str| Keystore::parse(&PBKDF2_VECTOR.replace("262144", rounds));
    rounds("8388608").unwrap();
    costly(rounds("8388609"));
    costly(rounds("4294967295"));
}

#[test]
fn numbers_that_are_none_are_refused() {
    let wrong =
        [("0", "1", "1"), ("1", "1", "1"), ("3", "1", "1"), ("2", "0", "1"), ("2", "1", "0")];
    let more = [("4294967296", "1", "1"), ("-2", "1", "1"), ("2.0", "1", "1")];
    let text = [("\"2\"", "1", "1"), ("2", "1", "null"), ("2", "[1]", "1"), ("2", "1", "1e99")];
    for (n, r, p) in wrong.into_iter().chain(more).chain(text) {
        let error = scrypt(n, r, p).unwrap_err();
        assert!(matches!(error, KeystoreError::Field { .. }), "{n} {r} {p}: {error}");
    }
    // RFC 7914 has n less than 2^(16 r), by an error (errata 5971); eth-account's files have more.
    scrypt("262144", "1", "8").unwrap();
}

#[test]
fn a_field_that_is_not_as_read_is_named() {
    let check = |from: &str, to: &str, field: &str| {
        let text = sealed(QUICK);
        assert!(text.contains(from), "{from}");
        let told = Keystore::parse(&text.replace(from, to)).unwrap_err().to_string();
        assert!(told.contains(field), "{to}: {told}");
    };
    check("\"version\": 3", "\"version\": 1", "version");
    check("\"version\": 3", "\"version\": \"3\"", "version");
    check("aes-128-ctr", "aes-128-cbc", "crypto.cipher");
    check("\"scrypt\"", "\"argon2id\"", "crypto.kdf");
    check("\"scrypt\"", "\"pbkdf2\"", "crypto.kdfparams.prf");
    check("\"dklen\": 32", "\"dklen\": 16", "crypto.kdfparams.dklen");
    check(&"01".repeat(32), "", "crypto.kdfparams.salt");
    check(&"01".repeat(32), &"01".repeat(SALT_MAX + 1), "crypto.kdfparams.salt");
    check(&"01".repeat(32), "0", "crypto.kdfparams.salt");
    check(&"02".repeat(16), &"02".repeat(15), "crypto.cipherparams.iv");
    check("\"ciphertext\": \"", "\"ciphertext\": \"00", "crypto.ciphertext");
    check("\"mac\": \"", "\"mac\": \"00", "crypto.mac");
    check("\"address\": \"", "\"address\": \"0", "address");
}

#[test]
fn other_ways_of_writing_the_same_are_read() {
    let text = sealed(QUICK);
    let salt = "01".repeat(SALT_MAX);
    let long = text.replace(&"01".repeat(32), &salt);
    assert_eq!(Keystore::parse(&long).unwrap().salt.len(), SALT_MAX);
    let keystore = Keystore::parse(&text).unwrap();
    let prefixed = text.replace("\"mac\": \"", "\"mac\": \"0x");
    assert_eq!(Keystore::parse(&prefixed).unwrap(), keystore);
    assert_eq!(Keystore::parse(&text.replace("\"crypto\"", "\"Crypto\"")).unwrap(), keystore);
    let hidden = HEXLOWER.encode(&keystore.hidden);
    let upper = text.replace(&hidden, &hidden.to_uppercase());
    assert_eq!(Keystore::parse(&upper).unwrap(), keystore);
}

#[test]
fn a_key_of_another_address_is_refused() {
    let text = sealed(QUICK);
    let stated = HEXLOWER.encode(&Keystore::parse(&text).unwrap().address().unwrap().0);
    let other = text.replace(&stated, &"ab".repeat(20));
    let error = open(&other).unwrap_err();
    assert!(matches!(error, KeystoreError::OtherAddress { .. }), "{error}");
}

#[test]
fn what_opens_to_no_key_is_refused() {
    let random = Random::default();
    for no_key in [[0; 32], [0xFF; 32]] {
        let text = seal_with((&no_key, None), &passphrase("open sesame"), (QUICK, random)).unwrap();
        // No key has no address.
        let text = text.replace("\"address\": \"\",", "");
        assert_eq!(open(&text).unwrap_err(), KeystoreError::NoKey);
    }
}

#[test]
fn text_that_is_no_file_is_refused() {
    let deep = "[".repeat(SIZE_MAX);
    let wide = format!("[{}0]", "0,".repeat(SIZE_MAX / 2 - 2));
    for text in ["", "null", "3", "[]", "{}", "\u{0}", &deep, &wide] {
        assert!(Keystore::parse(text).is_err(), "{:.20}", text);
    }
    let padded = |size| format!("{:size$}", sealed(QUICK));
    Keystore::parse(&padded(SIZE_MAX)).unwrap();
    assert_eq!(Keystore::parse(&padded(SIZE_MAX + 1)).unwrap_err(), KeystoreError::TooLong);
}

#[test]
fn new_files_differ_in_every_random_part_and_are_of_version_4_ids() {
    let sealed = |id| {
        let random = Random { salt: [id; 32], iv: [id; 16], id: [id; 16] };
        seal_with((&[1; 32], None), &passphrase("open sesame"), (QUICK, random)).unwrap()
    };
    assert!(sealed(0xFF).contains("ffffffff-ffff-4fff-bfff-ffffffffffff"));
    assert!(sealed(0).contains("00000000-0000-4000-8000-000000000000"));
    assert!(!sealed(0).contains("x-mashaa"));
}
