//! Legs that send nothing: on purpose, or because their path is dead.

use super::*;

/// A sender report (RFC 3550 §6.4.1) of a leg that has sent so many packets, or the receiver report of one that sends none.
fn report(packets: Option<u32>) -> Vec<u8> {
    let mut report = match packets {
        Some(_) => vec![0x80, 200, 0, 6],
        None => vec![0x80, 201, 0, 1],
    };
    report.extend(7_u32.to_be_bytes());
    if let Some(packets) = packets {
        for word in [3_900_000_000, 0, 160, packets, packets * 160] {
            report.extend(u32::to_be_bytes(word));
        }
    }
    report
}

impl World {
    fn reports(&mut self, packets: Option<u32>) {
        self.call.handle(
            self.now,
            Input::Rtcp {
                leg: Leg::Caller,
                source: at("198.51.100.7:6001"),
                datagram: &report(packets),
            },
        );
        self.drain();
    }

    /// Comfort noise of the caller.
    fn hushes(&mut self) {
        let packet = Packet {
            payload_type: 13,
            marker: false,
            sequence: WireSequence(self.sent[0].wrapping_add(65_000)),
            timestamp: u32::from(self.sent[0]) * 160,
            ssrc: 0,
            payload: &[40],
        };
        self.sent[0] += 1;
        self.call.handle(
            self.now,
            Input::Rtp {
                leg: Leg::Caller,
                source: at(CALLER),
                datagram: &packet.to_datagram(),
            },
        );
        self.drain();
    }

    /// Only the operator sends.
    fn listens(&mut self, millis: u64) {
        for _ in 0..millis / 20 {
            self.speak(true, false);
            self.wait(20);
        }
    }

    /// How often the operator has been told that nothing comes from the caller.
    fn missed(&self) -> usize {
        let is_missed = |event: &&TranscriptEvent| {
            matches!(
                event,
                TranscriptEvent::Alarm {
                    leg: Leg::Caller,
                    alarm: AlarmKind::NoMedia
                }
            )
        };
        self.told.iter().filter(is_missed).count()
    }
}

fn spoken() -> World {
    let mut world = World::answered();
    world.pass(2_000, true, true);
    world
}

#[test]
fn a_muted_phone_that_reports_is_there_and_one_that_stops_reporting_is_not() {
    for sends in [None, Some(100)] {
        let mut world = spoken();
        for _ in 0..12 {
            world.listens(5_000);
            world.reports(sends);
        }
        assert_eq!(world.missed(), 0, "{sends:?}");
        world.listens(14_000);
        assert_eq!(world.missed(), 0, "one report may be lost: {sends:?}");
        world.listens(20_000);
        assert_eq!(world.missed(), 1, "{sends:?}");
    }
}

#[test]
fn a_phone_whose_reports_say_that_it_sends_what_does_not_come_has_a_dead_path() {
    let mut world = spoken();
    world.reports(Some(100));
    world.listens(5_000);
    // What came since the last report is less than was sent: the path may have died between the two.
    world.reports(Some(350));
    assert_eq!(world.missed(), 0);
    world.listens(4_000);
    world.reports(Some(600));
    world.listens(2_000);
    assert_eq!(world.missed(), 1);
    // It has been mended.
    world.pass(2_000, true, true);
    world.listens(9_000);
    assert_eq!(world.missed(), 2);
    // Never anything since the answer, though the phone says that it sends.
    let mut world = World::answered();
    world.listens(3_000);
    world.reports(Some(150));
    world.listens(6_000);
    assert_eq!(world.missed(), 1);
}

#[test]
fn comfort_noise_excuses_a_silence_but_not_for_ever() {
    let mut world = spoken();
    world.hushes();
    world.listens(25_000);
    assert_eq!(world.missed(), 0);
    world.hushes();
    world.listens(25_000);
    assert_eq!(world.missed(), 0);
    world.listens(10_000);
    assert_eq!(world.missed(), 1);
    // Speech ends the excuse: the next silence is not announced.
    world.pass(1_000, true, true);
    world.listens(8_100);
    assert_eq!(world.missed(), 2);
}
