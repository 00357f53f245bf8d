//! Look at the others, and do what has to be done about copies, again and again.
//!
//! Invariants:
//! - Looking never waits for asking and checking, so that uptimes are what they say.
//! - Nothing is asked of a node without a limit on how long it may take.
//!
//! Not here: what has to be done (`care`).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::iter;
use network::frame;
use network::keep::{ANSWER_SIZE_MAX, Answer, Keep, Question, SOURCES_MAX};
use network::network::{Network, Purpose};
use store::blobs::{Blobs, StoreError};
use store::cid::{CHUNK_SIZE, Cid};
use store::collect::reach;
use tokio::time::{MissedTickBehavior, interval, timeout};
use types::bounded::List;
use types::id::Hash;

use super::care::{Act, Care, Heard, Keeper};
use super::chance::Wanted;
use super::files::CopiesError;
use super::placement::Subnet;
use super::{Copies, Seen, State, tunnel, whole_size};
use crate::fetch::source::{Source as _, SourceError};
use crate::peers::{Known, guests, now};
use crate::space;

/// How often it is looked whether there is a network.
const BEGIN_INTERVAL: Duration = Duration::from_millis(500);
/// How long a node may take to answer a question.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a node may take to bring one block.
const BLOCK_TIME_MAX: Duration = Duration::from_secs(30);
/// Nodes that are looked at, at once.
const LOOKS_AT_ONCE: usize = 32;
/// Acts at once.
const ACTS_AT_ONCE: usize = 8;
/// Blocks that a keeper has to show in a check: one that has lost a tenth of them is found out in a
/// week of hourly checks but for once in 10^30.
const CHECK_BLOCKS: usize = 4;
/// Looks after which uptimes are kept on the disk.
const KEEP_EVERY: u32 = 10;
/// A look stands for so many intervals, at most: a machine that slept was not looking.
const LOOK_INTERVALS_MAX: u32 = 10;

impl Copies {
    /// Takes part until the runtime ends; waits first until there is a network.
    pub async fn run(self: Arc<Self>) {
        let mut look = interval(BEGIN_INTERVAL);
        let network = loop {
            look.tick().await;
            if let Some(network) = self.peers.network() {
                break network.clone();
            }
        };
        let (copies, over) = (self.clone(), network.clone());
        let taking =
            guests::each(&network, Purpose::Keep, &self.peers, move |_, node, mut stream| {
                let (copies, over) = (copies.clone(), over.clone());
                async move {
                    // Whoever takes longer is not heard.
                    let served = copies.serve(&over, node, &mut stream);
                    let _ = timeout(ANSWER_TIME_MAX, served).await;
                }
            });
        if let Err(error) = taking {
            tracing::error!(%error, "nothing is kept for others");
        }
        tokio::join!(self.look(&network), self.care(&network));
    }

