//! Answers by honest machines of every instruction set, thread count and company, each audited by
//! another kind of machine.
//!
//! diverse ANSWERS TOKENS [ARTIFACT]
//!
//! Without an artifact it takes a small random model of each family in turn. Fails if one answer is not
//! found to be what it is.
#![expect(clippy::print_stdout, reason = "the outcome is the program's output")]

#[path = "../tests/support/diverse.rs"]
mod diverse;
#[path = "../../engine/tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::sync::Arc;

use diverse::{Machine, Outcome, audited};
use engine::artifact::config::Family;
use engine::artifact::matrix::Bits;
use engine::model::Model;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [answers, tokens, file @ ..] = arguments.as_slice() else {
        return Err("usage: diverse ANSWERS TOKENS [ARTIFACT]".into());
    };
    let (answers, tokens) = (answers.parse::<usize>()?, tokens.parse()?);
    let mut models = Vec::new();
    match file.first() {
        Some(file) => models.push(Arc::new(Model::open(Arc::new(std::fs::read(file)?))?)),
        None => {
            let families = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3];
            let model = |family| support::model(&support::config(family), Bits::Four, 3);
            models.extend(families.map(model));
        }
    }
    let mut total = Outcome::default();
    for (at, model) in models.iter().enumerate() {
        let share = answers / models.len() + usize::from(at < answers % models.len());
        println!("{} layers of {} columns", model.config().layers, model.config().width);
        for (Machine { isa, threads, together }, outcome) in audited(model, share, tokens) {
            let Outcome { answers, tokens, mismatches } = outcome;
            let isa = isa.name();
            println!(
                "{isa}, {threads} threads, {together} at a time: {answers} answers, {tokens} tokens, \
                 {mismatches} mismatches"
            );
            total.answers += answers;
            total.tokens += tokens;
            total.mismatches += mismatches;
        }
    }
    let Outcome { answers, tokens, mismatches } = total;
    println!("all: {answers} answers, {tokens} tokens, {mismatches} mismatches");
    if mismatches == 0 { Ok(()) } else { Err("an honest answer was not found to be one".into()) }
}
