//! What the owner of a machine lets it do for others, and when.
//!
//! BOINC's preferences are the checklist. `judge` compares them with what the sensors measured and
//! says what may run now, and of every preference what it asks, what was measured, and when that
//! changes. Preferences hold for others' requests; a pause or a drain may be asked to hold for the
//! owner's own as well.
//!
//! Invariants:
//! - No clock and no files: time and measurements are arguments.
//! - A preference that cannot be measured is reported as `Unknown`, and stops nothing.
//! - Close to a limit nothing flaps: what stopped the work must get better by a margin.
//!
//! Not here: measuring (`sensors`), and doing what the verdict says (`supervisor`, `worker`).

use std::time::Duration;

use crate::config::{Config, ConfigError};

pub mod hours;
mod rules;

use hours::Hours;

/// Seconds after which a client may come back when nobody knows when the work goes on.
pub const RETRY_AFTER: u32 = 60;
/// Seconds after which a client may come back, at most.
pub const RETRY_AFTER_MAX: u32 = 3600;
/// Seconds of a pause, at most: ten years.
pub const PAUSE_MAX: u64 = 10 * 366 * 86_400;

/// What the owner wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preferences {
    /// Threads that compute while there are requests of others, at most.
    pub threads: usize,
    /// The same while somebody uses the machine.
    pub threads_active: usize,
    /// Bytes for the past positions of others' requests, at most.
    pub memory_max: Option<u64>,
    /// Bytes of memory that must be free.
    pub memory_free_min: Option<u64>,
    /// Bytes of the home's disk that must be free.
    pub disk_free_min: Option<u64>,
    /// Bytes for others in a calendar month, at most.
    pub traffic_max: Option<u64>,
    /// Bytes for others in a second, at most, on average.
    pub rate_max: Option<u64>,
    /// When there is work.
    pub hours: Option<Hours>,
    /// Whether there is work on a battery.
    pub on_battery: OnBattery,
    /// The highest temperature, in thousandths of a degree Celsius.
    pub temperature_max: Option<i64>,
    /// The share of the machine's cores that other programs may take, in thousandths.
    pub load_max: Option<u32>,
    /// Whether there is work while somebody uses the machine.
    pub while_active: bool,
    /// Seconds without input after which nobody uses the machine.
    pub idle_min: u64,
    /// How long others' answers wait suspended before they are given back.
    pub suspend_max: Duration,
}

/// Whether there is work on a battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBattery {
    /// No.
    Never,
    /// While it has this charge in percent.
    From(u8),
}

/// What was measured; `None` is not known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Seconds since 1970.
    pub now: u64,
    /// Minute of the local week, from Monday 00:00.
    pub week_minute: Option<u16>,
    /// What feeds the machine.
    pub power: Option<Power>,
    /// Of the hottest sensor, in thousandths of a degree Celsius.
    pub temperature: Option<i64>,
    /// Seconds since somebody last typed.
    pub idle: Option<u64>,
    /// The share of the machine's cores that other programs take, in thousandths.
    pub load: Option<u32>,
    /// Bytes of memory that are free.
    pub memory_free: Option<u64>,
    /// Bytes of the home's disk that are free.
    pub disk_free: Option<u64>,
    /// What others' requests sent and fetched.
    pub traffic: TrafficNow,
}

/// What feeds a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    /// Whether a battery does.
    pub on_battery: bool,
    /// Its charge in percent.
    pub charge: Option<u8>,
}

/// Bytes for others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficNow {
    /// Of this calendar month.
    pub month: u64,
    /// When the next one begins, in seconds since 1970.
    pub month_end: Option<u64>,
    /// Those above the rate, that time has to make up for.
    pub debt: u64,
}

/// What the owner has asked for by hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Work, as the preferences say.
    #[default]
    Work,
    /// A pause.
    Pause {
        /// Its end in seconds since 1970; without one, until someone ends it.
        until: Option<u64>,
        /// Whether it holds for own requests as well.
        all: bool,
    },
    /// Finish, and take nothing new.
    Drain {
        /// Whether it holds for own requests as well.
        all: bool,
    },
}

impl Mode {
    /// The mode once its end has come.
    #[must_use]
    pub fn at(self, now: u64) -> Mode {
        match self {
            Mode::Pause { until: Some(until), .. } if until <= now => Mode::Work,
            mode => mode,
        }
    }
}

/// What a class of requests may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Everything.
    #[default]
    Open,
    /// Finish; nothing new is taken.
    Draining,
    /// Nothing: what runs is suspended.
    Closed,
}

