//! Reads GGUF files that nobody vouches for.
//!
//! Versions 2 and 3, little endian (ggml's `docs/gguf.md`). Arrays stay in the file and are read as
//! they are walked, so what is allocated is bounded by the file's own size.
//!
//! Invariants:
//! - A file that was parsed has every key and tensor inside it; names are unique; tensors do not
//!   overlap.
//!
//! Not here: what keys mean (`gguf_model`).

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::tensor::{Encoding, Tensor};

/// Keys in a file, at most.
pub const KEYS_MAX: u64 = 65_536;
/// Tensors in a file, at most.
pub const TENSORS_MAX: u64 = 65_536;
/// Bytes of a key or a tensor's name, at most.
pub const NAME_SIZE_MAX: u64 = 65_535;
/// Largest alignment.
pub const ALIGNMENT_MAX: u64 = 65_536;

/// A value of the file's header.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An unsigned integer of any width.
    Unsigned(u64),
    /// A signed integer of any width.
    Signed(i64),
    /// A number, f32 widened or f64.
    Float(f64),
    /// True or false.
    Bool(bool),
    /// Bytes that should be UTF-8.
    Text(&'a [u8]),
    /// An array of one type.
    Array(Array<'a>),
}

/// An array that stays in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Array<'a> {
    element: u32,
    count: usize,
    data: &'a [u8],
}

/// A file that was parsed.
#[derive(Debug)]
pub struct Gguf<'a> {
    values: BTreeMap<&'a str, Value<'a>>,
    tensors: BTreeMap<&'a str, Tensor<'a>>,
}

/// Why a file is not a sound GGUF file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GgufError {
    /// The first bytes are another format's.
    #[error("not a GGUF file: it does not begin with GGUF")]
    Magic,
    /// A version that is not read.
    #[error("GGUF version {version} is not supported; versions 2 and 3 (little endian) are")]
    Version {
        /// What the file says.
        version: u32,
    },
    /// The file ends inside something.
    #[error("the file ends at byte {at} inside {what}, which needs {needed} more bytes")]
    Truncated {
        /// Where.
        at: usize,
        /// What is cut.
        what: String,
        /// Bytes needed there.
        needed: u64,
    },
    /// A count or size is out of range.
    #[error("{what} at byte {at} is {found}, more than {max}")]
    TooMany {
        /// Where.
        at: usize,
        /// Which count.
        what: String,
        /// What the file says.
        found: u64,
        /// Most allowed.
        max: u64,
    },
    /// Something at a place makes no sense.
    #[error("{what} at byte {at}")]
    Invalid {
        /// Where.
        at: usize,
        /// What is wrong.
        what: String,
    },
    /// A tensor's numbers are stored in a way that is not read.
    #[error("tensor {tensor:?} is stored as {encoding}, which is not supported")]
    Encoding {
        /// Its name.
        tensor: String,
        /// ggml's name or number of the encoding.
        encoding: String,
    },
    /// A tensor lies outside the file or over another.
    #[error("tensor {tensor:?} at bytes {from}..{to}: {what}")]
    Place {
        /// Its name.
        tensor: String,
        /// First byte in the file.
        from: u64,
        /// One past the last.
        to: u64,
        /// What is wrong.
        what: String,
    },
    /// A key is missing or has another type.
    #[error("key {key:?}: {what}")]
    Key {
        /// The key.
        key: String,
        /// What is wrong.
        what: String,
    },
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, size: u64, what: &str) -> Result<&'a [u8], GgufError> {
        let left = (self.bytes.len() - self.at) as u64;
        if size > left {
            return Err(GgufError::Truncated {
                at: self.at,
                what: what.to_string(),
                needed: size - left,
            });
        }
        let taken = &self.bytes[self.at..self.at + size as usize];
        self.at += size as usize;
        Ok(taken)
    }

    fn number(&mut self, size: u64, what: &str) -> Result<u64, GgufError> {
        let bytes = self.take(size, what)?;
        Ok(bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    fn count(&mut self, what: &str, max: u64) -> Result<u64, GgufError> {
        let at = self.at;
        let found = self.number(8, what)?;
        if found > max {
            return Err(GgufError::TooMany { at, what: what.to_string(), found, max });
        }
        Ok(found)
    }

    fn name(&mut self, what: &str) -> Result<&'a str, GgufError> {
        let at = self.at;
        let size = self.count(what, NAME_SIZE_MAX)?;
        let bytes = self.take(size, what)?;
        core::str::from_utf8(bytes)
            .map_err(|_| GgufError::Invalid { at, what: alloc::format!("{what} is not UTF-8") })
    }

    fn value(&mut self, key: &str) -> Result<Value<'a>, GgufError> {
        let at = self.at;
        let kind = self.number(4, key)? as u32;
        if kind != 9 {
            return self.scalar(kind, key, at);
        }
        let element = self.number(4, key)? as u32;
        let count = self.number(8, key)?;
        let start = self.at;
        if element == 8 {
            for _ in 0..count {
                let size = self.number(8, key)?;
                self.take(size, key)?;
            }
        } else {
            let what = || alloc::format!("array {key:?} has elements of unknown type {element}");
            let width = width(element).ok_or_else(|| GgufError::Invalid { at, what: what() })?;
            let size = count.saturating_mul(width);
            self.take(size, key)?;
        }
        // Every element took at least one byte of the file, so the count fits memory.
        let data = &self.bytes[start..self.at];
        Ok(Value::Array(Array { element, count: count as usize, data }))
    }

    fn scalar(&mut self, kind: u32, key: &str, at: usize) -> Result<Value<'a>, GgufError> {
        if kind == 8 {
            let size = self.number(8, key)?;
            return Ok(Value::Text(self.take(size, key)?));
        }
        let what = || alloc::format!("key {key:?} has the unknown type {kind}");
        let width = width(kind).ok_or_else(|| GgufError::Invalid { at, what: what() })?;
        let number = self.number(width, key)?;
        Ok(decode(kind, number))
    }
}

