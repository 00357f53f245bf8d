//! Several machines as one service: tickets, answers from elsewhere, and workers that die or freeze in
//! the middle of an answer.
//!
//! `MASHAA_LOSSES=50` loses as many workers as the release's figures say (`docs/benchmarks.md`).

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use store::cid::Cid;

use crate::ledger::until;
use crate::world::World;

/// Workers that are lost, where nothing else is said.
const LOSSES: u64 = 4;

/// Answers that are paused until two of them have stood still.
const TRIES_MAX: usize = 8;

pub(crate) struct Machine {
    pub(crate) world: World,
    child: Child,
    pub(crate) address: String,
    pub(crate) key: String,
    /// Keeps its connection: looking again and again with new ones takes the ports that other nodes
    /// are about to listen on.
    pub(crate) agent: ureq::Agent,
}

impl Machine {
    pub(crate) fn world() -> World {
        let world = World::new();
        world.catalogue(&["http://127.0.0.1:1/none"]);
        let source = world.path("random.gguf");
        assert_eq!(world.run(&["model", "add", source.to_str().unwrap()]).code, Some(0));
        world
    }

    pub(crate) fn start(world: World, arguments: &[&str]) -> Machine {
        let (child, address) = Machine::spawn(&world, arguments, 0);
        let (key, agent) = (String::new(), ureq::Agent::new_with_defaults());
        let mut machine = Machine { world, child, address, key, agent };
        machine.key = machine.get("/network")["node"].as_str().unwrap().to_owned();
        machine
    }

