//! How the trunks stand, for all who ask.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::gateway::sip::edge::config::Trunk;

/// How a trunk stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrunkState {
    /// Its name.
    pub name: String,
    /// Whether it answers; one that is not asked counts as up.
    pub up: bool,
    /// Whether we are registered with it; `None` where we need not be.
    pub registered: Option<bool>,
}

/// How a trunk stands, as its tasks find out.
pub(crate) struct TrunkLink {
    pub(crate) name: String,
    pub(crate) up: AtomicBool,
    pub(crate) registers: bool,
    pub(crate) registered: AtomicBool,
}

impl TrunkLink {
    pub(crate) fn new(trunk: &Trunk) -> Self {
        Self {
            name: trunk.name.clone(),
            up: AtomicBool::new(true),
            registers: trunk.register.is_some() && trunk.uri.is_some(),
            registered: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(crate) fn is_registered(&self) -> bool {
        self.registered.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> TrunkState {
        TrunkState {
            name: self.name.clone(),
            up: self.is_up(),
            registered: self.registers.then(|| self.is_registered()),
        }
    }
}
