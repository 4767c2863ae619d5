//! A call's media: under keys, from attackers, between codecs, and what the record says of it.

use super::*;
use crate::rtp::dtmf;
use crate::rtp::srtp::{Protector, Unprotector};
use crate::sip::sdp::{Crypto, Protection};
use crate::transcript::LegMedia;

const KEY: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const OTHER_KEY: &str = "1 AES_CM_128_HMAC_SHA1_80 inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwd";

fn crypto(line: &str) -> Crypto {
    Crypto::parse(line).expect("a key")
}

fn secured(address: &str, formats: &str, key: &str) -> String {
    described(address, formats).replace("RTP/AVP", "RTP/SAVP") + &format!("a=crypto:{key}\r\n")
}

fn policy(protection: Protection) -> MediaPolicy {
    MediaPolicy {
        protection,
        ..MediaPolicy::default()
    }
}

fn voice(sequence: u16, payload_type: u8, ticks: u32, payload: &[u8]) -> Vec<u8> {
    Packet {
        payload_type,
        marker: false,
        sequence: WireSequence(sequence),
        timestamp: u32::from(sequence) * ticks,
        ssrc: 77,
        payload,
    }
    .to_datagram()
}

impl World {
    /// What the operator's phone was offered.
    fn invited(&self) -> Description {
        let offer = self
            .commands
            .iter()
            .rev()
            .find_map(|command| match command {
                SipCommand::Invite { offer, .. } => Some(offer),
                _ => None,
            });
        Description::parse(offer.expect("invited")).expect("a description")
    }

    /// What the caller was answered, or a leg's last offer.
    fn said_last(&self) -> Description {
        let text = self
            .commands
            .iter()
            .rev()
            .find_map(|command| match command {
                SipCommand::Answer {
                    answer: Some(answer),
                    ..
                }
                | SipCommand::AnswerOffer {
                    answer: Ok(answer), ..
                } => Some(answer),
                _ => None,
            });
        Description::parse(text.expect("answered")).expect("a description")
    }

    fn receive(&mut self, leg: Leg, source: &str, datagram: &[u8]) {
        let source = at(source);
        self.call.handle(
            self.now,
            Input::Rtp {
                leg,
                source,
                datagram,
            },
        );
        self.drain();
    }

    pub(super) fn quality(&self) -> Vec<LegMedia> {
        let media = self.told.iter().filter_map(|event| match event {
            TranscriptEvent::Media(media) => Some(*media),
            _ => None,
        });
        media.collect()
    }

    fn hang_up(&mut self) {
        self.sip(SipEvent::HungUp {
            party: Party::CALLER,
            cause: DialogEnd::Bye,
        });
        self.wait(1_000);
        self.ended_properly();
    }
}

/// A caller under keys and an operator in the clear, bridged.
fn half_secured() -> World {
    let offer = secured(CALLER, "8 101", KEY);
    let policies = [policy(Protection::Required), policy(Protection::Off)];
    let mut world = World::travelling(Some(offer), policies);
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    world
}

