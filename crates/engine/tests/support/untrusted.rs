//! What is done with a file from a stranger, in bounded memory: the tests of bad files and the fuzz
//! targets (`fuzz/`) share it.
//!
//! Needs `kernel_allocator` beside it.

use std::sync::Arc;

use engine::batch::{self, Engine};
use engine::import::assemble::{self, Parts};
use engine::import::gguf::Gguf;
use engine::import::hugging_face::{self, Files};
use engine::import::safetensors::Safetensors;
use engine::import::{ImportError, Options, Precision, gguf_model};
use engine::kernels::Isa;
use engine::model::Model;
use engine::request::Request;
use engine::sampling::Sampling;
use engine::trace::Observer;

use crate::kernel_allocator::{Counting, NOW, PEAK};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs `work` and checks that it never held more than the file's size justifies.
pub(crate) fn bounded<T>(size: usize, work: impl FnOnce() -> T) -> T {
    let before = NOW.get();
    PEAK.set(before);
    let result = work();
    let peak = PEAK.get() - before;
    // A value of JSON takes 72 bytes where objects keep their order, and a list makes room for four:
    // of `[[0]],` each byte takes 120.
    assert!(peak < 128 * size + (1 << 20), "{peak} bytes allocated for a file of {size}");
    result
}

pub(crate) fn options(index: usize) -> Options {
    let precision = [Precision::BySource, Precision::AllEight, Precision::AllFour][index % 3];
    Options { precision, ..Options::default() }
}

/// Imports a GGUF file in bounded memory, without keeping the artifact.
pub(crate) fn import(bytes: &[u8], options: &Options) -> Result<(), ImportError> {
    bounded(bytes.len(), || {
        let gguf = Gguf::parse(bytes)?;
        let parts = gguf_model::read(&gguf, options)?;
        assemble::write(&parts, options, 1, &mut |_| Ok(()), &mut |_, _| {}).map(|_| ())
    })
}

pub(crate) fn write(parts: &Parts<'_>, options: &Options) -> Result<Vec<u8>, ImportError> {
    let mut out = Vec::new();
    let mut sink = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    assemble::write(parts, options, 1, &mut sink, &mut |_, _| {})?;
    Ok(out)
}

/// Imports a file that may be broken; what is accepted must open, hold its limits, and run.
pub(crate) fn import_and_run(bytes: &[u8], options: &Options) -> Result<(), ImportError> {
    import(bytes, options)?;
    let gguf = Gguf::parse(bytes)?;
    write_and_run(&gguf_model::read(&gguf, options)?, options)
}

pub(crate) fn write_and_run(parts: &Parts<'_>, options: &Options) -> Result<(), ImportError> {
    let model = Model::open(Arc::new(write(parts, options)?)).unwrap();
    model.validate().unwrap();
    run(Arc::new(model));
    Ok(())
}

/// The same for a model's files of the other format: weights, configuration, vocabulary and its settings.
pub(crate) fn import_stored(files: &[Vec<u8>; 4], options: &Options) -> Result<(), ImportError> {
    let [weights, config, tokenizer, tokenizer_config] = files;
    let weights = [bounded(weights.len(), || Safetensors::parse(weights))?];
    let size = files.iter().map(Vec::len).sum();
    let files = Files {
        config,
        tokenizer,
        tokenizer_config: Some(tokenizer_config),
        generation_config: None,
        pooling: None,
        chat_template: None,
        weights: &weights,
    };
    let parts = bounded(size, || hugging_face::read(&files, options))?;
    write_and_run(&parts, options)
}

/// One token from a short prompt.
pub(crate) fn run(model: Arc<Model>) {
    let last = model.config().vocabulary as u32 - 1;
    let kernels =
        batch::Options { isa: Isa::best(), threads: 1, kv_size_max: 0, ..Default::default() };
    let mut engine = Engine::new(model, kernels);
    let request = Request {
        prompt: vec![0, last],
        said: vec![last],
        sampling: Sampling::default(),
        tokens_max: 2,
        end_tokens: Vec::new(),
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    };
    if engine.submit(request).is_ok() {
        (0..8).for_each(|_| drop(engine.step(&mut Observer::none())));
    }
}

/// An artifact opens and holds its limits and runs, or is refused.
pub(crate) fn open_and_run(bytes: Vec<u8>) -> bool {
    let size = bytes.len();
    let shared = Arc::new(bytes);
    let Ok(model) = bounded(size, || Model::open(shared)) else { return false };
    // A model whose weights break their limits is never run.
    let is_valid = bounded(size, || model.validate()).is_ok();
    if is_valid {
        run(Arc::new(model));
    }
    is_valid
}
