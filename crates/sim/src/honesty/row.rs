//! What came of a run, and the table of all of them.
//!
//! Rates are millionths, money is millionths of a credit, and both are integers, so that a table is the
//! same on every machine.
//!
//! Not here: what the numbers should be (`docs/honesty.md`).

use std::fmt::Write as _;

use super::strategy::Strategy;

/// Millionths of one.
const MILLION: u128 = 1_000_000;
/// The square of 1.959964, between which and its negative a normal number lies with 95 in 100, in
/// millionths.
pub const Z95: u128 = 3_841_459;
/// The square of 3.890592, for 9,999 in 10,000.
pub const Z9999: u128 = 15_136_705;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who cheated, and how.
    pub strategy: Strategy,
    /// Epochs in which it worked.
    pub epochs: u64,
    /// Its receipts; of an auditor, its audits; of a false accuser, its accusations.
    pub receipts: u64,
    /// Those in which it cheated.
    pub cheated: u64,
    /// Those of them that cost it something.
    pub caught: u64,
    /// What theory says of a hundred: millionths.
    pub theory: u64,
    /// Batches that it lost, or disputes.
    pub convictions: u64,
    /// What cheating saved, or was billed for nothing.
    pub gain: i128,
    /// What it earned, less what as many honest people earned beside it with the same work.
    pub profit: i128,
    /// Honest people who were convicted, or batches that were forfeited without a cheat.
    pub false_convictions: u64,
    /// Disputes that were played to the end.
    pub played: u64,
    /// Orders that the ledger took.
    pub orders: u64,
    /// What should not have happened: refused orders, a broken invariant of the ledger.
    pub violations: Vec<String>,
}

impl Row {
    /// What cheating cost.
    #[must_use]
    pub fn loss(&self) -> i128 {
        self.gain - self.profit
    }

    /// The catch rate and its interval in millionths (Wilson 1927), for the square of a deviation in
    /// millionths; everything is possible where there was nothing to catch.
    #[must_use]
    pub fn rate(&self, z2: u128) -> (u64, [u64; 2]) {
        let (caught, cheated) = (u128::from(self.caught), u128::from(self.cheated));
        let Some(rate) = (caught * MILLION).checked_div(cheated) else {
            return (0, [0, 1_000_000]);
        };
        // All counts are below 2^40, so that nothing here reaches 2^127.
        let whole = cheated * MILLION + z2;
        let spread = caught * (cheated - caught) * MILLION * MILLION / cheated + z2 * MILLION / 4;
        let half = (z2 * MILLION).isqrt() * spread.isqrt() / whole;
        let centre = (caught * MILLION + z2 / 2) * MILLION / whole;
        let millionths = |it: u128| u64::try_from(it.min(MILLION)).unwrap_or(0);
        (millionths(rate), [centre.saturating_sub(half), centre + half + 1].map(millionths))
    }

    /// Whether theory lies in the interval.
    #[must_use]
    pub fn agrees(&self, z2: u128) -> bool {
        let (_, [low, high]) = self.rate(z2);
        (low..=high).contains(&self.theory)
    }

    /// Loss against gain, in hundredths; none without a gain.
    #[must_use]
    pub fn margin(&self) -> Option<i128> {
        (self.loss() * 100).checked_div(self.gain)
    }
}

/// The heads of the table's columns.
const HEADS: [&str; 13] = [
    "strategy",
    "epochs",
    "receipts",
    "cheated",
    "caught",
    "rate %",
    "95 % interval",
    "theory %",
    "epochs to a catch",
    "gain",
    "loss",
    "profit",
    "loss / gain",
];

/// A table of rows, for people and for the document. Money is millionths of a credit in an epoch.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut table = format!("| {} | false convictions |\n", HEADS.join(" | "));
    table.push_str(&"|---".repeat(HEADS.len() + 1));
    table.push_str("|\n");
    for row in rows {
        let (rate, [low, high]) = row.rate(Z95);
        let epochs = i128::from(row.epochs.max(1));
        let per_epoch = |it: i128| it.checked_div(epochs).unwrap_or(0);
        let to_catch = match (row.epochs * 10).checked_div(row.convictions) {
            _ if row.strategy.is_auditors() => "-".to_owned(),
            Some(tenths) => format!("{}.{}", tenths / 10, tenths % 10),
            None => "-".to_owned(),
        };
        let margin = row.margin().map_or("-".to_owned(), hundredths);
        let _ = writeln!(
            table,
            "| {} | {} | {} | {} | {} | {} | {} to {} | {} | {} | {} | {} | {} | {} | {} |",
            row.strategy.name(),
            row.epochs,
            row.receipts,
            row.cheated,
            row.caught,
            percent(rate),
            percent(low),
            percent(high),
            percent(row.theory),
            to_catch,
            per_epoch(row.gain),
            per_epoch(row.loss()),
            per_epoch(row.profit),
            margin,
            row.false_convictions,
        );
    }
    table
}

/// Millionths as a percentage.
fn percent(millionths: u64) -> String {
    format!("{}.{:02}", millionths / 10_000, millionths % 10_000 / 100)
}

/// Hundredths as a number.
#[must_use]
pub fn hundredths(it: i128) -> String {
    let sign = if it < 0 { "-" } else { "" };
    let it = it.unsigned_abs();
    format!("{sign}{}.{:02}", it / 100, it % 100)
}
