//! Which machine is asked first: price, expected time and reliability.
//!
//! A pure table of what was seen of each worker. Times are arguments, numbers are integers.
//!
//! Invariants:
//! - A worker that failed is asked last until its time is over, and longer each time.
//! - What is remembered is bounded, whatever is asked.
//!
//! Not here: asking (`fleet`).

use std::collections::BTreeMap;

use network::membership::Offer;
use types::id::Hash;

/// Who computes: this node, or another.
pub type WorkerId = Option<Hash>;

/// Workers that something is remembered of, at most.
const WORKERS_MAX: usize = 16_384;
/// Prefixes of conversations that are remembered, at most.
const PREFIXES_MAX: usize = 65_536;
/// Tokens of the shortest prefix that is remembered: one page of a cache and more.
const PREFIX_MIN: usize = 32;
/// Counts are halved after so long, in milliseconds: what was seen an hour ago says little.
const HALF_LIFE: u64 = 300_000;
/// How long a worker that failed once is asked last, in milliseconds.
const SHUN_MIN: u64 = 5_000;
/// How long one that failed often is asked last, in milliseconds.
const SHUN_MAX: u64 = 60_000;
/// The price, in millionths of a credit for a million tokens, that weighs as much as the time.
const PRICE_WEIGHT: u128 = 1_000_000;

/// A worker that could do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub worker: WorkerId,
    /// Millionths of a credit for a million tokens.
    pub price: u64,
    /// Tokens of prompt a second, as it says; at least 1.
    pub prefill: u32,
    /// Tokens of answer a second, as it says; at least 1.
    pub decode: u32,
    /// Since when it is connected, in milliseconds; what failed before that is forgiven.
    pub since: u64,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer: so many tokens in so many milliseconds.
    Well {
        /// Tokens told.
        tokens: u32,
        /// Milliseconds from the first token to the last.
        time: u64,
    },
    /// The client left, or another worker was faster; it says nothing.
    Unneeded,
    /// The worker refused, broke off or fell silent.
    Badly,
}

/// What was seen of one worker.
#[derive(Clone, Debug, Default)]
struct Seen {
    good: u32,
    bad: u32,
    /// Failures since the last success.
    row: u32,
    /// Microseconds a token, averaged, as if it were alone; and when that was measured.
    token_time: Option<(u64, u64)>,
    in_flight: u32,
    failed: u64,
    shunned_until: u64,
    halved: u64,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Table {
    workers: BTreeMap<WorkerId, Seen>,
    /// Prefix to the worker whose cache has it, and when that was.
    prefixes: BTreeMap<u64, (WorkerId, u64)>,
}

/// What a person may see of a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Answers out of a thousand, lately.
    pub reliability: u32,
    /// Sequences that it computes for this node.
    pub in_flight: u32,
    /// Whether it is asked last, since it failed.
    pub shunned: bool,
}

impl Candidate {
    /// A node by what it offers, if that is the model, with room for so many tokens.
    #[must_use]
    pub fn of(
        node: Hash,
        since: u64,
        offer: &Offer,
        model: &str,
        room: usize,
    ) -> Option<Candidate> {
        let fits = offer.model.as_str() == model && offer.context as usize >= room;
        let (prefill, decode) = (offer.prefill.max(1), offer.decode.max(1));
        let (worker, price) = (Some(node), offer.price);
        fits.then_some(Candidate { worker, price, prefill, decode, since })
    }
}

impl Table {
    /// The candidates, best first.
    #[must_use]
    pub fn order(
        &self,
        candidates: &[Candidate],
        prompt: &[u32],
        tokens: u32,
        now: u64,
    ) -> Vec<WorkerId> {
        let cached = self.cached(prompt);
        let cost = |it: &Candidate| {
            let left = prompt.len() - found(&cached, it.worker);
            let (time, seen) = (self.time(it, left, tokens, now), self.seen(it));
            let failed = |seen: &Seen| seen.failed >= it.since && seen.shunned_until > now;
            let shunned = seen.is_some_and(failed);
            let price = PRICE_WEIGHT + u128::from(it.price);
            let cost = u128::from(time) * price / u128::from(reliability(seen, now));
            (shunned, cost, it.worker)
        };
        let mut costs: Vec<_> = candidates.iter().map(cost).collect();
        costs.sort_unstable();
        costs.into_iter().map(|(_, _, worker)| worker).collect()
    }

    /// Milliseconds until the first token that may be expected.
    #[must_use]
    pub fn patience(&self, candidate: &Candidate, prompt: usize, now: u64) -> u64 {
        self.time(candidate, prompt, 1, now)
    }

    /// Milliseconds that an answer of so many tokens may be expected to take.
    #[must_use]
    pub fn expected(&self, it: &Candidate, prompt: &[u32], tokens: u32, now: u64) -> u64 {
        let left = prompt.len() - found(&self.cached(prompt), it.worker);
        self.time(it, left, tokens, now)
    }

    /// Milliseconds that an answer may take.
    fn time(&self, it: &Candidate, prompt: usize, tokens: u32, now: u64) -> u64 {
        let seen = self.seen(it);
        let said = 1_000_000 / u64::from(it.decode.max(1));
        // What was measured long ago gives way to what it says, or a worker that was slow once would
        // never be measured again.
        let measured = seen.and_then(|seen| seen.token_time).map(|(token, at)| {
            let halvings = halvings(at, now);
            if token > said {
                said + ((token - said) >> halvings)
            } else {
                said - ((said - token) >> halvings)
            }
        });
        let token = measured.unwrap_or(said);
        // Those that run together share the machine.
        let sharing = u64::from(seen.map_or(0, |seen| seen.in_flight)) + 1;
        let prefill = prompt as u64 * 1_000_000 / u64::from(it.prefill.max(1));
        1 + sharing.saturating_mul(prefill + u64::from(tokens).saturating_mul(token)) / 1000
    }

