//! Draws: the rates that were asked for, by standing, and never of the worker's owner.

use super::*;

fn account(number: u8) -> Account {
    [number; 20]
}

fn receipts(count: u32) -> Vec<Drawable> {
    let id = |number: u32| tagged("receipt", &[&number.to_le_bytes()]);
    (0..count).map(|it| Drawable { id: id(it), owner: account((it % 4) as u8) }).collect()
}

fn auditors() -> Vec<Auditor> {
    let auditor = |number: u8, owner: u8, standing| Auditor {
        account: account(number),
        owner: account(owner),
        standing,
    };
    vec![
        auditor(10, 0, 100),
        auditor(11, 1, 100),
        auditor(12, 5, 100),
        auditor(13, 5, 100),
        auditor(14, 6, 300),
        auditor(15, 7, 0),
    ]
}

#[test]
fn receipts_are_drawn_at_their_rate_and_auditors_by_their_standing() {
    let (receipts, beacon) = (receipts(20_000), [3; 32]);
    let drawn = draw(&beacon, &receipts, &auditors(), (100_000, 2)).unwrap();
    assert!((1_800..2_200).contains(&drawn.len()), "{}", drawn.len());
    let owner = |id: &Digest| receipts.iter().find(|it| it.id == *id).unwrap().owner;
    let mut counts = BTreeMap::<Account, usize>::new();
    for it in &drawn {
        let [one, two] = it.auditors[..] else { unreachable!("two of four owners: {it:?}") };
        let owner_of = |account| auditors().iter().find(|it| it.account == account).unwrap().owner;
        assert_ne!(owner_of(one), owner_of(two));
        assert!(![owner_of(one), owner_of(two)].contains(&owner(&it.id)), "{it:?}");
        *counts.entry(one).or_default() += 1;
    }
    assert_eq!(counts.get(&account(15)), None, "it has no standing");
    // Half of the receipts are of owners 2 and 3: 300 of 700; the others: 300 of 600.
    let share = counts[&account(14)] * 1_000 / drawn.len();
    assert!((430..500).contains(&share), "{share}");
}

#[test]
fn everything_is_drawn_at_the_rate_of_one_and_nothing_at_none() {
    let receipts = receipts(1_000);
    let count = |rate| draw(&[1; 32], &receipts, &auditors(), (rate, 1)).unwrap().len();
    assert_eq!((count(RATE_ONE), count(0)), (1_000, 0));
    assert_ne!(count(500_000), 1_000);
}

#[test]
fn a_draw_depends_on_the_beacon_and_not_on_the_order() {
    let (mut receipts, mut auditors) = (receipts(500), auditors());
    let drawn = draw(&[1; 32], &receipts, &auditors, (200_000, 3)).unwrap();
    receipts.reverse();
    auditors.rotate_left(2);
    receipts.push(receipts[0]);
    assert_eq!(draw(&[1; 32], &receipts, &auditors, (200_000, 3)).unwrap(), drawn);
    assert_ne!(draw(&[2; 32], &receipts, &auditors, (200_000, 3)).unwrap(), drawn);
}

#[test]
fn more_than_may_be_are_refused() {
    let one = receipts(1)[0];
    let draw = |receipts: usize, auditor: usize, wanted| {
        let (receipts, auditors) = (vec![one; receipts], vec![auditors()[0]; auditor]);
        draw(&[1; 32], &receipts, &auditors, (RATE_ONE, wanted)).is_ok()
    };
    assert!(draw(RECEIPTS_MAX, 1, 1) && !draw(RECEIPTS_MAX + 1, 1, 1));
    assert!(draw(1, AUDITORS_MAX, 1) && !draw(1, AUDITORS_MAX + 1, 1));
    assert!(draw(1, 1, DRAWN_MAX) && !draw(1, 1, DRAWN_MAX + 1));
}
