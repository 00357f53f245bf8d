//! Keep copies for others, within what the owner has pledged.
//!
//! Specified in `docs/spec/network.md`, section 11.
//!
//! Invariants:
//! - A lease is on the disk before its content is fetched, so that what was promised stays.
//! - What a lease led to is deleted once it has ended, unless something else leads to it.
//!
//! Not here: asking others (`rounds`).

use std::sync::Arc;
use std::time::Duration;

use network::frame;
use network::keep::{Answer, Keep, KeepCause, LEASE_SECONDS_MAX, QUESTION_SIZE_MAX, Question};
use network::messages::words;
use network::network::{Network, Stream};
use store::blobs::StoreError;
use store::cid::Cid;
use store::collect::collect_below;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use types::codec::encode;
use types::id::Hash;

use super::files::{LEASES_MAX, Lease};
use super::{Copies, State, tunnel, whole_size};
use crate::fetch::source::Source;
use crate::fetch::{self, Rules};
use crate::peers::now;

/// How long a copy may be on its way: a terabyte over a line of 100 Mbit/s. Whoever sends more slowly
/// keeps others from being served.
const FETCH_TIME_MAX: Duration = Duration::from_secs(24 * 3600);

type Refusal = (KeepCause, String);

/// The store's name of what a message names.
pub(super) fn cid_of(cid: &types::id::Cid) -> Option<Cid> {
    Cid::from_bytes(&encode(cid)).ok()
}

fn failed(error: &dyn std::fmt::Display) -> Refusal {
    tracing::error!(%error, "copies for others");
    (KeepCause::Failed, "its store failed".to_owned())
}

impl Copies {
    /// Answers what another node asks on a stream.
    pub(super) async fn serve(self: Arc<Self>, network: &Network, node: Hash, stream: &mut Stream) {
        let Ok(question) = frame::read::<Question>(stream, QUESTION_SIZE_MAX).await else {
            return;
        };
        let answered = self.answer(network, node, question).await;
        let answer = answered.unwrap_or_else(|(cause, why)| Answer::Refused(cause, words(&why)));
        // It hears it, or has gone.
        let _ = frame::write(stream, &answer).await;
    }

    async fn answer(
        self: &Arc<Self>,
        network: &Network,
        node: Hash,
        question: Question,
    ) -> Result<Answer, Refusal> {
        if !self.peers.is_member(&node) {
            let why = "say hello first: no announcement of yours counts here and now";
            return Err((KeepCause::Stranger, why.to_owned()));
        }
        match question {
            Question::Room => {
                let pledged = self.settings.pledge;
                Ok(Answer::Room { pledged, free: self.state().room(pledged) })
            }
            Question::Keep(keep) => self.keep(network, node, keep).await,
            Question::Release(cid) => {
                if let Some(cid) = cid_of(&cid) {
                    self.end(cid, node).await?;
                }
                Ok(Answer::Released)
            }
        }
    }

    async fn keep(
        self: &Arc<Self>,
        network: &Network,
        node: Hash,
        keep: Keep,
    ) -> Result<Answer, Refusal> {
        let cid = cid_of(&keep.cid);
        let cid = cid.ok_or_else(|| (KeepCause::Question, "its CID is none".to_owned()))?;
        let failure = self.state().failures.remove(&(cid, node));
        if let Some(why) = failure {
            return Err((KeepCause::Content, why));
        }
        let lease = self.grant(node, cid, &keep)?;
        let (files, blobs) = (self.settings.files.clone(), self.blobs.clone());
        let looking = tokio::task::spawn_blocking(move || {
            files.keep_lease(&lease).map_err(|error| failed(&error))?;
            whole_size(&blobs, cid).map_err(|error| failed(&error))
        });
        let found = looking.await.map_err(|error| failed(&error)).and_then(|found| found);
        match found {
            Ok(Some(size)) if size > keep.size => {
                self.end(cid, node).await?;
                let why = format!("it has {size} bytes, not {}", keep.size);
                Err((KeepCause::Content, why))
            }
            Ok(Some(_)) => Ok(Answer::Kept(keep.seconds)),
            Ok(None) => match self.begin(network, node, cid, &keep) {
                Ok(()) => Ok(Answer::Fetching),
                Err(refusal) => {
                    self.end(cid, node).await?;
                    Err(refusal)
                }
            },
            Err(refusal) => {
                self.end(cid, node).await?;
                Err(refusal)
            }
        }
    }

    /// Books the lease, if there is room.
    fn grant(&self, node: Hash, cid: Cid, keep: &Keep) -> Result<Lease, Refusal> {
        if self.settings.pledge == 0 {
            return Err((KeepCause::Pledge, "its owner has pledged no space".to_owned()));
        }
        if keep.seconds == 0 || keep.seconds > LEASE_SECONDS_MAX {
            let why = format!("a lease has 1 to {LEASE_SECONDS_MAX} seconds");
            return Err((KeepCause::Question, why));
        }
        let mut state = self.state();
        let same = state.leases.iter().filter(|((other, _), _)| *other == cid);
        let booked = same.map(|(_, lease)| lease.size).max().unwrap_or(0);
        let (needed, room) = (keep.size.saturating_sub(booked), state.room(self.settings.pledge));
        let is_full = state.leases.len() >= LEASES_MAX && !state.leases.contains_key(&(cid, node));
        if needed > room || is_full {
            let why = format!("{needed} bytes are needed, and {room} are free");
            return Err((KeepCause::Room, why));
        }
        let until = now().saturating_add(u64::from(keep.seconds) * 1000);
        let lease = Lease { cid, node, size: keep.size, until };
        state.leases.insert((cid, node), lease);
        state.ended.remove(&cid);
        Ok(lease)
    }

