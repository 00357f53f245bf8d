//! Texts, bytes and lists that cannot be longer than their type says.
//!
//! Invariants: a value over its limit does not exist, so that whatever can be held can be written
//! and read back.
//!
//! Not here: limits of particular fields, which stand beside the records that have them.

use std::fmt;

use crate::codec::{Canonical, Malformed, Reader, write_length};

/// A text of at most `MAX` bytes of UTF-8, without control characters and without those that hide
/// or reorder the ones around them: what a wallet shows is what is signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<const MAX: usize>(String);

/// A list of at most `MAX` values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T, const MAX: usize>(Vec<T>);

/// At most `MAX` bytes, whose meaning is another crate's.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes<const MAX: usize>(Vec<u8>);

/// A set of at most `MAX` values, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set<T, const MAX: usize>(Vec<T>);

impl<const MAX: usize> Text<MAX> {
    /// Checks a text.
    ///
    /// # Errors
    ///
    /// When it is over `MAX` bytes, or has a character that may not stand in it.
    pub fn new(text: &str) -> Result<Text<MAX>, Malformed> {
        if text.len() > MAX {
            return Err(Malformed::TooLong { length: text.len(), max: MAX });
        }
        if text.chars().any(is_hidden) {
            return Err(Malformed::BadText);
        }
        Ok(Text(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Control characters, and the invisible ones that reorder or join: Unicode's bidirectional
/// embeddings, overrides and isolates, separators of lines, zero-width space and byte order mark.
/// The joiners U+200C and U+200D and the marks U+200E and U+200F are allowed: Arabic and Persian
/// writing needs them.
fn is_hidden(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{200b}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<const MAX: usize> Canonical for Text<MAX> {
    fn write(&self, out: &mut Vec<u8>) {
        write_length(self.0.len(), out);
        out.extend_from_slice(self.0.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = reader.length(MAX)?;
        let bytes = reader.bytes(length)?;
        Text::new(std::str::from_utf8(bytes).map_err(|_| Malformed::BadText)?)
    }
}

impl<T, const MAX: usize> List<T, MAX> {
    /// Checks a list's length.
    ///
    /// # Errors
    ///
    /// When it has over `MAX` values.
    pub fn new(items: Vec<T>) -> Result<List<T, MAX>, Malformed> {
        let length = items.len();
        if length > MAX { Err(Malformed::TooLong { length, max: MAX }) } else { Ok(List(items)) }
    }

    /// The values.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }
}

impl<T, const MAX: usize> Default for List<T, MAX> {
    fn default() -> Self {
        List(vec![])
    }
}

impl<T: Canonical, const MAX: usize> Canonical for List<T, MAX> {
    fn write(&self, out: &mut Vec<u8>) {
        write_length(self.0.len(), out);
        self.0.iter().for_each(|item| item.write(out));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = reader.length(MAX)?;
        let items: Result<Vec<T>, Malformed> = (0..length).map(|_| T::read(reader)).collect();
        items.map(List)
    }
}

impl<const MAX: usize> Bytes<MAX> {
    /// Checks how many there are.
    ///
    /// # Errors
    ///
    /// When there are over `MAX`.
    pub fn new(bytes: Vec<u8>) -> Result<Bytes<MAX>, Malformed> {
        let length = bytes.len();
        if length > MAX { Err(Malformed::TooLong { length, max: MAX }) } else { Ok(Bytes(bytes)) }
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl<const MAX: usize> Canonical for Bytes<MAX> {
    fn write(&self, out: &mut Vec<u8>) {
        write_length(self.0.len(), out);
        out.extend_from_slice(&self.0);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let length = reader.length(MAX)?;
        Ok(Bytes(reader.bytes(length)?.to_vec()))
    }
}

impl<T: Ord, const MAX: usize> Set<T, MAX> {
    /// Sorts the values.
    ///
    /// # Errors
    ///
    /// When there are over `MAX`, or one stands there twice.
    pub fn new(mut items: Vec<T>) -> Result<Set<T, MAX>, Malformed> {
        items.sort_unstable();
        Set::ascending(items)
    }

    /// The values, in ascending order.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// Whether the value is in the set.
    #[must_use]
    pub fn contains(&self, item: &T) -> bool {
        self.0.binary_search(item).is_ok()
    }

    fn ascending(items: Vec<T>) -> Result<Set<T, MAX>, Malformed> {
        let length = items.len();
        if length > MAX {
            return Err(Malformed::TooLong { length, max: MAX });
        }
        let pairs = items.iter().zip(items.iter().skip(1));
        let is_ascending = pairs.into_iter().all(|(left, right)| left < right);
        if is_ascending { Ok(Set(items)) } else { Err(Malformed::NotAscending) }
    }
}

impl<T: Ord + Canonical, const MAX: usize> Canonical for Set<T, MAX> {
    fn write(&self, out: &mut Vec<u8>) {
        write_length(self.0.len(), out);
        self.0.iter().for_each(|item| item.write(out));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let List(items) = List::<T, MAX>::read(reader)?;
        Set::ascending(items)
    }
}

#[cfg(test)]
mod tests;
