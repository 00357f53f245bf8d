//! What this node has earned: receipts of paid answers, and the last voucher of each channel.
//!
//! ```text
//! earned/NUMBER-ID   a receipt and its payload, as `receipts/`
//! earned/tallies     each channel: what was stated, what was vouched for, the voucher's signature
//! ```
//!
//! A receipt is on the disk before anyone is told of it, and a voucher before the next work is taken.
//! Whoever does not vouch gets no more work once it owes `unpaid_max`.
//!
//! Invariants:
//! - The receipts of a channel have the sequences 0, 1, 2 and so on; one that nobody was told of leaves
//!   its number to the next after a restart.
//! - A voucher counts only if it grants more than the last one, and the ledger would pay it.
//!
//! Not here: redeeming, which the owner's wallet signs (the program's `earn`).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use audit::receipt::Receipt;
use engine::request::Request;
use ledger::channels::Channel;
use ledger::sessions;
use ledger::state::State;
use network::work::Payment;
use types::amount::Amount;
use types::bounded::List;
use types::codec::{decode, encode};
use types::id::{Address, Hash};
use types::record;
use types::signature::Signature;
use types::transaction::Voucher;
use types::typed::signing_hash;
use types::word::Scope;

use crate::deal::{Deal, most};
use crate::ledger::Ledger;
use crate::receipts::Statement;
use crate::receipts::kept::Kept;
use crate::whole::replace;

/// Channels that are kept account of, at most: payers that one machine works for.
const CHANNELS_MAX: usize = 4096;
/// The file of the tallies.
const TALLIES: &str = "tallies";

record! {
    /// What is between this node and the payer of one channel.
    Tally {
        /// The channel's number.
        channel: u64,
        /// Receipts that were stated.
        next: u64,
        /// What they are due.
        owed: Amount,
        /// What the last voucher grants.
        vouched: Amount,
        /// Its signature.
        signature: Option<Signature>,
    }
}

/// What was earned, and on which terms more is.
#[derive(Debug)]
pub struct Earned {
    file: PathBuf,
    /// For a million tokens; nothing where this node works for nothing.
    price: Amount,
    /// What a channel may owe beyond its voucher before work is refused.
    unpaid_max: Amount,
    kept: Mutex<Kept>,
    tallies: Mutex<BTreeMap<u64, Tally>>,
    ledger: OnceLock<Ledger>,
}

impl Earned {
    /// What a folder has.
    ///
    /// # Errors
    /// When it cannot be read, or has tallies that are none.
    pub fn open(folder: PathBuf, price: Amount, unpaid_max: Amount) -> io::Result<Earned> {
        let file = folder.join(TALLIES);
        let kept = Kept::open(folder)?;
        let mut tallies: BTreeMap<u64, Tally> =
            read(&file)?.into_iter().map(|it| (it.channel, it)).collect();
        // Stated after the tallies were written last.
        let mut receipts = kept.all();
        receipts.sort_by_key(|receipt| receipt.terms.sequence);
        for receipt in receipts {
            let tally = tally(&mut tallies, receipt.terms.channel);
            if receipt.terms.sequence >= tally.next {
                tally.next = receipt.terms.sequence.saturating_add(1);
                tally.owed = sum(tally.owed, receipt.due);
            }
        }
        let (kept, tallies, ledger) = (Mutex::new(kept), Mutex::new(tallies), OnceLock::new());
        Ok(Earned { file, price, unpaid_max, kept, tallies, ledger })
    }

    /// The ledger that says which channels there are; said once.
    pub fn set_ledger(&self, ledger: Ledger) {
        self.ledger.get_or_init(|| ledger);
    }

    /// What this node wants for a million tokens.
    #[must_use]
    pub fn price(&self) -> Amount {
        self.price
    }

