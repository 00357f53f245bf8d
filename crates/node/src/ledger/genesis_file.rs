//! The file that people write a network's beginning in: TOML.
//!
//! Specified in `docs/ledger.md`. Its canonical bytes, and so the network's name, follow from it alone,
//! whatever its spaces and the order of its keys.
//!
//! Invariants: a key that nothing has is refused by name.
//!
//! Not here: whether the genesis keeps the rules (`ledger`).

use std::fmt::Write as _;

use ledger::genesis::{Founder, Genesis, SNAPSHOT_BLOCKS};
use ledger::parameters::rule;
use serde::Deserialize;
use types::bounded::{List, Text};
use types::id::{Address, Cid, Hash};
use types::measure::{AdmitValidator, Parameter, SetParameter};
use types::word::Policy;

/// Bytes of a genesis file, at most: founders and validators at their limits fit well.
pub const FILE_SIZE_MAX: u64 = 1 << 20;

/// Why a text is no genesis.
#[derive(Debug, thiserror::Error)]
pub enum NoGenesis {
    /// It is not TOML of this form.
    #[error("the genesis file: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A value is not what its key takes.
    #[error("the genesis file: {key} is {value:?}, which is not {wanted}")]
    Value {
        /// The key.
        key: &'static str,
        /// What it has.
        value: String,
        /// What it takes.
        wanted: String,
    },
    /// The ledger refuses it.
    #[error("the genesis file: {0}")]
    Refused(ledger::refusal::Refusal),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    made: u64,
    #[serde(default = "interval")]
    interval: u32,
    #[serde(default = "snapshot_blocks")]
    snapshot_blocks: u32,
    #[serde(default = "policy")]
    policy: String,
    constitution: Option<String>,
    cashier: Option<String>,
    #[serde(default)]
    founders: Vec<FounderEntry>,
    #[serde(default)]
    validators: Vec<ValidatorEntry>,
    #[serde(default)]
    parameters: std::collections::BTreeMap<String, u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FounderEntry {
    account: String,
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ValidatorEntry {
    node_key: String,
    account: String,
    #[serde(default = "power")]
    power: u32,
}

fn interval() -> u32 {
    1000
}

fn snapshot_blocks() -> u32 {
    SNAPSHOT_BLOCKS
}

fn policy() -> String {
    Policy::Mutual.word().to_owned()
}

fn power() -> u32 {
    1
}

fn value<T>(
    key: &'static str,
    text: &str,
    wanted: impl Into<String>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, NoGenesis> {
    let wanted = wanted.into();
    parse(text).ok_or_else(|| NoGenesis::Value { key, value: text.to_owned(), wanted })
}

fn account(key: &'static str, text: &str) -> Result<Address, NoGenesis> {
    value(key, text, "an address of 0x and 40 hexadecimal digits", Address::parse)
}

fn text<const MAX: usize>(key: &'static str, from: &str) -> Result<Text<MAX>, NoGenesis> {
    value(key, from, format!("a plain text of at most {MAX} bytes"), |it| Text::new(it).ok())
}

fn list<T, const MAX: usize>(key: &'static str, from: Vec<T>) -> Result<List<T, MAX>, NoGenesis> {
    let value = format!("{} entries", from.len());
    List::new(from).map_err(|_| NoGenesis::Value { key, value, wanted: format!("at most {MAX}") })
}

/// Reads a genesis, and checks that the ledger accepts it.
///
/// # Errors
///
/// Says which key is wrong, and what it takes.
pub fn read(from: &str) -> Result<Genesis, NoGenesis> {
    let file: File = toml::from_str(from)?;
    let founder = |it: &FounderEntry| {
        Ok(Founder { account: account("account", &it.account)?, name: text("name", &it.name)? })
    };
    let validator = |it: &ValidatorEntry| {
        let wanted = "a node key of 0x and 64 hexadecimal digits";
        let node_key = value("node_key", &it.node_key, wanted, Hash::parse)?;
        Ok(AdmitValidator { node_key, account: account("account", &it.account)?, power: it.power })
    };
    let parameter = |(name, value): (&String, &u64)| {
        let names = Parameter::ALL.iter().map(|it| it.word()).collect::<Vec<_>>().join(", ");
        let parameter =
            self::value("parameters", name, format!("one of {names}"), Parameter::parse)?;
        Ok(SetParameter { parameter, value: *value })
    };
    let policies = Policy::ALL.iter().map(|it| it.word()).collect::<Vec<_>>().join(", ");
    let cid = |it: &String| value("constitution", it, "a CID", Cid::parse);
    let founders = file.founders.iter().map(founder).collect::<Result<Vec<_>, NoGenesis>>()?;
    let validators =
        file.validators.iter().map(validator).collect::<Result<Vec<_>, NoGenesis>>()?;
    let mut parameters =
        file.parameters.iter().map(parameter).collect::<Result<Vec<_>, NoGenesis>>()?;
    parameters.sort_by_key(|it| it.parameter);
    let genesis = Genesis {
        name: text("name", &file.name)?,
        made: file.made,
        interval: file.interval,
        snapshot_blocks: file.snapshot_blocks,
        policy: value("policy", &file.policy, format!("one of {policies}"), Policy::parse)?,
        constitution: file.constitution.as_ref().map(cid).transpose()?,
        founders: list("founders", founders)?,
        validators: list("validators", validators)?,
        parameters: list("parameters", parameters)?,
        cashier: file.cashier.as_ref().map(|it| account("cashier", it)).transpose()?,
    };
    genesis.state().map_err(NoGenesis::Refused)?;
    Ok(genesis)
}

/// Writes a genesis as `read` reads it.
#[must_use]
pub fn write(genesis: &Genesis) -> String {
    let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut out = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        writeln!(out, "{text}").expect("writing to memory does not fail");
    };
    line(format_args!("# The beginning of a network. Whoever has this file can join it."));
    line(format_args!("name = {}", quote(genesis.name.as_str())));
    line(format_args!("made = {}  # seconds since 1970", genesis.made));
    line(format_args!("interval = {}  # milliseconds between blocks, at least", genesis.interval));
    let snapshots = genesis.snapshot_blocks;
    line(format_args!(
        "snapshot_blocks = {snapshots}  # from one snapshot of the state to the next"
    ));
    line(format_args!("policy = {}", quote(genesis.policy.word())));
    if let Some(constitution) = &genesis.constitution {
        line(format_args!("constitution = \"{constitution}\""));
    }
    if let Some(cashier) = &genesis.cashier {
        line(format_args!("cashier = \"{cashier}\""));
    }
    for founder in genesis.founders.as_slice() {
        let name = quote(founder.name.as_str());
        line(format_args!("\n[[founders]]\nname = {name}\naccount = \"{}\"", founder.account));
    }
    for it in genesis.validators.as_slice() {
        let (node_key, account, power) = (it.node_key, it.account, it.power);
        line(format_args!(
            "\n[[validators]]\nnode_key = \"{node_key}\"\naccount = \"{account}\"\npower = {power}"
        ));
    }
    line(format_args!("\n[parameters]  # those that differ from their defaults"));
    for it in genesis.parameters.as_slice() {
        let usual = rule(it.parameter).default;
        line(format_args!("{} = {}  # default {usual}", it.parameter, it.value));
    }
    out
}

#[cfg(test)]
mod tests;
