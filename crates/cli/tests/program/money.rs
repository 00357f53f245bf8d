//! Sessions, channels, dry runs and lists, as two people use them on one ledger.

use serde_json::Value;

use crate::ledger::{Node, PAYEE, json, mashaa, run};
use crate::world::{Ended, World};

/// A network of one, and someone else with a wallet.
struct Two {
    world: World,
    node: Node,
    owner: String,
    other: String,
}

impl Two {
    fn new() -> Two {
        let world = World::new();
        let set = ["init", "--interval-ms", "20"];
        assert!(mashaa(&world.path("home"), &set).output().unwrap().status.success());
        let node = Node::start(&world.path("home"), &[]);
        let made = ["wallet", "new", "--unattended", "--json"];
        let made = mashaa(&world.path("other"), &made).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap();
        let other = made["address"].as_str().unwrap().to_owned();
        let owner = node.json(&["ledger", "account"])["address"].as_str().unwrap().to_owned();
        Two { world, node, owner, other }
    }

    /// What the other one does.
    fn other(&self, arguments: &[&str]) -> Ended {
        run(&self.world.path("other"), &self.node.address, arguments)
    }

    fn done(&self, arguments: &[&str]) {
        let ended = self.other(arguments);
        assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    }

    fn refused(&self, arguments: &[&str], number: u32) {
        let ended = self.other(arguments);
        assert_eq!(ended.code, Some(4), "{arguments:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(&format!("refused ({number})")), "{}", ended.stderr);
    }

    fn balance(&self, of: &str) -> Value {
        self.node.json(&["ledger", "account", of])["balance"].clone()
    }
}

#[test]
fn a_session_key_acts_within_its_cap_until_it_is_taken_back() {
    let two = Two::new();
    two.node.json(&["session", "grant", &two.other, "--cap", "1", "--scope", "pay"]);
    let sessions = two.node.json(&["ledger", "account"])["sessions"].clone();
    assert_eq!(
        (sessions[0]["cap_left"].as_str(), &sessions[0]["key"]),
        (Some("1"), &two.other.as_str().into())
    );
    two.done(&["send", PAYEE, "0.75", "--account", &two.owner]);
    two.refused(&["send", PAYEE, "0.75", "--account", &two.owner], 22);
    two.refused(&["member", "leave", "--account", &two.owner], 21);
    two.node.json(&["session", "revoke", &two.other]);
    two.refused(&["send", PAYEE, "0.1", "--account", &two.owner], 5);
    assert_eq!(two.balance(PAYEE), "0.75");
}

#[test]
fn a_voucher_pays_its_payee_once_and_the_rest_goes_back() {
    let two = Two::new();
    // Who is no member pays a fee for each order.
    two.node.json(&["send", &two.other, "1"]);
    two.node.json(&["channel", "open", &two.other, "2"]);
    let voucher = two.node.json(&["channel", "voucher", "1", "0.5"]);
    let signature = voucher["signature"].as_str().unwrap();
    let redeem = ["channel", "redeem", "1", "0.5", signature];
    two.done(&redeem);
    assert_eq!(two.balance(&two.other), "1.49");
    let again = two.other(&redeem);
    assert_eq!(again.code, Some(4), "{}", again.stderr);
    let other = two.other(&["channel", "redeem", "1", "0.6", signature]);
    assert_eq!(other.code, Some(4), "a voucher of another amount: {}", other.stderr);
    let held = json(&two.world.path("other"), &two.node.address, &["channel", "show", "1"]);
    assert_eq!((held["held"].as_str(), held["redeemed"].as_str()), (Some("1.5"), Some("0.5")));
    two.done(&["channel", "close", "1"]);
    assert_eq!(two.other(&["channel", "show", "1"]).code, Some(3));
    assert_eq!(two.balance(&two.owner), "-1.5");
    assert_eq!(two.node.json(&["ledger", "status"])["sum"], "0");
}

#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let two = Two::new();
    let before = two.node.json(&["ledger", "account"])["nonce"].clone();
    let accepted = two.node.json(&["send", PAYEE, "1", "--dry-run"]);
    assert_eq!(accepted["status"], "accepted");
    let refused = two.node.run(&["send", PAYEE, "1000", "--dry-run"]);
    assert_eq!(refused.code, Some(4), "{}", refused.stderr);
    let out_of_range =
        ["propose", "too much", "--do", "set-parameter commons_parts 900", "--dry-run"];
    assert_eq!(two.node.run(&out_of_range).code, Some(4));
    assert_eq!(two.node.json(&["ledger", "account"])["nonce"], before);
    assert_eq!(two.balance(PAYEE), "0");

    two.node.json(&["propose", "a lower fee", "--do", "set-parameter fee_flat 5000"]);
    let would = two.node.json(&["ledger", "proposals", "1", "--dry-run"]);
    assert_eq!(would["would"][0], "fee_flat is 5000");
    let fee = two.node.json(&["ledger", "parameters"])["parameters"].clone();
    let fee = fee.as_array().unwrap().iter().find(|it| it["name"] == "fee_flat").unwrap().clone();
    assert_eq!(fee["value"], 10_000);
}

#[test]
fn lists_come_in_pages_that_name_the_next() {
    let two = Two::new();
    for of in (1..=25).map(|of| of << 16) {
        two.node.json(&["send", &format!("0x{of:040x}"), "0.001", "--wait", "0"]);
    }
    crate::ledger::until("every payment", || {
        two.node.json(&["ledger", "status"])["accounts"].as_u64() == Some(26)
    });
    let (mut found, mut after) = (vec![], None::<String>);
    loop {
        let flag = after.as_ref().map_or(vec![], |after| vec!["--after", after.as_str()]);
        let page = two.node.json(&[&["ledger", "accounts"], flag.as_slice()].concat());
        let accounts = page["accounts"].as_array().unwrap();
        found.extend(accounts.iter().map(|it| it["address"].as_str().unwrap().to_lowercase()));
        match page["after"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(found.len(), 26);
    assert!(found.is_sorted() && found.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(two.node.run(&["ledger", "accounts", "--after", "nobody"]).code, Some(2));
}
