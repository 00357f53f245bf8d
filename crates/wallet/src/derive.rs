//! Which key is made from a seed: BIP-32, at the path that Ethereum's wallets use.
//!
//! Not here: public keys of branches, which nothing asks for, and the text form of branches.

use std::fmt;

use hmac::{Hmac, Mac};
use secp256k1::{PublicKey, SECP256K1, Scalar, SecretKey};
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::phrase::Seed;

/// BIP-32: numbers from here on are hardened.
const HARDENED: u32 = 1 << 31;

/// The path `m/44'/60'/0'/0/i` of BIP-44: purpose 44, coin 60, first account, receiving keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    index: u32,
}

/// BIP-32 gives this branch no key, which happens once in 2^127 seeds; take the next index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed has no key at {0}; take the next index")]
pub struct NoKey(pub Path);

/// A key and its chain code: a place in BIP-32's tree.
struct Branch {
    key: SecretKey,
    chain: Zeroizing<[u8; 32]>,
}

impl Path {
    /// The path of a wallet's key with this index; none from 2^31 on.
    #[must_use]
    pub fn new(index: u32) -> Option<Path> {
        (index < HARDENED).then_some(Path { index })
    }

    fn numbers(self) -> [u32; 5] {
        [44 | HARDENED, 60 | HARDENED, HARDENED, 0, self.index]
    }

    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Path> {
        let index = text.strip_prefix("m/44'/60'/0'/0/")?;
        let path = Path::new(index.parse().ok()?)?;
        (path.to_string() == text).then_some(path)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "m/44'/60'/0'/0/{}", self.index)
    }
}

/// The 32 bytes of the key at a path.
///
/// # Errors
///
/// When BIP-32 gives the path none.
pub fn key(seed: &Seed, path: Path) -> Result<Zeroizing<[u8; 32]>, NoKey> {
    let mut branch = Branch::root(seed.bytes());
    for number in path.numbers() {
        branch = branch.and_then(|branch| branch.child(number));
    }
    branch.map(|branch| Zeroizing::new(branch.key.secret_bytes())).ok_or(NoKey(path))
}

impl Branch {
    /// BIP-32, master key generation.
    fn root(seed: &[u8]) -> Option<Branch> {
        let [left, chain] = halves(b"Bitcoin seed", &[seed]);
        let key = SecretKey::from_byte_array(*left).ok()?;
        Some(Branch { key, chain })
    }

    /// BIP-32, `CKDpriv`: a hardened child hashes the secret key, another the public one.
    fn child(&self, number: u32) -> Option<Branch> {
        let parent = match number >= HARDENED {
            true => {
                let mut bytes = Zeroizing::new([0; 33]);
                let secret = Zeroizing::new(self.key.secret_bytes());
                bytes.iter_mut().skip(1).zip(&*secret).for_each(|(to, from)| *to = *from);
                bytes
            }
            false => Zeroizing::new(PublicKey::from_secret_key(SECP256K1, &self.key).serialize()),
        };
        let [left, chain] = halves(&*self.chain, &[&*parent, &number.to_be_bytes()]);
        let tweak = Scalar::from_be_bytes(*left).ok()?;
        let key = self.key.add_tweak(&tweak).ok()?;
        Some(Branch { key, chain })
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        self.key.non_secure_erase();
    }
}

/// The two halves of an HMAC-SHA512.
fn halves(key: &[u8], parts: &[&[u8]]) -> [Zeroizing<[u8; 32]>; 2] {
    let mut mac = Hmac::<Sha512>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    let digest = Zeroizing::new(<[u8; 64]>::from(mac.finalize().into_bytes()));
    let mut halves = [[0; 32]; 2].map(Zeroizing::new);
    let places = halves.iter_mut().flat_map(|half| half.iter_mut());
    places.zip(&*digest).for_each(|(to, from)| *to = *from);
    halves
}

#[cfg(test)]
mod tests;
