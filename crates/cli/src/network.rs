//! The members' ledger of this home: beginning one, joining one, and running it.
//!
//! Not here: what is asked of a running one (`ledger`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use ::ledger::genesis::{Founder, Genesis, SNAPSHOT_BLOCKS};
use anyhow::Context as _;
use consensus::start::Peer;
use node::ledger::{Ledger, Settings, genesis_file, node_key};
use node::service::{self, Roles};
use store::whole::replace;
use types::bounded::{List, Text};
use types::id::{Address, Hash};
use types::measure::{AdmitValidator, Parameter, SetParameter};
use types::node_key::NodeSecret;
use types::word::Policy;
use wallet::wallets::{MAIN, Wallets};

use crate::arguments::InitArguments;
use crate::context::{Context, cores};
use crate::outcome::{Outcome, Problem};
use crate::peers;
use crate::service::tell_ready;

/// Threads that check signatures, at most: they share the machine with the model.
const THREADS_MAX: usize = 8;
/// How long a new network's blocks are apart, in milliseconds, where nothing else is said.
pub(crate) const INTERVAL: u32 = 1000;

fn genesis_path(home: &Path) -> PathBuf {
    home.join("genesis.toml")
}

/// The node's key of this home, which is made if it is not there.
pub(crate) fn secret(context: &Context) -> anyhow::Result<NodeSecret> {
    let folder = context.home.ledger();
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    Ok(node_key::open(&folder.join("node.key"))?)
}

/// What the network of this home begins with, if it has one.
pub(crate) fn own_genesis(context: &Context) -> anyhow::Result<Option<Genesis>> {
    read(&genesis_path(&context.home.ledger()))
}

/// The network of this home, if it has one.
pub(crate) fn own_network(context: &Context) -> anyhow::Result<Option<Hash>> {
    Ok(own_genesis(context)?.map(|genesis| genesis.hash()))
}

/// How the ledger of this home is run. A home without one begins a network of its own.
pub(crate) fn settings(context: &Context) -> anyhow::Result<Settings> {
    let (folder, secret) = (context.home.ledger(), secret(context)?);
    let path = genesis_path(&folder);
    let genesis = match read(&path)? {
        Some(genesis) => genesis,
        None => {
            let genesis = own(context, &InitArguments::default())?;
            write(&path, &genesis)?;
            eprintln!("began a network of one: {} ({})", genesis.name.as_str(), genesis.hash());
            genesis
        }
    };
    let mut listen: SocketAddr = context.config.text("ledger_listen").parse().map_err(|_| {
        context.config.wrong("ledger_listen", "an IP address and a port, such as 0.0.0.0:8421")
    })?;
    if listen.port() == 0 {
        // Chosen here, since members reach the ledger through this node, which has to know where.
        let free = std::net::TcpListener::bind(listen).and_then(|it| it.local_addr());
        listen = free.with_context(|| format!("no port is free at {}", listen.ip()))?;
    }
    let peers = context.config.text("ledger_peers").split(',').map(str::trim);
    let peers = peers.filter(|peer| !peer.is_empty()).map(Peer::parse).collect::<Result<_, _>>()?;
    let threads = cores().clamp(1, THREADS_MAX);
    let wanted = "0 or a number of blocks";
    let blocks_kept = context.config.number("ledger_keep_blocks", 0..=u64::MAX, wanted)?;
    Ok(Settings { folder, genesis, secret, listen, peers, threads, blocks_kept })
}

/// `mashaa init`: begins a network, or takes in the genesis of another.
pub(crate) fn init(context: &Context, arguments: &InitArguments) -> anyhow::Result<Outcome> {
    let secret = secret(context)?;
    let path = genesis_path(&context.home.ledger());
    if path.exists() {
        let what = format!(
            "{} is there already; a home has one network, choose another with --home",
            path.display()
        );
        return Err(Problem::Refused(what).into());
    }
    let genesis = match &arguments.genesis {
        Some(file) => {
            let genesis = read(file)?;
            genesis.with_context(|| format!("{}: there is no such file", file.display()))?
        }
        None => own(context, arguments)?,
    };
    write(&path, &genesis)?;
    if context.json {
        let value = serde_json::json!({
            "network": genesis.hash().to_string(),
            "genesis": path.display().to_string(),
            "node_key": secret.key().to_string(),
        });
        println!("{value}");
        return Ok(Outcome::Done);
    }
    println!("network   {}", genesis.hash());
    println!("genesis   {}", path.display());
    println!("node key  {}", secret.key());
    eprintln!("Give the genesis file to those who are to join: `mashaa init --genesis FILE`.");
    Ok(Outcome::Done)
}

