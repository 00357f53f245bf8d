//! The beginning of a network.
//!
//! Specified in `docs/spec/ledger.md`, section 1.
//!
//! Invariants: two networks with one genesis have one hash, and networks with different ones
//! different hashes, so that no order counts on two of them.
//!
//! Not here: the file that people write.

use sha2::{Digest, Sha256};
use types::agreement::VALIDATORS_MAX;
use types::amount::{Amount, Epoch, Height, Period};
use types::bounded::{List, Text};
use types::codec::encode;
use types::id::{Address, Cid, Hash};
use types::measure::{AdmitValidator, SetParameter};
use types::record;
use types::transaction::NAME_MAX;
use types::word::Policy;

use crate::accounts::outside;
use crate::event::Event;
use crate::measures::set_parameter;
use crate::members;
use crate::refusal::Refusal;
use crate::state::{Meta, State};
use crate::validators;

/// Founders. More can join by the rules.
pub const FOUNDERS_MAX: usize = 256;
/// Parameters that differ from their defaults: more than there are.
pub const GENESIS_PARAMETERS_MAX: usize = 64;
/// The shortest and the longest interval between blocks, in milliseconds.
pub const INTERVAL_MIN: u32 = 10;
/// See `INTERVAL_MIN`.
pub const INTERVAL_MAX: u32 = 60_000;
/// The fewest blocks from one snapshot of the state to the next: with fewer, one would be gone before
/// another node has fetched it.
pub const SNAPSHOT_BLOCKS_MIN: u32 = 4;
/// The most: eleven days of blocks a second apart, which is what a joining node then computes at most.
pub const SNAPSHOT_BLOCKS_MAX: u32 = 1_000_000;
/// See `SNAPSHOT_BLOCKS_MIN`: an hour, where nothing else is said.
pub const SNAPSHOT_BLOCKS: u32 = 3600;
/// Separates this hash from others over the same bytes.
const TAG: &[u8] = b"mashaa/ledger/genesis/v1";

record! {
    /// What a network begins with.
    Genesis {
        /// Its name.
        name: Text<NAME_MAX>,
        /// Seconds since 1970 when it was made, so that a network of the same people can begin anew.
        made: u64,
        /// Milliseconds between blocks, at least: what a block of waiting lasts, at the shortest.
        interval: u32,
        /// Blocks from one snapshot of the state to the next.
        snapshot_blocks: u32,
        /// How credits come into being.
        policy: Policy,
        /// The constitution's text, if there is one.
        constitution: Option<Cid>,
        /// The first members.
        founders: List<Founder, FOUNDERS_MAX>,
        /// The first validators.
        validators: List<AdmitValidator, VALIDATORS_MAX>,
        /// Parameters that differ from their defaults.
        parameters: List<SetParameter, GENESIS_PARAMETERS_MAX>,
        /// The first cashier, if the policy is prepaid.
        cashier: Option<Address>,
    }
}

record! {
    /// A first member.
    Founder {
        /// The account.
        account: Address,
        /// The name that members see.
        name: Text<NAME_MAX>,
    }
}

impl Genesis {
    /// The network's name for machines.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(Sha256::new().chain_update(TAG).chain_update(encode(self)).finalize().into())
    }

    /// The state before the first block.
    ///
    /// # Errors
    ///
    /// When a parameter, the interval or the number of blocks between snapshots is out of range, or
    /// founders or validators are missing or named twice.
    pub fn state(&self) -> Result<State, Refusal> {
        let mut state = State::new(self.meta());
        if self.founders.as_slice().is_empty() || self.validators.as_slice().is_empty() {
            return Err(Refusal::BadGenesis);
        }
        if !(INTERVAL_MIN..=INTERVAL_MAX).contains(&self.interval) {
            return Err(Refusal::BadGenesis);
        }
        if !(SNAPSHOT_BLOCKS_MIN..=SNAPSHOT_BLOCKS_MAX).contains(&self.snapshot_blocks) {
            return Err(Refusal::BadGenesis);
        }
        if self.cashier.is_some() && self.policy != Policy::Prepaid {
            return Err(Refusal::OtherPolicy);
        }
        for parameter in self.parameters.as_slice() {
            set_parameter(&mut state, parameter)?;
        }
        for founder in self.founders.as_slice() {
            outside(&founder.account)?;
            if state.member(&founder.account).is_some() {
                return Err(Refusal::BadGenesis);
            }
            members::found(&mut state, founder.account, &founder.name)?;
        }
        for validator in self.validators.as_slice() {
            if state.validators.get(&validator.node_key).is_some() {
                return Err(Refusal::BadGenesis);
            }
            validators::admit(&mut state, validator)?;
            let admitted = state.validators.get(&validator.node_key).cloned();
            if let Some(mut admitted) = admitted {
                (admitted.from, admitted.since) = (Height(0), Height(0));
                state.validators.put(validator.node_key, admitted);
            }
        }
        let _: Vec<Event> = state.take_events();
        Ok(state)
    }

    fn meta(&self) -> Meta {
        Meta {
            genesis: self.hash(),
            policy: self.policy,
            height: Height(0),
            epoch: Epoch(0),
            epoch_began: Height(1),
            period: Period(0),
            period_began: Epoch(0),
            treasury_began: 0,
            sequence: 0,
            proposal_next: 1,
            channel_next: 1,
            batch_next: 1,
            members_active: 0,
            guardian: None,
            cashier: self.cashier,
            cashier_issued: Amount::ZERO,
            constitution: self.constitution,
            beacon: self.hash(),
        }
    }
}
