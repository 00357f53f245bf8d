use super::*;

const A: WorkerId = Some(Hash([1; 32]));
const B: WorkerId = Some(Hash([2; 32]));

fn candidate(worker: WorkerId) -> Candidate {
    Candidate { worker, price: 0, prefill: 1000, decode: 100, since: 0 }
}

fn order(table: &Table, candidates: &[Candidate], now: u64) -> Vec<WorkerId> {
    table.order(candidates, &[7; 100], 50, now)
}

#[test]
fn the_faster_and_the_cheaper_is_asked_first() {
    let table = Table::default();
    let fast = Candidate { decode: 200, ..candidate(B) };
    assert_eq!(order(&table, &[candidate(A), fast], 0), [B, A]);
    let dear = Candidate { price: 5_000_000, ..fast };
    assert_eq!(order(&table, &[candidate(A), dear], 0), [A, B]);
}

#[test]
fn work_is_spread_as_machines_fill() {
    let mut table = Table::default();
    let both = [candidate(A), candidate(B)];
    assert_eq!(order(&table, &both, 0), [A, B]);
    table.began(A);
    assert_eq!(order(&table, &both, 0), [B, A]);
    table.began(B);
    table.ended(A, Ended::Unneeded, 0);
    assert_eq!(order(&table, &both, 0), [A, B]);
}

#[test]
fn a_failure_puts_a_worker_last_for_a_while_and_longer_each_time() {
    let mut table = Table::default();
    let both = [Candidate { decode: 1000, ..candidate(A) }, candidate(B)];
    table.judge(A, Ended::Badly, 0);
    assert_eq!(order(&table, &both, SHUN_MIN - 1), [B, A]);
    assert_eq!(order(&table, &both, SHUN_MIN), [A, B]);
    table.judge(A, Ended::Badly, SHUN_MIN);
    assert_eq!(order(&table, &both, SHUN_MIN + 2 * SHUN_MIN - 1), [B, A]);
    let back = Candidate { since: SHUN_MIN + 1, ..both[0] };
    assert_eq!(order(&table, &[back, both[1]], SHUN_MIN + 1), [A, B], "it came back since");
    for at in 0..40 {
        table.judge(A, Ended::Badly, at);
    }
    assert_eq!(order(&table, &both, 40 + SHUN_MAX)[1], A, "unreliable after its time, too");
    // What was seen long ago says little.
    table.judge(A, Ended::Unneeded, 40 * HALF_LIFE);
    assert_eq!(order(&table, &both, 41 * HALF_LIFE), [A, B]);
}

#[test]
fn what_was_measured_counts_more_than_what_was_said() {
    let mut table = Table::default();
    let boaster = Candidate { decode: 10_000, ..candidate(A) };
    table.judge(A, Ended::Well { tokens: 11, time: 1000 }, 0);
    table.judge(B, Ended::Well { tokens: 11, time: 100 }, 0);
    assert_eq!(order(&table, &[boaster, candidate(B)], 0), [B, A]);
}

#[test]
fn a_conversation_goes_where_its_beginning_is_cached() {
    let mut table = Table::default();
    let slow = Candidate { prefill: 900, ..candidate(B) };
    let talk: Vec<u32> = (0..300).collect();
    assert_eq!(table.order(&[candidate(A), slow], &talk, 5, 0), [A, B]);
    table.remember(&talk[..200], B, 0);
    assert_eq!(table.order(&[candidate(A), slow], &talk, 5, 0), [B, A]);
    assert_eq!(table.order(&[candidate(A), slow], &talk[1..], 5, 0), [A, B], "another beginning");
}

#[test]
fn memory_is_bounded() {
    let mut table = Table::default();
    for number in 0..u32::try_from(PREFIXES_MAX + 10).unwrap() {
        let tokens = [number; PREFIX_MIN];
        table.remember(&tokens, A, u64::from(number));
    }
    let kept = table.prefixes.len();
    assert!((PREFIXES_MAX / 2..=PREFIXES_MAX).contains(&kept), "{kept}");
    for number in 0..u32::try_from(WORKERS_MAX + 10).unwrap() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        table.began(Some(Hash(key)));
        table.ended(Some(Hash(key)), Ended::Badly, 0);
    }
    assert!(table.workers.len() <= WORKERS_MAX);
}

#[test]
fn what_was_seen_fades_though_nobody_asks_the_worker() {
    let mut table = Table::default();
    let both = [Candidate { decode: 150, ..candidate(A) }, candidate(B)];
    for at in 0..8 {
        table.judge(A, Ended::Badly, at);
    }
    let after = SHUN_MAX + 10;
    assert_eq!(order(&table, &both, after), [B, A], "unreliable");
    assert_eq!(order(&table, &both, 5 * HALF_LIFE), [A, B], "long ago");
    assert_eq!(table.standing(&A, 5 * HALF_LIFE).reliability, 1000);
    // It was slow once, and others were asked since.
    table.judge(A, Ended::Well { tokens: 11, time: 10_000 }, 5 * HALF_LIFE);
    assert_eq!(order(&table, &both, 5 * HALF_LIFE), [B, A]);
    assert_eq!(order(&table, &both, 20 * HALF_LIFE), [A, B]);
}

#[test]
fn a_time_beside_other_answers_is_counted_for_each_of_them_once() {
    let mut table = Table::default();
    let both = [candidate(A), Candidate { decode: 60, ..candidate(B) }];
    // Four at once take 40 ms a token each: alone it would be the 10 ms that it says.
    (0..4).for_each(|_| table.began(A));
    table.ended(A, Ended::Well { tokens: 11, time: 400 }, 0);
    (0..3).for_each(|_| table.ended(A, Ended::Unneeded, 0));
    assert_eq!(order(&table, &both, 0), [A, B]);
}

#[test]
fn only_offers_of_the_model_with_enough_room_are_candidates() {
    let text = |it: &str| types::bounded::Text::new(it).unwrap();
    let offer = Offer {
        model: text("bafy"),
        name: text("tiny"),
        context: 100,
        price: 7,
        prefill: 0,
        decode: 5,
        slots: 1,
    };
    let node = Hash([1; 32]);
    let found = Candidate::of(node, 3, &offer, "bafy", 100).unwrap();
    let wanted = Candidate { worker: A, price: 7, prefill: 1, decode: 5, since: 3 };
    assert_eq!(found, wanted);
    assert_eq!(Candidate::of(node, 3, &offer, "bafy", 101), None, "no room");
    assert_eq!(Candidate::of(node, 3, &offer, "bafk", 100), None, "another model");
}
