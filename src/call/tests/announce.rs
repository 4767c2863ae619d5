//! What the caller hears before the operator.

use super::*;
use crate::audio::Frequency;
use crate::audio::codec::Decoder;

/// A second of one value, which no tone is.
fn said() -> crate::audio::Frame {
    sound(vec![5_000; 8_000], Frequency::HZ_8000)
}

impl World {
    /// A call whose caller is to hear the announcement while the phone rings.
    fn announcing_early(offer: Option<String>) -> Self {
        let incoming = IncomingCall {
            called: "12345".to_owned(),
            offer,
            ..IncomingCall::default()
        };
        let incoming = bridged(incoming, [MediaPolicy::default(); 2]);
        Self::set_up(incoming, |setup| {
            setup.rules.announce_early = true;
            setup.announcement = Some(Arc::new(said()));
        })
    }

    fn rings(&mut self, status: u16, answer: Option<String>) {
        self.sip(SipEvent::Ringing {
            party: Party::OPERATOR,
            status,
            answer,
        });
    }

    fn is_answered(&mut self, formats: &str) {
        self.sip(SipEvent::Answered {
            party: Party::OPERATOR,
            answer: described(OPERATOR, formats),
        });
    }

    /// The numbers of the packets to the caller and their lowest samples, after checking that none is missing.
    fn heard_by_caller(&self, codec: Codec) -> Vec<(u16, i16)> {
        let heard: Vec<(u16, i16)> = self.forwarded[0]
            .iter()
            .map(|datagram| {
                let packet = Packet::parse(datagram).expect("a packet");
                let mut samples = Vec::new();
                Decoder::new(codec).decode(packet.payload, &mut samples);
                let lowest = samples.iter().copied().min().expect("samples");
                (packet.sequence.0, lowest)
            })
            .collect();
        let follow = |pair: &[(u16, i16)]| pair[0].0.wrapping_add(1) == pair[1].0;
        assert!(heard.windows(2).all(follow));
        heard
    }

    /// What the caller has been told before the answer.
    fn rung(&self) -> Vec<(u16, bool)> {
        let rung = self.commands.iter().filter_map(|command| match command {
            SipCommand::Ring { status, answer, .. } => Some((*status, answer.is_some())),
            _ => None,
        });
        rung.collect()
    }

    /// When announcements were over, in milliseconds.
    fn announced(&self) -> Vec<u64> {
        let marks = self.told.iter().filter_map(|event| match event {
            TranscriptEvent::Recording {
                at,
                mark: RecordingMark::Announced,
            } => Some(at.as_millis()),
            _ => None,
        });
        marks.collect()
    }
}

#[test]
fn the_caller_hears_the_announcement_and_only_then_the_operator() {
    let mut world = World::ringing();
    world.call.announcement = Some(Announcement::new(Arc::new(said())));
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    world.pass(980, true, true);
    let announced = world.forwarded[0].len();
    assert!((48..=50).contains(&announced), "{announced}");
    assert!(
        world.forwarded[1].len() >= 48,
        "the operator hears the caller"
    );
    world.pass(1_000, false, true);
    let heard = world.heard_by_caller(Codec::Pcma);
    // The announcement is all of one value, the operator's tone swings.
    let over = heard.iter().filter(|(_, lowest)| *lowest > 4_000).count();
    assert_eq!(over, 50);
    assert!(heard.len() >= 98 && heard[50..].iter().all(|(_, lowest)| *lowest < -4_000));
    assert_eq!(world.announced(), [980]);
}

