//! Writes a GGUF model again in F32 with outlier channels: the same function, harder to quantise.
//!
//! stress SOURCE.gguf OUT.gguf FACTOR SEED
//!
//! Every norm's weight is multiplied by the factor on 4 channels, and so is the matrix `up` on 8 of
//! its rows; what reads them is divided in the same columns. The channels follow from the seed. The
//! head gets its own matrix where the embedding served, since the embedding's columns must stay.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Write as _;

use engine::import::dequantise;
use engine::import::gguf::{Array, Gguf, Value};
use engine::import::gguf_build::{Data, Field, GgufBuilder};
use engine::import::tensor::{Encoding, Tensor};

/// Outliers of a norm, and of the network's inner row.
const NORM_CHANNELS: usize = 4;
const UP_CHANNELS: usize = 8;
/// The builder aligns by the format's default, whatever the source says.
const SKIPPED: &str = "general.alignment";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, out, factor, seed] = arguments.as_slice() else {
        return Err("usage: stress SOURCE.gguf OUT.gguf FACTOR SEED".into());
    };
    let stress = Stress { factor: factor.parse()?, seed: seed.parse()? };
    let bytes = std::fs::read(source)?;
    let gguf = Gguf::parse(&bytes)?;
    let mut file = GgufBuilder::new();
    for (key, value) in gguf.keys().filter(|(key, _)| *key != SKIPPED) {
        put_key(&mut file, key, value)?;
    }
    for tensor in gguf.tensors() {
        stress.put(&mut file, tensor.name, *tensor)?;
    }
    if let (None, Some(embedding)) =
        (gguf.tensor("output.weight"), gguf.tensor("token_embd.weight"))
    {
        stress.put(&mut file, "output.weight", embedding)?;
    }
    let mut out = std::io::BufWriter::new(std::fs::File::create(out)?);
    file.write(&mut |bytes| out.write_all(bytes).map_err(|error| error.to_string()))?;
    out.flush()?;
    Ok(())
}

fn put_key(file: &mut GgufBuilder<'_>, key: &str, value: Value<'_>) -> Result<(), Box<dyn Error>> {
    match value {
        Value::Unsigned(number) => file.key(key, Field::U32(number.try_into()?)),
        Value::Signed(number) => file.key(key, Field::I32(number.try_into()?)),
        Value::Float(number) => file.key(key, Field::F32(number as f32)),
        Value::Bool(flag) => file.key(key, Field::Bool(flag)),
        Value::Text(text) => file.key(key, Field::Text(std::str::from_utf8(text)?)),
        Value::Array(array) => return put_array(file, key, array),
    };
    Ok(())
}

/// An array whose elements have the type of its first one, as the format wants it.
fn put_array(
    file: &mut GgufBuilder<'_>,
    key: &str,
    array: Array<'_>,
) -> Result<(), Box<dyn Error>> {
    let (mut texts, mut numbers, mut floats) = (Vec::new(), Vec::new(), Vec::new());
    for value in array.iter() {
        match value {
            Value::Text(text) => texts.push(text.to_vec()),
            Value::Unsigned(number) => numbers.push(i32::try_from(number)?),
            Value::Signed(number) => numbers.push(i32::try_from(number)?),
            Value::Float(number) => floats.push(number as f32),
            _ => return Err(format!("key {key:?} is an array of another type").into()),
        }
    }
    let field = match (texts.is_empty(), floats.is_empty()) {
        (false, _) => Field::Texts(&texts),
        (_, false) => Field::F32s(&floats),
        _ => Field::I32s(&numbers),
    };
    file.key(key, field);
    Ok(())
}

struct Stress {
    factor: f32,
    seed: u64,
}

/// What a tensor's numbers are multiplied or divided by.
enum Change {
    /// A norm.
    MultiplyColumns,
    /// A matrix that reads a norm or the network's inner row.
    DivideColumns,
}

impl Stress {
    /// Adds a tensor under a name, in F32 and changed as the name asks.
    fn put<'a>(
        &self,
        file: &mut GgufBuilder<'a>,
        name: &str,
        tensor: Tensor<'a>,
    ) -> Result<(), Box<dyn Error>> {
        let factor = self.factor;
        let (columns, change) = self.columns(name, tensor.columns);
        let rows = match name.ends_with("ffn_up.weight") {
            true => self.channels(name, UP_CHANNELS, tensor.rows),
            false => BTreeSet::new(),
        };
        let fill = move |row: usize, out: &mut [u8]| {
            let mut values = vec![0f32; tensor.columns];
            if dequantise::row(&tensor, row, &mut values).is_err() {
                // An importer refuses the result as it would have refused the source.
                values.fill(f32::NAN);
            }
            for &column in &columns {
                match change {
                    Change::MultiplyColumns => values[column] *= factor,
                    Change::DivideColumns => values[column] /= factor,
                }
            }
            if rows.contains(&row) {
                values.iter_mut().for_each(|value| *value *= factor);
            }
            for (out, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(&values) {
                *out = value.to_le_bytes();
            }
        };
        let dimensions = [tensor.columns as u64, tensor.rows as u64];
        let dimensions = if tensor.rows == 1 { &dimensions[..1] } else { &dimensions[..] };
        file.tensor(name, dimensions, Encoding::F32, Data::Rows(Box::new(fill)))?;
        Ok(())
    }

    /// The columns of a tensor that change, and how.
    fn columns(&self, name: &str, columns: usize) -> (BTreeSet<usize>, Change) {
        let (layer, suffix) = match name.rfind('.').and_then(|end| name[..end].rfind('.')) {
            Some(at) => name.split_at(at + 1),
            None => ("", name),
        };
        let (feeder, count, change) = match suffix {
            "attn_norm.weight" | "ffn_norm.weight" | "output_norm.weight" => {
                (suffix, NORM_CHANNELS, Change::MultiplyColumns)
            }
            "attn_q.weight" | "attn_k.weight" | "attn_v.weight" => {
                ("attn_norm.weight", NORM_CHANNELS, Change::DivideColumns)
            }
            "ffn_gate.weight" | "ffn_up.weight" => {
                ("ffn_norm.weight", NORM_CHANNELS, Change::DivideColumns)
            }
            "output.weight" => ("output_norm.weight", NORM_CHANNELS, Change::DivideColumns),
            "ffn_down.weight" => ("ffn_up.weight", UP_CHANNELS, Change::DivideColumns),
            _ => return (BTreeSet::new(), Change::DivideColumns),
        };
        (self.channels(&format!("{layer}{feeder}"), count, columns), change)
    }

    /// Distinct channels of what the named tensor makes, drawn from the seed and the name.
    fn channels(&self, feeder: &str, count: usize, channels: usize) -> BTreeSet<usize> {
        let mut state = feeder.bytes().fold(self.seed, |state, byte| mix(state ^ u64::from(byte)));
        let mut chosen = BTreeSet::new();
        while chosen.len() < count.min(channels) {
            state = mix(state);
            chosen.insert((state % channels as u64) as usize);
        }
        chosen
    }
}

/// The step of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
