//! Who asks something of a call, for the records and the screens.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who acts on a call from outside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Actor {
    /// A person.
    User {
        /// As they are signed in.
        user: String,
        /// Where they sit: their machine's address.
        station: String,
    },
    /// An exchange that brings calls.
    Trunk {
        /// As the configuration names it.
        trunk: String,
    },
    /// A program.
    Service {
        /// The name that it is known by; without one, its address.
        service: String,
    },
    /// This gateway itself.
    System,
}

/// What kind of actor somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActorKind {
    /// A person.
    User,
    /// An exchange.
    Trunk,
    /// A program.
    Service,
    /// This gateway itself.
    System,
}

impl ActorKind {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Trunk => "trunk",
            Self::Service => "service",
            Self::System => "system",
        }
    }
}

impl Actor {
    /// What kind of actor it is.
    #[must_use]
    pub const fn kind(&self) -> ActorKind {
        match self {
            Self::User { .. } => ActorKind::User,
            Self::Trunk { .. } => ActorKind::Trunk,
            Self::Service { .. } => ActorKind::Service,
            Self::System => ActorKind::System,
        }
    }

    /// Its name; empty for this gateway itself.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User { user: name, .. }
            | Self::Trunk { trunk: name }
            | Self::Service { service: name } => name,
            Self::System => "",
        }
    }

    /// The machine a person sits at.
    #[must_use]
    pub fn station(&self) -> Option<&str> {
        match self {
            Self::User { station, .. } => Some(station),
            _ => None,
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        if !self.name().is_empty() {
            write!(f, " {}", self.name())?;
        }
        if let Some(station) = self.station() {
            write!(f, " at {station}")?;
        }
        Ok(())
    }
}
