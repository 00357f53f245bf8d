//! Another node's store, over the network of machines.
//!
//! Not here: asking (`fetch::http`).

use std::io;
use std::sync::Arc;

use network::network::{Network, Purpose};
use tokio::io::{DuplexStream, duplex};
use types::id::Hash;

use crate::fetch::http::{Connect, Connecting, Gateway};
use crate::peers::guests;

/// Bytes that wait between the network and the reader, at most.
const WAITING_SIZE_MAX: usize = 64 << 10;

/// The way to a node's store.
#[derive(Clone, Debug)]
pub(super) struct Tunnel {
    network: Network,
    node: Hash,
}

/// A node's store as a gateway.
pub(super) fn gateway(network: &Network, node: Hash) -> Arc<Gateway<Tunnel>> {
    let tunnel = Tunnel { network: network.clone(), node };
    Arc::new(Gateway::new(node.to_string(), "member".to_owned(), tunnel))
}

impl Connect for Tunnel {
    type Stream = DuplexStream;

    fn connect(&self) -> Connecting<'_, DuplexStream> {
        Box::pin(async {
            let opened = self.network.open(self.node, Purpose::Http).await;
            let stream = opened.map_err(io::Error::other)?;
            let (here, there) = duplex(WAITING_SIZE_MAX);
            // Ends when either side does.
            tokio::spawn(guests::join(stream, there));
            Ok(here)
        })
    }
}
