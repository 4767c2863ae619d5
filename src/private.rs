//! `Private<T>`: a value that belongs to a citizen (a phone number, a name, an address, spoken words).
//!
//! It prints masked wherever it is formatted, so a log line, a panic message or a span field cannot leak it;
//! there is no switch that turns the mask off. Code that must show the value to somebody who may see it
//! (the operator's page, the ticketing backend) calls [`Private::reveal`] on purpose.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A personal datum; `Debug` and `Display` print only that there is one and how long it is.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Marks `value` as personal.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for a receiver who may see it.
    pub const fn reveal(&self) -> &T {
        &self.0
    }

    /// Unwraps the value, for a receiver who may see it.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl From<&str> for Private<String> {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl From<String> for Private<String> {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl<T: AsRef<str>> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "‹{} chars›", self.0.as_ref().chars().count())
    }
}

impl<T: AsRef<str>> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Private;

    #[test]
    fn formatting_a_private_value_shows_its_length_and_nothing_of_its_content() {
        let phone = Private::from("13863512207");
        for shown in [
            format!("{phone}"),
            format!("{phone:?}"),
            format!("{phone:#?}"),
        ] {
            assert_eq!(shown, "‹11 chars›");
        }
        assert_eq!(phone.reveal(), "13863512207");
    }
}
