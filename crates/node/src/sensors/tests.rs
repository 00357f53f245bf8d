use std::fs::{self, FileTimes};
use std::time::Duration;

use super::*;

/// 2026-11-24 14:05:30 UTC, a Tuesday.
const NOW: u64 = 1_795_529_130;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

/// A root with these files.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    files.iter().for_each(|(path, text)| put(root.path(), path, text));
    root
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A time zone file with only a footer (RFC 9636): these rules hold always.
fn zone(rules: &str) -> Vec<u8> {
    let mut file = Vec::new();
    for _ in 0..2 {
        file.extend(b"TZif2");
        file.extend([0; 15]);
        // Counts of UT and standard indicators, leap seconds, transitions, types, characters.
        for count in [0u32, 0, 0, 0, 1, 4] {
            file.extend(count.to_be_bytes());
        }
        file.extend([0, 0, 0, 0, 0, 0]);
        file.extend(b"UTC\0");
    }
    file.extend(format!("\n{rules}\n").as_bytes());
    file
}

fn read(root: &Path) -> Conditions {
    Sensors::new(root, Path::new("/")).read(at(NOW))
}

#[test]
fn where_nothing_is_there_nothing_is_known() {
    let root = root(&[]);
    let known = read(root.path());
    let nothing = Conditions { now: NOW, disk_free: known.disk_free, ..Conditions::default() };
    assert_eq!(known, nothing);
}

#[test]
fn a_week_begins_on_monday_in_the_local_time_with_its_summer_time() {
    let root = root(&[("etc/x", "")]);
    let local = |rules: &str, now| {
        fs::write(root.path().join("etc/localtime"), zone(rules)).unwrap();
        Sensors::new(root.path(), Path::new("/")).read(at(now)).week_minute.unwrap()
    };
    let tuesday = 24 * 60;
    assert_eq!(local("UTC0", NOW), tuesday + 14 * 60 + 5);
    assert_eq!(local("<+03>-3", NOW), tuesday + 17 * 60 + 5);
    let berlin = "CET-1CEST,M3.5.0,M10.5.0/3";
    assert_eq!(local(berlin, NOW), tuesday + 15 * 60 + 5, "winter");
    let july = NOW - 140 * 86_400;
    assert_eq!(local(berlin, july), tuesday + 16 * 60 + 5, "summer");
    assert_eq!(local("UTC0", NOW + 6 * 86_400), 14 * 60 + 5, "next Monday");
}

#[test]
fn a_month_ends_where_the_next_begins_in_the_local_time() {
    let root = root(&[("etc/x", "")]);
    let sensors = Sensors::new(root.path(), Path::new("/"));
    // 2026-12-01 00:00:00 UTC.
    assert_eq!(sensors.month(NOW), Some(((2026, 11), 1_796_083_200)));
    fs::write(root.path().join("etc/localtime"), zone("<+03>-3")).unwrap();
    let sensors = Sensors::new(root.path(), Path::new("/"));
    assert_eq!(sensors.month(NOW), Some(((2026, 11), 1_796_083_200 - 3 * 3600)));
}

#[test]
fn a_time_of_the_day_comes_today_or_tomorrow() {
    let root = root(&[("etc/x", "")]);
    fs::write(root.path().join("etc/localtime"), zone("<+03>-3")).unwrap();
    let sensors = Sensors::new(root.path(), Path::new("/"));
    // It is 17:05:30 there.
    assert_eq!(sensors.next_time(NOW, "18:00"), Some(NOW + 55 * 60 - 30));
    assert_eq!(sensors.next_time(NOW, "17:05"), Some(NOW + 86_400 - 30));
    for wrong in ["", "18", "24:00", "18:60", "x:1", "1:-1"] {
        assert_eq!(sensors.next_time(NOW, wrong), None, "{wrong}");
    }
}

