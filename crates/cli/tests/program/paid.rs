//! Work that is paid for: two machines, a channel, a voucher for each answer, and what is redeemed.

use std::fs;

use serde_json::{Value, json};
use types::amount::Amount;

use crate::ledger::until;
use crate::machines::Machine;
use crate::roles::asking;
use crate::world::World;

/// Times that a gateway is frozen until one answer is not paid.
const FREEZES_MAX: usize = 20;

/// A new wallet that opens without a person; its address.
pub(crate) fn wallet(world: &World, name: &str) -> String {
    let made = world.run(&["wallet", "new", "--name", name, "--unattended", "--json"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let made: Value = serde_json::from_str(&made.stdout).unwrap();
    made["address"].as_str().unwrap().to_owned()
}

/// A gateway whose session key may pay 5 credits, on a ledger with these parameters and a model, with
/// more settings.
pub(crate) fn gateway(sets: &[&str], more: &str) -> Machine {
    let world = Machine::world();
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["init", "--interval-ms", "50"].into_iter().chain(sets).collect();
    let began = world.run(&arguments);
    assert_eq!(began.code, Some(0), "{}", began.stderr);
    let owner: Value =
        serde_json::from_str(&world.run(&["wallet", "show", "--json"]).stdout).unwrap();
    let (owner, pay) = (owner["address"].as_str().unwrap(), wallet(&world, "pay"));
    let settings = format!(
        "compute = \"no\"\npay_wallet = \"pay\"\npay_account = {owner:?}\npay_price_max = 10000\npay_cap = 2\n{more}"
    );
    fs::write(world.home("config.toml"), settings).unwrap();
    let gateway = Machine::start(world, &["up"]);
    gateway.done(&["session", "grant", &pay, "--cap", "5", "--scope", "channel"]);
    let (model, maker) = (gateway.get("/v1/models")["data"][0].clone(), format!("{owner}=1"));
    let model = model["cid"].as_str().unwrap();
    let licence = ["--licence", "Apache-2.0", "--maker", &maker];
    gateway.done(&[&["registry", "register", model, "--name", "random"], &licence[..]].concat());
    gateway
}

/// A machine that joins with these settings, and its own account, which has some credits: who is no
/// member pays a fee for each order.
pub(crate) fn joined(
    world: World,
    gateway: &Machine,
    (settings, credits): (&str, &str),
) -> (Machine, String) {
    let account = wallet(&world, "main");
    fs::write(world.home("config.toml"), settings).unwrap();
    let machine = Machine::start(world, &["join", &gateway.ticket()]);
    gateway.done(&["send", &account, credits]);
    until("the account has credits", || balance(&machine, &account) > Amount::ZERO);
    (machine, account)
}

/// A gateway, and a worker that asks 10,000 for a million tokens.
pub(crate) fn market() -> (Machine, Machine, String) {
    market_of("", "earn_price = 10000\n")
}

/// The same with more settings of the gateway, and these of the worker.
fn market_of(paying: &str, earning: &str) -> (Machine, Machine, String) {
    // Epochs of two seconds, in which nothing is drawn.
    let gateway = gateway(&["epoch_blocks=40", "audit_rate=0", "stake_parts=2000"], paying);
    let (worker, account) = joined(Machine::world(), &gateway, (earning, "1"));
    worker.done(&["node", "register"]);
    worker.done(&["stake", "add", "0.8"]);
    gateway.wait_for_offers(1);
    (gateway, worker, account)
}

pub(crate) fn balance(machine: &Machine, account: &str) -> Amount {
    let found = machine.get(&format!("/ledger/accounts/{account}"))["balance"].clone();
    Amount::parse(found.as_str().unwrap()).unwrap_or_default()
}

/// Asks for an answer; its receipt's id, or none if it failed.
pub(crate) fn ask(machine: &Machine) -> Option<String> {
    let got = ask_with(machine, None);
    assert!(matches!(got, Ok(_) | Err(429 | 503)), "{got:?}");
    got.ok()
}

/// The same with an API key; the status where it failed.
pub(crate) fn ask_with(machine: &Machine, key: Option<&str>) -> Result<String, u16> {
    let url = format!("http://{}/v1/completions", machine.address);
    let body = json!({"model": "random", "prompt": "machines", "max_tokens": 12});
    let mut request = machine.agent.post(url).content_type("application/json");
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    match request.send(body.to_string()) {
        Ok(answer) => Ok(answer.headers()["x-mashaa-receipt"].to_str().unwrap().to_owned()),
        Err(ureq::Error::StatusCode(status)) => Err(status),
        Err(error) => unreachable!("{error}"),
    }
}

/// The price of an answer is told before, and what it has cost after it.
fn is_quoted(gateway: &Machine, worker: &Machine) {
    let shown = gateway.done(&["quote", "machines", "--max-tokens", "12", "--json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let (quote, tokens) = (&shown["quotes"][0], &shown["prompt_tokens"]);
    assert_eq!((&quote["worker"], &quote["trust"]), (&json!(worker.key), &json!("checked")));
    // A price of 10,000 for a million tokens is a hundredth of a credit for each.
    let most = Amount::new(10_000 * (tokens.as_u64().unwrap() + 12)).unwrap();
    assert_eq!((&quote["cost_max"], &quote["price"]), (&json!(most.to_string()), &json!("10000")));
    assert!(quote["wait_ms"].as_u64() <= quote["time_max_ms"].as_u64(), "{shown}");
    let read = gateway.done(&["quote", "machines"]);
    assert!(read.contains("10000 a million tokens") && read.contains("checked"), "{read}");

    let url = format!("http://{}/v1/completions", gateway.address);
    let body = json!({"model": "random", "prompt": "machines", "max_tokens": 12});
    let mut sent = gateway.agent.post(url).content_type("application/json").send(body.to_string());
    let sent = sent.as_mut().unwrap();
    let header = |name: &str| sent.headers()[name].to_str().unwrap().to_owned();
    let (id, cost) = (header("x-mashaa-receipt"), header("x-mashaa-cost"));
    let body: Value = serde_json::from_str(&sent.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(body["choices"][0]["cost"], *cost);
    assert_eq!(verified(gateway, &id)["due"], *cost);
}

/// What the program says of a receipt.
fn verified(machine: &Machine, id: &str) -> Value {
    let path = machine.world.path("receipt");
    let url = format!("http://{}/v1/receipts/{id}", machine.address);
    let mut got = machine.agent.get(url).call().unwrap();
    fs::write(&path, got.body_mut().read_to_vec().unwrap()).unwrap();
    let ended = machine.world.run(&["verify", path.to_str().unwrap(), "--json"]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn an_answer_is_paid_by_voucher_and_redeemed_and_a_failed_one_costs_nothing() {
    let (gateway, mut worker, account) = market();
    let channel = |machine: &Machine, path: &str| machine.get(path)["channels"][0].clone();
    // The gateway may not have heard yet who has registered the worker.
    let mut id = None;
    until("an answer", || {
        id = ask(&gateway);
        id.is_some()
    });
    let found = verified(&gateway, &id.unwrap());
    assert_eq!((&found["unpaid"], &found["worker_key"]), (&json!(false), &json!(worker.key)));
    let due = found["due"].as_str().unwrap();
    assert!(Amount::parse(due).unwrap() > Amount::ZERO, "{found}");
    until("the voucher", || channel(&worker, "/node/earned")["vouched"] == due);
    let earned = channel(&worker, "/node/earned");
    assert_eq!((&earned["owed"], &earned["pending"]), (&json!(due), &json!(due)));
    assert_eq!(channel(&gateway, "/node/spent")["vouched"], due);

    // It freezes before it has answered, and is killed.
    worker.signal("-STOP");
    assert_eq!(ask(&gateway), None);
    assert_eq!(channel(&gateway, "/node/spent")["vouched"], due);
    worker.kill();
    worker.restart();
    assert_eq!(channel(&worker, "/node/earned")["vouched"], due, "the voucher is on the disk");

    let before = balance(&worker, &account);
    worker.done(&["earn", "redeem"]);
    let earned = channel(&worker, "/node/earned");
    assert_eq!((&earned["redeemed"], &earned["pending"]), (&json!(due), &json!("0")));
    assert!(worker.done(&["earn", "redeem"]).contains("nothing is pending"));
    until("the gateway knows", || channel(&gateway, "/node/spent")["redeemed"] == due);
    until("the batch is paid", || balance(&worker, &account) > before);
    assert_eq!(gateway.get("/ledger/batches")["batches"], json!([]));
    assert_eq!(gateway.get("/ledger")["sum"], "0");
    assert!(worker.done(&["earn"]).contains("1 answers"), "{}", worker.done(&["earn"]));
    assert!(gateway.done(&["spend"]).contains("model "), "{}", gateway.done(&["spend"]));

    let settings = "earn_price = 10000\nnode_wallet = \"main\"\n";
    fs::write(worker.world.home("config.toml"), settings).unwrap();
    worker.kill();
    worker.restart();
    gateway.wait_for_offers(1);
    let before = balance(&worker, &account);
    until("work goes on after a restart, on the same channel", || ask(&gateway).is_some());
    until("its node redeems what it was paid by itself", || {
        let earned = channel(&worker, "/node/earned");
        earned["receipts"] == 2 && earned["redeemed"] == earned["owed"]
    });
    until("the batch is paid", || balance(&worker, &account) > before);
    assert_eq!(gateway.get("/ledger")["sum"], "0");
    is_quoted(&gateway, &worker);
}

/// Leaves the worker with an answer that nobody vouches for: the gateway freezes before its end, and is
/// killed.
fn lose_a_voucher(gateway: &mut Machine, worker: &Machine) {
    let port = gateway.port();
    let others = || worker.get("/node/work")["requests"]["others"].as_u64().unwrap();
    let unpaid = || {
        let earned = worker.get("/node/earned")["channels"][0].clone();
        earned["owed"] != earned["vouched"]
    };
    for _ in 0..FREEZES_MAX {
        let answer = asking(gateway, 200);
        until("the worker computes, or has", || others() == 1 || answer.is_finished());
        gateway.signal("-STOP");
        until("the worker is idle", || others() == 0);
        if unpaid() {
            gateway.kill();
            gateway.restart_at(port);
            assert_eq!(answer.join().unwrap(), None);
            return;
        }
        gateway.signal("-CONT");
        answer.join().unwrap();
    }
    unreachable!("the worker was always paid before the gateway froze");
}

#[test]
fn a_channel_that_owes_too_much_is_left_for_another() {
    let paying = "pay_deposit = 0.1\n";
    let (mut gateway, worker, _) = market_of(paying, "earn_price = 100\nearn_unpaid_max = 0\n");
    until("an answer", || ask(&gateway).is_some());
    lose_a_voucher(&mut gateway, &worker);
    until("an answer from another channel", || ask(&gateway).is_some());
    let channels = gateway.get("/node/spent")["channels"].clone();
    assert_eq!(channels.as_array().unwrap().len(), 2, "{channels}");
    let first = gateway.get("/ledger/channels/1");
    assert!(!first["closes"].is_null(), "what is left of the first comes back: {first}");
    let earned = worker.get("/node/earned")["channels"].clone();
    let owed = |at: usize| Amount::parse(earned[at]["owed"].as_str().unwrap()).unwrap();
    assert!(owed(0) > owed(1) && owed(1) > Amount::ZERO, "{earned}");
}

#[test]
fn a_worker_takes_no_more_work_at_once_than_its_stake_covers() {
    let (gateway, worker, account) = market();
    until("an answer", || ask(&gateway).is_some());
    // 0.8 at stake covers 0.4 credits, and an answer may cost a quarter of one: with what waits to be
    // redeemed no second one.
    let asked: Vec<_> = (0..6).map(|_| asking(&gateway, 12)).collect();
    let answered = asked.into_iter().filter_map(|it| it.join().unwrap()).count();
    assert_eq!(answered, 0, "of answers that could not all be redeemed");
    let before = balance(&worker, &account);
    until("the first can be redeemed", || {
        worker.get("/node/earned")["channels"][0]["redeemable"].is_object()
    });
    assert!(!worker.done(&["earn", "redeem"]).contains("nothing is pending"));
    until("it is settled", || balance(&worker, &account) > before);
    until("there is work again", || ask(&gateway).is_some());
}

#[test]
fn what_cannot_be_redeemed_is_kept_and_its_owner_is_told_why() {
    let (gateway, mut worker, account) = market();
    worker.done(&["stake", "take", "0.8"]);
    let settings = "earn_price = 10000\nnode_wallet = \"main\"\n";
    fs::write(worker.world.home("config.toml"), settings).unwrap();
    worker.kill();
    worker.restart();
    gateway.wait_for_offers(1);
    until("an answer", || ask(&gateway).is_some());
    until("it is told why", || worker.done(&["earn"]).contains("not redeemed: "));
    gateway.done(&["send", &account, "1"]);
    worker.done(&["stake", "add", "0.8"]);
    let earned = || worker.get("/node/earned")["channels"][0].clone();
    until("it is redeemed in a later epoch", || earned()["redeemed"] == earned()["owed"]);
    assert!(!worker.done(&["earn"]).contains("not redeemed"));
}
