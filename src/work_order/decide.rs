//! Commands and what happened so far → what happens, or a refusal.

use jiff::civil::DateTime;

use super::calendar::Calendar;
use super::command::{Attachment, Card, Command, Event, Parties, Rating, Refusal, Ruling};
use super::limit::{Limit, LimitKind, LimitRules, Step};
use super::order::{Stage, WorkOrder, moment};
use super::permission::{Actor, row};
use crate::private::Private;

/// What a site has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How often units may object before the ruling is final.
    pub objections: u32,
    /// How often a dissatisfied citizen's matter is done again before it is raised.
    pub rounds_until_raised: u32,
    /// How often it is done at most; a citizen who is dissatisfied after that stays so.
    pub rounds: u32,
    /// Working days that may be given in a round, all extensions together.
    pub extension_days: u32,
    /// How often a citizen is tried before the matter stays unrated.
    pub tries: u32,
    /// The largest file, in bytes.
    pub largest_file: u64,
    /// Media types that are taken, by their beginnings.
    pub media_types: Vec<String>,
}

impl Default for Policy {
    fn default() -> Self {
        let media_types = [
            "image/",
            "audio/",
            "video/",
            "text/plain",
            "application/pdf",
        ];
        Self {
            objections: 2,
            rounds_until_raised: 1,
            rounds: 3,
            extension_days: 10,
            tries: 3,
            largest_file: 20 * 1_024 * 1_024,
            media_types: media_types.map(str::to_owned).to_vec(),
        }
    }
}

/// What is decided by, beside the work order itself.
#[derive(Clone, Copy, Debug)]
pub struct World<'w> {
    /// Now, in the site's time.
    pub now: DateTime,
    /// Which days are worked.
    pub calendar: &'w Calendar,
    /// How long things may take.
    pub rules: &'w LimitRules,
    /// What the site has set.
    pub policy: &'w Policy,
}

/// What happens to `order` when `actor` asks for it.
///
/// # Errors
/// [`Refusal`]; nothing happens then.
pub fn decide(
    order: &WorkOrder,
    command: &Command,
    actor: &Actor,
    world: World<'_>,
) -> Result<Vec<Event>, Refusal> {
    let (stages, capacities) = row(command.kind()).ok_or(Refusal::NotNow { stage: order.stage })?;
    if !capacities.contains(&actor.capacity) {
        return Err(Refusal::NotYou {
            capacity: actor.capacity,
        });
    }
    if !stages.contains(&order.stage) {
        return Err(Refusal::NotNow { stage: order.stage });
    }
    Deciding {
        order,
        actor,
        world,
    }
    .decide(command)
}

/// What `events` of `order`, as it stood before them, ask of others: both sides of a merge know of it, and with a parent its
/// children are finished, so that each caller has an answer and is asked. All of it happens, or nothing does.
#[must_use]
pub fn followers(order: &WorkOrder, events: &[Event]) -> Vec<(String, Command)> {
    let child = || order.id.clone();
    let mut follow = Vec::new();
    for event in events {
        match event {
            Event::Merged { parent } => {
                follow.push((parent.clone(), Command::Adopt { child: child() }));
            }
            Event::Separated | Event::Again { .. } | Event::Reopened { .. } => {
                let parent = order.parent.iter();
                follow.extend(
                    parent.map(|parent| (parent.clone(), Command::Release { child: child() })),
                );
            }
            Event::Approved => {
                let answer = order.reply.clone().unwrap_or_default();
                follow.extend(order.children.iter().map(|child| {
                    let answer = answer.clone();
                    (child.clone(), Command::FinishWithParent { answer })
                }));
            }
            _ => {}
        }
    }
    follow
}

struct Deciding<'d> {
    order: &'d WorkOrder,
    actor: &'d Actor,
    world: World<'d>,
}

