//! Markdown, cut into prose lines and fenced blocks.
//!
//! Not here: rendering. Only fences of three backticks and inline code in backticks are known.

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// What stands after the opening fence, such as `console`.
    pub(crate) tag: String,
    /// 1-based line of the opening fence.
    pub(crate) line: usize,
    pub(crate) lines: Vec<String>,
    /// A comment `not run: reason` stands right above it.
    pub(crate) is_excused: bool,
}

/// The fenced blocks, in order.
pub(crate) fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = vec![];
    let (mut is_open, mut above) = (false, "");
    for (index, line) in text.lines().map(str::trim_end).enumerate() {
        if let Some(tag) = line.trim_start().strip_prefix("```") {
            is_open = !is_open;
            if is_open {
                let is_excused = is_excuse(above);
                let tag = tag.trim().to_owned();
                blocks.push(Block { tag, line: index + 1, lines: vec![], is_excused });
            }
        } else if is_open && let Some(block) = blocks.last_mut() {
            block.lines.push(line.to_owned());
        }
        above = if line.trim().is_empty() { above } else { line };
    }
    blocks
}

/// The lines outside the blocks, each with its 1-based number, inline code emptied.
pub(crate) fn prose(text: &str) -> Vec<(usize, String)> {
    let mut is_open = false;
    let mut prose = vec![];
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_open = !is_open;
        } else if !is_open {
            prose.push((index + 1, without_code(line)));
        }
    }
    prose
}

fn is_excuse(line: &str) -> bool {
    let inside =
        line.trim().strip_prefix("<!-- not run:").and_then(|rest| rest.strip_suffix("-->"));
    inside.is_some_and(|reason| !reason.trim().is_empty())
}

/// Every second part between backticks is code.
fn without_code(line: &str) -> String {
    let parts: Vec<&str> = line.split('`').step_by(2).collect();
    parts.join("``")
}

#[cfg(test)]
mod tests;
