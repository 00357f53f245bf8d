//! Audits: receipts of a batch that were drawn, and what their auditors found.
//!
//! Auditors commit to what they have found, then the worker shows the receipt and its root, then they
//! reveal. Who found another root or a token that the rules do not choose can dispute the receipt
//! (`disputes`). Each stage has a last block, and whoever is silent in it loses. Specified in
//! `docs/spec/ledger.md`, section 15.
//!
//! Invariants:
//! - Nobody can know the root before all have committed: an auditor that only echoes is not paid.
//! - An audit ends, whatever its parties do, and its batch is settled or forfeited after it.
//! - At most `DRAWS_MAX` audits of a batch, and `PAYLOADS_MAX` payloads in all.
//!
//! Not here: what a batch is worth (`batches`), and where a stake goes (`stakes`).

use audit::draw::{self, DRAWN_MAX};
use audit::receipt::{Payload, Receipt};
use sha2::{Digest, Sha256};
use types::amount::{Amount, Height};
use types::bounded::List;
use types::codec::Canonical;
use types::id::{Address, Hash};
use types::measure::Parameter;
use types::transaction::{AskPayload, CommitVerdict, RevealVerdict};
use types::word::Finding;
use types::{record, words};

use crate::accounts::{AUDIT_FUND, post_some};
use crate::event::Event;
use crate::governance::{TaskKind, plan};
use crate::parameters::WHOLE;
use crate::refusal::Refusal;
use crate::state::State;
use crate::{batches, disputes, stakes, standing};

mod opening;

pub use opening::shown;
pub(crate) use opening::{open_payload, open_receipt, show_receipt};

/// Payloads that stand in the state at a time. Each has at most 1.1 MB and most have some kilobytes;
/// they go with their audits.
pub const PAYLOADS_MAX: usize = 256;

const VERDICT_TAG: &[u8] = b"mashaa/ledger/verdict/v1";

/// A batch's number, and a receipt's place in the batch.
pub type Key = (u64, u32);

record! {
    /// A receipt that is audited.
    Audit {
        /// What is waited for.
        stage: Stage,
        /// The last block of the stage.
        until: Height,
        /// Its auditors.
        seats: List<Seat, DRAWN_MAX>,
        /// The receipt, once it was shown.
        receipt: Option<Receipt>,
        /// The answer's root, once it was shown.
        root: Option<Hash>,
        /// Whether the payer has disputed it.
        by_payer: bool,
    }
}

record! {
    /// An auditor of a receipt.
    Seat {
        /// Who.
        auditor: Address,
        /// What it has committed to.
        commitment: Option<Hash>,
        /// What it has found, once revealed.
        finding: Option<Finding>,
        /// The root that it has computed; zeros until it is revealed.
        root: Hash,
        /// Whether it has disputed the receipt.
        has_challenged: bool,
    }
}

words! {
    /// What an audit waits for.
    Stage {
        /// Auditors commit.
        1 Committing = "committing",
        /// The worker shows the payload.
        2 PayloadWanted = "payload wanted",
        /// The worker shows the receipt and its root.
        3 Opening = "opening",
        /// Auditors reveal.
        4 Revealing = "revealing",
        /// Who found no match disputes.
        5 Challenging = "challenging",
        /// The worker states the root of its trace.
        6 Answering = "answering",
        /// Both sides divide what differs, or show evidence.
        7 Disputed = "disputed",
        /// The challenger shows a token that the rules do not choose.
        8 Token = "token",
    }
}

/// What an auditor commits to: that it, and nobody else, has found this about a receipt.
#[must_use]
pub fn commitment(
    auditor: &Address,
    (batch, index): Key,
    (finding, root): (Finding, &Hash),
    salt: &Hash,
) -> Hash {
    let mut bytes = VERDICT_TAG.to_vec();
    auditor.write(&mut bytes);
    batch.write(&mut bytes);
    index.write(&mut bytes);
    finding.write(&mut bytes);
    root.write(&mut bytes);
    salt.write(&mut bytes);
    Hash(Sha256::digest(&bytes).into())
}

