//! Typed data that a wallet shows and signs, as EIP-712 defines it.
//!
//! The domain is `{name: "Mashaa", version: "1", salt: genesis hash}`. It has no chain id, since
//! wallets refuse one that is not their active chain's; the salt tells networks apart. Specified in
//! `docs/spec/transaction.md`, section 2.
//!
//! Invariants: the hash and the JSON are made from one description, so that what a wallet shows is
//! what it signs.
//!
//! Not here: which fields a message has (`record`, `envelope`).

use std::collections::BTreeMap;

use crate::amount::{Amount, Blocks, Height, Nonce};
use crate::bounded::{Bytes, List, Set, Text};
use crate::codec::Canonical;
use crate::id::{Address, Cid, Hash, keccak256};

/// The type of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `address`.
    Address,
    /// `string`.
    Text,
    /// `uint64`.
    Number,
    /// `bytes32`.
    Bytes32,
    /// `bytes`.
    Bytes,
    /// A struct.
    Record(Struct),
    /// An array of any length.
    List(Box<Kind>),
}

/// A struct's type: its name, and the names and types of its fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struct {
    /// Its name, in capitals and small letters.
    pub name: &'static str,
    /// Names and types, in order.
    pub fields: Vec<(String, Kind)>,
}

/// A field's value, with as much of its type as the value alone does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// An `address`.
    Address(Address),
    /// A `string`.
    Text(String),
    /// A `uint64`.
    Number(u64),
    /// A `bytes32`.
    Bytes32(Hash),
    /// `bytes`.
    Bytes(Vec<u8>),
    /// A struct's values, in the order of its fields.
    Record(Record),
    /// An array's values.
    List(Vec<Value>),
}

/// A struct with its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The type.
    pub of: Struct,
    /// One value for each field.
    pub values: Vec<Value>,
}

/// A value that a wallet can show.
pub trait Show {
    /// The type of its field.
    fn kind() -> Kind;

    /// The value.
    fn show(&self) -> Value;

    /// Its canonical bytes in words, for the specification.
    fn wire() -> String;
}

/// The hash that a wallet signs for the record, on the network with this genesis.
#[must_use]
pub fn signing_hash(record: &Record, genesis: &Hash) -> Hash {
    let mut bytes = vec![0x19, 0x01];
    bytes.extend_from_slice(&struct_hash(&domain(genesis)).0);
    bytes.extend_from_slice(&struct_hash(record).0);
    keccak256(&bytes)
}

/// The text that `eth_signTypedData_v4` takes.
#[must_use]
pub fn json(record: &Record, genesis: &Hash) -> String {
    let domain = domain(genesis);
    let mut types: BTreeMap<&str, &Struct> = BTreeMap::new();
    collect(&domain.of, &mut types);
    collect(&record.of, &mut types);
    let types: Vec<String> = types.iter().map(|(name, of)| type_json(name, of)).collect();
    format!(
        "{{\"types\":{{{}}},\"primaryType\":{},\"domain\":{},\"message\":{}}}",
        types.join(","),
        quote(record.of.name),
        record_json(&domain),
        record_json(record)
    )
}

/// `snake_case` as `camelCase`, the way wallets are used to.
#[must_use]
pub fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or("").to_owned();
    words.fold(first, |mut camel, word| {
        let mut chars = word.chars();
        camel.extend(chars.next().map(|char| char.to_ascii_uppercase()));
        camel.push_str(chars.as_str());
        camel
    })
}

fn domain(genesis: &Hash) -> Record {
    let fields = [("name", Kind::Text), ("version", Kind::Text), ("salt", Kind::Bytes32)];
    let fields = fields.map(|(name, kind)| (name.to_owned(), kind)).to_vec();
    let values = ["Mashaa", "1"].map(|text| Value::Text(text.to_owned()));
    let mut values = values.to_vec();
    values.push(Value::Bytes32(*genesis));
    Record { of: Struct { name: "EIP712Domain", fields }, values }
}

/// EIP-712, `hashStruct`.
fn struct_hash(record: &Record) -> Hash {
    let mut bytes = keccak256(type_text(&record.of).as_bytes()).0.to_vec();
    for value in &record.values {
        bytes.extend_from_slice(&word(value));
    }
    keccak256(&bytes)
}

/// EIP-712, `encodeData`: each value as 32 bytes.
fn word(value: &Value) -> [u8; 32] {
    match value {
        Value::Address(address) => padded(&address.0),
        Value::Number(number) => padded(&number.to_be_bytes()),
        Value::Text(text) => keccak256(text.as_bytes()).0,
        Value::Bytes32(hash) => hash.0,
        Value::Bytes(bytes) => keccak256(bytes).0,
        Value::Record(record) => struct_hash(record).0,
        Value::List(items) => {
            let bytes: Vec<u8> = items.iter().flat_map(word).collect();
            keccak256(&bytes).0
        }
    }
}

fn padded(bytes: &[u8]) -> [u8; 32] {
    let mut word = [0; 32];
    word.iter_mut().rev().zip(bytes.iter().rev()).for_each(|(to, from)| *to = *from);
    word
}