    fn spawn(world: &World, arguments: &[&str], port: u16) -> (Child, String) {
        let mut command = world.command(arguments);
        command.args(["--listen", "127.0.0.1:0", "--network-listen"]);
        command.arg(format!("127.0.0.1:{port}"));
        command.args(["--model", "random", "--threads", "1", "--kv-mib", "16", "--isa", "scalar"]);
        command.env("MASHAA_NETWORK_NEARBY", "no");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut told = String::new();
        let ready = lines.by_ref().map(Result::unwrap).find(|line| {
            told.push_str(line);
            line.starts_with("ready: ")
        });
        assert!(ready.is_some(), "the node ends before it is ready: {told}");
        let ready = ready.unwrap();
        let address = ready.trim_start_matches("ready: http://").trim_end_matches("/v1");
        let shown = std::env::var_os("MASHAA_TEST_LOG").is_some();
        // A pipe that nobody reads stops whoever writes.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|_| shown) {
                println!("{line}");
            }
        });
        (child, address.to_owned())
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Starts again what was killed.
    pub(crate) fn restart(&mut self) {
        self.restart_at(0);
    }

    /// The same, at the port of the network at which others know it.
    pub(crate) fn restart_at(&mut self, port: u16) {
        self.child.wait().unwrap();
        (self.child, self.address) = Machine::spawn(&self.world, &["up"], port);
    }

    /// The port of the network at which it is reached.
    pub(crate) fn port(&self) -> u16 {
        let value = self.get("/network");
        let addresses = value["addresses"].as_array().unwrap().iter();
        let mut udp = addresses.filter_map(|it| it.as_str().unwrap().split_once("/udp/"));
        udp.next().unwrap().1.split('/').next().unwrap().parse().unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let mut answer = self.agent.get(format!("http://{}{path}", self.address)).call().unwrap();
        serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let process = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
    }

    pub(crate) fn ticket(&self) -> String {
        let invited = self.world.run(&["invite"]);
        assert_eq!(invited.code, Some(0), "{}", invited.stderr);
        invited.stdout.trim().to_owned()
    }

    /// Waits until so many machines are connected here and offer a model.
    pub(crate) fn wait_for_offers(&self, count: usize) {
        until(&format!("{count} offers"), || {
            let value = self.get("/network");
            let nodes = value["nodes"].as_array().unwrap();
            let there = |node: &&Value| {
                let offers = node["offers"].as_array().is_some_and(|offers| !offers.is_empty());
                offers && node["address"].is_string()
            };
            nodes.iter().filter(there).count() == count
        });
    }

    /// Waits until nobody computes for this machine.
    pub(crate) fn wait_until_idle(&self) {
        until("nobody computes", || {
            let value = self.get("/network");
            let nodes = value["nodes"].as_array().unwrap();
            nodes.iter().all(|node| node["standing"]["in_flight"] == 0)
        });
    }

    /// The answer's text, the key of the first worker, and how long it took. `at` is called with the
    /// worker once so many events have come.
    fn stream(&self, seed: i64, at: usize, mut act: impl FnMut(&str)) -> (String, Duration) {
        let started = Instant::now();
        let answer = self
            .agent
            .post(format!("http://{}/v1/completions", self.address))
            .header("content-type", "application/json")
            .send(request(seed, true).to_string())
            .unwrap();
        let worker = answer.headers()["x-mashaa-worker"].to_str().unwrap().to_owned();
        let (mut text, mut events, mut ended) = (String::new(), 0, false);
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let line = line.unwrap();
            let Some(data) = line.strip_prefix("data: ") else { continue };
            if events == at {
                act(&worker);
            }
            events += 1;
            if data == "[DONE]" {
                ended = true;
                break;
            }
            let event: Value = serde_json::from_str(data).unwrap();
            text.push_str(event["choices"][0]["text"].as_str().expect(data));
        }
        assert!(ended, "the stream ended without its end, after {text}");
        (text, started.elapsed())
    }

    fn whole(&self, seed: i64) -> (String, Duration) {
        let started = Instant::now();
        let mut answer = self
            .agent
            .post(format!("http://{}/v1/completions", self.address))
            .header("content-type", "application/json")
            .send(request(seed, false).to_string())
            .unwrap();
        let value: Value =
            serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        (value["choices"][0]["text"].as_str().unwrap().to_owned(), started.elapsed())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A frozen one dies of it as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Penalties look at what was generated, so that a worker that goes on has to know it.
fn request(seed: i64, stream: bool) -> Value {
    json!({
        "model": "random", "prompt": "machines", "max_tokens": 300, "temperature": 1,
        "seed": seed, "presence_penalty": 0.5, "frequency_penalty": 0.2, "stream": stream,
    })
}

/// A gateway that computes nothing, and workers that joined it.
pub(crate) fn network(workers: usize) -> (Machine, Vec<Machine>) {
    let gateway = Machine::start(Machine::world(), &["up", "--compute", "no"]);
    let ticket = gateway.ticket();
    let join = |_| Machine::start(Machine::world(), &["join", &ticket]);
    let workers: Vec<Machine> = (0..workers).map(join).collect();
    gateway.wait_for_offers(workers.len());
    (gateway, workers)
}

/// A seed that gives a long answer, and that answer.
fn long_answer(machine: &Machine) -> (i64, String) {
    let answers = (0..24).map(|seed| (seed, machine.whole(seed).0));
    answers.max_by_key(|(_, text)| text.len()).unwrap()
}

#[test]
fn a_question_asked_at_one_machine_is_answered_by_another() {
    let (gateway, workers) = network(1);
    let (text, _) = gateway.stream(7, 0, |worker| assert_eq!(worker, workers[0].key));
    assert_eq!(text, workers[0].whole(7).0);
    let alone = Machine::start(Machine::world(), &["up"]);
    assert_eq!(text, alone.whole(7).0, "a machine of no network says the same");
    // The ledger is reached through the network, and agrees.
    let height = || workers[0].get("/ledger")["height"].as_u64().unwrap();
    until("two blocks", || height() >= 2);
    let block =
        |machine: &Machine| machine.get("/ledger/blocks/1")["id"].as_str().unwrap().to_owned();
    assert_eq!(block(&gateway), block(&workers[0]));
    let shown = gateway.world.run(&["peers", "--node", &gateway.address]);
    assert!(shown.stdout.contains(&workers[0].key), "{}", shown.stdout);
}

/// Asks, and checks the answer's receipt with what this machine has; its id, and what is found.
fn verified(gateway: &Machine) -> (String, Value) {
    let url = |path: &str| format!("http://{}{path}", gateway.address);
    let sent = gateway.agent.post(url("/v1/completions")).content_type("application/json");
    let answer = sent.send(request(7, false).to_string()).unwrap();
    let id = answer.headers()["x-mashaa-receipt"].to_str().unwrap().to_owned();
    let files = [("receipt", ""), ("payload", "?payload=1")].map(|(name, query)| {
        let path = gateway.world.path(name);
        let mut got = gateway.agent.get(url(&format!("/v1/receipts/{id}{query}"))).call().unwrap();
        fs::write(&path, got.body_mut().read_to_vec().unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let [receipt, payload] = &files;
    let ended = gateway.world.run(&["verify", receipt, "--payload", payload, "--json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    (id, serde_json::from_str(&ended.stdout).unwrap())
}

#[test]
fn one_that_is_killed_and_comes_back_elsewhere_finds_the_others() {
    let (mut gateway, workers) = network(1);
    let kept = gateway.world.home("network/known");
    until("the worker is remembered", || fs::metadata(&kept).is_ok_and(|it| it.len() > 100));
    gateway.kill();
    // At another port of the network, which nobody is told.
    gateway.restart();
    gateway.wait_for_offers(1);
    assert_eq!(gateway.get("/network")["nodes"][0]["node"], workers[0].key.as_str());
}

#[test]
fn an_answer_of_another_machine_has_that_machines_receipt() {
    let (gateway, workers) = network(1);
    let (id, found) = verified(&gateway);
    assert_eq!(found["worker_key"], workers[0].key.as_str());
    let checked = found["checked"].as_array().unwrap();
    assert!(["choices", "root"].iter().all(|it| checked.contains(&json!(it))), "{found}");
    let elsewhere = workers[0].agent.get(format!("http://{}/v1/receipts/{id}", workers[0].address));
    assert!(elsewhere.call().is_err(), "the worker keeps nothing of it");
}

/// A gateway whose ledger's votes take some seconds, and a worker that joined it.
fn quick_network() -> (Machine, Machine) {
    let world = Machine::world();
    let sets = ["parameter_voting=150", "parameter_timelock=1"];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["init", "--interval-ms", "50"].into_iter().chain(sets).collect();
    assert_eq!(world.run(&arguments).code, Some(0));
    let gateway = Machine::start(world, &["up", "--compute", "no"]);
    let worker = Machine::start(Machine::world(), &["join", &gateway.ticket()]);
    gateway.wait_for_offers(1);
    (gateway, worker)
}

impl Machine {
    /// Runs a command against this machine's own node.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let ended = self.world.run(&[arguments, &["--node", &self.address]].concat());
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    /// Why the only other machine's offers are not used, if they are not.
    fn unused_because(&self) -> Value {
        self.get("/network")["nodes"][0]["unused_because"].clone()
    }
}

#[test]
fn members_say_whose_machines_compute_and_a_pass_is_taken_back() {
    let (gateway, mut worker) = quick_network();
    assert_eq!(gateway.unused_because(), Value::Null);
    let answer = worker.whole(7).0;
    gateway.done(&["propose", "registered ones", "--do", "set-parameter workers 3"]);
    gateway.done(&["vote", "1", "yes"]);
    let policy = |machine: &Machine| machine.get("/network")["workers"]["policy"].clone();
    for machine in [&gateway, &worker] {
        until("the vote holds", || policy(machine) == "registered by a member");
    }
    assert_eq!(gateway.unused_because(), "no account has registered it on the ledger");
    let why = worker.done(&["why"]);
    assert!(why.contains("others do not use what this machine offers"), "{why}");
    let url = format!("http://{}/v1/completions", gateway.address);
    let sent = gateway.agent.post(url).header("content-type", "application/json");
    let refused = sent.send(request(7, false).to_string()).unwrap_err();
    assert!(matches!(refused, ureq::Error::StatusCode(429 | 503)), "{refused}");
    let account = gateway.get("/ledger/members")["members"][0]["address"].clone();
    let consent = worker.done(&["node", "consent", account.as_str().unwrap()]);
    gateway.done(&["node", "register", "--consent", consent.trim()]);
    until("the worker is used", || gateway.unused_because() == Value::Null);
    assert_eq!(gateway.whole(7).0, answer);

    let said = gateway.done(&["peers", "revoke", &worker.key]);
    assert!(said.contains("is taken back"), "{said}");
    until("it is left", || gateway.get("/network")["nodes"][0]["address"] == Value::Null);
    until("it knows", || {
        let why = worker.get("/network")["workers"]["unused_because"].clone();
        why.as_str().is_some_and(|why| why.contains("has taken the passes"))
    });
    // Nor does it come back by itself, whichever of the two starts again.
    for machine in [&gateway, &worker] {
        machine.signal("-KILL");
    }
    let mut gateway = gateway;
    gateway.child.wait().unwrap();
    (gateway.child, gateway.address) =
        Machine::spawn(&gateway.world, &["up", "--compute", "no"], 0);
    worker.child.wait().unwrap();
    let ticket = gateway.ticket();
    assert_eq!(worker.world.run(&["join", &ticket, "--no-up"]).code, Some(0));
    worker.restart();
    gateway.wait_for_offers(1);
    assert_eq!(gateway.whole(7).0, answer, "with a new ticket it is used again");
}

/// A machine that computes, and a home without its model.
fn worker_and_empty_home() -> (Machine, World) {
    let worker = Machine::start(Machine::world(), &["up"]);
    // What it offers is announced once it is measured.
    until("an offer", || {
        worker.get("/network")["offers"].as_array().is_some_and(|it| !it.is_empty())
    });
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    (worker, world)
}

#[test]
fn a_machine_that_only_asks_takes_the_texts_of_the_model_and_no_weights() {
    let (mut worker, world) = worker_and_empty_home();
    let joined = Machine::start(world, &["join", &worker.ticket(), "--compute", "no"]);
    joined.wait_for_offers(1);
    let (text, _) = joined.stream(7, 0, |by| assert_eq!(by, worker.key));
    assert_eq!(text, worker.whole(7).0);
    let models = joined.get("/v1/models");
    let cid = models["data"][0]["cid"].as_str().unwrap();
    assert_eq!(worker.get("/v1/models")["data"][0]["cid"], cid);
    let size = |path: std::path::PathBuf| path.metadata().unwrap().len();
    let whole = size(worker.world.home("blobs").join(cid));
    let texts = size(joined.world.home("texts").join(cid));
    let blobs = crate::world::files(&joined.world.home("blobs"));
    assert!(blobs.is_empty() && texts < whole / 10, "{texts} of {whole} bytes, and {blobs:?}");
    // All that needs no weights is checked; what does need them is not claimed.
    let (_, found) = verified(&joined);
    let checked = found["checked"].as_array().unwrap();
    let is_checked = |what: &str| checked.contains(&json!(what));
    assert!(["artifact", "request", "answer", "signature"].into_iter().all(is_checked), "{found}");
    assert!(!is_checked("choices"), "{found}");
    worker.kill();
    until("the worker is missed", || {
        let ended = joined.world.run(&["why", "--node", &joined.address]);
        ended.stderr.contains("no machine that is connected offers random")
    });
}

#[test]
fn a_machine_without_the_model_takes_it_from_the_one_that_lets_it_in() {
    let (gateway, world) = worker_and_empty_home();
    let joined = Machine::start(world, &["join", &gateway.ticket()]);
    assert_eq!(joined.whole(7).0, gateway.whole(7).0);
    let shown = joined.get("/v1/models");
    let cid: Cid = shown["data"][0]["cid"].as_str().unwrap().parse().unwrap();
    let artifact = joined.world.home("blobs").join(cid.to_string());
    assert_eq!(Cid::of_reader(std::fs::File::open(artifact).unwrap()).unwrap(), cid);
}

#[test]
fn a_file_is_fetched_from_another_machine_by_its_key() {
    let (gateway, workers) = network(1);
    let worker = &workers[0];
    let file = worker.world.path("file");
    let bytes: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&file, &bytes).unwrap();
    let added = worker.world.run(&["--json", "store", "add", file.to_str().unwrap()]);
    let added: Value = serde_json::from_str(&added.stdout).unwrap();
    let (cid, out) = (added["cid"].as_str().unwrap(), gateway.world.path("out"));
    let get = |key: &str| {
        let out = out.to_str().unwrap();
        let mut command = gateway.world.command(&["store", "get", cid, "--from", key, "-o", out]);
        command.env("MASHAA_LISTEN", &gateway.address).output().unwrap()
    };
    let stranger = get(&format!("0x{}", "0".repeat(64)));
    assert_eq!(stranger.status.code(), Some(2));
    let why = String::from_utf8(stranger.stderr).unwrap();
    assert!(why.contains("no machine of this network"), "{why}");
    let got = get(&worker.key);
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert_eq!(std::fs::read(out).unwrap(), bytes);
}

#[test]
fn a_ticket_that_is_no_ticket_lets_nobody_in() {
    let gateway = Machine::start(Machine::world(), &["up"]);
    let ticket = gateway.ticket();
    let guest = Machine::world();
    let other = if ticket.ends_with('a') { 'q' } else { 'a' };
    let mistyped = format!("{}{other}", &ticket[..ticket.len() - 1]);
    let cut = &ticket[..ticket.len() / 2];
    for (text, code) in [(mistyped.as_str(), 2), (cut, 2), ("hello", 2)] {
        let ended = guest.run(&["join", text, "--no-up"]);
        assert_eq!(ended.code, Some(code), "{text}: {}", ended.stderr);
        assert!(!guest.home("ledger/genesis.toml").exists(), "{text}");
    }
    let once = gateway.world.run(&["invite", "--uses", "1"]).stdout.trim().to_owned();
    let ended = guest.run(&["join", &once, "--no-up"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let late = Machine::world().run(&["join", &once, "--no-up"]);
    assert_eq!(late.code, Some(1), "{}", late.stderr);
    assert!(late.stderr.contains("used up"), "{}", late.stderr);
}

#[test]
fn an_answer_survives_the_machines_that_compute_it() {
    let losses: u64 = std::env::var("MASHAA_LOSSES").map_or(LOSSES, |it| it.parse().unwrap());
    let (gateway, mut workers) = network(2);
    let (seed, undisturbed) = long_answer(&gateway);
    let events = gateway.stream(seed, usize::MAX, |_| {}).0;
    assert_eq!(events, undisturbed);
    let usual = (0..5).map(|_| gateway.whole(seed).1).min().unwrap();
    let mut delays = Vec::new();
    for loss in 0..losses {
        // Moments all over the answer: before the first token, and after any other.
        let at = usize::try_from(loss * 37 % 150).unwrap();
        let signal = if loss % 2 == 0 { "-KILL" } else { "-STOP" };
        let strike = |worker: &str| {
            workers.iter().find(|it| it.key == worker).unwrap().signal(signal);
        };
        let (text, time) = if loss % 3 == 2 {
            std::thread::scope(|scope| {
                let whole = scope.spawn(|| gateway.whole(seed));
                let mut struck = false;
                until("work begins or is over", || {
                    let value = gateway.get("/network");
                    let nodes = value["nodes"].as_array().unwrap();
                    let busy = nodes.iter().find(|it| it["standing"]["in_flight"] != 0);
                    if let (Some(worker), false) = (busy, struck) {
                        strike(worker["node"].as_str().unwrap());
                        struck = true;
                    }
                    struck || whole.is_finished()
                });
                whole.join().unwrap()
            })
        } else {
            gateway.stream(seed, at, strike)
        };
        assert_eq!(text, undisturbed, "loss {loss}, {signal} after {at} events");
        delays.push(time.saturating_sub(usual));
        for worker in &mut workers {
            match signal {
                "-KILL" if worker.child.try_wait().unwrap().is_some() => worker.restart(),
                _ => worker.signal("-CONT"),
            }
        }
        gateway.wait_for_offers(2);
    }
    delays.sort();
    let at = |share: usize| delays[(delays.len() - 1) * share / 100];
    println!("{losses} workers lost; added delay p50 {:?}, p95 {:?}", at(50), at(95));
}

#[test]
fn a_worker_that_lives_and_gets_nowhere_holds_no_answer() {
    let gateway = Machine::start(Machine::world(), &["up", "--compute", "no"]);
    // Paused in the middle of an answer, a worker keeps it for a day, and says that it is alive.
    let join = ["join", &gateway.ticket(), "--work-suspend-seconds", "86400"];
    let workers = [Machine::world(), Machine::world()].map(|world| Machine::start(world, &join));
    gateway.wait_for_offers(2);
    let (seed, undisturbed) = long_answer(&gateway);
    let mut held = 0;
    // On a fast machine an answer may be over before the pause begins.
    for _ in 0..TRIES_MAX {
        let mut slow = 0;
        let pause = |worker: &str| {
            slow = workers.iter().position(|it| it.key == worker).unwrap();
            workers[slow].done(&["work", "pause"]);
            held += workers[slow].get("/node/work")["requests"]["others"].as_u64().unwrap();
        };
        assert_eq!(gateway.stream(seed, 0, pause).0, undisturbed);
        workers[slow].done(&["work", "resume"]);
        gateway.wait_for_offers(2);
        if held == 2 {
            break;
        }
    }
    assert_eq!(held, 2, "answers that stood still at a worker");
    // Whoever is late and lives has done nothing wrong.
    for node in gateway.get("/network")["nodes"].as_array().unwrap() {
        assert_eq!(node["standing"]["reliability"], 1000, "{node}");
    }
}

#[test]
fn a_paused_machine_offers_nothing_and_works_for_others_again_once_resumed() {
    let (gateway, workers) = network(1);
    let (text, _) = gateway.whole(7);
    let worker = &workers[0];
    let tell = |words: &[&str]| {
        let ended = worker.world.run(&[words, &["--node", &worker.address]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    assert!(worker.get("/node/work")["measured"]["traffic_month"].as_u64().unwrap() > 0);
    tell(&["work", "pause"]);
    gateway.wait_for_offers(0);
    let refused = gateway
        .agent
        .post(format!("http://{}/v1/completions", gateway.address))
        .header("content-type", "application/json")
        .send(request(7, false).to_string());
    assert!(matches!(refused, Err(ureq::Error::StatusCode(429 | 503))), "{refused:?}");
    assert_eq!(worker.whole(7).0, text, "own requests go on");
    assert!(tell(&["status"]).contains("1 of 1 others connected"));
    tell(&["work", "resume"]);
    gateway.wait_for_offers(1);
    assert_eq!(gateway.whole(7).0, text);
}
