//! Parts of an artifact, proved against its CID, for whoever does not hold it.
//!
//! A chunk of the file comes with the nodes over it, and counts if they lead to the CID. What a step
//! needs is cut out of chunks; the configuration and the table of sections are in the first.
//! Specified in `docs/spec/audit.md`, section 8.
//!
//! Invariants:
//! - Nothing is read that does not hash to the artifact's name.
//! - At most `CHUNKS_MAX` chunks are held.
//!
//! Not here: where chunks come from.

use std::collections::BTreeMap;
use std::ops::Range;

use engine::artifact::config::Config;
use engine::artifact::{Kind, SECTIONS_MAX};
use store::cid::{CHUNK_SIZE, Cid, Codec};
use store::dag_pb::Node;
use store::leaves::{DEPTH_MAX, Leaves};
use store::unix_fs;

use crate::graph::Graph;
use crate::referee::Part;

/// Chunks of one judgement: the first, two with a section's head and row scales, two with the weights
/// of a group of rows, two with another section's head, and one more for the vocabulary's.
pub const CHUNKS_MAX: usize = 8;

const HEADER_SIZE: usize = 64;
const ENTRY_SIZE: usize = 32;

/// A chunk and the nodes on the way to it, the root first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Its number in the file.
    pub index: u64,
    /// Its bytes.
    pub chunk: Vec<u8>,
    /// The nodes over it; none where the file is one chunk.
    pub nodes: Vec<Vec<u8>>,
}

/// The proven part of an artifact.
#[derive(Clone, Debug)]
pub struct Artifact {
    cid: Cid,
    chunks: BTreeMap<u64, Vec<u8>>,
}

/// Where the sections of an artifact lie, and the graph that its configuration gives: what of its first
/// chunk is kept once it was proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The model's graph.
    pub graph: Graph,
    /// The table of sections.
    pub sections: Vec<Section>,
}

/// A section's place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its kind.
    pub kind: u32,
    /// Its layer.
    pub layer: u32,
    /// Its first byte.
    pub offset: u64,
    /// Its size.
    pub size: u64,
}

/// Why a piece was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// It does not lead to the artifact's name.
    #[error("chunk {index} and its nodes do not lead to the artifact's name")]
    OtherFile {
        /// The chunk.
        index: u64,
    },
    /// As many chunks are held as a judgement needs.
    #[error("{CHUNKS_MAX} chunks are enough for any step")]
    TooMany,
}

impl Piece {
    /// Cuts a chunk out of a file whose table of chunks is known. None where the file has no such chunk.
    #[must_use]
    pub fn cut(leaves: &Leaves, file: &[u8], index: u64) -> Option<Piece> {
        let at = usize::try_from(index).ok().filter(|at| *at < leaves.count())?;
        let range = leaves.range(at);
        let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
        let chunk = file.get(range)?.to_vec();
        let all: BTreeMap<Cid, Vec<u8>> = leaves.nodes().into_iter().collect();
        let (mut cid, mut at, mut nodes) = (leaves.root(), leaves.range(at).start, Vec::new());
        while let Some(block) = all.get(&cid) {
            nodes.push(block.clone());
            cid = below(block, &mut at)?;
        }
        Some(Piece { index, chunk, nodes })
    }

    /// Bytes of the piece.
    #[must_use]
    pub fn size(&self) -> usize {
        self.chunk.len() + self.nodes.iter().map(Vec::len).sum::<usize>()
    }
}

impl Artifact {
    /// Nothing yet of the artifact with this name.
    #[must_use]
    pub fn new(cid: Cid) -> Artifact {
        Artifact { cid, chunks: BTreeMap::new() }
    }

    /// Nothing yet of the artifact that the ledger names so.
    #[must_use]
    pub fn named(cid: &types::id::Cid) -> Option<Artifact> {
        let cid = Cid::from_bytes(&types::codec::encode(cid)).ok()?;
        Some(Artifact::new(cid))
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// When it is not of this artifact, or there are enough.
    pub fn add(&mut self, piece: Piece) -> Result<(), Unproven> {
        if self.chunks.len() >= CHUNKS_MAX && !self.chunks.contains_key(&piece.index) {
            return Err(Unproven::TooMany);
        }
        let index = piece.index;
        let leaf = self.leaf(&piece).ok_or(Unproven::OtherFile { index })?;
        if piece.chunk.len() > CHUNK_SIZE || leaf != Cid::of_block(Codec::Raw, &piece.chunk) {
            return Err(Unproven::OtherFile { index });
        }
        self.chunks.insert(index, piece.chunk);
        Ok(())
    }

    /// The name of the chunk that the nodes lead to.
    fn leaf(&self, piece: &Piece) -> Option<Cid> {
        let mut cid = self.cid;
        let mut at = piece.index.checked_mul(CHUNK_SIZE as u64)?;
        if piece.nodes.len() > DEPTH_MAX {
            return None;
        }
        for block in &piece.nodes {
            if cid.codec() != Codec::DagPb || !cid.is_of(block) {
                return None;
            }
            cid = below(block, &mut at)?;
        }
        (cid.codec() == Codec::Raw && at == 0).then_some(cid)
    }

    /// Bytes of the file; none where a chunk is not there.
    #[must_use]
    pub fn bytes(&self, range: Range<usize>) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(range.len().min(2 * CHUNK_SIZE));
        let mut at = range.start;
        while at < range.end {
            let chunk = self.chunks.get(&((at / CHUNK_SIZE) as u64))?;
            let from = at % CHUNK_SIZE;
            let to = chunk.len().min(from + range.end - at);
            let part = chunk.get(from..to).filter(|part| !part.is_empty())?;
            out.extend_from_slice(part);
            at += part.len();
        }
        Some(out)
    }

