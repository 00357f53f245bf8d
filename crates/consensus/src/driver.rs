//! Answers what Malachite asks, from the application.
//!
//! Invariants:
//! - A block is on the disk before this node votes for it, and decided in the application before the
//!   next height begins.
//! - A height whose block was decided and is not here begins again without its journal, and only after
//!   the node has bound itself to say nothing more at it.
//! - A block for a height that the application has not reached waits (at most `PARKED_MAX` do): it
//!   cannot be checked against a parent that is not there.
//!
//! Not here: the protocol and sockets, which are Malachite's; clock and files (`machine`).

use std::io;
use std::time::Duration;

use malachite::{AppMsg, NetworkMsg};
use malachite_app::types::streaming::StreamMessage;
use malachite_app::types::{LocallyProposedValue, PeerId, ProposedValue};
use malachite_consensus::MisbehaviorEvidence;
use malachite_engine::host::{Next, SyncedValueOutcome};
use malachite_engine::util::streaming::StreamContent;
use malachite_sync::RawDecidedValue;
use malachite_types::{
    CommitCertificate, ExtendedCommitCertificate, HeightParams, LinearTimeouts, Round,
    SignedProposal, SignedVote, Validity, VoteExtensions,
};
use tokio::sync::mpsc::{Receiver, Sender};
use types::agreement::Certificate;
use types::evidence::Evidence;

use crate::application::{Application, Fault, Outline, Unfit};
use crate::codec::{SYNC_MAX, certificate, decided};
use crate::context::{Head, Height, Mashaa, Name, Part, Sealed, Validators, Value};
use crate::machine::Machine;
use crate::parts::{BLOCK_SIZE_MAX, Streams, Whole, cut, digest};
use crate::signing::Keys;
use crate::undecided::Undecided;

/// Blocks of later heights that wait, at most.
const PARKED_MAX: usize = 8;
/// Heights that a block may be ahead of the next: a node that catches up takes part again when it is
/// this near. Malachite keeps votes of ten heights.
const AHEAD_MAX: u64 = 8;
/// Bytes of one answer to a node that catches up, at most.
const SYNC_SIZE_MAX: usize = 8 << 20;
/// How long a proposer has in a height's first round, and how much longer in each further one.
const PROPOSE: Duration = Duration::from_millis(1000);
/// How long votes are waited for when two thirds of the power have voted for different things.
const VOTE: Duration = Duration::from_millis(500);
const LONGER: Duration = Duration::from_millis(500);

pub(crate) struct Driver<A, M> {
    app: A,
    keys: Keys,
    me: Name,
    network: Sender<NetworkMsg<Mashaa>>,
    machine: M,
    streams: Streams,
    undecided: Undecided,
    parked: Vec<Whole>,
}

fn disk(error: io::Error) -> Fault {
    Fault(format!(
        "a file of the agreement could not be written: {error}; free the disk and start again"
    ))
}

impl<A: Application, M: Machine> Driver<A, M> {
    pub(crate) fn new(
        app: A,
        keys: Keys,
        mut machine: M,
        network: Sender<NetworkMsg<Mashaa>>,
    ) -> io::Result<Driver<A, M>> {
        let (undecided, parked) = Undecided::open(&mut machine, app.height())?;
        // Malachite asks for its first height before it says anything.
        keys.silence.open(&machine)?;
        let me = keys.secret.key().into();
        let streams = Streams::default();
        Ok(Driver { app, keys, me, network, machine, streams, undecided, parked })
    }

    pub(crate) fn app(&self) -> &A {
        &self.app
    }

    /// Answers until Malachite ends, or the node cannot go on.
    pub(crate) fn run(mut self, mut questions: Receiver<AppMsg<Mashaa>>) -> Result<(), Fault> {
        while let Some(question) = questions.blocking_recv() {
            self.answer(question)?;
        }
        Ok(())
    }

