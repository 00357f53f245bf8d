//! The artifact: a model in canonical integer form, laid out to be mapped and used in place.
//!
//! One file holds the configuration, the vocabulary, the chat template, the licence, the tables and
//! the weights. Equal inputs give equal bytes, and the file's CID is the model's id. The byte tables
//! are in `docs/spec/artifact.md`.
//!
//! Invariants:
//! - A directory that was read has every section inside the file, in ascending order, without
//!   overlap, with zeros between; lookups after that cannot leave the file.
//!
//! Not here: what the sections mean to the computation (`model`), and how they are made (`import`).

use alloc::string::String;
use alloc::vec::Vec;

pub mod config;
pub mod matrix;
pub mod pack;
pub mod strings;
pub mod vector;
pub mod writer;

/// First bytes of an artifact.
pub const MAGIC: [u8; 8] = *b"MASHAA\r\n";
/// Version of the container's layout.
pub const VERSION: u32 = 2;
/// Number of the numeric profile `int-1`.
pub const PROFILE: u32 = 1;
/// Name of the numeric profile.
pub const PROFILE_NAME: &str = "int-1";
/// Sections start at multiples of this, so that no row of weights straddles a cache line needlessly.
pub const ALIGNMENT: usize = 64;
/// Sections in an artifact, at most: 16 for each of 512 layers, and the globals.
pub const SECTIONS_MAX: usize = 8_224;
/// Bytes that have the header and the section table of any artifact.
pub const FIRST_SIZE_MAX: usize = HEADER_SIZE + SECTIONS_MAX * ENTRY_SIZE;

const HEADER_SIZE: usize = 64;
const ENTRY_SIZE: usize = 32;

/// What a section holds. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Kind {
    /// The model's shape and constants.
    Config = 1,
    /// Names and texts: model name, licence, chat template.
    Strings = 2,
    /// The vocabulary.
    Vocabulary = 3,
    /// Rotary steps of layers that see the whole context.
    RopeGlobal = 4,
    /// Rotary steps of layers with a sliding window.
    RopeLocal = 5,
    /// One row a token.
    Embedding = 16,
    /// Norm before the head.
    OutputNorm = 17,
    /// One row a token; absent where the embedding serves as the head.
    Head = 18,
    /// One row a position, of an encoder.
    Positions = 19,
    /// What the type of the only text adds to each row, of an encoder.
    TokenType = 20,
    /// Norm of the embedding, of an encoder.
    EmbeddingNorm = 21,
    /// Its bias.
    EmbeddingNormBias = 22,
    /// Norm before attention; of an encoder, after it.
    AttentionNorm = 32,
    /// Query projection.
    Query = 33,
    /// Key projection.
    Key = 34,
    /// Value projection.
    Value = 35,
    /// Query bias.
    QueryBias = 36,
    /// Key bias.
    KeyBias = 37,
    /// Value bias.
    ValueBias = 38,
    /// Norm of each query head.
    QueryNorm = 39,
    /// Norm of each key head.
    KeyNorm = 40,
    /// Projection of the heads' outputs.
    AttentionOutput = 41,
    /// Norm of the attention's output.
    AttentionPostNorm = 42,
    /// Norm before the feed-forward network; of an encoder, after it.
    MlpNorm = 43,
    /// Gate projection.
    Gate = 44,
    /// Up projection.
    Up = 45,
    /// Down projection.
    Down = 46,
    /// Norm of the feed-forward network's output.
    MlpPostNorm = 47,
    /// Bias of `AttentionOutput`.
    AttentionOutputBias = 48,
    /// Bias of `AttentionNorm`.
    AttentionNormBias = 49,
    /// Bias of `Up`.
    UpBias = 50,
    /// Bias of `Down`.
    DownBias = 51,
    /// Bias of `MlpNorm`.
    MlpNormBias = 52,
}

impl Kind {
    /// Every kind, ascending.
    pub const ALL: [Kind; 33] = [
        Kind::Config,
        Kind::Strings,
        Kind::Vocabulary,
        Kind::RopeGlobal,
        Kind::RopeLocal,
        Kind::Embedding,
        Kind::OutputNorm,
        Kind::Head,
        Kind::Positions,
        Kind::TokenType,
        Kind::EmbeddingNorm,
        Kind::EmbeddingNormBias,
        Kind::AttentionNorm,
        Kind::Query,
        Kind::Key,
        Kind::Value,
        Kind::QueryBias,
        Kind::KeyBias,
        Kind::ValueBias,
        Kind::QueryNorm,
        Kind::KeyNorm,
        Kind::AttentionOutput,
        Kind::AttentionPostNorm,
        Kind::MlpNorm,
        Kind::Gate,
        Kind::Up,
        Kind::Down,
        Kind::MlpPostNorm,
        Kind::AttentionOutputBias,
        Kind::AttentionNormBias,
        Kind::UpBias,
        Kind::DownBias,
        Kind::MlpNormBias,
    ];

    fn from_number(number: u32) -> Option<Kind> {
        Kind::ALL.into_iter().find(|&kind| kind as u32 == number)
    }
}

/// Which section: its kind and, for a layer's parts, the layer (0 for the others).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SectionId {
    /// What it holds.
    pub kind: Kind,
    /// The layer, 0-based.
    pub layer: u32,
}

/// Where a section lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Which section.
    pub id: SectionId,
    /// First byte, a multiple of `ALIGNMENT`.
    pub offset: usize,
    /// Size in bytes, at least 1.
    pub size: usize,
}

/// The checked table of an artifact's sections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    sections: Vec<Section>,
}

