//! Give the pure crates a clock, sockets, disks and threads; play the roles.
//!
//! Not here: rules of the network, numerics, the shape of the API.

pub mod catalogue;
pub mod config;
pub mod fetch;
pub mod folder;
pub mod home;
pub mod importer;
pub mod ledger;
pub mod mirror;
pub mod models;
pub mod opened;
pub mod pull;
pub mod service;
pub mod source;
pub mod space;
pub mod trustless;
pub mod worker;
