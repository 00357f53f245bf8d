//! Amounts of credits, and the numbers that count time.
//!
//! An amount is a whole number of millionths of a credit.
//!
//! Invariants: an amount is at most `AMOUNT_MAX`, so that a product of two fits 128 bits with room
//! for a sum over every member, and a program that reads JSON numbers as floats reads it exactly.
//!
//! Not here: balances, which have a sign and belong to the ledger.

use std::fmt;

use crate::codec::{Canonical, Malformed, Reader};

/// Millionths in a credit.
pub const MILLIONTHS: u64 = 1_000_000;

/// The largest amount, in millionths: 2^53 - 1, about nine thousand million credits.
pub const AMOUNT_MAX: u64 = (1 << 53) - 1;

/// An amount, in millionths of a credit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(u64);

/// A block's number; the first block after the genesis has 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Height(pub u64);

/// A number of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocks(pub u64);

/// An epoch's number, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A patronage period's number, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub u64);

/// How many transactions of its account came before a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nonce(pub u64);

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// An amount of millionths; none over `AMOUNT_MAX`.
    #[must_use]
    pub const fn new(millionths: u64) -> Option<Amount> {
        if millionths <= AMOUNT_MAX { Some(Amount(millionths)) } else { None }
    }

    /// The amount in millionths.
    #[must_use]
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// The sum; none over `AMOUNT_MAX`.
    #[must_use]
    pub fn checked_add(self, other: Amount) -> Option<Amount> {
        self.0.checked_add(other.0).and_then(Amount::new)
    }

    /// The difference; none below zero.
    #[must_use]
    pub fn checked_sub(self, other: Amount) -> Option<Amount> {
        self.0.checked_sub(other.0).map(Amount)
    }

    /// `self * numerator / denominator`, rounded down; none for a denominator of 0 or a result over
    /// `AMOUNT_MAX`.
    #[must_use]
    pub fn checked_part(self, numerator: u64, denominator: u64) -> Option<Amount> {
        let product = u128::from(self.0).checked_mul(u128::from(numerator))?;
        let part = product.checked_div(u128::from(denominator))?;
        u64::try_from(part).ok().and_then(Amount::new)
    }

    /// Reads what `Display` prints and nothing else: no sign, no leading zeros, no zeros at the end
    /// of a fraction, at most six digits after the point.
    #[must_use]
    pub fn parse(text: &str) -> Option<Amount> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || fraction.len() > 6 {
            return None;
        }
        let whole = whole.parse::<u64>().ok()?.checked_mul(MILLIONTHS)?;
        let fraction = format!("{fraction:0<6}").parse::<u64>().ok()?;
        let amount = whole.checked_add(fraction).and_then(Amount::new)?;
        (amount.to_string() == text).then_some(amount)
    }
}

impl fmt::Display for Amount {
    /// Credits, with as many digits after the point as there are, such as `12.5`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / MILLIONTHS, self.0 % MILLIONTHS);
        if fraction == 0 {
            return write!(out, "{whole}");
        }
        let digits = format!("{fraction:06}");
        write!(out, "{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Canonical for Amount {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Amount::new(u64::read(reader)?).ok_or(Malformed::OutOfRange)
    }
}

macro_rules! counter {
    ($($name:ident),*) => {$(
        impl $name {
            /// So many later; stops at the largest number there is.
            #[must_use]
            pub fn after(self, count: u64) -> $name {
                $name(self.0.saturating_add(count))
            }
        }

        impl Canonical for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                u64::read(reader).map($name)
            }
        }
    )*};
}

counter!(Height, Blocks, Epoch, Period, Nonce);

#[cfg(test)]
mod tests;