#[test]
fn a_battery_counts_while_it_discharges_and_a_mouse_has_none() {
    let root = root(&[("sys/class/power_supply/AC/type", "Mains\n")]);
    let put = |path: &str, text: &str| put(&root.path().join("sys/class/power_supply"), path, text);
    put("AC/online", "1\n");
    assert_eq!(read(root.path()).power, Some(Power { on_battery: false, charge: None }));
    put("mouse/type", "Battery\n");
    put("mouse/scope", "Device\n");
    put("mouse/status", "Discharging\n");
    put("AC/online", "0\n");
    assert_eq!(read(root.path()).power, Some(Power { on_battery: false, charge: None }));
    put("BAT0/type", "Battery\n");
    put("BAT0/status", "Discharging\n");
    put("BAT0/capacity", "83\n");
    assert_eq!(read(root.path()).power, Some(Power { on_battery: true, charge: Some(83) }));
    put("AC/online", "1\n");
    assert_eq!(read(root.path()).power, Some(Power { on_battery: false, charge: Some(83) }));
}

#[test]
fn the_hottest_of_the_zones_and_the_processor_counts_and_broken_sensors_do_not() {
    let root = root(&[
        ("sys/class/thermal/thermal_zone0/temp", "41000\n"),
        ("sys/class/thermal/thermal_zone1/temp", "255000\n"),
        ("sys/class/thermal/cooling_device0/temp", "99000\n"),
        ("sys/class/hwmon/hwmon0/name", "nvme\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "70000\n"),
        ("sys/class/hwmon/hwmon1/name", "k10temp\n"),
        ("sys/class/hwmon/hwmon1/temp1_input", "-1000\n"),
        ("sys/class/hwmon/hwmon1/temp3_input", "62500\n"),
        ("sys/class/hwmon/hwmon1/temp3_max", "95000\n"),
    ]);
    assert_eq!(read(root.path()).temperature, Some(62_500));
}

#[test]
fn the_last_terminal_that_was_read_tells_when_somebody_typed() {
    let root = root(&[("dev/pts/0", ""), ("dev/pts/ptmx", ""), ("dev/tty1", ""), ("dev/tty", "")]);
    let used = |path: &str, before: u64| {
        let file = File::options().write(true).open(root.path().join(path)).unwrap();
        file.set_times(FileTimes::new().set_accessed(at(NOW - before))).unwrap();
    };
    used("dev/pts/0", 500);
    used("dev/pts/ptmx", 1);
    used("dev/tty", 1);
    used("dev/tty1", 900);
    assert_eq!(read(root.path()).idle, Some(500));
    put(root.path(), "tmp/.X11-unix/X0", "");
    assert_eq!(read(root.path()).idle, None, "a screen may have seen input");
    used("dev/tty1", 20);
    assert_eq!(read(root.path()).idle, Some(20), "fresh input is seen in any case");
}

#[test]
fn what_other_programs_take_leaves_out_this_one() {
    let root = root(&[("proc/stat", "cpu  100 0 100 800 0 0 0 0 7 7\ncpu0 1 1\n")]);
    let own = |user: u64| format!("7 (a) b) R 1 1 1 0 -1 4 5 6 7 8 {user} 10 0 0 20");
    put(root.path(), "proc/self/stat", &own(50));
    let mut sensors = Sensors::new(root.path(), Path::new("/"));
    assert_eq!(sensors.read(at(NOW)).load, None, "one look tells no load");
    // 1,000 ticks later: 700 at work, of them 300 this program's.
    put(root.path(), "proc/stat", "cpu  600 0 300 1050 50 0 0 0 7 7\n");
    put(root.path(), "proc/self/stat", &own(350));
    assert_eq!(sensors.read(at(NOW)).load, Some(400));
    assert_eq!(sensors.read(at(NOW)).load, Some(400), "no time has passed");
}

#[test]
fn memory_that_is_available_is_free_and_nonsense_is_not_known() {
    let root = root(&[("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    2048 kB\n")]);
    assert_eq!(read(root.path()).memory_free, Some(2 << 20));
    for text in ["", "MemAvailable: x kB\n", "MemAvailable: 99999999999999999999 kB\n"] {
        put(root.path(), "proc/meminfo", text);
        assert_eq!(read(root.path()).memory_free, None, "{text:?}");
    }
}
