//! The event bus, in process: what happens to calls, in order, to whoever watches.
//!
//! Publishing never waits: an event is appended to its call's log in memory, given the next position, and
//! broadcast. A watcher first gets what the log already holds behind its position, then the live events; one
//! that lags is told so and starts again from its position. The store's writer drains [`Bus::unsaved`] to disk;
//! a call's log leaves memory only when the call is over and everything durable of it is saved, so every durable
//! event is at any moment in memory, on disk, or in both.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | broadcast to watchers | [`WATCHER_LAG`] events | the slow watcher gets [`Next::Lagged`] and re-opens |
//! | a call's log | its durable events, its newest partial per utterance, its newest draft | ends with the call |

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, broadcast};

use crate::speech::CallId;
use crate::ticket::TicketDraft;
use crate::transcript::{CallInfo, TranscriptEvent};

/// How many events a watcher may fall behind before it must start again from its position.
pub const WATCHER_LAG: usize = 4_096;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// To the call's transcript.
    Transcript(TranscriptEvent),
    /// To the call's draft ticket.
    Draft {
        /// Counts the call's drafts from 1.
        revision: u64,
        /// The whole draft as it now stands.
        draft: Arc<TicketDraft>,
    },
}

impl Payload {
    /// Whether the event must survive: partial lines are replaced within a second, drafts have their own table.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        match self {
            Self::Transcript(TranscriptEvent::Line(line)) => line.is_final,
            Self::Transcript(_) => true,
            Self::Draft { .. } => false,
        }
    }
}

/// One event in the gateway's total order.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Strictly rising over the whole gateway, also across restarts.
    pub position: u64,
    /// The call it belongs to.
    pub call: CallId,
    /// The operator of that call.
    pub operator: Arc<str>,
    /// What happened.
    pub payload: Payload,
}

/// Which events a watcher wants; an empty filter wants all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this call.
    pub call: Option<CallId>,
    /// Only calls of this operator.
    pub operator: Option<String>,
}

impl Filter {
    /// Whether `event` passes.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        self.call.as_ref().is_none_or(|call| *call == event.call)
            && self
                .operator
                .as_ref()
                .is_none_or(|operator| **operator == *event.operator)
    }
}

/// What a subscription yields.
#[derive(Debug)]
pub enum Next {
    /// The next event.
    Event(Arc<Event>),
    /// The watcher was too slow; watch again with the position of the last event it got.
    Lagged,
    /// The gateway is going down; nothing follows.
    Closed,
}

/// A watcher's view: the backlog as of subscription, then live events.
#[derive(Debug)]
pub struct Subscription {
    horizon: u64,
    backlog: std::vec::IntoIter<Arc<Event>>,
    live: broadcast::Receiver<Arc<Event>>,
    filter: Filter,
}

impl Subscription {
    /// The last position given before the subscription began: every live event has a higher one.
    #[must_use]
    pub const fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Events that were in memory when the subscription began and that have not been taken yet, in order.
    pub fn backlog(&mut self) -> impl Iterator<Item = Arc<Event>> + '_ {
        self.backlog.by_ref()
    }

    /// Waits for the next wanted event.
    pub async fn next(&mut self) -> Next {
        if let Some(event) = self.backlog.next() {
            return Next::Event(event);
        }
        loop {
            match self.live.recv().await {
                Ok(event) if self.filter.wants(&event) => return Next::Event(event),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(_)) => return Next::Lagged,
                Err(broadcast::error::RecvError::Closed) => return Next::Closed,
            }
        }
    }
}

struct CallLog {
    operator: Arc<str>,
    info: Option<CallInfo>,
    /// Durable events, and among them the partials and the draft that are still current.
    events: BTreeMap<u64, Arc<Event>>,
    /// Position of the current partial of each utterance.
    partials: HashMap<u32, u64>,
    draft: Option<u64>,
    /// Everything durable up to here is on disk.
    saved: u64,
    over: bool,
}

impl CallLog {
    fn new() -> Self {
        Self {
            operator: Arc::from(""),
            info: None,
            events: BTreeMap::new(),
            partials: HashMap::new(),
            draft: None,
            saved: 0,
            over: false,
        }
    }

