//! Each preference against what was measured, in words.
//!
//! Not here: what follows from it (`judge`).

use super::hours::name;
use super::{Conditions, Effect, Finding, Mode, OnBattery, Preferences, Rule};

/// How much cooler it must be before the work goes on, in thousandths of a degree: fans and sensors
/// take about that to settle.
const TEMPERATURE_MARGIN: i64 = 5_000;
/// The share of a limit by which other measurements must get better: one part in this many.
const MARGIN: u64 = 8;
/// Bytes by which room must get better, at most.
const ROOM_MARGIN_MAX: u64 = 64 << 20;

/// Threads that compute while there are requests of others.
pub(super) fn threads(preferences: &Preferences, conditions: &Conditions) -> usize {
    match active(preferences, conditions) {
        Some(true) => preferences.threads_active,
        _ => preferences.threads,
    }
    .max(1)
}

/// Whether somebody uses the machine.
fn active(preferences: &Preferences, conditions: &Conditions) -> Option<bool> {
    conditions.idle.map(|idle| idle < preferences.idle_min)
}

/// One preference's finding. `stopped`: whether it stopped the work until now.
pub(super) fn find(
    rule: Rule,
    preferences: &Preferences,
    mode: Mode,
    conditions: &Conditions,
    stopped: bool,
) -> Finding {
    let found = match rule {
        Rule::Control => control(mode, conditions.now),
        Rule::Hours => hours(preferences, conditions),
        Rule::Battery => battery(preferences, conditions),
        Rule::Temperature => temperature(preferences, conditions, stopped),
        Rule::Active => presence(preferences, conditions),
        Rule::Load => load(preferences, conditions, stopped),
        Rule::MemoryFree => {
            let free = (preferences.memory_free_min, conditions.memory_free);
            room(rule, "of memory", free, stopped)
        }
        Rule::DiskFree => {
            let free = (preferences.disk_free_min, conditions.disk_free);
            room(rule, "of the home's disk", free, stopped)
        }
        Rule::Traffic => traffic(preferences, conditions),
        Rule::Rate => rate(preferences, conditions),
        Rule::Threads => thread_limit(preferences, conditions),
        Rule::Memory => memory(preferences),
    };
    let (effect, sentence, until) =
        found.unwrap_or_else(|| (Effect::Off, format!("{} sets no limit", rule.setting()), None));
    Finding { rule, effect, sentence, until }
}

/// Effect, sentence, and when it changes; `None` where nothing is asked.
type Found = Option<(Effect, String, Option<u64>)>;

fn control(mode: Mode, now: u64) -> Found {
    let whose = |all| if all { "all requests" } else { "requests of others" };
    let found = match mode {
        Mode::Work => (Effect::Allows, "nobody has paused the work".to_owned(), None),
        Mode::Pause { until: Some(until), all } => {
            let left = span(until.saturating_sub(now));
            let sentence = format!("`mashaa work pause` holds {} for another {left}", whose(all));
            (Effect::Stops, sentence, Some(until))
        }
        Mode::Pause { until: None, all } => {
            let sentence =
                format!("`mashaa work pause` holds {} until `mashaa work resume`", whose(all));
            (Effect::Stops, sentence, None)
        }
        Mode::Drain { all } => {
            let sentence = format!(
                "`mashaa work drain` lets what runs finish and takes no new {} until `mashaa work resume`",
                whose(all)
            );
            (Effect::Drains, sentence, None)
        }
    };
    Some(found)
}

fn hours(preferences: &Preferences, conditions: &Conditions) -> Found {
    let hours = preferences.hours.as_ref()?;
    let text = hours.text();
    let Some(minute) = conditions.week_minute else {
        return unknown(Rule::Hours, text, "the local time is not known");
    };
    let after = hours.change_after(minute);
    let until = after.map(|it| {
        let second = conditions.now % 60;
        conditions.now - second + u64::from(it) * 60
    });
    let change = after.map_or("and stays so all week".to_owned(), |it| {
        format!("until {}, in {}", name(minute + it), span(u64::from(it) * 60))
    });
    let (effect, word) = match hours.contain(minute) {
        true => (Effect::Allows, "inside"),
        false => (Effect::Stops, "outside"),
    };
    Some((effect, format!("it is {}, {word} work_hours = {text:?} {change}", name(minute)), until))
}

fn battery(preferences: &Preferences, conditions: &Conditions) -> Found {
    let (wanted, least) = match preferences.on_battery {
        OnBattery::From(0) => return None,
        OnBattery::Never => ("no".to_owned(), None),
        OnBattery::From(charge) => (charge.to_string(), Some(charge)),
    };
    let Some(power) = conditions.power else {
        return unknown(Rule::Battery, &wanted, "nothing says what feeds the machine");
    };
    if !power.on_battery {
        let sentence = format!("the machine is on mains power (work_on_battery = {wanted:?})");
        return Some((Effect::Allows, sentence, None));
    }
    let charge =
        power.charge.map_or("its battery".to_owned(), |it| format!("its battery at {it} %"));
    let enough = least.is_some_and(|least| power.charge.is_none_or(|charge| charge >= least));
    let (effect, rest) = match (enough, least) {
        (true, _) => (Effect::Allows, ""),
        (false, Some(_)) => (Effect::Stops, ", until it is charged or plugged in"),
        (false, None) => (Effect::Stops, ", until it is plugged in"),
    };
    let sentence = format!("the machine is on {charge} (work_on_battery = {wanted:?}){rest}");
    Some((effect, sentence, None))
}