impl Gate {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Gate::Open => "open",
            Gate::Draining => "draining",
            Gate::Closed => "closed",
        }
    }
}

/// A preference. The names are part of the program's interface (`docs/cli.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A pause or a drain, by hand.
    Control,
    /// `work_hours`.
    Hours,
    /// `work_on_battery`.
    Battery,
    /// `work_temperature_max`.
    Temperature,
    /// `work_while_active`.
    Active,
    /// `work_load_max`.
    Load,
    /// `work_memory_free_mib`.
    MemoryFree,
    /// `work_disk_free_mib`.
    DiskFree,
    /// `work_traffic_mib`.
    Traffic,
    /// `work_rate_kib`.
    Rate,
    /// `work_threads` and `work_threads_active`.
    Threads,
    /// `work_memory_mib`.
    Memory,
}

impl Rule {
    /// All, in the order in which they are told.
    pub const ALL: [Rule; 12] = [
        Rule::Control,
        Rule::Hours,
        Rule::Battery,
        Rule::Temperature,
        Rule::Active,
        Rule::Load,
        Rule::MemoryFree,
        Rule::DiskFree,
        Rule::Traffic,
        Rule::Rate,
        Rule::Threads,
        Rule::Memory,
    ];

    /// Its code.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.row().0
    }

    /// The setting that it is.
    #[must_use]
    pub fn setting(self) -> &'static str {
        self.row().1
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Rule::Control => ("paused", "mashaa work"),
            Rule::Hours => ("outside_hours", "work_hours"),
            Rule::Battery => ("on_battery", "work_on_battery"),
            Rule::Temperature => ("too_hot", "work_temperature_max"),
            Rule::Active => ("user_active", "work_while_active"),
            Rule::Load => ("other_load", "work_load_max"),
            Rule::MemoryFree => ("memory_short", "work_memory_free_mib"),
            Rule::DiskFree => ("disk_short", "work_disk_free_mib"),
            Rule::Traffic => ("traffic_used_up", "work_traffic_mib"),
            Rule::Rate => ("rate_exceeded", "work_rate_kib"),
            Rule::Threads => ("threads_limited", "work_threads"),
            Rule::Memory => ("memory_limited", "work_memory_mib"),
        }
    }
}

/// What a preference does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is asked.
    Off,
    /// What is asked is the case.
    Allows,
    /// The work goes on with less.
    Limits,
    /// Nothing new is taken.
    Drains,
    /// Nothing runs.
    Stops,
    /// What is asked cannot be measured here, so that it is not enforced.
    Unknown,
}

impl Effect {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Effect::Off => "off",
            Effect::Allows => "allows",
            Effect::Limits => "limits",
            Effect::Drains => "drains",
            Effect::Stops => "stops",
            Effect::Unknown => "unknown",
        }
    }
}

/// One preference against what was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// What it does.
    pub effect: Effect,
    /// Both sides in words.
    pub sentence: String,
    /// When that changes, in seconds since 1970, if that is known.
    pub until: Option<u64>,
}

/// What may run now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Requests of others.
    pub others: Gate,
    /// The owner's own.
    pub own: Gate,
    /// Threads that compute while there are requests of others.
    pub threads: usize,
    /// Bytes for the past positions of others' requests, at most.
    pub memory_max: Option<u64>,
    /// One for each preference, in the order of `Rule::ALL`.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Why others' work does not run: the first reason.
    #[must_use]
    pub fn reason(&self) -> Option<&Finding> {
        self.findings.iter().find(|it| matches!(it.effect, Effect::Stops | Effect::Drains))
    }

    /// Whether others should be told that there is work done here: not while it is stopped, but for
    /// the moments that keep a rate.
    #[must_use]
    pub fn is_offered(&self) -> bool {
        let ends_it = |it: &Finding| match it.effect {
            Effect::Stops => it.rule != Rule::Rate,
            Effect::Drains => true,
            _ => false,
        };
        !self.findings.iter().any(ends_it)
    }

    /// Seconds after which a client of others may ask again.
    #[must_use]
    pub fn retry_after(&self, now: u64) -> u32 {
        let stops = self.findings.iter().filter(|it| it.effect == Effect::Stops);
        // The last of the reasons decides; one whose end is not known is asked for again soon.
        let last = stops.map(|it| it.until).reduce(|a, b| a.zip(b).map(|(a, b)| a.max(b)));
        let seconds = last.flatten().map_or(u64::from(RETRY_AFTER), |it| it.saturating_sub(now));
        u32::try_from(seconds).unwrap_or(RETRY_AFTER_MAX).clamp(1, RETRY_AFTER_MAX)
    }

    fn stopped(&self, rule: Rule) -> bool {
        self.findings.iter().any(|it| it.rule == rule && it.effect == Effect::Stops)
    }
}

