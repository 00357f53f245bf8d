//! What a worker shows of a drawn receipt, and whether it is the one of the batch.
//!
//! Invariants:
//! - A receipt counts only if it stands at its place under the batch's root.
//!
//! Not here: whether what it says is right (`disputes`).

use audit::commitment::blind;
use audit::graph::RUN_MAX;
use audit::receipt::{PAYLOAD_SIZE_MAX, Payload, Receipt, SIZE, SignedReceipt, Trust};
use types::codec::decode;
use types::id::{Address, Hash};
use types::transaction::{OpenPayload, OpenReceipt, PAYLOAD_MAX, RECEIPT_MAX, ShowReceipt};

use super::{Key, PAYLOADS_MAX, Stage, at, convict, enter};
use crate::batches::Batch;
use crate::disputes;
use crate::refusal::Refusal;
use crate::state::State;

// What an order can carry is what a receipt and a payload have.
const _: () = assert!(RECEIPT_MAX == SIZE && PAYLOAD_MAX == PAYLOAD_SIZE_MAX);

/// Shows the payload: as the worker where an auditor has asked, as either side of a dispute that needs
/// it.
pub(crate) fn open_payload(
    state: &mut State,
    account: Address,
    it: &OpenPayload,
) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let mut audit = at(state, key, &[Stage::PayloadWanted, Stage::Disputed, Stage::Token])?;
    let batch = state.batch(key.0).cloned().ok_or(Refusal::AuditUnknown)?;
    let is_asked = audit.stage == Stage::PayloadWanted;
    if is_asked && account != batch.worker {
        return Err(Refusal::NotTheWorker);
    }
    if !is_asked && disputes::side(state, key, &batch, &account).is_none() {
        return Err(Refusal::NotDisputant);
    }
    match state.payloads.get(&key) {
        Some(Some(_)) => return Err(Refusal::AlreadyStated),
        None if state.payloads.count() >= PAYLOADS_MAX => return Err(Refusal::PayloadsFull),
        _ => {}
    }
    let (receipt, payload) = shown(state, it)?;
    state.payloads.put(key, Some(payload));
    if is_asked {
        audit.receipt = Some(receipt);
        enter(state, key, audit, Stage::Committing);
    }
    Ok(())
}

/// The receipt and the payload that an order shows, where they are those of the batch and its place.
/// Auditors ask this of what a worker gives them outside of the ledger too.
///
/// # Errors
///
/// The refusal that the order would have.
pub fn shown(state: &State, it: &OpenPayload) -> Result<(Receipt, Payload), Refusal> {
    let key = (it.batch, it.index);
    let batch = state.batch(key.0).ok_or(Refusal::AuditUnknown)?;
    let known = state.audit(key).and_then(|audit| audit.receipt.as_ref());
    let receipt = match known {
        // That it stands there was shown before; a payer, for one, has no path.
        Some(known) if read(it.receipt.as_slice())? == *known => known.clone(),
        _ => in_batch(state, key, batch, it.receipt.as_slice(), it.path.as_slice())?,
    };
    let payload = decode::<Payload>(it.payload.as_slice()).map_err(|_| Refusal::OtherPayload)?;
    let stated = Receipt::of(receipt.terms.clone(), &payload, receipt.blinded);
    // The blinding would show the root to those who have not committed.
    if payload.blinding.is_some() || stated.as_ref() != Some(&receipt) {
        return Err(Refusal::OtherPayload);
    }
    Ok((receipt, payload))
}

/// Shows the receipt and the root that it hides, once all have committed. Where the payload was promised
/// to stay between payer and worker, or the answer to be no one's to check, the auditors have nothing to
/// find: then the worker can show it at once, and need not show a payload to be rid of who asks for it.
pub(crate) fn open_receipt(
    state: &mut State,
    account: Address,
    it: &OpenReceipt,
) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let stages = [Stage::Committing, Stage::PayloadWanted, Stage::Opening];
    let mut audit = at(state, key, &stages)?;
    let batch = state.batch(key.0).cloned().ok_or(Refusal::AuditUnknown)?;
    if account != batch.worker {
        return Err(Refusal::NotTheWorker);
    }
    let receipt = in_batch(state, key, &batch, it.receipt.as_slice(), it.path.as_slice())?;
    if Hash(blind(&it.root.0, &it.blinding.0)) != receipt.blinded {
        return Err(Refusal::OtherRoot);
    }
    let stage = match (receipt.terms.trust, audit.stage) {
        (Trust::Checked | Trust::Attested, Stage::Opening) => Stage::Revealing,
        // Who has not committed would repeat the root.
        (Trust::Checked | Trust::Attested, _) => return Err(Refusal::NotNow),
        (Trust::Private | Trust::Fast, _) => Stage::Challenging,
    };
    audit.root = Some(it.root);
    audit.receipt = Some(receipt);
    enter(state, key, audit, stage);
    Ok(())
}

/// Convicts a worker that has signed two receipts for one place in a channel.
pub(crate) fn show_receipt(
    state: &mut State,
    account: Address,
    it: &ShowReceipt,
) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let audit = state.audit(key).cloned().ok_or(Refusal::AuditUnknown)?;
    let shown = audit.receipt.as_ref().ok_or(Refusal::NotNow)?;
    let other = read(it.receipt.as_slice())?;
    let (one, two) = (&shown.terms, &other.terms);
    let is_same_place = (one.network, one.worker_key, one.worker, one.channel, one.sequence)
        == (two.network, two.worker_key, two.worker, two.channel, two.sequence);
    if !is_same_place || other == *shown {
        return Err(Refusal::NoContradiction);
    }
    convict(state, key, &audit, Some(account));
    Ok(())
}

/// A receipt that stands at its place in a batch.
fn in_batch(
    state: &State,
    (_, index): Key,
    batch: &Batch,
    bytes: &[u8],
    path: &[Hash],
) -> Result<Receipt, Refusal> {
    let receipt = read(bytes)?;
    let terms = &receipt.terms;
    let path: Vec<merkle::Digest> = path.iter().map(|hash| hash.0).collect();
    let leaf = merkle::leaf(&receipt.id().0);
    let root = merkle::root_of(leaf, index.into(), batch.count.into(), &path);
    let is_there = root == Some(batch.root.0);
    let is_of = terms.network == state.meta().genesis
        && terms.worker_key == batch.node
        && terms.worker == batch.worker
        && terms.payer == batch.payer
        && terms.model == batch.work
        && terms.channel == batch.channel
        && terms.sequence == batch.first.saturating_add(index.into());
    if !is_there || !is_of || receipt.due > batch.amount {
        return Err(Refusal::OtherReceipt);
    }
    Ok(receipt)
}

/// A receipt that its worker's node has signed, of an answer that there can be.
fn read(bytes: &[u8]) -> Result<Receipt, Refusal> {
    let signed = SignedReceipt::decode(bytes).map_err(|_| Refusal::BadReceipt)?;
    let receipt = &signed.receipt;
    let tokens = u64::from(receipt.prompt_tokens).saturating_add(receipt.output_tokens.into());
    let is_run = receipt.prompt_tokens > 0
        && receipt.output_tokens > 0
        && usize::try_from(tokens).is_ok_and(|tokens| tokens <= RUN_MAX);
    let is_priced = receipt.price() == Some(receipt.due);
    if !is_run || !is_priced || !signed.is_signed() {
        return Err(Refusal::BadReceipt);
    }
    Ok(signed.receipt)
}
