//! Writes GGUF files: random models for tests and for measuring machines, and broken files on purpose.
//!
//! Version 3, little endian (ggml's `docs/gguf.md`). Tensors are made row by row while they are
//! written, so memory holds one row, not the model.
//!
//! Invariants:
//! - What `write` accepts, `Gguf::parse` reads back, as long as names are unique.
//!
//! Not here: which keys and tensors make a model (`random`).

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::assemble::Sink;
use super::tensor::Encoding;

pub mod random;

/// Tensors start at multiples of this: the format's default.
pub const ALIGNMENT: usize = 32;

/// A key's value.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// A whole number of at least 0.
    U32(u32),
    /// A whole number.
    I32(i32),
    /// A number.
    F32(f32),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(&'a str),
    /// Texts; tokens need not be UTF-8.
    Texts(&'a [Vec<u8>]),
    /// Whole numbers.
    I32s(&'a [i32]),
    /// Whole numbers of at least 0.
    U32s(&'a [u32]),
    /// Numbers.
    F32s(&'a [f32]),
}

/// Fills one row's bytes, given its 0-based index.
pub type Fill<'a> = dyn Fn(usize, &mut [u8]) + 'a;

/// Where a tensor's bytes come from.
pub enum Data<'a> {
    /// All rows, one after the other.
    Bytes(Vec<u8>),
    /// Each row is made when it is written.
    Rows(Box<Fill<'a>>),
}

impl core::fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Data::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Data::Rows(_) => f.write_str("Rows"),
        }
    }
}

#[derive(Debug)]
struct Planned<'a> {
    name: String,
    /// Fastest first, as the format has it.
    dimensions: Vec<u64>,
    encoding: Encoding,
    row_size: usize,
    size: usize,
    data: Data<'a>,
}

/// A file to be written: keys and tensors in the order in which they were added.
#[derive(Debug, Default)]
pub struct GgufBuilder<'a> {
    keys: Vec<u8>,
    key_count: u64,
    tensors: Vec<Planned<'a>>,
}

impl<'a> GgufBuilder<'a> {
    /// A file without keys and tensors.
    #[must_use]
    pub fn new() -> GgufBuilder<'a> {
        GgufBuilder::default()
    }

    /// Adds a key.
    pub fn key(&mut self, name: &str, field: Field<'_>) -> &mut Self {
        self.key_count += 1;
        text(&mut self.keys, name.as_bytes());
        encode(&mut self.keys, field);
        self
    }

    /// Adds a tensor; `dimensions` are fastest first: columns, then rows.
    ///
    /// # Errors
    /// When there are not 1 to 4 dimensions, a row is no whole number of blocks, or the bytes given
    /// are not as many as the dimensions ask for.
    pub fn tensor(
        &mut self,
        name: &str,
        dimensions: &[u64],
        encoding: Encoding,
        data: Data<'a>,
    ) -> Result<&mut Self, String> {
        let wrong = |what: &str| alloc::format!("tensor {name:?} {what}");
        let (&columns, rows) = dimensions.split_first().ok_or_else(|| wrong("has no dimension"))?;
        if rows.len() > 3 {
            return Err(wrong("has more than 4 dimensions"));
        }
        let columns = usize::try_from(columns).ok();
        let row_size = columns.and_then(|columns| encoding.row_size(columns));
        let row_size = row_size.ok_or_else(|| wrong("has rows that are no whole blocks"))?;
        let size = rows.iter().try_fold(row_size, |size, &dimension| {
            size.checked_mul(usize::try_from(dimension).ok()?)
        });
        let size = size.filter(|&size| size > 0).ok_or_else(|| wrong("has no possible size"))?;
        if let Data::Bytes(bytes) = &data
            && bytes.len() != size
        {
            return Err(alloc::format!(
                "tensor {name:?} needs {size} bytes, {} were given",
                bytes.len()
            ));
        }
        let (name, dimensions) = (name.to_string(), dimensions.to_vec());
        self.tensors.push(Planned { name, dimensions, encoding, row_size, size, data });
        Ok(self)
    }

    /// Streams the file's bytes in order; returns how many there are.
    ///
    /// # Errors
    /// When the sink refuses.
    pub fn write(&self, sink: &mut Sink<'_>) -> Result<u64, String> {
        let header = self.header();
        sink(&header)?;
        let mut size = header.len() as u64;
        for tensor in &self.tensors {
            tensor.write(sink)?;
            let padding = tensor.size.next_multiple_of(ALIGNMENT) - tensor.size;
            sink(&[0; ALIGNMENT][..padding])?;
            size += (tensor.size + padding) as u64;
        }
        Ok(size)
    }

    /// The whole file.
    ///
    /// # Errors
    /// Never, today: a vector refuses no bytes.
    pub fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        self.write(&mut |bytes| {
            out.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(out)
    }

    /// Everything before the tensors' bytes, padded.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend_from_slice(&3u32.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.key_count.to_le_bytes());
        out.extend_from_slice(&self.keys);
        let mut offset = 0u64;
        for tensor in &self.tensors {
            text(&mut out, tensor.name.as_bytes());
            out.extend_from_slice(&(tensor.dimensions.len() as u32).to_le_bytes());
            for dimension in &tensor.dimensions {
                out.extend_from_slice(&dimension.to_le_bytes());
            }
            out.extend_from_slice(&number(tensor.encoding).to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            offset += tensor.size.next_multiple_of(ALIGNMENT) as u64;
        }
        out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
        out
    }
}

