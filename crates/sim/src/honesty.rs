//! Cheats and honest people on the real ledger: who is caught, how often, and what it is worth.
//!
//! A run is one named strategy beside honest workers and auditors. Everything that counts is a signed
//! order that `ledger` applies, in blocks and epochs that are short and keep the proportions of the
//! defaults. Standing, draws, bonds and money are read from the state; what an answer costs to compute
//! is the one thing that the ledger does not know, and is assumed here. `docs/honesty.md` says what is
//! modelled, and has the theory and the table.
//!
//! Invariants:
//! - One plan gives one row, on every machine.
//! - No rule of the ledger is written here again.
//!
//! Not here: what a receipt's computation costs in truth, and machines that fail.

use std::collections::{BTreeMap, BTreeSet};

use audit::receipt::Receipt;
use ledger::audits::Key;
use types::id::Hash;
use types::measure::Parameter;
use types::word::Finding;

pub mod row;
pub mod sold;
pub mod strategy;

mod auditors;
mod disputes;
mod town;
mod workers;

use row::Row;
use sold::Sold;
use strategy::{Strategy, Traits};
use town::Town;

/// Honest auditors.
pub(crate) const HONEST_AUDITORS: usize = 6;
/// Blocks of an epoch; all that lasts some blocks is as long, against it, as by default.
const EPOCH_BLOCKS: u64 = 24;
/// Epochs without work after the last one, in which every batch is settled.
const DRAIN: u64 = 6;
/// Thousandths of an answer's cost that a replay costs: what a full audit may take at most, of generation,
/// for 128 and 256 tokens on SmolLM2 135M with two threads.
pub(crate) const REPLAY: u64 = 220;
const WHOLE: u64 = 1000;
/// What of a payment is not the worker's.
const GONE: [Parameter; 4] = [
    Parameter::TreasuryParts,
    Parameter::LineageParts,
    Parameter::AuditParts,
    Parameter::GatewayParts,
];

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who cheats, and how.
    pub strategy: Strategy,
    /// Epochs with work.
    pub epochs: u64,
    /// The luck of the run.
    pub seed: u64,
    /// Parameters of the ledger that are tried instead of the defaults.
    pub parameters: Vec<(Parameter, u64)>,
    /// Disputes that a cheat plays to the end; in later ones it is silent.
    pub played_max: u64,
}

/// Who is who, as numbers of the town's people.
#[derive(Debug)]
pub(crate) struct Roles {
    pub(crate) maker: usize,
    pub(crate) gateway: usize,
    /// Of the worker and of its twin.
    pub(crate) payers: [usize; 2],
    /// The worker that cheats if one does, and an honest one with the same work.
    pub(crate) workers: [usize; 2],
    /// Auditors that replay.
    pub(crate) honest: Vec<usize>,
    /// The strategy's auditors.
    pub(crate) own: Vec<usize>,
}

/// A batch that was redeemed and is not over.
#[derive(Debug)]
pub(crate) struct Made {
    /// 0 the strategy's, 1 the twin's.
    pub(crate) side: usize,
    pub(crate) receipts: Vec<Receipt>,
    /// Which are cheats.
    pub(crate) wrong: BTreeSet<u32>,
    pub(crate) drawn: BTreeSet<u32>,
}

/// What an auditor has committed to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Said {
    pub(crate) finding: Finding,
    pub(crate) root: Hash,
    pub(crate) salt: Hash,
}

/// Counts of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Epochs in which the strategy worked.
    pub(crate) epochs: u64,
    pub(crate) receipts: u64,
    pub(crate) cheated: u64,
    pub(crate) caught: u64,
    /// Batches, audits or disputes that ended badly for the strategy.
    pub(crate) convictions: u64,
    /// Of honest people.
    pub(crate) false_convictions: u64,
    /// Sum, over what was cheated, of the chance to be caught: millionths.
    pub(crate) theory: u64,
    /// What cheating saved or was billed for nothing: millionths of a credit.
    pub(crate) gain: u64,
    /// What it cost to compute, by person.
    pub(crate) costs: BTreeMap<usize, u64>,
    pub(crate) played: u64,
}

/// A run.
#[derive(Debug)]
pub(crate) struct Game<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) traits: Traits,
    pub(crate) sold: &'a Sold,
    pub(crate) town: Town,
    pub(crate) roles: Roles,
    pub(crate) batches: BTreeMap<u64, Made>,
    pub(crate) said: BTreeMap<(Key, usize), Said>,
    /// Who disputes which receipt.
    pub(crate) challengers: BTreeMap<Key, usize>,
    pub(crate) tally: Tally,
}

