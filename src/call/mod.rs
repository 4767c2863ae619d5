//! One call as a state machine: SIP events, packets and hypotheses in; packets, commands, transcript and drafts out.
//!
//! One input, then drain the outputs: [`Call::handle`] takes one input; [`Call::transmit`] gives the packets that go
//! to the other leg and is drained first, so nothing below can delay them; [`Call::poll`] does the listening and
//! gives the rest, until it names the next [`Deadline`](Output::Deadline). `now` is the only clock.

#![cfg_attr(not(test), warn(unreachable_pub))]

mod announce;
mod command;
mod decoded;
mod io;
mod latch;
mod media;
mod mix;
mod parties;
mod path;
mod redaction;
mod signal;
mod speech_pipeline;
mod streams;
mod tap;
mod transcript_builder;
mod transfer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use announce::Announcement;
pub use announce::sound;
pub use command::{Command, Refusal};
pub use decoded::DecodedFrame;
pub use io::{
    DraftOutput, Drafted, Incoming, Input, Invite, Output, Reason, Redraft, Rules, Setup,
    Signalling, SipSetup, Summary, Transmit,
};
pub use latch::Latching;
use media::MediaLeg;
pub use media::RtpEnd;
use parties::Parties;
use path::Out;
pub use path::{MediaPolicy, Refused};
use redaction::NumberRedaction;
pub use speech_pipeline::SpeechPipeline;
use tap::Tap;
pub use tap::streams_offered;
pub use transcript_builder::{Note, TranscriptBuilder};

use crate::audio::MediaTime;
use crate::private::Private;
use crate::rtp::rtcp;
use crate::sip::sdp::{Description, Direction, SdpError};
use crate::sip::{Party, SipCommand, Target};
use crate::speech::Leg;
use crate::ticket::advice::{Advised, Drawn};
use crate::ticket::{CallFacts, Dialogue, TicketDraft};
use crate::transcript::{AlarmKind, CallInfo, EndReason, LegMedia, RecordingMark, TranscriptEvent};

/// How long a leg may send nothing before the operator is told.
const NO_MEDIA_AFTER: Duration = Duration::from_secs(8);

/// The same after comfort noise: who has said that silence follows may leave it at that for a while.
const QUIET_AFTER_NOISE: Duration = Duration::from_secs(30);

/// The same after a report of a leg that sends nothing: two reports more, one of which may be lost (RFC 3550 §6.2).
const QUIET_AFTER_REPORT: Duration = Duration::from_secs(16);

/// Why the call is ended from here.
#[derive(Clone, Copy)]
enum End {
    /// It has lasted as long as it may.
    TooLong,
    /// A hang-up was lost on the way, and no media come any more.
    AllQuiet,
    /// The same of one leg.
    Quiet(Leg),
}

impl End {
    const fn reason(self) -> Reason {
        match self {
            Self::TooLong => Reason::Duration,
            Self::AllQuiet | Self::Quiet(_) => Reason::NoMedia,
        }
    }

    fn told(self, rules: &Rules) -> EndReason {
        let seconds = |limit: Option<Duration>| limit.unwrap_or_default().as_secs();
        match self {
            Self::TooLong => EndReason::TooLong {
                seconds: seconds(rules.max_duration),
            },
            Self::AllQuiet => EndReason::NoMedia {
                party: None,
                seconds: seconds(rules.media_timeout),
            },
            Self::Quiet(leg) => EndReason::NoMedia {
                party: Some(leg),
                seconds: seconds(rules.leg_media_timeout),
            },
        }
    }
}

/// How far a call is.
///
/// ```text
///          operator answers      hang-up, a party lost,         all is recognised and the
///          (answered_with)       a limit reached (hang_up)      last draft drawn (conclude)
/// Ringing ─────────────────► Up ──────────────────────► Flushing ─────────────────────► Over
///    │                        ▲                            ▲
///    │                        └─ at once, without ringing: a recording session that is
///    │                           taken (begin_tap), decoded sound (begin_tapped)
///    └─────────────────────────────────────────────────────┘
///      cancelled, refused, lost or not answered in time (close): nothing is left to recognise
/// ```
/// No way leads back. What comes for a state that is over has no effect.
enum State {
    /// The operator's phone has been invited, and has until then to answer.
    Ringing { until: Instant },
    /// Both legs are connected.
    Up,
    /// Ended; the last words are being recognised, at most until then.
    Flushing { until: Instant },
    /// Everything has been said.
    Over,
}

