//! Files from strangers: whatever their bytes, they are refused or read, in bounded memory.
//!
//! Not here: what sound files mean (`import`'s own tests).

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

#[path = "support/files.rs"]
mod files;
#[path = "support/kernel_allocator.rs"]
mod kernel_allocator;
mod support;
#[path = "support/untrusted.rs"]
mod untrusted;

use std::sync::Arc;

use engine::artifact::config::{Config, Family};
use engine::artifact::matrix::Bits;
use engine::import::family::Shape;
use engine::import::gguf::{Gguf, GgufError};
use engine::import::gguf_build::{Data, Field, GgufBuilder, random};
use engine::import::safetensors::Safetensors;
use engine::import::tensor::Encoding;
use engine::import::{ImportError, Options, gguf_model};
use engine::model::Model;
use engine::texts::Texts;
use files::{FAMILIES, Stored, gguf, safetensors, shape, stored};
use support::Random;
use untrusted::{
    bounded, import, import_and_run, import_stored, open_and_run, options, run, write,
};

fn refusal(bytes: &[u8]) -> ImportError {
    import(bytes, &Options::default()).expect_err("a broken file is refused")
}

#[test]
fn a_sound_model_of_every_family_and_encoding_is_imported_and_runs() {
    let small = [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::Q4_0, Encoding::Q4_1];
    let more = [Encoding::Q5_0, Encoding::Q5_1, Encoding::Q8_0];
    for family in FAMILIES {
        for encoding in small.into_iter().chain(more) {
            for index in 0..3 {
                import_and_run(&gguf(family, encoding), &options(index)).unwrap();
            }
        }
    }
    let wide = Shape { width: 256, hidden: 256, head_size: 128, ..shape(Family::Llama) };
    for encoding in [Encoding::Q4K, Encoding::Q5K, Encoding::Q6K] {
        let bytes = random::model(&wide, encoding, 1).unwrap().to_bytes().unwrap();
        (0..3).for_each(|index| import_and_run(&bytes, &options(index)).unwrap());
    }
}

#[test]
fn columns_that_fill_no_block_are_imported() {
    let shape = Shape { width: 70, hidden: 33, ..shape(Family::Qwen3) };
    for encoding in [Encoding::F32, Encoding::F16, Encoding::Bf16] {
        let bytes = random::model(&shape, encoding, 1).unwrap().to_bytes().unwrap();
        (0..3).for_each(|index| import_and_run(&bytes, &options(index)).unwrap());
    }
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let bytes = gguf(Family::Gemma3, Encoding::F32);
    let header = header_size(Family::Gemma3, Encoding::F32);
    let cuts = (0..bytes.len()).step_by(4_096).chain(0..header).chain([bytes.len() - 33]);
    for cut in cuts {
        let error = refusal(&bytes[..cut]);
        let message = error.to_string();
        let names_place = message.contains("byte") || cut < 4;
        assert!(names_place, "cut at {cut}: {message}");
    }
}

fn header_size(family: Family, encoding: Encoding) -> usize {
    random::model(&shape(family), encoding, 1).unwrap().header().len()
}

#[test]
fn a_header_with_any_byte_changed_is_refused_or_read() {
    let mut random = Random(11);
    for (index, family) in FAMILIES.into_iter().enumerate() {
        let mut bytes = gguf(family, Encoding::Q8_0);
        for at in 0..header_size(family, Encoding::Q8_0) {
            let sound = bytes[at];
            let flips = (0..8).step_by(2).map(|bit| sound ^ 1 << (bit + at % 2));
            let flips = flips.chain([0, 255, random.next() as u8]);
            for byte in flips {
                bytes[at] = byte;
                let _ = import(&bytes, &options(index));
            }
            bytes[at] = sound;
        }
    }
}

#[test]
fn every_value_of_the_first_bytes_is_refused_or_read() {
    let mut bytes = gguf(Family::Llama, Encoding::Q8_0);
    for at in 0..64 {
        let sound = bytes[at];
        for byte in (0..=255).filter(|&byte| byte != sound) {
            bytes[at] = byte;
            let accepted = import(&bytes, &Options::default()).is_ok();
            // Only the version's two known values and a key's own text leave a whole file.
            assert!(!accepted || at == 4 || at >= 32, "byte {at} as {byte}");
        }
        bytes[at] = sound;
    }
}

