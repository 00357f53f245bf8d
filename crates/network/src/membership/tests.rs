use types::codec::encode;

use super::*;

const NETWORK: Hash = Hash([1; 32]);
const NOW: u64 = 1_000_000_000;

fn secret(number: u8) -> NodeSecret {
    NodeSecret::new([number; 32])
}

fn passes(chain: &[(u8, u8, u64)]) -> Passes {
    let pass = |&(node, issuer, expires): &(u8, u8, u64)| {
        SignedPass::issue(NETWORK, secret(node).key(), expires, &secret(issuer))
    };
    List::new(chain.iter().map(pass).collect()).unwrap()
}

fn check(node: u8, chain: &[(u8, u8, u64)], now: u64) -> Result<(), Refused> {
    check_passes(&NETWORK, &secret(1).key(), &secret(node).key(), &passes(chain), now)
}

#[test]
fn a_chain_of_passes_leads_to_the_root_or_nowhere() {
    assert_eq!(check(1, &[], 0), Ok(()));
    assert_eq!(check(2, &[(2, 1, 10)], 9), Ok(()));
    assert_eq!(check(3, &[(3, 2, 10), (2, 1, 10)], 9), Ok(()));
    assert_eq!(check(2, &[], 0), Err(Refused::NoChain));
    assert_eq!(check(3, &[(3, 2, 10)], 0), Err(Refused::NoChain));
    assert_eq!(check(3, &[(2, 1, 10)], 0), Err(Refused::NoChain), "another's pass");
    assert_eq!(check(2, &[(2, 1, 10)], 10), Err(Refused::Expired));
    assert_eq!(check(3, &[(3, 2, 10), (2, 1, 5)], 7), Err(Refused::Expired), "of the issuer");
    assert_eq!(check(2, &[(2, 1, PASS_TIME_MAX + 9)], 9), Ok(()));
    assert_eq!(check(2, &[(2, 1, PASS_TIME_MAX + 10)], 9), Err(Refused::TooLong));
}

fn announcement() -> Announcement {
    let offer = Offer {
        model: Text::new("bafy").unwrap(),
        name: Text::new("tiny").unwrap(),
        context: 512,
        price: 0,
        prefill: 1000,
        decode: 100,
        slots: 8,
    };
    Announcement {
        network: NETWORK,
        node: secret(2).key(),
        issued: NOW,
        name: Text::new("شمس").unwrap(),
        addresses: List::new(vec![Text::new("/ip4/192.0.2.7/tcp/8422").unwrap()]).unwrap(),
        passes: passes(&[(2, 1, 2_000_000)]),
        offers: List::new(vec![offer]).unwrap(),
    }
}

fn read_of(bytes: &[u8], network: Hash, root: u8, now: u64) -> Result<SignedAnnouncement, Refused> {
    let signed = SignedAnnouncement::read(bytes)?;
    signed.check(&network, now)?;
    signed.check_passes(&network, &secret(root).key(), now)?;
    Ok(signed)
}

fn read(bytes: &[u8], now: u64) -> Result<SignedAnnouncement, Refused> {
    read_of(bytes, NETWORK, 1, now)
}

#[test]
fn an_announcement_counts_here_and_now_only() {
    let signed = SignedAnnouncement::sign(announcement(), &secret(2));
    let bytes = encode(&signed);
    assert_eq!(read(&bytes, NOW), Ok(signed.clone()));
    assert_eq!(read(&bytes, NOW + ANNOUNCEMENT_AGE_MAX), Ok(signed.clone()));
    let old = ANNOUNCEMENT_AGE_MAX + 1;
    assert_eq!(read(&bytes, NOW + old), Err(Refused::Old(old)));
    let early = CLOCK_SKEW_MAX + 1;
    assert_eq!(read(&bytes, NOW - early), Err(Refused::Future(early)));
    assert_eq!(read_of(&bytes, Hash([9; 32]), 1, NOW), Err(Refused::OtherNetwork));
    assert_eq!(read_of(&bytes, NETWORK, 7, NOW), Err(Refused::NoChain));
    let forged = encode(&SignedAnnouncement::sign(announcement(), &secret(3)));
    assert_eq!(read(&forged, NOW), Err(Refused::Signature(secret(2).key())));
}

#[test]
fn a_cut_or_altered_announcement_is_refused() {
    let bytes = encode(&SignedAnnouncement::sign(announcement(), &secret(2)));
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut], NOW).is_err());
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut other = bytes.clone();
            other[at] ^= 1 << bit;
            assert!(read(&other, NOW).is_err(), "byte {at}, bit {bit}");
        }
    }
    let long = vec![0; ANNOUNCEMENT_SIZE_MAX + 1];
    assert!(matches!(read(&long, NOW), Err(Refused::Malformed(Malformed::TooLong { .. }))));
}
