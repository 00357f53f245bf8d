//! The named ways to cheat, how often each cheats, and what it saves.
//!
//! Savings are thousandths of what the honest answer costs. Where they come from is said at each; what
//! comes from nowhere is called chosen.
//!
//! Invariants: a strategy cheats in one way only.
//!
//! Not here: what it does (`work`, `audits`).

use audit::graph::What;

use super::sold::{Kind, Lie};

/// Receipts of a worker in an epoch.
pub(crate) const RECEIPTS: u64 = 20;
/// A fourth of the receipts: so few that most batches have some.
const A_FOURTH: u64 = 250;
const ALL: u64 = 1000;

/// A way to cheat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// Answers with a smaller model.
    SubstituteModel,
    /// Answers with the model in fewer bits.
    SmallerQuantisation,
    /// Leaves out layers.
    FewerLayers,
    /// Computes half of the answer, and fills it up.
    TruncatedOutput,
    /// Chooses tokens as it likes.
    WrongSampling,
    /// Puts old receipts into the batch for what it has not computed.
    ReplayedReceipt,
    /// Bills for tokens that it did not compute.
    OvercountedTokens,
    /// Answers with a smaller model, and shows nothing of what is drawn.
    Withholder,
    /// Answers with a smaller model where the beacon of today would draw nothing.
    SeedGrinder,
    /// A worker with a smaller model, and an auditor who is told its roots.
    ColludingPair,
    /// The same worker, and as many such auditors as there are honest ones.
    SybilSwarm,
    /// Says match without having computed anything.
    LazyAuditor,
    /// Waits for another's commitment and repeats it.
    EchoingAuditor,
    /// Does not commit.
    SkippingAuditor,
    /// Says that honest receipts are wrong, and disputes them.
    FalseAccuser,
}

/// What is wrong with a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// The trace, from a step on, and with it the root.
    Trace(Lie),
    /// Tokens.
    Tokens(Kind),
    /// It is an old one, which cannot be shown in this place.
    Old,
    /// The trace, and it is not shown.
    Hidden,
    /// Nothing: who cheats is an auditor.
    Nothing,
}

/// How an auditor does its duty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Computes everything again.
    Replay,
    /// The same, but repeats the worker's root where the worker is its own.
    Friend,
    /// Says match.
    Nod,
    /// Repeats another's commitment.
    Echo,
    /// Nothing.
    Skip,
    /// Says no match, and disputes.
    Accuse,
}

/// A strategy in numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    /// Thousandths of its receipts, or of its audits, in which it cheats.
    pub(crate) cheats: u64,
    /// Thousandths of an answer's cost, or of a replay's, that it saves where it cheats.
    pub(crate) saves: u64,
    /// Receipts of a batch.
    pub(crate) batch: u64,
    /// What is wrong with its receipts.
    pub(crate) wrong: Wrong,
    /// What its auditors do, and how many it has.
    pub(crate) auditors: (Duty, usize),
}

/// SmolLM2 135M instead of a model of Llama 3.2 1B's shape: 231 instead of 34 tokens of decode a second
/// (`docs/benchmarks.md`, Q4_0, two threads).
const SUBSTITUTE: u64 = 853;
/// Four bits instead of eight: 34 instead of 21.3 tokens a second (the same table, the 1B shape).
const FOUR_BITS: u64 = 374;
/// Chosen: every fourth layer.
const LAYERS: u64 = 250;
/// Chosen: half of the answer; the prompt's share is left out in the cheat's favour.
const HALF: u64 = 500;
/// Chosen: more than the sampler takes of a step.
const SAMPLER: u64 = 40;

