//! How a leg's packets travel: in through its door and under its keys, out as one stream of ours.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use rand::Rng;
use rand::rngs::StdRng;

use super::Transmit;
use super::latch::{Latch, Latching};
use crate::rtp::dtmf::{Detector, Dialer, Press};
use crate::rtp::forward::{Forwarder, Outgoing};
use crate::rtp::rtcp::Sent;
use crate::rtp::srtp::{Key, Protector, Suite, Unprotector};
use crate::rtp::{Content, Format, Packet};
use crate::sip::sdp::{COMFORT_NOISE, Crypto, Negotiated, Protection};
use crate::speech::Leg;

/// The suites that we offer, in order of preference; a tag of 32 bits is only taken where the peer wants it.
const OFFERED: [Suite; 4] = [
    Suite::AeadAes256Gcm,
    Suite::AeadAes128Gcm,
    Suite::Aes256CmHmacSha1_80,
    Suite::AesCm128HmacSha1_80,
];

/// Buffers that are kept for packets to come.
const MOST_SPARE: usize = 16;

/// Packets on their way out, in buffers that are used again and again.
#[derive(Default)]
pub(crate) struct Out {
    waiting: VecDeque<Transmit>,
    spare: Vec<Vec<u8>>,
}

impl Out {
    /// An empty buffer.
    fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes a buffer back.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MOST_SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    pub(crate) fn push(&mut self, transmit: Transmit) {
        self.waiting.push_back(transmit);
    }

    pub(crate) fn pop(&mut self) -> Option<Transmit> {
        self.waiting.pop_front()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// How a leg's packets may travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaPolicy {
    /// Whether they are encrypted.
    pub protection: Protection,
    /// Where they may come from.
    pub latching: Latching,
    /// Where the leg's signalling comes from, where that is known.
    pub signals_from: Option<IpAddr>,
    /// Nobody vouches for the leg: until it has acknowledged our answer, nothing is sent but to where it signals from.
    pub unproven: bool,
}

/// Packets that were not taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// From addresses that are not the leg's.
    pub strays: u64,
    /// With a wrong tag, or replayed.
    pub forged: u64,
}

/// One leg's keys: ours for what we send, the peer's for what comes.
struct Keys {
    protection: Protection,
    /// Those of our last offer.
    offered: Vec<Crypto>,
    /// The next offer is for somebody else, who cannot know the rollover count of the key in use.
    changes: bool,
    own: Option<Crypto>,
    protector: Option<Protector>,
    unprotector: Option<Unprotector>,
    /// Until something has come under the new key, packets under the old one are still on their way.
    before: Option<Unprotector>,
    random: StdRng,
}

impl Keys {
    fn draw(&mut self, tag: u32, suite: Suite) -> Crypto {
        let mut master = vec![0; suite.master_length()];
        self.random.fill_bytes(&mut master);
        Crypto {
            tag,
            key: Key::new(suite, master).expect("drawn with the suite's length"),
            mki: Vec::new(),
        }
    }

    /// Lets the next offer have keys of its own.
    fn change(&mut self) {
        self.changes = true;
    }

    /// Nothing is encrypted, or can be read, until the next answer.
    fn forget(&mut self) {
        (self.own, self.protector) = (None, None);
        (self.unprotector, self.before) = (None, None);
    }

    fn offer(&mut self) -> &[Crypto] {
        // The key in use goes on: a new one would begin its rollover count anew.
        let changes = std::mem::take(&mut self.changes);
        let in_use = self.own.clone().filter(|_| !changes);
        self.offered = match (in_use, self.protection) {
            (_, Protection::Off | Protection::Impossible) => Vec::new(),
            (Some(own), _) => vec![own],
            (None, _) => (1..)
                .zip(OFFERED)
                .map(|(tag, suite)| self.draw(tag, suite))
                .collect(),
        };
        &self.offered
    }

