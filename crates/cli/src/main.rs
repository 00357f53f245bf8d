//! The one binary, `mashaa`.
//!
//! Reads the command line, calls the node, and says what happened. Exit codes are listed in
//! `docs/cli.md`.
//!
//! Not here: any rule; this crate only talks to people.

#[macro_use]
mod say;

mod arguments;
mod ask;
mod bench;
mod chat;
mod client;
mod context;
mod doctor;
mod hash;
mod ledger;
mod measure;
mod model;
mod money;
mod network;
mod order;
mod outcome;
mod progress;
mod random;
mod store;
mod sync;
mod testnet;
mod up;
mod wallet;

use clap::Parser;

use arguments::{Arguments, Command, ConfigCommand, LedgerCommand, UpArguments};
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
        Command::Store(command) => store::run(&context, &command),
        Command::Wallet(command) => wallet::run(&context, command),
        Command::Init(init) => network::init(&context, &init),
        Command::Ledger(command) => {
            if let LedgerCommand::Run(run) = &command {
                context.set_flags(&run.flags())?;
            }
            ledger::run(&context, &command)
        }
        Command::Send(send) => order::transfer(&context, &send),
        Command::Member(command) => order::member(&context, &command),
        Command::Validator(command) => order::validator(&context, &command),
        Command::Propose(propose) => order::propose(&context, &propose),
        Command::Vote(vote) => order::vote(&context, &vote),
        Command::Delegate(delegate) => order::delegate(&context, &delegate),
        Command::Work(command) => order::work(&context, &command),
        Command::Session(command) => money::session(&context, &command),
        Command::Channel(command) => money::channel(&context, &command),
        Command::Credits(command) => money::credits(&context, &command),
        Command::Delay(delay) => order::delay(&context, &delay),
        Command::Testnet(testnet) => testnet::run(&context, &testnet),
        Command::Config(ConfigCommand::Show { origin }) => Ok(context.show_config(origin)),
        Command::Doctor => doctor::run(&context),
        Command::Bench(bench) => bench::run(&context, &bench),
        Command::Hash(hash) => hash::run(&context, &hash),
    }
}