#[test]
fn a_secured_leg_is_bridged_to_one_in_the_clear_and_what_is_forged_goes_nowhere() {
    let mut world = half_secured();
    let offered = world.invited();
    assert!(offered.sections()[0].cryptos.is_empty());
    assert_eq!(offered.sections()[0].protocol, "RTP/AVP");
    let answered = world.said_last();
    assert_eq!(answered.sections()[0].protocol, "RTP/SAVP");
    let ours = answered.sections()[0].cryptos[0].clone();
    assert_eq!(ours.tag, 1);
    assert_ne!(ours.key.master(), crypto(KEY).key.master());

    let mut protector = Protector::new(&crypto(KEY).key);
    let mut wrong = Protector::new(&crypto(OTHER_KEY).key);
    for sequence in 0..50 {
        let plain = voice(sequence, 8, 160, &[0x55; 160]);
        let mut sound = plain.clone();
        protector.protect(&mut sound);
        let mut flipped = sound.clone();
        flipped[40] ^= 1;
        let mut foreign = plain.clone();
        wrong.protect(&mut foreign);
        // In the clear, changed on the way, under another key, cut short; then the real one, and a replay of it.
        for forged in [&plain, &flipped, &foreign, &sound[..30].to_vec()] {
            world.receive(Leg::Caller, CALLER, forged);
        }
        // What comes to the same port beside RTP bears no tag that could be wrong: STUN, DTLS, a keep-alive.
        let stun = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        for other in [&stun[..], &[22, 254, 253, 0, 0, 0, 0], b"\0"] {
            world.receive(Leg::Caller, CALLER, other);
        }
        assert_eq!(world.forwarded[1].len(), usize::from(sequence));
        world.receive(Leg::Caller, CALLER, &sound);
        world.receive(Leg::Caller, CALLER, &sound);
        assert_eq!(world.forwarded[1].len(), usize::from(sequence) + 1);
        world.wait(20);
    }
    let heard = Packet::parse(&world.forwarded[1][0]).expect("in the clear");
    assert_eq!((heard.payload_type, heard.payload), (8, &[0x55; 160][..]));

    // The other way: what reaches the caller opens with the key of our answer, and with no other.
    world.receive(Leg::Operator, OPERATOR, &voice(1, 8, 160, &[0xd5; 160]));
    let sent = world.forwarded[0][0].clone();
    let mut clear = Vec::new();
    assert!(Unprotector::new(ours.key, Vec::new()).unprotect(&sent, &mut clear));
    assert_eq!(
        Packet::parse(&clear).expect("a packet").payload,
        [0xd5; 160]
    );
    assert!(!Unprotector::new(crypto(KEY).key, Vec::new()).unprotect(&sent, &mut clear));

    assert!(world.summary.is_none(), "a forged packet never ends a call");
    world.hang_up();
    let quality = world.quality();
    assert_eq!((quality[0].received, quality[0].forged), (50, 5 * 50));
    assert_eq!((quality[0].lost, quality[1].strays), (0, 0));
}

#[test]
fn a_new_offer_with_the_same_key_goes_on_and_with_another_one_changes_it() {
    let mut world = half_secured();
    let first = world.said_last().sections()[0].cryptos[0].clone();
    let mut protector = Protector::new(&crypto(KEY).key);
    let speak = |world: &mut World, protector: &mut Protector, sequence: u16| {
        let before = world.forwarded[1].len();
        let mut sound = voice(sequence, 8, 160, &[0x55; 160]);
        protector.protect(&mut sound);
        world.receive(Leg::Caller, CALLER, &sound);
        world.wait(20);
        world.forwarded[1].len() - before
    };
    // Over the wrap of the sequence numbers: the rollover count must survive the new offer.
    assert_eq!(speak(&mut world, &mut protector, 65_534), 1);
    assert_eq!(speak(&mut world, &mut protector, 65_535), 1);
    assert_eq!(speak(&mut world, &mut protector, 0), 1);
    let reoffer = |world: &mut World, key: &str| {
        world.sip(SipEvent::Offered {
            party: Party::CALLER,
            offer: Some(secured(CALLER, "8 101", key)),
        });
    };
    reoffer(&mut world, KEY);
    assert_eq!(speak(&mut world, &mut protector, 1), 1);
    assert_eq!(
        world.said_last().sections()[0].cryptos[0].key.master(),
        first.key.master(),
        "our own key goes on"
    );
    reoffer(&mut world, OTHER_KEY);
    // What was on the way under the old key is still heard, until something comes under the new one.
    assert_eq!(speak(&mut world, &mut protector, 2), 1);
    let mut renewed = Protector::new(&crypto(OTHER_KEY).key);
    assert_eq!(speak(&mut world, &mut renewed, 3), 1);
    assert_eq!(speak(&mut world, &mut protector, 4), 0);
    assert_eq!(speak(&mut world, &mut renewed, 5), 1);
    // Without a key it is no offer for this leg.
    world.sip(SipEvent::Offered {
        party: Party::CALLER,
        offer: Some(described(CALLER, "8")),
    });
    assert!(matches!(
        world.commands.last(),
        Some(SipCommand::AnswerOffer {
            answer: Err(488),
            ..
        })
    ));
    assert_eq!(speak(&mut world, &mut renewed, 6), 1);
}

