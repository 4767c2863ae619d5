//! What goes into a call and what comes out of it.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::decoded::DecodedFrame;
use super::media::RtpEnd;
use super::path::Refused;
use crate::audio::codec::Codec;
use crate::audio::{Frame, MediaTime};
use crate::private::Private;
use crate::rtp::dtmf::Key;
use crate::rtp::rtcp;
use crate::rtp::stats::StreamStats;
use crate::sip::{Body, IncomingCall, SipCommand, SipEvent};
use crate::speech::finish::Finish;
use crate::speech::segmenter::Settings;
use crate::speech::{CallId, Leg, Outcome, Utterance, UtteranceKey};
use crate::ticket::advice::{Advice, Advised, Drawn};
use crate::ticket::dialing::Dialing;
use crate::ticket::{CallFacts, Dialogue, Drafter, TicketDraft};
use crate::transcript::{EndReason, Line, Origin, Transcript, TranscriptEvent};

/// A call as it comes in: what is known of every one, and what only its way of signalling has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The caller's number, if it is known.
    pub caller_number: Option<Private<String>>,
    /// The number that was called.
    pub called: String,
    /// How it came here.
    pub origin: Origin,
    /// How its parties signal, and how their media travel.
    pub signalling: Signalling,
}

/// How the parties of a call signal, and how their media travel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signalling {
    /// By SIP: the call is bridged to an operator's phone or, where a recording client brings it, listened to.
    Sip(Box<SipSetup>),
    /// Not to us. The call takes place elsewhere, and an edge that knows who speaks brings both legs' decoded sound.
    Tapped {
        /// The operator's number, if it is known.
        operator: Option<Private<String>>,
    },
}

/// What a call that is signalled by SIP has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SipSetup {
    /// What the caller's INVITE asks for.
    pub invite: Invite,
    /// The operator's SIP URI.
    pub operator: String,
    /// Where the RTP of the caller and of the operator ends.
    pub media: [RtpEnd; 2],
    /// Where further streams of a recording session may end.
    pub further: Vec<SocketAddr>,
}

/// What an INVITE asks for, beside who calls whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invite {
    /// The session description offered, if there was one.
    pub offer: Option<String>,
    /// The body as it came, for what stands beside the description (SIPREC metadata).
    pub body: Option<Body>,
    /// The option tags of Require, in small letters; `siprec` makes it a recording session (RFC 7866).
    pub requires: Vec<String>,
    /// The option tags of Supported, in small letters.
    pub supports: Vec<String>,
}

impl Invite {
    /// Whether a provisional response reaches the caller for certain (100rel), so that it may carry an offer.
    pub(super) fn takes_reliably(&self) -> bool {
        let mut tags = self.requires.iter().chain(&self.supports);
        tags.any(|tag| tag == "100rel")
    }
}

impl Incoming {
    /// What the adapter understood of an INVITE, to be bridged to `operator` between those two ends.
    #[must_use]
    pub fn by_sip(call: IncomingCall, operator: String, media: [RtpEnd; 2]) -> Self {
        Self {
            caller_number: call.caller_number,
            called: call.called,
            origin: Origin {
                trunk: call.trunk,
                diverted_from: call.diverted_from,
                user_to_user: call.user_to_user,
            },
            signalling: Signalling::Sip(Box::new(SipSetup {
                invite: Invite {
                    offer: call.offer,
                    body: call.body,
                    requires: call.requires,
                    supports: call.supports,
                },
                operator,
                media,
                further: Vec::new(),
            })),
        }
    }

    /// The same with places for further streams of a recording session.
    #[must_use]
    pub fn with_further(mut self, places: Vec<SocketAddr>) -> Self {
        if let Signalling::Sip(sip) = &mut self.signalling {
            sip.further = places;
        }
        self
    }

    /// What it has by SIP, if it is signalled so.
    pub(super) fn sip(&self) -> Option<&SipSetup> {
        match &self.signalling {
            Signalling::Sip(sip) => Some(sip),
            Signalling::Tapped { .. } => None,
        }
    }
}

