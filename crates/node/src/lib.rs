//! Give the pure crates a clock, sockets, disks and threads; play the roles.
//!
//! Not here: rules of the network, numerics, the shape of the API.

pub mod catalogue;
pub mod mirror;
pub mod pull;