#[test]
fn keys_are_offered_to_the_operators_phone_as_the_policy_says() {
    for (protection, protocol, keys) in [
        (Protection::Off, "RTP/AVP", 0),
        (Protection::Optional, "RTP/AVP", 4),
        (Protection::Required, "RTP/SAVP", 4),
    ] {
        let policies = [MediaPolicy::default(), policy(protection)];
        let mut world = World::travelling(Some(described(CALLER, "8")), policies);
        let offered = world.invited();
        let section = &offered.sections()[0];
        assert_eq!(
            (section.protocol.as_str(), section.cryptos.len()),
            (protocol, keys)
        );
        let mut masters: Vec<_> = section
            .cryptos
            .iter()
            .map(|crypto| crypto.key.master().to_vec())
            .collect();
        masters.dedup();
        assert_eq!(masters.len(), keys);
        // The phone takes the last of them.
        let theirs = section.cryptos.last().cloned();
        let answer = match &theirs {
            Some(ours) => {
                let tag = ours.tag;
                let key = KEY.replacen('1', &tag.to_string(), 1);
                described(OPERATOR, "8").replace("RTP/AVP", protocol)
                    + &format!("a=crypto:{key}\r\n")
            }
            None => described(OPERATOR, "8"),
        };
        world.sip(SipEvent::Answered {
            party: Party::OPERATOR,
            answer,
        });
        world.receive(Leg::Caller, CALLER, &voice(1, 8, 160, &[0x55; 160]));
        let sent = world.forwarded[1].first().expect("forwarded").clone();
        let mut clear = sent.clone();
        if let Some(ours) = theirs {
            assert!(Unprotector::new(ours.key, Vec::new()).unprotect(&sent, &mut clear));
        }
        assert_eq!(
            Packet::parse(&clear).expect("a packet").payload,
            [0x55; 160]
        );
    }
    // A phone without keys where they are required is not bridged.
    let required = [MediaPolicy::default(), policy(Protection::Required)];
    let mut world = World::travelling(Some(described(CALLER, "8")), required);
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    assert_eq!(world.rejected(), Some(488));
    let required = [policy(Protection::Required), MediaPolicy::default()];
    let world = World::travelling(Some(described(CALLER, "8")), required);
    assert_eq!(world.rejected(), Some(488));
}

#[test]
fn a_phone_that_demands_keys_is_offered_them_in_the_secured_profile_ever_after() {
    let policies = [MediaPolicy::default(), policy(Protection::Optional)];
    let refusal = || SipEvent::Rejected {
        party: Party::OPERATOR,
        status: 488,
        reason: String::new(),
    };
    let mut world = World::travelling(Some(described(CALLER, "8")), policies);
    assert_eq!(world.invited().sections()[0].protocol, "RTP/AVP");
    world.sip(refusal());
    assert_eq!(world.rejected(), None);
    let offered = world.invited();
    assert_eq!(offered.sections()[0].protocol, "RTP/SAVP");
    let tag = offered.sections()[0].cryptos.last().expect("keys").tag;
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: secured(OPERATOR, "8", &KEY.replacen('1', &tag.to_string(), 1)),
    });
    world.sip(SipEvent::Offered {
        party: Party::CALLER,
        offer: Some(described(CALLER, "8") + "a=sendonly\r\n"),
    });
    let held = world.offered_to(Party::OPERATOR).expect("an offer");
    assert!(held.contains("RTP/SAVP"), "{held}");
    // Who refuses that too has other reasons.
    let mut world = World::travelling(Some(described(CALLER, "8")), policies);
    world.sip(refusal());
    world.sip(refusal());
    assert_eq!(world.rejected(), Some(488));
}

#[test]
fn a_stranger_gets_nothing_sent_elsewhere_until_it_has_acknowledged_our_answer() {
    for (signals_from, elsewhere) in [("192.0.2.66", true), ("198.51.100.7", false)] {
        let strange = MediaPolicy {
            signals_from: Some(signals_from.parse().expect("an address")),
            unproven: true,
            ..MediaPolicy::default()
        };
        let offer = Some(described(
            CALLER,
            "8 101\r\na=rtpmap:101 telephone-event/8000",
        ));
        let mut world = World::travelling(offer, [strange, MediaPolicy::default()]);
        let mut sequence = 0;
        let mut play = |world: &mut World| {
            let before = world.forwarded[0].len();
            for _ in 0..50 {
                sequence += 1;
                world.receive(
                    Leg::Operator,
                    OPERATOR,
                    &voice(sequence, 8, 160, &[0x12; 160]),
                );
                world.wait(20);
            }
            world.forwarded[0].len() - before
        };
        // Early media, the answer, and what the caller's own address seems to send change nothing.
        world.sip(SipEvent::Ringing {
            party: Party::OPERATOR,
            status: 183,
            answer: Some(described(OPERATOR, "8")),
        });
        let heard = if elsewhere { 0 } else { 50 };
        assert_eq!(play(&mut world), heard, "{signals_from}");
        world.sip(SipEvent::Answered {
            party: Party::OPERATOR,
            answer: described(OPERATOR, "8"),
        });
        world.receive(Leg::Caller, CALLER, &voice(1, 8, 160, &[0x12; 160]));
        assert_eq!(play(&mut world), heard, "{signals_from}");
        world.sip(SipEvent::Acknowledged {
            party: Party::CALLER,
        });
        assert_eq!(play(&mut world), 50, "{signals_from}");
    }
}

