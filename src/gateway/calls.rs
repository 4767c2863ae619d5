//! The call table: admission, and the few threads that carry the calls' media.
//!
//! ```text
//! NewCall ─► CallTable::run ─► MediaThreads: many calls each ─► Task: one call, its transports, its channels
//!               owns both ────► CallContext: what the calls share ◄──┘ holds
//! ```
//! | queue | bound | when full |
//! |---|---|---|
//! | new calls | `calls.max` running ones | 503 with Retry-After |
//! | SIP events and commands of a call | the adapter's channels | the adapter ends the call |
//! | decoded sound of a tapped leg | [`BOUND`](super::media::frames::BOUND) | the newest is lost, and silence in its place |
//! | hypotheses of a call | its passes under way, which the recognition queue bounds | cannot be |
//! | orders to a call | [`CallControl`]'s | refused as busy |
//! | drafts to draw up | one a call | the call asks again with its next line |
//! | messages to a media thread | one a call | cannot be |
//! | media | the sockets' receive buffers | the kernel drops, as any network does |

mod desk;
mod new;
mod task;
mod threads;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

pub use self::desk::DraftingDesk;
pub use self::new::{NewCall, TappedCall};
use self::new::{Opening, PendingCall, Signals};
pub use self::threads::MediaThreads;
use super::advice::Advisor;
use super::draft_writer::DraftWriter;
use super::media::MediaTransport;
use super::media::ports::{PortPool, PortsError, RtpSockets};
use super::sip::{self, RouteSecurity, Transport};
use crate::audio::Frame;
use crate::audio::codec::Codec;
use crate::call::{self, Incoming, Latching, MediaPolicy, RtpEnd, Rules};
use crate::config::{self, Sources, Srtp};
use crate::control::CallControl;
use crate::events::Bus;
use crate::recognition::Recognizers;
use crate::recording::Recorder;
use crate::sip::IncomingCall;
use crate::sip::sdp::Protection;
use crate::speech::finish::Finish;
use crate::speech::segmenter::Settings;
use crate::telemetry::Sparse;

/// What the calls share. Each running one holds it; it holds none of them, and not the threads that carry them.
pub struct CallContext {
    /// Ports for media.
    pub ports: PortPool,
    /// The address that session descriptions name.
    pub media_address: IpAddr,
    /// The URI of the operator for calls that no route is for.
    pub operator: String,
    /// Whether audio is encrypted, and where it may come from.
    pub media: config::Media,
    /// The hotline's own numbers, which tell the operator of a forked call.
    pub own_numbers: Arc<[String]>,
    /// How long it may ring.
    pub ring: Duration,
    /// How long the last words may take.
    pub flush: Duration,
    /// What may happen in a call and how long.
    pub rules: Rules,
    /// Records the calls, if they are recorded.
    pub recorder: Option<Arc<Recorder>>,
    /// What callers hear after the answer and before the operator.
    pub announcement: Option<Arc<Frame>>,
    /// How the running calls are reached from outside.
    pub control: CallControl,
    /// The recognition workers; without them, calls are bridged and not transcribed.
    pub pool: Option<Arc<Recognizers>>,
    /// Whether what was said is heard once more while there is time.
    pub reviewed: bool,
    /// Where events go.
    pub bus: Bus,
    /// Brings drafts to disk.
    pub draft_writer: Arc<DraftWriter>,
    /// Draws up drafts.
    pub drafts: DraftingDesk,
    /// Writes what was recognised.
    pub finish: Arc<dyn Finish>,
    /// When an utterance begins, is passed on and ends.
    pub listening: Settings,
    /// Looks things up beside the calls.
    pub advisor: Advisor,
}

/// The call table: it admits calls, and owns the threads that carry them. When it is dropped, the threads end, and the
/// calls that still run with them.
pub struct CallTable {
    context: Arc<CallContext>,
    threads: MediaThreads,
    /// How many calls at once.
    most: usize,
    /// Ends every call when cancelled.
    end: CancellationToken,
    /// Counts the running calls.
    running: TaskTracker,
    /// How often the log tells of refused ones.
    refusals: Sparse,
}

impl CallTable {
    /// A table for `most` calls at once.
    #[must_use]
    pub fn new(context: CallContext, threads: MediaThreads, most: usize) -> Self {
        Self {
            context: Arc::new(context),
            threads,
            most,
            end: CancellationToken::new(),
            running: TaskTracker::new(),
            refusals: Sparse::new(Duration::from_secs(1)),
        }
    }

    /// Takes new calls until `accept` ends.
    pub async fn run<C: Into<NewCall>>(self: Arc<Self>, mut accept: mpsc::Receiver<C>) {
        while let Some(new) = accept.recv().await {
            self.admit(new.into());
        }
    }

