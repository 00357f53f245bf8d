//! Choices between words: one byte in a message, one word in a wallet's window.
//!
//! Not here: choices with contents (`record`).

/// Defines an enum whose variants are words, each with its number.
#[macro_export]
macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $meaning:literal])+ $number:literal $variant:ident = $word:literal,)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl $name {
            /// All words, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant,)+];

            /// The number that stands for the word in canonical bytes.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $($name::$variant => $number,)+ }
            }

            /// The word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }

            /// What the word means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $($name::$variant => concat!($($meaning),+),)+ }
            }

            /// Finds a word.
            #[must_use]
            pub fn parse(word: &str) -> Option<$name> {
                $name::ALL.iter().copied().find(|variant| variant.word() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str(self.word())
            }
        }

        impl $crate::codec::Canonical for $name {
            fn write(&self, out: &mut Vec<u8>) {
                out.push(self.number());
            }

            fn read(
                reader: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::Malformed> {
                match <u8 as $crate::codec::Canonical>::read(reader)? {
                    $($number => Ok($name::$variant),)+
                    number => Err($crate::codec::Malformed::UnknownVariant { number }),
                }
            }
        }

        impl $crate::typed::Show for $name {
            fn kind() -> $crate::typed::Kind {
                $crate::typed::Kind::Text
            }

            fn show(&self) -> $crate::typed::Value {
                $crate::typed::Value::Text(self.word().to_owned())
            }

            fn wire() -> String {
                let listed: Vec<String> =
                    $name::ALL.iter().map(|it| format!("{} {}", it.number(), it.word())).collect();
                let all = if listed.len() > 8 { "see below".to_owned() } else { listed.join(", ") };
                format!("1: {all}")
            }
        }
    };
}

words! {
    /// A voter's choice.
    Choice {
        /// For the proposal.
        1 Yes = "yes",
        /// Against the proposal.
        2 No = "no",
        /// Counts for the quorum only.
        3 Abstain = "abstain",
    }
}

words! {
    /// What a session key may do for its account.
    Scope {
        /// Transfer, pay for use and give.
        1 Pay = "pay",
        /// Open, top up, redeem and close channels.
        2 Channel = "channel",
        /// Register and retire models and datasets.
        3 Publish = "publish",
        /// Propose and vote.
        4 Vote = "vote",
        /// Redeem batches, audit, answer audits and dispute.
        5 Audit = "audit",
    }
}

words! {
    /// What an auditor has found.
    Finding {
        /// The root is the receipt's, and every token is the one that the rules choose.
        1 Match = "match",
        /// The root or a token is another.
        2 NoMatch = "no-match",
        /// It could not tell.
        3 Inconclusive = "inconclusive",
    }
}

words! {
    /// Why an auditor has no payload.
    Lack {
        /// The worker did not answer in time.
        1 Timeout = "timeout",
        /// The worker refused.
        2 Refused = "refused",
    }
}

words! {
    /// The bar that a proposal must pass; also what a delegation is about.
    Tier {
        /// Works in the commons, members, session of ordinary business.
        1 Ordinary = "ordinary",
        /// Spending, credit lines and issue.
        2 Budget = "budget",
        /// Economic parameters and validators.
        3 Parameter = "parameter",
        /// The constitution, the guardian and the rules of voting.
        4 Constitution = "constitution",
    }
}

words! {
    /// What kind of work is registered.
    WorkKind {
        /// A model.
        1 Model = "model",
        /// A dataset.
        2 Dataset = "dataset",
    }
}

words! {
    /// A common account that anyone may give to.
    Fund {
        /// The treasury, whose surplus is divided.
        1 Treasury = "treasury",
        /// The commons fund, which members grant from by vote.
        2 Commons = "commons",
        /// The reserve, which nobody can distribute.
        3 Reserve = "reserve",
    }
}

words! {
    /// How credits come into being, fixed at genesis.
    Policy {
        /// Members' balances may fall to minus their credit lines; nothing is issued.
        1 Mutual = "mutual",
        /// An elected cashier issues credits against payment and takes them back.
        2 Prepaid = "prepaid",
        /// Credits are issued to the commons fund on a schedule that members vote.
        3 Issued = "issued",
    }
}