/// What a call needs to begin.
pub struct Setup {
    /// The gateway's identifier of the call.
    pub id: CallId,
    /// Who calls whom, and how.
    pub incoming: Incoming,
    /// How the caller's number is written.
    pub dialing: Dialing,
    /// The hotline's own numbers, `*` at the end for the rest: who bears one in a forked call is the operator.
    pub own_numbers: Arc<[String]>,
    /// The wall clock at `now`, read once.
    pub wall: SystemTime,
    /// From a cryptographic generator: SSRCs, first sequence numbers and timestamps, session numbers, keys.
    pub seed: [u8; 32],
    /// What the bridge speaks, in our order of preference; what the caller offers goes before.
    pub codecs: Vec<Codec>,
    /// How long the operator's phone may ring.
    pub ring: Duration,
    /// How long the last words may take after the end.
    pub flush: Duration,
    /// Whether anybody recognises what is said; if not, nothing is listened to.
    pub recognised: bool,
    /// Whether it is heard once more, in longer pieces, while nothing else is to be recognised.
    pub reviewed: bool,
    /// What may happen in it and how long.
    pub rules: Rules,
    /// Whether what is heard is handed out to be recorded.
    pub recorded: bool,
    /// What the caller hears before the operator.
    pub announcement: Option<Arc<Frame>>,
    /// Writes what was recognised.
    pub finish: Arc<dyn Finish>,
    /// When an utterance begins, is passed on and ends.
    pub listening: Settings,
}

/// What may happen in a call, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Whether the caller hears what the operator's side plays before it answers.
    pub early_media: bool,
    /// Whether the caller hears the announcement while the operator's phone rings, not only after the answer.
    pub announce_early: bool,
    /// Whether identity and card numbers are kept out of the recording, and for how long at most.
    pub hide_numbers: Option<Duration>,
    /// How long a call may last.
    pub max_duration: Option<Duration>,
    /// How long both legs may send nothing while neither holds: a lost BYE.
    pub media_timeout: Option<Duration>,
    /// The same for one leg while the other one sends.
    pub leg_media_timeout: Option<Duration>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            early_media: true,
            announce_early: false,
            hide_numbers: None,
            max_duration: Some(Duration::from_hours(4)),
            media_timeout: Some(Duration::from_mins(1)),
            leg_media_timeout: Some(Duration::from_mins(10)),
        }
    }
}

/// What happens to a call.
// Made and taken apart on one stack, thousands of times a second: a box would cost more than its size.
#[allow(clippy::large_enum_variant)]
pub enum Input<'a> {
    /// From the SIP adapter.
    Sip(SipEvent),
    /// A datagram on a leg's RTP port.
    Rtp {
        /// Whose port.
        leg: Leg,
        /// Who sent it.
        source: SocketAddr,
        /// The datagram.
        datagram: &'a [u8],
    },
    /// A datagram on a leg's RTCP port.
    Rtcp {
        /// Whose port.
        leg: Leg,
        /// Who sent it.
        source: SocketAddr,
        /// The datagram.
        datagram: &'a [u8],
    },
    /// A datagram on the port of a further stream of a recording session.
    Further {
        /// Which of the [further](SipSetup::further) places, and those that [`Call::give_place`](super::Call::give_place)
        /// added.
        number: usize,
        /// On its RTCP port.
        rtcp: bool,
        /// Who sent it.
        source: SocketAddr,
        /// The datagram.
        datagram: &'a [u8],
    },
    /// The next decoded sound of a tapped leg.
    Decoded {
        /// Whose.
        leg: Leg,
        /// The sound.
        frame: DecodedFrame,
    },
    /// A key was pressed on a tapped leg; it is none of what is said, and shows that the leg is there.
    Key {
        /// On which.
        leg: Leg,
        /// Which.
        key: Key,
    },
    /// A tapped party is gone, and the call with it.
    Gone {
        /// Which.
        leg: Leg,
        /// What broke, if the party did not hang up.
        broke: Option<String>,
    },
    /// What became of a recognition.
    Heard(UtteranceKey, Outcome),
    /// Something was found out beside the call.
    Advice(Advice),
    /// The draft that was asked for.
    Drafted(Drafted),
    /// The gateway ends the call, e.g. when it drains.
    End(EndReason),
}

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit {
    /// From this leg's port…
    pub leg: Leg,
    /// …its RTCP one, or its RTP one.
    pub rtcp: bool,
    /// To whom.
    pub to: SocketAddr,
    /// The datagram.
    pub datagram: Vec<u8>,
}

