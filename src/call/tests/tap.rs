//! Calls that recording clients fork to us.

use super::*;
use crate::sip::Body;

macro_rules! layout {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/siprec/",
            $name,
            ".xml"
        ))
    };
}

/// Two streams; the one from the caller's address has `labels[0]` and stands second.
fn streams(labels: [&str; 2], direction: &str) -> String {
    let stream = |address: &str, label: &str| {
        let address = at(address);
        format!(
            "m=audio {} RTP/AVP 8 0\r\nc=IN IP4 {}\r\na=label:{label}\r\na={direction}\r\n",
            address.port(),
            address.ip()
        )
    };
    format!(
        "v=0\r\no=src 1 1 IN IP4 198.51.100.7\r\ns=-\r\nt=0 0\r\n{}m=video 9000 RTP/AVP 99\r\nc=IN IP4 198.51.100.7\r\n{}",
        stream(OPERATOR, labels[1]),
        stream(CALLER, labels[0])
    )
}

fn body(description: &str, metadata: &str) -> Body {
    Body {
        content_type: "multipart/mixed;boundary=b".to_owned(),
        bytes: format!(
            "--b\r\nContent-Type: application/sdp\r\n\r\n{description}\r\n--b\r\n\
             Content-Type: application/rs-metadata+xml\r\nContent-Disposition: recording-session\r\n\r\n{metadata}\r\n--b--\r\n"
        )
        .into_bytes(),
    }
}

fn forked(labels: [&str; 2], metadata: &str, own_numbers: &[&str]) -> World {
    let description = streams(labels, "sendonly");
    let incoming = IncomingCall {
        sip_call_id: "rs@sbc".to_owned(),
        called: "srs".to_owned(),
        body: Some(body(&description, metadata)),
        offer: Some(description),
        requires: vec!["siprec".to_owned()],
        ..IncomingCall::default()
    };
    World::of(incoming, [MediaPolicy::default(); 2], own_numbers)
}

impl World {
    fn answer_to_the_invite(&self) -> &str {
        match &self.commands[..] {
            [
                SipCommand::Answer {
                    answer: Some(answer),
                    ..
                },
            ] => answer,
            other => panic!("{other:?}"),
        }
    }

    fn info(&self) -> &CallInfo {
        match &self.told[0] {
            TranscriptEvent::Started(info) => info,
            other => panic!("{other:?}"),
        }
    }

    fn alarms(&self) -> Vec<AlarmKind> {
        let alarm = |event: &TranscriptEvent| match event {
            TranscriptEvent::Alarm { alarm, .. } => Some(*alarm),
            _ => None,
        };
        self.told.iter().filter_map(alarm).collect()
    }

    /// The legs of the final lines after the citizen has spoken first and the operator then.
    fn speak_in_turn(&mut self) -> Vec<Leg> {
        self.pass(400, false, false)
            .pass(2_400, true, false)
            .pass(1_200, false, false)
            .pass(2_400, false, true)
            .pass(1_500, false, false);
        self.final_lines().iter().map(|line| line.leg).collect()
    }
}

/// A layout's name, its metadata, the labels of citizen and operator, the hotline's numbers, the citizen's number.
type Layout = (
    &'static str,
    &'static str,
    [&'static str; 2],
    &'static [&'static str],
    &'static str,
);

/// Whatever the layout, who speaks is known by label and participant; the operator's stream always stands first.
#[test]
fn every_vendors_layout_leads_to_the_right_legs() {
    let cases: [Layout; 5] = [
        (
            "opensips",
            layout!("opensips"),
            ["2", "1"],
            &["1007"],
            "13812345678",
        ),
        (
            "cisco",
            layout!("cisco"),
            ["2", "1"],
            &["12345"],
            "13812345678",
        ),
        (
            "oracle",
            layout!("oracle"),
            ["553654188", "553654187"],
            &[],
            "05357771234",
        ),
        (
            "audiocodes",
            layout!("audiocodes"),
            ["2", "1"],
            &["10*"],
            "13812345678",
        ),
        (
            "genesys",
            layout!("genesys"),
            ["a", "b"],
            &["71*"],
            "13812345678",
        ),
    ];
    for (name, metadata, labels, own, number) in cases {
        let mut world = forked(labels, metadata, own);
        let answer = world.answer_to_the_invite().to_owned();
        let ports: Vec<&str> = answer
            .lines()
            .filter(|line| line.starts_with("m=") || line.starts_with("a=recvonly"))
            .collect();
        assert_eq!(
            ports,
            [
                "m=audio 20002 RTP/AVP 8",
                "a=recvonly",
                "m=video 0 RTP/AVP 99",
                "m=audio 20000 RTP/AVP 8",
                "a=recvonly",
            ],
            "{name}: {answer}"
        );
        let caller = world.info().caller_number.as_ref().expect("a number");
        assert_eq!(caller.reveal(), number, "{name}");
        assert_eq!(
            world.speak_in_turn(),
            [Leg::Caller, Leg::Operator],
            "{name}"
        );
        assert!(world.alarms().is_empty(), "{name}: {:?}", world.alarms());
        assert_eq!(
            world.forwarded,
            [Vec::<Vec<u8>>::new(), Vec::new()],
            "{name}: nothing is ever sent"
        );
        world.sip(SipEvent::HungUp {
            party: Party::CALLER,
            cause: DialogEnd::Bye,
        });
        world.wait(6_000).ended_properly();
        assert!(
            world.drafts.last().is_some_and(|draft| draft.closes),
            "{name}"
        );
        let said = world.commands.len();
        assert_eq!(
            said, 1,
            "{name}: nobody else is called: {:?}",
            world.commands
        );
    }
}