/// Bytes of a scalar type.
fn width(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

fn decode<'a>(kind: u32, number: u64) -> Value<'a> {
    match kind {
        1 => Value::Signed(i64::from(number as u8 as i8)),
        3 => Value::Signed(i64::from(number as u16 as i16)),
        5 => Value::Signed(i64::from(number as u32 as i32)),
        6 => Value::Float(f64::from(f32::from_bits(number as u32))),
        7 => Value::Bool(number != 0),
        11 => Value::Signed(number as i64),
        12 => Value::Float(f64::from_bits(number)),
        _ => Value::Unsigned(number),
    }
}

impl<'a> Array<'a> {
    /// Elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let mut reader = Reader { bytes: self.data, at: 0 };
        let element = self.element;
        // The array was walked when it was read, so no element is cut short.
        (0..self.count).map_while(move |_| reader.scalar(element, "", 0).ok())
    }
}

impl<'a> Gguf<'a> {
    /// Parses a file.
    ///
    /// # Errors
    /// Names the place and both sides of what does not fit.
    pub fn parse(bytes: &'a [u8]) -> Result<Gguf<'a>, GgufError> {
        if !bytes.starts_with(b"GGUF") {
            return Err(GgufError::Magic);
        }
        let mut reader = Reader { bytes, at: 4 };
        let version = reader.number(4, "the version")? as u32;
        if version != 2 && version != 3 {
            return Err(GgufError::Version { version });
        }
        let tensor_count = reader.count("the count of tensors", TENSORS_MAX)?;
        let key_count = reader.count("the count of keys", KEYS_MAX)?;
        let mut values = BTreeMap::new();
        for _ in 0..key_count {
            let at = reader.at;
            let key = reader.name("a key")?;
            let value = reader.value(key)?;
            if values.insert(key, value).is_some() {
                let what = alloc::format!("key {key:?} stands twice");
                return Err(GgufError::Invalid { at, what });
            }
        }
        let mut gguf = Gguf { values, tensors: BTreeMap::new() };
        gguf.read_tensors(&mut reader, tensor_count)?;
        Ok(gguf)
    }

    fn read_tensors(&mut self, reader: &mut Reader<'a>, count: u64) -> Result<(), GgufError> {
        let mut entries = Vec::new();
        for _ in 0..count {
            entries.push(entry(reader)?);
        }
        let alignment = match self.get("general.alignment") {
            Some(_) => self.unsigned("general.alignment")?,
            None => 32,
        };
        if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
            let what = alloc::format!("{alignment} is not a power of two up to {ALIGNMENT_MAX}");
            return Err(GgufError::Key { key: "general.alignment".to_string(), what });
        }
        let start = (reader.at as u64).next_multiple_of(alignment);
        for entry in &entries {
            let tensor = entry.place(reader.bytes, start, alignment)?;
            if self.tensors.insert(entry.name, tensor).is_some() {
                let what = alloc::format!("tensor {:?} stands twice", entry.name);
                return Err(GgufError::Invalid { at: entry.at, what });
            }
        }
        check_overlap(&mut entries, start)
    }