/// Whether a draft is being drawn up; one at a time.
#[derive(Default)]
struct Drafting {
    under_way: bool,
    /// More was said since it was begun.
    stale: bool,
    /// The last one has been asked for.
    closing: bool,
    /// What the drafter has read, while none is under way.
    talk: Dialogue,
}

/// One call.
pub struct Call {
    setup: Setup,
    /// The caller's offer; without one, ours stands in the answer to the INVITE and the caller's answer in the ACK.
    offer: Option<Description>,
    began: Instant,
    answered: Option<Instant>,
    ended: Option<(Instant, EndReason)>,
    state: State,
    parties: Parties,
    /// A recording client forks a call to us that takes place elsewhere.
    tap: Option<Tap>,
    /// The description that the caller has been told, in 183 or 200.
    told: Option<String>,
    media_legs: [MediaLeg; 2],
    builder: TranscriptBuilder,
    /// After the end, what was said last has been asked to be heard once more.
    rest_asked: bool,
    facts: CallFacts,
    /// The draft as it was drawn up last, and as it was handed out last: with what the operator has written.
    drawn: Drawn,
    draft: Arc<TicketDraft>,
    advised: Advised,
    revision: u64,
    drafting: Drafting,
    /// The announcement, until the caller has heard it.
    announcement: Option<Announcement>,
    /// That the operator's phone rings, to be told when the announcement is over: many phones would play a tone over it.
    ringing_after: Option<u16>,
    /// What keeps numbers out of the recording, if that is wanted.
    redaction: Option<NumberRedaction>,
    transmits: Out,
    /// What a protected packet says in clear.
    clear: Vec<u8>,
    outputs: VecDeque<Output>,
}

const fn index(leg: Leg) -> usize {
    match leg {
        Leg::Caller | Leg::Mono => 0,
        Leg::Operator => 1,
    }
}

const LEGS: [Leg; 2] = [Leg::Caller, Leg::Operator];

impl Call {
    /// Takes a call. By SIP, the operator's phone is invited, or the caller refused when no codec is shared; a tapped
    /// one is up at once.
    #[must_use]
    pub fn new(now: Instant, setup: Setup) -> Self {
        let incoming = &setup.incoming;
        let tap = incoming.sip().and_then(|sip| Tap::of(&sip.invite));
        let named = |leg| match (&tap, &incoming.signalling) {
            (Some(Ok(tap)), _) => tap.number(leg, incoming, &setup.own_numbers),
            (_, Signalling::Tapped { operator }) if leg == Leg::Operator => operator.clone(),
            _ => None,
        };
        let (caller_number, called) = match &tap {
            Some(Ok(tap)) => (named(Leg::Caller), tap.called(incoming, &setup.own_numbers)),
            _ => (incoming.caller_number.clone(), incoming.called.clone()),
        };
        let caller_number = caller_number
            .and_then(|given| setup.dialing.shown(given.reveal()))
            .map(Private::new);
        let operator = match incoming.sip() {
            Some(sip) if tap.is_none() => sip.operator.clone(),
            _ => named(Leg::Operator).map_or_else(String::new, Private::into_inner),
        };
        let facts = CallFacts {
            call: setup.id.clone(),
            caller_number: caller_number.clone(),
            started_at: setup.wall,
        };
        let started = TranscriptEvent::Started(CallInfo {
            call: setup.id.clone(),
            caller_number,
            called,
            operator,
            started_at: setup.wall,
            origin: incoming.origin.clone(),
        });
        let ends = incoming
            .sip()
            .map_or_else(|| [RtpEnd::nowhere(); 2], |sip| sip.media);
        let pipeline = || {
            setup
                .recognised
                .then(|| SpeechPipeline::new(setup.listening.clone(), MediaTime::ZERO))
        };
        let mut call = Self {
            offer: None,
            began: now,
            answered: None,
            ended: None,
            state: State::Ringing {
                until: now + setup.ring,
            },
            parties: Parties::new(),
            tap: None,
            told: None,
            media_legs: [
                MediaLeg::new(Leg::Caller, now, &ends[0], setup.seed, pipeline()),
                MediaLeg::new(
                    Leg::Operator,
                    now,
                    &ends[1],
                    setup.seed.map(|octet| !octet),
                    pipeline(),
                ),
            ],
            builder: TranscriptBuilder::new(setup.id.clone(), setup.finish.clone())
                .reviewing(setup.reviewed),
            rest_asked: false,
            facts,
            drawn: Drawn::default(),
            draft: Arc::default(),
            advised: Advised::default(),
            revision: 0,
            drafting: Drafting::default(),
            announcement: setup.announcement.clone().map(Announcement::new),
            ringing_after: None,
            redaction: setup.rules.hide_numbers.map(NumberRedaction::new),
            transmits: Out::default(),
            clear: Vec::new(),
            outputs: VecDeque::from([Output::Transcript(started)]),
            setup,
        };
        if call.setup.recorded {
            call.media_legs.iter_mut().for_each(MediaLeg::record);
        }
        if !call.setup.recognised {
            let alarm = TranscriptEvent::Alarm {
                leg: Leg::Caller,
                alarm: AlarmKind::RecognitionOff,
            };
            call.outputs.push_back(Output::Transcript(alarm));
        }
        match tap {
            None if call.is_tapped() => call.begin_tapped(now),
            Some(Ok(tap)) => {
                call.tap = Some(tap);
                call.begin_tap(now);
            }
            Some(Err(error)) => call.refuse(now, error.status(), error.told()),
            None => call.begin_bridge(now),
        }
        call
    }