impl Audit {
    fn new(auditors: &[draw::Account]) -> Option<Audit> {
        let seat = |account: &draw::Account| Seat {
            auditor: Address(*account),
            commitment: None,
            finding: None,
            root: Hash([0; 32]),
            has_challenged: false,
        };
        let seats = List::new(auditors.iter().map(seat).collect()).ok()?;
        let (stage, until) = (Stage::Committing, Height(0));
        (!auditors.is_empty()).then_some(Audit {
            stage,
            until,
            seats,
            receipt: None,
            root: None,
            by_payer: false,
        })
    }

    /// The seat of an auditor.
    #[must_use]
    pub fn seat(&self, auditor: &Address) -> Option<&Seat> {
        self.seats.as_slice().iter().find(|seat| seat.auditor == *auditor)
    }

    pub(crate) fn change(
        &mut self,
        auditor: &Address,
        change: impl FnOnce(&mut Seat) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut seats = self.seats.as_slice().to_vec();
        let seat = seats.iter_mut().find(|seat| seat.auditor == *auditor);
        change(seat.ok_or(Refusal::NotAuditor)?)?;
        self.seats = List::new(seats).expect("the list has as many seats as before");
        Ok(())
    }

    /// Those who have found something, and not disputed it yet.
    pub(crate) fn found(&self, finding: Finding) -> impl Iterator<Item = &Seat> {
        let seats = self.seats.as_slice().iter();
        seats.filter(move |seat| seat.finding == Some(finding) && !seat.has_challenged)
    }
}

/// Draws the receipts of a batch that are audited, and their auditors, with the beacon of this block.
pub(crate) fn draw(state: &mut State, number: u64) {
    let Some(batch) = state.batch(number).cloned() else { return };
    let parties = [batch.worker.0, batch.payer.0, batch.gateway.0];
    let of = draw::Batch { number, count: batch.count, parties: &parties };
    let auditors = state.able_auditors();
    let rate = u32::try_from(state.parameter(Parameter::AuditRate)).unwrap_or(draw::RATE_ONE);
    let wanted = usize::try_from(state.parameter(Parameter::Auditors)).unwrap_or(1);
    // The parameters' ranges and the limits of the tables are those of a draw.
    let drawn = draw::draw(&state.meta().beacon.0, &of, &auditors, (rate, wanted));
    for it in drawn.unwrap_or_default() {
        if let Some(audit) = Audit::new(&it.auditors) {
            enter(state, (number, it.index), audit, Stage::Committing);
        }
    }
}

pub(crate) fn commit(
    state: &mut State,
    account: Address,
    it: &CommitVerdict,
) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let mut audit = at(state, key, &[Stage::Committing])?;
    audit.change(&account, |seat| match seat.commitment {
        Some(_) => Err(Refusal::AlreadyStated),
        None => {
            seat.commitment = Some(it.hash);
            Ok(())
        }
    })?;
    if audit.seats.as_slice().iter().all(|seat| seat.commitment.is_some()) {
        enter(state, key, audit, Stage::Opening);
    } else {
        state.audits.put(key, audit);
    }
    Ok(())
}

/// Asks the worker on the ledger for receipt and payload; once for each audit.
pub(crate) fn ask(state: &mut State, account: Address, it: &AskPayload) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let audit = at(state, key, &[Stage::Committing])?;
    let seat = audit.seat(&account).ok_or(Refusal::NotAuditor)?;
    if seat.commitment.is_some() || state.payloads.get(&key).is_some() {
        return Err(Refusal::AlreadyStated);
    }
    if state.payloads.count() >= PAYLOADS_MAX {
        return Err(Refusal::PayloadsFull);
    }
    state.payloads.put(key, None);
    enter(state, key, audit, Stage::PayloadWanted);
    Ok(())
}