    fn replace_superseded(&mut self, position: u64, payload: &Payload) {
        let replaced = match payload {
            Payload::Transcript(TranscriptEvent::Line(line)) if line.is_final => {
                self.partials.remove(&line.id)
            }
            Payload::Transcript(TranscriptEvent::Line(line)) => {
                self.partials.insert(line.id, position)
            }
            Payload::Transcript(TranscriptEvent::Gap { id, .. }) => self.partials.remove(id),
            Payload::Draft { .. } => self.draft.replace(position),
            Payload::Transcript(_) => None,
        };
        if let Some(old) = replaced {
            self.events.remove(&old);
        }
    }

    fn is_saved(&self) -> bool {
        self.events
            .values()
            .filter(|event| event.payload.is_durable())
            .all(|event| event.position <= self.saved)
    }
}

struct State {
    next_position: u64,
    calls: HashMap<CallId, CallLog>,
}

/// The bus; clones share it.
#[derive(Clone)]
pub struct Bus {
    state: Arc<Mutex<State>>,
    live: broadcast::Sender<Arc<Event>>,
    unsaved: Arc<Notify>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

impl Bus {
    /// A bus whose first event gets `first_position` (at least 1): higher than any position ever given before.
    #[must_use]
    pub fn new(first_position: u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                next_position: first_position.max(1),
                calls: HashMap::new(),
            })),
            live: broadcast::Sender::new(WATCHER_LAG),
            unsaved: Arc::new(Notify::new()),
        }
    }

    /// Appends an event of `call`, tells the watchers, and returns its position.
    pub fn publish(&self, call: &CallId, payload: Payload) -> u64 {
        let durable = payload.is_durable();
        let mut state = self.lock();
        let position = state.next_position;
        state.next_position += 1;
        let log = state.calls.entry(call.clone()).or_insert_with(CallLog::new);
        if let Payload::Transcript(TranscriptEvent::Started(info)) = &payload {
            log.operator = Arc::from(info.operator.as_str());
            log.info = Some(info.clone());
        }
        log.over |= matches!(
            payload,
            Payload::Transcript(TranscriptEvent::CallFinal { .. })
        );
        log.replace_superseded(position, &payload);
        let event = Arc::new(Event {
            position,
            call: call.clone(),
            operator: log.operator.clone(),
            payload,
        });
        log.events.insert(position, event.clone());
        // Sent under the lock, so that live order is position order; an error only means nobody watches.
        let _ = self.live.send(event);
        drop(state);
        if durable {
            self.unsaved.notify_one();
        }
        position
    }

    /// Opens a view of the events behind `after` (all that memory holds when `None`), then of the live ones.
    ///
    /// Calls that have left memory are in the store; whoever needs them reads there after opening this view.
    #[must_use]
    pub fn watch(&self, filter: Filter, after: Option<u64>) -> Subscription {
        let state = self.lock();
        let mut backlog: Vec<Arc<Event>> = state
            .calls
            .values()
            .flat_map(|log| log.events.values())
            .filter(|event| after.is_none_or(|after| event.position > after) && filter.wants(event))
            .cloned()
            .collect();
        let live = self.live.subscribe();
        let horizon = state.next_position - 1;
        drop(state);
        backlog.sort_unstable_by_key(|event| event.position);
        Subscription {
            horizon,
            backlog: backlog.into_iter(),
            live,
            filter,
        }
    }

    /// Who is in the calls that memory holds.
    #[must_use]
    pub fn calls(&self) -> Vec<CallInfo> {
        self.lock()
            .calls
            .values()
            .filter_map(|log| log.info.clone())
            .collect()
    }

    /// Durable events that are not yet on disk, in order, at most `limit`; waits until there is one.
    pub async fn unsaved(&self, limit: usize) -> Vec<Arc<Event>> {
        loop {
            let batch = self.unsaved_now(limit);
            if !batch.is_empty() {
                return batch;
            }
            self.unsaved.notified().await;
        }
    }

    /// Durable events that are not yet on disk, in order, at most `limit`; empty when all is saved.
    #[must_use]
    pub fn unsaved_now(&self, limit: usize) -> Vec<Arc<Event>> {
        let state = self.lock();
        let mut batch: Vec<Arc<Event>> = state
            .calls
            .values()
            .flat_map(|log| log.events.range(log.saved + 1..).map(|(_, event)| event))
            .filter(|event| event.payload.is_durable())
            .cloned()
            .collect();
        drop(state);
        batch.sort_unstable_by_key(|event| event.position);
        batch.truncate(limit);
        batch
    }

    /// Notes that `batch`, taken from [`Bus::unsaved`], is on disk; finished calls that are saved leave memory.
    pub fn mark_saved(&self, batch: &[Arc<Event>]) {
        let mut state = self.lock();
        for event in batch {
            if let Some(log) = state.calls.get_mut(&event.call) {
                log.saved = log.saved.max(event.position);
            }
        }
        state.calls.retain(|_, log| !(log.over && log.is_saved()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is valid after every statement, so a panic elsewhere does not make it unusable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::audio::MediaTime;
    use crate::speech::Leg;
    use crate::transcript::{EndReason, Line};

    fn call(name: &str) -> CallId {
        CallId::new(name)
    }

    fn started(name: &str, operator: &str) -> Payload {
        Payload::Transcript(TranscriptEvent::Started(CallInfo {
            call: call(name),
            caller_number: None,
            called: "12345".into(),
            operator: operator.into(),
            started_at: SystemTime::UNIX_EPOCH,
            origin: crate::transcript::Origin::default(),
        }))
    }

    fn line(id: u32, revision: u32, is_final: bool) -> Payload {
        Payload::Transcript(TranscriptEvent::Line(Line {
            revision,
            is_final,
            ..Line::plain(id, Leg::Caller, "喂", MediaTime::ZERO, MediaTime::ZERO)
        }))
    }

    fn over() -> Payload {
        Payload::Transcript(TranscriptEvent::CallFinal {
            duration: MediaTime::ZERO,
            reason: EndReason::HungUp { party: Leg::Caller },
        })
    }

    fn positions(subscription: &mut Subscription) -> Vec<u64> {
        subscription.backlog().map(|event| event.position).collect()
    }

    #[test]
    fn a_watcher_gets_the_backlog_behind_its_position_with_only_the_newest_partial() {
        let bus = Bus::new(10);
        bus.publish(&call("a"), started("a", "sip:op1@h"));
        bus.publish(&call("a"), line(0, 1, false));
        bus.publish(&call("a"), line(0, 2, false));
        assert_eq!(positions(&mut bus.watch(Filter::default(), None)), [10, 12]);
        bus.publish(&call("a"), line(0, 3, true));
        assert_eq!(positions(&mut bus.watch(Filter::default(), None)), [10, 13]);
        assert_eq!(positions(&mut bus.watch(Filter::default(), Some(10))), [13]);
    }

    #[test]
    fn filters_choose_by_call_and_by_operator() {
        let bus = Bus::new(1);
        bus.publish(&call("a"), started("a", "sip:op1@h"));
        bus.publish(&call("b"), started("b", "sip:op2@h"));
        bus.publish(&call("b"), line(0, 1, true));
        let of_call = Filter {
            call: Some(call("a")),
            operator: None,
        };
        let of_operator = Filter {
            call: None,
            operator: Some("sip:op2@h".into()),
        };
        assert_eq!(positions(&mut bus.watch(of_call, None)), [1]);
        assert_eq!(positions(&mut bus.watch(of_operator, None)), [2, 3]);
    }

    #[test]
    fn a_finished_call_stays_in_memory_until_its_durable_events_are_saved() {
        let bus = Bus::new(1);
        bus.publish(&call("a"), started("a", "op"));
        bus.publish(&call("a"), line(0, 1, true));
        bus.publish(&call("a"), over());
        let first = bus.unsaved_now(2);
        assert_eq!(first.len(), 2);
        bus.mark_saved(&first);
        assert_eq!(
            bus.calls().len(),
            1,
            "the end of the call is not on disk yet"
        );
        bus.mark_saved(&bus.unsaved_now(10));
        assert!(bus.calls().is_empty());
        assert!(bus.unsaved_now(10).is_empty());
    }

    #[tokio::test]
    async fn a_watcher_that_lags_is_told_and_catches_up_from_its_position() {
        let bus = Bus::new(1);
        let mut slow = bus.watch(Filter::default(), None);
        let total = WATCHER_LAG as u64 + 10;
        for id in 0..total {
            bus.publish(&call("a"), line(id as u32, 1, true));
        }
        assert!(matches!(slow.next().await, Next::Lagged));
        assert_eq!(
            positions(&mut bus.watch(Filter::default(), Some(0))).len() as u64,
            total
        );
    }
}
