//! What a work order is: what happened to it, put together.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, DateTime};
use serde::{Deserialize, Serialize};

use super::command::{Attachment, Card, Event, Parties, Rating, Ruling, Text};
use super::limit::{About, Limit, LimitKind};
use super::permission::{Actor, Capacity};
use crate::private::Private;

/// Where a work order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// 待受理: it came from a call.
    Received,
    /// 待派.
    ToDispatch,
    /// 已派: the lead has not taken it yet.
    Dispatched,
    /// 办理.
    Handling,
    /// 退单待裁.
    Objected,
    /// 已答复: the hall looks at it.
    Replied,
    /// 办结: the citizen is asked next.
    Finished,
    /// 已评价.
    Rated,
    /// 归档.
    Filed,
}

impl Stage {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::Received,
        Self::ToDispatch,
        Self::Dispatched,
        Self::Handling,
        Self::Objected,
        Self::Replied,
        Self::Finished,
        Self::Rated,
        Self::Filed,
    ];
}

/// How it went out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// On the call.
    AnsweredDirectly,
    /// To an emergency line or a utility.
    HandedOver,
    /// It is none of the hotline's.
    Declined,
    /// By units.
    Done,
}

/// Who called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The name, where it was given.
    #[serde(default)]
    pub name: Private<String>,
    /// Where the citizen can be called.
    #[serde(default)]
    pub phone: Private<String>,
}

/// What a unit has to do with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// It was taken.
    pub taken: bool,
    /// What was done.
    pub reply: Option<Text>,
}

/// Something that happened, when, and by whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Happened {
    /// In the site's time.
    pub at: DateTime,
    /// By whom.
    pub by: Actor,
    /// What.
    pub event: Event,
}

/// A work order.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkOrder {
    /// Its number.
    pub id: String,
    /// What limits depend on.
    pub about: About,
    /// Who called.
    pub caller: Caller,
    /// Where it stands.
    pub stage: Stage,
    /// How it went out, once it did.
    pub outcome: Option<Outcome>,
    /// Who handles it.
    pub parties: Option<Parties>,
    /// What each of them has to do with it.
    pub parts: BTreeMap<String, Part>,
    /// What the lead answers for all.
    pub reply: Option<Text>,
    /// When it was first sent to a unit.
    pub dispatched: Option<DateTime>,
    /// How often it was sent to one.
    pub passes: u32,
    /// How often a unit has objected.
    pub objections: u32,
    /// Who has objected, while that is being decided, and in which stage it stood.
    pub objecting: Option<(String, Stage)>,
    /// Nobody objects any more.
    pub ruled_finally: bool,
    /// How often it was sent back by the hall.
    pub sent_back: u32,
    /// How often it was done again.
    pub round: u32,
    /// Whether it stands higher.
    pub raised: bool,
    /// What the citizen said last.
    pub rating: Option<Rating>,
    /// How often the citizen was not reached, since it was finished last.
    pub tries: u32,
    /// The limits that run.
    pub limits: BTreeMap<LimitKind, Limit>,
    /// The cards that were shown.
    pub cards: BTreeSet<(LimitKind, Card)>,
    /// An extension that is asked for.
    pub asked_days: Option<u32>,
    /// Working days that were given so far.
    pub extended_days: u32,
    /// Since when it is suspended, and when it is looked at again.
    pub suspended: Option<(DateTime, Date)>,
    /// Whether it is supervised.
    pub supervised: bool,
    /// What it goes on under.
    pub parent: Option<String>,
    /// What goes on under it.
    pub children: BTreeSet<String>,
    /// How often somebody has urged.
    pub urges: u32,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// Units do not see the caller.
    pub confidential: bool,
    /// How often it was opened again after it was filed.
    pub reopened: u32,
}

/// The number of the `serial`th work order of a day.
#[must_use]
pub fn number(day: Date, serial: u32) -> String {
    format!(
        "{:04}{:02}{:02}-{serial:06}",
        day.year(),
        day.month(),
        day.day()
    )
}

