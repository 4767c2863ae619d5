//! Numbers that are kept out of the recording.

use super::*;

impl World {
    fn redaction(says: &'static [&'static str]) -> Self {
        let mut world = Self::answered();
        world.call.redaction = Some(NumberRedaction::new(Duration::from_mins(1)));
        world.says = says;
        world
    }

    /// Whether a leg's recording is loud at that time, in milliseconds, after what was to be erased is.
    fn is_loud(&self, leg: Leg, millis: u64) -> bool {
        let at = MediaTime::from_millis(millis);
        let is_erased = self
            .erased
            .iter()
            .any(|(from, until)| (*from..*until).contains(&at));
        let frame = self.recorded[index(leg)]
            .iter()
            .rfind(|frame| frame.start <= at)
            .expect("recorded");
        !is_erased && frame.samples.iter().any(|sample| sample.abs() > 4_000)
    }

    /// The recording's marks, and when they were, in milliseconds.
    fn marks(&self) -> Vec<(u64, RecordingMark)> {
        let marks = self.told.iter().filter_map(|event| match event {
            TranscriptEvent::Recording { at, mark } => Some((at.as_millis(), *mark)),
            _ => None,
        });
        marks.collect()
    }
}

#[test]
fn a_number_is_silent_in_the_recording_and_stands_in_the_transcript() {
    let mut world = World::redaction(&[
        "您好请讲",
        "请您报一下身份证号",
        "三七零六零二一九八五零三零四一二三四",
        "好的请问您要办理什么业务",
        "我想转移养老保险",
    ]);
    world.recognition = Some(900 * MS);
    world
        .pass(1_000, false, true)
        .pass(1_400, false, false)
        // 2.4 s: he is asked, and reads it from 4.6 s to 8.6 s.
        .pass(1_400, false, true)
        .pass(800, false, false)
        .pass(4_000, true, false)
        .pass(1_400, false, false)
        // 10 s: something else.
        .pass(1_600, false, true)
        .pass(2_400, false, false)
        // 14 s: and so on.
        .pass(1_600, true, false)
        .pass(2_000, false, false);
    assert!(world.is_loud(Leg::Operator, 500));
    for millis in (4_600..8_500).step_by(100) {
        assert!(!world.is_loud(Leg::Caller, millis), "{millis} ms");
    }
    assert!(
        (14_200..15_500)
            .step_by(100)
            .all(|millis| world.is_loud(Leg::Caller, millis))
    );
    let marks = world.marks();
    let [
        (begun, RecordingMark::NumberBegins),
        (over, RecordingMark::NumberOver),
    ] = marks[..]
    else {
        panic!("{marks:?}");
    };
    assert!(
        (2_400..4_600).contains(&begun) && (10_500..14_000).contains(&over),
        "{marks:?}"
    );
    let lines = world.final_lines();
    assert_eq!(lines.len(), 5);
    assert!(lines[2].text.reveal().starts_with("三七零六"));
}

#[test]
fn a_number_that_nobody_asked_for_is_erased_from_its_first_digit_on() {
    let mut world = World::redaction(&["六二二二零二一六零六零零三四二一七八", "你记一下"]);
    world.recognition = Some(1_500 * MS);
    world
        .pass(400, false, false)
        .pass(5_000, true, false)
        .pass(3_000, false, false);
    assert!(
        (500..5_200)
            .step_by(100)
            .all(|millis| !world.is_loud(Leg::Caller, millis))
    );
    // Nobody goes on: it counts as read after a while, and the call is recorded again.
    world.pass(24_000, false, false).pass(2_000, true, false);
    assert!(world.is_loud(Leg::Caller, 33_000));
    assert_eq!(world.marks().len(), 2);
}

#[test]
fn a_call_that_ends_while_a_number_is_read_ends_its_silence_too() {
    let mut world = World::redaction(&["卡号是多少", "六二二二"]);
    world
        .pass(1_500, false, true)
        .pass(1_400, false, false)
        .pass(2_000, true, false);
    world.sip(SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::Bye,
    });
    world.wait(6_000).ended_properly();
    let marks = world.marks();
    assert_eq!(marks.len(), 2, "{marks:?}");
    assert!(
        marks[1].1 == RecordingMark::NumberOver && (4_800..5_000).contains(&marks[1].0),
        "{marks:?}"
    );
}

#[test]
fn without_the_setting_nothing_is_hidden() {
    let mut world =
        World::redaction(&["请您报一下身份证号", "三七零六零二一九八五零三零四一二三四"]);
    world.call.redaction = None;
    world
        .pass(1_400, false, true)
        .pass(1_400, false, false)
        .pass(4_000, true, false)
        .pass(1_500, false, false);
    assert!(
        world.is_loud(Leg::Caller, 4_000) && world.erased.is_empty() && world.marks().is_empty()
    );
}
