//! Records and choices between records, each defined once.
//!
//! One definition gives the type, its canonical bytes, its typed data and its table in the
//! specification, so that the four cannot differ.
//!
//! Not here: the records themselves (`transaction`, `measure`, and the ledger's state).

/// One field of a record, as the specification shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// The field's name in typed data.
    pub name: String,
    /// Its canonical bytes in words.
    pub wire: String,
    /// Its type in typed data.
    pub kind: String,
    /// What it means.
    pub meaning: String,
}

/// A record, as the specification shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The number that stands for it in a choice.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub about: String,
    /// Its fields, in the order of the bytes.
    pub columns: Vec<Column>,
}

/// Defines a struct whose canonical bytes are its fields in order.
#[macro_export]
macro_rules! record {
    ($(#[$about:meta])* $name:ident {
        $($(#[$meaning:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$meaning])* pub $field: $type,)*
        }

        impl $crate::codec::Canonical for $name {
            fn write(&self, _out: &mut Vec<u8>) {
                $($crate::codec::Canonical::write(&self.$field, _out);)*
            }

            fn read(
                _reader: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::Malformed> {
                Ok($name { $($field: $crate::codec::Canonical::read(_reader)?,)* })
            }
        }
    };
}

/// Defines a record that a wallet can show.
#[macro_export]
macro_rules! shown_record {
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $meaning:literal])+ $field:ident: $type:ty,)*
    }) => {
        $crate::record! {
            $(#[doc = $about])+
            $name { $($(#[doc = $meaning])+ $field: $type,)* }
        }

        impl $name {
            /// What the record is, in a sentence.
            #[must_use]
            pub fn about() -> String {
                concat!($($about),+).trim().to_owned()
            }

            /// The fields, as the specification shows them.
            #[must_use]
            pub fn columns() -> Vec<$crate::record::Column> {
                vec![$($crate::record::Column {
                    name: $crate::typed::camel(stringify!($field)),
                    wire: <$type as $crate::typed::Show>::wire(),
                    kind: $crate::typed::kind_name(&<$type as $crate::typed::Show>::kind()),
                    meaning: concat!($($meaning),+).trim().to_owned(),
                },)*]
            }

            /// The fields as a wallet shows them.
            #[must_use]
            pub fn shown(&self) -> $crate::typed::Record {
                $crate::typed::Record {
                    of: $name::shape(),
                    values: vec![$($crate::typed::Show::show(&self.$field),)*],
                }
            }

            fn shape() -> $crate::typed::Struct {
                let fields = vec![$((
                    $crate::typed::camel(stringify!($field)),
                    <$type as $crate::typed::Show>::kind(),
                ),)*];
                $crate::typed::Struct { name: stringify!($name), fields }
            }
        }

        impl $crate::typed::Show for $name {
            fn kind() -> $crate::typed::Kind {
                $crate::typed::Kind::Record($name::shape())
            }

            fn show(&self) -> $crate::typed::Value {
                $crate::typed::Value::Record(self.shown())
            }

            fn wire() -> String {
                let wires: Vec<String> =
                    $name::columns().into_iter().map(|column| column.wire).collect();
                wires.join(" + ")
            }
        }
    };
}

/// Defines a choice between records of the variants' names, one byte and the record.
#[macro_export]
macro_rules! choice {
    ($(#[$about:meta])+ $name:ident { $($number:literal $variant:ident,)+ }) => {
        $(#[$about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $(#[doc = concat!("See [`", stringify!($variant), "`].")] $variant($variant),)+
        }

        impl $name {
            /// The number that stands for the variant.
            #[must_use]
            pub const fn number(&self) -> u8 {
                match self { $($name::$variant(_) => $number,)+ }
            }

            /// The variant's name.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $($name::$variant(_) => stringify!($variant),)+ }
            }

            /// The record as a wallet shows it.
            #[must_use]
            pub fn shown(&self) -> $crate::typed::Record {
                match self { $($name::$variant(record) => record.shown(),)+ }
            }

            /// All variants, as the specification shows them.
            #[must_use]
            pub fn tables() -> Vec<$crate::record::Table> {
                vec![$($crate::record::Table {
                    number: $number,
                    name: stringify!($variant),
                    about: $variant::about(),
                    columns: $variant::columns(),
                },)+]
            }
        }

        impl $crate::codec::Canonical for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.push(self.number());
                match self {
                    $($name::$variant(record) => $crate::codec::Canonical::write(record, out),)+
                }
            }

            fn read(
                reader: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::Malformed> {
                match <u8 as $crate::codec::Canonical>::read(reader)? {
                    $($number => $crate::codec::Canonical::read(reader).map($name::$variant),)+
                    number => Err($crate::codec::Malformed::UnknownVariant { number }),
                }
            }
        }
    };
}
