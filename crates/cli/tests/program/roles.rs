//! A gateway that pays, a worker and an auditor, one of which is killed at some moment of an epoch, again
//! and again: none that is honest loses more than the unfinished request.
//!
//! `MASHAA_ROLE_KILLS=100` kills as often as the release's figures say (`docs/benchmarks.md`), and
//! `MASHAA_SEED` chooses the moments.

use std::thread::JoinHandle;

use serde_json::{Value, json};
use types::amount::Amount;

use crate::audits::market_of;
use crate::ledger::until;
use crate::machines::Machine;
use crate::paid::ask;

/// Kills, where nothing else is said: each role is killed twice.
const KILLS: u64 = 6;
/// Blocks of an epoch here, within which a kill comes at some block.
const EPOCH: u64 = 40;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |it| it.parse().unwrap())
}

/// Asks in the background; what the answer has cost, if there was one.
pub(crate) fn asking(gateway: &Machine, tokens: u32) -> JoinHandle<Option<Amount>> {
    let (agent, url) =
        (gateway.agent.clone(), format!("http://{}/v1/completions", gateway.address));
    let body = json!({"model": "random", "prompt": "machines", "max_tokens": tokens}).to_string();
    std::thread::spawn(move || {
        let sent = agent.post(url).content_type("application/json").send(body).ok()?;
        Amount::parse(sent.headers()["x-mashaa-cost"].to_str().unwrap())
    })
}

fn height(machine: &Machine) -> u64 {
    machine.get("/ledger")["height"].as_u64().unwrap()
}

/// The sum of a field of all channels of a machine's books.
fn sum(machine: &Machine, books: &str, field: &str) -> u64 {
    let books = machine.get(books);
    let amounts = books["channels"].as_array().unwrap().iter();
    let amounts = amounts.map(|it| Amount::parse(it[field].as_str().unwrap_or("0")).unwrap());
    amounts.map(Amount::millionths).sum()
}

#[test]
fn whoever_is_killed_at_any_moment_of_an_epoch_loses_no_more_than_the_unfinished_request() {
    let (kills, mut seed) = (number("MASHAA_ROLE_KILLS", KILLS), number("MASHAA_SEED", 7));
    // Cheap, and after some answers that were not paid a worker wants another channel.
    let paying = "pay_deposit = 0.1\n";
    let earning = "earn_price = 100\nearn_unpaid_max = 0.004\n";
    let mut market = market_of(Machine::world(), paying, earning);
    market.auditor.done(&["node", "register"]);
    let [worker, auditor] = market.accounts.clone();
    let port = market.gateway.port();
    let held = |stake: Value| (stake["held"].clone(), stake["jailed_until"].clone());
    // Who is no member pays a fee for each order.
    for account in [&worker, &auditor] {
        market.gateway.done(&["send", account, &(kills / 10 + 1).to_string()]);
    }
    let before = [&worker, &auditor].map(|it| held(market.stake(it)));
    market.answered();
    let (mut answered, mut lost) = (0, 0);
    for kill in 0..kills {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (role, later) = ((seed >> 33) % 3, (seed >> 40) % EPOCH);
        let moment = height(&market.gateway) + later;
        let asked = asking(&market.gateway, 12);
        until("the moment", || height(&market.gateway) >= moment);
        // One more is under way as it is killed, if the first was soon over.
        let second = asking(&market.gateway, 12);
        let machine = match role {
            0 => &mut market.gateway,
            1 => &mut market.worker,
            _ => &mut market.auditor,
        };
        machine.kill();
        machine.restart_at(if role == 0 { port } else { 0 });
        for answer in [asked, second] {
            match answer.join().unwrap() {
                Some(_) => answered += 1,
                None => lost += 1,
            }
        }
        println!("kill {kill} of role {role}: {answered} answered, {lost} not");
        market.answered();
    }
    // Of an answer that its gateway did not live to pay, the worker has the receipt all the same: it goes
    // first into the next batch, and the last one waits for a later voucher.
    let most = Amount::parse("0.0025").unwrap().millionths();
    until("all that was vouched for is redeemed and settled, but for less than an answer", || {
        let vouched = sum(&market.worker, "/node/earned", "vouched");
        let redeemed = sum(&market.worker, "/node/earned", "redeemed");
        market.is_settled() && vouched - redeemed < most
    });
    let granted = sum(&market.gateway, "/node/spent", "vouched");
    let vouched = sum(&market.worker, "/node/earned", "vouched");
    let owed = sum(&market.worker, "/node/earned", "owed");
    println!("granted {granted}, vouched {vouched}, owed {owed}, {lost} requests lost");
    // The voucher for the last answer of a channel is lost where one of the two is killed just then; any
    // other comes with the next. And the worker has not worked for much that was not vouched for.
    let channels = market.gateway.get("/node/spent")["channels"].as_array().unwrap().len();
    assert!(granted - vouched <= most * channels as u64, "{granted} and {vouched}");
    assert!(owed - vouched <= most * (lost + kills), "{owed} and {vouched}");
    assert_eq!([&worker, &auditor].map(|it| held(market.stake(it))), before, "nobody is slashed");
    let standing = market.stake(&auditor)["standing"].as_u64().unwrap();
    assert!(standing > 8, "the auditor was right, and missed nothing: {standing}");
    let audits = market.gateway.get("/ledger/audits");
    assert_eq!(audits["audits"], json!([]));
    assert_eq!(market.gateway.get("/ledger")["sum"], "0");
    assert!(ask(&market.gateway).is_some(), "and it goes on");
}