    /// Chooses our key beside the peer's.
    fn settle(&mut self, theirs: Option<&Crypto>) {
        let Some(theirs) = theirs else {
            self.forget();
            return;
        };
        let suite = theirs.key.suite();
        let in_use = self.own.take().filter(|own| own.key.suite() == suite);
        let own = if let Some(own) = in_use {
            Crypto {
                tag: theirs.tag,
                ..own
            }
        } else {
            let offered = self
                .offered
                .iter()
                .find(|own| own.tag == theirs.tag && own.key.suite() == suite)
                .cloned();
            let own = offered.unwrap_or_else(|| self.draw(theirs.tag, suite));
            self.protector = Some(Protector::new(&own.key));
            own
        };
        self.own = Some(own);
        let goes_on = self
            .unprotector
            .as_ref()
            .is_some_and(|unprotector| unprotector.has(&theirs.key, &theirs.mki));
        if !goes_on {
            let fresh = Unprotector::new(theirs.key.clone(), theirs.mki.clone());
            self.before = self.unprotector.replace(fresh);
        }
    }

    fn open(
        &mut self,
        plain: &mut Vec<u8>,
        mut with: impl FnMut(&mut Unprotector, &mut Vec<u8>) -> bool,
    ) -> bool {
        let Some(unprotector) = &mut self.unprotector else {
            return false;
        };
        if with(unprotector, plain) {
            self.before = None;
            return true;
        }
        self.before
            .as_mut()
            .is_some_and(|before| with(before, plain))
    }
}

/// What goes out to a leg that has agreed on `own`.
const fn outgoing(own: &Negotiated) -> Outgoing {
    Outgoing {
        codec: own.codec,
        payload_type: own.payload_type,
        event: own.telephone_event,
        comfort_noise: own.comfort_noise,
        wish: if own.ptime_is_wish {
            Some(own.ptime)
        } else {
            None
        },
        max_ptime: own.max_ptime,
    }
}

/// One leg's path.
pub(crate) struct Path {
    leg: Leg,
    latch: Latch,
    /// The only address that is sent anything, while nothing else has shown that the leg is where its description says.
    confined_to: Option<IpAddr>,
    keys: Keys,
    receives: Vec<Format>,
    /// Whether the leg is to be sent anything.
    sends: bool,
    remote_rtcp: Option<SocketAddr>,
    rtcp_mux: bool,
    /// Where reports really come from.
    rtcp_from: Option<SocketAddr>,
    forwarder: Forwarder,
    dialer: Dialer,
    detector: Detector,
    sent: Sent,
    refused: Refused,
    report: Vec<u8>,
}

impl Path {
    /// A path on which nothing travels yet.
    pub(crate) fn new(
        leg: Leg,
        forwarder: Forwarder,
        policy: &MediaPolicy,
        random: StdRng,
    ) -> Self {
        Self {
            leg,
            latch: Latch::new(policy.latching, policy.signals_from),
            confined_to: policy.signals_from.filter(|_| policy.unproven),
            keys: Keys {
                protection: policy.protection,
                offered: Vec::new(),
                changes: false,
                own: None,
                protector: None,
                unprotector: None,
                before: None,
                random,
            },
            receives: Vec::new(),
            sends: false,
            remote_rtcp: None,
            rtcp_mux: false,
            rtcp_from: None,
            sent: Sent {
                ssrc: forwarder.ssrc(),
                ..Sent::default()
            },
            forwarder,
            dialer: Dialer::default(),
            detector: Detector::default(),
            refused: Refused::default(),
            report: Vec::new(),
        }
    }

    /// Whose path it is.
    pub(crate) const fn leg(&self) -> Leg {
        self.leg
    }

    /// The leg has acknowledged our answer: it is where it says.
    pub(crate) const fn acknowledged(&mut self) {
        self.confined_to = None;
    }

    /// Whether the leg may be sent anything there.
    fn may_send_to(&self, to: SocketAddr) -> bool {
        self.confined_to
            .is_none_or(|only| only.to_canonical() == to.ip().to_canonical())
    }

    /// Where its packets go.
    fn target(&self) -> Option<SocketAddr> {
        self.latch.target().filter(|to| self.may_send_to(*to))
    }

    /// Whether keys are wanted.
    pub(crate) const fn protection(&self) -> Protection {
        self.keys.protection
    }

