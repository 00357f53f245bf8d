//! `mashaa up`: it says when it is ready, owns its home, and ends well when asked to.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use crate::world::World;

/// A node that serves the small model.
pub(crate) struct Node {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
    pub(crate) address: String,
}

impl Node {
    fn start(world: &World) -> Node {
        Node::start_with(world, &[], &[])
    }

    /// Starts a node with more flags and environment variables.
    pub(crate) fn start_with(world: &World, flags: &[&str], variables: &[(&str, &str)]) -> Node {
        let mut command = world.command(&["up", "--listen", "127.0.0.1:0", "--model", "random"]);
        command.args(["--threads", "1", "--kv-mib", "16"]).args(flags);
        command.envs(variables.iter().copied());
        Node::spawn(&mut command)
    }

    /// The node that a command starts.
    pub(crate) fn spawn(command: &mut Command) -> Node {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let ready = lines.by_ref().map(Result::unwrap).find(|line| line.starts_with("ready: "));
        let ready = ready.expect("the node ends before it is ready");
        let address = ready.trim_start_matches("ready: http://").trim_end_matches("/v1").to_owned();
        Node { child, lines, address }
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Asks the node to end, and returns its code and what it said since it was ready.
    pub(crate) fn stop(self, signal: &str) -> (Option<i32>, String) {
        let Node { mut child, lines, .. } = self;
        let process = child.id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
        let told: Vec<String> = lines.map(Result::unwrap).collect();
        (child.wait().unwrap().code(), told.join("\n"))
    }

    pub(crate) fn get(&self, path: &str) -> String {
        self.send(
            &format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.address),
            "",
        )
    }

    /// Sends a request's head, without its empty line, and its body; returns the answer.
    pub(crate) fn send(&self, head: &str, body: &str) -> String {
        let mut socket = TcpStream::connect(&self.address).unwrap();
        write!(socket, "{head}\r\n{body}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }
}

pub(crate) fn world() -> World {
    let world = World::new();
    world.catalogue(&["http://127.0.0.1:1/none"]);
    let source = world.path("random.gguf");
    assert_eq!(world.run(&["model", "add", source.to_str().unwrap()]).code, Some(0));
    world
}

#[test]
fn a_node_serves_until_it_is_asked_to_end() {
    let world = world();
    for signal in ["-TERM", "-INT"] {
        let node = Node::start(&world);
        assert!(node.get("/readyz").starts_with("HTTP/1.1 200"));
        assert!(node.get("/v1/models").contains("\"random\""));
        let (code, told) = node.stop(signal);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("curl") && told.contains("OpenAI("), "{told}");
        assert!(told.ends_with("stopped"), "{told}");
    }
}

#[test]
fn a_home_serves_one_node_and_the_other_is_told_which() {
    let world = world();
    let node = Node::start(&world);
    let second = world.run(&["up", "--listen", "127.0.0.1:0", "--model", "random"]);
    assert_eq!(second.code, Some(1), "{}", second.stderr);
    let holder = format!("process {}", node.child.id());
    assert!(
        second.stderr.contains(&holder) && second.stderr.contains("--home"),
        "{}",
        second.stderr
    );
    assert_eq!(node.stop("-KILL").0, None);
    assert_eq!(Node::start(&world).stop("-TERM").0, Some(0));
}

#[test]
fn the_log_tells_as_much_as_is_asked_for() {
    let world = world();
    let log = |level: &str| {
        let node = Node::start_with(&world, &[], &[("MASHAA_LOG", level)]);
        let answer = node.get("/v1/models/none");
        let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: "));
        (id.unwrap().to_owned(), node.stop("-TERM").1)
    };
    let (id, told) = log("off,gateway=debug");
    let line = told.lines().find(|line| line.contains(&id)).unwrap();
    assert!(line.contains("DEBUG gateway::observe") && line.contains("none"), "{line}");
    let (id, told) = log("warn");
    assert!(!told.contains(&id), "{told}");
    let wrong = world.command(&["up"]).env("MASHAA_LOG", "loud").output().unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    let said = String::from_utf8(wrong.stderr).unwrap();
    assert!(said.contains("MASHAA_LOG") && said.contains("network=debug"), "{said}");
}

#[test]
fn the_log_has_the_names_of_open_telemetry_and_no_prompt_unless_it_is_asked_for() {
    const PROMPT: &str = "heliotrope walrus 7391";
    let world = world();
    let log = |level: &str, prompts: &str| {
        let variables =
            [("MASHAA_LOG", level), ("MASHAA_LOG_FORMAT", "json"), ("MASHAA_LOG_PROMPTS", prompts)];
        let node = Node::start_with(&world, &[], &variables);
        let body = format!(r#"{{"model":"random","prompt":"{PROMPT}","max_tokens":3}}"#);
        let head = format!(
            "POST /v1/completions HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: \
             application/json\r\ncontent-length: {}\r\ntraceparent: \
             00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
            node.address,
            body.len()
        );
        let answer = node.send(&head, &body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let told = node.stop("-TERM").1;
        let lines = told.lines().filter(|line| line.starts_with('{'));
        let lines: Vec<serde_json::Value> =
            lines.map(|line| serde_json::from_str(line).unwrap()).collect();
        let line = lines.into_iter().find(|it| it["message"] == "answered").unwrap();
        (line, told)
    };
    let (line, told) = log("info,gateway=trace,node=trace,engine=trace", "no");
    assert_eq!(line["gen_ai.operation.name"], "text_completion");
    assert_eq!(line["gen_ai.request.model"], "random");
    assert_eq!(line["gen_ai.usage.output_tokens"], 3);
    assert!(line["gen_ai.usage.input_tokens"].as_u64().unwrap() > 1, "{line}");
    assert_eq!(line["gen_ai.response.finish_reasons"], "length");
    assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(line["parent_span_id"], "00f067aa0ba902b7");
    assert!(line["request_id"].as_str().unwrap().starts_with("req_"), "{line}");
    for word in PROMPT.split(' ') {
        assert!(!told.contains(word), "{told}");
    }
    let (_, told) = log("info", "yes");
    assert!(told.contains(PROMPT), "{told}");
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let world = world();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = world.run(&["up", "--listen", &address, "--model", "random"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains(&address) && ended.stderr.contains("--listen"),
        "{}",
        ended.stderr
    );
}
