//! Each preference stops or limits others' work on a running worker, and lets it go on unchanged.

use std::io::Write;

use node::preferences::{Effect, Gate, Mode, Rule};
use node::worker::Class;

use crate::machine::{LONG, Machine, NOW, THREADS, at};

/// A preference stops a running answer of another at the next step, refuses new ones, leaves own
/// requests alone, and lets the answer go on with the same bits.
fn stops_and_goes_on(
    machine: &Machine,
    rule: Rule,
    (stop, stopped_at): (impl FnOnce(), u64),
    (go, goes_at): (impl FnOnce(), u64),
) {
    let whole = machine.undisturbed();
    assert_eq!(machine.look(NOW).verdict.others, Gate::Open);
    let mut answer = machine.submit(Class::Others, LONG).unwrap();
    answer.begin();
    stop();
    let report = machine.look(stopped_at);
    assert_eq!((report.verdict.others, report.verdict.own), (Gate::Closed, Gate::Open));
    assert_eq!(report.verdict.reason().unwrap().rule, rule);
    let said = answer.catch_up();
    assert!(!answer.has_ended(), "the answer ended before it was stopped");
    let refused = machine.submit(Class::Others, 1).map(|_| ()).unwrap_err();
    assert_eq!((refused.code, refused.status()), (rule.code(), 503));
    assert!(refused.reason.contains(rule.setting()), "{refused:?}");
    assert!(refused.retry_after >= 1);
    // Own requests run, so that steps pass in which the other's could have gone on.
    machine.submit(Class::Own, 20).unwrap().rest().unwrap();
    assert_eq!(answer.catch_up(), said, "the answer went on");
    assert_eq!(machine.worker().load().borrow().others, 1);
    go();
    assert_eq!(machine.look(goes_at).verdict.others, Gate::Open);
    assert_eq!(answer.rest().unwrap(), whole);
}

#[test]
fn hours_of_the_week_stop_it() {
    let machine = Machine::new(&[("work_hours", "tue 14:00-14:30, wed")]);
    let later = NOW + 30 * 60;
    stops_and_goes_on(&machine, Rule::Hours, (|| {}, later), (|| {}, NOW + 10 * 3600));
}

#[test]
fn a_battery_stops_it() {
    let machine = Machine::new(&[]);
    let battery = |status: &str| machine.sensor("sys/class/power_supply/BAT0/status", status);
    let stop = || battery("Discharging\n");
    stops_and_goes_on(&machine, Rule::Battery, (stop, NOW), (|| battery("Charging\n"), NOW));
}

#[test]
fn a_battery_with_too_little_charge_stops_it() {
    let machine = Machine::new(&[("work_on_battery", "50")]);
    machine.sensor("sys/class/power_supply/BAT0/status", "Discharging\n");
    let charge = |text: &str| machine.sensor("sys/class/power_supply/BAT0/capacity", text);
    stops_and_goes_on(&machine, Rule::Battery, (|| charge("49\n"), NOW), (|| charge("50\n"), NOW));
}

#[test]
fn heat_stops_it() {
    let machine = Machine::new(&[("work_temperature_max", "80")]);
    let heat = |text: &str| machine.sensor("sys/class/thermal/thermal_zone0/temp", text);
    let stop = || heat("80001\n");
    stops_and_goes_on(&machine, Rule::Temperature, (stop, NOW), (|| heat("75000\n"), NOW));
}

#[test]
fn a_person_at_the_machine_stops_it() {
    let machine = Machine::new(&[("work_while_active", "no"), ("work_idle_minutes", "5")]);
    let stop = || machine.typed(NOW);
    stops_and_goes_on(&machine, Rule::Active, (stop, NOW + 299), (|| {}, NOW + 300));
}

#[test]
fn the_load_of_other_programs_stops_it() {
    let machine = Machine::new(&[("work_load_max", "40")]);
    let stat = |text: &str| machine.sensor("proc/stat", text);
    let stop = || stat("cpu  500 0 0 1500 0 0 0 0 0 0\n");
    let go = || stat("cpu  600 0 0 2400 0 0 0 0 0 0\n");
    stops_and_goes_on(&machine, Rule::Load, (stop, NOW), (go, NOW));
}

