//! One leg's media: who may send, what goes to it, what is heard of it.
//!
//! A leg is heard by packets, after an offer and an answer, or its sound comes decoded: then nothing is ever agreed on,
//! and so no packet is taken from it or sent to it.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::decoded::{DecodedFrame, DecodedStream};
use super::mix::Mixer;
use super::path::{MediaPolicy, Out, Path, Refused};
use super::{
    NO_MEDIA_AFTER, QUIET_AFTER_NOISE, QUIET_AFTER_REPORT, Reason, speech_pipeline::SpeechPipeline,
};
use crate::audio::Frame;
use crate::audio::codec::Codec;
use crate::rtp::Packet;
use crate::rtp::dtmf::Press;
use crate::rtp::forward::Forwarder;
use crate::rtp::listen::ListenBuffer;
use crate::rtp::rtcp::{Remote, Reports};
use crate::rtp::stats::StreamStats;
use crate::sip::sdp::{
    self, Accepted, Description, Direction, Local, Negotiated, Protection, SdpError, Section, Terms,
};
use crate::speech::Leg;
use crate::speech::segmenter::Event;
use crate::transcript::LegMedia;

/// Where a leg ends on this machine, and how its packets may travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpEnd {
    /// Where it is told to send RTP.
    pub address: SocketAddr,
    /// Whether its packets are encrypted, and where they may come from.
    pub policy: MediaPolicy,
}

impl RtpEnd {
    /// That of a leg which has none: port 0 is the word of SDP for a stream that is not there (RFC 3264 §6).
    pub(super) fn nowhere() -> Self {
        Self {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            policy: MediaPolicy::default(),
        }
    }
}

/// What is heard of a leg, on the call's timeline.
enum LegInput {
    /// By packets.
    Packets(ListenBuffer),
    /// As decoded sound.
    Decoded(DecodedStream),
    /// By streams that come elsewhere.
    Mixed(Mixer),
}

impl LegInput {
    fn poll(&mut self, now: Instant) -> Option<Frame> {
        match self {
            Self::Packets(buffer) => buffer.poll(now).map(|heard| heard.frame),
            Self::Decoded(stream) => stream.poll(now),
            Self::Mixed(mixer) => mixer.poll(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Packets(buffer) => Some(buffer.deadline()),
            Self::Decoded(stream) => Some(stream.deadline()),
            // Its streams wake the call.
            Self::Mixed(_) => None,
        }
    }

    const fn stats(&self) -> Option<&StreamStats> {
        match self {
            Self::Packets(buffer) => buffer.stats(),
            Self::Decoded(stream) => stream.stats(),
            Self::Mixed(_) => None,
        }
    }
}

/// One leg.
pub(crate) struct MediaLeg {
    local: Local,
    agreed: Option<Negotiated>,
    path: Box<Path>,
    /// The peer takes or gives keys only in the secured profile, so far as it has shown.
    secured: bool,
    reports: Reports,
    /// From the answer on.
    input: Option<LegInput>,
    /// What this leg is heard through, if anybody recognises what is said.
    pipeline: Option<SpeechPipeline>,
    /// What was heard and is still to be recorded, if anybody records.
    frames: Option<Vec<Frame>>,
    /// Nobody is to keep what is said now: recording and recognition hear silence.
    muted: bool,
    /// Nobody is to keep how it sounds: the recording alone hears silence.
    hidden: bool,
    last_packet: Instant,
    /// The last sign of life: a packet, or a report of a leg that sends none while it is silent.
    last_sign: Instant,
    alarmed: bool,
    /// Until when it need not send, since it has said that it is silent, or reports that it is there and sends nothing.
    excused: Instant,
    /// How many packets it had sent by its last report but one that counted, and how many had come by then.
    accounts: (u32, u64),
    /// What the peer itself wants to do, as it sees it: less than both ways while it holds the other leg.
    wish: Direction,
    /// Whether what the leg says is listened to.
    heard: bool,
    events: Vec<Event>,
}

impl MediaLeg {
    /// A leg that nothing has been agreed with; `seed` gives its stream's random beginnings and its keys.
    pub(crate) fn new(
        leg: Leg,
        now: Instant,
        rtp: &RtpEnd,
        seed: [u8; 32],
        pipeline: Option<SpeechPipeline>,
    ) -> Self {
        let mut random = StdRng::from_seed(seed);
        let ssrc = random.random();
        // Half the sequence numbers lie ahead, so that the first wrap is some minutes away (RFC 3711 §3.3.1).
        let sequence = random.random::<u16>() & 0x7fff;
        let forwarder = Forwarder::new(ssrc, sequence, random.random());
        Self {
            local: Local {
                // Some phones keep it in 32 bits with a sign.
                session: u64::from(random.random::<u32>() >> 1),
                version: 0,
                rtp: rtp.address,
                direction: Direction::SendRecv,
            },
            agreed: None,
            reports: Reports::new(now, random.random()),
            path: Box::new(Path::new(leg, forwarder, &rtp.policy, random)),
            secured: false,
            input: None,
            pipeline,
            frames: None,
            muted: false,
            hidden: false,
            last_packet: now,
            last_sign: now,
            alarmed: false,
            excused: now,
            accounts: (0, 0),
            wish: Direction::SendRecv,
            heard: true,
            events: Vec::new(),
        }
    }

