//! Canonical bytes of keys and openings, as files have them.
//!
//! Specified in `docs/spec/audit.md`, section 9.1.
//!
//! Invariants:
//! - Bytes that are read give a value whose bytes are the same.
//! - What is allocated is at most some times what the bytes are, and nothing makes it panic.
//!
//! Not here: whether what an opening says is right (`light::check`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use engine::artifact::Kind;
use engine::artifact::config::Config;
use merkle::{Digest, PATH_MAX};

use super::key::{Factor, Key, MatrixId, matrices, norms};
use super::sums::{Held, Sums};
use super::{Opening, field};
use crate::commitment::{self, TOKENS_MAX};
use crate::graph::Graph;
use crate::step::{HEAD, matrix_head};

/// Bytes of a key, at most: 8 for each column of each matrix, and scales; a model of 512 layers has
/// a tenth of it.
pub const KEY_SIZE_MAX: usize = 1 << 28;
/// Bytes of an opening, at most: the key and value heads of 8,000 positions of a model of 30 layers
/// have 190 MB.
pub const OPENING_SIZE_MAX: usize = 1 << 28;
/// Bytes of a name of an artifact.
const CID_SIZE: usize = 36;
const KEY_TAG: &[u8] = b"mashaa/audit/key/v1";
const OPENING_TAG: &[u8] = b"mashaa/audit/opening/v1";

/// A key and the artifact that it is made of.
#[derive(Clone, Debug)]
pub struct NamedKey {
    /// The artifact's CID.
    pub artifact: [u8; CID_SIZE],
    /// The key.
    pub key: Key,
}

/// An opening and what it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The receipt's id.
    pub receipt: Digest,
    /// The answer's root, which the receipt has blinded.
    pub root: Digest,
    /// Where the position stands in it; none where no token of the answer follows.
    pub place: Option<commitment::Opening>,
    /// The opening.
    pub opening: Opening,
}

/// Why bytes are no key or no opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// They do not begin as these bytes do.
    #[error("it begins otherwise")]
    Tag,
    /// They end too early.
    #[error("it is cut short")]
    Short,
    /// Others follow.
    #[error("{left} bytes follow its end")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A field has a value that it cannot have.
    #[error("its {field} cannot be so")]
    Field {
        /// The field.
        field: &'static str,
    },
}

impl NamedKey {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Key { graph, beacon, sections, factors, embedding, .. } = &self.key;
        let mut out = [KEY_TAG, &self.artifact, beacon].concat();
        // At most 2^20 tokens and 2^14 sections.
        write(graph.head as u32, &mut out);
        write(graph.vocabulary as u32, &mut out);
        write(sections.len() as u32, &mut out);
        for ((kind, layer), bytes) in sections {
            write(*kind as u32, &mut out);
            write(*layer as u32, &mut out);
            write_bytes(bytes, &mut out);
        }
        out.extend_from_slice(embedding);
        let columns = factors.values().flat_map(|it| &it.columns);
        columns.for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
        out
    }

    /// Reads a key, and makes its random rows from the beacon again.
    ///
    /// # Errors
    /// When the bytes are no key.
    pub fn decode(bytes: &[u8]) -> Result<NamedKey, Unreadable> {
        let mut reader = Reader::new(bytes, KEY_TAG)?;
        let artifact = reader.array()?;
        let beacon = reader.array()?;
        let head = match reader.word()? {
            it if it == Kind::Embedding as u32 => Kind::Embedding,
            it if it == Kind::Head as u32 => Kind::Head,
            _ => return Err(Unreadable::Field { field: "head" }),
        };
        let vocabulary = reader.word()? as usize;
        let sections = sections(&mut reader)?;
        let config = sections.get(&(Kind::Config, 0)).and_then(|it| Config::from_bytes(it).ok());
        let config = config.ok_or(Unreadable::Field { field: "configuration" })?;
        if vocabulary == 0 || vocabulary > config.vocabulary {
            return Err(Unreadable::Field { field: "vocabulary" });
        }
        let graph = Graph { config, head, vocabulary };
        let embedding = reader.array()?;
        let factors = factors(&mut reader, &graph, &sections, &beacon)?;
        let norms = norms(&graph, &sections).ok_or(Unreadable::Field { field: "norms" })?;
        reader.finish()?;
        let table = sections.get(&(Kind::Embedding, 0));
        let layout = table.and_then(|it| matrix_head(&graph, Kind::Embedding, it));
        let groups = layout.ok_or(Unreadable::Field { field: "embedding" })?.0;
        let groups = (groups.rows_padded() / engine::artifact::matrix::GROUP) as u64;
        let key = Key { graph, beacon, sections, factors, norms, embedding, groups };
        Ok(NamedKey { artifact, key })
    }
}

