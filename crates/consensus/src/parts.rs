//! Blocks in pieces: a proposer sends a head and pieces, and the others put them together.
//!
//! Invariants:
//! - Only a proposer's own signature makes a block worth checking, and it covers every byte.
//! - What is held is bounded by `STREAMS_MAX` streams of `PIECES_MAX` pieces, at most two streams of a
//!   sender, whatever others send.
//!
//! Not here: whether a block is good.

use std::collections::BTreeMap;

use bytes::Bytes;
use malachite_app::types::PeerId;
use malachite_app::types::streaming::{StreamId, StreamMessage};
use malachite_engine::util::streaming::StreamContent;
use sha2::{Digest, Sha256};

use crate::context::{Head, Name, Part};

/// Bytes of a block, at most.
pub(crate) const BLOCK_SIZE_MAX: usize = 2 << 20;
/// Bytes of a piece, at most.
const PIECE_SIZE_MAX: usize = 256 << 10;
/// Pieces of a block, at most.
const PIECES_MAX: u64 = 8;
/// Blocks that are being put together at once, at most.
const STREAMS_MAX: usize = 32;
/// Blocks of one sender that are being put together at once, at most.
const SENDER_MAX: usize = 2;

const _: () = assert!(BLOCK_SIZE_MAX == PIECE_SIZE_MAX * 8 && PIECES_MAX == 8);

/// A block that is being put together.
#[derive(Debug, Default)]
struct Stream {
    head: Option<Head>,
    pieces: BTreeMap<u64, Vec<u8>>,
    /// When it was last touched, by a count.
    touched: u64,
}

/// The blocks that are being put together.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: BTreeMap<(PeerId, Bytes), Stream>,
    count: u64,
}

/// A whole block and who proposes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) head: Head,
    pub(crate) bytes: Vec<u8>,
}

impl Streams {
    /// Takes in a part of a block; gives the block if it is now whole. `is_wanted` says whether a
    /// head's block is worth waiting for.
    pub(crate) fn add(
        &mut self,
        sender: PeerId,
        message: StreamMessage<Part>,
        is_wanted: impl Fn(&Head) -> bool,
    ) -> Option<Whole> {
        let StreamContent::Data(part) = message.content else { return None };
        let key = (sender, message.stream_id.to_bytes());
        if !self.streams.contains_key(&key) {
            self.make_room(sender);
        }
        self.count = self.count.wrapping_add(1);
        let stream = self.streams.entry(key.clone()).or_default();
        stream.touched = self.count;
        match part {
            Part::Head(head) if message.sequence == 0 => {
                if !is_wanted(&head) || head.length as usize > BLOCK_SIZE_MAX {
                    self.streams.remove(&key);
                    return None;
                }
                stream.head = Some(head);
            }
            Part::Data(piece)
                if (1..=PIECES_MAX).contains(&message.sequence)
                    && piece.len() <= PIECE_SIZE_MAX =>
            {
                stream.pieces.entry(message.sequence).or_insert(piece);
            }
            _ => return None,
        }
        if !stream.is_whole() {
            return None;
        }
        let Stream { head, pieces, .. } = self.streams.remove(&key)?;
        let (head, bytes) = (head?, pieces.into_values().collect::<Vec<_>>().concat());
        (digest(&bytes) == head.digest).then_some(Whole { head, bytes })
    }

    /// Forgets the streams of blocks up to a height.
    pub(crate) fn tidy(&mut self, height: u64) {
        self.streams.retain(|_, stream| stream.head.as_ref().is_none_or(|it| it.height.0 > height));
    }

    /// Makes room for a stream of the sender: its own oldest goes first, then anyone's.
    fn make_room(&mut self, sender: PeerId) {
        let own = self.streams.iter().filter(|((of, _), _)| *of == sender);
        let oldest = if own.clone().count() >= SENDER_MAX {
            own.min_by_key(|(_, stream)| stream.touched)
        } else if self.streams.len() >= STREAMS_MAX {
            // A stream with a head has a proposer's signature, and is worth more.
            self.streams.iter().min_by_key(|(_, stream)| (stream.head.is_some(), stream.touched))
        } else {
            None
        };
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.streams.remove(&key);
        }
    }
}

impl Stream {
    fn is_whole(&self) -> bool {
        let size: usize = self.pieces.values().map(Vec::len).sum();
        let in_order = self.pieces.keys().zip(1..).all(|(at, place)| *at == place);
        in_order && self.head.as_ref().is_some_and(|head| head.length as usize == size)
    }
}

/// SHA-256 of a block's bytes.
pub(crate) fn digest(bytes: &[u8]) -> Name {
    Name(Sha256::digest(bytes).into())
}

/// A block's parts, in the order in which they are sent.
pub(crate) fn cut(head: &Head, bytes: &[u8]) -> Vec<StreamMessage<Part>> {
    let mut id = head.height.0.to_le_bytes().to_vec();
    id.extend(head.round.as_i64().to_le_bytes());
    let id = StreamId::new(id.into());
    let pieces = bytes.chunks(PIECE_SIZE_MAX).map(|piece| Part::Data(piece.to_vec()));
    let parts = std::iter::once(Part::Head(head.clone())).chain(pieces);
    let message = |(part, at)| StreamMessage::new(id.clone(), at, StreamContent::Data(part));
    parts.zip(0..).map(message).collect()
}

#[cfg(test)]
mod tests;