#[test]
fn the_announcement_is_early_media_while_the_phone_rings_and_the_tone_comes_after_it() {
    let mut world = World::announcing_early(Some(described(CALLER, "8 0")));
    assert_eq!(world.rung(), [(183, true)]);
    world.rings(180, None);
    world.wait(970);
    assert_eq!(world.rung(), [(183, true)], "a tone would cover it");
    world.wait(60);
    assert_eq!(world.rung(), [(183, true), (180, false)]);
    assert_eq!(world.announced(), [0], "the call's clock has not begun");
    world.wait(3_000);
    let heard = world.heard_by_caller(Codec::Pcma);
    assert_eq!(heard.len(), 50);
    assert!(heard.iter().all(|(_, lowest)| *lowest > 4_000));
    world.is_answered("8");
    world.pass(1_000, true, true);
    let heard = world.heard_by_caller(Codec::Pcma);
    assert!(heard.len() >= 98 && heard[50..].iter().all(|(_, lowest)| *lowest < -4_000));
    let answers = world.commands.iter().filter_map(|command| match command {
        SipCommand::Answer { answer, .. } | SipCommand::Ring { answer, .. } => answer.clone(),
        _ => None,
    });
    let mut answers: Vec<String> = answers.collect();
    answers.dedup();
    assert_eq!(answers.len(), 1, "the final answer says what 183 has said");
}

#[test]
fn an_operator_who_answers_during_it_in_another_codec_is_heard_when_it_is_over() {
    let mut world = World::announcing_early(Some(described(CALLER, "0")));
    // His exchange plays music before the answer: nobody hears it during the announcement.
    world.rings(183, Some(described(OPERATOR, "8")));
    world.pass(400, true, true);
    world.is_answered("8");
    world.pass(1_400, true, true);
    assert_eq!(world.rung(), [(183, true)]);
    let heard = world.heard_by_caller(Codec::Pcmu);
    let announced = heard
        .iter()
        .take_while(|(_, lowest)| *lowest > 4_000)
        .count();
    assert!((49..=51).contains(&announced), "{announced}");
    assert!(heard.len() >= 88 && heard[52..].iter().all(|(_, lowest)| *lowest < -4_000));
    assert_eq!(world.announced().len(), 1);
}

#[test]
fn early_media_of_the_operator_is_heard_after_an_early_announcement_and_before_a_late_one() {
    let mut early = World::announcing_early(Some(described(CALLER, "8")));
    early.rings(183, Some(described(OPERATOR, "8")));
    early.pass(2_000, false, true);
    assert_eq!(early.rung(), [(183, true)], "what it said holds");
    let heard = early.heard_by_caller(Codec::Pcma);
    assert!(heard.len() >= 95 && heard[55..].iter().all(|(_, lowest)| *lowest < -4_000));

    let mut late = World::ringing();
    late.call.announcement = Some(Announcement::new(Arc::new(said())));
    late.rings(183, Some(described(OPERATOR, "8")));
    late.pass(500, false, true);
    assert!(late.forwarded[0].len() >= 24, "{}", late.forwarded[0].len());
    late.is_answered("8");
    let before = late.forwarded[0].len();
    late.pass(1_000, false, true);
    let heard = late.heard_by_caller(Codec::Pcma);
    assert!(
        heard[before + 1..before + 49]
            .iter()
            .all(|(_, lowest)| *lowest > 4_000)
    );
}

#[test]
fn a_caller_without_an_offer_hears_it_after_the_answer_and_one_who_gives_up_no_more() {
    let mut world = World::announcing_early(None);
    world.rings(180, None);
    world.wait(500);
    assert_eq!(world.rung(), [(180, false)]);
    world.is_answered("8");
    world.sip(SipEvent::OfferAnswered {
        party: Party::CALLER,
        answer: described(CALLER, "8"),
    });
    world.pass(1_100, true, true);
    assert!(world.forwarded[0].len() >= 50 && world.announced().len() == 1);

    let mut world = World::announcing_early(Some(described(CALLER, "8")));
    world.wait(300);
    world.sip(SipEvent::Cancelled {
        party: Party::CALLER,
    });
    let before = world.forwarded[0].len();
    world.wait(1_000);
    assert!(before >= 14 && world.forwarded[0].len() == before);
    assert!(world.summary.is_some() && world.announced().is_empty());
}
