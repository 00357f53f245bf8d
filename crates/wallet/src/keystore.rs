//! A key under a passphrase, as other wallets keep it too: Web3 Secret Storage, version 3.
//!
//! A slow hash makes 32 bytes of the passphrase. The first 16 are the AES-128-CTR key that hides the
//! wallet's key, and the others go into a Keccak-256 with the hidden bytes, which says whether the
//! passphrase was right. Files of other wallets are read with scrypt or PBKDF2; new ones have scrypt.
//!
//! Invariants: nothing is computed or allocated for a file before its numbers are within the limits
//! below, so that no file takes more than `SCRYPT_MEMORY_MAX` bytes or a few seconds. A key that was
//! opened is one of the curve's, and is of the address that the file states, if it states one.
//!
//! Not here: files (`files`), and versions 1 and 2, which no wallet has written since 2015.

use std::fmt;

use aes::Aes128;
use aes::cipher::{KeyIvInit, StreamCipher};
use ctr::Ctr128BE;
use data_encoding::HEXLOWER;
use sha2::Sha256;
use types::id::{Address, keccak256};
use types::signature::Secret;
use zeroize::Zeroizing;

use crate::derive::Path;
use crate::passphrase::Passphrase;
use scrypt::Scrypt;

mod read;
mod scrypt;

/// Bytes of a file. The longest that wallets write, with extras, have about 1,000.
pub const SIZE_MAX: usize = 16_384;
/// Bytes of memory that a file may ask scrypt for: a table of 512 MiB, twice that of geth's and our
/// own files, and 8 MiB for what goes into it.
pub const SCRYPT_MEMORY_MAX: u64 = 520 << 20;
/// `n * r * p` of scrypt at most: four times that of geth's and our own files, so a few seconds.
pub const SCRYPT_WORK_MAX: u64 = 1 << 23;
/// Rounds of PBKDF2 at most: eight times the most that wallets write, which is a million.
pub const PBKDF2_ROUNDS_MAX: u32 = 1 << 23;
/// Bytes of a salt at most. Wallets write 32.
pub const SALT_MAX: usize = 128;
/// Bytes of a wallet's key; old programs left leading zeros away.
const KEY_SIZE: usize = 32;

/// A new file's scrypt: `n` is 2^18, `r` 8 and `p` 1, as in geth's files. 256 MiB, and about a second
/// of one core, for each guess; OWASP asks for at least half of that.
const SCRYPT: Scrypt = Scrypt { n: 1 << 18, r: 8, p: 1 };

/// A file that was read and not opened: its numbers are within limits, and nothing else is known.
#[derive(Clone, PartialEq, Eq)]
pub struct Keystore {
    address: Option<Address>,
    path: Option<Path>,
    slow: Slow,
    salt: Vec<u8>,
    iv: [u8; 16],
    hidden: Vec<u8>,
    mac: [u8; 32],
}

/// The slow hash of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    Scrypt(Scrypt),
    Pbkdf2 { rounds: u32 },
}

/// The random parts of a new file.
#[derive(Clone, Copy, Debug, Default)]
struct Random {
    salt: [u8; 32],
    iv: [u8; 16],
    id: [u8; 16],
}

/// Why a file is not read, or not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeystoreError {
    /// There are more than `SIZE_MAX` bytes.
    #[error("keystore has over {SIZE_MAX} bytes")]
    TooLong,
    /// The text is not JSON.
    #[error("keystore is not JSON: {0}")]
    NotJson(String),
    /// A field is not there, or not of the form that is read.
    #[error("keystore's {field} is not {wanted}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is read.
        wanted: &'static str,
    },
    /// The file asks for more work than any wallet's: someone wants to keep this machine busy.
    #[error("keystore asks for {asked} {what}, and {max} are the most that a file is given")]
    TooCostly {
        /// Of what.
        what: &'static str,
        /// How many.
        asked: u64,
        /// The most.
        max: u64,
    },
    /// The passphrase does not fit the file; or the file was changed, which looks the same.
    #[error("passphrase is wrong")]
    WrongPassphrase,
    /// The system does not give the memory that the file asks for, which is within the limit.
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
    /// The passphrase is right, and what it opens is no key of the curve.
    #[error("keystore holds no key of secp256k1")]
    NoKey,
    /// The passphrase is right, and the key is another one than the file says.
    #[error("keystore says that it holds the key of {stated}, and holds that of {found}")]
    OtherAddress {
        /// What the file says.
        stated: Address,
        /// Whose key it is.
        found: Address,
    },
}

impl Keystore {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// When it is no keystore of version 3, or asks for too much work.
    pub fn parse(text: &str) -> Result<Keystore, KeystoreError> {
        read::keystore(text)
    }

    /// The address that the file states. Nothing proves it before the file is opened.
    #[must_use]
    pub fn address(&self) -> Option<Address> {
        self.address
    }

