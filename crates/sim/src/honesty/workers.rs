//! Workers: what they answer, redeem, and show of what was drawn.
//!
//! Not here: auditors, and disputes.

use std::collections::BTreeSet;

use audit::commitment::blind;
use audit::draw::is_drawn;
use audit::receipt::{Receipt, Terms, Trust};
use ledger::accounts::AUDIT_FUND;
use ledger::audits::Key;
use ledger::event::Event;
use types::amount::{Amount, Blocks};
use types::bounded::{Bytes, List};
use types::codec::encode;
use types::id::{Hash, keccak256};
use types::measure::Parameter;
use types::transaction::{
    Action, Enlist, OpenChannel, OpenPayload, OpenReceipt, RECEIPT_MAX, RECEIPT_PATH_MAX,
    RedeemBatch, Register, Share, ShowModel, Stake, WorkVoucher,
};
use types::word::WorkKind;

use super::sold::{Kind, order_bytes};
use super::strategy::{RECEIPTS, Strategy, Wrong};
use super::town::{amount, text};
use super::{Game, Made, WHOLE};

/// Millionths of a credit for a token of a prompt, and of an answer. Only what is due for an answer counts.
const PRICES: [u64; 2] = [2_500, 10_000];
/// The most that is due in an epoch, and room.
const EPOCH_DUE: u64 = 4 * RECEIPTS * 100_000;
/// Millionths of one.
const MILLION: u64 = 1_000_000;

