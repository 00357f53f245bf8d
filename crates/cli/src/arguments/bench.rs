//! The command line of the bench of servers.
//!
//! Not here: what it does (`bench::servers`), and the other benches' flags.

use clap::Args;

#[derive(Clone, Debug, Args)]
pub(crate) struct ServersArguments {
    /// Measure instead a server with the OpenAI API, such as http://127.0.0.1:11435/v1; more than one
    /// are measured in turn
    #[arg(long, value_name = "URL", conflicts_with_all = ["ledger", "gateway", "peer"])]
    pub(crate) server: Vec<String>,
    /// With --server: how many clients ask at once, comma-separated
    #[arg(long, default_value = "1,4,16,64", value_name = "N", requires = "server")]
    #[arg(value_delimiter = ',')]
    pub(crate) clients: Vec<usize>,
    /// With --server: requests in a round for each client
    #[arg(long, default_value_t = 4, value_name = "N", requires = "server")]
    pub(crate) requests: usize,
    /// With --server: what is asked follows from it
    #[arg(long, default_value_t = 1, value_name = "N", requires = "server")]
    pub(crate) seed: u64,
}
