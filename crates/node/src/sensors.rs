//! Measure what the preferences ask about, from the files in which Linux tells it.
//!
//! Every path is under a root, so that a container can look at its host's files and a test at its own.
//! Where a file is not there, as on other systems, the measurement is not known.
//!
//! What is seen of a person's presence is the terminals: the system notes when one is read. A
//! graphical session does not read them, so that where there is one, a quiet terminal proves nothing.
//!
//! Invariants:
//! - At most `ENTRIES_MAX` entries of a folder and `FILE_SIZE_MAX` bytes of a file are looked at.
//!
//! Not here: what follows from it (`preferences`), traffic (`supervisor`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::preferences::{Conditions, Power};
use crate::space;

/// Entries of one folder, at most: terminals of a large shared machine.
pub const ENTRIES_MAX: usize = 1024;
/// Bytes of one file, at most; `/proc/stat` of a machine with many cores has some tens of thousands.
pub const FILE_SIZE_MAX: u64 = 1 << 18;
/// Temperatures that are none, in thousandths of a degree: broken sensors say 0, or this much.
const TEMPERATURE_MAX: i64 = 150_000;
/// Ticks between two looks at the processor, at least: a shorter time tells nothing.
const TICKS_MIN: u64 = 50;
/// Drivers whose hottest sensor is the processor's.
const PROCESSORS: [&str; 4] = ["coretemp", "k10temp", "zenpower", "cpu_thermal"];

/// The sensors of a machine.
#[derive(Debug)]
pub struct Sensors {
    root: PathBuf,
    /// The folder whose disk matters.
    home: PathBuf,
    zone: Option<TimeZone>,
    /// The processor's time when it was last looked at, and the load until then.
    processor: Option<Processor>,
    load: Option<u32>,
}

/// Time that cores have spent since the machine began, in the system's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Processor {
    total: u64,
    idle: u64,
    own: u64,
}

impl Sensors {
    /// Sensors that read under `root`; `home` is on the disk that matters.
    #[must_use]
    pub fn new(root: &Path, home: &Path) -> Sensors {
        let zone = bytes(&root.join("etc/localtime"));
        let zone = zone.and_then(|it| TimeZone::tzif("local", &it).ok());
        Sensors {
            root: root.to_path_buf(),
            home: home.to_path_buf(),
            zone,
            processor: None,
            load: None,
        }
    }

    /// Measures. Traffic is not among it.
    pub fn read(&mut self, now: SystemTime) -> Conditions {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.measure_load();
        Conditions {
            now: seconds,
            week_minute: self.week_minute(seconds),
            power: self.power(),
            temperature: self.temperature(),
            idle: self.idle(now),
            load: self.load,
            memory_free: self.memory_free(),
            disk_free: space::free(&self.home),
            ..Conditions::default()
        }
    }

    /// The calendar month of a moment, as year and month, and the second at which the next begins. In
    /// the local time, or in UTC where that is not known.
    #[must_use]
    pub fn month(&self, seconds: u64) -> Option<((i16, i8), u64)> {
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let now = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?.to_zoned(zone);
        let next = now.first_of_month().ok()?.start_of_day().ok()?;
        let next = next.checked_add(jiff::Span::new().try_months(1).ok()?).ok()?;
        let end = u64::try_from(next.timestamp().as_second()).ok()?;
        Some(((now.year(), now.month()), end))
    }

    /// The next moment, after this one, at which clocks here show a time of the day such as `18:00`.
    #[must_use]
    pub fn next_time(&self, seconds: u64, time: &str) -> Option<u64> {
        let (hour, minute) = time.split_once(':')?;
        let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let now = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?.to_zoned(zone);
        let time = jiff::civil::Time::new(hour, minute, 0, 0).ok()?;
        let today = now.with().time(time).build().ok()?;
        let next = match today > now {
            true => today,
            false => today.checked_add(jiff::Span::new().try_days(1).ok()?).ok()?,
        };
        u64::try_from(next.timestamp().as_second()).ok()
    }

    fn week_minute(&self, seconds: u64) -> Option<u16> {
        let now = Timestamp::from_second(i64::try_from(seconds).ok()?).ok()?;
        let now = now.to_zoned(self.zone.clone()?);
        let day = i32::from(now.weekday().to_monday_zero_offset());
        let minute = (day * 24 + i32::from(now.hour())) * 60 + i32::from(now.minute());
        u16::try_from(minute).ok()
    }

    fn power(&self) -> Option<Power> {
        let (mut mains, mut discharging, mut charge) = (false, false, None);
        for supply in folder(&self.root.join("sys/class/power_supply"))? {
            let read = |name| word(&supply.join(name));
            match read("type").as_deref() {
                // A mouse has a battery too, of this scope.
                Some("Battery") if read("scope").as_deref() != Some("Device") => {
                    discharging |= read("status").as_deref() == Some("Discharging");
                    let percent = read("capacity").and_then(|it| it.parse::<u8>().ok());
                    charge = charge.max(percent);
                }
                Some("Mains" | "USB") => mains |= read("online").as_deref() == Some("1"),
                _ => {}
            }
        }
        Some(Power { on_battery: discharging && !mains, charge })
    }

