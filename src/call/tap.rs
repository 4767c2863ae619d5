//! A call that takes place elsewhere and is forked to us (SIPREC, RFC 7866): both speakers come in one dialog, each in
//! a stream of its own, and nothing is bridged.
//!
//! Who speaks in which stream is read of the metadata, never of the streams' order. What follows, the listening, the
//! transcript, the draft and the record, is that of every other call.

use std::time::Instant;

use super::{Call, Incoming, Invite, LEGS, Output, State, index};
use crate::audio::codec::Codec;
use crate::private::Private;
use crate::sip::sdp::{Accepted, Description, Direction, SdpError};
use crate::sip::siprec::{self, Clues, MetadataError, Recording, Speaker};
use crate::sip::{Body, MultipartError, Party, SipCommand};
use crate::speech::Leg;
use crate::ticket::dialing;
use crate::transcript::{AlarmKind, EndReason, TranscriptEvent};

/// What a recorder takes, in its order of preference; a recording client sends what the call has.
const CODECS: [Codec; 5] = [
    Codec::Pcma,
    Codec::Pcmu,
    Codec::G722,
    Codec::Opus,
    Codec::L16,
];

/// What is known of the call that takes place elsewhere.
pub(super) struct Tap {
    recording: Recording,
    /// The streams as they were offered last.
    offer: Option<Description>,
    /// The operator has been told that nothing says who is who.
    warned: bool,
}

/// Why a recording session cannot be taken.
#[derive(Debug)]
pub(super) enum TapError {
    Multipart(MultipartError),
    Metadata(MetadataError),
    Description(SdpError),
    NoOffer,
}

impl TapError {
    pub const fn status(&self) -> u16 {
        match self {
            Self::Multipart(error) => error.status(),
            Self::Metadata(error) => error.status(),
            Self::Description(error) => error.status(),
            Self::NoOffer => 488,
        }
    }

    pub fn told(&self) -> EndReason {
        let detail = match self {
            Self::Multipart(error) => error.to_string(),
            Self::Metadata(error) => error.to_string(),
            Self::Description(error) => error.to_string(),
            Self::NoOffer => {
                "a recording session needs an offer; set the recording client to send one"
                    .to_owned()
            }
        };
        EndReason::UnusableOffer { detail }
    }
}

impl Tap {
    /// The recording session that an INVITE begins, if it begins one.
    pub fn of(invite: &Invite) -> Option<Result<Self, TapError>> {
        let is_recording = invite.requires.iter().any(|tag| tag == siprec::OPTION_TAG)
            || invite.body.as_ref().is_some_and(Body::has_metadata);
        is_recording.then(|| {
            let mut tap = Self {
                recording: Recording::default(),
                offer: None,
                warned: false,
            };
            if let Some(body) = &invite.body {
                tap.update(body)?;
            }
            Ok(tap)
        })
    }

    /// Takes the metadata of a body, if it has any; whether it had.
    fn update(&mut self, body: &Body) -> Result<bool, TapError> {
        let Some(xml) = body.metadata().map_err(TapError::Multipart)? else {
            return Ok(false);
        };
        self.recording.update(&xml).map_err(TapError::Metadata)?;
        Ok(true)
    }

    fn speakers(&self, incoming: &Incoming, own: &[String]) -> Vec<Speaker> {
        self.recording.speakers(clues(incoming, own))
    }

    /// The number of who speaks on a leg.
    pub fn number(&self, leg: Leg, incoming: &Incoming, own: &[String]) -> Option<Private<String>> {
        let known = self.recording.number(leg, clues(incoming, own));
        // A recording client that calls under a name of its own is nobody's number.
        let calling = incoming
            .caller_number
            .as_ref()
            .filter(|number| leg == Leg::Caller && dialing::national(number.reveal()).is_some());
        known.or_else(|| calling.cloned())
    }

    /// The number that was called, where anything says so: a recording client calls the recorder.
    pub fn called(&self, incoming: &Incoming, own: &[String]) -> String {
        let called = self.recording.called(clues(incoming, own));
        called.map_or_else(String::new, Private::into_inner)
    }
}

fn clues<'a>(incoming: &'a Incoming, own: &'a [String]) -> Clues<'a> {
    let calling = incoming.caller_number.as_ref();
    Clues {
        own,
        calling: calling.map(|number| number.reveal().as_str()),
    }
}

impl Call {
    /// Takes the streams of a recording session and answers at once: it is up as soon as it is there.
    pub(super) fn begin_tap(&mut self, now: Instant) {
        // There is nobody to call, and nothing is ever told to an operator's phone, or played to anybody.
        self.parties.operator_gone = true;
        self.announcement = None;
        let sip = self.setup.incoming.sip();
        let offer = sip.and_then(|sip| sip.invite.offer.clone());
        match self.take_streams(offer.as_deref()) {
            Ok(answer) => {
                self.tell(SipCommand::Answer {
                    party: Party::CALLER,
                    answer: Some(answer),
                });
                self.answered = Some(now);
                self.state = State::Up;
                for side in &mut self.sides {
                    side.open(now);
                }
                self.hear_streams(now);
                let at = self.wall(now);
                self.outputs
                    .push_back(Output::Transcript(TranscriptEvent::Answered { at }));
            }
            Err(error) => self.refuse(now, error.status(), error.told()),
        }
    }