#[test]
fn a_lack_of_memory_stops_it() {
    let machine = Machine::new(&[("work_memory_free_mib", "1024")]);
    let free =
        |mib: u64| machine.sensor("proc/meminfo", &format!("MemAvailable: {} kB\n", mib << 10));
    stops_and_goes_on(&machine, Rule::MemoryFree, (|| free(1023), NOW), (|| free(1152), NOW));
}

/// On a disk in memory, where there is one, since other programs write to the others.
#[cfg(target_os = "linux")]
#[test]
fn a_lack_of_disk_stops_it() {
    const MIB: u64 = 1 << 20;
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let free = node::space::free(dir.path()).unwrap() / MIB;
    let min = free - 128;
    let machine = Machine::within(dir, &[("work_disk_free_mib", &min.to_string())]);
    let ballast = machine.home().join("ballast");
    let stop = || {
        let mut file = std::fs::File::create(&ballast).unwrap();
        let block = vec![1u8; MIB as usize];
        while node::space::free(&machine.home()).unwrap() >= min * MIB {
            file.write_all(&block).unwrap();
        }
    };
    let go = || std::fs::remove_file(&ballast).unwrap();
    stops_and_goes_on(&machine, Rule::DiskFree, (stop, NOW), (go, NOW));
}

#[test]
fn the_months_traffic_stops_it_until_the_next_month_also_after_a_restart() {
    let machine = Machine::new(&[("work_traffic_mib", "2")]);
    machine.supervisor().traffic().count(1 << 20);
    assert_eq!(machine.look(NOW).verdict.others, Gate::Open);
    let december = 1_796_083_200;
    let count = || machine.supervisor().traffic().count(1 << 20);
    stops_and_goes_on(&machine, Rule::Traffic, (count, NOW), (|| {}, december));
    machine.supervisor().traffic().count(2 << 20);
    let machine = machine.restart(december);
    let report = machine.look(december);
    assert_eq!(report.conditions.traffic.month, 0, "what was not looked at was never counted");
    machine.supervisor().traffic().count(2 << 20);
    machine.look(december);
    let machine = machine.restart(december);
    assert_eq!(machine.look(december).verdict.reason().unwrap().rule, Rule::Traffic);
}

#[test]
fn a_rate_stops_it_until_time_has_made_up_for_it() {
    let machine = Machine::new(&[("work_rate_kib", "1")]);
    let count = || machine.supervisor().traffic().count(3 << 10);
    stops_and_goes_on(&machine, Rule::Rate, (count, NOW), (|| {}, NOW + 3));
}

#[test]
fn a_pause_stops_it_until_its_end_also_after_a_restart() {
    let machine = Machine::new(&[]);
    let pause = Mode::Pause { until: Some(NOW + 7200), all: false };
    let set = |mode| drop(machine.supervisor().set(mode, at(NOW)).unwrap());
    stops_and_goes_on(&machine, Rule::Control, (|| set(pause), NOW + 7199), (|| {}, NOW + 7200));
    set(pause);
    let machine = machine.restart(NOW + 60);
    let report = machine.look(NOW + 60);
    assert_eq!((report.mode, report.verdict.others), (pause, Gate::Closed));
    assert_eq!(report.verdict.retry_after(NOW + 60), 3600);
    let machine = machine.restart(NOW + 7200);
    assert_eq!(machine.look(NOW + 7200).mode, Mode::Work);
    assert!(!machine.home().join("worker/mode.toml").exists());
}

#[test]
fn a_pause_for_all_stops_own_requests_as_well() {
    let machine = Machine::new(&[]);
    let whole = machine.undisturbed();
    let mut own = machine.submit(Class::Own, LONG).unwrap();
    own.begin();
    let pause = Mode::Pause { until: None, all: true };
    machine.supervisor().set(pause, at(NOW)).unwrap();
    let said = own.catch_up();
    assert!(!own.has_ended());
    assert_eq!(machine.submit(Class::Own, 1).map(|_| ()).unwrap_err().code, "paused");
    machine.look(NOW + 60);
    assert_eq!(own.catch_up(), said);
    machine.supervisor().set(Mode::Work, at(NOW)).unwrap();
    assert_eq!(own.rest().unwrap(), whole);
}