/// The parameters of a run: short epochs in the proportions of the defaults, and nothing else that would
/// move money.
fn parameters(plan: &Plan) -> Vec<(Parameter, u64)> {
    let short = |parameter| {
        let of = |parameter| ledger::parameters::rule(parameter).default;
        (parameter, of(parameter) * EPOCH_BLOCKS / of(Parameter::EpochBlocks))
    };
    let mut parameters = vec![
        (Parameter::EpochBlocks, EPOCH_BLOCKS),
        short(Parameter::AuditBlocks),
        short(Parameter::DisputeBlocks),
        short(Parameter::StakeBlocks),
        // The shortest: as if a convicted cheat came back in the next epoch, under another name.
        (Parameter::JailBlocks, ledger::parameters::rule(Parameter::JailBlocks).min),
        // Nobody goes bankrupt, pays fees, or gets a dividend.
        (Parameter::CreditLine, 1 << 50),
        (Parameter::QuotaBytes, ledger::parameters::rule(Parameter::QuotaBytes).max),
        (Parameter::PeriodEpochs, ledger::parameters::rule(Parameter::PeriodEpochs).max),
        (Parameter::ValidatorBond, 0),
    ];
    for &(parameter, value) in &plan.parameters {
        parameters.retain(|(other, _)| *other != parameter);
        parameters.push((parameter, value));
    }
    parameters
}

/// Runs a plan.
#[must_use]
pub fn run(plan: &Plan, sold: &Sold) -> Row {
    let mut game = Game::new(plan, sold);
    game.prepare();
    let began = game.group(|game, who| game.town.wealth(who));
    for epoch in 0..plan.epochs + DRAIN {
        for block in 0..EPOCH_BLOCKS {
            game.town.begin_block();
            if block == 0 {
                game.keep_auditors();
                if epoch < plan.epochs {
                    game.work();
                }
            }
            game.audit();
            game.foresee();
            game.town.end_block();
            game.see();
        }
    }
    if !game.batches.is_empty() {
        game.town.violate(format!("{} batches are never over", game.batches.len()));
    }
    game.row(began)
}

impl Game<'_> {
    fn new<'a>(plan: &'a Plan, sold: &'a Sold) -> Game<'a> {
        let traits = plan.strategy.traits();
        let first = 6;
        let own = first + HONEST_AUDITORS;
        let count = own + traits.auditors.1;
        let roles = Roles {
            maker: 0,
            gateway: 1,
            payers: [2, 3],
            workers: [4, 5],
            honest: (first..own).collect(),
            own: (own..count).collect(),
        };
        // Two strategies of one table have each its own luck.
        let luck = plan.seed.wrapping_mul(1000).wrapping_add(plan.strategy as u64);
        let town = Town::new(count, &parameters(plan), luck);
        let (batches, said, challengers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let tally = Tally::default();
        Game { plan, traits, sold, town, roles, batches, said, challengers, tally }
    }

    /// A sum over the strategy's people, and over as many honest ones.
    fn group(&self, of: impl Fn(&Self, usize) -> i128) -> [i128; 2] {
        let Roles { workers, honest, own, .. } = &self.roles;
        let is_auditors = self.plan.strategy.is_auditors();
        let sum = |worker: usize, auditors: &[usize]| {
            let workers = if is_auditors { 0 } else { of(self, worker) };
            workers + auditors.iter().map(|who| of(self, *who)).sum::<i128>()
        };
        [sum(workers[0], own), sum(workers[1], &honest[..own.len()])]
    }

    pub(crate) fn parameter(&self, parameter: Parameter) -> u64 {
        self.town.state.parameter(parameter)
    }

    /// What an answer costs whoever computes it, at most: all that a worker keeps of what is due for it.
    /// One whose answers cost more would not work.
    pub(crate) fn cost(&self, due: u64) -> u64 {
        let gone: u64 = GONE.into_iter().map(|it| self.parameter(it)).sum();
        due * WHOLE.saturating_sub(gone) / WHOLE
    }

    pub(crate) fn spend(&mut self, who: usize, cost: u64) {
        *self.tally.costs.entry(who).or_default() += cost;
    }

    fn row(&self, began: [i128; 2]) -> Row {
        let tally = &self.tally;
        let ended = self.group(|game, who| game.town.wealth(who));
        let costs =
            self.group(|game, who| i128::from(game.tally.costs.get(&who).copied().unwrap_or(0)));
        let earned = |side: usize| ended[side] - began[side] - costs[side];
        Row {
            strategy: self.plan.strategy,
            epochs: tally.epochs,
            receipts: tally.receipts,
            cheated: tally.cheated,
            caught: tally.caught,
            theory: tally.theory.checked_div(tally.cheated).unwrap_or(0),
            convictions: tally.convictions,
            gain: i128::from(tally.gain),
            profit: earned(0) - earned(1),
            false_convictions: tally.false_convictions,
            played: tally.played,
            orders: self.town.orders,
            violations: self.town.violations.clone(),
        }
    }
}
