//! What a gateway asks of a worker, and what it is told, on one stream for each sequence.
//!
//! The gateway sends one `Ask` and then `Note`s, the worker any number of `Tell`s; closing the stream
//! cancels the work.
//! Everything is a number: no text of a prompt or an answer travels. Specified in
//! `docs/spec/network.md`, section 6.
//!
//! Invariants: a worker that is alive says something every `ALIVE_INTERVAL`.
//!
//! Not here: the computation, and which worker is asked.

use std::time::Duration;

use types::amount::{Amount, Epoch};
use types::bounded::{List, Text};
use types::codec::{Canonical, Malformed, Reader};
use types::id::Hash;
use types::sampling::SamplingNumbers;
use types::signature::Signature;

use crate::membership::NAME_SIZE_MAX;
use crate::messages::Words;

/// Tokens of a prompt, or of an answer so far, at most.
pub const TOKENS_MAX: usize = 1 << 20;
/// Tokens that end an answer, at most.
pub const END_TOKENS_MAX: usize = 256;
/// Biased tokens, at most.
pub const BIASES_MAX: usize = 4096;
/// Bytes of a grammar, at most.
pub const GRAMMAR_SIZE_MAX: usize = 64 << 10;
/// Alternatives of one position, at most.
pub const TOP_MAX: usize = 20;
/// Scores in one message, at most.
pub const SCORES_MAX: usize = 1024;
/// Bytes of an `Ask`, at most.
pub const ASK_SIZE_MAX: usize = (8 << 20) + (128 << 10);
/// Bytes of a `Tell`, at most.
pub const TELL_SIZE_MAX: usize = 256 << 10;
/// Bytes of a `Note`, at most.
pub const NOTE_SIZE_MAX: usize = 256;
/// Bytes of a signed receipt, at most: today's has 692.
pub const RECEIPT_SIZE_MAX: usize = 1024;
/// How often a worker says at least that it is alive.
pub const ALIVE_INTERVAL: Duration = Duration::from_millis(300);

types::record! {
    /// One sequence to compute.
    Ask {
        /// The artifact's CID.
        model: Text<NAME_SIZE_MAX>,
        /// The prompt.
        prompt: List<u32, TOKENS_MAX>,
        /// Tokens of the answer that another worker has told already; they are not told again.
        said: List<u32, TOKENS_MAX>,
        /// Tokens of the answer, at most, those said among them.
        tokens_max: u32,
        /// Tokens that end the answer.
        end_tokens: List<u32, END_TOKENS_MAX>,
        /// Temperature and the numbers beside it.
        numbers: SamplingNumbers,
        /// Added to logits: token, units of 2^-16; ascending by token.
        logit_bias: List<(u32, i32), BIASES_MAX>,
        /// Where the seed of the choices comes from.
        seed: SeedSource,
        /// Whether scores are told, and how many alternatives.
        logprobs: Option<u8>,
        /// Whether the prompt's own scores are told.
        prompt_logprobs: bool,
        /// The grammar that the answer follows, in UTF-8; empty if it follows none.
        grammar: List<u8, GRAMMAR_SIZE_MAX>,
        /// How it is paid for, if it is.
        payment: Option<Payment>,
    }
}

types::record! {
    /// How an answer is paid for (`docs/spec/receipt.md`, section 1.2).
    Payment {
        /// The number of the channel that pays.
        channel: u64,
        /// For a million tokens, of the prompt and of the answer alike.
        price: Amount,
        /// In which the answer is given.
        epoch: Epoch,
        /// Used once by the gateway.
        nonce: Hash,
        /// Whether drawn auditors may read the request and its answer, and compute it again.
        is_checked: bool,
    }
}

/// Where the seed of an answer's choices comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedSource {
    /// 1: from both. This is the commitment to the gateway's nonce; the worker tells its own with
    /// `Tell::Taken`, and then the gateway tells the nonce with `Note::Nonce`.
    Joint(Hash),
    /// 2: from the caller, who asked for this one.
    Fixed(Hash),
    /// 3: from both, made before with the worker that took the answer first, which was lost.
    Made {
        /// The gateway's nonce.
        client: Hash,
        /// That worker's.
        worker: Hash,
    },
}

/// What a gateway says after its `Ask`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// 0: the nonce that was committed to.
    Nonce(Hash),
    /// 1: no more tokens are wanted; what there is ends with its receipt.
    Stop,
    /// 2: what the gateway grants of the channel in all, and its signature of that voucher; after the
    /// receipt of an answer that is paid for.
    Voucher(Amount, Signature),
}