impl Strategy {
    /// All of them.
    pub const ALL: [Strategy; 15] = [
        Strategy::SubstituteModel,
        Strategy::SmallerQuantisation,
        Strategy::FewerLayers,
        Strategy::TruncatedOutput,
        Strategy::WrongSampling,
        Strategy::ReplayedReceipt,
        Strategy::OvercountedTokens,
        Strategy::Withholder,
        Strategy::SeedGrinder,
        Strategy::ColludingPair,
        Strategy::SybilSwarm,
        Strategy::LazyAuditor,
        Strategy::EchoingAuditor,
        Strategy::SkippingAuditor,
        Strategy::FalseAccuser,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Strategy::SubstituteModel => "substitute model",
            Strategy::SmallerQuantisation => "smaller quantisation",
            Strategy::FewerLayers => "fewer layers",
            Strategy::TruncatedOutput => "truncated output",
            Strategy::WrongSampling => "wrong sampling",
            Strategy::ReplayedReceipt => "replayed receipt",
            Strategy::OvercountedTokens => "over-counted tokens",
            Strategy::Withholder => "withholder of openings",
            Strategy::SeedGrinder => "seed grinder",
            Strategy::ColludingPair => "colluding pair",
            Strategy::SybilSwarm => "Sybil swarm",
            Strategy::LazyAuditor => "lazy auditor",
            Strategy::EchoingAuditor => "echoing auditor",
            Strategy::SkippingAuditor => "skipping auditor",
            Strategy::FalseAccuser => "false accuser",
        }
    }

    /// The strategy of a name, in which hyphens can stand for spaces.
    #[must_use]
    pub fn parse(name: &str) -> Option<Strategy> {
        let plain = |name: &str| name.replace('-', " ").to_lowercase();
        Strategy::ALL.into_iter().find(|it| plain(it.name()) == plain(name))
    }

    /// Whether an auditor of it cheats, and no worker.
    #[must_use]
    pub fn is_auditors(self) -> bool {
        self.traits().wrong == Wrong::Nothing
    }

    /// Loss against gain, in hundredths, of a worker whose batches have one receipt each, at a rate in
    /// millionths and a bond in thousandths: `q (M + k) / (s k)` (`docs/honesty.md`), with the parts of a
    /// payment at their defaults.
    #[must_use]
    pub fn margin_at(self, rate: u64, bond: u64) -> i128 {
        let gone: u64 =
            super::GONE.into_iter().map(|it| ledger::parameters::rule(it).default).sum();
        let keep = super::WHOLE.saturating_sub(gone);
        let (loss, gain) = (rate * (bond + keep), 10 * self.traits().saves * keep);
        loss.checked_div(gain).map_or(0, i128::from)
    }

    pub(crate) fn traits(self) -> Traits {
        let lie = |layer, what| Wrong::Trace(Lie { position: 6, layer, what });
        let substitute = lie(0, What::Embed);
        let worker = |saves, wrong| Traits {
            cheats: A_FOURTH,
            saves,
            batch: RECEIPTS,
            wrong,
            auditors: (Duty::Replay, 0),
        };
        let auditor = |duty| Traits {
            cheats: ALL,
            saves: ALL,
            batch: RECEIPTS,
            wrong: Wrong::Nothing,
            auditors: (duty, 1),
        };
        match self {
            Strategy::SubstituteModel | Strategy::SeedGrinder => worker(SUBSTITUTE, substitute),
            Strategy::SmallerQuantisation => worker(FOUR_BITS, lie(1, What::Gate)),
            Strategy::FewerLayers => worker(LAYERS, lie(1, What::AttentionNorm)),
            Strategy::TruncatedOutput => worker(HALF, Wrong::Tokens(Kind::Filled)),
            Strategy::WrongSampling => worker(SAMPLER, Wrong::Tokens(Kind::Twisted)),
            Strategy::ReplayedReceipt => worker(ALL, Wrong::Old),
            Strategy::OvercountedTokens => worker(0, Wrong::Tokens(Kind::Overcounted)),
            // Each receipt in its own batch, so that no other's money is lost with it.
            Strategy::Withholder => {
                Traits { cheats: ALL, batch: 1, ..worker(SUBSTITUTE, Wrong::Hidden) }
            }
            Strategy::ColludingPair => {
                Traits { auditors: (Duty::Friend, 1), ..worker(SUBSTITUTE, substitute) }
            }
            Strategy::SybilSwarm => Traits {
                auditors: (Duty::Friend, super::HONEST_AUDITORS),
                ..worker(SUBSTITUTE, substitute)
            },
            Strategy::LazyAuditor => auditor(Duty::Nod),
            Strategy::EchoingAuditor => auditor(Duty::Echo),
            Strategy::SkippingAuditor => auditor(Duty::Skip),
            Strategy::FalseAccuser => auditor(Duty::Accuse),
        }
    }
}