/// Puts this home's ledger aside. The node keeps its key.
pub(crate) fn put_aside(context: &Context) -> anyhow::Result<()> {
    let folder = context.home.ledger();
    let network = own_network(context)?.map_or_else(String::new, |it| it.to_string());
    let short: String = network.chars().skip(2).take(8).collect();
    let aside = context.home.path().join(format!("ledger-{short}"));
    std::fs::rename(&folder, &aside).with_context(|| folder.display().to_string())?;
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let key = folder.join("node.key");
    std::fs::copy(aside.join("node.key"), &key).with_context(|| key.display().to_string())?;
    eprintln!("the ledger of before is in {}", aside.display());
    Ok(())
}

/// Takes a genesis as this home's, unless it has it already.
pub(crate) fn take_in(context: &Context, genesis: &Genesis) -> anyhow::Result<()> {
    let path = genesis_path(&context.home.ledger());
    if path.exists() { Ok(()) } else { write(&path, genesis) }
}

/// `mashaa node key`: what others need to name this node as a validator.
pub(crate) fn show_key(context: &Context) -> anyhow::Result<Outcome> {
    println!("{}", secret(context)?.key());
    Ok(Outcome::Done)
}

/// `mashaa ledger run`: the ledger alone, without a model.
pub(crate) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let lock = context.home.lock()?;
    let ledger = settings(context)?;
    let network = Some(peers::settings(context, &ledger)?);
    let (keys, store) = (context.keys(), Some(context.blobs.clone()));
    let copies = Some(node::copies::Settings::of(&context.config, &context.home)?);
    let ledger = Some(ledger);
    let roles = Roles { keys, ledger, store, network, copies, ..Roles::default() };
    service::serve(roles, context.config.text("listen"), |local, ledger| {
        eprintln!("ready: http://{local}/ledger");
        ledger.into_iter().for_each(welcome);
        tell_ready();
    })?;
    drop(lock);
    eprintln!("stopped");
    Ok(Outcome::Done)
}

/// What a person may want to know of the ledger that has started.
pub(crate) fn welcome(ledger: &Ledger) {
    let height = ledger.chain().tip().height.0;
    eprintln!("ledger {} at height {height}; `mashaa ledger status` shows it", ledger.network());
}

fn read(path: &Path) -> anyhow::Result<Option<Genesis>> {
    let file = || path.display().to_string();
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(file),
        Ok(metadata) if metadata.len() > genesis_file::FILE_SIZE_MAX => {
            return Err(Problem::Refused(format!("{} is too large for a genesis", file())).into());
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).with_context(file)?;
    Ok(Some(genesis_file::read(&text).with_context(file)?))
}

/// Writes a genesis whole or not at all.
fn write(path: &Path, genesis: &Genesis) -> anyhow::Result<()> {
    let text = genesis_file::write(genesis);
    replace(path, text.as_bytes()).with_context(|| path.display().to_string())
}

