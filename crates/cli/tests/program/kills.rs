//! A ledger that is killed at random moments while payments come in.
//!
//! `MASHAA_KILLS=100` kills it as often as the release's figures say (`docs/benchmarks.md`).

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use types::amount::{Amount, Height, Nonce};
use types::bounded::Text;
use types::codec::encode;
use types::envelope::Order;
use types::id::{Address, Hash, keccak256};
use types::signature::Secret;
use types::transaction::{Action, Transfer};

use crate::ledger::{Node, json, mashaa};
use crate::world::{Ended, World};

/// Kills, where nothing else is said: what a few seconds have room for.
const KILLS: u64 = 10;
/// Accounts that pay at once.
const PAYERS: u64 = 4;
/// Payments of one request.
const BATCH: u64 = 8;
/// How long a node is left alone at most, from its start or from when it answers.
const LIFE: Duration = Duration::from_millis(300);

/// Whether the node answers, for those who pay.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum State {
    #[default]
    Down,
    Up,
    Over,
}

impl Gate {
    fn set(&self, state: State) {
        *self.state.lock().unwrap() = state;
        self.changed.notify_all();
    }

    /// Waits until the node answers; false when no more is to be paid.
    fn is_open(&self) -> bool {
        let down = |state: &mut State| *state == State::Down;
        *self.changed.wait_while(self.state.lock().unwrap(), down).unwrap() == State::Up
    }
}

/// Ends the paying, however the test ends: the threads would wait for ever.
struct Ending<'a>(&'a Gate);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.set(State::Over);
    }
}

fn payer(number: u64) -> Secret {
    Secret::new(keccak256(&number.to_le_bytes()).0).unwrap()
}

fn payment(key: &Secret, nonce: u64, network: &Hash) -> (Hash, String) {
    let amount = Amount::new(1).unwrap();
    let action = Action::Transfer(Transfer { to: Address([7; 20]), amount, note: Text::default() });
    let (account, valid_until) = (key.address(), Height(u64::MAX));
    let signed = Order { account, nonce: Nonce(nonce), valid_until, action }.sign(key, network);
    (signed.id(), node::ledger::hex(&encode(&signed)))
}

fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Value> {
    serde_json::from_str(&answer.ok()?.body_mut().read_to_string().ok()?).ok()
}

/// Pays until it is over; tells of each payment that the node showed in a block.
fn pay(key: &Secret, address: &str, network: &Hash, gate: &Gate, acknowledged: &Sender<Hash>) {
    let agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(30)));
    let agent: ureq::Agent = agent.build().into();
    while gate.is_open() {
        // Asked again after each failure: what was sent then may have come through or not.
        let account = agent.get(format!("http://{address}/ledger/accounts/{}", key.address()));
        let next = read(account.call()).and_then(|account| account["next_nonce"].as_u64());
        let Some(mut next) = next else { continue };
        loop {
            let (names, orders): (Vec<Hash>, Vec<String>) =
                (next..next + BATCH).map(|nonce| payment(key, nonce, network)).unzip();
            let body = json!({"orders": orders, "wait": 30}).to_string();
            let request = agent.post(format!("http://{address}/ledger/orders"));
            let answer = read(request.header("content-type", "application/json").send(body));
            let results = answer.as_ref().and_then(|answer| answer["results"].as_array());
            let done = results.into_iter().flatten().take_while(|it| it["status"] == "done");
            let done = names.iter().zip(done).map(|(name, _)| acknowledged.send(*name));
            if done.count() < names.len() {
                break;
            }
            next += BATCH;
        }
    }
}

/// Gathers acknowledged payments until a moment.
fn gather(from: &Receiver<Hash>, moment: Instant, to: &mut Vec<Hash>) {
    loop {
        match from.recv_timeout(moment.saturating_duration_since(Instant::now())) {
            Ok(name) => to.push(name),
            Err(error) => {
                assert_eq!(error, RecvTimeoutError::Timeout, "nobody pays any more");
                return;
            }
        }
    }
}

/// A network of one whose founders pay; its name.
fn begin(home: &Path) -> Hash {
    let founders = (0..PAYERS).map(|it| format!("payer={}", payer(it).address()));
    let founders: Vec<String> = founders.flat_map(|it| ["--founder".to_owned(), it]).collect();
    let mut init = mashaa(home, &["--json", "init", "--interval-ms", "20"]);
    let made =
        Ended::of(&init.args(["--set", "quota_bytes=4294967296"]).args(founders).output().unwrap());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    Hash::parse(made["network"].as_str().unwrap()).unwrap()
}

#[test]
fn kills_at_random_moments_under_load_lose_nothing_that_was_acknowledged() {
    let kills = std::env::var("MASHAA_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let mut random = u64::from(seed) | 1;
    let mut moment = || {
        // Marsaglia 2003, "Xorshift RNGs".
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        LIFE.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
    };
    let world = World::new();
    let home = world.path("home");
    let network = begin(&home);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let address = free.to_string();
    let (gate, (tell, told)) = (Gate::default(), channel());
    let mut acknowledged: Vec<Hash> = vec![];
    std::thread::scope(|scope| {
        for number in 0..PAYERS {
            let (gate, address, tell) = (&gate, &address, tell.clone());
            scope.spawn(move || pay(&payer(number), address, &network, gate, &tell));
        }
        let _ending = Ending(&gate);
        for kill in 0..kills {
            if kill % 4 == 3 {
                // While it opens its files after the kill before.
                let mut child = Node::spawn(&home, &address, &[]);
                gather(&told, Instant::now() + moment() / 3, &mut acknowledged);
                child.kill().unwrap();
                child.wait().unwrap();
            }
            let mut node = Node::start_at(&home, &address, &[]);
            gate.set(State::Up);
            gather(&told, Instant::now() + moment(), &mut acknowledged);
            node.child.kill().unwrap();
            node.child.wait().unwrap();
            gate.set(State::Down);
            // What was on its way here when the node was killed was acknowledged too.
            gather(&told, Instant::now(), &mut acknowledged);
        }
    });
    acknowledged.extend(told.try_iter());
    let _node = Node::start_at(&home, &address, &[]);
    let agent = ureq::Agent::new_with_defaults();
    for name in &acknowledged {
        let shown = read(agent.get(format!("http://{address}/ledger/orders/{name}")).call());
        let shown = shown.unwrap();
        assert_eq!(shown["status"], "done", "seed {seed}: {shown}");
    }
    let replayed = json(&home, &address, &["ledger", "replay"]);
    assert_eq!(replayed["sum"], "0", "{replayed}");
    let count = u64::try_from(acknowledged.len()).unwrap();
    assert!(count >= kills * BATCH, "{count} payments are no load for {kills} kills");
    assert!(replayed["orders"].as_u64().unwrap() >= count, "{replayed}");
    eprintln!("{kills} kills, {count} payments acknowledged, none lost; {replayed}");
}
