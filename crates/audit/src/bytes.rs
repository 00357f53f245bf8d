//! Canonical bytes of what evidence consists of.
//!
//! Specified in `docs/spec/audit.md`, section 8.1.
//!
//! Invariants:
//! - Every list has the limit of whatever it is a part of, before anything is allocated.
//!
//! Not here: whether it leads anywhere (`referee`, `case`).

use engine::artifact::config::Config;
use engine::artifact::{Kind, SECTIONS_MAX};
use merkle::{Digest, PATH_MAX};
use store::cid::CHUNK_SIZE;
use store::leaves::DEPTH_MAX;
use types::codec::{Canonical, Malformed, Reader, write_length};

use crate::artifact::{Outline, Piece, Section};
use crate::graph::{Graph, Place, What};
use crate::referee::{CellInput, Part, StepInput};

/// Bytes of a result in a message: a message has no more.
const RESULT_MAX: usize = 3 << 19;
/// Bytes of a node of the file's tree: 174 links of some fifty bytes are the longest of ours.
const NODE_MAX: usize = 64 << 10;
/// Hashes of a path in a trace.
const TRACE_PATH_MAX: usize = PATH_MAX + 8;

/// The steps, by the number that stands for each.
const WHATS: [fn(u16) -> What; 24] = [
    |_| What::Embed,
    |_| What::AttentionNorm,
    |_| What::Query,
    |_| What::Key,
    |_| What::Value,
    |_| What::QueryHeads,
    |_| What::KeyHeads,
    |_| What::ValueHeads,
    What::Scores,
    What::Weights,
    What::Sums,
    What::Result,
    |_| What::AttentionInput,
    |_| What::AttentionOutput,
    |_| What::AttentionResidual,
    |_| What::MlpNorm,
    |_| What::Gate,
    |_| What::Up,
    |_| What::MlpInput,
    |_| What::Down,
    |_| What::MlpResidual,
    |_| What::HeadInput,
    |_| What::Logits,
    |_| What::Sample,
];

impl Canonical for Place {
    fn write(&self, out: &mut Vec<u8>) {
        // At most 2^17 positions and 2^9 layers.
        (self.position as u32).write(out);
        (self.layer as u32).write(out);
        let head = match self.what {
            What::Scores(head) | What::Weights(head) | What::Sums(head) | What::Result(head) => {
                head
            }
            _ => 0,
        };
        let number = WHATS.iter().position(|what| what(head) == self.what);
        (number.expect("every step has a number") as u8).write(out);
        head.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Place, Malformed> {
        let (position, layer) = (u32::read(reader)? as usize, u32::read(reader)? as usize);
        let number = u8::read(reader)?;
        let head = u16::read(reader)?;
        let what = WHATS.get(usize::from(number)).ok_or(Malformed::UnknownVariant { number })?;
        // Only steps of a head have one.
        let is_headed = matches!(number, 8..=11);
        if head > 0 && !is_headed {
            return Err(Malformed::OutOfRange);
        }
        Ok(Place { position, layer, what: what(head) })
    }
}

impl Canonical for StepInput {
    fn write(&self, out: &mut Vec<u8>) {
        self.place.write(out);
        write_bytes(&self.result, out);
        write_list(&self.path, out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<StepInput, Malformed> {
        Ok(StepInput {
            place: Place::read(reader)?,
            result: read_bytes(reader, RESULT_MAX)?,
            path: read_list(reader, TRACE_PATH_MAX)?,
        })
    }
}

impl Canonical for CellInput {
    fn write(&self, out: &mut Vec<u8>) {
        self.place.write(out);
        self.cell.write(out);
        write_bytes(&self.bytes, out);
        write_list(&self.cell_path, out);
        write_list(&self.path, out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<CellInput, Malformed> {
        Ok(CellInput {
            place: Place::read(reader)?,
            cell: u64::read(reader)?,
            bytes: read_bytes(reader, RESULT_MAX)?,
            cell_path: read_list(reader, PATH_MAX)?,
            path: read_list(reader, TRACE_PATH_MAX)?,
        })
    }
}

impl Canonical for Part {
    fn write(&self, out: &mut Vec<u8>) {
        self.kind.write(out);
        (self.layer as u32).write(out);
        (self.from as u64).write(out);
        (self.to as u64).write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Part, Malformed> {
        let (kind, layer) = (u32::read(reader)?, u32::read(reader)? as usize);
        let size = |it: u64| usize::try_from(it).map_err(|_| Malformed::OutOfRange);
        Ok(Part { kind, layer, from: size(u64::read(reader)?)?, to: size(u64::read(reader)?)? })
    }
}

impl Canonical for Piece {
    fn write(&self, out: &mut Vec<u8>) {
        self.index.write(out);
        write_bytes(&self.chunk, out);
        write_length(self.nodes.len(), out);
        self.nodes.iter().for_each(|node| write_bytes(node, out));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Piece, Malformed> {
        let (index, chunk) = (u64::read(reader)?, read_bytes(reader, CHUNK_SIZE)?);
        let count = reader.length(DEPTH_MAX)?;
        let nodes = (0..count).map(|_| read_bytes(reader, NODE_MAX));
        Ok(Piece { index, chunk, nodes: nodes.collect::<Result<_, _>>()? })
    }
}

impl Canonical for Graph {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.config.to_bytes());
        (self.head == Kind::Head).write(out);
        // At most 2^20.
        (self.vocabulary as u32).write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Graph, Malformed> {
        let config = Config::from_bytes(reader.bytes(128)?).map_err(|_| Malformed::OutOfRange)?;
        let head = if bool::read(reader)? { Kind::Head } else { Kind::Embedding };
        Ok(Graph { config, head, vocabulary: u32::read(reader)? as usize })
    }
}

impl Canonical for Section {
    fn write(&self, out: &mut Vec<u8>) {
        self.kind.write(out);
        self.layer.write(out);
        self.offset.write(out);
        self.size.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Section, Malformed> {
        let (kind, layer) = (u32::read(reader)?, u32::read(reader)?);
        Ok(Section { kind, layer, offset: u64::read(reader)?, size: u64::read(reader)? })
    }
}

impl Canonical for Outline {
    fn write(&self, out: &mut Vec<u8>) {
        self.graph.write(out);
        write_length(self.sections.len(), out);
        self.sections.iter().for_each(|section| section.write(out));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Outline, Malformed> {
        let graph = Graph::read(reader)?;
        let count = reader.length(SECTIONS_MAX)?;
        let sections = (0..count).map(|_| Section::read(reader));
        Ok(Outline { graph, sections: sections.collect::<Result<_, _>>()? })
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn read_bytes(reader: &mut Reader<'_>, max: usize) -> Result<Vec<u8>, Malformed> {
    let count = reader.length(max)?;
    Ok(reader.bytes(count)?.to_vec())
}

fn write_list(digests: &[Digest], out: &mut Vec<u8>) {
    write_length(digests.len(), out);
    digests.iter().for_each(|digest| digest.write(out));
}

fn read_list(reader: &mut Reader<'_>, max: usize) -> Result<Vec<Digest>, Malformed> {
    let count = reader.length(max)?;
    (0..count).map(|_| reader.array()).collect()
}