/// A file with one tensor, whose description can be changed afterwards.
fn one_tensor() -> (Vec<u8>, usize) {
    let mut builder = GgufBuilder::new();
    let data = Data::Bytes(vec![0; 64 * 4]);
    builder.tensor("t", &[16, 4], Encoding::F32, data).unwrap();
    // Header 24, name 8 + 1, then the count of dimensions.
    (builder.to_bytes().unwrap(), 33)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

#[test]
fn counts_and_places_beyond_the_file_are_refused_by_name() {
    let (sound, dimensions) = one_tensor();
    assert_eq!(Gguf::parse(&sound).unwrap().tensors().count(), 1);
    let places = [
        (8, "the count of tensors at byte 8"),
        (16, "the count of keys at byte 16"),
        (24, "a tensor's name at byte 24"),
        (dimensions + 4, "tensor \"t\""),
        (dimensions + 12, "tensor \"t\""),
        (dimensions + 24, "tensor \"t\""),
    ];
    for huge in [1 << 32, 1 << 63, u64::MAX, u64::MAX - 31, (1 << 32) - 1, 1 << 62] {
        for (at, name) in places {
            let mut bytes = sound.clone();
            put(&mut bytes, at, &huge.to_le_bytes());
            let error = bounded(bytes.len(), || Gguf::parse(&bytes).unwrap_err());
            assert!(error.to_string().contains(name), "{huge} at {at}: {error}");
        }
    }
}

#[test]
fn a_dimension_of_zero_or_too_many_dimensions_are_refused() {
    let (sound, at) = one_tensor();
    for (at, value) in [(at + 4, 0u64), (at + 12, 0)] {
        let mut bytes = sound.clone();
        put(&mut bytes, at, &value.to_le_bytes());
        let error = Gguf::parse(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "tensor \"t\" has a dimension of 0 at byte 24");
    }
    for count in [0u32, 5, u32::MAX] {
        let mut bytes = sound.clone();
        put(&mut bytes, at, &count.to_le_bytes());
        let error = Gguf::parse(&bytes).unwrap_err();
        assert!(error.to_string().contains("dimensions"), "{error}");
    }
}

#[test]
fn unknown_encodings_are_refused_by_name() {
    let (sound, at) = one_tensor();
    for (number, name) in
        [(10u32, "Q2_K"), (39, "MXFP4"), (4, "type number 4"), (u32::MAX, "4294967295")]
    {
        let mut bytes = sound.clone();
        put(&mut bytes, at + 20, &number.to_le_bytes());
        let error = Gguf::parse(&bytes).unwrap_err();
        assert!(matches!(error, GgufError::Encoding { .. }), "{error}");
        assert!(error.to_string().contains(name) && error.to_string().contains("\"t\""), "{error}");
    }
}

#[test]
fn tensors_that_overlap_or_leave_the_file_are_refused() {
    let mut builder = GgufBuilder::new();
    for name in ["a", "b"] {
        builder.tensor(name, &[16], Encoding::F32, Data::Bytes(vec![0; 64])).unwrap();
    }
    let sound = builder.to_bytes().unwrap();
    // Header 24, then 9 + 4 + 8 + 4 + 8 bytes a tensor; the offset is the last 8.
    let second = 24 + 33 + 25;
    for (offset, what) in [
        (0u64, "overlaps tensor"),
        (32, "overlaps tensor"),
        (96, "the file has"),
        (128, "the file has"),
        (1, "is not aligned"),
        (!31, "the file has"),
    ] {
        let mut bytes = sound.clone();
        put(&mut bytes, second, &offset.to_le_bytes());
        let error = Gguf::parse(&bytes).unwrap_err().to_string();
        assert!(error.contains(what), "{offset}: {error}");
    }
}

#[test]
fn keys_and_tensors_that_stand_twice_are_refused() {
    let mut builder = GgufBuilder::new();
    builder.key("k", Field::U32(1)).key("k", Field::U32(2));
    let error = Gguf::parse(&builder.to_bytes().unwrap()).unwrap_err();
    assert!(error.to_string().contains("\"k\" stands twice"), "{error}");
    let mut builder = GgufBuilder::new();
    for _ in 0..2 {
        builder.tensor("t", &[8], Encoding::F32, Data::Bytes(vec![0; 32])).unwrap();
    }
    let error = Gguf::parse(&builder.to_bytes().unwrap()).unwrap_err();
    assert!(error.to_string().contains("\"t\" stands twice"), "{error}");
}

#[test]
fn arrays_that_claim_more_than_the_file_are_refused() {
    for (count, kind) in
        [(1u64 << 32, 8u32), (1 << 63, 8), (1 << 63, 6), (1 << 61, 12), (1, 77), (1, 9)]
    {
        let mut builder = GgufBuilder::new();
        builder.key("k", Field::F32s(&[1.0; 4]));
        let mut bytes = builder.to_bytes().unwrap();
        // Header 24, key 9, type 4.
        put(&mut bytes, 37, &kind.to_le_bytes());
        put(&mut bytes, 41, &count.to_le_bytes());
        let error = bounded(bytes.len(), || Gguf::parse(&bytes).unwrap_err());
        assert!(
            error.to_string().contains("\"k\"") || error.to_string().contains("inside k"),
            "{error}"
        );
    }
}

#[test]
fn scales_that_are_no_numbers_are_refused_by_tensor_and_row() {
    let bad16 = [0x7c00u16, 0xfc00, 0x7e00].map(|bits| bits.to_le_bytes().to_vec());
    let bad32 =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|value| value.to_le_bytes().to_vec());
    let wide = Shape { width: 256, hidden: 256, head_size: 128, ..shape(Family::Llama) };
    // Where a block has its scales.
    for (encoding, places) in [
        (Encoding::F32, &[0usize][..]),
        (Encoding::F16, &[0]),
        (Encoding::Q4_0, &[0]),
        (Encoding::Q4_1, &[0, 2]),
        (Encoding::Q5_0, &[0]),
        (Encoding::Q5_1, &[0, 2]),
        (Encoding::Q8_0, &[0]),
        (Encoding::Q4K, &[0, 2]),
        (Encoding::Q5K, &[0, 2]),
        (Encoding::Q6K, &[208]),
    ] {
        let sound = random::model(&wide, encoding, 1).unwrap().to_bytes().unwrap();
        let tensor = Gguf::parse(&sound).unwrap().tensor("blk.0.ffn_up.weight").unwrap();
        let base = tensor.data.as_ptr() as usize - sound.as_ptr() as usize;
        let row = 77;
        let start = base + row * encoding.row_size(256).unwrap();
        let bad = if encoding == Encoding::F32 { &bad32 } else { &bad16 };
        for (place, bad) in places.iter().flat_map(|place| bad.iter().map(move |bad| (place, bad)))
        {
            let mut bytes = sound.clone();
            put(&mut bytes, start + place, bad);
            let tensor = "blk.0.ffn_up.weight".to_owned();
            assert_eq!(refusal(&bytes), ImportError::NotFinite { tensor, row }, "{encoding:?}");
        }
    }
}

