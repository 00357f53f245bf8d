//! Read and write the few protocol buffers that blocks are made of.
//!
//! Invariants:
//! - What is read borrows from the block; nothing is allocated by a length that a block states.
//! - A number has one encoding, the shortest; a longer one is refused.
//!
//! Not here: what the fields mean (`dag_pb`, `unix_fs`).

/// Bytes of a number, at most: 64 bits, seven in each.
const VARINT_SIZE_MAX: usize = 10;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufRefusal {
    /// The bytes end within a field.
    #[error("the bytes end within a field")]
    Short,
    /// A number is not written in the shortest way, or has more than 64 bits.
    #[error("a number is too long")]
    Number,
    /// A field is of a kind that no block has.
    #[error("field {field} has wire type {kind}")]
    Kind {
        /// The field's number.
        field: u64,
        /// Its wire type.
        kind: u64,
    },
}

/// A field's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Wire type 0.
    Number(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32,
}

/// Reads a message field by field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message }
    }

    /// The next field's number and content; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, ProtobufRefusal> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = take_varint(&mut self.rest)?;
        let (field, kind) = (key >> 3, key & 7);
        let value = match kind {
            0 => Value::Number(take_varint(&mut self.rest)?),
            2 => {
                let size = take_varint(&mut self.rest)?;
                Value::Bytes(take(&mut self.rest, size)?)
            }
            5 => {
                take(&mut self.rest, 4)?;
                Value::Fixed32
            }
            _ => return Err(ProtobufRefusal::Kind { field, kind }),
        };
        Ok(Some((field, value)))
    }
}

/// Takes bytes off the front, if there are as many.
pub(crate) fn take<'a>(rest: &mut &'a [u8], size: u64) -> Result<&'a [u8], ProtobufRefusal> {
    let size = usize::try_from(size).map_err(|_| ProtobufRefusal::Short)?;
    let (taken, after) = rest.split_at_checked(size).ok_or(ProtobufRefusal::Short)?;
    *rest = after;
    Ok(taken)
}

/// Takes a number off the front.
pub(crate) fn take_varint(rest: &mut &[u8]) -> Result<u64, ProtobufRefusal> {
    let mut number = 0;
    for index in 0..VARINT_SIZE_MAX {
        let [byte] = *take(rest, 1)? else { return Err(ProtobufRefusal::Short) };
        // The tenth byte has room for one bit.
        if index + 1 == VARINT_SIZE_MAX && byte > 1 {
            return Err(ProtobufRefusal::Number);
        }
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let is_shortest = byte != 0 || index == 0;
            return if is_shortest { Ok(number) } else { Err(ProtobufRefusal::Number) };
        }
    }
    Err(ProtobufRefusal::Number)
}

/// Appends a field of bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    put_number(out, key, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a field that is a number.
pub(crate) fn put_number(out: &mut Vec<u8>, key: u8, number: u64) {
    out.push(key);
    put_varint(out, number);
}

/// Appends a number.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
