//! A network with a worker, its payer and two auditors, and a batch that is audited.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use audit::artifact::{Artifact, Outline, Piece};
use audit::case::Shown;
use audit::commitment::blind;
use audit::dispute::{About, Cell, Phase};
use audit::receipt::{Asked, Payload, Receipt, Seeding, SignedReceipt, Terms, Trust};
use audit::referee::{Evidence, Part};
use audit::trace::Digests;
use ledger::apply::end_block;
use ledger::audits::{Key, Stage, commitment};
use ledger::check::check;
use ledger::event::Event;
use ledger::refusal::Refusal;
use ledger::state::State;
use types::amount::{Amount, Blocks, Epoch};
use types::bounded::{Bytes, List};
use types::codec::{Canonical, encode};
use types::id::Hash;
use types::measure::{Parameter, SetParameter};
use types::sampling::SamplingNumbers;
use types::transaction::*;
use types::word::{Finding, Policy};

use crate::runs::{Answer, Party, SIDES, answer, graph, small};
use crate::world::*;

pub(crate) const BLINDING: Hash = Hash([14; 32]);
pub(crate) const SALT: Hash = Hash([15; 32]);
pub(crate) const PAYER: &str = "amal";
pub(crate) const WORKER: &str = "badr";
pub(crate) const GATEWAY: &str = "layla";
pub(crate) const AUDITORS: [&str; 2] = ["dina", "hadi"];
/// The one batch.
pub(crate) const BATCH: u64 = 1;

/// Parameters that draw everything, let stages be short, and bind and pay what the stories count on.
const QUICK: [(Parameter, u64); 8] = [
    (Parameter::AuditRate, 1_000_000),
    (Parameter::AuditBlocks, 4),
    (Parameter::DisputeBlocks, 4),
    (Parameter::ChallengeBond, 2_000_000),
    (Parameter::AuditorStake, 5_000_000),
    (Parameter::AuditParts, 100),
    (Parameter::StakeParts, 2_000),
    (Parameter::AuditPay, 250),
];

thread_local! {
    /// Whether the machine of a story restarts after each order and block.
    pub(crate) static RESTARTS: std::cell::Cell<bool> =
        const { std::cell::Cell::new(false) };
}

/// What a worker states about an answer.
pub(crate) struct Stated {
    pub(crate) answer: Answer,
    pub(crate) payload: Payload,
    pub(crate) root: Hash,
    pub(crate) trust: Trust,
}

/// A network and what its worker has stated.
pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) stated: Vec<Stated>,
    pub(crate) receipts: Vec<SignedReceipt>,
    /// Kinds of orders that were accepted.
    pub(crate) kinds: BTreeSet<&'static str>,
}

pub(crate) fn asked(prompt: &[u32], tokens_max: u32) -> Asked {
    Asked {
        prompt: List::new(prompt.to_vec()).unwrap(),
        tokens_max,
        end_tokens: List::default(),
        numbers: SamplingNumbers {
            temperature: 1 << 16,
            top_k: 0,
            top_p: 1 << 16,
            min_p: 0,
            repetition_penalty: 1 << 16,
            presence_penalty: 0,
            frequency_penalty: 0,
        },
        biases: List::default(),
        seeding: Seeding::Fixed,
        client_nonce: Hash([3; 32]),
        choice: 0,
    }
}

/// An honest answer to a prompt that a number chooses.
pub(crate) fn honest(number: u32) -> Stated {
    let prompt: Vec<u32> = (0..9).map(|at| (at * 17 + number * 31) % 150).collect();
    let asked = asked(&prompt, 2);
    let answer = answer(prompt, asked.sampling(&Hash([0; 32])), 2);
    stated(asked, answer, Trust::Checked)
}

fn stated(asked: Asked, answer: Answer, trust: Trust) -> Stated {
    let output = List::new(answer.output.clone()).unwrap();
    let worker_nonce = Hash([0; 32]);
    let payload = Payload { asked, worker_nonce, said: 0, output, blinding: None };
    let root = answer.root();
    Stated { answer, payload, root, trust }
}

/// The same answer with another last token, computed as if it had been chosen.
pub(crate) fn with_other_token(number: u32) -> Stated {
    let Stated { mut answer, mut payload, .. } = honest(number);
    let last = answer.output.last_mut().unwrap();
    *last = (*last + 1) % 150;
    let run = answer.run();
    let mut engine = engine::batch::Engine::new(
        small().model.clone(),
        engine::batch::Options { threads: 1, ..engine::batch::Options::default() },
    );
    let replayed = audit::replay::replay(&mut engine, &run).unwrap();
    assert!(replayed.wrong.is_some());
    answer.leaves = replayed.leaves;
    payload.output = List::new(answer.output.clone()).unwrap();
    let root = answer.root();
    Stated { answer, payload, root, trust: Trust::Checked }
}

