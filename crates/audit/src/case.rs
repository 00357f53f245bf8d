//! The evidence of one side of a dispute, which comes in pieces and is judged together.
//!
//! A piece is a whole result, a cell, or a chunk of the artifact with the parts that are wanted of it.
//! Each is checked when it comes, and of a chunk only the wanted bytes are kept, so that a case stays
//! small in a ledger's state. Specified in `docs/spec/audit.md`, section 8.
//!
//! Invariants:
//! - What is held leads to what both sides agree on, or to the artifact's name.
//! - A case has at most `CASE_SIZE_MAX` bytes, and `FRAGMENTS_MAX` pieces of parts.
//!
//! Not here: who is right (`dispute`), and whose case it is (the ledger).

use std::collections::BTreeMap;

use merkle::Digest;
use types::bounded::List;
use types::codec::{Canonical, Malformed, Reader, write_length};
use types::id::Cid;

use crate::artifact::{Artifact, Outline, Piece};
use crate::dispute::Cell;
use crate::graph::Shape;
use crate::referee::{
    CELLS_MAX, CellInput, Checker, INPUTS_MAX, Part, RANGES_MAX, StepInput, Undecided,
};
use crate::replay::Run;

/// Bytes of a case: the largest input of a step that fits a message, its paths, and a group of rows.
pub const CASE_SIZE_MAX: usize = 3 << 20;
/// Fragments of a case: each part may lie in two chunks.
pub const FRAGMENTS_MAX: usize = 2 * RANGES_MAX;

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// A whole result.
    Step(StepInput),
    /// A cell.
    Cell(CellInput),
    /// A chunk of the artifact.
    Chunk {
        /// What is wanted of it.
        parts: List<Part, RANGES_MAX>,
        /// The chunk and the nodes over it.
        piece: Piece,
    },
}

/// Evidence that was shown and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Case {
    steps: Vec<StepInput>,
    cells: Vec<CellInput>,
    fragments: Vec<Fragment>,
}

/// Bytes of a part, from one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fragment {
    part: Part,
    /// Where they begin in the part.
    from: u64,
    bytes: Vec<u8>,
}

/// What a case is about.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The artifact's name.
    pub model: &'a Cid,
    /// Its graph and sections.
    pub outline: &'a Outline,
    /// The run's length.
    pub shape: &'a Shape,
    /// The traces' roots, by side.
    pub roots: &'a [Digest; 2],
    /// The cell in dispute.
    pub cell: &'a Cell,
}

impl<'a> About<'a> {
    fn checker(&self) -> Checker<'a> {
        let About { outline, shape, roots, cell, .. } = *self;
        Checker { graph: &outline.graph, shape, roots, cell }
    }
}

impl Case {
    /// Takes a piece; one that was shown already changes nothing.
    ///
    /// # Errors
    /// When it leads nowhere, or the case is full; nothing changes then.
    pub fn add(&mut self, about: &About<'_>, shown: Shown) -> Result<(), Undecided> {
        let before = [self.steps.len(), self.cells.len(), self.fragments.len()];
        let index = before[0] + before[1];
        match shown {
            Shown::Step(input) => {
                let is_proven = about.checker().has_step(&input);
                is_proven.then_some(()).ok_or(Undecided::Input { index })?;
                if !self.steps.contains(&input) {
                    self.steps.push(input);
                }
            }
            Shown::Cell(input) => {
                let is_proven = about.checker().has_cell(&input);
                is_proven.then_some(()).ok_or(Undecided::Input { index })?;
                if !self.cells.contains(&input) {
                    self.cells.push(input);
                }
            }
            Shown::Chunk { parts, piece } => {
                let fragments = cut(about, parts.as_slice(), piece)?;
                for fragment in fragments {
                    if !self.fragments.contains(&fragment) {
                        self.fragments.push(fragment);
                    }
                }
            }
        }
        let is_bounded = self.steps.len() <= INPUTS_MAX
            && self.cells.len() <= CELLS_MAX
            && self.fragments.len() <= FRAGMENTS_MAX
            && self.size() <= CASE_SIZE_MAX;
        if !is_bounded {
            self.steps.truncate(before[0]);
            self.cells.truncate(before[1]);
            self.fragments.truncate(before[2]);
            return Err(Undecided::TooMuch);
        }
        Ok(())
    }