    /// The recording client offers its streams anew: it pauses, resumes, or someone has come or gone.
    pub(super) fn streams_offered(&mut self, now: Instant, offer: Option<&str>) {
        let answer = self.take_streams(offer).map_err(|error| error.status());
        self.hear_streams(now);
        self.tell(SipCommand::AnswerOffer {
            party: Party::CALLER,
            answer,
        });
    }

    /// The recording client describes the call anew.
    pub(super) fn described(&mut self, now: Instant, body: &Body) {
        let Some(tap) = &mut self.tap else {
            return;
        };
        // What cannot be read changes nothing; the streams go on as they were.
        if matches!(tap.update(body), Ok(true)) {
            self.assign();
            self.hear_streams(now);
        }
    }

    /// Gives each leg the stream of its speaker, and answers the offer.
    fn take_streams(&mut self, offer: Option<&str>) -> Result<String, TapError> {
        let description =
            Description::parse(offer.ok_or(TapError::NoOffer)?).map_err(TapError::Description)?;
        let Some(tap) = &mut self.tap else {
            return Err(TapError::NoOffer);
        };
        let before = tap.offer.replace(description);
        if let Err(error) = self.assign().ok_or(SdpError::NoCommonCodec) {
            if let Some(tap) = &mut self.tap {
                tap.offer = before;
            }
            return Err(TapError::Description(error));
        }
        let Some(theirs) = self.tap.as_ref().and_then(|tap| tap.offer.as_ref()) else {
            return Err(TapError::NoOffer);
        };
        let locals = self
            .sides
            .each_mut()
            .map(|side| side.describe(Direction::RecvOnly));
        let accepted: Vec<Accepted<'_>> = self
            .sides
            .iter()
            .zip(&locals)
            .filter_map(|(side, local)| side.accepted(local))
            .collect();
        Ok(crate::sip::sdp::answer_all(theirs, &locals[0], &accepted))
    }

    /// Finds the stream of each leg; `None` when not one can be taken.
    fn assign(&mut self) -> Option<()> {
        let tap = self.tap.as_ref()?;
        let offer = tap.offer.as_ref()?;
        let speakers = tap.speakers(&self.setup.incoming, &self.setup.own_numbers);
        let labelled = |label: &str| {
            offer
                .sections()
                .iter()
                .position(|section| section.is_audio() && section.label.as_deref() == Some(label))
        };
        let stream_of = |leg: Leg| {
            speakers
                .iter()
                .filter(|speaker| speaker.leg == leg)
                .find_map(|speaker| labelled(&speaker.label))
        };
        let mut streams = LEGS.map(stream_of);
        let mut certain = speakers.iter().all(|speaker| speaker.certain);
        // All speak in one stream, or nothing says who speaks in one: a leg without a stream takes what is left, by label,
        // so that it is the same each time. A stream that is refused is a speaker who is lost.
        let mut left: Vec<usize> = (0..offer.sections().len())
            .filter(|index| offer.sections()[*index].is_audio() && !streams.contains(&Some(*index)))
            .filter(|index| {
                let negotiated = self.sides[0].negotiate_stream(offer, *index, &CODECS);
                negotiated.is_ok()
            })
            .collect();
        left.sort_by_key(|index| offer.sections()[*index].label.clone());
        let mut left = left.into_iter();
        for stream in &mut streams {
            if stream.is_none()
                && let Some(index) = left.next()
            {
                *stream = Some(index);
                certain = false;
            }
        }
        let agreed = LEGS.map(|leg| {
            let stream = streams[index(leg)]?;
            let side = &self.sides[index(leg)];
            side.negotiate_stream(offer, stream, &CODECS).ok()
        });
        // What cannot be taken at all leaves the session as it was.
        if agreed.iter().all(Option::is_none) {
            return None;
        }
        for (side, agreed) in self.sides.iter_mut().zip(agreed) {
            side.take_stream(agreed);
        }
        if !certain {
            self.warn_of_uncertain_legs();
        }
        Some(())
    }

    /// Listens to what flows; a stream that is paused is silence and no fault.
    fn hear_streams(&mut self, now: Instant) {
        for side in &mut self.sides {
            let flows = side.wish().sends() && side.has_agreed();
            side.be_heard(now, flows);
        }
    }

    fn warn_of_uncertain_legs(&mut self) {
        let Some(tap) = self.tap.as_mut().filter(|tap| !tap.warned) else {
            return;
        };
        tap.warned = true;
        let alarm = TranscriptEvent::Alarm {
            leg: Leg::Caller,
            alarm: AlarmKind::UncertainLegs,
        };
        self.outputs.push_back(Output::Transcript(alarm));
    }
}
