//! What a proposal can do if it passes, and the parameters that it can set.
//!
//! Specified in `docs/spec/transaction.md`, sections 5 and 6, whose tables a test makes from this
//! file.
//!
//! Not here: the parameters' ranges, and which bar a measure must pass (the `ledger` crate).

use crate::amount::Amount;
use crate::bounded::{List, Text};
use crate::id::{Address, Cid, Hash};
use crate::transaction::{LICENCE_MAX, MAKERS_MAX, NOTE_MAX, Share};
use crate::{choice, shown_record, words};

shown_record! {
    /// Set a parameter within its range.
    SetParameter {
        /// Which one.
        parameter: Parameter,
        /// Its new value.
        value: u64,
    }
}

shown_record! {
    /// Admit an applicant.
    AdmitMember {
        /// Who.
        account: Address,
    }
}

shown_record! {
    /// Suspend a member: it keeps its account and capital, and has no vote.
    SuspendMember {
        /// Who.
        account: Address,
    }
}

shown_record! {
    /// End a member's suspension.
    ReinstateMember {
        /// Who.
        account: Address,
    }
}

shown_record! {
    /// End a membership; the capital is paid out.
    ExpelMember {
        /// Who.
        account: Address,
    }
}

shown_record! {
    /// Set how far a member's balance may fall below zero.
    SetCreditLine {
        /// Whose.
        account: Address,
        /// How far.
        line: Amount,
    }
}

shown_record! {
    /// Grant from the commons fund.
    SpendCommons {
        /// Who receives.
        to: Address,
        /// How much.
        amount: Amount,
        /// What for.
        purpose: Text<NOTE_MAX>,
    }
}

shown_record! {
    /// Pay a cost from the treasury.
    SpendTreasury {
        /// Who receives.
        to: Address,
        /// How much.
        amount: Amount,
        /// What for.
        purpose: Text<NOTE_MAX>,
    }
}

shown_record! {
    /// Take a registered work into the commons; from then on only votes change it.
    AdmitWork {
        /// The work.
        work: Cid,
    }
}

shown_record! {
    /// Retire a work of the commons: it can no longer be paid for or built on.
    RetireWork {
        /// The work.
        work: Cid,
    }
}

shown_record! {
    /// Set the licence of a work of the commons.
    SetLicence {
        /// The work.
        work: Cid,
        /// The licence, an SPDX expression or a name.
        licence: Text<LICENCE_MAX>,
    }
}

shown_record! {
    /// Set the makers' shares of a work of the commons.
    SetSplit {
        /// The work.
        work: Cid,
        /// The makers, at least one, each once.
        makers: List<Share, MAKERS_MAX>,
    }
}

shown_record! {
    /// Admit a validator, or change its power.
    AdmitValidator {
        /// The node's public key.
        node_key: Hash,
        /// The account that answers for it.
        account: Address,
        /// Its votes in the agreement on blocks.
        power: u32,
    }
}

shown_record! {
    /// Remove a validator.
    RemoveValidator {
        /// The node's public key.
        node_key: Hash,
    }
}

shown_record! {
    /// Elect a guardian, who may delay what has passed and nothing else, or have none.
    SetGuardian {
        /// Who.
        guardian: Option<Address>,
    }
}

shown_record! {
    /// Elect a cashier, who issues credits against payment, or have none.
    SetCashier {
        /// Who.
        cashier: Option<Address>,
    }
}

shown_record! {
    /// Replace the constitution.
    AmendConstitution {
        /// Its new text.
        constitution: Cid,
    }
}

choice! {
    /// One thing that a proposal does.
    Measure {
        1 SetParameter,
        2 AdmitMember,
        3 SuspendMember,
        4 ReinstateMember,
        5 ExpelMember,
        6 SetCreditLine,
        7 SpendCommons,
        8 SpendTreasury,
        9 AdmitWork,
        10 RetireWork,
        11 SetLicence,
        12 SetSplit,
        13 AdmitValidator,
        14 RemoveValidator,
        15 SetGuardian,
        16 SetCashier,
        17 AmendConstitution,
    }
}

