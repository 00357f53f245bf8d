//! Auditors: what they commit to, reveal, and stand by.
//!
//! Invariants: an honest auditor says what it has computed, and nothing that it could have heard.
//!
//! Not here: disputes (`disputes`).

use ledger::audits::{Audit, Key, Seat, Stage, commitment};
use ledger::refusal::Refusal;
use types::id::{Address, Hash};
use types::measure::Parameter;
use types::transaction::{Action, AskPayload, CommitVerdict, Enlist, RevealVerdict, Stake};
use types::word::{Finding, Lack};

use super::sold::Kind;
use super::strategy::{Duty, Wrong};
use super::town::amount;
use super::{Game, REPLAY, Said, WHOLE};

/// Passes over the audits in one block: what one says, another may wait for. Commit, open, reveal, dispute
/// and its answer are five.
const PASSES: usize = 6;
/// Millionths of one.
const MILLION: u64 = 1_000_000;
/// The root of those who have computed none.
const NO_ROOT: Hash = Hash([0; 32]);
/// The root of those who accuse falsely.
pub(crate) const ACCUSED: Hash = Hash([6; 32]);

impl Game<'_> {
    /// All auditors.
    pub(crate) fn auditors(&self) -> Vec<usize> {
        self.roles.honest.iter().chain(&self.roles.own).copied().collect()
    }

    fn duty(&self, who: usize) -> Duty {
        if self.roles.own.contains(&who) { self.traits.auditors.0 } else { Duty::Replay }
    }

    /// Auditors bring back what they have lost, and enlist again once they may.
    pub(crate) fn keep_auditors(&mut self) {
        let wanted =
            self.parameter(Parameter::AuditorStake) + self.parameter(Parameter::ChallengeBond);
        let now = self.town.state.now();
        for who in self.auditors() {
            let address = self.town.address(who);
            let stake = self.town.state.stake(&address).cloned();
            let is_jailed = stake.as_ref().and_then(|it| it.jailed).is_some_and(|it| it >= now);
            let held = stake.map_or(0, |stake| stake.held.millionths());
            let has_standing = self.town.state.standing(&address) > 0;
            if self.duty(who) == Duty::Replay && (is_jailed || !has_standing) {
                self.tally.false_convictions += 1;
                self.town.violate(format!("auditor {who} is honest and was punished"));
            }
            if held < wanted {
                self.town.act(who, Action::Stake(Stake { amount: amount(wanted - held) }));
            }
            if !is_jailed && !has_standing {
                self.town.act(who, Action::Enlist(Enlist {}));
            }
        }
    }

    /// Everyone does what an audit waits for.
    pub(crate) fn audit(&mut self) {
        for _ in 0..PASSES {
            let before = self.town.orders;
            let keys: Vec<Key> = self.town.state.all_audits().map(|(key, _)| *key).collect();
            for key in keys {
                // A conviction takes a batch's other audits with it.
                if let Some(audit) = self.town.state.audit(key).cloned() {
                    self.attend(key, &audit);
                }
            }
            if self.town.orders == before {
                return;
            }
        }
    }

    fn attend(&mut self, key: Key, audit: &Audit) {
        let seats: Vec<(usize, Seat)> = audit
            .seats
            .as_slice()
            .iter()
            .cloned()
            .filter_map(|seat| Some((self.town.who(&seat.auditor)?, seat)))
            .collect();
        match audit.stage {
            Stage::Committing => seats.iter().for_each(|(who, seat)| {
                let is_committing =
                    self.town.state.audit(key).is_some_and(|it| it.stage == Stage::Committing);
                if is_committing && seat.commitment.is_none() {
                    self.commit(key, *who);
                }
            }),
            Stage::Opening => self.open(key),
            Stage::Revealing => {
                for (who, seat) in seats {
                    if seat.commitment.is_some() && seat.finding.is_none() {
                        self.reveal(key, who);
                    }
                }
            }
            Stage::Challenging => {
                let found = seats.into_iter().find(|(who, seat)| {
                    let stands =
                        matches!(self.duty(*who), Duty::Replay | Duty::Accuse | Duty::Friend);
                    stands && seat.finding == Some(Finding::NoMatch) && !seat.has_challenged
                });
                if let Some((who, seat)) = found {
                    self.challenge(key, who, seat.root);
                }
            }
            // The worker has nothing to show; a dispute is played at once or not at all.
            _ => {}
        }
    }

    fn commit(&mut self, key: Key, who: usize) {
        let duty = self.duty(who);
        let is_own = self.batches.get(&key.0).is_some_and(|made| made.side == 0);
        let said = match duty {
            Duty::Skip => return self.shirk(key, who),
            Duty::Echo => return self.echo(key, who),
            Duty::Nod => {
                self.shirk(key, who);
                (Finding::Match, NO_ROOT)
            }
            Duty::Accuse => (Finding::NoMatch, ACCUSED),
            Duty::Friend if is_own => (Finding::Match, self.stated(self.is_wrong(key)).1),
            Duty::Replay | Duty::Friend => {
                if !self.is_shown(key) {
                    let ask = AskPayload { batch: key.0, index: key.1, lack: Lack::Refused };
                    return self.town.act(who, Action::AskPayload(ask));
                }
                let cost = self.cost(self.honest_due()) * REPLAY / WHOLE;
                self.spend(who, cost);
                self.found(key)
            }
        };
        let salt = self.town.secret();
        let hash = commitment(&self.town.address(who), key, (said.0, &said.1), &salt);
        self.said.insert((key, who), Said { finding: said.0, root: said.1, salt });
        self.send(key, who, hash);
    }

    fn send(&mut self, (batch, index): (u64, u32), who: usize, hash: Hash) {
        self.town.act(who, Action::CommitVerdict(CommitVerdict { batch, index, hash }));
    }

    /// What a replay finds.
    fn found(&self, key: Key) -> (Finding, Hash) {
        let honest = self.sold.answer(Kind::Honest).root;
        match self.traits.wrong {
            Wrong::Tokens(kind) if self.is_wrong(key) => {
                (Finding::NoMatch, self.sold.answer(kind).root)
            }
            _ => (Finding::Match, honest),
        }
    }

    /// A duty that is not done, counted once.
    fn shirk(&mut self, key: Key, who: usize) {
        let said = Said { finding: Finding::Match, root: NO_ROOT, salt: NO_ROOT };
        if self.said.insert((key, who), said).is_none() {
            self.tally.cheated += 1;
            self.tally.receipts += 1;
            self.tally.caught += 1;
            self.tally.theory += MILLION;
            self.tally.gain += self.cost(self.honest_due()) * REPLAY / WHOLE;
        }
    }

    /// Commits to what another has committed to.
    fn echo(&mut self, key: Key, who: usize) {
        self.shirk(key, who);
        let audit = self.town.state.audit(key);
        let others = audit.and_then(|it| it.seats.as_slice().iter().find_map(|it| it.commitment));
        if let Some(hash) = others {
            self.send(key, who, hash);
        }
    }

    fn reveal(&mut self, key: Key, who: usize) {
        let (batch, index) = key;
        let heard = match self.duty(who) {
            // What the other said, now that it is known.
            Duty::Echo => {
                let other = |((of, by), _): &(&(Key, usize), &Said)| *of == key && *by != who;
                self.said.iter().find(other).map(|(_, said)| *said)
            }
            _ => self.said.get(&(key, who)).copied(),
        };
        let Some(Said { finding, root, salt }) = heard else { return };
        let reveal = Action::RevealVerdict(RevealVerdict { batch, index, finding, root, salt });
        match self.town.attempt(who, reveal) {
            Ok(()) => {}
            Err(Refusal::OtherVerdict) if self.duty(who) == Duty::Echo => {}
            Err(refusal) => {
                self.town.violate(format!("the reveal of {who} was refused: {refusal}"))
            }
        }
    }

    /// The audit fund has paid an auditor.
    pub(crate) fn paid(&mut self, to: Address) {
        let who = self.town.who(&to);
        let is_shirker =
            who.is_some_and(|who| matches!(self.duty(who), Duty::Nod | Duty::Echo | Duty::Skip));
        if is_shirker {
            self.tally.caught = self.tally.caught.saturating_sub(1);
        }
    }

    /// The chance, in millionths, that only friends of the worker are drawn for a receipt, from the
    /// standings of now.
    pub(crate) fn only_friends(&self) -> u64 {
        let standing = |who: &usize| u64::from(self.town.state.standing(&self.town.address(*who)));
        if self.traits.auditors.0 != Duty::Friend {
            return 0;
        }
        let friends: Vec<u64> = self.roles.own.iter().map(standing).collect();
        let total =
            friends.iter().sum::<u64>() + self.roles.honest.iter().map(standing).sum::<u64>();
        friends_only(&friends, total, self.parameter(Parameter::Auditors))
    }
}

/// The chance that all of some draws, without putting back, are of these weights.
fn friends_only(friends: &[u64], total: u64, draws: u64) -> u64 {
    if draws == 0 {
        return MILLION;
    }
    let chance = |(at, weight): (usize, &u64)| {
        let mut left = friends.to_vec();
        left.remove(at);
        let rest = friends_only(&left, total.saturating_sub(*weight), draws - 1);
        (weight * rest).checked_div(total).unwrap_or(0)
    };
    friends.iter().enumerate().map(chance).sum()
}

#[cfg(test)]
mod tests;
