//! Chances as integers, and what several machines come to together.
//!
//! Of machines that fail independently, all of `k` are away at once with the product of their chances:
//! P = 1 - (1 - p1)(1 - p2)...(1 - pk), which is 1 - (1 - p)^k where all are alike.
//!
//! Invariants:
//! - A chance is in units of 2^-32, from 0 to `ONE`, and is that of being away.
//! - Rounding makes nobody look better than they are.
//!
//! Not here: measuring (`uptime`).

use std::fmt;
use std::str::FromStr;

/// Certainty, in units of 2^-32.
pub const ONE: u64 = 1 << 32;
/// The unit in which people's wishes are kept.
const MILLION: u64 = 1_000_000;
/// Pieces from which content can be made again, at most, in the comparison with erasure coding: more
/// change little, and a reader has to reach so many machines at once.
const PIECES_MAX: usize = 16;

/// An availability that is wanted, in parts per million, above none and below all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted(u32);

/// Why a text is no availability.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no availability: a number above 0 and below 1 with at most six digits, such as 0.999"
)]
pub struct NotWanted(String);

impl Wanted {
    /// So many parts per million; `None` unless it is above none and below all.
    #[must_use]
    pub fn new(millionths: u32) -> Option<Wanted> {
        (millionths > 0 && u64::from(millionths) < MILLION).then_some(Wanted(millionths))
    }

    /// In parts per million.
    #[must_use]
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// The chance of being away that is just small enough. It is rounded as `share` rounds, so that one
    /// machine that is there exactly as often as is wanted suffices.
    #[must_use]
    pub fn away_max(self) -> u64 {
        share(MILLION - u64::from(self.0), MILLION)
    }
}

impl FromStr for Wanted {
    type Err = NotWanted;

    fn from_str(text: &str) -> Result<Wanted, NotWanted> {
        let wrong = || NotWanted(text.to_owned());
        let digits =
            text.strip_prefix("0.").or_else(|| text.strip_prefix('.')).ok_or_else(wrong)?;
        if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|it| it.is_ascii_digit()) {
            return Err(wrong());
        }
        format!("{digits:0<6}").parse().ok().and_then(Wanted::new).ok_or_else(wrong)
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:06}", self.0);
        write!(out, "0.{}", digits.trim_end_matches('0'))
    }
}

/// A share of a whole, rounded up; all of nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> u64 {
    if part >= whole {
        return ONE;
    }
    let scaled = (u128::from(part) << 32).div_ceil(u128::from(whole));
    // At most `ONE`, since the part is smaller.
    u64::try_from(scaled).unwrap_or(ONE)
}

/// The chance of both.
#[must_use]
pub fn both(a: u64, b: u64) -> u64 {
    let product = (u128::from(a) * u128::from(b)).div_ceil(u128::from(ONE));
    u64::try_from(product).unwrap_or(ONE).min(ONE)
}

/// The chance that all of these are away at once; certainty if there is none.
#[must_use]
pub fn all_away(aways: impl IntoIterator<Item = u64>) -> u64 {
    aways.into_iter().fold(ONE, both)
}

/// Availability in parts per million, rounded down.
#[must_use]
pub fn millionths(away: u64) -> u32 {
    let up = ONE.saturating_sub(away);
    // At most a million.
    u32::try_from((u128::from(up) * u128::from(MILLION)) >> 32).unwrap_or(0)
}

/// The chance that fewer than `least` of these are there at once.
#[must_use]
pub fn fewer_than(least: usize, aways: &[u64]) -> u64 {
    // The chance of exactly so many, for each number below `least`.
    let mut exactly = vec![0; least];
    if let Some(none) = exactly.first_mut() {
        *none = ONE;
    }
    for away in aways {
        let up = ONE.saturating_sub(*away);
        let mut one_less = 0;
        for chance in &mut exactly {
            let now = both(*chance, *away).saturating_add(both(one_less, up)).min(ONE);
            one_less = std::mem::replace(chance, now);
        }
    }
    exactly.into_iter().fold(0u64, u64::saturating_add).min(ONE)
}

