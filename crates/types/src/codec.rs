//! Canonical bytes: exactly one encoding for each value, and no value for any other bytes.
//!
//! Integers are little endian and of fixed width; a text or a list is a count of 4 bytes and its
//! contents; a choice is one byte; a record is its fields in order. Specified in
//! `docs/spec/transaction.md`, section 1.
//!
//! Invariants:
//! - `decode(encode(x)) = x`, and `encode(decode(b)) = b` wherever `decode` succeeds.
//! - No length is believed before it is compared with a limit, so that what is allocated is bounded
//!   by the input and the limits, whatever the input says.
//!
//! Not here: the limits themselves, which stand beside the types that have them.

/// A value with canonical bytes.
pub trait Canonical: Sized {
    /// Appends the value's bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes one value from the front of what is left.
    ///
    /// # Errors
    ///
    /// When the bytes are no value's encoding.
    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// Why bytes are no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The input ended inside a value.
    #[error("{wanted} bytes wanted and {left} left")]
    Short {
        /// Bytes that the next field needs.
        wanted: usize,
        /// Bytes that the input still has.
        left: usize,
    },
    /// Bytes follow the value.
    #[error("{left} bytes follow the value")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A list, a text or the whole has more elements than its limit.
    #[error("length {length} is over the limit of {max}")]
    TooLong {
        /// The length that the input states.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// A byte stands for no variant of the choice.
    #[error("no variant has the number {number}")]
    UnknownVariant {
        /// The byte.
        number: u8,
    },
    /// A number is outside its range.
    #[error("number is outside its range")]
    OutOfRange,
    /// A text is not UTF-8, or has characters that hide or reorder others.
    #[error("text is not plain UTF-8")]
    BadText,
    /// A set is not in strictly ascending order.
    #[error("set is not in ascending order")]
    NotAscending,
    /// A content identifier is not of a kind that the ledger names things by.
    #[error("content identifier is of an unknown kind")]
    BadCid,
}

/// Bytes that are still to be read.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the front of the bytes.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes }
    }

    /// Takes `N` bytes.
    ///
    /// # Errors
    ///
    /// When fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let short = Malformed::Short { wanted: N, left: self.left.len() };
        let (head, tail) = self.left.split_first_chunk::<N>().ok_or(short)?;
        self.left = tail;
        Ok(*head)
    }

    /// Takes `count` bytes.
    ///
    /// # Errors
    ///
    /// When fewer are left.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let short = Malformed::Short { wanted: count, left: self.left.len() };
        let (head, tail) = self.left.split_at_checked(count).ok_or(short)?;
        self.left = tail;
        Ok(head)
    }

    /// Takes a length of 4 bytes that is at most `max`. The check bounds what is allocated next.
    ///
    /// # Errors
    ///
    /// When fewer than 4 bytes are left, or the length is over the limit.
    pub fn length(&mut self, max: usize) -> Result<usize, Malformed> {
        let length = usize::try_from(u32::read(self)?).map_err(|_| Malformed::OutOfRange)?;
        if length > max {
            return Err(Malformed::TooLong { length, max });
        }
        Ok(length)
    }

    /// Ends the reading.
    ///
    /// # Errors
    ///
    /// When bytes are left.
    pub fn finish(self) -> Result<(), Malformed> {
        let left = self.left.len();
        if left == 0 { Ok(()) } else { Err(Malformed::Trailing { left }) }
    }
}

/// The value's bytes.
#[must_use]
pub fn encode<T: Canonical>(value: &T) -> Vec<u8> {
    let mut out = vec![];
    value.write(&mut out);
    out
}

/// The value that all of the bytes stand for.
///
/// # Errors
///
/// When the bytes are no value's encoding, or more follow.
pub fn decode<T: Canonical>(bytes: &[u8]) -> Result<T, Malformed> {
    let mut reader = Reader::new(bytes);
    let value = T::read(&mut reader)?;
    reader.finish()?;
    Ok(value)
}

/// Writes a length. Lists and texts are bounded far below 2^32 by their types.
pub fn write_length(length: usize, out: &mut Vec<u8>) {
    u32::try_from(length).expect("every bound is under 2^32").write(out);
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Canonical for $type {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
                reader.array().map(<$type>::from_le_bytes)
            }
        }
    )*};
}

integer!(u8, u16, u32, u64, u128, i32, i128);

impl<const N: usize> Canonical for [u8; N] {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.array()
    }
}

impl Canonical for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            number => Err(Malformed::UnknownVariant { number }),
        }
    }
}

impl<T: Canonical> Canonical for Option<T> {
    fn write(&self, out: &mut Vec<u8>) {
        self.is_some().write(out);
        if let Some(value) = self {
            value.write(out);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        if bool::read(reader)? { T::read(reader).map(Some) } else { Ok(None) }
    }
}

impl<A: Canonical, B: Canonical> Canonical for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok((A::read(reader)?, B::read(reader)?))
    }
}

impl Canonical for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
