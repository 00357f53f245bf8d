//! Rules that are broken on purpose: some seed shows each of them.

use sim::byzantine::Kind;
use sim::flaw::Flaw;
use sim::world::{Plan, run};

/// Seeds that may be needed to show a flaw.
const SEEDS_MAX: u64 = 150;

fn plan(flaw: Flaw, seed: u64) -> Plan {
    let validators = 4;
    let liars = match flaw {
        Flaw::AcceptsAnyBlock | Flaw::AcceptsAnyTime => vec![Kind::InvalidProposer],
        Flaw::TooManyLiars => vec![Kind::Equivocator; 2],
        _ => vec![],
    };
    Plan { seed, validators, liars, flaw: Some(flaw) }
}

/// The first seed that shows the flaw to the check that must notice it.
fn shown(flaw: Flaw, check: &str) -> Option<u64> {
    let is_shown = |seed: &u64| {
        run(&plan(flaw, *seed)).violations.iter().any(|violation| violation.check == check)
    };
    (0..SEEDS_MAX).find(is_shown)
}

/// A block that nobody has any more cannot be decided again, and nobody tries.
#[test]
fn nodes_that_have_lost_blocks_stand_still_and_contradict_nobody() {
    for seed in 0..SEEDS_MAX {
        let violations = run(&plan(Flaw::LosesBlocks, seed)).violations;
        let others: Vec<_> = violations.iter().filter(|it| it.check != "liveness").collect();
        assert!(others.is_empty(), "seed {seed}: {others:?}");
    }
}

/// Alone, a node says what it has lost, instead of deciding another block.
#[test]
fn a_node_that_has_lost_its_own_decided_block_says_so() {
    let lost = |seed| {
        let plan = Plan { seed, validators: 1, liars: vec![], flaw: Some(Flaw::LosesBlocks) };
        let violations = run(&plan).violations;
        assert!(violations.iter().all(|it| ["honest nodes go on", "liveness"].contains(&it.check)));
        violations.iter().any(|it| it.what.contains("was decided by this node alone"))
    };
    assert!((0..SEEDS_MAX).any(lost));
}

#[test]
fn some_seed_shows_each_broken_rule() {
    let missed: Vec<_> =
        Flaw::ALL.into_iter().filter(|(flaw, check)| shown(*flaw, check).is_none()).collect();
    assert!(missed.is_empty(), "no seed shows {missed:?}");
}
