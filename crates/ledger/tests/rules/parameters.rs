//! No key but members' votes changes a parameter.

use std::collections::BTreeSet;

use types::amount::{Blocks, Height};
use types::bounded::Set;
use types::measure::{Measure, Parameter, SetGuardian};
use types::transaction::*;
use types::word::{Choice, Fund, Policy, Scope, Tier};

use crate::validators::{Net, call_back};
use crate::world::*;

/// Tries an action that is accepted, and looks at every parameter.
fn attempt(world: &mut World, kinds: &mut BTreeSet<&'static str>, name: &str, action: Action) {
    let values = |world: &World| -> Vec<u64> {
        Parameter::ALL.iter().map(|parameter| world.state.parameter(*parameter)).collect()
    };
    let before = values(world);
    kinds.insert(action.name());
    world.act(name, action);
    assert_eq!(values(world), before);
    world.blocks(1);
    assert_eq!(values(world), before);
}

#[test]
fn no_kind_of_order_sets_a_parameter() {
    let mut kinds = BTreeSet::new();
    let mut world = World::new(Policy::Prepaid, &["amal", "badr", "dina"]);
    let it = &mut world;
    let kinds_ref = &mut kinds;
    payments(it, kinds_ref);
    memberships(it, kinds_ref);
    works_and_channels(it, kinds_ref);
    votes(it, kinds_ref);
    let mut net = Net::new(Policy::Mutual, 5);
    net.blocks(23, &[4]);
    attempt(&mut net.world, kinds_ref, "layla", call_back(4));
    let node = net.world.register_node("amal", 1, 99);
    attempt(&mut net.world, kinds_ref, "amal", node);
    attempt(&mut net.world, kinds_ref, "amal", unregister_node(1));
    let amount = credits("20");
    attempt(&mut net.world, kinds_ref, "amal", Action::Stake(Stake { amount }));
    attempt(&mut net.world, kinds_ref, "amal", Action::Enlist(Enlist {}));
    attempt(&mut net.world, kinds_ref, "amal", Action::Resign(Resign {}));
    attempt(&mut net.world, kinds_ref, "amal", Action::Unstake(Unstake { amount }));
    kinds.extend(crate::audits::every_kind());
    kinds.extend(crate::disputes::every_kind());
    let all: BTreeSet<&str> = Action::tables().into_iter().map(|table| table.name).collect();
    assert_eq!(kinds, all, "every kind was tried");
}

fn payments(it: &mut World, kinds: &mut BTreeSet<&'static str>) {
    let issue = |name, amount| {
        let (to, amount) = (address(name), credits(amount));
        Action::IssueCredits(IssueCredits { to, amount, reference: text("") })
    };
    attempt(it, kinds, "cashier", issue("amal", "1000"));
    attempt(it, kinds, "cashier", issue("cashier", "1"));
    let withdraw = WithdrawCredits { amount: credits("1"), reference: text("") };
    attempt(it, kinds, "cashier", Action::WithdrawCredits(withdraw));
    attempt(it, kinds, "amal", transfer("nour", "20"));
    attempt(it, kinds, "amal", Action::Give(Give { fund: Fund::Treasury, amount: credits("1") }));
    let (key, cap) = (address("key"), credits("100"));
    let scopes = Set::new(Scope::ALL.to_vec()).unwrap();
    let grant = GrantSession { key, cap, scopes, expires: Height(50) };
    attempt(it, kinds, "amal", Action::GrantSession(grant));
    attempt(it, kinds, "amal", Action::RevokeSession(RevokeSession { key }));
}

fn memberships(it: &mut World, kinds: &mut BTreeSet<&'static str>) {
    for name in ["amal", "badr"] {
        let sponsor = Sponsor { applicant: address("nour") };
        attempt(it, kinds, name, Action::Sponsor(sponsor));
    }
    attempt(it, kinds, "nour", Action::Apply(Apply { name: text("Nour") }));
    let add = AddCapital { amount: credits("1") };
    attempt(it, kinds, "nour", Action::AddCapital(add));
    attempt(it, kinds, "nour", Action::Leave(Leave {}));
}

fn works_and_channels(it: &mut World, kinds: &mut BTreeSet<&'static str>) {
    attempt(it, kinds, "amal", register("w", &[("amal", 1)], &[]));
    attempt(it, kinds, "amal", pay("w", "badr", "10"));
    attempt(it, kinds, "amal", Action::Retire(Retire { work: cid("w") }));
    let (payer, payee, amount) = (address("amal"), address("badr"), credits("10"));
    let open = OpenChannel { payee, amount, timeout: Blocks(10), node: NO_NODE };
    attempt(it, kinds, "amal", Action::OpenChannel(open));
    attempt(it, kinds, "amal", Action::TopUpChannel(TopUpChannel { channel: 1, amount }));
    let voucher = Voucher { payer, payee, channel: 1, cumulative: amount };
    let signature = it.voucher("amal", &voucher);
    let redeem = RedeemVoucher { channel: 1, cumulative: amount, signature };
    attempt(it, kinds, "badr", Action::RedeemVoucher(redeem));
    attempt(it, kinds, "amal", Action::CloseChannel(CloseChannel { channel: 1 }));
}

fn votes(it: &mut World, kinds: &mut BTreeSet<&'static str>) {
    let guardian = Some(address("dina"));
    it.pass(&["amal", "badr", "dina"], vec![Measure::SetGuardian(SetGuardian { guardian })]);
    let (topic, to) = (Tier::Parameter, address("badr"));
    let expires = it.state.now().after(50);
    attempt(it, kinds, "dina", Action::Delegate(Delegate { topic, to, expires }));
    attempt(it, kinds, "dina", Action::Undelegate(Undelegate { topic }));
    let number = it.state.meta().proposal_next;
    attempt(it, kinds, "amal", proposal(vec![set(Parameter::FeeFlat, 7)]));
    attempt(it, kinds, "badr", vote(number, Choice::Yes));
    it.act("amal", vote(number, Choice::Yes));
    it.blocks(2);
    attempt(it, kinds, "dina", Action::Delay(Delay { proposal: number }));
    it.blocks(10);
    assert_eq!(it.state.parameter(Parameter::FeeFlat), 7, "an executed proposal sets it");
}

#[test]
fn an_executed_proposal_sets_each_parameter() {
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    for &parameter in Parameter::ALL {
        let mut world = World::mutual();
        let rule = ledger::parameters::rule(parameter);
        let now = world.state.parameter(parameter);
        let value = if now == rule.max { rule.min } else { rule.max };
        let number = world.propose("amal", vec![set(parameter, value)]);
        assert_eq!(world.state.proposal(number).unwrap().tier, rule.tier);
        for name in everyone {
            world.act(name, vote(number, Choice::Yes));
        }
        world.blocks(5);
        assert_eq!(world.state.parameter(parameter), now, "{parameter}");
        world.blocks(1);
        assert_eq!(world.state.parameter(parameter), value, "{parameter}");
    }
}
