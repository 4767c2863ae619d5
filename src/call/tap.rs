//! A call that takes place elsewhere and is forked to us (SIPREC, RFC 7866): both speakers come in one dialog, each in
//! a stream of its own, and nothing is bridged.
//!
//! Who speaks in which stream is read of the metadata, never of the streams' order. Several may be heard on one leg. What follows, the listening, the
//! transcript, the draft and the record, is that of every other call.

use std::net::SocketAddr;
use std::time::Instant;

use super::media::RtpEnd;
use super::streams::Streams;
use super::{Call, Incoming, Invite, LEGS, Output, State};
use crate::audio::MediaTime;
use crate::audio::codec::Codec;
use crate::private::Private;
use crate::sip::sdp::{Description, SdpError};
use crate::sip::siprec::{self, Clues, MetadataError, Recording, Speaker};
use crate::sip::{Body, IncomingCall, MultipartError, Party, SipCommand};
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
    pub streams: Streams,
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
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::Multipart(error) => error.status(),
            Self::Metadata(error) => error.status(),
            Self::Description(error) => error.status(),
            Self::NoOffer => 488,
        }
    }

    pub(crate) fn told(&self) -> EndReason {
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
    pub(crate) fn of(invite: &Invite) -> Option<Result<Self, TapError>> {
        begins_recording(&invite.requires, invite.body.as_ref()).then(|| {
            let mut tap = Self {
                recording: Recording::default(),
                offer: None,
                streams: Streams::default(),
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
    pub(crate) fn number(
        &self,
        leg: Leg,
        incoming: &Incoming,
        own: &[String],
    ) -> Option<Private<String>> {
        let known = self.recording.number(leg, clues(incoming, own));
        // A recording client that calls under a name of its own is nobody's number.
        let calling = incoming
            .caller_number
            .as_ref()
            .filter(|number| leg == Leg::Caller && dialing::national(number.reveal()).is_some());
        known.or_else(|| calling.cloned())
    }

    /// The number that was called, where anything says so: a recording client calls the recorder.
    pub(crate) fn called(&self, incoming: &Incoming, own: &[String]) -> String {
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
        let Some(sip) = self.setup.incoming.sip() else {
            return;
        };
        let (offer, media) = (sip.invite.offer.clone(), sip.media);
        let further: Vec<RtpEnd> = sip
            .further
            .iter()
            .map(|place| self.further_end(*place))
            .collect();
        for end in media.iter().chain(&further) {
            self.add_place(now, end);
        }
        match self.take_streams(now, offer.as_deref()) {
            Ok(answer) => {
                self.tell(SipCommand::Answer {
                    party: Party::CALLER,
                    answer: Some(answer),
                });
                self.answered = Some(now);
                self.state = State::Up;
                for media_leg in &mut self.media_legs {
                    media_leg.open_mixed();
                }
                let at = self.wall(now);
                self.outputs
                    .push_back(Output::Transcript(TranscriptEvent::Answered { at }));
            }
            Err(error) => self.refuse(now, error.status(), error.told()),
        }
    }

    /// One more place where a stream of a recording session may end.
    pub fn give_place(&mut self, now: Instant, place: SocketAddr) {
        let end = self.further_end(place);
        self.add_place(now, &end);
    }

    /// How many places a changed offer of a recording session lacks.
    #[must_use]
    pub fn lacks_places(&self, offer: &str) -> usize {
        let Some(tap) = &self.tap else {
            return 0;
        };
        let wanted = Description::parse(offer).map_or(0, |offer| audio_of(&offer).count());
        wanted.saturating_sub(tap.streams.len())
    }

    /// A place as the first one has its packets.
    fn further_end(&self, address: SocketAddr) -> RtpEnd {
        let sip = self.setup.incoming.sip();
        let like = sip.map_or_else(RtpEnd::nowhere, |sip| sip.media[0]);
        RtpEnd { address, ..like }
    }

    fn add_place(&mut self, now: Instant, end: &RtpEnd) {
        if let Some(tap) = &mut self.tap {
            tap.streams.add(now, end, self.setup.seed);
        }
    }

    /// A datagram for one of the further places.
    pub(super) fn further(
        &mut self,
        now: Instant,
        (number, rtcp): (usize, bool),
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let place = LEGS.len() + number;
        match (&mut self.tap, &self.state) {
            (Some(tap), State::Up) if rtcp => {
                tap.streams.take_report(now, place, source, datagram);
            }
            (Some(tap), State::Up) => tap.streams.take_packet(now, place, source, datagram),
            _ => {}
        }
    }

    /// The recording client offers its streams anew: it pauses, resumes, or someone has come or gone.
    pub(super) fn streams_offered(&mut self, now: Instant, offer: Option<&str>) {
        let answer = self
            .take_streams(now, offer)
            .map_err(|error| error.status());
        self.tell(SipCommand::AnswerOffer {
            party: Party::CALLER,
            answer,
        });
    }

    /// The recording client describes the call anew.
    pub(super) fn described(&mut self, body: &Body) {
        let Some(tap) = &mut self.tap else {
            return;
        };
        // What cannot be read changes nothing; the streams go on as they were.
        if matches!(tap.update(body), Ok(true)) {
            self.assign();
        }
    }

    /// Gives each stream a place, and each leg the streams of its speakers, and answers the offer.
    fn take_streams(&mut self, now: Instant, offer: Option<&str>) -> Result<String, TapError> {
        let description =
            Description::parse(offer.ok_or(TapError::NoOffer)?).map_err(TapError::Description)?;
        let clock = self.clock(now).since(MediaTime::ZERO);
        let Some(tap) = &mut self.tap else {
            return Err(TapError::NoOffer);
        };
        let speakers = tap.speakers(&self.setup.incoming, &self.setup.own_numbers);
        let (legs, _) = who_speaks(&description, &speakers);
        let taken = tap.streams.place(&description, &legs, &CODECS);
        // What cannot be taken at all leaves the session as it was.
        if taken.is_empty() {
            return Err(TapError::Description(SdpError::NoCommonCodec));
        }
        tap.streams.take(now, clock, taken);
        let answer = tap.streams.answer(&description);
        tap.offer = Some(description);
        self.assign();
        Ok(answer)
    }

    /// Lets each stream be heard on the leg of who speaks in it.
    fn assign(&mut self) {
        let Some(tap) = &mut self.tap else {
            return;
        };
        let speakers = tap.speakers(&self.setup.incoming, &self.setup.own_numbers);
        let Some(offer) = &tap.offer else {
            return;
        };
        let (legs, certain) = who_speaks(offer, &speakers);
        tap.streams.assign(&legs);
        if !certain {
            self.warn_of_uncertain_legs();
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

/// The streams of an offer that carry sound.
fn audio_of(offer: &Description) -> impl Iterator<Item = usize> {
    let sections = offer.sections().iter().enumerate();
    sections
        .filter(|(_, section)| section.is_audio())
        .map(|(index, _)| index)
}

/// How many streams the INVITE of a recording session offers; none, if it begins none.
#[must_use]
pub fn streams_offered(call: &IncomingCall) -> usize {
    if !begins_recording(&call.requires, call.body.as_ref()) {
        return 0;
    }
    let offer = call.offer.as_deref().map(Description::parse);
    offer
        .and_then(Result::ok)
        .map_or(0, |offer| audio_of(&offer).count())
}

fn begins_recording(requires: &[String], body: Option<&Body>) -> bool {
    requires.iter().any(|tag| tag == siprec::OPTION_TAG) || body.is_some_and(Body::has_metadata)
}

/// On which leg each stream with sound is heard, and whether that is certain.
///
/// A stream that nothing is known of is taken and heard all the same: a stream that is refused is a speaker who is lost.
/// A leg that nobody is known on takes one of those, by label, so that it is the same each time; else one of the streams that
/// are left of the other leg, for they are hardly all one person's. What is left is heard with the operator.
fn who_speaks(offer: &Description, speakers: &[Speaker]) -> (Vec<(usize, Leg)>, bool) {
    let label = |section: usize| offer.sections()[section].label.as_deref();
    let speaker = |section: usize| {
        let mut speakers = speakers.iter();
        speakers.find(|speaker| label(section) == Some(&speaker.label))
    };
    let has_stranger = audio_of(offer).any(|section| speaker(section).is_none());
    let known = |section: usize| {
        let speaker = speaker(section)?;
        match speaker.leg {
            Leg::Mono => None,
            // Nothing tells those apart who are known; then who is not is the citizen.
            _ if has_stranger && !speaker.certain => Some(Leg::Operator),
            leg => Some(leg),
        }
    };
    let mut legs: Vec<(usize, Leg)> = Vec::new();
    for leg in LEGS {
        let first = audio_of(offer).find(|section| known(*section) == Some(leg));
        legs.extend(first.map(|section| (section, leg)));
    }
    let mut left: Vec<usize> = audio_of(offer)
        .filter(|section| !legs.iter().any(|(taken, _)| taken == section))
        .collect();
    left.sort_by_key(|section| (known(*section).is_some(), label(*section)));
    let mut certain = speakers.iter().all(|speaker| speaker.certain);
    for section in left {
        let empty = LEGS
            .into_iter()
            .find(|leg| !legs.iter().any(|(_, taken)| taken == leg));
        certain &= empty.is_none() && known(section).is_some();
        let leg = empty.or_else(|| known(section)).unwrap_or(Leg::Operator);
        legs.push((section, leg));
    }
    (legs, certain)
}
