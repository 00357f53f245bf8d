//! What nodes send each other, and that a lie told to one of them ends in a block of another's.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Instant;

use ledger::genesis::Founder;
use ledger::validators::Standing;
use types::agreement::{Statement, Step};
use types::amount::Nonce;
use types::bounded::{Bytes, Text};
use types::envelope::Order;
use types::id::Address;
use types::measure::AdmitValidator;
use types::node_key::NodeSigned;
use types::signature::Signature;
use types::transaction::{Action, PIECE_MAX, ShowEvidence};
use types::word::Policy;

use super::*;

/// How long anything here may take.
const TIME_MAX: Duration = Duration::from_secs(60);

fn secret(node: u8) -> NodeSecret {
    NodeSecret::new([node; 32])
}

/// Node 1 decides alone, and node 2, which nobody runs, is a validator too.
fn genesis() -> Genesis {
    let account = Address([7; 20]);
    let validator = |node, power| AdmitValidator { node_key: secret(node).key(), account, power };
    Genesis {
        name: Text::new("test").unwrap(),
        made: 0,
        interval: 20,
        snapshot_blocks: 3600,
        policy: Policy::Mutual,
        constitution: None,
        founders: List::new(vec![Founder { account, name: Text::new("amal").unwrap() }]).unwrap(),
        validators: List::new(vec![validator(1, 9), validator(2, 1)]).unwrap(),
        parameters: List::default(),
        cashier: None,
    }
}

/// Two prevotes of a node at a height.
fn evidence(node: u8, height: u64) -> Evidence {
    let (network, height, step) = (genesis().hash(), Height(height), Step::Prevote);
    let vote = |block: Option<Hash>| {
        let vote = Statement { network, height, round: 0, step, block, earlier: None };
        let signature = vote.sign(&secret(node));
        (vote, signature)
    };
    Evidence::new(secret(node).key(), &vote(None), &vote(Some(network))).unwrap()
}

#[test]
fn every_cut_and_flip_of_gossip_is_refused_or_read_back() {
    for heard in [Heard::Orders(List::default()), Heard::Evidence(Box::new(evidence(2, 1)))] {
        let bytes = encode(&heard);
        assert_eq!(decode::<Heard>(&bytes), Ok(heard));
        for length in 0..bytes.len() {
            assert!(decode::<Heard>(&bytes[..length]).is_err(), "{length} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(found) = decode::<Heard>(&flipped) {
                assert_eq!(encode(&found), flipped, "bit {bit}");
            }
        }
    }
    assert!(decode::<Heard>(&[2]).is_err());
}

#[test]
fn a_large_order_is_sent_alone_and_holds_up_no_other() {
    let order = |size: usize| {
        let piece = Bytes::new(vec![7; size]).unwrap();
        let action = Action::ShowEvidence(ShowEvidence { batch: 1, index: 0, piece });
        let (account, nonce, valid_until) = (Address([7; 20]), Nonce(0), Height(9));
        let signature = Signature([27; 65]);
        Signed { order: Order { account, nonce, valid_until, action }, signature }
    };
    let sizes = [PIECE_MAX, 100, 100, GOSSIP_SIZE_MAX, 100];
    let mut outbox: VecDeque<Signed> = sizes.into_iter().map(order).collect();
    let counts: Vec<usize> = std::iter::from_fn(|| match take_some(&mut outbox).len() {
        0 => None,
        count => Some(count),
    })
    .collect();
    assert_eq!(counts, [1, 2, 1, 1]);
}

/// An address that nothing listens on.
fn free() -> SocketAddr {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap()
}

async fn until(ledger: &Ledger, what: &str, holds: impl Fn(&Ledger) -> bool) {
    let (mut tips, end) = (ledger.tips(), Instant::now() + TIME_MAX);
    while !holds(ledger) {
        let left = end.saturating_duration_since(Instant::now());
        let next = tokio::time::timeout(left, tips.changed()).await;
        assert!(next.is_ok(), "{what} has not come to hold");
    }
}

#[test]
fn evidence_that_one_node_has_is_in_a_block_that_another_makes() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = [free(), free()];
    let settings = |node: u8, at: usize| Settings {
        folder: folder.path().join(node.to_string()),
        genesis: genesis(),
        secret: secret(node),
        listen: addresses[at],
        peers: vec![Peer::parse(&addresses[1 - at].to_string()).unwrap()],
        threads: 1,
        blocks_kept: 0,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (maker, _running) = Ledger::start(&settings(1, 0)).await.unwrap();
        let (other, _following) = Ledger::start(&settings(3, 1)).await.unwrap();
        until(&other, "a block", |it| it.chain().tip().height.0 > 2).await;
        let standing = |it: &Ledger, of: u8| {
            it.chain().state().validator(&secret(of).key()).map(|it| it.standing)
        };
        // Nobody is convicted by what proves nothing, or by who is no validator.
        let mut unsigned = evidence(2, 1);
        unsigned.round = 9;
        [unsigned, evidence(3, 1)].into_iter().for_each(|it| other.hear(it));
        assert_eq!(other.chain().accusations().count(), 0);
        other.hear(evidence(2, 1));
        for it in [&maker, &other] {
            until(it, "the conviction", |it| standing(it, 2) == Some(Standing::Convicted)).await;
            assert_eq!(standing(it, 1), Some(Standing::Serving));
            until(it, "its effect", |it| it.chain().validators().len() == 1).await;
            assert_eq!(it.chain().accusations().count(), 0);
        }
    });
}