    /// Our next description of this session.
    pub(crate) fn describe(&mut self, direction: Direction) -> Local {
        self.local.version += 1;
        self.local.direction = direction;
        self.local
    }

    /// Writes our next offer. What the other leg has comes first, so that nothing is made anew where it need not be.
    pub(crate) fn offer(
        &mut self,
        direction: Direction,
        codecs: &[Codec],
        like: Option<&Section>,
    ) -> String {
        let local = self.describe(direction);
        let protection = self.path.protection();
        let terms = Terms {
            codecs,
            ptime: like
                .and_then(|like| like.ptime)
                .or(self.agreed.as_ref().map(|agreed| agreed.ptime))
                .unwrap_or(sdp::USUAL_PACKET_TIME),
            comfort_noise: like.map_or_else(
                || {
                    self.agreed
                        .as_ref()
                        .is_some_and(|agreed| agreed.comfort_noise.is_some())
                },
                Section::has_comfort_noise,
            ),
            cryptos: self.path.offer_keys(),
            only_secured: protection == Protection::Required || self.secured,
        };
        sdp::offer_with(&local, &terms)
    }

    /// Offers keys in the secured profile from now on, where they were offered beside plain RTP; whether that is new.
    pub(crate) fn insist(&mut self) -> bool {
        let gives_way = self.path.protection() == Protection::Optional && !self.secured;
        self.secured |= gives_way;
        gives_way
    }

    /// What offer and answer settle on, if anything.
    pub(crate) fn negotiate(
        &self,
        theirs: &Description,
        preferred: &[Codec],
    ) -> Result<Negotiated, SdpError> {
        sdp::negotiate_protected(theirs, preferred, self.path.protection())
    }

    /// Takes what `theirs`, an offer, has been negotiated to, and writes our answer. The peer says which way it wants.
    pub(crate) fn answer(
        &mut self,
        theirs: &Description,
        agreed: Negotiated,
        direction: Direction,
    ) -> String {
        self.wish = agreed.direction.reversed();
        self.agree(agreed);
        let local = self.describe(direction);
        let accepted = self.agreed.as_ref().map(|agreed| Accepted {
            agreed,
            local: &local,
            crypto: self.path.own_key(),
        });
        sdp::answer_all(theirs, &local, accepted.as_slice())
    }

    /// What a recorder settles on for one of several streams.
    pub(crate) fn negotiate_stream(
        &self,
        theirs: &Description,
        stream: usize,
        preferred: &[Codec],
    ) -> Result<Negotiated, SdpError> {
        sdp::negotiate_section(theirs, stream, preferred, self.path.protection())
    }

