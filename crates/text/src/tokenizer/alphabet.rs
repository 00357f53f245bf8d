//! GPT-2's alphabet: a printable character for each byte.
//!
//! Byte-level vocabularies spell their tokens in it, so that every token is printable text.
//! Printable Latin-1 bytes stand for themselves; the other 68 bytes take the characters from
//! U+0100 on, in order (Radford et al. 2019, `bytes_to_unicode` in the published encoder).
//!
//! Not here: which bytes form a token.

/// The character that spells a byte.
pub(super) fn letter(byte: u8) -> char {
    let shift = match byte {
        0x00..=0x20 => u32::from(byte),
        0x7F..=0xA0 => u32::from(byte) - 0x7F + 33,
        0xAD => 67,
        printable => return char::from(printable),
    };
    char::from_u32(256 + shift).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character spells, if it is in the alphabet.
pub(super) fn byte(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    let byte = match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7F,
        0x143 => 0xAD,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The bytes that a spelled token stands for; `None` if a character is outside the alphabet.
pub(super) fn bytes(spelled: &str) -> Option<Vec<u8>> {
    spelled.chars().map(byte).collect()
}

/// Text spelled in the alphabet.
pub(super) fn spell(text: &str) -> String {
    text.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests;
