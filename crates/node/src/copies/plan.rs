//! Explain which nodes keep, or would keep, copies of something, and what it costs.
//!
//! Not here: the choice (`placement`), and how it is printed (`cli`).

use serde_json::{Value, json};
use store::blobs::StoreError;
use store::cid::Cid;

use super::care::{Care, Keeper};
use super::chance::{Wanted, cheapest_code, millionths};
use super::placement::{Candidate, Placement, Why};
use super::{Copies, whole_size};

/// Why nothing is planned.
#[derive(Debug, thiserror::Error)]
pub enum NoPlan {
    /// The content is not here.
    #[error("{0} is not here whole; `mashaa store get` fetches it")]
    NotHere(Cid),
    /// Nobody said how available it is to be.
    #[error("nobody has said how available {0} is to be; say it with --availability, such as 0.99")]
    NotWanted(Cid),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Copies {
    /// Explains the choice for something, at the availability that is given or else kept with its pin.
    ///
    /// # Errors
    /// When it is not here, or no availability is known.
    pub fn plan(&self, cid: Cid, wanted: Option<Wanted>) -> Result<Value, NoPlan> {
        let size = whole_size(&self.blobs, cid)?.ok_or(NoPlan::NotHere(cid))?;
        let care = self.state().cares.get(&cid).cloned();
        let wanted = wanted.or(care.as_ref().map(|it| it.wanted)).ok_or(NoPlan::NotWanted(cid))?;
        let mut care = care.unwrap_or_else(|| Care::new(size, wanted));
        (care.size, care.wanted) = (size, wanted);
        let candidates = self.candidates();
        let placement = care.placement(&candidates);
        let nodes: Vec<Value> =
            placement.nodes.iter().map(|(it, why)| self.shown(it, *why, &care)).collect();
        let shunned = candidates.iter().filter(|it| !is_placed(&placement, it));
        let shunned: Vec<Value> = shunned.map(|it| self.shown_shunned(it)).collect();
        let copies = placement.keeper_count() as u64;
        Ok(json!({
            "cid": cid.to_string(),
            "size": size,
            "wanted": wanted.to_string(),
            "prior_seconds": self.settings.prior / 1000,
            "nodes": nodes.into_iter().chain(shunned).collect::<Vec<_>>(),
            "copies": copies,
            "bytes": size.saturating_mul(copies),
            "availability_millionths": millionths(placement.away),
            "suffices": placement.away <= wanted.away_max(),
            "code": code(&placement, size, wanted),
        }))
    }

    fn shown(&self, it: &Candidate, why: Why, care: &Care) -> Value {
        let name = |node| {
            let state = self.state();
            let name = state.seen.get(&node).map(|it| it.name.clone()).unwrap_or_default();
            if name.is_empty() { node.to_string() } else { name }
        };
        let beside = |other| format!("shares a subnet or an owner with {}", name(other));
        let words = match why {
            Why::Keeps if care.keepers.get(&it.node).is_some_and(Keeper::counts) => {
                "keeps a copy".to_owned()
            }
            Why::Keeps => "is asked, and has not shown a copy yet".to_owned(),
            Why::Chosen => "chosen".to_owned(),
            Why::ChosenBeside(other) => {
                format!("chosen, since the others do not suffice, though it {}", beside(other))
            }
            Why::NotNeeded => "the others suffice".to_owned(),
            Why::Beside(other) => beside(other),
            Why::Away => "does not answer now".to_owned(),
            Why::Room(0) => "has no space for others, or none left".to_owned(),
            Why::Room(room) => format!("has {room} bytes for others left, which are too few"),
            Why::Full => "there are as many keepers as there may be".to_owned(),
        };
        self.shown_with(it, why.is_keeper(), &words)
    }

    fn shown_shunned(&self, it: &Candidate) -> Value {
        self.shown_with(it, false, "refused it, or had not what it said; it is asked again later")
    }

    fn shown_with(&self, it: &Candidate, chosen: bool, why: &str) -> Value {
        let state = self.state();
        let seen = state.seen.get(&it.node);
        let uptime = state.uptimes.get(&it.node);
        json!({
            "node": it.node.to_string(),
            "name": seen.map(|it| it.name.as_str()),
            "there_seconds": uptime.map_or(0, |it| it.there() / 1000),
            "looked_seconds": uptime.map_or(0, |it| it.looked() / 1000),
            "counted_millionths": millionths(it.away),
            "room": it.room,
            "owner": it.owner.map(|it| it.to_string()),
            "chosen": chosen,
            "why": why,
        })
    }
}

fn is_placed(placement: &Placement, one: &Candidate) -> bool {
    placement.nodes.iter().any(|(it, _)| it.node == one.node)
}

/// What the content would take, cut into pieces, on the same machines: those that keep a copy or could.
fn code(placement: &Placement, size: u64, wanted: Wanted) -> Value {
    let could = |why: &Why| !matches!(why, Why::Away | Why::Room(_));
    let could = placement.nodes.iter().filter(|(_, why)| could(why));
    let aways: Vec<u64> = could.map(|(it, _)| it.away).collect();
    let code = cheapest_code(wanted, size, &aways).map(|code| {
        json!({
            "least": code.least, "pieces": code.pieces, "bytes": code.bytes,
            "availability_millionths": millionths(code.away),
        })
    });
    json!({"machines": aways.len(), "cheapest": code})
}
