//! Payments that are signed beforehand, given to the nodes of a network, and seen in its blocks.
//!
//! Each payer sends to one node, in the order of its nonces; the payers are shared out among as many
//! senders as the nodes need to keep every core at work.
//!
//! Invariants: a payer has at most `WINDOW_MAX` payments under way, which every node's pool has room
//! for.
//!
//! Not here: what is made of the times (`ledger`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use chain::block::Block;
use chain::pool::ACCOUNT_MAX;
use node::ledger::{hex, unhex};
use types::amount::{Amount, Height, Nonce};
use types::bounded::Text;
use types::codec::encode;
use types::envelope::Order;
use types::id::{Address, Hash, keccak256};
use types::signature::Secret;
use types::transaction::{Action, Transfer};

use crate::arguments::LoadArguments;
use crate::client::{Client, number};

/// Payments of one payer under way, at most.
const WINDOW_MAX: u64 = ACCOUNT_MAX;
/// Payments of one request, at most: what a node takes.
const BATCH_MAX: usize = 1024;
/// How long payments are gathered into one request, and between two looks for room.
const GATHER: Duration = Duration::from_millis(5);

/// The payers.
pub(super) struct Payers {
    keys: Vec<Secret>,
    places: BTreeMap<Address, usize>,
    /// How many orders each has sent before.
    first: Vec<u64>,
}

/// A payment, as the API takes it.
pub(super) struct Payment {
    index: usize,
    text: String,
}

/// What the senders and the watcher know of the payments.
pub(super) struct Progress {
    start: Instant,
    /// The same, as blocks tell time.
    pub(super) began: SystemTime,
    /// When each payment was due, or sent at no set rate, in microseconds from the start; 0 before.
    sent: Vec<AtomicU64>,
    /// How many payments of each payer are in blocks.
    done: Vec<AtomicU64>,
    /// Payments a second; 0: as many as the network takes.
    rate: u32,
    seconds: u32,
    /// Senders that have more to send.
    pub(super) senders: AtomicUsize,
    /// Set when nothing more is to be sent.
    pub(super) is_over: AtomicBool,
}

/// A block in which payments were seen.
pub(super) struct Seen {
    pub(super) height: u64,
    /// The header's, in milliseconds since 1970.
    pub(super) time: u64,
    pub(super) payments: Vec<usize>,
}

impl Payers {
    /// Payers whose keys follow from their number.
    pub(super) fn new(count: usize) -> anyhow::Result<Payers> {
        let key = |number: usize| Secret::new(keccak256(format!("payer {number}").as_bytes()).0);
        let keys: Option<Vec<Secret>> = (0..count).map(key).collect();
        let keys = keys.context("a hash is a key, but for one in 2^127")?;
        let places = keys.iter().enumerate().map(|(at, key)| (key.address(), at)).collect();
        Ok(Payers { keys, places, first: vec![0; count] })
    }

