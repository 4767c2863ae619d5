//! What has happened and what happens, as one stream: the store's events, memory's, then the live ones, each once.
//!
//! Memory is opened before the disk is read: an event that leaves memory in between is on disk by then.

use std::collections::{BTreeMap, HashSet};
use std::iter::Peekable;
use std::sync::Arc;
use std::vec::IntoIter;

use super::{CallRecord, PageKey, Store, StoreError};
use crate::events::{Bus, Event, Filter, Next, Payload, Subscription};
use crate::speech::CallId;
use crate::transcript::TranscriptEvent;

/// Events read from the store at a time.
const PAGE: u32 = 256;

/// What has happened behind a position, as of one moment: the store's events and memory's, merged.
#[derive(Debug)]
struct Past {
    /// The last position that belongs to it.
    horizon: u64,
    stored: Peekable<IntoIter<Arc<Event>>>,
    /// Whether the store may hold more behind `stored`.
    more: bool,
    remembered: Peekable<IntoIter<Arc<Event>>>,
}

impl Past {
    fn new(horizon: u64, use_store: bool, remembered: Vec<Arc<Event>>) -> Self {
        Self {
            horizon,
            stored: Vec::new().into_iter().peekable(),
            more: use_store,
            remembered: remembered.into_iter().peekable(),
        }
    }

    /// The first event behind `after`.
    async fn next(
        &mut self,
        store: &Store,
        filter: &Filter,
        after: u64,
    ) -> Result<Option<Arc<Event>>, StoreError> {
        loop {
            if self.stored.peek().is_none() && self.more {
                let page = store.events(filter, after, self.horizon, PAGE).await?;
                self.more = page.len() == PAGE as usize;
                self.stored = page.into_iter().peekable();
            }
            let event = match (self.stored.peek(), self.remembered.peek()) {
                (None, None) => return Ok(None),
                (Some(stored), Some(remembered)) if stored.position <= remembered.position => {
                    self.stored.next()
                }
                (Some(_), None) => self.stored.next(),
                _ => self.remembered.next(),
            };
            // What memory holds may have been saved too: the second copy is passed over.
            if let Some(event) = event.filter(|event| event.position > after) {
                return Ok(Some(event));
            }
        }
    }
}

/// One viewer's stream of events in the order of their positions, without a hole and without a repetition.
///
/// A viewer that falls behind the live events goes on from memory, where superseded partial lines are gone.
#[derive(Debug)]
pub struct Replay {
    bus: Bus,
    store: Store,
    filter: Filter,
    past: Option<Past>,
    live: Subscription,
    /// Everything up to here has been handed out.
    sent: u64,
    /// The watched call is known to have left memory: only the disk has more of it.
    left_memory: bool,
    over: bool,
}

impl Replay {
    /// Opens a view of what `filter` wants behind `after`. Without `after`, a call is replayed from its start, and
    /// any other filter from what memory holds.
    #[must_use]
    pub fn open(bus: Bus, store: Store, filter: Filter, after: Option<u64>) -> Self {
        let use_store = after.is_some() || filter.call.is_some();
        let mut live = bus.watch(filter.clone(), after);
        let past = Past::new(live.horizon(), use_store, live.backlog().collect());
        Self {
            bus,
            store,
            filter,
            past: Some(past),
            live,
            sent: after.unwrap_or(0),
            left_memory: false,
            over: false,
        }
    }

    /// Waits for the next event; `None` when the watched call is over or the bus is gone. It may be dropped while
    /// it waits: nothing is lost.
    ///
    /// # Errors
    /// [`StoreError`] when the past cannot be read; a later call tries again.
    pub async fn next(&mut self) -> Result<Option<Arc<Event>>, StoreError> {
        while !self.over {
            if let Some(past) = &mut self.past {
                let next = past.next(&self.store, &self.filter, self.sent).await?;
                if next.is_some() {
                    return Ok(next.inspect(|event| self.hand_out(event)));
                }
                self.leave_past();
                continue;
            }
            match self.live.next().await {
                Next::Event(event) => {
                    self.hand_out(&event);
                    return Ok(Some(event));
                }
                Next::Lagged => {
                    let (bus, store) = (self.bus.clone(), self.store.clone());
                    *self = Self::open(bus, store, self.filter.clone(), Some(self.sent));
                }
                Next::Closed => self.over = true,
            }
        }
        Ok(None)
    }

    /// The last position that belongs to the past.
    #[must_use]
    pub const fn horizon(&self) -> u64 {
        self.live.horizon()
    }

    /// The next event of what had happened when the view was opened; `None` when there is no more of it.
    ///
    /// # Errors
    /// [`StoreError`] when the past cannot be read; a later call tries again.
    pub async fn next_past(&mut self) -> Result<Option<Arc<Event>>, StoreError> {
        let Some(past) = &mut self.past else {
            return Ok(None);
        };
        let next = past.next(&self.store, &self.filter, self.sent).await?;
        if let Some(event) = &next {
            self.sent = event.position;
        }
        Ok(next)
    }

