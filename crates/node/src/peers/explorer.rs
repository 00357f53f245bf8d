//! The network of machines over HTTP, for people: `GET /network`.
//!
//! Not here: the page that shows it (`cli`).

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::{Known, Peers, now};
use crate::fleet::Fleet;

/// The routes.
pub fn router(peers: Arc<Peers>, fleet: Option<Arc<Fleet>>) -> Router {
    Router::new().route("/network", get(show)).with_state((peers, fleet))
}

async fn show(State((peers, fleet)): State<(Arc<Peers>, Option<Arc<Fleet>>)>) -> Json<Value> {
    let fleet = fleet.as_deref();
    let peer = |known: &Known| shown(known, fleet);
    let addresses = peers.state().own_addresses();
    let addresses: Vec<&str> = addresses.iter().map(|it| it.as_str()).collect();
    let offers: Vec<Value> = peers.state().offered.as_slice().iter().map(offer).collect();
    let nodes: Vec<Value> = peers.known().iter().map(peer).collect();
    Json(json!({
        "network": peers.settings.network.to_string(),
        "node": peers.me().to_string(),
        "name": peers.settings.name,
        "begun": peers.network().is_some(),
        "root": peers.member().root.to_string(),
        "addresses": addresses,
        "offers": offers,
        "here": fleet.map(|fleet| standing(fleet, None)),
        "nodes": nodes,
    }))
}

fn shown(known: &Known, fleet: Option<&Fleet>) -> Value {
    let said = known.announcement.as_ref().map(|it| it.announcement());
    json!({
        "node": known.node.to_string(),
        "name": said.map(|it| it.name.as_str()),
        "announced": said.map(|it| it.issued),
        "fresh": known.is_fresh(now()),
        "address": known.connection.as_ref().map(|it| it.address.to_string()),
        "relayed": known.connection.as_ref().map(|it| it.relayed),
        "since": known.connection.as_ref().map(|it| it.since),
        "ping_us": known.ping.map(|it| it.as_micros()),
        "offers": said.map(|it| it.offers.as_slice().iter().map(offer).collect::<Vec<_>>()),
        "standing": fleet.map(|fleet| standing(fleet, Some(known.node))),
    })
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