    /// Bytes that the case has, without making them.
    #[must_use]
    pub fn size(&self) -> usize {
        // Counts have 4 bytes, a place 11 and a part 24.
        let path = |path: &[Digest]| 4 + 32 * path.len();
        let steps = self.steps.iter().map(|it| 11 + 4 + it.result.len() + path(&it.path));
        let cells = self
            .cells
            .iter()
            .map(|it| 11 + 8 + 4 + it.bytes.len() + path(&it.cell_path) + path(&it.path));
        let fragments = self.fragments.iter().map(|it| 24 + 8 + 4 + it.bytes.len());
        12 + steps.chain(cells).chain(fragments).sum::<usize>()
    }

    /// Computes the cell in dispute. The run's tokens are those that the receipt names; none where
    /// nobody has shown them.
    ///
    /// # Errors
    /// When the case does not decide.
    pub fn judge(&self, about: &About<'_>, run: Option<Run<'_>>) -> Result<Vec<u8>, Undecided> {
        about.checker().compute(&self.steps, &self.cells, self.parts(), run)
    }

    /// The parts of which all bytes are there.
    fn parts(&self) -> BTreeMap<Part, Vec<u8>> {
        let mut parts: BTreeMap<Part, Vec<u8>> = BTreeMap::new();
        let mut sorted: Vec<&Fragment> = self.fragments.iter().collect();
        sorted.sort_by_key(|fragment| fragment.from);
        for Fragment { part, from, bytes } in sorted {
            let so_far = parts.entry(part.clone()).or_default();
            if so_far.len() as u64 == *from {
                so_far.extend_from_slice(bytes);
            }
        }
        parts.retain(|part, bytes| bytes.len() == part.to.saturating_sub(part.from));
        parts
    }
}

/// Cuts what is wanted out of a chunk.
fn cut(about: &About<'_>, parts: &[Part], piece: Piece) -> Result<Vec<Fragment>, Undecided> {
    let missing = |index| Undecided::Part { index };
    let mut artifact = Artifact::named(about.model).ok_or(missing(0))?;
    artifact.add(piece).map_err(|_| missing(0))?;
    let fragment = |(index, part): (usize, &Part)| {
        let range = about.outline.range(part).ok_or(missing(index))?;
        let (from, bytes) = artifact.overlap(&range).ok_or(missing(index))?;
        Ok(Fragment { part: part.clone(), from, bytes })
    };
    parts.iter().enumerate().map(fragment).collect()
}

impl Canonical for Shown {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Shown::Step(input) => {
                out.push(1);
                input.write(out);
            }
            Shown::Cell(input) => {
                out.push(2);
                input.write(out);
            }
            Shown::Chunk { parts, piece } => {
                out.push(3);
                parts.write(out);
                piece.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Shown, Malformed> {
        match u8::read(reader)? {
            1 => StepInput::read(reader).map(Shown::Step),
            2 => CellInput::read(reader).map(Shown::Cell),
            3 => Ok(Shown::Chunk { parts: List::read(reader)?, piece: Piece::read(reader)? }),
            number => Err(Malformed::UnknownVariant { number }),
        }
    }
}

impl Canonical for Fragment {
    fn write(&self, out: &mut Vec<u8>) {
        self.part.write(out);
        self.from.write(out);
        write_length(self.bytes.len(), out);
        out.extend_from_slice(&self.bytes);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Fragment, Malformed> {
        let (part, from) = (Part::read(reader)?, u64::read(reader)?);
        let count = reader.length(CASE_SIZE_MAX)?;
        Ok(Fragment { part, from, bytes: reader.bytes(count)?.to_vec() })
    }
}

impl Canonical for Case {
    fn write(&self, out: &mut Vec<u8>) {
        write_all(&self.steps, out);
        write_all(&self.cells, out);
        write_all(&self.fragments, out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Case, Malformed> {
        Ok(Case {
            steps: read_all(reader, INPUTS_MAX)?,
            cells: read_all(reader, CELLS_MAX)?,
            fragments: read_all(reader, FRAGMENTS_MAX)?,
        })
    }
}

fn write_all<T: Canonical>(items: &[T], out: &mut Vec<u8>) {
    write_length(items.len(), out);
    items.iter().for_each(|item| item.write(out));
}

fn read_all<T: Canonical>(reader: &mut Reader<'_>, max: usize) -> Result<Vec<T>, Malformed> {
    let count = reader.length(max)?;
    (0..count).map(|_| T::read(reader)).collect()
}
