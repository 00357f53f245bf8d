//! Care for one thing that is to be available: whom to ask, to check and to let go of, and when.
//!
//! Invariants:
//! - Times are arguments, in milliseconds since 1970, and nothing here acts: what is to be done is
//!   returned, and what came of it is told.
//! - A keeper counts as one only while its lease lasts and after a check; one that is away for longer
//!   than the grace counts no more, and again when it is back.
//! - A copy is let go of only if the others are away half as often as is wanted, so that nothing flaps.
//!
//! Not here: who is best (`placement`), and talking to them (`copies`).

use std::collections::{BTreeMap, BTreeSet};

use types::id::Hash;

use super::chance::{Wanted, all_away, millionths};
use super::placement::{Candidate, KEEPERS_MAX, Placement, are_beside, place};

/// Nodes that were keepers, are away, and may come back, at most.
const LOST_MAX: usize = 16;
/// How many times longer a node is not asked that turned out not to have what it said it kept.
const WRONG_PAUSES: u64 = 100;

/// When what is done, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long a keeper may be away before another is asked in its place.
    pub grace: u64,
    /// How long after a good check a keeper is checked again.
    pub check: u64,
    /// How long a lease lasts; it is renewed after half of it.
    pub lease: u64,
    /// How long a node that refused is not asked again.
    pub pause: u64,
}

/// A node that was asked to keep a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// Until when it keeps it; 0 before it says that it has it.
    pub lease: u64,
    /// When it last showed that it has it; 0 if never.
    pub checked: u64,
    /// When it last answered.
    pub seen: u64,
    /// Whether it has been away for longer than the grace.
    pub lost: bool,
}

impl Keeper {
    /// Whether it counts.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.lease > 0 && self.checked > 0 && !self.lost
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Ask a node to keep a copy, or to go on keeping it.
    Ask(Hash),
    /// See whether a keeper has what it says.
    Check(Hash),
    /// Let go of a copy.
    Release(Hash),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It has it, and keeps it so many milliseconds from now.
    Kept(u64),
    /// It is fetching it.
    Fetching,
    /// It does not keep it.
    Refused,
    /// It showed what it was asked for.
    Good,
    /// It has not what it says, or something else.
    Wrong,
    /// It did not answer, or not to the point.
    Nothing,
}

/// One thing that is to be available.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Care {
    /// Bytes of a copy.
    pub size: u64,
    /// How available it is to be while this node is away.
    pub wanted: Wanted,
    /// Who was asked, and what of it.
    pub keepers: BTreeMap<Hash, Keeper>,
    /// Copies that took the place of lost ones.
    pub repairs: u64,
    /// Copies that were let go of because others suffice.
    pub releases: u64,
    /// Copies that were lost and have no other in their place.
    pub owed: u64,
    /// The availability that the keepers come to, in parts per million.
    pub estimate: u32,
    /// Who is not asked, and until when.
    pub shunned: BTreeMap<Hash, u64>,
}

impl Care {
    /// Something that nobody has been asked for.
    #[must_use]
    pub fn new(size: u64, wanted: Wanted) -> Care {
        Care {
            size,
            wanted,
            keepers: BTreeMap::new(),
            repairs: 0,
            releases: 0,
            owed: 0,
            estimate: 0,
            shunned: BTreeMap::new(),
        }
    }

    /// Goes on after this node was away itself: nobody is held to have been away while nobody looked.
    pub fn begin(&mut self, now: u64) {
        for keeper in self.keepers.values_mut().filter(|it| !it.lost) {
            keeper.seen = now;
        }
    }

    /// What is to be done now. `candidates` are all nodes that are known; those that answer have room
    /// or say that they have none.
    pub fn decide(&mut self, now: u64, candidates: &[Candidate], rules: &Rules) -> Vec<Act> {
        self.shunned.retain(|_, until| *until > now);
        self.notice(now, candidates, rules);
        let mut acts = Vec::new();
        let placement = self.placement(candidates);
        for chosen in placement.chosen() {
            let asked = Keeper { lease: 0, checked: 0, seen: now, lost: false };
            self.keepers.insert(chosen.node, asked);
        }
        if placement.chosen().next().is_none() {
            acts.extend(self.surplus(candidates).map(Act::Release));
        }
        for act in &acts {
            if let Act::Release(node) = act {
                self.keepers.remove(node);
                self.releases += 1;
            }
        }
        let answers: BTreeSet<Hash> =
            candidates.iter().filter(|it| it.room.is_some()).map(|it| it.node).collect();
        for (node, keeper) in self.keepers.iter().filter(|(node, _)| answers.contains(node)) {
            if keeper.lease.saturating_sub(now) < rules.lease / 2 {
                acts.push(Act::Ask(*node));
            }
            if keeper.lease > 0 && now.saturating_sub(keeper.checked) >= rules.check {
                acts.push(Act::Check(*node));
            }
        }
        self.estimate = millionths(self.away(candidates));
        acts
    }

