//! Hashes the standard run of an artifact's file: the engine alone, for machines without the program.
//!
//! fingerprint ARTIFACT PROMPT_TOKENS GENERATE ISA
#![expect(clippy::print_stdout, reason = "the hash is the program's output")]

use std::sync::Arc;

use engine::batch::{Engine, Options};
use engine::fingerprint::{Fingerprint, standard_prompt, standard_request};
use engine::kernels::Isa;
use engine::model::Model;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [artifact, prompt, generate, isa] = arguments.as_slice() else {
        return Err("usage: fingerprint ARTIFACT PROMPT_TOKENS GENERATE ISA".into());
    };
    let model = Arc::new(Model::open(Arc::new(std::fs::read(artifact)?))?);
    model.validate()?;
    let mut tokens = standard_prompt(model.vocabulary_size());
    tokens.truncate(prompt.parse()?);
    let isa = Isa::ALL.into_iter().find(|known| known.name() == isa && known.is_available());
    let isa = isa.ok_or("this machine has no such instruction set")?;
    let options = Options { isa, threads: 2, ..Options::default() };
    let mut engine = Engine::new(model, options);
    let mut fingerprint = Fingerprint::default();
    let tokens = fingerprint.drive(&mut engine, standard_request(tokens, generate.parse()?))?;
    let tokens: Vec<String> = tokens.iter().map(u32::to_string).collect();
    println!("{}\ntokens {}", fingerprint.finish(), tokens.join(" "));
    Ok(())
}