    /// Whether a request is paid for as it should be; the agreement if it is.
    ///
    /// # Errors
    /// Says why it is not.
    pub(crate) fn admit(
        &self,
        payment: Option<&Payment>,
        node: &Hash,
        request: &Request,
    ) -> Result<Option<Deal>, String> {
        let Some(payment) = payment else {
            return match self.price {
                Amount::ZERO => Ok(None),
                price => Err(format!("{price} credits for a million tokens are asked here")),
            };
        };
        if payment.price != self.price || self.price == Amount::ZERO {
            let price = self.price;
            return Err(format!("{} is offered and {price} is asked", payment.price));
        }
        let ledger = self.ledger.get().ok_or("this node has no ledger")?;
        let mut chain = ledger.chain();
        let state = chain.state();
        let channel = state.channel(payment.channel).ok_or("there is no such channel")?;
        let account = state.registration(node).map(|it| it.account);
        if account != Some(channel.payee) {
            return Err("the channel pays another account than this node's".to_owned());
        }
        if channel.closes.is_some() {
            return Err("the channel is being closed".to_owned());
        }
        if payment.epoch.0.abs_diff(state.meta().epoch.0) > 1 {
            return Err(format!("the epoch is {}", state.meta().epoch.0));
        }
        let mut tallies = self.tallies();
        if tallies.len() >= CHANNELS_MAX && !tallies.contains_key(&payment.channel) {
            return Err("too many channels are kept account of".to_owned());
        }
        let tally = tally(&mut tallies, payment.channel);
        tally.admits(channel.deposit, self.unpaid_max, most(request, self.price))?;
        Ok(Some(Deal::of(payment, channel)))
    }

    /// Makes a receipt with the channel's next sequence, and counts it if it is made.
    pub(crate) fn state<T, E>(
        &self,
        deal: &Deal,
        make: impl FnOnce(u64) -> Result<(Amount, T), E>,
    ) -> Result<T, E> {
        let mut tallies = self.tallies();
        let tally = tally(&mut tallies, deal.channel);
        let (due, made) = make(tally.next)?;
        tally.next = tally.next.saturating_add(1);
        tally.owed = sum(tally.owed, due);
        Ok(made)
    }

    /// Keeps a receipt that the payer is about to be told of.
    pub(crate) fn keep(&self, id: Hash, statement: &Statement) -> io::Result<()> {
        self.kept().keep(id, statement)
    }

    /// Keeps a voucher.
    ///
    /// # Errors
    /// Says why it does not count.
    pub(crate) fn vouched(
        &self,
        number: u64,
        cumulative: Amount,
        signature: Signature,
    ) -> Result<(), String> {
        let ledger = self.ledger.get().ok_or("this node has no ledger")?;
        {
            let mut chain = ledger.chain();
            let state = chain.state();
            let channel = state.channel(number).ok_or("there is no such channel")?;
            check(state, &ledger.network(), (number, channel), cumulative, &signature)?;
        }
        let mut tallies = self.tallies();
        let tally = tally(&mut tallies, number);
        if cumulative <= tally.vouched {
            return Err(format!("{} was vouched for before", tally.vouched));
        }
        (tally.vouched, tally.signature) = (cumulative, Some(signature));
        let all = List::<Tally, CHANNELS_MAX>::new(tallies.values().cloned().collect());
        let bytes = encode(&all.unwrap_or_default());
        replace(&self.file, &bytes).map_err(|error| format!("it cannot be kept: {error}"))
    }

    /// Each channel's tally, and the channel, if the ledger still has it.
    #[must_use]
    pub fn tallies_now(&self) -> Vec<(Tally, Option<Channel>)> {
        let tallies: Vec<Tally> = self.tallies().values().cloned().collect();
        let mut chain = self.ledger.get().map(Ledger::chain);
        let state = chain.as_mut().map(|chain| chain.state());
        let channel = |number| state?.channel(number).cloned();
        tallies.into_iter().map(|it| (it.clone(), channel(it.channel))).collect()
    }

