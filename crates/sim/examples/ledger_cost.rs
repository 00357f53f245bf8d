//! What paid answers cost on the ledger: `ledger_cost [--answers 1000] [--seeds 20]`.
//!
//! Answers of one hour are redeemed by one worker, over as many channels as there are payers, with the
//! default parameters and nobody who cheats: one batch for each channel, audits as they are drawn, and every
//! batch settled. What is counted are the orders' bytes as a block has them, and the entries of the state.
//! The answers themselves are not computed: no honest audit shows one to the ledger.
#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::expect_used, reason = "what is made here and has no form is a bug")]

use std::collections::BTreeMap;
use std::process::ExitCode;

use audit::commitment::blind;
use audit::receipt::{Asked, Payload, Receipt, Seeding, Terms, Trust, numbers};
use chain::block::{Block, Header, VERSION};
use engine::sampling::Sampling;
use ledger::apply::{apply, begin_block, end_block};
use ledger::audits::{Key, Stage, commitment};
use ledger::check::check;
use ledger::event::Event;
use ledger::genesis::{Founder, Genesis};
use ledger::state::State;
use types::agreement::{Certificate, Seal};
use types::amount::{Amount, Blocks, Height};
use types::bounded::{Bytes, List, Text};
use types::codec::encode;
use types::envelope::Order;
use types::id::{Address, Cid, Hash, keccak256};
use types::measure::{AdmitValidator, Parameter};
use types::node_key::{NodeSecret, NodeSignature};
use types::signature::Secret;
use types::transaction::{
    Action, CloseChannel, CommitVerdict, Enlist, OpenChannel, OpenReceipt, RedeemBatch, Register,
    RevealVerdict, Share, Stake, WorkVoucher,
};
use types::typed::signing_hash;
use types::vrf::{VrfOutput, VrfProof};
use types::word::{Finding, Policy, WorkKind};

/// Who is who, as numbers of the people; the payers come last.
const MAKER: usize = 0;
const GATEWAY: usize = 1;
const WORKER: usize = 2;
const AUDITORS: std::ops::Range<usize> = 3..11;
const PAYERS: usize = 11;
/// Channels of the runs.
const CHANNELS: [u32; 3] = [1, 10, 100];
/// Tokens of each prompt and answer, and millionths of a credit for a million of them.
const TOKENS: [u32; 2] = [200, 100];
const PRICES: [u64; 2] = [1_250_000, 2_500_000];
/// Blocks that a channel waits for its payee when its payer closes it.
const TIMEOUT: u64 = 3600;
/// Epochs in which everything must be over.
const EPOCHS_MAX: u64 = 8;

struct Person {
    address: Address,
    secret: Secret,
    node: NodeSecret,
}

/// Count and bytes of each kind of order.
#[derive(Default)]
struct Bill {
    /// For the answers.
    orders: BTreeMap<&'static str, [u64; 2]>,
    /// Once, however many answers there are.
    once: BTreeMap<&'static str, [u64; 2]>,
    /// Orders that paid the fee, beyond the quota of their accounts.
    fees: u64,
    /// Blocks with an order for the answers.
    blocks: u64,
    /// Entries of the state, and their bytes: before the first channel, once the batches are redeemed, at
    /// most, and when everything is over.
    states: [[u64; 2]; 4],
    /// Writes of entries in blocks, and their bytes.
    writes: [u64; 2],
}

