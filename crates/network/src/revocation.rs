//! Passes that were taken back.
//!
//! Whoever let a node in, or let in one of those who did, can say that its passes no longer count.
//! Specified in `docs/spec/network.md`, section 10.
//!
//! Invariants:
//! - A revocation counts only against passes that its maker, or someone whom its maker let in, gave.
//! - At most `REVOCATIONS_MAX` are kept; those of nodes nearer to the one that began the network stay.
//!
//! Not here: disks and connections, which are the node's.

use std::collections::BTreeMap;

use types::id::Hash;
use types::node_key::{NodeSecret, NodeSignature, NodeSigned};

use crate::membership::{PASS_TIME_MAX, PASSES_MAX, Passes, Refused, check_passes};

/// Revocations that are kept at once, at most: the file of them stays under a mebibyte.
pub const REVOCATIONS_MAX: usize = 512;
/// Revocations of one maker, at most, so that no member takes all the room.
pub const REVOCATIONS_PER_NODE_MAX: usize = 32;
/// Bytes of one, at most.
pub const REVOCATION_SIZE_MAX: usize = 3 * 32 + 8 + 4 + PASSES_MAX * 168 + 64;

types::record! {
    /// That a node's passes no longer count, unsigned.
    Revocation {
        /// The network.
        network: Hash,
        /// The node that is no longer let in.
        node: Hash,
        /// The node that says so.
        maker: Hash,
        /// Passes that end by then no longer count, in seconds since 1970.
        until: u64,
        /// Why the maker belongs.
        passes: Passes,
    }
}

types::record! {
    /// A revocation with its maker's signature.
    SignedRevocation {
        /// The revocation.
        revocation: Revocation,
        /// By the maker.
        signature: NodeSignature,
    }
}

impl NodeSigned for Revocation {
    const TAG: &'static [u8] = b"mashaa/network/revocation/v1";
}

impl SignedRevocation {
    /// Signs a revocation.
    #[must_use]
    pub fn sign(revocation: Revocation, secret: &NodeSecret) -> SignedRevocation {
        let signature = revocation.sign(secret);
        SignedRevocation { revocation, signature }
    }

    /// Checks what came from anywhere. `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// When it does not count here and now.
    pub fn check(&self, network: &Hash, root: &Hash, now: u64) -> Result<(), Refused> {
        let said = &self.revocation;
        if said.network != *network {
            return Err(Refused::OtherNetwork);
        }
        if said.until <= now {
            return Err(Refused::Expired);
        }
        if said.until > now.saturating_add(PASS_TIME_MAX) {
            return Err(Refused::TooLong);
        }
        if !said.is_signed(&said.maker, &self.signature) {
            return Err(Refused::Signature(said.maker));
        }
        check_passes(network, root, &said.maker, &said.passes, now)
    }

    /// How far its maker is from the node that began the network.
    fn distance(&self) -> usize {
        self.revocation.passes.as_slice().len()
    }
}

/// The revocations that count, by the node that they are about and their maker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revocations(BTreeMap<(Hash, Hash), SignedRevocation>);

impl Revocations {
    /// Whether nothing is new in a revocation.
    #[must_use]
    pub fn has(&self, other: &Revocation) -> bool {
        let held = self.0.get(&(other.node, other.maker));
        held.is_some_and(|it| it.revocation.until >= other.until)
    }

    /// Keeps a revocation that was checked, and forgets those that are over. `now` is in seconds since
    /// 1970.
    ///
    /// # Errors
    ///
    /// When there is no room for it, or its maker's passes were taken back.
    pub fn keep(&mut self, signed: SignedRevocation, now: u64) -> Result<(), Refused> {
        let said = &signed.revocation;
        self.check(&said.maker, &said.passes)?;
        self.0.retain(|_, it| it.revocation.until > now);
        let key = (said.node, said.maker);
        if !self.0.contains_key(&key) {
            let of_maker = self.0.keys().filter(|(_, maker)| *maker == said.maker).count();
            if of_maker >= REVOCATIONS_PER_NODE_MAX {
                return Err(Refused::TooMany);
            }
            if self.0.len() >= REVOCATIONS_MAX {
                let furthest = self.0.iter().max_by_key(|(_, it)| it.distance());
                let furthest = furthest.filter(|(_, it)| it.distance() > signed.distance());
                let furthest = furthest.map(|(key, _)| *key).ok_or(Refused::TooMany)?;
                self.0.remove(&furthest);
            }
        }
        self.0.insert(key, signed);
        // What a node took back that no longer belongs counts against nobody any more.
        let standing = self.clone();
        self.0.retain(|_, it| standing.check(&it.revocation.maker, &it.revocation.passes).is_ok());
        Ok(())
    }

    /// Checks that no pass of a chain was taken back by its issuer or by one above that.
    ///
    /// # Errors
    ///
    /// When one was.
    pub fn check(&self, node: &Hash, passes: &Passes) -> Result<(), Refused> {
        let passes = passes.as_slice();
        let mut node = *node;
        for (index, signed) in passes.iter().enumerate() {
            for above in passes.iter().skip(index) {
                let maker = above.pass.issuer;
                let held = self.0.get(&(node, maker)).map(|it| it.revocation.until);
                if held.is_some_and(|until| signed.pass.expires <= until) {
                    return Err(Refused::Revoked { node, maker });
                }
            }
            node = signed.pass.issuer;
        }
        Ok(())
    }

    /// Until when passes of a node are taken back by anyone, in seconds since 1970.
    #[must_use]
    pub fn until(&self, node: &Hash) -> Option<u64> {
        let about = self.0.values().filter(|it| it.revocation.node == *node);
        about.map(|it| it.revocation.until).max()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &SignedRevocation> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests;
