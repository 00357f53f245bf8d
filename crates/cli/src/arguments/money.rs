//! The command line of sessions, channels and credits.
//!
//! Not here: what the commands do.

use clap::{Args, Subcommand};

use super::{NodeFlag, SignFlags};

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Let another key act for your account, within a cap and until a block
    Grant {
        #[command(flatten)]
        sign: SignFlags,
        /// The key's address
        key: String,
        /// How many credits it may spend in all
        #[arg(long, value_name = "CREDITS")]
        cap: String,
        /// What it may do: pay, channel, publish or vote; repeat for more
        #[arg(long, required = true)]
        scope: Vec<String>,
        /// For how many blocks
        #[arg(long, default_value_t = 86_400)]
        blocks: u64,
    },
    /// Take back what another key may do
    Revoke {
        #[command(flatten)]
        sign: SignFlags,
        /// The key's address
        key: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChannelCommand {
    /// Show a channel
    Show {
        #[command(flatten)]
        node: NodeFlag,
        /// Its number
        channel: u64,
    },
    /// Set credits aside for someone who takes them against vouchers
    Open {
        #[command(flatten)]
        sign: SignFlags,
        /// Who can redeem
        payee: String,
        /// How many credits
        amount: String,
        /// Blocks between your wish to close and the return of the rest
        #[arg(long, default_value_t = 3_600)]
        timeout: u64,
        /// Key of the payee's node whose answers it pays for; none: it pays for something else
        #[arg(long, value_name = "KEY")]
        work: Option<String>,
    },
    /// Set more credits aside
    TopUp {
        #[command(flatten)]
        sign: SignFlags,
        /// The channel's number
        channel: u64,
        /// How many credits more
        amount: String,
    },
    /// Sign a voucher, which the payee can redeem; the ledger is not told
    Voucher {
        #[command(flatten)]
        sign: SignFlags,
        /// The channel's number
        channel: u64,
        /// All that you have granted since the channel was opened, in credits
        cumulative: String,
    },
    /// Take what a voucher grants
    Redeem {
        #[command(flatten)]
        sign: SignFlags,
        /// The channel's number
        channel: u64,
        /// What the voucher grants, in credits
        cumulative: String,
        /// The voucher's signature
        signature: String,
    },
    /// Close a channel; the rest goes back to its payer
    Close {
        #[command(flatten)]
        sign: SignFlags,
        /// The channel's number
        channel: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CreditsCommand {
    /// Give credits to the treasury, the commons fund or the reserve
    Give {
        #[command(flatten)]
        sign: SignFlags,
        /// treasury, commons or reserve
        fund: String,
        /// How many credits
        amount: String,
    },
    /// As the cashier, issue credits that were paid for
    Issue {
        #[command(flatten)]
        sign: SignFlags,
        /// Who receives
        to: String,
        /// How many credits
        amount: String,
        /// The payment that it is for
        reference: String,
    },
    /// As the cashier, take credits of your own account out of existence
    Withdraw {
        #[command(flatten)]
        sign: SignFlags,
        /// How many credits
        amount: String,
        /// The payment that it is for
        reference: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StakeCommand {
    /// Show what an account has at stake, and its standing as an auditor
    Show {
        #[command(flatten)]
        node: NodeFlag,
        /// Whose; your own wallet's account where nothing is said
        address: Option<String>,
    },
    /// Put credits at stake: what your work and your audits can cost you
    Add {
        #[command(flatten)]
        sign: SignFlags,
        /// How many credits
        amount: String,
    },
    /// Take credits back that are not bound; they come after a delay
    Take {
        #[command(flatten)]
        sign: SignFlags,
        /// How many credits
        amount: String,
    },
    /// Offer to audit others' answers
    Enlist(SignFlags),
    /// No longer offer to audit
    Resign(SignFlags),
}

#[derive(Debug, Args)]
pub(crate) struct QuoteArguments {
    #[command(flatten)]
    pub(crate) node: NodeFlag,
    /// What would be asked
    pub(crate) question: String,
    /// The model, by a name that the node serves it under [default: its first]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Tokens of the answer, at most
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub(crate) max_tokens: u32,
}

#[derive(Debug, Args)]
pub(crate) struct EarnArguments {
    #[command(flatten)]
    pub(crate) node: NodeFlag,
    #[command(subcommand)]
    pub(crate) command: Option<EarnCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EarnCommand {
    /// Take what was vouched for, as the account that is paid
    Redeem(SignFlags),
}
