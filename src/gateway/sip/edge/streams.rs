//! The streams that stand, and which of them calls go over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::gateway::sip::lock::locked;
use crate::sip::Transport;
use crate::sip::registrar::Flow;

/// All of them.
#[derive(Default)]
pub(crate) struct Streams {
    /// Cancelled when they are closed.
    open: Mutex<HashMap<Flow, CancellationToken>>,
    /// How many calls each carries.
    carried: Mutex<HashMap<Flow, usize>>,
}

impl Streams {
    /// Takes one that stands until its token is cancelled.
    pub(crate) fn add(&self, flow: Flow, closed: CancellationToken) {
        locked(&self.open).insert(flow, closed);
    }

    /// Forgets those that are closed.
    pub(crate) fn tidy(&self) {
        locked(&self.open).retain(|_, stream| !stream.is_cancelled());
    }

    /// Whether a stream of ours stands.
    pub(crate) fn is_open(&self, flow: Flow) -> bool {
        locked(&self.open)
            .get(&flow)
            .is_some_and(|stream| !stream.is_cancelled())
    }

    /// Whether calls go over it.
    pub(crate) fn carries(&self, flow: Flow) -> bool {
        locked(&self.carried).contains_key(&flow)
    }
}

/// That a call's SIP goes over the stream to a peer, which is therefore not idle however long they talk.
pub(crate) struct Carried {
    streams: Arc<Streams>,
    flow: Flow,
}

impl Carried {
    /// `None` where nothing is to be kept open.
    pub(crate) fn new(streams: &Arc<Streams>, flow: Flow) -> Option<Self> {
        (flow.transport != Transport::Udp).then(|| {
            *locked(&streams.carried).entry(flow).or_insert(0) += 1;
            Self {
                streams: streams.clone(),
                flow,
            }
        })
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        let mut carried = locked(&self.streams.carried);
        if let Some(calls) = carried.get_mut(&self.flow) {
            *calls -= 1;
            if *calls == 0 {
                carried.remove(&self.flow);
            }
        }
    }
}
