//! What nodes say when they meet and when one wants to join.
//!
//! Specified in `docs/spec/network.md`, sections 4, 5 and 10.
//!
//! Not here: work (`work`), and how messages travel (`frame`, `network`).

use types::bounded::{List, Text};
use types::codec::{Canonical, Malformed, Reader};
use types::id::Hash;

use crate::membership::{ANNOUNCEMENT_SIZE_MAX, Passes, SignedAnnouncement};
use crate::revocation::{REVOCATION_SIZE_MAX, REVOCATIONS_MAX, SignedRevocation};

/// Announcements in one message, at most.
pub const KNOWN_MAX: usize = 64;
/// Bytes of a `Hello`, at most.
pub const HELLO_SIZE_MAX: usize = 4 + KNOWN_MAX * ANNOUNCEMENT_SIZE_MAX;
/// Bytes of a `Revoked`, at most.
pub const REVOKED_SIZE_MAX: usize = 4 + REVOCATIONS_MAX * REVOCATION_SIZE_MAX;
/// Bytes of a ledger's genesis, at most.
pub const GENESIS_SIZE_MAX: usize = 1 << 20;
/// Bytes of a `Knock`, at most.
pub const KNOCK_SIZE_MAX: usize = 256;
/// Bytes of a `Reply`, at most.
pub const REPLY_SIZE_MAX: usize = GENESIS_SIZE_MAX + HELLO_SIZE_MAX + (64 << 10);
/// Bytes of a reason in words, at most.
pub const WORDS_SIZE_MAX: usize = 512;

/// A reason in words.
pub type Words = Text<WORDS_SIZE_MAX>;

types::record! {
    /// What two nodes send each other when they meet: themselves first, then others whom they know.
    Hello {
        /// Announcements.
        known: List<SignedAnnouncement, KNOWN_MAX>,
    }
}

types::record! {
    /// What a node knows of passes that were taken back.
    Revoked {
        /// Revocations.
        known: List<SignedRevocation, REVOCATIONS_MAX>,
    }
}

types::record! {
    /// Asks to be let in. The stream proves who asks.
    Knock {
        /// The ticket's secret.
        secret: [u8; 16],
    }
}

types::record! {
    /// All that a new member needs.
    Welcome {
        /// The ledger's genesis, in the text of its file.
        genesis: List<u8, GENESIS_SIZE_MAX>,
        /// The node that began the network of machines.
        root: Hash,
        /// Why the new member belongs.
        passes: Passes,
        /// Who else is there.
        known: List<SignedAnnouncement, KNOWN_MAX>,
    }
}

/// The answer to a `Knock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 0: let in.
    Welcome(Box<Welcome>),
    /// 1: not let in, and why.
    Refused(Words),
}

impl Canonical for Reply {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Reply::Welcome(welcome) => {
                out.push(0);
                welcome.write(out);
            }
            Reply::Refused(why) => {
                out.push(1);
                why.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(reader)? {
            0 => Ok(Reply::Welcome(Box::new(Welcome::read(reader)?))),
            1 => Ok(Reply::Refused(Words::read(reader)?)),
            number => Err(Malformed::UnknownVariant { number }),
        }
    }
}

/// Words for another node or a person: cut at the limit, without characters that hide others.
#[must_use]
pub fn words(text: &str) -> Words {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut cut: String = text.chars().map(plain).collect();
    while cut.len() > WORDS_SIZE_MAX {
        cut.pop();
    }
    Words::new(&cut).unwrap_or_default()
}
