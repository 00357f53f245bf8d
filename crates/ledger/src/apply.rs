//! The one way in: orders of a block in their order, then the end of the block.
//!
//! A caller says who sealed the parent with `begin_block`, and applies the block's evidence with
//! `convict` and its signed orders one after the other; then it calls `end_block`, then
//! `State::changes` for its Merkle tree; `State::seal` when the block is decided, `State::undo` when
//! it is not.
//!
//! Invariants:
//! - The same orders on the same state give the same state, events and refusals on every machine.
//! - A refused order leaves the state as it was.
//! - An account's orders take effect in the order of their nonces, each at most once.
//!
//! Not here: which orders are in a block, and who made it.

use types::amount::Height;
use types::envelope::{Signed, Verified};
use types::evidence::Proven;
use types::id::{Address, Hash};
use types::transaction::Action;
use types::vrf::VrfOutput;

use crate::accounts::{self, charge, outside};
use crate::audits;
use crate::beacon;
use crate::channels;
use crate::coop;
use crate::disputes;
use crate::event::Event;
use crate::governance::{self, Task, TaskKind};
use crate::members;
use crate::nodes;
use crate::refusal::Refusal;
use crate::sessions::{self, authorise};
use crate::state::State;
use crate::validators;
use crate::works;

/// Begins the block at `height`: each of those who decided the parent, and whether its seal is in the
/// parent's certificate; and the random bytes of its maker, the VRF's output for `beacon::input`.
///
/// # Errors
///
/// If the block is not the next one; the state is then as it was.
pub fn begin_block(
    state: &mut State,
    height: Height,
    attendance: &[(Hash, bool)],
    randomness: &VrfOutput,
) -> Result<Vec<Event>, Refusal> {
    if height != state.now() {
        return Err(Refusal::WrongHeight);
    }
    beacon::advance(state, randomness);
    validators::attend(state, attendance);
    Ok(state.take_events())
}

/// Convicts a validator in the block at `height`, by evidence that was checked for this state's
/// network.
///
/// # Errors
///
/// A refusal; the state is then as it was.
pub fn convict(state: &mut State, height: Height, proven: &Proven) -> Result<Vec<Event>, Refusal> {
    if height != state.now() {
        return Err(Refusal::WrongHeight);
    }
    let before = state.savepoint();
    match validators::convict(state, proven) {
        Ok(()) => Ok(state.take_events()),
        Err(refusal) => {
            state.rollback(&before);
            Err(refusal)
        }
    }
}

/// Whether evidence would convict a validator in the next block.
///
/// # Errors
///
/// The refusal that `convict` would give.
pub fn try_convict(state: &State, proven: &Proven) -> Result<(), Refusal> {
    validators::accused(state, proven).map(|_| ())
}

/// Applies a signed order in the block at `height`.
///
/// # Errors
///
/// A refusal; the state is then as it was.
pub fn apply(state: &mut State, height: Height, signed: &Signed) -> Result<Vec<Event>, Refusal> {
    let verified = signed.verify(&state.meta().genesis)?;
    apply_verified(state, height, &verified)
}

/// Applies an order whose signature was checked when it came in, for this state's network.
///
/// # Errors
///
/// A refusal; the state is then as it was.
pub fn apply_verified(
    state: &mut State,
    height: Height,
    verified: &Verified,
) -> Result<Vec<Event>, Refusal> {
    if height != state.now() {
        return Err(Refusal::WrongHeight);
    }
    let before = state.savepoint();
    match order(state, verified) {
        Ok(()) => Ok(state.take_events()),
        Err(refusal) => {
            state.rollback(&before);
            Err(refusal)
        }
    }
}

/// Whether the rules would accept an order now; the state is left as it is.
///
/// # Errors
///
/// The refusal that applying it would give.
pub fn try_verified(state: &mut State, verified: &Verified) -> Result<(), Refusal> {
    let before = state.savepoint();
    let outcome = order(state, verified);
    state.rollback(&before);
    outcome
}

/// Ends the block at `height`: closes votes, executes what has passed, returns what has expired, and
/// turns the epoch.
///
/// # Errors
///
/// If the block is not the next one; the state is then as it was.
pub fn end_block(state: &mut State, height: Height) -> Result<Vec<Event>, Refusal> {
    if height != state.now() {
        return Err(Refusal::WrongHeight);
    }
    // What a task plans is at least one block later, so that the list is complete.
    let due = state.agenda.iter().map(|(key, ())| *key).take_while(|(at, _)| *at <= height);
    for (at, task) in due.collect::<Vec<(Height, Task)>>() {
        state.agenda.remove(&(at, task));
        perform(state, &task);
    }
    coop::end_epoch(state, height);
    validators::forget(state);
    state.set_meta(|meta| meta.height = height);
    Ok(state.take_events())
}

fn perform(state: &mut State, task: &Task) {
    match task.kind {
        TaskKind::CloseVote => governance::close_vote(state, task.number),
        TaskKind::Execute => governance::execute(state, task.number),
        TaskKind::CloseChannel => {
            let before = state.savepoint();
            // A payee may have closed it before. A payer whose account is full keeps the channel,
            // which the payee can still close.
            if channels::end(state, task.number).is_err() {
                state.rollback(&before);
            }
        }
        TaskKind::DrawBatch => audits::draw(state, task.number),
        TaskKind::ReturnStake => crate::stakes::give_back(state, task.account),
        TaskKind::SettleBatch => crate::batches::settle(state, task.number),
        TaskKind::Audits => audits::due(state, task.number),
        TaskKind::EndDelegation => {
            let topics = types::word::Tier::ALL.iter();
            for &topic in topics.filter(|topic| u64::from(topic.number()) == task.number) {
                governance::end_delegation(state, task.account, topic);
            }
        }
    }
}

