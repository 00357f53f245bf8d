//! Write and read archives of blocks: CARv1.
//!
//! Specified in <https://ipld.io/specs/transport/car/carv1/>: a length and a header in DAG-CBOR, then
//! for each block a length, its CID and its bytes.
//!
//! Invariants:
//! - What is written lists parents before their children, children in order, and each block once.
//! - What is read is hashed before it is kept; a file or a directory is kept whole or not at all, and
//!   a directory only after what is in it.
//! - Nothing is allocated by a length that the archive states beyond `SECTION_SIZE_MAX`.
//!
//! Not here: CARv2, and archives whose blocks have other names than `cid` keeps.

mod header;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use crate::blobs::{Blobs, StoreError};
use crate::cid::{CID_SIZE, Cid, CidRefusal, Codec};
use crate::dag_pb::BLOCK_SIZE_MAX;
use crate::index::Index;
use crate::leaves::{Gathering, Leaves, LeavesRefusal};
use crate::protobuf::put_varint;
use crate::unix_fs::{Kind, slot};
use crate::walk::{self, BLOCK_COUNT_MAX, Scope, WAITING_COUNT_MAX, WalkError};

pub use header::{HEADER_SIZE_MAX, HeaderRefusal, ROOT_COUNT_MAX};

/// Bytes of a block with its name, at most.
pub const SECTION_SIZE_MAX: u64 = (CID_SIZE + BLOCK_SIZE_MAX) as u64;

