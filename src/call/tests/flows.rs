//! What exchanges and trunks really do with a call, in virtual time.

use super::*;
use crate::sip::{Replaces, Target};
use crate::text::formatter::TranscriptFormatter;
use crate::text::vocabulary::Vocabulary;
use crate::transcript::LossCause;
use crate::transcript::revise::Revision;

const SUCCESSOR: &str = "203.0.113.77:7700";

impl World {
    fn ruled(rules: Rules) -> Self {
        let mut world = Self::answered();
        world.call.setup.rules = rules;
        world
    }

    /// A party changes its session.
    fn offers(&mut self, party: Party, description: String) {
        self.commands.clear();
        self.sip(SipEvent::Offered {
            party,
            offer: Some(description),
        });
    }

    /// What has been offered to a party since the last change.
    pub(super) fn offered_to(&self, party: Party) -> Option<&str> {
        self.commands
            .iter()
            .rev()
            .find_map(|command| match command {
                SipCommand::Offer { party: to, offer } if *to == party => Some(offer.as_str()),
                _ => None,
            })
    }

    fn refers(&mut self, target: Target) -> Option<Party> {
        self.commands.clear();
        self.sip(SipEvent::Referred {
            party: Party::OPERATOR,
            target,
        });
        self.commands.iter().find_map(|command| match command {
            SipCommand::Invite { party, .. } => Some(*party),
            _ => None,
        })
    }

    fn has(&self, command: &SipCommand) -> bool {
        self.commands.contains(command)
    }

    fn bye(&mut self, party: Party) {
        self.sip(SipEvent::HungUp {
            party,
            cause: DialogEnd::Bye,
        });
    }

    /// A packet of the successor's phone reaches the operator's port.
    fn successor_speaks(&mut self) {
        let packet = Packet {
            payload_type: 8,
            marker: false,
            sequence: WireSequence(1),
            timestamp: 0,
            ssrc: 77,
            payload: &[0xd5; 160],
        };
        self.call.handle(
            self.now,
            Input::Rtp {
                leg: Leg::Operator,
                source: at(SUCCESSOR),
                datagram: &packet.to_datagram(),
            },
        );
        self.drain();
    }
}

fn says(address: &str, direction: &str) -> String {
    format!("{}a={direction}\r\n", described(address, "8"))
}

fn attended() -> Target {
    Target {
        replaces: Replaces::parse("consult;to-tag=1;from-tag=2"),
        ..Target::new("sip:1002@203.0.113.77")
    }
}

#[test]
fn early_media_reaches_the_caller_before_the_answer_and_the_answer_repeats_its_description() {
    let mut world = World::ringing();
    world.sip(SipEvent::Ringing {
        party: Party::OPERATOR,
        status: 183,
        answer: Some(described(OPERATOR, "8")),
    });
    let Some(SipCommand::Ring {
        status: 183,
        answer: Some(early),
        ..
    }) = world.commands.last().cloned()
    else {
        panic!("{:?}", world.commands)
    };
    world.speak(true, true);
    world.wait(20);
    assert_eq!(world.forwarded[0].len(), 1, "the announcement");
    assert!(
        world.passes.is_empty(),
        "nothing is recognised before the answer"
    );
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    assert!(world.has(&SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(early),
    }));
    world.pass(1_000, false, true).pass(1_200, false, false);
    assert_eq!(world.final_lines().len(), 1);
}

