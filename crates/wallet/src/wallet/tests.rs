use types::envelope::Signed;
use types::id::keccak256;

use super::*;

const JUNK: &str = "test test test test test test test test test test test junk";
/// The orders of `fixtures/orders`: a name, and the bytes of the signed order.
const ORDERS: &str = include_str!("../../../../fixtures/orders/bytes.txt");

fn cow() -> Wallet {
    Wallet::from_hex(&keccak256(b"cow").to_string()).unwrap()
}

#[test]
fn the_phrase_of_development_chains_gives_their_addresses() {
    let phrase = Phrase::parse(JUNK).unwrap();
    let check = |index, wanted: &str| {
        let path = Path::new(index).unwrap();
        let wallet = Wallet::from_phrase(&phrase, "", path).unwrap();
        assert_eq!(wallet.address().to_string(), wanted);
        assert_eq!(wallet.path(), Some(path));
    };
    check(0, "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    check(1, "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
    let other = Wallet::from_phrase(&phrase, "x", Path::default()).unwrap();
    assert_ne!(other.address().to_string(), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
}

#[test]
fn orders_get_the_signatures_of_other_wallets_and_verify() {
    let (wallet, genesis) = (cow(), keccak256(b"genesis"));
    let mut count = 0;
    for line in ORDERS.lines() {
        let (name, hex) = line.split_once(' ').unwrap();
        let bytes = data_encoding::HEXLOWER.decode(hex.trim().as_bytes()).unwrap();
        // eth-account and viem have signed the same order with the same bytes.
        let theirs = Signed::decode(&bytes).unwrap();
        let ours = wallet.sign(theirs.order.clone(), &genesis);
        assert_eq!(ours, theirs, "{name}");
        assert_eq!(ours.verify(&genesis).unwrap().signer(), wallet.address());
        let elsewhere = ours.verify(&keccak256(b"elsewhere"));
        assert!(elsewhere.is_ok_and(|order| order.signer() != wallet.address()), "{name}");
        count += 1;
    }
    assert!(count > 20, "{count} orders");
}

#[test]
fn a_text_gets_the_signature_of_web3_js() {
    // web3.js 1.x, documentation of `web3.eth.accounts.sign`.
    let key = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
    let wallet = Wallet::from_hex(key).unwrap();
    assert_eq!(wallet.address().to_string(), "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23");
    let signature = wallet.sign_text("Some data");
    assert_eq!(
        signature.to_string(),
        "0xb91467e570a6466aa9e9876cbcd013baba02900b8979d43fe208a4a4f339f5fd\
         6007e74cd82e037b800186422fc2da167c747ef045e5d18a5f5d4300f8e1a0291c"
    );
    assert_eq!(signature.recover(&personal_hash("Some data")), Ok(wallet.address()));
}

#[test]
fn a_sign_in_gets_the_signature_of_eth_account() {
    let text = include_str!("../../../../fixtures/orders/siwe.txt");
    let theirs = include_str!("../../../../fixtures/orders/siwe_eth_account.txt");
    assert_eq!(cow().sign_text(text).to_string(), theirs.trim());
}

#[test]
fn hexadecimal_digits_are_read_as_they_are_written() {
    let wallet = cow();
    let hex = wallet.to_hex();
    assert_eq!(hex.len(), 66);
    for text in [&hex, &hex[2..], &hex[2..].to_uppercase()] {
        assert_eq!(Wallet::from_hex(text).unwrap().address(), wallet.address());
    }
    let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let last = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364140";
    Wallet::from_hex(last).unwrap();
    let wrong =
        ["", "0x", order, &"0".repeat(64), &hex[1..], &hex[..65], &format!("{}g", &hex[..65])];
    for text in wrong {
        assert!(Wallet::from_hex(text).is_err(), "{text}");
    }
}

#[test]
fn random_wallets_differ_and_show_no_secret() {
    let (one, other) = (Wallet::random().unwrap(), Wallet::random().unwrap());
    assert_ne!(one.address(), other.address());
    assert_eq!(format!("{one:?}"), format!("Wallet of {}", one.address()));
}
