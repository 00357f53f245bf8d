//! Prints the table of strategies: `honesty [--epochs 1000] [--seed 7] [--only NAME] [--set NAME=VALUE]
//! [--sweep]`.
//!
//! `--set` tries a parameter of the ledger; `--sweep` prints, instead, what rates of audits and bonds make of
//! the strategy that has the least to lose. Exits with 1 if someone honest was convicted, or an invariant was broken.
#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::expect_used, reason = "a small model that is no model is a bug")]

#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

use engine::artifact::config::{Config, Family};
use engine::artifact::matrix::Bits;
use sim::honesty::row::{Row, hundredths, table};
use sim::honesty::sold::Sold;
use sim::honesty::strategy::Strategy;
use sim::honesty::{Plan, run};
use types::measure::Parameter;

/// Bonds that a sweep tries: the first default, the largest of that time, and today's.
const BONDS: [u64; 3] = [2_000, 10_000, 25_000];
/// Rates that a sweep tries.
const RATES: [u64; 8] = [10_000, 25_000, 50_000, 70_000, 100_000, 150_000, 250_000, 500_000];
/// Disputes that each cheat plays to the end.
const PLAYED_MAX: u64 = 4;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.remove(at);
        (at < arguments.len()).then(|| arguments.remove(at))
    };
    let epochs = option("--epochs").and_then(|text| text.parse().ok()).unwrap_or(1000);
    let seed = option("--seed").and_then(|text| text.parse().ok()).unwrap_or(7);
    let only = option("--only").and_then(|name| Strategy::parse(&name));
    let mut parameters = vec![];
    while let Some(set) = option("--set") {
        parameters.extend(parameter(&set));
    }
    let sweep = arguments == ["--sweep"];
    if !arguments.is_empty() && !sweep {
        println!("honesty [--epochs 1000] [--seed 7] [--only NAME] [--set NAME=VALUE] [--sweep]");
        return ExitCode::FAILURE;
    }
    let config = Config { layers: 2, hidden: 160, ..support::config(Family::Llama) };
    let bytes = support::artifact(&config, Bits::Four, 3);
    let sold = Sold::new(bytes, support::model(&config, Bits::Four, 3)).expect("a model is sound");
    if sweep {
        print_sweep(epochs, seed, &sold);
        return ExitCode::SUCCESS;
    }
    let strategies = only.map_or(Strategy::ALL.to_vec(), |only| vec![only]);
    let mut rows: Vec<Row> = vec![];
    for strategy in strategies {
        let plan =
            Plan { strategy, epochs, seed, parameters: parameters.clone(), played_max: PLAYED_MAX };
        rows.push(run(&plan, &sold));
    }
    print!("{}", table(&rows));
    for row in &rows {
        for violation in row.violations.iter().take(10) {
            println!("{}: {violation}", row.strategy.name());
        }
    }
    let is_sound = rows.iter().all(|row| row.violations.is_empty() && row.false_convictions == 0);
    if is_sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What rates and bonds make of the strategy that loses one receipt's batch at a time.
fn print_sweep(epochs: u64, seed: u64, sold: &Sold) {
    println!("| stake_parts | audit_rate | gain | loss | profit | loss / gain | by theory |");
    println!("|---|---|---|---|---|---|---|");
    let strategy = Strategy::Withholder;
    for bond in BONDS {
        for rate in RATES {
            let parameters = vec![(Parameter::StakeParts, bond), (Parameter::AuditRate, rate)];
            let row = run(&Plan { strategy, epochs, seed, parameters, played_max: 0 }, sold);
            let per_epoch = |it: i128| it / i128::from(row.epochs.max(1));
            let [gain, loss, profit] = [row.gain, row.loss(), row.profit].map(per_epoch);
            let margin = hundredths(row.margin().unwrap_or(0));
            let theory = hundredths(strategy.margin_at(rate, bond));
            println!("| {bond} | {rate} | {gain} | {loss} | {profit} | {margin} | {theory} |");
        }
    }
}

/// A parameter and its value, written NAME=VALUE.
fn parameter(text: &str) -> Option<(Parameter, u64)> {
    let (name, value) = text.split_once('=')?;
    Some((Parameter::parse(name)?, value.parse().ok()?))
}
