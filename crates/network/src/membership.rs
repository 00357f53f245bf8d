//! Who belongs to a network of machines: passes, and what members announce.
//!
//! A pass says that one node lets another in; a chain of passes leads from a node to the one that
//! began the network, whose key every member has from its ticket. Specified in
//! `docs/spec/network.md`, section 3.
//!
//! Invariants:
//! - Everything signed names the network and its kind, so that it counts nowhere else.
//! - A chain of passes counts only if each of them is good now.
//!
//! Not here: passes that were taken back (`revocation`); votes and money, which are the ledger's.

use types::bounded::{List, Text};
use types::codec::{Canonical, Malformed, Reader, decode};
use types::id::Hash;
use types::node_key::{NodeSecret, NodeSignature, NodeSigned};

use crate::ticket::{ADDRESSES_MAX, AddressText};

/// Passes from a node to the one that began the network, at most.
pub const PASSES_MAX: usize = 8;
/// Models that one node offers, at most.
pub const OFFERS_MAX: usize = 32;
/// Bytes of a model's name or CID, at most.
pub const NAME_SIZE_MAX: usize = 128;
/// Bytes of a signed announcement, at most.
pub const ANNOUNCEMENT_SIZE_MAX: usize = 32 << 10;
/// How long an announcement counts, in milliseconds. It is made anew in a third of that.
pub const ANNOUNCEMENT_AGE_MAX: u64 = 90_000;
/// How long a new pass lasts, in seconds: a year.
pub const PASS_TIME: u64 = 365 * 24 * 3600;
/// How long a pass may still last, in seconds: a day more, since clocks differ. So a revocation need
/// not be kept for longer.
pub const PASS_TIME_MAX: u64 = PASS_TIME + 24 * 3600;
/// How far ahead of this one another machine's clock may be, in milliseconds.
pub const CLOCK_SKEW_MAX: u64 = 30_000;

types::record! {
    /// That a node is let in, unsigned.
    Pass {
        /// The network.
        network: Hash,
        /// The node that is let in.
        node: Hash,
        /// The node that lets it in.
        issuer: Hash,
        /// When the pass ends, in seconds since 1970.
        expires: u64,
    }
}

types::record! {
    /// A pass with its issuer's signature.
    SignedPass {
        /// The pass.
        pass: Pass,
        /// By the issuer.
        signature: NodeSignature,
    }
}

/// The passes of a node: its own first, each next one its issuer's.
pub type Passes = List<SignedPass, PASSES_MAX>;

types::record! {
    /// A model that a node runs for others.
    Offer {
        /// The artifact's CID.
        model: Text<NAME_SIZE_MAX>,
        /// The name it is called by.
        name: Text<NAME_SIZE_MAX>,
        /// Tokens of prompt and answer together, at most.
        context: u32,
        /// Millionths of a credit for a million tokens.
        price: u64,
        /// Tokens of prompt a second, measured by the node when it started.
        prefill: u32,
        /// Tokens of answer a second of one sequence, measured by the node when it started.
        decode: u32,
        /// Sequences it takes at once.
        slots: u32,
    }
}

types::record! {
    /// What a node says of itself, unsigned.
    Announcement {
        /// The network.
        network: Hash,
        /// The node.
        node: Hash,
        /// When it was made, in milliseconds since 1970; a later one replaces it.
        issued: u64,
        /// What its owner calls it.
        name: Text<NAME_SIZE_MAX>,
        /// Where it is.
        addresses: List<AddressText, ADDRESSES_MAX>,
        /// Why it belongs here.
        passes: Passes,
        /// The models that it runs for others now.
        offers: List<Offer, OFFERS_MAX>,
    }
}

/// An announcement whose signature was checked, and the bytes in which it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedAnnouncement {
    announcement: Announcement,
    signature: NodeSignature,
}

/// Why a node or what it says is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is of another network.
    #[error("it belongs to another network")]
    OtherNetwork,
    /// The signature is not its node's.
    #[error("its signature is not by {0}")]
    Signature(Hash),
    /// The chain of passes does not lead to the node that began the network.
    #[error("its passes do not lead to the node that began this network")]
    NoChain,
    /// A pass has ended.
    #[error("its pass ended; it needs a new ticket")]
    Expired,
    /// A pass or a revocation lasts longer than any may.
    #[error("it lasts longer than a year")]
    TooLong,
    /// A pass was taken back.
    #[error("{maker} has taken the passes of {node} back")]
    Revoked {
        /// Whose passes.
        node: Hash,
        /// Who took them back.
        maker: Hash,
    },
    /// There is no room for another revocation.
    #[error("too many passes were taken back already")]
    TooMany,
    /// The announcement is too old.
    #[error("it was announced {0} ms ago, which is too long; or a clock is wrong")]
    Old(u64),
    /// The announcement is of the future.
    #[error("it was announced {0} ms in the future; a clock is wrong")]
    Future(u64),
    /// The bytes are no announcement.
    #[error("it cannot be read: {0}")]
    Malformed(#[from] Malformed),
}

