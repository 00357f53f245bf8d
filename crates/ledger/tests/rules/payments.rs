//! Where credits go: lineage, fees, issue, debts, channels.

use std::collections::BTreeMap;

use ledger::accounts::{COMMONS, ISSUANCE, RESERVE, TREASURY};
use ledger::coop::dividends;
use ledger::refusal::Refusal;
use ledger::works::heirs;
use types::amount::{Amount, Blocks, Height, Period};
use types::bounded::Set;
use types::id::Address;
use types::measure::*;
use types::transaction::*;
use types::word::{Policy, Scope};

use crate::world::*;

fn shares(world: &World, work: &str, millionths: u64) -> BTreeMap<Address, u64> {
    let amount = Amount::new(millionths).unwrap();
    let heirs = heirs(&world.state, cid(work), amount);
    heirs.into_iter().map(|(heir, amount)| (heir, amount.millionths())).collect()
}

#[test]
fn what_reaches_a_work_decays_along_its_lineage() {
    let mut world = World::mutual();
    world.act("amal", register("grandparent", &[("dina", 1)], &[]));
    world.act("amal", register("parent", &[("badr", 2), ("hadi", 1)], &[("grandparent", 1)]));
    world.act("amal", register("data", &[("layla", 1)], &[]));
    world.act("amal", register("model", &[("amal", 1)], &[("parent", 3), ("data", 1)]));
    // 300 of 1000 rise: 225 to the parent and 75 to the data; of 225, 67 rise and 158 stay.
    let wanted = [("amal", 700), ("badr", 105), ("hadi", 53), ("layla", 75), ("dina", 67)];
    let wanted = wanted.map(|(name, amount)| (address(name), amount));
    assert_eq!(shares(&world, "model", 1000), BTreeMap::from(wanted));
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    world.pass(&everyone, vec![set(Parameter::LineageDepth, 1)]);
    assert_eq!(shares(&world, "model", 1000).get(&address("dina")), None);
    world.pass(&everyone, vec![set(Parameter::LineageDepth, 0)]);
    assert_eq!(shares(&world, "model", 1000), BTreeMap::from([(address("amal"), 1000)]));
}

#[test]
fn a_lineage_pays_out_all_and_visits_few() {
    let mut world = World::mutual();
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    let deep = vec![set(Parameter::LineageDepth, 8), set(Parameter::LineageDecay, 500)];
    world.pass(&everyone, deep);
    // A work with 8 parents, each with 8 parents of its own, each with a maker of its own.
    let register_all = |world: &mut World, name: &str, parents: &[String]| {
        let parents: Vec<(&str, u32)> = parents.iter().map(|name| (name.as_str(), 1)).collect();
        world.act("amal", register(name, &[(&format!("maker of {name}"), 1)], &parents));
    };
    let under = |name: &str| (0..8).map(|child| format!("{name}.{child}")).collect::<Vec<_>>();
    for parent in under("top") {
        under(&parent).iter().for_each(|name| register_all(&mut world, name, &[]));
        register_all(&mut world, &parent, &under(&parent));
    }
    register_all(&mut world, "top", &under("top"));
    for amount in [0, 1, 7, 1000, 999_999_937] {
        assert_eq!(shares(&world, "top", amount).values().sum::<u64>(), amount);
    }
    // With 1 and 8 planned, 6 of the 8 parents can pass on to 8 each before 64 are planned.
    assert_eq!(ledger::works::VISITS_MAX, 64);
    assert_eq!(shares(&world, "top", 999_999_937).len(), 1 + 8 + 6 * 8);
}

#[test]
fn a_payment_is_divided_by_the_voted_parts() {
    let mut world = World::mutual();
    world.act("amal", register("model", &[("amal", 1), ("badr", 1)], &[]));
    world.act("badr", pay("model", "dina", "10"));
    // 5 % to the treasury, 10 % to the makers, of which the payer's own half is not paid.
    assert_eq!(world.balance("amal"), 500_000);
    assert_eq!(world.balance("dina"), 8_500_000);
    assert_eq!(world.state.account(&TREASURY).balance, 500_000);
    assert_eq!(world.balance("badr"), -9_500_000);
    let rest = dividends(&world.state, Period(0), credits("19"));
    // Points: 9.5 paid by badr, 0.5 and 8.5 earned by amal and dina.
    let rest: BTreeMap<Address, String> =
        rest.into_iter().map(|(member, amount)| (member, amount.to_string())).collect();
    let wanted = [("amal", "0.513513"), ("badr", "9.756757"), ("dina", "8.72973")];
    let wanted = wanted.map(|(name, amount)| (address(name), amount.to_owned()));
    assert_eq!(rest, BTreeMap::from(wanted));
}

#[test]
fn use_and_work_have_weights_of_their_own() {
    let mut world = World::mutual();
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    let weights = vec![set(Parameter::WeightUse, 0), set(Parameter::WeightContribution, 3)];
    world.pass(&everyone, weights);
    world.act("amal", register("model", &[("amal", 1)], &[]));
    world.act("badr", pay("model", "dina", "10"));
    let dividends = dividends(&world.state, Period(0), credits("19"));
    let dividends: BTreeMap<Address, Amount> = dividends.into_iter().collect();
    let wanted = [("amal", "2"), ("badr", "0"), ("dina", "17")];
    let wanted = wanted.map(|(name, amount)| (address(name), credits(amount)));
    assert_eq!(dividends, BTreeMap::from(wanted));
}