    /// Draws new keys for the next offer; those in use stay in use until it is answered.
    pub(crate) fn change_keys(&mut self) {
        self.keys.change();
    }

    /// Forgets the keys in use.
    pub(crate) fn forget_keys(&mut self) {
        self.keys.forget();
    }

    /// The keys of our next offer.
    pub(crate) fn offer_keys(&mut self) -> &[Crypto] {
        self.keys.offer()
    }

    /// Takes what offer and answer have settled.
    pub(crate) fn agree(&mut self, agreed: &Negotiated) {
        self.latch.signal(agreed.remote);
        self.keys.settle(agreed.crypto.as_ref());
        self.receives.clone_from(&agreed.receives);
        self.sends = agreed.direction.sends();
        self.remote_rtcp = Some(agreed.remote_rtcp);
        self.rtcp_mux = agreed.rtcp_mux;
        self.rtcp_from = None;
    }

    /// Our key, if the agreement has one.
    pub(crate) const fn own_key(&self) -> Option<&Crypto> {
        self.keys.own.as_ref()
    }

    /// Makes the stream towards this leg fit what `other` sends.
    pub(crate) fn receive_from(&mut self, own: &Negotiated, other: &Self) {
        self.forwarder.connect(&other.receives, &outgoing(own));
    }

    /// Makes it fit what this leg itself would send.
    pub(crate) fn receive_as_it_sends(&mut self, own: &Negotiated) {
        self.forwarder.connect(&self.receives, &outgoing(own));
    }