fn order(state: &mut State, verified: &Verified) -> Result<(), Refusal> {
    let order = verified.order();
    if state.now() > order.valid_until {
        return Err(Refusal::OrderExpired);
    }
    outside(&order.account)?;
    let nonce = state.nonce(&order.account);
    if order.nonce < nonce {
        return Err(Refusal::NonceUsed);
    }
    if order.nonce > nonce {
        return Err(Refusal::NonceTooHigh);
    }
    if verified.signer() != order.account {
        sessions::live(state, order.account, verified.signer())?;
    }
    let is_free = is_free(state, &order.account, &order.action);
    let fee = charge(state, order.account, verified.size(), is_free)?;
    authorise(state, order.account, verified.signer(), &order.action, fee)?;
    act(state, order.account, &order.action)?;
    let mut account = state.account(&order.account);
    account.nonce = account.nonce.after(1);
    state.accounts.put(order.account, account);
    Ok(())
}

/// Whether an order costs no fee, nor any of its account's free bytes: an application that a member
/// vouches for, what the cashier and the guardian do in their office, and what an audit or a dispute
/// waits for. Of those last each is accepted once, and who is silent loses: nobody may have to be
/// silent for want of a fee.
fn is_free(state: &State, account: &Address, action: &Action) -> bool {
    match action {
        Action::Apply(_) => members::is_invited(state, account),
        Action::IssueCredits(_) | Action::WithdrawCredits(_) => {
            state.meta().cashier == Some(*account)
        }
        Action::Delay(_) => state.meta().guardian == Some(*account),
        Action::CommitVerdict(_)
        | Action::AskPayload(_)
        | Action::OpenPayload(_)
        | Action::OpenReceipt(_)
        | Action::RevealVerdict(_)
        | Action::Challenge(_)
        | Action::AnswerChallenge(_)
        | Action::DivideTrace(_)
        | Action::OpenStep(_)
        | Action::ShowEvidence(_)
        | Action::JudgeDispute(_) => true,
        _ => false,
    }
}

fn act(state: &mut State, account: Address, action: &Action) -> Result<(), Refusal> {
    match action {
        Action::Transfer(it) => accounts::transfer(state, account, it),
        Action::Give(it) => accounts::give(state, account, it),
        Action::GrantSession(it) => sessions::grant(state, account, it),
        Action::RevokeSession(it) => sessions::revoke(state, account, it),
        Action::Apply(it) => members::apply_for(state, account, it),
        Action::Sponsor(it) => members::sponsor(state, account, it),
        Action::AddCapital(it) => members::add_capital(state, account, it),
        Action::Leave(_) => members::leave(state, account),
        Action::Propose(it) => governance::propose(state, account, it),
        Action::Vote(it) => governance::vote(state, account, it),
        Action::Delegate(it) => governance::delegate(state, account, it),
        Action::Undelegate(it) => governance::undelegate(state, account, it),
        Action::Delay(it) => governance::delay(state, account, it),
        Action::Register(it) => works::register(state, account, it),
        Action::Retire(it) => works::retire(state, account, it.work),
        Action::PayForUse(it) => works::pay_for_use(state, account, it),
        Action::OpenChannel(it) => channels::open(state, account, it),
        Action::TopUpChannel(it) => channels::top_up(state, account, it),
        Action::RedeemVoucher(it) => channels::redeem(state, account, it),
        Action::CloseChannel(it) => channels::close(state, account, it.channel),
        Action::IssueCredits(it) => accounts::issue(state, account, it),
        Action::WithdrawCredits(it) => accounts::withdraw(state, account, it),
        Action::ReturnValidator(it) => validators::call_back(state, account, it),
        Action::RegisterNode(it) => nodes::register(state, account, it),
        Action::UnregisterNode(it) => nodes::unregister(state, account, it.node_key),
        Action::Stake(it) => crate::stakes::stake(state, account, it.amount),
        Action::Unstake(it) => crate::stakes::unstake(state, account, it.amount),
        Action::Enlist(_) => crate::standing::enlist(state, account),
        Action::Resign(_) => crate::standing::resign(state, account),
        Action::RedeemBatch(it) => crate::batches::redeem(state, account, it),
        Action::CommitVerdict(it) => audits::commit(state, account, it),
        Action::AskPayload(it) => audits::ask(state, account, it),
        Action::OpenPayload(it) => audits::open_payload(state, account, it),
        Action::OpenReceipt(it) => audits::open_receipt(state, account, it),
        Action::RevealVerdict(it) => audits::reveal(state, account, it),
        Action::ShowReceipt(it) => audits::show_receipt(state, account, it),
        Action::Challenge(it) => disputes::challenge(state, account, it),
        Action::AnswerChallenge(it) => disputes::answer(state, account, it),
        Action::DivideTrace(it) => disputes::divide(state, account, it),
        Action::OpenStep(it) => disputes::open(state, account, it),
        Action::ShowEvidence(it) => disputes::show_evidence(state, account, it),
        Action::JudgeDispute(it) => disputes::judge(state, account, it),
        Action::ShowModel(it) => disputes::show_model(state, it),
    }
}