impl Preferences {
    /// The preferences that the settings say, on a machine that computes with `threads` threads.
    ///
    /// # Errors
    /// When a setting is not what it takes.
    pub fn of(config: &Config, threads: usize) -> Result<Preferences, ConfigError> {
        let number =
            |key, max, wanted| config.number(key, 0..=max, wanted).map(|it| (it > 0).then_some(it));
        let mib = |key| {
            let wanted = "a number of MiB, 0 to 2^40; 0 sets no limit";
            number(key, 1 << 40, wanted).map(|it| it.map(|it| it << 20))
        };
        let cores = |key, other: usize| {
            let limit = number(key, 256, "a number of threads from 0 to 256; 0 sets no limit")?;
            Ok(limit.map_or(other, |it| other.min(usize::try_from(it).unwrap_or(other))))
        };
        let threads = cores("work_threads", threads)?;
        let temperature = number("work_temperature_max", 150, "degrees Celsius, 0 to 150")?;
        let load = number("work_load_max", 100, "percent of the cores, 0 to 100")?;
        let rate = number("work_rate_kib", 1 << 30, "KiB a second, 0 to 2^30; 0 sets no limit")?;
        let idle = config.number("work_idle_minutes", 1..=1440, "minutes from 1 to 1440")?;
        let suspend = config.number("work_suspend_seconds", 0..=86_400, "seconds, 0 to 86400")?;
        Ok(Preferences {
            threads,
            threads_active: cores("work_threads_active", threads)?,
            memory_max: mib("work_memory_mib")?,
            memory_free_min: mib("work_memory_free_mib")?,
            disk_free_min: mib("work_disk_free_mib")?,
            traffic_max: mib("work_traffic_mib")?,
            rate_max: rate.map(|it| it << 10),
            hours: hours(config)?,
            on_battery: on_battery(config)?,
            temperature_max: temperature.and_then(|it| i64::try_from(it * 1000).ok()),
            load_max: load.and_then(|it| u32::try_from(it * 10).ok()),
            while_active: yes(config, "work_while_active")?,
            idle_min: idle * 60,
            suspend_max: Duration::from_secs(suspend),
        })
    }
}

/// What may run now, by the preferences, the owner's word and what was measured. `before` is the
/// verdict until now.
#[must_use]
pub fn judge(
    preferences: &Preferences,
    mode: Mode,
    conditions: &Conditions,
    before: &Verdict,
) -> Verdict {
    let mode = mode.at(conditions.now);
    let find = |rule| rules::find(rule, preferences, mode, conditions, before.stopped(rule));
    let findings: Vec<Finding> = Rule::ALL.into_iter().map(find).collect();
    let has = |effect| findings.iter().any(|it| it.effect == effect);
    let others = match (has(Effect::Stops), has(Effect::Drains)) {
        (true, _) => Gate::Closed,
        (_, true) => Gate::Draining,
        _ => Gate::Open,
    };
    let own = match mode {
        Mode::Pause { all: true, .. } => Gate::Closed,
        Mode::Drain { all: true } => Gate::Draining,
        _ => Gate::Open,
    };
    let threads = rules::threads(preferences, conditions);
    Verdict { others, own, threads, memory_max: preferences.memory_max, findings }
}

fn yes(config: &Config, key: &'static str) -> Result<bool, ConfigError> {
    match config.text(key) {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(config.wrong(key, "yes or no")),
    }
}

fn on_battery(config: &Config) -> Result<OnBattery, ConfigError> {
    let key = "work_on_battery";
    match (config.text(key), config.text(key).parse()) {
        ("no", _) => Ok(OnBattery::Never),
        ("yes", _) => Ok(OnBattery::From(0)),
        (_, Ok(charge @ 1..=100)) => Ok(OnBattery::From(charge)),
        _ => Err(config.wrong(key, "yes, no, or the least charge in percent, 1 to 100")),
    }
}

fn hours(config: &Config) -> Result<Option<Hours>, ConfigError> {
    let key = "work_hours";
    match config.text(key).trim() {
        "" => Ok(None),
        text => match Hours::parse(text) {
            Some(hours) => Ok(Some(hours)),
            None => Err(config.wrong(key, hours::WANTED)),
        },
    }
}

#[cfg(test)]
mod tests;
