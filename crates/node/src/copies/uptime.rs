//! How often another node is there, as this one has seen it.
//!
//! A node is looked at every now and then, and each look stands for the time since the last one. What
//! is measured is what this node sees: where its own line fails, the others are away.
//!
//! Invariants:
//! - At most `DAYS_MAX` days of looking are kept; older ones are forgotten.
//! - Times are arguments.
//!
//! Not here: looking (`copies`).

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::chance::{ONE, share};

/// Milliseconds of a day.
pub const DAY: u64 = 86_400_000;
/// Days of looking that are kept: machines change their habits, and a month shows weekends.
pub const DAYS_MAX: usize = 30;

/// What was seen of one node, in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Uptime {
    /// Days of looking, the oldest first: how long it was there, and how long it was looked at.
    days: VecDeque<(u64, u64)>,
}

impl Uptime {
    /// Books a look that stands for `time` milliseconds.
    pub fn book(&mut self, is_there: bool, time: u64) {
        let up = if is_there { time } else { 0 };
        match self.days.back_mut() {
            Some((there, looked)) if *looked < DAY => {
                *there = there.saturating_add(up);
                *looked = looked.saturating_add(time);
            }
            _ => self.days.push_back((up, time)),
        }
        while self.days.len() > DAYS_MAX {
            self.days.pop_front();
        }
    }

    /// How long it was looked at, in milliseconds.
    #[must_use]
    pub fn looked(&self) -> u64 {
        self.days.iter().fold(0, |sum, (_, looked)| sum.saturating_add(*looked))
    }

    /// How long it was there, in milliseconds.
    #[must_use]
    pub fn there(&self) -> u64 {
        // A file may say anything.
        self.days
            .iter()
            .fold(0, |sum: u64, (there, _)| sum.saturating_add(*there))
            .min(self.looked())
    }

    /// The chance that it is away, in units of 2^-32: what was seen, and as if it had been looked at
    /// for `prior` milliseconds more and been there half of the time. So a node that was seen briefly
    /// counts as one that is there every other moment, until it has shown what it is.
    #[must_use]
    pub fn away(&self, prior: u64) -> u64 {
        let looked = self.looked();
        let away = (looked - self.there()).saturating_add(prior - prior / 2);
        match looked.saturating_add(prior) {
            0 => ONE,
            all => share(away, all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::millionths;
    use super::*;

    #[test]
    fn a_node_that_was_not_seen_counts_half_and_one_seen_long_counts_as_seen() {
        let mut uptime = Uptime::default();
        assert_eq!(millionths(uptime.away(DAY)), 500_000);
        assert_eq!(uptime.away(0), ONE, "without any assumption nothing is known");
        for hour in 0..24 * 9 {
            uptime.book(hour % 10 != 0, DAY / 24);
        }
        assert_eq!(uptime.looked(), 9 * DAY);
        // 194 hours of 216, and 12 of 24.
        assert_eq!(millionths(uptime.away(DAY)), (194 + 12) * 1_000_000 / 240);
        assert_eq!(millionths(uptime.away(0)), 194_000_000 / 216);
    }

    #[test]
    fn what_is_older_than_a_month_of_looking_is_forgotten() {
        let mut uptime = Uptime::default();
        for _ in 0..100 {
            uptime.book(false, DAY);
        }
        for _ in 0..DAYS_MAX {
            uptime.book(true, DAY);
        }
        assert_eq!((uptime.looked(), uptime.away(0)), (30 * DAY, 0));
        assert_eq!(uptime.days.len(), DAYS_MAX);
    }

    #[test]
    fn a_file_that_says_more_than_can_be_does_no_harm() {
        let mut uptime = Uptime { days: [(u64::MAX, 3), (5, u64::MAX)].into() };
        uptime.book(true, u64::MAX);
        assert!(uptime.there() <= uptime.looked());
        assert!(uptime.away(u64::MAX) <= ONE);
    }
}
