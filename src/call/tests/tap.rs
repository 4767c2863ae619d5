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
    for leg in LEGS {
        let stats = world.call.heard_by(leg).and_then(MediaLeg::stats);
        let stats = stats.expect("packets");
        assert_eq!(stats.lost(), 0, "{stats}");
    }
}

#[test]
fn new_metadata_may_turn_the_streams_round() {
    let mut world = forked(["1", "2"], layout!("cisco"), &["12345"]);
    // The address that the tests call the caller's sends what the metadata say is the operator's, and so to his port.
    world.crossed = true;
    world
        .pass(400, false, false)
        .pass(2_000, true, false)
        .pass(1_200, false, false);
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
        [Leg::Operator, Leg::Caller],
        "it goes on at the port that was told"
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

/// Each stream with its label and direction, the first two at the addresses of caller and operator and the others at ports
/// of their own; port 0 where `direction` is empty.
fn offered(streams: &[(&str, &str)]) -> String {
    let stream = |(number, (label, direction)): (usize, &(&str, &str))| {
        let address = sends_from(number);
        let port = if direction.is_empty() {
            0
        } else {
            address.port()
        };
        let media = format!("m=audio {port} RTP/AVP 8\r\nc=IN IP4 {}", address.ip());
        match *label {
            "" => format!("{media}\r\na={direction}\r\n"),
            label => format!("{media}\r\na=label:{label}\r\na={direction}\r\n"),
        }
    };
    let head = "v=0\r\no=src 1 1 IN IP4 198.51.100.7\r\ns=-\r\nt=0 0\r\n".to_owned();
    let streams: Vec<String> = streams.iter().enumerate().map(stream).collect();
    head + &streams.concat()
}

fn sends_from(number: usize) -> SocketAddr {
    match number {
        0 => at(CALLER),
        1 => at(OPERATOR),
        further => SocketAddr::from(([198, 51, 100, 9], 41_000 + 2 * further as u16)),
    }
}

/// Metadata: each participant with number and the labels of the streams that it sends.
fn participants(of: &[(&str, &str, &[&str])]) -> String {
    let participant = |(id, number, labels): &(&str, &str, &[&str])| {
        let all = |one: &dyn Fn(&str) -> String| -> String {
            let all: Vec<String> = labels.iter().map(|label| one(label)).collect();
            all.concat()
        };
        let streams =
            all(&|label| format!("<stream stream_id='s{label}'><label>{label}</label></stream>"));
        let sends = all(&|label| format!("<send>s{label}</send>"));
        format!(
            "<participant participant_id='{id}'><nameID aor='sip:{number}@pbx'/></participant>{streams}\
             <participantstreamassoc participant_id='{id}'>{sends}</participantstreamassoc>"
        )
    };
    let participants: Vec<String> = of.iter().map(participant).collect();
    format!(
        "<recording xmlns='urn:ietf:params:xml:ns:recording:1'><datamode>complete</datamode>{}</recording>",
        participants.concat()
    )
}

/// A session with places for so many streams beside the two that every call has.
fn session(description: String, metadata: &str, further: u16) -> World {
    let incoming = IncomingCall {
        sip_call_id: "rs@sbc".to_owned(),
        called: "srs".to_owned(),
        body: Some(body(&description, metadata)),
        offer: Some(description),
        requires: vec!["siprec".to_owned()],
        ..IncomingCall::default()
    };
    let offered = streams_offered(&incoming);
    assert_eq!(offered.saturating_sub(2), usize::from(further));
    let places = (0..further).map(place).collect();
    let incoming = bridged(incoming, [MediaPolicy::default(); 2]).with_further(places);
    World::set_up(incoming, |setup| {
        setup.own_numbers = ["10*".to_owned()].into();
        setup.recorded = true;
    })
}

fn place(number: u16) -> SocketAddr {
    SocketAddr::new(at(CALLER).ip(), 20_100 + 2 * number)
}

/// The ports that an answer names, and which of its streams are heard.
fn ports(answer: &str) -> Vec<u16> {
    let lines = answer
        .lines()
        .filter_map(|line| line.strip_prefix("m=audio "));
    lines
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect()
}

impl World {
    /// Sends a tone in one of the streams, to the port that was told for it.
    fn play(&mut self, stream: usize, port: u16, millis: u64) {
        for count in 0..millis / 20 {
            let samples: Vec<i16> = (0..160)
                .map(|i| {
                    (4_000.0 * (i as f32 * 440.0 * std::f32::consts::TAU / 8_000.0).sin()) as i16
                })
                .collect();
            let packet = Packet {
                payload_type: 8,
                marker: false,
                sequence: WireSequence(self.played[stream] + count as u16),
                timestamp: (u32::from(self.played[stream]) + count as u32) * 160,
                ssrc: 900 + stream as u32,
                payload: &Encoder::new(Codec::Pcma).encode(&samples),
            };
            let datagram = packet.to_datagram();
            let (source, datagram) = (sends_from(stream), datagram.as_slice());
            let input = match port {
                20_000 => Input::Rtp {
                    leg: Leg::Caller,
                    source,
                    datagram,
                },
                20_002 => Input::Rtp {
                    leg: Leg::Operator,
                    source,
                    datagram,
                },
                further => Input::Further {
                    number: usize::from((further - 20_100) / 2),
                    rtcp: false,
                    source,
                    datagram,
                },
            };
            self.call.handle(self.now, input);
            self.drain();
            self.wait(20);
        }
        self.played[stream] += (millis / 20) as u16;
        self.wait(400);
    }

    /// How loud each leg's recording was since last asked.
    fn loudness(&mut self) -> [u16; 2] {
        std::mem::take(&mut self.recorded).map(|frames| {
            let samples = frames.iter().flat_map(|frame| &frame.samples);
            samples
                .map(|sample| sample.unsigned_abs())
                .max()
                .unwrap_or_default()
        })
    }
}

#[test]
fn every_stream_that_is_offered_is_taken_and_recorded_with_who_speaks_in_it() {
    let sends = "sendonly";
    let three = [("1", sends), ("2", sends), ("3", sends)];
    let unlabelled = [("", sends), ("", sends), ("", sends), ("", sends)];
    let citizen = ("c", "13812345678", &["1"][..]);
    let operator = ("o", "1001", &["2"][..]);
    let (caller, on_operator) = (Leg::Caller, Leg::Operator);
    for (what, streams, metadata, legs, alarms) in [
        (
            "a colleague listens in",
            &three[..],
            participants(&[citizen, operator, ("s", "1003", &["3"])]),
            &[caller, on_operator, on_operator][..],
            0,
        ),
        (
            "another citizen is brought in",
            &three,
            participants(&[operator, citizen, ("f", "13900000002", &["3"])]),
            &[caller, on_operator, caller],
            0,
        ),
        (
            "nobody is known in the third",
            &three,
            participants(&[citizen, operator]),
            &[caller, on_operator, on_operator],
            1,
        ),
        (
            "the citizen is not known in his",
            &three,
            participants(&[operator, ("s", "1003", &["3"])]),
            &[caller, on_operator, on_operator],
            1,
        ),
        (
            "two speak in one stream",
            &three[..1],
            participants(&[citizen, ("o", "1001", &["1"])]),
            &[caller],
            1,
        ),
        (
            "one speaks in all",
            &three,
            participants(&[("c", "13812345678", &["1", "2", "3"]), ("o", "1001", &[])]),
            &[caller, on_operator, caller],
            1,
        ),
        (
            "there are no labels",
            &unlabelled,
            participants(&[citizen, operator]),
            &[caller, on_operator, on_operator, on_operator],
            1,
        ),
        (
            "there are no metadata",
            &three,
            "<recording/>".to_owned(),
            &[caller, on_operator, on_operator],
            1,
        ),
    ] {
        let further = streams.len().saturating_sub(2) as u16;
        let mut world = session(offered(streams), &metadata, further);
        let answer = world.answer_to_the_invite().to_owned();
        let ports = ports(&answer);
        assert_eq!(ports.len(), streams.len(), "{what}: {answer}");
        let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
        assert!(
            distinct.len() == ports.len() && !ports.contains(&0),
            "{what}: {answer}"
        );
        assert_eq!(world.alarms().len(), alarms, "{what}: {:?}", world.alarms());
        world.wait(500);
        world.loudness();
        for (stream, leg) in legs.iter().enumerate() {
            world.play(stream, ports[stream], 600);
            let loud = world.loudness().map(|peak| peak > 3_000);
            assert_eq!(
                loud,
                LEGS.map(|other| other == *leg),
                "{what}: stream {stream}"
            );
        }
        // What comes from elsewhere at a stream's port is not heard.
        if let [_, _, third, ..] = ports[..] {
            world.play(7, third, 600);
            assert!(world.loudness().iter().all(|peak| *peak < 100), "{what}");
        }
    }
}

#[test]
fn streams_come_and_go_by_new_offers_and_stay_at_their_ports_meanwhile() {
    let (citizen, operator) = (("c", "13812345678", &["1"][..]), ("o", "1001", &["2"][..]));
    let mut world = session(
        offered(&[("1", "sendonly"), ("2", "sendonly")]),
        &participants(&[citizen, operator]),
        0,
    );
    let first = ports(world.answer_to_the_invite());
    assert_eq!(first, [20_000, 20_002]);
    world.wait(500);
    // A colleague comes.
    let three = offered(&[("1", "sendonly"), ("2", "sendonly"), ("3", "sendonly")]);
    assert_eq!(world.call.lacks_places(&three), 1);
    world.call.give_place(world.now, place(0));
    assert_eq!(world.call.lacks_places(&three), 0);
    let described = |world: &mut World, metadata: &str| {
        let body = body("", metadata);
        world.sip(SipEvent::Described {
            party: Party::CALLER,
            body,
        });
    };
    described(
        &mut world,
        &participants(&[citizen, operator, ("s", "1003", &["3"])]),
    );
    let offer = |world: &mut World, offer: &str| {
        world.sip(SipEvent::Offered {
            party: Party::CALLER,
            offer: Some(offer.to_owned()),
        });
        ports(&world.answered_offer(Party::CALLER))
    };
    let told = offer(&mut world, &three);
    assert_eq!(told, [20_000, 20_002, 20_100]);
    world.loudness();
    world.play(2, 20_100, 600);
    assert_eq!(world.loudness().map(|peak| peak > 3_000), [false, true]);
    // The first operator goes, and her stream with her; the others stay where they are.
    let told = offer(
        &mut world,
        &offered(&[("1", "sendonly"), ("2", ""), ("3", "sendonly")]),
    );
    assert_eq!(told, [20_000, 0, 20_100]);
    world.play(1, 20_002, 600);
    assert_eq!(world.loudness().map(|peak| peak > 3_000), [false, false]);
    world.play(2, 20_100, 600);
    assert_eq!(world.loudness().map(|peak| peak > 3_000), [false, true]);
    // Another comes in the place that is free now.
    let again = offered(&[("1", "sendonly"), ("2", "sendonly"), ("3", "sendonly")]);
    assert_eq!(world.call.lacks_places(&again), 0);
    assert_eq!(offer(&mut world, &again), [20_000, 20_002, 20_100]);
    world.play(1, 20_002, 600);
    assert_eq!(world.loudness().map(|peak| peak > 3_000), [false, true]);
    // The colleague is said to be a citizen after all: heard on the other leg, at the same port.
    described(
        &mut world,
        &participants(&[citizen, operator, ("s", "13900000002", &["3"])]),
    );
    world.play(2, 20_100, 600);
    assert_eq!(world.loudness().map(|peak| peak > 3_000), [true, false]);
    assert!(world.alarms().is_empty(), "{:?}", world.alarms());
    // The recording has no hole, whatever came and went.
    world.sip(SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::Bye,
    });
    world.wait(6_000).ended_properly();
}
