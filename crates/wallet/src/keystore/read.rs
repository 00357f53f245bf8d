//! Reading a keystore's JSON, which may have been made to harm.
//!
//! Invariants: what is returned is within every limit of the parent module.
//!
//! Not here: whether a passphrase opens it.

use data_encoding::HEXLOWER_PERMISSIVE;
use serde_json::Value;
use types::id::Address;

use super::{
    KEY_SIZE, Keystore, KeystoreError, PBKDF2_ROUNDS_MAX, SALT_MAX, SCRYPT_MEMORY_MAX,
    SCRYPT_WORK_MAX, SIZE_MAX, Slow, scrypt::Scrypt,
};
use crate::derive::Path;

/// Reads a file's text. `serde_json` allocates in proportion to the text, and nests 128 deep at most.
pub(super) fn keystore(text: &str) -> Result<Keystore, KeystoreError> {
    if text.len() > SIZE_MAX {
        return Err(KeystoreError::TooLong);
    }
    let json: Value =
        serde_json::from_str(text).map_err(|error| KeystoreError::NotJson(error.to_string()))?;
    if at(&json, "/version") != 3 {
        return Err(wrong("version", "3"));
    }
    // The first versions of MyEtherWallet wrote it with a capital letter.
    let crypto = match at(&json, "/crypto") {
        Value::Null => at(&json, "/Crypto"),
        crypto => crypto,
    };
    if at(crypto, "/cipher") != "aes-128-ctr" {
        return Err(wrong("crypto.cipher", "\"aes-128-ctr\""));
    }
    Ok(Keystore {
        address: address(at(&json, "/address"))?,
        path: at(&json, "/x-mashaa/path").as_str().and_then(Path::parse),
        slow: slow(crypto)?,
        salt: hex(at(crypto, "/kdfparams/salt"))
            .filter(|salt| (1..=SALT_MAX).contains(&salt.len()))
            .ok_or(wrong("crypto.kdfparams.salt", "1 to 128 bytes in hexadecimal"))?,
        iv: array(at(crypto, "/cipherparams/iv"))
            .ok_or(wrong("crypto.cipherparams.iv", "16 bytes in hexadecimal"))?,
        hidden: hex(at(crypto, "/ciphertext"))
            .filter(|hidden| (1..=KEY_SIZE).contains(&hidden.len()))
            .ok_or(wrong("crypto.ciphertext", "1 to 32 bytes in hexadecimal"))?,
        mac: array(at(crypto, "/mac")).ok_or(wrong("crypto.mac", "32 bytes in hexadecimal"))?,
    })
}

/// The slow hash, if a machine can be asked for it.
fn slow(crypto: &Value) -> Result<Slow, KeystoreError> {
    if at(crypto, "/kdfparams/dklen") != 32 {
        return Err(wrong("crypto.kdfparams.dklen", "32"));
    }
    match at(crypto, "/kdf").as_str() {
        Some("scrypt") => scrypt(crypto).map(Slow::Scrypt),
        Some("pbkdf2") => {
            if at(crypto, "/kdfparams/prf") != "hmac-sha256" {
                return Err(wrong("crypto.kdfparams.prf", "\"hmac-sha256\""));
            }
            let rounds = number(at(crypto, "/kdfparams/c"), "crypto.kdfparams.c")?;
            affordable("rounds of PBKDF2", rounds.into(), PBKDF2_ROUNDS_MAX.into())?;
            Ok(Slow::Pbkdf2 { rounds })
        }
        _ => Err(wrong("crypto.kdf", "\"scrypt\" or \"pbkdf2\"")),
    }
}

fn scrypt(crypto: &Value) -> Result<Scrypt, KeystoreError> {
    let n = number(at(crypto, "/kdfparams/n"), "crypto.kdfparams.n")?;
    let r = number(at(crypto, "/kdfparams/r"), "crypto.kdfparams.r")?;
    let p = number(at(crypto, "/kdfparams/p"), "crypto.kdfparams.p")?;
    if n < 2 || !n.is_power_of_two() {
        return Err(wrong("crypto.kdfparams.n", "a power of two"));
    }
    let blocks = u64::from(n).saturating_mul(r.into());
    let others = u64::from(p).saturating_mul(r.into());
    // 128 bytes a block: n * r for the table, and p * r for what goes into it.
    let memory = blocks.saturating_add(others).saturating_mul(128);
    affordable("bytes of memory", memory, SCRYPT_MEMORY_MAX)?;
    affordable("steps of scrypt", blocks.saturating_mul(p.into()), SCRYPT_WORK_MAX)?;
    Ok(Scrypt { n, r, p })
}

fn affordable(what: &'static str, asked: u64, max: u64) -> Result<(), KeystoreError> {
    if asked <= max { Ok(()) } else { Err(KeystoreError::TooCostly { what, asked, max }) }
}

fn number(value: &Value, field: &'static str) -> Result<u32, KeystoreError> {
    let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
    number.filter(|number| *number > 0).ok_or(wrong(field, "a number from 1 to 2^32 - 1"))
}

/// An address need not be there: some wallets leave it out, so that the file does not name its owner.
fn address(value: &Value) -> Result<Option<Address>, KeystoreError> {
    match value {
        Value::Null => Ok(None),
        value => array(value)
            .map(|bytes| Some(Address(bytes)))
            .ok_or(wrong("address", "20 bytes in hexadecimal")),
    }
}

fn array<const SIZE: usize>(value: &Value) -> Option<[u8; SIZE]> {
    hex(value)?.try_into().ok()
}

/// Bytes in hexadecimal digits of any case, with or without `0x`.
fn hex(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?;
    let digits = text.strip_prefix("0x").unwrap_or(text);
    HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()
}

/// The value at a JSON pointer (RFC 6901), or null.
fn at<'a>(json: &'a Value, pointer: &str) -> &'a Value {
    json.pointer(pointer).unwrap_or(&Value::Null)
}

fn wrong(field: &'static str, wanted: &'static str) -> KeystoreError {
    KeystoreError::Field { field, wanted }
}
