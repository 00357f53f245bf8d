//! Nodes that accounts register, and whose machines may compute.

use crate::ledger::{Node, mashaa};
use crate::world::{Ended, World};

/// A home with a ledger of its own, and one that takes its beginning in.
fn homes(world: &World) -> (std::path::PathBuf, std::path::PathBuf) {
    let (home, other) = (world.path("home"), world.path("other"));
    let set = Ended::of(&mashaa(&home, &["init", "--interval-ms", "20"]).output().unwrap());
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let genesis = home.join("ledger/genesis.toml");
    let arguments = ["init", "--genesis", genesis.to_str().unwrap()];
    let taken = Ended::of(&mashaa(&other, &arguments).output().unwrap());
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    (home, other)
}

#[test]
fn an_account_registers_its_own_node_and_another_only_with_its_consent() {
    let world = World::new();
    let (home, other) = homes(&world);
    let node = Node::start(&home, &[]);
    let done = |arguments: &[&str]| {
        let value = node.json(arguments);
        assert_eq!(value["status"], "done", "{arguments:?}: {value}");
    };
    done(&["node", "register"]);
    let own = node.json(&["ledger", "status"])["node_key"].as_str().unwrap().to_owned();
    let listed = node.json(&["node", "list"]);
    assert_eq!(listed["nodes"][0]["node_key"], own.as_str(), "{listed}");
    assert_eq!(listed["nodes"][0]["is_members"], true, "{listed}");
    let account = listed["nodes"][0]["account"].as_str().unwrap().to_owned();
    let again = node.run(&["node", "register"]);
    assert_eq!(again.code, Some(4));
    assert!(again.stderr.contains("(160)"), "{}", again.stderr);

    let consent = |to: &str| {
        let arguments = ["node", "consent", to, "--node", &node.address];
        let printed = Ended::of(&mashaa(&other, &arguments).output().unwrap());
        assert_eq!(printed.code, Some(0), "{}", printed.stderr);
        printed.stdout.trim().to_owned()
    };
    let to_another = consent(crate::ledger::PAYEE);
    let refused = node.run(&["node", "register", "--consent", &to_another]);
    assert_eq!(refused.code, Some(2));
    assert!(refused.stderr.contains("consents to another account"), "{}", refused.stderr);
    done(&["node", "register", "--consent", &consent(&account)]);
    let shown = node.json(&["ledger", "account", &account]);
    assert_eq!(shown["nodes"].as_array().unwrap().len(), 2, "{shown}");
    done(&["node", "unregister"]);
    assert_eq!(node.json(&["node", "list"])["nodes"].as_array().unwrap().len(), 1);
    let refused = node.run(&["node", "unregister"]);
    assert!(refused.stderr.contains("(161)"), "{}", refused.stderr);
}
