//! The command line.
//!
//! Not here: what the commands do.

mod audit;
mod bench;
mod ledger;
mod money;
mod operations;
mod peers;
mod store;
mod work;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use audit::{AuditCommand, KeyArguments, LightArguments, OpenArguments};
pub(crate) use bench::ServersArguments;
pub(crate) use ledger::{
    DelayArguments, DelegateArguments, DemoArguments, InitArguments, LedgerCommand, LedgerFlags,
    LoadArguments, MemberCommand, NodeCommand, NodeFlag, ProposeArguments, RegisterArguments,
    RegistryCommand, ReplayArguments, SendArguments, SignFlags, TestnetArguments, ValidatorCommand,
    VoteArguments,
};
pub(crate) use money::{
    ChannelCommand, CreditsCommand, EarnArguments, EarnCommand, QuoteArguments, SessionCommand,
    StakeCommand,
};
pub(crate) use operations::{
    BackupArguments, ExplainArguments, KeyCommand, ManArguments, NewKeyArguments, PageCommand,
    RestoreArguments, ServiceCommand, Shell,
};
pub(crate) use peers::{InviteArguments, JoinArguments, PeersArguments, PeersCommand};
pub(crate) use store::{FromFlag, StoreCommand};
pub(crate) use work::{WorkCommand, WorkFlags};

/// Pool machines, models and data into an AI service that belongs to its members.
///
/// Without a command, `mashaa` does what `mashaa up` does.
#[derive(Debug, Parser)]
#[command(name = "mashaa", version)]
pub(crate) struct Arguments {
    /// Directory for models and settings [default: the platform's place for program data]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    pub(crate) home: Option<PathBuf>,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a model behind the OpenAI-compatible API
    Up(Box<UpArguments>),
    /// Show a node: its model, its requests, whether it works for others, its ledger
    Status(NodeFlag),
    /// Pause, resume and drain a node's work for others
    #[command(subcommand)]
    Work(WorkCommand),
    /// Explain why a node works for others now, or does not
    Why(NodeFlag),
    /// Ask one question, or talk in the terminal
    Chat(ChatArguments),
    /// Fetch, add, list, show and remove models
    #[command(subcommand)]
    Model(ModelCommand),
    /// Keep, fetch, list, check, export and import files and directories by their CIDs
    #[command(subcommand)]
    Store(StoreCommand),
    /// Make, import, list, show and export wallets, and sign texts
    #[command(subcommand)]
    Wallet(WalletCommand),
    /// Print a ticket with which other machines join this one
    Invite(InviteArguments),
    /// Join another machine's network with a ticket, and serve
    Join(Box<JoinArguments>),
    /// Show the machines of this network, and what they offer; take a machine's pass back
    Peers(PeersArguments),
    /// Begin a network of members, or take in the beginning of another
    Init(InitArguments),
    /// Look at the members' ledger, check it, and run it without a model
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Send credits
    Send(SendArguments),
    /// List members, apply, vouch, pay capital in, leave
    #[command(subcommand)]
    Member(MemberCommand),
    /// List validators, call back your own
    #[command(subcommand)]
    Validator(ValidatorCommand),
    /// List registered nodes, register and unregister your own
    #[command(subcommand)]
    Node(NodeCommand),
    /// Put measures to the vote
    Propose(ProposeArguments),
    /// Vote on a proposal
    Vote(VoteArguments),
    /// Let another member's vote count for yours where you do not vote
    Delegate(DelegateArguments),
    /// List, register and pay for models and datasets of the ledger
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Let another key act for your account, or no longer
    #[command(subcommand)]
    Session(SessionCommand),
    /// Set credits aside for someone who takes them against vouchers
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// What you have at stake, as a worker and as an auditor
    #[command(subcommand)]
    Stake(StakeCommand),
    /// Show what this machine has earned, and take what was vouched for
    Earn(EarnArguments),
    /// Show what this machine has paid to others
    Spend(NodeFlag),
    /// Show what an answer would cost, who would give it, and how long it would take
    Quote(QuoteArguments),
    /// Give credits to a fund; as the cashier, issue and withdraw them
    #[command(subcommand)]
    Credits(CreditsCommand),
    /// As the guardian, delay a proposal that has passed
    Delay(DelayArguments),
    /// Run a network of several validators on this machine
    Testnet(TestnetArguments),
    /// See a co-op of five nodes on this machine ask, answer, cheat, audit, convict and vote
    Demo(DemoArguments),
    /// Make, list and revoke keys that open the API
    #[command(subcommand)]
    Key(KeyCommand),
    /// Write what this home alone has to one file: keys, wallets, settings, receipts, the ledger
    Backup(BackupArguments),
    /// Make a home of a backup, at --home, where nothing is yet
    Restore(RestoreArguments),
    /// Show the settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check this machine and this home
    Doctor,
    #[command(flatten)]
    Page(PageCommand),
    /// Measure a model's speed on this machine, or the members' ledger's
    Bench(BenchArguments),
    /// Check the receipt of an answer, without a network
    Verify(VerifyArguments),
    /// Check drawn positions of an answer without its model
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Hash every bit of a run, to compare machines
    Hash(HashArguments),
}

