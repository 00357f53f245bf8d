//! Give the pure crates a clock, sockets, disks and threads; play the roles.
//!
//! Not here: rules of the network, numerics, the shape of the API.

pub mod audits;
pub mod backup;
mod books;
pub mod catalogue;
pub mod config;
pub mod control;
pub mod copies;
pub mod deal;
pub mod earn;
pub mod embedder;
pub mod fetch;
pub mod fleet;
pub mod folder;
pub mod home;
pub mod importer;
pub mod ledger;
pub mod mirror;
pub mod models;
pub mod opened;
pub mod orders;
pub mod pay;
pub mod peers;
pub mod preferences;
pub mod pull;
pub mod receipts;
pub mod redeem;
pub mod remembered;
pub mod remote;
pub mod route;
pub mod routing;
pub mod seeding;
pub mod sensors;
pub mod service;
pub mod source;
pub mod space;
pub mod supervisor;
pub mod texts;
pub mod traffic;
pub mod trustless;
mod unfinished;
pub mod worker;