struct Run {
    state: State,
    people: Vec<Person>,
    seed: u64,
    /// The receipts of each batch, whose numbers begin with 1.
    batches: Vec<Vec<Receipt>>,
    is_once: bool,
    had_order: bool,
    bill: Bill,
}

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str, default: u32| {
        let at = arguments.iter().position(|argument| argument == name);
        let found = at.filter(|at| at + 1 < arguments.len()).map(|at| arguments.drain(at..at + 2));
        found.and_then(|mut pair| pair.nth(1)?.parse().ok()).unwrap_or(default)
    };
    let (answers, seeds) = (option("--answers", 1000), option("--seeds", 20).max(1));
    let most = ledger::batches::BATCH_RECEIPTS_MAX;
    if !arguments.is_empty() || !(CHANNELS[2]..=most).contains(&answers) {
        println!("ledger_cost [--answers 1000] [--seeds 20]: {} to {most} answers", CHANNELS[2]);
        return ExitCode::FAILURE;
    }
    for channels in CHANNELS {
        let bills: Vec<Bill> = (0..seeds).map(|seed| run(answers, channels, seed)).collect();
        print(answers, channels, &bills);
    }
    println!("| validators | bytes of a block without orders | of a day of blocks, MB |");
    println!("|---|---|---|");
    for validators in [1, 4, 16] {
        let bytes = empty_block(validators);
        println!("| {validators} | {bytes} | {} |", tenths(u64::from(bytes) * 864_000, 1_000_000));
    }
    ExitCode::SUCCESS
}

fn run(answers: u32, channels: u32, seed: u32) -> Bill {
    let mut run = Run::new(channels, seed.into());
    run.prepare();
    run.bill.states[0] = run.size();
    run.is_once = false;
    run.block(|run| (0..channels as usize).for_each(|channel| run.open(channel)));
    // The answers are given in this epoch, and what they earn is redeemed in the next one.
    run.epoch();
    run.block(|run| {
        for channel in 0..channels {
            // As evenly as can be.
            let [from, to] = [channel, channel + 1].map(|it| answers * it / channels);
            run.redeem(channel, to - from);
        }
    });
    run.bill.states[1] = run.size();
    let last = run.state.now().0 + EPOCHS_MAX * run.parameter(Parameter::EpochBlocks);
    while run.state.all_batches().next().is_some() {
        assert!(run.state.now().0 < last, "a batch is never over");
        run.block(Run::attend);
    }
    run.block(|run| (0..channels).for_each(|channel| run.close(channel)));
    run.bill.states[3] = run.size();
    check(&run.state).expect("the ledger's invariants hold");
    run.bill
}

impl Run {
    fn new(channels: u32, seed: u64) -> Run {
        let count = PAYERS + channels as usize;
        let people: Vec<Person> = (0..count).map(person).collect();
        let founder = |person: &Person| Founder { account: person.address, name: text("someone") };
        let validator =
            AdmitValidator { node_key: people[0].node.key(), account: people[0].address, power: 1 };
        let genesis = Genesis {
            name: text("cost"),
            made: seed,
            interval: 1000,
            snapshot_blocks: 3600,
            policy: Policy::Mutual,
            constitution: None,
            founders: list(people.iter().map(founder).collect()),
            validators: list(vec![validator]),
            parameters: List::default(),
            cashier: None,
        };
        let state = genesis.state().expect("the defaults are within their ranges");
        let (batches, bill) = (vec![], Bill::default());
        Run { state, people, seed, batches, is_once: true, had_order: false, bill }
    }

    fn parameter(&self, parameter: Parameter) -> u64 {
        self.state.parameter(parameter)
    }

    fn address(&self, who: usize) -> Address {
        self.people[who].address
    }

    /// What is there before the first answer.
    fn prepare(&mut self) {
        self.block(|run| {
            let share = Share { account: run.address(MAKER), parts: 1 };
            let register = Register {
                kind: WorkKind::Model,
                work: work(),
                name: text("a model of some size"),
                licence: text("Apache-2.0"),
                terms: None,
                makers: list(vec![share]),
                parents: List::default(),
            };
            run.act(MAKER, Action::Register(register));
            let bonds =
                run.parameter(Parameter::AuditorStake) + run.parameter(Parameter::ChallengeBond);
            for auditor in AUDITORS {
                run.act(auditor, Action::Stake(Stake { amount: amount(bonds) }));
                run.act(auditor, Action::Enlist(Enlist {}));
            }
            // The other half is for fees.
            let half = run.parameter(Parameter::CreditLine) / 2;
            run.act(WORKER, Action::Stake(Stake { amount: amount(half) }));
        });
    }

