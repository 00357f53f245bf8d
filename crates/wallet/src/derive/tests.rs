use sha2::{Digest, Sha256};

use super::*;
use crate::phrase::Phrase;

const VECTORS: &str = include_str!("../../../../fixtures/wallet/bip32.txt");
/// The phrase that development chains of Ethereum use.
const JUNK: &str = "test test test test test test test test test test test junk";

/// The bytes of Base58Check, without its checksum.
fn base58(text: &str) -> Vec<u8> {
    const DIGITS: &str = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    // An extended key has 78 bytes and 4 of a checksum.
    let mut bytes = [0_u8; 82];
    for digit in text.chars() {
        let mut carry = DIGITS.find(digit).unwrap();
        for byte in bytes.iter_mut().rev() {
            carry += usize::from(*byte) * 58;
            *byte = (carry & 255) as u8;
            carry >>= 8;
        }
    }
    let (payload, checksum) = bytes.split_at(78);
    assert_eq!(Sha256::digest(Sha256::digest(payload))[..4], *checksum, "{text}");
    payload.to_vec()
}

/// `m/0'/1` as numbers.
fn numbers(path: &str) -> Vec<u32> {
    let number = |part: &str| match part.strip_suffix('\'') {
        Some(part) => part.parse::<u32>().unwrap() | HARDENED,
        None => part.parse().unwrap(),
    };
    path.split('/').skip(1).map(number).collect()
}

#[test]
fn the_vectors_of_bip_32_give_their_keys_and_chain_codes() {
    assert_eq!(VECTORS.lines().count(), 17);
    for line in VECTORS.lines() {
        let [seed, path, wanted] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let seed = data_encoding::HEXLOWER.decode(seed.as_bytes()).unwrap();
        let mut branch = Branch::root(&seed).unwrap();
        for number in numbers(path) {
            branch = branch.child(number).unwrap();
        }
        let wanted = base58(wanted);
        // Version, depth, parent and number; then the chain code, a zero and the key.
        assert_eq!(*branch.chain, wanted[13..45], "{line}");
        assert_eq!(branch.key.secret_bytes(), wanted[46..], "{line}");
        assert_eq!(usize::from(wanted[4]), numbers(path).len());
    }
}

#[test]
fn the_phrase_of_development_chains_gives_their_keys() {
    let seed = Phrase::parse(JUNK).unwrap().seed("");
    let check = |index, wanted: &str| {
        let key = key(&seed, Path::new(index).unwrap()).unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(&*key), wanted);
    };
    check(0, "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80");
    check(1, "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d");
}

#[test]
fn a_path_reads_what_it_writes_and_nothing_else() {
    for index in [0, 1, HARDENED - 1] {
        let path = Path::new(index).unwrap();
        assert_eq!(Path::parse(&path.to_string()), Some(path));
    }
    assert_eq!(Path::new(HARDENED), None);
    let wrong = ["", "m", "m/44'/60'/0'/0/", "m/44'/60'/0'/0/01", "m/44'/60'/0'/0/+1"];
    let over = ["m/44'/60'/0'/0/2147483648", "m/44'/60'/0'/0/1'", "m/44'/60'/0'/1/0"];
    for text in wrong.into_iter().chain(over) {
        assert_eq!(Path::parse(text), None, "{text}");
    }
}
