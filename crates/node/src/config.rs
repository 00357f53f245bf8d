//! Settings: what they are, and where each value came from.
//!
//! A setting comes from a flag, else the environment, else `config.toml`, else its default.
//!
//! Invariants:
//! - A key that no setting has is refused by name; nothing is ignored.
//!
//! Not here: what the settings do.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// Bytes of `config.toml`, at most.
pub const FILE_SIZE_MAX: u64 = 1 << 20;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Its key in `config.toml`; the environment variable is `MASHAA_` and the key in capitals.
    pub key: &'static str,
    /// Its value where nothing else is said.
    pub default: &'static str,
    /// What it is, with unit and range.
    pub help: &'static str,
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    Setting { key: "listen", default: "127.0.0.1:8420", help: "address and port of the API" },
    Setting { key: "model", default: "", help: "model to serve; empty: the catalogue's default" },
    Setting { key: "threads", default: "0", help: "threads that compute; 0: one a core" },
    Setting { key: "isa", default: "auto", help: "auto, scalar, avx2, avx512 or neon" },
    Setting { key: "kv_mib", default: "1024", help: "memory for past positions, MiB" },
    Setting { key: "queue", default: "256", help: "requests held at once, 1 to 65536" },
    Setting {
        key: "ledger_listen",
        default: "127.0.0.1:0",
        help: "address and port where other nodes' ledgers reach this one; port 0: any that is free",
    },
    Setting {
        key: "ledger_peers",
        default: "",
        help: "HOST:PORT of other nodes' ledgers, comma-separated",
    },
    Setting {
        key: "ledger_keep_blocks",
        default: "0",
        help: "blocks of the ledger that are kept; 0: all, an archive",
    },
    Setting {
        key: "network_listen",
        default: "0.0.0.0:8422",
        help: "address and port where other machines reach this one, once someone was invited",
    },
    Setting {
        key: "network_address",
        default: "",
        help: "other addresses of this machine, such as its router's, comma-separated HOST:PORT",
    },
    Setting { key: "network_nearby", default: "yes", help: "look for machines on the same LAN" },
    Setting { key: "network_name", default: "", help: "what this machine is called there" },
    Setting {
        key: "compute",
        default: "yes",
        help: "whether this machine computes; no: others of its network do",
    },
    Setting { key: "api_keys", default: "", help: "keys that open the API, comma-separated" },
    Setting { key: "files_mib", default: "200", help: "one file left at the API, at most, MiB" },
    Setting {
        key: "files_total_mib",
        default: "4096",
        help: "all files left at the API, above which none is taken, MiB",
    },
    Setting {
        key: "files_count",
        default: "1000",
        help: "files left at the API, above which none is taken",
    },
    Setting {
        key: "batch_lines",
        default: "4",
        help: "requests of batches that are answered at once, 1 to 256",
    },
    Setting { key: "catalogue", default: "", help: "a catalogue file instead of the built-in one" },
    Setting {
        key: "store_gib",
        default: "0",
        help: "GiB that the store may take; 0: what the disk has",
    },
    Setting { key: "log", default: "warn", help: "what the log tells, as `warn,network=debug`" },
    Setting {
        key: "log_format",
        default: "text",
        help: "how the log is written: text, or json, one object a line",
    },
    Setting {
        key: "log_prompts",
        default: "no",
        help: "whether the log holds what is asked, at the level info: yes or no",
    },
    Setting {
        key: "traces",
        default: "",
        help: "a collector of OpenTelemetry that gets a span of each answer, as http://127.0.0.1:4318",
    },
    Setting {
        key: "store_pledge_mib",
        default: "0",
        help: "space for copies of other members' content, MiB; 0: none",
    },
    Setting {
        key: "store_routing",
        default: "",
        help: "who is asked where content is, http://HOST:PORT, comma-separated; empty: nobody",
    },
    Setting {
        key: "copies_look_seconds",
        default: "60",
        help: "how often it is looked which other machines are there, seconds",
    },
    Setting {
        key: "copies_prior_seconds",
        default: "86400",
        help: "how long a machine counts as one that is there half of the time, seconds of looking",
    },
    Setting {
        key: "copies_grace_seconds",
        default: "86400",
        help: "how long a keeper of a copy may be away before another is asked, seconds",
    },
    Setting {
        key: "copies_check_seconds",
        default: "3600",
        help: "how often a keeper has to show that it has a copy, seconds",
    },
    Setting {
        key: "copies_lease_seconds",
        default: "604800",
        help: "how long a copy stays where its owner is not heard of, seconds",
    },
    Setting { key: "mirror", default: "", help: "a directory to look for model files in first" },
    Setting {
        key: "work_hours",
        default: "",
        help: "when there is work for others, such as `mon-fri 18:00-08:00, sat-sun`; empty: always",
    },
    Setting {
        key: "work_on_battery",
        default: "no",
        help: "work for others on battery: yes, no, or from this charge in percent",
    },
    Setting {
        key: "work_temperature_max",
        default: "0",
        help: "no work for others above this temperature, degrees Celsius; 0: any",
    },
    Setting {
        key: "work_while_active",
        default: "yes",
        help: "work for others while somebody uses the machine: yes or no",
    },
    Setting {
        key: "work_idle_minutes",
        default: "3",
        help: "minutes without input after which nobody uses the machine, 1 to 1440",
    },
    Setting {
        key: "work_load_max",
        default: "0",
        help: "no work for others while other programs take more of the cores, percent; 0: any",
    },
    Setting {
        key: "work_threads",
        default: "0",
        help: "threads that compute while there are requests of others; 0: as `threads`",
    },
    Setting {
        key: "work_threads_active",
        default: "0",
        help: "the same while somebody uses the machine; 0: as `work_threads`",
    },
    Setting {
        key: "work_memory_mib",
        default: "0",
        help: "memory for past positions of others' requests, MiB; 0: as `kv_mib`",
    },
    Setting {
        key: "work_memory_free_mib",
        default: "0",
        help: "no work for others while less memory is free, MiB; 0: any",
    },
    Setting {
        key: "work_disk_free_mib",
        default: "0",
        help: "no work for others while less of the home's disk is free, MiB; 0: any",
    },
    Setting {
        key: "work_traffic_mib",
        default: "0",
        help: "to and from others in a calendar month, MiB; 0: no limit",
    },
    Setting {
        key: "work_rate_kib",
        default: "0",
        help: "to and from others in a second, on average, KiB; 0: no limit",
    },
    Setting {
        key: "work_suspend_seconds",
        default: "5",
        help: "how long others' answers wait suspended before they are given back, 0 to 86400",
    },
    Setting {
        key: "earn_price",
        default: "0",
        help: "credits for a million tokens of others' requests, prompt and answer; 0: for nothing",
    },
    Setting {
        key: "earn_unpaid_max",
        default: "1",
        help: "credits that a payer may owe before there is no more work for it",
    },
    Setting {
        key: "pay_wallet",
        default: "",
        help: "wallet that pays other machines, made with --unattended; empty: nothing is paid",
    },
    Setting {
        key: "pay_account",
        default: "",
        help: "account that pays, for which the wallet has a session key; empty: the wallet's own",
    },
    Setting {
        key: "pay_price_max",
        default: "1",
        help: "credits for a million tokens that a machine may ask, at most",
    },
    Setting {
        key: "pay_deposit",
        default: "1",
        help: "credits that the channel to a machine begins with",
    },
    Setting {
        key: "pay_trust",
        default: "checked",
        help: "who may read what is paid for: checked, also auditors that are drawn; private, nobody",
    },
    Setting {
        key: "pay_cap",
        default: "10",
        help: "credits that all channels to machines hold together, at most",
    },
    Setting {
        key: "node_wallet",
        default: "",
        help: "wallet that signs what this node does by itself: redeems, audits, disputes; empty: none",
    },
    Setting {
        key: "node_account",
        default: "",
        help: "account whose work and stake that is, where the wallet has a session key of it",
    },
    Setting {
        key: "audit",
        default: "yes",
        help: "whether this node audits where the account is drawn that enlisted: yes or no",
    },
    Setting {
        key: "sensors_root",
        default: "/",
        help: "directory under which /proc, /sys, /dev and /etc are read",
    },
];

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was said.
    Default,
    /// The settings file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => write!(f, "flag --{name}"),
        }
    }
}