/// The first answer, which most stories are about.
pub(crate) fn first() -> &'static Stated {
    static FIRST: OnceLock<Stated> = OnceLock::new();
    FIRST.get_or_init(|| honest(0))
}

impl Story {
    /// A batch of what a worker states, drawn.
    pub(crate) fn new(stated: Vec<Stated>) -> Story {
        let mut story = Story::undrawn(stated);
        for _ in 0..40 {
            if story.world.state.audits_of(BATCH).next().is_some() {
                return story;
            }
            story.blocks(1);
        }
        unreachable!("nothing was drawn");
    }

    /// A batch of what a worker states.
    pub(crate) fn undrawn(stated: Vec<Stated>) -> Story {
        let names = [PAYER, WORKER, AUDITORS[0], AUDITORS[1], GATEWAY];
        let mut genesis = genesis(Policy::Mutual, &names);
        let mut parameters = genesis.parameters.as_slice().to_vec();
        let more = QUICK.map(|(parameter, value)| SetParameter { parameter, value });
        parameters.extend(more);
        genesis.parameters = List::new(parameters).unwrap();
        let world = World { state: genesis.state().unwrap() };
        let (receipts, kinds) = (vec![], BTreeSet::new());
        let mut story = Story { world, stated, receipts, kinds };
        story.prepare();
        story
    }

    fn prepare(&mut self) {
        let model = match register("model", &[(GATEWAY, 1)], &[]) {
            Action::Register(it) => Action::Register(Register { work: small().cid, ..it }),
            other => other,
        };
        self.act(PAYER, model);
        let (payee, amount, node) = (address(WORKER), credits("10"), node_secret(1).key());
        let open = OpenChannel { payee, amount, timeout: Blocks(100), node };
        self.act(PAYER, Action::OpenChannel(open));
        self.act(WORKER, Action::Stake(Stake { amount: credits("50") }));
        for name in AUDITORS.into_iter().chain([PAYER]) {
            self.act(name, Action::Stake(Stake { amount: credits("20") }));
        }
        for name in AUDITORS {
            self.act(name, Action::Enlist(Enlist {}));
        }
        for sequence in 0..self.stated.len() {
            let receipt = self.receipt(sequence, BLINDING);
            self.receipts.push(receipt);
        }
        self.redeem();
    }

    fn redeem(&mut self) {
        let cumulative = credits("4");
        let (payer, payee, channel) = (address(PAYER), address(WORKER), 1);
        let voucher = WorkVoucher { payer, payee, channel, cumulative };
        let signature = self.world.work_voucher(PAYER, &voucher);
        let count = u32::try_from(self.receipts.len()).unwrap();
        self.act(
            WORKER,
            Action::RedeemBatch(RedeemBatch {
                channel,
                cumulative,
                signature,
                work: small().cid,
                gateway: address(GATEWAY),
                root: Hash(merkle::root(&self.leaves())),
                count,
            }),
        );
    }

    fn leaves(&self) -> Vec<merkle::Digest> {
        self.receipts.iter().map(|it| merkle::leaf(&it.receipt.id().0)).collect()
    }

    /// The receipt of what was stated, hidden by a blinding.
    pub(crate) fn receipt(&self, sequence: usize, blinding: Hash) -> SignedReceipt {
        let stated = &self.stated[sequence];
        let terms = Terms {
            network: self.world.state.meta().genesis,
            epoch: Epoch(0),
            model: small().cid,
            tokenizer: Hash([4; 32]),
            template: Hash([5; 32]),
            profile: 1,
            trust: stated.trust,
            prompt_price: credits("1000"),
            output_price: credits("2000"),
            payer: address(PAYER),
            worker: address(WORKER),
            worker_key: node_secret(1).key(),
            gateway: Hash([8; 32]),
            channel: 1,
            sequence: u64::try_from(sequence).unwrap(),
            nonce: Hash([11; 32]),
        };
        let blinded = Hash(blind(&stated.root.0, &blinding.0));
        Receipt::of(terms, &stated.payload, blinded).unwrap().sign(&node_secret(1))
    }

    pub(crate) fn due(&self, index: u32) -> Amount {
        self.receipts[usize::try_from(index).unwrap()].receipt.due
    }