    fn temperature(&self) -> Option<i64> {
        let zones = folder(&self.root.join("sys/class/thermal")).unwrap_or_default();
        let zones = zones.into_iter().filter(|it| starts(it, "thermal_zone"));
        let mut files: Vec<PathBuf> = zones.map(|it| it.join("temp")).collect();
        for monitor in folder(&self.root.join("sys/class/hwmon")).unwrap_or_default() {
            let name = word(&monitor.join("name")).unwrap_or_default();
            if PROCESSORS.contains(&name.as_str()) {
                let inputs = folder(&monitor).unwrap_or_default().into_iter();
                files.extend(inputs.filter(|it| starts(it, "temp") && ends(it, "_input")));
            }
        }
        let values = files.iter().filter_map(|it| word(it)?.parse::<i64>().ok());
        values.filter(|it| (1..TEMPERATURE_MAX).contains(it)).max()
    }

    fn idle(&self, now: SystemTime) -> Option<u64> {
        let devices = folder(&self.root.join("dev")).unwrap_or_default().into_iter();
        let mut terminals: Vec<PathBuf> = devices.filter(|it| numbered(it, "tty")).collect();
        let pseudo = folder(&self.root.join("dev/pts")).unwrap_or_default().into_iter();
        terminals.extend(pseudo.filter(|it| numbered(it, "")));
        let read = |path: &PathBuf| std::fs::metadata(path).ok()?.accessed().ok();
        let last = terminals.iter().filter_map(read).max()?;
        Some(now.duration_since(last).unwrap_or_default().as_secs())
            .filter(|_| !self.has_screen(now, last))
    }

    /// Whether a graphical session may have seen input of which the terminals know nothing.
    fn has_screen(&self, now: SystemTime, last: SystemTime) -> bool {
        /// Seconds within which a terminal's word is believed in any case.
        const FRESH: u64 = 60;
        let screens = folder(&self.root.join("tmp/.X11-unix")).unwrap_or_default();
        let users = folder(&self.root.join("run/user")).unwrap_or_default();
        let wayland = users.iter().any(|user| user.join("wayland-0").exists());
        let quiet = now.duration_since(last).unwrap_or_default().as_secs() >= FRESH;
        quiet && (wayland || screens.iter().any(|it| numbered(it, "X")))
    }

    fn memory_free(&self) -> Option<u64> {
        let text = text(&self.root.join("proc/meminfo"))?;
        let line = text.lines().find_map(|it| it.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    }

    /// Compares the processor's time with that of the last measurement.
    fn measure_load(&mut self) {
        let Some(now) = self.processor_time() else {
            (self.processor, self.load) = (None, None);
            return;
        };
        let long_ago = |last: &Processor| now.total >= last.total.saturating_add(TICKS_MIN);
        let Some(last) = self.processor.filter(long_ago) else {
            self.processor.get_or_insert(now);
            return;
        };
        let total = now.total - last.total;
        let idle = now.idle.saturating_sub(last.idle);
        let own = now.own.saturating_sub(last.own);
        let others = total.saturating_sub(idle).saturating_sub(own);
        self.load = u32::try_from(others.saturating_mul(1000) / total).ok();
        self.processor = Some(now);
    }

    fn processor_time(&self) -> Option<Processor> {
        let stat = text(&self.root.join("proc/stat"))?;
        let line = stat.lines().find_map(|it| it.strip_prefix("cpu "))?;
        // proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
        let times: Option<Vec<u64>> =
            line.split_ascii_whitespace().take(8).map(|it| it.parse().ok()).collect();
        let times = times?;
        let idle = times.get(3)?.saturating_add(*times.get(4)?);
        let own = text(&self.root.join("proc/self/stat"))?;
        // The second field is the program's name in parentheses, with any characters in it.
        let mut fields = own.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let (user, system): (u64, u64) =
            (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let total = times.iter().fold(0u64, |sum, it| sum.saturating_add(*it));
        Some(Processor { total, idle, own: user.saturating_add(system) })
    }
}

fn folder(path: &Path) -> Option<Vec<PathBuf>> {
    let entries = std::fs::read_dir(path).ok()?.take(ENTRIES_MAX);
    Some(entries.filter_map(|it| Some(it.ok()?.path())).collect())
}

fn bytes(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(FILE_SIZE_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn text(path: &Path) -> Option<String> {
    String::from_utf8(bytes(path)?).ok()
}

fn word(path: &Path) -> Option<String> {
    Some(text(path)?.trim().to_owned())
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|it| it.to_str()).unwrap_or_default()
}

fn starts(path: &Path, prefix: &str) -> bool {
    name(path).starts_with(prefix)
}

fn ends(path: &Path, suffix: &str) -> bool {
    name(path).ends_with(suffix)
}

/// Whether the name is the prefix and a number.
fn numbered(path: &Path, prefix: &str) -> bool {
    let number = name(path).strip_prefix(prefix);
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|it| it.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
