//! Reach other nodes, wherever they are, and know who they are.
//!
//! `docs/spec/network.md` is the authority on every message.
//!
//! Invariants:
//! - Whoever is at the other end of a stream has proved its node key.
//! - No message is read before its length is compared with a bound.
//!
//! Not here: who is paid, which worker is chosen, what an answer says.

pub mod audit;
pub mod frame;
pub mod keep;
pub mod membership;
pub mod messages;
pub mod network;
pub mod revocation;
mod runs;
mod streams;
mod swarm;
pub mod ticket;
pub mod work;
