//! One node: Malachite's state machine, its journal of votes, and the driver.
//!
//! Does what Malachite's actors for consensus, journal and catching up do, in their order
//! (`arc-malachitebft-engine` 0.8.2, `consensus.rs`), but for their queues.
//!
//! Invariants:
//! - A vote is in the journal, and the journal on the disk, before the vote is sent.
//! - Time is the machine's: Malachite's own clock bounds only how long a height lasts, which is
//!   computed again here.
//!
//! Not here: what the messages mean (`driver`), and who gets them (`sim`).

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use malachite::{AppMsg, NetworkMsg, Reply, Signer};
use malachite_app::metrics::Metrics;
use malachite_app::types::PeerId;
use malachite_consensus::{
    ConsensusMsg, Effect, Input, LivenessMsg, Params, Resumable, Resume, SignedConsensusMsg, State,
    process,
};
use malachite_engine::host::{Next, SyncedValueOutcome};
use malachite_engine::wal::{decode_entry, encode_entry};
use malachite_signing::{Verifier, VerifierExt};
use malachite_sync::{Request, Response, Status, ValueRequest};
use malachite_types::{
    CertificateError, Height as _, HeightParams, LinearTimeouts, Timeout, TimeoutKind,
    ValidatorSet as _, Value as _, ValueOrigin, ValuePayload, ValueResponse,
};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::oneshot;
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::application::{Application, Fault};
use crate::codec::Wire;
use crate::context::{Height, Mashaa, Name};
use crate::driver::Driver;
use crate::machine::Machine;
use crate::signing::Keys;
use crate::simulated::message::Message;

/// Pieces that one call of the driver may send: a block's, with room to spare.
const PIECES_MAX: usize = 256;
/// Heights of votes that are kept for later, and votes of each: Malachite's own defaults are alike.
const QUEUED_MAX: usize = 10;
const QUEUED_OF_HEIGHT_MAX: usize = 1000;
/// How often a node tells its height, in milliseconds.
const STATUS: u64 = 1000;
/// Blocks that are asked for at once.
const BATCH: u64 = 5;
/// How long an answer is waited for, in milliseconds.
const PATIENCE: u64 = 3000;
/// Longer than any run: how long a height lasts is decided by the machine's clock.
const EVER: Duration = Duration::from_secs(1 << 40);

/// The file in which Malachite keeps what it must not contradict after a crash.
pub trait Journal {
    /// Begins a height: gives what the journal has of it, or empties it if it is of another.
    fn begin(&mut self, height: u64) -> Vec<Vec<u8>>;

    /// Empties the journal for a height.
    fn reset(&mut self, height: u64);

    /// Adds an entry.
    fn append(&mut self, entry: Vec<u8>);

    /// Writes the entries to the disk; false if the disk has failed.
    #[must_use]
    fn flush(&mut self) -> bool;
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Send a message to all other nodes.
    Send(Vec<u8>),
    /// Send a message to one node.
    SendTo(Hash, Vec<u8>),
    /// Call `wake` with the number after so many milliseconds.
    Wake(u64, u64),
}

/// A node.
pub struct Replica<A, M> {
    core: State<Mashaa>,
    metrics: Metrics,
    shell: Shell<A, M>,
}

/// All of a node but the protocol.
struct Shell<A, M> {
    driver: Driver<A, M>,
    machine: M,
    keys: Keys,
    pieces: Receiver<NetworkMsg<Mashaa>>,
    inputs: VecDeque<Input<Mashaa>>,
    wishes: Vec<Wish>,
    /// What to do when, by number.
    timers: BTreeMap<u64, Timer>,
    timer_next: u64,
    timeouts: LinearTimeouts,
    /// How long the height lasts, at least, and since when, in milliseconds.
    interval: u64,
    began: u64,
    is_validator: bool,
    is_recovering: bool,
    next: Option<oneshot::Receiver<Next<Mashaa>>>,
    /// Blocks of later heights that were asked for.
    synced: BTreeMap<u64, ValueResponse<Mashaa>>,
    /// When blocks were asked for, and not yet sent.
    asked: Option<u64>,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Timeout(Timeout),
    Status,
}

impl<A: fmt::Debug, M> fmt::Debug for Replica<A, M> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Replica at height {}", self.core.height())
    }
}

/// The value of a future that waits for nothing: signatures are made and checked at once.
fn at_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A node's name among peers.
fn peer(key: &Hash) -> Option<PeerId> {
    // The multihash of 32 bytes that stand for themselves.
    PeerId::from_bytes(&[&[0, 32], key.0.as_slice()].concat()).ok()
}

