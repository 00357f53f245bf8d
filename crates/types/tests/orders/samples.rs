//! One order of every kind, and one proposal of every measure.

use types::amount::{Amount, Blocks, Height, Nonce};
use types::bounded::{Bytes, List, Set, Text};
use types::envelope::Order;
use types::id::{Address, Cid, Hash, keccak256};
use types::measure::*;
use types::node_key::{NodeSecret, NodeSigned};
use types::signature::{Secret, Signature};
use types::transaction::*;
use types::word::{Choice, Finding, Fund, Lack, Scope, Tier, WorkKind};

/// The key of EIP-712's own example, the hash of `cow`.
pub(crate) fn secret() -> Secret {
    Secret::new(keccak256(b"cow").0).unwrap()
}

pub(crate) fn genesis() -> Hash {
    keccak256(b"genesis")
}

pub(crate) fn address(byte: u8) -> Address {
    Address([byte; 20])
}

fn cid(byte: u8) -> Cid {
    Cid::raw(Hash([byte; 32]))
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap()
}

fn amount(millionths: u64) -> Amount {
    Amount::new(millionths).unwrap()
}

fn makers() -> List<Share, MAKERS_MAX> {
    let share = |byte, parts| Share { account: address(byte), parts };
    List::new(vec![share(1, 60), share(2, 40)]).unwrap()
}

/// Every order, each with a name that says its kind.
pub(crate) fn orders() -> Vec<(String, Order)> {
    let named = actions().into_iter().map(|action| (action.name().to_owned(), action));
    let proposals = measures().into_iter().map(|measure| {
        let name = format!("Propose-{}", measure.name());
        (name, propose(vec![measure]))
    });
    let both = [measures().remove(0), measures().remove(1)].to_vec();
    let all = named.chain(proposals).chain([("Propose-two".to_owned(), propose(both))]);
    let order = |(name, action)| {
        let account = secret().address();
        (name, Order { account, nonce: Nonce(7), valid_until: Height(1000), action })
    };
    all.map(order).collect()
}

fn propose(measures: Vec<Measure>) -> Action {
    let title = text("Enough \"quoted\" \u{645}\u{634}\u{627}\u{639}");
    Action::Propose(Propose { title, text: Some(cid(9)), measures: List::new(measures).unwrap() })
}

fn actions() -> Vec<Action> {
    let (to, key, amount) = (address(3), address(4), amount(12_500_000));
    let scopes = Set::new(vec![Scope::Vote, Scope::Pay]).unwrap();
    let signature = Signature([27; 65]);
    vec![
        Action::Transfer(Transfer { to, amount, note: text("for bread") }),
        Action::Give(Give { fund: Fund::Commons, amount }),
        Action::GrantSession(GrantSession { key, cap: amount, scopes, expires: Height(500) }),
        Action::RevokeSession(RevokeSession { key }),
        Action::Apply(Apply { name: text("Amal") }),
        Action::Sponsor(Sponsor { applicant: to }),
        Action::AddCapital(AddCapital { amount }),
        Action::Leave(Leave {}),
        Action::Propose(Propose { title: text("Nothing"), text: None, measures: List::default() }),
        Action::Vote(Vote { proposal: 5, choice: Choice::Yes }),
        Action::Delegate(Delegate { topic: Tier::Budget, to, expires: Height(900) }),
        Action::Undelegate(Undelegate { topic: Tier::Budget }),
        Action::Delay(Delay { proposal: 5 }),
        Action::Register(register()),
        Action::Retire(Retire { work: cid(1) }),
        Action::PayForUse(PayForUse { work: cid(1), worker: to, amount }),
        Action::OpenChannel(OpenChannel {
            payee: to,
            amount,
            timeout: Blocks(100),
            node: Hash([9; 32]),
        }),
        Action::TopUpChannel(TopUpChannel { channel: 1, amount }),
        Action::RedeemVoucher(RedeemVoucher { channel: 1, cumulative: amount, signature }),
        Action::CloseChannel(CloseChannel { channel: 1 }),
        Action::IssueCredits(IssueCredits { to, amount, reference: text("invoice 12") }),
        Action::WithdrawCredits(WithdrawCredits { amount, reference: text("invoice 13") }),
        Action::ReturnValidator(ReturnValidator { node_key: Hash([7; 32]) }),
        Action::RegisterNode(register_node()),
        Action::UnregisterNode(UnregisterNode { node_key: node().key() }),
    ]
    .into_iter()
    .chain(audits())
    .chain(disputes())
    .collect()
}

fn bytes<const MAX: usize>(byte: u8) -> Bytes<MAX> {
    Bytes::new(vec![byte; 40]).unwrap()
}

