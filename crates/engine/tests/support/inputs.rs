//! How the bytes of a fuzzer's input become files.
//!
//! Needs `untrusted` beside it.

use crate::untrusted::{import_and_run, import_stored, open_and_run, options};

/// One GGUF file, by each rule of precision in turn: the first byte chooses.
pub(crate) fn gguf(input: &[u8]) {
    if let [choice, bytes @ ..] = input {
        let _ = import_and_run(bytes, &options(usize::from(*choice)));
    }
}

/// A model's four files, each with its size in 4 little-endian bytes before it.
pub(crate) fn stored(mut input: &[u8]) {
    let files = [(); 4].map(|()| {
        let (size, rest) = input.split_first_chunk::<4>().unwrap_or((&[0; 4], input));
        let size = rest.len().min(u32::from_le_bytes(*size) as usize);
        let (file, rest) = rest.split_at(size);
        input = rest;
        file.to_vec()
    });
    let _ = import_stored(&files, &options(input.len()));
}

/// One artifact.
pub(crate) fn artifact(input: &[u8]) {
    open_and_run(input.to_vec());
}