    /// A block with what is ordered in it.
    fn block(&mut self, orders: impl FnOnce(&mut Run)) {
        let epoch = self.state.meta().epoch;
        let random = keccak256(&[self.seed, self.state.now().0].map(u64::to_le_bytes).concat());
        let mut randomness = [0; 64];
        randomness[..32].copy_from_slice(&random.0);
        let now = self.state.now();
        begin_block(&mut self.state, now, &[], &VrfOutput(randomness)).expect("it is the next");
        self.had_order = false;
        orders(self);
        end_block(&mut self.state, now).expect("it is the next");
        self.bill.blocks += u64::from(self.had_order && !self.is_once);
        if self.had_order && !self.is_once || epoch != self.state.meta().epoch {
            let changes = self.state.changes();
            let size = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
                (key.len() + value.as_ref().map_or(0, Vec::len)) as u64
            };
            self.bill.writes[0] += changes.len() as u64;
            self.bill.writes[1] += changes.iter().map(size).sum::<u64>();
            let size = self.size();
            let most = &mut self.bill.states[2];
            *most = if size[1] > most[1] { size } else { *most };
        }
        self.state.seal();
    }

    /// Blocks up to the next epoch.
    fn epoch(&mut self) {
        let epoch = self.state.meta().epoch;
        while self.state.meta().epoch == epoch {
            self.block(|_| {});
        }
    }

    fn act(&mut self, who: usize, action: Action) {
        let (account, name) = (self.address(who), action.name());
        let order = Order {
            account,
            nonce: self.state.nonce(&account),
            valid_until: self.state.now().after(600),
            action,
        };
        let signed = order.sign(&self.people[who].secret, &self.state.meta().genesis);
        let now = self.state.now();
        let events = apply(&mut self.state, now, &signed);
        let events = events.unwrap_or_else(|refusal| unreachable!("{name} of {who}: {refusal}"));
        let fee = amount(self.parameter(Parameter::FeeFlat));
        let is_fee = |event: &Event| {
            matches!(event, Event::Moved { from, to, amount }
                if *from == account && *to == ledger::accounts::TREASURY && *amount == fee)
        };
        self.bill.fees += u64::from(events.iter().any(is_fee));
        let kinds = if self.is_once { &mut self.bill.once } else { &mut self.bill.orders };
        let [count, bytes] = kinds.entry(name).or_default();
        (*count, *bytes) = (*count + 1, *bytes + encode(&signed).len() as u64);
        self.had_order = true;
    }

    fn open(&mut self, channel: usize) {
        let (payee, node) = (self.address(WORKER), self.people[WORKER].node.key());
        let open =
            OpenChannel { payee, amount: amount(10_000_000), timeout: Blocks(TIMEOUT), node };
        self.act(PAYERS + channel, Action::OpenChannel(open));
    }

    fn close(&mut self, channel: u32) {
        self.act(WORKER, Action::CloseChannel(CloseChannel { channel: u64::from(channel) + 1 }));
    }

    fn redeem(&mut self, channel: u32, count: u32) {
        let receipts: Vec<Receipt> = (0..count).map(|it| self.receipt(channel, it)).collect();
        let due = receipts.iter().map(|receipt| receipt.due.millionths()).sum();
        let payer = PAYERS + channel as usize;
        let (number, cumulative) = (u64::from(channel) + 1, amount(due));
        let (from, payee) = (self.address(payer), self.address(WORKER));
        let voucher = WorkVoucher { payer: from, payee, channel: number, cumulative };
        let hash = signing_hash(&voucher.shown(), &self.state.meta().genesis);
        let redeem = RedeemBatch {
            channel: number,
            cumulative,
            signature: self.people[payer].secret.sign(&hash),
            work: work(),
            gateway: self.address(GATEWAY),
            root: Hash(merkle::root(&leaves(&receipts))),
            count,
        };
        self.batches.push(receipts);
        self.act(WORKER, Action::RedeemBatch(redeem));
    }

    /// Everyone does what the audits wait for.
    fn attend(&mut self) {
        let audits: Vec<_> = self.state.all_audits().map(|(key, it)| (*key, it.clone())).collect();
        for (key, audit) in audits {
            let seats = audit.seats.as_slice().iter();
            let who = |address| AUDITORS.into_iter().find(|it| self.address(*it) == address);
            let who: Vec<usize> = seats.filter_map(|seat| who(seat.auditor)).collect();
            match audit.stage {
                Stage::Committing => who.into_iter().for_each(|who| self.commit(key, who)),
                Stage::Opening => self.show(key),
                Stage::Revealing => who.into_iter().for_each(|who| self.reveal(key, who)),
                stage => unreachable!("nobody cheats: {stage:?}"),
            }
        }
    }

    fn commit(&mut self, (batch, index): Key, who: usize) {
        let said = (Finding::Match, &root());
        let hash = commitment(&self.address(who), (batch, index), said, &salt(who));
        self.act(who, Action::CommitVerdict(CommitVerdict { batch, index, hash }));
    }

    fn reveal(&mut self, (batch, index): Key, who: usize) {
        let (finding, root, salt) = (Finding::Match, root(), salt(who));
        self.act(who, Action::RevealVerdict(RevealVerdict { batch, index, finding, root, salt }));
    }

    fn show(&mut self, (batch, index): Key) {
        let receipts = &self.batches[batch as usize - 1];
        let signed = receipts[index as usize].clone().sign(&self.people[WORKER].node);
        let path = merkle::path(&leaves(receipts), index as usize).expect("it is there");
        let open = OpenReceipt {
            batch,
            index,
            receipt: Bytes::new(encode(&signed)).expect("receipts have one size"),
            path: list(path.into_iter().map(Hash).collect()),
            blinding: blinding(),
            root: root(),
        };
        self.act(WORKER, Action::OpenReceipt(open));
    }

    fn receipt(&self, channel: u32, sequence: u32) -> Receipt {
        let [prompt_price, output_price] = PRICES.map(amount);
        let terms = Terms {
            network: self.state.meta().genesis,
            epoch: self.state.meta().epoch,
            model: work(),
            tokenizer: Hash([4; 32]),
            template: Hash([5; 32]),
            profile: 1,
            trust: Trust::Checked,
            prompt_price,
            output_price,
            payer: self.address(PAYERS + channel as usize),
            worker: self.address(WORKER),
            worker_key: self.people[WORKER].node.key(),
            gateway: self.people[GATEWAY].node.key(),
            channel: u64::from(channel) + 1,
            sequence: sequence.into(),
            nonce: keccak256(&sequence.to_le_bytes()),
        };
        let blinded = Hash(blind(&root().0, &blinding().0));
        Receipt::of(terms, &payload(), blinded).expect("prices and tokens are few")
    }

    /// Entries of the state, and the bytes of their keys and values.
    fn size(&self) -> [u64; 2] {
        let entries = self.state.entries();
        let bytes: usize = entries.iter().map(|(key, value)| key.len() + value.len()).sum();
        [entries.len() as u64, bytes as u64]
    }
}