    /// An answer that nobody waits for any more is dropped: Malachite is ending.
    pub(crate) fn answer(&mut self, question: AppMsg<Mashaa>) -> Result<(), Fault> {
        match question {
            AppMsg::ConsensusReady { reply } => {
                let _ = reply.send((self.next(), self.parameters()));
            }
            AppMsg::StartedRound { height, round, reply_value, .. } => {
                let _ = reply_value.send(self.seen(height, round)?);
            }
            AppMsg::GetValue { height, round, reply, .. } => {
                let head = self.propose(height, round)?;
                let _ = reply.send(LocallyProposedValue::new(height, round, Value(head.block)));
                self.stream(&head.block, &head)?;
            }
            AppMsg::RestreamProposal { height, round, valid_round, value_id, .. } => {
                self.restream(height, round, valid_round, value_id)?;
            }
            AppMsg::ReceivedProposalPart { from, published_by, part, reply } => {
                let _ = reply.send(self.received(published_by.unwrap_or(from), part)?);
            }
            AppMsg::Decided { certificate, extensions, reply } => {
                // Without an answer Malachite tells no other node that this one has the block.
                if self.commit(certificate, extensions)? {
                    let _ = reply.send(());
                }
            }
            AppMsg::Finalized { certificate, extensions, evidence, reply } => {
                self.accuse(&evidence);
                let height = certificate.height;
                if let Some(fuller) = sealed(certificate, extensions) {
                    self.app.certify(fuller);
                }
                self.begin_next(height, reply)?;
            }
            AppMsg::GetHistoryMinHeight { reply } => {
                let _ = reply.send(Height(self.app.first()));
            }
            AppMsg::GetDecidedValues { range, reply } => {
                let _ = reply.send(self.decided(range.start().0, range.end().0)?);
            }
            AppMsg::ProcessSyncedValue { height, round, proposer, value_bytes, reply } => {
                let _ = reply.send(self.synced(height, round, proposer, value_bytes.to_vec())?);
            }
            AppMsg::ExtendVote { reply, .. } => {
                let _ = reply.send(None);
            }
            AppMsg::VerifyVoteExtensions { extensions, reply, .. } => {
                let refused = malachite_consensus::VoteExtensionError::InvalidVoteExtension;
                let verdicts = extensions.into_iter().map(|(of, _)| (of, Err(refused.clone())));
                let _ = reply.send(verdicts.collect());
            }
        }
        Ok(())
    }

    fn next(&self) -> Height {
        Height(self.app.height().saturating_add(1))
    }

    fn parameters(&self) -> HeightParams<Mashaa> {
        let timeouts = LinearTimeouts {
            propose: PROPOSE,
            propose_delta: LONGER,
            prevote: VOTE,
            prevote_delta: LONGER,
            precommit: VOTE,
            precommit_delta: LONGER,
            ..LinearTimeouts::default()
        };
        let validators = Validators::new(&self.app.validators());
        HeightParams::new(validators, timeouts, Some(self.gathering()))
    }

    /// How long the next height lasts, at least: until the block after it is due. A node that is
    /// behind does not wait for late votes, or it would stay behind for ever.
    fn gathering(&self) -> Duration {
        let interval = self.app.interval();
        let end = Duration::from_millis(self.app.due()).saturating_add(interval);
        end.saturating_sub(Duration::from_millis(self.machine.now())).min(interval)
    }

    /// Checks what waited for this height; gives what is known for the round.
    fn seen(&mut self, height: Height, round: Round) -> Result<Vec<ProposedValue<Mashaa>>, Fault> {
        let next = self.next();
        let (now, later) = self.parked.drain(..).partition(|block| block.head.height <= next);
        self.parked = later;
        for block in now {
            self.accept(block)?;
        }
        let of_round = |head: &Head| head.height == height && head.round == round;
        let seen = self.undecided.iter().filter(|kept| of_round(&kept.block.head));
        Ok(seen.map(|kept| proposed(&kept.block.head, kept.is_good)).collect())
    }

    fn propose(&mut self, height: Height, round: Round) -> Result<Head, Fault> {
        if height != self.next() {
            let text =
                format!("a block for height {height} was asked for after {}", self.app.height());
            return Err(Fault(text));
        }
        let proposal = self.app.propose(self.machine.now(), &self.keys.secret)?;
        let head = self.head(height, round, Round::Nil, proposal.id.into(), &proposal.bytes);
        let block = Whole { head: head.clone(), bytes: proposal.bytes };
        self.undecided.keep(&mut self.machine, block, true).map_err(disk)?;
        Ok(head)
    }

    fn head(
        &self,
        height: Height,
        round: Round,
        valid_round: Round,
        block: Name,
        bytes: &[u8],
    ) -> Head {
        let (length, digest) = (u32::try_from(bytes.len()).unwrap_or(u32::MAX), digest(bytes));
        let signature = Sealed([0; 64]);
        let proposer = self.me;
        self.keys.sign_head(Head {
            height,
            round,
            valid_round,
            proposer,
            block,
            length,
            digest,
            signature,
        })
    }