/// What a certificate gets that could not be checked at once, which does not occur.
fn unchecked() -> CertificateError<Mashaa> {
    CertificateError::NotEnoughVotingPower { signed: 0, total: 0, expected: 0 }
}

fn bug(what: impl fmt::Display) -> Fault {
    Fault(format!("the agreement failed: {what}"))
}

impl<A: Application, M: Machine + Journal + Clone> Replica<A, M> {
    /// Starts a node with what its machine's disk has.
    ///
    /// # Errors
    ///
    /// When the node cannot go on.
    pub fn start(
        app: A,
        network: Hash,
        secret: NodeSecret,
        machine: M,
    ) -> Result<Replica<A, M>, Fault> {
        let (sender, pieces) = channel(PIECES_MAX);
        let keys = Keys::new(network, secret);
        let driver = Driver::new(app, keys.clone(), machine.clone(), sender).map_err(bug)?;
        let mut shell = Shell {
            driver,
            machine,
            keys,
            pieces,
            inputs: VecDeque::new(),
            wishes: vec![],
            timers: BTreeMap::new(),
            timer_next: 0,
            timeouts: LinearTimeouts::default(),
            interval: 0,
            began: 0,
            is_validator: false,
            is_recovering: false,
            next: None,
            synced: BTreeMap::new(),
            asked: None,
            fault: None,
        };
        let begin = shell.ask(|reply| AppMsg::ConsensusReady { reply });
        let (height, parameters) = begin.ok_or_else(|| bug("no height to begin with"))?;
        let params = Params {
            address: shell.me(),
            threshold_params: malachite_types::ThresholdParams::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: true,
        };
        let set = parameters.validator_set.clone();
        let core = State::new(Mashaa, height, set, params, QUEUED_MAX, QUEUED_OF_HEIGHT_MAX);
        let mut replica = Replica { core, metrics: Metrics::new(), shell };
        replica.begin(height, parameters, false)?;
        replica.shell.tell_height();
        replica.go_on()?;
        Ok(replica)
    }

    /// The application.
    pub fn app(&self) -> &A {
        self.shell.driver.app()
    }

