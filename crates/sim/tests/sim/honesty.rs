//! Cheats on the real ledger: each is caught as often as theory says, nobody honest is, and none earns.

use std::sync::OnceLock;

use engine::artifact::config::{Config, Family};
use engine::artifact::matrix::Bits;
use sim::honesty::row::{Row, Z95, Z9999, table};
use sim::honesty::sold::Sold;
use sim::honesty::strategy::Strategy;
use sim::honesty::{Plan, run};
use types::measure::Parameter;

use crate::support;

const EPOCHS: u64 = 30;
const SEED: u64 = 1;

fn sold() -> &'static Sold {
    static SOLD: OnceLock<Sold> = OnceLock::new();
    SOLD.get_or_init(|| {
        let config = Config { layers: 2, hidden: 160, ..support::config(Family::Llama) };
        let bytes = support::artifact(&config, Bits::Four, 3);
        Sold::new(bytes, support::model(&config, Bits::Four, 3)).unwrap()
    })
}

fn plan(strategy: Strategy, parameters: &[(Parameter, u64)]) -> Plan {
    let parameters = parameters.to_vec();
    Plan { strategy, epochs: EPOCHS, seed: SEED, parameters, played_max: 2 }
}

/// One row for each strategy, at the defaults.
fn rows() -> Vec<Row> {
    Strategy::ALL.map(|strategy| run(&plan(strategy, &[]), sold())).to_vec()
}

#[test]
fn every_strategy_is_caught_as_theory_says_and_nobody_honest_is() {
    let rows = rows();
    for row in &rows {
        let name = row.strategy.name();
        assert_eq!(row.violations, Vec::<String>::new(), "{name}, seed {SEED}");
        assert_eq!(row.false_convictions, 0, "{name}, seed {SEED}");
        assert!(row.cheated > 0, "{name}, seed {SEED}: {row:?}");
        assert!(row.agrees(Z9999), "{name}, seed {SEED}: {row:?}");
    }
    let played: Vec<&str> =
        rows.iter().filter(|row| row.played > 0).map(|row| row.strategy.name()).collect();
    let wanted = [
        "substitute model",
        "smaller quantisation",
        "fewer layers",
        "truncated output",
        "wrong sampling",
        "over-counted tokens",
        "seed grinder",
        "false accuser",
    ];
    assert_eq!(played, wanted, "disputes were played to the cell that decides");
    assert_eq!(table(&rows), table(&self::rows()), "one seed gives one table");
}

/// Thirty epochs of twenty batches are enough for the sign, and for most of the margin.
#[test]
fn the_best_cheat_loses_at_the_defaults_and_would_win_with_a_small_bond() {
    let cheat = Strategy::Withholder;
    let row = run(&plan(cheat, &[]), sold());
    assert!(row.profit < 0 && row.margin() > Some(150), "{row:?}");
    let weak = [(Parameter::StakeParts, 2_000), (Parameter::AuditRate, 50_000)];
    let row = run(&plan(cheat, &weak), sold());
    assert!(row.profit > 0 && row.margin() < Some(50), "{row:?}");
}

#[test]
fn an_interval_is_wilsons() {
    let row =
        Row { cheated: 100, caught: 10, ..run(&plan(Strategy::SkippingAuditor, &[]), sold()) };
    // 0.05523 to 0.17437, by the formula in rational numbers.
    let (rate, [low, high]) = row.rate(Z95);
    assert_eq!(rate, 100_000);
    assert!((55_226..=55_232).contains(&low), "{low}");
    assert!((174_362..=174_370).contains(&high), "{high}");
    let none = Row { cheated: 0, caught: 0, ..row };
    assert_eq!(none.rate(Z95), (0, [0, 1_000_000]));
}
