//! Stakes and batches: who can redeem what, and where the credits go.

use std::collections::BTreeSet;

use ledger::accounts::{AUDIT_FUND, HELD, STAKES, TREASURY};
use ledger::batches::BATCH_RECEIPTS_MAX;
use ledger::check::check;
use ledger::refusal::Refusal;
use ledger::state::State;
use types::amount::{Amount, Blocks};
use types::id::Hash;
use types::measure::{Measure, Parameter};
use types::transaction::*;

use crate::random::Random;
use crate::world::*;

const PAYER: &str = "amal";
const WORKER: &str = "badr";
const GATEWAY: &str = "layla";
const NAMES: [&str; 5] = ["amal", "badr", "dina", "hadi", "layla"];

fn stake(amount: &str) -> Action {
    Action::Stake(Stake { amount: credits(amount) })
}

fn unstake(amount: &str) -> Action {
    Action::Unstake(Unstake { amount: credits(amount) })
}

fn open(payee: &str, amount: Amount) -> Action {
    let (payee, timeout, node) = (address(payee), Blocks(10), node_secret(1).key());
    Action::OpenChannel(OpenChannel { payee, amount, timeout, node })
}

/// A batch of a channel between two names, redeemed with a voucher that `key` has signed.
fn batch(
    world: &World,
    (payer, payee): (&str, &str),
    (key, channel, cumulative): (&str, u64, Amount),
    count: u32,
) -> Action {
    let (from, to) = (address(payer), address(payee));
    let voucher = WorkVoucher { payer: from, payee: to, channel, cumulative };
    Action::RedeemBatch(RedeemBatch {
        channel,
        cumulative,
        signature: world.work_voucher(key, &voucher),
        work: cid("model"),
        gateway: address(GATEWAY),
        root: Hash([7; 32]),
        count,
    })
}

/// A world in which nothing is drawn, whose worker has something at stake, and a channel of ten credits.
fn world() -> World {
    let mut world = World::mutual();
    let quick =
        [(Parameter::AuditRate, 0), (Parameter::StakeBlocks, 5), (Parameter::StakeParts, 2_000)];
    let measures: Vec<Measure> = quick.map(|(parameter, value)| set(parameter, value)).to_vec();
    world.pass(&NAMES, measures);
    world.act("hadi", register("model", &[("hadi", 1)], &[]));
    world.act(WORKER, stake("30"));
    world.act(PAYER, open(WORKER, credits("10")));
    world
}

#[test]
fn a_batch_pays_its_parts_once_its_time_has_come() {
    let mut world = world();
    let redeem = batch(&world, (PAYER, WORKER), (PAYER, 1, credits("4")), 3);
    world.act(WORKER, redeem);
    assert_eq!(world.state.account(&HELD).balance, 4_000_000);
    assert_eq!(world.state.stake(&address(WORKER)).unwrap().bonded, credits("8"));
    let paid = moved_from(HELD, world.blocks(40));
    let mut wanted = vec![
        (TREASURY, credits("0.2")),
        (AUDIT_FUND, credits("0.2")),
        (address(WORKER), credits("3.12")),
        (address(GATEWAY), credits("0.08")),
        // Who made the model.
        (address("hadi"), credits("0.4")),
    ];
    wanted.sort();
    assert_eq!(paid, wanted);
    assert_eq!(world.state.account(&HELD).balance, 0);
    assert_eq!(world.state.stake(&address(WORKER)).unwrap().bonded, Amount::ZERO);
}

#[test]
fn only_the_payee_redeems_what_its_payer_has_granted_and_set_aside() {
    let mut world = world();
    world.act("dina", stake("30"));
    let good = batch(&world, (PAYER, WORKER), (PAYER, 1, credits("4")), 1);
    world.refuse("dina", good.clone(), Refusal::NotPayee);
    let much = batch(&world, (PAYER, WORKER), (PAYER, 1, credits("10.000001")), 1);
    world.refuse(WORKER, much, Refusal::VoucherTooLarge);
    let own = batch(&world, (PAYER, WORKER), (WORKER, 1, credits("4")), 1);
    world.refuse(WORKER, own, Refusal::VoucherSigner);
    world.act(WORKER, good.clone());
    world.refuse(WORKER, good, Refusal::VoucherOld);
}

