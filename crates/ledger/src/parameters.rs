//! The parameters' ranges, defaults and bars.
//!
//! Specified in `docs/spec/ledger.md`, section 3, whose table a test makes from this file.
//!
//! Invariants: parts of one whole can never exceed it, whatever members vote within the ranges.
//!
//! Not here: how a parameter is set (`measures`); nothing else sets one.

use types::amount::{AMOUNT_MAX, MILLIONTHS};
use types::measure::Parameter;
use types::word::Tier;

/// What values a parameter may have, and which bar a proposal to set it must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The smallest value.
    pub min: u64,
    /// The largest value.
    pub max: u64,
    /// The value until members set another.
    pub default: u64,
    /// The bar.
    pub tier: Tier,
}

/// Thousandths that are all.
pub const WHOLE: u64 = 1000;
/// The largest weight of use or contribution. With counters under 2^53, a member's points stay under
/// 2^61, far from `divide::WEIGHT_MAX`.
pub const WEIGHT_MAX: u64 = 100;
/// The largest quorum, in thousandths. Members who are gone without leaving must not be able to stop
/// every vote for ever, the one to lower the quorum among them.
const QUORUM_MAX: u64 = 600;
/// The smallest quota: what members need to propose, and to vote some fifty times, without credits.
const QUOTA_MIN: u64 = 16_384;
/// The most that a batch binds, a hundred times what it earns: enough where one receipt of fifty is audited
/// (`docs/honesty.md`).
const STAKE_PARTS_MAX: u64 = 100 * WHOLE;
/// Blocks in a year of one-second blocks: the longest that anything lasts.
const YEAR: u64 = 31_536_000;
/// The shortest absence that jails: a node must be able to start again in less.
const JAIL_MIN: u64 = 20;
const LARGE: u64 = AMOUNT_MAX;
const CREDIT: u64 = MILLIONTHS;

/// A parameter's rule.
#[must_use]
pub const fn rule(parameter: Parameter) -> Rule {
    match parameter {
        Parameter::EpochBlocks => economic(1, YEAR / 12, 3600),
        Parameter::PeriodEpochs => economic(1, 100_000, 720),
        Parameter::FeeFlat => economic(0, 1000 * CREDIT, CREDIT / 100),
        Parameter::QuotaBytes => economic(QUOTA_MIN, 1 << 32, 65_536),
        Parameter::CreditLine => economic(0, LARGE, 100 * CREDIT),
        Parameter::MemberShare => economic(0, LARGE, 0),
        Parameter::SponsorsNeeded => constitutional(0, 8, 2),
        Parameter::AdmissionByVote => constitutional(0, 1, 0),
        Parameter::TreasuryParts => economic(0, 300, 50),
        Parameter::LineageParts => economic(0, 300, 100),
        Parameter::LineageDecay => economic(0, 500, 300),
        Parameter::LineageDepth => economic(0, 8, 4),
        Parameter::ReserveParts => constitutional(50, 500, 200),
        Parameter::CommonsParts => economic(0, 400, 100),
        Parameter::DividendCashParts => economic(200, WHOLE, 500),
        Parameter::WeightUse => economic(0, WEIGHT_MAX, 1),
        Parameter::WeightContribution => economic(0, WEIGHT_MAX, 1),
        Parameter::IssuePerEpoch => economic(0, LARGE, 0),
        Parameter::CashierLimit => economic(0, LARGE, 10_000 * CREDIT),
        Parameter::ProposalDeposit => economic(0, 1000 * CREDIT, 5 * CREDIT),
        Parameter::ProposalsOpen => constitutional(1, 16, 3),
        Parameter::DelegationCarry => constitutional(1, 1000, 20),
        Parameter::DelegationBlocks => constitutional(1, YEAR, YEAR / 2),
        Parameter::SessionBlocks => economic(1, YEAR, YEAR / 12),
        Parameter::GuardianDelay => constitutional(1, YEAR / 26, 604_800),
        Parameter::OrdinaryQuorum => constitutional(1, QUORUM_MAX, 100),
        Parameter::OrdinaryThreshold => constitutional(500, 900, 500),
        Parameter::OrdinaryVoting => constitutional(1, YEAR, 432_000),
        Parameter::OrdinaryTimelock => constitutional(1, YEAR, 86_400),
        Parameter::BudgetQuorum => constitutional(1, QUORUM_MAX, 150),
        Parameter::BudgetThreshold => constitutional(500, 900, 500),
        Parameter::BudgetVoting => constitutional(1, YEAR, 432_000),
        Parameter::BudgetTimelock => constitutional(1, YEAR, 172_800),
        Parameter::ParameterQuorum => constitutional(1, QUORUM_MAX, 150),
        Parameter::ParameterThreshold => constitutional(500, 900, 500),
        Parameter::ParameterVoting => constitutional(1, YEAR, 604_800),
        Parameter::ParameterTimelock => constitutional(1, YEAR, 172_800),
        Parameter::ConstitutionQuorum => constitutional(1, QUORUM_MAX, 330),
        Parameter::ConstitutionThreshold => constitutional(500, 900, 749),
        Parameter::ConstitutionVoting => constitutional(1, YEAR, 1_814_400),
        Parameter::ConstitutionTimelock => constitutional(1, YEAR, 1_209_600),
        Parameter::ValidatorBond => economic(0, LARGE, 50 * CREDIT),
        Parameter::RestBlocks => economic(1, YEAR, 8),
        Parameter::JailBlocks => economic(JAIL_MIN, YEAR, 86_400),
        // `nodes::Workers`, by number.
        Parameter::Workers => economic(0, 3, 1),
        Parameter::StakeParts => economic(0, STAKE_PARTS_MAX, 25_000),
        Parameter::AuditorStake => economic(0, LARGE, 20 * CREDIT),
        Parameter::AuditParts => economic(0, 200, 50),
        Parameter::SlashWronged => economic(0, 500, 300),
        Parameter::SlashProver => economic(0, 500, 200),
        Parameter::GatewayParts => economic(0, 200, 20),
        Parameter::StakeBlocks => economic(1, YEAR, 14_400),
        Parameter::AuditRate => economic(0, 1_000_000, 70_000),
        Parameter::Auditors => economic(1, 8, 2),
        Parameter::AuditBlocks => economic(1, YEAR / 52, 600),
        Parameter::AuditPay => economic(0, WHOLE, 350),
        Parameter::DisputeBlocks => economic(1, YEAR / 52, 600),
        Parameter::ChallengeBond => economic(0, LARGE, 5 * CREDIT),
    }
}