    /// Who would be asked now.
    #[must_use]
    pub fn placement(&self, candidates: &[Candidate]) -> Placement {
        let open = |it: &&Candidate| !self.shunned.contains_key(&it.node) || self.counted(&it.node);
        let open: Vec<Candidate> = candidates.iter().filter(open).cloned().collect();
        place(self.wanted, self.size, &open, |node| self.counted(node))
    }

    /// Whether a node keeps a copy, or has been asked for one.
    fn counted(&self, node: &Hash) -> bool {
        self.keepers.get(node).is_some_and(|keeper| !keeper.lost)
    }

    /// The chance that all keepers are away at once.
    #[must_use]
    pub fn away(&self, candidates: &[Candidate]) -> u64 {
        let keeps = |it: &&Candidate| self.keepers.get(&it.node).is_some_and(Keeper::counts);
        all_away(candidates.iter().filter(keeps).map(|it| it.away))
    }

    /// Sees who is there, who has been away for too long, and whose lease has ended.
    fn notice(&mut self, now: u64, candidates: &[Candidate], rules: &Rules) {
        for candidate in candidates.iter().filter(|it| it.room.is_some()) {
            if let Some(keeper) = self.keepers.get_mut(&candidate.node) {
                keeper.seen = now;
                if std::mem::take(&mut keeper.lost) {
                    self.owed = self.owed.saturating_sub(1);
                }
            }
        }
        let mut owed = 0;
        self.keepers.retain(|_, keeper| {
            let is_away = now.saturating_sub(keeper.seen) > rules.grace;
            let has_ended = keeper.lease > 0 && keeper.lease <= now;
            if (is_away || has_ended) && !keeper.lost && keeper.lease > 0 {
                owed += 1;
            }
            keeper.lost |= is_away;
            // Who never said that it has it has nothing to come back with.
            !has_ended && (keeper.lease > 0 || !is_away)
        });
        self.owed += owed;
        while self.keepers.values().filter(|it| it.lost).count() > LOST_MAX {
            let lost = self.keepers.iter().filter(|(_, it)| it.lost);
            let Some(longest) = lost.min_by_key(|(_, it)| it.seen).map(|(node, _)| *node) else {
                return;
            };
            self.keepers.remove(&longest);
        }
    }

    /// A keeper that the others suffice without: one that shares a subnet or an owner with another,
    /// else the least reliable one.
    fn surplus(&self, candidates: &[Candidate]) -> Option<Hash> {
        let counted: Vec<&Candidate> =
            candidates.iter().filter(|it| self.counted(&it.node)).collect();
        if counted.iter().any(|it| !self.keepers.get(&it.node).is_some_and(Keeper::counts)) {
            return None;
        }
        let spare = |one: &&&Candidate| {
            let others = counted.iter().filter(|it| it.node != one.node).map(|it| it.away);
            counted.len() > KEEPERS_MAX || all_away(others) <= self.wanted.away_max() / 2
        };
        let is_beside = |one: &Candidate| {
            counted.iter().any(|other| other.node != one.node && are_beside(one, other))
        };
        let spare = counted.iter().filter(spare);
        spare.max_by_key(|it| (is_beside(it), it.away)).map(|it| it.node)
    }

    /// Takes in what came of asking or checking a node.
    pub fn hear(&mut self, node: Hash, heard: Heard, now: u64, rules: &Rules) {
        let Some(keeper) = self.keepers.get_mut(&node) else { return };
        match heard {
            Heard::Kept(time) => keeper.lease = now.saturating_add(time.min(rules.lease)).max(1),
            Heard::Good => {
                if keeper.checked == 0 && self.owed > 0 {
                    self.owed -= 1;
                    self.repairs += 1;
                }
                keeper.checked = now;
            }
            Heard::Refused | Heard::Wrong => {
                let pauses = if heard == Heard::Wrong { WRONG_PAUSES } else { 1 };
                if keeper.counts() {
                    self.owed += 1;
                }
                self.keepers.remove(&node);
                let until = now.saturating_add(rules.pause.saturating_mul(pauses));
                self.shunned.insert(node, until);
            }
            Heard::Fetching | Heard::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests;
