//! Orders that wait for a block.
//!
//! Invariants:
//! - An order in the pool is signed for this network, and its nonce has not been used.
//! - An account has at most `ACCOUNT_MAX` orders of `ACCOUNT_SIZE_MAX` bytes here, and all accounts'
//!   orders have at most `SIZE_MAX` bytes, so that nobody can fill a node's memory or another's place.
//! - A large order is of someone for whom the ledger waits.
//!
//! Not here: how orders reach other nodes.

use std::collections::BTreeMap;

use ledger::refusal::Refusal;
use ledger::state::State;
use types::amount::{Height, Nonce};
use types::envelope::{Signed, Verified};
use types::id::{Address, Hash};
use types::signature::Unsigned;

/// Waiting orders of one account: what a person's program sends in a burst. Nonces may be ahead by as
/// many.
pub const ACCOUNT_MAX: u64 = 64;
/// Bytes of the waiting orders of one account: two pieces of evidence, and what comes with them.
pub const ACCOUNT_SIZE_MAX: u64 = 4 << 20;
/// Bytes of all waiting orders: eight full blocks.
pub const SIZE_MAX: u64 = 16 << 20;

/// Why an order may not wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAccepted {
    /// The rules refuse it whatever comes before it.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// An order of the same account with the same nonce waits already. The first to come stays: orders
    /// bid for no place, so that nothing could say which is to be preferred.
    #[error("another order of the account with this nonce waits; use the next nonce, or wait")]
    NonceTaken,
    /// The account has as many orders waiting as it may.
    #[error(
        "the account has {ACCOUNT_MAX} orders or {ACCOUNT_SIZE_MAX} bytes waiting, or the nonce is as far ahead; send it again after the next block"
    )]
    AccountFull,
    /// The pool is full.
    #[error("too many orders are waiting; send it again after the next block")]
    Full,
}

impl From<Unsigned> for NotAccepted {
    fn from(error: Unsigned) -> NotAccepted {
        NotAccepted::Refused(error.into())
    }
}

/// An order and what its signature says.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// As it came, for the block.
    pub signed: Signed,
    /// As the rules take it.
    pub verified: Verified,
    /// The block that was being made when it came.
    pub since: Height,
}

/// The waiting orders.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    accounts: BTreeMap<Address, BTreeMap<Nonce, Waiting>>,
    /// Whose order has which name.
    names: BTreeMap<Hash, (Address, Nonce)>,
    size: u64,
}

impl Pool {
    /// How many orders wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// A waiting order whose signature was checked when it came.
    #[must_use]
    pub fn get(&self, id: &Hash) -> Option<&Waiting> {
        let (account, nonce) = self.names.get(id)?;
        self.accounts.get(account)?.get(nonce)
    }

    /// Whether an order may come in, but for its signature, which costs a thousand times what the rest
    /// does; its name if it waits already.
    ///
    /// # Errors
    ///
    /// When the order can never be accepted, or there is no place for it.
    pub fn screen(&self, state: &State, signed: &Signed) -> Result<Option<Hash>, NotAccepted> {
        let id = signed.id();
        if self.names.contains_key(&id) {
            return Ok(Some(id));
        }
        let (account, nonce) = (signed.order.account, signed.order.nonce);
        let first = state.nonce(&account);
        if nonce < first {
            return Err(Refusal::NonceUsed.into());
        }
        if state.now() > signed.order.valid_until {
            return Err(Refusal::OrderExpired.into());
        }
        if nonce.0.saturating_sub(first.0) >= ACCOUNT_MAX {
            return Err(NotAccepted::AccountFull);
        }
        if self.accounts.get(&account).is_some_and(|orders| orders.contains_key(&nonce)) {
            return Err(NotAccepted::NonceTaken);
        }
        ledger::disputes::expected(state, &signed.order)?;
        if self.size >= SIZE_MAX { Err(NotAccepted::Full) } else { Ok(None) }
    }

    /// Takes in an order whose signature has been checked; one that waits already is left as it is.
    ///
    /// # Errors
    ///
    /// When the order can never be accepted, or there is no place for it.
    pub fn add(
        &mut self,
        state: &State,
        signed: Signed,
        verified: Verified,
    ) -> Result<Hash, NotAccepted> {
        if let Some(id) = self.screen(state, &signed)? {
            return Ok(id);
        }
        let (account, nonce) = (signed.order.account, signed.order.nonce);
        if verified.signer() != account {
            // A key that holds no session is refused now, so that nobody fills another's places.
            ledger::sessions::live(state, account, verified.signer())?;
        }
        let waiting = self.accounts.get(&account).into_iter().flat_map(BTreeMap::values);
        let sizes = waiting.map(|waiting| waiting.verified.size());
        if sizes.fold(verified.size(), u64::saturating_add) > ACCOUNT_SIZE_MAX {
            return Err(NotAccepted::AccountFull);
        }
        if self.size.saturating_add(verified.size()) > SIZE_MAX {
            return Err(NotAccepted::Full);
        }
        let id = verified.id();
        self.size = self.size.saturating_add(verified.size());
        self.names.insert(id, (account, nonce));
        self.accounts
            .entry(account)
            .or_default()
            .insert(nonce, Waiting { signed, verified, since: state.now() });
        Ok(id)
    }

    /// The nonce after those of an account's waiting orders; none if none waits.
    #[must_use]
    pub fn next_nonce(&self, account: &Address) -> Option<Nonce> {
        let (last, _) = self.accounts.get(account)?.last_key_value()?;
        Some(last.after(1))
    }

    /// Waiting orders in the order in which a block should try them: every account's first, then
    /// every account's second, so that no account's burst holds up the others.
    pub fn in_turn(&self) -> impl Iterator<Item = &Waiting> {
        let longest = self.accounts.values().map(BTreeMap::len).max().unwrap_or(0);
        (0..longest).flat_map(|turn| {
            self.accounts.values().filter_map(move |orders| orders.values().nth(turn))
        })
    }

    /// Forgets an order.
    pub fn forget(&mut self, id: &Hash) {
        let Some((account, nonce)) = self.names.remove(id) else { return };
        let Some(orders) = self.accounts.get_mut(&account) else { return };
        if let Some(waiting) = orders.remove(&nonce) {
            self.size = self.size.saturating_sub(waiting.verified.size());
        }
        if orders.is_empty() {
            self.accounts.remove(&account);
        }
    }

    /// Forgets orders that a block has used or that have expired.
    pub fn tidy(&mut self, state: &State) {
        let Pool { accounts, names, size } = self;
        accounts.retain(|account, orders| {
            let nonce = state.nonce(account);
            orders.retain(|&at, waiting| {
                let stays = at >= nonce && state.now() <= waiting.signed.order.valid_until;
                if !stays {
                    names.remove(&waiting.verified.id());
                    *size = size.saturating_sub(waiting.verified.size());
                }
                stays
            });
            !orders.is_empty()
        });
    }
}
