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
//! Not here: who redeems it (`redeem`, or the owner by hand).

mod batch;
mod shelf;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use audit::receipt::Receipt;
use engine::request::Request;
use ledger::batches::{self, Batch};
use ledger::channels::Channel;
use ledger::sessions;
use ledger::stakes::Stake;
use ledger::state::State;
use network::work::{Cause, Payment};
use store::whole::replace;
use types::amount::Amount;
use types::bounded::List;
use types::codec::{decode, encode};
use types::id::{Address, Cid, Hash};
use types::record;
use types::signature::Signature;
use types::transaction::WorkVoucher;
use types::typed::signing_hash;
use types::word::Scope;

pub use self::batch::Redeemable;
use self::batch::is_needed;
use self::shelf::Shelf;
use crate::deal::{Deal, most};
use crate::ledger::Ledger;
use crate::receipts::Statement;

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
        /// The model of its receipts, once there is one.
        model: Option<Cid>,
    }
}

/// What an answer in progress may earn, until this is dropped.
#[derive(Debug)]
pub(crate) struct Promised {
    all: Arc<AtomicU64>,
    most: u64,
}

impl Promised {
    fn of(all: &Arc<AtomicU64>, most: Amount) -> Promised {
        let most = most.millionths();
        all.fetch_add(most, Ordering::Relaxed);
        Promised { all: Arc::clone(all), most }
    }
}

