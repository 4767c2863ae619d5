//! Whole calls in virtual time: phones that speak tones over a seeded network, a scripted recogniser, no sockets.

mod announce;
mod commands;
mod drafts;
mod flows;
mod redaction;
mod silent;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::audio::codec::{Codec, Encoder};
use crate::rtp::lossy::LossyNetwork;
use crate::rtp::{Packet, WireSequence};
use crate::sip::{DialogEnd, IncomingCall, SipEvent};
use crate::speech::finish::AsHeard;
use crate::speech::segmenter::Settings;
use crate::speech::{CallId, Hypothesis, Outcome, Pass, UtteranceKey};
use crate::ticket::advice::Advice;
use crate::ticket::dialing::Dialing;
use crate::ticket::resemble::{Likeness, Resemblance};
use crate::ticket::{Drafter, Field, FieldName, FieldValue, Taxonomy};
use crate::transcript::{Actor, Line, Origin};

const MS: Duration = Duration::from_millis(1);
const CALLER: &str = "198.51.100.7:6000";
const OPERATOR: &str = "203.0.113.9:7000";

fn at(address: &str) -> SocketAddr {
    address.parse().expect("an address")
}

fn described(address: &str, formats: &str) -> String {
    let address = at(address);
    format!(
        "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {formats}\r\n",
        ip = address.ip(),
        port = address.port()
    )
}

/// A call by SIP, with the ports and the operator of the tests.
fn bridged(incoming: IncomingCall, policies: [MediaPolicy; 2]) -> Incoming {
    let [caller, operator] = policies;
    let end = |address, policy| RtpEnd {
        address: at(address),
        policy,
    };
    let ends = [
        end("192.0.2.1:20000", caller),
        end("192.0.2.1:20002", operator),
    ];
    Incoming::by_sip(incoming, "sip:op@203.0.113.9".to_owned(), ends)
}

mod decoded;
mod media;
mod tap;

/// When a packet arrives, which one it is, whether the operator sent it, and its datagram.
type Carried = (Instant, u64, bool, Vec<u8>);

/// A call, the time, and everything that came out of it.
struct World {
    call: Call,
    now: Instant,
    network: LossyNetwork,
    /// Packets on their way to the gateway, by arrival.
    wire: BinaryHeap<Reverse<Carried>>,
    sent: [u16; 2],
    /// Packets that were sent in streams beside those.
    played: [u16; 8],
    /// Each leg's packets come at the other one's port.
    crossed: bool,
    serial: u64,
    /// How long the recogniser takes; `None` for one that never answers.
    recognition: Option<Duration>,
    /// What is heard in each utterance, where that matters.
    says: &'static [&'static str],
    jobs: Vec<(Instant, UtteranceKey)>,
    passes: Vec<Pass>,
    forwarded: [Vec<Vec<u8>>; 2],
    recorded: [Vec<crate::audio::Frame>; 2],
    erased: Vec<(MediaTime, MediaTime)>,
    commands: Vec<SipCommand>,
    told: Vec<TranscriptEvent>,
    drafter: Drafter,
    drafts: Vec<DraftOutput>,
    summary: Option<Box<Summary>>,
    /// How often the edge of a tapped call was told that it is over.
    let_go: usize,
}

impl World {
    fn offered(offer: Option<String>) -> Self {
        Self::travelling(offer, [MediaPolicy::default(); 2])
    }

    fn travelling(offer: Option<String>, policies: [MediaPolicy; 2]) -> Self {
        let incoming = IncomingCall {
            sip_call_id: "abc@peer".to_owned(),
            caller_number: Some("13812345678".into()),
            caller_display: None,
            called: "12345".to_owned(),
            offer,
            trunk: Some("carrier".to_owned()),
            diverted_from: Some("8001".into()),
            user_to_user: Some("56a390".into()),
            ..IncomingCall::default()
        };
        Self::of(incoming, policies, &[])
    }