    fn admit(&self, new: NewCall) {
        if self.running() >= self.most {
            new.reject("every line is busy");
            return;
        }
        let opening = match new {
            NewCall::Sip(new) => match self.context.media_sockets(&new.incoming) {
                Ok(sockets) => self.context.bridge(*new, sockets),
                Err(error) => {
                    if let Some(unsaid) = self.refusals.take(Instant::now()) {
                        warn!(unsaid, "a call is refused: {error}");
                    }
                    NewCall::Sip(new).reject("no media port is free");
                    return;
                }
            },
            NewCall::Tapped(tapped) => tapped.into(),
        };
        self.threads.adopt(PendingCall {
            running: self.running.token(),
            end: self.end.clone(),
            context: self.context.clone(),
            opening,
        });
    }

    /// How many calls run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Waits until no call runs; new ones are taken meanwhile, if any come.
    pub async fn idle(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Ends every running call properly, and those that may yet come.
    pub fn end_all(&self) {
        self.end.cancel();
    }
}

impl CallContext {
    /// What calls speak.
    fn codecs(&self) -> Vec<Codec> {
        let codecs = self.media.codecs.iter().map(|codec| match codec {
            config::Codec::Pcma => Codec::Pcma,
            config::Codec::Pcmu => Codec::Pcmu,
            config::Codec::G722 => Codec::G722,
            config::Codec::Opus => Codec::Opus,
        });
        codecs.collect()
    }

    /// Sockets for the caller's media and for the operator's, and for what else a recording client offers.
    fn media_sockets(&self, incoming: &IncomingCall) -> Result<Vec<RtpSockets>, PortsError> {
        let streams = call::streams_offered(incoming).max(2);
        (0..streams).map(|_| self.ports.bind()).collect()
    }

    /// The address that a peer is told of those sockets.
    fn told(&self, sockets: &RtpSockets) -> SocketAddr {
        SocketAddr::new(self.media_address, sockets.local.port())
    }

    /// A call by SIP, whose media go through those sockets.
    fn bridge(&self, new: sip::NewCall, sockets: Vec<RtpSockets>) -> Opening {
        let end = |sockets: &RtpSockets, policy| RtpEnd {
            address: self.told(sockets),
            policy,
        };
        let [caller, operator] = self.policies(&new);
        let ends = [end(&sockets[0], caller), end(&sockets[1], operator)];
        let further = sockets[2..].iter().map(|sockets| self.told(sockets));
        let further = further.collect();
        let operator = new.route.into_iter().next();
        let operator = operator.unwrap_or_else(|| self.operator.clone());
        Opening {
            name: new.incoming.sip_call_id.clone(),
            source: new.source,
            incoming: Incoming::by_sip(new.incoming, operator, ends).with_further(further),
            signals: Signals::Sip {
                events: new.events,
                commands: new.commands,
            },
            media: sockets.into_iter().map(MediaTransport::Rtp).collect(),
        }
    }

    /// How the packets of a new call's caller and of its operator may travel.
    fn policies(&self, new: &sip::NewCall) -> [MediaPolicy; 2] {
        let latching = match self.media.sources {
            Sources::Signalled => Latching::Signalled,
            Sources::Address => Latching::Address,
            Sources::Network => Latching::Network,
        };
        let policy = |srtp: Srtp, peer: RouteSecurity, unproven: bool| {
            // A key that everybody can read protects nothing.
            let may_have_keys = peer.is_secret || self.media.keys_without_tls;
            MediaPolicy {
                protection: match srtp {
                    Srtp::Required if may_have_keys => Protection::Required,
                    Srtp::Required => Protection::Impossible,
                    Srtp::Optional if may_have_keys => Protection::Optional,
                    Srtp::Optional | Srtp::Off => Protection::Off,
                },
                latching,
                signals_from: peer.signals_from,
                unproven,
            }
        };
        let operators: Vec<RouteSecurity> = if new.route.is_empty() {
            vec![new.route_security.towards(&self.operator)]
        } else {
            let route = new.route.iter();
            route.map(|uri| new.route_security.towards(uri)).collect()
        };
        // One offer goes to all of them.
        let operator = RouteSecurity {
            is_secret: operators.iter().all(|operator| operator.is_secret),
            signals_from: match operators[..] {
                [only] => only.signals_from,
                _ => None,
            },
        };
        let caller = RouteSecurity {
            is_secret: new.transport == Transport::Tls,
            signals_from: Some(new.source.ip()),
        };
        let operator_srtp = self.media.operator_srtp.unwrap_or(self.media.srtp);
        [
            policy(self.media.srtp, caller, new.incoming.by_stranger),
            policy(operator_srtp, operator, false),
        ]
    }
}

#[cfg(test)]
mod tests;
