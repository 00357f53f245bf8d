//! Audits between machines, without a person: a gateway that pays, a worker with a stake, and an auditor
//! that enlisted. The worker's weights are right, or another model's, or wrong in one number.

use std::fs;
use std::path::PathBuf;

use engine::artifact::Kind;
use engine::model::Model;
use serde_json::Value;
use types::amount::Amount;

use crate::ledger::until;
use crate::machines::Machine;
use crate::paid::{ask, balance, gateway, joined, wallet};
use crate::world::World;

/// Everything is drawn, epochs take two seconds, batches bind little, and stages are long enough for a machine that is killed
/// to come back.
const QUICK: [&str; 9] = [
    "epoch_blocks=40",
    "audit_rate=1000000",
    "auditors=2",
    "audit_blocks=300",
    "dispute_blocks=400",
    "audit_parts=100",
    "stake_parts=2000",
    "auditor_stake=1000000",
    "challenge_bond=500000",
];

pub(crate) struct Market {
    pub(crate) gateway: Machine,
    pub(crate) worker: Machine,
    pub(crate) auditor: Machine,
    /// The worker's account, and the auditor's.
    pub(crate) accounts: [String; 2],
}

/// The three machines. `alter` changes what the worker has on its disk.
fn market(alter: impl FnOnce(&World)) -> Market {
    let world = Machine::world();
    alter(&world);
    market_of(world, "", "earn_price = 10000\n")
}

/// The same with a worker's home, and more settings of the gateway and of the worker.
pub(crate) fn market_of(world: World, paying: &str, earning: &str) -> Market {
    let gateway = gateway(&QUICK, paying);
    let settings = format!("node_wallet = \"main\"\n{earning}");
    let (worker, working) = joined(world, &gateway, (&settings, "2"));
    worker.done(&["node", "register"]);
    worker.done(&["stake", "add", "0.8"]);
    // It would work for nothing.
    let settings = "compute = \"no\"\nnode_wallet = \"main\"\n";
    let (auditor, auditing) = joined(Machine::world(), &gateway, (settings, "4"));
    auditor.done(&["stake", "add", "2"]);
    auditor.done(&["stake", "enlist"]);
    gateway.wait_for_offers(1);
    Market { gateway, worker, auditor, accounts: [working, auditing] }
}

impl Market {
    /// Asks until there is an answer that is paid for.
    pub(crate) fn answered(&self) {
        until("an answer", || ask(&self.gateway).is_some());
    }

    /// Waits until an audit is as it should be.
    fn audit(&self, what: &str, is_it: impl Fn(&Value) -> bool) {
        until(&format!("an audit that is {what}"), || {
            let audits = self.gateway.get("/ledger/audits");
            audits["audits"].as_array().unwrap().iter().any(&is_it)
        });
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.gateway.get("/ledger/batches")["batches"].as_array().unwrap().is_empty()
    }

    pub(crate) fn stake(&self, account: &str) -> Value {
        self.gateway.get(&format!("/ledger/stakes/{account}"))
    }

    /// How many orders of a kind took effect.
    fn orders(&self, kind: &str) -> usize {
        let height = self.gateway.get("/ledger")["height"].as_u64().unwrap();
        let block = |at| self.gateway.get(&format!("/ledger/blocks/{at}"))["orders"].clone();
        let orders = (1..=height).map(|at| block(at).as_array().unwrap().clone());
        orders.flatten().filter(|it| it["kind"] == kind).count()
    }
}