    pub(crate) fn act(&mut self, name: &str, action: Action) -> Vec<Event> {
        let values = |world: &World| -> Vec<u64> {
            Parameter::ALL.iter().map(|parameter| world.state.parameter(*parameter)).collect()
        };
        let before = values(&self.world);
        self.kinds.insert(action.name());
        let events = self.world.act(name, action);
        assert_eq!(values(&self.world), before, "only votes set parameters");
        self.restart();
        events
    }

    /// Where machines restart all the time, goes on from the state's bytes.
    fn restart(&mut self) {
        if RESTARTS.with(std::cell::Cell::get) {
            let entries = self.world.state.entries();
            let entries = entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
            self.world.state = State::from_entries(entries).unwrap();
        }
    }

    pub(crate) fn refuse(&mut self, name: &str, action: Action, wanted: Refusal) {
        self.world.refuse(name, action, wanted);
    }

    /// Ends so many blocks, with every invariant checked.
    pub(crate) fn blocks(&mut self, count: u64) -> Vec<Event> {
        let mut events = vec![];
        for _ in 0..count {
            let now = self.world.state.now();
            events.extend(end_block(&mut self.world.state, now).unwrap());
            check(&self.world.state).unwrap();
            self.restart();
        }
        events
    }

    /// Ends blocks until a stage of the first audit is over.
    pub(crate) fn stage_over(&mut self) -> Vec<Event> {
        let until = self.world.state.audit((BATCH, 0)).unwrap().until;
        let count = until.0 + 1 - self.world.state.now().0;
        self.blocks(count)
    }

    pub(crate) fn stage(&self) -> Option<Stage> {
        self.world.state.audit((BATCH, 0)).map(|audit| audit.stage)
    }

    pub(crate) fn commit(&self, name: &str, index: u32, said: (Finding, Hash)) -> Action {
        let (key, said) = ((BATCH, index), (said.0, &said.1));
        let hash = commitment(&address(name), key, said, &SALT);
        Action::CommitVerdict(CommitVerdict { batch: BATCH, index, hash })
    }

    pub(crate) fn reveal(&self, index: u32, (finding, root): (Finding, Hash)) -> Action {
        let (batch, salt) = (BATCH, SALT);
        Action::RevealVerdict(RevealVerdict { batch, index, finding, root, salt })
    }

    fn path(&self, index: u32) -> List<Hash, RECEIPT_PATH_MAX> {
        let path = merkle::path(&self.leaves(), usize::try_from(index).unwrap()).unwrap();
        List::new(path.into_iter().map(Hash).collect()).unwrap()
    }

    pub(crate) fn bytes(&self, index: u32) -> Bytes<RECEIPT_MAX> {
        Bytes::new(encode(&self.receipts[usize::try_from(index).unwrap()])).unwrap()
    }

    pub(crate) fn open_receipt(&self, index: u32) -> OpenReceipt {
        let (receipt, path) = (self.bytes(index), self.path(index));
        let root = self.stated[usize::try_from(index).unwrap()].root;
        OpenReceipt { batch: BATCH, index, receipt, path, blinding: BLINDING, root }
    }

    pub(crate) fn open_payload(&self, index: u32) -> OpenPayload {
        let (receipt, path) = (self.bytes(index), self.path(index));
        let payload = encode(&self.stated[usize::try_from(index).unwrap()].payload);
        OpenPayload { batch: BATCH, index, receipt, path, payload: Bytes::new(payload).unwrap() }
    }

    /// Both auditors commit, the worker shows its receipt, and both reveal.
    pub(crate) fn reveal_all(&mut self, index: u32, said: [(Finding, Hash); 2]) {
        for (name, said) in AUDITORS.into_iter().zip(said) {
            let action = self.commit(name, index, said);
            self.act(name, action);
        }
        let open = self.open_receipt(index);
        self.act(WORKER, Action::OpenReceipt(open));
        for (name, said) in AUDITORS.into_iter().zip(said) {
            let action = self.reveal(index, said);
            self.act(name, action);
        }
    }

    pub(crate) fn challenge(root: Hash, trace: Hash) -> Action {
        Action::Challenge(Challenge { batch: BATCH, index: 0, root, trace })
    }

    pub(crate) fn answer(trace: Hash) -> Action {
        Action::AnswerChallenge(AnswerChallenge { batch: BATCH, index: 0, trace })
    }

    pub(crate) fn show_model() -> ShowModel {
        let piece = Bytes::new(encode(&chunk(0).unwrap())).unwrap();
        ShowModel { work: small().cid, piece }
    }

