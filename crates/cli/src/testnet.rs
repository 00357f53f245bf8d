//! `mashaa testnet`: a network of several validators on this machine, each a process of its own.
//!
//! Invariants: no validator outlives the command, and its folders hold all that there is of it.
//!
//! Not here: how a validator runs (`network`).

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use types::agreement::VALIDATORS_MAX;

use crate::arguments::{NodeFlag, TestnetArguments};
use crate::client::{Client, number, text};
use crate::context::Context;
use crate::outcome::{Outcome, Problem};
use crate::processes::{Process, mashaa, output};

/// How long the validators have to agree on their first block.
const START: Duration = Duration::from_secs(60);
/// Between two looks at the validators.
const LOOK: Duration = Duration::from_millis(200);

/// A network's processes, which end with this value.
pub(crate) struct Network {
    running: Vec<Process>,
}

impl Network {
    /// The numbers of the processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u32> {
        self.running.iter().map(|it| it.0.id())
    }
}

/// Begins the network if its folder is new, and runs it until the process is asked to end.
pub(crate) fn run(context: &Context, it: &TestnetArguments) -> anyhow::Result<Outcome> {
    let own = || context.home.path().join("testnet");
    let folder = it.folder.clone().unwrap_or_else(own);
    let mut network = start(context, &folder, it, &[])?;
    eprintln!("{} validators agree; stop with Ctrl-C", it.validators);
    for (at, home) in homes(&folder, it).iter().enumerate() {
        eprintln!("  {at}: http://{}/ledger  --home {}", address(it, at)?, home.display());
    }
    // Ctrl-C reaches the validators as well, which are of this process's group.
    loop {
        std::thread::sleep(LOOK);
        let mut is_running = |it: &mut Process| it.0.try_wait().is_ok_and(|end| end.is_none());
        if !network.running.iter_mut().any(&mut is_running) {
            return Ok(Outcome::Done);
        }
    }
}

/// Begins a network in a folder if the folder is new, with founders beside the validators' own; runs
/// it, and waits until its validators have agreed once.
pub(crate) fn start(
    context: &Context,
    folder: &Path,
    it: &TestnetArguments,
    founders: &[String],
) -> anyhow::Result<Network> {
    if it.validators == 0 || it.validators > VALIDATORS_MAX {
        let what = format!("--validators is {}, and takes 1 to {VALIDATORS_MAX}", it.validators);
        return Err(Problem::Usage(what).into());
    }
    let homes = homes(folder, it);
    if !folder.join("0/ledger/genesis.toml").exists() {
        begin(&homes, it, founders)?;
    }
    let mut network = Network { running: vec![] };
    for (at, home) in homes.iter().enumerate() {
        network.running.push(validator(home, at, it)?);
    }
    wait(context, &mut network, it)?;
    Ok(network)
}

fn homes(folder: &Path, it: &TestnetArguments) -> Vec<PathBuf> {
    (0..it.validators).map(|at| folder.join(at.to_string())).collect()
}

/// Where a validator's API is.
pub(crate) fn address(it: &TestnetArguments, at: usize) -> anyhow::Result<String> {
    Ok(format!("127.0.0.1:{}", port(it, at, 0)?))
}

fn port(it: &TestnetArguments, at: usize, which: u16) -> anyhow::Result<u16> {
    let offset = u16::try_from(at * 2).ok().and_then(|offset| offset.checked_add(which));
    let port = offset.and_then(|offset| it.port.checked_add(offset));
    port.with_context(|| format!("--port {} leaves too few ports for the validators", it.port))
}

/// Makes the homes: a node key and a wallet each, and one genesis.
fn begin(homes: &[PathBuf], it: &TestnetArguments, founders: &[String]) -> anyhow::Result<()> {
    let mut init = None;
    for (at, home) in homes.iter().enumerate() {
        std::fs::create_dir_all(home).with_context(|| home.display().to_string())?;
        let key = output(mashaa(home)?.args(["ledger", "key"]))?;
        let made = output(mashaa(home)?.args(["--json", "wallet", "new", "--unattended"]))?;
        let made: serde_json::Value = serde_json::from_str(&made)?;
        let account = text(&made, "address")?.to_owned();
        let init = match &mut init {
            Some(init) => init,
            none => none.insert(mashaa(home)?),
        };
        if at == 0 {
            init.args(["init", "--name", "testnet", "--interval-ms", &it.interval_ms.to_string()]);
            if let Some(blocks) = it.snapshot_blocks {
                init.args(["--snapshot-blocks", &blocks.to_string()]);
            }
            for set in &it.set {
                init.args(["--set", set]);
            }
        }
        init.args(["--founder", &format!("validator {at}={account}")]);
        init.args(["--validator", &format!("{key}={account}")]);
    }
    let mut init = init.context("a network has a validator")?;
    init.args(founders.iter().flat_map(|founder| ["--founder", founder]));
    output(&mut init)?;
    let genesis = homes.first().context("a network has a validator")?.join("ledger/genesis.toml");
    for home in homes.iter().skip(1) {
        output(mashaa(home)?.args(["init", "--genesis"]).arg(&genesis))?;
    }
    Ok(())
}

fn validator(home: &Path, at: usize, it: &TestnetArguments) -> anyhow::Result<Process> {
    let others = (0..it.validators).filter(|other| *other != at);
    let peers = others.map(|other| Ok(format!("127.0.0.1:{}", port(it, other, 1)?)));
    let peers = peers.collect::<anyhow::Result<Vec<_>>>()?.join(",");
    let log = home.join("log");
    let file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
    let mut command = mashaa(home)?;
    command.args(["ledger", "run", "--listen", &address(it, at)?]);
    command.args(["--ledger-listen", &format!("127.0.0.1:{}", port(it, at, 1)?)]);
    if !peers.is_empty() {
        command.args(["--ledger-peers", &peers]);
    }
    Ok(Process(command.stdout(Stdio::null()).stderr(file).spawn()?))
}

/// Waits until all validators have the first block.
fn wait(context: &Context, network: &mut Network, it: &TestnetArguments) -> anyhow::Result<()> {
    let end = Instant::now() + START;
    for at in 0..it.validators {
        let node = NodeFlag { node: Some(address(it, at)?) };
        let client = Client::of(context, &node);
        loop {
            let height = client.get("/ledger").and_then(|status| number(&status, "height"));
            if height.is_ok_and(|height| height > 0) {
                break;
            }
            if let Some(process) = network.running.get_mut(at)
                && let Some(status) = process.0.try_wait()?
            {
                bail!("validator {at} ended ({status}); see the file `log` in its home");
            }
            if Instant::now() > end {
                bail!("validator {at} has no block yet; see the file `log` in its home");
            }
            std::thread::sleep(LOOK);
        }
    }
    Ok(())
}
