//! The engine as a WebAssembly module: import a model and hash a run, driven from JavaScript.
//!
//! `.ci/wasm` builds it and compares its hashes with the golden ones. All calls are on one thread;
//! buffers are handed over by address and size.
#![expect(unsafe_code, reason = "the boundary to JavaScript passes addresses and sizes")]

use std::sync::Arc;

use engine::batch::{Engine, Options};
use engine::fingerprint::{Fingerprint, standard_prompt, standard_request};
use engine::import::assemble;
use engine::import::gguf::Gguf;
use engine::import::gguf_model;
use engine::model::Model;

/// Reserves `size` bytes for JavaScript to fill.
#[unsafe(no_mangle)]
pub extern "C" fn reserve(size: usize) -> *mut u8 {
    Box::leak(vec![0u8; size].into_boxed_slice()).as_mut_ptr()
}

/// Takes back a buffer that `reserve` or `import` handed out.
///
/// # Safety
/// The address and size must be those of such a buffer, given once.
unsafe fn take(address: *mut u8, size: usize) -> Vec<u8> {
    // SAFETY: by this function's contract the parts are those of a leaked boxed slice.
    unsafe { Vec::from_raw_parts(address, size, size) }
}

/// Hands a text to JavaScript: a 4-byte size, then the bytes.
fn hand_over(bytes: &[u8]) -> *const u8 {
    let mut out = (bytes.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(bytes);
    Box::leak(out.into_boxed_slice()).as_ptr()
}

/// Imports the GGUF file in a buffer: the artifact, or a message that begins with "error".
///
/// # Safety
/// The buffer must come from `reserve`; it is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn import(address: *mut u8, size: usize) -> *const u8 {
    // SAFETY: passed on from the caller.
    let file = unsafe { take(address, size) };
    let mut artifact = Vec::new();
    let options = engine::import::Options::default();
    let made = Gguf::parse(&file).map_err(Into::into).and_then(|gguf| {
        let parts = gguf_model::read(&gguf, &options)?;
        let mut sink = |bytes: &[u8]| {
            artifact.extend_from_slice(bytes);
            Ok(())
        };
        assemble::write(&parts, &options, 1, &mut sink, &mut |_, _| {})
    });
    match made {
        Ok(_) => hand_over(&artifact),
        Err(error) => hand_over(format!("error: {error}").as_bytes()),
    }
}

/// Hashes the standard run of the artifact in a buffer, generating `generate` tokens: the hash and
/// the tokens, or a message that begins with "error".
///
/// # Safety
/// The buffer must come from `reserve`; it is taken.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hash(
    address: *mut u8,
    size: usize,
    prompt: usize,
    generate: u32,
) -> *const u8 {
    // SAFETY: passed on from the caller.
    let artifact = unsafe { take(address, size) };
    let text = run(artifact, prompt, generate).unwrap_or_else(|error| format!("error: {error}"));
    hand_over(text.as_bytes())
}

fn run(artifact: Vec<u8>, prompt: usize, generate: u32) -> Result<String, String> {
    let model = Model::open(Arc::new(artifact)).map_err(|error| error.to_string())?;
    let model = Arc::new(model);
    let mut tokens = standard_prompt(model.vocabulary_size());
    tokens.truncate(prompt);
    let options = Options { kv_size_max: 64 << 20, prefix_cache: false, ..Options::default() };
    let mut engine = Engine::new(model, options);
    let mut fingerprint = Fingerprint::default();
    let request = standard_request(tokens, generate);
    let tokens = fingerprint.drive(&mut engine, request).map_err(|error| error.to_string())?;
    let tokens: Vec<String> = tokens.iter().map(u32::to_string).collect();
    Ok(format!("{}\ntokens {}", fingerprint.finish(), tokens.join(" ")))
}
