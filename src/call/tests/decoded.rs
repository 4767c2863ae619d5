//! Calls that an edge taps and brings as decoded sound.

use super::*;
use crate::audio::{Frame, Frequency};
use crate::rtp::dtmf::Key;
use crate::transcript::EndReason;

const RATE: Frequency = Frequency::HZ_16000;
const STEP: Duration = Duration::from_millis(20);

/// What a leg says from its `begin`-th sample on.
fn tone(begin: u64, count: usize, rate: Frequency) -> Vec<i16> {
    let step = 440.0 * std::f32::consts::TAU / rate.hertz() as f32;
    (begin..begin + count as u64)
        .map(|at| (8_000.0 * (at as f32 * step).sin()) as i16)
        .collect()
}

fn frame(number: u64, at: Duration) -> DecodedFrame {
    DecodedFrame {
        number,
        at,
        rate: RATE,
        samples: tone(320 * number, 320, RATE),
    }
}

/// The samples of frames that must follow one another without a hole.
fn whole(frames: &[Frame]) -> Vec<i16> {
    let mut until = MediaTime::ZERO;
    let mut samples = Vec::new();
    for frame in frames {
        assert_eq!(frame.start, until, "a hole");
        until = until + frame.duration();
        samples.extend(&frame.samples);
    }
    samples
}

impl World {
    fn tapped() -> Self {
        let incoming = Incoming {
            caller_number: Some("13812345678".into()),
            called: "12345".to_owned(),
            origin: Origin {
                trunk: Some("audiosocket".to_owned()),
                ..Origin::default()
            },
            signalling: Signalling::Tapped {
                operator: Some("1007".into()),
            },
        };
        Self::set_up(incoming, |_| {})
    }

    fn decoded(&mut self, leg: Leg, frame: DecodedFrame) {
        self.call.handle(self.now, Input::Decoded { leg, frame });
        self.drain();
    }

    /// Lets time pass while the legs speak or keep quiet, both sending.
    fn talk(&mut self, millis: u64, caller: bool, operator: bool) -> &mut Self {
        for _ in 0..millis / 20 {
            for (leg, speaks) in [(Leg::Caller, caller), (Leg::Operator, operator)] {
                let count = &mut self.sent[index(leg)];
                let number = u64::from(*count);
                *count += 1;
                let mut frame = frame(number, STEP * number as u32);
                if !speaks {
                    frame.samples.fill(0);
                }
                self.decoded(leg, frame);
            }
            self.wait(20);
        }
        self
    }

    fn gone(&mut self, leg: Leg, broke: Option<&str>) {
        let broke = broke.map(str::to_owned);
        self.call.handle(self.now, Input::Gone { leg, broke });
        self.drain();
    }
}

#[test]
fn a_tapped_call_is_up_at_once_and_heard_recorded_and_drafted_and_nobody_is_called() {
    let mut world = World::tapped();
    assert_eq!(
        world.ask(Command::HangUp),
        Err(Refusal::TakesPlaceElsewhere)
    );
    let TranscriptEvent::Started(info) = &world.told[0] else {
        panic!("{:?}", world.told);
    };
    let number = info.caller_number.as_ref();
    assert_eq!(
        number.map(|number| number.reveal().as_str()),
        Some("13812345678")
    );
    assert_eq!(
        (info.operator.as_str(), info.called.as_str()),
        ("1007", "12345")
    );
    assert_eq!(info.origin.trunk.as_deref(), Some("audiosocket"));
    assert!(matches!(world.told[1], TranscriptEvent::Answered { .. }));

    world
        .talk(400, false, false)
        .talk(2_400, true, false)
        .talk(1_200, false, false)
        .talk(2_400, false, true)
        .talk(1_500, false, false);
    let lines = world.final_lines();
    let legs: Vec<Leg> = lines.iter().map(|line| line.leg).collect();
    assert_eq!(legs, [Leg::Caller, Leg::Operator]);
    assert!(
        lines[0].start.as_millis() < 500 && (2_700..3_000).contains(&lines[0].end.as_millis()),
        "{lines:?}"
    );
    let loud = |frames: &[Frame]| {
        let samples = whole(frames);
        let frames = samples.chunks(320);
        frames
            .filter(|frame| frame.iter().any(|sample| *sample > 7_000))
            .count()
    };
    assert_eq!(
        world.recorded.each_ref().map(|frames| loud(frames)),
        [120, 120]
    );

    world.gone(Leg::Operator, None);
    assert_eq!(world.let_go, 1, "before the last words are heard");
    // What crosses the end is nobody's.
    world.decoded(Leg::Caller, frame(999, STEP * 999));
    world.gone(Leg::Caller, Some("late"));
    world.wait(1_000).ended_properly();
    assert!(world.drafts.last().is_some_and(|draft| draft.closes));
    assert_eq!(world.let_go, 1);
    assert!(world.commands.is_empty(), "nobody is signalled to");
    assert_eq!(world.forwarded, [Vec::<Vec<u8>>::new(), Vec::new()]);
    let media = world.quality();
    assert_eq!(
        (media[0].received, media[0].lost, media[0].late),
        (395, 0, 0)
    );
    assert!(media[0].sent == 0 && media[0].mos > 4.3, "{media:?}");
    let hung_up = EndReason::HungUp {
        party: Leg::Operator,
    };
    assert_eq!(world.summary.expect("ended").reason, hung_up);
}