/// A new network, of what was said; where nothing was, of this home's own wallet and node.
fn own(context: &Context, arguments: &InitArguments) -> anyhow::Result<Genesis> {
    let founders =
        arguments.founder.iter().map(|it| founder(it)).collect::<anyhow::Result<Vec<_>>>()?;
    let founders = match founders.is_empty() {
        false => founders,
        true => vec![Founder { account: own_account(context)?, name: Text::new("owner")? }],
    };
    let account = founders.first().map(|it| it.account).context("a network has a founder")?;
    let validators = arguments.validator.iter().map(|it| validator(it, account));
    let mut validators = validators.collect::<anyhow::Result<Vec<_>>>()?;
    if validators.is_empty() {
        validators.push(AdmitValidator { node_key: secret(context)?.key(), account, power: 1 });
    }
    let mut parameters =
        arguments.set.iter().map(|it| parameter(it)).collect::<anyhow::Result<Vec<_>>>()?;
    parameters.sort_by_key(|it| it.parameter);
    let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let policy = arguments.policy.as_deref().map(policy).transpose()?.unwrap_or(Policy::Mutual);
    let name = arguments.name.as_deref().unwrap_or("a network of one");
    let genesis = Genesis {
        name: Text::new(name).map_err(|error| usage(format!("--name: {error}")))?,
        made,
        interval: arguments.interval_ms.unwrap_or(INTERVAL),
        snapshot_blocks: arguments.snapshot_blocks.unwrap_or(SNAPSHOT_BLOCKS),
        policy,
        constitution: None,
        founders: List::new(founders).map_err(|error| usage(format!("--founder: {error}")))?,
        validators: List::new(validators)
            .map_err(|error| usage(format!("--validator: {error}")))?,
        parameters: List::new(parameters).map_err(|error| usage(format!("--set: {error}")))?,
        cashier: match (policy, &arguments.cashier) {
            (_, Some(cashier)) => Some(address("--cashier", cashier)?),
            (Policy::Prepaid, None) => Some(account),
            _ => None,
        },
    };
    match genesis.state() {
        Ok(_) => Ok(genesis),
        Err(refusal) => Err(usage(format!("the ledger refuses this beginning: {refusal}")).into()),
    }
}

fn usage(what: String) -> Problem {
    Problem::Usage(what)
}

/// The account of this home: of the wallet `main`, which is made if there is none.
fn own_account(context: &Context) -> anyhow::Result<Address> {
    let wallets = Wallets::of(context.home.wallets());
    if wallets.names()?.iter().any(|name| name == MAIN) {
        let entry = wallets.entry(MAIN)?;
        return entry.address.context("the wallet `main` does not say its address; give --founder");
    }
    let wallet = wallets.create_unattended(MAIN)?;
    eprintln!(
        "made the wallet `main` ({}); its passphrase is beside it in {}",
        wallet.address(),
        context.home.wallets().display()
    );
    Ok(wallet.address())
}

pub(crate) fn address(flag: &str, text: &str) -> Result<Address, Problem> {
    Address::parse(text).ok_or_else(|| {
        usage(format!("{flag}: {text:?} is no address: 0x and 40 hexadecimal digits, with EIP-55's capitals or none"))
    })
}

fn founder(text: &str) -> anyhow::Result<Founder> {
    let parts = text.split_once('=');
    let (name, account) =
        parts.ok_or_else(|| usage(format!("--founder {text}: write NAME=ADDRESS")))?;
    let name = Text::new(name).map_err(|error| usage(format!("--founder {text}: {error}")))?;
    Ok(Founder { account: address("--founder", account)?, name })
}

fn validator(text: &str, account: Address) -> anyhow::Result<AdmitValidator> {
    let (key, account) = match text.split_once('=') {
        Some((key, of)) => (key, address("--validator", of)?),
        None => (text, account),
    };
    let wanted = || {
        usage(format!(
            "--validator {text}: write KEY or KEY=ADDRESS; `mashaa ledger key` prints a node's key"
        ))
    };
    Ok(AdmitValidator { node_key: Hash::parse(key).ok_or_else(wanted)?, account, power: 1 })
}

fn parameter(text: &str) -> anyhow::Result<SetParameter> {
    let wrong = || {
        usage(format!(
            "--set {text}: write NAME=NUMBER; `mashaa ledger parameters` lists the names"
        ))
    };
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let parameter = Parameter::parse(name).ok_or_else(wrong)?;
    Ok(SetParameter { parameter, value: value.parse().map_err(|_| wrong())? })
}

fn policy(text: &str) -> Result<Policy, Problem> {
    Policy::parse(text).ok_or_else(|| {
        let all: Vec<_> = Policy::ALL.iter().map(|policy| policy.word()).collect();
        usage(format!("--policy: {text:?} is none of {}", all.join(", ")))
    })
}
