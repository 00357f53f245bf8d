//! What happened: facts for those who watch the ledger.
//!
//! Invariants: events are made by the same transactions on every node, in the same order. No rule
//! reads them.
//!
//! Not here: how they are shown or kept.

use audit::dispute::Verdict;
use types::amount::{Amount, Epoch, Height, Period};
use types::id::{Address, Cid, Hash};
use types::measure::Parameter;
use types::word::{Choice, Tier};

use crate::audits::Stage;
use crate::members::Status;
use crate::refusal::Refusal;
use crate::validators::Standing;
use crate::works::WorkStatus;

/// One fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are named after what they are")]
pub enum Event {
    /// Credits moved.
    Moved { from: Address, to: Address, amount: Amount },
    /// A session key was granted, or taken back.
    Session { account: Address, key: Address, is_live: bool },
    /// Someone's membership changed.
    Member { account: Address, status: Status },
    /// A member's capital changed to this.
    Capital { account: Address, capital: Amount },
    /// A proposal was opened.
    Opened { proposal: u64, tier: Tier, closes: Height },
    /// A ballot was cast.
    Ballot { proposal: u64, account: Address, choice: Choice },
    /// A vote was closed.
    Closed { proposal: u64, tally: Tally, has_passed: bool },
    /// A proposal was delayed.
    Delayed { proposal: u64, executes: Height },
    /// A proposal was executed.
    Executed { proposal: u64 },
    /// A proposal that had passed could not be executed, and never will be.
    Failed { proposal: u64, refusal: Refusal },
    /// A delegation was made, or ended.
    Delegation { from: Address, topic: Tier, to: Option<Address> },
    /// A parameter was set.
    Parameter { parameter: Parameter, value: u64 },
    /// A credit line was set.
    CreditLine { account: Address, line: Amount },
    /// A work was registered or changed.
    Work { work: Cid, status: WorkStatus },
    /// A validator's power from a height on, and whether it serves.
    Validator { node_key: Hash, power: u32, from: Height, standing: Standing },
    /// A validator rests, or no longer does.
    Rest { node_key: Hash, rests: bool },
    /// A validator was convicted of contradicting itself at a height; its bond went to the reserve.
    Convicted { node_key: Hash, height: Height, bond: Amount },
    /// A node was registered by an account, or no longer is.
    Node { node_key: Hash, account: Address, is_registered: bool },
    /// The guardian was set.
    Guardian { guardian: Option<Address> },
    /// The cashier was set.
    Cashier { cashier: Option<Address> },
    /// The constitution was replaced.
    Constitution { constitution: Cid },
    /// A channel holds this much for its payee.
    Channel { channel: u64, held: Amount },
    /// A channel returns its rest after a block.
    ChannelClosing { channel: u64, closes: Height },
    /// What an account has at stake, and what of it is bound.
    Stake { account: Address, held: Amount, bonded: Amount },
    /// A batch was redeemed.
    Batch { batch: u64, worker: Address, amount: Amount },
    /// A batch is over; it was paid out, or went back to its payer.
    BatchEnded { batch: u64, is_paid: bool },
    /// An audit waits for something until a block.
    Audit { batch: u64, index: u32, stage: Stage, until: Height },
    /// A dispute about an audited receipt was decided.
    Judged { batch: u64, index: u32, verdict: Verdict },
    /// An audit is over; its worker was convicted, or not.
    AuditClosed { batch: u64, index: u32, is_convicted: bool },
    /// The ledger knows the steps of a model's runs.
    Model { work: Cid },
    /// A channel was closed.
    ChannelClosed { channel: u64 },
    /// An epoch began.
    Epoch { epoch: Epoch },
    /// A period ended, and its surplus was divided.
    Surplus { period: Period, surplus: Amount, reserve: Amount, commons: Amount },
    /// A member's part of a surplus.
    Dividend { account: Address, cash: Amount, capital: Amount },
}

/// Ballots of a vote, by choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// For.
    pub yes: u32,
    /// Against.
    pub no: u32,
    /// For the quorum only.
    pub abstain: u32,
}