/// Whoever could redeem a voucher for work without its receipts would never be audited.
#[test]
fn a_voucher_for_work_is_redeemed_with_receipts_and_no_other_is() {
    let mut world = world();
    let (payer, payee, channel) = (address(PAYER), address(WORKER), 1);
    let cumulative = credits("4");
    let work = WorkVoucher { payer, payee, channel, cumulative };
    let signature = world.work_voucher(PAYER, &work);
    let redeem = RedeemVoucher { channel, cumulative, signature };
    world.refuse(WORKER, Action::RedeemVoucher(redeem), Refusal::VoucherSigner);
    let plain = world.voucher(PAYER, &Voucher { payer, payee, channel, cumulative });
    let Action::RedeemBatch(it) = batch(&world, (PAYER, WORKER), (PAYER, 1, cumulative), 1) else {
        unreachable!()
    };
    let it = Action::RedeemBatch(RedeemBatch { signature: plain, ..it });
    world.refuse(WORKER, it, Refusal::VoucherSigner);
}

#[test]
fn batches_of_a_channel_have_no_receipt_in_common() {
    let mut world = world();
    for (cumulative, count) in [("1", 3), ("2", BATCH_RECEIPTS_MAX), ("3", 1)] {
        let redeem = batch(&world, (PAYER, WORKER), (PAYER, 1, credits(cumulative)), count);
        world.act(WORKER, redeem);
    }
    let firsts: Vec<u64> = (1..=3).map(|it| world.state.batch(it).unwrap().first).collect();
    assert_eq!(firsts, [0, 3, 3 + u64::from(BATCH_RECEIPTS_MAX)]);
}

#[test]
fn a_stake_is_paid_out_after_its_time_and_what_is_bound_stays() {
    let mut world = world();
    let redeem = batch(&world, (PAYER, WORKER), (PAYER, 1, credits("10")), 1);
    world.act(WORKER, redeem);
    world.refuse(WORKER, unstake("10.000001"), Refusal::StakeTooSmall);
    let before = world.balance(WORKER);
    world.act(WORKER, unstake("10"));
    world.refuse(WORKER, unstake("1"), Refusal::StakeLeaving);
    world.blocks(5);
    assert_eq!(world.state.account(&STAKES).balance, 30_000_000);
    world.blocks(1);
    assert_eq!(world.state.account(&STAKES).balance, 20_000_000);
    assert!(world.balance(WORKER) > before);
    world.blocks(40);
    world.act(WORKER, unstake("20"));
    world.blocks(6);
    assert!(world.state.stake(&address(WORKER)).is_none(), "nothing is left to remember");
}

