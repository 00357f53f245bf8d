//! Seeds: networks of four, seven and ten, without liars and with every kind of them.

use sim::byzantine::Kind;
use sim::world::{Plan, Reached, run};

/// Seeds of a run of the tests.
const SEEDS: u64 = 200;
/// Threads that share them.
const THREADS: u64 = 2;

fn hold(plan: &Plan) -> Reached {
    let outcome = run(plan);
    assert!(outcome.violations.is_empty(), "{plan:?}: {:?}", outcome.violations);
    outcome.reached
}

#[test]
fn every_check_holds_for_two_hundred_seeds() {
    let run_share = |share: u64| {
        let mut sum = Reached::default();
        for seed in (share..SEEDS).step_by(THREADS as usize) {
            let reached = hold(&Plan::of_seed(seed, &[4, 4, 7, 10], None));
            sum.height += reached.height;
            sum.orders += reached.orders;
            sum.crashes += reached.crashes;
            sum.executed += reached.executed;
            sum.accused += reached.accused;
            sum.later_rounds += reached.later_rounds;
        }
        sum
    };
    let sums: Vec<Reached> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|share| scope.spawn(move || run_share(share))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    // The runs reach what they are for.
    let total = |part: fn(&Reached) -> u64| sums.iter().map(part).sum::<u64>();
    assert!(total(|it| it.height) > 5 * SEEDS, "{sums:?}");
    assert!(total(|it| it.orders) > 10 * SEEDS, "{sums:?}");
    assert!(total(|it| it.crashes) > SEEDS, "{sums:?}");
    assert!(total(|it| it.executed) > SEEDS / 10, "{sums:?}");
    assert!(total(|it| it.accused) > SEEDS / 10, "{sums:?}");
    assert!(total(|it| it.later_rounds) > SEEDS / 10, "{sums:?}");
}

#[test]
fn every_check_holds_with_liars_of_every_kind_in_every_size() {
    for (index, kind) in (0..).zip(Kind::ALL) {
        for validators in [4, 7, 10] {
            let liars = vec![kind; (validators - 1) / 3];
            hold(&Plan { seed: 9000 + index, validators, liars, flaw: None });
        }
    }
}

/// A node got a block from others, stopped before it had committed it, and found in its journal that
/// the block was decided, and nowhere the block. It began the height again and voted anew.
#[test]
fn a_node_that_has_lost_a_decided_block_contradicts_nothing() {
    let reached = hold(&Plan { seed: 107_149, validators: 7, liars: vec![], flaw: None });
    assert!(reached.crashes > 0, "{reached:?}");
}

#[test]
fn the_same_seed_twice_gives_the_same_hash() {
    let mut hashes = vec![];
    for seed in 0..4 {
        let plan = Plan::of_seed(seed, &[4, 7], None);
        let (first, second) = (run(&plan), run(&plan));
        assert_eq!(first, second, "{plan:?}");
        hashes.push(first.hash);
    }
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 4, "different seeds give different runs");
}