impl Drop for Promised {
    fn drop(&mut self) {
        self.all.fetch_sub(self.most, Ordering::Relaxed);
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
    /// Millionths that answers in progress may earn.
    in_progress: Arc<AtomicU64>,
    shelf: Mutex<Shelf>,
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
        let shelf = Shelf::open(folder)?;
        let mut tallies: BTreeMap<u64, Tally> =
            read(&file)?.into_iter().map(|it| (it.channel, it)).collect();
        // Stated after the tallies were written last.
        for receipt in shelf.all() {
            let tally = tally(&mut tallies, receipt.terms.channel);
            tally.model = Some(receipt.terms.model);
            if receipt.terms.sequence >= tally.next {
                tally.next = receipt.terms.sequence.saturating_add(1);
                tally.owed = sum(tally.owed, receipt.due);
            }
        }
        let (shelf, tallies, ledger) = (Mutex::new(shelf), Mutex::new(tallies), OnceLock::new());
        let in_progress = Arc::default();
        Ok(Earned { file, price, unpaid_max, in_progress, shelf, tallies, ledger })
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
    /// Says why it is not, and whether another channel would do.
    pub(crate) fn admit(
        &self,
        payment: Option<&Payment>,
        (node, model): (Hash, Option<Cid>),
        request: &Request,
    ) -> Result<Option<(Deal, Promised)>, (Cause, String)> {
        let unpaid = |why: String| (Cause::Unpaid, why);
        let spent = |why: String| (Cause::Spent, why);
        let Some(payment) = payment else {
            return match self.price {
                Amount::ZERO => Ok(None),
                price => {
                    Err(unpaid(format!("{price} credits for a million tokens are asked here")))
                }
            };
        };
        if payment.price != self.price || self.price == Amount::ZERO {
            let price = self.price;
            return Err(unpaid(format!("{} is offered and {price} is asked", payment.price)));
        }
        let ledger = self.ledger.get();
        let ledger = ledger.ok_or_else(|| unpaid("this node has no ledger".to_owned()))?;
        let mut chain = ledger.chain();
        let state = chain.state();
        let channel = state.channel(payment.channel);
        let channel = channel.ok_or_else(|| unpaid("there is no such channel".to_owned()))?;
        let account = state.registration(&node).map(|it| it.account);
        if account != Some(channel.payee) || channel.node != node {
            return Err(unpaid("the channel pays for another node's work".to_owned()));
        }
        if channel.closes.is_some() {
            return Err(spent("the channel is being closed".to_owned()));
        }
        if payment.epoch.0.abs_diff(state.meta().epoch.0) > 1 {
            return Err(unpaid(format!("the epoch is {}", state.meta().epoch.0)));
        }
        let mut tallies = self.tallies();
        if tallies.len() >= CHANNELS_MAX && !tallies.contains_key(&payment.channel) {
            return Err(unpaid("too many channels are kept account of".to_owned()));
        }
        let tally = tally(&mut tallies, payment.channel);
        if tally.model.is_some() && tally.model != model {
            return Err(spent("the channel pays for another model's answers".to_owned()));
        }
        if !self.shelf().has_room(|of| is_needed(state, of)) {
            return Err(unpaid("too many receipts wait to be redeemed".to_owned()));
        }
        let most = most(request, self.price);
        tally.admits(channel.deposit, self.unpaid_max, most).map_err(spent)?;
        let promised = Promised::of(&self.in_progress, most.unwrap_or_default());
        if !is_covered(state, &channel.payee, &tallies, &promised) {
            let why = "what is at stake here covers no more work until some of it is settled";
            return Err((Cause::Busy, why.to_owned()));
        }
        Ok(Some((Deal::of(payment, channel), promised)))
    }

    /// Makes a receipt with the channel's next sequence, and counts it if it is made.
    pub(crate) fn state<T, E>(
        &self,
        deal: &Deal,
        model: Cid,
        make: impl FnOnce(u64) -> Result<(Amount, T), E>,
    ) -> Result<T, E> {
        let mut tallies = self.tallies();
        let tally = tally(&mut tallies, deal.channel);
        let (due, made) = make(tally.next)?;
        tally.next = tally.next.saturating_add(1);
        tally.owed = sum(tally.owed, due);
        tally.model = Some(model);
        Ok(made)
    }

    /// Keeps a receipt that the payer is about to be told of.
    pub(crate) fn keep(&self, id: Hash, statement: &Statement) -> io::Result<()> {
        self.shelf().keep(id, statement)
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

    /// What can be redeemed now, of each channel that is still there.
    #[must_use]
    pub fn redeemable(&self) -> Vec<Redeemable> {
        let Some(ledger) = self.ledger.get() else { return vec![] };
        // Locked in this order everywhere.
        let mut chain = ledger.chain();
        let state = chain.state();
        let tallies: Vec<Tally> = self.tallies().values().cloned().collect();
        let shelf = self.shelf();
        let of = |tally: &Tally| {
            let channel = state.channel(tally.channel)?;
            let receipts = shelf.from(tally.channel, channel.receipts);
            let owner = |node: &Hash| state.registration(node).map(|it| it.account);
            batch::redeemable((tally, channel), &receipts, owner)
        };
        tallies.iter().filter_map(of).collect()
    }

    /// The batches of this node's receipts that are not settled.
    pub(crate) fn batches<T>(&self, show: impl Fn(&State, u64, &Batch) -> T) -> Vec<T> {
        let Some(ledger) = self.ledger.get() else { return vec![] };
        let node = ledger.node_key();
        let mut chain = ledger.chain();
        let state = chain.state();
        let ours = state.all_batches().filter(|(_, it)| it.node == node);
        ours.map(|(number, it)| show(state, *number, it)).collect()
    }

    /// The receipt at a place of a channel, with what it is about.
    #[must_use]
    pub fn statement(&self, channel: u64, sequence: u64) -> Option<Statement> {
        self.shelf().statement((channel, sequence))
    }

    /// The ids of so many receipts of a channel, from a sequence on; none if one is missing.
    #[must_use]
    pub fn ids(&self, channel: u64, first: u64, count: u32) -> Option<Vec<Hash>> {
        let count = usize::try_from(count).ok()?;
        let receipts = self.shelf().from(channel, first);
        Some(receipts.get(..count)?.iter().map(|it| it.id).collect())
    }

    /// The receipts that are kept, and when each was made, in seconds since 1970.
    #[must_use]
    pub fn receipts(&self) -> Vec<(Receipt, u64)> {
        self.shelf().dated()
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Whether what a worker has at stake would cover what it could redeem now, with all answers in progress
/// and the one that is promised. One answer is always worked for, so that who has nothing at stake
/// learns that it is not redeemed.
fn is_covered(
    state: &State,
    worker: &Address,
    tallies: &BTreeMap<u64, Tally>,
    promised: &Promised,
) -> bool {
    let pending = |it: &Tally| {
        let channel = state.channel(it.channel).filter(|channel| channel.payee == *worker)?;
        it.vouched.checked_sub(channel.redeemed)
    };
    let pending = tallies.values().filter_map(pending).fold(Amount::ZERO, sum);
    let free = state.stake(worker).map_or(Amount::ZERO, Stake::free);
    let in_progress = promised.all.load(Ordering::Relaxed);
    let all = Amount::new(in_progress).and_then(|it| it.checked_add(pending));
    let bond = all.and_then(|all| batches::bond(state, all));
    let is_only = pending == Amount::ZERO && in_progress == promised.most;
    is_only || bond.is_some_and(|bond| bond <= free)
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
    let voucher = WorkVoucher { payer, payee, channel: number, cumulative };
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
    let (signature, model) = (None, None);
    let empty = Tally { channel, next: 0, owed, vouched, signature, model };
    tallies.entry(channel).or_insert(empty)
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
mod tests;