impl Game<'_> {
    /// What everyone does before the first epoch.
    pub(crate) fn prepare(&mut self) {
        self.town.begin_block();
        let maker = self.roles.maker;
        let share = Share { account: self.town.address(maker), parts: 1 };
        let register = Register {
            kind: WorkKind::Model,
            work: self.sold.cid,
            name: text("model"),
            licence: text("Apache-2.0"),
            terms: None,
            makers: List::new(vec![share]).unwrap_or_default(),
            parents: List::default(),
        };
        self.town.act(maker, Action::Register(register));
        if let Some(piece) = self.sold.piece(0) {
            let show = ShowModel { work: self.sold.cid, piece: order_bytes(&piece) };
            self.town.act(maker, Action::ShowModel(show));
        }
        for side in [0, 1] {
            let worker = self.roles.workers[side];
            let (payee, node) = (self.town.address(worker), self.town.node(worker).key());
            let (amount, timeout) = (amount(EPOCH_DUE * (self.plan.epochs + 1)), Blocks(10));
            let open = OpenChannel { payee, amount, timeout, node };
            self.town.act(self.roles.payers[side], Action::OpenChannel(open));
        }
        let bonds =
            self.parameter(Parameter::AuditorStake) + self.parameter(Parameter::ChallengeBond);
        for who in self.auditors() {
            self.town.act(who, Action::Stake(Stake { amount: amount(bonds) }));
            self.town.act(who, Action::Enlist(Enlist {}));
        }
        self.town.end_block();
        let _ = self.town.events();
    }

    /// An epoch's answers of both workers, unless the strategy's was convicted and waits: until it may
    /// work, and until none of its old batches would take of what it brings anew. One that comes back
    /// under another name would have the same, and no wait.
    pub(crate) fn work(&mut self) {
        let now = self.town.state.now();
        let worker = self.town.address(self.roles.workers[0]);
        let waits = self.town.state.stake(&worker).is_some_and(|stake| {
            stake.jailed.is_some_and(|until| until >= now) || stake.bonded > stake.staying()
        });
        if waits {
            return;
        }
        self.tally.epochs += 1;
        for side in [0, 1] {
            for _ in 0..RECEIPTS / self.traits.batch {
                self.redeem(side);
            }
        }
    }

    fn redeem(&mut self, side: usize) {
        let made = self.make(side);
        let due: u64 = made.receipts.iter().map(|receipt| receipt.due.millionths()).sum();
        let [worker, payer] = [self.roles.workers[side], self.roles.payers[side]];
        self.stake_for(worker, due);
        let channel = channel(side);
        let redeemed = self.town.state.channel(channel).map_or(Amount::ZERO, |it| it.redeemed);
        let cumulative = amount(redeemed.millionths() + due);
        let (payer_address, payee) = (self.town.address(payer), self.town.address(worker));
        let voucher = WorkVoucher { payer: payer_address, payee, channel, cumulative };
        let redeem = RedeemBatch {
            channel,
            cumulative,
            signature: self.town.sign(payer, &voucher),
            work: self.sold.cid,
            gateway: self.town.address(self.roles.gateway),
            root: Hash(merkle::root(&leaves(&made.receipts))),
            count: u32::try_from(made.receipts.len()).unwrap_or(0),
        };
        let number = self.town.state.meta().batch_next;
        self.town.act(worker, Action::RedeemBatch(redeem));
        self.batches.insert(number, made);
    }

    /// Brings as much to the stake as a batch binds, and no more: what is not there cannot be lost.
    fn stake_for(&mut self, worker: usize, due: u64) {
        let bond = due * self.parameter(Parameter::StakeParts) / WHOLE;
        let address = self.town.address(worker);
        let free =
            self.town.state.stake(&address).map_or(Amount::ZERO, ledger::stakes::Stake::free);
        if let Some(wanted) = bond.checked_sub(free.millionths()).filter(|wanted| *wanted > 0) {
            self.town.act(worker, Action::Stake(Stake { amount: amount(wanted) }));
        }
    }

    /// A batch's receipts.
    fn make(&mut self, side: usize) -> Made {
        let number = self.town.state.meta().batch_next;
        let first = self.town.state.channel(channel(side)).map_or(0, |it| it.receipts);
        let mut made =
            Made { side, receipts: vec![], wrong: BTreeSet::new(), drawn: BTreeSet::new() };
        for index in 0..u32::try_from(self.traits.batch).unwrap_or(0) {
            let sequence = first + u64::from(index);
            let is_wrong = side == 0 && self.cheats(number, index, sequence);
            let receipt = self.receipt(side, sequence, is_wrong);
            let worker = self.roles.workers[side];
            let cost = self.cost(self.honest_due());
            let saved = if is_wrong { cost * self.traits.saves / WHOLE } else { 0 };
            self.spend(worker, cost - saved);
            if side == 0 && !self.plan.strategy.is_auditors() {
                self.tally.receipts += 1;
            }
            if is_wrong {
                let billed = receipt.due.millionths() - self.honest_due();
                self.tally.cheated += 1;
                self.tally.gain += saved + self.cost(billed);
                made.wrong.insert(index);
            }
            made.receipts.push(receipt);
        }
        made
    }

    /// Whether the strategy cheats with this receipt.
    fn cheats(&mut self, batch: u64, index: u32, sequence: u64) -> bool {
        let wants = self.town.chance(self.traits.cheats);
        let rate = u32::try_from(self.parameter(Parameter::AuditRate)).unwrap_or(0);
        let beacon = self.town.state.meta().beacon.0;
        match self.traits.wrong {
            Wrong::Nothing => false,
            // There is an older one.
            Wrong::Old => wants && sequence > 0,
            _ if self.plan.strategy == Strategy::SeedGrinder => {
                wants && !is_drawn(&beacon, batch, index, rate)
            }
            _ => wants,
        }
    }

    /// What is due for the honest answer.
    pub(crate) fn honest_due(&self) -> u64 {
        use super::sold::{OUTPUT, PROMPT};
        u64::from(PROMPT) * PRICES[0] + u64::from(OUTPUT) * PRICES[1]
    }

    /// The receipt of a place in a channel.
    fn receipt(&self, side: usize, sequence: u64, is_wrong: bool) -> Receipt {
        let (kind, root) = self.stated(is_wrong);
        let sequence = if is_wrong && self.traits.wrong == Wrong::Old { 0 } else { sequence };
        let worker = self.roles.workers[side];
        let [prompt_price, output_price] = PRICES.map(|price| amount(price * MILLION));
        let terms = Terms {
            network: self.town.state.meta().genesis,
            epoch: self.town.state.meta().epoch,
            model: self.sold.cid,
            tokenizer: Hash([4; 32]),
            template: Hash([5; 32]),
            profile: 1,
            trust: Trust::Checked,
            prompt_price,
            output_price,
            payer: self.town.address(self.roles.payers[side]),
            worker: self.town.address(worker),
            worker_key: self.town.node(worker).key(),
            gateway: self.town.node(self.roles.gateway).key(),
            channel: channel(side),
            sequence,
            nonce: keccak256(&sequence.to_le_bytes()),
        };
        let blinded = Hash(blind(&root.0, &blinding(side, sequence).0));
        let payload = &self.sold.answer(kind).payload;
        Receipt::of(terms, payload, blinded).expect("prices and tokens are few")
    }

    /// The answer and the root of a receipt.
    pub(crate) fn stated(&self, is_wrong: bool) -> (Kind, Hash) {
        match self.traits.wrong {
            Wrong::Tokens(kind) if is_wrong => (kind, self.sold.answer(kind).root),
            Wrong::Trace(_) | Wrong::Hidden if is_wrong => {
                (Kind::Honest, keccak256(b"a liar's root"))
            }
            _ => (Kind::Honest, self.sold.answer(Kind::Honest).root),
        }
    }

    /// Whether the receipt of an audit is a cheat.
    pub(crate) fn is_wrong(&self, (batch, index): Key) -> bool {
        self.batches.get(&batch).is_some_and(|made| made.wrong.contains(&index))
    }

    /// Whether the worker can and wants to show a receipt.
    pub(crate) fn is_shown(&self, key: Key) -> bool {
        let is_hidden = matches!(self.traits.wrong, Wrong::Old | Wrong::Hidden);
        !(is_hidden && self.is_wrong(key))
    }

    /// The worker shows receipt and root.
    pub(crate) fn open(&mut self, key: Key) {
        let Some((side, receipt, path)) = self.opening(key) else { return };
        if !self.is_shown(key) {
            return;
        }
        let (_, root) = self.stated(self.is_wrong(key));
        let sequence = self.batches[&key.0].receipts[key.1 as usize].terms.sequence;
        let blinding = blinding(side, sequence);
        let open = OpenReceipt { batch: key.0, index: key.1, receipt, path, blinding, root };
        self.town.act(self.roles.workers[side], Action::OpenReceipt(open));
    }

    /// The order that shows a payload.
    pub(crate) fn payload(&self, key: Key) -> Option<OpenPayload> {
        let (_, receipt, path) = self.opening(key)?;
        let (kind, _) = self.stated(self.is_wrong(key));
        let payload = Bytes::new(encode(&self.sold.answer(kind).payload)).ok()?;
        Some(OpenPayload { batch: key.0, index: key.1, receipt, path, payload })
    }

    fn opening(
        &self,
        (batch, index): Key,
    ) -> Option<(usize, Bytes<RECEIPT_MAX>, List<Hash, RECEIPT_PATH_MAX>)> {
        let made = self.batches.get(&batch)?;
        let index = usize::try_from(index).ok()?;
        let node = self.town.node(self.roles.workers[made.side]);
        let signed = made.receipts.get(index)?.clone().sign(node);
        let path = merkle::path(&leaves(&made.receipts), index)?.into_iter().map(Hash).collect();
        Some((made.side, Bytes::new(encode(&signed)).ok()?, List::new(path).ok()?))
    }

    /// Before a block ends in which batches are drawn: the chance of each cheat to be caught.
    pub(crate) fn foresee(&mut self) {
        let (now, epoch) = (self.town.state.now(), self.parameter(Parameter::EpochBlocks));
        let drawn = |number: &u64| {
            let settles = self.town.state.batch(*number).map(|batch| batch.settles.0);
            settles == Some(now.0 + epoch)
        };
        let drawn = self.batches.iter().filter(|(number, _)| drawn(number));
        let wrong: u64 = drawn.map(|(_, made)| made.wrong.len() as u64).sum();
        if wrong > 0 {
            let seen = MILLION - self.only_friends();
            self.tally.theory += wrong * (self.parameter(Parameter::AuditRate) * seen / MILLION);
        }
    }

    /// What a block has brought.
    pub(crate) fn see(&mut self) {
        let drawn: Vec<Key> = self.town.state.all_audits().map(|(key, _)| *key).collect();
        for (batch, index) in drawn {
            if let Some(made) = self.batches.get_mut(&batch) {
                made.drawn.insert(index);
            }
        }
        for event in self.town.events() {
            match event {
                Event::BatchEnded { batch, is_paid } => self.batch_over(batch, is_paid),
                Event::Judged { batch, index, verdict } => self.judged((batch, index), verdict),
                Event::Moved { from: AUDIT_FUND, to, .. } => self.paid(to),
                _ => {}
            }
        }
    }

    fn batch_over(&mut self, batch: u64, is_paid: bool) {
        self.said.retain(|((number, _), _), _| *number != batch);
        let Some(made) = self.batches.remove(&batch) else { return };
        if is_paid {
            return;
        }
        let caught = made.wrong.intersection(&made.drawn).count() as u64;
        if caught == 0 {
            self.tally.false_convictions += 1;
        } else {
            self.tally.caught += caught;
            self.tally.convictions += 1;
        }
    }
}

/// The channel of a side: the first that are opened.
fn channel(side: usize) -> u64 {
    side as u64 + 1
}

fn leaves(receipts: &[Receipt]) -> Vec<merkle::Digest> {
    receipts.iter().map(|receipt| merkle::leaf(&receipt.id().0)).collect()
}

fn blinding(side: usize, sequence: u64) -> Hash {
    keccak256(format!("blinding {side} {sequence}").as_bytes())
}