    /// Asks a node how many orders each payer has sent before.
    pub(super) fn ask(&mut self, node: &Client) -> anyhow::Result<()> {
        for (key, first) in self.keys.iter().zip(&mut self.first) {
            let account = node.get(&format!("/ledger/accounts/{}", key.address()))?;
            *first = number(&account, "next_nonce")?;
        }
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// How the genesis names them.
    pub(super) fn founders(&self) -> Vec<String> {
        self.keys.iter().map(|key| format!("payer={}", key.address())).collect()
    }

    /// The payment with a number, unsigned: payers take turns, and so do the accounts that are paid.
    pub(super) fn order(&self, index: usize, accounts: u64) -> Option<(Order, &Secret)> {
        let place = index % self.count();
        let (payer, first) = (self.keys.get(place)?, self.first.get(place)?);
        let nonce = Nonce(first + u64::try_from(index / self.count()).ok()?);
        // Steps of a number without a common factor, so that one block's accounts are far apart.
        let payee = u64::try_from(index).ok()?.wrapping_mul(0x9e37_79b1) % accounts.max(1);
        let Hash([to @ .., _, _, _, _, _, _, _, _, _, _, _, _]) =
            keccak256(format!("payee {payee}").as_bytes());
        let amount = Amount::new(1)?;
        let action = Action::Transfer(Transfer { to: Address(to), amount, note: Text::default() });
        let valid_until = Height(u64::MAX);
        Some((Order { account: payer.address(), nonce, valid_until, action }, payer))
    }

    /// Payments from one number on, every so many, signed.
    pub(super) fn sign(
        &self,
        network: &Hash,
        accounts: u64,
        numbers: impl Iterator<Item = usize>,
    ) -> Option<VecDeque<Payment>> {
        let signed = numbers.map(|index| {
            let (order, payer) = self.order(index, accounts)?;
            Some(Payment { index, text: hex(&encode(&order.sign(payer, network))) })
        });
        signed.collect()
    }

    /// The payments of a block, and what they say of how far each payer is.
    pub(super) fn read(&self, answer: &str, progress: &Progress) -> anyhow::Result<Seen> {
        let bytes = unhex(answer).context("the node's block is not hexadecimal")?;
        let block = Block::decode(&bytes)?;
        let mut payments = vec![];
        for signed in block.orders.as_slice() {
            let order = &signed.order;
            let Some(&place) = self.places.get(&order.account) else { continue };
            let first = self.first.get(place).copied().unwrap_or(0);
            let turn = order.nonce.0.checked_sub(first).context("a nonce was used twice")?;
            let turns = usize::try_from(turn).context("more payments than memory has room for")?;
            payments.push(turns * self.count() + place);
            if let Some(done) = progress.done.get(place) {
                done.fetch_max(turn + 1, Ordering::Relaxed);
            }
        }
        Ok(Seen { height: block.header.height.0, time: block.header.time, payments })
    }
}

impl Progress {
    pub(super) fn new(
        payments: usize,
        payers: usize,
        senders: usize,
        it: &LoadArguments,
    ) -> Progress {
        Progress {
            start: Instant::now(),
            began: SystemTime::now(),
            sent: (0..payments).map(|_| AtomicU64::new(0)).collect(),
            done: (0..payers).map(|_| AtomicU64::new(0)).collect(),
            rate: it.rate,
            seconds: it.seconds,
            senders: AtomicUsize::new(senders),
            is_over: AtomicBool::new(false),
        }
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When a payment was due or sent; none before.
    pub(super) fn sent(&self, index: usize) -> Option<u64> {
        let time = self.sent.get(index)?.load(Ordering::Relaxed);
        (time > 0).then_some(time)
    }

    /// When the last payment was sent.
    pub(super) fn last(&self) -> u64 {
        (0..self.sent.len()).filter_map(|index| self.sent(index)).max().unwrap_or(0)
    }

    /// How many payments nodes have taken in.
    pub(super) fn count(&self) -> usize {
        (0..self.sent.len()).filter(|index| self.sent(*index).is_some()).count()
    }

    /// When a payment is to be sent, in microseconds from the start.
    fn due(&self, index: usize) -> u64 {
        match self.rate {
            0 => 0,
            rate => {
                u64::try_from(index).unwrap_or(u64::MAX).saturating_mul(1_000_000) / u64::from(rate)
            }
        }
    }

    /// Whether a payment's turn has come, and its payer has room.
    fn is_due(&self, index: usize, now: u64) -> bool {
        let (place, nonce) = (index % self.done.len(), index / self.done.len());
        let done = self.done.get(place).map_or(0, |done| done.load(Ordering::Relaxed));
        let nonce = u64::try_from(nonce).unwrap_or(u64::MAX);
        self.due(index) <= now && nonce < done.saturating_add(WINDOW_MAX)
    }

    fn is_over(&self) -> bool {
        let end = u64::from(self.seconds) * 1_000_000;
        self.is_over.load(Ordering::Relaxed) || self.now() >= end
    }

    /// Gives payments to a node until the time is up or there are none left.
    pub(super) fn send(
        &self,
        client: &Client,
        mut payments: VecDeque<Payment>,
    ) -> anyhow::Result<()> {
        let mut sent = Ok(());
        while sent.is_ok() && !payments.is_empty() && !self.is_over() {
            let now = self.now();
            let is_ready = |it: &&Payment| self.is_due(it.index, now);
            let ready = payments.iter().take(BATCH_MAX).take_while(is_ready).count();
            if ready == 0 {
                std::thread::sleep(GATHER);
                continue;
            }
            let batch: Vec<Payment> = payments.drain(..ready).collect();
            sent = self.post(client, batch, &mut payments);
        }
        self.senders.fetch_sub(1, Ordering::Relaxed);
        sent
    }

    /// Posts payments; those for which the node has no place yet come again.
    fn post(
        &self,
        client: &Client,
        batch: Vec<Payment>,
        payments: &mut VecDeque<Payment>,
    ) -> anyhow::Result<()> {
        let texts: Vec<&str> = batch.iter().map(|it| it.text.as_str()).collect();
        let body = format!("{{\"orders\":[\"{}\"]}}", texts.join("\",\""));
        let now = self.now();
        let answer = client.post_text("/ledger/orders", body)?;
        let results = answer["results"].as_array().context("the node's answer has no results")?;
        if results.len() != batch.len() {
            bail!("the node answered for {} of {} payments", results.len(), batch.len());
        }
        let mut again = vec![];
        for (payment, result) in batch.into_iter().zip(results) {
            if result["status"] != "refused" {
                let time = if self.rate == 0 { now } else { self.due(payment.index) };
                if let Some(sent) = self.sent.get(payment.index) {
                    sent.store(time.max(1), Ordering::Relaxed);
                }
            } else if result["refusal"].is_null() {
                again.push(payment);
            } else {
                bail!("a payment was refused: {result}");
            }
        }
        if !again.is_empty() {
            std::thread::sleep(GATHER);
        }
        again.into_iter().rev().for_each(|payment| payments.push_front(payment));
        Ok(())
    }
}

/// Says when a node has a new block, until it ends.
pub(super) fn watch(node: usize, client: &Client, progress: &Progress, to: &Sender<Look>) {
    let Ok(lines) = client.lines("/ledger/events") else { return };
    for line in lines {
        let height = line.strip_prefix("id:").and_then(|it| it.trim().parse().ok());
        let Some(height) = height else { continue };
        if to.send(Look { node, height, time: progress.now() }).is_err() {
            return;
        }
    }
}

/// A node's new block.
pub(super) struct Look {
    pub(super) node: usize,
    pub(super) height: u64,
    /// Microseconds from the start.
    pub(super) time: u64,
}
