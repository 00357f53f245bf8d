//! The beacon: random bytes that everyone can check and no one can choose.
//!
//! The maker of a block adds the one output that its key has for the height and the beacon before it
//! (`types::vrf`). Specified in `docs/spec/ledger.md`, section 2.
//!
//! Invariants: whoever makes a block can keep it back, and change nothing else about the beacon.
//!
//! Not here: what is drawn with it.

use sha2::{Digest, Sha256};
use types::codec::Canonical;
use types::id::Hash;
use types::vrf::VrfOutput;

use crate::state::State;

/// Separates these bytes from others.
const INPUT_TAG: &[u8] = b"mashaa/ledger/beacon/input/v1";
const TAG: &[u8] = b"mashaa/ledger/beacon/v1";

/// What the maker of the next block proves the output of its key for.
#[must_use]
pub fn input(state: &State) -> Vec<u8> {
    let mut input = INPUT_TAG.to_vec();
    state.meta().genesis.write(&mut input);
    state.now().write(&mut input);
    state.meta().beacon.write(&mut input);
    input
}

/// Adds a block's randomness.
pub(crate) fn advance(state: &mut State, VrfOutput(randomness): &VrfOutput) {
    let hash = Sha256::new().chain_update(TAG).chain_update(state.meta().beacon.0);
    let beacon = Hash(hash.chain_update(randomness).finalize().into());
    state.set_meta(|meta| meta.beacon = beacon);
}