const fn economic(min: u64, max: u64, default: u64) -> Rule {
    Rule { min, max, default, tier: Tier::Parameter }
}

const fn constitutional(min: u64, max: u64, default: u64) -> Rule {
    Rule { min, max, default, tier: Tier::Constitution }
}

/// How a vote of a tier is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Thousandths of the electorate that must vote.
    pub quorum: Parameter,
    /// Thousandths of yes and no that yes must exceed.
    pub threshold: Parameter,
    /// Blocks of voting.
    pub voting: Parameter,
    /// Blocks between the vote and its execution.
    pub timelock: Parameter,
}

/// The bar of a tier.
#[must_use]
pub const fn bar(tier: Tier) -> Bar {
    match tier {
        Tier::Ordinary => Bar {
            quorum: Parameter::OrdinaryQuorum,
            threshold: Parameter::OrdinaryThreshold,
            voting: Parameter::OrdinaryVoting,
            timelock: Parameter::OrdinaryTimelock,
        },
        Tier::Budget => Bar {
            quorum: Parameter::BudgetQuorum,
            threshold: Parameter::BudgetThreshold,
            voting: Parameter::BudgetVoting,
            timelock: Parameter::BudgetTimelock,
        },
        Tier::Parameter => Bar {
            quorum: Parameter::ParameterQuorum,
            threshold: Parameter::ParameterThreshold,
            voting: Parameter::ParameterVoting,
            timelock: Parameter::ParameterTimelock,
        },
        Tier::Constitution => Bar {
            quorum: Parameter::ConstitutionQuorum,
            threshold: Parameter::ConstitutionThreshold,
            voting: Parameter::ConstitutionVoting,
            timelock: Parameter::ConstitutionTimelock,
        },
    }
}

/// The parts of a payment, and those of a surplus, fit their whole at their largest.
const _: () = {
    let used = rule(Parameter::TreasuryParts).max + rule(Parameter::LineageParts).max;
    let served = rule(Parameter::AuditParts).max + rule(Parameter::GatewayParts).max;
    assert!(used + served <= WHOLE);
    assert!(rule(Parameter::SlashWronged).max + rule(Parameter::SlashProver).max <= WHOLE);
    assert!(rule(Parameter::ReserveParts).max + rule(Parameter::CommonsParts).max <= WHOLE);
};

#[cfg(test)]
mod tests;