/// Sections, ascending, of which matrices have a head and row scales.
fn sections(reader: &mut Reader<'_>) -> Result<BTreeMap<MatrixId, Vec<u8>>, Unreadable> {
    const WRONG: Unreadable = Unreadable::Field { field: "sections" };
    let mut sections = BTreeMap::new();
    for _ in 0..reader.count(12)? {
        let kind = reader.word()?;
        let kind = Kind::ALL.into_iter().find(|it| *it as u32 == kind).ok_or(WRONG)?;
        let id = (kind, reader.word()? as usize);
        if sections.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(WRONG);
        }
        sections.insert(id, reader.list()?);
    }
    Ok(sections)
}

/// Every matrix that multiplies, ascending.
fn factors(
    reader: &mut Reader<'_>,
    graph: &Graph,
    sections: &BTreeMap<MatrixId, Vec<u8>>,
    beacon: &Digest,
) -> Result<BTreeMap<MatrixId, Factor>, Unreadable> {
    const WRONG: Unreadable = Unreadable::Field { field: "matrices" };
    let mut ids = matrices(graph);
    ids.sort_unstable();
    let mut factors = BTreeMap::new();
    for id in ids {
        let section = sections.get(&id).ok_or(WRONG)?;
        let (layout, exponent) = matrix_head(graph, id.0, section).ok_or(WRONG)?;
        // So that no more random numbers are made than the bytes have scales.
        if section.len() != HEAD + 4 * layout.rows_padded() {
            return Err(WRONG);
        }
        let scales = section[HEAD..].as_chunks::<4>().0;
        if scales.iter().fold(0, |bits, scale| bits | i32::from_le_bytes(*scale)) < 0 {
            return Err(WRONG);
        }
        let bytes = reader.bytes(8 * layout.columns)?.as_chunks::<8>().0;
        let columns: Vec<u64> = bytes.iter().map(|it| u64::from_le_bytes(*it)).collect();
        if columns.iter().any(|number| *number >= field::PRIME) {
            return Err(WRONG);
        }
        let random = field::random_rows(beacon, id, layout.rows);
        factors.insert(id, Factor { layout, exponent, random, columns });
    }
    Ok(factors)
}

impl Opened {
    /// The bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Opening { position, embedding, embedding_path, past, sums } = &self.opening;
        let mut out = [OPENING_TAG, &self.receipt, &self.root].concat();
        out.push(u8::from(self.place.is_some()));
        if let Some(place) = &self.place {
            write(place.index, &mut out);
            write(place.count, &mut out);
            write_path(&place.path, &mut out);
        }
        // No list has 2^32 elements: an opening is at most `OPENING_SIZE_MAX`.
        write(*position as u32, &mut out);
        write_bytes(embedding, &mut out);
        write_path(embedding_path, &mut out);
        write(past.len() as u32, &mut out);
        past.iter().for_each(|heads| write_bytes(heads, &mut out));
        write(sums.len() as u32, &mut out);
        for sums in sums {
            let sums = sums.to_vec();
            let width = width(&sums);
            write(sums.len() as u32, &mut out);
            out.push(width as u8);
            sums.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()[..width]));
        }
        out
    }

    /// Reads an opening.
    ///
    /// # Errors
    /// When the bytes are no opening.
    pub fn decode(bytes: &[u8]) -> Result<Opened, Unreadable> {
        let mut reader = Reader::new(bytes, OPENING_TAG)?;
        let (receipt, root) = (reader.array()?, reader.array()?);
        let place = match reader.array()? {
            [0] => None,
            [1] => {
                let (index, count) = (reader.word()?, reader.word()?);
                if index >= count || count as usize > TOKENS_MAX {
                    return Err(Unreadable::Field { field: "place in the answer" });
                }
                Some(commitment::Opening { index, count, path: reader.path()? })
            }
            _ => return Err(Unreadable::Field { field: "place in the answer" }),
        };
        let position = reader.word()? as usize;
        let (embedding, embedding_path) = (reader.list()?, reader.path()?);
        let past = (0..reader.count(4)?).map(|_| reader.list()).collect::<Result<_, _>>()?;
        let sums = (0..reader.count(5)?).map(|_| reader.sums()).collect::<Result<_, _>>()?;
        reader.finish()?;
        let opening = Opening { position, embedding, embedding_path, past, sums };
        Ok(Opened { receipt, root, place, opening })
    }
}