#[test]
fn numbers_too_large_for_the_format_are_refused_or_kept_within_limits() {
    for value in [3.0e38f32, -3.4e38, 1.0e30, 1.0e20, 1.0e-38, 1.0e-45, 0.0] {
        for name in ["blk.0.ffn_up.weight", "output_norm.weight", "blk.0.attn_q.bias"] {
            let mut bytes = gguf(Family::Qwen2, Encoding::F32);
            let tensor = Gguf::parse(&bytes).unwrap().tensor(name).unwrap();
            let at = tensor.data.as_ptr() as usize - bytes.as_ptr() as usize;
            let size = tensor.data.len();
            bytes[at..at + size]
                .chunks_exact_mut(8)
                .for_each(|pair| put(pair, 0, &value.to_le_bytes()));
            for index in 0..3 {
                if let Err(error) = import_and_run(&bytes, &options(index)) {
                    assert!(error.to_string().contains(name), "{value:e}: {error}");
                }
            }
        }
    }
}

#[test]
fn a_vocabulary_of_none_or_of_a_billion_is_refused() {
    let sound = gguf(Family::Llama, Encoding::Q8_0);
    let key = b"tokenizer.ggml.tokens";
    let at = sound.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 8;
    for count in [0u64, 39, 1_000_000_000, 1 << 32, 1 << 63] {
        let mut bytes = sound.clone();
        put(&mut bytes, at, &count.to_le_bytes());
        refusal(&bytes);
    }
    let mut builder = GgufBuilder::new();
    builder.key("general.architecture", Field::Text("llama"));
    builder.key("tokenizer.ggml.tokens", Field::Texts(&[]));
    refusal(&builder.to_bytes().unwrap());
}

