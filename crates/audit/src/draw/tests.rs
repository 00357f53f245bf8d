//! Draws: the rates that were asked for, by standing, and never a party of the batch.

use alloc::collections::BTreeMap;

use super::*;

const PARTIES: [Account; 2] = [[10; 20], [99; 20]];

fn account(number: u8) -> Account {
    [number; 20]
}

fn batch(number: u64, count: u32) -> Batch<'static> {
    Batch { number, count, parties: &PARTIES }
}

fn auditors() -> Vec<Auditor> {
    let auditor = |(number, standing)| Auditor { account: account(number), standing };
    [(10, 900), (11, 100), (12, 100), (14, 300), (15, 0)].map(auditor).to_vec()
}

#[test]
fn receipts_are_drawn_at_their_rate_and_auditors_by_their_standing() {
    let mut counts = BTreeMap::<Account, usize>::new();
    let mut count = 0;
    for number in 0..20 {
        let drawn = draw(&[3; 32], &batch(number, 1_000), &auditors(), (100_000, 2)).unwrap();
        assert!(drawn.windows(2).all(|pair| pair[0].index < pair[1].index));
        for it in drawn {
            let [one, two] = it.auditors[..] else { unreachable!("two of three: {it:?}") };
            assert_ne!(one, two);
            *counts.entry(one).or_default() += 1;
            count += 1;
        }
    }
    assert!((1_800..2_200).contains(&count), "{count}");
    assert_eq!(counts.get(&account(15)), None, "it has no standing");
    assert_eq!(counts.get(&account(10)), None, "it is a party");
    // 300 of 500.
    let share = counts[&account(14)] * 1_000 / count;
    assert!((560..640).contains(&share), "{share}");
}

#[test]
fn everything_is_drawn_at_the_rate_of_one_and_nothing_at_none() {
    let count = |rate| draw(&[1; 32], &batch(7, 200), &auditors(), (rate, 1)).unwrap().len();
    assert_eq!((count(RATE_ONE), count(0)), (200, 0));
    assert_ne!(count(500_000), 200);
}

#[test]
fn of_too_many_those_are_drawn_whose_lots_are_smallest() {
    let (beacon, all) = ([5; 32], batch(7, 4_096));
    let drawn = draw(&beacon, &all, &auditors(), (RATE_ONE, 1)).unwrap();
    assert_eq!(drawn.len(), DRAWS_MAX);
    let late = drawn.iter().filter(|it| it.index >= 2_048).count();
    assert!((90..166).contains(&late), "as many of the second half: {late}");
    let largest = drawn.iter().map(|it| lot(&beacon, 7, it.index)).max().unwrap();
    let smaller = (0..4_096).filter(|index| lot(&beacon, 7, *index) <= largest).count();
    assert_eq!(smaller, DRAWS_MAX);
}

#[test]
fn a_draw_depends_on_the_beacon_and_the_batch_and_not_on_the_order() {
    let mut auditors = auditors();
    let drawn = draw(&[1; 32], &batch(7, 500), &auditors, (200_000, 3)).unwrap();
    auditors.rotate_left(2);
    auditors.push(auditors[0]);
    let draw =
        |beacon, number| draw(&[beacon; 32], &batch(number, 500), &auditors, (200_000, 3)).unwrap();
    assert_eq!(draw(1, 7), drawn);
    assert_ne!(draw(2, 7), drawn);
    assert_ne!(draw(1, 8), drawn);
}

#[test]
fn more_than_may_be_are_refused() {
    let draw = |count, auditor: usize, wanted| {
        let auditors = vec![auditors()[1]; auditor];
        draw(&[1; 32], &batch(1, count), &auditors, (0, wanted)).is_ok()
    };
    assert!(draw(RECEIPTS_MAX, 1, 1) && !draw(RECEIPTS_MAX + 1, 1, 1));
    assert!(draw(1, AUDITORS_MAX, 1) && !draw(1, AUDITORS_MAX + 1, 1));
    assert!(draw(1, 1, DRAWN_MAX) && !draw(1, 1, DRAWN_MAX + 1));
}

/// `UPDATE_EXPECT=1` writes what is drawn down.
#[test]
fn a_draw_is_the_one_that_is_written_down() {
    use core::fmt::Write;

    let mut text = alloc::string::String::new();
    for (beacon, number, count, rate) in
        [(1, 7, 100, 50_000), (2, 7, 100, 50_000), (1, 8, 100, 50_000), (1, 7, 300, 1_000_000)]
    {
        let drawn = draw(&[beacon; 32], &batch(number, count), &auditors(), (rate, 2)).unwrap();
        let of = |it: &Drawn| {
            let auditors: Vec<u8> = it.auditors.iter().map(|account| account[0]).collect();
            alloc::format!("{}{auditors:?}", it.index)
        };
        let list: Vec<_> = drawn.iter().map(of).collect();
        writeln!(text, "{beacon} {number} {count} {rate}: {}", list.join(" ")).unwrap();
    }
    expect_test::expect_file!["../../../../fixtures/audits/draws.txt"].assert_eq(&text);
}