    /// The path of the key in its phrase's tree, if this program wrote it into the file.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// The key.
    ///
    /// # Errors
    ///
    /// When the passphrase is wrong, or the file holds no key or another one than it states.
    pub fn open(
        &self,
        passphrase: &Passphrase,
    ) -> Result<Zeroizing<[u8; KEY_SIZE]>, KeystoreError> {
        let (cipher, check) = self.slow.hash(passphrase, &self.salt)?;
        if mac(&check, &self.hidden) != self.mac {
            return Err(KeystoreError::WrongPassphrase);
        }
        let mut bytes = Zeroizing::new(self.hidden.clone());
        Ctr128BE::<Aes128>::new((&*cipher).into(), &self.iv.into()).apply_keystream(&mut bytes);
        let mut key = Zeroizing::new([0; KEY_SIZE]);
        key.iter_mut().rev().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
        let found = Secret::new(*key).ok_or(KeystoreError::NoKey)?.address();
        match self.address {
            Some(stated) if stated != found => Err(KeystoreError::OtherAddress { stated, found }),
            _ => Ok(key),
        }
    }
}

/// Why a new file is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSealed {
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random(#[from] getrandom::Error),
    /// The system does not give the memory.
    #[error(transparent)]
    NoMemory(#[from] NoMemory),
}

/// The system does not give the memory that a passphrase takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system does not give the {size} bytes of memory that the keystore's passphrase takes")]
pub struct NoMemory {
    /// How much was asked for.
    size: usize,
}

/// The text of a new file. The path is a note for the owner, in a field that other wallets skip.
///
/// # Errors
///
/// When the system gives no random bytes, or not the memory.
pub fn seal(
    key: &[u8; KEY_SIZE],
    path: Option<Path>,
    passphrase: &Passphrase,
) -> Result<String, NotSealed> {
    let mut random = Random::default();
    getrandom::fill(&mut random.salt)?;
    getrandom::fill(&mut random.iv)?;
    getrandom::fill(&mut random.id)?;
    Ok(seal_with((key, path), passphrase, (SCRYPT, random))?)
}

fn seal_with(
    (key, path): (&[u8; KEY_SIZE], Option<Path>),
    passphrase: &Passphrase,
    (scrypt, random): (Scrypt, Random),
) -> Result<String, NoMemory> {
    let (cipher, check) = Slow::Scrypt(scrypt).hash(passphrase, &random.salt)?;
    let mut hidden = *key;
    Ctr128BE::<Aes128>::new((&*cipher).into(), &random.iv.into()).apply_keystream(&mut hidden);
    let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
    let address = Secret::new(*key).map(|secret| hex(&secret.address().0)).unwrap_or_default();
    let note = path.map(|path| format!(",\n  \"x-mashaa\": {{\"path\": \"{path}\"}}"));
    Ok(format!(
        r#"{{
  "address": "{address}",
  "crypto": {{
    "cipher": "aes-128-ctr",
    "cipherparams": {{"iv": "{iv}"}},
    "ciphertext": "{hidden}",
    "kdf": "scrypt",
    "kdfparams": {{"dklen": 32, "n": {n}, "r": {r}, "p": {p}, "salt": "{salt}"}},
    "mac": "{mac}"
  }},
  "id": "{id}",
  "version": 3{note}
}}
"#,
        iv = hex(&random.iv),
        hidden = hex(&hidden),
        n = scrypt.n,
        r = scrypt.r,
        p = scrypt.p,
        salt = hex(&random.salt),
        mac = hex(&mac(&check, &hidden)),
        id = uuid(random.id),
        note = note.unwrap_or_default(),
    ))
}

/// The two halves of the slow hash.
type Halves = (Zeroizing<[u8; 16]>, Zeroizing<[u8; 16]>);

impl Slow {
    fn hash(self, passphrase: &Passphrase, salt: &[u8]) -> Result<Halves, NoMemory> {
        let passphrase = passphrase.text().as_bytes();
        let mut hash = Zeroizing::new([0; 32]);
        match self {
            Slow::Scrypt(numbers) => scrypt::hash(passphrase, salt, numbers, &mut *hash)?,
            Slow::Pbkdf2 { rounds } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(passphrase, salt, rounds, &mut *hash);
            }
        }
        let mut halves = [[0; 16]; 2].map(Zeroizing::new);
        let places = halves.iter_mut().flat_map(|half| half.iter_mut());
        places.zip(&*hash).for_each(|(to, from)| *to = *from);
        let [cipher, check] = halves;
        Ok((cipher, check))
    }
}

fn mac(check: &[u8; 16], hidden: &[u8]) -> [u8; 32] {
    let bytes = Zeroizing::new([check, hidden].concat());
    keccak256(&bytes).0
}

/// The text of a random UUID (RFC 9562, section 5.4).
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    let digits = HEXLOWER.encode(&bytes);
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    text
}

impl fmt::Debug for Keystore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(out, "Keystore of {address}"),
            None => out.write_str("Keystore"),
        }
    }
}

#[cfg(test)]
mod tests;
