use data_encoding::HEXLOWER;

use super::*;

fn check(passphrase: &str, salt: &str, [n, r, p]: [u32; 3], wanted: &str) {
    let mut out = [0; 64];
    hash(passphrase.as_bytes(), salt.as_bytes(), Scrypt { n, r, p }, &mut out).unwrap();
    assert_eq!(HEXLOWER.encode(&out), wanted.replace([' ', '\n'], ""), "{n} {r} {p}");
}

#[test]
fn the_vectors_of_rfc_7914_are_computed() {
    check(
        "",
        "",
        [16, 1, 1],
        "77d6576238657b203b19ca42c18a0497f16b4844e3074ae8dfdffa3fede21442
         fcd0069ded0948f8326a753a0fc81f17e8d3e0fb2e0d3628cf35e20c38d18906",
    );
    check(
        "password",
        "NaCl",
        [1024, 8, 16],
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162
         2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
    );
    check(
        "pleaseletmein",
        "SodiumChloride",
        [16384, 8, 1],
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2
         d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887",
    );
}

#[test]
fn the_core_is_that_of_rfc_7914() {
    let bytes = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
    let input = bytes(
        "7e879a214f3ec9867ca940e641718f26baee555b8c61c1b50df846116dcd3b1d\
         ee24f319df9b3d8514121e4b5ac5aa3276021d2909c74829edebc68db8b8c25e",
    );
    let output = bytes(
        "a41f859c6608cc993b81cacb020cef05044b2181a2fd337dfd7b1c6396682f29\
         b4393168e3c9e6bcfe6bc5b7a06d96bae424cc102c91745c24ad673dc7618f81",
    );
    let block = |bytes: &[u8]| words(bytes.try_into().unwrap());
    assert_eq!(salsa(&block(&input), &[0; 16]), block(&output));
}

#[test]
fn memory_that_is_not_given_is_an_error() {
    let huge = Scrypt { n: 1 << 31, r: u32::MAX, p: u32::MAX };
    assert!(hash(b"", b"", huge, &mut [0; 32]).is_err());
}