fn print(answers: u32, channels: u32, bills: &[Bill]) {
    let (runs, name) = (bills.len() as u64, format!("{answers} answers, {channels} channels"));
    let mean = |of: &dyn Fn(&Bill) -> u64| tenths(bills.iter().map(of).sum::<u64>() * 10, runs);
    println!("| {name} | orders | bytes | bytes of one |");
    println!("|---|---|---|---|");
    let kinds = |of: fn(&Bill) -> &BTreeMap<&'static str, [u64; 2]>| {
        let mut sums: BTreeMap<&'static str, [u64; 2]> = BTreeMap::new();
        for (name, it) in bills.iter().flat_map(of) {
            let sum = sums.entry(*name).or_default();
            *sum = [sum[0] + it[0], sum[1] + it[1]];
        }
        sums
    };
    let line = |name: &str, [count, bytes]: [u64; 2]| {
        let (each, of_one) = (tenths(count * 10, runs), bytes.checked_div(count).unwrap_or(0));
        println!("| {name} | {each} | {} | {of_one} |", bytes / runs);
    };
    let orders = kinds(|bill| &bill.orders);
    orders.iter().for_each(|(name, it)| line(name, *it));
    let all = orders.values().fold([0; 2], |sum, it| [sum[0] + it[0], sum[1] + it[1]]);
    line("all", all);
    for (name, it) in kinds(|bill| &bill.once) {
        line(&format!("once: {name}"), it);
    }
    println!();
    println!("orders that paid the fee {}", mean(&|bill| bill.fees));
    println!("blocks with these orders {}", mean(&|bill| bill.blocks));
    let names = ["before", "with the batches redeemed", "at most", "at the end"];
    for (at, name) in names.into_iter().enumerate() {
        let [entries, bytes] = [0, 1].map(|it| mean(&|bill| bill.states[at][it]));
        println!("state {name}: {entries} entries, {bytes} bytes");
    }
    let [writes, bytes] = [0, 1].map(|it| mean(&|bill| bill.writes[it]));
    println!("writes of the state: {writes} entries, {bytes} bytes\n");
}