    /// Whether an edge brings what is said, and there is nobody to signal to.
    const fn is_tapped(&self) -> bool {
        matches!(self.setup.incoming.signalling, Signalling::Tapped { .. })
    }

    fn begin_bridge(&mut self, now: Instant) {
        match self.read_offer() {
            Ok(offer) => {
                self.offer = offer;
                self.invite_operator();
                self.begin_announcement();
            }
            Err(error) => {
                let detail = error.to_string();
                self.refuse(now, error.status(), EndReason::UnusableOffer { detail });
            }
        }
    }

    /// Invites the operator's phone to what the caller can.
    fn invite_operator(&mut self) {
        let Some(sip) = self.setup.incoming.sip() else {
            return;
        };
        let target = Target::new(&sip.operator);
        let offer = self.offer.as_ref();
        let mut codecs = offer.map(Description::codecs).unwrap_or_default();
        codecs.retain(|codec| self.setup.codecs.contains(codec));
        for codec in &self.setup.codecs {
            if !codecs.contains(codec) {
                codecs.push(*codec);
            }
        }
        let like = offer.and_then(Description::audio);
        let offer = self.media_legs[1].offer(Direction::SendRecv, &codecs, like);
        self.tell(SipCommand::Invite {
            party: Party::OPERATOR,
            target,
            caller_number: self.setup.incoming.caller_number.clone(),
            offer,
        });
    }

