//! What an account can ask of the ledger: one record for each kind.
//!
//! Specified in `docs/spec/transaction.md`, section 4, whose tables a test makes from this file.
//!
//! Not here: who may ask what, and what happens then (the `ledger` crate); what a proposal may do
//! (`measure`).

use crate::amount::{Amount, Blocks, Height};
use crate::bounded::{Bytes, List, Set, Text};
use crate::id::{Address, Cid, Hash};
use crate::measure::Measure;
use crate::node_key::{NodeSignature, NodeSigned};
use crate::record::Column;
use crate::signature::Signature;
use crate::typed::{Kind, Record, Struct, Value, camel};
use crate::word::{Choice, Finding, Fund, Lack, Scope, Tier, WorkKind};
use crate::{choice, shown_record};

/// Bytes of a note on a payment.
pub const NOTE_MAX: usize = 140;
/// Bytes of a name or a title.
pub const NAME_MAX: usize = 120;
/// Bytes of a licence's identifier, which SPDX expressions stay well under.
pub const LICENCE_MAX: usize = 120;
/// Makers of one work. Bounds what one payment can fan out to.
pub const MAKERS_MAX: usize = 16;
/// Parents of one work. Bounds what one payment can fan out to.
pub const PARENTS_MAX: usize = 8;
/// Scopes of a session key: all there are.
pub const SCOPES_MAX: usize = 5;
/// Bytes of a signed receipt, which has no other size (`receipt.md`).
pub const RECEIPT_MAX: usize = 692;
/// Bytes of a receipt's payload: two lists of tokens as long as the longest context, and what else was
/// asked (`receipt.md`).
pub const PAYLOAD_MAX: usize = 1_082_624;
/// Hashes of a receipt's path in its batch, which has at most 2^12 receipts.
pub const RECEIPT_PATH_MAX: usize = 12;
/// Nodes of one turn of a dispute: those eight levels below one.
pub const NODES_MAX: usize = 256;
/// Bytes of a piece of evidence: a chunk of an artifact, and the nodes over it.
pub const PIECE_MAX: usize = 3 << 19;
/// Measures of one proposal. More would hide something among them.
pub const MEASURES_MAX: usize = 4;

shown_record! {
    /// A maker's part of what a work earns.
    Share {
        /// Who is paid.
        account: Address,
        /// Its parts; the whole is the sum over the makers.
        parts: u32,
    }
}

shown_record! {
    /// A work that another was made from.
    Parent {
        /// The work.
        work: Cid,
        /// Its parts of what goes to the parents; the whole is the sum over them.
        parts: u32,
    }
}

shown_record! {
    /// Move credits to another account.
    Transfer {
        /// Who receives.
        to: Address,
        /// How much.
        amount: Amount,
        /// A note for the receiver.
        note: Text<NOTE_MAX>,
    }
}

shown_record! {
    /// Give credits to a common account.
    Give {
        /// Which one.
        fund: Fund,
        /// How much.
        amount: Amount,
    }
}

shown_record! {
    /// Let another key act for the account, within limits.
    GrantSession {
        /// The key's address.
        key: Address,
        /// What it may spend in all.
        cap: Amount,
        /// What it may do.
        scopes: Set<Scope, SCOPES_MAX>,
        /// The last block in which it may act.
        expires: Height,
    }
}

shown_record! {
    /// Take a session key's rights back.
    RevokeSession {
        /// The key's address.
        key: Address,
    }
}

shown_record! {
    /// Ask to become a member.
    Apply {
        /// The name that members see.
        name: Text<NAME_MAX>,
    }
}

shown_record! {
    /// Vouch for someone who asks, or will ask, to become a member.
    Sponsor {
        /// Who.
        applicant: Address,
    }
}

shown_record! {
    /// Pay credits into one's own capital.
    AddCapital {
        /// How much.
        amount: Amount,
    }
}

shown_record! {
    /// Stop being a member; the capital is paid out.
    Leave {
    }
}

/// Put measures to the vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propose {
    /// What it is about.
    pub title: Text<NAME_MAX>,
    /// The full text, if there is one.
    pub text: Option<Cid>,
    /// What is done if it passes, in this order, all or nothing.
    pub measures: List<Measure, MEASURES_MAX>,
}