#[test]
fn a_surplus_is_divided_once() {
    let mut world = World::mutual();
    let give = Give { fund: types::word::Fund::Treasury, amount: credits("10") };
    world.act("amal", Action::Give(give));
    let balances = |world: &World| {
        [TREASURY, RESERVE, COMMONS].map(|account| world.state.account(&account).balance)
    };
    world.blocks(20);
    // Nobody has points, so that the members' part stays in the treasury.
    assert_eq!(balances(&world), [7_000_000, 2_000_000, 1_000_000]);
    world.blocks(40);
    assert_eq!(balances(&world), [7_000_000, 2_000_000, 1_000_000]);
}

#[test]
fn members_have_a_quota_and_others_pay() {
    let mut world = World::mutual();
    let everyone = ["amal", "badr", "dina", "hadi", "layla"];
    world.pass(&everyone, vec![set(Parameter::QuotaBytes, 16_384)]);
    // The next period begins, so that none ends below.
    world.blocks(14);
    let treasury = |world: &World| world.state.account(&TREASURY).balance;
    world.act("amal", transfer("stranger", "1"));
    assert_eq!(treasury(&world), 0);
    world.act("stranger", transfer("badr", "0.5"));
    assert_eq!(treasury(&world), 10_000);
    let mut bytes = 0;
    while treasury(&world) == 10_000 {
        bytes = world.state.account(&address("badr")).quota_used;
        world.act("badr", transfer("dina", "0.000001"));
    }
    assert!((16_000..=16_384).contains(&bytes), "{bytes} bytes were free");
    world.blocks(10);
    world.act("badr", transfer("dina", "0.000001"));
    assert_eq!(treasury(&world), 20_000);
}

#[test]
fn credits_are_issued_on_the_members_schedule_alone() {
    let mut world = World::new(Policy::Issued, &["amal", "badr"]);
    world.blocks(20);
    assert_eq!(world.state.account(&ISSUANCE).balance, 0);
    world.pass(&["amal", "badr"], vec![set(Parameter::IssuePerEpoch, 3_000_000)]);
    world.blocks(20);
    let issued = world.state.account(&COMMONS).balance;
    assert_eq!(issued, 6_000_000);
    assert_eq!(world.state.account(&ISSUANCE).balance, -issued);
}

#[test]
fn a_debt_of_someone_expelled_can_only_shrink() {
    let mut world = World::mutual();
    world.act("hadi", transfer("amal", "40"));
    let expel = ExpelMember { account: address("hadi") };
    world.pass(&["amal", "badr", "dina"], vec![Measure::ExpelMember(expel)]);
    world.refuse("hadi", transfer("amal", "0.1"), Refusal::NotEnough);
    world.act("amal", transfer("hadi", "30"));
    world.refuse("hadi", transfer("amal", "0.1"), Refusal::NotEnough);
    assert_eq!(world.balance("hadi"), -10_000_000);
    world.act("amal", transfer("hadi", "11"));
    world.act("hadi", transfer("amal", "0.9"));
}

#[test]
fn whoever_leaves_takes_the_capital_and_keeps_no_credit() {
    let mut world = World::mutual();
    world.act("amal", transfer("hadi", "10"));
    world.act("hadi", Action::AddCapital(AddCapital { amount: credits("7") }));
    world.act("hadi", transfer("badr", "8"));
    world.act("hadi", Action::Leave(Leave {}));
    assert_eq!(world.balance("hadi"), 2_000_000);
    world.refuse("hadi", transfer("amal", "2.000001"), Refusal::NotEnough);
    world.act("amal", Action::Sponsor(Sponsor { applicant: address("hadi") }));
    world.act("hadi", Action::Apply(Apply { name: text("Hadi") }));
    world.act("badr", Action::Sponsor(Sponsor { applicant: address("hadi") }));
    assert_eq!(world.balance("hadi"), -3_000_000);
}

#[test]
fn a_session_key_signs_vouchers_while_it_lives() {
    let mut world = World::mutual();
    let (payer, payee, cumulative) = (address("amal"), address("badr"), credits("2"));
    let scopes = Set::new(vec![Scope::Channel]).unwrap();
    let (key, cap) = (address("gateway"), credits("5"));
    world.act("amal", Action::GrantSession(GrantSession { key, cap, scopes, expires: Height(3) }));
    let open = OpenChannel { payee, amount: credits("5"), timeout: Blocks(10), node: NO_NODE };
    let signed = world.sign("gateway", world.order("amal", Action::OpenChannel(open)));
    world.try_signed(&signed).unwrap();
    let redeem = |world: &World, cumulative| {
        let signature = world.voucher("gateway", &Voucher { payer, payee, channel: 1, cumulative });
        Action::RedeemVoucher(RedeemVoucher { channel: 1, cumulative, signature })
    };
    let first = redeem(&world, cumulative);
    world.blocks(2);
    world.act("badr", first);
    world.blocks(1);
    let late = redeem(&world, credits("3"));
    world.refuse("badr", late, Refusal::VoucherSigner);
    assert_eq!(world.balance("badr"), 2_000_000);
}