    /// The caller's offer, if there is one and it can be served.
    fn read_offer(&self) -> Result<Option<Description>, SdpError> {
        let sip = self.setup.incoming.sip();
        let Some(offer) = sip.and_then(|sip| sip.invite.offer.as_deref()) else {
            return Ok(None);
        };
        let offer = Description::parse(offer)?;
        self.media_legs[0].negotiate(&offer, &self.setup.codecs)?;
        Ok(Some(offer))
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Rtp {
                leg,
                source,
                datagram,
            } => self.media(now, leg, source, datagram),
            Input::Rtcp {
                leg,
                source,
                datagram,
            } => match &mut self.tap {
                Some(tap) => tap.streams.take_report(now, index(leg), source, datagram),
                None => self.media_legs[index(leg)].report(now, source, datagram),
            },
            Input::Further {
                number,
                rtcp,
                source,
                datagram,
            } => self.further(now, (number, rtcp), source, datagram),
            Input::Decoded { leg, frame } => self.decoded(now, leg, frame),
            Input::Key { leg, .. } => self.media_legs[index(leg)].give_sign(now),
            Input::Gone { leg, broke } => self.tapped_party_gone(now, leg, broke),
            Input::Heard(key, outcome) => {
                let voiced = self.media_legs[index(key.leg)].voiced();
                self.builder.heard(now, &key, outcome, voiced);
            }
            Input::Drafted(drafted) => self.drafted(drafted),
            Input::Sip(event) => self.signal(now, event),
            Input::Advice(advice) => {
                self.advised.take(advice);
                if matches!(self.state, State::Up | State::Flushing { .. }) {
                    self.redraft();
                }
            }
            Input::End(reason) => match self.state {
                State::Ringing { .. } => {
                    self.tell(SipCommand::HangUp {
                        party: Party::OPERATOR,
                    });
                    self.refuse(now, 480, reason);
                }
                State::Up => {
                    self.hang_up_all(None);
                    self.hang_up(now, reason);
                }
                State::Flushing { .. } | State::Over => {}
            },
        }
    }

    /// Makes each leg's outgoing stream fit what both legs have agreed on.
    fn connect(&mut self) {
        let [caller, operator] = &mut self.media_legs;
        if operator.has_agreed() {
            caller.receive_from(operator);
        } else {
            // What we play ourselves is in the caller's own codec.
            caller.receive_as_it_sends();
        }
        operator.receive_from(caller);
    }

    /// The wall clock at `now`, by the one reading at the beginning.
    fn wall(&self, now: Instant) -> SystemTime {
        self.setup.wall + now.saturating_duration_since(self.began)
    }

    fn media(&mut self, now: Instant, leg: Leg, source: SocketAddr, datagram: &[u8]) {
        // Before the answer only what both sides have been told of flows: early media.
        let flows = match self.state {
            State::Up => true,
            State::Ringing { .. } => self.told.is_some(),
            State::Flushing { .. } | State::Over => false,
        };
        if !flows {
            return;
        }
        if let Some(tap) = &mut self.tap {
            return tap.streams.take_packet(now, index(leg), source, datagram);
        }
        // While a transfer rings, the operator may be gone, but not the port.
        if leg == Leg::Operator && self.parties.operator_gone {
            return;
        }
        // Nobody speaks to the caller before the announcement is over.
        let is_held = leg == Leg::Operator && self.is_announcing();
        let [caller, operator] = &mut self.media_legs;
        let (from, to) = if leg == Leg::Caller {
            (caller, operator)
        } else {
            (operator, caller)
        };
        // With rtcp-mux the reports come on the same port.
        if rtcp::is_rtcp(datagram) {
            from.report(now, source, datagram);
        } else if let Some(packet) = from.accept(now, source, datagram, &mut self.clear) {
            if !is_held {
                to.forward(now, &packet, &mut self.transmits);
            }
            from.hear(now, &packet);
        }
    }

    /// Takes the buffer of a datagram back that has been sent, so that the next one needs none of its own.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.transmits.recycle(buffer);
    }

    /// The next packet to send; drained after each input, before [`Call::poll`].
    pub fn transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop()
    }

    /// Does what is due and gives one output.
    pub fn poll(&mut self, now: Instant) -> Output {
        loop {
            if let Some(transmit) = self.transmits.pop() {
                return Output::Transmit(transmit);
            }
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            if let Some(note) = self.builder.note() {
                match note {
                    Note::Recognize(utterance, due) => return Output::Recognize(utterance, due),
                    Note::Tell(event) => {
                        if let TranscriptEvent::Line(line) = &event {
                            self.hide_numbers(now, line);
                            if line.is_final {
                                self.redraft();
                            }
                        }
                        return Output::Transcript(event);
                    }
                    Note::Renewed(line) => {
                        self.redraft();
                        return Output::Transcript(TranscriptEvent::Line(line));
                    }
                }
            }
            match self.state {
                State::Ringing { until } if until <= now => {
                    self.tell(SipCommand::HangUp {
                        party: Party::OPERATOR,
                    });
                    self.refuse(now, 480, EndReason::NoAnswer);
                }
                State::Ringing { until } => {
                    if self.is_announcing() {
                        self.announce(now);
                    }
                    if self.transmits.is_empty() && self.outputs.is_empty() {
                        return self.ringing_deadline(until);
                    }
                }
                State::Up => {
                    if !self.tick(now) {
                        return self.deadline();
                    }
                }
                State::Flushing { until } => {
                    if self.builder.is_waiting() && now < until {
                        return Output::Deadline(until, Reason::Flush);
                    }
                    if self.builder.is_waiting() {
                        self.builder.give_up();
                    } else if !self.rest_asked {
                        self.rest_asked = true;
                        self.builder.review_rest(now);
                    } else if self.builder.is_reviewing() && now < until {
                        return Output::Deadline(until, Reason::Flush);
                    } else if self.answered.is_none() {
                        self.conclude();
                    } else if self.drafting.closing {
                        // The last draft is under way.
                        return Output::Idle;
                    } else {
                        self.drafting.closing = true;
                        self.redraft();
                    }
                }
                State::Over => return Output::Idle,
            }
        }
    }

    /// Listens and reports; whether anything came of it.
    fn tick(&mut self, now: Instant) -> bool {
        self.look_after_parties(now);
        let wall = self.wall(now);
        self.announce(now);
        self.look_after_redaction(now);
        if let Some(tap) = &mut self.tap {
            tap.streams.look_after(now, wall, &mut self.transmits);
        }
        for leg in LEGS {
            self.listen(now, leg, false);
            let media_leg = &mut self.media_legs[index(leg)];
            media_leg.report_if_due(now, wall, &mut self.transmits);
            media_leg.dial(now, &mut self.transmits);
            // What a leg presses goes on as it comes; who hears no such packets is told by INFO.
            while let Some(press) = self.media_legs[index(leg)].pressed(now) {
                if !self.media_legs[index(leg.other())].takes_presses() {
                    self.tell_key(leg.other(), press.key.as_char(), press.duration);
                }
            }
            if self.media_legs[index(leg)].is_suspiciously_silent(now) {
                self.tell_of_silence(leg);
            }
        }
        let tap = self.tap.as_mut();
        if let Some(leg) = tap.and_then(|tap| tap.streams.suspiciously_silent(now)) {
            self.tell_of_silence(leg);
        }
        !self.transmits.is_empty() || !self.outputs.is_empty() || self.builder.has_notes()
    }

    fn tell_of_silence(&mut self, leg: Leg) {
        let alarm = TranscriptEvent::Alarm {
            leg,
            alarm: AlarmKind::NoMedia,
        };
        self.outputs.push_back(Output::Transcript(alarm));
    }

    /// Gives up who has rung long enough, lets go who should have gone, and ends a call that nobody ends.
    fn look_after_parties(&mut self, now: Instant) {
        let rings_too_long = |invited: parties::Invitation| invited.until <= now;
        if self.parties.invited.is_some_and(rings_too_long) {
            self.give_up_successor(now);
        }
        while let Some(party) = self.parties.overdue(now) {
            self.tell(SipCommand::HangUp { party });
        }
        let overdue = self.ends().into_iter().flatten().find(|(at, _)| *at <= now);
        if let Some((_, end)) = overdue {
            let why = end.told(&self.setup.rules);
            self.handle(now, Input::End(why));
        }
    }

    /// When the call is ended from here, and why. It is asked at every packet, so it allocates nothing.
    fn ends(&self) -> [Option<(Instant, End)>; 4] {
        let rules = &self.setup.rules;
        let quiet = LEGS.map(|leg| match &self.tap {
            Some(tap) => tap.streams.quiet_since(leg),
            None => self.media_legs[index(leg)].quiet_since(),
        });
        let longest = self.answered.zip(rules.max_duration);
        let both = quiet[0].zip(quiet[1]).zip(rules.media_timeout);
        let one = |leg: Leg| {
            let (since, most) = quiet[index(leg)].zip(rules.leg_media_timeout)?;
            Some((since + most, End::Quiet(leg)))
        };
        [
            longest.map(|(answered, most)| (answered + most, End::TooLong)),
            both.map(|((caller, operator), most)| (caller.max(operator) + most, End::AllQuiet)),
            one(Leg::Caller),
            one(Leg::Operator),
        ]
    }

    /// Brings what a leg said to whoever recognises and records it.
    fn listen(&mut self, now: Instant, leg: Leg, end: bool) {
        let (media_leg, builder) = (&mut self.media_legs[index(leg)], &mut self.builder);
        if let (Some(tap), Some(mixer)) = (&mut self.tap, media_leg.mixer()) {
            tap.streams.listen(now, leg, end, mixer);
        }
        media_leg.listen(now, end, |voiced, event| {
            builder.listen(now, leg, event, voiced);
        });
        let frames = media_leg.recorded().map(|frame| Output::Record(leg, frame));
        self.outputs.extend(frames);
    }

    /// Media time at `now`.
    fn clock(&self, now: Instant) -> MediaTime {
        self.answered.map_or(MediaTime::ZERO, |answered| {
            MediaTime::ZERO + now.saturating_duration_since(answered)
        })
    }

    fn mark(&mut self, now: Instant, mark: RecordingMark) {
        self.mark_at(self.clock(now), mark);
    }

    fn mark_at(&mut self, at: MediaTime, mark: RecordingMark) {
        self.outputs
            .push_back(Output::Transcript(TranscriptEvent::Recording { at, mark }));
    }

    fn pause(&mut self, now: Instant, paused: bool) {
        let mut changed = false;
        for media_leg in &mut self.media_legs {
            changed |= media_leg.mute(paused);
        }
        if changed {
            let mark = if paused {
                RecordingMark::Paused
            } else {
                RecordingMark::Resumed
            };
            self.mark(now, mark);
        }
    }

    fn deadline(&self) -> Output {
        let announcement = self.announcement_deadline();
        let redaction = self.redaction_deadline().map(|at| (at, Reason::Number));
        let ends = self.ends().into_iter().flatten();
        let ends = ends.map(|(at, end)| (at, end.reason()));
        let next = self
            .media_legs
            .iter()
            .flat_map(MediaLeg::deadlines)
            .chain(self.tap.iter().flat_map(|tap| tap.streams.deadlines()))
            .chain(self.parties.deadlines())
            .chain(ends)
            .chain(announcement)
            .chain(redaction)
            .min_by_key(|(at, _)| *at);
        next.map_or(Output::Idle, |(at, reason)| Output::Deadline(at, reason))
    }

    /// Has the draft drawn up anew: at once, or when the one under way is there.
    fn redraft(&mut self) {
        if self.drafting.under_way {
            self.drafting.stale = true;
            return;
        }
        self.drafting.under_way = true;
        self.drafting.stale = false;
        self.outputs.push_back(Output::Redraft(Redraft {
            transcript: self.builder.transcript().clone(),
            facts: self.facts.clone(),
            advised: self.advised.clone(),
            talk: std::mem::take(&mut self.drafting.talk),
            closes: self.drafting.closing,
        }));
    }

    /// Takes a draft; it is handed out when it has changed or is the last, after which the call is over.
    fn drafted(&mut self, Drafted { drawn, mut from }: Drafted) {
        self.drafting.under_way = false;
        self.drafting.talk = std::mem::take(&mut from.talk);
        if let Some(drawn) = drawn {
            self.drawn = drawn;
        }
        let draft = self.advised.judge(&self.drawn);
        if from.closes || draft != *self.draft {
            self.draft = Arc::new(draft);
            self.revision += 1;
            self.outputs.push_back(Output::Draft(DraftOutput {
                revision: self.revision,
                draft: self.draft.clone(),
                lines: self.drawn.lines(&from.transcript),
                closes: from.closes,
            }));
        }
        if from.closes {
            self.conclude();
        } else if self.drafting.stale {
            self.redraft();
        }
    }

    /// Where a leg's packets come: of several streams of a recording session the first.
    fn heard_by(&self, leg: Leg) -> Option<&MediaLeg> {
        match &self.tap {
            Some(tap) => tap.streams.of(leg).next(),
            None => Some(&self.media_legs[index(leg)]),
        }
    }

    /// Says the last: that the call is over.
    fn conclude(&mut self) {
        let (at, reason) = self
            .ended
            .clone()
            .expect("a call flushes only after it has ended");
        self.show_again(at);
        let duration = self.answered.map_or(MediaTime::ZERO, |answered| {
            MediaTime::ZERO + at.saturating_duration_since(answered)
        });
        let qualities: Vec<LegMedia> = match &self.tap {
            Some(tap) => tap.streams.qualities().collect(),
            None => self
                .media_legs
                .iter()
                .filter_map(MediaLeg::quality)
                .collect(),
        };
        let qualities = qualities.into_iter().map(TranscriptEvent::Media);
        self.outputs.extend(qualities.map(Output::Transcript));
        let last = TranscriptEvent::CallFinal {
            duration,
            reason: reason.clone(),
        };
        self.outputs.push_back(Output::Transcript(last));
        self.outputs.push_back(Output::Ended(Box::new(Summary {
            duration,
            reason,
            streams: LEGS.map(|leg| self.heard_by(leg)?.stats().cloned()),
            reported: LEGS.map(|leg| self.heard_by(leg)?.reported().copied()),
            refused: LEGS.map(|leg| {
                self.heard_by(leg)
                    .map(MediaLeg::refused)
                    .unwrap_or_default()
            }),
        })));
        self.state = State::Over;
    }
}

#[cfg(test)]
mod tests;
