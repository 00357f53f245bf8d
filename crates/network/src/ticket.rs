//! What one person gives to another so that their machine may join.
//!
//! Specified in `docs/spec/network.md`, section 2. A ticket is one word that survives a chat window:
//! `mashaa1` and base 32, the last four bytes a check against typing errors.
//!
//! Invariants: a ticket that was cut or mistyped is refused, never half read.
//!
//! Not here: whether the secret is good, which only its maker knows.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use types::bounded::{List, Text};
use types::codec::{Malformed, decode, encode};
use types::id::Hash;

/// Addresses in one ticket or announcement, at most.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes of one address, at most.
pub const ADDRESS_SIZE_MAX: usize = 256;
/// Characters of a ticket, at most.
pub const TEXT_SIZE_MAX: usize = 8 << 10;
/// How every ticket of this version begins.
const PREFIX: &str = "mashaa1";
/// Bytes of the check at the end.
const CHECK_SIZE: usize = 4;

/// A multiaddress as text, such as `/ip4/192.0.2.7/udp/8422/quic-v1`.
pub type AddressText = Text<ADDRESS_SIZE_MAX>;

types::record! {
    /// An invitation to one network.
    Ticket {
        /// The network: the hash of its ledger's genesis.
        network: Hash,
        /// The node that invites: its key.
        node: Hash,
        /// Where it is.
        addresses: List<AddressText, ADDRESSES_MAX>,
        /// What the inviting node knows the invitation by.
        secret: [u8; 16],
        /// When the invitation ends, in seconds since 1970.
        expires: u64,
    }
}

/// Why a text is no ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It begins otherwise.
    #[error("a ticket begins with {PREFIX}; is this one whole, and of this version?")]
    Prefix,
    /// It is longer than any ticket.
    #[error("the ticket has {size} characters, more than any has ({TEXT_SIZE_MAX})")]
    TooLong {
        /// Its size.
        size: usize,
    },
    /// It has characters that no ticket has.
    #[error("the ticket has characters that no ticket has; copy it again")]
    Characters,
    /// Its check is wrong.
    #[error("the ticket was cut short or mistyped; copy it again")]
    Check,
    /// Its bytes are no ticket's.
    #[error("the ticket cannot be read: {0}")]
    Malformed(Malformed),
}

fn check(body: &[u8]) -> [u8; CHECK_SIZE] {
    let digest = Sha256::digest([b"mashaa/network/ticket/v1", body].concat());
    let [a, b, c, d, ..]: [u8; 32] = digest.into();
    [a, b, c, d]
}

impl fmt::Display for Ticket {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = encode(self);
        let text = BASE32_NOPAD.encode(&[&body[..], &check(&body)].concat());
        write!(out, "{PREFIX}{}", text.to_ascii_lowercase())
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads a ticket; spaces and line ends that a chat put in are no matter, nor is the case.
    fn from_str(text: &str) -> Result<Ticket, TicketError> {
        if text.len() > TEXT_SIZE_MAX {
            return Err(TicketError::TooLong { size: text.len() });
        }
        let text: String = text.split_whitespace().collect::<String>().to_ascii_lowercase();
        let body = text.strip_prefix(PREFIX).ok_or(TicketError::Prefix)?.to_ascii_uppercase();
        let bytes = BASE32_NOPAD.decode(body.as_bytes()).map_err(|_| TicketError::Characters)?;
        let body = bytes.split_last_chunk::<CHECK_SIZE>();
        let (body, sum) = body.ok_or(TicketError::Check)?;
        if check(body) != *sum {
            return Err(TicketError::Check);
        }
        decode(body).map_err(TicketError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        let addresses = ["/ip4/192.0.2.7/udp/8422/quic-v1", "/ip4/192.0.2.7/tcp/8422"];
        let addresses = addresses.map(|it| Text::new(it).unwrap()).to_vec();
        Ticket {
            network: Hash([1; 32]),
            node: Hash([2; 32]),
            addresses: List::new(addresses).unwrap(),
            secret: [3; 16],
            expires: 1_800_000_000,
        }
    }

    #[test]
    fn a_ticket_is_read_back_from_a_chat_window() {
        let text = ticket().to_string();
        assert_eq!(text.parse(), Ok(ticket()));
        let (head, tail) = text.split_at(60);
        assert_eq!(format!(" {head}\r\n{} ", tail.to_uppercase()).parse(), Ok(ticket()));
    }

    #[test]
    fn a_cut_or_mistyped_ticket_is_refused() {
        let text = ticket().to_string();
        for cut in 0..text.len() {
            text[..cut].parse::<Ticket>().unwrap_err();
        }
        for at in 0..text.len() {
            for other in ['a', '7', '!', 'é'] {
                let mut typed: Vec<char> = text.chars().collect();
                if typed[at] != other {
                    typed[at] = other;
                    typed.iter().collect::<String>().parse::<Ticket>().unwrap_err();
                }
            }
        }
        let long = "a".repeat(TEXT_SIZE_MAX + 1).parse::<Ticket>();
        assert_eq!(long, Err(TicketError::TooLong { size: TEXT_SIZE_MAX + 1 }));
    }

    #[test]
    fn a_ticket_with_a_good_check_and_bad_contents_is_refused() {
        let body = encode(&ticket());
        let text = |body: &[u8]| {
            let all = [body, &check(body)].concat();
            format!("{PREFIX}{}", BASE32_NOPAD.encode(&all))
        };
        for cut in 0..body.len() {
            let refused = text(&body[..cut]).parse::<Ticket>().unwrap_err();
            assert!(matches!(refused, TicketError::Malformed(_)), "{refused}");
        }
        for at in 0..body.len() {
            let mut other = body.clone();
            other[at] ^= 0x80;
            // Another ticket, or none; never a panic, and never this one.
            assert_ne!(text(&other).parse(), Ok(ticket()));
        }
    }
}