shown_record! {
    /// Vote on a proposal, or change one's vote.
    Vote {
        /// The proposal's number.
        proposal: u64,
        /// The choice.
        choice: Choice,
    }
}

shown_record! {
    /// Let another member's own vote count for oneself where one does not vote.
    Delegate {
        /// About what.
        topic: Tier,
        /// Who.
        to: Address,
        /// The last block in which it holds.
        expires: Height,
    }
}

shown_record! {
    /// Take a delegation back at once.
    Undelegate {
        /// About what.
        topic: Tier,
    }
}

shown_record! {
    /// As the guardian, delay a proposal that has passed.
    Delay {
        /// The proposal's number.
        proposal: u64,
    }
}

shown_record! {
    /// Register a model or a dataset.
    Register {
        /// Which of the two.
        kind: WorkKind,
        /// Its content.
        work: Cid,
        /// Its name.
        name: Text<NAME_MAX>,
        /// Its licence, an SPDX expression or a name.
        licence: Text<LICENCE_MAX>,
        /// The text of further terms, if there is one.
        terms: Option<Cid>,
        /// Who made it, at least one, each once.
        makers: List<Share, MAKERS_MAX>,
        /// What it was made from, each once.
        parents: List<Parent, PARENTS_MAX>,
    }
}

shown_record! {
    /// Withdraw a work that one has registered and that is not in the commons.
    Retire {
        /// The work.
        work: Cid,
    }
}

shown_record! {
    /// Pay for the use of a work: its makers, who ran it, and the treasury, by the voted parts.
    PayForUse {
        /// The work.
        work: Cid,
        /// Who ran it.
        worker: Address,
        /// How much in all.
        amount: Amount,
    }
}

/// The node of a channel that pays for no answers.
pub const NO_NODE: Hash = Hash([0; 32]);

shown_record! {
    /// Set credits aside for one receiver.
    OpenChannel {
        /// Who can redeem.
        payee: Address,
        /// How much.
        amount: Amount,
        /// Blocks between the payer's wish to close and the return of the rest.
        timeout: Blocks,
        /// The payee's node whose answers are paid for; zeros where something else is.
        node: Hash,
    }
}

shown_record! {
    /// Set more credits aside in a channel.
    TopUpChannel {
        /// The channel's number.
        channel: u64,
        /// How much more.
        amount: Amount,
    }
}

shown_record! {
    /// Take what a payer's voucher grants.
    RedeemVoucher {
        /// The channel's number.
        channel: u64,
        /// All that the payer has granted since the channel was opened.
        cumulative: Amount,
        /// The payer's signature of the voucher.
        signature: Signature,
    }
}

shown_record! {
    /// Close a channel: at once as its payee, after the timeout as its payer.
    CloseChannel {
        /// The channel's number.
        channel: u64,
    }
}

shown_record! {
    /// As the cashier, issue credits that were paid for.
    IssueCredits {
        /// Who receives.
        to: Address,
        /// How much.
        amount: Amount,
        /// The payment that it is for.
        reference: Text<NOTE_MAX>,
    }
}

shown_record! {
    /// As the cashier, take credits of one's own account out of existence.
    WithdrawCredits {
        /// How much.
        amount: Amount,
        /// The payment that it is for.
        reference: Text<NOTE_MAX>,
    }
}

shown_record! {
    /// Call back one's validator that was jailed for its absence.
    ReturnValidator {
        /// The node's public key.
        node_key: Hash,
    }
}

shown_record! {
    /// Register a node as one's own.
    RegisterNode {
        /// The node's public key.
        node_key: Hash,
        /// The last block in which the node's consent counts.
        until: Height,
        /// The node's consent (section 6).
        consent: NodeSignature,
    }
}

shown_record! {
    /// Take back the registration of a node of one's own.
    UnregisterNode {
        /// The node's public key.
        node_key: Hash,
    }
}

shown_record! {
    /// Put credits at stake.
    Stake {
        /// How much.
        amount: Amount,
    }
}

shown_record! {
    /// Take back of the stake what is not bound; it stays at stake for the voted time.
    Unstake {
        /// How much.
        amount: Amount,
    }
}