#[test]
fn more_tokens_than_rows_of_the_embedding_are_refused() {
    let mut bytes = gguf(Family::Llama, Encoding::Q8_0);
    let name = b"token_embd.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    // After the name: the count of dimensions, the columns, the rows.
    put(&mut bytes, at + 12, &39u64.to_le_bytes());
    let error = refusal(&bytes);
    assert!(matches!(&error, ImportError::Config(what) if what.contains("40 tokens")), "{error}");
}

#[test]
fn mutated_gguf_files_are_refused_or_run() {
    for seed in 0..1_500u64 {
        let mut random = Random(seed);
        let family = FAMILIES[seed as usize % 4];
        let encodings =
            [Encoding::Q8_0, Encoding::F32, Encoding::Q4_0, Encoding::F16, Encoding::Q4_1];
        let encoding = encodings[seed as usize % 5];
        let mut bytes = gguf(family, encoding);
        let header = header_size(family, encoding);
        for _ in 0..random.within(1, 4) {
            mutate(&mut bytes, header, &mut random);
        }
        let _ = import_and_run(&bytes, &options(seed as usize));
    }
}

#[test]
fn mutated_safetensors_and_json_files_are_refused_or_run() {
    let sound = FAMILIES.map(|family| {
        let Stored { config, tokenizer, tokenizer_config, tensors } = stored(family);
        let [config, tokenizer, tokenizer_config] =
            [config, tokenizer, tokenizer_config].map(|value| value.to_string().into_bytes());
        [safetensors(&tensors), config, tokenizer, tokenizer_config]
    });
    for (index, files) in sound.iter().enumerate() {
        import_stored(files, &options(index)).unwrap();
    }
    for seed in 0..3_000u64 {
        let mut random = Random(seed);
        let mut files = sound[seed as usize % 4].clone();
        let file = &mut files[seed as usize / 4 % 4];
        for _ in 0..random.within(1, 3) {
            match random.within(0, 1) {
                0 => mutate(file, 2_000, &mut random),
                _ => mutate_text(file, 2_000, &mut random),
            }
        }
        let _ = import_stored(&files, &options(seed as usize));
    }
}

/// One change that leaves most JSON sound: a digit, or a value put in the place of another.
fn mutate_text(bytes: &mut Vec<u8>, end: usize, random: &mut Random) {
    let end = end.min(bytes.len());
    let digits: Vec<usize> = (8..end).filter(|&at| bytes[at].is_ascii_digit()).collect();
    if digits.is_empty() {
        return;
    }
    let at = digits[random.next() as usize % digits.len()];
    let values =
        ["0", "-1", "1e400", "4294967296", "9223372036854775808", "null", "[]", "0.5", "\"\""];
    match random.within(0, 2) {
        0 => bytes[at] = b'0' + random.within(0, 9) as u8,
        1 => drop(bytes.splice(at..at + 1, *b"12")),
        _ => {
            let value = values[random.next() as usize % values.len()];
            drop(bytes.splice(at..at + 1, value.bytes()));
        }
    }
}

#[test]
fn json_that_grows_in_memory_stays_within_bounds() {
    for piece in ["[],", "{},", "\"\",", "0,", "[[0]],", "{\"\":0},"] {
        let many = piece.repeat(100_000);
        let json = format!("[{}0]", many);
        let header = format!("{{\"a\":{json}}}");
        let size = header.len();
        let bytes = files::file(&header, &[]);
        bounded(size, || Safetensors::parse(&bytes).unwrap_err());
        let header = header.into_bytes();
        let mut files = [safetensors(&[]), header.clone(), header.clone(), header];
        import_stored(&files, &Options::default()).unwrap_err();
        let Stored { config, tensors, .. } = stored(Family::Llama);
        files[0] = safetensors(&tensors);
        files[1] = config.to_string().into_bytes();
        import_stored(&files, &Options::default()).unwrap_err();
    }
}

