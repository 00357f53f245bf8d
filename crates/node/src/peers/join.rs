//! Joining another's network with a ticket, and reaching its ledger.
//!
//! Not here: what the ticket's maker decides (`guests`).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use network::frame;
use network::membership::{Announcement, SignedAnnouncement, check_passes};
use network::messages::{HELLO_SIZE_MAX, Hello, Knock, REPLY_SIZE_MAX, Reply, Welcome};
use network::network::{Network, Options, Purpose};
use network::ticket::Ticket;
use tokio::net::TcpListener;
use tokio::time::timeout;
use types::bounded::{List, Text};
use types::id::Hash;
use types::node_key::NodeSecret;

use super::files::{Contact, Member};
use super::{Peers, guests, now};

/// How long the node that invites may take to answer.
const KNOCK_TIME_MAX: Duration = Duration::from_secs(20);
/// How often it is tried to reach the other node for a connection that waits.
const REACH_INTERVAL: Duration = Duration::from_millis(500);
/// How often at most; whoever connected has given up by then.
const REACH_TRIES_MAX: u32 = 20;

/// Why a node could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The ticket's time is over.
    #[error("the ticket ended {0} s ago; ask for a new one")]
    Expired(u64),
    /// The node that invites is not reached.
    #[error(
        "the node that invites is not reached at {addresses}: {why}. Is it running, and is the way to it open?"
    )]
    Unreachable {
        /// Where it was looked for.
        addresses: String,
        /// Why.
        why: String,
    },
    /// It says no.
    #[error("the node that invites says: {0}")]
    Refused(String),
    /// It says something that cannot be.
    #[error("the node that invites sent what does not belong to its ticket: {0}")]
    Wrong(String),
}

/// What a new member gets.
#[derive(Debug)]
pub struct Joined {
    /// The text of the ledger's genesis file, which is still to be compared with the ticket's network.
    pub genesis: String,
    /// Why this node belongs.
    pub member: Member,
    /// What the nodes there call themselves, and the models they offer.
    pub offers: Vec<(String, String)>,
}

/// Knocks at the node that invites. What is given beside stays connected to it.
///
/// # Errors
/// When it is not reached, or says no.
pub async fn knock(ticket: &Ticket, secret: &NodeSecret) -> Result<(Joined, Network), JoinError> {
    let seconds = now() / 1000;
    if ticket.expires <= seconds {
        return Err(JoinError::Expired(seconds - ticket.expires));
    }
    let addresses: Vec<String> =
        ticket.addresses.as_slice().iter().map(|it| it.as_str().to_owned()).collect();
    let unreachable = |why: String| JoinError::Unreachable { addresses: addresses.join(" "), why };
    let options = Options {
        network: ticket.network,
        secret: secret.clone(),
        listen: None,
        nearby: false,
        announced: Vec::new(),
    };
    let (network, mut events) =
        Network::start(&options).map_err(|error| unreachable(error.to_string()))?;
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let exchange = async {
        let parsed = addresses.iter().filter_map(|it| it.parse().ok()).collect();
        network.dial(ticket.node, parsed).await.map_err(|error| unreachable(error.to_string()))?;
        let mut stream = network
            .open(ticket.node, Purpose::Join)
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let asked = frame::write(&mut stream, &Knock { secret: ticket.secret }).await;
        asked.map_err(|error| unreachable(error.to_string()))?;
        let reply = frame::read(&mut stream, REPLY_SIZE_MAX).await;
        match reply.map_err(|error| unreachable(error.to_string()))? {
            Reply::Welcome(welcome) => {
                let joined = joined(ticket, &secret.key(), *welcome, addresses.clone())?;
                greet(&network, ticket, &joined.member, secret).await;
                Ok(joined)
            }
            Reply::Refused(why) => Err(JoinError::Refused(why.as_str().to_owned())),
        }
    };
    let late = |_| unreachable(format!("no answer in {} s", KNOCK_TIME_MAX.as_secs()));
    let joined = timeout(KNOCK_TIME_MAX, exchange).await.map_err(late)??;
    Ok((joined, network))
}

/// Says that this node belongs now, so that it is served at once. Where that is not heard, the node
/// says it again when it runs.
async fn greet(network: &Network, ticket: &Ticket, member: &Member, secret: &NodeSecret) {
    let announcement = Announcement {
        network: ticket.network,
        node: secret.key(),
        issued: now(),
        name: Text::default(),
        addresses: List::default(),
        passes: member.passes.clone(),
        offers: List::default(),
    };
    let known = List::new(vec![SignedAnnouncement::sign(announcement, secret)]);
    let exchange = async {
        let mut stream = network.open(ticket.node, Purpose::Hello).await.ok()?;
        frame::write(&mut stream, &Hello { known: known.ok()? }).await.ok()?;
        frame::read::<Hello>(&mut stream, HELLO_SIZE_MAX).await.ok()
    };
    if exchange.await.is_none() {
        tracing::debug!("no hello after joining");
    }
}

fn joined(
    ticket: &Ticket,
    me: &Hash,
    welcome: Welcome,
    addresses: Vec<String>,
) -> Result<Joined, JoinError> {
    check_passes(&ticket.network, &welcome.root, me, &welcome.passes, now() / 1000)
        .map_err(|error| JoinError::Wrong(error.to_string()))?;
    let genesis = String::from_utf8(welcome.genesis.as_slice().to_vec())
        .map_err(|_| JoinError::Wrong("its genesis is no text".to_owned()))?;
    let contact = Some(Contact { node: ticket.node, addresses });
    let member = Member { root: welcome.root, passes: welcome.passes, contact };
    let said =
        welcome.known.as_slice().iter().map(network::membership::SignedAnnouncement::announcement);
    let offers = said.flat_map(|it| {
        let offers = it.offers.as_slice().iter();
        offers.map(|offer| (offer.name.as_str().to_owned(), offer.model.as_str().to_owned()))
    });
    Ok(Joined { genesis, member, offers: offers.collect() })
}

/// A local address from which connections go to the ledger of another node, whenever it is reached.
///
/// # Errors
/// When the system gives no port.
pub async fn ledger_of(peers: &Arc<Peers>, node: Hash) -> std::io::Result<SocketAddr> {
    let peers = peers.clone();
    tunnel(move || peers.network().cloned(), node, Purpose::Ledger).await
}

/// A local address from which connections go to the store of another node, which is connected.
///
/// # Errors
/// When the system gives no port.
pub async fn store_of(network: &Network, node: Hash) -> std::io::Result<SocketAddr> {
    let network = network.clone();
    tunnel(move || Some(network.clone()), node, Purpose::Http).await
}

async fn tunnel(
    reach: impl Fn() -> Option<Network> + Send + Sync + 'static,
    node: Hash,
    purpose: Purpose,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let at = listener.local_addr()?;
    let reach = Arc::new(reach);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            let reach = reach.clone();
            tokio::spawn(async move {
                let mut look = tokio::time::interval(REACH_INTERVAL);
                for _ in 0..REACH_TRIES_MAX {
                    look.tick().await;
                    if let Some(network) = reach()
                        && let Ok(stream) = network.open(node, purpose).await
                    {
                        return guests::join(stream, socket).await;
                    }
                }
            });
        }
    });
    Ok(at)
}
