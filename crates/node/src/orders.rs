//! Orders that this node signs by itself: it pays, redeems what it has earned, audits, and stands by its
//! work.
//!
//! Invariants:
//! - One order is under way at a time, so that none is refused for another's nonce.
//! - What is sent is settled, or has gone out of date, before the next is.
//!
//! Not here: what is sent (`redeem`, `audits`), and what the payer signs (`pay`).

use std::time::Duration;

use types::envelope::{Order, Signed};
use types::id::Address;
use types::signature::Secret;
use types::transaction::Action;

use crate::ledger::{Fate, Ledger};

/// Blocks for which an order is good: some time for a node that is behind, and soon over.
const VALID_BLOCKS: u64 = 60;
/// How long an order may wait for its block before it is looked at again.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(60);

/// Who signs, and for whom.
#[derive(Clone)]
pub struct Signer {
    /// The account whose stake, work and audits they are.
    pub account: Address,
    /// Its key, or a session key of it with the scope `audit`.
    pub secret: Secret,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Signer").field("account", &self.account).finish_non_exhaustive()
    }
}

/// Sends orders of one account, one after the other.
#[derive(Debug)]
pub struct Sender {
    signer: Signer,
    ledger: Ledger,
    turn: tokio::sync::Mutex<()>,
}

impl Sender {
    /// Of an account, to a ledger.
    #[must_use]
    pub fn new(signer: Signer, ledger: Ledger) -> Sender {
        Sender { signer, ledger, turn: tokio::sync::Mutex::default() }
    }

    /// Whose orders they are.
    #[must_use]
    pub fn account(&self) -> Address {
        self.signer.account
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Signs an order, sends it, and waits until it has taken effect.
    ///
    /// # Errors
    /// Says why it has not: the rules refuse it, or no block took it in time. It may be sent again then,
    /// if it is still the right one.
    pub async fn send(&self, action: Action) -> Result<(), String> {
        self.send_within(action, SETTLE_TIME_MAX).await
    }

    /// The same, and waits no longer than this for the block.
    ///
    /// # Errors
    /// As `send`.
    pub async fn send_within(&self, action: Action, time: Duration) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let signed = self.sign(action);
        let id = self.ledger.submit(&[signed]).into_iter().next();
        let id = id.ok_or("the ledger took no order")?.map_err(|error| error.to_string())?;
        let fate = self.ledger.settled(&id, time).await;
        match fate.map_err(|error| error.to_string())? {
            Fate::Done(..) => Ok(()),
            Fate::Refused(refusal) => Err(refusal.to_string()),
            Fate::Waiting | Fate::Unknown => Err("no block has taken it yet".to_owned()),
        }
    }

    fn sign(&self, action: Action) -> Signed {
        let account = self.signer.account;
        let (nonce, valid_until) = {
            let mut chain = self.ledger.chain();
            let state = chain.state();
            (state.nonce(&account), state.now().after(VALID_BLOCKS))
        };
        let order = Order { account, nonce, valid_until, action };
        order.sign(&self.signer.secret, &self.ledger.network())
    }
}