    fn restream(
        &mut self,
        height: Height,
        round: Round,
        valid_round: Round,
        block: Name,
    ) -> Result<(), Fault> {
        let Some(kept) = self.undecided.get(&block) else { return Ok(()) };
        let head = self.head(height, round, valid_round, block, &kept.block.bytes);
        self.stream(&block, &head)
    }

    /// Sends a block to the other nodes.
    fn stream(&self, block: &Name, head: &Head) -> Result<(), Fault> {
        if self.app.validators().len() <= 1 || self.keys.silence.covers(head.height) {
            // Nobody else votes, and the others get the block when it is decided; or it has no proposal.
            return Ok(());
        }
        let Some(kept) = self.undecided.get(block) else { return Ok(()) };
        for part in cut(head, &kept.block.bytes) {
            let sent = self.network.blocking_send(NetworkMsg::PublishProposalPart(part));
            sent.map_err(|_| Fault("the network has ended".to_owned()))?;
        }
        Ok(())
    }

    fn received(
        &mut self,
        sender: PeerId,
        message: StreamMessage<Part>,
    ) -> Result<Option<ProposedValue<Mashaa>>, Fault> {
        if let StreamContent::Data(Part::Gossip(bytes)) = message.content {
            self.app.received(bytes);
            return Ok(None);
        }
        let (next, keys) = (self.next(), &self.keys);
        let validators = Validators::new(&self.app.validators());
        let is_wanted = |head: &Head| {
            let is_near = head.height >= next && head.height.0 <= next.0.saturating_add(AHEAD_MAX);
            // Who proposes at a later height is known when it comes; the validators are nearly the same.
            let by = match head.height == next {
                true => validators.proposer(head.height, head.round).map(|it| it.key()),
                false => Some(head.proposer),
            };
            is_near && by == Some(head.proposer) && keys.is_signed_head(head)
        };
        match self.streams.add(sender, message, is_wanted) {
            Some(block) => self.accept(block),
            None => Ok(None),
        }
    }

    /// Takes in a whole block: checks it, or lets it wait for its height.
    fn accept(&mut self, block: Whole) -> Result<Option<ProposedValue<Mashaa>>, Fault> {
        let (next, head) = (self.next(), &block.head);
        if head.height > next {
            self.parked.push(block);
            if self.parked.len() > PARKED_MAX {
                // The nearest are needed first.
                self.parked.sort_by_key(|block| block.head.height);
                self.parked.truncate(PARKED_MAX);
            }
            return Ok(None);
        }
        if head.height < next {
            return Ok(None);
        }
        let is_good = self.check(&block)?;
        let value = proposed(head, is_good);
        if is_good {
            self.undecided.keep(&mut self.machine, block, is_good).map_err(disk)?;
        }
        Ok(Some(value))
    }

    /// Whether a block may be decided at the next height.
    fn check(&mut self, block: &Whole) -> Result<bool, Fault> {
        let head = &block.head;
        let Some(outline) = self.app.read(&block.bytes) else { return Ok(false) };
        // A block that was made in an earlier round may be proposed again by another.
        let is_own = head.valid_round.is_defined() || outline.proposer == head.proposer.into();
        if outline.id != head.block.into() || !is_own {
            return Ok(false);
        }
        match self.app.check(self.machine.now(), &block.bytes) {
            Ok(_) => Ok(true),
            Err(Unfit::Rejected(reason)) => {
                tracing::warn!(height = head.height.0, proposer = %head.proposer, reason, "block rejected");
                Ok(false)
            }
            Err(Unfit::Fault(fault)) => Err(fault),
        }
    }

    /// Whether the block is here, and so is final now.
    fn commit(
        &mut self,
        decision: CommitCertificate<Mashaa>,
        extensions: VoteExtensions<Mashaa>,
    ) -> Result<bool, Fault> {
        if decision.height < self.next() {
            return Ok(true);
        }
        let Some(kept) = self.undecided.get(&decision.value_id) else {
            // It was held in memory only, or its file was lost. Another node sends it.
            tracing::warn!(height = decision.height.0, "a block was decided that is not here");
            return Ok(false);
        };
        let full = sealed(decision, extensions);
        let full = full.ok_or_else(|| Fault("a block was decided in no round".to_owned()))?;
        self.app.commit(&kept.block.bytes, &full)?;
        self.undecided.clear(&mut self.machine).map_err(disk)?;
        self.streams.tidy(full.height.0);
        Ok(true)
    }

