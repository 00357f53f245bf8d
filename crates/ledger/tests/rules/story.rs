//! Five people found a co-op: what happens to them, with every number.

use std::fmt::Write;

use expect_test::expect_file;
use ledger::accounts::{CAPITAL, COMMONS, RESERVE, TREASURY};
use ledger::event::Event;
use ledger::governance::recount;
use types::amount::Height;
use types::id::Address;
use types::measure::{AdmitWork, Measure, SetSplit};
use types::transaction::*;
use types::word::{Choice, Tier};

use crate::world::{World, address, cid, credits, makers, pay, register, text, vote};

const PEOPLE: [&str; 6] = ["amal", "badr", "dina", "hadi", "layla", "nour"];

/// The story's text, which grows with each step.
struct Teller {
    world: World,
    text: String,
}

impl Teller {
    fn say(&mut self, line: &str) {
        let height = self.world.state.now().0;
        writeln!(self.text, "block {height}: {line}").unwrap();
    }

    fn balances(&mut self) {
        let mut line = String::from("    balances:");
        let mut sum = 0;
        for name in PEOPLE {
            sum += self.world.balance(name);
            write!(line, " {name} {},", signed(self.world.balance(name))).unwrap();
        }
        for (name, account) in [
            ("treasury", TREASURY),
            ("reserve", RESERVE),
            ("commons", COMMONS),
            ("capital", CAPITAL),
        ] {
            let balance = self.world.state.account(&account).balance;
            sum += balance;
            write!(line, " {name} {},", signed(balance)).unwrap();
        }
        writeln!(self.text, "{line} sum {}", signed(sum)).unwrap();
    }

    fn blocks(&mut self, count: u64) {
        for event in self.world.blocks(count) {
            let height = self.world.state.meta().height;
            if let Some(line) = told(&event) {
                writeln!(self.text, "by the end of block {}: {line}", height.0).unwrap();
            }
        }
    }
}

fn signed(millionths: i128) -> String {
    let amount = types::amount::Amount::new(u64::try_from(millionths.abs()).unwrap()).unwrap();
    format!("{}{amount}", if millionths < 0 { "-" } else { "" })
}

fn name(account: &Address) -> &'static str {
    PEOPLE.into_iter().find(|name| address(name) == *account).unwrap_or("the ledger")
}

fn told(event: &Event) -> Option<String> {
    match event {
        Event::Closed { proposal, tally, has_passed } => Some(format!(
            "vote {proposal} is over: {} yes, {} no, {} abstain; passed: {has_passed}",
            tally.yes, tally.no, tally.abstain
        )),
        Event::Executed { proposal } => Some(format!("proposal {proposal} is executed")),
        Event::Surplus { surplus, reserve, commons, .. } => Some(format!(
            "a surplus of {surplus} is divided: {reserve} to the reserve, {commons} to the commons"
        )),
        Event::Dividend { account, cash, capital } => {
            Some(format!("{} gets {cash} and {capital} as capital", name(account)))
        }
        Event::Delegation { from, to: None, .. } => {
            Some(format!("the delegation of {} ends", name(from)))
        }
        _ => None,
    }
}

fn sponsor(name: &str) -> Action {
    Action::Sponsor(Sponsor { applicant: address(name) })
}

#[test]
fn a_co_op_lives() {
    let mut it = Teller { world: World::mutual(), text: String::new() };
    it.say("amal, badr, dina, hadi and layla have founded a co-op with mutual credit");
    it.balances();
    admit(&mut it);
    work(&mut it);
    change(&mut it);
    divide_and_leave(&mut it);
    let now = it.world.state.now();
    assert_eq!(now, Height(32));
    expect_file!["../../../../fixtures/ledger/story.txt"].assert_eq(&it.text);
    let told = include_str!("../../../../docs/ledger.md");
    assert!(told.contains(&it.text), "docs/ledger.md tells another story");
}

fn admit(it: &mut Teller) {
    it.world.act("amal", sponsor("nour"));
    it.world.act("nour", Action::Apply(Apply { name: text("Nour") }));
    it.world.act("badr", sponsor("nour"));
    it.say("amal and badr vouch for nour, who becomes a member and pays a share of 5");
    let nour = it.world.state.member(&address("nour")).unwrap();
    assert!(nour.is_active() && nour.capital == credits("5"));
    it.balances();
}

fn work(it: &mut Teller) {
    it.world.act("hadi", register("base", &[("hadi", 1)], &[]));
    it.world.act("amal", register("model", &[("amal", 60), ("badr", 40)], &[("base", 1)]));
    it.say("amal registers a model: 60 parts amal, 40 parts badr, made from a base of hadi's");
    it.world.act("nour", pay("model", "dina", "40"));
    it.world.act("layla", pay("model", "dina", "10.000001"));
    it.say("nour pays 40 and layla 10.000001 for its use on dina's machine");
    it.balances();
}

fn change(it: &mut Teller) {
    let delegation = Delegate { topic: Tier::Ordinary, to: address("dina"), expires: Height(100) };
    it.world.act("layla", Action::Delegate(delegation));
    it.say("layla lets dina vote on ordinary business");
    let split = SetSplit { work: cid("model"), makers: makers(&[("amal", 50), ("badr", 50)]) };
    let admit = Measure::AdmitWork(AdmitWork { work: cid("model") });
    let number = it.world.propose("badr", vec![admit, Measure::SetSplit(split)]);
    it.say("badr proposes to take the model into the commons and to split it evenly");
    for (name, choice) in [("badr", Choice::Yes), ("dina", Choice::Yes), ("amal", Choice::No)] {
        it.world.act(name, vote(number, choice));
    }
    it.blocks(4);
    let before = it.world.state.work(&cid("model")).unwrap().makers.clone();
    assert_eq!(before, makers(&[("amal", 60), ("badr", 40)]), "the timelock holds");
    it.blocks(2);
    let after = it.world.state.work(&cid("model")).unwrap().makers.clone();
    assert_eq!(after, makers(&[("amal", 50), ("badr", 50)]));
    let proposal = it.world.state.proposal(number).unwrap();
    assert_eq!(recount(&it.world.state, number), proposal.tally);
    it.world.act("layla", Action::Undelegate(Undelegate { topic: Tier::Ordinary }));
    it.say("layla takes her delegation back");
    it.world.act("nour", pay("model", "dina", "20"));
    it.say("nour pays 20 more");
    it.balances();
}

fn divide_and_leave(it: &mut Teller) {
    it.blocks(20);
    it.balances();
    it.world.act("dina", Action::Leave(Leave {}));
    it.say("dina leaves, and her capital is paid out");
    it.balances();
    it.blocks(5);
}
