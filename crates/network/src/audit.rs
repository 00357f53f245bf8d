//! What an auditor asks of a worker, and what it is given, on one stream for each receipt.
//!
//! Specified in `docs/spec/network.md`, section 12.
//!
//! Invariants: what is given has no blinding, so that nobody who is given it knows the answer's root.
//!
//! Not here: who may ask (the worker's node, by the ledger), and what is found (`audit`).

use types::codec::{Canonical, Malformed, Reader};
use types::transaction::{OpenPayload, PAYLOAD_MAX, RECEIPT_MAX, RECEIPT_PATH_MAX};

use crate::messages::{WORDS_SIZE_MAX, Words};

/// Bytes of a `Want`.
pub const WANT_SIZE_MAX: usize = 12;
/// Bytes of a `Given`, at most.
pub const GIVEN_SIZE_MAX: usize =
    1 + 12 + 4 + RECEIPT_MAX + 4 + 32 * RECEIPT_PATH_MAX + 4 + PAYLOAD_MAX;

const _: () = assert!(WORDS_SIZE_MAX < GIVEN_SIZE_MAX);

types::record! {
    /// Asks for a receipt that was drawn and what it is about. The stream proves which node asks.
    Want {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
    }
}

/// The answer to a `Want`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// 0: what the order that shows it on the ledger would have.
    Shown(Box<OpenPayload>),
    /// 1: nothing, and why.
    Refused(Words),
}

impl Canonical for Given {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Given::Shown(shown) => {
                out.push(0);
                shown.write(out);
            }
            Given::Refused(why) => {
                out.push(1);
                why.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(reader)? {
            0 => Ok(Given::Shown(Box::new(OpenPayload::read(reader)?))),
            1 => Ok(Given::Refused(Words::read(reader)?)),
            number => Err(Malformed::UnknownVariant { number }),
        }
    }
}
