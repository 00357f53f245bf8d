//! Whose turn it is.

use super::*;

/// The proposers of eight heights' first rounds, of validators 0 to 3 of whom some rest.
fn turns(resting: &[u8]) -> Vec<u8> {
    let validator = |key: u8| application::Validator {
        key: Hash([key; 32]),
        power: 1,
        rests: resting.contains(&key),
    };
    let validators = Validators::new(&(0..4).map(validator).collect::<Vec<_>>());
    let turn = |height| validators.proposer(Height(height), Round::new(0)).map(|it| it.key.0[0]);
    (8..16).filter_map(turn).collect()
}

#[test]
fn whoever_rests_has_no_turn() {
    assert_eq!(turns(&[]), [0, 1, 2, 3, 0, 1, 2, 3]);
    assert_eq!(turns(&[2]), [3, 0, 1, 3, 0, 1, 3, 0]);
    assert_eq!(turns(&[0, 1, 2]), [3; 8]);
    assert_eq!(turns(&[0, 1, 2, 3]), turns(&[]), "if all rest, nobody does");
}

#[test]
fn a_failed_round_gives_the_turn_to_the_next_who_does_not_rest() {
    let validator =
        |key: u8| application::Validator { key: Hash([key; 32]), power: 1, rests: key == 1 };
    let validators = Validators::new(&(0..3).map(validator).collect::<Vec<_>>());
    let turn = |round| validators.proposer(Height(4), Round::new(round)).map(|it| it.key.0[0]);
    assert_eq!([turn(0), turn(1), turn(2)], [Some(0), Some(2), Some(0)]);
}