#[test]
fn a_paused_recording_is_silence_without_an_alarm_and_goes_on() {
    let mut world = forked(["2", "1"], layout!("cisco"), &["12345"]);
    world
        .pass(400, false, false)
        .pass(2_000, true, false)
        .pass(1_200, false, false);
    assert_eq!(world.final_lines().len(), 1);
    world.sip(SipEvent::Offered {
        party: Party::CALLER,
        offer: Some(streams(["2", "1"], "inactive")),
    });
    let answer = world.answered_offer(Party::CALLER);
    assert_eq!(answer.matches("a=inactive").count(), 2, "{answer}");
    // Nothing is sent, or what comes all the same is not heard.
    world.wait(100_000).pass(2_000, true, true).wait(2_000);
    assert_eq!(world.final_lines().len(), 1, "{:?}", world.told);
    assert!(world.alarms().is_empty() && world.summary.is_none());
    // The recorded call went on all the while, and so did the numbers of its packets.
    for count in &mut world.sent {
        *count += 250;
    }
    world.sip(SipEvent::Offered {
        party: Party::CALLER,
        offer: Some(streams(["2", "1"], "sendonly")),
    });
    assert_eq!(
        world
            .answered_offer(Party::CALLER)
            .matches("a=recvonly")
            .count(),
        2
    );
    world
        .pass(400, false, false)
        .pass(2_000, false, true)
        .pass(1_500, false, false);
    assert_eq!(
        world.final_lines().last().map(|line| line.leg),
        Some(Leg::Operator)
    );
    for side in &world.call.sides {
        let stats = side.stats().expect("packets");
        assert_eq!(stats.lost(), 0, "{stats}");
    }
}

#[test]
fn new_metadata_may_turn_the_streams_round() {
    let mut world = forked(["1", "2"], layout!("cisco"), &["12345"]);
    // The address that the tests call the caller's sends what the metadata say is the operator's.
    world
        .pass(400, false, false)
        .pass(2_000, true, false)
        .pass(1_200, false, false);
    // From its port comes nothing that the other leg's port would take.
    assert!(world.final_lines().is_empty());
    world.sip(SipEvent::Described {
        party: Party::CALLER,
        body: body(
            "",
            &layout!("cisco")
                .replace(">1</label>", ">3</label>")
                .replace(">2</label>", ">1</label>"),
        ),
    });
    world
        .pass(400, false, false)
        .pass(2_000, true, false)
        .pass(1_200, false, false);
    assert_eq!(
        world
            .final_lines()
            .iter()
            .map(|line| line.leg)
            .collect::<Vec<_>>(),
        [Leg::Caller]
    );
}

#[test]
fn nobody_is_said_to_have_heard_an_announcement_that_was_not_played() {
    let description = streams(["2", "1"], "sendonly");
    let forked = IncomingCall {
        body: Some(body(&description, layout!("cisco"))),
        offer: Some(description),
        ..IncomingCall::default()
    };
    let tapped = Incoming {
        caller_number: None,
        called: "12345".to_owned(),
        origin: Origin::default(),
        signalling: Signalling::Tapped { operator: None },
    };
    for incoming in [bridged(forked, [MediaPolicy::default(); 2]), tapped] {
        let mut world = World::set_up(incoming, |setup| {
            let tone = vec![5_000; 8_000];
            setup.announcement = Some(Arc::new(sound(tone, crate::audio::Frequency::HZ_8000)));
        });
        world.wait(3_000);
        let marked = |event: &TranscriptEvent| matches!(event, TranscriptEvent::Recording { .. });
        assert!(!world.told.iter().any(marked), "{:?}", world.told);
        assert!(matches!(world.call.state, State::Up));
    }
}

#[test]
fn without_a_clue_the_operator_is_told_that_the_legs_may_be_confused() {
    let world = forked(["2", "1"], layout!("cisco"), &[]);
    assert_eq!(world.alarms(), [AlarmKind::UncertainLegs]);
    let world = forked(["2", "1"], "<recording/>", &[]);
    assert_eq!(world.alarms(), [AlarmKind::UncertainLegs]);
    assert!(world.answer_to_the_invite().contains("m=audio 20000"));
}