impl WorkOrder {
    /// One to which nothing has happened yet.
    #[must_use]
    pub fn new(id: &str, about: About, caller: Caller, confidential: bool) -> Self {
        Self {
            id: id.to_owned(),
            about,
            caller,
            stage: Stage::Received,
            outcome: None,
            parties: None,
            parts: BTreeMap::new(),
            reply: None,
            dispatched: None,
            passes: 0,
            objections: 0,
            objecting: None,
            ruled_finally: false,
            sent_back: 0,
            round: 0,
            raised: false,
            rating: None,
            tries: 0,
            limits: BTreeMap::new(),
            cards: BTreeSet::new(),
            asked_days: None,
            extended_days: 0,
            suspended: None,
            supervised: false,
            parent: None,
            children: BTreeSet::new(),
            urges: 0,
            attachments: Vec::new(),
            confidential,
            reopened: 0,
        }
    }

    /// `new` after all that happened to it.
    #[must_use]
    pub fn of<'h>(mut new: Self, history: impl IntoIterator<Item = &'h Happened>) -> Self {
        for happened in history {
            new.evolve(happened);
        }
        new
    }

    /// Who called, as far as `actor` may see it.
    #[must_use]
    pub fn caller_for(&self, actor: &Actor) -> Option<&Caller> {
        let is_hidden = self.confidential && actor.capacity == Capacity::Unit;
        (!is_hidden).then_some(&self.caller)
    }

    /// What part `unit` has in it.
    #[must_use]
    pub fn is_party(&self, unit: &str) -> bool {
        self.parts.contains_key(unit)
    }

    /// Whether `unit` answers for all.
    #[must_use]
    pub fn is_lead(&self, unit: &str) -> bool {
        self.parties
            .as_ref()
            .is_some_and(|parties| parties.lead == unit)
    }

    fn send(&mut self, parties: &Parties, at: DateTime) {
        let units = std::iter::once(&parties.lead).chain(&parties.joint);
        // A unit that was a party before keeps what it has done.
        let mut before = std::mem::take(&mut self.parts);
        self.parts = units
            .map(|unit| {
                let part = before.remove(unit).unwrap_or_default();
                (
                    unit.clone(),
                    Part {
                        taken: false,
                        ..part
                    },
                )
            })
            .collect();
        self.parties = Some(parties.clone());
        self.dispatched.get_or_insert(at);
        self.passes += 1;
        self.stage = Stage::Dispatched;
    }

    /// Puts what happened into the state; it was allowed when it happened.
    pub fn evolve(&mut self, happened: &Happened) {
        match &happened.event {
            Event::AnsweredDirectly { answer, .. } => {
                self.reply = Some(answer.clone());
                self.outcome = Some(Outcome::AnsweredDirectly);
            }
            Event::HandedOver { .. } => self.outcome = Some(Outcome::HandedOver),
            Event::Declined { .. } => self.outcome = Some(Outcome::Declined),
            Event::Accepted => self.stage = Stage::ToDispatch,
            Event::Dispatched { parties, .. } => self.send(parties, happened.at),
            Event::Taken { unit } => {
                let is_lead = self.is_lead(unit);
                if let Some(part) = self.parts.get_mut(unit) {
                    part.taken = true;
                }
                if is_lead {
                    self.stage = Stage::Handling;
                }
            }
            Event::Objected { unit, .. } => {
                self.objections += 1;
                self.objecting = Some((unit.clone(), self.stage));
                self.stage = Stage::Objected;
            }
            Event::Ruled {
                ruling, is_final, ..
            } => {
                let before = self
                    .objecting
                    .take()
                    .map_or(Stage::Dispatched, |(_, stage)| stage);
                self.ruled_finally |= is_final;
                match ruling {
                    Ruling::Elsewhere(parties) | Ruling::Negotiated(parties) => {
                        self.send(parties, happened.at);
                    }
                    Ruling::Refused => self.stage = before,
                }
            }
            Event::PartReplied { unit, text } => {
                if let Some(part) = self.parts.get_mut(unit) {
                    part.reply = Some(text.clone());
                }
            }
            Event::Replied { text } => {
                self.reply = Some(text.clone());
                self.stage = Stage::Replied;
            }
            Event::Approved => {
                self.finish();
            }
            Event::SentBack { .. } => {
                self.sent_back += 1;
                self.stage = Stage::Handling;
            }
            Event::CallBackTried { .. } => self.tries += 1,
            Event::Rated { rating } => {
                self.rating = Some(rating.clone());
                self.stage = Stage::Rated;
            }
            Event::LeftUnrated => self.stage = Stage::Rated,
            Event::Again { round } => {
                self.round = *round;
                self.parent = None;
                self.asked_days = None;
                self.extended_days = 0;
                for part in self.parts.values_mut() {
                    *part = Part::default();
                }
                if self.parties.is_some() {
                    self.passes += 1;
                    self.stage = Stage::Dispatched;
                } else {
                    self.stage = Stage::ToDispatch;
                }
            }
            Event::Raised => self.raised = true,
            Event::Filed => {
                self.stage = Stage::Filed;
                self.limits.clear();
                self.supervised = false;
            }
            Event::Reopened { .. } => {
                self.reopened += 1;
                self.outcome = None;
                self.parent = None;
                (self.parties, self.reply) = (None, None);
                self.parts.clear();
                self.dispatched = None;
                (self.objections, self.ruled_finally) = (0, false);
                (self.asked_days, self.extended_days) = (None, 0);
                self.cards.clear();
                self.stage = Stage::ToDispatch;
            }
            Event::ExtensionAsked { days, .. } => self.asked_days = Some(*days),
            Event::ExtensionDecided { approved, .. } => {
                let days = self.asked_days.take().unwrap_or_default();
                if *approved {
                    self.extended_days += days;
                }
            }
            Event::Suspended { review, .. } => self.suspended = Some((happened.at, *review)),
            Event::Resumed { .. } => self.suspended = None,
            Event::Supervised { .. } => self.supervised = true,
            Event::SupervisionEnded => self.supervised = false,
            Event::Merged { parent } => {
                self.parent = Some(parent.clone());
                // What it goes on under has limits of its own.
                self.limits.clear();
            }
            Event::Separated => self.parent = None,
            Event::Adopted { child } => drop(self.children.insert(child.clone())),
            Event::Released { child } => drop(self.children.remove(child)),
            Event::FinishedWithParent { answer } => {
                self.reply = Some(answer.clone());
                self.finish();
            }
            Event::Urged { .. } => self.urges += 1,
            Event::Attached { attachment } => self.attachments.push(attachment.clone()),
            Event::ConfidentialitySet { confidential } => self.confidential = *confidential,
            Event::Noted { .. } => {}
            Event::LimitSet { kind, limit } => {
                // A limit that was moved ahead of its cards has them before it again.
                self.cards.retain(|(of, card)| {
                    of != kind || moment(limit, *card).is_some_and(|at| at <= happened.at)
                });
                self.limits.insert(*kind, limit.clone());
            }
            Event::LimitMet { kind } => drop(self.limits.remove(kind)),
            Event::CardShown { kind, card } => drop(self.cards.insert((*kind, *card))),
        }
    }

    fn finish(&mut self) {
        self.outcome = Some(Outcome::Done);
        self.tries = 0;
        self.stage = Stage::Finished;
    }

    /// When something has to be looked at next without anybody asking: cards that are to be shown, and the review of what is
    /// suspended. While it is suspended, its limits stand still.
    #[must_use]
    pub fn next_due(&self) -> Option<DateTime> {
        if let Some((_, review)) = self.suspended {
            return Some(review.to_datetime(jiff::civil::Time::midnight()));
        }
        self.cards_to_come().map(|(at, ..)| at).min()
    }

    /// The cards that are not shown yet, with when they are.
    pub fn cards_to_come(&self) -> impl Iterator<Item = (DateTime, LimitKind, Card)> + '_ {
        let is_running = self.suspended.is_none() && self.parent.is_none();
        let limits = self.limits.iter().filter(move |_| is_running);
        limits.flat_map(move |(kind, limit)| {
            [Card::Yellow, Card::Due, Card::Red]
                .into_iter()
                .filter(|card| !self.cards.contains(&(*kind, *card)))
                .filter_map(|card| Some((moment(limit, card)?, *kind, card)))
        })
    }
}

/// When a card of a limit is shown, if it is.
pub(super) fn moment(limit: &Limit, card: Card) -> Option<DateTime> {
    match card {
        Card::Yellow => limit.yellow,
        Card::Due => Some(limit.due),
        Card::Red => limit.red,
    }
}