    /// The pieces that a cell is judged from, as a party has them.
    pub(crate) fn evidence(&self, party: &mut Party<'_>, cell: &Cell) -> Vec<Action> {
        let place = graph().place_of(party.memory.shape(), cell.step.index).unwrap();
        party.walk(place.position);
        let at = usize::try_from(cell.cell).unwrap();
        let evidence = Evidence::collect(&party.memory, &party.trace, place, at).unwrap();
        let mut shown: Vec<Shown> = evidence.steps.into_iter().map(Shown::Step).collect();
        shown.extend(evidence.cells.into_iter().map(Shown::Cell));
        let outline = &outline();
        for index in 0..8 {
            let Some(piece) = chunk(index) else { break };
            let (from, to) = (index << 20, (index + 1) << 20);
            let lies = |part: &&Part| {
                let range = outline.range(part).unwrap();
                range.start < to && range.end > from
            };
            let parts: Vec<Part> = evidence.parts.iter().filter(lies).cloned().collect();
            if !parts.is_empty() {
                shown.push(Shown::Chunk { parts: List::new(parts).unwrap(), piece });
            }
        }
        shown.iter().map(show).collect()
    }

    /// Both sides divide until a cell or a leaf is to be judged. Gives the phase.
    pub(crate) fn divide(&mut self, challenger: &str, parties: &mut [Party<'_>; 2]) -> Phase {
        let key: Key = (BATCH, 0);
        for _ in 0..audit::dispute::ROUNDS_MAX {
            let turns = self.world.state.dispute(key).unwrap().turns.clone().unwrap();
            let phase = turns.phase().clone();
            if matches!(phase, Phase::Judge(_) | Phase::Position(_)) {
                return phase;
            }
            for side in SIDES {
                let now = self.world.state.dispute(key).unwrap().turns.clone().unwrap();
                if now.rounds() != turns.rounds() {
                    break;
                }
                let name = [WORKER, challenger][side as usize];
                let action = self.statement(side as usize, &phase, turns.about(), parties);
                self.kinds.insert(action.name());
                match self.world.attempt(name, action) {
                    // It has stated this before.
                    Ok(_) | Err(Refusal::AlreadyStated) => self.restart(),
                    Err(refusal) => unreachable!("{name}: {refusal}"),
                }
            }
        }
        unreachable!("more rounds than there can be");
    }

    /// What a side states in a phase.
    pub(crate) fn statement(
        &self,
        side: usize,
        phase: &Phase,
        about: About,
        parties: &mut [Party<'_>; 2],
    ) -> Action {
        let (batch, index) = (BATCH, 0);
        let leaves = &parties[side].leaves;
        let nodes: Vec<Hash> = match (phase, about) {
            (Phase::Divide(divide), About::Answer) => {
                let leaves = Digests::new(leaves.as_slice().to_vec());
                let under = leaves.under(divide.level, divide.block).unwrap();
                under.into_iter().map(Hash).collect()
            }
            _ => parties[side].nodes(phase),
        };
        match phase {
            Phase::Divide(_) => {
                let nodes = List::new(nodes).unwrap();
                Action::DivideTrace(DivideTrace { batch, index, nodes })
            }
            _ => Action::OpenStep(OpenStep { batch, index, root: nodes[0] }),
        }
    }
}

/// A chunk of the model's file with the nodes over it; none past its end.
pub(crate) fn chunk(index: u64) -> Option<Piece> {
    let it = small();
    if index >= u64::try_from(it.bytes.len()).unwrap().div_ceil(1 << 20) {
        return None;
    }
    let range = it.chunks.range(usize::try_from(index).unwrap());
    let (from, to) = (usize::try_from(range.start).unwrap(), usize::try_from(range.end).unwrap());
    let nodes = it.chunks.nodes().into_iter().map(|(_, node)| node).collect();
    Some(Piece { index, chunk: it.bytes[from..to].to_vec(), nodes })
}

/// Where the sections of the model's file lie.
fn outline() -> Outline {
    let mut artifact = Artifact::named(&small().cid).unwrap();
    artifact.add(chunk(0).unwrap()).unwrap();
    artifact.outline().unwrap()
}

/// Evidence as an order.
pub(crate) fn show<T: Canonical>(shown: &T) -> Action {
    let piece = Bytes::new(encode(shown)).unwrap();
    Action::ShowEvidence(ShowEvidence { batch: BATCH, index: 0, piece })
}
