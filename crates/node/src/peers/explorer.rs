//! The network of machines over HTTP, for people: `GET /network`.
//!
//! Not here: the page that shows it (`cli`).

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use ledger::nodes::Unfit;
use network::membership::Refused;
use serde_json::{Value, json};

use super::{Known, Peers, now};
use crate::fleet::Fleet;

/// The routes.
pub fn router(peers: Arc<Peers>, fleet: Option<Arc<Fleet>>) -> Router {
    Router::new().route("/network", get(show)).with_state((peers, fleet))
}

async fn show(State((peers, fleet)): State<(Arc<Peers>, Option<Arc<Fleet>>)>) -> Json<Value> {
    let fleet = fleet.as_deref();
    let nodes = peers.known();
    let nodes: Vec<Value> = {
        let state = peers.state();
        nodes.iter().map(|known| shown(known, fleet, state.fit(known))).collect()
    };
    let addresses = peers.state().own_addresses();
    let addresses: Vec<&str> = addresses.iter().map(|it| it.as_str()).collect();
    let offers: Vec<Value> = peers.state().offered.as_slice().iter().map(offer).collect();
    Json(json!({
        "network": peers.settings.network.to_string(),
        "node": peers.me().to_string(),
        "name": peers.settings.name,
        "begun": peers.network().is_some(),
        "root": peers.member().root.to_string(),
        "addresses": addresses,
        "workers": peers.workers(),
        "offers": offers,
        "here": fleet.map(|fleet| standing(fleet, None)),
        "nodes": nodes,
    }))
}

fn shown(known: &Known, fleet: Option<&Fleet>, fit: Result<(), Unfit>) -> Value {
    let said = known.announcement.as_ref().map(|it| it.announcement());
    json!({
        "node": known.node.to_string(),
        "name": said.map(|it| it.name.as_str()),
        "announced": said.map(|it| it.issued),
        "fresh": known.is_fresh(now()),
        "address": known.connection.as_ref().map(|it| it.address.to_string()),
        "relayed": known.connection.as_ref().map(|it| it.relayed),
        "since": known.connection.as_ref().map(|it| it.since),
        "account": known.registration.as_ref().map(|it| it.account.to_string()),
        "unused_because": fit.err().map(|unfit| reason(&known.pass, unfit)),
        "ping_us": known.ping.map(|it| it.as_micros()),
        "offers": said.map(|it| it.offers.as_slice().iter().map(offer).collect::<Vec<_>>()),
        "standing": fleet.map(|fleet| standing(fleet, Some(known.node))),
    })
}

/// Why a node's offers are not used, in words.
fn reason(pass: &Result<(), Refused>, unfit: Unfit) -> String {
    match (unfit, pass) {
        (Unfit::NotAdmitted, Err(refused)) => refused.to_string(),
        (unfit, _) => unfit.to_string(),
    }
}

impl Peers {
    /// Whose machines may compute for others, and whether this one may, for people.
    #[must_use]
    pub fn workers(&self) -> Value {
        let state = self.state();
        let account = state.own_registration().map(|it| it.account.to_string());
        let unused = state.own_fit().err().map(|unfit| reason(&state.own_pass(), unfit));
        let others = state.unfit_offering(now());
        json!({
            "policy": state.workers().word(),
            "account": account,
            "unused_because": unused,
            "others_unused": others,
        })
    }
}

fn standing(fleet: &Fleet, worker: crate::route::WorkerId) -> Value {
    let standing = fleet.standing(&worker);
    json!({
        "reliability": standing.reliability,
        "in_flight": standing.in_flight,
        "shunned": standing.shunned,
    })
}

fn offer(offer: &network::membership::Offer) -> Value {
    json!({
        "model": offer.model.as_str(),
        "name": offer.name.as_str(),
        "context": offer.context,
        "price": offer.price,
        "prefill": offer.prefill,
        "decode": offer.decode,
        "slots": offer.slots,
    })
}