    /// A key's value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        self.values.get(key).copied()
    }

    /// All keys, by name.
    pub fn keys(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> {
        self.values.iter().map(|(key, value)| (*key, *value))
    }

    /// A tensor by name.
    #[must_use]
    pub fn tensor(&self, name: &str) -> Option<Tensor<'a>> {
        self.tensors.get(name).copied()
    }

    /// All tensors, by name.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor<'a>> {
        self.tensors.values()
    }

    /// A key's value as a whole number of at least 0.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn unsigned(&self, key: &str) -> Result<u64, GgufError> {
        match self.need(key)? {
            Value::Unsigned(value) => Ok(value),
            Value::Signed(value) if value >= 0 => Ok(value as u64),
            _ => Err(wrong_type(key, "a whole number of at least 0")),
        }
    }

    /// A key's value as a number.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn float(&self, key: &str) -> Result<f64, GgufError> {
        match self.need(key)? {
            Value::Float(value) => Ok(value),
            Value::Unsigned(value) => Ok(value as f64),
            Value::Signed(value) => Ok(value as f64),
            _ => Err(wrong_type(key, "a number")),
        }
    }

    /// A key's value as text.
    ///
    /// # Errors
    /// When the key is missing, holds something else, or is not UTF-8.
    pub fn text(&self, key: &str) -> Result<&'a str, GgufError> {
        match self.need(key)? {
            Value::Text(bytes) => {
                core::str::from_utf8(bytes).map_err(|_| wrong_type(key, "UTF-8 text"))
            }
            _ => Err(wrong_type(key, "text")),
        }
    }

    /// A key's value as an array.
    ///
    /// # Errors
    /// When the key is missing or holds something else.
    pub fn array(&self, key: &str) -> Result<Array<'a>, GgufError> {
        match self.need(key)? {
            Value::Array(array) => Ok(array),
            _ => Err(wrong_type(key, "an array")),
        }
    }

    fn need(&self, key: &str) -> Result<Value<'a>, GgufError> {
        let missing = || GgufError::Key { key: key.to_string(), what: "is missing".to_string() };
        self.get(key).ok_or_else(missing)
    }
}

fn wrong_type(key: &str, wanted: &str) -> GgufError {
    GgufError::Key { key: key.to_string(), what: alloc::format!("is not {wanted}") }
}

/// A tensor's description before its place was checked.
struct Entry<'a> {
    at: usize,
    name: &'a str,
    rows: u64,
    columns: u64,
    encoding: Encoding,
    offset: u64,
    size: u64,
}