impl NodeSigned for Pass {
    const TAG: &'static [u8] = b"mashaa/network/pass/v1";
}

impl NodeSigned for Announcement {
    const TAG: &'static [u8] = b"mashaa/network/announcement/v1";
}

impl SignedPass {
    /// Lets a node in.
    #[must_use]
    pub fn issue(network: Hash, node: Hash, expires: u64, issuer: &NodeSecret) -> SignedPass {
        let pass = Pass { network, node, issuer: issuer.key(), expires };
        let signature = pass.sign(issuer);
        SignedPass { pass, signature }
    }

    fn check(&self, network: &Hash, node: &Hash, now: u64) -> Result<(), Refused> {
        let pass = &self.pass;
        if pass.network != *network {
            return Err(Refused::OtherNetwork);
        }
        if pass.node != *node {
            return Err(Refused::NoChain);
        }
        if pass.expires <= now {
            return Err(Refused::Expired);
        }
        if pass.expires > now.saturating_add(PASS_TIME_MAX) {
            return Err(Refused::TooLong);
        }
        if !pass.is_signed(&pass.issuer, &self.signature) {
            return Err(Refused::Signature(pass.issuer));
        }
        Ok(())
    }
}

/// Checks that passes lead from a node to the one that began the network, `root`. `now` is in seconds
/// since 1970.
///
/// # Errors
///
/// When one of them is missing, wrong or over.
pub fn check_passes(
    network: &Hash,
    root: &Hash,
    node: &Hash,
    passes: &Passes,
    now: u64,
) -> Result<(), Refused> {
    let mut node = *node;
    for signed in passes.as_slice() {
        if node == *root {
            return Ok(());
        }
        signed.check(network, &node, now)?;
        node = signed.pass.issuer;
    }
    if node == *root { Ok(()) } else { Err(Refused::NoChain) }
}

impl SignedAnnouncement {
    /// Signs what a node says of itself.
    #[must_use]
    pub fn sign(announcement: Announcement, secret: &NodeSecret) -> SignedAnnouncement {
        let signature = announcement.sign(secret);
        SignedAnnouncement { announcement, signature }
    }

    /// What the node says.
    #[must_use]
    pub fn announcement(&self) -> &Announcement {
        &self.announcement
    }

    /// Reads what came from anywhere.
    ///
    /// # Errors
    ///
    /// When it is no announcement.
    pub fn read(bytes: &[u8]) -> Result<SignedAnnouncement, Refused> {
        if bytes.len() > ANNOUNCEMENT_SIZE_MAX {
            let (length, max) = (bytes.len(), ANNOUNCEMENT_SIZE_MAX);
            return Err(Malformed::TooLong { length, max }.into());
        }
        Ok(decode(bytes)?)
    }

    /// Checks that its node has said it of this network a short time ago. `now` is in milliseconds
    /// since 1970.
    ///
    /// # Errors
    ///
    /// When it does not count here and now, whatever passes the node has.
    pub fn check(&self, network: &Hash, now: u64) -> Result<(), Refused> {
        let said = &self.announcement;
        if said.network != *network {
            return Err(Refused::OtherNetwork);
        }
        if said.issued > now.saturating_add(CLOCK_SKEW_MAX) {
            return Err(Refused::Future(said.issued.saturating_sub(now)));
        }
        let age = now.saturating_sub(said.issued);
        if age > ANNOUNCEMENT_AGE_MAX {
            return Err(Refused::Old(age));
        }
        if !said.is_signed(&said.node, &self.signature) {
            return Err(Refused::Signature(said.node));
        }
        Ok(())
    }

    /// Checks that passes lead from its node to the one that began the network, `root`.
    ///
    /// # Errors
    ///
    /// When one of them is missing, wrong or over.
    pub fn check_passes(&self, network: &Hash, root: &Hash, now: u64) -> Result<(), Refused> {
        let said = &self.announcement;
        check_passes(network, root, &said.node, &said.passes, now / 1000)
    }
}

impl Canonical for SignedAnnouncement {
    fn write(&self, out: &mut Vec<u8>) {
        self.announcement.write(out);
        self.signature.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let announcement = Announcement::read(reader)?;
        Ok(SignedAnnouncement { announcement, signature: NodeSignature::read(reader)? })
    }
}

#[cfg(test)]
mod tests;