#[test]
fn rtp_bleed_gets_nothing_and_says_nothing_before_and_after_the_leg_is_heard() {
    const SAME_ADDRESS: &str = "198.51.100.7:31337";
    const ELSEWHERE: &str = "198.51.100.66:6000";
    let mut world = World::answered();
    let attack = |world: &mut World, count: u16| {
        for sequence in 0..count {
            for attacker in [SAME_ADDRESS, ELSEWHERE] {
                world.receive(Leg::Caller, attacker, &voice(sequence, 8, 160, &[0; 160]));
            }
            world.wait(10);
        }
    };
    attack(&mut world, 12);
    assert!(
        world.forwarded[1].is_empty(),
        "nothing of theirs is passed on"
    );
    // The operator speaks: it goes where the caller's description says, whoever has knocked.
    let spoken = voice(1, 8, 160, &[0xd5; 160]);
    world.call.handle(
        world.now,
        Input::Rtp {
            leg: Leg::Operator,
            source: at(OPERATOR),
            datagram: &spoken,
        },
    );
    assert_eq!(world.call.transmit().expect("forwarded").to, at(CALLER));
    world.receive(Leg::Caller, CALLER, &voice(9, 8, 160, &[0x55; 160]));
    assert_eq!(world.forwarded[1].len(), 1);
    attack(&mut world, 100);
    assert_eq!(world.forwarded[1].len(), 1);
    let spoken = voice(2, 8, 160, &[0xd5; 160]);
    world.call.handle(
        world.now,
        Input::Rtp {
            leg: Leg::Operator,
            source: at(OPERATOR),
            datagram: &spoken,
        },
    );
    assert_eq!(world.call.transmit().expect("forwarded").to, at(CALLER));
    world.hang_up();
    assert!(world.quality()[0].strays >= 200);
}

#[test]
fn legs_without_a_common_codec_hear_each_other_and_are_heard() {
    let offer = described(CALLER, "111\r\na=rtpmap:111 opus/48000/2");
    let mut world = World::offered(Some(offer));
    let offered = world.invited().codecs();
    assert_eq!(offered[0], Codec::Opus, "what the caller has comes first");
    assert!(offered.contains(&Codec::Pcma));
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    assert_eq!(world.said_last().codecs(), [Codec::Opus]);
    let mut encoder = Encoder::new(Codec::Opus);
    for sequence in 0..150_u16 {
        let samples: Vec<i16> = (0..320)
            .map(|i| {
                let at = f32::from(sequence) * 320.0 + i as f32;
                let aloud = if sequence < 100 { 8_000.0 } else { 0.0 };
                (aloud * (at * 440.0 * std::f32::consts::TAU / 16_000.0).sin()) as i16
            })
            .collect();
        let payload = encoder.encode(&samples);
        world.receive(Leg::Caller, CALLER, &voice(sequence, 111, 960, &payload));
        world.wait(20);
    }
    assert_eq!(world.forwarded[1].len(), 150);
    let packet = Packet::parse(&world.forwarded[1][50]).expect("a packet");
    assert_eq!((packet.payload_type, packet.payload.len()), (8, 160));
    assert_eq!(world.final_lines().len(), 1, "and recognition heard it");
    let line = world.final_lines()[0];
    assert!((1_800..2_300).contains(&line.end.as_millis()), "{line:?}");
}

