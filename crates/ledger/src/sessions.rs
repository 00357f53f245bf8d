//! Session keys: other keys that may act for an account, within limits.
//!
//! Invariants:
//! - A session key spends at most its cap, does only what its scopes say, and only until it expires.
//! - No session key can grant rights, or change a membership.
//! - An account has at most `SESSIONS_MAX` keys.
//!
//! Not here: signatures of payment vouchers (`channels`).

use std::ops::Bound;

use types::amount::{Amount, Height};
use types::bounded::Set;
use types::id::Address;
use types::measure::Parameter;
use types::record;
use types::transaction::{Action, GrantSession, RevokeSession, SCOPES_MAX};
use types::word::Scope;

use crate::accounts::outside;
use crate::event::Event;
use crate::refusal::Refusal;
use crate::state::State;

/// Session keys of one account. A program or a machine needs one.
pub const SESSIONS_MAX: usize = 16;

record! {
    /// What a session key may do.
    Session {
        /// What it may still spend.
        cap: Amount,
        /// What it may do.
        scopes: Set<Scope, SCOPES_MAX>,
        /// The last block in which it may act.
        expires: Height,
    }
}

/// The scope that lets a session key do something, if any does.
fn scope(action: &Action) -> Option<Scope> {
    match action {
        Action::Transfer(_) | Action::Give(_) | Action::PayForUse(_) => Some(Scope::Pay),
        Action::OpenChannel(_)
        | Action::TopUpChannel(_)
        | Action::RedeemVoucher(_)
        | Action::CloseChannel(_) => Some(Scope::Channel),
        Action::Register(_) | Action::Retire(_) => Some(Scope::Publish),
        Action::Propose(_) | Action::Vote(_) => Some(Scope::Vote),
        Action::Stake(_) | Action::Unstake(_) | Action::Enlist(_) | Action::Resign(_) => None,
        Action::RedeemBatch(_)
        | Action::CommitVerdict(_)
        | Action::AskPayload(_)
        | Action::OpenPayload(_)
        | Action::OpenReceipt(_)
        | Action::RevealVerdict(_)
        | Action::Challenge(_)
        | Action::AnswerChallenge(_)
        | Action::DivideTrace(_)
        | Action::OpenStep(_)
        | Action::ShowEvidence(_)
        | Action::JudgeDispute(_)
        | Action::ShowModel(_)
        | Action::ShowReceipt(_) => Some(Scope::Audit),
        Action::GrantSession(_)
        | Action::RevokeSession(_)
        | Action::Apply(_)
        | Action::Sponsor(_)
        | Action::AddCapital(_)
        | Action::Leave(_)
        | Action::Delegate(_)
        | Action::Undelegate(_)
        | Action::Delay(_)
        | Action::IssueCredits(_)
        | Action::WithdrawCredits(_)
        | Action::ReturnValidator(_)
        | Action::RegisterNode(_)
        | Action::UnregisterNode(_) => None,
    }
}

/// What an action takes from the account, of what a session key can do.
fn spent(action: &Action) -> Amount {
    match action {
        Action::Transfer(it) => it.amount,
        Action::Give(it) => it.amount,
        Action::PayForUse(it) => it.amount,
        Action::OpenChannel(it) => it.amount,
        Action::TopUpChannel(it) => it.amount,
        _ => Amount::ZERO,
    }
}

/// Whether the signer may act for the account. Takes what a session key spends, with the fee, from
/// its cap.
pub(crate) fn authorise(
    state: &mut State,
    account: Address,
    signer: Address,
    action: &Action,
    fee: Amount,
) -> Result<(), Refusal> {
    if signer == account {
        return Ok(());
    }
    let mut session = live(state, account, signer)?.clone();
    let scope = scope(action).ok_or(Refusal::SessionScope)?;
    if !session.scopes.contains(&scope) {
        return Err(Refusal::SessionScope);
    }
    let spent = spent(action).checked_add(fee).ok_or(Refusal::SessionCap)?;
    session.cap = session.cap.checked_sub(spent).ok_or(Refusal::SessionCap)?;
    state.sessions.put((account, signer), session);
    Ok(())
}

/// The session of a key, if it may still be used.
///
/// # Errors
///
/// When the key has no session for the account, or the session has expired.
pub fn live(state: &State, account: Address, key: Address) -> Result<&Session, Refusal> {
    let session = state.sessions.get(&(account, key)).ok_or(Refusal::NotTheSigner)?;
    if state.now() > session.expires { Err(Refusal::SessionExpired) } else { Ok(session) }
}

pub(crate) fn grant(state: &mut State, account: Address, it: &GrantSession) -> Result<(), Refusal> {
    outside(&it.key)?;
    if it.key == account {
        return Err(Refusal::ToItself);
    }
    let now = state.now();
    let last = now.after(state.parameter(Parameter::SessionBlocks));
    if it.expires < now || it.expires > last {
        return Err(Refusal::SessionLength);
    }
    let keys = (
        Bound::Included((account, Address([0; 20]))),
        Bound::Included((account, Address([255; 20]))),
    );
    let (expired, live): (Vec<_>, Vec<_>) =
        state.sessions.range(keys).partition(|(_, session)| session.expires < now);
    let count = live.iter().filter(|((_, key), _)| *key != it.key).count();
    let expired: Vec<(Address, Address)> = expired.into_iter().map(|(key, _)| *key).collect();
    if count >= SESSIONS_MAX {
        return Err(Refusal::SessionsFull);
    }
    expired.iter().for_each(|key| state.sessions.remove(key));
    let session = Session { cap: it.cap, scopes: it.scopes.clone(), expires: it.expires };
    state.sessions.put((account, it.key), session);
    state.say(Event::Session { account, key: it.key, is_live: true });
    Ok(())
}

pub(crate) fn revoke(
    state: &mut State,
    account: Address,
    it: &RevokeSession,
) -> Result<(), Refusal> {
    let key = (account, it.key);
    if state.sessions.get(&key).is_none() {
        return Err(Refusal::SessionUnknown);
    }
    state.sessions.remove(&key);
    state.say(Event::Session { account, key: it.key, is_live: false });
    Ok(())
}
