//! A place that blocks can be fetched from.
//!
//! Not here: judging what it sends; see `fetch`.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use axum::body::Bytes;
use store::cid::Cid;
use tokio::io::AsyncRead;

/// What will be there later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceError>> + Send + 'a>>;

/// Bytes as they come: as many as were asked for, or an error.
pub type Flow = Pin<Box<dyn AsyncRead + Send>>;

/// A place that blocks can be fetched from. Nothing that it sends is trusted.
pub trait Source: fmt::Debug + Send + Sync {
    /// What people call it.
    fn name(&self) -> &str;

    /// One block, of at most `store::dag_pb::BLOCK_SIZE_MAX` bytes.
    fn block(&self, cid: Cid) -> Later<'_, Bytes>;

    /// Bytes of a whole file.
    fn range(&self, root: Cid, range: Range<u64>) -> Later<'_, Flow>;
}

/// Why a source does not deliver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It says that it does not have it.
    #[error("has it not")]
    Missing,
    /// It serves blocks, and no parts of files.
    #[error("serves no parts of files")]
    NoRanges,
    /// It cannot be reached.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// It answers with something else.
    #[error("answers with status {0}")]
    Status(u16),
    /// It sends more than was asked for.
    #[error("sends more than was asked for")]
    TooMuch,
    /// What it sends breaks off.
    #[error("breaks off: {0}")]
    Broken(String),
    /// It sends nothing for too long.
    #[error("sends nothing for {0} s")]
    Silent(u64),
}
