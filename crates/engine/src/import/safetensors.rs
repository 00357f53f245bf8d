//! Reads safetensors files that nobody vouches for.
//!
//! The format is Hugging Face's: the size of a JSON header in 8 bytes, the header, then the tensors'
//! bytes. A model may be spread over several files.
//!
//! Invariants:
//! - A file that was parsed has every tensor inside it; the tensors follow each other without holes
//!   and without overlap, up to the file's last byte, as the format asks.
//!
//! Not here: which tensor is what (`hugging_face`).

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde_json::{Map, Value};

use super::json;
use super::tensor::{Encoding, Tensor};

/// Bytes of a header, at most: the limit of the format's own library.
pub const HEADER_SIZE_MAX: u64 = 100_000_000;
/// Dimensions of a tensor, at most.
pub const DIMENSIONS_MAX: usize = 8;

/// A file that was parsed.
#[derive(Debug)]
pub struct Safetensors<'a> {
    entries: BTreeMap<String, Entry>,
    /// Everything after the header.
    data: &'a [u8],
}

#[derive(Debug)]
struct Entry {
    /// `None` for whole numbers, which are no weights.
    encoding: Option<Encoding>,
    rows: usize,
    columns: usize,
    from: usize,
    to: usize,
}

/// Why a file is not a sound safetensors file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SafetensorsError {
    /// The file ends before its header does.
    #[error("the header needs {needed} bytes from byte 8, the file has {found} bytes")]
    Truncated {
        /// Bytes that the header needs.
        needed: u64,
        /// Bytes of the file.
        found: u64,
    },
    /// The header is larger than any sound one.
    #[error("the header's size at byte 0 is {found}, more than {HEADER_SIZE_MAX}")]
    HeaderSize {
        /// What the file says.
        found: u64,
    },
    /// The header is not the JSON object that it should be.
    #[error("the header at byte 8: {what}")]
    Header {
        /// What is wrong.
        what: String,
    },
    /// A tensor's description makes no sense.
    #[error("tensor {tensor:?}: {what}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong.
        what: String,
    },
    /// The tensors end before the file does.
    #[error("the tensors end at byte {end} of the data, which has {size}")]
    Trailing {
        /// One past the last tensor.
        end: usize,
        /// Bytes after the header.
        size: usize,
    },
}

impl<'a> Safetensors<'a> {
    /// Parses a file.
    ///
    /// # Errors
    /// Names the place and both sides of what does not fit.
    pub fn parse(bytes: &'a [u8]) -> Result<Safetensors<'a>, SafetensorsError> {
        let found = bytes.len() as u64;
        let truncated = |needed| SafetensorsError::Truncated { needed, found };
        let (size, rest) = bytes.split_first_chunk::<8>().ok_or_else(|| truncated(0))?;
        let size = u64::from_le_bytes(*size);
        if size > HEADER_SIZE_MAX {
            return Err(SafetensorsError::HeaderSize { found: size });
        }
        if size > rest.len() as u64 {
            return Err(truncated(size));
        }
        let (header, data) = rest.split_at(size as usize);
        let entries = entries(&object(header)?, data.len())?;
        check_places(&entries, data.len())?;
        Ok(Safetensors { entries, data })
    }

    /// A tensor by name.
    #[must_use]
    pub fn tensor<'s>(&'s self, name: &str) -> Option<Tensor<'s>> {
        let (name, entry) = self.entries.get_key_value(name)?;
        entry.tensor(name, self.data)
    }

    /// All tensors of weights, by name.
    pub fn tensors<'s>(&'s self) -> impl Iterator<Item = Tensor<'s>> {
        self.entries.iter().filter_map(|(name, entry)| entry.tensor(name, self.data))
    }

    /// Names of the tensors of whole numbers.
    pub fn whole_numbers(&self) -> impl Iterator<Item = &str> {
        let whole = self.entries.iter().filter(|(_, entry)| entry.encoding.is_none());
        whole.map(|(name, _)| name.as_str())
    }
}

impl Entry {
    fn tensor<'s>(&self, name: &'s str, data: &'s [u8]) -> Option<Tensor<'s>> {
        let &Entry { encoding, rows, columns, from, to } = self;
        encoding.map(|encoding| Tensor { name, rows, columns, encoding, data: &data[from..to] })
    }
}

/// The header's object, in which no key stands twice.
fn object(header: &[u8]) -> Result<Map<String, Value>, SafetensorsError> {
    let wrong = |what: &str| SafetensorsError::Header { what: what.to_string() };
    if header.first() != Some(&b'{') {
        return Err(wrong("does not begin with {"));
    }
    match json::parse(header).map_err(|what| wrong(&what))? {
        Value::Object(map) => Ok(map),
        _ => Err(wrong("is not an object")),
    }
}

fn entries(
    header: &Map<String, Value>,
    size: usize,
) -> Result<BTreeMap<String, Entry>, SafetensorsError> {
    let mut entries = BTreeMap::new();
    for (name, value) in header.iter().filter(|(name, _)| *name != "__metadata__") {
        let wrong = |what| SafetensorsError::Tensor { tensor: name.clone(), what };
        entries.insert(name.clone(), entry(value, size).map_err(wrong)?);
    }
    Ok(entries)
}

fn entry(value: &Value, size: usize) -> Result<Entry, String> {
    let (encoding, width) = match value.get("dtype").and_then(Value::as_str) {
        Some("F32") => (Some(Encoding::F32), 4),
        Some("F16") => (Some(Encoding::F16), 2),
        Some("BF16") => (Some(Encoding::Bf16), 2),
        // The numbers of positions, which older libraries stored beside the weights.
        Some("I64") => (None, 8),
        Some(other) => return Err(format!("dtype {other:?} is not supported")),
        None => return Err("has no dtype".to_string()),
    };
    let shape = numbers(value.get("shape")).ok_or("has no shape of whole numbers")?;
    let places = numbers(value.get("data_offsets")).ok_or("has no data_offsets")?;
    let &[from, to] = places.as_slice() else {
        return Err("data_offsets are not two numbers".to_string());
    };
    if from > to || to > size {
        return Err(format!("lies at {from}..{to} of data of {size} bytes"));
    }
    if shape.len() > DIMENSIONS_MAX || shape.contains(&0) {
        return Err(format!("shape {shape:?} has a dimension of 0 or too many"));
    }
    let count = shape.iter().try_fold(1usize, |count, &dimension| count.checked_mul(dimension));
    let needed = count.and_then(|count| count.checked_mul(width));
    if needed != Some(to - from) {
        return Err(format!("shape {shape:?} does not fill {} bytes", to - from));
    }
    let columns = shape.last().copied().unwrap_or(1);
    Ok(Entry { encoding, rows: (to - from) / width / columns, columns, from, to })
}

fn numbers(value: Option<&Value>) -> Option<Vec<usize>> {
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    value?.as_array()?.iter().map(number).collect()
}

fn check_places(entries: &BTreeMap<String, Entry>, size: usize) -> Result<(), SafetensorsError> {
    let mut places: Vec<_> =
        entries.iter().map(|(name, entry)| (entry.from, entry.to, name)).collect();
    places.sort_unstable();
    let mut end = 0;
    for (from, to, name) in places {
        if from != end {
            let kind = if from < end { "overlaps the one before" } else { "leaves a hole" };
            let what = format!("begins at {from} and {kind}, which ends at {end}");
            return Err(SafetensorsError::Tensor { tensor: name.clone(), what });
        }
        end = to;
    }
    if end != size {
        return Err(SafetensorsError::Trailing { end, size });
    }
    Ok(())
}