fn audits() -> Vec<Action> {
    let (batch, index, root) = (7, 3, Hash([2; 32]));
    let (receipt, payload) = (bytes(4), bytes(5));
    let path = List::new(vec![Hash([6; 32]), Hash([7; 32])]).unwrap();
    let (blinding, salt) = (Hash([8; 32]), Hash([9; 32]));
    let (lack, finding) = (Lack::Timeout, Finding::NoMatch);
    vec![
        Action::Stake(Stake { amount: amount(5) }),
        Action::Unstake(Unstake { amount: amount(5) }),
        Action::Enlist(Enlist {}),
        Action::Resign(Resign {}),
        Action::RedeemBatch(RedeemBatch {
            channel: 1,
            cumulative: amount(5),
            signature: Signature([27; 65]),
            work: cid(1),
            gateway: address(9),
            root,
            count: 3,
        }),
        Action::CommitVerdict(CommitVerdict { batch, index, hash: root }),
        Action::AskPayload(AskPayload { batch, index, lack }),
        Action::OpenPayload(OpenPayload {
            batch,
            index,
            receipt: bytes(4),
            path: path.clone(),
            payload,
        }),
        Action::OpenReceipt(OpenReceipt { batch, index, receipt, path, blinding, root }),
        Action::RevealVerdict(RevealVerdict { batch, index, finding, root, salt }),
        Action::ShowReceipt(ShowReceipt { batch, index, receipt: bytes(3) }),
    ]
}

fn disputes() -> Vec<Action> {
    let (batch, index, root, trace) = (7, 3, Hash([2; 32]), Hash([1; 32]));
    let nodes = List::new(vec![root, trace]).unwrap();
    vec![
        Action::Challenge(Challenge { batch, index, root, trace }),
        Action::AnswerChallenge(AnswerChallenge { batch, index, trace }),
        Action::DivideTrace(DivideTrace { batch, index, nodes }),
        Action::OpenStep(OpenStep { batch, index, root }),
        Action::ShowEvidence(ShowEvidence { batch, index, piece: bytes(6) }),
        Action::JudgeDispute(JudgeDispute { batch, index }),
        Action::ShowModel(ShowModel { work: cid(1), piece: bytes(7) }),
    ]
}

/// A node that consents to be registered.
pub(crate) fn node() -> NodeSecret {
    NodeSecret::new([7; 32])
}

/// What it consents to.
pub(crate) fn consent() -> Consent {
    let (network, account) = (genesis(), secret().address());
    Consent { network, account, node_key: node().key(), until: Height(1000) }
}

fn register_node() -> RegisterNode {
    let consent = consent();
    let (node_key, until) = (consent.node_key, consent.until);
    RegisterNode { node_key, until, consent: consent.sign(&node()) }
}

fn register() -> Register {
    Register {
        kind: WorkKind::Model,
        work: cid(1),
        name: text("small model"),
        licence: text("Apache-2.0"),
        terms: None,
        makers: makers(),
        parents: List::new(vec![Parent { work: cid(2), parts: 1 }]).unwrap(),
    }
}

fn measures() -> Vec<Measure> {
    let (account, to, work) = (address(5), address(6), cid(1));
    let (node_key, amount) = (Hash([7; 32]), amount(1_000_001));
    let purpose = || text("a course");
    vec![
        Measure::SetParameter(SetParameter { parameter: Parameter::FeeFlat, value: 2000 }),
        Measure::AdmitMember(AdmitMember { account }),
        Measure::SuspendMember(SuspendMember { account }),
        Measure::ReinstateMember(ReinstateMember { account }),
        Measure::ExpelMember(ExpelMember { account }),
        Measure::SetCreditLine(SetCreditLine { account, line: amount }),
        Measure::SpendCommons(SpendCommons { to, amount, purpose: purpose() }),
        Measure::SpendTreasury(SpendTreasury { to, amount, purpose: purpose() }),
        Measure::AdmitWork(AdmitWork { work }),
        Measure::RetireWork(RetireWork { work }),
        Measure::SetLicence(SetLicence { work, licence: text("CC-BY-4.0") }),
        Measure::SetSplit(SetSplit { work, makers: makers() }),
        Measure::AdmitValidator(AdmitValidator { node_key, account, power: 1 }),
        Measure::RemoveValidator(RemoveValidator { node_key }),
        Measure::SetGuardian(SetGuardian { guardian: Some(account) }),
        Measure::SetCashier(SetCashier { cashier: None }),
        Measure::AmendConstitution(AmendConstitution { constitution: cid(8) }),
    ]
}
