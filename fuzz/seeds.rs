//! Writes sound small models of each family and encoding into a corpus folder, for fuzzing to start
//! from: `seeds FOLDER`.

#[path = "../crates/engine/tests/support/files.rs"]
mod files;
#[path = "../crates/engine/tests/support/mod.rs"]
mod support;

use std::path::Path;

use engine::artifact::matrix::Bits;
use engine::import::tensor::Encoding;
use files::{FAMILIES, Stored, gguf, safetensors, stored};

fn main() {
    let folder = std::env::args().nth(1).expect("the corpus folder");
    let keep = |target: &str, name: String, bytes: Vec<u8>| {
        let target = Path::new(&folder).join(target);
        std::fs::create_dir_all(&target).expect("a folder to write to");
        std::fs::write(target.join(name), bytes).expect("a file to write to");
    };
    for family in FAMILIES {
        for encoding in [Encoding::F32, Encoding::Bf16, Encoding::Q8_0, Encoding::Q4_1] {
            let bytes = [&[0], gguf(family, encoding).as_slice()].concat();
            keep("gguf", format!("seed-{family:?}-{encoding:?}"), bytes);
        }
        let Stored { config, tokenizer, tokenizer_config, tensors } = stored(family);
        let mut input = Vec::new();
        let texts = [config, tokenizer, tokenizer_config].map(|text| text.to_string().into_bytes());
        for file in [safetensors(&tensors)].iter().chain(&texts) {
            input.extend((file.len() as u32).to_le_bytes());
            input.extend(file);
        }
        keep("safetensors", format!("seed-{family:?}"), input);
        for bits in [Bits::Four, Bits::Eight] {
            let mut config = support::config(family);
            (config.layers, config.vocabulary, config.context_max) = (1, 40, 64);
            (config.width, config.hidden, config.heads, config.kv_heads) = (32, 64, 2, 1);
            keep("artifact", format!("seed-{family:?}-{bits:?}"), support::artifact(&config, bits, 1));
        }
    }
}