shown_record! {
    /// Offer to audit.
    Enlist {
    }
}

shown_record! {
    /// Audit no more; what was drawn already is to be done.
    Resign {
    }
}

shown_record! {
    /// Redeem a voucher for work, with the receipts that earned it.
    RedeemBatch {
        /// The channel's number.
        channel: u64,
        /// All that the payer has granted since the channel was opened.
        cumulative: Amount,
        /// The payer's signature of the voucher for work.
        signature: Signature,
        /// The model that gave the answers.
        work: Cid,
        /// The account of the gateway that brought payer and worker together.
        gateway: Address,
        /// The root over the receipts' ids, by their sequences.
        root: Hash,
        /// How many receipts, from the channel's next one on; at least one.
        count: u32,
    }
}

shown_record! {
    /// As a drawn auditor, state the hash of what one has found, before anyone says what it is.
    CommitVerdict {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch, from 0.
        index: u32,
        /// Hash of finding, root, salt and auditor (`ledger.md`).
        hash: Hash,
    }
}

shown_record! {
    /// As a drawn auditor, ask the worker on the ledger for what it did not give: receipt and payload.
    AskPayload {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// What the worker did.
        lack: Lack,
    }
}

shown_record! {
    /// Show the payload of a receipt that is audited.
    OpenPayload {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// The signed receipt.
        receipt: Bytes<RECEIPT_MAX>,
        /// The receipt's path to the batch's root.
        path: List<Hash, RECEIPT_PATH_MAX>,
        /// The payload, without the blinding.
        payload: Bytes<PAYLOAD_MAX>,
    }
}

shown_record! {
    /// As the worker, show a drawn receipt and the root that it hides.
    OpenReceipt {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// The signed receipt.
        receipt: Bytes<RECEIPT_MAX>,
        /// The receipt's path to the batch's root.
        path: List<Hash, RECEIPT_PATH_MAX>,
        /// What hides the root.
        blinding: Hash,
        /// The answer's root.
        root: Hash,
    }
}

shown_record! {
    /// As a drawn auditor, say what one has found, as it was committed to.
    RevealVerdict {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// What was found.
        finding: Finding,
        /// The root that was computed; zeros where none was.
        root: Hash,
        /// The salt of the hash.
        salt: Hash,
    }
}

shown_record! {
    /// Dispute a receipt: as an auditor whose finding was no match, or as the payer.
    Challenge {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// The answer's root as one has computed it.
        root: Hash,
        /// The root of the trace of the run.
        trace: Hash,
    }
}

shown_record! {
    /// As the worker, state the root of the trace of a run that is disputed.
    AnswerChallenge {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// The root of the trace of the run.
        trace: Hash,
    }
}

shown_record! {
    /// State the nodes below the first one that differs in a dispute.
    DivideTrace {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// The nodes.
        nodes: List<Hash, NODES_MAX>,
    }
}

shown_record! {
    /// State the root of the cells of the step that differs, or of the tree over the answer's leaves.
    OpenStep {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// The root.
        root: Hash,
    }
}

shown_record! {
    /// Show a piece of the evidence by which a dispute is judged.
    ShowEvidence {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// The piece (`audit.md`).
        piece: Bytes<PIECE_MAX>,
    }
}

shown_record! {
    /// Have a dispute judged from the evidence that was shown.
    JudgeDispute {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
    }
}

shown_record! {
    /// Show a model's first chunk, from which the ledger knows the steps of its runs.
    ShowModel {
        /// The model.
        work: Cid,
        /// The chunk and the nodes over it (`audit.md`).
        piece: Bytes<PIECE_MAX>,
    }
}

shown_record! {
    /// Show another receipt that the worker has signed for the same place in the channel.
    ShowReceipt {
        /// The batch's number.
        batch: u64,
        /// The receipt's place in the batch.
        index: u32,
        /// The other signed receipt.
        receipt: Bytes<RECEIPT_MAX>,
    }
}

