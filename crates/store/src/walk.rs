//! Walk from a root to what is below it: directories' entries, paths, and blocks in order.
//!
//! Invariants:
//! - Every block is visited once, so blocks that link to each other's children over and over cost no
//!   more than they are.
//! - A directory lists at most `ENTRY_COUNT_MAX` entries, and its shards are at most
//!   `SHARD_DEPTH_MAX` deep.
//!
//! Not here: files' chunks one by one (`leaves`).

use std::collections::BTreeSet;
use std::ops::Range;

use crate::blobs::StoreError;
use crate::cid::{Cid, Codec};
use crate::dag_pb::{Link, Node, NodeRefusal};
use crate::directory::{ENTRY_COUNT_MAX, is_name};
use crate::index::Index;
use crate::murmur3;
use crate::unix_fs::{Kind, UnixFsRefusal, read, slot};

/// Shards below each other, at most: a byte of the name's hash for each.
pub const SHARD_DEPTH_MAX: usize = 8;
/// Steps of a path, at most.
pub const PATH_COUNT_MAX: usize = 64;
/// Blocks of one walk, at most: the chunks of 1 TiB twice over.
pub const BLOCK_COUNT_MAX: usize = 1 << 21;
/// Blocks seen and links not followed yet, at most: a file of 1 TiB whose chunks are all the same has
/// half as many.
pub const WAITING_COUNT_MAX: usize = 2 * BLOCK_COUNT_MAX;

/// Why a walk ended early.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A block is no node.
    #[error("{cid}: {source}")]
    Node {
        /// The block.
        cid: Cid,
        /// What is wrong.
        source: NodeRefusal,
    },
    /// A node is not UnixFS.
    #[error("{cid}: {source}")]
    UnixFs {
        /// The block.
        cid: Cid,
        /// What is wrong.
        source: UnixFsRefusal,
    },
    /// It is no directory.
    #[error("{cid} is no directory")]
    NotADirectory {
        /// The block.
        cid: Cid,
    },
    /// A directory's entry has a name that would lead elsewhere.
    #[error("{cid} has an entry {name:?}, which is no name")]
    Name {
        /// The directory.
        cid: Cid,
        /// The name.
        name: String,
    },
    /// Two entries of a directory have the same name.
    #[error("{cid} has two entries {name:?}")]
    Twice {
        /// The directory.
        cid: Cid,
        /// The name.
        name: String,
    },
    /// Nothing has this name.
    #[error("{cid} has no entry {name:?}")]
    NoEntry {
        /// The directory.
        cid: Cid,
        /// The name.
        name: String,
    },
    /// A limit was reached.
    #[error("{cid}: {what}")]
    Limit {
        /// The root.
        cid: Cid,
        /// Which limit.
        what: &'static str,
    },
}

/// How much of what is below a root is walked.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// The root's block alone.
    Block,
    /// A file whole, or the bytes in the range; of a directory its own blocks.
    Entity(Option<Range<u64>>),
    /// Everything.
    #[default]
    All,
}

/// Reads a node and what it is; `None` where it is not here.
fn node(index: &Index, cid: &Cid) -> Result<Option<(Node, Kind)>, WalkError> {
    index.block(cid)?.map(|block| decode(cid, &block)).transpose()
}

/// Reads a node's block and what it is.
///
/// # Errors
///
/// When it is no node, or not UnixFS.
pub fn decode(cid: &Cid, block: &[u8]) -> Result<(Node, Kind), WalkError> {
    let node = Node::decode(block).map_err(|source| WalkError::Node { cid: *cid, source })?;
    let kind = read(&node).map_err(|source| WalkError::UnixFs { cid: *cid, source })?;
    Ok((node, kind))
}

fn missing(cid: &Cid) -> WalkError {
    StoreError::Missing { cid: *cid }.into()
}

/// Whether a root is a directory that is here.
///
/// # Errors
///
/// When it cannot be read.
pub fn is_directory(index: &Index, cid: &Cid) -> Result<bool, WalkError> {
    if cid.codec() == Codec::Raw {
        return Ok(false);
    }
    Ok(matches!(node(index, cid)?, Some((_, Kind::Directory | Kind::Shard))))
}