#[test]
fn early_media_is_not_bridged_where_the_settings_or_the_caller_forbid_it() {
    let ring = |world: &mut World| {
        world.sip(SipEvent::Ringing {
            party: Party::OPERATOR,
            status: 183,
            answer: Some(described(OPERATOR, "8")),
        });
        world.commands.last().cloned()
    };
    let plain = Some(SipCommand::Ring {
        party: Party::CALLER,
        status: 180,
        answer: None,
    });
    let mut world = World::ringing();
    world.call.setup.rules.early_media = false;
    assert_eq!(ring(&mut world), plain);
    // Our offer would go out in a response that may be lost.
    assert_eq!(ring(&mut World::offered(None)), plain);
    let incoming = IncomingCall {
        supports: vec!["100rel".to_owned()],
        ..IncomingCall::default()
    };
    let mut reliable = World::of(incoming, [MediaPolicy::default(); 2], &[]);
    let Some(SipCommand::Ring {
        answer: Some(_), ..
    }) = ring(&mut reliable)
    else {
        panic!("{:?}", reliable.commands)
    };
    // The PRACK brings the answer, so the 200 carries none.
    reliable.sip(SipEvent::OfferAnswered {
        party: Party::CALLER,
        answer: described(CALLER, "8"),
    });
    reliable.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    assert!(reliable.has(&SipCommand::Answer {
        party: Party::CALLER,
        answer: None,
    }));
    reliable.speak(false, true);
    reliable.wait(20);
    assert_eq!(reliable.forwarded[1].len(), 1);
}

#[test]
fn a_fork_that_rings_with_media_may_lose_to_one_that_answers_elsewhere() {
    let mut world = World::ringing();
    world.sip(SipEvent::Ringing {
        party: Party::OPERATOR,
        status: 183,
        answer: Some(described("203.0.113.50:5000", "8")),
    });
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    world.speak(true, true);
    world.wait(1);
    assert_eq!(
        world.forwarded[0].len(),
        1,
        "the phone that answered is heard"
    );
}

#[test]
fn hold_from_either_side_is_passed_on_and_resumed_and_its_music_is_no_speech() {
    for (holder, held, address) in [
        (Party::OPERATOR, Party::CALLER, OPERATOR),
        (Party::CALLER, Party::OPERATOR, CALLER),
    ] {
        for (hold, passed_on) in [("sendonly", "a=sendonly"), ("inactive", "a=inactive")] {
            let mut world = World::answered();
            world.offers(holder, says(address, hold));
            let offer = world.offered_to(held).expect("passed on");
            assert!(offer.contains(passed_on), "{offer}");
            let answer = if hold == "sendonly" {
                "recvonly"
            } else {
                "inactive"
            };
            let other = if held == Party::CALLER {
                CALLER
            } else {
                OPERATOR
            };
            world.commands.clear();
            world.sip(SipEvent::OfferAnswered {
                party: held,
                answer: says(other, answer),
            });
            assert_eq!(
                world.offered_to(holder),
                None,
                "an answer is no hold of its own"
            );
            // Music on hold, and what the held one says to the colleague beside.
            world.pass(3_000, true, true).pass(1_200, false, false);
            assert!(
                world.passes.is_empty(),
                "{holder} {hold}: {:?}",
                world.passes
            );
            world.wait(120_000);
            assert!(world.summary.is_none(), "a call on hold is no lost one");

            world.offers(holder, says(address, "sendrecv"));
            assert!(world.answered_offer(holder).contains("a=sendrecv"));
            let offer = world.offered_to(held).expect("passed on");
            assert!(offer.contains("a=sendrecv"), "{offer}");
            world.sip(SipEvent::OfferAnswered {
                party: held,
                answer: says(other, "sendrecv"),
            });
            world.pass(1_500, true, false).pass(1_200, false, false);
            assert_eq!(world.final_lines().len(), 1, "{holder} {hold}");
        }
    }
}

#[test]
fn the_old_hold_by_an_unspecified_address_is_a_hold() {
    let mut world = World::answered();
    world.offers(Party::CALLER, described("0.0.0.0:6000", "8"));
    let offer = world.offered_to(Party::OPERATOR).expect("passed on");
    assert!(offer.contains("a=sendonly"), "{offer}");
    world.speak(true, true);
    world.wait(1);
    assert!(world.forwarded[0].is_empty());
    world.offers(Party::CALLER, described(CALLER, "8"));
    assert!(
        world
            .offered_to(Party::OPERATOR)
            .is_some_and(|offer| offer.contains("a=sendrecv"))
    );
    world.speak(true, true);
    world.wait(1);
    assert_eq!(world.forwarded[0].len(), 1);
}