/// Settings that serving and chatting take.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct EngineFlags {
    /// Model: a name of `mashaa model ls`, of the catalogue, or an artifact's CID
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Threads that compute; 0: one a core
    #[arg(long)]
    pub(crate) threads: Option<String>,
    /// Instruction set: auto, scalar, avx2, avx512 or neon
    #[arg(long)]
    pub(crate) isa: Option<String>,
}

impl EngineFlags {
    fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("model", self.model.clone()),
            ("threads", self.threads.clone()),
            ("isa", self.isa.clone()),
        ]
    }
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
    /// Address and port of the API
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Memory for past positions, MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) kv_mib: Option<String>,
    /// Requests held at once
    #[arg(long)]
    pub(crate) queue: Option<String>,
    #[command(flatten)]
    pub(crate) ledger: LedgerFlags,
    #[command(flatten)]
    pub(crate) work: WorkFlags,
    /// Address and port where other machines reach this one, once someone was invited
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) network_listen: Option<String>,
    /// What this machine is called in its network
    #[arg(long, value_name = "NAME")]
    pub(crate) network_name: Option<String>,
    /// Whether this machine computes: yes, or no and others of its network do
    #[arg(long, value_name = "YES|NO")]
    pub(crate) compute: Option<String>,
}

impl UpArguments {
    /// The settings that were given.
    pub(crate) fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        let mut flags = self.engine.flags();
        flags.push(("listen", self.listen.clone()));
        flags.push(("kv_mib", self.kv_mib.clone()));
        flags.push(("queue", self.queue.clone()));
        flags.extend(self.ledger.flags());
        flags.extend(self.work.flags());
        flags.push(("network_listen", self.network_listen.clone()));
        flags.push(("network_name", self.network_name.clone()));
        flags.push(("compute", self.compute.clone()));
        flags
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ChatArguments {
    #[command(flatten)]
    pub(crate) engine: EngineFlags,
    /// Tokens of each answer, at most
    #[arg(long, default_value_t = 512, value_name = "N")]
    pub(crate) max_tokens: u32,
    /// Temperature; 0 always gives the same answer
    #[arg(long, default_value_t = 0.0)]
    pub(crate) temperature: f64,
    /// Seed of the choices
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: i64,
    /// A question; without one, a conversation from standard input
    pub(crate) question: Option<String>,
}

impl ChatArguments {
    /// The settings that were given.
    pub(crate) fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        self.engine.flags()
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct VerifyArguments {
    /// The receipt, as `GET /v1/receipts/ID` gives it
    pub(crate) receipt: PathBuf,
    /// What it is about, as `GET /v1/receipts/ID?payload=1` gives it; with the model here, the answer
    /// is computed again
    #[arg(long, value_name = "FILE")]
    pub(crate) payload: Option<PathBuf>,
    /// The key of the machine whose signature is expected, as `mashaa peers` shows it
    #[arg(long, value_name = "KEY")]
    pub(crate) worker: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Fetch a model of the catalogue, or an artifact from other nodes
    Pull {
        /// Its name; without one, the default model; or an artifact's CID
        name: Option<String>,
        /// A file or directory to look in first; with a CID, a node or gateway, http://HOST:PORT, and
        /// several are used at once
        #[arg(long, value_name = "PATH|URL")]
        from: Vec<String>,
        /// What the artifact with this CID is to be called here [default: its own name]
        #[arg(long = "as", value_name = "NAME")]
        alias: Option<String>,
    },
    /// Import a GGUF file, or a directory with config.json and safetensors files
    #[command(alias = "import")]
    Add(AddArguments),
    /// List the models here, and those of the catalogue
    Ls,
    /// Show a model's identity, terms and shape
    Show {
        /// Its name
        name: String,
    },
    /// Print where a model's artifact is
    Path {
        /// Its name
        name: String,
    },
    /// Remove a model and the files that no other model needs
    Rm {
        /// Its name
        name: String,
    },
    /// Write a GGUF file with random weights, for tests and benchmarks
    Random(RandomArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// The GGUF file or the directory
    pub(crate) file: PathBuf,
    /// The model's name [default: the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// 8 bits for every matrix
    #[arg(long, conflicts_with = "all_4_bit")]
    pub(crate) all_8_bit: bool,
    /// 4 bits for every matrix, at a loss where the source has more
    #[arg(long)]
    pub(crate) all_4_bit: bool,
    /// Measure the quality against the source on this text
    #[arg(long, value_name = "TEXT")]
    pub(crate) measure: Option<PathBuf>,
    /// Tokens of the text to measure on, at most
    #[arg(long, default_value_t = 4096, value_name = "N")]
    pub(crate) measure_tokens: usize,
}

#[derive(Debug, Args)]
pub(crate) struct RandomArguments {
    /// Where to write
    pub(crate) file: PathBuf,
    /// The shape
    #[arg(long, value_enum, default_value_t = RandomShape::Tiny)]
    pub(crate) shape: RandomShape,
    /// The family
    #[arg(long, default_value = "llama")]
    pub(crate) family: String,
    /// How weights are stored: F32, F16, BF16, Q4_0, Q4_1 or Q8_0
    #[arg(long, default_value = "Q4_0")]
    pub(crate) encoding: String,
    /// Seed of the weights
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RandomShape {
    /// A few hundred kilobytes
    Tiny,
    /// The shape of Llama 3.2 1B
    #[value(name = "llama-3.2-1b")]
    Llama1b,
}

#[derive(Debug, Subcommand)]
pub(crate) enum WalletCommand {
    /// Make a wallet, and print the words that give it back
    New(NewWalletArguments),
    /// Take in a phrase, a secret key in hexadecimal, or a keystore file
    Import(ImportWalletArguments),
    /// List the wallets of this home
    #[command(alias = "ls")]
    List,
    /// Show a wallet's address, path and file
    Show(WalletName),
    /// Sign a text, such as a sign-in, as `personal_sign` does (EIP-191)
    Sign(SignArguments),
    /// Print a wallet's keystore, or its secret key
    Export(ExportWalletArguments),
}

/// Which wallet.
#[derive(Clone, Debug, Args)]
pub(crate) struct WalletName {
    /// The wallet's name
    #[arg(long, default_value = wallet::wallets::MAIN)]
    pub(crate) name: String,
}

/// Where a wallet's passphrase is, other than in a person's head.
#[derive(Clone, Debug, Args)]
pub(crate) struct PassphraseFile {
    /// A file with the wallet's passphrase, that only you can read [default: asks]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct NewWalletArguments {
    #[command(flatten)]
    pub(crate) wallet: WalletName,
    /// How many words
    #[arg(long, value_enum, default_value_t = WordCount::Twelve)]
    pub(crate) words: WordCount,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseFile,
    /// No words, and a random passphrase in a file beside the wallet, for machines without a person
    #[arg(long, conflicts_with_all = ["words", "passphrase_file"])]
    pub(crate) unattended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WordCount {
    /// As hard to guess as the key itself
    #[value(name = "12")]
    Twelve,
    /// For those whose rules ask for it
    #[value(name = "24")]
    TwentyFour,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImportWalletArguments {
    #[command(flatten)]
    pub(crate) wallet: WalletName,
    /// A file with the phrase, the secret key or the keystore [default: asks]
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Option<PathBuf>,
    /// A file with the passphrase of that keystore or phrase
    #[arg(long, value_name = "FILE")]
    pub(crate) from_passphrase_file: Option<PathBuf>,
    /// Which of a phrase's keys [default: 0]
    #[arg(long, value_name = "I")]
    pub(crate) index: Option<u32>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseFile,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SignArguments {
    #[command(flatten)]
    pub(crate) wallet: WalletName,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseFile,
    /// The text; every byte counts, a line end too [default: standard input]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ExportWalletArguments {
    #[command(flatten)]
    pub(crate) wallet: WalletName,
    /// The secret key in hexadecimal, without any protection
    #[arg(long)]
    pub(crate) hex: bool,
    /// A new file to write to, that only you can read [default: standard output]
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) passphrase: PassphraseFile,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every setting
    Show {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct BenchArguments {
    /// Model: a name or an artifact's CID [default: the default model; with --server, the first listed]
    pub(crate) model: Option<String>,
    /// Instruction sets, comma-separated
    #[arg(long, default_value = "auto")]
    pub(crate) isa: String,
    /// Numbers of threads, comma-separated
    #[arg(long, default_value = "1,2")]
    pub(crate) threads: String,
    /// Rounds; medians are printed
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Prompt tokens of the prefill test
    #[arg(long, default_value_t = 512)]
    pub(crate) prefill: u32,
    /// Tokens of the decode test
    #[arg(long, default_value_t = 128)]
    pub(crate) decode: u32,
    /// Streams of the throughput test
    #[arg(long, default_value_t = 8)]
    pub(crate) streams: u32,
    /// A `llama-bench` program to run in turn with the same threads
    #[arg(long, value_name = "PROGRAM", requires = "peer_model")]
    pub(crate) peer: Option<PathBuf>,
    /// The GGUF file for it
    #[arg(long, value_name = "FILE")]
    pub(crate) peer_model: Option<PathBuf>,
    /// Measure the members' ledger instead: payments through a network of processes on this machine
    #[arg(long, conflicts_with_all = ["model", "peer"])]
    pub(crate) ledger: bool,
    /// Measure instead what an answer costs by way of the API and of another machine
    #[arg(long, conflicts_with_all = ["ledger", "peer"])]
    pub(crate) gateway: bool,
    #[command(flatten)]
    pub(crate) servers: ServersArguments,
    #[command(flatten)]
    pub(crate) load: LoadArguments,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct HashArguments {
    /// Model: a name, an artifact's CID, or an artifact's file [default: the default model]
    pub(crate) model: Option<String>,
    /// Prompt tokens, comma-separated [default: 220 tokens made from their index]
    #[arg(long, value_name = "IDS")]
    pub(crate) tokens: Option<String>,
    /// Tokens to generate after the prompt
    #[arg(long, default_value_t = 80)]
    pub(crate) generate: u32,
    /// Instruction set: auto, scalar, avx2, avx512 or neon
    #[arg(long, default_value = "auto")]
    pub(crate) isa: String,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Way of computing
    #[arg(long, value_enum, default_value_t = HashWay::Whole)]
    pub(crate) way: HashWay,
    /// Compute in every way, on every instruction set here, with 1 and 2 threads, and compare
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HashWay {
    /// The prompt in one step
    Whole,
    /// Token by token
    Single,
    /// The prompt in chunks of 7
    Chunks7,
    /// The prompt in chunks of 64
    Chunks64,
    /// With a warm prefix cache
    Cached,
    /// In a batch with 7 other sequences
    Batched,
    /// The layers in two halves, with the rows between them passed as bytes
    Halves,
}
