//! Who is at which end of the call, who is on the way, and who is to go.

use std::time::{Duration, Instant};

use super::Reason;
use crate::sip::Party;
use crate::speech::Leg;

/// How long who has been replaced may take to hang up by itself, as RFC 5589 wants it.
const LEAVE: Duration = Duration::from_secs(4);

/// Somebody who is invited to take the operator's place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invitation {
    /// Who.
    pub party: Party,
    /// The party that asked for it and is told how it goes; `None` when somebody outside the call did.
    pub by: Option<Party>,
    /// How long it may ring.
    pub until: Instant,
}

/// The parties of one call.
#[derive(Debug)]
pub(crate) struct Parties {
    caller: Party,
    operator: Party,
    /// Who was invited last.
    newest: Party,
    /// The transfer under way.
    pub invited: Option<Invitation>,
    /// The operator went as soon as the transfer was under way.
    pub operator_gone: bool,
    leaving: Vec<(Party, Instant)>,
}

impl Parties {
    /// A caller and an operator.
    pub(crate) const fn new() -> Self {
        Self {
            caller: Party::CALLER,
            operator: Party::OPERATOR,
            newest: Party::OPERATOR,
            invited: None,
            operator_gone: false,
            leaving: Vec::new(),
        }
    }

    /// Who talks on a leg.
    pub(crate) const fn of(&self, leg: Leg) -> Party {
        match leg {
            Leg::Caller | Leg::Mono => self.caller,
            Leg::Operator => self.operator,
        }
    }

    /// The leg on which a party talks.
    pub(crate) fn leg(&self, party: Party) -> Option<Leg> {
        if party == self.caller {
            Some(Leg::Caller)
        } else if party == self.operator && !self.operator_gone {
            Some(Leg::Operator)
        } else {
            None
        }
    }

    /// Counts one more party that is invited; `None` when there have been too many.
    pub(crate) fn invite(&mut self, by: Option<Party>, until: Instant) -> Option<Party> {
        let party = self.newest.next()?;
        self.newest = party;
        self.invited = Some(Invitation { party, by, until });
        Some(party)
    }

    /// Gives a leg to another party; whose it was has to go.
    pub(crate) fn hand_over(&mut self, leg: Leg, to: Party) -> Party {
        match leg {
            Leg::Caller | Leg::Mono => std::mem::replace(&mut self.caller, to),
            Leg::Operator => {
                self.operator_gone = false;
                std::mem::replace(&mut self.operator, to)
            }
        }
    }

    /// Lets a party hang up by itself for a while.
    pub(crate) fn let_go(&mut self, now: Instant, party: Party) {
        self.leaving.push((party, now + LEAVE));
    }

    /// A party has hung up; whether it was one that had been replaced.
    pub(crate) fn has_left(&mut self, party: Party) -> bool {
        let before = self.leaving.len();
        self.leaving.retain(|(other, _)| *other != party);
        self.leaving.len() < before
    }

    /// Who should have hung up by now.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Party> {
        let at = self.leaving.iter().position(|(_, until)| *until <= now)?;
        Some(self.leaving.swap_remove(at).0)
    }

    /// Everybody who is not at an end of the call: they go with it.
    pub(crate) fn others(&mut self) -> impl Iterator<Item = Party> {
        let invited = self.invited.take().map(|invited| invited.party);
        std::mem::take(&mut self.leaving)
            .into_iter()
            .map(|(party, _)| party)
            .chain(invited)
    }

    /// When somebody has to be looked after.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Instant, Reason)> {
        let ring = self.invited.map(|invited| (invited.until, Reason::Ring));
        self.leaving
            .iter()
            .map(|(_, until)| (*until, Reason::Leave))
            .chain(ring)
    }
}