/// Content cut into pieces, of which some suffice to make it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// Pieces that suffice.
    pub least: usize,
    /// Pieces in all, each on a machine of its own.
    pub pieces: usize,
    /// Bytes of all pieces.
    pub bytes: u64,
    /// The chance that too few are there.
    pub away: u64,
}

/// The code that takes the least room at an availability, on the first of these machines, the best
/// first; `None` where all of them do not suffice.
#[must_use]
pub fn cheapest_code(wanted: Wanted, size: u64, aways: &[u64]) -> Option<Code> {
    let mut best: Option<Code> = None;
    for least in 2..=PIECES_MAX.min(aways.len()) {
        let found = (least..=aways.len()).find_map(|pieces| {
            let away = fewer_than(least, aways.get(..pieces)?);
            (away <= wanted.away_max()).then_some((pieces, away))
        });
        let Some((pieces, away)) = found else { continue };
        let bytes = size.div_ceil(least as u64).saturating_mul(pieces as u64);
        if best.is_none_or(|best| bytes < best.bytes) {
            best = Some(Code { least, pieces, bytes, away });
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn away(up_percent: u64) -> u64 {
        share(100 - up_percent, 100)
    }

    fn unavailability(away: u64) -> f64 {
        away as f64 / ONE as f64
    }

    #[test]
    fn wishes_are_read_and_written_as_people_do() {
        for (text, millionths) in
            [("0.9", 900_000), (".5", 500_000), ("0.999999", 999_999), ("0.000001", 1)]
        {
            assert_eq!(text.parse::<Wanted>().unwrap().millionths(), millionths, "{text}");
        }
        assert_eq!("0.990".parse::<Wanted>().unwrap().to_string(), "0.99");
        for text in ["1", "1.0", "0", "0.0", "0.", "0.9999999", "-0.9", "0,9", "", "99%", "0.+9"] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }

    /// The numbers are those of the tables of P = 1 - (1 - p)^k and of Reed-Solomon codes at equal
    /// uptimes, computed with floats from the formulas.
    #[test]
    fn copies_and_codes_come_to_what_the_formulas_say() {
        for (up, copies, expected) in
            [(50, 2, 2.5e-1), (70, 3, 2.7e-2), (80, 5, 3.2e-4), (90, 3, 1e-3), (90, 5, 1e-5)]
        {
            let got = unavailability(all_away(vec![away(up); copies]));
            assert!((got - expected).abs() < expected * 0.001 + 3e-9, "{up} {copies}: {got}");
            assert!(got >= expected * 0.999_999, "rounded against the machines");
        }
        for (up, least, pieces, expected) in [
            (50, 10, 20, 0.411_901),
            (70, 10, 20, 0.017_145),
            (80, 10, 20, 5.634e-4),
            (70, 10, 30, 7.3e-6),
            (50, 1, 3, 0.125),
        ] {
            let got = unavailability(fewer_than(least, &vec![away(up); pieces]));
            assert!((got - expected).abs() < expected * 0.01 + 2e-7, "{up} {least}: {got}");
        }
        assert_eq!(all_away([]), ONE);
        assert_eq!(fewer_than(0, &[ONE]), 0);
        assert_eq!(fewer_than(1, &[]), ONE);
    }

    #[test]
    fn one_piece_that_suffices_is_a_copy_whatever_the_machines() {
        let aways = [away(31), away(77), away(50), away(99), ONE, 0];
        for count in 0..=aways.len() {
            let copies = all_away(aways[..count].iter().copied());
            assert_eq!(fewer_than(1, &aways[..count]), copies, "{count}");
        }
    }

    #[test]
    fn a_code_needs_less_room_than_copies_on_good_machines_and_more_than_there_are_on_bad_ones() {
        let wanted = "0.999".parse().unwrap();
        let code = cheapest_code(wanted, 1_000_000, &[away(90); 40]).unwrap();
        assert!(code.bytes < 3_000_000, "three copies do at 0.9, {code:?}");
        assert!(code.away <= wanted.away_max());
        assert_eq!(cheapest_code(wanted, 1_000_000, &[away(50); 10]), None);
        assert_eq!(cheapest_code(wanted, 1, &[]), None);
    }
}