    /// Takes a stream that is only listened to, or none any more.
    pub(crate) fn take_stream(&mut self, agreed: Option<Negotiated>) {
        self.wish = agreed
            .as_ref()
            .map_or(Direction::Inactive, |agreed| agreed.direction.reversed());
        match agreed {
            Some(mut agreed) => {
                agreed.direction = Direction::from_ways(false, agreed.direction.receives());
                self.agree(agreed);
            }
            None => self.agreed = None,
        }
    }

    /// The part of our answer for the stream that has been taken.
    pub(crate) fn accepted<'a>(&'a self, local: &'a Local) -> Option<Accepted<'a>> {
        Some(Accepted {
            agreed: self.agreed.as_ref()?,
            local,
            crypto: self.path.own_key(),
        })
    }

    /// Takes what offer and answer have settled.
    pub(crate) fn agree(&mut self, agreed: Negotiated) {
        self.path.agree(&agreed);
        self.secured = agreed.is_secured;
        self.agreed = Some(agreed);
        self.set_formats();
    }

    /// Takes what the peer answered to our last description: it decides only what we left open.
    pub(crate) fn answered(&mut self, agreed: Negotiated) {
        let (said, ours) = (agreed.direction.reversed(), self.local.direction);
        let sends = if ours.receives() {
            said.sends()
        } else {
            self.wish.sends()
        };
        let receives = if ours.sends() {
            said.receives()
        } else {
            self.wish.receives()
        };
        self.wish = Direction::from_ways(sends, receives);
        self.agree(agreed);
    }

    /// Whether offer and answer have settled anything yet.
    pub(crate) const fn has_agreed(&self) -> bool {
        self.agreed.is_some()
    }

    /// What the peer wants to do.
    pub(crate) const fn wish(&self) -> Direction {
        self.wish
    }

    /// Whether the peer neither holds the other leg nor is silent by agreement of its own.
    pub(crate) fn talks(&self) -> bool {
        self.wish == Direction::SendRecv
    }

    /// Which way media flow by our last description.
    pub(crate) const fn was_told(&self) -> Direction {
        self.local.direction
    }

    /// Another party comes in the place of this leg's; what was agreed on is not its.
    pub(crate) fn begin_anew(&mut self) {
        self.path.forget_keys();
        self.secured = false;
        self.wish = Direction::SendRecv;
        self.local.direction = Direction::SendRecv;
    }

    /// Listens, or lets time pass in silence; the wait for packets begins anew.
    pub(crate) fn be_heard(&mut self, now: Instant, heard: bool) {
        self.heard = heard;
        (self.last_packet, self.last_sign, self.excused) = (now, now, now);
        self.set_formats();
    }

    fn set_formats(&mut self) {
        if let Some(LegInput::Packets(buffer)) = &mut self.input {
            // A payload type that is none of these counts as time that passes without sound.
            let agreed = self.agreed.as_ref().filter(|_| self.heard);
            buffer.set_formats(
                agreed
                    .map(|agreed| agreed.receives.clone())
                    .unwrap_or_default(),
            );
            buffer.set_flowing(agreed.is_some_and(|agreed| agreed.direction.receives()));
        }
    }

    /// Offers the peer what it has now, with another direction.
    pub(crate) fn reoffer(&mut self, direction: Direction, codecs: &[Codec]) -> String {
        let current = self.agreed.as_ref().map(|agreed| agreed.codec);
        let mut preferred: Vec<Codec> = current.into_iter().collect();
        preferred.extend(codecs.iter().filter(|codec| Some(**codec) != current));
        self.offer(direction, &preferred, None)
    }

    /// Offers the leg to somebody else, who does not know the keys in use.
    pub(crate) fn offer_to_another(&mut self, codecs: &[Codec]) -> String {
        self.path.change_keys();
        self.reoffer(Direction::SendRecv, codecs)
    }

    /// The peer has acknowledged our answer.
    pub(crate) const fn acknowledged(&mut self) {
        self.path.acknowledged();
    }

    /// Whether an offer can be answered; the status with which it is refused otherwise.
    pub(crate) fn can_take(&self, offer: Option<&str>, codecs: &[Codec]) -> Result<(), u16> {
        let Some(offer) = offer else {
            return Ok(());
        };
        Description::parse(offer)
            .and_then(|offer| self.negotiate(&offer, codecs))
            .map(|_| ())
            .map_err(|error| error.status())
    }

