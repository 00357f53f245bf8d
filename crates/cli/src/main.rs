//! The one binary, `mashaa`.
//!
//! Reads the command line, calls the node, and says what happened. Exit codes are listed in
//! `docs/cli.md`.
//!
//! Not here: any rule; this crate only talks to people.

#[macro_use]
mod say;

mod arguments;
mod bench;
mod chat;
mod context;
mod doctor;
mod hash;
mod measure;
mod model;
mod outcome;
mod progress;
mod random;
mod up;

use clap::Parser;

use arguments::{Arguments, Command, ConfigCommand, UpArguments};
use context::Context;
use outcome::Outcome;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(outcome) => outcome.code(),
        Err(error) => {
            eprintln!("mashaa: {error:#}");
            Outcome::of(&error).code()
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    let mut context = Context::open(arguments.home.as_deref(), arguments.json)?;
    match arguments.command.unwrap_or(Command::Up(UpArguments::default())) {
        Command::Up(up) => {
            context.set_flags(&up.flags())?;
            up::run(&context)
        }
        Command::Chat(chat) => {
            context.set_flags(&chat.flags())?;
            chat::run(&context, &chat)
        }
        Command::Model(command) => model::run(&context, command),
        Command::Config(ConfigCommand::Show { origin }) => Ok(context.show_config(origin)),
        Command::Doctor => doctor::run(&context),
        Command::Bench(bench) => bench::run(&context, &bench),
        Command::Hash(hash) => hash::run(&context, &hash),
    }
}
