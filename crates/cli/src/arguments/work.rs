//! The commands on a node's work for others.
//!
//! Not here: what they do (`work`).

use clap::{Args, Subcommand};

use super::{NodeFlag, RegistryCommand};

#[derive(Debug, Subcommand)]
pub(crate) enum WorkCommand {
    /// Stop the work for others; running answers stand still
    Pause {
        #[command(flatten)]
        node: NodeFlag,
        /// For how long, such as 2h, 90m or 1d12h [default: until `mashaa work resume`]
        #[arg(long = "for", value_name = "TIME", conflicts_with = "until")]
        length: Option<String>,
        /// Until this time of the day, such as 18:00
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Stop the answers to your own requests as well
        #[arg(long)]
        all: bool,
    },
    /// End a pause or a drain
    #[command(alias = "start")]
    Resume(NodeFlag),
    /// Finish what runs, take nothing new, and say when that is done
    Drain {
        #[command(flatten)]
        node: NodeFlag,
        /// Own requests as well
        #[arg(long)]
        all: bool,
        /// Seconds to wait until it is done; 0 does not wait
        #[arg(long, value_name = "N", default_value_t = 600)]
        wait: u64,
    },
    /// Show what runs, and whether it may
    Status(NodeFlag),
    /// The commands of `mashaa registry` by their older name
    #[command(flatten)]
    Registry(RegistryCommand),
}

/// What a machine's owner lets it do for others.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Work for others")]
pub(crate) struct WorkFlags {
    /// When, such as `mon-fri 18:00-08:00, sat-sun`
    #[arg(long, value_name = "HOURS")]
    pub(crate) work_hours: Option<String>,
    /// On battery: yes, no, or from this charge in percent
    #[arg(long, value_name = "CHARGE")]
    pub(crate) work_on_battery: Option<String>,
    /// Degrees Celsius, at most
    #[arg(long, value_name = "N")]
    pub(crate) work_temperature_max: Option<String>,
    /// While somebody uses the machine: yes or no
    #[arg(long, value_name = "ANSWER")]
    pub(crate) work_while_active: Option<String>,
    /// Minutes without input after which nobody uses it
    #[arg(long, value_name = "N")]
    pub(crate) work_idle_minutes: Option<String>,
    /// Percent of the cores that other programs may take
    #[arg(long, value_name = "N")]
    pub(crate) work_load_max: Option<String>,
    /// Threads
    #[arg(long, value_name = "N")]
    pub(crate) work_threads: Option<String>,
    /// Threads while somebody uses the machine
    #[arg(long, value_name = "N")]
    pub(crate) work_threads_active: Option<String>,
    /// Memory for past positions, MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) work_memory_mib: Option<String>,
    /// Memory that stays free, MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) work_memory_free_mib: Option<String>,
    /// Room that stays free on the home's disk, MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) work_disk_free_mib: Option<String>,
    /// Traffic of a calendar month, MiB
    #[arg(long, value_name = "MIB")]
    pub(crate) work_traffic_mib: Option<String>,
    /// Traffic of a second on average, KiB
    #[arg(long, value_name = "KIB")]
    pub(crate) work_rate_kib: Option<String>,
    /// Seconds that answers stand still before they are given back
    #[arg(long, value_name = "N")]
    pub(crate) work_suspend_seconds: Option<String>,
}

impl WorkFlags {
    /// The settings that were given.
    pub(crate) fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("work_hours", self.work_hours.clone()),
            ("work_on_battery", self.work_on_battery.clone()),
            ("work_temperature_max", self.work_temperature_max.clone()),
            ("work_while_active", self.work_while_active.clone()),
            ("work_idle_minutes", self.work_idle_minutes.clone()),
            ("work_load_max", self.work_load_max.clone()),
            ("work_threads", self.work_threads.clone()),
            ("work_threads_active", self.work_threads_active.clone()),
            ("work_memory_mib", self.work_memory_mib.clone()),
            ("work_memory_free_mib", self.work_memory_free_mib.clone()),
            ("work_disk_free_mib", self.work_disk_free_mib.clone()),
            ("work_traffic_mib", self.work_traffic_mib.clone()),
            ("work_rate_kib", self.work_rate_kib.clone()),
            ("work_suspend_seconds", self.work_suspend_seconds.clone()),
        ]
    }
}
