//! The command line of the members' ledger.
//!
//! Not here: what the commands do.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// How a network begins.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct InitArguments {
    /// Join the network that begins with this file, instead of beginning one
    #[arg(long, value_name = "FILE", exclusive = true)]
    pub(crate) genesis: Option<PathBuf>,
    /// The network's name
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How credits come into being: mutual, prepaid or issued [default: mutual]
    #[arg(long)]
    pub(crate) policy: Option<String>,
    /// Who issues credits against payment, in a prepaid network [default: the first founder]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) cashier: Option<String>,
    /// Milliseconds between blocks, at least [default: 1000]
    #[arg(long, value_name = "N")]
    pub(crate) interval_ms: Option<u32>,
    /// Blocks from one snapshot of the state to the next [default: 3600]
    #[arg(long, value_name = "N")]
    pub(crate) snapshot_blocks: Option<u32>,
    /// A first member; repeat for more [default: the wallet `main`]
    #[arg(long, value_name = "NAME=ADDRESS")]
    pub(crate) founder: Vec<String>,
    /// A first validator, with the account that answers for it; repeat for more [default: this node]
    #[arg(long, value_name = "KEY[=ADDRESS]")]
    pub(crate) validator: Vec<String>,
    /// A parameter that differs from its default; repeat for more
    #[arg(long, value_name = "NAME=NUMBER")]
    pub(crate) set: Vec<String>,
}

/// Whom a command asks.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct NodeFlag {
    /// Address of the node's API [default: this home's `listen`]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) node: Option<String>,
}