/// Why an archive was not written or read to its end.
#[derive(Debug, thiserror::Error)]
pub enum CarError {
    /// The archive cannot be read or written.
    #[error("the archive cannot be read or written")]
    Io(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is to be written, or was read, does not hang together.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The header is none.
    #[error(transparent)]
    Header(#[from] HeaderRefusal),
    /// A block is larger than any that is carried, or shorter than its name.
    #[error("at byte {at}: a block of {size} bytes")]
    Section {
        /// Where in the archive.
        at: u64,
        /// Bytes of the block with its name.
        size: u64,
    },
    /// A length is no number.
    #[error("at byte {at}: a length that is no number")]
    Length {
        /// Where in the archive.
        at: u64,
    },
    /// The archive ends within a block.
    #[error("at byte {at}: the archive ends within a block")]
    Short {
        /// Where in the archive.
        at: u64,
    },
    /// A block has a name that is not kept here.
    #[error("at byte {at}: {source}")]
    Name {
        /// Where in the archive.
        at: u64,
        /// What is wrong.
        source: CidRefusal,
    },
    /// A block's bytes are others than its name says.
    #[error("at byte {at}: the block is not {cid}")]
    Mismatch {
        /// Where in the archive.
        at: u64,
        /// The name that the block is given.
        cid: Cid,
    },
    /// Too many blocks.
    #[error("an archive has at most {BLOCK_COUNT_MAX} blocks")]
    TooMany,
    /// A block that the roots need is neither in the archive nor here.
    #[error("the archive lacks the block {cid}")]
    Lacks {
        /// The block.
        cid: Cid,
    },
    /// A file is not laid out as files are here.
    #[error(transparent)]
    Leaves(#[from] LeavesRefusal),
    /// The files would take more room than there is.
    #[error("the files take {needed} bytes, and {room} are left")]
    Room {
        /// Bytes of the files.
        needed: u64,
        /// Bytes that may be taken.
        room: u64,
    },
}

/// What an archive brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// What the archive was made of.
    pub roots: Vec<Cid>,
    /// Files that were not here before.
    pub files: usize,
    /// Bytes of those files.
    pub bytes: u64,
    /// Blocks of directories.
    pub nodes: usize,
    /// Blocks that no root leads to; they are not kept.
    pub unused: usize,
}

/// Writes what is at and below a root. A block that is missing ends it in the middle, which the
/// reader must notice.
///
/// # Errors
///
/// When a block is not here, or `out` fails.
pub fn export(
    index: &Index,
    root: &Cid,
    scope: &Scope,
    out: &mut impl Write,
) -> Result<(), CarError> {
    export_from(index, root, &[], scope, out)
}

/// Writes the nodes on the way from `way`'s first to a root, and what is at and below the root. The
/// archive's root is the way's first.
///
/// # Errors
///
/// When a block is not here, or `out` fails.
pub fn export_from(
    index: &Index,
    root: &Cid,
    way: &[Cid],
    scope: &Scope,
    out: &mut impl Write,
) -> Result<(), CarError> {
    let header = header::encode(&[*way.first().unwrap_or(root)]);
    let mut head = Vec::new();
    put_varint(&mut head, header.len() as u64);
    out.write_all(&head)?;
    out.write_all(&header)?;
    for cid in way {
        let block = index.block(cid)?.ok_or(CarError::Lacks { cid: *cid })?;
        section(cid, &block, out)?;
    }
    walk::blocks(index, root, scope, |cid, block| {
        if way.contains(cid) { Ok(()) } else { section(cid, block, out) }
    })
}

fn section(cid: &Cid, block: &[u8], out: &mut impl Write) -> Result<(), CarError> {
    let mut head = Vec::new();
    put_varint(&mut head, (CID_SIZE + block.len()) as u64);
    head.extend(cid.to_bytes());
    out.write_all(&head)?;
    out.write_all(block)?;
    Ok(())
}

/// Takes in the files and directories that an archive's roots lead to. `room` is how many bytes they
/// may take.
///
/// # Errors
///
/// When the archive is none, a block is not what its name says, or something that a root leads to is
/// neither in it nor here. Files that are whole by then stay; no directory does.
pub fn import(
    blobs: &Blobs,
    archive: &mut (impl Read + Seek),
    room: u64,
) -> Result<Imported, CarError> {
    let (roots, places) = scan(archive)?;
    let mut reader = Reader { archive, places, blobs };
    let plan = reader.plan(&roots, room)?;
    let mut done = Imported { roots, nodes: plan.nodes.len(), ..Imported::default() };
    done.unused = reader.places.len().saturating_sub(plan.used.len());
    for root in &plan.files {
        if !blobs.contains(root) {
            let size = reader.keep(root)?;
            (done.files, done.bytes) = (done.files + 1, done.bytes + size);
        }
    }
    // Children before their parents.
    for cid in plan.nodes.iter().rev() {
        let block = reader.block(cid)?.ok_or(CarError::Lacks { cid: *cid })?;
        blobs.put_node(cid, &block)?;
    }
    Ok(done)
}

/// Where blocks are in an archive: their first byte and size.
type Places = BTreeMap<Cid, (u64, usize)>;

/// Reads the archive once, checks every block's hash, and notes where it is.
fn scan(archive: &mut (impl Read + Seek)) -> Result<(Vec<Cid>, Places), CarError> {
    archive.seek(SeekFrom::Start(0))?;
    let mut input = Counted { input: BufReader::with_capacity(1 << 18, archive), at: 0 };
    let size = input.length()?.ok_or(CarError::Short { at: 0 })?;
    if size > HEADER_SIZE_MAX {
        return Err(HeaderRefusal::TooLarge { size }.into());
    }
    let roots = header::decode(&input.bytes(size)?)?;
    let mut places = Places::new();
    loop {
        let start = input.at;
        let Some(size) = input.length()? else { return Ok((roots, places)) };
        // Protects the buffer, and the two reads below.
        if size > SECTION_SIZE_MAX || size < CID_SIZE as u64 {
            return Err(CarError::Section { at: start, size });
        }
        let name = input.bytes(CID_SIZE as u64)?;
        let cid = Cid::from_bytes(&name).map_err(|source| CarError::Name { at: start, source })?;
        let at = input.at;
        let block = input.bytes(size - CID_SIZE as u64)?;
        if !cid.is_of(&block) {
            return Err(CarError::Mismatch { at: start, cid });
        }
        places.insert(cid, (at, block.len()));
        if places.len() > BLOCK_COUNT_MAX {
            return Err(CarError::TooMany);
        }
    }
}

struct Counted<R> {
    input: R,
    at: u64,
}

impl<R: Read> Counted<R> {
    /// The next length; `None` at the end.
    fn length(&mut self) -> Result<Option<u64>, CarError> {
        let start = self.at;
        let mut number = 0u64;
        for index in 0..10 {
            let mut byte = [0];
            match self.input.read_exact(&mut byte) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return if index == 0 { Ok(None) } else { Err(CarError::Short { at: start }) };
                }
                read => read?,
            }
            self.at += 1;
            let [byte] = byte;
            if index == 9 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Some(number));
            }
        }
        Err(CarError::Length { at: start })
    }

    /// The next bytes, of which there must be so many; the caller has bounded the number.
    fn bytes(&mut self, size: u64) -> Result<Vec<u8>, CarError> {
        let mut bytes = Vec::new();
        (&mut self.input).take(size).read_to_end(&mut bytes)?;
        let start = self.at;
        self.at += bytes.len() as u64;
        if bytes.len() as u64 == size { Ok(bytes) } else { Err(CarError::Short { at: start }) }
    }
}

struct Reader<'a, A> {
    archive: &'a mut A,
    places: Places,
    blobs: &'a Blobs,
}

