//! What a worker does that serves a cheaper model under a dear one's name: it changes the file.
//!
//! Every second layer's weights are thrown away and those of the layer before used twice, which halves
//! what must be kept and read. The file keeps its size and its name, and is a model that runs.
//!
//! Not here: anything in the engine or the node that knows of it; an honest program serves the file.

use std::path::Path;

use anyhow::{Context as _, bail};
use engine::artifact::{Directory, Kind};

/// Weights that are the same size in every layer of the known families.
const KINDS: [Kind; 5] = [Kind::Query, Kind::AttentionOutput, Kind::Gate, Kind::Up, Kind::Down];

/// Replaces an artifact by a cheaper one.
pub(super) fn cheapen(artifact: &Path) -> anyhow::Result<()> {
    let named = || artifact.display().to_string();
    let mut bytes = std::fs::read(artifact).with_context(named)?;
    let directory = Directory::read(&bytes).with_context(named)?;
    let mut changed = 0_usize;
    for id in directory.sections().iter().map(|section| section.id) {
        if id.layer % 2 == 0 || !KINDS.contains(&id.kind) {
            continue;
        }
        let (from, to) = (directory.find(id.kind, id.layer - 1), directory.find(id.kind, id.layer));
        if let (Some(from), Some(to)) = (from, to)
            && from.size == to.size
        {
            bytes.copy_within(from.offset..from.offset + from.size, to.offset);
            changed += 1;
        }
    }
    if changed == 0 {
        bail!("{}: no layer is like the one before it", artifact.display());
    }
    // Not in place: whoever has the file open keeps the one that it opened.
    let part = artifact.with_extension("part");
    std::fs::write(&part, &bytes).with_context(named)?;
    std::fs::rename(&part, artifact).with_context(named)?;
    Ok(())
}
