//! A member of the demonstration: a home, an account, and a node in a process of its own.
//!
//! Not here: the story.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use node::home::Home;
use node::models::{ModelRecord, Models};
use serde_json::Value;

use crate::client::{Client, text};
use crate::context::Context;
use crate::processes::{Process, mashaa, output};

/// Memory for past positions of each node, MiB: short answers of a small model.
const KV_MIB: &str = "64";

/// Lines of a log that are shown of a node that has ended.
const LAST_LINES: usize = 8;

/// A member.
pub(super) struct Person {
    /// What it is called.
    pub(super) name: &'static str,
    /// Where all of it is.
    pub(super) home: PathBuf,
    /// Its account.
    pub(super) account: String,
    node: Option<Running>,
}

/// A node.
struct Running {
    process: Process,
    address: String,
}

impl Person {
    /// Makes a home with a wallet in a folder.
    pub(super) fn new(folder: &Path, name: &'static str) -> anyhow::Result<Person> {
        let home = folder.join(name);
        std::fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        let made = output(mashaa(&home)?.args(["--json", "wallet", "new", "--unattended"]))?;
        let made: Value = serde_json::from_str(&made)?;
        Ok(Person { name, home, account: text(&made, "address")?.to_owned(), node: None })
    }

    /// Gives its home the model that another home has: the same files, not copies of them.
    pub(super) fn take_model(&self, from: &Context, record: &ModelRecord) -> anyhow::Result<()> {
        let home = Home::open(Some(&self.home), &|_| None)?;
        let (have, wanted) = (from.home.blobs(), home.blobs());
        let mut files = vec![PathBuf::from(&record.artifact), PathBuf::from(&record.source)];
        for folder in ["leaves", "nodes"] {
            std::fs::create_dir_all(wanted.join(folder))?;
            for entry in std::fs::read_dir(have.join(folder))? {
                files.push(Path::new(folder).join(entry?.file_name()));
            }
        }
        for file in files {
            let (old, new) = (have.join(&file), wanted.join(&file));
            let linked =
                std::fs::hard_link(&old, &new).or_else(|_| std::fs::copy(&old, &new).map(drop));
            linked.with_context(|| old.display().to_string())?;
        }
        Ok(Models::of(&home).put(record)?)
    }

    /// Says how its node is set.
    pub(super) fn set(&self, settings: &str) -> anyhow::Result<()> {
        let path = self.home.join("config.toml");
        std::fs::write(&path, settings).with_context(|| path.display().to_string())
    }

    /// Runs a command in its home.
    pub(super) fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        output(mashaa(&self.home)?.args(arguments))
    }

    /// Runs a command in its home that asks its node.
    pub(super) fn act(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let node = self.address()?.to_owned();
        self.run(&[arguments, &["--node", &node]].concat())
    }

    /// Starts its node, and waits until it answers.
    pub(super) fn start(&mut self, arguments: &[&str], model: &str) -> anyhow::Result<()> {
        let mut command = mashaa(&self.home)?;
        command.args(arguments).args(["--listen", "127.0.0.1:0", "--network-listen"]);
        command.args(["127.0.0.1:0", "--model", model, "--threads", "1", "--kv-mib", KV_MIB]);
        command.env("MASHAA_NETWORK_NEARBY", "no").env("MASHAA_NETWORK_NAME", self.name);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let said = child.stderr.take().context("a child's stderr is piped")?;
        let (process, log) = (Process(child), self.home.join("log"));
        let mut log = std::fs::File::options().create(true).append(true).open(&log)?;
        let mut lines = BufReader::new(said).lines().map_while(Result::ok);
        let mut address = None;
        for line in lines.by_ref() {
            writeln!(log, "{line}")?;
            if let Some(ready) = line.strip_prefix("ready: http://") {
                address = Some(ready.trim_end_matches("/v1").to_owned());
                break;
            }
        }
        // A pipe that nobody reads stops whoever writes.
        std::thread::spawn(move || lines.for_each(|line| drop(writeln!(log, "{line}"))));
        let Some(address) = address else {
            bail!("the node of {} ended; see {}", self.name, self.home.join("log").display());
        };
        self.node = Some(Running { process, address });
        Ok(())
    }

    /// How its node has ended, and what it said last, if it has.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.node.as_mut()?.process.0.try_wait().ok()??;
        let log = std::fs::read_to_string(self.home.join("log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(LAST_LINES).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Some(format!("the node of {} ended ({status}):\n{}", self.name, last.join("\n")))
    }

    /// Ends its node at once.
    pub(super) fn stop(&mut self) {
        self.node = None;
    }

    fn address(&self) -> anyhow::Result<&str> {
        let node = self.node.as_ref().with_context(|| format!("{} has no node", self.name))?;
        Ok(&node.address)
    }

    /// Its node's API.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::at(self.address()?))
    }

    /// What its node shows.
    pub(super) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.client()?.get(path)
    }
}