    /// Since when the leg, which should send and may, has given no sign of life; `None` while it holds or is held.
    pub(crate) fn quiet_since(&self) -> Option<Instant> {
        let sends = self.heard && self.may_send();
        sends.then_some(self.last_sign)
    }

    /// Answers a changed offer, allowing what the other leg wants; the status with which it is refused otherwise.
    pub(crate) fn renegotiate(
        &mut self,
        offer: Option<&str>,
        allowed: Direction,
        codecs: &[Codec],
    ) -> Result<String, u16> {
        let current = self.agreed.as_ref().map(|agreed| agreed.codec);
        let preferred: Vec<Codec> = current.into_iter().chain(codecs.iter().copied()).collect();
        let Some(offer) = offer else {
            // Ours goes out instead, and the answer comes with the ACK.
            return Ok(self.offer(allowed, &preferred[..1], None));
        };
        let offer = Description::parse(offer).map_err(|error| error.status())?;
        let agreed = self
            .negotiate(&offer, &preferred)
            .map_err(|error| error.status())?;
        Ok(self.answer(&offer, agreed, allowed))
    }

    /// The call has been answered: the timeline begins.
    pub(crate) fn open(&mut self, now: Instant) {
        let formats = self.agreed.as_ref().map(|agreed| agreed.receives.clone());
        let buffer = ListenBuffer::new(now, formats.unwrap_or_default());
        self.input = Some(LegInput::Packets(buffer));
        (self.last_packet, self.last_sign, self.excused) = (now, now, now);
        self.set_formats();
    }

    /// The call has been answered, and the leg's sound comes decoded.
    pub(crate) fn open_decoded(&mut self, now: Instant) {
        self.input = Some(LegInput::Decoded(DecodedStream::new(now)));
        self.give_sign(now);
    }

    /// The call has been answered, and the leg is heard by streams that come elsewhere.
    pub(crate) fn open_mixed(&mut self) {
        self.input = Some(LegInput::Mixed(Mixer::default()));
    }

    /// Where those streams are added up.
    pub(crate) const fn mixer(&mut self) -> Option<&mut Mixer> {
        match &mut self.input {
            Some(LegInput::Mixed(mixer)) => Some(mixer),
            _ => None,
        }
    }

    /// Takes decoded sound of the leg.
    pub(crate) fn take_decoded(&mut self, now: Instant, frame: DecodedFrame) {
        if let Some(LegInput::Decoded(stream)) = &mut self.input {
            stream.push(now, frame);
            self.give_sign(now);
        }
    }

    /// The leg sends, or has shown otherwise that it is there.
    pub(crate) const fn give_sign(&mut self, now: Instant) {
        (self.last_packet, self.last_sign, self.excused) = (now, now, now);
        self.alarmed = false;
    }

    /// Whether anything should come of the leg, by what was agreed on with it.
    fn may_send(&self) -> bool {
        match &self.agreed {
            Some(agreed) => agreed.direction.receives(),
            None => matches!(self.input, Some(LegInput::Decoded(_))),
        }
    }

    /// Makes the stream towards this leg fit what `other` sends.
    pub(crate) fn receive_from(&mut self, other: &Self) {
        if let Some(own) = &self.agreed {
            self.path.receive_from(own, &other.path);
        }
    }

    /// Makes the stream towards this leg fit what is played to it in its own codec.
    pub(crate) fn receive_as_it_sends(&mut self) {
        if let Some(own) = &self.agreed {
            self.path.receive_as_it_sends(own);
        }
    }

    /// Reads a datagram of this leg's RTP port, if it comes from whom it should; `room` is for what it says in clear.
    pub(crate) fn accept<'a>(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Option<Packet<'a>> {
        self.agreed.as_ref()?;
        let packet = self.path.accept(now, source, datagram, room)?;
        self.give_sign(now);
        if self.path.is_noise(&packet) {
            self.excused = now + QUIET_AFTER_NOISE;
        }
        Some(packet)
    }