    /// Begins to fetch, unless that is being done.
    fn begin(
        self: &Arc<Self>,
        network: &Network,
        node: Hash,
        cid: Cid,
        keep: &Keep,
    ) -> Result<(), Refusal> {
        if !self.state().fetching.insert(cid) {
            return Ok(());
        }
        let Ok(turn) = self.fetches.clone().try_acquire_owned() else {
            self.state().fetching.remove(&cid);
            let why = "it fetches other copies now; ask again later";
            return Err((KeepCause::Busy, why.to_owned()));
        };
        let sources = keep.sources.as_slice().iter().filter(|it| **it != self.peers.me());
        let sources = std::iter::once(&node).chain(sources);
        let sources = sources.map(|it| tunnel::gateway(network, *it) as Arc<dyn Source>).collect();
        tokio::spawn(self.clone().fetch(node, cid, keep.size, sources, turn));
        Ok(())
    }

    async fn fetch(
        self: Arc<Self>,
        node: Hash,
        cid: Cid,
        size: u64,
        sources: Vec<Arc<dyn Source>>,
        turn: OwnedSemaphorePermit,
    ) {
        let blobs = self.blobs.clone();
        let holding = tokio::task::spawn_blocking(move || blobs.hold()).await;
        let outcome = match holding {
            Ok(Ok(_hold)) => {
                let rules = Rules { room: size, ..Rules::default() };
                let fetching = fetch::fetch(&self.blobs, cid, &sources, &rules, Arc::new(|_| ()));
                match timeout(FETCH_TIME_MAX, fetching).await {
                    Ok(fetched) => fetched.map(|_| ()).map_err(|error| error.to_string()),
                    Err(_) => Err("it takes longer than a day".to_owned()),
                }
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        self.state().fetching.remove(&cid);
        if let Err(why) = outcome {
            tracing::info!(%cid, %node, why, "a copy for another node is not fetched");
            self.state().fail(cid, node, why);
            // The reason was logged where that fails as well.
            let _ = self.end(cid, node).await;
        }
        drop(turn);
    }

    /// Ends a lease; what it led to is deleted in the next round.
    async fn end(&self, cid: Cid, node: Hash) -> Result<(), Refusal> {
        {
            let mut state = self.state();
            if state.leases.remove(&(cid, node)).is_none() {
                return Ok(());
            }
            if !state.leases.keys().any(|(other, _)| *other == cid) {
                state.ended.insert(cid);
            }
        }
        let files = self.settings.files.clone();
        let ending = tokio::task::spawn_blocking(move || files.end_lease(&cid, &node)).await;
        ending.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }

    /// Ends the leases whose time is over, and deletes what no lease leads to any more.
    pub(super) async fn clear(self: &Arc<Self>, now: u64) {
        let over: Vec<(Cid, Hash)> = {
            let state = self.state();
            let over = state.leases.values().filter(|lease| lease.until <= now);
            over.map(|lease| (lease.cid, lease.node)).collect()
        };
        for (cid, node) in over {
            // Tried again in the next round by whoever reads the file: its time stays over.
            let _ = self.end(cid, node).await;
        }
        let ended: Vec<Cid> = self.state().ended.iter().copied().collect();
        for cid in ended {
            if self.state().fetching.contains(&cid) {
                continue;
            }
            let copies = self.clone();
            let deleting = tokio::task::spawn_blocking(move || copies.delete(cid)).await;
            match deleting {
                Ok(Ok(())) => {
                    self.state().ended.remove(&cid);
                }
                // Somebody adds to the store; the next round tries again.
                Ok(Err(error)) => tracing::debug!(%cid, %error, "a copy is not deleted yet"),
                Err(error) => tracing::error!(%error, "copies for others"),
            }
        }
    }

    fn delete(&self, cid: Cid) -> Result<(), StoreError> {
        let collected = collect_below(&self.blobs, cid, || {
            let models = self.settings.models.roots(&self.blobs).map_err(|error| {
                tracing::error!(%error, "the models cannot be read, so nothing is deleted");
                StoreError::Held
            })?;
            Ok(models.into_iter().chain(self.state().leases.keys().map(|(cid, _)| *cid)).collect())
        })?;
        tracing::info!(%cid, bytes = collected.bytes, "a copy for another node is deleted");
        Ok(())
    }
}

impl State {
    /// Bytes that are free for others.
    fn room(&self, pledged: u64) -> u64 {
        let mut sizes = std::collections::BTreeMap::<Cid, u64>::new();
        for ((cid, _), lease) in &self.leases {
            let size = sizes.entry(*cid).or_default();
            *size = lease.size.max(*size);
        }
        let taken = sizes.values().fold(0u64, |sum, size| sum.saturating_add(*size));
        pledged.saturating_sub(taken).min(self.spare)
    }
}

#[cfg(test)]
mod tests;