    /// What the node wants done since the last call.
    pub fn wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.shell.wishes)
    }

    /// Takes in a message. One that is none is dropped, as a real node does.
    ///
    /// # Errors
    ///
    /// When the node cannot go on.
    pub fn receive(&mut self, from: &Hash, message: &[u8]) -> Result<(), Fault> {
        let (Ok(message), Some(sender)) = (Message::decode(message), peer(from)) else {
            return Ok(());
        };
        let shell = &mut self.shell;
        match message {
            Message::Consensus(SignedConsensusMsg::Vote(vote))
            | Message::Liveness(LivenessMsg::Vote(vote)) => {
                shell.inputs.push_back(Input::Vote(vote));
            }
            Message::Consensus(SignedConsensusMsg::Proposal(proposal)) => {
                shell.inputs.push_back(Input::Proposal(proposal));
            }
            Message::Liveness(LivenessMsg::PolkaCertificate(certificate)) => {
                shell.inputs.push_back(Input::PolkaCertificate(certificate));
            }
            Message::Liveness(LivenessMsg::SkipRoundCertificate(certificate)) => {
                shell.inputs.push_back(Input::RoundCertificate(certificate));
            }
            Message::Part(part) => {
                let value = shell.ask(|reply| {
                    let (from, published_by) = (sender, Some(sender));
                    AppMsg::ReceivedProposalPart { from, published_by, part, reply }
                });
                if let Some(value) = value.flatten() {
                    shell.inputs.push_back(Input::ProposedValue(value, ValueOrigin::Consensus));
                }
            }
            Message::Status(status) => shell.hear_height(*from, &status),
            Message::Request(Request::ValueRequest(request)) => shell.serve(*from, &request)?,
            Message::Response(Response::ValueResponse(response)) => {
                shell.asked = None;
                let next = shell.driver.app().height().saturating_add(1);
                for value in response.values.into_iter().take(BATCH as usize) {
                    let height = value.certificate.height.0;
                    if (next..next.saturating_add(BATCH)).contains(&height) {
                        shell.synced.insert(height, value.to_core(sender));
                    }
                }
                shell.catch_up(self.core.height());
            }
        }
        self.go_on()
    }

    /// Says that the time of a wish has come.
    ///
    /// # Errors
    ///
    /// When the node cannot go on.
    pub fn wake(&mut self, number: u64) -> Result<(), Fault> {
        match self.shell.timers.remove(&number) {
            Some(Timer::Timeout(timeout)) => {
                self.shell.inputs.push_back(Input::TimeoutElapsed(timeout));
            }
            Some(Timer::Status) => self.shell.tell_height(),
            None => {}
        }
        self.go_on()
    }

    /// Goes on after something that the machine was asked to do later has been done.
    ///
    /// # Errors
    ///
    /// When the node cannot go on.
    pub fn go_on(&mut self) -> Result<(), Fault> {
        loop {
            if let Some(fault) = self.shell.fault.take() {
                return Err(fault);
            }
            if let Some(input) = self.shell.inputs.pop_front() {
                self.process(input)?;
                continue;
            }
            let next = self.shell.next.as_mut().and_then(|next| next.try_recv().ok());
            match next {
                Some(Next::Start(height, parameters)) => self.begin(height, parameters, false)?,
                Some(Next::Restart(height, parameters)) => self.begin(height, parameters, true)?,
                None => return Ok(()),
            }
        }
    }

    fn process(&mut self, input: Input<Mashaa>) -> Result<(), Fault> {
        let Replica { core, metrics, shell } = self;
        let outcome: Result<(), malachite_consensus::Error<Mashaa>> = process!(
            input: input,
            state: core,
            metrics: metrics,
            with: effect => shell.effect(effect)
        );
        if let Some(fault) = self.shell.fault.take() {
            return Err(fault);
        }
        outcome.map_err(bug)
    }

    fn begin(
        &mut self,
        height: Height,
        parameters: HeightParams<Mashaa>,
        is_restart: bool,
    ) -> Result<(), Fault> {
        let shell = &mut self.shell;
        shell.next = None;
        let me = shell.me();
        shell.is_validator = parameters.validator_set.get_by_address(&me).is_some();
        let entries = if is_restart || !shell.is_validator {
            shell.machine.reset(height.0);
            vec![]
        } else {
            shell.machine.begin(height.0)
        };
        shell.timeouts = parameters.timeouts;
        let interval = parameters.target_time.unwrap_or_default();
        shell.interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        shell.began = shell.machine.now();
        let (set, policy) = (parameters.validator_set, parameters.vote_extension_policy);
        self.process(Input::StartHeight(height, set, is_restart, Some(EVER), policy))?;
        let entries: Result<Vec<Input<Mashaa>>, _> =
            entries.iter().map(|entry| decode_entry(&Wire, entry.as_slice())).collect();
        let entries = entries.map_err(bug)?;
        if !entries.is_empty() {
            self.shell.is_recovering = true;
            self.core.record_recovered_own_precommit_extensions(entries.iter());
            self.core.index_wal_entries(entries.iter());
            for entry in entries {
                self.process(entry)?;
            }
            self.core.reset_entries_index();
            self.shell.is_recovering = false;
        }
        self.shell.catch_up(height);
        Ok(())
    }
}

impl<A: Application, M: Machine + Journal + Clone> Shell<A, M> {
    fn me(&self) -> Name {
        self.keys.secret.key().into()
    }

    /// Asks the driver, and sends what it wants sent.
    fn ask<T>(&mut self, question: impl FnOnce(Reply<T>) -> AppMsg<Mashaa>) -> Option<T> {
        let (reply, mut answer) = oneshot::channel();
        self.tell(question(reply));
        answer.try_recv().ok()
    }

    fn tell(&mut self, message: AppMsg<Mashaa>) {
        if let Err(fault) = self.driver.answer(message) {
            self.fault.get_or_insert(fault);
        }
        while let Ok(NetworkMsg::PublishProposalPart(part)) = self.pieces.try_recv() {
            self.send(&Message::Part(part));
        }
    }

    fn send(&mut self, message: &Message) {
        match message.encode() {
            Ok(bytes) => self.wishes.push(Wish::Send(bytes)),
            // Malachite's network sends nothing that has no bytes, and goes on.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            Err(error) => drop(self.fault.get_or_insert(bug(error))),
        }
    }

    fn schedule(&mut self, wait: u64, timer: Timer) {
        self.timers.retain(|_, other| *other != timer);
        self.timers.insert(self.timer_next, timer);
        self.wishes.push(Wish::Wake(wait, self.timer_next));
        self.timer_next = self.timer_next.saturating_add(1);
    }

    fn flush(&mut self) {
        if !self.is_recovering && self.is_validator && !self.machine.flush() {
            self.fault.get_or_insert(bug("the journal could not be written"));
        }
    }

