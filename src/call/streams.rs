//! The streams of a recording session. Each comes at an end of its own, where it stays as long as the client offers it
//! (RFC 3264 §8), and is heard on the leg of who speaks in it, which new metadata may change.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use super::media::{MediaLeg, RtpEnd};
use super::mix::Mixer;
use super::path::Out;
use super::{LEGS, Reason, index};
use crate::audio::codec::Codec;
use crate::rtp::rtcp;
use crate::sip::sdp::{Accepted, Description, Direction, Local, Negotiated};
use crate::speech::Leg;
use crate::transcript::LegMedia;

/// Where one stream comes.
struct Inlet {
    media: MediaLeg,
    /// Which of the streams that the client offers.
    section: Option<usize>,
    /// Whose leg hears it.
    leg: Leg,
    /// When its own timeline begins on the call's, once it has had a stream.
    begins: Option<Duration>,
}

/// All of them; the first two come at the ports that every call has.
#[derive(Default)]
pub(super) struct Streams {
    inlets: Vec<Inlet>,
    /// What a protected packet says in clear.
    clear: Vec<u8>,
}

/// A stream as it is to be taken.
pub(super) struct Taken {
    inlet: usize,
    agreed: Negotiated,
}

impl Streams {
    /// One more place for a stream.
    pub(crate) fn add(&mut self, now: Instant, end: &RtpEnd, seed: [u8; 32]) {
        let number = self.inlets.len();
        let mut media = MediaLeg::new(
            LEGS.get(number).copied().unwrap_or(Leg::Mono),
            now,
            end,
            seed.map(|octet| octet.rotate_left(number as u32) ^ number as u8),
            None,
        );
        media.record();
        self.inlets.push(Inlet {
            media,
            section: None,
            leg: Leg::Mono,
            begins: None,
        });
    }

    /// How many places there are.
    pub(crate) const fn len(&self) -> usize {
        self.inlets.len()
    }

    /// Finds a place for each stream that can be taken: the one it has, else the one that its leg likes, else any.
    /// `legs` says who speaks in which.
    pub(crate) fn place(
        &self,
        offer: &Description,
        legs: &[(usize, Leg)],
        codecs: &[Codec],
    ) -> Vec<Taken> {
        let mut taken: Vec<Taken> = Vec::new();
        let take = |taken: &mut Vec<Taken>, inlet: usize, section: usize| {
            let media = &self.inlets[inlet].media;
            if let Ok(agreed) = media.negotiate_stream(offer, section, codecs) {
                taken.push(Taken { inlet, agreed });
            }
        };
        let at = |section: usize| {
            let mut inlets = self.inlets.iter();
            inlets.position(|inlet| inlet.section == Some(section))
        };
        for (section, _) in legs {
            if let Some(inlet) = at(*section) {
                take(&mut taken, inlet, *section);
            }
        }
        for (section, leg) in legs.iter().filter(|(section, _)| at(*section).is_none()) {
            let is_free = |inlet: usize| !taken.iter().any(|taken| taken.inlet == inlet);
            let further = (LEGS.len()..self.inlets.len()).chain(0..self.inlets.len());
            let mut liked = std::iter::once(index(*leg)).chain(further);
            if let Some(inlet) = liked.find(|inlet| *inlet < self.inlets.len() && is_free(*inlet)) {
                take(&mut taken, inlet, *section);
            }
        }
        taken
    }

    /// Takes these streams and no others, at `clock` of the call's timeline.
    pub(crate) fn take(&mut self, now: Instant, clock: Duration, taken: Vec<Taken>) {
        let mut agreed: Vec<Option<Negotiated>> = self.inlets.iter().map(|_| None).collect();
        for stream in taken {
            agreed[stream.inlet] = Some(stream.agreed);
        }
        for (inlet, agreed) in self.inlets.iter_mut().zip(agreed) {
            inlet.section = agreed.as_ref().map(|agreed| agreed.stream);
            inlet.media.take_stream(agreed);
            if inlet.section.is_some() && inlet.begins.is_none() {
                inlet.begins = Some(clock);
                inlet.media.open(now);
            }
            // A stream that is paused is silence and no fault.
            let flows = inlet.media.wish().sends() && inlet.media.has_agreed();
            inlet.media.be_heard(now, flows);
        }
    }

    /// Lets each stream be heard on the leg of who speaks in it.
    pub(crate) fn assign(&mut self, legs: &[(usize, Leg)]) {
        for inlet in &mut self.inlets {
            let mut known = legs.iter();
            let leg = known.find(|(section, _)| Some(*section) == inlet.section);
            inlet.leg = leg.map_or(inlet.leg, |(_, leg)| *leg);
        }
    }

