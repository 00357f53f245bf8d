//! Keep blobs by the hash of their content, and prove them.
//!
//! A blob is a file named by its content identifier. `cid` computes and reads those names, `blobs`
//! keeps the files, and `index` finds the blocks of IPFS in them. Specified in `docs/spec/store.md`.
//!
//! Invariants:
//! - A file under a blob's final name was hashed to that name, whole or chunk by chunk, and flushed to
//!   disk before it got the name.
//! - Half a download never bears a blob's name; it waits in `staging` and can be taken up again.
//! - Whatever a stranger's bytes state is bounded before anything is allocated for it.
//!
//! Not here: where blobs come from, and how much room they may take.

pub mod blobs;
pub mod car;
pub mod cid;
pub mod collect;
pub mod dag_pb;
pub mod directory;
pub mod fsck;
pub mod index;
pub mod kernel_map;
pub mod leaves;
mod murmur3;
mod protobuf;
pub mod unix_fs;
pub mod walk;
pub mod whole;