fn temperature(preferences: &Preferences, conditions: &Conditions, stopped: bool) -> Found {
    let max = preferences.temperature_max?;
    let Some(now) = conditions.temperature else {
        return unknown(Rule::Temperature, &(max / 1000).to_string(), "no sensor tells");
    };
    let resume = max - TEMPERATURE_MARGIN;
    let hot = if stopped { now > resume } else { now > max };
    let mut sentence = format!(
        "the hottest sensor has {}.{} degrees (work_temperature_max = {})",
        now / 1000,
        now.rem_euclid(1000) / 100,
        max / 1000
    );
    if hot {
        sentence.push_str(&format!(", until it has {}", resume / 1000));
    }
    Some((if hot { Effect::Stops } else { Effect::Allows }, sentence, None))
}

fn presence(preferences: &Preferences, conditions: &Conditions) -> Found {
    if preferences.while_active {
        return None;
    }
    let Some(idle) = conditions.idle else {
        return unknown(Rule::Active, "no", "no input can be seen here");
    };
    let least = preferences.idle_min;
    let wanted = format!("work_while_active = \"no\", work_idle_minutes = {}", least / 60);
    if idle >= least {
        let sentence = format!("the last input was {} ago ({wanted})", span(idle));
        return Some((Effect::Allows, sentence, None));
    }
    let left = least - idle;
    let sentence = format!(
        "somebody uses the machine: the last input was {} ago ({wanted}), for another {} without any",
        span(idle),
        span(left)
    );
    Some((Effect::Stops, sentence, Some(conditions.now.saturating_add(left))))
}

fn load(preferences: &Preferences, conditions: &Conditions, stopped: bool) -> Found {
    let max = preferences.load_max?;
    let Some(now) = conditions.load else {
        return unknown(
            Rule::Load,
            &(max / 10).to_string(),
            "nothing says what other programs take",
        );
    };
    let limit = if stopped { max - max / MARGIN as u32 } else { max };
    let busy = now > limit;
    let mut sentence =
        format!("other programs take {} % of the cores (work_load_max = {})", now / 10, max / 10);
    if busy {
        let resume = (max - max / MARGIN as u32) / 10;
        sentence.push_str(&format!(", until they take {resume} %"));
    }
    Some((if busy { Effect::Stops } else { Effect::Allows }, sentence, None))
}

fn room(rule: Rule, what: &str, (min, free): (Option<u64>, Option<u64>), stopped: bool) -> Found {
    let min = min?;
    let setting = rule.setting();
    let Some(free) = free else {
        return unknown(rule, &(min >> 20).to_string(), "nothing says how much is free");
    };
    let resume = min.saturating_add((min / MARGIN).min(ROOM_MARGIN_MAX));
    let short = free < if stopped { resume } else { min };
    let mut sentence = format!("{} MiB {what} are free ({setting} = {})", free >> 20, min >> 20);
    if short {
        sentence.push_str(&format!(", until {} are", resume >> 20));
    }
    Some((if short { Effect::Stops } else { Effect::Allows }, sentence, None))
}

fn traffic(preferences: &Preferences, conditions: &Conditions) -> Found {
    let max = preferences.traffic_max?;
    let now = conditions.traffic;
    let sentence = format!(
        "{} MiB went to and from others this month (work_traffic_mib = {})",
        now.month >> 20,
        max >> 20
    );
    match (now.month >= max, now.month_end) {
        (false, _) => Some((Effect::Allows, sentence, None)),
        (true, None) => Some((Effect::Stops, sentence, None)),
        (true, Some(end)) => {
            let left = span(end.saturating_sub(conditions.now));
            Some((Effect::Stops, format!("{sentence}, which ends in {left}"), Some(end)))
        }
    }
}

fn rate(preferences: &Preferences, conditions: &Conditions) -> Found {
    let max = preferences.rate_max?;
    let debt = conditions.traffic.debt;
    let setting = format!("(work_rate_kib = {})", max >> 10);
    if debt == 0 {
        return Some((Effect::Allows, format!("others get no more than the rate {setting}"), None));
    }
    let left = debt.div_ceil(max.max(1));
    let sentence = format!(
        "others got {} KiB above the rate {setting}, for another {}",
        debt.div_ceil(1024),
        span(left)
    );
    Some((Effect::Stops, sentence, Some(conditions.now.saturating_add(left))))
}

fn thread_limit(preferences: &Preferences, conditions: &Conditions) -> Found {
    let (away, here) = (preferences.threads, preferences.threads_active);
    let now = threads(preferences, conditions);
    if away == here {
        return Some((
            Effect::Limits,
            format!("{now} threads compute for others (work_threads)"),
            None,
        ));
    }
    match active(preferences, conditions) {
        None => {
            let what = format!(
                "work_threads_active = {here} is not enforced, since no input can be seen here; {now} threads compute for others"
            );
            Some((Effect::Unknown, what, None))
        }
        Some(is_active) => {
            let (why, left) = match is_active {
                true => {
                    let left = preferences.idle_min.saturating_sub(conditions.idle.unwrap_or(0));
                    ("while somebody uses the machine (work_threads_active)", Some(left))
                }
                false => ("while nobody uses the machine (work_threads)", None),
            };
            let until = left.map(|it| conditions.now.saturating_add(it));
            Some((Effect::Limits, format!("{now} threads compute for others {why}"), until))
        }
    }
}

fn memory(preferences: &Preferences) -> Found {
    let max = preferences.memory_max?;
    let sentence =
        format!("others' requests have {} MiB for past positions (work_memory_mib)", max >> 20);
    Some((Effect::Limits, sentence, None))
}

fn unknown(rule: Rule, wanted: &str, why: &str) -> Found {
    let sentence = format!("{} = {wanted:?} is not enforced, since {why}", rule.setting());
    Some((Effect::Unknown, sentence, None))
}

/// A time as a person says it.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}
