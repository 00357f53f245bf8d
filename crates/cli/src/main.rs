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
mod audit;
mod backup;
mod bench;
mod chat;
mod client;
mod context;
mod copies;
mod demo;
mod doctor;
mod draw;
mod explain;
mod hash;
mod key;
mod ledger;
mod log;
mod measure;
mod model;
mod money;
mod network;
mod order;
mod outcome;
mod pages;
mod payments;
mod peers;
mod processes;
mod progress;
mod random;
mod registration;
mod replay;
mod service;
mod store;
mod sync;
mod testnet;
mod traces;
mod up;
mod verify;
mod wallet;
mod work;

use clap::{CommandFactory, FromArgMatches};

use arguments::{Arguments, Command, ConfigCommand, LedgerCommand, PageCommand};
use context::Context;
use outcome::Outcome;

fn main() -> std::process::ExitCode {
    match run(arguments()) {
        Ok(outcome) => outcome.code(),
        Err(error) => {
            eprintln!("mashaa: {error:#}");
            Outcome::of(&error).code()
        }
    }
}

/// Reads the command line.
fn arguments() -> Arguments {
    Arguments::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit())
}

/// The command line. The older names of `mashaa registry` are not shown.
fn command() -> clap::Command {
    let hide = |work: clap::Command, name: &str| work.mut_subcommand(name, |it| it.hide(true));
    Arguments::command().mut_subcommand("work", |work| {
        ["list", "show", "register", "pay", "retire"]
            .iter()
            .fold(work, |work, name| hide(work, name))
    })
}

fn run(arguments: Arguments) -> anyhow::Result<Outcome> {
    // Neither opens a home, which would make one.
    match &arguments.command {
        Some(Command::Page(page)) => return print(page, arguments.json),
        Some(Command::Restore(it)) => {
            return backup::restore(arguments.home.as_deref(), it, arguments.json);
        }
        _ => {}
    }
    let mut context = Context::open(arguments.home.as_deref(), arguments.json)?;
    // Until the command has ended.
    let _sending = log::start(&context.config)?;
    match arguments.command.unwrap_or(Command::Up(Box::default())) {
        Command::Up(up) => {
            context.set_flags(&up.flags())?;
            up::run(&context)
        }
        Command::Page(page) => print(&page, context.json),
        Command::Chat(chat) => {
            context.set_flags(&chat.flags())?;
            chat::run(&context, &chat)
        }
        Command::Model(command) => model::run(&context, command),
        Command::Store(command) => store::run(&context, &command),
        Command::Wallet(command) => wallet::run(&context, command),
        Command::Init(init) => network::init(&context, &init),
        Command::Invite(invite) => peers::invite(&context, &invite),
        Command::Join(join) => {
            context.set_flags(&join.up.flags())?;
            peers::join(&mut context, &join)
        }
        Command::Peers(peers) => peers::run(&context, &peers),
        Command::Ledger(command) => {
            if let LedgerCommand::Run(run) = &command {
                context.set_flags(&run.flags())?;
            }
            ledger::run(&context, &command)
        }
        Command::Send(send) => order::transfer(&context, &send),
        Command::Member(command) => order::member(&context, &command),
        Command::Validator(command) => order::validator(&context, &command),
        Command::Node(command) => registration::run(&context, &command),
        Command::Propose(propose) => order::propose(&context, &propose),
        Command::Vote(vote) => order::vote(&context, &vote),
        Command::Delegate(delegate) => order::delegate(&context, &delegate),
        Command::Registry(command) => order::registry(&context, &command),
        Command::Work(command) => work::run(&context, &command),
        Command::Why(node) => work::why(&context, &node),
        Command::Status(node) => work::status(&context, &node),
        Command::Session(command) => money::session(&context, &command),
        Command::Channel(command) => money::channel(&context, &command),
        Command::Stake(command) => money::stake(&context, &command),
        Command::Earn(arguments) => payments::earn(&context, &arguments),
        Command::Spend(node) => payments::spend(&context, &node),
        Command::Quote(quote) => payments::quote(&context, &quote),
        Command::Credits(command) => money::credits(&context, &command),
        Command::Delay(delay) => order::delay(&context, &delay),
        Command::Testnet(testnet) => testnet::run(&context, &testnet),
        Command::Demo(demo) => demo::run(&context, &demo),
        Command::Backup(it) => backup::make(&context, &it),
        Command::Restore(it) => backup::restore(Some(context.home.path()), &it, context.json),
        Command::Key(command) => key::run(&context, &command),
        Command::Config(ConfigCommand::Show { origin }) => Ok(context.show_config(origin)),
        Command::Doctor => doctor::run(&context),
        Command::Bench(bench) => bench::run(&context, &bench),
        Command::Verify(it) => verify::run(&context, &it),
        Command::Audit(command) => audit::run(&context, &command),
        Command::Hash(hash) => hash::run(&context, &hash),
    }
}

fn print(page: &PageCommand, json: bool) -> anyhow::Result<Outcome> {
    match page {
        PageCommand::Explain(it) => explain::run(it, json),
        PageCommand::Service(it) => service::run(it),
        PageCommand::Completions { shell } => pages::completions(&mut command(), *shell),
        PageCommand::Man(it) => pages::man(command(), it),
    }
}