types::record! {
    /// One position's distribution, as `docs/spec/int-1.md` defines it.
    Score {
        /// The largest logit, in units of 2^-16.
        max: i32,
        /// Sum of e^(logit - max), in units of 2^-30.
        total: u64,
        /// The token that stands here.
        token: u32,
        /// Its logit.
        logit: i32,
        /// The likeliest tokens and their logits.
        top: List<(u32, i32), TOP_MAX>,
    }
}

types::words! {
    /// Why a worker does not do it, or not to its end.
    Cause {
        /// It has too much to do; another time.
        1 Busy = "busy",
        /// It does not work for others now.
        2 Paused = "paused",
        /// It does not run this model.
        3 Model = "model",
        /// It does not know who asks: no announcement of theirs counts here and now.
        4 Stranger = "stranger",
        /// No worker would do this: the request breaks a rule.
        5 Request = "request",
        /// Its engine failed.
        6 Failed = "failed",
        /// It is not paid for as it should be.
        7 Unpaid = "unpaid",
        /// The channel has no room for it, or owes too much: another one is needed.
        8 Spent = "spent",
    }
}

types::words! {
    /// Why an answer ended.
    End {
        /// One of the end tokens came.
        0 EndToken = "end-token",
        /// It has as many tokens as it may have.
        1 Length = "length",
        /// The gateway wanted no more.
        2 Stopped = "stopped",
    }
}

/// What a worker says about a sequence, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tell {
    /// 0: it will be done. The worker's nonce where the seed is to be joint.
    Taken(Option<Hash>),
    /// 1: it is being done.
    Alive,
    /// 2: scores of the prompt's next tokens; all of them come before `Prompt`.
    Scores(List<Score, SCORES_MAX>),
    /// 3: the prompt is computed; so many of its tokens were in the cache.
    Prompt(u32),
    /// 4: the next token, and its score if it was asked for.
    Token(u32, Option<Score>),
    /// 5: the answer has ended; nothing follows.
    Finished(End),
    /// 6: it is not done, or not to its end; nothing follows.
    Refused(Cause, Words),
    /// 7: a signed receipt of the answer (`docs/spec/receipt.md`), and what hides the root in it; right
    /// before `Finished`, or not at all.
    Receipt(List<u8, RECEIPT_SIZE_MAX>, [u8; 32]),
}

impl Canonical for SeedSource {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            SeedSource::Joint(commitment) => {
                out.push(1);
                commitment.write(out);
            }
            SeedSource::Fixed(seed) => {
                out.push(2);
                seed.write(out);
            }
            SeedSource::Made { client, worker } => {
                out.push(3);
                client.write(out);
                worker.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::read(reader)? {
            1 => SeedSource::Joint(Hash::read(reader)?),
            2 => SeedSource::Fixed(Hash::read(reader)?),
            3 => SeedSource::Made { client: Hash::read(reader)?, worker: Hash::read(reader)? },
            number => return Err(Malformed::UnknownVariant { number }),
        })
    }
}

impl Canonical for Note {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Note::Nonce(nonce) => {
                out.push(0);
                nonce.write(out);
            }
            Note::Stop => out.push(1),
            Note::Voucher(cumulative, signature) => {
                out.push(2);
                cumulative.write(out);
                signature.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(reader)? {
            0 => Ok(Note::Nonce(Hash::read(reader)?)),
            1 => Ok(Note::Stop),
            2 => Ok(Note::Voucher(Amount::read(reader)?, Signature::read(reader)?)),
            number => Err(Malformed::UnknownVariant { number }),
        }
    }
}

impl Canonical for Tell {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Tell::Taken(nonce) => {
                out.push(0);
                nonce.write(out);
            }
            Tell::Alive => out.push(1),
            Tell::Scores(scores) => {
                out.push(2);
                scores.write(out);
            }
            Tell::Prompt(cached) => {
                out.push(3);
                cached.write(out);
            }
            Tell::Token(token, score) => {
                out.push(4);
                token.write(out);
                score.write(out);
            }
            Tell::Finished(end) => {
                out.push(5);
                end.write(out);
            }
            Tell::Refused(cause, why) => {
                out.push(6);
                cause.write(out);
                why.write(out);
            }
            Tell::Receipt(receipt, blinding) => {
                out.push(7);
                receipt.write(out);
                blinding.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match u8::read(reader)? {
            0 => Tell::Taken(Option::read(reader)?),
            1 => Tell::Alive,
            2 => Tell::Scores(List::read(reader)?),
            3 => Tell::Prompt(u32::read(reader)?),
            4 => Tell::Token(u32::read(reader)?, Option::read(reader)?),
            5 => Tell::Finished(End::read(reader)?),
            6 => Tell::Refused(Cause::read(reader)?, Words::read(reader)?),
            7 => Tell::Receipt(List::read(reader)?, Canonical::read(reader)?),
            number => return Err(Malformed::UnknownVariant { number }),
        })
    }
}
