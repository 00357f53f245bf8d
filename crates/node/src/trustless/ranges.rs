//! Read a `Range` header (RFC 9110 14.2).
//!
//! Not here: several ranges at once, which are answered with the whole file, as the RFC allows.

use std::ops::Range;

/// What part of a file is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The whole file.
    All,
    /// These bytes.
    Span(Range<u64>),
    /// Nothing that is there.
    Nothing,
}

/// Reads the header for a file of this size. One that is none is as if it were not there.
pub(super) fn read(range: Option<&str>, size: u64) -> Part {
    let span = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((first, last)) = span else { return Part::All };
    let (first, last) = (first.trim(), last.trim());
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| is_number(text));
    let span = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(count)) if first.is_empty() => size.saturating_sub(count)..size,
        _ => return Part::All,
    };
    if span.start < span.end { Part::Span(span) } else { Part::Nothing }
}

#[cfg(test)]
mod tests {
    use super::{Part, read};

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let cases = [
            ("bytes=0-0", Part::Span(0..1)),
            ("bytes=2-", Part::Span(2..10)),
            ("bytes=-3", Part::Span(7..10)),
            ("bytes=-30", Part::Span(0..10)),
            ("bytes=5-900", Part::Span(5..10)),
            ("bytes=10-", Part::Nothing),
            ("bytes=-0", Part::Nothing),
            ("bytes=3-2", Part::All),
            ("bytes=0-1,4-5", Part::All),
            ("lines=1-2", Part::All),
            ("bytes=a-b", Part::All),
            ("bytes=0-18446744073709551615", Part::Span(0..10)),
            ("bytes=18446744073709551615-18446744073709551615", Part::Nothing),
            ("bytes=18446744073709551616-", Part::All),
            ("bytes=-18446744073709551616", Part::All),
            ("bytes=-18446744073709551615", Part::Span(0..10)),
            ("bytes=-", Part::All),
            ("bytes=--5", Part::All),
            ("bytes=5--", Part::All),
            ("bytes=0-9,0-9,0-9", Part::All),
            ("bytes=+1-2", Part::All),
            ("BYTES=0-1", Part::All),
        ];
        for (range, expected) in cases {
            assert_eq!(read(Some(range), 10), expected, "{range}");
        }
        assert_eq!(read(None, 10), Part::All);
    }
}
