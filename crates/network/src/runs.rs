//! Which run of a node is at the other end of each connection.
//!
//! A process that was killed says no goodbye, and its connections look alive for as long as the
//! transport is patient. Once the node runs again, no stream should take one of them: each run gives
//! itself another name, which `identify` tells.
//!
//! Invariants: a node can end its own connections by what it says, and nobody else's.
//!
//! Not here: closing (`swarm`).

use std::time::{SystemTime, UNIX_EPOCH};

use libp2p::PeerId;
use libp2p::swarm::ConnectionId;
use types::id::Hash;

/// Bytes of a run's name that are compared, at most; ours are shorter.
const NAME_SIZE_MAX: usize = 64;

/// The connections whose runs are known. There are no more than the swarm allows.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

#[derive(Debug)]
struct Run {
    connection: ConnectionId,
    peer: PeerId,
    name: String,
}

/// The name of this run of a network: no other begins in the same nanosecond.
pub(crate) fn own_name(network: &Hash) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let [a, b, c, d, ..] = network.0;
    format!("mashaa/{a:02x}{b:02x}{c:02x}{d:02x}/{:x}", since.as_nanos())
}

impl Runs {
    /// A node said its run's name on a connection. Gives its connections of earlier runs, which lead
    /// nowhere any more.
    pub(crate) fn heard(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        name: &str,
    ) -> Vec<ConnectionId> {
        let name: String = name.chars().take(NAME_SIZE_MAX).collect();
        self.closed(connection);
        // Connections are numbered as they are made, so that an earlier one is of an earlier run.
        let is_dead = |it: &Run| it.peer == peer && it.name != name && it.connection < connection;
        let dead = self.0.iter().filter(|it| is_dead(it)).map(|it| it.connection).collect();
        self.0.push(Run { connection, peer, name });
        dead
    }

    /// A connection has ended.
    pub(crate) fn closed(&mut self, connection: ConnectionId) {
        self.0.retain(|it| it.connection != connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_run_ends_the_connections_of_the_earlier_ones_and_of_nobody_else() {
        let (one, other) = (PeerId::random(), PeerId::random());
        let number = ConnectionId::new_unchecked;
        let mut runs = Runs::default();
        assert_eq!(runs.heard(one, number(1), "a"), []);
        assert_eq!(runs.heard(one, number(2), "a"), [], "the same run, a second way");
        assert_eq!(runs.heard(other, number(3), "b"), [], "another node");
        assert_eq!(runs.heard(one, number(4), "c"), [number(1), number(2)]);
        assert_eq!(runs.heard(one, number(2), "a"), [], "said late, on an earlier connection");
        runs.closed(number(1));
        assert_eq!(runs.heard(one, number(5), "d"), [number(4), number(2)]);
    }

    #[test]
    fn each_run_has_another_name() {
        let network = Hash([1; 32]);
        assert_ne!(own_name(&network), own_name(&network));
    }
}