/// Frames as a connection brings them: when each comes, and when it begins by the sender's time, both in milliseconds.
fn schedules() -> [(&'static str, Vec<(u64, u64)>); 5] {
    let even = |from: u64, until: u64| (from / 20..until / 20).map(|n| (n * 20 + 7, n * 20));
    [
        ("even", even(0, 3_000).collect()),
        (
            "a pause of the sender's",
            even(0, 1_000).chain(even(2_460, 4_000)).collect(),
        ),
        (
            "a stall of the network, whose frames come at once",
            even(0, 1_000)
                .chain((50..80).map(|n| (1_607, n * 20)))
                .chain(even(1_600, 3_000))
                .collect(),
        ),
        (
            "0.3 s ahead of time",
            (0..15)
                .map(|n| (7, n * 20))
                .chain((15..150).map(|n| (n * 20 - 293, n * 20)))
                .collect(),
        ),
        (
            "late by a little more each time, then a jump of hours",
            (0..100)
                .map(|n| (n * 23 + 7, n * 20))
                .chain((0..50).map(|n| (2_307 + n * 20, 9_000_000 + n * 20)))
                .collect(),
        ),
    ]
}

#[test]
fn decoded_sound_lies_on_the_timeline_where_packets_of_the_same_would() {
    for (name, frames) in schedules() {
        let offer = "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n\
                     m=audio 6000 RTP/AVP 96\r\na=rtpmap:96 L16/16000\r\na=label:1\r\na=sendonly\r\n\
                     m=audio 7000 RTP/AVP 96\r\na=rtpmap:96 L16/16000\r\na=label:2\r\na=sendonly\r\n";
        let forked = IncomingCall {
            offer: Some(offer.to_owned()),
            requires: vec!["siprec".to_owned()],
            ..IncomingCall::default()
        };
        let mut packets = World::of(forked, [MediaPolicy::default(); 2], &[]);
        let mut decoded = World::tapped();
        let mut due = frames.iter().zip(0_u64..).peekable();
        for millis in 0..5_000 {
            packets.wait(1);
            decoded.wait(1);
            while let Some(((_, begins), number)) = due.next_if(|((comes, _), _)| *comes == millis)
            {
                let frame = frame(number, *begins as u32 * MS);
                let payload: Vec<u8> = frame.samples.iter().flat_map(|s| s.to_be_bytes()).collect();
                let packet = Packet {
                    payload_type: 96,
                    marker: false,
                    sequence: WireSequence(number as u16),
                    timestamp: (*begins * 16) as u32,
                    ssrc: 1,
                    payload: &payload,
                };
                let rtp = Input::Rtp {
                    leg: Leg::Caller,
                    source: at("198.51.100.7:6000"),
                    datagram: &packet.to_datagram(),
                };
                packets.call.handle(packets.now, rtp);
                packets.drain();
                decoded.decoded(Leg::Caller, frame);
            }
        }
        assert!(due.next().is_none(), "{name}");
        let [by_packets, by_frames] = [&packets, &decoded].map(|world| whole(&world.recorded[0]));
        assert!(
            by_frames.iter().filter(|sample| **sample > 7_000).count() > 1_000,
            "{name}"
        );
        let differ = by_packets
            .iter()
            .zip(&by_frames)
            .position(|(one, other)| one != other);
        assert_eq!(
            (differ, by_packets.len()),
            (None, by_frames.len()),
            "{name}"
        );
        let lines = |world: &World| -> Vec<_> {
            let lines = world.final_lines().into_iter();
            lines.map(|line| (line.leg, line.start, line.end)).collect()
        };
        assert_eq!(lines(&packets), lines(&decoded), "{name}");
        let jitter = |world: &World| {
            let heard = world.call.heard_by(Leg::Caller);
            let stats = heard.and_then(MediaLeg::stats).expect("heard");
            (stats.received, stats.lost(), stats.late, stats.jitter())
        };
        assert_eq!(jitter(&packets), jitter(&decoded), "{name}");
    }
}

#[test]
fn a_lost_frame_is_silence_in_its_place_and_counts_as_lost() {
    let mut world = World::tapped();
    for number in 0..50 {
        if !(10..13).contains(&number) {
            world.decoded(Leg::Caller, frame(number, STEP * number as u32));
        }
        world.wait(20);
    }
    let samples = whole(&world.recorded[0]);
    let begin = samples
        .iter()
        .position(|sample| *sample != 0)
        .expect("heard")
        - 1;
    let place = |number: usize| begin + number * 320..begin + (number + 1) * 320;
    assert!(samples[place(9)].iter().any(|sample| *sample > 7_000));
    assert!(
        samples[place(10).start..place(12).end]
            .iter()
            .all(|sample| *sample == 0)
    );
    assert_eq!(samples[place(13)], tone(13 * 320, 320, RATE));
    world.gone(Leg::Caller, Some("the connection broke"));
    world.wait(1_000).ended_properly();
    assert_eq!(
        (world.quality()[0].received, world.quality()[0].lost),
        (47, 3)
    );
    let reason = world.summary.expect("ended").reason;
    assert_eq!(reason.to_string(), "caller lost (the connection broke)");
}

#[test]
fn sound_that_comes_faster_than_time_is_bounded() {
    let mut world = World::tapped();
    for number in 0..500 {
        world.decoded(Leg::Caller, frame(number, STEP * number as u32));
    }
    let heard = RATE.duration_of(whole(&world.recorded[0]).len() as u64);
    assert!((1_000 * MS..1_100 * MS).contains(&heard), "{heard:?}");
    world.gone(Leg::Caller, None);
    world.wait(1_000).ended_properly();
    let media = world.quality()[0];
    assert!((440..=450).contains(&media.late), "{media:?}");
}

#[test]
fn a_rate_that_changes_within_the_call_leaves_no_hole() {
    let mut world = World::tapped();
    let mut at = Duration::ZERO;
    for (number, hertz) in (0..60).zip([8_000, 48_000, 44_100].into_iter().cycle()) {
        let rate = Frequency::new(hertz).expect("not zero");
        let count = rate.samples_in(STEP) as usize;
        let samples = tone(count as u64 * number, count, rate);
        let frame = DecodedFrame {
            number,
            at,
            rate,
            samples,
        };
        at += STEP;
        world.decoded(Leg::Caller, frame);
        world.wait(20);
    }
    let mut until = MediaTime::ZERO;
    for frame in &world.recorded[0] {
        assert_eq!(frame.start, until);
        until = until + frame.duration();
    }
    let silent = |frame: &&Frame| frame.samples.iter().all(|sample| *sample == 0);
    assert_eq!(world.recorded[0].iter().filter(silent).count(), 0);
    assert_eq!(until.as_millis(), 1_200);
}

#[test]
fn who_says_nothing_is_missed_unless_a_key_shows_that_he_is_there() {
    let mut world = World::tapped();
    let alarms = |world: &World| {
        let missed = |event: &&TranscriptEvent| {
            let alarm = AlarmKind::NoMedia;
            **event
                == TranscriptEvent::Alarm {
                    leg: Leg::Caller,
                    alarm,
                }
        };
        world.told.iter().filter(missed).count()
    };
    world.talk(1_000, true, true).wait(7_000);
    let key = Key::from_char('5').expect("a key");
    let leg = Leg::Caller;
    world.call.handle(world.now, Input::Key { leg, key });
    world.wait(7_000);
    assert_eq!(alarms(&world), 0);
    world.wait(2_000);
    assert_eq!(alarms(&world), 1);
    // Both silent for ever: the call is let go.
    world.wait(60_000);
    let summary = world.summary.as_ref().expect("ended");
    assert!(
        matches!(summary.reason, EndReason::NoMedia { party: None, .. }),
        "{}",
        summary.reason
    );
    assert_eq!(world.let_go, 1);
}

#[test]
fn a_gateway_that_ends_the_call_lets_the_edge_go_at_once() {
    let mut world = World::tapped();
    world.recognition = None;
    world.talk(2_000, true, false);
    let why = EndReason::ShuttingDown;
    world.call.handle(world.now, Input::End(why.clone()));
    world.drain();
    assert_eq!((world.let_go, world.summary.is_some()), (1, false));
    world.wait(6_000).ended_properly();
    assert_eq!(world.summary.expect("ended").reason, why);
}
