use audit::receipt::Trust;
use tempfile::tempdir;
use types::amount::{Blocks, Epoch};

use super::*;
use crate::earn::shelf::Entry;
use crate::receipts::tests::paid_statement;

fn amount(millionths: u64) -> Amount {
    Amount::new(millionths).unwrap()
}

fn model() -> Cid {
    Cid::raw(Hash([9; 32]))
}

fn deal(channel: u64) -> Deal {
    let (payer, worker) = (Address([1; 20]), Address([2; 20]));
    let (price, epoch, nonce) = (amount(1_000_000), Epoch(0), Hash([3; 32]));
    Deal { channel, payer, worker, price, epoch, nonce, trust: Trust::Checked }
}

#[test]
fn a_payer_that_does_not_vouch_gets_no_more_work() {
    let tally = |owed, vouched| Tally {
        channel: 1,
        next: 1,
        owed: amount(owed),
        vouched: amount(vouched),
        signature: None,
        model: None,
    };
    let admits = |tally: Tally, most| tally.admits(amount(100), amount(10), Some(amount(most)));
    assert_eq!(admits(tally(10, 0), 50), Ok(()));
    assert!(admits(tally(11, 0), 50).is_err(), "it owes more than it may");
    assert_eq!(admits(tally(61, 51), 39), Ok(()));
    assert!(admits(tally(61, 51), 40).is_err(), "the channel has no room");
    assert!(tally(0, 0).admits(amount(100), amount(10), None).is_err(), "no amount pays");
}

#[test]
fn sequences_go_on_after_a_restart_and_one_that_nobody_was_told_of_is_given_again() {
    let folder = tempdir().unwrap();
    let open = || {
        let (price, unpaid_max) = (amount(1_000_000), amount(10));
        Earned::open(folder.path().join("earned"), price, unpaid_max).unwrap()
    };
    let earned = open();
    let state = |earned: &Earned, is_kept: bool| {
        let made = earned.state(&deal(7), model(), |sequence| {
            let (id, statement) = paid_statement(&deal(7), sequence);
            let due = statement.signed.receipt.due;
            Ok::<_, String>((due, (sequence, id, statement)))
        });
        let (sequence, id, statement) = made.unwrap();
        if is_kept {
            earned.keep(id, &statement).unwrap();
        }
        sequence
    };
    assert_eq!((state(&earned, true), state(&earned, true)), (0, 1));
    let owed = earned.tallies_now()[0].0.owed;
    assert!(owed > Amount::ZERO);
    assert_eq!(state(&earned, false), 2, "it is killed before it tells of this one");
    let earned = open();
    assert_eq!(earned.tallies_now()[0].0.owed, owed);
    assert_eq!(state(&earned, true), 2);
    assert_eq!(earned.receipts().len(), 3);
    let failed =
        earned.state(&deal(7), model(), |_| Err::<(Amount, ()), _>("no receipt".to_owned()));
    assert!(failed.is_err());
    assert_eq!(state(&earned, true), 3, "what failed takes no number");
}

/// A channel of which one credit was redeemed with two receipts, and what is granted of it.
fn channel(vouched: u64) -> (Tally, Channel) {
    let signature = Some(Signature([5; 65]));
    let (next, owed, vouched) = (9, amount(9_000_000), amount(vouched));
    let tally = Tally { channel: 7, next, owed, vouched, signature, model: Some(model()) };
    let channel = Channel {
        payer: Address([1; 20]),
        payee: Address([2; 20]),
        deposit: amount(10_000_000),
        redeemed: amount(1_000_000),
        receipts: 2,
        timeout: Blocks(10),
        node: Hash([6; 32]),
        closes: None,
    };
    (tally, channel)
}

fn entries(dues: &[u64]) -> Vec<Entry> {
    let entry = |(at, due): (usize, &u64)| Entry {
        id: types::id::keccak256(&at.to_le_bytes()),
        due: amount(*due),
        epoch: Epoch(3),
        gateway: Hash([8; 32]),
    };
    dues.iter().enumerate().map(entry).collect()
}

#[test]
fn a_batch_has_the_receipts_that_the_voucher_pays_for_in_their_order() {
    let of = |vouched, dues: &[u64]| {
        let (tally, channel) = channel(vouched);
        batch::redeemable((&tally, &channel), &entries(dues), |_| None)
    };
    // One credit was redeemed before, so that 1.5 are earned.
    let found = of(2_500_000, &[500_000, 1_000_000, 100_000]).unwrap();
    assert_eq!((found.order.count, found.order.cumulative), (2, amount(2_500_000)));
    let leaves: Vec<_> = entries(&[0, 0]).iter().map(|it| merkle::leaf(&it.id.0)).collect();
    assert_eq!(found.order.root, Hash(merkle::root(&leaves)));
    assert_eq!((found.order.work, found.order.gateway), (model(), Address([1; 20])));
    assert_eq!(of(2_600_000, &[500_000, 1_000_000, 100_000]).unwrap().order.count, 3);
    assert_eq!(of(1_400_000, &[500_000]), None, "the first is not paid for");
    assert_eq!(of(1_000_000, &[0]), None, "nothing is granted beyond what was redeemed");
    assert_eq!(of(2_000_000, &[]), None, "there is no receipt");
    let many = vec![1; usize::try_from(ledger::batches::BATCH_RECEIPTS_MAX).unwrap() + 1];
    assert_eq!(of(9_000_000, &many).unwrap().order.count, ledger::batches::BATCH_RECEIPTS_MAX);
}

#[test]
fn a_batch_is_due_once_its_epoch_is_over_or_its_channel_ends_or_it_is_full() {
    let (tally, mut channel) = channel(3_000_000);
    let of = |channel: &Channel| {
        batch::redeemable((&tally, channel), &entries(&[1, 1]), |_| None).unwrap()
    };
    assert!(!of(&channel).is_due(Epoch(3)) && of(&channel).is_due(Epoch(4)));
    channel.closes = Some(types::amount::Height(50));
    assert!(of(&channel).is_due(Epoch(3)));
}

#[test]
fn receipts_are_found_by_their_places_and_go_when_nothing_needs_them() {
    let folder = tempdir().unwrap();
    let mut shelf = Shelf::open(folder.path().join("earned")).unwrap();
    let mut made = vec![];
    for (channel, sequence) in [(7, 0), (7, 1), (7, 3), (8, 0)] {
        let (id, statement) = paid_statement(&deal(channel), sequence);
        shelf.keep(id, &statement).unwrap();
        made.push(id);
    }
    let ids =
        |shelf: &Shelf, first| shelf.from(7, first).iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(ids(&shelf, 0), made[..2], "the third is missing");
    assert_eq!(ids(&shelf, 3), made[2..3]);
    assert!(ids(&shelf, 2).is_empty());
    let shelf = Shelf::open(folder.path().join("earned")).unwrap();
    let found = shelf.statement((8, 0)).unwrap();
    assert_eq!(found.signed.receipt.id(), made[3]);
    assert!(shelf.statement((8, 1)).is_none());
}
