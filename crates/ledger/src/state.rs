//! All that the ledger knows, as entries with canonical bytes.
//!
//! Specified in `docs/spec/ledger.md`, section 2.
//!
//! Invariants:
//! - Everything that a rule reads is an entry, so that two states with equal entries behave alike.
//! - An entry's key begins with its table's number; no two entries have one key.
//!
//! Not here: the rules, and the Merkle tree over the entries, which the caller keeps from
//! `changes`.

use std::collections::BTreeMap;
use std::ops::Bound;

use audit::artifact::Outline;
use audit::case::Case;
use audit::receipt::Payload;
use types::amount::{Amount, Epoch, Height, Nonce, Period};
use types::codec::{Canonical, Malformed, Reader, decode, encode};
use types::id::{Address, Cid, Hash};
use types::measure::Parameter;
use types::record;
use types::word::{Policy, Tier};

use crate::accounts::Account;
use crate::audits::Audit;
use crate::batches::Batch;
use crate::channels::Channel;
use crate::coop::Patronage;
use crate::disputes::Dispute;
use crate::event::Event;
use crate::governance::{Ballot, Delegation, Proposal, Task};
use crate::members::Member;
use crate::nodes::Node;
use crate::parameters;
use crate::sessions::Session;
use crate::stakes::Stake;
use crate::table::Table;
use crate::validators::Validator;
use crate::works::Work;

record! {
    /// What there is one of.
    Meta {
        /// The network's name: the hash of its genesis.
        genesis: Hash,
        /// How credits come into being.
        policy: Policy,
        /// The last block.
        height: Height,
        /// The epoch of the next block.
        epoch: Epoch,
        /// The epoch's first block.
        epoch_began: Height,
        /// The patronage period of the next block.
        period: Period,
        /// The period's first epoch.
        period_began: Epoch,
        /// The treasury's balance when the period began, in millionths.
        treasury_began: i128,
        /// Counts openings of votes and changes of membership, to tell which came first.
        sequence: u64,
        /// Number of the next proposal.
        proposal_next: u64,
        /// Number of the next channel.
        channel_next: u64,
        /// Number of the next batch.
        batch_next: u64,
        /// Active members.
        members_active: u32,
        /// Who may delay what has passed, if anyone.
        guardian: Option<Address>,
        /// Who issues credits against payment, if anyone.
        cashier: Option<Address>,
        /// What the cashier has issued in this epoch.
        cashier_issued: Amount,
        /// The constitution's text, if there is one.
        constitution: Option<Cid>,
        /// Random bytes that no one chose: each block's maker adds to them.
        beacon: Hash,
    }
}