#[test]
fn a_codec_that_both_have_is_taken_even_where_the_phone_likes_another_one_best() {
    let mut world = World::offered(Some(described(CALLER, "0 8")));
    assert_eq!(world.invited().codecs()[..2], [Codec::Pcmu, Codec::Pcma]);
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "9 8"),
    });
    assert_eq!(world.said_last().codecs(), [Codec::Pcma]);
    world.receive(Leg::Caller, CALLER, &voice(1, 8, 160, &[0x12; 160]));
    let packet = world.forwarded[1][0].clone();
    assert_eq!(
        Packet::parse(&packet).expect("a packet").payload,
        [0x12; 160]
    );
}

#[test]
fn silence_suppression_keeps_the_timeline_and_comfort_noise_goes_where_it_is_known() {
    let mut world = World::offered(Some(described(CALLER, "8 13")));
    assert!(world.invited().sections()[0].has_comfort_noise());
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    let mut encoder = Encoder::new(Codec::Pcma);
    let mut sequence = 0;
    for step in 0..400_u32 {
        // Two seconds of tone, four of silence that is described once, two of tone.
        let aloud = !(100..300).contains(&step);
        let samples: Vec<i16> = (0..160)
            .map(|i| {
                let at = (step * 160 + i) as f32;
                (8_000.0 * (at * 440.0 * std::f32::consts::TAU / 8_000.0).sin()) as i16
            })
            .collect();
        let payload = encoder.encode(&samples);
        let (payload_type, payload) = if aloud {
            (8, &payload[..])
        } else {
            (13, &[40][..])
        };
        if aloud || step == 100 {
            let packet = Packet {
                payload_type,
                marker: step == 300,
                sequence: WireSequence(sequence),
                timestamp: step * 160,
                ssrc: 77,
                payload,
            };
            sequence += 1;
            world.receive(Leg::Caller, CALLER, &packet.to_datagram());
        }
        world.wait(20);
    }
    world.wait(1_500);
    let spans: Vec<_> = world
        .final_lines()
        .iter()
        .map(|line| (line.start.as_millis(), line.end.as_millis()))
        .collect();
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert!(spans[0].1 < 2_400 && spans[1].0 > 5_500, "{spans:?}");
    // The operator's phone has no comfort noise: to it, nothing was lost and the clock went on.
    let forwarded: Vec<_> = world.forwarded[1]
        .iter()
        .map(|datagram| Packet::parse(datagram).expect("a packet"))
        .collect();
    assert!(forwarded.iter().all(|packet| packet.payload_type == 8));
    assert!(
        forwarded
            .windows(2)
            .all(|pair| { pair[1].sequence.0 == pair[0].sequence.0.wrapping_add(1) })
    );
    let pause = forwarded[100]
        .timestamp
        .wrapping_sub(forwarded[99].timestamp);
    assert_eq!(pause, 201 * 160);
}

#[test]
fn packet_times_that_a_leg_wishes_are_made_for_it() {
    let mut world = World::offered(Some(described(CALLER, "8")));
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8\r\na=ptime:40"),
    });
    for sequence in 0..100 {
        world.receive(Leg::Caller, CALLER, &voice(sequence, 8, 160, &[0x55; 160]));
        world.wait(20);
    }
    let lengths: Vec<usize> = world.forwarded[1]
        .iter()
        .map(|datagram| Packet::parse(datagram).expect("a packet").payload.len())
        .collect();
    assert!(
        lengths[2..].iter().all(|length| *length == 320),
        "{lengths:?}"
    );
    assert!((50..=52).contains(&lengths.len()), "{}", lengths.len());
}

#[test]
fn a_key_that_is_pressed_reaches_the_other_leg_under_its_number() {
    let offer = described(CALLER, "8 101\r\na=rtpmap:101 telephone-event/8000");
    let mut world = World::offered(Some(offer));
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8 96\r\na=rtpmap:96 telephone-event/8000"),
    });
    world.receive(Leg::Caller, CALLER, &voice(0, 8, 160, &[0x55; 160]));
    for (sequence, end) in [(1, false), (2, false), (3, true), (4, true)] {
        let event = dtmf::Event {
            event: 7,
            end,
            volume: 10,
            duration: 480,
        };
        let packet = Packet {
            payload_type: 101,
            marker: sequence == 1,
            sequence: WireSequence(sequence),
            timestamp: 160,
            ssrc: 77,
            payload: &event.to_payload(),
        };
        world.receive(Leg::Caller, CALLER, &packet.to_datagram());
        world.wait(20);
    }
    let events: Vec<_> = world.forwarded[1]
        .iter()
        .map(|datagram| Packet::parse(datagram).expect("a packet"))
        .filter(|packet| packet.payload_type == 96)
        .collect();
    assert_eq!(events.len(), 4);
    assert!(
        events
            .iter()
            .all(|packet| packet.timestamp == events[0].timestamp)
    );
}