pub(crate) fn reveal(
    state: &mut State,
    account: Address,
    it: &RevealVerdict,
) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let mut audit = at(state, key, &[Stage::Revealing])?;
    let is_same = audit.root == Some(it.root);
    audit.change(&account, |seat| {
        if seat.finding.is_some() {
            return Err(Refusal::AlreadyStated);
        }
        let stated = commitment(&account, key, (it.finding, &it.root), &it.salt);
        if seat.commitment != Some(stated) {
            return Err(Refusal::OtherVerdict);
        }
        seat.root = it.root;
        seat.finding = Some(match it.finding {
            // It was sure of another root.
            Finding::Match if !is_same => Finding::NoMatch,
            finding => finding,
        });
        Ok(())
    })?;
    let is_silent = |seat: &Seat| seat.commitment.is_some() && seat.finding.is_none();
    if audit.seats.as_slice().iter().any(is_silent) {
        state.audits.put(key, audit);
    } else {
        weigh(state, key, audit);
    }
    Ok(())
}

/// Ends the stages of a batch's audits whose last block this is.
pub(crate) fn due(state: &mut State, number: u64) {
    let now = state.now();
    let due = state.audits_of(number).filter(|(_, it)| it.until <= now);
    for key in due.map(|(key, _)| *key).collect::<Vec<Key>>() {
        // A conviction takes the batch's other audits with it.
        let Some(audit) = state.audit(key).cloned() else { continue };
        match audit.stage {
            Stage::Committing => end_commits(state, key, audit),
            Stage::PayloadWanted | Stage::Opening => withheld(state, key),
            Stage::Revealing => {
                for seat in audit.seats.as_slice().iter().filter(|seat| seat.finding.is_none()) {
                    // Who has not committed has lost for that already.
                    if seat.commitment.is_some() {
                        standing::lose(state, seat.auditor);
                    }
                }
                weigh(state, key, audit);
            }
            Stage::Challenging => close(state, key, &audit),
            Stage::Answering | Stage::Disputed | Stage::Token => {
                disputes::expire(state, key, audit);
            }
        }
    }
}

fn end_commits(state: &mut State, key: Key, audit: Audit) {
    let silent = audit.seats.as_slice().iter().filter(|seat| seat.commitment.is_none());
    let silent: Vec<Address> = silent.map(|seat| seat.auditor).collect();
    let all = silent.len() == audit.seats.as_slice().len();
    silent.into_iter().for_each(|auditor| standing::lose(state, auditor));
    if all {
        remove(state, key);
        batches::audit_closed(state, key.0);
    } else {
        enter(state, key, audit, Stage::Opening);
    }
}

/// Goes on from what was revealed.
fn weigh(state: &mut State, key: Key, audit: Audit) {
    if audit.found(Finding::NoMatch).next().is_some() {
        enter(state, key, audit, Stage::Challenging);
    } else {
        close(state, key, &audit);
    }
}

/// Ends an audit in which nobody was convicted, or goes on where another may still dispute.
pub(crate) fn close(state: &mut State, key: Key, audit: &Audit) {
    let of = |finding| audit.found(finding).map(|seat| seat.auditor).collect::<Vec<Address>>();
    let (matched, idle) = (of(Finding::Match), of(Finding::NoMatch));
    for auditor in matched {
        reward(state, auditor, audit);
    }
    // It said that the receipt is wrong, and did not stand by it.
    idle.into_iter().for_each(|auditor| standing::lose(state, auditor));
    remove(state, key);
    state.say(Event::AuditClosed { batch: key.0, index: key.1, is_convicted: false });
    batches::audit_closed(state, key.0);
}

/// The worker did not show what it must: it loses the batch, and what the batch has bound.
fn withheld(state: &mut State, key: Key) {
    let Some(batch) = state.batch(key.0).cloned() else { return };
    state.say(Event::AuditClosed { batch: key.0, index: key.1, is_convicted: true });
    abandon(state, key.0);
    stakes::slash(state, batch.worker, batch.bond, Some(batch.payer), None);
    batches::forfeit(state, key.0);
}

/// Punishes those who found nothing wrong in what was proved wrong.
pub(crate) fn punish_matches(state: &mut State, audit: &Audit, payer: Address) {
    let part = state.parameter_amount(Parameter::AuditorStake);
    for auditor in audit.found(Finding::Match).map(|seat| seat.auditor) {
        standing::clear(state, auditor);
        stakes::jail(state, auditor);
        stakes::slash(state, auditor, part, Some(payer), None);
    }
}