/// Channels, vouchers, batches, stakes and restarts in any order: no credit is made, lost or paid twice,
/// and in the end everything that was set aside has come back.
#[test]
fn credits_are_conserved_whatever_is_asked_in_whatever_order() {
    for seed in 0..30 {
        let mut rng = Random(seed);
        let mut world = world();
        let mut granted = vec![Amount::ZERO; 64];
        for _ in 0..80 {
            let name = rng.of(&NAMES);
            let channel = 1 + rng.below(4);
            let amount = Amount::new(1 + rng.below(3_000_000)).unwrap();
            let parties = world.state.channel(channel).map(|it| (it.payer, it.payee));
            let named = |wanted| NAMES.into_iter().find(|name| address(name) == wanted).unwrap();
            let action = match rng.below(9) {
                0 => open(rng.of(&NAMES), amount),
                1 => Action::TopUpChannel(TopUpChannel { channel, amount }),
                2..=4 => {
                    let Some((payer, payee)) = parties else { continue };
                    let (payer, payee) = (named(payer), named(payee));
                    let all = granted[channel as usize].checked_add(amount).unwrap();
                    let count = 1 + u32::try_from(rng.below(4)).unwrap();
                    batch(&world, (payer, payee), (payer, channel, all), count)
                }
                5 => Action::Stake(Stake { amount }),
                6 => Action::Unstake(Unstake { amount }),
                7 => Action::CloseChannel(CloseChannel { channel }),
                _ => {
                    world.blocks(rng.below(6));
                    let entries = world.state.entries();
                    let entries = entries.iter().map(|(key, value)| (&key[..], &value[..]));
                    world.state = State::from_entries(entries).unwrap();
                    continue;
                }
            };
            let redeemed = match &action {
                Action::RedeemBatch(it) => Some(it.cumulative),
                _ => None,
            };
            let who = match (&action, parties) {
                (Action::RedeemBatch(_), Some((_, payee))) if rng.below(8) > 0 => named(payee),
                _ => name,
            };
            if world.attempt(who, action).is_ok()
                && let Some(cumulative) = redeemed
            {
                granted[channel as usize] = cumulative;
            }
        }
        come_back(&mut world);
    }
}

/// Closes all channels, waits for all batches, and takes all stakes back.
fn come_back(world: &mut World) {
    for channel in 1..world.state.meta().channel_next {
        if let Some(payee) = world.state.channel(channel).map(|it| it.payee) {
            let payee = NAMES.into_iter().find(|name| address(name) == payee).unwrap();
            world.act(payee, Action::CloseChannel(CloseChannel { channel }));
        }
    }
    world.blocks(60);
    for name in NAMES {
        if let Some(amount) = world.state.stake(&address(name)).map(|it| it.free()) {
            world.act(name, Action::Unstake(Unstake { amount }));
        }
    }
    world.blocks(10);
    check(&world.state).unwrap();
    for account in [STAKES, HELD, ledger::accounts::ESCROW] {
        assert_eq!(world.state.account(&account).balance, 0);
    }
}

pub(crate) fn refusals(seen: &mut BTreeSet<Refusal>) {
    let mut world = world();
    let mut no = |world: &mut World, name: &str, action, wanted| {
        world.refuse(name, action, wanted);
        seen.insert(wanted);
    };
    no(&mut world, WORKER, unstake("31"), Refusal::StakeTooSmall);
    no(&mut world, "dina", Action::Enlist(Enlist {}), Refusal::StakeTooSmall);
    no(&mut world, WORKER, Action::Resign(Resign {}), Refusal::NotEnlisted);
    world.act(WORKER, Action::Enlist(Enlist {}));
    world.act(WORKER, Action::Resign(Resign {}));
    let Action::RedeemBatch(it) = batch(&world, (PAYER, WORKER), (PAYER, 1, credits("4")), 1)
    else {
        unreachable!()
    };
    let it = Action::RedeemBatch(RedeemBatch { work: cid("nothing"), ..it });
    no(&mut world, WORKER, it, Refusal::WorkUnknown);
    for count in [0, BATCH_RECEIPTS_MAX + 1] {
        let it = batch(&world, (PAYER, WORKER), (PAYER, 1, credits("4")), count);
        no(&mut world, WORKER, it, Refusal::ReceiptsCount);
    }
    let (payee, amount) = (address(WORKER), credits("1"));
    let other = OpenChannel { payee, amount, timeout: Blocks(10), node: NO_NODE };
    world.act(PAYER, Action::OpenChannel(other));
    let it = batch(&world, (PAYER, WORKER), (PAYER, 2, amount), 1);
    no(&mut world, WORKER, it, Refusal::NoNode);
    world.act(WORKER, unstake("1"));
    no(&mut world, WORKER, unstake("1"), Refusal::StakeLeaving);
    let mut story = crate::disputes::convicted();
    story.act(WORKER, stake("20"));
    no(&mut story.world, WORKER, Action::Enlist(Enlist {}), Refusal::WorkerJailed);
}
