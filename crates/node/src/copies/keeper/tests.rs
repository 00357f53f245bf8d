use std::net::SocketAddr;
use std::time::Duration;

use store::blobs::Blobs;
use types::bounded::List;
use types::codec::decode;
use types::node_key::NodeSecret;

use super::super::Settings;
use super::super::care::Rules as Times;
use super::super::files::Files;
use super::*;
use crate::home::Home;
use crate::models::Models;
use crate::peers;

fn keeper(folder: &tempfile::TempDir, pledge: u64) -> Arc<Copies> {
    let home = Home::open(Some(folder.path()), &|_| None).unwrap();
    let blobs = Blobs::open(home.blobs()).unwrap();
    let network = peers::Settings {
        files: peers::files::Files::of(&home),
        network: Hash([9; 32]),
        genesis: String::new(),
        secret: NodeSecret::new([1; 32]),
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        announced: Vec::new(),
        nearby: false,
        name: String::new(),
        ledger: None,
    };
    let settings = Settings {
        files: Files::of(&home),
        models: Models::of(&home),
        pledge,
        quota: u64::MAX,
        look: Duration::from_secs(60),
        prior: 1,
        rules: Times { grace: 1, check: 1, lease: 1, pause: 1 },
    };
    let peers = peers::Peers::new(network).unwrap();
    let copies = Copies::open(settings, blobs, peers, None).unwrap();
    copies.state().spare = u64::MAX;
    copies
}

fn keep(cid: Cid, size: u64, seconds: u32) -> Keep {
    Keep { cid: decode(&cid.to_bytes()).unwrap(), size, seconds, sources: List::default() }
}

fn node(number: u8) -> Hash {
    Hash([number; 32])
}

#[test]
fn no_more_is_kept_than_was_pledged_and_every_refusal_has_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let copies = keeper(&folder, 100);
    let (a, b) = (Cid::of(b"a"), Cid::of(b"b"));
    let grant = |number, cid, size, seconds| {
        let granted = copies.grant(node(number), cid, &keep(cid, size, seconds));
        granted.map(|lease| lease.size).map_err(|(cause, _)| cause)
    };
    assert_eq!(grant(1, a, 1, 0), Err(KeepCause::Question));
    assert_eq!(grant(1, a, 1, LEASE_SECONDS_MAX + 1), Err(KeepCause::Question));
    assert_eq!(grant(1, a, 101, LEASE_SECONDS_MAX), Err(KeepCause::Room));
    assert_eq!(grant(1, a, u64::MAX, 1), Err(KeepCause::Room));
    assert_eq!(grant(1, a, 60, 1), Ok(60));
    assert_eq!(grant(2, a, 60, 1), Ok(60), "the same content for another takes no more room");
    assert_eq!(grant(1, b, 41, 1), Err(KeepCause::Room));
    assert_eq!(grant(1, a, 101, 1), Err(KeepCause::Room), "nor does it grow beyond the pledge");
    assert_eq!(grant(1, b, 40, 1), Ok(40));
    assert_eq!(copies.state().room(100), 0);
    copies.state().spare = 0;
    assert_eq!(grant(3, Cid::of(b"c"), 1, 1), Err(KeepCause::Room), "the disk is full");
    let none = keeper(&tempfile::tempdir().unwrap(), 0);
    let refused = none.grant(node(1), a, &keep(a, 1, 1)).unwrap_err();
    assert_eq!(refused.0, KeepCause::Pledge);
}

#[test]
fn leases_are_counted_whatever_their_size() {
    let folder = tempfile::tempdir().unwrap();
    let copies = keeper(&folder, 100);
    for number in 0..LEASES_MAX as u32 {
        let cid = Cid::of(&number.to_le_bytes());
        copies.grant(node(1), cid, &keep(cid, 0, 60)).unwrap();
    }
    let (first, more) = (Cid::of(&[0; 4]), Cid::of(b"more"));
    assert_eq!(copies.grant(node(1), more, &keep(more, 0, 60)).unwrap_err().0, KeepCause::Room);
    assert!(copies.grant(node(1), first, &keep(first, 0, 60)).is_ok(), "renewed");
}

#[tokio::test]
async fn what_a_lease_led_to_goes_with_the_last_lease_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let copies = keeper(&folder, 1000);
    let cid = copies.blobs.put(&b"kept"[..]).unwrap();
    let pinned = copies.blobs.put(&b"pinned"[..]).unwrap();
    copies.blobs.pin(&pinned, "").unwrap();
    let until = |seconds: u64| now() + seconds * 1000;
    for (number, cid, seconds) in [(1, cid, 10), (2, cid, 20), (1, pinned, 10)] {
        let lease = copies.grant(node(number), cid, &keep(cid, 10, seconds)).unwrap();
        copies.settings.files.keep_lease(&lease).unwrap();
    }
    copies.clear(until(11)).await;
    assert!(copies.blobs.contains(&cid), "another lease lasts");
    assert_eq!(copies.settings.files.leases().unwrap().len(), 1);
    let hold = copies.blobs.hold().unwrap();
    copies.clear(until(21)).await;
    assert!(copies.blobs.contains(&cid), "nothing is deleted while somebody adds");
    assert_eq!(copies.settings.files.leases().unwrap(), []);
    drop(hold);
    copies.clear(until(21)).await;
    assert!(!copies.blobs.contains(&cid));
    assert!(copies.blobs.contains(&pinned), "what the owner pinned stays");
    assert!(copies.state().ended.is_empty());
}

#[tokio::test]
async fn a_stranger_is_told_to_say_hello() {
    let folder = tempfile::tempdir().unwrap();
    let copies = keeper(&folder, 1000);
    let options = network::network::Options {
        announced: Vec::new(),
        network: Hash([9; 32]),
        secret: NodeSecret::new([1; 32]),
        listen: None,
        nearby: false,
    };
    let (network, _events) = Network::start(&options).unwrap();
    let questions = [
        Question::Room,
        Question::Keep(keep(Cid::of(b"a"), 1, 60)),
        Question::Release(decode(&Cid::of(b"a").to_bytes()).unwrap()),
    ];
    for question in questions {
        let refused = copies.answer(&network, node(3), question).await.unwrap_err();
        assert_eq!(refused.0, KeepCause::Stranger);
    }
}