    /// Sends the other leg's packet to this one, unless this leg holds.
    pub(crate) fn forward(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Out) {
        if self.agreed.is_some() {
            self.path.forward(now, packet, out);
        }
    }

    /// Presses a key towards this leg in its stream; `false` when the leg takes none there.
    pub(crate) fn press(&mut self, press: Press) -> bool {
        self.path.press(press)
    }

    /// Whether the leg takes key presses in its stream.
    pub(crate) const fn takes_presses(&self) -> bool {
        self.path.takes_events()
    }

    /// The next key that this leg pressed in its stream.
    pub(crate) fn pressed(&mut self, now: Instant) -> Option<Press> {
        self.path.pressed(now)
    }

    /// Sends what is due of the keys pressed towards this leg.
    pub(crate) fn dial(&mut self, now: Instant, out: &mut Out) {
        self.path.dial(now, out);
    }

    /// How its sound travelled, once it had the chance to.
    pub(crate) fn quality(&self) -> Option<LegMedia> {
        self.input.as_ref()?;
        let micros = |span: Duration| span.as_micros() as u64;
        let (stats, remote) = (self.stats(), self.reported());
        let (sent, refused) = (self.path.sent(), self.path.refused());
        Some(LegMedia {
            leg: self.path.leg(),
            received: stats.map_or(0, |stats| stats.received),
            lost: stats.map_or(0, StreamStats::lost),
            late: stats.map_or(0, |stats| stats.late),
            jitter_us: stats.map_or(0, |stats| micros(stats.jitter())),
            mos: stats.map_or(1.0, |stats| {
                let round_trip = remote.and_then(|remote| remote.round_trip);
                stats.mos(round_trip.unwrap_or_default() / 2)
            }),
            sent: u64::from(sent.packets),
            reported_lost: remote.map(|remote| remote.lost),
            reported_jitter_us: remote
                .zip(sent.clock)
                .map(|(remote, clock)| micros(clock.duration_of(u64::from(remote.jitter)))),
            round_trip_us: remote.and_then(|remote| remote.round_trip).map(micros),
            strays: refused.strays,
            forged: refused.forged,
        })
    }

    /// What this leg's port refused.
    pub(crate) const fn refused(&self) -> Refused {
        self.path.refused()
    }

    /// Listens to a packet of this leg.
    pub(crate) fn hear(&mut self, now: Instant, packet: &Packet<'_>) {
        if let Some(LegInput::Packets(buffer)) = &mut self.input {
            buffer.push(now, packet);
        }
    }

    /// Brings what has been heard to the end-pointer and tells what it found, with all the voice heard so far;
    /// at the `end` of the call nothing is waited for any more.
    pub(crate) fn listen(
        &mut self,
        now: Instant,
        end: bool,
        mut tell: impl FnMut(Duration, Event),
    ) {
        let Some(input) = &mut self.input else {
            return;
        };
        if end {
            match input {
                LegInput::Packets(buffer) => buffer.finish(),
                LegInput::Mixed(mixer) => mixer.finish(),
                LegInput::Decoded(_) => {}
            }
        }
        while let Some(mut frame) = input.poll(now) {
            if self.muted {
                frame.samples.fill(0);
            }
            if let Some(pipeline) = &mut self.pipeline {
                pipeline.listen(&frame, &mut self.events);
            }
            if self.hidden {
                frame.samples.fill(0);
            }
            if let Some(frames) = &mut self.frames {
                frames.push(frame);
            }
        }
        if end {
            if let Some(pipeline) = &mut self.pipeline {
                pipeline.flush(&mut self.events);
            }
            // What comes after the end is nobody's.
            self.agreed = None;
        }
        let voiced = self.voiced();
        for event in self.events.drain(..) {
            tell(voiced, event);
        }
    }

    /// Hands out what is heard from now on to be recorded.
    pub(crate) fn record(&mut self) {
        self.frames = Some(Vec::new());
    }

    /// What is to be recorded since last asked.
    pub(crate) fn recorded(&mut self) -> impl Iterator<Item = Frame> {
        self.frames.iter_mut().flat_map(|frames| frames.drain(..))
    }