#[test]
fn the_record_says_how_each_legs_sound_travelled() {
    let mut world = World::answered();
    world.network = LossyNetwork::new(5, 0.1, 5 * MS);
    world.pass(4_000, true, true);
    world.wait(100);
    world.hang_up();
    let quality = world.quality();
    assert_eq!(quality.len(), 2);
    for (media, leg) in quality.iter().zip(LEGS) {
        assert_eq!(media.leg, leg);
        assert!(media.lost > 5 && media.lost < 40, "{media:?}");
        assert_eq!(media.received + media.lost, 200);
        assert!(
            media.jitter_us > 200 && media.jitter_us < 20_000,
            "{media:?}"
        );
        assert!(media.mos > 1.0 && media.mos < 4.3, "{media:?}");
        assert!(media.sent > 150, "{media:?}");
        assert_eq!((media.reported_lost, media.round_trip_us), (None, None));
    }
    // The sound that travelled is told before the call is over.
    assert!(matches!(
        world.told.last(),
        Some(TranscriptEvent::CallFinal { .. })
    ));
}

#[test]
fn over_bad_networks_whatever_arrives_under_keys_goes_on_once() {
    for seed in 0..8 {
        let mut world = half_secured();
        let mut network = LossyNetwork::new(seed, 0.05, 10 * seed as u32 * MS);
        let mut protector = Protector::new(&crypto(KEY).key);
        let mut arrivals = Vec::new();
        for step in 0..400_u32 {
            // Over the wrap, so that the rollover count is guessed right in spite of the disorder.
            let mut sound = voice(65_400_u16.wrapping_add(step as u16), 8, 160, &[0x55; 160]);
            protector.protect(&mut sound);
            let sent = world.now + step * 20 * MS;
            // Twice on its way, as some networks have it.
            for arrival in [network.carry(sent), network.carry(sent)]
                .into_iter()
                .flatten()
            {
                arrivals.push((arrival, step, sound.clone()));
            }
        }
        arrivals.sort();
        let mut steps: Vec<u32> = arrivals.iter().map(|(_, step, _)| *step).collect();
        steps.sort_unstable();
        steps.dedup();
        for (arrival, _, sound) in &arrivals {
            world.now = *arrival;
            world.receive(Leg::Caller, CALLER, sound);
        }
        assert_eq!(world.forwarded[1].len(), steps.len(), "seed {seed}");
    }
}

#[test]
fn over_bad_networks_a_transcoded_stream_keeps_its_time() {
    for seed in 0..8 {
        let offer = described(CALLER, "111\r\na=rtpmap:111 opus/48000/2");
        let mut world = World::offered(Some(offer));
        world.sip(SipEvent::Answered {
            party: Party::OPERATOR,
            answer: described(OPERATOR, "8"),
        });
        let mut network = LossyNetwork::new(seed, 0.05, 5 * seed as u32 * MS);
        let mut encoder = Encoder::new(Codec::Opus);
        let mut arrivals: Vec<_> = (0..300_u32)
            .filter_map(|step| {
                let payload = encoder.encode(&[1_000; 320]);
                let sound = voice(step as u16, 111, 960, &payload);
                Some((network.carry(world.now + step * 20 * MS)?, sound))
            })
            .collect();
        arrivals.sort();
        for (arrival, sound) in &arrivals {
            world.now = *arrival;
            world.receive(Leg::Caller, CALLER, sound);
        }
        let sent: Vec<_> = world.forwarded[1]
            .iter()
            .map(|datagram| Packet::parse(datagram).expect("a packet"))
            .collect();
        assert!(sent.len() > 230, "seed {seed}: {}", sent.len());
        for pair in sent.windows(2) {
            let packets = u32::from(pair[1].sequence.0.wrapping_sub(pair[0].sequence.0));
            let ticks = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            // What is missing is missing in both counts alike.
            assert_eq!(ticks, packets * 160, "seed {seed}");
        }
        let whole = sent[sent.len() - 1]
            .timestamp
            .wrapping_sub(sent[0].timestamp);
        assert!(whole >= 290 * 160, "seed {seed}: {whole}");
    }
}

