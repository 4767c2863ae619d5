//! Who may send to a leg's port: symmetric RTP (RFC 4961) without 'RTP bleed' (CVE-2017-14099).
//!
//! Anybody can send to an open port. The address that the session description names is always right. Another one is
//! taken only from the networks that the policy allows, only before the leg has been heard, and, unless its packets
//! prove themselves by a key, only after it has sent a steady stream for a while in which the right one kept silent.
//! Only a new offer and answer opens the door again.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long an address that nobody named must send, and how many packets in a row, before it is believed.
const PROBATION: Duration = Duration::from_millis(200);
const PROBATION_PACKETS: u8 = 5;

/// The largest step between the numbers of two packets of one stream under probation.
const NEXT: std::ops::RangeInclusive<u16> = 1..=3;

/// Where a leg's media may come from, beside the address that its description names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Latching {
    /// From nowhere else.
    Signalled,
    /// From another port of that address, or of the one that the leg signals from, as behind a firewall.
    #[default]
    Address,
    /// From their networks too: the same /24 of IPv4, or /64 of IPv6.
    Network,
    /// From wherever the transport takes them, now here and now there: it knows its peer by itself, as ICE with DTLS does.
    Transport,
}

/// An address on probation.
#[derive(Clone, Copy)]
struct Candidate {
    source: SocketAddr,
    ssrc: u32,
    sequence: u16,
    packets: u8,
    since: Instant,
}

/// The door of one leg.
pub(crate) struct Latch {
    policy: Latching,
    /// Where the leg's signalling comes from, where that is known.
    signals_from: Option<IpAddr>,
    signalled: Option<SocketAddr>,
    latched: Option<SocketAddr>,
    /// Nothing valid has come since the last offer and answer.
    open: bool,
    candidate: Option<Candidate>,
}

impl Latch {
    /// A closed door.
    pub(crate) const fn new(policy: Latching, signals_from: Option<IpAddr>) -> Self {
        Self {
            policy,
            signals_from,
            signalled: None,
            latched: None,
            open: false,
            candidate: None,
        }
    }

    /// A description names where the leg sends from.
    pub(crate) fn signal(&mut self, remote: SocketAddr) {
        if self.signalled != Some(remote) {
            self.latched = None;
        }
        self.signalled = Some(remote);
        self.open = true;
        self.candidate = None;
    }

    /// Whether a packet from `source` is worth being looked into: neither a stranger's nor too late.
    pub(crate) fn may_be(&self, source: SocketAddr) -> bool {
        self.policy == Latching::Transport
            || self.is_right(source)
            || (self.open && self.is_allowed(source))
    }

    fn is_right(&self, source: SocketAddr) -> bool {
        self.signalled == Some(source) || self.latched == Some(source)
    }

    /// Whether the leg sent this packet; `proven` when it has shown a key that only the leg has.
    pub(crate) fn admit(
        &mut self,
        now: Instant,
        source: SocketAddr,
        (ssrc, sequence): (u32, u16),
        proven: bool,
    ) -> bool {
        if self.policy != Latching::Transport && !self.is_right(source) {
            if !self.open || !self.is_allowed(source) {
                return false;
            }
            if !proven && !self.passes(now, source, ssrc, sequence) {
                return false;
            }
        }
        self.latched = Some(source);
        self.open = false;
        self.candidate = None;
        true
    }

    fn is_allowed(&self, source: SocketAddr) -> bool {
        let known = self.signalled.map(|remote| remote.ip());
        known
            .into_iter()
            .chain(self.signals_from)
            .any(|address| match self.policy {
                Latching::Signalled | Latching::Transport => false,
                Latching::Address => address == source.ip(),
                Latching::Network => is_same_network(address, source.ip()),
            })
    }

    fn passes(&mut self, now: Instant, source: SocketAddr, ssrc: u32, sequence: u16) -> bool {
        let fresh = Candidate {
            source,
            ssrc,
            sequence,
            packets: 1,
            since: now,
        };
        let Some(candidate) = &mut self.candidate else {
            self.candidate = Some(fresh);
            return false;
        };
        if candidate.source != source {
            // Whoever came first is looked at for as long as he might be the leg.
            if now.saturating_duration_since(candidate.since) > 2 * PROBATION {
                *candidate = fresh;
            }
            return false;
        }
        let step = sequence.wrapping_sub(candidate.sequence);
        if candidate.ssrc != ssrc || !NEXT.contains(&step) {
            *candidate = fresh;
            return false;
        }
        candidate.sequence = sequence;
        candidate.packets = candidate.packets.saturating_add(1);
        candidate.packets >= PROBATION_PACKETS
            && now.saturating_duration_since(candidate.since) >= PROBATION
    }

    /// Whether a report from `source` is the leg's, which has named `rtcp` for them.
    pub(crate) fn may_report(&self, source: SocketAddr, rtcp: Option<SocketAddr>) -> bool {
        let known = [self.target(), rtcp];
        let mut known = known.into_iter().flatten();
        self.policy == Latching::Transport || known.any(|address| address.ip() == source.ip())
    }

    /// Where the leg gets its packets: where its own come from, or where its description says.
    pub(crate) fn target(&self) -> Option<SocketAddr> {
        self.latched.or(self.signalled)
    }

    /// Whether the leg has been heard from elsewhere than its description says, as behind a NAT.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.latched.is_some() && self.latched != self.signalled
    }
}

