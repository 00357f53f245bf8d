//! `mashaa ledger`: what anyone may see, and check without trusting the node that shows it.
//!
//! Not here: orders (`order`), running a ledger (`network`), and computing one again (`replay`).

use std::path::Path;

use anyhow::Context as _;
use chain::proof::OrderProof;
use node::ledger::unhex;
use serde_json::{Value, json};
use types::codec::decode;
use types::id::{Address, Hash};
use wallet::wallets::{MAIN, Wallets};

use crate::arguments::{LedgerCommand, NodeFlag};
use crate::client::{Client, text};
use crate::context::Context;
use crate::network;
use crate::outcome::{Outcome, Problem};
use crate::replay;
use crate::sync;

/// Bytes of a proof's file, at most.
const PROOF_SIZE_MAX: u64 = 1 << 20;

/// Runs a `ledger` command.
pub(crate) fn run(context: &Context, command: &LedgerCommand) -> anyhow::Result<Outcome> {
    match command {
        LedgerCommand::Run(_) => network::run(context),
        LedgerCommand::Key => network::show_key(context),
        LedgerCommand::Status(node) => show(context, node, "/ledger"),
        LedgerCommand::Blocks { node, before, limit } => {
            let before = before.map_or(String::new(), |before| format!("&before={before}"));
            list(context, node, "blocks", &format!("/ledger/blocks?limit={limit}{before}"))
        }
        LedgerCommand::Block { node, height } => {
            show(context, node, &format!("/ledger/blocks/{height}"))
        }
        LedgerCommand::Order { node, id } => show(context, node, &format!("/ledger/orders/{id}")),
        LedgerCommand::Account { node, address } => {
            let address = own_or(context, address.as_deref())?;
            show(context, node, &format!("/ledger/accounts/{address}"))
        }
        LedgerCommand::Accounts { node, after } => {
            list_after(context, node, "accounts", after.as_deref())
        }
        LedgerCommand::Validators(node) => list(context, node, "validators", "/ledger/validators"),
        LedgerCommand::Parameters(node) => list(context, node, "parameters", "/ledger/parameters"),
        LedgerCommand::Proposals { node, number: None, before, .. } => {
            let before = before.map_or(String::new(), |before| format!("?before={before}"));
            list(context, node, "proposals", &format!("/ledger/proposals{before}"))
        }
        LedgerCommand::Proposals { node, number: Some(number), dry_run, .. } => {
            let what = if *dry_run { "/dry-run" } else { "" };
            show(context, node, &format!("/ledger/proposals/{number}{what}"))
        }
        LedgerCommand::Batches { node, number: Some(number), .. } => {
            show(context, node, &format!("/ledger/batches/{number}"))
        }
        LedgerCommand::Batches { node, after, .. } => {
            list_after(context, node, "batches", after.as_deref())
        }
        LedgerCommand::Audits { node, after } => {
            list_after(context, node, "audits", after.as_deref())
        }
        LedgerCommand::Prove { node, id, to } => prove(context, node, id, to.as_deref()),
        LedgerCommand::Check { proof, header } => check(context, proof, header),
        LedgerCommand::Sync { from, header } => sync::run(context, from, header),
        LedgerCommand::Replay(it) => replay::replay(context, it),
        LedgerCommand::Recount { node, number } => replay::recount(context, node, *number),
    }
}

/// An account that was named, or the one of this home's own wallet.
pub(crate) fn own_or(context: &Context, address: Option<&str>) -> anyhow::Result<Address> {
    match address {
        Some(address) => Ok(network::address("the account", address)?),
        None => {
            let entry = Wallets::of(context.home.wallets()).entry(MAIN)?;
            entry.address.context("the wallet `main` does not say its address")
        }
    }
}

/// Prints what a path shows.
pub(crate) fn show(context: &Context, node: &NodeFlag, path: &str) -> anyhow::Result<Outcome> {
    let value = Client::of(context, node).get(path)?;
    match context.json {
        true => println!("{value}"),
        false => fields(&value, 0),
    }
    Ok(Outcome::Done)
}

/// Prints the page of a list that begins after an entry.
pub(crate) fn list_after(
    context: &Context,
    node: &NodeFlag,
    name: &str,
    after: Option<&str>,
) -> anyhow::Result<Outcome> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let after = match after {
        Some(after) if !after.chars().all(plain) => {
            let what = format!("--after {after:?} names no entry of such a list");
            return Err(Problem::Usage(what).into());
        }
        Some(after) => format!("?after={after}"),
        None => String::new(),
    };
    list(context, node, name, &format!("/ledger/{name}{after}"))
}