/// All settings with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    values: BTreeMap<&'static str, (String, Origin)>,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{path}: {what}")]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Where and why.
        what: String,
    },
    /// The file has a key that no setting has.
    #[error("{path}:{line}: there is no setting {key:?}; the settings are {known}")]
    UnknownKey {
        /// Which file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
        /// All keys.
        known: String,
    },
    /// A value is not what the setting takes.
    #[error("{key} is {value:?} (from {origin}), which is not {wanted}")]
    Value {
        /// The setting.
        key: &'static str,
        /// What was said.
        value: String,
        /// Where.
        origin: Origin,
        /// What it takes.
        wanted: &'static str,
    },
}

impl Config {
    /// Gathers the settings. `flags` are (key, value) pairs that were given.
    ///
    /// # Errors
    /// When the file cannot be read, or names a setting that does not exist.
    pub fn load(
        file: PathBuf,
        variable: &dyn Fn(&str) -> Option<String>,
        flags: &[(&'static str, String)],
    ) -> Result<Config, ConfigError> {
        let mut values = BTreeMap::new();
        for setting in SETTINGS {
            values.insert(setting.key, (setting.default.to_owned(), Origin::Default));
        }
        for (setting, value) in read(&file)? {
            values.insert(setting.key, (value, Origin::File(file.clone())));
        }
        for setting in SETTINGS {
            let name = format!("MASHAA_{}", setting.key.to_uppercase());
            if let Some(value) = variable(&name) {
                values.insert(setting.key, (value, Origin::Environment(name)));
            }
        }
        for (key, value) in flags {
            values.insert(key, (value.clone(), Origin::Flag(key.replace('_', "-"))));
        }
        Ok(Config { values })
    }

    /// Sets a value that the program chose.
    pub fn set(&mut self, key: &'static str, value: String) {
        self.values.insert(key, (value, Origin::Default));
    }

    /// A setting's value as text; empty for a key that does not exist.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.values.get(key).map_or("", |(value, _)| value)
    }

    /// A setting's value as a whole number in a range.
    ///
    /// # Errors
    /// When it is not one.
    pub fn number(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
        wanted: &'static str,
    ) -> Result<u64, ConfigError> {
        match self.text(key).parse() {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(self.wrong(key, wanted)),
        }
    }

    /// The error that a setting's value is not what it should be.
    #[must_use]
    pub fn wrong(&self, key: &'static str, wanted: &'static str) -> ConfigError {
        let missing = (String::new(), Origin::Default);
        let (value, origin) = self.values.get(key).cloned().unwrap_or(missing);
        ConfigError::Value { key, value, origin, wanted }
    }

    /// All settings: key, value, origin.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| (*key, value.as_str(), origin))
    }
}

