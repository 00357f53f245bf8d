//! Run the program as a person does, and look at what it says, returns and leaves behind.

#![expect(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

#[cfg(unix)]
mod audit;
#[cfg(unix)]
mod audits;
#[cfg(unix)]
mod backup;
#[cfg(unix)]
mod batches;
mod codes;
#[cfg(unix)]
mod copies;
mod demo;
#[cfg(unix)]
mod golden;
#[cfg(unix)]
mod keys;
mod kill;
#[cfg(unix)]
mod kills;
#[cfg(unix)]
mod ledger;
mod lies;
#[cfg(unix)]
mod load;
#[cfg(unix)]
mod machines;
mod mirror;
#[cfg(unix)]
mod money;
#[cfg(unix)]
mod nodes;
#[cfg(unix)]
mod pages;
#[cfg(unix)]
mod paid;
#[cfg(unix)]
mod receipts;
#[cfg(unix)]
mod roles;
#[cfg(unix)]
mod routing;
#[cfg(unix)]
mod snapshots;
#[cfg(target_os = "linux")]
mod soak;
#[cfg(unix)]
mod store;
#[cfg(unix)]
mod store_kills;
#[cfg(unix)]
mod story;
#[cfg(unix)]
mod traces;
mod up;
#[cfg(unix)]
mod verify;
#[cfg(unix)]
mod wallet;
#[cfg(target_os = "linux")]
mod work;
mod world;
