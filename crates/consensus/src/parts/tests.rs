use types::id::Hash;
use types::node_key::NodeSecret;

use super::*;
use crate::context::{Height, Sealed};
use crate::signing::Keys;
use malachite_types::Round;

fn sender(of: u8) -> PeerId {
    PeerId::from_bytes(&[0, 1, of]).unwrap()
}

fn head(bytes: &[u8], height: u64) -> Head {
    let keys = Keys::new(Hash([9; 32]), NodeSecret::new([7; 32]));
    let proposer = keys.secret.key().into();
    let length = u32::try_from(bytes.len()).unwrap();
    keys.sign_head(Head {
        height: Height(height),
        round: Round::new(0),
        valid_round: Round::Nil,
        proposer,
        block: Name([3; 32]),
        length,
        digest: digest(bytes),
        signature: Sealed([0; 64]),
    })
}

fn block(size: usize) -> Vec<u8> {
    (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect()
}

/// What comes out when the messages come in.
fn put(streams: &mut Streams, messages: Vec<StreamMessage<Part>>) -> Vec<Whole> {
    let whole = |message| streams.add(sender(1), message, |_| true);
    messages.into_iter().filter_map(whole).collect()
}

#[test]
fn a_block_comes_out_whole_in_whatever_order_its_pieces_come() {
    for size in [0, 1, PIECE_SIZE_MAX, PIECE_SIZE_MAX + 1, BLOCK_SIZE_MAX] {
        let bytes = block(size);
        let head = head(&bytes, 5);
        let mut parts = cut(&head, &bytes);
        for _ in 0..parts.len() {
            parts.rotate_left(1);
            let found = put(&mut Streams::default(), parts.clone());
            assert_eq!(found, [Whole { head: head.clone(), bytes: bytes.clone() }], "{size}");
        }
    }
}

#[test]
fn a_piece_that_is_not_the_proposers_spoils_the_block() {
    let bytes = block(PIECE_SIZE_MAX + 9);
    let mut parts = cut(&head(&bytes, 5), &bytes);
    if let StreamContent::Data(Part::Data(piece)) = &mut parts[2].content {
        piece[0] ^= 1;
    }
    assert_eq!(put(&mut Streams::default(), parts), []);
}

#[test]
fn a_block_that_is_too_large_or_not_wanted_keeps_nothing() {
    let bytes = block(9);
    let mut large = head(&bytes, 5);
    large.length = u32::try_from(BLOCK_SIZE_MAX).unwrap() + 1;
    let mut streams = Streams::default();
    let first = cut(&large, &bytes).remove(0);
    assert_eq!(streams.add(sender(1), first, |_| true), None);
    let first = cut(&head(&bytes, 5), &bytes).remove(0);
    assert_eq!(streams.add(sender(1), first, |_| false), None);
    assert!(streams.streams.is_empty());
    let piece = |sequence, size| {
        StreamMessage::new(
            StreamId::new(Bytes::from_static(b"x")),
            sequence,
            StreamContent::Data(Part::Data(vec![0; size])),
        )
    };
    for (sequence, size) in [(0, 1), (PIECES_MAX + 1, 1), (u64::MAX, 1), (1, PIECE_SIZE_MAX + 1)] {
        assert_eq!(streams.add(sender(1), piece(sequence, size), |_| true), None);
    }
    let held: usize = streams.streams.values().map(|it| it.pieces.len()).sum();
    assert_eq!(held, 0);
}

#[test]
fn many_senders_and_streams_hold_no_more_than_the_limits() {
    let bytes = block(PIECE_SIZE_MAX + 1);
    let mut streams = Streams::default();
    for of in 0..=255 {
        for height in 1..5 {
            let first = cut(&head(&bytes, height), &bytes).remove(0);
            streams.add(sender(of), first, |_| true);
            let own = streams.streams.keys().filter(|(from, _)| *from == sender(of)).count();
            assert!(own <= SENDER_MAX && streams.streams.len() <= STREAMS_MAX);
        }
    }
    assert_eq!(streams.streams.len(), STREAMS_MAX);
    streams.tidy(3);
    assert!(streams.streams.values().all(|it| it.head.as_ref().unwrap().height.0 > 3));
}

#[test]
fn a_stream_without_a_head_goes_before_one_with_a_proposers_signature() {
    let bytes = block(PIECE_SIZE_MAX + 1);
    let mut streams = Streams::default();
    streams.add(sender(0), cut(&head(&bytes, 5), &bytes).remove(0), |_| true);
    for of in 1..=255 {
        streams.add(sender(of), cut(&head(&bytes, 5), &bytes).remove(1), |_| true);
    }
    assert!(streams.streams.keys().any(|(from, _)| *from == sender(0)));
}