/// The entries of a directory by name, in the order of its blocks.
///
/// # Errors
///
/// When it is no directory, is not here whole, or has names that lead elsewhere.
pub fn entries(index: &Index, root: &Cid) -> Result<Vec<Link>, WalkError> {
    let mut entries = Vec::new();
    let mut left = vec![(*root, 0)];
    while let Some((cid, depth)) = left.pop() {
        let (node, kind) = match cid.codec() {
            Codec::Raw => return Err(WalkError::NotADirectory { cid }),
            Codec::DagPb => node(index, &cid)?.ok_or_else(|| missing(&cid))?,
        };
        match kind {
            Kind::Directory if depth == 0 => entries.extend(node.links),
            Kind::Shard if depth < SHARD_DEPTH_MAX => {
                for link in node.links {
                    match slot(&link) {
                        Some((_, [])) => left.push((link.cid, depth + 1)),
                        Some((_, name)) => entries.push(Link { name: name.to_vec(), ..link }),
                        None => return Err(WalkError::NotADirectory { cid }),
                    }
                }
            }
            Kind::Shard => return Err(limit(root, "its shards are too deep")),
            _ => return Err(WalkError::NotADirectory { cid }),
        }
        if entries.len().saturating_add(left.len()) > ENTRY_COUNT_MAX {
            return Err(limit(root, "it has too many entries"));
        }
    }
    if let Some(link) = entries.iter().find(|link| !is_name(&link.name)) {
        let name = String::from_utf8_lossy(&link.name).into_owned();
        return Err(WalkError::Name { cid: *root, name });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let twice = entries.array_windows().find(|[a, b]| a.name == b.name);
    if let Some([link, _]) = twice {
        let name = String::from_utf8_lossy(&link.name).into_owned();
        return Err(WalkError::Twice { cid: *root, name });
    }
    Ok(entries)
}

fn limit(cid: &Cid, what: &'static str) -> WalkError {
    WalkError::Limit { cid: *cid, what }
}

/// Where a path leads, and the nodes on the way, the root first, what it leads to left out.
///
/// # Errors
///
/// When there is no such entry, or a node on the way is not here.
pub fn resolve(index: &Index, root: &Cid, path: &[Vec<u8>]) -> Result<(Cid, Vec<Cid>), WalkError> {
    if path.len() > PATH_COUNT_MAX {
        return Err(limit(root, "the path has too many steps"));
    }
    let (mut at, mut way) = (*root, Vec::new());
    for name in path {
        at = step(index, &at, name, &mut way)?;
    }
    Ok((at, way))
}

fn step(index: &Index, from: &Cid, name: &[u8], way: &mut Vec<Cid>) -> Result<Cid, WalkError> {
    let none =
        || WalkError::NoEntry { cid: *from, name: String::from_utf8_lossy(name).into_owned() };
    if !is_name(name) {
        return Err(none());
    }
    let hash = murmur3::hash(name);
    let mut at = *from;
    for byte in hash {
        if at.codec() == Codec::Raw {
            return Err(WalkError::NotADirectory { cid: at });
        }
        let (node, kind) = node(index, &at)?.ok_or_else(|| missing(&at))?;
        way.push(at);
        match kind {
            Kind::Directory => {
                let found = node.links.iter().find(|link| link.name == name);
                return found.map(|link| link.cid).ok_or_else(none);
            }
            Kind::Shard => {
                let mut found = node.links.iter().filter(|link| match slot(link) {
                    Some((slot, below)) => slot == byte && (below.is_empty() || below == name),
                    None => false,
                });
                let link = found.next().ok_or_else(none)?;
                at = link.cid;
                if link.name.len() > 2 {
                    return Ok(at);
                }
            }
            _ => return Err(WalkError::NotADirectory { cid: at }),
        }
    }
    Err(none())
}

/// Hands out the blocks at and below a root, parents before their children, children in order, each
/// once.
///
/// # Errors
///
/// When a block is not here or no node, and whatever `visit` says.
pub fn blocks<E: From<WalkError>>(
    index: &Index,
    root: &Cid,
    scope: &Scope,
    mut visit: impl FnMut(&Cid, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let range = match scope {
        Scope::Entity(range) => range.clone().unwrap_or(0..u64::MAX),
        Scope::Block | Scope::All => 0..u64::MAX,
    };
    let (mut seen, mut entered) = (BTreeSet::new(), BTreeSet::new());
    // What is left, the next one last, and where its bytes begin if it is of a file.
    let mut left = vec![(*root, 0u64)];
    while let Some((cid, start)) = left.pop() {
        let is_new = seen.insert(cid);
        // The same piece of a file may be in the range at one place and out of it at another.
        let is_part = matches!(scope, Scope::Entity(Some(_))) && entered.insert((cid, start));
        if !is_new && !is_part {
            continue;
        }
        if seen.len().max(entered.len()) > BLOCK_COUNT_MAX {
            return Err(limit(root, "it has too many blocks").into());
        }
        let block = index.block(&cid).map_err(WalkError::from)?.ok_or_else(|| missing(&cid))?;
        if is_new {
            visit(&cid, &block)?;
        }
        if cid.codec() == Codec::Raw || *scope == Scope::Block {
            continue;
        }
        let (node, kind) = decode(&cid, &block)?;
        let below = below(&node, &kind, (scope, start), &range);
        // Protects the memory for names that nobody may have blocks for.
        if seen.len().saturating_add(left.len()).saturating_add(below.len()) > WAITING_COUNT_MAX {
            return Err(limit(root, "it has too many links").into());
        }
        left.extend(below.into_iter().rev());
    }
    Ok(())
}

/// The children to visit, and where their bytes begin.
fn below(
    node: &Node,
    kind: &Kind,
    (scope, start): (&Scope, u64),
    range: &Range<u64>,
) -> Vec<(Cid, u64)> {
    let whole = *scope == Scope::All;
    match kind {
        Kind::File { blocks, .. } => {
            let mut at = start;
            let mut children = Vec::new();
            for (link, size) in node.links.iter().zip(blocks) {
                let end = at.saturating_add(*size);
                if at < range.end && end > range.start {
                    children.push((link.cid, at));
                }
                at = end;
            }
            children
        }
        Kind::Shard => {
            let shard = |link: &&Link| matches!(slot(link), Some((_, [])));
            let children = node.links.iter().filter(|link| whole || shard(link));
            children.map(|link| (link.cid, 0)).collect()
        }
        Kind::Directory if whole => node.links.iter().map(|link| (link.cid, 0)).collect(),
        Kind::Directory | Kind::Symlink(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
