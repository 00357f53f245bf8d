//! Rules that can be broken on purpose, by every node of a run, to see that the checks notice.
//!
//! A flaw stands at the edge of the real code: in the machine under it, in the application between the
//! agreement and the chain, or in what a node shows of its state. Nothing in the real code can be
//! switched off.
//!
//! Invariants: each flaw is caught by the check that it names, for some seed (`tests/sim/flaws.rs`).
//!
//! Not here: liars, whom honest nodes must withstand (`byzantine`).

use ledger::governance::{Ballot, Proposal, Stage};
use ledger::state::State;
use types::codec::{decode, encode};
use types::id::Address;
use types::measure::{Measure, Parameter};
use types::word::Choice;

use crate::machine::Habits;

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A node forgets after a crash what it has voted for.
    LosesJournal,
    /// A node forgets after a crash the blocks that it has voted for, and where it is to be silent.
    LosesBlocks,
    /// A commit is acknowledged before it is on the disk.
    LiesAboutSync,
    /// A commit is acknowledged and not written.
    DropsCommit,
    /// A block is voted for unread.
    AcceptsAnyBlock,
    /// A block is voted for whatever its time.
    AcceptsAnyTime,
    /// An order whose nonce is used takes effect again.
    IgnoresNonces,
    /// An order of a block takes effect twice.
    AppliesTwice,
    /// A delegated vote counts twice.
    CountsTwice,
    /// A parameter changes without a vote.
    SetsParameter,
    /// A proposal that was rejected is executed.
    ExecutesRejected,
    /// Credits come from nowhere.
    MintsCredits,
    /// Credits move without an order.
    MovesCredits,
    /// A third of the validators and more contradict themselves.
    TooManyLiars,
}

impl Flaw {
    /// All there are, and the check that must notice each.
    pub const ALL: [(Flaw, &'static str); 14] = [
        (Flaw::LosesJournal, "honest nodes contradict nobody"),
        (Flaw::LosesBlocks, "liveness"),
        (Flaw::LiesAboutSync, "commits last"),
        (Flaw::DropsCommit, "commits last"),
        (Flaw::AcceptsAnyBlock, "honest nodes go on"),
        (Flaw::AcceptsAnyTime, "time"),
        (Flaw::IgnoresNonces, "no double spend"),
        (Flaw::AppliesTwice, "no double spend"),
        (Flaw::CountsTwice, "votes count once"),
        (Flaw::SetsParameter, "parameters change by vote"),
        (Flaw::ExecutesRejected, "parameters change by vote"),
        (Flaw::MintsCredits, "credits are conserved"),
        (Flaw::MovesCredits, "states follow from blocks"),
        (Flaw::TooManyLiars, "agreement"),
    ];

    /// What the machines do under this flaw.
    #[must_use]
    pub fn habits(flaw: Option<Flaw>) -> Habits {
        Habits {
            loses_journal: flaw == Some(Flaw::LosesJournal),
            loses_files: flaw == Some(Flaw::LosesBlocks),
            lies_about_sync: flaw == Some(Flaw::LiesAboutSync),
        }
    }

    /// The state that a node with this flaw would be in.
    #[must_use]
    pub fn shown(self, state: &State) -> State {
        let mut entries = state.entries();
        let mut put = |key: Vec<u8>, value: Vec<u8>| entries.insert(key, value);
        let rejected = |(_, it): &(&u64, &Proposal)| it.stage == Stage::Rejected;
        match self {
            Flaw::SetsParameter if state.meta().height.0 >= 3 => {
                put(key(1, &Parameter::FeeFlat), encode(&12_345_u64));
            }
            Flaw::MintsCredits | Flaw::MovesCredits if state.meta().height.0 >= 3 => {
                let mut people = state.all_accounts().filter(|(_, account)| account.balance > 0);
                let (from, to) = (people.next(), people.next());
                for ((address, account), change) in from.into_iter().chain(to).zip([1, -1]) {
                    let mut account = account.clone();
                    account.balance += change;
                    put(key(2, address), encode(&account));
                    if self == Flaw::MintsCredits {
                        break;
                    }
                }
            }
            Flaw::ExecutesRejected => {
                for (number, proposal) in state.all_proposals().filter(rejected) {
                    let mut proposal = proposal.clone();
                    for measure in proposal.measures.as_slice() {
                        if let Measure::SetParameter(it) = measure {
                            put(key(1, &it.parameter), encode(&it.value));
                        }
                    }
                    proposal.stage = Stage::Executed;
                    proposal.executes = proposal.closes;
                    put(key(7, number), encode(&proposal));
                }
            }
            Flaw::CountsTwice => {
                let delegated = state.all_ballots().filter(|((_, of), it)| it.by != *of);
                for ((number, of), ballot) in delegated {
                    let Some(mut proposal) = state.proposal(*number).cloned() else { continue };
                    match ballot.choice {
                        Choice::Yes => proposal.tally.yes += 1,
                        Choice::No => proposal.tally.no += 1,
                        Choice::Abstain => proposal.tally.abstain += 1,
                    }
                    let mut again = *of;
                    again.0[0] ^= 1;
                    let (ballot, nobody): (Ballot, Address) = (ballot.clone(), again);
                    put(key(8, &(*number, nobody)), encode(&ballot));
                    put(key(7, number), encode(&proposal));
                }
            }
            _ => return state.clone(),
        }
        let entries = entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        State::from_entries(entries).expect("the entries are a state's but for their values")
    }
}

fn key<K: types::codec::Canonical>(table: u8, of: &K) -> Vec<u8> {
    let mut key = vec![table];
    of.write(&mut key);
    debug_assert!(decode::<K>(&key[1..]).is_ok());
    key
}