fn entry<'a>(reader: &mut Reader<'a>) -> Result<Entry<'a>, GgufError> {
    let at = reader.at;
    let name = reader.name("a tensor's name")?;
    let invalid =
        |what: String| GgufError::Invalid { at, what: alloc::format!("tensor {name:?} {what}") };
    let count = reader.number(4, name)?;
    if !(1..=4).contains(&count) {
        return Err(invalid(alloc::format!("has {count} dimensions, 1 to 4 are possible,")));
    }
    let columns = reader.number(8, name)?;
    let mut rows = 1u64;
    for _ in 1..count {
        let dimension = reader.number(8, name)?;
        rows =
            rows.checked_mul(dimension).ok_or_else(|| invalid("has too many rows".to_string()))?;
    }
    if columns == 0 || rows == 0 {
        return Err(invalid("has a dimension of 0".to_string()));
    }
    let number = reader.number(4, name)? as u32;
    let encoding = encoding(number)
        .map_err(|encoding| GgufError::Encoding { tensor: name.to_string(), encoding })?;
    let offset = reader.number(8, name)?;
    let row_size = usize::try_from(columns).ok().and_then(|columns| encoding.row_size(columns));
    let size = row_size.and_then(|size| (size as u64).checked_mul(rows));
    let size = size.ok_or_else(|| {
        invalid(alloc::format!(
            "has {columns} columns, no whole number of {} blocks",
            encoding.name()
        ))
    })?;
    Ok(Entry { at, name, rows, columns, encoding, offset, size })
}

impl<'a> Entry<'a> {
    fn place(&self, bytes: &'a [u8], start: u64, alignment: u64) -> Result<Tensor<'a>, GgufError> {
        let from = start.saturating_add(self.offset);
        let to = from.saturating_add(self.size);
        let wrong = |what: &str| {
            let (tensor, what) = (self.name.to_string(), what.to_string());
            GgufError::Place { tensor, from, to, what }
        };
        if !self.offset.is_multiple_of(alignment) {
            return Err(wrong("is not aligned"));
        }
        if to > bytes.len() as u64 {
            return Err(wrong(&alloc::format!("the file has {} bytes", bytes.len())));
        }
        Ok(Tensor {
            name: self.name,
            rows: self.rows as usize,
            columns: self.columns as usize,
            encoding: self.encoding,
            data: &bytes[from as usize..to as usize],
        })
    }
}

fn check_overlap(entries: &mut [Entry<'_>], start: u64) -> Result<(), GgufError> {
    entries.sort_unstable_by_key(|entry| entry.offset);
    for pair in entries.windows(2) {
        if pair[0].offset + pair[0].size > pair[1].offset {
            let from = start + pair[1].offset;
            let what = alloc::format!("overlaps tensor {:?}", pair[0].name);
            let tensor = pair[1].name.to_string();
            return Err(GgufError::Place { tensor, from, to: from + pair[1].size, what });
        }
    }
    Ok(())
}

/// ggml's number of an encoding; the name of one that is not read is the error.
fn encoding(number: u32) -> Result<Encoding, String> {
    Ok(match number {
        0 => Encoding::F32,
        1 => Encoding::F16,
        2 => Encoding::Q4_0,
        3 => Encoding::Q4_1,
        6 => Encoding::Q5_0,
        7 => Encoding::Q5_1,
        8 => Encoding::Q8_0,
        12 => Encoding::Q4K,
        13 => Encoding::Q5K,
        14 => Encoding::Q6K,
        30 => Encoding::Bf16,
        other => {
            let name = match other {
                9 => "Q8_1",
                10 => "Q2_K",
                11 => "Q3_K",
                15 => "Q8_K",
                16 => "IQ2_XXS",
                17 => "IQ2_XS",
                18 => "IQ3_XXS",
                19 => "IQ1_S",
                20 => "IQ4_NL",
                21 => "IQ3_S",
                22 => "IQ2_S",
                23 => "IQ4_XS",
                28 => "F64",
                29 => "IQ1_M",
                34 => "TQ1_0",
                35 => "TQ2_0",
                39 => "MXFP4",
                _ => return Err(alloc::format!("type number {other}")),
            };
            return Err(name.to_string());
        }
    })
}

#[cfg(test)]
mod tests;