#[test]
fn a_stream_that_metadata_leave_open_is_recorded_and_marked_as_uncertain() {
    let cisco = layout!("cisco");
    let (citizens, operators) = ("kQOH5VdEEeeJ/ND/VsPGWA==", "kQOH5VdEEeeJ/dD/VsPGWA==");
    let forgets = |stream: &str| cisco.replace(&format!("<send>{stream}</send>"), "");
    for (what, metadata, labels) in [
        (
            "only the citizen is associated",
            forgets(operators),
            ["2", "1"],
        ),
        (
            "only the operator is associated",
            forgets(citizens),
            ["2", "1"],
        ),
        (
            "nobody is associated",
            forgets(citizens).replace(&format!("<send>{operators}</send>"), ""),
            ["2", "1"],
        ),
        (
            "a label is unknown to the description",
            cisco.to_owned(),
            ["2", "x"],
        ),
        (
            "one is said to send both",
            cisco
                .replace(
                    &format!("<send>{citizens}</send>"),
                    &format!("<send>{citizens}</send><send>{operators}</send>"),
                )
                .replace(
                    &format!("<send>{operators}</send>\n<recv>{citizens}"),
                    &format!("<recv>{citizens}"),
                ),
            ["2", "1"],
        ),
    ] {
        let mut world = forked(labels, &metadata, &["12345"]);
        let answer = world.answer_to_the_invite().to_owned();
        assert_eq!(answer.matches("a=recvonly").count(), 2, "{what}: {answer}");
        assert_eq!(world.alarms(), [AlarmKind::UncertainLegs], "{what}");
        let info = world.info();
        let caller = info
            .caller_number
            .as_ref()
            .map(|number| number.reveal().as_str());
        assert_eq!(caller, Some("13812345678"), "{what}");
        assert_eq!(
            (info.operator.as_str(), info.called.as_str()),
            ("12345", "12345"),
            "{what}"
        );
        // Where nothing tells the two apart, the labels decide, and here they are the wrong way round.
        if !matches!(what, "nobody is associated" | "one is said to send both") {
            let legs = world.speak_in_turn();
            assert_eq!(legs, [Leg::Caller, Leg::Operator], "{what}");
        }
    }
}

#[test]
fn a_recording_client_is_nobodys_number() {
    for (from, caller) in [
        ("SBC-Recorder", None),
        ("src", None),
        ("+8613812345678", Some("13812345678")),
    ] {
        let description = streams(["2", "1"], "sendonly");
        let incoming = IncomingCall {
            sip_call_id: "rs@sbc".to_owned(),
            called: "srs".to_owned(),
            caller_number: Some(from.into()),
            offer: Some(description),
            requires: vec!["siprec".to_owned()],
            ..IncomingCall::default()
        };
        let world = World::of(incoming, [MediaPolicy::default(); 2], &["12345"]);
        let info = world.info();
        let number = info
            .caller_number
            .as_ref()
            .map(|number| number.reveal().as_str());
        assert_eq!((number, info.called.as_str()), (caller, ""), "{from}");
        assert_eq!(world.alarms(), [AlarmKind::UncertainLegs]);
    }
}

#[test]
fn a_recording_session_that_cannot_be_taken_is_refused_with_the_reason() {
    let world = forked(["2", "1"], "<recording>", &[]);
    assert_eq!(world.rejected(), Some(400));
    let of = |offer: Option<String>| {
        let incoming = IncomingCall {
            offer,
            requires: vec!["siprec".to_owned()],
            ..IncomingCall::default()
        };
        World::of(incoming, [MediaPolicy::default(); 2], &[]).rejected()
    };
    assert_eq!(of(None), Some(488));
    assert_eq!(of(Some(described(CALLER, "3"))), Some(488));
    assert_eq!(of(Some("v=9".to_owned())), Some(400));
}

#[test]
fn a_recording_client_that_falls_silent_for_ever_is_let_go() {
    let mut world = forked(["2", "1"], layout!("cisco"), &["12345"]);
    world.pass(1_000, true, true).wait(70_000);
    assert!(
        matches!(&world.summary, Some(summary) if matches!(summary.reason, EndReason::NoMedia { .. })),
        "{:?}",
        world.summary
    );
    let hung_up = SipCommand::HangUp {
        party: Party::CALLER,
    };
    assert!(world.commands.contains(&hung_up));
}

#[test]
fn a_changed_offer_that_cannot_be_taken_leaves_the_session_as_it_was() {
    let mut world = forked(["2", "1"], layout!("cisco"), &["12345"]);
    world.sip(SipEvent::Offered {
        party: Party::CALLER,
        offer: Some(described(CALLER, "3")),
    });
    let refused = SipCommand::AnswerOffer {
        party: Party::CALLER,
        answer: Err(488),
    };
    assert!(world.commands.contains(&refused), "{:?}", world.commands);
    assert_eq!(world.speak_in_turn(), [Leg::Caller, Leg::Operator]);
}

#[test]
fn a_call_that_is_only_listened_to_is_neither_ended_nor_transferred_from_here() {
    let mut world = forked(["2", "1"], layout!("opensips"), &["1007"]);
    world.commands.clear();
    let transfer = Command::Transfer { to: "1002".into() };
    for command in [Command::HangUp, transfer] {
        assert_eq!(world.ask(command), Err(Refusal::TakesPlaceElsewhere));
    }
    assert!(world.commands.is_empty());
    let note = Command::Note {
        text: "听着".into(),
    };
    assert_eq!(world.ask(note), Ok(()));
}