    /// Does what the protocol wants done. An effect without an arm of its own does not occur: votes
    /// have no extensions.
    fn effect(&mut self, effect: Effect<Mashaa>) -> Result<Resume<Mashaa>, Fault> {
        let stopped = || bug("a signature could not be made");
        // What could not be written must not be said, and a node that has failed does no more.
        if self.fault.is_some() {
            return Err(bug("the node has stopped"));
        }
        Ok(match effect {
            Effect::CancelAllTimeouts(resume) => {
                self.timers.retain(|_, timer| *timer == Timer::Status);
                resume.resume_with(())
            }
            Effect::CancelTimeout(timeout, resume) => {
                self.timers.retain(|_, timer| *timer != Timer::Timeout(timeout));
                resume.resume_with(())
            }
            Effect::ScheduleTimeout(timeout, resume) => {
                let wait = self.wait(timeout);
                self.schedule(wait, Timer::Timeout(timeout));
                resume.resume_with(())
            }
            Effect::SignProposal(proposal, resume) => {
                let signed = at_once(self.keys.sign_proposal(proposal)).and_then(Result::ok);
                resume.resume_with(signed.ok_or_else(stopped)?)
            }
            Effect::SignVote(vote, resume) => {
                let signed = at_once(self.keys.sign_vote(vote)).and_then(Result::ok);
                resume.resume_with(signed.ok_or_else(stopped)?)
            }
            Effect::WalAppend(_, entry, resume) => {
                if !self.is_recovering && self.is_validator {
                    let mut bytes = vec![];
                    encode_entry(entry, &Wire, &mut bytes).map_err(bug)?;
                    self.machine.append(bytes);
                }
                resume.resume_with(())
            }
            Effect::PublishConsensusMsg(message, resume) => {
                self.flush();
                if self.fault.is_none() {
                    self.send(&Message::Consensus(message));
                }
                resume.resume_with(())
            }
            Effect::PublishLivenessMsg(message, resume) => {
                self.send(&Message::Liveness(message));
                resume.resume_with(())
            }
            Effect::RepublishVote(vote, resume) => {
                self.send(&Message::Liveness(LivenessMsg::Vote(vote)));
                resume.resume_with(())
            }
            Effect::RepublishRoundCertificate(certificate, resume) => {
                self.send(&Message::Liveness(LivenessMsg::SkipRoundCertificate(certificate)));
                resume.resume_with(())
            }
            other => match self.check(other) {
                Ok(resume) => resume,
                Err(other) => self.tell_application(*other),
            },
        })
    }

    /// Checks signatures, if that is what is wanted.
    fn check(&mut self, effect: Effect<Mashaa>) -> Result<Resume<Mashaa>, Box<Effect<Mashaa>>> {
        let keys = &self.keys;
        Ok(match effect {
            Effect::VerifySignature(message, key, resume) => {
                let verdict = match &message.message {
                    ConsensusMsg::Vote(vote) => {
                        at_once(keys.verify_signed_vote(vote, &message.signature, &key))
                    }
                    ConsensusMsg::Proposal(proposal) => {
                        at_once(keys.verify_signed_proposal(proposal, &message.signature, &key))
                    }
                };
                let is_valid = verdict.and_then(Result::ok).is_some_and(|it| it.is_valid());
                resume.resume_with(is_valid)
            }
            Effect::VerifyCommitCertificate(certificate, set, bar, resume) => {
                let verdict = keys.verify_commit_certificate(&Mashaa, &certificate, &set, bar);
                resume.resume_with(at_once(verdict).unwrap_or(Err(unchecked())))
            }
            Effect::VerifyExtendedCommitCertificate(certificate, set, bar, policy, resume) => {
                let verdict = keys.verify_extended_commit_certificate(
                    &Mashaa,
                    &certificate,
                    &set,
                    bar,
                    policy,
                );
                resume.resume_with(at_once(verdict).unwrap_or(Err(unchecked())))
            }
            Effect::VerifyPolkaCertificate(certificate, set, bar, resume) => {
                let verdict = keys.verify_polka_certificate(&Mashaa, &certificate, &set, bar);
                resume.resume_with(at_once(verdict).unwrap_or(Err(unchecked())))
            }
            Effect::VerifyRoundCertificate(certificate, set, bar, resume) => {
                let verdict = keys.verify_round_certificate(&Mashaa, &certificate, &set, bar);
                resume.resume_with(at_once(verdict).unwrap_or(Err(unchecked())))
            }
            other => return Err(Box::new(other)),
        })
    }