    /// Begins the next height when it is due, or this one again if its block was not committed.
    fn begin_next(
        &mut self,
        height: Height,
        reply: malachite::Reply<Next<Mashaa>>,
    ) -> Result<(), Fault> {
        let parameters = self.parameters();
        if self.app.height() < height.0 {
            self.forget(height)?;
            let _ = reply.send(Next::Restart(height, parameters));
            return Ok(());
        }
        let next = Next::Start(self.next(), parameters);
        let wait = Duration::from_millis(self.app.due().saturating_sub(self.machine.now()));
        let begin = move || {
            let _ = reply.send(next);
        };
        self.machine.after(wait, Box::new(begin));
        Ok(())
    }

    /// Makes ready for a height that was decided to begin again: Malachite empties its journal, and
    /// knows no more what this node has said at the height.
    fn forget(&mut self, height: Height) -> Result<(), Fault> {
        if self.app.validators().len() <= 1 {
            return Err(Fault(format!(
                "block {} was decided by this node alone and its bytes are lost; bring back the \
                 folder ledger/agreement of the home, or remove it to decide another block",
                height.0
            )));
        }
        self.keys.silence.keep(&mut self.machine, height).map_err(disk)
    }

    fn decided(&self, first: u64, last: u64) -> Result<Vec<RawDecidedValue<Mashaa>>, Fault> {
        let (mut values, mut size) = (vec![], 0usize);
        for height in (first..=last).take(SYNC_MAX) {
            let Some((block, certificate)) = self.app.decided(height)? else { break };
            size = size.saturating_add(block.len());
            if size > SYNC_SIZE_MAX && !values.is_empty() {
                break;
            }
            values.push(decided(block, &certificate));
        }
        Ok(values)
    }

    /// Takes in a block that was decided without this node. Its certificate names it, so that here
    /// only its bytes need be its own.
    fn synced(
        &mut self,
        height: Height,
        round: Round,
        proposer: Name,
        bytes: Vec<u8>,
    ) -> Result<SyncedValueOutcome<Mashaa>, Fault> {
        let fits = |it: &Outline| it.height == height.0 && bytes.len() <= BLOCK_SIZE_MAX;
        let Some(outline) = self.app.read(&bytes).filter(fits) else {
            return Ok(SyncedValueOutcome::PeerFault);
        };
        let head =
            Head { proposer, ..self.head(height, round, Round::Nil, outline.id.into(), &bytes) };
        let value = proposed(&head, true);
        self.undecided.hold(&mut self.machine, Whole { head, bytes }).map_err(disk)?;
        Ok(SyncedValueOutcome::Verdict(value))
    }

    /// Gives the application what Malachite saw of validators that contradicted themselves.
    fn accuse(&mut self, evidence: &MisbehaviorEvidence<Mashaa>) {
        let mut found = vec![];
        for (of, pairs) in evidence.votes.iter() {
            let sign = |vote: &SignedVote<Mashaa>| {
                Some((self.keys.of_vote(&vote.message)?, vote.signature.into()))
            };
            found.extend(pairs.iter().filter_map(|(first, second)| {
                Evidence::new((*of).into(), &sign(first)?, &sign(second)?)
            }));
        }
        for (of, pairs) in evidence.proposals.iter() {
            let sign = |proposal: &SignedProposal<Mashaa>| {
                Some((self.keys.of_proposal(&proposal.message)?, proposal.signature.into()))
            };
            found.extend(pairs.iter().filter_map(|(first, second)| {
                Evidence::new((*of).into(), &sign(first)?, &sign(second)?)
            }));
        }
        found.into_iter().for_each(|evidence| self.app.accuse(evidence));
    }
}

/// A decision as the ledger keeps it.
fn sealed(
    decision: CommitCertificate<Mashaa>,
    extensions: VoteExtensions<Mashaa>,
) -> Option<Certificate> {
    let full =
        ExtendedCommitCertificate::from_commit_certificate_and_extensions(decision, extensions);
    certificate(&full)
}

/// What Malachite is told of a block.
fn proposed(head: &Head, is_good: bool) -> ProposedValue<Mashaa> {
    ProposedValue {
        height: head.height,
        round: head.round,
        valid_round: head.valid_round,
        proposer: head.proposer,
        value: Value(head.block),
        validity: Validity::from_bool(is_good),
    }
}
