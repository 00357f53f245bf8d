//! What this node pays: channels to the workers that it uses, and vouchers for what they have answered.
//!
//! ```text
//! paid/channels   each channel that this node has opened, and what it has vouched for
//! ```
//!
//! A channel is for one worker's node and one model, so that its receipts have one row of numbers and a
//! batch of them is of one work. It is opened when a worker is used that has none with room. Each answer
//! whose receipt is right is vouched for at once; one that failed has no receipt, and costs nothing.
//!
//! Invariants:
//! - What was vouched for is on the disk before the voucher leaves, so that none grants less than one
//!   before it.
//! - All channels together hold at most the cap, whatever workers ask; the session key's own cap on the
//!   ledger holds besides.
//!
//! Not here: what a worker may ask (`fleet`), the rules of channels (the ledger).

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use audit::receipt::Trust;
use engine::request::Request;
use ledger::state::State;
use store::whole::replace;
use types::amount::{Amount, Blocks};
use types::bounded::List;
use types::codec::{decode, encode};
use types::id::{Address, Cid, Hash};
use types::record;
use types::signature::{Secret, Signature};
use types::transaction::{Action, CloseChannel, OpenChannel, WorkVoucher};
use types::typed::signing_hash;

use crate::deal::{Deal, most};
use crate::ledger::Ledger;
use crate::orders::{Sender, Signer};
use crate::seeding::random;

/// Channels that a node has opened, at most; those that the ledger has closed make room.
const CHANNELS_MAX: usize = 1024;
/// Blocks in which a worker can redeem once the payer wants a channel closed: a day of a block a second.
const TIMEOUT: Blocks = Blocks(86_400);
/// How long an order may wait for its block: less than a request looks for a worker.
const OPEN_TIME_MAX: Duration = Duration::from_secs(8);

/// Who pays, and how much.
#[derive(Clone)]
pub struct Settings {
    /// Where what was vouched for is kept.
    pub file: PathBuf,
    /// Signs vouchers and orders; the account's key, or a session key of it.
    pub secret: Secret,
    /// Whose credits.
    pub account: Address,
    /// For a million tokens, at most; nothing uses only workers that work for nothing.
    pub price_max: Amount,
    /// What a channel begins with.
    pub deposit: Amount,
    /// What all channels hold together, at most.
    pub cap: Amount,
    /// How answers may be checked: `Checked` or `Private`.
    pub trust: Trust,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Settings").field("account", &self.account).finish_non_exhaustive()
    }
}

record! {
    /// A channel that this node has opened.
    Opened {
        /// Its number.
        channel: u64,
        /// Who is paid.
        payee: Address,
        /// The payee's node that works for it.
        node: Hash,
        /// The model that it works with.
        model: Cid,
        /// What was set aside.
        deposit: Amount,
        /// What was vouched for.
        granted: Amount,
    }
}

/// A worker that is used, and what it works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hired {
    /// Its node.
    pub node: Hash,
    /// The model.
    pub model: Cid,
    /// What it asks for a million tokens.
    pub price: Amount,
}

/// Pays workers.
#[derive(Debug)]
pub struct Payer {
    settings: Settings,
    /// Who sends its orders, once there is a ledger.
    sender: OnceLock<Sender>,
    opened: tokio::sync::Mutex<BTreeMap<u64, Opened>>,
    /// What answers that are being computed may cost, by channel.
    reserved: Mutex<BTreeMap<u64, u64>>,
}

/// An agreement on an answer, for which the channel has room until this is dropped.
#[derive(Debug)]
pub struct Reserved {
    /// The agreement.
    pub deal: Deal,
    most: u64,
    payer: Arc<Payer>,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(reserved) = self.payer.reserved().get_mut(&self.deal.channel) {
            *reserved = reserved.saturating_sub(self.most);
        }
    }
}