/// The artifact of the one model that a home has.
fn artifact(world: &World) -> PathBuf {
    let listed = world.run(&["model", "ls", "--json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    world.home("blobs").join(listed[0]["artifact"].as_str().unwrap())
}

fn replace(path: &PathBuf, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Another model of the same shape takes the place of the dear one, under its name.
fn substitute(world: &World) {
    let (source, dear) = (world.path("cheap.gguf"), artifact(world));
    let source = source.to_str().unwrap();
    let made = world.run(&["model", "random", source, "--encoding", "F32", "--seed", "7"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let other = World::new();
    other.catalogue(&["http://127.0.0.1:1/none"]);
    assert_eq!(other.run(&["model", "add", source]).code, Some(0));
    let cheap = fs::read(artifact(&other)).unwrap();
    assert_ne!(cheap, fs::read(&dear).unwrap());
    replace(&dear, &cheap);
}

/// One byte of one matrix is another.
fn alter_one_weight(world: &World) {
    let path = artifact(world);
    let mut bytes = fs::read(&path).unwrap();
    let model = Model::open(std::sync::Arc::new(bytes.clone())).unwrap();
    let section = model.section_bytes(Kind::Down, 1).unwrap().to_vec();
    let at = bytes.windows(section.len()).position(|it| it == section).unwrap();
    // Scales come first, and padding last. Enough that no rounding hides it.
    bytes[at + section.len() / 2] ^= 0x88;
    replace(&path, &bytes);
}

#[test]
fn an_answer_is_drawn_computed_again_and_paid_and_a_killed_auditor_reveals_what_it_committed_to() {
    let mut market = market(|_| {});
    let [worker, auditor] = market.accounts.clone();
    market.answered();
    let before = balance(&market.gateway, &worker);
    // No account has registered its node, so that it has to ask on the ledger.
    until("the auditor was right", || market.stake(&auditor)["standing"] == 9);
    assert_eq!((market.orders("AskPayload"), market.orders("OpenPayload")), (1, 1));
    until("the batch is settled", || market.is_settled());
    assert!(balance(&market.gateway, &worker) > before, "the worker is paid");

    // A second auditor, of whom nobody hears, makes the first one wait before it can reveal.
    market.auditor.done(&["node", "register"]);
    let second = wallet(&market.auditor.world, "second");
    market.gateway.done(&["send", &second, "2"]);
    until("it has credits", || balance(&market.auditor, &second) > Amount::ZERO);
    market.auditor.done(&["stake", "add", "1", "--wallet", "second"]);
    market.auditor.done(&["stake", "enlist", "--wallet", "second"]);
    market.answered();
    market.audit("committed to by the first auditor", |audit| {
        let seats = audit["auditors"].as_array().unwrap();
        seats.iter().any(|it| it["auditor"] == auditor && it["committed"] == true)
    });
    market.auditor.kill();
    let before = balance(&market.gateway, &auditor);
    market.audit("still waiting for the second", |audit| audit["stage"] == "committing");
    market.auditor.restart();
    until("the auditor was right", || market.stake(&auditor)["standing"] == 10);
    assert_eq!(market.stake(&second)["standing"], 4, "it has missed a duty");
    assert_eq!(market.orders("AskPayload"), 1, "the worker has given the payload itself");
    let fee = Amount::parse("0.01").unwrap();
    let now = balance(&market.gateway, &auditor).checked_add(fee).unwrap();
    assert!(now > before, "the auditor is paid: {before}, {now}");
    until("the batch is settled", || market.is_settled());
    assert_eq!(market.gateway.get("/ledger")["sum"], "0");
}

#[test]
fn a_worker_with_another_models_weights_is_drawn_disputed_convicted_and_slashed() {
    let market = market(substitute);
    market.auditor.done(&["node", "register"]);
    market.answered();
    let [worker, auditor] = market.accounts.clone();
    until("the worker has lost its stake", || market.stake(&worker)["held"] == "0");
    assert_eq!(market.orders("JudgeDispute"), 1, "by a computation, and not by its silence");
    assert!(!market.stake(&worker)["jailed_until"].is_null());
    let stake = market.stake(&auditor);
    assert_eq!(
        (&stake["standing"], &stake["held"], &stake["bound"]),
        (&9.into(), &"2".into(), &"0".into())
    );
    assert!(market.is_settled(), "the payer has its credits back");
    assert_eq!(market.gateway.get("/ledger")["sum"], "0");
}

#[test]
fn a_worker_that_cheats_with_private_answers_is_convicted_by_who_has_paid_them() {
    let world = Machine::world();
    substitute(&world);
    let paying = "pay_trust = \"private\"\nnode_wallet = \"main\"\n";
    let market = market_of(world, paying, "earn_price = 10000\n");
    market.gateway.done(&["stake", "add", "1"]);
    market.answered();
    let [worker, auditor] = market.accounts.clone();
    until("the worker has lost its stake", || market.stake(&worker)["held"] == "0");
    assert_eq!(market.orders("JudgeDispute"), 1, "by a computation, and not by its silence");
    assert_eq!(market.orders("AskPayload") + market.orders("CommitVerdict"), 0, "nobody else has");
    assert_eq!(market.stake(&auditor)["standing"], 8, "nor is that an auditor's fault");
    assert!(market.is_settled(), "the payer has its credits back");
    assert_eq!(market.gateway.get("/ledger")["sum"], "0");
}

#[test]
fn a_worker_with_one_wrong_weight_is_convicted_though_it_is_killed_in_the_dispute() {
    let mut market = market(alter_one_weight);
    market.auditor.done(&["node", "register"]);
    market.answered();
    let [worker, _] = market.accounts.clone();
    market.audit("about to be disputed", |audit| {
        ["challenging", "answering", "disputed"].iter().any(|it| audit["stage"] == *it)
    });
    market.worker.kill();
    market.worker.restart();
    until("the worker has lost its stake", || market.stake(&worker)["held"] == "0");
    assert_eq!(market.orders("JudgeDispute"), 1, "it came back and took its turns");
    assert_eq!(market.gateway.get("/ledger")["sum"], "0");
}
