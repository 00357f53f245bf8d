//! Bytes that arrive in pieces, as text.
//!
//! A token can end inside a character. The decoder holds back at most three bytes until the
//! character is complete.
//!
//! Invariants:
//! - All strings returned, joined, equal the lossy decoding of all bytes pushed, joined.
//!
//! Not here: which bytes a token stands for.

/// Turns a stream of bytes into complete characters.
#[derive(Clone, Debug, Default)]
pub struct StreamDecoder {
    /// The bytes of an incomplete character, at most three.
    held: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder that has seen nothing.
    #[must_use]
    pub fn new() -> StreamDecoder {
        StreamDecoder::default()
    }

    /// The text that these bytes complete. Bytes that cannot be UTF-8 become U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let complete = self.held.len() - incomplete(&self.held);
        let text = String::from_utf8_lossy(&self.held[..complete]).into_owned();
        self.held.drain(..complete);
        text
    }

    /// The end of the stream: U+FFFD if it ended inside a character, else nothing.
    pub fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        String::from_utf8_lossy(&held).into_owned()
    }
}

/// How many bytes at the end begin a character that later bytes may complete.
fn incomplete(bytes: &[u8]) -> usize {
    let start = bytes.len().saturating_sub(3);
    for at in start..bytes.len() {
        match std::str::from_utf8(&bytes[at..]) {
            Err(error) if error.valid_up_to() == 0 && error.error_len().is_none() => {
                return bytes.len() - at;
            }
            _ => {}
        }
    }
    0
}

#[cfg(test)]
mod tests;
