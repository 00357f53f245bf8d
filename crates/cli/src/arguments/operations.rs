//! The command line of what keeps a node running: keys, codes, pages for the shell, backups.
//!
//! Not here: what the commands do.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// What is printed without any home.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum PageCommand {
    /// Explain a code: why the ledger refuses an order, an error of the API, an exit code
    Explain(ExplainArguments),
    /// Print what makes the node a service of the operating system
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Print what a shell reads to complete commands
    Completions {
        /// Which shell
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual's page, or write a page for each command
    Man(ManArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key, and print it this once
    New(NewKeyArguments),
    /// List the keys, what they are for, and what they have used
    #[command(alias = "list")]
    Ls,
    /// Take a key back, from the next request on
    Revoke {
        /// Its name or its id
        key: String,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct NewKeyArguments {
    /// What you call it: whose it is, or what for
    pub(crate) name: String,
    /// What it may do: models:read, inference, files, batches, admin; repeat for more [default: all but admin]
    #[arg(long, value_name = "SCOPE", value_delimiter = ',')]
    pub(crate) scope: Vec<String>,
    /// How long it is good: a number and m, h or d, such as 90d [default: until it is revoked]
    #[arg(long, value_name = "TIME")]
    pub(crate) expires: Option<String>,
    /// Requests in a minute, at most
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_minute: Option<u64>,
    /// Tokens in a minute, at most, of prompts and answers
    #[arg(long, value_name = "N")]
    pub(crate) tokens_per_minute: Option<u64>,
    /// Tokens in a day of UTC, at most
    #[arg(long, value_name = "N")]
    pub(crate) tokens_per_day: Option<u64>,
    /// Answers being made at once, at most
    #[arg(long, value_name = "N")]
    pub(crate) at_once: Option<u64>,
    /// Credits that its answers may cost in all, of what this node pays to other machines
    #[arg(long, value_name = "CREDITS")]
    pub(crate) spend: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The code: its name, its number or its status
    pub(crate) code: String,
    /// The language: en or ar
    #[arg(long, default_value = "en")]
    pub(crate) lang: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    /// `source <(mashaa completions bash)` in `~/.bashrc`
    Bash,
    /// As `_mashaa` in a folder of `$fpath`
    Zsh,
    /// As `~/.config/fish/completions/mashaa.fish`
    Fish,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ManArguments {
    /// Write a page for each command to this folder [default: the program's page, on standard output]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Print a unit for systemd that serves with as few rights as it can
    Systemd {
        /// The program's absolute path [default: this one's]
        #[arg(long, value_name = "PATH")]
        program: Option<PathBuf>,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BackupArguments {
    /// A new file, which only you can read
    pub(crate) file: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RestoreArguments {
    /// The backup
    pub(crate) file: PathBuf,
    /// The CID that `mashaa backup` printed, to be sure that it is the same [default: any backup]
    #[arg(long, value_name = "CID")]
    pub(crate) root: Option<String>,
    /// Of a validator: sign nothing up to this height of its network
    #[arg(long, value_name = "HEIGHT")]
    pub(crate) silent_until: Option<u64>,
}
