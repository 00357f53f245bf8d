//! The command line: networks of machines.

use clap::{Args, Subcommand};

use super::{NodeFlag, UpArguments};

#[derive(Clone, Debug, Args)]
pub(crate) struct InviteArguments {
    /// How long the ticket is good: a number and m, h or d, such as 24h
    #[arg(long, default_value = "24h", value_name = "TIME")]
    pub(crate) expires: String,
    /// How many machines may use it
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub(crate) uses: u32,
    /// Show the ticket as a QR code too
    #[arg(long)]
    pub(crate) qr: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct JoinArguments {
    /// The ticket: what `mashaa invite` printed on the other machine
    pub(crate) ticket: String,
    /// Put this home's own ledger aside, if it has one of another network
    #[arg(long)]
    pub(crate) leave: bool,
    /// Join, and do not serve yet
    #[arg(long)]
    pub(crate) no_up: bool,
    #[command(flatten)]
    pub(crate) up: UpArguments,
}

#[derive(Debug, Args)]
pub(crate) struct PeersArguments {
    #[command(flatten)]
    pub(crate) node: NodeFlag,
    #[command(subcommand)]
    pub(crate) command: Option<PeersCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeersCommand {
    /// Take back the pass of a machine that this one let in, or that one of those did; what it let in
    /// falls with it
    Revoke {
        #[command(flatten)]
        node: NodeFlag,
        /// Its key, as `mashaa peers` shows it
        key: String,
    },
}
