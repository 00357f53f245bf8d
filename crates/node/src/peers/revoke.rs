//! Passes that are taken back: by this node's owner, and by others.
//!
//! Invariants:
//! - A revocation is on the disk before anyone is told of it.
//! - Whoever no longer belongs is told so, and then left.
//!
//! Not here: whose word counts (`network::revocation`).

use std::sync::Arc;

use futures_util::AsyncWriteExt as _;
use network::frame;
use network::membership::{PASS_TIME, PASS_TIME_MAX, Passes, Refused};
use network::messages::{REVOKED_SIZE_MAX, Revoked};
use network::network::{Network, Purpose, Stream};
use network::revocation::{Revocation, SignedRevocation};
use tokio::time::timeout;
use types::bounded::List;
use types::id::Hash;

use super::files::FilesError;
use super::{HELLO_TIME_MAX, Peers, now};

/// Why a pass is not taken back.
#[derive(Debug, thiserror::Error)]
pub enum RevokeError {
    /// It is this node.
    #[error("this is the node itself; to leave, end it")]
    Itself,
    /// It is where the network of machines began.
    #[error("the network of machines began with this node; no pass lets it in")]
    Root,
    /// Another let it in.
    #[error("this node did not let {node} in; these can take its pass back: {issuers}")]
    Others {
        /// Who.
        node: Hash,
        /// Who can.
        issuers: String,
    },
    /// It counts for nothing, or there is no room for it.
    #[error("the pass is not taken back: {0}")]
    Refused(#[from] Refused),
    /// It cannot be kept.
    #[error("the revocation could not be kept on the disk, and nobody was told of it")]
    Files(#[from] FilesError),
}

impl Peers {
    /// Takes a node's passes back that this one gave, or one that this one let in: from now on none of
    /// them that ends by the time that is given counts, in seconds since 1970. Whether it is one of
    /// those is known only of a node that was heard of; that is given too.
    ///
    /// # Errors
    /// When this node may not, or the disk fails.
    pub fn revoke(self: &Arc<Peers>, node: Hash) -> Result<(u64, bool), RevokeError> {
        let (seconds, me, member) = (now() / 1000, self.me(), self.member());
        if node == me {
            return Err(RevokeError::Itself);
        }
        if node == member.root {
            return Err(RevokeError::Root);
        }
        let known = self.state().said_by(&node).map(|it| it.announcement().passes.clone());
        let (is_known, known) = (known.is_some(), known.unwrap_or_default());
        check_issuers(&me, &node, &known)?;
        let ends = known.as_slice().first().map_or(0, |it| it.pass.expires);
        let until = ends.clamp(seconds + PASS_TIME, seconds + PASS_TIME_MAX);
        let (network, passes) = (self.settings.network, member.passes);
        let revocation = Revocation { network, node, maker: me, until, passes };
        let signed = SignedRevocation::sign(revocation, &self.settings.secret);
        signed.check(&network, &member.root, seconds)?;
        self.take_back(signed)?;
        Ok((until, is_known))
    }

    /// Takes in a revocation that was checked, and leaves whoever falls by it.
    fn take_back(self: &Arc<Peers>, signed: SignedRevocation) -> Result<(), RevokeError> {
        let Revocation { node, maker, .. } = signed.revocation;
        let fallen = {
            // Held while the disk is written, so that no other revocation is lost in between.
            let mut state = self.state();
            let mut all = state.revocations().clone();
            all.keep(signed, now() / 1000)?;
            self.settings.files.set_revocations(all.iter().cloned().collect())?;
            state.take_back(all)
        };
        tracing::info!(%node, %maker, fallen = fallen.len(), "passes were taken back");
        if let Some(network) = self.network() {
            fallen.into_iter().for_each(|node| self.leave(network, node));
        }
        Ok(())
    }

    /// Tells a node why, and ends the connections to it.
    fn leave(self: &Arc<Peers>, network: &Network, node: Hash) {
        let (peers, network) = (self.clone(), network.clone());
        tokio::spawn(async move {
            peers.tell_revoked(&network, node).await;
            network.disconnect(node).await;
        });
    }

    /// Tells members that are connected what they have not been told.
    pub(super) fn tell_all_revoked(self: &Arc<Peers>, network: &Network) {
        let untold = self.state().untold(now());
        for node in untold {
            let (peers, network) = (self.clone(), network.clone());
            tokio::spawn(async move { peers.tell_revoked(&network, node).await });
        }
    }

    async fn tell_revoked(&self, network: &Network, node: Hash) {
        let known: Vec<SignedRevocation> = self.state().revocations().iter().cloned().collect();
        let known = List::new(known).unwrap_or_default();
        let tell = async {
            let mut stream = network.open(node, Purpose::Revoked).await.ok()?;
            frame::write(&mut stream, &Revoked { known }).await.ok()?;
            stream.close().await.ok()
        };
        // Whoever did not hear it hears it with the next connection.
        let _ = timeout(HELLO_TIME_MAX, tell).await;
    }

    /// Takes in what another node knows, up to the first that counts for nothing.
    pub(super) async fn hear_revoked(self: &Arc<Peers>, stream: &mut Stream) -> Option<()> {
        let said: Revoked = frame::read(stream, REVOKED_SIZE_MAX).await.ok()?;
        for signed in said.known.as_slice() {
            if self.state().has_taken_back(signed) {
                continue;
            }
            let checked = signed.check(&self.settings.network, &self.root(), now() / 1000);
            let taken = checked.map_err(RevokeError::Refused);
            if let Err(error) = taken.and_then(|()| self.take_back(signed.clone())) {
                tracing::debug!(%error, "a revocation is refused");
                return None;
            }
            // Others have their turn: each costs some checks of signatures.
            tokio::task::yield_now().await;
        }
        Some(())
    }

    /// Ends the connections to a node whose passes were taken back, once it has said hello.
    pub(super) fn leave_if_revoked(self: &Arc<Peers>, node: Hash, why: &Refused) {
        if let (Refused::Revoked { .. }, Some(network)) = (why, self.network()) {
            self.leave(network, node);
        }
    }
}

/// Whether a node is one of those that let another in, as far as its passes are known.
fn check_issuers(me: &Hash, node: &Hash, passes: &Passes) -> Result<(), RevokeError> {
    let issuers: Vec<Hash> = passes.as_slice().iter().map(|it| it.pass.issuer).collect();
    if issuers.is_empty() || issuers.contains(me) {
        return Ok(());
    }
    let issuers: Vec<String> = issuers.iter().map(Hash::to_string).collect();
    Err(RevokeError::Others { node: *node, issuers: issuers.join(" ") })
}