/// The settings of a file, which need not be there, and their values.
fn read(path: &Path) -> Result<Vec<(&'static Setting, String)>, ConfigError> {
    let wrong = |source| ConfigError::File { path: path.to_path_buf(), source };
    let syntax = |what: String| ConfigError::Syntax { path: path.to_path_buf(), what };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(error)),
        Ok(metadata) if metadata.len() > FILE_SIZE_MAX => {
            return Err(syntax(format!("the file is larger than {FILE_SIZE_MAX} bytes")));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(wrong)?;
    let table = DeTable::parse(&text).map_err(|error| syntax(error.to_string()))?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let name = key.get_ref().as_ref();
        let before = text.get(..key.span().start).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        let setting = SETTINGS.iter().find(|setting| setting.key == name);
        let setting = setting.ok_or_else(|| unknown(path, line, name))?;
        let value = plain(value.get_ref()).ok_or_else(|| {
            syntax(format!("line {line}: {name} is neither text, a number nor a list of them"))
        })?;
        settings.push((setting, value));
    }
    Ok(settings)
}

fn unknown(path: &Path, line: usize, key: &str) -> ConfigError {
    let known = SETTINGS.iter().map(|setting| setting.key).collect::<Vec<_>>().join(", ");
    ConfigError::UnknownKey { path: path.to_path_buf(), line, key: key.to_owned(), known }
}

fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        // As it is written: an amount is never a binary fraction.
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| plain(item.get_ref()));
            Some(texts.collect::<Option<Vec<_>>>()?.join(","))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