impl Deciding<'_> {
    fn decide(&self, command: &Command) -> Result<Vec<Event>, Refusal> {
        let order = self.order;
        self.demand_not_merged(command)?;
        self.demand_not_suspended(command)?;
        match command {
            Command::AnswerDirectly { answer, basis } => {
                given(answer)?;
                Ok(vec![
                    Event::AnsweredDirectly {
                        answer: answer.clone(),
                        basis: basis.clone(),
                    },
                    Event::Filed,
                ])
            }
            Command::HandOver { to, note } => {
                named(to)?;
                self.demand_no_children()?;
                let (to, note) = (to.clone(), note.clone());
                Ok(vec![Event::HandedOver { to, note }, Event::Filed])
            }
            Command::Decline { reason, go_to } => {
                named(reason)?;
                named(go_to)?;
                self.demand_no_children()?;
                let (reason, go_to) = (reason.clone(), go_to.clone());
                Ok(vec![Event::Declined { reason, go_to }, Event::Filed])
            }
            Command::Accept => Ok(vec![Event::Accepted]),
            Command::Dispatch { parties, note } => {
                sound(parties)?;
                let mut events = vec![Event::Dispatched {
                    parties: parties.clone(),
                    note: note.clone(),
                }];
                // The clock of the whole runs from the first dispatch and is stopped by no return.
                events.extend(self.begun(&[LimitKind::Take, LimitKind::Object, LimitKind::Finish]));
                Ok(events)
            }
            Command::Take => self.take(),
            Command::Object { reason, instead } => self.object(reason, instead),
            Command::Rule { ruling, reason } => self.rule(ruling, reason),
            Command::ReplyPart { text } => {
                given(text)?;
                self.demand_taken()?;
                let unit = self.actor.unit.clone();
                let text = text.clone();
                Ok(vec![Event::PartReplied { unit, text }])
            }
            Command::Reply { text } => {
                given(text)?;
                self.demand_lead()?;
                self.demand_nothing_pending()?;
                let missing = order
                    .parts
                    .iter()
                    .filter(|(unit, part)| !order.is_lead(unit) && part.reply.is_none());
                let units: Vec<_> = missing.map(|(unit, _)| unit.clone()).collect();
                if !units.is_empty() {
                    return Err(Refusal::PartsMissing { units });
                }
                Ok(vec![Event::Replied { text: text.clone() }])
            }
            Command::Approve => {
                let mut events = vec![Event::Approved];
                events.extend(self.met(&[LimitKind::Take, LimitKind::Object, LimitKind::Finish]));
                events.extend(self.begun(&[LimitKind::CallBack]));
                Ok(events)
            }
            Command::SendBack { reason } => {
                given(reason)?;
                let reason = reason.clone();
                Ok(vec![Event::SentBack { reason }])
            }
            Command::TryCallBack { note } => {
                let policy = self.world.policy;
                if order.tries >= policy.tries {
                    return Err(Refusal::TriedEnough);
                }
                let mut events = vec![Event::CallBackTried { note: note.clone() }];
                if order.tries + 1 == policy.tries {
                    events.push(Event::LeftUnrated);
                    events.extend(self.met(&[LimitKind::CallBack]));
                }
                Ok(events)
            }
            Command::Rate { rating } => Ok(self.rate(rating)),
            Command::File => Ok(vec![Event::Filed]),
            Command::Reopen { reason } => {
                given(reason)?;
                let reason = reason.clone();
                Ok(vec![Event::Reopened { reason }])
            }
            Command::AskExtension { days, reason } => {
                given(reason)?;
                self.demand_lead()?;
                self.demand_nothing_pending()?;
                let most = self.world.policy.extension_days
                    - order.extended_days.min(self.world.policy.extension_days);
                if *days == 0 || *days > most || !order.limits.contains_key(&LimitKind::Finish) {
                    return Err(Refusal::TooLong { most });
                }
                let (days, reason) = (*days, reason.clone());
                Ok(vec![Event::ExtensionAsked { days, reason }])
            }
            Command::DecideExtension { approved, reason } => {
                let days = order.asked_days.ok_or(Refusal::NothingAsked)?;
                let (approved, reason) = (*approved, reason.clone());
                let mut events = vec![Event::ExtensionDecided { approved, reason }];
                if approved {
                    events.extend(self.moved(&[LimitKind::Finish], Step::Extended(days)));
                }
                Ok(events)
            }
            Command::Suspend { review, reason } => {
                given(reason)?;
                self.demand_nothing_pending()?;
                if *review <= self.world.now.date() {
                    return Err(Refusal::PastReview);
                }
                let (review, reason) = (*review, reason.clone());
                Ok(vec![Event::Suspended { review, reason }])
            }
            Command::Resume => {
                let (since, _) = order.suspended.ok_or(Refusal::SuspendedAlready)?;
                let mut events = vec![Event::Resumed { since }];
                let pause = Step::Paused(since, self.world.now.max(since));
                events.extend(self.moved(&[LimitKind::Take, LimitKind::Finish], pause));
                Ok(events)
            }
            Command::Supervise { reason } => {
                given(reason)?;
                if order.supervised {
                    return Err(Refusal::SoAlready);
                }
                let reason = reason.clone();
                Ok(vec![Event::Supervised { reason }])
            }
            Command::EndSupervision => {
                if !order.supervised {
                    return Err(Refusal::SoAlready);
                }
                Ok(vec![Event::SupervisionEnded])
            }
            Command::Merge { parent } => {
                self.demand_no_children()?;
                if *parent == order.id || parent.is_empty() {
                    return Err(Refusal::NoParent);
                }
                let parent = parent.clone();
                Ok(vec![Event::Merged { parent }])
            }
            Command::Separate => self.separate(),
            Command::Adopt { child } => {
                if *child == order.id || order.parent.is_some() {
                    return Err(Refusal::NoParent);
                }
                if order.children.contains(child) {
                    return Err(Refusal::SoAlready);
                }
                let child = child.clone();
                Ok(vec![Event::Adopted { child }])
            }
            Command::Release { child } => {
                if !order.children.contains(child) {
                    return Err(Refusal::NotMerged);
                }
                let child = child.clone();
                Ok(vec![Event::Released { child }])
            }
            Command::FinishWithParent { answer } => {
                if order.parent.is_none() {
                    return Err(Refusal::NotMerged);
                }
                let mut events = vec![Event::FinishedWithParent {
                    answer: answer.clone(),
                }];
                events.extend(self.begun(&[LimitKind::CallBack]));
                Ok(events)
            }
            Command::Urge { text } => Ok(vec![Event::Urged { text: text.clone() }]),
            Command::Attach { attachment } => self.attach(attachment),
            Command::SetConfidential { confidential } => {
                if order.confidential == *confidential {
                    return Err(Refusal::SoAlready);
                }
                let confidential = *confidential;
                Ok(vec![Event::ConfidentialitySet { confidential }])
            }
            Command::Note { text } => {
                given(text)?;
                self.demand_party()?;
                Ok(vec![Event::Noted { text: text.clone() }])
            }
            Command::ShowCard { kind, card } => self.show_card(*kind, *card),
            Command::RecomputeLimits => {
                let anew = order
                    .limits
                    .iter()
                    .filter(|(_, limit)| !limit.unknown_years.is_empty());
                let anew =
                    anew.map(|(kind, limit)| (*kind, limit, limit.anew(self.world.calendar)));
                Ok(anew
                    .filter(|(_, old, new)| *old != new)
                    .map(|(kind, _, limit)| Event::LimitSet { kind, limit })
                    .collect())
            }
        }
    }

    fn take(&self) -> Result<Vec<Event>, Refusal> {
        let unit = &self.actor.unit;
        let part = self.order.parts.get(unit).ok_or(Refusal::NotYours)?;
        if part.taken {
            return Err(Refusal::AlreadyTaken);
        }
        let mut events = vec![Event::Taken { unit: unit.clone() }];
        if self.order.is_lead(unit) {
            events.extend(self.met(&[LimitKind::Take]));
        }
        Ok(events)
    }

    fn object(&self, reason: &Private<String>, instead: &str) -> Result<Vec<Event>, Refusal> {
        given(reason)?;
        self.demand_party()?;
        self.demand_nothing_pending()?;
        if self.order.ruled_finally || self.order.objections >= self.world.policy.objections {
            return Err(Refusal::ObjectedEnough);
        }
        let limit = self.order.limits.get(&LimitKind::Object);
        if limit.is_some_and(|limit| limit.due < self.world.now) {
            return Err(Refusal::TooLateToObject);
        }
        Ok(vec![Event::Objected {
            unit: self.actor.unit.clone(),
            reason: reason.clone(),
            instead: instead.to_owned(),
        }])
    }

    fn rule(&self, ruling: &Ruling, reason: &Private<String>) -> Result<Vec<Event>, Refusal> {
        given(reason)?;
        if let Ruling::Elsewhere(parties) | Ruling::Negotiated(parties) = ruling {
            sound(parties)?;
        }
        let is_final = matches!(ruling, Ruling::Negotiated(_))
            || self.order.objections >= self.world.policy.objections;
        let mut events = vec![Event::Ruled {
            ruling: ruling.clone(),
            reason: reason.clone(),
            is_final,
        }];
        // Whoever gets it now has time to take it and to object; the whole has no more time than before.
        if !matches!(ruling, Ruling::Refused) {
            events.extend(self.set(LimitKind::Take));
            events.extend(self.set(LimitKind::Object));
        }
        Ok(events)
    }

    fn rate(&self, rating: &Rating) -> Vec<Event> {
        let (order, policy) = (self.order, self.world.policy);
        let mut events = vec![Event::Rated {
            rating: rating.clone(),
        }];
        events.extend(self.met(&[LimitKind::CallBack]));
        let round = order.round + 1;
        let is_over = rating.satisfied || round > policy.rounds;
        if !is_over {
            events.push(Event::Again { round });
            if round > policy.rounds_until_raised {
                if !order.raised {
                    events.push(Event::Raised);
                }
                if !order.supervised {
                    let reason = rating.why.clone();
                    events.push(Event::Supervised { reason });
                }
            }
            // What was merged into another has never been sent to a unit itself.
            if order.parties.is_some() {
                events.extend(self.set(LimitKind::Take));
                events.extend(self.set(LimitKind::Finish));
            }
        }
        events
    }

    fn separate(&self) -> Result<Vec<Event>, Refusal> {
        if self.order.parent.is_none() {
            return Err(Refusal::NotMerged);
        }
        let mut events = vec![Event::Separated];
        if self.order.stage == Stage::Dispatched {
            events.extend(self.set(LimitKind::Take));
            events.extend(self.set(LimitKind::Finish));
        }
        Ok(events)
    }

    fn attach(&self, attachment: &Attachment) -> Result<Vec<Event>, Refusal> {
        self.demand_party()?;
        let policy = self.world.policy;
        let kind = &attachment.media_type;
        let is_taken = policy
            .media_types
            .iter()
            .any(|taken| kind.starts_with(taken));
        if attachment.name.is_empty() || attachment.size > policy.largest_file || !is_taken {
            return Err(Refusal::BadAttachment);
        }
        let attachment = attachment.clone();
        Ok(vec![Event::Attached { attachment }])
    }

    fn show_card(&self, kind: LimitKind, card: Card) -> Result<Vec<Event>, Refusal> {
        let limit = self.order.limits.get(&kind).ok_or(Refusal::NoSuchCard)?;
        let at = moment(limit, card).ok_or(Refusal::NoSuchCard)?;
        if at > self.world.now || self.order.cards.contains(&(kind, card)) {
            return Err(Refusal::NoSuchCard);
        }
        let mut events = vec![Event::CardShown { kind, card }];
        if card == Card::Red && !self.order.supervised {
            let reason = Private::from(limit.rule.name.as_str());
            events.push(Event::Supervised { reason });
        }
        Ok(events)
    }

    // ---- limits

    /// A limit that begins now.
    fn set(&self, kind: LimitKind) -> Option<Event> {
        let World {
            now,
            calendar,
            rules,
            ..
        } = self.world;
        let limit = rules.limit(kind, &self.order.about, now, calendar)?;
        Some(Event::LimitSet { kind, limit })
    }

    /// Limits that begin now, unless they run already.
    fn begun(&self, kinds: &[LimitKind]) -> Vec<Event> {
        let new = kinds
            .iter()
            .filter(|kind| !self.order.limits.contains_key(kind));
        new.filter_map(|kind| self.set(*kind)).collect()
    }

    fn met(&self, kinds: &[LimitKind]) -> Vec<Event> {
        let running = kinds
            .iter()
            .filter(|kind| self.order.limits.contains_key(kind));
        running
            .map(|kind| Event::LimitMet { kind: *kind })
            .collect()
    }

    fn moved(&self, kinds: &[LimitKind], step: Step) -> Vec<Event> {
        let limit = |kind: &LimitKind| -> Option<Event> {
            let limit: &Limit = self.order.limits.get(kind)?;
            let limit = limit.after(step, self.world.calendar);
            Some(Event::LimitSet { kind: *kind, limit })
        };
        kinds.iter().filter_map(limit).collect()
    }

    // ---- what must hold

    /// What goes on under another is acted on there, but for what concerns its own caller.
    fn demand_not_merged(&self, command: &Command) -> Result<(), Refusal> {
        let is_own = matches!(
            command,
            Command::Separate
                | Command::FinishWithParent { .. }
                | Command::Urge { .. }
                | Command::Attach { .. }
                | Command::SetConfidential { .. }
                | Command::Note { .. }
                | Command::TryCallBack { .. }
                | Command::Rate { .. }
                | Command::File
                | Command::Reopen { .. }
        );
        match &self.order.parent {
            Some(parent) if !is_own => Err(Refusal::IsMerged {
                parent: parent.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// While it is suspended, nothing is done but what ends that, and what is only kept.
    fn demand_not_suspended(&self, command: &Command) -> Result<(), Refusal> {
        let goes_on = matches!(
            command,
            Command::Resume
                | Command::Supervise { .. }
                | Command::EndSupervision
                | Command::Adopt { .. }
                | Command::Release { .. }
                | Command::Urge { .. }
                | Command::Attach { .. }
                | Command::SetConfidential { .. }
                | Command::Note { .. }
                | Command::RecomputeLimits
        );
        if self.order.suspended.is_some() && !goes_on {
            return Err(Refusal::Pending);
        }
        Ok(())
    }

    fn demand_nothing_pending(&self) -> Result<(), Refusal> {
        if self.order.asked_days.is_some() {
            return Err(Refusal::Pending);
        }
        Ok(())
    }

    fn demand_no_children(&self) -> Result<(), Refusal> {
        if self.order.children.is_empty() {
            Ok(())
        } else {
            Err(Refusal::HasChildren)
        }
    }

    /// Units act on what they have a part in; the hall on everything.
    fn demand_party(&self) -> Result<(), Refusal> {
        let is_unit = self.actor.capacity == super::permission::Capacity::Unit;
        if is_unit && !self.order.is_party(&self.actor.unit) {
            return Err(Refusal::NotYours);
        }
        Ok(())
    }

    fn demand_lead(&self) -> Result<(), Refusal> {
        self.demand_party()?;
        if self.order.is_lead(&self.actor.unit) {
            Ok(())
        } else {
            Err(Refusal::OnlyLead)
        }
    }

    fn demand_taken(&self) -> Result<(), Refusal> {
        self.demand_party()?;
        match self.order.parts.get(&self.actor.unit) {
            Some(part) if part.taken => Ok(()),
            _ => Err(Refusal::NotNow {
                stage: self.order.stage,
            }),
        }
    }
}

fn given(text: &Private<String>) -> Result<(), Refusal> {
    named(text.reveal())
}

fn named(text: &str) -> Result<(), Refusal> {
    if text.trim().is_empty() {
        Err(Refusal::Empty)
    } else {
        Ok(())
    }
}

/// Each unit has a name, and stands once among the parties.
fn sound(parties: &Parties) -> Result<(), Refusal> {
    let units: Vec<&String> = std::iter::once(&parties.lead)
        .chain(&parties.joint)
        .collect();
    units.iter().try_for_each(|unit| named(unit))?;
    let mut once: Vec<&String> = units.clone();
    once.sort_unstable();
    once.dedup();
    if once.len() == units.len() {
        Ok(())
    } else {
        Err(Refusal::UnitTwice)
    }
}
