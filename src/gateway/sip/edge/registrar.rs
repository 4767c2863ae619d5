//! Where the hotline's own phones are registered, and what they were answered.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Instant;

use crate::sip::registrar::{Flow, Registrar, Terms};

/// The registrar of the edge.
pub(crate) struct Registrations {
    pub(crate) bindings: Mutex<Registrar>,
    /// For retransmissions.
    pub(crate) answers: Mutex<Answers>,
}

impl Registrations {
    pub(crate) fn new(terms: Terms) -> Self {
        Self {
            bindings: Mutex::new(Registrar::new(terms)),
            answers: Mutex::default(),
        }
    }
}

/// Answers that are kept for retransmissions.
const MAX_ANSWERS: usize = 1_024;

/// What a request is told from others by.
pub(crate) type Key = (Flow, String, String, u32);

/// The last answers to those who had the right password; a retransmission must not look like a replay.
#[derive(Default)]
pub(crate) struct Answers(VecDeque<(Key, Instant, Vec<u8>)>);

impl Answers {
    pub(crate) fn find(&self, key: &Key) -> Option<Vec<u8>> {
        let found = self.0.iter().rev().find(|(other, ..)| other == key)?;
        Some(found.2.clone())
    }

    pub(crate) fn keep(&mut self, key: Key, until: Instant, now: Instant, answer: Vec<u8>) {
        while self.0.len() >= MAX_ANSWERS || self.0.front().is_some_and(|first| first.1 < now) {
            self.0.pop_front();
        }
        self.0.push_back((key, until, answer));
    }
}