/// EIP-712, `encodeType`: the struct, then those it mentions, sorted by name.
fn type_text(of: &Struct) -> String {
    let mut mentioned = BTreeMap::new();
    collect(of, &mut mentioned);
    mentioned.remove(of.name);
    std::iter::once(&of).chain(mentioned.values()).map(|of| one_type_text(of)).collect()
}

fn one_type_text(of: &Struct) -> String {
    let fields: Vec<String> =
        of.fields.iter().map(|(name, kind)| format!("{} {name}", kind_name(kind))).collect();
    format!("{}({})", of.name, fields.join(","))
}

fn collect<'a>(of: &'a Struct, found: &mut BTreeMap<&'a str, &'a Struct>) {
    found.insert(of.name, of);
    for (_, kind) in &of.fields {
        let item = if let Kind::List(item) = kind { item } else { kind };
        if let Kind::Record(of) = item {
            collect(of, found);
        }
    }
}

/// The type's name in Solidity.
#[must_use]
pub fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Address => "address".to_owned(),
        Kind::Text => "string".to_owned(),
        Kind::Number => "uint64".to_owned(),
        Kind::Bytes32 => "bytes32".to_owned(),
        Kind::Bytes => "bytes".to_owned(),
        Kind::Record(of) => of.name.to_owned(),
        Kind::List(item) => format!("{}[]", kind_name(item)),
    }
}

fn type_json(name: &str, of: &Struct) -> String {
    let fields = of.fields.iter().map(|(field, kind)| {
        format!("{{\"name\":{},\"type\":{}}}", quote(field), quote(&kind_name(kind)))
    });
    format!("{}:[{}]", quote(name), fields.collect::<Vec<_>>().join(","))
}

fn record_json(record: &Record) -> String {
    let pairs = record.of.fields.iter().zip(&record.values);
    let pairs = pairs.map(|((name, _), value)| format!("{}:{}", quote(name), value_json(value)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}

/// Numbers are texts of decimal digits, which every wallet reads exactly.
fn value_json(value: &Value) -> String {
    match value {
        Value::Address(address) => quote(&address.to_string()),
        Value::Number(number) => quote(&number.to_string()),
        Value::Text(text) => quote(text),
        Value::Bytes32(hash) => quote(&hash.to_string()),
        Value::Bytes(bytes) => quote(&format!("0x{}", data_encoding::HEXLOWER.encode(bytes))),
        Value::Record(record) => record_json(record),
        Value::List(items) => {
            format!("[{}]", items.iter().map(value_json).collect::<Vec<_>>().join(","))
        }
    }
}

/// RFC 8259: quotes, backslashes and control characters are escaped.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for char in text.chars() {
        match char {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            _ if char.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(char))),
            _ => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

macro_rules! show {
    ($($type:ty, $kind:ident, $wire:literal, $show:expr;)*) => {$(
        impl Show for $type {
            fn kind() -> Kind {
                Kind::$kind
            }

            fn show(&self) -> Value {
                let show: fn(&$type) -> Value = $show;
                show(self)
            }

            fn wire() -> String {
                $wire.to_owned()
            }
        }
    )*};
}

show! {
    Address, Address, "20", |address| Value::Address(*address);
    Hash, Bytes32, "32", |hash| Value::Bytes32(*hash);
    Cid, Text, "36", |cid| Value::Text(cid.to_string());
    Amount, Text, "8, at most 2^53 - 1", |amount| Value::Text(amount.to_string());
    Height, Number, "8", |height| Value::Number(height.0);
    Blocks, Number, "8", |blocks| Value::Number(blocks.0);
    Nonce, Number, "8", |nonce| Value::Number(nonce.0);
    u64, Number, "8", |number| Value::Number(*number);
    u32, Number, "4", |number| Value::Number(u64::from(*number));
}

impl<const MAX: usize> Show for Text<MAX> {
    fn kind() -> Kind {
        Kind::Text
    }

    fn show(&self) -> Value {
        Value::Text(self.as_str().to_owned())
    }

    fn wire() -> String {
        format!("4 + at most {MAX} of UTF-8")
    }
}

impl<const MAX: usize> Show for Bytes<MAX> {
    fn kind() -> Kind {
        Kind::Bytes
    }

    fn show(&self) -> Value {
        Value::Bytes(self.as_slice().to_vec())
    }

    fn wire() -> String {
        format!("4 + at most {MAX}")
    }
}

impl<T: Show, const MAX: usize> Show for List<T, MAX> {
    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }

    fn show(&self) -> Value {
        Value::List(self.as_slice().iter().map(Show::show).collect())
    }

    fn wire() -> String {
        format!("4 + at most {MAX} times ({})", T::wire())
    }
}

impl<T: Show + Ord, const MAX: usize> Show for Set<T, MAX> {
    fn kind() -> Kind {
        Kind::List(Box::new(T::kind()))
    }

    fn show(&self) -> Value {
        Value::List(self.as_slice().iter().map(Show::show).collect())
    }

    fn wire() -> String {
        format!("4 + at most {MAX} times ({}), ascending", T::wire())
    }
}

impl<T: Show + Canonical + std::fmt::Display> Show for Option<T> {
    fn kind() -> Kind {
        Kind::Text
    }

    fn show(&self) -> Value {
        Value::Text(self.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string))
    }

    fn wire() -> String {
        format!("0, or 1 and {}", T::wire())
    }
}