    /// Writes the answer to `theirs`.
    pub(crate) fn answer(&mut self, theirs: &Description) -> String {
        let locals: Vec<Local> = self
            .inlets
            .iter_mut()
            .map(|inlet| inlet.media.describe(Direction::RecvOnly))
            .collect();
        let accepted: Vec<Accepted<'_>> = self
            .inlets
            .iter()
            .zip(&locals)
            .filter_map(|(inlet, local)| inlet.media.accepted(local))
            .collect();
        crate::sip::sdp::answer_all(theirs, &locals[0], &accepted)
    }

    /// Takes a datagram that has come at the RTP port of a place.
    pub(crate) fn take_packet(
        &mut self,
        now: Instant,
        at: usize,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        let Some(Inlet { media, .. }) = self.inlets.get_mut(at) else {
            return;
        };
        // With rtcp-mux the reports come on the same port.
        if rtcp::is_rtcp(datagram) {
            media.report(now, source, datagram);
        } else if let Some(packet) = media.accept(now, source, datagram, &mut self.clear) {
            media.hear(now, &packet);
        }
    }

    /// The same of its RTCP port.
    pub(crate) fn take_report(
        &mut self,
        now: Instant,
        at: usize,
        source: SocketAddr,
        datagram: &[u8],
    ) {
        if let Some(inlet) = self.inlets.get_mut(at) {
            inlet.media.report(now, source, datagram);
        }
    }

    /// The client has acknowledged our answer.
    pub(crate) fn acknowledged(&mut self) {
        for inlet in &mut self.inlets {
            inlet.media.acknowledged();
        }
    }

    /// Brings what is heard on `leg` to its mixer; at the `end` of the call nothing is waited for any more.
    pub(crate) fn listen(&mut self, now: Instant, leg: Leg, end: bool, mixer: &mut Mixer) {
        let hears = |inlet: &Inlet| inlet.section.is_some() && inlet.leg == leg;
        let inlets = self.inlets.iter().enumerate();
        let heard: Vec<usize> = inlets
            .filter(|(_, inlet)| hears(inlet))
            .map(|(at, _)| at)
            .collect();
        mixer.hear(&heard);
        for at in heard {
            let Inlet { media, begins, .. } = &mut self.inlets[at];
            media.listen(now, end, |_, _| {});
            for mut frame in media.recorded() {
                frame.start = frame.start + begins.unwrap_or_default();
                mixer.push(at, frame);
            }
        }
    }

    /// What is due besides: reports, and that nobody hears what keys are pressed and what comes where nothing is offered.
    /// Reports go out from the ports that every call has.
    pub(crate) fn look_after(&mut self, now: Instant, wall: SystemTime, out: &mut Out) {
        for (at, inlet) in self.inlets.iter_mut().enumerate() {
            if at < LEGS.len() {
                inlet.media.report_if_due(now, wall, out);
            }
            while inlet.media.pressed(now).is_some() {}
            if inlet.section.is_none() {
                inlet.media.listen(now, false, |_, _| {});
                inlet.media.recorded().for_each(drop);
            }
        }
    }

    /// Sends the last reports.
    pub(crate) fn goodbye(&mut self, now: Instant, wall: SystemTime, out: &mut Out) {
        for inlet in self.inlets.iter_mut().take(LEGS.len()) {
            inlet.media.goodbye(now, wall, out);
        }
    }

    /// Whose stream is suspiciously silent; once a silence.
    pub(crate) fn suspiciously_silent(&mut self, now: Instant) -> Option<Leg> {
        let mut inlets = self.inlets.iter_mut();
        inlets.find_map(|inlet| inlet.media.is_suspiciously_silent(now).then_some(inlet.leg))
    }

    /// Since when none of a leg's streams, which should send, has given a sign of life.
    pub(crate) fn quiet_since(&self, leg: Leg) -> Option<Instant> {
        let of_leg = self.of(leg);
        of_leg.filter_map(MediaLeg::quiet_since).max()
    }

    /// How the sound of each stream travelled.
    pub(crate) fn qualities(&self) -> impl Iterator<Item = LegMedia> {
        let came = self
            .inlets
            .iter()
            .filter(|inlet| inlet.section.is_some() || inlet.media.stats().is_some());
        came.filter_map(|inlet| {
            let quality = inlet.media.quality()?;
            Some(LegMedia {
                leg: inlet.leg,
                ..quality
            })
        })
    }

    /// A leg's streams.
    pub(crate) fn of(&self, leg: Leg) -> impl Iterator<Item = &MediaLeg> {
        let inlets = self.inlets.iter();
        inlets
            .filter(move |inlet| inlet.leg == leg)
            .map(|inlet| &inlet.media)
    }

    /// When they want to be looked after.
    pub(crate) fn deadlines(&self) -> impl Iterator<Item = (Instant, Reason)> {
        self.inlets.iter().enumerate().flat_map(|(at, inlet)| {
            let deadlines = inlet.media.deadlines();
            // Where no reports go out none is due.
            deadlines.filter(move |(_, reason)| at < LEGS.len() || *reason != Reason::Report)
        })
    }
}