/// The fewest bytes, at least one, in which every sum of a product fits with its sign.
fn width<T: Copy + Into<i64>>(sums: &[T]) -> usize {
    // What a number and its complement have in common but for the sign.
    let any = sums.iter().fold(0, |any, &sum| any | (sum.into() ^ (sum.into() >> 63)));
    (65 - any.leading_zeros() as usize).div_ceil(8)
}

/// Sums of at most 4 bytes each.
fn short<const SIZE: usize>(bytes: &[u8]) -> Sums {
    let unused = 32 - 8 * SIZE as u32;
    let sum = |bytes: &[u8; SIZE]| {
        let mut all = [0; 4];
        all[..SIZE].copy_from_slice(bytes);
        (i32::from_le_bytes(all) << unused) >> unused
    };
    Sums(Held::Short(bytes.as_chunks::<SIZE>().0.iter().map(sum).collect()))
}

/// A sum of at most 8 bytes.
fn wide(bytes: &[u8]) -> i64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    let unused = 64 - 8 * bytes.len();
    (i64::from_le_bytes(all) << unused) >> unused
}

fn write(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write(bytes.len() as u32, out);
    out.extend_from_slice(bytes);
}

fn write_path(path: &[Digest], out: &mut Vec<u8>) {
    write(path.len() as u32, out);
    path.iter().for_each(|digest| out.extend_from_slice(digest));
}

/// Bytes that are still to be read.
struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8], tag: &[u8]) -> Result<Reader<'a>, Unreadable> {
        let left = bytes.strip_prefix(tag).ok_or(Unreadable::Tag)?;
        Ok(Reader { left })
    }

    fn bytes(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (bytes, left) = self.left.split_at_checked(count).ok_or(Unreadable::Short)?;
        self.left = left;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (array, left) = self.left.split_first_chunk::<N>().ok_or(Unreadable::Short)?;
        self.left = left;
        Ok(*array)
    }

    fn word(&mut self) -> Result<u32, Unreadable> {
        self.array().map(u32::from_le_bytes)
    }

    /// How many elements follow, each of at least so many bytes.
    fn count(&mut self, size_min: usize) -> Result<usize, Unreadable> {
        let count = self.word()? as usize;
        let fits = count <= self.left.len() / size_min;
        fits.then_some(count).ok_or(Unreadable::Short)
    }

    fn list(&mut self) -> Result<Vec<u8>, Unreadable> {
        let count = self.word()? as usize;
        Ok(self.bytes(count)?.to_vec())
    }

    fn path(&mut self) -> Result<Vec<Digest>, Unreadable> {
        let count = self.word()? as usize;
        if count > PATH_MAX {
            return Err(Unreadable::Field { field: "path" });
        }
        (0..count).map(|_| self.array()).collect()
    }

    fn sums(&mut self) -> Result<Sums, Unreadable> {
        let count = self.word()? as usize;
        let [size] = self.array()?;
        let size = usize::from(size);
        let bytes = self.bytes(count.checked_mul(size).ok_or(Unreadable::Short)?)?;
        let sums = match size {
            1 => short::<1>(bytes),
            2 => short::<2>(bytes),
            3 => short::<3>(bytes),
            4 => short::<4>(bytes),
            5..=8 => bytes.chunks_exact(size).map(wide).collect::<Vec<i64>>().into(),
            _ => return Err(Unreadable::Field { field: "width of sums" }),
        };
        let least = match &sums.0 {
            Held::Short(sums) => width(sums),
            Held::Wide(sums) => width(sums),
        };
        (least == size).then_some(sums).ok_or(Unreadable::Field { field: "width of sums" })
    }

    fn finish(self) -> Result<(), Unreadable> {
        let left = self.left.len();
        if left == 0 { Ok(()) } else { Err(Unreadable::Trailing { left }) }
    }
}
