//! Writes an artifact from front to back.
//!
//! Every section's size is known before its bytes, so the table is written first and the sections
//! follow as they are made: an artifact larger than memory can be written.
//!
//! Invariants:
//! - The sink receives exactly the bytes that the plan promised, in order.

use alloc::vec::Vec;

use super::{ALIGNMENT, ENTRY_SIZE, HEADER_SIZE, MAGIC, PROFILE, Section, SectionId, VERSION};

/// Where sections will lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    sections: Vec<Section>,
    size: usize,
}

impl Plan {
    /// Places sections, given as (id, size), in ascending order of id.
    ///
    /// # Panics
    /// When two sections have one id or a size is 0: the importer's own mistake.
    #[must_use]
    pub fn new(mut sizes: Vec<(SectionId, usize)>) -> Plan {
        sizes.sort_unstable_by_key(|&(id, _)| id);
        assert!(sizes.windows(2).all(|pair| pair[0].0 < pair[1].0), "each section is planned once");
        let mut size = HEADER_SIZE + sizes.len() * ENTRY_SIZE;
        let mut sections = Vec::with_capacity(sizes.len());
        for (id, section_size) in sizes {
            assert!(section_size > 0, "no section is empty");
            let offset = size.next_multiple_of(ALIGNMENT);
            sections.push(Section { id, offset, size: section_size });
            size = offset + section_size;
        }
        Plan { sections, size }
    }

    /// The sections in the order in which their bytes must follow the header.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The artifact's size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The header and the table, up to the first section's first byte.
    #[must_use]
    pub fn header(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&PROFILE.to_le_bytes());
        out.extend_from_slice(&(self.size as u64).to_le_bytes());
        out.extend_from_slice(&(self.sections.len() as u32).to_le_bytes());
        out.resize(HEADER_SIZE, 0);
        for section in &self.sections {
            out.extend_from_slice(&(section.id.kind as u32).to_le_bytes());
            out.extend_from_slice(&section.id.layer.to_le_bytes());
            out.extend_from_slice(&(section.offset as u64).to_le_bytes());
            out.extend_from_slice(&(section.size as u64).to_le_bytes());
            out.extend_from_slice(&[0; 8]);
        }
        if let Some(first) = self.sections.first() {
            out.resize(first.offset, 0);
        }
        out
    }

    /// Zero bytes that follow section `index`.
    #[must_use]
    pub fn padding_after(&self, index: usize) -> usize {
        match (self.sections.get(index), self.sections.get(index + 1)) {
            (Some(section), Some(next)) => next.offset - section.offset - section.size,
            _ => 0,
        }
    }
}