/// Who signs an order, and whom it is given to.
#[derive(Clone, Debug, Args)]
pub(crate) struct SignFlags {
    #[command(flatten)]
    pub(crate) node: NodeFlag,
    /// The wallet that signs
    #[arg(long, value_name = "NAME", default_value = wallet::wallets::MAIN)]
    pub(crate) wallet: String,
    /// The account to act for, if the wallet's key is a session key of it [default: the wallet's own]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) account: Option<String>,
    /// A file with the wallet's passphrase, that only you can read [default: the one beside the
    /// wallet, or asks]
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Seconds to wait for the order's block; 0 does not wait
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) wait: u64,
    /// Only ask the node whether the ledger would accept the order now
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Run the ledger without a model
    Run(RunArguments),
    /// Print this node's key, by which a network names it as a validator
    Key,
    /// Show where the ledger is, and that its balances sum to zero
    Status(NodeFlag),
    /// List the last blocks
    Blocks {
        #[command(flatten)]
        node: NodeFlag,
        /// Those under this height
        #[arg(long, value_name = "HEIGHT")]
        before: Option<u64>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Show a block
    Block {
        #[command(flatten)]
        node: NodeFlag,
        /// Its height
        height: u64,
    },
    /// Show what became of an order
    #[command(alias = "tx")]
    Order {
        #[command(flatten)]
        node: NodeFlag,
        /// Its name
        id: String,
    },
    /// Show an account
    Account {
        #[command(flatten)]
        node: NodeFlag,
        /// Its address [default: the wallet `main`]
        address: Option<String>,
    },
    /// List the accounts
    Accounts {
        #[command(flatten)]
        node: NodeFlag,
        /// Those after this one, which the page before names
        #[arg(long, value_name = "ONE")]
        after: Option<String>,
    },
    /// List the validators
    Validators(NodeFlag),
    /// List the parameters, their ranges and their bars
    Parameters(NodeFlag),
    /// List the proposals, or show one with its ballots
    Proposals {
        #[command(flatten)]
        node: NodeFlag,
        /// Its number
        number: Option<u64>,
        /// Those under this number
        #[arg(long, value_name = "NUMBER", conflicts_with = "number")]
        before: Option<u64>,
        /// Show what its measures would do if they were executed now
        #[arg(long, requires = "number")]
        dry_run: bool,
    },
    /// List the batches of answers that are not settled, or show one and its audits
    Batches {
        #[command(flatten)]
        node: NodeFlag,
        /// Its number
        number: Option<u64>,
        /// Those over this number
        #[arg(long, value_name = "NUMBER", conflicts_with = "number")]
        after: Option<String>,
    },
    /// List the audits that are not over
    Audits {
        #[command(flatten)]
        node: NodeFlag,
        /// Those after this one, as BATCH-INDEX
        #[arg(long, value_name = "AUDIT")]
        after: Option<String>,
    },
    /// Get the proof that an order took effect
    Prove {
        #[command(flatten)]
        node: NodeFlag,
        /// The order's name
        id: String,
        /// Where to write the proof [default: standard output]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Check a proof without a network
    Check {
        /// The file with the proof
        proof: PathBuf,
        /// The name of a block that is trusted
        #[arg(long, value_name = "NAME")]
        header: String,
    },
    /// Begin with another node's snapshot of the state, instead of with the genesis
    Sync {
        /// Address of the other node's API; it need not be trusted
        #[arg(long, value_name = "HOST:PORT")]
        from: String,
        /// The name of a block that names a snapshot, which you have from someone whom you trust:
        /// `mashaa ledger status` shows the newest
        #[arg(long, value_name = "NAME")]
        header: String,
    },
    /// Fetch every block, and compute the whole state again from the genesis
    Replay(ReplayArguments),
    /// Count a proposal's ballots again, from the blocks
    Recount {
        #[command(flatten)]
        node: NodeFlag,
        /// The proposal's number
        number: u64,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayArguments {
    #[command(flatten)]
    pub(crate) node: NodeFlag,
    /// The last block that counts [default: the node's last]
    #[arg(long, value_name = "HEIGHT")]
    pub(crate) until: Option<u64>,
    /// Also show every account that the blocks lead to: its balance, and its member's capital
    #[arg(long)]
    pub(crate) accounts: bool,
    /// Also show what happened in every block: votes that closed, surpluses and dividends among it
    #[arg(long)]
    pub(crate) events: bool,
}

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunArguments {
    /// Address and port of the API
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    #[command(flatten)]
    pub(crate) ledger: LedgerFlags,
}

impl RunArguments {
    /// The settings that were given.
    pub(crate) fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        let mut flags = self.ledger.flags();
        flags.push(("listen", self.listen.clone()));
        flags
    }
}

/// How this node's ledger meets others.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct LedgerFlags {
    /// Address and port where other nodes' ledgers reach this one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ledger_listen: Option<String>,
    /// HOST:PORT of other nodes' ledgers, comma-separated
    #[arg(long, value_name = "PEERS")]
    pub(crate) ledger_peers: Option<String>,
    /// Blocks that are kept; 0: all
    #[arg(long, value_name = "N")]
    pub(crate) ledger_keep_blocks: Option<String>,
}

impl LedgerFlags {
    /// The settings that were given.
    pub(crate) fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("ledger_listen", self.ledger_listen.clone()),
            ("ledger_peers", self.ledger_peers.clone()),
            ("ledger_keep_blocks", self.ledger_keep_blocks.clone()),
        ]
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SendArguments {
    #[command(flatten)]
    pub(crate) sign: SignFlags,
    /// Whose account
    pub(crate) to: String,
    /// How many credits, such as 12.5
    pub(crate) amount: String,
    /// A note for the receiver
    #[arg(long, default_value = "")]
    pub(crate) note: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the members
    List {
        #[command(flatten)]
        node: NodeFlag,
        /// Those after this one, which the page before names
        #[arg(long, value_name = "ONE")]
        after: Option<String>,
    },
    /// Ask to become a member
    Apply {
        #[command(flatten)]
        sign: SignFlags,
        /// The name that members see
        name: String,
    },
    /// Vouch for someone who asks, or will ask, to become a member
    Sponsor {
        #[command(flatten)]
        sign: SignFlags,
        /// Who
        address: String,
    },
    /// Pay credits into your own capital
    Capital {
        #[command(flatten)]
        sign: SignFlags,
        /// How many credits
        amount: String,
    },
    /// Stop being a member; your capital is paid out
    Leave {
        #[command(flatten)]
        sign: SignFlags,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ValidatorCommand {
    /// List the validators, and who of them rests or is jailed
    List {
        #[command(flatten)]
        node: NodeFlag,
    },
    /// Call a validator of yours back that was jailed for its absence
    Return {
        #[command(flatten)]
        sign: SignFlags,
        /// Its node's key [default: that of the node that is asked]
        key: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List the nodes that accounts have registered
    List {
        #[command(flatten)]
        node: NodeFlag,
        /// Those after this one, which the page before names
        #[arg(long, value_name = "ONE")]
        after: Option<String>,
    },
    /// Register this home's node as yours, or another machine's with its consent
    Register {
        #[command(flatten)]
        sign: SignFlags,
        /// What `mashaa node consent` printed on the other machine
        #[arg(long, value_name = "TEXT")]
        consent: Option<String>,
    },
    /// Print the consent of this home's node to be registered by an account
    Consent {
        #[command(flatten)]
        node: NodeFlag,
        /// Whose account
        address: String,
        /// For how many blocks it is good
        #[arg(long, value_name = "N", default_value_t = 86_400)]
        blocks: u64,
    },
    /// Take back the registration of a node of yours
    Unregister {
        #[command(flatten)]
        sign: SignFlags,
        /// Its key [default: that of this home's node]
        key: Option<String>,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ProposeArguments {
    #[command(flatten)]
    pub(crate) sign: SignFlags,
    /// What it is about
    pub(crate) title: String,
    /// The CID of its full text
    #[arg(long, value_name = "CID")]
    pub(crate) text: Option<String>,
    /// What is done if it passes, all or nothing; repeat for up to 4. One of: set-parameter NAME
    /// NUMBER; admit-member, suspend-member, reinstate-member or expel-member ADDRESS; set-credit-line
    /// ADDRESS CREDITS; spend-commons or spend-treasury ADDRESS CREDITS [PURPOSE...]; admit-work or retire-work CID;
    /// set-licence CID LICENCE; set-split CID ADDRESS=PARTS...; admit-validator KEY ADDRESS, and a power if it is not 1;
    /// remove-validator KEY; set-guardian or set-cashier, and ADDRESS or nobody; amend-constitution CID
    #[arg(long = "do", value_name = "MEASURE", required = true, verbatim_doc_comment)]
    pub(crate) measures: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct VoteArguments {
    #[command(flatten)]
    pub(crate) sign: SignFlags,
    /// The proposal's number
    pub(crate) proposal: u64,
    /// yes, no or abstain
    pub(crate) choice: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DelegateArguments {
    #[command(flatten)]
    pub(crate) sign: SignFlags,
    /// About what: ordinary, budget, parameter or constitution
    pub(crate) topic: String,
    /// Whose vote counts for yours where you do not vote; `none` takes it back
    pub(crate) to: String,
    /// For how many blocks
    #[arg(long, default_value_t = 86_400)]
    pub(crate) blocks: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DelayArguments {
    #[command(flatten)]
    pub(crate) sign: SignFlags,
    /// The proposal's number
    pub(crate) proposal: u64,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RegistryCommand {
    /// List the models and datasets of the ledger
    List {
        #[command(flatten)]
        node: NodeFlag,
        /// Those after this one, which the page before names
        #[arg(long, value_name = "ONE")]
        after: Option<String>,
    },
    /// Show one
    Show {
        #[command(flatten)]
        node: NodeFlag,
        /// Its CID
        cid: String,
    },
    /// Register a model or a dataset
    Register(Box<RegisterArguments>),
    /// Pay for the use of one; who ran it is paid, its makers, and those of its parents
    Pay {
        #[command(flatten)]
        sign: SignFlags,
        /// Its CID
        cid: String,
        /// How many credits
        amount: String,
        /// Whose machine ran it, and is paid for that
        #[arg(long, value_name = "ADDRESS")]
        worker: String,
    },
    /// Withdraw one that you registered
    Retire {
        #[command(flatten)]
        sign: SignFlags,
        /// Its CID
        cid: String,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct RegisterArguments {
    #[command(flatten)]
    pub(crate) sign: SignFlags,
    /// Its CID
    pub(crate) cid: String,
    /// Its name
    #[arg(long)]
    pub(crate) name: String,
    /// model or dataset
    #[arg(long, default_value = "model")]
    pub(crate) kind: String,
    /// Its licence, an SPDX expression
    #[arg(long)]
    pub(crate) licence: String,
    /// The CID of further terms
    #[arg(long, value_name = "CID")]
    pub(crate) terms: Option<String>,
    /// Who made it, with its parts of what it earns; repeat for more
    #[arg(long, value_name = "ADDRESS=PARTS", required = true)]
    pub(crate) maker: Vec<String>,
    /// What it was made from, with its parts; repeat for more
    #[arg(long, value_name = "CID=PARTS")]
    pub(crate) parent: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArguments {
    /// The language that it is told in: en or ar
    #[arg(long, default_value = "en")]
    pub(crate) lang: String,
    /// The model [default: the catalogue's default]
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Where the nodes' homes are, which then stay [default: `demo` in this home, until it ends]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TestnetArguments {
    /// How many validators
    #[arg(long, default_value_t = 4)]
    pub(crate) validators: usize,
    /// Where their homes are [default: `testnet` in this home]
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) folder: Option<PathBuf>,
    /// Milliseconds between blocks, at least
    #[arg(long, default_value_t = 1000)]
    pub(crate) interval_ms: u32,
    /// Blocks from one snapshot of the state to the next [default: 3600]
    #[arg(long, value_name = "N")]
    pub(crate) snapshot_blocks: Option<u32>,
    /// First port; each validator takes two
    #[arg(long, default_value_t = 18_420)]
    pub(crate) port: u16,
    /// A parameter that differs from its default; repeat for more
    #[arg(long, value_name = "NAME=NUMBER")]
    pub(crate) set: Vec<String>,
}

/// The load of a network that is measured.
#[derive(Clone, Debug, Args)]
pub(crate) struct LoadArguments {
    /// With --ledger: how many validators
    #[arg(long, default_value_t = 4, value_name = "N", requires = "ledger")]
    pub(crate) validators: usize,
    /// With --ledger: HOST:PORT of the APIs of a network that runs already, comma-separated, whose
    /// founders the accounts of --payers are
    #[arg(long, value_name = "NODES", requires = "ledger", value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,
    /// With --ledger: print the accounts that pay, as `mashaa init --founder` takes them, and end
    #[arg(long, requires = "ledger")]
    pub(crate) payers: bool,
    /// With --ledger: how many accounts are paid
    #[arg(long, default_value_t = 1000, value_name = "N", requires = "ledger")]
    pub(crate) accounts: u64,
    /// With --ledger: payments a second; 0: as many as the network takes
    #[arg(long, default_value_t = 0, value_name = "N", requires = "ledger")]
    pub(crate) rate: u32,
    /// With --ledger: for how long
    #[arg(long, default_value_t = 20, value_name = "N", requires = "ledger")]
    pub(crate) seconds: u32,
    /// With --ledger: milliseconds between blocks, at least
    #[arg(long, default_value_t = 500, value_name = "N", requires = "ledger")]
    pub(crate) interval_ms: u32,
}
