use std::path::PathBuf;

use super::hours::{Hours, WEEK, name};
use super::*;

/// A Tuesday, 14:05:30.
const NOW: u64 = 1_795_529_130;
const TUESDAY_14_05: u16 = 24 * 60 + 14 * 60 + 5;

fn config(settings: &[(&'static str, &str)]) -> Config {
    let flags: Vec<_> = settings.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Config::load(PathBuf::from("/nowhere/config.toml"), &|_| None, &flags).unwrap()
}

fn preferences(settings: &[(&'static str, &str)]) -> Preferences {
    Preferences::of(&config(settings), 8).unwrap()
}

/// Everything is known, and as anyone would have it.
fn calm() -> Conditions {
    Conditions {
        now: NOW,
        week_minute: Some(TUESDAY_14_05),
        power: Some(Power { on_battery: false, charge: Some(100) }),
        temperature: Some(40_000),
        idle: Some(3600),
        load: Some(0),
        memory_free: Some(1 << 40),
        disk_free: Some(1 << 40),
        traffic: TrafficNow { month: 0, month_end: Some(NOW + 86_400), debt: 0 },
    }
}

/// What one setting does under some conditions: effect, sentence, seconds until it changes.
fn check(rule: Rule, setting: (&'static str, &str), conditions: &Conditions) -> String {
    check_after(rule, setting, conditions, &Verdict::default())
}

fn check_after(
    rule: Rule,
    setting: (&'static str, &str),
    conditions: &Conditions,
    before: &Verdict,
) -> String {
    let verdict = judge(&preferences(&[setting]), Mode::Work, conditions, before);
    let found = verdict.findings.iter().find(|it| it.rule == rule).unwrap();
    let stops = found.effect == Effect::Stops;
    assert_eq!(verdict.others == Gate::Closed, stops, "{found:?}");
    assert_eq!(verdict.reason(), stops.then_some(found));
    assert_eq!(verdict.own, Gate::Open);
    let until = found.until.map_or("-".to_owned(), |it| (it - conditions.now).to_string());
    format!("{} {until}: {}", found.effect.word(), found.sentence)
}

#[test]
fn a_verdict_has_one_finding_for_each_preference_and_by_default_all_may_work() {
    let verdict = judge(&preferences(&[]), Mode::Work, &calm(), &Verdict::default());
    let rules: Vec<Rule> = verdict.findings.iter().map(|it| it.rule).collect();
    assert_eq!(rules, Rule::ALL);
    assert_eq!((verdict.others, verdict.own, verdict.threads), (Gate::Open, Gate::Open, 8));
    let off = verdict.findings.iter().filter(|it| it.effect == Effect::Off).count();
    assert_eq!(off, 9, "{verdict:?}");
    let codes: std::collections::BTreeSet<_> = Rule::ALL.iter().map(|it| it.code()).collect();
    assert_eq!(codes.len(), Rule::ALL.len());
}

#[test]
fn hours_are_kept_and_tell_when_they_change() {
    let set = ("work_hours", "mon-fri 18:00-08:00, sat-sun");
    assert_eq!(
        check(Rule::Hours, set, &calm()),
        "stops 14070: it is Tue 14:05, outside work_hours = \"mon-fri 18:00-08:00, sat-sun\" until Tue 18:00, in 3 h 55 min"
    );
    let night = Conditions { week_minute: Some(2 * 24 * 60 + 7 * 60), ..calm() };
    assert_eq!(
        check(Rule::Hours, set, &night),
        "allows 3570: it is Wed 07:00, inside work_hours = \"mon-fri 18:00-08:00, sat-sun\" until Wed 08:00, in 1 h 0 min"
    );
    let unknown = Conditions { week_minute: None, ..calm() };
    assert_eq!(
        check(Rule::Hours, set, &unknown),
        "unknown -: work_hours = \"mon-fri 18:00-08:00, sat-sun\" is not enforced, since the local time is not known"
    );
}

#[test]
fn a_battery_stops_the_work_unless_it_may_not_or_has_charge_enough() {
    let on = |charge| Conditions { power: Some(Power { on_battery: true, charge }), ..calm() };
    let check = |value, conditions: &Conditions| {
        check(Rule::Battery, ("work_on_battery", value), conditions)
    };
    assert_eq!(
        check("no", &on(Some(83))),
        "stops -: the machine is on its battery at 83 % (work_on_battery = \"no\"), until it is plugged in"
    );
    assert_eq!(
        check("no", &calm()),
        "allows -: the machine is on mains power (work_on_battery = \"no\")"
    );
    assert_eq!(check("yes", &on(Some(1))), "off -: work_on_battery sets no limit");
    assert!(check("50", &on(Some(50))).starts_with("allows"));
    assert!(check("50", &on(Some(49))).starts_with("stops"));
    assert!(check("50", &on(None)).starts_with("allows"), "a charge that is not told");
    assert!(check("no", &Conditions { power: None, ..calm() }).starts_with("unknown"));
}

#[test]
fn heat_stops_the_work_until_it_is_five_degrees_cooler() {
    let set = ("work_temperature_max", "80");
    let at = |it| Conditions { temperature: Some(it), ..calm() };
    assert!(check(Rule::Temperature, set, &at(80_000)).starts_with("allows"));
    assert_eq!(
        check(Rule::Temperature, set, &at(80_100)),
        "stops -: the hottest sensor has 80.1 degrees (work_temperature_max = 80), until it has 75"
    );
    let hot = judge(&preferences(&[set]), Mode::Work, &at(90_000), &Verdict::default());
    assert!(check_after(Rule::Temperature, set, &at(75_001), &hot).starts_with("stops"));
    assert!(check_after(Rule::Temperature, set, &at(75_000), &hot).starts_with("allows"));
    let unknown = Conditions { temperature: None, ..calm() };
    assert!(check(Rule::Temperature, set, &unknown).starts_with("unknown"));
}

#[test]
fn a_person_at_the_machine_stops_the_work_or_takes_threads() {
    let set = ("work_while_active", "no");
    let idle = |it| Conditions { idle: Some(it), ..calm() };
    assert!(check(Rule::Active, set, &idle(180)).starts_with("allows"));
    assert_eq!(
        check(Rule::Active, set, &idle(179)),
        "stops 1: somebody uses the machine: the last input was 2 min 59 s ago (work_while_active = \"no\", work_idle_minutes = 3), for another 1 s without any"
    );
    assert!(check(Rule::Active, set, &Conditions { idle: None, ..calm() }).starts_with("unknown"));
    let few = preferences(&[("work_threads", "6"), ("work_threads_active", "2")]);
    let threads =
        |conditions: &Conditions| judge(&few, Mode::Work, conditions, &Verdict::default()).threads;
    assert_eq!(threads(&idle(10)), 2);
    assert_eq!(threads(&idle(600)), 6);
    let blind = Conditions { idle: None, ..calm() };
    assert_eq!(threads(&blind), 6);
    let told = judge(&few, Mode::Work, &blind, &Verdict::default());
    assert!(
        told.findings.iter().any(|it| it.rule == Rule::Threads && it.effect == Effect::Unknown)
    );
}

#[test]
fn other_programs_memory_and_disk_stop_the_work_until_it_is_better_by_a_margin() {
    let load = |it| Conditions { load: Some(it), ..calm() };
    let memory = |it: u64| Conditions { memory_free: Some(it << 20), ..calm() };
    let disk = |it: u64| Conditions { disk_free: Some(it << 20), ..calm() };
    type At = Box<dyn Fn(u64) -> Conditions>;
    // The last that is allowed, the first that is not, the last that stops after that.
    type Row = (Rule, (&'static str, &'static str), [u64; 4], At);
    let table: [Row; 3] = [
        (
            Rule::Load,
            ("work_load_max", "80"),
            [800, 801, 701, 700],
            Box::new(move |it| load(it as u32)),
        ),
        (Rule::MemoryFree, ("work_memory_free_mib", "400"), [400, 399, 449, 450], Box::new(memory)),
        (Rule::DiskFree, ("work_disk_free_mib", "8000"), [8000, 7999, 8063, 8064], Box::new(disk)),
    ];
    for (rule, set, [allowed, stops, still, again], at) in table {
        assert!(check(rule, set, &at(allowed)).starts_with("allows"), "{rule:?}");
        assert!(check(rule, set, &at(stops)).starts_with("stops"), "{rule:?}");
        let before = judge(&preferences(&[set]), Mode::Work, &at(stops), &Verdict::default());
        assert!(check_after(rule, set, &at(still), &before).starts_with("stops"), "{rule:?}");
        assert!(check_after(rule, set, &at(again), &before).starts_with("allows"), "{rule:?}");
        let blind = Conditions { now: NOW, ..Conditions::default() };
        assert!(check(rule, set, &blind).starts_with("unknown"), "{rule:?}");
    }
}

#[test]
fn traffic_stops_the_work_until_the_month_ends_and_a_rate_until_it_is_made_up_for() {
    let traffic = |month, debt| {
        let month_end = Some(NOW + 90_000);
        Conditions { traffic: TrafficNow { month, month_end, debt }, ..calm() }
    };
    let set = ("work_traffic_mib", "10");
    assert!(check(Rule::Traffic, set, &traffic((10 << 20) - 1, 0)).starts_with("allows"));
    assert_eq!(
        check(Rule::Traffic, set, &traffic(10 << 20, 0)),
        "stops 90000: 10 MiB went to and from others this month (work_traffic_mib = 10), which ends in 1 d 1 h"
    );
    let set = ("work_rate_kib", "2");
    assert!(check(Rule::Rate, set, &traffic(0, 0)).starts_with("allows"));
    assert_eq!(
        check(Rule::Rate, set, &traffic(0, 5000)),
        "stops 3: others got 5 KiB above the rate (work_rate_kib = 2), for another 3 s"
    );
}

#[test]
fn a_pause_ends_by_itself_and_holds_for_own_requests_only_if_asked() {
    let plain = preferences(&[]);
    let at = |mode, now| judge(&plain, mode, &Conditions { now, ..calm() }, &Verdict::default());
    let pause = Mode::Pause { until: Some(NOW + 60), all: false };
    let verdict = at(pause, NOW + 59);
    assert_eq!((verdict.others, verdict.own), (Gate::Closed, Gate::Open));
    assert_eq!(verdict.reason().unwrap().until, Some(NOW + 60));
    assert_eq!(verdict.retry_after(NOW + 59), 1);
    assert_eq!(at(pause, NOW + 60).others, Gate::Open);
    let verdict = at(Mode::Pause { until: None, all: true }, NOW);
    assert_eq!((verdict.others, verdict.own), (Gate::Closed, Gate::Closed));
    assert_eq!(verdict.retry_after(NOW), RETRY_AFTER);
    let verdict = at(Mode::Drain { all: false }, NOW);
    assert_eq!((verdict.others, verdict.own), (Gate::Draining, Gate::Open));
    assert_eq!(verdict.reason().unwrap().rule, Rule::Control);
    assert_eq!(at(Mode::Drain { all: true }, NOW).own, Gate::Draining);
}

#[test]
fn a_client_comes_back_when_the_last_of_the_reasons_ends() {
    let both = preferences(&[("work_hours", "tue 14:30-15:00"), ("work_traffic_mib", "1")]);
    let used = TrafficNow { month: 1 << 20, month_end: Some(NOW + 2000), debt: 0 };
    let late = Conditions { traffic: used, ..calm() };
    assert_eq!(judge(&both, Mode::Work, &late, &Verdict::default()).retry_after(NOW), 2000);
    let never = Conditions { traffic: TrafficNow { month_end: None, ..used }, ..calm() };
    assert_eq!(judge(&both, Mode::Work, &never, &Verdict::default()).retry_after(NOW), RETRY_AFTER);
    let far = TrafficNow { month_end: Some(NOW + 99_999), ..used };
    let far = judge(&both, Mode::Work, &Conditions { traffic: far, ..calm() }, &Verdict::default());
    assert_eq!(far.retry_after(NOW), RETRY_AFTER_MAX);
}

#[test]
fn a_wrong_setting_is_named_with_what_it_takes() {
    let table = [
        ("work_hours", "mon-fry"),
        ("work_hours", "25:00-26:00"),
        ("work_hours", "mon 08:00-08:00"),
        ("work_hours", "mon 8:00-9:00"),
        ("work_on_battery", "maybe"),
        ("work_on_battery", "101"),
        ("work_temperature_max", "151"),
        ("work_load_max", "-1"),
        ("work_while_active", "true"),
        ("work_idle_minutes", "0"),
        ("work_threads", "257"),
        ("work_memory_mib", "lots"),
        ("work_traffic_mib", "1.5"),
        ("work_rate_kib", "9999999999999"),
        ("work_suspend_seconds", "86401"),
    ];
    for (key, value) in table {
        let wrong = Preferences::of(&config(&[(key, value)]), 8).unwrap_err().to_string();
        assert!(wrong.starts_with(&format!("{key} is {value:?} (from flag")), "{wrong}");
        assert!(wrong.contains("which is not "), "{wrong}");
    }
}

#[test]
fn hours_go_over_midnight_and_over_the_end_of_the_week() {
    let hours = Hours::parse("SUN 22:00-02:00,wed-thu").unwrap();
    let inside: Vec<u16> = (0..WEEK).filter(|minute| hours.contain(*minute)).collect();
    let day = 24 * 60;
    let expected: Vec<u16> =
        (0..120).chain(2 * day..4 * day).chain(7 * day - 120..7 * day).collect();
    assert_eq!(inside, expected);
    assert_eq!(hours.change_after(7 * day - 1), Some(121));
    assert_eq!(Hours::parse("mon-sun").unwrap().change_after(5), None);
    assert_eq!(Hours::parse("fri-mon 00:00-24:00").unwrap().change_after(0), Some(day));
    assert_eq!(name(7 * day), "Mon 00:00");
    let most = vec!["mon"; super::hours::ENTRIES_MAX].join(",");
    assert!(Hours::parse(&most).is_some());
    assert_eq!(Hours::parse(&format!("{most},mon")), None);
}