choice! {
    /// What an account asks of the ledger.
    Action {
        1 Transfer,
        2 Give,
        3 GrantSession,
        4 RevokeSession,
        10 Apply,
        11 Sponsor,
        12 AddCapital,
        13 Leave,
        20 Propose,
        21 Vote,
        22 Delegate,
        23 Undelegate,
        24 Delay,
        30 Register,
        31 Retire,
        32 PayForUse,
        40 OpenChannel,
        41 TopUpChannel,
        42 RedeemVoucher,
        43 CloseChannel,
        50 IssueCredits,
        51 WithdrawCredits,
        60 ReturnValidator,
        61 RegisterNode,
        62 UnregisterNode,
        71 Stake,
        72 Unstake,
        73 Enlist,
        74 Resign,
        75 RedeemBatch,
        81 CommitVerdict,
        82 AskPayload,
        83 OpenPayload,
        84 OpenReceipt,
        85 RevealVerdict,
        86 Challenge,
        87 AnswerChallenge,
        88 DivideTrace,
        89 OpenStep,
        90 ShowEvidence,
        91 JudgeDispute,
        92 ShowModel,
        93 ShowReceipt,
    }
}

shown_record! {
    /// What a payer hands to a worker, outside the ledger, for answers of which there are receipts; only
    /// a batch of these redeems it.
    WorkVoucher {
        /// Whose credits.
        payer: Address,
        /// Who can redeem.
        payee: Address,
        /// The channel's number.
        channel: u64,
        /// All that is granted since the channel was opened.
        cumulative: Amount,
    }
}

shown_record! {
    /// What a payer hands to a payee, outside the ledger, as often as it wants.
    Voucher {
        /// Whose credits.
        payer: Address,
        /// Who can redeem.
        payee: Address,
        /// The channel's number.
        channel: u64,
        /// All that the payer has granted since the channel was opened.
        cumulative: Amount,
    }
}

shown_record! {
    /// What a node signs with its own key, so that nobody registers another's node.
    Consent {
        /// The network: the hash of its genesis.
        network: Hash,
        /// Who may register the node.
        account: Address,
        /// The node's public key.
        node_key: Hash,
        /// The last block in which the consent counts.
        until: Height,
    }
}

impl NodeSigned for Consent {
    const TAG: &'static [u8] = b"mashaa/ledger/consent/v1";
}

impl Propose {
    /// What the record is, in a sentence.
    #[must_use]
    pub fn about() -> String {
        "Put measures to the vote.".to_owned()
    }

    /// The fields, as the specification shows them.
    #[must_use]
    pub fn columns() -> Vec<Column> {
        let column = |name: &str, wire: String, kind: &str, meaning: &str| Column {
            name: name.to_owned(),
            wire,
            kind: kind.to_owned(),
            meaning: meaning.to_owned(),
        };
        let title = format!("4 + at most {NAME_MAX} of UTF-8");
        let measures = format!("4 + at most {MEASURES_MAX} measures (section 5)");
        let done = "What is done if it passes, in this order, all or nothing; at least one.";
        vec![
            column("title", title, "string", "What it is about."),
            column(
                "text",
                "0, or 1 and 36".to_owned(),
                "string",
                "The full text, if there is one.",
            ),
            column("measure1 ...", measures, "one struct for each", done),
        ]
    }

    /// The fields as a wallet shows them. A list in typed data has one type, and measures have
    /// many; so each measure is a field of its own, and the type has as many as the proposal.
    #[must_use]
    pub fn shown(&self) -> Record {
        let text = self.text.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string);
        let mut fields = ["title", "text"].map(|name| (camel(name), Kind::Text)).to_vec();
        let mut values = vec![Value::Text(self.title.to_string()), Value::Text(text)];
        for (number, measure) in (1..).zip(self.measures.as_slice()) {
            let record = measure.shown();
            fields.push((format!("measure{number}"), Kind::Record(record.of.clone())));
            values.push(Value::Record(record));
        }
        Record { of: Struct { name: "Propose", fields }, values }
    }
}

impl crate::codec::Canonical for Propose {
    fn write(&self, out: &mut Vec<u8>) {
        self.title.write(out);
        self.text.write(out);
        self.measures.write(out);
    }

    fn read(reader: &mut crate::codec::Reader<'_>) -> Result<Self, crate::codec::Malformed> {
        let title = Text::read(reader)?;
        let text = Option::read(reader)?;
        Ok(Propose { title, text, measures: List::read(reader)? })
    }
}
