//! The commands with which an answer is audited without its model.
//!
//! Not here: what they do (`audit`).

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ledger::NodeFlag;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Make the key that stands for a model's weights in light audits
    Key(KeyArguments),
    /// As the worker of an answer, open one position of it; the model is needed
    Open(OpenArguments),
    /// Check an opened position of an answer, without the model
    Light(LightArguments),
    /// Draw again what the ledger drew at the end of a block, from its blocks alone
    Draw {
        #[command(flatten)]
        node: NodeFlag,
        /// The block
        #[arg(long, value_name = "HEIGHT")]
        block: u64,
    },
}

#[derive(Debug, Args)]
pub(crate) struct KeyArguments {
    /// A name of `mashaa model ls`, of the catalogue, or an artifact's CID
    pub(crate) model: String,
    /// 32 bytes that were fixed after the answer's receipt was signed [default: random ones]
    #[arg(long, value_name = "HEX")]
    pub(crate) beacon: Option<String>,
    /// Where to write the key
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct OpenArguments {
    /// The receipt, as `GET /v1/receipts/ID` gives it
    pub(crate) receipt: PathBuf,
    /// What it is about, as `GET /v1/receipts/ID?payload=1` gives it
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: PathBuf,
    /// Which position, from 0, the prompt's first token
    #[arg(long, value_name = "N")]
    pub(crate) position: usize,
    /// Where to write the opening
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct LightArguments {
    /// The receipt, as `GET /v1/receipts/ID` gives it
    pub(crate) receipt: PathBuf,
    /// What it is about, as `GET /v1/receipts/ID?payload=1` gives it
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: PathBuf,
    /// The key, from `mashaa audit key`
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The opening, from the worker's `mashaa audit open`
    #[arg(long, value_name = "FILE")]
    pub(crate) opening: PathBuf,
}
