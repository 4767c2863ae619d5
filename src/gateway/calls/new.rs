//! Calls as the edges bring them to the table, and how each is signalled afterwards.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::super::media::MediaTransport;
use super::super::media::frames::FrameReceiver;
use super::super::sip;
use super::CallContext;
use crate::call::{Incoming, Signalling};
use crate::private::Private;
use crate::sip::{Party, SipCommand, SipEvent};
use crate::transcript::Origin;

/// A call that is to be carried; dropping it ends it.
pub enum NewCall {
    /// One that the SIP edge has taken.
    Sip(Box<sip::NewCall>),
    /// One that is tapped elsewhere.
    Tapped(TappedCall),
}

/// A call that takes place elsewhere, and whose two sides come as decoded sound.
#[derive(Debug)]
pub struct TappedCall {
    /// What its edge calls it; holds nothing of who speaks.
    pub name: String,
    /// Where it comes from.
    pub source: SocketAddr,
    /// The caller's number, if it is known.
    pub caller_number: Option<Private<String>>,
    /// The operator's, if it is known.
    pub operator_number: Option<Private<String>>,
    /// The number that was called; empty when it is not known.
    pub called: String,
    /// The name of the way in, where the call's record names the trunk.
    pub trunk: String,
    /// What comes of the caller and of the operator.
    pub legs: [FrameReceiver; 2],
    /// Says why the call is refused; dropped when it is over, or was never begun.
    pub refusal: oneshot::Sender<&'static str>,
}

impl From<sip::NewCall> for NewCall {
    fn from(new: sip::NewCall) -> Self {
        Self::Sip(Box::new(new))
    }
}

impl From<TappedCall> for NewCall {
    fn from(tapped: TappedCall) -> Self {
        Self::Tapped(tapped)
    }
}

impl NewCall {
    /// Refuses it for want of room.
    pub(super) fn reject(self, reason: &'static str) {
        // Who does not take it has ended the call already.
        match self {
            Self::Sip(new) => {
                let _ = new.commands.try_send(SipCommand::Reject {
                    party: Party::CALLER,
                    status: 503,
                    reason: reason.to_owned(),
                });
            }
            Self::Tapped(tapped) => {
                let _ = tapped.refusal.send(reason);
            }
        }
    }
}

/// How a running call and its edge tell each other what happens.
pub(super) enum Signals {
    /// By events and commands.
    Sip {
        events: mpsc::Receiver<SipEvent>,
        commands: mpsc::Sender<SipCommand>,
    },
    /// The edge is told that the call is over by dropping this.
    Tapped(Option<oneshot::Sender<&'static str>>),
}

impl Signals {
    /// Tells the edge of a tapped call that it is over.
    pub(crate) fn end_tap(&mut self) {
        if let Self::Tapped(refusal) = self {
            *refusal = None;
        }
    }
}

/// A call as its thread takes it over from the edge.
pub(super) struct Opening {
    /// What the edge calls it.
    pub name: String,
    /// Where it comes from.
    pub source: SocketAddr,
    pub incoming: Incoming,
    pub signals: Signals,
    /// How the media of the caller and of the operator travel, and those of further streams of a recording session.
    pub media: Vec<MediaTransport>,
}

impl From<TappedCall> for Opening {
    fn from(tapped: TappedCall) -> Self {
        Self {
            name: tapped.name,
            source: tapped.source,
            incoming: Incoming {
                caller_number: tapped.caller_number,
                called: tapped.called,
                origin: Origin {
                    trunk: Some(tapped.trunk),
                    ..Origin::default()
                },
                signalling: Signalling::Tapped {
                    operator: tapped.operator_number,
                },
            },
            signals: Signals::Tapped(Some(tapped.refusal)),
            media: tapped.legs.map(MediaTransport::Frames).into(),
        }
    }
}

/// A call on its way to a thread.
pub(super) struct PendingCall {
    pub context: Arc<CallContext>,
    pub opening: Opening,
    /// That it runs.
    pub running: TaskTrackerToken,
    /// Ends it when cancelled.
    pub end: CancellationToken,
}