macro_rules! tables {
    ($($(#[$about:meta])+ $number:literal $name:ident: $key:ty => $value:ty,)+) => {
        /// The state of the ledger.
        #[derive(Clone, Debug)]
        pub struct State {
            meta: Table<(), Meta>,
            $($(#[$about])+ pub(crate) $name: Table<$key, $value>,)+
            events: Vec<Event>,
        }

        /// Where to roll back to.
        #[derive(Clone, Debug)]
        pub(crate) struct Savepoint {
            meta: usize,
            $($name: usize,)+
            events: usize,
        }

        impl PartialEq for State {
            fn eq(&self, other: &State) -> bool {
                self.meta == other.meta $(&& self.$name == other.$name)+
            }
        }

        /// The keys beyond one, or all.
fn beyond<K>(after: Option<K>) -> (Bound<K>, Bound<K>) {
    (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
}

impl State {
            /// An empty state but for what there is one of.
            pub(crate) fn new(meta: Meta) -> State {
                let mut state = State {
                    meta: Table::default(),
                    $($name: Table::default(),)+
                    events: vec![],
                };
                state.meta.put((), meta);
                state
            }

            /// All entries, by key.
            #[must_use]
            pub fn entries(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
                let mut entries = BTreeMap::from([(key_bytes(0, &()), encode(self.meta()))]);
                $(for (key, value) in self.$name.iter() {
                    entries.insert(key_bytes($number, key), encode(value));
                })+
                entries
            }

            /// The state that has these entries.
            ///
            /// # Errors
            ///
            /// When an entry is no entry of a state, or the one of `Meta` is missing.
            pub fn from_entries<'a>(
                entries: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
            ) -> Result<State, Malformed> {
                let (mut meta, mut others) = (None, vec![]);
                for (key, value) in entries {
                    match key {
                        [0] => meta = Some(decode::<Meta>(value)?),
                        _ => others.push((key, value)),
                    }
                }
                let missing = Malformed::Short { wanted: 1, left: 0 };
                let mut state = State::new(meta.ok_or(missing)?);
                for (key, value) in others {
                    let mut reader = Reader::new(key);
                    match u8::read(&mut reader)? {
                        $($number => {
                            let key = Canonical::read(&mut reader)?;
                            reader.finish()?;
                            state.$name.put(key, decode(value)?);
                        })+
                        number => return Err(Malformed::UnknownVariant { number }),
                    }
                }
                state.seal();
                Ok(state)
            }

            /// The entries that were written since the state was sealed, with their values; none
            /// where the entry is gone.
            #[must_use]
            pub fn changes(&self) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
                let mut changes = BTreeMap::new();
                if !self.meta.changed().is_empty() {
                    changes.insert(key_bytes(0, &()), Some(encode(self.meta())));
                }
                $(for key in self.$name.changed() {
                    let value = self.$name.get(key).map(encode);
                    changes.insert(key_bytes($number, key), value);
                })+
                changes
            }

            /// Makes all writes final: a block was decided.
            pub fn seal(&mut self) {
                self.meta.seal();
                $(self.$name.seal();)+
            }

            /// Takes back every write since the state was sealed: a block that was tried was not
            /// decided.
            pub fn undo(&mut self) {
                self.meta.rollback(0);
                $(self.$name.rollback(0);)+
                self.events.clear();
            }

            pub(crate) fn savepoint(&self) -> Savepoint {
                Savepoint {
                    meta: self.meta.mark(),
                    $($name: self.$name.mark(),)+
                    events: self.events.len(),
                }
            }

            /// Takes back every write and event since the savepoint.
            pub(crate) fn rollback(&mut self, to: &Savepoint) {
                self.meta.rollback(to.meta);
                $(self.$name.rollback(to.$name);)+
                self.events.truncate(to.events);
            }

            /// The events of the writes since the last call.
            pub(crate) fn take_events(&mut self) -> Vec<Event> {
                std::mem::take(&mut self.events)
            }
        }
    };
}

tables! {
    /// Parameters that differ from their defaults.
    1 parameters: Parameter => u64,
    /// Balances and nonces.
    2 accounts: Address => Account,
    /// Session keys, by account and key.
    3 sessions: (Address, Address) => Session,
    /// Members, applicants, and those who left.
    4 members: Address => Member,
    /// Who lets whom vote, by the one who lets and the topic.
    5 delegations: (Address, Tier) => Delegation,
    /// How many votes someone carries, by topic.
    6 carried: (Address, Tier) => u32,
    /// Proposals, by number.
    7 proposals: u64 => Proposal,
    /// Ballots, by proposal and voter.
    8 ballots: (u64, Address) => Ballot,
    /// What is to be done at the end of a block.
    9 agenda: (Height, Task) => (),
    /// Models and datasets.
    10 works: Cid => Work,
    /// Use and contribution, by period and member.
    11 patronage: (Period, Address) => Patronage,
    /// Channels, by number.
    12 channels: u64 => Channel,
    /// Validators, by their nodes' keys.
    13 validators: Hash => Validator,
    /// Registered nodes, by their keys.
    14 nodes: Hash => Node,
    /// Which nodes an account has registered.
    15 owned: (Address, Hash) => (),
    /// What accounts have at stake.
    16 stakes: Address => Stake,
    /// Batches that are not settled, by number.
    17 batches: u64 => Batch,
    /// How far accounts are trusted to audit.
    18 standings: Address => u32,
    /// Who offers to audit.
    19 auditors: Address => (),
    /// Receipts that are audited, by batch and place.
    20 audits: (u64, u32) => Audit,
    /// Payloads of audited receipts that were asked for, once they are shown.
    21 payloads: (u64, u32) => Option<Payload>,
    /// Disputes, by batch and place.
    22 disputes: (u64, u32) => Dispute,
    /// Evidence about a cell in dispute, by batch, place and side.
    23 cases: ((u64, u32), u8) => Case,
    /// Models of which disputes know the steps and sections.
    24 models: Cid => Outline,
}

fn key_bytes<K: Canonical>(table: u8, key: &K) -> Vec<u8> {
    let mut bytes = vec![table];
    key.write(&mut bytes);
    bytes
}

impl State {
    /// What there is one of.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        self.meta.get(&()).expect("a state is made with its meta entry, which nothing removes")
    }

    /// Changes what there is one of.
    pub(crate) fn set_meta(&mut self, change: impl FnOnce(&mut Meta)) {
        let mut meta = self.meta().clone();
        change(&mut meta);
        self.meta.put((), meta);
    }

    /// The block that is being made.
    #[must_use]
    pub fn now(&self) -> Height {
        self.meta().height.after(1)
    }

    /// A parameter's value.
    #[must_use]
    pub fn parameter(&self, parameter: Parameter) -> u64 {
        let set = self.parameters.get(&parameter).copied();
        set.unwrap_or_else(|| parameters::rule(parameter).default)
    }

    /// A parameter's value as an amount. The ranges of those that are amounts end at the largest.
    #[must_use]
    pub fn parameter_amount(&self, parameter: Parameter) -> Amount {
        Amount::new(self.parameter(parameter)).unwrap_or(Amount::ZERO)
    }

    /// An account; one that was never used is empty.
    #[must_use]
    pub fn account(&self, address: &Address) -> Account {
        self.accounts.get(address).cloned().unwrap_or_default()
    }

    /// The next nonce of an account.
    #[must_use]
    pub fn nonce(&self, address: &Address) -> Nonce {
        self.account(address).nonce
    }

    /// A member, an applicant, or someone who left.
    #[must_use]
    pub fn member(&self, address: &Address) -> Option<&Member> {
        self.members.get(address)
    }

    /// A proposal.
    #[must_use]
    pub fn proposal(&self, number: u64) -> Option<&Proposal> {
        self.proposals.get(&number)
    }

    /// A work.
    #[must_use]
    pub fn work(&self, work: &Cid) -> Option<&Work> {
        self.works.get(work)
    }

    /// A channel.
    #[must_use]
    pub fn channel(&self, number: u64) -> Option<&Channel> {
        self.channels.get(&number)
    }

    /// All accounts that were ever used, by address.
    pub fn all_accounts(&self) -> impl Iterator<Item = (&Address, &Account)> {
        self.accounts.iter()
    }

    /// Those of them after a key, for lists that come in pages.
    pub fn accounts_after(
        &self,
        after: Option<Address>,
    ) -> impl Iterator<Item = (&Address, &Account)> {
        self.accounts.range(beyond(after))
    }

    /// How many accounts were ever used.
    #[must_use]
    pub fn accounts_count(&self) -> usize {
        self.accounts.count()
    }

    /// All who are, were or want to be members, by address.
    pub fn all_members(&self) -> impl Iterator<Item = (&Address, &Member)> {
        self.members.iter()
    }

    /// Those of them after a key, for lists that come in pages.
    pub fn members_after(
        &self,
        after: Option<Address>,
    ) -> impl Iterator<Item = (&Address, &Member)> {
        self.members.range(beyond(after))
    }

    /// Session keys of an account, by address; those that have expired stay until another is granted.
    pub fn sessions_of(&self, account: &Address) -> impl Iterator<Item = (&Address, &Session)> {
        let keys = (*account, Address([0; 20]))..=(*account, Address([255; 20]));
        self.sessions.range(keys).map(|((_, key), session)| (key, session))
    }

    /// All proposals, by number.
    pub fn all_proposals(&self) -> impl DoubleEndedIterator<Item = (&u64, &Proposal)> {
        self.proposals.iter()
    }

    /// The proposals under a number, the newest first.
    pub fn proposals_before(&self, before: u64) -> impl Iterator<Item = (&u64, &Proposal)> {
        self.proposals.range(..before).rev()
    }

    /// All ballots, by proposal and voter.
    pub fn all_ballots(&self) -> impl Iterator<Item = (&(u64, Address), &Ballot)> {
        self.ballots.iter()
    }

    /// All works, by CID.
    pub fn all_works(&self) -> impl Iterator<Item = (&Cid, &Work)> {
        self.works.iter()
    }

    /// Those of them after a key, for lists that come in pages.
    pub fn works_after(&self, after: Option<Cid>) -> impl Iterator<Item = (&Cid, &Work)> {
        self.works.range(beyond(after))
    }

    /// All open channels, by number.
    pub fn all_channels(&self) -> impl Iterator<Item = (&u64, &Channel)> {
        self.channels.iter()
    }

    /// A validator: one that serves, is jailed, or was removed a short time ago.
    #[must_use]
    pub fn validator(&self, node_key: &Hash) -> Option<&Validator> {
        self.validators.get(node_key)
    }

    /// All validators, by node key.
    pub fn all_validators(&self) -> impl Iterator<Item = (&Hash, &Validator)> {
        self.validators.iter()
    }

    /// A registered node.
    #[must_use]
    pub fn node(&self, node_key: &Hash) -> Option<&Node> {
        self.nodes.get(node_key)
    }

    /// Registered nodes after a key, for lists that come in pages.
    pub fn nodes_after(&self, after: Option<Hash>) -> impl Iterator<Item = (&Hash, &Node)> {
        self.nodes.range(beyond(after))
    }

    /// The nodes that an account has registered, by key.
    pub fn nodes_of(&self, account: &Address) -> impl Iterator<Item = &Hash> {
        let keys = (*account, Hash([0; 32]))..=(*account, Hash([255; 32]));
        self.owned.range(keys).map(|((_, node_key), ())| node_key)
    }

    /// Notes what happened.
    pub(crate) fn say(&mut self, event: Event) {
        self.events.push(event);
    }

    /// The events since the savepoint.
    pub(crate) fn said_since(&self, savepoint: &Savepoint) -> Vec<Event> {
        self.events.get(savepoint.events..).unwrap_or_default().to_vec()
    }

    /// The next number of the count that orders votes and memberships.
    pub(crate) fn next_sequence(&mut self) -> u64 {
        let next = self.meta().sequence.saturating_add(1);
        self.set_meta(|meta| meta.sequence = next);
        next
    }
}