impl Planned<'_> {
    fn write(&self, sink: &mut Sink<'_>) -> Result<(), String> {
        match &self.data {
            Data::Bytes(bytes) => sink(bytes),
            Data::Rows(fill) => {
                let mut row = vec![0; self.row_size];
                (0..self.size / self.row_size).try_for_each(|index| {
                    fill(index, &mut row);
                    sink(&row)
                })
            }
        }
    }
}

/// ggml's number of an encoding.
fn number(encoding: Encoding) -> u32 {
    match encoding {
        Encoding::F32 => 0,
        Encoding::F16 => 1,
        Encoding::Q4_0 => 2,
        Encoding::Q4_1 => 3,
        Encoding::Q5_0 => 6,
        Encoding::Q5_1 => 7,
        Encoding::Q8_0 => 8,
        Encoding::Q4K => 12,
        Encoding::Q5K => 13,
        Encoding::Q6K => 14,
        Encoding::Bf16 => 30,
    }
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text);
}

/// A value's type and bytes; the numbers are the format's.
fn encode(out: &mut Vec<u8>, field: Field<'_>) {
    let mut kind = |kind: u32| out.extend_from_slice(&kind.to_le_bytes());
    match field {
        Field::U32(_) => kind(4),
        Field::I32(_) => kind(5),
        Field::F32(_) => kind(6),
        Field::Bool(_) => kind(7),
        Field::Text(_) => kind(8),
        Field::Texts(_) => [9, 8].into_iter().for_each(&mut kind),
        Field::I32s(_) => [9, 5].into_iter().for_each(&mut kind),
        Field::U32s(_) => [9, 4].into_iter().for_each(&mut kind),
        Field::F32s(_) => [9, 6].into_iter().for_each(&mut kind),
    }
    match field {
        Field::U32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Field::I32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Field::F32(value) => out.extend_from_slice(&value.to_le_bytes()),
        Field::Bool(value) => out.push(u8::from(value)),
        Field::Text(value) => text(out, value.as_bytes()),
        Field::Texts(values) => each(out, values, |out, value| text(out, value)),
        Field::I32s(values) => each(out, values, |out, value| out.extend(value.to_le_bytes())),
        Field::U32s(values) => each(out, values, |out, value| out.extend(value.to_le_bytes())),
        Field::F32s(values) => each(out, values, |out, value| out.extend(value.to_le_bytes())),
    }
}

fn each<T>(out: &mut Vec<u8>, values: &[T], put: impl Fn(&mut Vec<u8>, &T)) {
    out.extend_from_slice(&(values.len() as u64).to_le_bytes());
    values.iter().for_each(|value| put(out, value));
}