words! {
    /// A number that members set by vote.
    Parameter {
        /// Blocks of an epoch.
        1 EpochBlocks = "epoch_blocks",
        /// Epochs of a patronage period.
        2 PeriodEpochs = "period_epochs",
        /// Millionths that a transaction costs outside the quota.
        3 FeeFlat = "fee_flat",
        /// Bytes of transactions that a member has free in an epoch.
        4 QuotaBytes = "quota_bytes",
        /// Millionths of credit line that a new member of a mutual-credit network gets.
        5 CreditLine = "credit_line",
        /// Millionths of capital that a new member pays in.
        6 MemberShare = "member_share",
        /// Members who must vouch for an applicant.
        7 SponsorsNeeded = "sponsors_needed",
        /// 1 where members vote on each admission, 0 where sponsors are enough.
        8 AdmissionByVote = "admission_by_vote",
        /// Thousandths of a payment for use that go to the treasury.
        9 TreasuryParts = "treasury_parts",
        /// Thousandths of a payment for use that go to the work's makers and parents.
        10 LineageParts = "lineage_parts",
        /// Thousandths of what reaches a work that it passes on to its parents.
        11 LineageDecay = "lineage_decay",
        /// Generations that a payment reaches above the work.
        12 LineageDepth = "lineage_depth",
        /// Thousandths of a surplus that go to the reserve.
        13 ReserveParts = "reserve_parts",
        /// Thousandths of a surplus that go to the commons fund.
        14 CommonsParts = "commons_parts",
        /// Thousandths of a dividend that are paid out; the rest becomes capital.
        15 DividendCashParts = "dividend_cash_parts",
        /// Weight of what a member paid for use, in dividing a surplus.
        16 WeightUse = "weight_use",
        /// Weight of what a member earned, in dividing a surplus.
        17 WeightContribution = "weight_contribution",
        /// Millionths issued to the commons fund in each epoch, where the policy is issued.
        18 IssuePerEpoch = "issue_per_epoch",
        /// Millionths that the cashier may issue in an epoch, where the policy is prepaid.
        19 CashierLimit = "cashier_limit",
        /// Millionths that are locked while one's proposal is open.
        20 ProposalDeposit = "proposal_deposit",
        /// Proposals that one member may have open.
        21 ProposalsOpen = "proposals_open",
        /// Members whose votes one delegate may carry on a topic.
        22 DelegationCarry = "delegation_carry",
        /// Blocks that a delegation may last.
        23 DelegationBlocks = "delegation_blocks",
        /// Blocks that a session key may last.
        24 SessionBlocks = "session_blocks",
        /// Blocks of a guardian's delay.
        25 GuardianDelay = "guardian_delay",
        /// Thousandths of the electorate that must vote, for the ordinary tier.
        30 OrdinaryQuorum = "ordinary_quorum",
        /// Thousandths of yes and no that yes must exceed, for the ordinary tier.
        31 OrdinaryThreshold = "ordinary_threshold",
        /// Blocks of voting, for the ordinary tier.
        32 OrdinaryVoting = "ordinary_voting",
        /// Blocks between the vote and its execution, for the ordinary tier.
        33 OrdinaryTimelock = "ordinary_timelock",
        /// As for the ordinary tier, for budgets.
        34 BudgetQuorum = "budget_quorum",
        /// As for the ordinary tier, for budgets.
        35 BudgetThreshold = "budget_threshold",
        /// As for the ordinary tier, for budgets.
        36 BudgetVoting = "budget_voting",
        /// As for the ordinary tier, for budgets.
        37 BudgetTimelock = "budget_timelock",
        /// As for the ordinary tier, for parameters.
        38 ParameterQuorum = "parameter_quorum",
        /// As for the ordinary tier, for parameters.
        39 ParameterThreshold = "parameter_threshold",
        /// As for the ordinary tier, for parameters.
        40 ParameterVoting = "parameter_voting",
        /// As for the ordinary tier, for parameters.
        41 ParameterTimelock = "parameter_timelock",
        /// As for the ordinary tier, for the constitution.
        42 ConstitutionQuorum = "constitution_quorum",
        /// As for the ordinary tier, for the constitution.
        43 ConstitutionThreshold = "constitution_threshold",
        /// As for the ordinary tier, for the constitution.
        44 ConstitutionVoting = "constitution_voting",
        /// As for the ordinary tier, for the constitution.
        45 ConstitutionTimelock = "constitution_timelock",
        /// Millionths that are locked of a validator's account when it is admitted.
        50 ValidatorBond = "validator_bond",
        /// Blocks in a row that a validator misses until it rests: it proposes none until it seals one.
        51 RestBlocks = "rest_blocks",
        /// Blocks in a row that a validator misses until it is jailed for its absence.
        52 JailBlocks = "jail_blocks",
        /// Whose machines compute for others: 0 anyone's, 1 those that a pass lets in, 2 of these those that are registered, 3 those that an active member registered.
        60 Workers = "workers",
        /// Thousandths of what a batch earns that it binds of its worker's stake.
        61 StakeParts = "stake_parts",
        /// Millionths that an auditor must have at stake.
        62 AuditorStake = "auditor_stake",
        /// Thousandths of what a batch earns that go to the audit fund.
        63 AuditParts = "audit_parts",
        /// Thousandths of what is slashed that the wronged party gets.
        64 SlashWronged = "slash_wronged",
        /// Thousandths of what is slashed that whoever proved it gets.
        65 SlashProver = "slash_prover",
        /// Thousandths of what a batch earns that its gateway gets.
        66 GatewayParts = "gateway_parts",
        /// Blocks for which a stake that is taken back can still be lost.
        67 StakeBlocks = "stake_blocks",
        /// Receipts of a million that are audited.
        70 AuditRate = "audit_rate",
        /// Auditors of one receipt.
        71 Auditors = "auditors",
        /// Blocks of each step of an audit: to commit, to open, to reveal, to challenge.
        72 AuditBlocks = "audit_blocks",
        /// Thousandths of what a receipt earned that each of its auditors gets.
        73 AuditPay = "audit_pay",
        /// Blocks of each turn of a dispute.
        74 DisputeBlocks = "dispute_blocks",
        /// Millionths of a challenger's stake that a dispute binds.
        75 ChallengeBond = "challenge_bond",
    }
}