/// Bytes of a block without orders: a header, and its parent's certificate with all seals.
fn empty_block(validators: u8) -> u32 {
    let hash = Hash([1; 32]);
    let header = Header {
        version: VERSION,
        network: hash,
        height: Height(1),
        parent: hash,
        time: 0,
        proposer: hash,
        randomness: VrfProof([0; 80]),
        state: hash,
        orders: hash,
        validators: hash,
        certificate: hash,
        evidence: hash,
        snapshot: None,
    };
    let seal = |at| Seal { validator: Hash([at; 32]), signature: NodeSignature([at; 64]) };
    let seals = list((0..validators).map(seal).collect());
    let certificate = Some(Certificate { height: Height(0), round: 0, block: hash, seals });
    let (evidence, orders) = (List::default(), List::default());
    encode(&Block { header, certificate, evidence, orders }).len() as u32
}

/// Ten times a number over a divisor, as a number with one digit.
fn tenths(ten_times: u64, divisor: u64) -> String {
    let it = ten_times / divisor.max(1);
    format!("{}.{}", it / 10, it % 10)
}

fn person(number: usize) -> Person {
    let key = keccak256(format!("cost {number}").as_bytes());
    let secret = Secret::new(key.0).expect("a hash is a key but for luck");
    Person { address: secret.address(), secret, node: NodeSecret::new(keccak256(&key.0).0) }
}

fn payload() -> Payload {
    let [prompt, output] = TOKENS.map(|count| list((0..count).collect()));
    let asked = Asked {
        prompt,
        tokens_max: TOKENS[1],
        end_tokens: List::default(),
        numbers: numbers(&Sampling::default()),
        biases: List::default(),
        seeding: Seeding::Fixed,
        client_nonce: Hash([3; 32]),
        choice: 0,
    };
    let output = list(output.as_slice().to_vec());
    Payload { asked, worker_nonce: Hash([0; 32]), said: 0, output, blinding: None }
}

fn leaves(receipts: &[Receipt]) -> Vec<merkle::Digest> {
    receipts.iter().map(|receipt| merkle::leaf(&receipt.id().0)).collect()
}

fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).expect("a list that is made here fits")
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap_or_default()
}

fn amount(millionths: u64) -> Amount {
    Amount::new(millionths).unwrap_or(Amount::ZERO)
}

fn work() -> Cid {
    Cid::raw(keccak256(b"a model"))
}

/// What every answer's root is said to be: nobody but its auditors would compute it.
fn root() -> Hash {
    Hash([6; 32])
}

fn blinding() -> Hash {
    Hash([7; 32])
}

fn salt(who: usize) -> Hash {
    Hash([who as u8; 32])
}
