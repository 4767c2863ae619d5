//! The standard words of a ticket: what kind of request it is, and how urgent.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum whose values are words: in a draft, on the wire and in a hotline's files.
macro_rules! standard_words {
    ($(#[$about:meta])* $name:ident, $what:literal, $($(#[$doc:meta])* $value:ident = $word:literal,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum $name {
            $($(#[$doc])* $value,)*
        }

        impl $name {
            /// All of them, in the order in which they are offered.
            pub const ALL: [Self; Self::WORDS.len()] = [$(Self::$value),*];
            /// Their words in the same order.
            pub const WORDS: [&'static str; [$($word),*].len()] = [$($word),*];

            /// Its word.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)*
                }
            }

            /// The one with this word.
            #[must_use]
            pub fn of_word(word: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|one| one.word() == word)
            }
        }

        impl From<$name> for &'static str {
            fn from(one: $name) -> Self {
                one.word()
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnknownWord;

            fn try_from(word: String) -> Result<Self, UnknownWord> {
                Self::of_word(&word).ok_or(UnknownWord {
                    word,
                    what: $what,
                    known: &Self::WORDS,
                })
            }
        }
    };
}

standard_words! {
    /// What a caller wants of the hotline.
    RequestType, "kind of request",
    /// Wants to know something.
    Inquiry = "咨询",
    /// Needs something done.
    Help = "求助",
    /// Was wronged and wants it put right.
    Complaint = "投诉",
    /// Tells of somebody's wrong.
    TipOff = "举报",
    /// Wants something to be different.
    Suggestion = "建议",
    /// Thanks somebody.
    Praise = "表扬",
}

standard_words! {
    /// How urgent a ticket is, the least urgent first.
    Urgency, "urgency",
    /// Nobody is in need.
    Normal = "一般",
    /// Somebody is in need.
    Urgent = "紧急",
    /// Life or limb is in danger.
    Critical = "特急",
}

impl RequestType {
    /// Whether nothing has happened that must be proved or made good: whoever asks, suggests or praises tells of none.
    #[must_use]
    pub const fn tells_of_no_event(self) -> bool {
        matches!(self, Self::Inquiry | Self::Suggestion | Self::Praise)
    }
}

/// A word that is none of the standard ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    word: String,
    what: &'static str,
    known: &'static [&'static str],
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { word, what, known } = self;
        write!(f, "{word} is no {what}; use one of {}", known.join(" "))
    }
}

impl std::error::Error for UnknownWord {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_word_is_the_wire_and_any_other_is_refused_with_those_that_there_are() {
        for kind in RequestType::ALL {
            let word = serde_json::to_string(&kind).expect("JSON");
            assert_eq!(word, format!("\"{}\"", kind.word()));
            assert_eq!(serde_json::from_str::<RequestType>(&word).ok(), Some(kind));
        }
        let error = serde_json::from_str::<Urgency>("\"火急\"").expect_err("refused");
        assert_eq!(
            error.to_string(),
            "火急 is no urgency; use one of 一般 紧急 特急"
        );
        assert!(Urgency::Normal < Urgency::Urgent && Urgency::Urgent < Urgency::Critical);
    }
}