/// The worker loses the batch, its stake and its standing.
pub(crate) fn convict(state: &mut State, key: Key, audit: &Audit, prover: Option<Address>) {
    let Some(batch) = state.batch(key.0).cloned() else { return };
    let right = audit.found(Finding::NoMatch).map(|seat| seat.auditor);
    for auditor in right.chain(prover).collect::<Vec<Address>>() {
        reward(state, auditor, audit);
    }
    state.say(Event::AuditClosed { batch: key.0, index: key.1, is_convicted: true });
    abandon(state, key.0);
    batches::forfeit(state, key.0);
    standing::clear(state, batch.worker);
    let held = stakes::held(state, &batch.worker);
    stakes::slash(state, batch.worker, held, Some(batch.payer), prover);
    stakes::jail(state, batch.worker);
}

/// Pays an auditor that was right, out of the audit fund and never more than that has.
fn reward(state: &mut State, auditor: Address, audit: &Audit) {
    if audit.seat(&auditor).is_none() {
        return;
    }
    standing::earn(state, auditor);
    let due = audit.receipt.as_ref().map_or(Amount::ZERO, |receipt| receipt.due);
    let pay = due.checked_part(state.parameter(Parameter::AuditPay), WHOLE);
    let fund = u64::try_from(state.account(&AUDIT_FUND).balance).ok().and_then(Amount::new);
    let pay = pay.unwrap_or(Amount::ZERO).min(fund.unwrap_or(Amount::ZERO));
    let before = state.savepoint();
    if post_some(state, AUDIT_FUND, auditor, pay).is_err() {
        // Its account is full.
        state.rollback(&before);
    }
}

/// Forgets all audits of a batch that was forfeited; nobody loses in those that are not over.
fn abandon(state: &mut State, number: u64) {
    let keys: Vec<Key> = state.audits_of(number).map(|(key, _)| *key).collect();
    for key in keys {
        disputes::release(state, key);
        remove(state, key);
    }
}

fn remove(state: &mut State, key: Key) {
    state.audits.remove(&key);
    state.payloads.remove(&key);
    state.disputes.remove(&key);
    disputes::forget(state, key);
}

/// Begins a stage.
pub(crate) fn enter(state: &mut State, key: Key, audit: Audit, stage: Stage) {
    let blocks = state.parameter(match stage {
        Stage::Answering | Stage::Disputed | Stage::Token => Parameter::DisputeBlocks,
        _ => Parameter::AuditBlocks,
    });
    let until = state.now().after(blocks);
    wait(state, key, Audit { stage, ..audit }, until);
}

/// Waits until the end of a block.
pub(crate) fn wait(state: &mut State, key: Key, audit: Audit, until: Height) {
    let (stage, (batch, index)) = (audit.stage, key);
    state.audits.put(key, Audit { until, ..audit });
    plan(state, until, TaskKind::Audits, batch);
    state.say(Event::Audit { batch, index, stage, until });
}

/// An audit that is in one of these stages.
pub(crate) fn at(state: &State, key: Key, stages: &[Stage]) -> Result<Audit, Refusal> {
    let audit = state.audit(key).ok_or(Refusal::AuditUnknown)?;
    if stages.contains(&audit.stage) { Ok(audit.clone()) } else { Err(Refusal::NotNow) }
}

impl State {
    /// An audit that is not over.
    #[must_use]
    pub fn audit(&self, key: Key) -> Option<&Audit> {
        self.audits.get(&key)
    }

    /// The audits of a batch that are not over, by place.
    pub fn audits_of(&self, number: u64) -> impl Iterator<Item = (&Key, &Audit)> {
        self.audits.range((number, 0)..=(number, u32::MAX))
    }

    /// All audits that are not over.
    pub fn all_audits(&self) -> impl Iterator<Item = (&Key, &Audit)> {
        self.audits.iter()
    }

    /// Whether the payload of a receipt that is audited was asked for on the ledger, or shown there.
    #[must_use]
    pub fn is_payload_asked(&self, key: Key) -> bool {
        self.payloads.get(&key).is_some()
    }

    /// The payload of a receipt that is audited, if it was shown.
    #[must_use]
    pub fn payload(&self, key: Key) -> Option<&Payload> {
        self.payloads.get(&key)?.as_ref()
    }
}