/// Prints a page of a list, an entry a line.
pub(crate) fn list(
    context: &Context,
    node: &NodeFlag,
    name: &str,
    path: &str,
) -> anyhow::Result<Outcome> {
    let value = Client::of(context, node).get(path)?;
    if context.json {
        println!("{value}");
        return Ok(Outcome::Done);
    }
    for entry in value[name].as_array().into_iter().flatten() {
        let words = entry.as_object().into_iter().flatten().filter(|(_, it)| !it.is_null());
        let words: Vec<String> =
            words.map(|(key, value)| format!("{key}={}", plain(value))).collect();
        println!("{}", words.join("  "));
    }
    for (more, flag) in [("before", "--before"), ("after", "--after")] {
        if !value[more].is_null() {
            eprintln!("more: {flag} {}", plain(&value[more]));
        }
    }
    Ok(Outcome::Done)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Prints an object's fields, those of objects in it further in.
pub(crate) fn fields(value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let width = value.as_object().into_iter().flatten().map(|(key, _)| key.len()).max();
    for (key, value) in value.as_object().into_iter().flatten() {
        let width = width.unwrap_or(0);
        match value {
            Value::Null => {}
            Value::Object(_) => {
                println!("{indent}{key}");
                fields(value, depth + 1);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for item in items {
                    println!("{indent}{key}");
                    fields(item, depth + 1);
                }
            }
            _ => println!("{indent}{key:width$}  {}", plain(value)),
        }
    }
}

/// Refuses to sign for another network than this home's, if the home has one.
pub(crate) fn check_network(context: &Context, found: &Hash) -> anyhow::Result<()> {
    match network::own_network(context)? {
        Some(own) if own != *found => {
            let what = format!(
                "the node is of the network {found} and this home of {own}; name another node with --node, or another home with --home"
            );
            Err(Problem::Refused(what).into())
        }
        _ => Ok(()),
    }
}

fn prove(
    context: &Context,
    node: &NodeFlag,
    id: &str,
    to: Option<&Path>,
) -> anyhow::Result<Outcome> {
    let proof = Client::of(context, node).get(&format!("/ledger/orders/{id}/proof"))?;
    match to {
        None => println!("{proof}"),
        Some(file) => {
            std::fs::write(file, format!("{proof}\n"))
                .with_context(|| file.display().to_string())?;
            eprintln!(
                "wrote {}; check it with --header {}",
                file.display(),
                text(&proof, "header")?
            );
        }
    }
    Ok(Outcome::Done)
}

/// Needs no network and no home but a name that is trusted.
fn check(context: &Context, file: &Path, header: &str) -> anyhow::Result<Outcome> {
    let named = || file.display().to_string();
    let wrong = |what: &str| Problem::Refused(format!("{}: {what}", file.display()));
    let trusted = Hash::parse(header).ok_or_else(|| {
        Problem::Usage(format!(
            "--header {header:?} is no name of a block: 0x and 64 hexadecimal digits"
        ))
    })?;
    if std::fs::metadata(file).with_context(named)?.len() > PROOF_SIZE_MAX {
        return Err(wrong("the file is too large for a proof").into());
    }
    let value = std::fs::read_to_string(file).with_context(named)?;
    let value: Value = serde_json::from_str(&value).map_err(|_| wrong("the file is no JSON"))?;
    let bytes = value["proof"].as_str().and_then(unhex);
    let bytes = bytes.ok_or_else(|| wrong("there is no \"proof\" of hexadecimal digits"))?;
    let proof: OrderProof =
        decode(&bytes).map_err(|error| wrong(&format!("the proof cannot be read: {error}")))?;
    proof.check(&trusted).map_err(|error| wrong(&error.to_string()))?;
    let stated = [("height", json!(proof.header.height.0)), ("header", json!(trusted.to_string()))];
    for (field, proved) in stated {
        if value[field] != proved {
            return Err(wrong(&format!(
                "its {field:?} is {} and {proved} is proved",
                value[field]
            ))
            .into());
        }
    }
    let order = node::ledger::shown_order(&proof.order);
    if context.json {
        println!(
            "{}",
            json!({"height": proof.header.height.0, "time": proof.header.time, "order": order})
        );
        return Ok(Outcome::Done);
    }
    println!(
        "proved: in block {} at place {} of {}",
        proof.header.height.0, proof.index, proof.count
    );
    fields(&order, 0);
    Ok(Outcome::Done)
}