    fn tell_application(&mut self, effect: Effect<Mashaa>) -> Resume<Mashaa> {
        match effect {
            Effect::StartRound(height, round, proposer, role, resume) => {
                self.flush();
                let seen = self.ask(|reply_value| AppMsg::StartedRound {
                    height,
                    round,
                    proposer,
                    role,
                    reply_value,
                });
                let value = |it| Input::ProposedValue(it, ValueOrigin::Consensus);
                self.inputs.extend(seen.unwrap_or_default().into_iter().map(value));
                resume.resume_with(())
            }
            Effect::GetValue(height, round, timeout, resume) => {
                let timeout = self.timeouts.duration_for(timeout);
                let value = self.ask(|reply| AppMsg::GetValue { height, round, timeout, reply });
                self.inputs.extend(value.map(Input::Propose));
                resume.resume_with(())
            }
            Effect::RestreamProposal(height, round, valid_round, address, value_id, resume) => {
                let question =
                    AppMsg::RestreamProposal { height, round, valid_round, address, value_id };
                self.tell(question);
                resume.resume_with(())
            }
            Effect::Decide(certificate, extensions, resume) => {
                self.flush();
                if self.fault.is_none() {
                    self.ask(|reply| AppMsg::Decided { certificate, extensions, reply });
                }
                resume.resume_with(())
            }
            Effect::Finalize(certificate, extensions, evidence, resume) => {
                let (reply, next) = oneshot::channel();
                self.next = Some(next);
                self.tell(AppMsg::Finalized { certificate, extensions, evidence, reply });
                resume.resume_with(())
            }
            Effect::CertVerifiedSyncValue(response, proposer, resume) => {
                let certificate = response.certificate;
                let outcome = self.ask(|reply| AppMsg::ProcessSyncedValue {
                    height: certificate.height,
                    round: certificate.round,
                    proposer,
                    value_bytes: response.value_bytes,
                    reply,
                });
                if let Some(SyncedValueOutcome::Verdict(mut value)) = outcome
                    && value.value.id() == certificate.value_id
                {
                    value.round = certificate.round;
                    self.inputs.push_back(Input::ProposedValue(value, ValueOrigin::Sync));
                }
                resume.resume_with(())
            }
            // The block is asked for again.
            _ => Resume::Continue,
        }
    }

    /// How long a timeout is.
    fn wait(&self, timeout: Timeout) -> u64 {
        if let TimeoutKind::FinalizeHeight(_) = timeout.kind {
            let over = self.machine.now().saturating_sub(self.began);
            return self.interval.saturating_sub(over);
        }
        let wait = self.timeouts.duration_for(timeout).as_millis();
        u64::try_from(wait).unwrap_or(u64::MAX)
    }

    fn tell_height(&mut self) {
        let app = self.driver.app();
        let (tip, first) = (Height(app.height()), Height(app.first()));
        if let Some(me) = peer(&self.keys.secret.key()) {
            let (peer_id, tip_height, history_min_height) = (me, tip, first);
            self.send(&Message::Status(Status { peer_id, tip_height, history_min_height }));
        }
        self.schedule(STATUS, Timer::Status);
    }

    /// Asks someone who is ahead for the blocks between.
    fn hear_height(&mut self, from: Hash, status: &Status<Mashaa>) {
        let (now, next) = (self.machine.now(), self.driver.app().height().saturating_add(1));
        let is_waiting = self.asked.is_some_and(|at| now < at.saturating_add(PATIENCE));
        let first = status.history_min_height.0;
        if is_waiting || status.tip_height.0 < next || first > next {
            return;
        }
        let last = status.tip_height.0.min(next.saturating_add(BATCH).saturating_sub(1));
        let request = Request::ValueRequest(ValueRequest::new(Height(next)..=Height(last)));
        self.asked = Some(now);
        self.send_to(from, &Message::Request(request));
    }

    fn serve(&mut self, to: Hash, request: &ValueRequest<Mashaa>) -> Result<(), Fault> {
        let (first, last) = (*request.range.start(), *request.range.end());
        let last = last.min(first.increment_by(BATCH));
        let values = self.ask(|reply| AppMsg::GetDecidedValues { range: first..=last, reply });
        let values = values.unwrap_or_default();
        let response = malachite_sync::ValueResponse::new(first, values);
        self.send_to(to, &Message::Response(Response::ValueResponse(response)));
        Ok(())
    }

    fn send_to(&mut self, to: Hash, message: &Message) {
        match message.encode() {
            Ok(bytes) => self.wishes.push(Wish::SendTo(to, bytes)),
            Err(error) => drop(self.fault.get_or_insert(bug(error))),
        }
    }

    /// Gives the protocol the block of its height, if another node has sent it.
    fn catch_up(&mut self, height: Height) {
        self.synced = self.synced.split_off(&height.0);
        if let Some(response) = self.synced.remove(&height.0) {
            self.inputs.push_back(Input::SyncValueResponse(response));
        }
    }
}