    /// Lets recording and recognition hear silence, or this leg again; whether that is a change.
    pub(crate) const fn mute(&mut self, muted: bool) -> bool {
        let changed = self.muted != muted;
        self.muted = muted;
        changed
    }

    /// Lets the recording alone hear silence, or this leg again.
    pub(crate) const fn hide(&mut self, hidden: bool) {
        self.hidden = hidden;
    }

    /// In which codec and under which number this leg sends.
    pub(crate) fn speaks(&self) -> Option<(Codec, u8)> {
        self.agreed
            .as_ref()
            .map(|agreed| (agreed.codec, agreed.payload_type))
    }

    /// All the voice heard so far.
    pub(crate) fn voiced(&self) -> Duration {
        self.pipeline
            .as_ref()
            .map_or(Duration::ZERO, SpeechPipeline::voiced)
    }

    /// What came in, once something has.
    pub(crate) fn stats(&self) -> Option<&StreamStats> {
        self.input.as_ref()?.stats()
    }

    /// What the leg last reported of what we send it.
    pub(crate) const fn reported(&self) -> Option<&Remote> {
        self.reports.remote()
    }

    /// Takes a datagram of this leg's RTCP port.
    pub(crate) fn report(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        let ssrc = self.path.sent().ssrc;
        if let Some(report) = self.path.open_report(source, datagram) {
            self.last_sign = now;
            self.reports.receive(now, report, ssrc);
            self.excuse_by_report(now);
        }
    }

    /// Who reports and sends nothing, e.g. a phone that is muted, is there; what is sent and does not come is not excused.
    fn excuse_by_report(&mut self, now: Instant) {
        let (sent_before, came_before) = self.accounts;
        let sent = self.reports.sent_by_leg();
        let came = self.stats().map_or(0, |stats| stats.received);
        self.accounts = (sent, came);
        if sent > sent_before && came == came_before {
            self.excused = self.last_packet;
        } else {
            self.excused = self.excused.max(now + QUIET_AFTER_REPORT);
        }
    }

    /// Sends the report that is due.
    pub(crate) fn report_if_due(&mut self, now: Instant, wall: SystemTime, out: &mut Out) {
        let Some(LegInput::Packets(buffer)) = self.input.as_mut() else {
            return;
        };
        let report = self
            .reports
            .due(now, wall, self.path.sent(), buffer.stats_mut());
        if let Some(report) = report {
            self.path.send_report(report, out);
        }
    }

    /// Sends the last report.
    pub(crate) fn goodbye(&mut self, now: Instant, wall: SystemTime, out: &mut Out) {
        let Some(LegInput::Packets(buffer)) = self.input.as_mut() else {
            return;
        };
        let report = self
            .reports
            .goodbye(now, wall, self.path.sent(), buffer.stats_mut());
        self.path.send_report(report, out);
    }

    /// Whether the leg, which may send, has not for so long that the operator should know; once a silence.
    pub(crate) fn is_suspiciously_silent(&mut self, now: Instant) -> bool {
        let silent = self
            .silence_deadline()
            .is_some_and(|deadline| deadline <= now);
        self.alarmed |= silent;
        silent
    }

    fn silence_deadline(&self) -> Option<Instant> {
        (self.may_send() && !self.alarmed)
            .then(|| self.excused.max(self.last_packet + NO_MEDIA_AFTER))
    }

    /// When this leg wants to be looked after.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Instant, Reason)> {
        let input = self.input.as_ref();
        let listen = input.and_then(LegInput::deadline);
        let listen = listen.map(|at| (at, Reason::Listen));
        // Decoded sound is nothing to report of.
        let report = matches!(input, Some(LegInput::Packets(_)))
            .then(|| (self.reports.deadline(), Reason::Report));
        let silence = self.silence_deadline().map(|at| (at, Reason::NoMedia));
        let keys = self.path.key_deadline().map(|at| (at, Reason::Keys));
        [listen, silence, keys, report].into_iter().flatten()
    }
}