#[test]
fn a_key_told_by_info_is_pressed_in_the_stream_of_a_leg_that_takes_it_there() {
    let mut world = World::ringing();
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8 96\r\na=rtpmap:96 telephone-event/8000"),
    });
    world.receive(Leg::Caller, CALLER, &voice(0, 8, 160, &[0x55; 160]));
    world.sip(SipEvent::Keyed {
        party: Party::CALLER,
        key: '#',
        millis: 160,
    });
    for sequence in 1..20 {
        world.receive(Leg::Caller, CALLER, &voice(sequence, 8, 160, &[0x55; 160]));
        world.wait(20);
    }
    let packets: Vec<_> = world.forwarded[1]
        .iter()
        .map(|datagram| Packet::parse(datagram).expect("a packet"))
        .collect();
    let events: Vec<_> = packets
        .iter()
        .filter(|packet| packet.payload_type == 96)
        .map(|packet| dtmf::Event::parse(packet.payload).expect("an event"))
        .collect();
    assert_eq!(events.len(), 10);
    assert!(events.iter().all(|event| event.event == 11));
    assert_eq!(events.iter().filter(|event| event.end).count(), 3);
    assert_eq!(events.last().map(|event| event.duration), Some(1_280));
    assert!(
        packets
            .windows(2)
            .all(|pair| { pair[1].sequence.0 == pair[0].sequence.0.wrapping_add(1) })
    );
    assert!(
        !world
            .commands
            .iter()
            .any(|command| matches!(command, SipCommand::Key { .. }))
    );
}

#[test]
fn a_key_of_the_stream_is_told_once_by_info_to_a_leg_that_takes_none_there() {
    let mut world = World::answered();
    for (sequence, end) in [(1, false), (2, false), (3, true), (4, true), (5, true)] {
        let event = dtmf::Event {
            event: 7,
            end,
            volume: 10,
            duration: 800,
        };
        let packet = Packet {
            payload_type: 101,
            marker: sequence == 1,
            sequence: WireSequence(sequence),
            timestamp: 160,
            ssrc: 77,
            payload: &event.to_payload(),
        };
        world.receive(Leg::Caller, CALLER, &packet.to_datagram());
        world.wait(20);
    }
    world.wait(500);
    let told: Vec<_> = world
        .commands
        .iter()
        .filter(|command| matches!(command, SipCommand::Key { .. }))
        .collect();
    assert_eq!(
        told,
        [&SipCommand::Key {
            party: Party::OPERATOR,
            key: '7',
            millis: 100
        }]
    );
}

#[test]
fn a_leg_whose_transport_knows_its_peer_moves_without_a_new_offer() {
    let known = MediaPolicy {
        latching: Latching::Transport,
        ..MediaPolicy::default()
    };
    let offer = described(CALLER, "8\r\na=rtcp-mux");
    let mut world = World::travelling(Some(offer), [known, MediaPolicy::default()]);
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    let places = [CALLER, "203.0.113.200:40000", "[2001:db8::7]:9", CALLER];
    for (sequence, place) in (0..).zip(places) {
        let before = world.forwarded[1].len();
        world.receive(Leg::Caller, place, &voice(sequence, 8, 160, &[0x55; 160]));
        assert_eq!(world.forwarded[1].len(), before + 1, "{place}");
        // What goes to the leg follows it at once.
        let datagram = voice(sequence, 8, 160, &[0xd5; 160]);
        let rtp = Input::Rtp {
            leg: Leg::Operator,
            source: at(OPERATOR),
            datagram: &datagram,
        };
        world.call.handle(world.now, rtp);
        let sent = world.call.transmit().expect("forwarded");
        assert_eq!(
            (sent.leg, sent.rtcp, sent.to),
            (Leg::Caller, false, at(place))
        );
        world.wait(20);
    }
    // Its reports come and go beside the sound, from and to wherever it is.
    world.receive(Leg::Caller, "203.0.113.9:1", &[0x80, 201, 0, 1, 0, 0, 0, 7]);
    world.wait(10_000);
    assert!(world.forwarded[0].iter().any(|sent| rtcp::is_rtcp(sent)));
    world.hang_up();
    assert_eq!(world.quality()[0].strays, 0);
}
