use super::*;
use crate::codec::{decode, encode};

#[test]
fn addresses_have_the_checksum_of_eip_55() {
    // The examples of EIP-55.
    for text in [
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ] {
        let address = Address::parse(text).unwrap();
        assert_eq!(address.to_string(), text);
        assert_eq!(Address::parse(&text.to_lowercase()), Some(address));
    }
    assert_eq!(Address::parse("0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), None);
    assert_eq!(Address::parse("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAe"), None);
    assert_eq!(Address::parse("5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"), None);
}

#[test]
fn a_cid_is_written_as_ipfs_writes_it() {
    // SHA-256 of nothing, as raw bytes: `ipfs add --cid-version 1` of an empty file.
    let text = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku";
    let cid = Cid::parse(text).unwrap();
    assert_eq!(cid.to_string(), text);
    assert_eq!(decode(&encode(&cid)), Ok(cid));
    assert_eq!(Cid::parse(&text.to_uppercase()), None);
    assert_eq!(Cid::parse("QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"), None);
}

#[test]
fn cids_of_other_hashes_and_codecs_are_refused() {
    let bytes = encode(&Cid::raw(Hash::default()));
    for place in 0..4 {
        let mut other = bytes.clone();
        other[place] ^= 0x80;
        assert_eq!(decode::<Cid>(&other), Err(Malformed::BadCid));
    }
}