    /// Looks at the others for ever.
    async fn look(&self, network: &Network) {
        let mut ticks = interval(self.settings.look);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut last, mut count) = (None::<Instant>, 0u32);
        loop {
            ticks.tick().await;
            let time = last.map_or(self.settings.look, |last| last.elapsed());
            let time = time.min(self.settings.look * LOOK_INTERVALS_MAX);
            last = Some(Instant::now());
            let known = self.peers.known().into_iter().filter(|it| it.connection.is_some());
            let asking = iter(known).map(|known| async move {
                let answer = ask(network, known.node, &Question::Room).await;
                let room = match answer {
                    Some(Answer::Room { free, .. }) => Some(free),
                    _ => None,
                };
                (known.node, seen(&known, room))
            });
            let answers: BTreeMap<Hash, Seen> =
                asking.buffer_unordered(LOOKS_AT_ONCE).collect().await;
            let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.state().book(answers, time);
            if count.is_multiple_of(KEEP_EVERY) {
                self.keep_looks().await;
            }
            count = count.wrapping_add(1);
        }
    }

    /// Keeps uptimes on the disk, and sees how much room there is.
    async fn keep_looks(&self) {
        let (uptimes, files) = (self.state().uptimes.clone(), self.settings.files.clone());
        let (blobs, quota) = (self.blobs.clone(), self.settings.quota);
        let working = tokio::task::spawn_blocking(move || {
            if let Err(error) = files.keep_uptimes(&uptimes) {
                tracing::warn!(%error, "uptimes could not be kept");
            }
            let left = quota.saturating_sub(blobs.used().unwrap_or(u64::MAX));
            space::free(blobs.dir()).unwrap_or(u64::MAX).min(left)
        });
        self.state().spare = working.await.unwrap_or(0);
    }

    /// Cares for the pins for ever.
    async fn care(self: &Arc<Self>, network: &Network) {
        let mut ticks = interval(self.settings.look);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.clear(now()).await;
            let copies = self.clone();
            let reading = tokio::task::spawn_blocking(move || copies.take_in()).await;
            match reading {
                Ok(Ok(dropped)) => self.let_go(network, dropped).await,
                Ok(Err(error)) => tracing::warn!(%error, "what is to be available is not known"),
                Err(error) => tracing::error!(%error, "copies"),
            }
            self.round(network).await;
        }
    }

    /// Takes in what the owner wants; gives what is no longer wanted, and who keeps it.
    fn take_in(&self) -> Result<BTreeMap<Cid, Care>, CopiesError> {
        let wanted = self.settings.files.wanted()?;
        let dropped: BTreeMap<Cid, Care> = {
            let mut state = self.state();
            state.cares.extract_if(.., |cid, _| !wanted.contains_key(cid)).collect()
        };
        for cid in dropped.keys() {
            self.settings.files.forget_care(cid)?;
        }
        for (cid, wanted) in wanted {
            self.take_in_one(cid, wanted);
        }
        Ok(dropped)
    }

    fn take_in_one(&self, cid: Cid, wanted: Wanted) {
        if let Some(care) = self.state().cares.get_mut(&cid) {
            care.wanted = wanted;
            return;
        }
        match whole_size(&self.blobs, cid) {
            Ok(Some(size)) => {
                self.state().cares.insert(cid, Care::new(size, wanted));
            }
            Ok(None) => tracing::warn!(%cid, "what is to be available is not here whole"),
            Err(error) => tracing::warn!(%cid, %error, "what is to be available cannot be read"),
        }
    }

    /// Tells keepers that a copy is not needed. Where one does not hear it, its lease ends by itself.
    async fn let_go(&self, network: &Network, dropped: BTreeMap<Cid, Care>) {
        let pairs = dropped.into_iter().flat_map(|(cid, care)| {
            care.keepers.into_keys().map(move |node| (cid, node)).collect::<Vec<_>>()
        });
        let telling = iter(pairs).map(|(cid, node)| self.act(network, cid, 0, Act::Release(node)));
        telling.buffer_unordered(ACTS_AT_ONCE).for_each(|_| async {}).await;
    }

    /// Decides about each pin, acts, and keeps what came of it.
    async fn round(&self, network: &Network) {
        let (candidates, rules) = (self.candidates(), self.settings.rules);
        let mut acts = Vec::new();
        let before = {
            let mut state = self.state();
            let before = state.cares.clone();
            for (cid, care) in &mut state.cares {
                let decided = care.decide(now(), &candidates, &rules).into_iter();
                acts.extend(decided.map(|act| (*cid, care.size, act)));
            }
            before
        };
        let acting = iter(acts).map(|(cid, size, act)| async move {
            let (Act::Ask(node) | Act::Check(node) | Act::Release(node)) = act;
            let heard = self.act(network, cid, size, act).await;
            tracing::debug!(%cid, ?act, ?heard, "a copy");
            if let Some(care) = self.state().cares.get_mut(&cid) {
                care.hear(node, heard, now(), &rules);
            }
        });
        acting.buffer_unordered(ACTS_AT_ONCE).for_each(|()| async {}).await;
        let changed: Vec<(Cid, Care)> = {
            let state = self.state();
            let changed = state.cares.iter().filter(|(cid, care)| is_news(before.get(cid), care));
            changed.map(|(cid, care)| (*cid, care.clone())).collect()
        };
        if changed.is_empty() {
            return;
        }
        let files = self.settings.files.clone();
        let keeping = tokio::task::spawn_blocking(move || {
            changed.iter().try_for_each(|(cid, care)| files.keep_care(cid, care))
        });
        match keeping.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "who keeps copies could not be kept"),
            Err(error) => tracing::error!(%error, "copies"),
        }
    }

    async fn act(&self, network: &Network, cid: Cid, size: u64, act: Act) -> Heard {
        // The two crates' CIDs have the same bytes.
        let Ok(name) = types::codec::decode(&cid.to_bytes()) else { return Heard::Nothing };
        match act {
            Act::Check(node) => self.check(network, cid, node).await,
            Act::Release(node) => {
                ask(network, node, &Question::Release(name)).await;
                Heard::Nothing
            }
            Act::Ask(node) => {
                let seconds = self.settings.rules.lease / 1000;
                let keep = Keep {
                    cid: name,
                    size,
                    seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
                    sources: self.state().sources(&cid, &node),
                };
                match ask(network, node, &Question::Keep(keep)).await {
                    Some(Answer::Kept(seconds)) => Heard::Kept(u64::from(seconds) * 1000),
                    Some(Answer::Fetching) => Heard::Fetching,
                    Some(Answer::Refused(cause, why)) => {
                        let why = why.as_str();
                        tracing::info!(%cid, %node, %cause, why, "a copy is refused");
                        Heard::Refused
                    }
                    Some(Answer::Room { .. } | Answer::Released) | None => Heard::Nothing,
                }
            }
        }
    }

    /// Has a keeper show blocks that it cannot know beforehand.
    async fn check(&self, network: &Network, cid: Cid, node: Hash) -> Heard {
        let blobs = self.blobs.clone();
        let picking = tokio::task::spawn_blocking(move || pick(&blobs, cid)).await;
        let blocks = match picking {
            Ok(Ok(blocks)) => blocks,
            Ok(Err(error)) => {
                tracing::warn!(%cid, %error, "a copy cannot be checked");
                return Heard::Nothing;
            }
            Err(_) => return Heard::Nothing,
        };
        let gateway = tunnel::gateway(network, node);
        for block in blocks {
            let shown: Result<Bytes, SourceError> =
                match timeout(BLOCK_TIME_MAX, gateway.block(block)).await {
                    Ok(shown) => shown,
                    Err(_) => return Heard::Nothing,
                };
            match shown {
                Ok(bytes) if block.is_of(&bytes) => {}
                Ok(_) | Err(SourceError::Missing | SourceError::TooMuch) => {
                    tracing::warn!(%cid, %node, %block, "a keeper has not what it says");
                    return Heard::Wrong;
                }
                Err(_) => return Heard::Nothing,
            }
        }
        Heard::Good
    }
}