    fn of(incoming: IncomingCall, policies: [MediaPolicy; 2], own_numbers: &[&str]) -> Self {
        let own_numbers: Vec<String> = own_numbers.iter().map(ToString::to_string).collect();
        Self::set_up(bridged(incoming, policies), |setup| {
            setup.own_numbers = own_numbers.into();
        })
    }

    /// A call with what `change` makes of the usual settings.
    fn set_up(incoming: Incoming, change: impl FnOnce(&mut Setup)) -> Self {
        let now = Instant::now();
        let mut setup = Setup {
            id: CallId::new("c1"),
            incoming,
            dialing: Dialing::new("0535".to_owned()),
            own_numbers: Arc::default(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            seed: [42; 32],
            codecs: vec![Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus],
            ring: Duration::from_secs(30),
            flush: Duration::from_secs(5),
            recognised: true,
            reviewed: false,
            rules: Rules::default(),
            recorded: true,
            announcement: None,
            finish: Arc::new(AsHeard),
            listening: Settings::default(),
        };
        change(&mut setup);
        let mut world = Self {
            call: Call::new(now, setup),
            now,
            network: LossyNetwork::new(1, 0.0, Duration::ZERO),
            wire: BinaryHeap::new(),
            sent: [0; 2],
            played: [0; 8],
            crossed: false,
            serial: 0,
            recognition: Some(200 * MS),
            says: &[],
            jobs: Vec::new(),
            passes: Vec::new(),
            forwarded: [Vec::new(), Vec::new()],
            recorded: [Vec::new(), Vec::new()],
            erased: Vec::new(),
            commands: Vec::new(),
            told: Vec::new(),
            drafter: Drafter::new(Taxonomy::embedded()),
            drafts: Vec::new(),
            summary: None,
            let_go: 0,
        };
        world.drain();
        world
    }

    fn ringing() -> Self {
        Self::offered(Some(described(
            CALLER,
            "8 0 101\r\na=rtpmap:101 telephone-event/8000",
        )))
    }

    fn answered() -> Self {
        let mut world = Self::ringing();
        world.sip(SipEvent::Ringing {
            party: Party::OPERATOR,
            status: 180,
            answer: None,
        });
        world.sip(SipEvent::Answered {
            party: Party::OPERATOR,
            answer: described(OPERATOR, "8"),
        });
        world
    }

    fn sip(&mut self, event: SipEvent) {
        self.call.handle(self.now, Input::Sip(event));
        self.drain();
    }

    /// Somebody asks something of the call.
    fn ask(&mut self, command: Command) -> Result<(), Refusal> {
        let actor = Actor::User {
            user: "console".to_owned(),
            station: "192.0.2.30".to_owned(),
        };
        let answer = self.call.command(self.now, &actor, command);
        self.drain();
        answer
    }

    fn drain(&mut self) {
        loop {
            match self.call.poll(self.now) {
                Output::Transmit(transmit) if transmit.rtcp => {}
                Output::Transmit(transmit) => {
                    self.forwarded[index(transmit.leg)].push(transmit.datagram);
                }
                Output::Sip(command) => self.commands.push(command),
                Output::EndTap => self.let_go += 1,
                Output::Recognize(utterance, _) => {
                    self.passes.push(utterance.pass);
                    if let Some(took) = self.recognition {
                        self.jobs.push((self.now + took, utterance.key));
                    }
                }
                Output::Record(leg, frame) => self.recorded[index(leg)].push(frame),
                Output::Erase(from, until) => self.erased.push((from, until)),
                Output::Transcript(event) => self.told.push(event),
                Output::Redraft(redraft) => {
                    let drafted = redraft.draw(&self.drafter);
                    self.call.handle(self.now, Input::Drafted(drafted));
                }
                Output::Draft(draft) => self.drafts.push(draft),
                Output::Ended(summary) => self.summary = Some(summary),
                Output::Deadline(at, reason) => {
                    assert!(at > self.now, "{reason:?} is due and was not done");
                    return;
                }
                Output::Idle => return,
            }
        }
    }

    /// Lets time pass while the legs speak a tone or keep quiet, both sending.
    fn pass(&mut self, millis: u64, caller: bool, operator: bool) -> &mut Self {
        for _ in 0..millis / 20 {
            for (is_operator, speaks) in [(false, caller), (true, operator)] {
                self.speak(is_operator, speaks);
            }
            self.wait(20);
        }
        self
    }

    fn speak(&mut self, is_operator: bool, aloud: bool) {
        let count = &mut self.sent[usize::from(is_operator)];
        let level = if aloud { 8_000.0 } else { 0.0 };
        let samples: Vec<i16> = (0..160)
            .map(|i| {
                let at = f32::from(*count) * 160.0 + i as f32;
                (level * (at * 440.0 * std::f32::consts::TAU / 8_000.0).sin()) as i16
            })
            .collect();
        let packet = Packet {
            payload_type: 8,
            marker: false,
            sequence: WireSequence(count.wrapping_add(65_000)),
            timestamp: u32::from(*count) * 160,
            ssrc: u32::from(is_operator),
            payload: &Encoder::new(Codec::Pcma).encode(&samples),
        };
        *count += 1;
        if let Some(arrival) = self.network.carry(self.now) {
            self.serial += 1;
            self.wire.push(Reverse((
                arrival,
                self.serial,
                is_operator,
                packet.to_datagram(),
            )));
        }
    }

    /// Time passes, a millisecond at a time.
    fn wait(&mut self, millis: u64) -> &mut Self {
        for _ in 0..millis {
            self.now += MS;
            while self
                .wire
                .peek()
                .is_some_and(|Reverse((arrival, ..))| *arrival <= self.now)
            {
                let Some(Reverse((_, _, is_operator, datagram))) = self.wire.pop() else {
                    break;
                };
                let (leg, source) = if is_operator {
                    (Leg::Operator, at(OPERATOR))
                } else {
                    (Leg::Caller, at(CALLER))
                };
                let leg = if self.crossed { leg.other() } else { leg };
                self.call.handle(
                    self.now,
                    Input::Rtp {
                        leg,
                        source,
                        datagram: &datagram,
                    },
                );
                self.drain();
            }
            let (done, jobs) = std::mem::take(&mut self.jobs)
                .into_iter()
                .partition(|(due, _)| *due <= self.now);
            self.jobs = jobs;
            let done: Vec<(Instant, UtteranceKey)> = done;
            for (_, key) in done {
                let text = match self.says.get(key.id as usize) {
                    Some(text) => (*text).into(),
                    None => format!("第{}句第{}次", key.id, key.revision).into(),
                };
                let hypothesis = Hypothesis {
                    text,
                    words: Vec::new(),
                    confidence: 0.9,
                    took: Duration::ZERO,
                };
                self.call
                    .handle(self.now, Input::Heard(key, Outcome::Recognized(hypothesis)));
            }
            self.drain();
        }
        self
    }

    fn final_lines(&self) -> Vec<&Line> {
        let mut lines = Vec::new();
        for event in &self.told {
            if let TranscriptEvent::Line(line) = event
                && line.is_final
            {
                lines.push(line);
            }
        }
        lines
    }

    fn rejected(&self) -> Option<u16> {
        self.commands.iter().find_map(|command| match command {
            SipCommand::Reject { status, .. } => Some(*status),
            _ => None,
        })
    }

    /// The newest answer to an offer of `party`.
    fn answered_offer(&self, party: Party) -> String {
        let newest = self
            .commands
            .iter()
            .rev()
            .find_map(|command| match command {
                SipCommand::AnswerOffer {
                    party: to,
                    answer: Ok(answer),
                } if *to == party => Some(answer.clone()),
                _ => None,
            });
        newest.expect("an answer")
    }

    fn ended_properly(&self) {
        assert!(
            matches!(self.told.last(), Some(TranscriptEvent::CallFinal { .. })),
            "{:?}",
            self.told
        );
        assert!(self.summary.is_some());
    }
}

#[test]
fn a_call_is_bridged_heard_and_drafted_and_its_last_words_come_before_its_end() {
    let mut world = World::answered();
    assert!(matches!(&world.commands[..], [
        SipCommand::Invite { .. },
        SipCommand::Ring { status: 180, .. },
        SipCommand::Answer { answer: Some(answer), .. },
    ] if answer.contains("m=audio 20000 RTP/AVP 8") && answer.contains("c=IN IP4 192.0.2.1")));
    world
        .pass(400, false, false)
        .pass(2_400, true, false)
        .pass(1_200, false, false);
    world.pass(2_000, false, true).pass(1_000, false, false);
    let lines = world.final_lines();
    assert_eq!(
        lines
            .iter()
            .map(|line| (line.id, line.leg))
            .collect::<Vec<_>>(),
        [(0, Leg::Caller), (1, Leg::Operator)]
    );
    assert!(
        lines[0].start.as_millis() < 500 && (2_700..3_000).contains(&lines[0].end.as_millis()),
        "{lines:?}"
    );
    assert!(
        world
            .told
            .iter()
            .any(|event| matches!(event, TranscriptEvent::Line(line) if !line.is_final))
    );

    // The caller is cut off in the middle of a word.
    world.pass(1_500, true, false);
    world.sip(SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::Bye,
    });
    assert!(world.commands.contains(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    assert!(
        world.summary.is_none(),
        "the last words are still being recognised"
    );
    world.wait(300);
    assert_eq!(world.final_lines().len(), 3);
    world.ended_properly();
    let last = world.drafts.last().expect("a draft");
    assert!(last.closes);
    assert_eq!(last.lines.len(), 3);
    assert!(
        world
            .drafts
            .windows(2)
            .all(|pair| pair[0].revision < pair[1].revision)
    );
    let summary = world.summary.expect("ended");
    let party = Leg::Caller;
    assert_eq!(summary.reason, EndReason::HungUp { party });
    assert_eq!(summary.duration.as_millis(), 8_500);
    assert!(
        summary
            .streams
            .iter()
            .flatten()
            .all(|stream| stream.lost() == 0 && stream.mos(Duration::ZERO) > 4.3)
    );
}

#[test]
fn the_text_of_an_utterance_is_there_soon_after_its_last_word() {
    let mut world = World::answered();
    world.pass(2_000, true, false);
    let spoken = world.now;
    while world.final_lines().is_empty() {
        world.pass(20, false, false);
        assert!(
            world.now - spoken < 800 * MS,
            "no line 800 ms after the last word"
        );
    }
    // The end-point pass is promoted: no pass was made for the final line itself.
    assert!(!world.passes.contains(&Pass::Final), "{:?}", world.passes);
}

#[test]
fn over_bad_networks_everything_that_arrives_is_forwarded_and_every_utterance_is_heard() {
    for seed in 0..12 {
        let mut world = World::answered();
        world.network = LossyNetwork::new(seed, 0.05, (seed * 5) as u32 * MS);
        for _ in 0..3 {
            world.pass(1_600, true, false).pass(1_200, false, false);
        }
        world.wait(500);
        for forwarded in &world.forwarded {
            let packets: Vec<_> = forwarded
                .iter()
                .map(|datagram| Packet::parse(datagram).expect("a packet"))
                .collect();
            let ssrc = packets[0].ssrc;
            assert!(packets.iter().all(|packet| packet.ssrc == ssrc));
        }
        let arrived = world.serial as usize;
        assert_eq!(
            world.forwarded[0].len() + world.forwarded[1].len(),
            arrived,
            "seed {seed}"
        );
        assert!(
            arrived < usize::from(world.sent[0] + world.sent[1]),
            "seed {seed} lost nothing"
        );
        let lines = world.final_lines();
        assert_eq!(lines.len(), 3, "seed {seed}: {lines:?}");
        assert!(lines.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}

#[test]
fn a_recogniser_that_never_answers_leaves_a_gap_and_the_call_ends_in_time() {
    let mut world = World::answered();
    world.recognition = None;
    world.pass(2_000, true, false);
    world.sip(SipEvent::HungUp {
        party: Party::OPERATOR,
        cause: DialogEnd::Bye,
    });
    world.wait(4_900);
    assert!(world.summary.is_none());
    world.wait(200);
    assert!(world.told.iter().any(|event| matches!(
        event,
        TranscriptEvent::Gap {
            leg: Leg::Caller,
            ..
        }
    )));
    world.ended_properly();
}

#[test]
fn the_record_says_how_the_call_came_here() {
    let world = World::ringing();
    let Some(TranscriptEvent::Started(info)) = world.told.first() else {
        panic!("a call begins with its beginning: {:?}", world.told);
    };
    let origin = Origin {
        trunk: Some("carrier".to_owned()),
        diverted_from: Some("8001".into()),
        user_to_user: Some("56a390".into()),
    };
    assert_eq!(info.origin, origin);
}

#[test]
fn a_caller_is_shown_by_the_number_that_is_dialled_and_a_name_stays_unless_it_says_nothing() {
    for (given, shown) in [
        ("+8613812345678", Some("13812345678")),
        ("013812345678", Some("13812345678")),
        ("+86-535-6212345", Some("05356212345")),
        ("unavailable", None),
        ("alice", Some("alice")),
    ] {
        let incoming = IncomingCall {
            caller_number: Some(given.into()),
            offer: Some(described(CALLER, "8")),
            ..IncomingCall::default()
        };
        let world = World::of(incoming, [MediaPolicy::default(); 2], &[]);
        let Some(TranscriptEvent::Started(info)) = world.told.first() else {
            panic!("a call begins with its beginning: {:?}", world.told);
        };
        let number = info.caller_number.as_ref();
        assert_eq!(
            number.map(|number| number.reveal().as_str()),
            shown,
            "{given}"
        );
    }
}

#[test]
fn a_caller_without_a_codec_of_ours_is_refused_before_anybody_rings() {
    for (offer, status) in [
        (Some(described(CALLER, "18\r\na=rtpmap:18 G729/8000")), 488),
        (Some("hello".to_owned()), 400),
    ] {
        let world = World::offered(offer);
        assert_eq!(world.rejected(), Some(status));
        assert!(
            !world
                .commands
                .iter()
                .any(|command| matches!(command, SipCommand::Invite { .. }))
        );
        world.ended_properly();
    }
}

#[test]
fn what_the_operators_side_says_is_mapped_back_to_the_caller() {
    for (said, told) in [
        (486, 486),
        (480, 480),
        (408, 480),
        (603, 603),
        (401, 480),
        (503, 500),
        (302, 480),
    ] {
        let mut world = World::ringing();
        world.sip(SipEvent::Rejected {
            party: Party::OPERATOR,
            status: said,
            reason: "as it is".to_owned(),
        });
        assert_eq!(world.rejected(), Some(told), "{said}");
        world.ended_properly();
        assert!(world.drafts.is_empty());
    }
}

#[test]
fn a_caller_who_gives_up_and_a_phone_that_rings_too_long_end_the_operators_leg() {
    let mut world = World::ringing();
    world.sip(SipEvent::Cancelled {
        party: Party::CALLER,
    });
    assert!(world.commands.contains(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    assert_eq!(world.rejected(), None);
    world.ended_properly();

    let mut world = World::ringing();
    world.wait(30_000);
    assert!(world.commands.contains(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    assert_eq!(world.rejected(), Some(480));
    world.ended_properly();
}

#[test]
fn packets_of_strangers_are_neither_forwarded_nor_heard() {
    let mut world = World::answered();
    world.speak(false, true);
    world.wait(1);
    let Some(stolen) = world.forwarded[1].first().cloned() else {
        panic!("the caller's own packet was not forwarded")
    };
    let stranger = at("198.51.100.66:6000");
    world.call.handle(
        world.now,
        Input::Rtp {
            leg: Leg::Caller,
            source: stranger,
            datagram: &stolen,
        },
    );
    world.drain();
    assert_eq!(world.forwarded[1].len(), 1);
}

#[test]
fn a_leg_on_hold_gets_no_packets_and_gets_them_again_after_it() {
    let mut world = World::answered();
    let reoffer = |world: &mut World, direction: &str| {
        let offer = format!("{}a={direction}\r\n", described(OPERATOR, "8"));
        world.sip(SipEvent::Offered {
            party: Party::OPERATOR,
            offer: Some(offer),
        });
        world.answered_offer(Party::OPERATOR)
    };
    world.pass(200, true, false);
    let before = world.forwarded[1].len();
    assert!(before > 0);
    assert!(reoffer(&mut world, "sendonly").contains("a=recvonly"));
    world.pass(200, true, false);
    assert_eq!(world.forwarded[1].len(), before);
    assert!(reoffer(&mut world, "sendrecv").contains("a=sendrecv"));
    world.pass(200, true, false);
    assert!(world.forwarded[1].len() > before);
}

#[test]
fn what_is_found_out_beside_the_call_is_on_the_draft_from_the_answer_on_and_again_when_it_changes()
{
    let resembles = |score| {
        vec![Resemblance {
            call: CallId::new("earlier"),
            ticket: None,
            score,
            because: vec![Likeness::SameCaller],
            started_unix_ms: 1,
        }]
    };
    let advise = |world: &mut World, advice| {
        world.call.handle(world.now, Input::Advice(advice));
        world.drain();
    };
    let mut world = World::ringing();
    advise(&mut world, Advice::Resembles(resembles(0.5)));
    assert!(world.drafts.is_empty(), "nobody has answered");
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    assert_eq!(world.drafts.len(), 1, "before a word is said");
    assert_eq!(world.drafts[0].draft.resembles, resembles(0.5));
    advise(&mut world, Advice::Resembles(resembles(0.5)));
    assert_eq!(world.drafts.len(), 1, "nothing new");
    let read = Field {
        value: FieldValue::Text("王先生".into()),
        confidence: 0.6,
        evidence: Vec::new(),
    };
    advise(
        &mut world,
        Advice::Read([(FieldName::CallerName, read)].into()),
    );
    let last = world.drafts.last().expect("a draft");
    assert_eq!(last.revision, 2);
    assert!(last.draft.fields.contains_key(&FieldName::CallerName));
    assert_eq!(last.draft.resembles.len(), 1);
}

#[test]
fn a_leg_that_sends_nothing_raises_an_alarm_once() {
    let mut world = World::answered();
    for _ in 0..1_000 {
        world.speak(false, false);
        world.wait(20);
    }
    let alarms = world.told.iter().filter(|event| {
        matches!(
            event,
            TranscriptEvent::Alarm {
                leg: Leg::Operator,
                alarm: AlarmKind::NoMedia
            }
        )
    });
    assert_eq!(alarms.count(), 1);
    assert!(!world.told.iter().any(|event| matches!(
        event,
        TranscriptEvent::Alarm {
            leg: Leg::Caller,
            ..
        }
    )));
}

#[test]
fn an_invite_without_an_offer_is_answered_with_ours() {
    let mut world = World::offered(None);
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "0"),
    });
    let Some(SipCommand::Answer {
        answer: Some(offer),
        ..
    }) = world.commands.last()
    else {
        panic!("{:?}", world.commands)
    };
    assert!(offer.contains("m=audio 20000 RTP/AVP 0 101"), "{offer}");
    world.sip(SipEvent::OfferAnswered {
        party: Party::CALLER,
        answer: described(CALLER, "0"),
    });
    world.speak(true, true);
    world.wait(1);
    assert_eq!(
        world.forwarded[0].len(),
        0,
        "the operator speaks another codec than agreed on"
    );
    world.sip(SipEvent::OfferAnswered {
        party: Party::CALLER,
        answer: "nonsense".to_owned(),
    });
    assert!(world.commands.contains(&SipCommand::HangUp {
        party: Party::CALLER
    }));
}

#[test]
fn reports_go_out_and_with_rtcp_mux_they_share_the_port() {
    for (attribute, separate) in [("", true), ("\r\na=rtcp-mux", false)] {
        let mut world = World::offered(Some(described(CALLER, &format!("8{attribute}"))));
        let answer = described(OPERATOR, "8");
        world.call.handle(
            world.now,
            Input::Sip(SipEvent::Answered {
                party: Party::OPERATOR,
                answer,
            }),
        );
        world.drain();
        let mut reports = Vec::new();
        for _ in 0..500 {
            world.speak(true, false);
            world.now += 20 * MS;
            while let Some(Reverse((_, _, _, datagram))) = world.wire.pop() {
                let (leg, source) = (Leg::Operator, at(OPERATOR));
                world.call.handle(
                    world.now,
                    Input::Rtp {
                        leg,
                        source,
                        datagram: &datagram,
                    },
                );
            }
            loop {
                match world.call.poll(world.now) {
                    Output::Transmit(transmit) if rtcp::is_rtcp(&transmit.datagram) => {
                        reports.push(transmit);
                    }
                    Output::Deadline(..) | Output::Idle => break,
                    _ => {}
                }
            }
        }
        let to_caller: Vec<_> = reports
            .iter()
            .filter(|report| report.leg == Leg::Caller)
            .collect();
        assert!(
            !to_caller.is_empty() && reports.len() > to_caller.len(),
            "{} reports",
            reports.len()
        );
        let port = if separate { 6_001 } else { 6_000 };
        assert!(
            to_caller
                .iter()
                .all(|report| report.rtcp == separate && report.to.port() == port)
        );
    }
}

#[test]
fn what_is_recorded_has_no_hole_and_a_pause_is_silence_for_recorder_and_recogniser() {
    let mut world = World::answered();
    world.pass(2_000, true, false);
    assert_eq!(world.ask(Command::Pause { paused: true }), Ok(()));
    world.pass(2_000, true, false);
    assert_eq!(world.ask(Command::Pause { paused: false }), Ok(()));
    world.pass(2_000, false, false).wait(200);
    for frames in &world.recorded {
        let mut until = MediaTime::ZERO;
        for frame in frames {
            assert_eq!(frame.start, until);
            until = until + frame.duration();
        }
        assert!(until.as_millis() >= 6_000, "{until}");
    }
    let is_loud = |from: u64, to: u64| {
        let within = |frame: &&crate::audio::Frame| (from..to).contains(&frame.start.as_millis());
        world.recorded[0]
            .iter()
            .filter(within)
            .all(|frame| frame.samples.iter().any(|sample| sample.abs() > 4_000))
    };
    assert!(is_loud(100, 1_900) && !is_loud(2_100, 2_140) && !is_loud(3_800, 3_900));
    let marks: Vec<_> = world
        .told
        .iter()
        .filter_map(|event| match event {
            TranscriptEvent::Recording { at, mark } => Some((at.as_millis(), *mark)),
            _ => None,
        })
        .collect();
    assert_eq!(
        marks,
        [
            (2_000, RecordingMark::Paused),
            (4_000, RecordingMark::Resumed)
        ]
    );
    let lines = world.final_lines();
    assert!(
        lines.iter().all(|line| line.end.as_millis() < 2_300),
        "{lines:?}"
    );
}
