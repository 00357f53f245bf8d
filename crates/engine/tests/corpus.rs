//! The inputs that fuzzing found worth keeping (`fuzz/`), one of each kind of behaviour: refused or
//! run, in bounded memory.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

#[path = "support/inputs.rs"]
mod inputs;
#[path = "support/kernel_allocator.rs"]
mod kernel_allocator;
#[path = "support/untrusted.rs"]
mod untrusted;

use std::io::Read;

use ruzstd::decoding::StreamingDecoder;

/// Hands every kept input of a target to `check`: each follows its size in 4 little-endian bytes
/// (`fuzz/pack.py`).
fn replay(packed: &[u8], check: impl Fn(&[u8])) {
    let mut bytes = Vec::new();
    StreamingDecoder::new(packed).unwrap().read_to_end(&mut bytes).unwrap();
    let (mut rest, mut count) = (bytes.as_slice(), 0);
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let (input, after) = after.split_at(u32::from_le_bytes(*size) as usize);
        check(input);
        (rest, count) = (after, count + 1);
    }
    assert!(count >= 100, "{count} inputs");
}

#[test]
fn kept_gguf_files_are_refused_or_run() {
    replay(include_bytes!("../../../fixtures/corpus/gguf.zst"), inputs::gguf);
}

#[test]
fn kept_safetensors_files_are_refused_or_run() {
    replay(include_bytes!("../../../fixtures/corpus/safetensors.zst"), inputs::stored);
}

#[test]
fn kept_artifacts_are_refused_or_run() {
    replay(include_bytes!("../../../fixtures/corpus/artifact.zst"), inputs::artifact);
}
