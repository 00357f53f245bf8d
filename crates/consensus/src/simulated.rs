//! A node's part in the agreement without threads, sockets or a clock of its own, for simulations.
//!
//! The protocol, the driver, the signatures and the bytes are those of a real node; what Malachite's
//! actors do between them is done here by plain calls.
//!
//! Invariants: what a node does follows from what it was told, and when.
//!
//! Not here: the network between nodes, and what can go wrong there (`sim`).

pub mod message;
pub mod replica;
