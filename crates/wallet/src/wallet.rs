//! A member's key, opened.
//!
//! Invariants: the key is one of the curve's. It is erased from memory when the wallet is dropped,
//! only `to_hex` and `to_keystore` show it, and `secret` gives it to the program itself. A wallet signs orders and texts, each under a head of
//! its own (EIP-712 and EIP-191), and never a bare hash, behind which anything could be hidden.
//!
//! Not here: where wallets are kept (`wallets`).

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use types::envelope::{Order, Signed};
use types::id::{Address, Hash};
use types::signature::{Secret, Signature};
use types::siwe::personal_hash;
use types::transaction::Voucher;
use types::typed::signing_hash;
use zeroize::Zeroizing;

use crate::derive::{self, NoKey, Path};
use crate::keystore::{self, Keystore, KeystoreError, NotSealed};
use crate::passphrase::Passphrase;
use crate::phrase::Phrase;

/// Draws of a random key before it is clear that the system's randomness is broken; one in 2^128 is
/// no key.
const DRAWS_MAX: usize = 4;

/// A key that can sign.
pub struct Wallet {
    key: Zeroizing<[u8; 32]>,
    secret: Secret,
    path: Option<Path>,
}

/// A text is no key: it has not 64 hexadecimal digits, or they are none of the curve's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("text is no secret key of 64 hexadecimal digits")]
pub struct NotHex;

impl Wallet {
    /// The wallet of a phrase, at a path. BIP-39's passphrase may be empty.
    ///
    /// # Errors
    ///
    /// When BIP-32 gives the path no key.
    pub fn from_phrase(phrase: &Phrase, passphrase: &str, path: Path) -> Result<Wallet, NoKey> {
        let key = derive::key(&phrase.seed(passphrase), path)?;
        Wallet::of(key, Some(path)).ok_or(NoKey(path))
    }

    /// The wallet of a secret key in hexadecimal digits, with or without `0x`.
    ///
    /// # Errors
    ///
    /// When the text is no key.
    pub fn from_hex(text: &str) -> Result<Wallet, NotHex> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).map_err(|_| NotHex)?;
        let bytes = Zeroizing::new(bytes);
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| NotHex)?;
        Wallet::of(Zeroizing::new(key), None).ok_or(NotHex)
    }

    /// The wallet in a keystore's text.
    ///
    /// # Errors
    ///
    /// When the text is no keystore, or the passphrase does not open it.
    pub fn from_keystore(text: &str, passphrase: &Passphrase) -> Result<Wallet, KeystoreError> {
        let keystore = Keystore::parse(text)?;
        let key = keystore.open(passphrase)?;
        Wallet::of(key, keystore.path()).ok_or(KeystoreError::NoKey)
    }

    /// A wallet with a random key, which no phrase gives back.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn random() -> Result<Wallet, getrandom::Error> {
        for _ in 0..DRAWS_MAX {
            let mut key = Zeroizing::new([0; 32]);
            getrandom::fill(&mut *key)?;
            if let Some(wallet) = Wallet::of(key, None) {
                return Ok(wallet);
            }
        }
        Err(getrandom::Error::UNEXPECTED)
    }

    fn of(key: Zeroizing<[u8; 32]>, path: Option<Path>) -> Option<Wallet> {
        let secret = Secret::new(*key)?;
        Some(Wallet { key, secret, path })
    }

    /// The key's address, which is the name of its account.
    #[must_use]
    pub fn address(&self) -> Address {
        self.secret.address()
    }

    /// Where the key is in its phrase's tree, if it came from one.
    #[must_use]
    pub fn path(&self) -> Option<Path> {
        self.path
    }

    /// Signs an order for the network with this genesis.
    #[must_use]
    pub fn sign(&self, order: Order, genesis: &Hash) -> Signed {
        order.sign(&self.secret, genesis)
    }

    /// Signs a voucher for the network with this genesis.
    #[must_use]
    pub fn sign_voucher(&self, voucher: &Voucher, genesis: &Hash) -> Signature {
        self.secret.sign(&signing_hash(&voucher.shown(), genesis))
    }

    /// The key for a program that signs by itself while it runs, such as a node that pays.
    #[must_use]
    pub fn secret(&self) -> Secret {
        self.secret.clone()
    }

    /// Signs a text as `personal_sign` does (EIP-191), such as a sign-in.
    #[must_use]
    pub fn sign_text(&self, text: &str) -> Signature {
        self.secret.sign(&personal_hash(text))
    }

    /// The secret key: 64 hexadecimal digits after `0x`. Whoever sees it owns the account.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        // Room for all at once, so that no shorter copy is left behind.
        let mut text = Zeroizing::new(String::with_capacity(66));
        text.push_str("0x");
        HEXLOWER.encode_append(&*self.key, &mut text);
        text
    }

    /// The text of a new keystore with the key. Takes about a second and 256 MiB.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes, or not the memory.
    pub fn to_keystore(&self, passphrase: &Passphrase) -> Result<String, NotSealed> {
        keystore::seal(&self.key, self.path, passphrase)
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Wallet of {}", self.address())
    }
}

#[cfg(test)]
mod tests;