impl State {
    /// Nodes that have something, but for one.
    fn sources(&self, cid: &Cid, but: &Hash) -> List<Hash, SOURCES_MAX> {
        let keepers = self.cares.get(cid).into_iter().flat_map(|care| &care.keepers);
        let there = |node: &Hash| self.seen.get(node).is_some_and(|seen| seen.room.is_some());
        let sources = keepers.filter(|(node, it)| it.counts() && *node != but && there(node));
        List::new(sources.map(|(node, _)| *node).take(SOURCES_MAX).collect()).unwrap_or_default()
    }
}

/// Whether there is something to keep on the disk: all but when who is there answered last.
fn is_news(before: Option<&Care>, now: &Care) -> bool {
    let Some(before) = before else { return true };
    let mut now = now.clone();
    for (node, keeper) in &mut now.keepers {
        // A tenth of a percent more or less is written with the next change.
        let seen = before.keepers.get(node).map_or(keeper.seen, |it| it.seen);
        *keeper = Keeper { seen, ..*keeper };
    }
    if now.estimate.abs_diff(before.estimate) < 1000 {
        now.estimate = before.estimate;
    }
    *before != now
}

/// Asks a node that is connected.
async fn ask(network: &Network, node: Hash, question: &Question) -> Option<Answer> {
    let exchange = async {
        let mut stream = network.open(node, Purpose::Keep).await.ok()?;
        frame::write(&mut stream, question).await.ok()?;
        frame::read::<Answer>(&mut stream, ANSWER_SIZE_MAX).await.ok()
    };
    timeout(ANSWER_TIME_MAX, exchange).await.ok().flatten()
}

fn seen(known: &Known, room: Option<u64>) -> Seen {
    let said = known.announcement.as_ref().map(|it| it.announcement());
    let direct = known.connection.as_ref().filter(|it| !it.relayed);
    // `/ip4/ADDRESS/...`; of a relay's address nothing follows for who is behind it.
    let ip = direct.and_then(|it| it.address.to_string().split('/').nth(2)?.parse::<IpAddr>().ok());
    Seen {
        room,
        subnet: ip.map(Subnet::of),
        name: said.map(|it| it.name.as_str().to_owned()).unwrap_or_default(),
    }
}

/// Blocks at or below a root by chance, every byte of the content as likely as any other.
fn pick(blobs: &Blobs, root: Cid) -> Result<Vec<Cid>, StoreError> {
    let counts = reach(blobs, [root])?.counts;
    let sized: Vec<(Cid, u64)> = counts
        .into_keys()
        .map(|cid| {
            // Blocks of directories have few bytes, and empty files none; each is picked sometimes.
            let size = std::fs::metadata(blobs.path(&cid)).map_or(1, |file| file.len().max(1));
            (cid, size)
        })
        .collect();
    let total = sized.iter().fold(0u64, |sum, (_, size)| sum.saturating_add(*size)).max(1);
    let mut picked = Vec::new();
    for _ in 0..CHECK_BLOCKS {
        let mut random = [0; 8];
        getrandom::fill(&mut random)
            .map_err(|error| StoreError::Source { source: std::io::Error::other(error) })?;
        let mut at = u64::from_le_bytes(random) % total;
        for (cid, size) in &sized {
            if at >= *size {
                at -= size;
                continue;
            }
            picked.push(match blobs.contains(cid) {
                true => {
                    let leaves = blobs.leaves(cid)?;
                    let index = usize::try_from(at / CHUNK_SIZE as u64).unwrap_or(0);
                    leaves.leaf(index.min(leaves.count().saturating_sub(1)))
                }
                false => *cid,
            });
            break;
        }
    }
    Ok(picked)
}
