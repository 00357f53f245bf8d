//! Signing in with a wallet: the text of EIP-4361 and its check.
//!
//! Invariants: `parse` accepts a text exactly if `Display` gives it back, so that a text has one
//! meaning. Nothing over `TEXT_MAX` bytes is looked at.
//!
//! Not here: nonces that were given out, sessions, and the clock; the caller has them.

use std::fmt;

use crate::id::{Address, Hash, keccak256};
use crate::signature::{Signature, Unsigned};

/// Bytes of a text. Wallets' windows show a few lines.
pub const TEXT_MAX: usize = 4096;
/// Resources that a text lists.
pub const RESOURCES_MAX: usize = 16;
/// EIP-4361: a nonce has at least so many letters and digits.
const NONCE_MIN: usize = 8;

/// What a wallet is asked to sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siwe {
    /// The scheme of the page that asks, if stated.
    pub scheme: Option<String>,
    /// The authority of the page that asks, such as `localhost:8420`.
    pub domain: String,
    /// Who signs in.
    pub address: Address,
    /// A line for the reader.
    pub statement: Option<String>,
    /// What the sign-in is for.
    pub uri: String,
    /// The wallet's chain, which means nothing here.
    pub chain_id: u64,
    /// The server's single-use text, at least 8 letters and digits.
    pub nonce: String,
    /// When it was made.
    pub issued_at: Time,
    /// From when on it is void.
    pub expiration_time: Option<Time>,
    /// Before when it is void.
    pub not_before: Option<Time>,
    /// The server's own mark.
    pub request_id: Option<String>,
    /// What else the reader agrees to.
    pub resources: Option<Vec<String>>,
}

/// An RFC 3339 time as it was written, and what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Time {
    text: String,
    seconds: i64,
}

/// What the server knows of the sign-in that it checks.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The authority of its own page.
    pub domain: &'a str,
    /// The nonce that it gave out.
    pub nonce: &'a str,
    /// Seconds since 1970.
    pub now: i64,
}

/// Why a sign-in is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSignedIn {
    /// The text is not of EIP-4361's form.
    #[error("text is not a sign-in as EIP-4361 defines it")]
    BadText,
    /// The text is for another page: someone may be passing it on.
    #[error("sign-in is for another domain")]
    OtherDomain,
    /// The nonce is not the one that was given out.
    #[error("sign-in has another nonce")]
    OtherNonce,
    /// The text is not valid yet.
    #[error("sign-in is not valid yet")]
    TooEarly,
    /// The text is no longer valid.
    #[error("sign-in has expired")]
    Expired,
    /// The signature names no signer.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// Another key signed.
    #[error("sign-in was signed by another key")]
    OtherSigner,
}

const HEAD: &str = " wants you to sign in with your Ethereum account:";

/// Checks a signed text, and gives whose it is.
///
/// # Errors
///
/// When the text, its signature or its circumstances are not as expected.
pub fn sign_in(
    text: &str,
    signature: &Signature,
    expected: &Expected<'_>,
) -> Result<Address, NotSignedIn> {
    let siwe = Siwe::parse(text).ok_or(NotSignedIn::BadText)?;
    if siwe.domain != expected.domain {
        return Err(NotSignedIn::OtherDomain);
    }
    if siwe.nonce != expected.nonce {
        return Err(NotSignedIn::OtherNonce);
    }
    if siwe.not_before.is_some_and(|time| expected.now < time.seconds) {
        return Err(NotSignedIn::TooEarly);
    }
    if siwe.expiration_time.is_some_and(|time| expected.now >= time.seconds) {
        return Err(NotSignedIn::Expired);
    }
    let signer = signature.recover(&personal_hash(text))?;
    if signer == siwe.address { Ok(signer) } else { Err(NotSignedIn::OtherSigner) }
}

/// The hash that `personal_sign` signs (EIP-191, version 0x45).
#[must_use]
pub fn personal_hash(text: &str) -> Hash {
    let head = format!("\x19Ethereum Signed Message:\n{}", text.len());
    keccak256(&[head.as_bytes(), text.as_bytes()].concat())
}