    fn hand_out(&mut self, event: &Event) {
        self.sent = event.position;
        self.over = self.filter.call.is_some() && is_final(event);
    }

    /// The past is exhausted: goes live, or reads what a call that is no longer in memory may have left on disk.
    fn leave_past(&mut self) {
        let horizon = self.past.take().map_or(0, |past| past.horizon);
        let Some(call) = &self.filter.call else {
            // Nothing up to here is missing any more: a viewer that lags starts again behind it.
            self.sent = self.sent.max(horizon);
            return;
        };
        if self.left_memory {
            // Neither in memory nor anything more on disk: the gateway broke off in it.
            self.over = true;
        } else if self.bus.calls().iter().any(|info| info.call == *call) {
            self.sent = self.sent.max(horizon);
            let mut held = self.bus.watch(self.filter.clone(), None);
            self.over = held
                .backlog()
                .any(|event| is_final(&event) && event.position <= self.sent);
        } else {
            // Its end may have been published, saved and forgotten while its past was being read.
            self.left_memory = true;
            self.past = Some(Past::new(u64::MAX, true, Vec::new()));
        }
    }
}

/// A call in the list, and whether the gateway is still in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// The call.
    pub record: CallRecord,
    /// Whether it is in memory, or another gateway that lives has it; one that is not and has no end was broken off by
    /// its gateway's own.
    pub alive: bool,
}

/// The calls that memory and disk know, the most recent first: at most `limit` that began before `before`, and
/// whether there are more.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
async fn recent_calls(
    bus: &Bus,
    store: &Store,
    operator: Option<&str>,
    before: Option<&PageKey>,
    limit: u32,
) -> Result<(Vec<Listed>, bool), StoreError> {
    let mut held: BTreeMap<CallId, Option<CallRecord>> = BTreeMap::new();
    for event in bus.watch(Filter::default(), None).backlog() {
        if let Payload::Transcript(said) = &event.payload {
            CallRecord::note(held.entry(event.call.clone()).or_default(), said);
        }
    }
    let held: Vec<CallRecord> = held.into_values().flatten().collect();
    let alive: HashSet<CallId> = held.iter().map(|call| call.info.call.clone()).collect();
    let mut calls: BTreeMap<PageKey, CallRecord> = held
        .into_iter()
        .filter(|call| operator.is_none_or(|operator| operator == call.info.operator))
        .map(|call| (call.page_key(), call))
        .filter(|(key, _)| before.is_none_or(|before| key < before))
        .collect();
    for call in store.calls(operator, before, limit + 1).await? {
        calls.entry(call.page_key()).or_insert(call);
    }
    let more = calls.len() > limit as usize;
    let listed = calls
        .into_values()
        .rev()
        .take(limit as usize)
        .map(|record| Listed {
            alive: record.elsewhere || alive.contains(&record.info.call),
            record,
        })
        .collect();
    Ok((listed, more))
}

/// The same of those that `shown` says yes to, and the key behind which there are more: many pages of others may lie before
/// the next one.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub async fn recent_calls_shown(
    bus: &Bus,
    store: &Store,
    operator: Option<&str>,
    mut before: Option<PageKey>,
    limit: u32,
    shown: impl Fn(&CallRecord) -> bool + Send,
) -> Result<(Vec<Listed>, Option<PageKey>), StoreError> {
    /// Pages that are looked through for one answer.
    const MOST_PAGES: usize = 20;
    let mut listed: Vec<Listed> = Vec::new();
    for _ in 0..MOST_PAGES {
        let (page, more) = recent_calls(bus, store, operator, before.as_ref(), limit).await?;
        let last = page.last().map(|call| call.record.page_key());
        for call in page.into_iter().filter(|call| shown(&call.record)) {
            if listed.len() == limit as usize {
                let last = listed.last().map(|call| call.record.page_key());
                return Ok((listed, last));
            }
            listed.push(call);
        }
        if !more {
            return Ok((listed, None));
        }
        before = last;
        if listed.len() == limit as usize {
            break;
        }
    }
    Ok((listed, before))
}

/// The phone that answers a call, where memory or disk knows it.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub async fn operator_of(
    bus: &Bus,
    store: &Store,
    call: &CallId,
) -> Result<Option<String>, StoreError> {
    let alive = bus.calls().into_iter().find(|info| info.call == *call);
    match alive {
        Some(info) => Ok(Some(info.operator)),
        None => Ok(store.call(call).await?.map(|record| record.info.operator)),
    }
}

fn is_final(event: &Event) -> bool {
    matches!(
        event.payload,
        Payload::Transcript(TranscriptEvent::CallFinal { .. })
    )
}