#[test]
fn each_side_resumes_only_its_own_hold() {
    let mut world = World::answered();
    world.offers(Party::OPERATOR, says(OPERATOR, "sendonly"));
    world.sip(SipEvent::OfferAnswered {
        party: Party::CALLER,
        answer: says(CALLER, "recvonly"),
    });
    world.offers(Party::CALLER, says(CALLER, "sendonly"));
    // Both only want to send: nobody is to receive.
    assert!(world.answered_offer(Party::CALLER).contains("a=inactive"));
    world.offers(Party::OPERATOR, says(OPERATOR, "sendrecv"));
    assert!(
        world.answered_offer(Party::OPERATOR).contains("a=sendonly"),
        "the caller still holds"
    );
    world.offers(Party::CALLER, says(CALLER, "sendrecv"));
    assert!(world.answered_offer(Party::CALLER).contains("a=sendrecv"));
}

#[test]
fn a_codec_that_changes_in_mid_call_is_transcoded_and_still_heard() {
    let mut world = World::answered();
    world.offers(Party::CALLER, described(CALLER, "0"));
    assert!(world.answered_offer(Party::CALLER).contains("RTP/AVP 0"));
    assert_eq!(
        world.offered_to(Party::OPERATOR),
        None,
        "the operator's session stays"
    );
    world.speak(true, true);
    world.wait(1);
    let packet = Packet::parse(&world.forwarded[0][0]).expect("a packet");
    assert_eq!(packet.payload_type, 0, "A-law of the operator as µ-law");
}

#[test]
fn a_blind_transfer_keeps_the_caller_and_the_transcript_and_changes_the_operator() {
    let mut world = World::answered();
    world.pass(1_500, true, false).pass(1_200, false, false);
    let successor = world
        .refers(Target::new("sip:1002@203.0.113.77"))
        .expect("invited");
    assert!(world.has(&SipCommand::AnswerRefer {
        party: Party::OPERATOR,
        status: 202
    }));
    world.sip(SipEvent::Ringing {
        party: successor,
        status: 180,
        answer: None,
    });
    assert!(world.has(&SipCommand::ReportTransfer {
        party: Party::OPERATOR,
        status: 180
    }));
    // Until the answer the first operator is heard.
    world.speak(true, true);
    world.wait(1);
    let heard = world.forwarded[0].len();
    assert!(heard > 0);
    world.sip(SipEvent::Answered {
        party: successor,
        answer: described(SUCCESSOR, "8"),
    });
    assert!(world.has(&SipCommand::ReportTransfer {
        party: Party::OPERATOR,
        status: 200
    }));
    world.speak(true, true);
    world.wait(1);
    assert_eq!(
        world.forwarded[0].len(),
        heard,
        "who was replaced is not heard any more"
    );
    world.successor_speaks();
    assert_eq!(world.forwarded[0].len(), heard + 1);
    // RFC 5589: the transferor hangs up by itself, and that ends nothing.
    world.bye(Party::OPERATOR);
    assert!(world.summary.is_none());
    world.commands.clear();
    world.wait(10_000);
    assert!(world.commands.is_empty(), "{:?}", world.commands);
    world.pass(1_500, true, false).pass(1_200, false, false);
    assert_eq!(world.final_lines().len(), 2, "the transcript goes on");
    world.bye(successor);
    assert!(world.has(&SipCommand::HangUp {
        party: Party::CALLER
    }));
    world.wait(300);
    world.ended_properly();
    let party = Leg::Operator;
    assert_eq!(
        world.summary.expect("ended").reason,
        EndReason::HungUp { party }
    );
}

