//! The beacon: it follows from those who made the blocks, and from nothing else.

use ledger::apply::{begin_block, end_block};
use ledger::beacon::input;
use types::amount::Height;
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::world::World;

/// The beacon after a block of each of these validators.
fn after(makers: [u8; 3]) -> Hash {
    let mut state = World::mutual().state;
    assert_eq!(state.meta().beacon, state.meta().genesis);
    for (height, maker) in (1..).map(Height).zip(makers) {
        let (secret, before) = (NodeSecret::new([maker; 32]), input(&state));
        let (_, output) = secret.prove(&before);
        begin_block(&mut state, height, &[], &output).unwrap();
        end_block(&mut state, height).unwrap();
        assert_ne!(input(&state), before);
    }
    state.meta().beacon
}

#[test]
fn the_beacon_follows_from_the_makers_of_blocks_and_their_order() {
    assert_eq!(after([1, 2, 1]), after([1, 2, 1]));
    assert_ne!(after([1, 2, 1]), after([1, 2, 2]));
    assert_ne!(after([1, 2, 1]), after([2, 1, 1]));
}
