//! One leg's media: who may send, what goes to it, what is heard of it.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{NO_MEDIA_AFTER, Reason, Transmit, ear::Ear};
use crate::audio::codec::Codec;
use crate::rtp::Packet;
use crate::rtp::forward::{Forwarder, Mapping};
use crate::rtp::listen::ListenBuffer;
use crate::rtp::rtcp::{Remote, Reports, Sent};
use crate::rtp::stats::StreamStats;
use crate::sip::sdp::{self, Description, Direction, Local, Negotiated};
use crate::speech::Leg;
use crate::speech::segmenter::Event;

/// One leg.
pub struct Side {
    leg: Leg,
    local: Local,
    agreed: Option<Negotiated>,
    /// Where the leg's packets really come from, and where ours go (symmetric RTP, RFC 4961).
    latched: Option<SocketAddr>,
    forwarder: Forwarder,
    sent: Sent,
    reports: Reports,
    buffer: Option<ListenBuffer>,
    /// What this leg is heard through, if anybody recognises what is said.
    ear: Option<Ear>,
    last_packet: Instant,
    alarmed: bool,
    events: Vec<Event>,
}

impl Side {
    /// A leg that is told to send to `rtp`; `seed` gives its stream's random beginnings.
    pub fn new(leg: Leg, now: Instant, rtp: SocketAddr, seed: u64, ear: Option<Ear>) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let ssrc = random.random();
        // Half the sequence numbers lie ahead, so that the first wrap is some minutes away (RFC 3711 §3.3.1).
        let sequence = random.random::<u16>() & 0x7fff;
        Self {
            leg,
            local: Local {
                // Some phones keep it in 32 bits with a sign.
                session: u64::from(random.random::<u32>() >> 1),
                version: 0,
                rtp,
                direction: Direction::SendRecv,
            },
            agreed: None,
            latched: None,
            forwarder: Forwarder::new(ssrc, sequence, random.random()),
            sent: Sent {
                ssrc,
                ..Sent::default()
            },
            reports: Reports::new(now, random.random()),
            buffer: None,
            ear,
            last_packet: now,
            alarmed: false,
            events: Vec::new(),
        }
    }

    /// Our next description of this session.
    pub fn describe(&mut self, direction: Direction) -> Local {
        self.local.version += 1;
        self.local.direction = direction;
        self.local
    }

    /// Takes what offer and answer have settled.
    pub fn agree(&mut self, agreed: Negotiated) {
        if self
            .agreed
            .as_ref()
            .is_none_or(|before| before.remote != agreed.remote)
        {
            self.latched = None;
        }
        if let Some(buffer) = &mut self.buffer {
            buffer.set_formats(vec![(agreed.payload_type, agreed.codec)]);
        }
        self.agreed = Some(agreed);
    }

    /// Answers a changed offer; the status with which it is refused otherwise.
    pub fn renegotiate(&mut self, offer: Option<&str>, codecs: &[Codec]) -> Result<String, u16> {
        let current = self.agreed.as_ref().map(|agreed| agreed.codec);
        let preferred: Vec<Codec> = current.into_iter().chain(codecs.iter().copied()).collect();
        let Some(offer) = offer else {
            // Ours goes out instead, and the answer comes with the ACK.
            return Ok(sdp::offer(
                &self.describe(Direction::SendRecv),
                &preferred[..1],
            ));
        };
        let offer = Description::parse(offer).map_err(|error| error.status())?;
        let agreed = sdp::negotiate(&offer, &preferred).map_err(|error| error.status())?;
        let answer = sdp::answer(&offer, &agreed, &self.describe(Direction::SendRecv));
        self.agree(agreed);
        Ok(answer)
    }

    /// The call has been answered: the timeline begins.
    pub fn open(&mut self, now: Instant) {
        let formats = self
            .agreed
            .iter()
            .map(|agreed| (agreed.payload_type, agreed.codec))
            .collect();
        self.buffer = Some(ListenBuffer::new(now, formats));
        self.last_packet = now;
    }

    /// Makes the stream towards this leg fit what `other` sends.
    pub fn receive_from(&mut self, other: &Self) {
        let (Some(own), Some(other)) = (&self.agreed, &other.agreed) else {
            return;
        };
        let event = own
            .telephone_event
            .zip(other.telephone_event)
            .map(|(to, from)| Mapping { from, to });
        let audio = Mapping {
            from: other.payload_type,
            to: own.payload_type,
        };
        self.forwarder
            .connect(audio, (other.codec, own.codec), event);
    }

    /// Reads a datagram of this leg's RTP port, if it comes from whom it should.
    ///
    /// The address must be the one of the session description (CVE-2017-14099: anybody can send to an open port);
    /// its port may differ, as behind some firewalls, and the first one seen then stays.
    pub fn accept<'a>(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &'a [u8],
    ) -> Option<Packet<'a>> {
        let agreed = self.agreed.as_ref()?;
        let from_peer = source == agreed.remote
            || self.latched == Some(source)
            || (self.latched.is_none() && self.is_peer(source.ip()));
        let packet = Packet::parse(datagram).filter(|_| from_peer)?;
        self.latched = Some(source);
        self.last_packet = now;
        self.alarmed = false;
        Some(packet)
    }

    fn is_peer(&self, address: IpAddr) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| {
            agreed.remote.ip() == address || agreed.remote_rtcp.ip() == address
        })
    }

    /// The other leg's packet as it goes to this one; `None` while this leg holds.
    pub fn forward(&mut self, now: Instant, packet: &Packet<'_>) -> Option<Transmit> {
        let agreed = self
            .agreed
            .as_ref()
            .filter(|agreed| agreed.direction.sends())?;
        let to = self.latched.unwrap_or(agreed.remote);
        let datagram = self.forwarder.forward(packet)?;
        self.sent.packets = self.sent.packets.wrapping_add(1);
        self.sent.octets = self.sent.octets.wrapping_add(packet.payload.len() as u32);
        self.sent.newest = Packet::parse(&datagram).map(|sent| (sent.timestamp, now));
        Some(Transmit {
            leg: self.leg,
            rtcp: false,
            to,
            datagram,
        })
    }

    /// Listens to a packet of this leg.
    pub fn hear(&mut self, now: Instant, packet: &Packet<'_>) {
        if let Some(buffer) = &mut self.buffer {
            buffer.push(now, packet);
        }
    }

    /// Brings what has been heard to the end-pointer and tells what it found, with all the voice heard so far;
    /// at the `end` of the call nothing is waited for any more.
    pub fn listen(&mut self, now: Instant, end: bool, mut tell: impl FnMut(Duration, Event)) {
        let Some(buffer) = &mut self.buffer else {
            return;
        };
        if end {
            buffer.finish();
        }
        while let Some(heard) = buffer.poll(now) {
            if let Some(ear) = &mut self.ear {
                ear.listen(&heard.frame, &mut self.events);
            }
        }
        if end {
            if let Some(ear) = &mut self.ear {
                ear.flush(&mut self.events);
            }
            // What comes after the end is nobody's.
            self.agreed = None;
        }
        let voiced = self.voiced();
        for event in self.events.drain(..) {
            tell(voiced, event);
        }
    }

    /// All the voice heard so far.
    pub fn voiced(&self) -> Duration {
        self.ear.as_ref().map_or(Duration::ZERO, Ear::voiced)
    }

    /// What came in, once something has.
    pub fn stats(&self) -> Option<&StreamStats> {
        self.buffer.as_ref()?.stats()
    }

    /// What the leg last reported of what we send it.
    pub const fn reported(&self) -> Option<&Remote> {
        self.reports.remote()
    }

    /// Takes a datagram of this leg's RTCP port.
    pub fn report(&mut self, now: Instant, source: SocketAddr, datagram: &[u8]) {
        if self.is_peer(source.ip()) {
            self.reports.receive(now, datagram, self.sent.ssrc);
        }
    }

    /// The report that is due.
    pub fn due_report(&mut self, now: Instant, wall: SystemTime) -> Option<Transmit> {
        let stats = self.buffer.as_mut()?.stats_mut();
        let report = self.reports.due(now, wall, self.sent, stats)?;
        self.addressed(report)
    }

    /// The last report.
    pub fn goodbye(&mut self, now: Instant, wall: SystemTime) -> Option<Transmit> {
        let stats = self.buffer.as_mut()?.stats_mut();
        let report = self.reports.goodbye(now, wall, self.sent, stats);
        self.addressed(report)
    }

    fn addressed(&self, report: Vec<u8>) -> Option<Transmit> {
        let agreed = self.agreed.as_ref()?;
        Some(Transmit {
            leg: self.leg,
            rtcp: !agreed.rtcp_mux,
            to: agreed.remote_rtcp,
            datagram: report,
        })
    }

    /// Whether the leg, which may send, has not for so long that the operator should know; once a silence.
    pub fn is_suspiciously_silent(&mut self, now: Instant) -> bool {
        let silent = self
            .silence_deadline()
            .is_some_and(|deadline| deadline <= now);
        self.alarmed |= silent;
        silent
    }

    fn silence_deadline(&self) -> Option<Instant> {
        let sends = self
            .agreed
            .as_ref()
            .is_some_and(|agreed| agreed.direction.receives());
        (sends && !self.alarmed).then(|| self.last_packet + NO_MEDIA_AFTER)
    }

    /// When this leg wants to be looked after.
    pub fn deadlines(&self) -> impl Iterator<Item = (Instant, Reason)> {
        let listen = self
            .buffer
            .as_ref()
            .map(|buffer| (buffer.deadline(), Reason::Listen));
        let silence = self.silence_deadline().map(|at| (at, Reason::NoMedia));
        [
            listen,
            silence,
            Some((self.reports.deadline(), Reason::Report)),
        ]
        .into_iter()
        .flatten()
    }
}