/// What the call wants done.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Transmit(Transmit),
    /// Tell the SIP adapter.
    Sip(SipCommand),
    /// Tell the edge that tapped the call that it is over.
    EndTap,
    /// Have this recognised by then, and hand back [`Input::Heard`].
    Recognize(Utterance, Instant),
    /// Record this of a leg; its frames follow one another without a hole.
    Record(Leg, Frame),
    /// Erase from the recording of both legs what was recorded between those times.
    Erase(MediaTime, MediaTime),
    /// Publish this.
    Transcript(TranscriptEvent),
    /// Have this draft drawn up, beside the media, and hand back [`Input::Drafted`].
    Redraft(Redraft),
    /// Publish this and hand it to the outbox.
    Draft(DraftOutput),
    /// The call is over; nothing follows.
    Ended(Box<Summary>),
    /// Nothing to do until then, or until the next input.
    Deadline(Instant, Reason),
    /// Nothing to do until the next input.
    Idle,
}

/// What a draft is drawn from: the call as it stands now.
#[derive(Debug)]
pub struct Redraft {
    pub(super) transcript: Transcript,
    pub(super) facts: CallFacts,
    pub(super) advised: Advised,
    /// What the drafter has read of it already.
    pub(super) talk: Dialogue,
    /// Whether the call is over, so that this is the last.
    pub(super) closes: bool,
}

impl Redraft {
    /// Draws it up; some milliseconds for a long call. A fault of the drafter costs this draft, not the call.
    #[must_use]
    pub fn draw(mut self, drafter: &Drafter) -> Drafted {
        let draw = || drafter.follow(&mut self.talk, &self.transcript, &self.facts, &self.advised);
        let drawn = catch_unwind(AssertUnwindSafe(draw)).ok();
        Drafted { drawn, from: self }
    }

    /// The answer when it cannot be drawn up: the last one stands.
    #[must_use]
    pub const fn refuse(self) -> Drafted {
        Drafted {
            drawn: None,
            from: self,
        }
    }
}

/// A draft, and what it was drawn from.
#[derive(Debug)]
pub struct Drafted {
    pub(super) drawn: Option<Drawn>,
    pub(super) from: Redraft,
}

/// A draft as it stands.
#[derive(Debug)]
pub struct DraftOutput {
    /// Counts the call's drafts from 1.
    pub revision: u64,
    /// The draft.
    pub draft: Arc<TicketDraft>,
    /// The final lines that its evidence points into.
    pub lines: Vec<Line>,
    /// Whether the call is over, so that this is the last.
    pub closes: bool,
}

/// Why a call wants to be polled at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The operator's phone has rung long enough.
    Ring,
    /// The jitter buffer gives up waiting for a packet.
    Listen,
    /// A sender or receiver report is due.
    Report,
    /// A leg has been silent for suspiciously long.
    NoMedia,
    /// A key press is to be sent, or counts as over.
    Keys,
    /// Who has been replaced should have hung up.
    Leave,
    /// The call has lasted as long as it may.
    Duration,
    /// The last words have had their time.
    Flush,
    /// The next packet of the announcement is due.
    Announce,
    /// A number that is kept out of the recording counts as read.
    Number,
}

/// How a call went, for the log and the metrics.
#[derive(Clone, Debug)]
pub struct Summary {
    /// From the answer to the end.
    pub duration: MediaTime,
    /// Why it ended.
    pub reason: EndReason,
    /// What came in from the caller and from the operator, where media flowed.
    pub streams: [Option<StreamStats>; 2],
    /// What the caller and the operator last reported of what we sent them.
    pub reported: [Option<rtcp::Remote>; 2],
    /// What each leg's port refused.
    pub refused: [Refused; 2],
}