/// What the roots lead to.
#[derive(Default)]
struct Plan {
    /// Files that are not here yet. Their tables are made again when it is their turn: a small archive
    /// can name many files of 1 TiB, and a table takes 32 MiB.
    files: Vec<Cid>,
    /// Blocks of directories, parents before their children.
    nodes: Vec<Cid>,
    /// Blocks of the archive that are used.
    used: BTreeSet<Cid>,
    bytes: u64,
}

impl<A: Read + Seek> Reader<'_, A> {
    /// A block of the archive; its hash was checked, and is again, since the archive may have changed.
    fn block(&mut self, cid: &Cid) -> Result<Option<Vec<u8>>, CarError> {
        let Some((at, size)) = self.places.get(cid).copied() else { return Ok(None) };
        self.archive.seek(SeekFrom::Start(at))?;
        let mut block = vec![0; size];
        self.archive.read_exact(&mut block)?;
        if cid.is_of(&block) { Ok(Some(block)) } else { Err(CarError::Mismatch { at, cid: *cid }) }
    }

    /// Walks from the roots, each block once.
    fn plan(&mut self, roots: &[Cid], room: u64) -> Result<Plan, CarError> {
        let mut plan = Plan::default();
        let mut seen = BTreeSet::new();
        let mut left: Vec<Cid> = roots.iter().rev().copied().collect();
        while let Some(cid) = left.pop() {
            if !seen.insert(cid) || self.blobs.contains(&cid) {
                continue;
            }
            let Some(block) = self.block(&cid)? else {
                if self.blobs.has_node(&cid) {
                    continue;
                }
                return Err(CarError::Lacks { cid });
            };
            plan.used.insert(cid);
            if cid.codec() == Codec::DagPb {
                let (node, kind) = walk::decode(&cid, &block)?;
                match kind {
                    Kind::File { .. } => {}
                    Kind::Directory | Kind::Symlink(_) | Kind::Shard => {
                        let shard = kind == Kind::Shard;
                        let named = |link| !shard || slot(link).is_some();
                        let links = node.links.iter().filter(|link| named(link));
                        left.extend(links.map(|link| link.cid).rev());
                        // Protects the memory for names that no block of the archive has.
                        if seen.len().saturating_add(left.len()) > WAITING_COUNT_MAX {
                            return Err(CarError::TooMany);
                        }
                        plan.nodes.push(cid);
                        continue;
                    }
                }
            }
            let leaves = self.gather(cid, &block)?;
            self.use_leaves(&leaves, &mut plan)?;
            plan.bytes = plan.bytes.saturating_add(leaves.size());
            // At once, so that no time goes into counting up what is refused in any case.
            if plan.bytes > room {
                return Err(CarError::Room { needed: plan.bytes, room });
            }
            plan.files.push(cid);
        }
        Ok(plan)
    }

    /// The table of a file, whose root's block is given.
    fn gather(&mut self, cid: Cid, block: &[u8]) -> Result<Leaves, CarError> {
        let mut gathering = Gathering::begin(cid, block)?;
        while let Some(wanted) = gathering.wanted() {
            let block = self.block(&wanted)?.ok_or(CarError::Lacks { cid: wanted })?;
            gathering.take(&block)?;
        }
        Ok(gathering.finish()?)
    }

    /// Notes that a file's blocks are used, and that they are there.
    fn use_leaves(&self, leaves: &Leaves, plan: &mut Plan) -> Result<(), CarError> {
        plan.used.extend(leaves.nodes().iter().map(|(cid, _)| *cid));
        for leaf in leaves.iter() {
            if !self.places.contains_key(&leaf) {
                return Err(CarError::Lacks { cid: leaf });
            }
            plan.used.insert(leaf);
        }
        Ok(())
    }

    /// Keeps a file of which every chunk is in the archive; gives its size.
    fn keep(&mut self, root: &Cid) -> Result<u64, CarError> {
        let block = self.block(root)?.ok_or(CarError::Lacks { cid: *root })?;
        let leaves = self.gather(*root, &block)?;
        let mut blob = self.blobs.begin()?;
        for (index, leaf) in leaves.iter().enumerate() {
            let block = self.block(&leaf)?.ok_or(CarError::Lacks { cid: leaf })?;
            let range = leaves.range(index);
            // Nodes can name a chunk of another size than they say.
            if block.len() as u64 != range.end - range.start {
                let what = "chunks of other sizes";
                return Err(LeavesRefusal::OtherLayout { cid: *root, what }.into());
            }
            blob.write_all(&block)?;
        }
        let got = blob.commit()?;
        debug_assert_eq!(got, *root, "the chunks and their sizes make the name");
        Ok(leaves.size())
    }
}

#[cfg(test)]
mod tests;
