//! What nodes say when one keeps a copy of content for another, on one stream for each question.
//!
//! The asker sends one `Question`, the keeper one `Answer`. A question may be asked again at any time:
//! to ask for a copy that is here already makes its lease longer. Specified in
//! `docs/spec/network.md`, section 11.
//!
//! Not here: the content, which travels over `http`; whom to ask, and who is let.

use types::bounded::List;
use types::codec::{Canonical, Malformed, Reader};
use types::id::{Cid, Hash};

use crate::messages::{WORDS_SIZE_MAX, Words};

/// Nodes that have the content, in one question, at most.
pub const SOURCES_MAX: usize = 16;
/// Seconds of a lease, at most: 30 days. A longer one would outlive most reasons for it.
pub const LEASE_SECONDS_MAX: u32 = 30 * 24 * 3600;
/// Bytes of a `Question`, at most.
pub const QUESTION_SIZE_MAX: usize = 1 + 36 + 8 + 4 + 4 + SOURCES_MAX * 32;
/// Bytes of an `Answer`, at most.
pub const ANSWER_SIZE_MAX: usize = 2 + 4 + WORDS_SIZE_MAX;

types::record! {
    /// Asks for a copy, or for more time for one.
    Keep {
        /// What: a file or directory, with all below it.
        cid: Cid,
        /// Bytes of all of it.
        size: u64,
        /// How long from now, in seconds.
        seconds: u32,
        /// Nodes that have it, beside the one that asks.
        sources: List<Hash, SOURCES_MAX>,
    }
}

types::words! {
    /// Why a node does not keep something.
    KeepCause {
        /// Its owner has given no space to others.
        1 Pledge = "no-pledge",
        /// What its owner has given is taken.
        2 Room = "no-room",
        /// It does not know who asks: no announcement of theirs counts here and now.
        3 Stranger = "stranger",
        /// It fetches too much already; another time.
        4 Busy = "busy",
        /// It could not fetch it whole.
        5 Content = "content",
        /// The question asks for what no node does.
        6 Question = "question",
        /// Its own disk or store failed.
        7 Failed = "failed",
    }
}

/// What a node asks of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// 0: how much space it has for others.
    Room,
    /// 1: to keep a copy.
    Keep(Keep),
    /// 2: to let go of one.
    Release(Cid),
}

/// What the other one says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 0: bytes that its owner has given to others, and those of them that are free.
    Room {
        /// Given.
        pledged: u64,
        /// Free.
        free: u64,
    },
    /// 1: it is being fetched; ask again.
    Fetching,
    /// 2: it is here whole, and stays so many seconds from now.
    Kept(u32),
    /// 3: it is let go of, or was not kept.
    Released,
    /// 4: no, and why.
    Refused(KeepCause, Words),
}

impl Canonical for Question {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Question::Room => out.push(0),
            Question::Keep(keep) => {
                out.push(1);
                keep.write(out);
            }
            Question::Release(cid) => {
                out.push(2);
                cid.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::read(reader)? {
            0 => Question::Room,
            1 => Question::Keep(Keep::read(reader)?),
            2 => Question::Release(Cid::read(reader)?),
            number => return Err(Malformed::UnknownVariant { number }),
        })
    }
}

impl Canonical for Answer {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Answer::Room { pledged, free } => {
                out.push(0);
                pledged.write(out);
                free.write(out);
            }
            Answer::Fetching => out.push(1),
            Answer::Kept(seconds) => {
                out.push(2);
                seconds.write(out);
            }
            Answer::Released => out.push(3),
            Answer::Refused(cause, why) => {
                out.push(4);
                cause.write(out);
                why.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::read(reader)? {
            0 => Answer::Room { pledged: u64::read(reader)?, free: u64::read(reader)? },
            1 => Answer::Fetching,
            2 => Answer::Kept(u32::read(reader)?),
            3 => Answer::Released,
            4 => Answer::Refused(KeepCause::read(reader)?, Words::read(reader)?),
            number => return Err(Malformed::UnknownVariant { number }),
        })
    }
}