    fn seen(&self, it: &Candidate) -> Option<&Seen> {
        self.workers.get(&it.worker)
    }

    /// What a person may see of a worker.
    #[must_use]
    pub fn standing(&self, worker: &WorkerId, now: u64) -> Standing {
        let seen = self.workers.get(worker);
        Standing {
            reliability: reliability(seen, now),
            in_flight: seen.map_or(0, |seen| seen.in_flight),
            shunned: seen.is_some_and(|seen| seen.shunned_until > now),
        }
    }

    /// A worker has taken a sequence.
    pub fn began(&mut self, worker: WorkerId) {
        if self.workers.len() >= WORKERS_MAX && !self.workers.contains_key(&worker) {
            // Whoever computes nothing now is forgotten first.
            let idle = self.workers.iter().find(|(_, seen)| seen.in_flight == 0);
            if let Some(idle) = idle.map(|(worker, _)| *worker) {
                self.workers.remove(&idle);
            }
        }
        let seen = self.workers.entry(worker).or_default();
        seen.in_flight = seen.in_flight.saturating_add(1);
    }

    /// What a worker had taken has ended.
    pub fn ended(&mut self, worker: WorkerId, how: Ended, now: u64) {
        let seen = self.workers.entry(worker).or_default();
        let sharing = u64::from(seen.in_flight.max(1));
        seen.in_flight = seen.in_flight.saturating_sub(1);
        // The time is what it took beside the others, and is counted for each of them again.
        let how = match how {
            Ended::Well { tokens, time } => Ended::Well { tokens, time: time / sharing },
            how => how,
        };
        self.judge(worker, how, now);
    }

    /// A worker did well or badly, whether or not it had taken anything.
    pub fn judge(&mut self, worker: WorkerId, how: Ended, now: u64) {
        let seen = self.workers.entry(worker).or_default();
        let halvings = halvings(seen.halved, now);
        if halvings > 0 {
            (seen.good, seen.bad) = (seen.good >> halvings, seen.bad >> halvings);
            seen.halved = now;
        }
        match how {
            Ended::Well { tokens, time } => {
                seen.good = seen.good.saturating_add(1);
                (seen.row, seen.shunned_until) = (0, 0);
                if tokens > 1 {
                    let token = time.saturating_mul(1000) / u64::from(tokens - 1);
                    let before = seen.token_time.map_or(token, |(before, _)| before);
                    seen.token_time = Some(((3 * before + token) / 4, now));
                }
            }
            Ended::Unneeded => {}
            Ended::Badly => {
                seen.bad = seen.bad.saturating_add(1);
                let shun = (SHUN_MIN << seen.row.min(6)).min(SHUN_MAX);
                (seen.row, seen.failed) = (seen.row.saturating_add(1), now);
                seen.shunned_until = now + shun;
            }
        }
    }

    /// A worker's cache has these tokens now.
    pub fn remember(&mut self, tokens: &[u32], worker: WorkerId, now: u64) {
        for (_, name) in prefixes(tokens) {
            self.prefixes.insert(name, (worker, now));
        }
        if self.prefixes.len() > PREFIXES_MAX {
            // The oldest quarter goes at once, so that it is seldom done.
            let mut times: Vec<u64> = self.prefixes.values().map(|(_, at)| *at).collect();
            let (_, cut, _) = times.select_nth_unstable(PREFIXES_MAX / 4);
            let cut = *cut;
            self.prefixes.retain(|_, (_, at)| *at > cut);
        }
    }

    /// Who has how many of the prompt's first tokens in a cache.
    fn cached(&self, prompt: &[u32]) -> Vec<(WorkerId, usize)> {
        let known = |(length, name)| Some((self.prefixes.get(&name)?.0, length));
        prefixes(prompt).filter_map(known).collect()
    }
}

/// Tokens of a prompt that a worker's cache has.
fn found(cached: &[(WorkerId, usize)], worker: WorkerId) -> usize {
    let found = cached.iter().filter(|(it, _)| *it == worker);
    found.map(|(_, length)| *length).max().unwrap_or(0)
}

/// How often what was counted then is halved by now.
fn halvings(then: u64, now: u64) -> u32 {
    u32::try_from(now.saturating_sub(then) / HALF_LIFE).unwrap_or(u32::MAX).min(31)
}

fn reliability(seen: Option<&Seen>, now: u64) -> u32 {
    // A new worker is neither trusted nor mistrusted: one good answer is supposed.
    let (good, bad) = seen.map_or((0, 0), |seen| {
        let halvings = halvings(seen.halved, now);
        (u64::from(seen.good >> halvings), u64::from(seen.bad >> halvings))
    });
    u32::try_from(1000 * (good + 1) / (good + bad + 1)).unwrap_or(1000).max(1)
}

/// Lengths of prefixes, doubling, and their names: FNV-1a over the tokens.
fn prefixes(tokens: &[u32]) -> impl Iterator<Item = (usize, u64)> {
    let mut lengths = std::iter::successors(Some(PREFIX_MIN), |length| length.checked_mul(2));
    let mut next = lengths.next();
    let mut name = 0xcbf2_9ce4_8422_2325u64;
    tokens.iter().enumerate().filter_map(move |(index, token)| {
        for byte in token.to_le_bytes() {
            name = (name ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        (Some(index + 1) == next).then(|| {
            next = lengths.next();
            (index + 1, name)
        })
    })
}

#[cfg(test)]
mod tests;