fn is_same_network(one: IpAddr, other: IpAddr) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => one.octets()[..3] == other.octets()[..3],
        (IpAddr::V6(one), IpAddr::V6(other)) => one.octets()[..8] == other.octets()[..8],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const SIGNALLED: &str = "198.51.100.7:6000";
    const OTHER_PORT: &str = "198.51.100.7:6666";
    const NEIGHBOUR: &str = "198.51.100.66:6000";
    const STRANGER: &str = "203.0.113.66:6000";

    fn at(address: &str) -> SocketAddr {
        address.parse().expect("an address")
    }

    struct Door {
        latch: Latch,
        now: Instant,
    }

    impl Door {
        fn new(policy: Latching, signals_from: Option<&str>) -> Self {
            let mut latch = Latch::new(policy, signals_from.map(|source| at(source).ip()));
            latch.signal(at(SIGNALLED));
            Self {
                latch,
                now: Instant::now(),
            }
        }

        /// How many of `count` packets 20 ms apart are let in.
        fn send(&mut self, source: &str, count: u16) -> usize {
            (0..count)
                .filter(|sequence| {
                    self.now += 20 * MS;
                    self.latch
                        .admit(self.now, at(source), (1, *sequence), false)
                })
                .count()
        }
    }

    #[test]
    fn the_named_address_is_right_at_once_and_closes_the_door() {
        let mut door = Door::new(Latching::Network, None);
        assert_eq!(door.send(SIGNALLED, 1), 1);
        for attacker in [OTHER_PORT, NEIGHBOUR, STRANGER] {
            assert_eq!(door.send(attacker, 100), 0, "{attacker}");
            assert!(!door.latch.may_be(at(attacker)));
        }
        assert_eq!(door.latch.target(), Some(at(SIGNALLED)));
    }

    #[test]
    fn another_port_is_believed_after_a_while_where_the_policy_allows_it() {
        for (policy, source, admitted) in [
            (Latching::Signalled, OTHER_PORT, false),
            (Latching::Address, OTHER_PORT, true),
            (Latching::Address, NEIGHBOUR, false),
            (Latching::Network, NEIGHBOUR, true),
            (Latching::Network, STRANGER, false),
        ] {
            let mut door = Door::new(policy, None);
            assert_eq!(door.send(source, 10), 0, "{policy:?}");
            assert_eq!(door.send(source, 11) > 0, admitted, "{policy:?} {source}");
            let target = if admitted { source } else { SIGNALLED };
            assert_eq!(door.latch.target(), Some(at(target)));
            assert_eq!(door.latch.is_elsewhere(), admitted);
        }
    }

    #[test]
    fn a_phone_behind_a_nat_is_found_where_it_signals_from() {
        let mut door = Door::new(Latching::Address, Some(STRANGER));
        assert!(door.send("203.0.113.66:40000", 20) > 0);
        assert_eq!(door.send(OTHER_PORT, 20), 0);
    }

    #[test]
    fn who_was_there_before_the_leg_is_put_out_by_it() {
        let mut door = Door::new(Latching::Address, None);
        // The attacker sprays before the answer is even in the air.
        assert_eq!(door.send(OTHER_PORT, 8), 0);
        assert_eq!(door.send(SIGNALLED, 1), 1);
        assert_eq!(door.send(OTHER_PORT, 50), 0);
        // One who was believed, since the leg was silent for long, loses what he had.
        let mut door = Door::new(Latching::Address, None);
        assert!(door.send(OTHER_PORT, 50) > 0);
        assert_eq!(door.send(SIGNALLED, 1), 1);
        assert_eq!(door.send(OTHER_PORT, 50), 0);
        assert_eq!(door.latch.target(), Some(at(SIGNALLED)));
    }

    #[test]
    fn sprayed_packets_that_are_no_stream_are_never_believed() {
        let mut door = Door::new(Latching::Address, None);
        for step in 0..200_u16 {
            door.now += 20 * MS;
            let numbers = (u32::from(step % 3), step.wrapping_mul(997));
            assert!(!door.latch.admit(door.now, at(OTHER_PORT), numbers, false));
        }
    }

    #[test]
    fn only_a_new_description_opens_the_door_and_a_proven_packet_needs_no_probation() {
        let mut door = Door::new(Latching::Address, None);
        assert_eq!(door.send(SIGNALLED, 1), 1);
        door.latch.signal(at(SIGNALLED));
        assert!(door.latch.admit(door.now, at(OTHER_PORT), (1, 1), true));
        assert_eq!(door.latch.target(), Some(at(OTHER_PORT)));
        assert!(
            !door
                .latch
                .admit(door.now, at("198.51.100.7:7777"), (1, 2), true)
        );
        // The leg moves to another address: what was latched is forgotten.
        door.latch.signal(at(NEIGHBOUR));
        assert_eq!(door.latch.target(), Some(at(NEIGHBOUR)));
    }

    #[test]
    fn a_transport_that_knows_its_peer_decides_where_that_is() {
        let mut door = Door::new(Latching::Transport, None);
        for source in [STRANGER, SIGNALLED, NEIGHBOUR, STRANGER] {
            assert!(door.latch.may_be(at(source)) && door.latch.may_report(at(source), None));
            assert_eq!(door.send(source, 1), 1);
            assert_eq!(door.latch.target(), Some(at(source)));
        }
        door.latch.signal(at(OTHER_PORT));
        assert_eq!(door.send(STRANGER, 1), 1);
    }
}
