//! The command line of `mashaa store`.
//!
//! Not here: what the commands do.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::NodeFlag;

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Take in a file or a folder, pin it, and print its CID
    Add {
        /// The file or folder
        path: PathBuf,
        /// Do not pin it; the next `gc` deletes it
        #[arg(long)]
        no_pin: bool,
        /// Files of a folder whose names begin with a dot too
        #[arg(long)]
        hidden: bool,
    },
    /// Fetch a file or directory from other nodes or any gateway of IPFS, and pin it
    Get {
        /// Its CID
        cid: String,
        #[command(flatten)]
        from: FromFlag,
        /// Write it to this place too, where nothing is yet
        #[arg(short, long, value_name = "PATH")]
        output: Option<PathBuf>,
        /// Make symbolic links that lead out of the folder too
        #[arg(long, requires = "output")]
        outside_links: bool,
        /// Do not pin it; the next `gc` deletes it
        #[arg(long)]
        no_pin: bool,
    },
    /// List what is pinned, what models are made of and what is kept for others, or a directory's entries
    Ls {
        /// A directory's CID
        cid: Option<String>,
    },
    /// Keep `gc` from deleting a file or directory
    Pin {
        /// Its CID
        cid: String,
        /// What you call it
        #[arg(long, default_value = "")]
        name: String,
        /// How much of the time it is to be there while this machine is away, such as 0.99: other
        /// machines are asked to keep copies; 0: no longer [default: as it was; at first this machine
        /// alone]
        #[arg(long, value_name = "A")]
        availability: Option<String>,
    },
    /// Explain which machines keep, or would keep, copies of it, and what that costs
    Plan {
        /// Its CID
        cid: String,
        /// How much of the time it is to be there, such as 0.99 [default: as its pin has it]
        #[arg(long, value_name = "A")]
        availability: Option<String>,
        #[command(flatten)]
        node: NodeFlag,
    },
    /// Let `gc` delete it, unless something else leads to it
    Unpin {
        /// Its CID
        cid: String,
    },
    /// Delete what neither a pin, a model nor a copy for others leads to
    Gc,
    /// Read everything, check its hash, and mend what can be mended
    Fsck {
        #[command(flatten)]
        from: FromFlag,
    },
    /// Write a file or directory as an archive (CARv1)
    Export {
        /// Its CID
        cid: String,
        /// A new file
        file: PathBuf,
    },
    /// Take in an archive (CARv1), pin its roots, and print them
    Import {
        /// The archive
        file: PathBuf,
        /// Do not pin the roots
        #[arg(long)]
        no_pin: bool,
    },
    /// Show how much the store has and may take, or what one CID is
    Stat {
        /// A CID
        cid: Option<String>,
    },
}

/// Where to fetch from.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct FromFlag {
    /// A node or gateway, http://HOST:PORT, or the key of a machine of one's network; several are used
    /// at once
    #[arg(long, value_name = "URL|KEY")]
    pub(crate) from: Vec<String>,
}