#[test]
fn who_has_been_replaced_and_stays_is_sent_away() {
    let mut world = World::answered();
    let successor = world.refers(attended()).expect("invited");
    assert!(world.commands.iter().any(|command| matches!(
        command,
        SipCommand::Invite {
            target: Target {
                replaces: Some(_),
                ..
            },
            ..
        }
    )));
    world.sip(SipEvent::Answered {
        party: successor,
        answer: described(SUCCESSOR, "8"),
    });
    world.wait(3_900);
    assert!(!world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    world.wait(200);
    assert!(world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    assert!(world.summary.is_none());
}

#[test]
fn a_transferor_that_hangs_up_at_once_leaves_the_caller_waiting_for_the_successor() {
    let mut world = World::answered();
    world.offers(Party::OPERATOR, says(OPERATOR, "inactive"));
    let successor = world
        .refers(Target::new("sip:1002@203.0.113.77"))
        .expect("invited");
    world.bye(Party::OPERATOR);
    assert!(world.summary.is_none());
    assert!(!world.has(&SipCommand::HangUp {
        party: Party::CALLER
    }));
    world.sip(SipEvent::Answered {
        party: successor,
        answer: described(SUCCESSOR, "8"),
    });
    let offer = world.offered_to(Party::CALLER).expect("the hold is over");
    assert!(offer.contains("a=sendrecv"), "{offer}");
    world.successor_speaks();
    assert_eq!(world.forwarded[0].len(), 1);
    world.bye(Party::CALLER);
    assert!(world.has(&SipCommand::HangUp { party: successor }));
    assert!(!world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
}

#[test]
fn a_transfer_that_fails_goes_back_to_the_operator_or_ends_the_call_that_has_none() {
    let mut world = World::answered();
    let successor = world
        .refers(Target::new("sip:1002@203.0.113.77"))
        .expect("invited");
    world.sip(SipEvent::Rejected {
        party: successor,
        status: 486,
        reason: "Busy Here".to_owned(),
    });
    assert!(world.has(&SipCommand::ReportTransfer {
        party: Party::OPERATOR,
        status: 486
    }));
    assert!(world.summary.is_none());
    world.speak(true, true);
    world.wait(1);
    assert_eq!(world.forwarded[0].len(), 1, "the operator talks on");

    // A second try, which rings too long, and the operator has gone meanwhile.
    let successor = world
        .refers(Target::new("sip:1003@203.0.113.77"))
        .expect("invited");
    assert_ne!(successor, Party::OPERATOR);
    world.bye(Party::OPERATOR);
    for _ in 0..1_550 {
        world.speak(false, false);
        world.wait(20);
    }
    assert!(world.has(&SipCommand::HangUp { party: successor }));
    assert!(world.has(&SipCommand::HangUp {
        party: Party::CALLER
    }));
    world.ended_properly();
    assert_eq!(
        world.summary.expect("ended").reason,
        EndReason::TransferFailed { status: 408 }
    );
}

#[test]
fn a_caller_who_hangs_up_ends_a_transfer_under_way_and_an_answer_that_crosses_it() {
    let mut world = World::answered();
    let successor = world
        .refers(Target::new("sip:1002@203.0.113.77"))
        .expect("invited");
    world.bye(Party::CALLER);
    assert!(world.has(&SipCommand::HangUp { party: successor }));
    assert!(world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    world.sip(SipEvent::Answered {
        party: successor,
        answer: described(SUCCESSOR, "8"),
    });
    world.wait(300);
    world.ended_properly();
}

#[test]
fn only_the_operator_may_transfer_and_one_transfer_at_a_time() {
    let mut world = World::answered();
    world.sip(SipEvent::Referred {
        party: Party::CALLER,
        target: Target::new("sip:0900@premium.invalid"),
    });
    assert!(world.has(&SipCommand::AnswerRefer {
        party: Party::CALLER,
        status: 403
    }));
    world
        .refers(Target::new("sip:1002@203.0.113.77"))
        .expect("invited");
    assert_eq!(world.refers(Target::new("sip:1003@203.0.113.77")), None);
    assert!(world.has(&SipCommand::AnswerRefer {
        party: Party::OPERATOR,
        status: 491
    }));
}

#[test]
fn an_invite_with_replaces_takes_the_operators_place_and_one_for_nobody_is_turned_away() {
    let mut world = World::answered();
    let newcomer = Party::taking_over(0).expect("the first");
    world.sip(SipEvent::TakenOver {
        party: newcomer,
        replaced: Party::OPERATOR,
        offer: Some(described(SUCCESSOR, "0")),
    });
    assert!(world.commands.iter().any(|command| matches!(
        command,
        SipCommand::Answer { party, answer: Some(answer) } if *party == newcomer && answer.contains("m=audio 20002 RTP/AVP 0")
    )), "{:?}", world.commands);
    assert!(world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    world.speak(false, true);
    world.wait(1);
    let packet = Packet::parse(&world.forwarded[1][0]).expect("a packet");
    assert_eq!(packet.payload_type, 0, "transcoded for the new phone");

    let late = Party::taking_over(1).expect("the second");
    world.sip(SipEvent::TakenOver {
        party: late,
        replaced: Party::OPERATOR,
        offer: None,
    });
    assert!(world.commands.iter().any(|command| matches!(
        command,
        SipCommand::Reject { party, status: 481, .. } if *party == late
    )));
    assert!(world.summary.is_none());
}

#[test]
fn an_invite_with_replaces_takes_the_callers_place_and_the_operator_hears_the_new_one() {
    let mut world = World::answered();
    let newcomer = Party::taking_over(0).expect("the first");
    world.sip(SipEvent::TakenOver {
        party: newcomer,
        replaced: Party::CALLER,
        offer: Some(described(SUCCESSOR, "8")),
    });
    assert!(world.commands.iter().any(|command| matches!(
        command,
        SipCommand::Answer { party, answer: Some(answer) } if *party == newcomer && answer.contains("m=audio 20000 RTP/AVP 8")
    )), "{:?}", world.commands);
    assert!(world.has(&SipCommand::HangUp {
        party: Party::CALLER
    }));
    world.speak(true, true);
    world.wait(1);
    assert_eq!(
        world.forwarded[0].len(),
        1,
        "the newcomer hears the operator"
    );
    world.bye(Party::CALLER);
    assert!(world.summary.is_none(), "who was replaced has gone");
    world.bye(newcomer);
    assert!(world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
}

#[test]
fn what_was_agreed_on_while_the_phone_rang_stands_when_it_answers() {
    let mut world = World::ringing();
    world.sip(SipEvent::Ringing {
        party: Party::OPERATOR,
        status: 183,
        answer: Some(described(OPERATOR, "8")),
    });
    // The phone moves its early media, and takes another codec.
    world.offers(Party::OPERATOR, described(SUCCESSOR, "0"));
    assert!(world.answered_offer(Party::OPERATOR).contains("RTP/AVP 0"));
    world.sip(SipEvent::Accepted {
        party: Party::OPERATOR,
        description: described(OPERATOR, "8"),
    });
    assert!(world.commands.iter().any(|command| matches!(
        command,
        SipCommand::Answer { party: Party::CALLER, answer: Some(answer) } if answer.contains("RTP/AVP 8")
    )), "{:?}", world.commands);
    world.speak(false, true);
    world.wait(1);
    let packet = Packet::parse(&world.forwarded[1][0]).expect("a packet");
    assert_eq!(
        packet.payload_type, 0,
        "in the codec that was agreed on last"
    );
    // Of a phone that settled nothing that is bridged, what it describes counts.
    let mut world = World::ringing();
    world.call.setup.rules.early_media = false;
    world.sip(SipEvent::Accepted {
        party: Party::OPERATOR,
        description: described(OPERATOR, "8"),
    });
    world.speak(true, true);
    world.wait(1);
    assert_eq!(world.forwarded[0].len(), 1);
}

#[test]
fn a_lost_bye_is_noticed_when_no_media_come_any_more() {
    let rules = Rules {
        media_timeout: Some(Duration::from_secs(20)),
        leg_media_timeout: Some(Duration::from_mins(1)),
        ..Rules::default()
    };
    let mut world = World::ruled(rules);
    world.pass(1_000, true, true);
    world.wait(19_500);
    assert!(world.summary.is_none());
    world.wait(6_000);
    assert_eq!(
        world.summary.as_ref().map(|summary| &summary.reason),
        Some(&EndReason::NoMedia {
            party: None,
            seconds: 20
        })
    );
    for party in [Party::CALLER, Party::OPERATOR] {
        assert!(world.has(&SipCommand::HangUp { party }));
    }

    // One side alone is given longer.
    let mut world = World::ruled(rules);
    for _ in 0..3_200 {
        world.speak(true, false);
        world.wait(20);
    }
    world.wait(6_000);
    let reason = world.summary.expect("ended").reason;
    assert_eq!(
        reason,
        EndReason::NoMedia {
            party: Some(Leg::Caller),
            seconds: 60
        }
    );
}

#[test]
fn a_call_ends_at_its_longest_time() {
    let mut world = World::ruled(Rules {
        max_duration: Some(Duration::from_secs(30)),
        ..Rules::default()
    });
    world.pass(29_900, true, true);
    assert!(!world.has(&SipCommand::HangUp {
        party: Party::CALLER
    }));
    world.pass(200, true, true);
    assert!(world.has(&SipCommand::HangUp {
        party: Party::CALLER
    }));
    assert!(world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    world.wait(6_000);
    world.ended_properly();
}

#[test]
fn a_cancel_that_crosses_the_answer_leaves_no_leg_open() {
    // The caller's CANCEL is taken first: the answer on its way is for the adapter to end.
    let mut world = World::ringing();
    world.sip(SipEvent::Cancelled {
        party: Party::CALLER,
    });
    assert!(world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    assert!(
        !world
            .commands
            .iter()
            .any(|command| matches!(command, SipCommand::Answer { .. }))
    );
    world.ended_properly();

    // The answer is taken first: the CANCEL has no effect, and the BYE that follows ends both.
    let mut world = World::answered();
    world.sip(SipEvent::Cancelled {
        party: Party::CALLER,
    });
    assert!(world.summary.is_none());
    world.bye(Party::CALLER);
    assert!(world.has(&SipCommand::HangUp {
        party: Party::OPERATOR
    }));
}

#[test]
fn a_session_that_expires_on_one_leg_ends_both() {
    let mut world = World::answered();
    world.sip(SipEvent::HungUp {
        party: Party::OPERATOR,
        cause: DialogEnd::SessionExpired,
    });
    assert!(world.has(&SipCommand::HangUp {
        party: Party::CALLER
    }));
    world.wait(300);
    assert_eq!(
        world.summary.expect("ended").reason,
        EndReason::Lost {
            party: Leg::Operator,
            cause: LossCause::SessionExpired
        }
    );
}

#[test]
fn a_key_that_one_leg_tells_by_info_reaches_the_other() {
    let mut world = World::answered();
    world.sip(SipEvent::Keyed {
        party: Party::CALLER,
        key: '5',
        millis: 160,
    });
    assert!(world.has(&SipCommand::Key {
        party: Party::OPERATOR,
        key: '5',
        millis: 160
    }));
}

#[test]
fn a_change_that_the_operator_takes_back_is_told_and_the_draft_follows() {
    let lists = Vocabulary::parse([("words", "% list 商户\n力动健身房")]).expect("a list");
    let mut world = World::answered();
    world.call.builder = TranscriptBuilder::new(
        CallId::new("c1"),
        Arc::new(TranscriptFormatter::new(lists, true)),
    );
    world.says = &["我要投诉莱山区的李栋健身房，年卡不给退"];
    world.pass(400, false, false).pass(2_000, true, false);
    world.pass(1_000, false, false);
    let about = |world: &World| {
        let draft = world.drafts.last().expect("a draft").draft.clone();
        match &draft.fields[&FieldName::Subject].value {
            FieldValue::Text(subject) => subject.reveal().clone(),
            other => panic!("{other:?}"),
        }
    };
    let before = about(&world);
    let revise = |world: &mut World, undone| {
        let revision = Revision {
            line: 0,
            change: 0,
            seen: None,
            undone,
        };
        world.ask(Command::Revise(revision))
    };
    assert_eq!(revise(&mut world, true), Ok(()));
    let lines = world.final_lines();
    let texts: Vec<&str> = lines
        .iter()
        .map(|line| line.text.reveal().as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "我要投诉莱山区的力动健身房，年卡不给退。",
            "我要投诉莱山区的李栋健身房，年卡不给退。"
        ]
    );
    assert_ne!(about(&world), before);
    assert_eq!(revise(&mut world, false), Ok(()));
    assert_eq!(about(&world), before);
    // When the call is over, so is its transcript.
    world.sip(SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::Bye,
    });
    world.ended_properly();
    assert_eq!(revise(&mut world, true), Err(Refusal::NotRunning));
    world.ended_properly();
}
