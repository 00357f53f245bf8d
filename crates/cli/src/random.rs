//! `mashaa model random`: a GGUF file with random weights.

use std::fs::File;
use std::io::{BufWriter, Write};

use anyhow::{Context as _, anyhow, bail};
use engine::artifact::config::Family;
use engine::import::family::Shape;
use engine::import::gguf_build::random;
use engine::import::tensor::Encoding;
use serde_json::json;

use crate::arguments::{RandomArguments, RandomShape};
use crate::context::Context;
use crate::outcome::Outcome;

/// Encodings that can be written.
const ENCODINGS: [Encoding; 6] =
    [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q4_0, Encoding::Q4_1, Encoding::Q8_0];

/// Writes the file.
pub(crate) fn run(context: &Context, arguments: &RandomArguments) -> anyhow::Result<Outcome> {
    let Some(family) = Family::from_name(&arguments.family) else {
        bail!("{:?} is no family; there are llama, qwen2, qwen3 and gemma3", arguments.family);
    };
    let encoding = ENCODINGS.into_iter().find(|known| known.name() == arguments.encoding);
    let encoding = encoding.with_context(|| {
        let names: Vec<_> = ENCODINGS.iter().map(|known| known.name()).collect();
        format!("{:?} is no encoding to write; there are {}", arguments.encoding, names.join(", "))
    })?;
    let wrong = |what: String| anyhow!(what);
    let model = random::model(&shape(arguments.shape, family), encoding, arguments.seed);
    let model = model.map_err(wrong)?;
    let file =
        File::create(&arguments.file).with_context(|| arguments.file.display().to_string())?;
    let mut file = BufWriter::new(file);
    let mut sink = |bytes: &[u8]| file.write_all(bytes).map_err(|error| error.to_string());
    let size = model.write(&mut sink).map_err(wrong)?;
    file.flush()?;
    if context.json {
        println!("{}", json!({ "bytes": size, "file": arguments.file.display().to_string() }));
    } else {
        println!("{} bytes in {}", size, arguments.file.display());
    }
    Ok(Outcome::Done)
}

/// A shape of the family. The tiny one is not round, so that padding and tails are computed too.
fn shape(shape: RandomShape, family: Family) -> Shape {
    let gemma = family == Family::Gemma3;
    let tiny = Shape {
        family,
        vocabulary: 300,
        layers: 3,
        width: 96,
        hidden: 1_120,
        heads: 6,
        kv_heads: 2,
        head_size: 32,
        context_max: 512,
        epsilon: 1e-5,
        rope_base: 10_000.0,
        rope_factors: Vec::new(),
        rope_linear: 1.0,
        window: if gemma { 21 } else { 0 },
        score_divisor: 32.0,
    };
    match shape {
        RandomShape::Tiny => tiny,
        // The configuration of Llama 3.2 1B, without its rotary scaling.
        RandomShape::Llama1b => Shape {
            vocabulary: 128_256,
            layers: 16,
            width: 2_048,
            hidden: 8_192,
            heads: 32,
            kv_heads: 8,
            head_size: 64,
            context_max: 4_096,
            rope_base: 500_000.0,
            score_divisor: 64.0,
            ..tiny
        },
    }
}