    /// The receipts that are kept, and when each was made, in seconds since 1970.
    #[must_use]
    pub fn receipts(&self) -> Vec<(Receipt, u64)> {
        self.kept().dated()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tallies(&self) -> MutexGuard<'_, BTreeMap<u64, Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// Whether an answer that may cost so much is worked on.
    fn admits(
        &self,
        deposit: Amount,
        unpaid_max: Amount,
        most: Option<Amount>,
    ) -> Result<(), String> {
        let unpaid = self.owed.checked_sub(self.vouched).unwrap_or_default();
        if unpaid > unpaid_max {
            return Err(format!("{unpaid} credits are owed and not vouched for"));
        }
        let needed = most.and_then(|most| self.owed.checked_add(most));
        match needed.is_some_and(|needed| needed <= deposit) {
            true => Ok(()),
            false => Err("the channel does not hold enough for such an answer".to_owned()),
        }
    }
}

/// Whether the ledger would pay a voucher now, but for one that was redeemed before.
fn check(
    state: &State,
    network: &Hash,
    (number, channel): (u64, &Channel),
    cumulative: Amount,
    signature: &Signature,
) -> Result<(), String> {
    let (payer, payee) = (channel.payer, channel.payee);
    let voucher = Voucher { payer, payee, channel: number, cumulative };
    let signer = signature.recover(&signing_hash(&voucher.shown(), network));
    let signer: Address = signer.map_err(|error| error.to_string())?;
    let may = |signer| {
        let session = sessions::live(state, payer, signer);
        session.is_ok_and(|it| it.scopes.contains(&Scope::Channel))
    };
    if signer != payer && !may(signer) {
        return Err(format!("{signer} may not sign for {payer}"));
    }
    match cumulative <= channel.deposit {
        true => Ok(()),
        false => Err(format!("{cumulative} is more than the channel's {}", channel.deposit)),
    }
}

fn tally(tallies: &mut BTreeMap<u64, Tally>, channel: u64) -> &mut Tally {
    let (owed, vouched) = (Amount::ZERO, Amount::ZERO);
    tallies.entry(channel).or_insert(Tally { channel, next: 0, owed, vouched, signature: None })
}

/// What a channel owes is never more than its deposit, which is an amount.
fn sum(one: Amount, other: Amount) -> Amount {
    one.checked_add(other).unwrap_or(one)
}

fn read(file: &std::path::Path) -> io::Result<Vec<Tally>> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let tallies = decode::<List<Tally, CHANNELS_MAX>>(&bytes);
    let tallies = tallies.map_err(|error| {
        let what = "are no tallies: restore the file from a backup, or delete it and lose vouchers that are not redeemed";
        io::Error::other(format!("{} {what}: {error}", file.display()))
    })?;
    Ok(tallies.as_slice().to_vec())
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;
    use types::amount::Epoch;

    use super::*;
    use crate::receipts::tests::paid_statement;

    fn amount(millionths: u64) -> Amount {
        Amount::new(millionths).unwrap()
    }

    fn deal(channel: u64) -> Deal {
        let (payer, worker) = (Address([1; 20]), Address([2; 20]));
        let (price, epoch, nonce) = (amount(1_000_000), Epoch(0), Hash([3; 32]));
        Deal { channel, payer, worker, price, epoch, nonce }
    }

    #[test]
    fn a_payer_that_does_not_vouch_gets_no_more_work() {
        let tally = |owed, vouched| Tally {
            channel: 1,
            next: 1,
            owed: amount(owed),
            vouched: amount(vouched),
            signature: None,
        };
        let admits = |tally: Tally, most| tally.admits(amount(100), amount(10), Some(amount(most)));
        assert_eq!(admits(tally(10, 0), 50), Ok(()));
        assert!(admits(tally(11, 0), 50).is_err(), "it owes more than it may");
        assert_eq!(admits(tally(61, 51), 39), Ok(()));
        assert!(admits(tally(61, 51), 40).is_err(), "the channel has no room");
        assert!(tally(0, 0).admits(amount(100), amount(10), None).is_err(), "no amount pays");
    }

    #[test]
    fn sequences_go_on_after_a_restart_and_one_that_nobody_was_told_of_is_given_again() {
        let folder = tempdir().unwrap();
        let open = || {
            let (price, unpaid_max) = (amount(1_000_000), amount(10));
            Earned::open(folder.path().join("earned"), price, unpaid_max).unwrap()
        };
        let earned = open();
        let state = |earned: &Earned, is_kept: bool| {
            let made = earned.state(&deal(7), |sequence| {
                let (id, statement) = paid_statement(&deal(7), sequence);
                let due = statement.signed.receipt.due;
                Ok::<_, String>((due, (sequence, id, statement)))
            });
            let (sequence, id, statement) = made.unwrap();
            if is_kept {
                earned.keep(id, &statement).unwrap();
            }
            sequence
        };
        assert_eq!((state(&earned, true), state(&earned, true)), (0, 1));
        let owed = earned.tallies_now()[0].0.owed;
        assert!(owed > Amount::ZERO);
        assert_eq!(state(&earned, false), 2, "it is killed before it tells of this one");
        let earned = open();
        assert_eq!(earned.tallies_now()[0].0.owed, owed);
        assert_eq!(state(&earned, true), 2);
        assert_eq!(earned.receipts().len(), 3);
        let failed = earned.state(&deal(7), |_| Err::<(Amount, ()), _>("no receipt".to_owned()));
        assert!(failed.is_err());
        assert_eq!(state(&earned, true), 3, "what failed takes no number");
    }
}