/// Why a file is not an artifact that this program can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtifactError {
    /// The first bytes are another format's.
    #[error("not a mashaa artifact: the file does not begin with MASHAA")]
    Magic,
    /// A newer or unknown layout or profile.
    #[error(
        "artifact's {what} is {found} and this program knows {known}: remove the model and add or pull it again"
    )]
    Version {
        /// Layout version or numeric profile.
        what: &'static str,
        /// What the file says.
        found: u32,
        /// What is known.
        known: u32,
    },
    /// The file is shorter or longer than its header says.
    #[error("artifact should have {expected} bytes and has {found}")]
    Size {
        /// Size by the header.
        expected: u64,
        /// Size of the file.
        found: u64,
    },
    /// A table entry is out of range, order or place.
    #[error("artifact's section table, entry {entry}: {what}")]
    Table {
        /// 0-based entry.
        entry: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A section that the model's family needs is absent.
    #[error("artifact has no {kind:?} section for layer {layer}")]
    Missing {
        /// Which kind.
        kind: Kind,
        /// Which layer.
        layer: u32,
    },
    /// A section's contents are not of its kind.
    #[error("artifact's {kind:?} section of layer {layer}: {what}")]
    Section {
        /// Which kind.
        kind: Kind,
        /// Which layer.
        layer: u32,
        /// What is wrong.
        what: String,
    },
}

impl Directory {
    /// Reads and checks an artifact's header and section table.
    ///
    /// # Errors
    /// When the file is not an artifact, is cut short, or its table is out of order.
    pub fn read(bytes: &[u8]) -> Result<Directory, ArtifactError> {
        Directory::read_first(bytes, bytes.len() as u64)
    }

    /// The same of an artifact of `found` bytes of which only the first are here: at least its section
    /// table.
    ///
    /// # Errors
    /// When the file is not an artifact, is of another size, or its table is out of order.
    pub fn read_first(bytes: &[u8], found: u64) -> Result<Directory, ArtifactError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(ArtifactError::Magic);
        }
        if bytes.len() < HEADER_SIZE {
            return Err(ArtifactError::Size { expected: HEADER_SIZE as u64, found });
        }
        for (what, at, known) in [("layout version", 8, VERSION), ("numeric profile", 12, PROFILE)]
        {
            let found = read_u32(bytes, at);
            if found != known {
                return Err(ArtifactError::Version { what, found, known });
            }
        }
        let expected = read_u64(bytes, 16);
        let size = usize::try_from(found).ok().filter(|_| expected == found);
        let size = size.ok_or(ArtifactError::Size { expected, found })?;
        let count = read_u32(bytes, 24) as usize;
        let table_end = HEADER_SIZE + count.min(SECTIONS_MAX) * ENTRY_SIZE;
        if count == 0 || count > SECTIONS_MAX || table_end > bytes.len() {
            return Err(ArtifactError::Table {
                entry: 0,
                what: "the count of sections is out of range",
            });
        }
        if bytes[28..HEADER_SIZE].iter().any(|&byte| byte != 0) {
            return Err(ArtifactError::Table { entry: 0, what: "reserved bytes are not zero" });
        }
        let mut sections = Vec::with_capacity(count);
        let mut end = table_end;
        for entry in 0..count {
            let section = read_entry((bytes, size), entry, end, sections.last())
                .map_err(|what| ArtifactError::Table { entry, what })?;
            end = section.offset + section.size;
            sections.push(section);
        }
        if end != size {
            return Err(ArtifactError::Table {
                entry: count - 1,
                what: "bytes follow the last section",
            });
        }
        Ok(Directory { sections })
    }

    /// Finds a section.
    #[must_use]
    pub fn find(&self, kind: Kind, layer: u32) -> Option<Section> {
        let id = SectionId { kind, layer };
        let index = self.sections.binary_search_by_key(&id, |section| section.id).ok()?;
        self.sections.get(index).copied()
    }

    /// Finds a section that must be there.
    ///
    /// # Errors
    /// When it is absent.
    pub fn need(&self, kind: Kind, layer: u32) -> Result<Section, ArtifactError> {
        self.find(kind, layer).ok_or(ArtifactError::Missing { kind, layer })
    }

    /// All sections, ascending.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }
}

/// Reads one entry; it must start at the first aligned byte at or after `end`, with zeros between, as
/// far as the file's bytes are here.
fn read_entry(
    (bytes, file_size): (&[u8], usize),
    entry: usize,
    end: usize,
    last: Option<&Section>,
) -> Result<Section, &'static str> {
    let at = HEADER_SIZE + entry * ENTRY_SIZE;
    let kind = Kind::from_number(read_u32(bytes, at)).ok_or("unknown kind of section")?;
    let id = SectionId { kind, layer: read_u32(bytes, at + 4) };
    if last.is_some_and(|last| last.id >= id) {
        return Err("sections are not in ascending order");
    }
    let (offset, size) = (read_u64(bytes, at + 8), read_u64(bytes, at + 16));
    if read_u64(bytes, at + 24) != 0 {
        return Err("reserved bytes are not zero");
    }
    // `end` is at most the file's size, so the rounding cannot overflow.
    let start = end.next_multiple_of(ALIGNMENT);
    if offset != start as u64 {
        return Err("the section does not start where the one before it ends");
    }
    let room = file_size.saturating_sub(start) as u64;
    if size == 0 || size > room {
        return Err("the section is empty or leaves the file");
    }
    let between = bytes.get(end..start).unwrap_or_default();
    if between.iter().any(|&byte| byte != 0) {
        return Err("bytes before the section are not zero");
    }
    Ok(Section { id, offset: start, size: size as usize })
}

pub(crate) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(crate) fn read_u64(bytes: &[u8], at: usize) -> u64 {
    u64::from(read_u32(bytes, at)) | u64::from(read_u32(bytes, at + 4)) << 32
}
