//! Replays and light audits as a WebAssembly module, driven from JavaScript.
//!
//! `.ci/wasm` builds it without the standard features of the crate, hands it what a native node has
//! stated, and compares what it finds. Buffers are handed over by address and size.
#![expect(unsafe_code, reason = "the boundary to JavaScript passes addresses and sizes")]

use std::sync::{Arc, OnceLock};

use audit::commitment::prompt_hash;
use audit::light::bytes::{NamedKey, Opened};
use audit::light::{Committed, check};
use audit::replay::{Run, replay};
use engine::batch::{Engine, Options};
use engine::model::Model;
use engine::sampling::{Sampling, Seed};

/// A run as JavaScript reads it from a payload.
struct Asked {
    prompt: Vec<u32>,
    output: Vec<u32>,
    said: usize,
    sampling: Sampling,
}

/// Reserves `size` bytes for JavaScript to fill.
#[unsafe(no_mangle)]
pub extern "C" fn reserve(size: usize) -> *mut u8 {
    Box::leak(vec![0u8; size].into_boxed_slice()).as_mut_ptr()
}

/// A buffer that `reserve` handed out; it stays, so that it is looked at again.
///
/// # Safety
/// The address and size must be those of such a buffer.
unsafe fn look<'a>(address: *const u8, size: usize) -> &'a [u8] {
    // SAFETY: by this function's contract the bytes are there and nobody writes them meanwhile.
    unsafe { std::slice::from_raw_parts(address, size) }
}

/// Hands a text to JavaScript: a 4-byte size, then the bytes.
fn hand_over(text: &str) -> *const u8 {
    let mut out = (text.len() as u32).to_le_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    Box::leak(out.into_boxed_slice()).as_ptr()
}

/// Reads the words of a run: said; prompt and output, each after its length; the seven numbers of
/// sampling; the seed in eight words.
fn read(bytes: &[u8]) -> Option<Asked> {
    let mut words = bytes.as_chunks::<4>().0.iter().map(|it| u32::from_le_bytes(*it));
    let said = words.next()? as usize;
    let mut list = || {
        let count = words.next()?;
        (0..count).map(|_| words.next()).collect::<Option<Vec<u32>>>()
    };
    let (prompt, output) = (list()?, list()?);
    let mut next = || words.next();
    let mut sampling = Sampling {
        temperature: next()?,
        top_k: next()?,
        top_p: next()?,
        min_p: next()?,
        repetition_penalty: next()?,
        presence_penalty: next()? as i32,
        frequency_penalty: next()? as i32,
        ..Sampling::default()
    };
    let mut seed = Vec::with_capacity(32);
    for _ in 0..8 {
        seed.extend_from_slice(&next()?.to_le_bytes());
    }
    sampling.seed = Seed(seed.try_into().ok()?);
    Some(Asked { prompt, output, said, sampling })
}

/// The key of the audits that follow.
static KEY: OnceLock<NamedKey> = OnceLock::new();

/// Reads the key: "right", or why it is none.
///
/// # Safety
/// The buffer must come from `reserve`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hold(address: *const u8, size: usize) -> *const u8 {
    // SAFETY: passed on from the caller.
    let key = NamedKey::decode(unsafe { look(address, size) });
    match key.map(|key| KEY.set(key)) {
        Ok(_) => hand_over("right"),
        Err(error) => hand_over(&format!("key: {error}")),
    }
}

/// Checks an opening so many times: "right", or what is wrong.
///
/// # Safety
/// The buffers must come from `reserve`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn light(
    opening: *const u8,
    opening_size: usize,
    run: *const u8,
    run_size: usize,
    times: u32,
) -> *const u8 {
    // SAFETY: passed on from the caller.
    let [opening, run] = unsafe { [look(opening, opening_size), look(run, run_size)] };
    hand_over(&audited(opening, run, times).unwrap_or_else(|why| why))
}

fn audited(opening: &[u8], run: &[u8], times: u32) -> Result<String, String> {
    let named = KEY.get().ok_or("no key is held")?;
    let opened = Opened::decode(opening).map_err(|error| format!("opening: {error}"))?;
    let it = read(run).ok_or("run: cut short")?;
    let run =
        Run { prompt: &it.prompt, output: &it.output, said: it.said, sampling: &it.sampling };
    let (prompt, root) = (prompt_hash(&it.prompt), &opened.root);
    let place = opened.place.as_ref();
    let committed = place.map(|opening| Committed { prompt: &prompt, root, opening });
    for _ in 0..times {
        check(&named.key, &opened.opening, &run, committed).map_err(|found| found.to_string())?;
    }
    Ok("right".to_owned())
}

/// Computes an answer again: the root in hexadecimal, or the first wrong token.
///
/// # Safety
/// The buffers must come from `reserve`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn replayed(
    artifact: *const u8,
    artifact_size: usize,
    run: *const u8,
    run_size: usize,
) -> *const u8 {
    // SAFETY: passed on from the caller.
    let [artifact, run] = unsafe { [look(artifact, artifact_size), look(run, run_size)] };
    hand_over(&root_of(artifact, run).unwrap_or_else(|why| why))
}

fn root_of(artifact: &[u8], run: &[u8]) -> Result<String, String> {
    let it = read(run).ok_or("run: cut short")?;
    let model = Model::open(Arc::new(artifact.to_vec())).map_err(|error| error.to_string())?;
    let options = Options { kv_size_max: 64 << 20, prefix_cache: false, ..Options::default() };
    let run = Run { prompt: &it.prompt, output: &it.output, said: it.said, sampling: &it.sampling };
    let found = replay(&mut Engine::new(Arc::new(model), options), &run);
    let found = found.map_err(|error| error.to_string())?;
    if let Some(wrong) = found.wrong {
        return Err(format!("token {} is not the one that the rules choose", wrong.index));
    }
    let root = found.leaves.root(&prompt_hash(&it.prompt));
    Ok(root.iter().map(|byte| format!("{byte:02x}")).collect())
}
