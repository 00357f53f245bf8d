//! Named texts of an artifact: model name, licence, source, chat template.
//!
//! A section of pairs, ascending by key: key size u32, key, value size u32, value, all UTF-8.
//!
//! Invariants:
//! - Keys are unique and ascending, so equal texts give equal bytes.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::read_u32;

/// Pairs, at most.
pub const PAIRS_MAX: usize = 256;
/// Bytes of one key, at most.
pub const KEY_SIZE_MAX: usize = 256;
/// Bytes of one value, at most: a licence's whole text fits.
pub const VALUE_SIZE_MAX: usize = 1 << 20;

/// Key of the model's name.
pub const NAME: &str = "name";
/// Key of the licence's SPDX expression or name.
pub const LICENCE: &str = "licence";
/// Key of the chat template (Jinja).
pub const CHAT_TEMPLATE: &str = "chat_template";
/// Key of the CID of the source file.
pub const SOURCE: &str = "source_cid";
/// Key of the rule by which matrices got 4 or 8 bits.
pub const BITS: &str = "bits";

/// Named texts.
pub type Strings = BTreeMap<String, String>;

/// The section's bytes.
#[must_use]
pub fn to_bytes(strings: &Strings) -> Vec<u8> {
    let mut out = (strings.len() as u32).to_le_bytes().to_vec();
    for text in strings.iter().flat_map(|(key, value)| [key, value]) {
        out.extend_from_slice(&(text.len() as u32).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// Reads the section.
///
/// # Errors
/// When a size leaves the section or is above its limit, a text is not UTF-8, or keys are out of
/// order.
pub fn from_bytes(bytes: &[u8]) -> Result<Strings, String> {
    let mut reader = Reader { bytes, at: 0 };
    let count = reader.size(PAIRS_MAX)?;
    let mut strings = Strings::new();
    for _ in 0..count {
        let key = reader.text(KEY_SIZE_MAX)?;
        let value = reader.text(VALUE_SIZE_MAX)?;
        if strings.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(alloc::format!("key {key:?} is out of order"));
        }
        strings.insert(key, value);
    }
    if reader.at == bytes.len() {
        Ok(strings)
    } else {
        Err("bytes follow the last text".to_string())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn size(&mut self, max: usize) -> Result<usize, String> {
        if self.bytes.len() - self.at < 4 {
            return Err("the section ends inside a size".to_string());
        }
        let size = read_u32(self.bytes, self.at) as usize;
        self.at += 4;
        if size > max { Err(alloc::format!("a size is {size}, above {max}")) } else { Ok(size) }
    }

    fn text(&mut self, max: usize) -> Result<String, String> {
        let size = self.size(max)?;
        let text =
            self.bytes.get(self.at..self.at + size).ok_or("the section ends inside a text")?;
        self.at += size;
        let text = core::str::from_utf8(text).map_err(|_| "a text is not UTF-8")?;
        Ok(text.to_string())
    }
}
