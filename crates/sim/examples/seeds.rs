//! Runs many seeds by hand: `seeds FIRST END [--validators 4,7,10] [--liar KIND]`.
//!
//! Prints a line for each seed that fails, with how to repeat it, and at the end what the runs reached
//! and one hash of all of them.
#![expect(clippy::print_stdout, reason = "a program for people")]
#![expect(clippy::disallowed_methods, reason = "says how long it took")]

use std::process::ExitCode;
use std::time::Instant;

use sha2::{Digest, Sha256};
use sim::byzantine::Kind;
use sim::world::{Plan, Reached, run};

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut option = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.remove(at);
        (at < arguments.len()).then(|| arguments.remove(at))
    };
    let sizes = option("--validators").unwrap_or_else(|| "4,7,10".to_owned());
    let sizes: Vec<usize> = sizes.split(',').filter_map(|size| size.parse().ok()).collect();
    let kind = option("--liar").and_then(|name| Kind::parse(&name));
    let numbers: Vec<u64> = arguments.iter().filter_map(|text| text.parse().ok()).collect();
    let ([first, end], false) = (numbers.as_slice(), sizes.is_empty()) else {
        println!("seeds FIRST END [--validators 4,7,10] [--liar KIND]");
        return ExitCode::FAILURE;
    };
    let (began, mut failed, mut sum, mut hash) =
        (Instant::now(), 0u64, Reached::default(), Sha256::new());
    for seed in *first..*end {
        let plan = Plan::of_seed(seed, &sizes, kind);
        let outcome = run(&plan);
        hash.update(outcome.hash.0);
        let Reached { height, orders, crashes, executed, accused, later_rounds, messages } =
            outcome.reached;
        sum.height += height;
        sum.orders += orders;
        sum.crashes += crashes;
        sum.executed += executed;
        sum.accused += accused;
        sum.later_rounds += later_rounds;
        sum.messages += messages;
        for violation in &outcome.violations {
            println!("seed {seed}: {}: {}: {plan:?}", violation.check, violation.what);
        }
        failed += u64::from(!outcome.violations.is_empty());
    }
    let seconds = began.elapsed().as_secs_f64();
    let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    println!("{} seeds, {failed} failed, {seconds:.1} s, {sum:?}, hash {hash}", end - first);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