#[test]
fn a_drain_finishes_what_runs_and_takes_nothing_new() {
    let machine = Machine::new(&[]);
    let whole = machine.undisturbed();
    let mut answer = machine.submit(Class::Others, LONG).unwrap();
    answer.begin();
    let report = machine.supervisor().set(Mode::Drain { all: false }, at(NOW)).unwrap();
    assert_eq!((report.verdict.others, report.verdict.own), (Gate::Draining, Gate::Open));
    let refused = machine.submit(Class::Others, 1).map(|_| ()).unwrap_err();
    assert!(refused.reason.contains("mashaa work drain"), "{refused:?}");
    machine.submit(Class::Own, 1).unwrap().rest().unwrap();
    assert_eq!(answer.rest().unwrap(), whole);
    assert_eq!(machine.worker().load().borrow().others, 0);
    machine.supervisor().set(Mode::Work, at(NOW)).unwrap();
    machine.submit(Class::Others, 1).unwrap().rest().unwrap();
}

#[test]
fn an_answer_that_stands_still_for_too_long_is_given_back_with_the_reason() {
    let machine = Machine::new(&[("work_suspend_seconds", "0")]);
    let mut answer = machine.submit(Class::Others, LONG).unwrap();
    answer.begin();
    machine.sensor("sys/class/power_supply/BAT0/status", "Discharging\n");
    machine.look(NOW);
    let broken = answer.rest().unwrap_err();
    assert!(broken.0.starts_with("on_battery: "), "{broken:?}");
    assert_eq!(machine.worker().load().borrow().others, 0);
}

#[test]
fn an_answer_of_a_batch_stands_still_however_long_it_takes_and_goes_on() {
    let machine = Machine::new(&[("work_suspend_seconds", "0")]);
    let whole = machine.undisturbed();
    let mut answer = machine.submit(Class::Idle, LONG).unwrap();
    answer.begin();
    machine.sensor("sys/class/power_supply/BAT0/status", "Discharging\n");
    machine.look(NOW);
    let refused = machine.submit(Class::Idle, 1).map(|_| ()).unwrap_err();
    assert_eq!(refused.code, "on_battery");
    machine.submit(Class::Own, 1).unwrap().rest().unwrap();
    assert_eq!(machine.worker().load().borrow().idle, 1);
    machine.sensor("sys/class/power_supply/BAT0/status", "Charging\n");
    machine.look(NOW + 1);
    assert_eq!(answer.rest().unwrap(), whole);
}

#[test]
fn threads_are_few_while_there_is_work_for_others_and_fewer_while_somebody_is_there() {
    let settings = [("work_threads", "2"), ("work_threads_active", "1")];
    let machine = Machine::new(&settings);
    machine.undisturbed();
    machine.wait_for_threads(THREADS);
    let mut answer = machine.submit(Class::Others, LONG).unwrap();
    answer.begin();
    machine.wait_for_threads(2);
    machine.typed(NOW);
    machine.look(NOW);
    machine.wait_for_threads(1);
    answer.rest().unwrap();
    machine.submit(Class::Own, 1).unwrap().rest().unwrap();
    machine.wait_for_threads(THREADS);
}

#[test]
fn others_have_their_share_of_memory_and_own_requests_all_of_it() {
    // A page of 16 positions has 9,984 bytes, so that 1 MiB has room for 1,680 of them.
    let machine = Machine::new(&[("work_memory_mib", "1")]);
    let large = machine.submit(Class::Others, 2000).map(|_| ()).unwrap_err();
    assert_eq!((large.code, large.status()), (Rule::Memory.code(), 503));
    let answer = machine.submit(Class::Others, 1660).unwrap();
    let second = machine.submit(Class::Others, 100).map(|_| ()).unwrap_err();
    assert_eq!((second.code, second.status()), ("busy", 429));
    machine.submit(Class::Own, 100).unwrap().rest().unwrap();
    answer.rest().unwrap();
    machine.submit(Class::Others, 100).unwrap().rest().unwrap();
}

#[test]
fn what_cannot_be_measured_is_told_and_stops_nothing() {
    let machine = Machine::new(&[("work_temperature_max", "80")]);
    machine.sensor("sys/class/thermal/thermal_zone0/temp", "no number\n");
    let report = machine.look(NOW);
    assert_eq!(report.verdict.others, Gate::Open);
    let found = report.verdict.findings.iter().find(|it| it.rule == Rule::Temperature).unwrap();
    assert_eq!(found.effect, Effect::Unknown);
    machine.submit(Class::Others, 1).unwrap().rest().unwrap();
}