    /// Where a section lies: its first byte and its size.
    fn find(&self, kind: Kind, layer: u32) -> Option<(usize, usize)> {
        let count = word(&self.bytes(24..28)?, 0)? as usize;
        let table = self.bytes(HEADER_SIZE..HEADER_SIZE + count.min(SECTIONS_MAX) * ENTRY_SIZE)?;
        let entry = table
            .chunks_exact(ENTRY_SIZE)
            .find(|entry| word(entry, 0) == Some(kind as u32) && word(entry, 4) == Some(layer))?;
        Some((usize::try_from(long(entry, 8)?).ok()?, usize::try_from(long(entry, 16)?).ok()?))
    }

    /// Bytes of a section; none where they are not there, or the section is shorter.
    #[must_use]
    pub fn section(&self, kind: Kind, layer: u32, range: Range<usize>) -> Option<Vec<u8>> {
        let (offset, size) = self.find(kind, layer)?;
        if range.end > size {
            return None;
        }
        self.bytes(offset.checked_add(range.start)?..offset.checked_add(range.end)?)
    }

    /// Numbers of the chunks in which bytes of a section lie, where the first chunk is there.
    #[must_use]
    pub fn chunks_of(&self, kind: Kind, layer: u32, range: Range<usize>) -> Option<Range<u64>> {
        let (offset, _) = self.find(kind, layer)?;
        let (from, to) = (offset.checked_add(range.start)?, offset.checked_add(range.end)?);
        Some((from / CHUNK_SIZE) as u64..(to.div_ceil(CHUNK_SIZE)) as u64)
    }

    /// The graph and the table of sections, where the first chunk is there.
    #[must_use]
    pub fn outline(&self) -> Option<Outline> {
        let count = word(&self.bytes(24..28)?, 0)? as usize;
        if count > SECTIONS_MAX {
            return None;
        }
        let table = self.bytes(HEADER_SIZE..HEADER_SIZE + count * ENTRY_SIZE)?;
        let section = |entry: &[u8]| {
            Some(Section {
                kind: word(entry, 0)?,
                layer: word(entry, 4)?,
                offset: long(entry, 8)?,
                size: long(entry, 16)?,
            })
        };
        let sections = table.chunks_exact(ENTRY_SIZE).map(section).collect::<Option<_>>()?;
        Some(Outline { graph: self.graph()?, sections })
    }

    /// What of a range of the file lies in the chunks that are there: where it begins in the range, and
    /// its bytes. None where nothing does.
    #[must_use]
    pub fn overlap(&self, range: &Range<u64>) -> Option<(u64, Vec<u8>)> {
        self.chunks.iter().find_map(|(index, chunk)| {
            let begin = index.checked_mul(CHUNK_SIZE as u64)?;
            let (from, to) =
                (range.start.max(begin), range.end.min(begin.checked_add(chunk.len() as u64)?));
            let bytes = chunk.get(
                usize::try_from(from.checked_sub(begin)?).ok()?
                    ..usize::try_from(to.checked_sub(begin)?).ok()?,
            )?;
            (from < to).then(|| (from - range.start, bytes.to_vec()))
        })
    }

    /// The model's graph.
    #[must_use]
    pub fn graph(&self) -> Option<Graph> {
        let config = self.section(Kind::Config, 0, 0..128)?;
        let vocabulary = self.section(Kind::Vocabulary, 0, 16..20)?;
        let own = self.find(Kind::Head, 0).is_some();
        Some(Graph {
            config: Config::from_bytes(&config).ok()?,
            head: if own { Kind::Head } else { Kind::Embedding },
            vocabulary: word(&vocabulary, 0)? as usize,
        })
    }
}

impl Outline {
    /// Where in the file a part of a section lies. None where the section has no such part.
    #[must_use]
    pub fn range(&self, part: &Part) -> Option<Range<u64>> {
        let is_it = |it: &&Section| it.kind == part.kind && it.layer as usize == part.layer;
        let section = self.sections.iter().find(is_it)?;
        let (from, to) = (part.from as u64, part.to as u64);
        if from >= to || to > section.size {
            return None;
        }
        Some(section.offset.checked_add(from)?..section.offset.checked_add(to)?)
    }
}

/// The name of what has a byte of the file, among what a node links to; the byte is counted from there
/// then.
fn below(block: &[u8], at: &mut u64) -> Option<Cid> {
    let node = Node::decode(block).ok()?;
    let unix_fs::Kind::File { blocks, .. } = unix_fs::read(&node).ok()? else { return None };
    for (link, size) in node.links.iter().zip(blocks) {
        if *at < size {
            return Some(link.cid);
        }
        *at -= size;
    }
    None
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
}
