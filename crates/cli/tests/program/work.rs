//! `mashaa work`, `why` and `status`: what the owner tells a running node, and what it says.

use std::fs;

use serde_json::Value;

use crate::up::{Node, world};
use crate::world::{Ended, World};

/// Sensors of a laptop that is plugged in.
fn sensors(world: &World) -> String {
    let root = world.path("root");
    for (path, text) in [
        ("sys/class/power_supply/AC/type", "Mains\n"),
        ("sys/class/power_supply/AC/online", "1\n"),
        ("sys/class/power_supply/BAT0/type", "Battery\n"),
        ("sys/class/power_supply/BAT0/status", "Charging\n"),
        ("sys/class/power_supply/BAT0/capacity", "83\n"),
    ] {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), text).unwrap();
    }
    root.to_str().unwrap().to_owned()
}

fn start(world: &World, flags: &[&str]) -> Node {
    Node::start_with(world, flags, &[("MASHAA_SENSORS_ROOT", &sensors(world))])
}

fn tell(world: &World, node: &Node, words: &[&str]) -> Ended {
    world.run(&[words, &["--node", &node.address]].concat())
}

/// What a command prints as JSON.
fn json(world: &World, node: &Node, words: &[&str]) -> Value {
    let ended = tell(world, node, &[words, &["--json"]].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// An own request, over the API.
fn ask(node: &Node) -> String {
    let body = r#"{"model": "random", "prompt": "a", "max_tokens": 2}"#;
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    node.send(&head, body)
}

#[test]
fn a_battery_stops_the_work_and_why_says_which_setting_and_when_it_ends() {
    let world = world();
    let node = start(&world, &["--work-temperature-max", "80", "--work-threads", "1"]);
    let why = tell(&world, &node, &["why"]);
    assert_eq!(why.code, Some(0), "{}", why.stderr);
    assert!(why.stdout.starts_with("requests of others are answered\n"), "{}", why.stdout);
    assert!(why.stdout.contains("work_temperature_max = \"80\" is not enforced"), "{}", why.stdout);
    fs::write(world.path("root/sys/class/power_supply/AC/online"), "0\n").unwrap();
    fs::write(world.path("root/sys/class/power_supply/BAT0/status"), "Discharging\n").unwrap();
    let why = tell(&world, &node, &["why"]);
    assert!(why.stdout.starts_with("requests of others stand still"), "{}", why.stdout);
    let sentence =
        "the machine is on its battery at 83 % (work_on_battery = \"no\"), until it is plugged in";
    assert!(why.stdout.contains(&format!("stops    on_battery  {sentence}")), "{}", why.stdout);
    let value = json(&world, &node, &["why"]);
    assert_eq!(value["work"]["code"], "on_battery");
    assert_eq!(value["work"]["own"], "open");
    assert_eq!(value["measured"]["charge_percent"], 83);
    assert_eq!(value["preferences"].as_array().unwrap().len(), 12);
    assert!(ask(&node).starts_with("HTTP/1.1 200"));
    let (_, told) = node.stop("-TERM");
    assert!(!told.contains("no work for others"), "{told}");
}

#[test]
fn a_pause_lasts_over_a_restart_until_it_is_ended_and_holds_for_own_requests_if_asked() {
    let world = world();
    let node = start(&world, &[]);
    let paused = json(&world, &node, &["work", "pause", "--for", "1d2h"]);
    assert_eq!(paused["work"]["others"], "closed");
    let left =
        paused["mode"]["until"].as_u64().unwrap() - paused["measured"]["time"].as_u64().unwrap();
    assert!((93_590..=93_600).contains(&left), "{left}");
    assert!(ask(&node).starts_with("HTTP/1.1 200"), "own requests go on");
    assert_eq!(node.stop("-KILL").0, None);

    let node = start(&world, &[]);
    let status = tell(&world, &node, &["work", "status"]);
    assert!(
        status.stdout.contains("`mashaa work pause` holds requests of others"),
        "{}",
        status.stdout
    );
    let ended = tell(&world, &node, &["work", "resume"]);
    assert_eq!(ended.stdout.lines().next(), Some("requests of others are answered"));

    let all = tell(&world, &node, &["work", "pause", "--all"]);
    assert!(all.stdout.contains("own requests stand still"), "{}", all.stdout);
    let refused = ask(&node);
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("\r\nretry-after: 60\r\n"), "{refused}");
    assert!(
        refused.contains("\"code\":\"paused\"") && refused.contains("mashaa work resume"),
        "{refused}"
    );
    assert!(node.get("/readyz").starts_with("HTTP/1.1 503"));
    assert_eq!(tell(&world, &node, &["work", "start"]).code, Some(0));
    assert!(ask(&node).starts_with("HTTP/1.1 200"));
    let until = json(&world, &node, &["work", "pause", "--until", "18:00"]);
    let (until, now) = (until["mode"]["until"].as_u64(), until["measured"]["time"].as_u64());
    // Without a time zone among the sensors the time is UTC.
    assert_eq!(until.unwrap() % 86_400, 18 * 3600);
    assert!(until.unwrap() > now.unwrap() && until.unwrap() - now.unwrap() <= 86_400);
    node.stop("-TERM");
}

#[test]
fn a_drain_says_when_it_is_done() {
    let world = world();
    let node = start(&world, &[]);
    let drained = tell(&world, &node, &["work", "drain", "--all"]);
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    assert!(drained.stdout.ends_with("drained\n"), "{}", drained.stdout);
    assert!(ask(&node).starts_with("HTTP/1.1 503"));
    assert_eq!(tell(&world, &node, &["work", "resume"]).code, Some(0));
    assert!(ask(&node).starts_with("HTTP/1.1 200"));
    node.stop("-TERM");
}

#[test]
fn status_shows_the_node_on_one_screen() {
    let world = world();
    let node = start(&world, &[]);
    let value = json(&world, &node, &["status"]);
    assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(value["models"][0]["name"], "random");
    // The node may still measure its speed, with a request of its own.
    assert_eq!(
        (&value["requests"]["others"], &value["work"]["others"]),
        (&0.into(), &"open".into())
    );
    assert!(value["ledger"]["height"].is_u64(), "{value}");
    let shown = tell(&world, &node, &["status"]).stdout;
    for line in
        ["node      mashaa ", "model     random (", "requests  ", "work      ", "ledger    "]
    {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(shown.lines().count() <= 24, "{shown}");
    node.stop("-TERM");
}

#[test]
fn only_the_owner_sees_and_tells() {
    let world = world();
    let node = start(&world, &[]);
    let get = |head: &str| {
        let start = "GET /node/work HTTP/1.1\r\nconnection: close\r\n";
        node.send(&format!("{start}{head}"), "")
    };
    assert!(get("host: 127.0.0.1:1\r\n").starts_with("HTTP/1.1 200"));
    assert!(get("host: localhost\r\n").starts_with("HTTP/1.1 200"));
    for head in [
        "host: evil.example\r\n",
        "host: localhost\r\norigin: http://localhost\r\n",
        "host: localhost\r\nx-forwarded-for: 1.2.3.4\r\n",
        "host: localhost:x\r\n",
    ] {
        let refused = get(head);
        assert!(refused.starts_with("HTTP/1.1 403"), "{head}: {refused}");
        assert!(refused.contains("\"code\":\"forbidden\""), "{refused}");
    }
    node.stop("-TERM");

    let variables = [("MASHAA_API_KEYS", "secret"), ("MASHAA_SENSORS_ROOT", &*sensors(&world))];
    let node = Node::start_with(&world, &[], &variables);
    assert_eq!(tell(&world, &node, &["work", "status"]).code, Some(1), "a named node gets no key");
    let mut own = world.command(&["work", "status"]);
    own.env("MASHAA_LISTEN", &node.address).env("MASHAA_API_KEYS", "secret");
    let own = Ended::of(&own.output().unwrap());
    assert_eq!(own.code, Some(0), "{}", own.stderr);
    node.stop("-TERM");
}

#[test]
fn what_makes_no_sense_is_refused_with_what_would() {
    let world = world();
    let node = start(&world, &[]);
    let table: [(&[&str], &str); 5] = [
        (&["work", "pause", "--for", "soon"], "2h"),
        (&["work", "pause", "--for", "0h"], "2h"),
        (&["work", "pause", "--for", "99999999d"], "seconds"),
        (&["work", "pause", "--until", "25:00"], "18:00"),
        (&["work", "pause", "--for", "1h", "--until", "18:00"], "cannot be used with"),
    ];
    for (words, wanted) in table {
        let ended = tell(&world, &node, words);
        assert_eq!(ended.code, Some(2), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(wanted), "{words:?}: {}", ended.stderr);
    }
    let post = |body: &str| {
        let head = format!(
            "POST /node/work HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        node.send(&head, body)
    };
    for (body, status) in [
        ("{", "400"),
        (r#"{"do": "nap"}"#, "400"),
        (r#"{"do": "resume", "seconds": 5}"#, "400"),
        (r#"{"do": "resume", "all": true}"#, "400"),
        (r#"{"do": "pause", "seconds": 0}"#, "400"),
        (r#"{"do": "pause", "seconds": 5, "until": "18:00"}"#, "400"),
        (r#"{"do": "pause", "hours": 5}"#, "400"),
        (&format!("{{\"do\": \"{}\"}}", "x".repeat(5000)), "413"),
    ] {
        assert!(post(body).starts_with(&format!("HTTP/1.1 {status}")), "{body}: {}", post(body));
    }
    assert_eq!(json(&world, &node, &["why"])["mode"]["do"], "work");
    node.stop("-TERM");
    let none = world.run(&["why", "--node", "127.0.0.1:1"]);
    assert_eq!(none.code, Some(1));
    assert!(none.stderr.contains("mashaa up"), "{}", none.stderr);
    let wrong = world.run(&["up", "--model", "random", "--work-hours", "mon-fry"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("work_hours is \"mon-fry\""), "{}", wrong.stderr);
}

#[test]
fn the_older_names_of_the_registry_work_and_are_not_shown() {
    let world = World::new();
    let help = world.run(&["work", "--help"]).stdout;
    assert!(help.contains("drain") && !help.contains("register"), "{help}");
    let registry = world.run(&["registry", "--help"]).stdout;
    assert!(registry.contains("register") && registry.contains("retire"), "{registry}");
    let older = world.run(&["work", "list", "--node", "127.0.0.1:1"]);
    let newer = world.run(&["registry", "list", "--node", "127.0.0.1:1"]);
    assert_eq!((older.code, &older.stderr), (newer.code, &newer.stderr));
    assert!(older.stderr.contains("no node answers"), "{}", older.stderr);
}