/// One change: a byte, a word, a piece removed, doubled or moved; mostly in the header.
fn mutate(bytes: &mut Vec<u8>, header: usize, random: &mut Random) {
    let end = if random.within(0, 3) == 0 { bytes.len() } else { header.min(bytes.len()) };
    let end = end as i64;
    if end < 32 {
        return;
    }
    let at = random.within(0, end - 9) as usize;
    let (from, size) = (random.within(0, end - 1) as usize, random.within(1, 40) as usize);
    let piece = bytes[from..(from + size).min(bytes.len())].to_vec();
    match random.within(0, 6) {
        0 => bytes[at] = random.next() as u8,
        1 => bytes[at] ^= 1 << random.within(0, 7),
        2 => put(bytes, at, &(random.within(-2, 70) as u64).to_le_bytes()),
        3 => put(bytes, at, &(1u64 << random.within(0, 63)).to_le_bytes()),
        4 => drop(bytes.drain(at..(at + size).min(bytes.len()))),
        5 => drop(bytes.splice(at..at, piece)),
        _ => {
            let room = piece.len().min(bytes.len() - at);
            put(bytes, at, &piece[..room]);
        }
    }
}

fn small_config(family: Family) -> Config {
    let mut config = support::config(family);
    (config.layers, config.vocabulary, config.context_max) = (1, 40, 64);
    (config.width, config.hidden, config.heads, config.kv_heads) = (32, 64, 2, 1);
    config
}

fn small_artifact(family: Family, bits: Bits) -> Vec<u8> {
    support::artifact(&small_config(family), bits, 1)
}

#[test]
fn an_artifact_cut_short_is_refused() {
    let bytes = small_artifact(Family::Gemma3, Bits::Four);
    for cut in (0..2_048).chain((0..bytes.len()).step_by(512)).chain([bytes.len() - 1]) {
        assert!(Model::open(Arc::new(bytes[..cut].to_vec())).is_err(), "cut at {cut}");
    }
}

#[test]
fn an_artifact_with_a_header_or_table_byte_changed_is_refused_or_runs() {
    let bytes = small_artifact(Family::Qwen2, Bits::Four);
    run(support::model(&small_config(Family::Qwen2), Bits::Four, 1));
    let count = u32::from_le_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]) as usize;
    let mut random = Random(5);
    for at in 0..64 + count * 32 {
        let flips = (0..8).map(|bit| 1 << bit).chain([255, random.within(1, 255) as u8]);
        for flip in flips {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            open_and_run(bytes);
        }
    }
}

#[test]
fn mutated_artifacts_are_refused_or_run() {
    for seed in 0..2_000u64 {
        let mut random = Random(seed);
        let bits = [Bits::Four, Bits::Eight][seed as usize / 4 % 2];
        let mut bytes = small_artifact(FAMILIES[seed as usize % 4], bits);
        let size = bytes.len();
        for _ in 0..random.within(1, 3) {
            // The header and the small sections after it, with the configuration.
            mutate(&mut bytes, 2_048, &mut random);
        }
        if random.within(0, 1) == 0 {
            // The size would give away most changes; repair it.
            bytes.resize(size, 0);
        }
        open_and_run(bytes);
    }
}

#[test]
fn the_first_part_of_an_artifact_is_enough_for_its_texts_and_less_is_refused() {
    let source = gguf(Family::Gemma3, Encoding::F32);
    let source = Gguf::parse(&source).unwrap();
    let options = Options::default();
    let artifact = write(&gguf_model::read(&source, &options).unwrap(), &options).unwrap();
    let whole = artifact.len() as u64;
    let model = Model::open(Arc::new(artifact.clone())).unwrap();
    let size = Texts::size_of(&artifact, whole).unwrap();
    assert!(size < artifact.len(), "{size} of {whole} bytes");
    let texts = Texts::open(artifact[..size].to_vec(), whole).unwrap();
    assert_eq!(texts.strings(), model.strings());
    assert_eq!(texts.config(), model.config());
    assert_eq!(texts.vocabulary().len(), model.vocabulary_size());
    for cut in (0..size).step_by(13) {
        let first = artifact[..cut].to_vec();
        // Once the section table is there, it says how much is needed.
        assert!(Texts::size_of(&first, whole).map_or(true, |it| it == size), "{cut} bytes");
        assert!(Texts::open(first, whole).is_err(), "{cut} bytes");
    }
    for other in [0, whole - 1, whole + 1, u64::MAX] {
        assert!(Texts::open(artifact[..size].to_vec(), other).is_err(), "of {other} bytes");
    }
}