impl Siwe {
    /// Reads a text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Siwe> {
        if text.len() > TEXT_MAX {
            return None;
        }
        let mut lines = text.split('\n').peekable();
        let page = lines.next()?.strip_suffix(HEAD)?;
        let (scheme, domain) = match page.split_once("://") {
            Some((scheme, domain)) => (Some(scheme.to_owned()), domain),
            None => (None, page),
        };
        let address = Address::parse(lines.next()?)?;
        lines.next().filter(|line| line.is_empty())?;
        let statement = lines.next().filter(|line| !line.is_empty()).map(str::to_owned);
        if statement.is_some() {
            lines.next().filter(|line| line.is_empty())?;
        }
        let mut field = |name: &str| {
            let value = lines.peek()?.strip_prefix(name)?.strip_prefix(": ")?;
            lines.next();
            Some(value.to_owned())
        };
        let uri = field("URI")?;
        field("Version").filter(|version| version == "1")?;
        let siwe = Siwe {
            scheme,
            domain: domain.to_owned(),
            address,
            statement,
            uri,
            chain_id: field("Chain ID")?.parse().ok()?,
            nonce: field("Nonce")?,
            issued_at: Time::parse(&field("Issued At")?)?,
            expiration_time: optional(field("Expiration Time"))?,
            not_before: optional(field("Not Before"))?,
            request_id: field("Request ID"),
            resources: resources(&mut lines)?,
        };
        (siwe.is_plausible() && siwe.to_string() == text).then_some(siwe)
    }

    fn is_plausible(&self) -> bool {
        self.nonce.len() >= NONCE_MIN
            && self.nonce.bytes().all(|byte| byte.is_ascii_alphanumeric())
            && !self.domain.is_empty()
            && !self.domain.contains([' ', '/'])
            && !self.uri.is_empty()
    }
}

/// An absent time is none; a time that cannot be read spoils the text.
fn optional(text: Option<String>) -> Option<Option<Time>> {
    text.map_or(Some(None), |text| Time::parse(&text).map(Some))
}

fn resources<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Option<Option<Vec<String>>> {
    match lines.next() {
        None => return Some(None),
        Some("Resources:") => {}
        Some(_) => return None,
    }
    let items: Option<Vec<String>> =
        lines.map(|line| line.strip_prefix("- ").map(str::to_owned)).collect();
    items.filter(|items| items.len() <= RESOURCES_MAX).map(Some)
}

impl fmt::Display for Siwe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(scheme) = &self.scheme {
            write!(out, "{scheme}://")?;
        }
        write!(out, "{}{HEAD}\n{}\n\n", self.domain, self.address)?;
        if let Some(statement) = &self.statement {
            writeln!(out, "{statement}")?;
        }
        write!(out, "\nURI: {}\nVersion: 1\nChain ID: {}", self.uri, self.chain_id)?;
        write!(out, "\nNonce: {}\nIssued At: {}", self.nonce, self.issued_at.text)?;
        for (name, time) in
            [("Expiration Time", &self.expiration_time), ("Not Before", &self.not_before)]
        {
            if let Some(time) = time {
                write!(out, "\n{name}: {}", time.text)?;
            }
        }
        if let Some(id) = &self.request_id {
            write!(out, "\nRequest ID: {id}")?;
        }
        if let Some(resources) = &self.resources {
            write!(out, "\nResources:")?;
            resources.iter().try_for_each(|resource| write!(out, "\n- {resource}"))?;
        }
        Ok(())
    }
}

impl Time {
    /// Reads `2026-11-23T19:00:00Z`, with an optional fraction of a second, which is dropped, and an
    /// offset in place of `Z`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Time> {
        let (date, rest) = text.split_once('T')?;
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let at = rest.find(['Z', '+', '-'])?;
        let (clock, zone) = rest.split_at_checked(at)?;
        let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
        let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
        let is_fraction =
            !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
        let is_clock = hour < 24 && minute < 60 && second < 61 && is_fraction;
        if !is_clock || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
            return None;
        }
        let hours = days_since_1970(year, month, day).checked_mul(24)?.checked_add(hour)?;
        let minutes = hours.checked_mul(60)?.checked_add(minute)?.checked_sub(offset(zone)?)?;
        let seconds = minutes.checked_mul(60)?.checked_add(second)?;
        Some(Time { text: text.to_owned(), seconds })
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.seconds
    }
}

/// Minutes east of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let [hours, minutes] = numbers(zone.get(1..)?, ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    hours.checked_mul(60)?.checked_add(minutes)?.checked_mul(sign)
}

/// Numbers of the given widths, at most four digits each.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, width) in found.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

fn days_of(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant's `days_from_civil`: a year begins in March, so that the leap day ends it.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a year has four digits and a month two, so that no term comes near 2^63"
)]
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests;