impl Payer {
    /// Goes on with what its file has.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn open(settings: Settings) -> io::Result<Payer> {
        let opened = read(&settings.file)?.into_iter().map(|it| (it.channel, it)).collect();
        let (opened, sender) = (tokio::sync::Mutex::new(opened), OnceLock::new());
        Ok(Payer { settings, sender, opened, reserved: Mutex::default() })
    }

    /// The ledger that has the channels; said once.
    pub fn set_ledger(&self, ledger: Ledger) {
        let Settings { account, secret, .. } = self.settings.clone();
        self.sender.get_or_init(|| Sender::new(Signer { account, secret }, ledger));
    }

    fn ledger(&self) -> Option<&Ledger> {
        self.sender.get().map(Sender::ledger)
    }

    /// What is paid for a million tokens, at most.
    #[must_use]
    pub fn price_max(&self) -> Amount {
        self.settings.price_max
    }

    /// How answers that are paid for may be checked.
    #[must_use]
    pub fn trust(&self) -> Trust {
        self.settings.trust
    }

    /// Agrees with a worker on an answer at its price; opens a channel if none has room for it.
    ///
    /// # Errors
    /// Says why it is not paid for.
    pub async fn agree(
        self: &Arc<Payer>,
        hired: Hired,
        request: &Request,
    ) -> Result<Reserved, String> {
        let Hired { node, price, .. } = hired;
        let most = most(request, price).ok_or("no amount pays for such an answer")?;
        let ledger = self.ledger().ok_or("this node has no ledger")?;
        let payee = ledger.chain().state().registration(&node).map(|it| it.account);
        let payee =
            payee.ok_or("no account has registered the worker, so that none can be paid")?;
        // By itself, so that a request that is given up leaves no channel that nobody knows.
        let payer = self.clone();
        let found = tokio::spawn(async move { payer.channel((payee, hired), most).await });
        let channel = found.await.map_err(|error| error.to_string())??;
        let nonce = random().map_err(|error| error.to_string())?;
        let epoch = ledger.chain().state().meta().epoch;
        let (account, trust) = (self.settings.account, self.settings.trust);
        let deal = Deal { channel, payer: account, worker: payee, price, epoch, nonce, trust };
        let most = most.millionths();
        Ok(Reserved { deal, most, payer: self.clone() })
    }

    /// A channel to a payee with room for so much, which is reserved.
    async fn channel(&self, (payee, hired): (Address, Hired), most: Amount) -> Result<u64, String> {
        let Hired { node, model, .. } = hired;
        let sender = self.sender.get().ok_or("this node has no ledger")?;
        let mut opened = self.opened.lock().await;
        {
            let mut chain = sender.ledger().chain();
            let state = chain.state();
            let mut reserved = self.reserved();
            let has_room = |it: &&Opened| {
                let taken = reserved.get(&it.channel).copied().unwrap_or(0);
                let left = it.deposit.checked_sub(it.granted).unwrap_or_default().millionths();
                let there = state.channel(it.channel);
                (it.payee, it.node, it.model) == (payee, node, model)
                    && there.is_some_and(|channel| channel.closes.is_none())
                    && left.saturating_sub(taken) >= most.millionths()
            };
            if let Some(found) = opened.values().find(has_room).map(|it| it.channel) {
                *reserved.entry(found).or_default() += most.millionths();
                return Ok(found);
            }
            opened.retain(|number, _| state.channel(*number).is_some());
        }
        let deposit = self.settings.deposit.max(most);
        let held = opened.values().map(|it| it.deposit.millionths()).sum::<u64>();
        if held.saturating_add(deposit.millionths()) > self.settings.cap.millionths() {
            return Err("the channels hold as much as they may (pay_cap)".to_owned());
        }
        if opened.len() >= CHANNELS_MAX {
            return Err("too many channels are open; close some with `mashaa channel`".to_owned());
        }
        let channel = open_channel(sender, self.settings.account, (payee, node), deposit).await?;
        let granted = Amount::ZERO;
        opened.insert(channel, Opened { channel, payee, node, model, deposit, granted });
        self.write(&opened)?;
        *self.reserved().entry(channel).or_default() += most.millionths();
        Ok(channel)
    }

    /// Uses a channel no more, since its worker refuses it: what was vouched for stays the worker's, and
    /// the rest comes back once the channel's time is over.
    pub async fn leave(&self, number: u64) {
        let Some(sender) = self.sender.get() else { return };
        // One at a time, so that many requests that find the same send one order.
        let _opened = self.opened.lock().await;
        let is_open =
            sender.ledger().chain().state().channel(number).is_some_and(|it| it.closes.is_none());
        if !is_open {
            return;
        }
        let action = Action::CloseChannel(CloseChannel { channel: number });
        if let Err(why) = sender.send_within(action, OPEN_TIME_MAX).await {
            tracing::warn!(channel = number, why, "a channel that is refused could not be closed");
        }
    }

    /// Vouches for what an answer is due; gives what is granted in all, and the signature.
    ///
    /// # Errors
    /// When that cannot be kept.
    pub async fn vouch(&self, deal: &Deal, due: Amount) -> Result<(Amount, Signature), String> {
        let ledger = self.ledger().ok_or("this node has no ledger")?;
        let mut opened = self.opened.lock().await;
        let channel = opened.get_mut(&deal.channel).ok_or("the channel is gone")?;
        let cumulative = channel.granted.checked_add(due).filter(|it| *it <= channel.deposit);
        let cumulative = cumulative.ok_or("the channel does not hold enough")?;
        channel.granted = cumulative;
        self.write(&opened)?;
        let Deal { channel, payer, worker: payee, .. } = *deal;
        let voucher = WorkVoucher { payer, payee, channel, cumulative };
        let hash = signing_hash(&voucher.shown(), &ledger.network());
        Ok((cumulative, self.settings.secret.sign(&hash)))
    }

    /// The channels that this node has opened, and what the payee has redeemed of each.
    pub async fn channels(&self) -> Vec<(Opened, Option<Amount>)> {
        let opened: Vec<Opened> = self.opened.lock().await.values().cloned().collect();
        let mut chain = self.ledger().map(Ledger::chain);
        let state = chain.as_mut().map(|chain| chain.state());
        let redeemed = |number| Some(state?.channel(number)?.redeemed);
        opened.into_iter().map(|it| (it.clone(), redeemed(it.channel))).collect()
    }

    fn write(&self, opened: &BTreeMap<u64, Opened>) -> Result<(), String> {
        let all = List::<Opened, CHANNELS_MAX>::new(opened.values().cloned().collect());
        let bytes = encode(&all.unwrap_or_default());
        replace(&self.settings.file, &bytes).map_err(|error| format!("it cannot be kept: {error}"))
    }

    fn reserved(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, u64>> {
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a channel, and gives its number.
async fn open_channel(
    sender: &Sender,
    payer: Address,
    (payee, node): (Address, Hash),
    amount: Amount,
) -> Result<u64, String> {
    let ledger = sender.ledger();
    let before = ledger.chain().state().meta().channel_next;
    let open = OpenChannel { payee, amount, timeout: TIMEOUT, node };
    let sent = sender.send_within(Action::OpenChannel(open), OPEN_TIME_MAX).await;
    sent.map_err(|why| format!("no channel is opened: {why}"))?;
    let found = newest(ledger.chain().state(), payer, &node, before);
    found.ok_or_else(|| "the channel was closed at once".to_owned())
}

/// The last channel from an account for a node's work, of those with at least this number.
fn newest(state: &State, payer: Address, node: &Hash, from: u64) -> Option<u64> {
    let ours = state
        .all_channels()
        .filter(|(number, it)| **number >= from && it.payer == payer && it.node == *node);
    ours.map(|(number, _)| *number).max()
}

fn read(file: &std::path::Path) -> io::Result<Vec<Opened>> {
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let opened = decode::<List<Opened, CHANNELS_MAX>>(&bytes);
    let opened = opened.map_err(|error| {
        let what = "names no channels: restore it from a backup, or delete it and close the channels with `mashaa channel close`";
        io::Error::other(format!("{} {what}: {error}", file.display()))
    })?;
    Ok(opened.as_slice().to_vec())
}