    /// Reads a datagram of the leg's RTP port, if the leg sent it; `room` is for what it says in clear.
    pub(crate) fn accept<'a>(
        &mut self,
        now: Instant,
        source: SocketAddr,
        datagram: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Option<Packet<'a>> {
        if !self.latch.may_be(source) {
            self.refused.strays += 1;
            return None;
        }
        let is_keyed = self.keys.unprotector.is_some();
        // STUN and DTLS come to the same port (RFC 7983); they bear no tag of ours that could be wrong.
        if !is_rtp(datagram) {
            return None;
        }
        let plain = if is_keyed {
            let opens = |keys: &mut Unprotector, room: &mut Vec<u8>| keys.unprotect(datagram, room);
            if !self.keys.open(room, opens) {
                self.refused.forged += 1;
                return None;
            }
            &room[..]
        } else {
            datagram
        };
        let packet = Packet::parse(plain)?;
        let is_known = self.format(&packet).is_some();
        let numbers = (packet.ssrc, packet.sequence.0);
        // A stream of numbers that nobody agreed on is no sign of the leg.
        if !is_known && self.latch.target() != Some(source) {
            self.refused.strays += 1;
            return None;
        }
        if !self.latch.admit(now, source, numbers, is_keyed) {
            self.refused.strays += 1;
            return None;
        }
        if let Some(event) = self
            .format(&packet)
            .filter(|format| format.content == Content::Event)
        {
            self.detector.push(now, &packet, event.clock);
        }
        Some(packet)
    }

    fn format(&self, packet: &Packet<'_>) -> Option<Format> {
        self.receives
            .iter()
            .find(|format| format.payload_type == packet.payload_type)
            .copied()
    }

    /// Whether a packet says that its sender is silent, and how that sounds.
    pub(crate) fn is_noise(&self, packet: &Packet<'_>) -> bool {
        self.format(packet)
            .map_or(packet.payload_type == COMFORT_NOISE, |format| {
                format.content == Content::ComfortNoise
            })
    }

    /// Sends the other leg's packet to this one, unless this leg holds.
    pub(crate) fn forward(&mut self, now: Instant, packet: &Packet<'_>, out: &mut Out) {
        let Some(to) = self.target().filter(|_| self.sends) else {
            return;
        };
        let is_muted = self.dialer.is_busy();
        let Self {
            leg,
            forwarder,
            keys,
            sent,
            ..
        } = self;
        forwarder.forward(now, packet, is_muted, &mut |packet| {
            transmit(*leg, to, packet, keys, sent, out);
        });
        sent.newest = forwarder.newest();
        sent.clock = Some(forwarder.clock());
    }

    /// Presses a key towards the leg; `false` when it takes none, or has too many to press already.
    pub(crate) fn press(&mut self, press: Press) -> bool {
        self.sends && self.forwarder.takes_events() && self.dialer.press(press)
    }

    /// Whether the leg hears key presses in its stream.
    pub(crate) const fn takes_events(&self) -> bool {
        self.forwarder.takes_events()
    }

    /// Sends what is due of the keys pressed towards the leg.
    pub(crate) fn dial(&mut self, now: Instant, out: &mut Out) {
        let Some(to) = self.target() else {
            return;
        };
        while let Some(tone) = self.dialer.poll(now, self.forwarder.event_clock()) {
            let timestamp = self.forwarder.clock_at(tone.begun);
            let Self {
                leg,
                forwarder,
                keys,
                sent,
                ..
            } = self;
            forwarder.insert(timestamp, tone.marker, &tone.payload, &mut |packet| {
                transmit(*leg, to, packet, keys, sent, out);
            });
        }
    }

    /// The next key that the leg pressed.
    pub(crate) fn pressed(&mut self, now: Instant) -> Option<Press> {
        self.detector.poll(now)
    }

    /// When a key towards the leg, or one of the leg's, wants to be looked after.
    pub(crate) fn key_deadline(&self) -> Option<Instant> {
        let deadlines = [self.dialer.deadline(), self.detector.deadline()];
        deadlines.into_iter().flatten().min()
    }

    /// What we have sent.
    pub(crate) const fn sent(&self) -> Sent {
        self.sent
    }

    /// What was not taken.
    pub(crate) const fn refused(&self) -> Refused {
        self.refused
    }

    /// Whether RTCP from there is the leg's, and what it says in clear.
    pub(crate) fn open_report<'a>(
        &'a mut self,
        source: SocketAddr,
        datagram: &'a [u8],
    ) -> Option<&'a [u8]> {
        if !self.latch.may_report(source, self.remote_rtcp) {
            self.refused.strays += 1;
            return None;
        }
        if !is_rtp(datagram) {
            return None;
        }
        if self.keys.unprotector.is_none() {
            self.rtcp_from = Some(source);
            return Some(datagram);
        }
        let mut plain = std::mem::take(&mut self.report);
        let opens =
            |keys: &mut Unprotector, room: &mut Vec<u8>| keys.unprotect_report(datagram, room);
        let is_open = self.keys.open(&mut plain, opens);
        self.report = plain;
        if !is_open {
            self.refused.forged += 1;
            return None;
        }
        self.rtcp_from = Some(source);
        Some(&self.report)
    }

    /// Sends a report.
    pub(crate) fn send_report(&mut self, mut report: Vec<u8>, out: &mut Out) {
        let Some(named) = self.remote_rtcp else {
            return;
        };
        let to = match self.latch.target().filter(|_| self.latch.is_elsewhere()) {
            // Behind a NAT the named port leads nowhere.
            Some(rtp) if self.rtcp_mux => rtp,
            Some(_) => self.rtcp_from.unwrap_or(named),
            None => named,
        };
        if !self.may_send_to(to) {
            return;
        }
        if let Some(protector) = &mut self.keys.protector {
            protector.protect_report(&mut report);
        }
        out.push(Transmit {
            leg: self.leg,
            rtcp: !self.rtcp_mux,
            to,
            datagram: report,
        });
    }
}

/// Whether a datagram is RTP or RTCP of version 2, in clear or not.
fn is_rtp(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first >> 6 == 2)
}

fn transmit(
    leg: Leg,
    to: SocketAddr,
    packet: &Packet<'_>,
    keys: &mut Keys,
    sent: &mut Sent,
    out: &mut Out,
) {
    let mut datagram = out.buffer();
    packet.write(&mut datagram);
    if let Some(protector) = &mut keys.protector {
        protector.protect(&mut datagram);
    }
    sent.packets = sent.packets.wrapping_add(1);
    sent.octets = sent.octets.wrapping_add(packet.payload.len() as u32);
    out.push(Transmit {
        leg,
        rtcp: false,
        to,
        datagram,
    });
}
