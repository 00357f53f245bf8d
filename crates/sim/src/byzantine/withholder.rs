//! Keeps to itself what others need: pieces of its blocks, votes, and blocks that it is asked for.
//!
//! Invariants: what it does send is what an honest node would send.
//!
//! Not here: wrong messages.

use consensus::simulated::message::{Spoken, read};

use crate::byzantine::{Around, Behaviour, Sent};

/// A withholder.
#[derive(Debug, Default)]
pub struct Withholder;

impl Behaviour for Withholder {
    fn send(&mut self, around: &mut Around<'_>, message: &[u8]) -> Vec<Sent> {
        let kept = match read(around.network, message) {
            Spoken::Piece => 80,
            Spoken::Statement(..) => 50,
            Spoken::Gossip(_) => 90,
            Spoken::Other => 30,
        };
        let told = (0..around.count).filter(|_| !around.rng.chance(kept));
        told.map(|node| Sent::to(node, message.to_vec())).collect()
    }

    fn answers(&self) -> bool {
        false
    }
}
