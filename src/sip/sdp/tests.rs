//! Descriptions as peers write them, sound and broken.

use std::net::IpAddr;

use super::*;

const LOCAL: Local = Local {
    session: 7,
    version: 1,
    rtp: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)), 4000),
    direction: Direction::SendRecv,
};
const OURS: [Codec; 2] = [Codec::Pcma, Codec::Pcmu];
const EVENT: Format = Format {
    payload_type: 101,
    content: Content::Event,
    clock: Frequency::HZ_8000,
};
const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

fn parse(text: &str) -> Description {
    Description::parse(text).expect("a description")
}

fn described(media: &str) -> Description {
    parse(&format!(
        "v=0\r\no=- 1 1 IN IP4 198.51.100.7\r\ns=-\r\nc=IN IP4 198.51.100.7\r\nt=0 0\r\n{media}"
    ))
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn an_offer_is_read_back_as_it_was_written() {
    let agreed = negotiate(&parse(&offer(&LOCAL, &OURS)), &OURS).expect("agreed");
    assert_eq!(
        agreed,
        Negotiated {
            stream: 0,
            remote: LOCAL.rtp,
            remote_rtcp: at("192.0.2.9:4001"),
            rtcp_mux: false,
            codec: Codec::Pcma,
            payload_type: 8,
            telephone_event: Some(EVENT),
            comfort_noise: None,
            receives: vec![
                Format::sound(8, Codec::Pcma),
                Format::sound(0, Codec::Pcmu),
                EVENT
            ],
            direction: Direction::SendRecv,
            ptime: 20,
            ptime_is_wish: true,
            max_ptime: None,
            crypto: None,
            is_secured: false,
            label: None,
        }
    );
}

#[test]
fn static_payload_types_need_no_rtpmap_and_lines_may_end_in_lf() {
    let description = parse(
        "v=0\no=- 1 1 IN IP4 10.0.0.1\ns=-\nc=IN IP4 10.0.0.1\nt=0 0\nm=audio 6000 RTP/AVP 0 8\n",
    );
    assert_eq!(description.codecs(), [Codec::Pcmu, Codec::Pcma]);
    let agreed = negotiate(&description, &OURS).expect("agreed");
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::Pcma, 8));
    assert_eq!(agreed.telephone_event, None);
}

#[test]
fn dynamic_payload_types_are_answered_with_the_peers_numbers() {
    let theirs = described(
        "m=audio 6000 RTP/AVP 97 110\r\na=rtpmap:97 pcmu/8000/1\r\na=rtpmap:110 telephone-event/8000\r\na=fmtp:110 0-16\r\n",
    );
    let agreed = negotiate(&theirs, &OURS).expect("agreed");
    let ours = answer(&theirs, &agreed, &LOCAL);
    assert!(
        ours.contains("m=audio 4000 RTP/AVP 97 110\r\na=rtpmap:97 PCMU/8000\r\n"),
        "{ours}"
    );
}

#[test]
fn a_payload_type_that_was_remapped_is_not_taken_for_the_static_one() {
    let theirs = described("m=audio 6000 RTP/AVP 8\r\na=rtpmap:8 opus/48000/2\r\n");
    assert_eq!(negotiate(&theirs, &OURS), Err(SdpError::NoCommonCodec));
}

#[test]
fn the_operators_choice_decides_what_the_caller_is_answered() {
    let caller = described("m=audio 6000 RTP/AVP 8 0\r\n");
    let operator = described("m=audio 7000 RTP/AVP 0\r\n");
    let chosen = negotiate(&operator, &operator.codecs())
        .expect("agreed")
        .codec;
    let mut preferred = vec![chosen];
    preferred.extend(OURS);
    assert_eq!(
        negotiate(&caller, &preferred).expect("agreed").codec,
        Codec::Pcmu
    );
}

#[test]
fn no_common_codec_and_no_audio_are_488_and_nonsense_is_400() {
    let opus = described("m=audio 6000 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\n");
    assert_eq!(negotiate(&opus, &OURS).expect_err("refused").status(), 488);
    let video = described("m=video 6000 RTP/AVP 96\r\n");
    assert_eq!(negotiate(&video, &OURS), Err(SdpError::NoAudio));
    let secure = described("m=audio 6000 RTP/SAVP 8\r\n");
    assert_eq!(negotiate(&secure, &OURS), Err(SdpError::OnlySecured));
    assert_eq!(
        Description::parse("hello").expect_err("refused").status(),
        400
    );
}

#[test]
fn other_streams_are_answered_with_port_zero_in_their_places() {
    let theirs = described(
        "m=video 5000 RTP/AVP 96 97\r\nm=audio 6000 RTP/AVP 8\r\nm=application 9 UDP/BFCP *\r\nm=audio 6100 RTP/AVP 8\r\n",
    );
    let agreed = negotiate(&theirs, &OURS).expect("agreed");
    assert_eq!(agreed.stream, 1);
    let ours = answer(&theirs, &agreed, &LOCAL);
    let media: Vec<_> = ours.lines().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(
        media,
        [
            "m=video 0 RTP/AVP 96",
            "m=audio 4000 RTP/AVP 8",
            "m=application 0 UDP/BFCP *",
            "m=audio 0 RTP/AVP 8"
        ]
    );
}

#[test]
fn hold_in_each_of_its_forms_lets_us_send_nothing() {
    for (media, direction, written) in [
        (
            "m=audio 6000 RTP/AVP 8\r\na=sendonly\r\n",
            Direction::RecvOnly,
            "a=recvonly",
        ),
        (
            "m=audio 6000 RTP/AVP 8\r\na=inactive\r\n",
            Direction::Inactive,
            "a=inactive",
        ),
        (
            "m=audio 6000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\n",
            Direction::RecvOnly,
            "a=recvonly",
        ),
        (
            "m=audio 6000 RTP/AVP 8\r\nc=IN IP4 0.0.0.0\r\na=inactive\r\n",
            Direction::Inactive,
            "a=inactive",
        ),
    ] {
        let theirs = described(media);
        let agreed = negotiate(&theirs, &OURS).expect("agreed");
        assert_eq!(agreed.direction, direction, "{media}");
        assert!(
            answer(&theirs, &agreed, &LOCAL).contains(written),
            "{media}"
        );
    }
    let listening = described("m=audio 6000 RTP/AVP 8\r\na=recvonly\r\n");
    let agreed = negotiate(&listening, &OURS).expect("agreed");
    assert_eq!(agreed.direction, Direction::SendOnly);
}

#[test]
fn a_streams_own_lines_beat_those_of_the_session() {
    let theirs = parse(
        "v=0\r\nc=IN IP4 10.0.0.1\r\na=inactive\r\nm=audio 6000 RTP/AVP 8\r\nc=IN IP6 2001:db8::5\r\na=sendrecv\r\n",
    );
    let agreed = negotiate(&theirs, &OURS).expect("agreed");
    assert_eq!(agreed.remote, at("[2001:db8::5]:6000"));
    assert_eq!(agreed.direction, Direction::SendRecv);
}

#[test]
fn rtcp_goes_where_the_peer_says() {
    for (attributes, rtcp) in [
        ("", "198.51.100.7:6001"),
        ("a=rtcp:6100\r\n", "198.51.100.7:6100"),
        ("a=rtcp:6100 IN IP4 203.0.113.4\r\n", "203.0.113.4:6100"),
        ("a=rtcp-mux\r\n", "198.51.100.7:6000"),
    ] {
        let theirs = described(&format!("m=audio 6000 RTP/AVP 8\r\n{attributes}"));
        let agreed = negotiate(&theirs, &OURS).expect("agreed");
        assert_eq!(agreed.remote_rtcp, at(rtcp), "{attributes}");
        let ours = answer(&theirs, &agreed, &LOCAL);
        assert_eq!(ours.contains("a=rtcp-mux"), attributes.contains("mux"));
    }
}

#[test]
fn a_name_instead_of_an_address_is_refused_only_when_it_is_needed() {
    let named = parse("v=0\r\nc=IN IP4 phone.example\r\nm=audio 6000 RTP/AVP 8\r\n");
    assert_eq!(negotiate(&named, &OURS), Err(SdpError::NoAddress));
    let both =
        parse("v=0\r\nc=IN IP4 phone.example\r\nm=audio 6000 RTP/AVP 8\r\nc=IN IP4 10.0.0.1\r\n");
    assert!(negotiate(&both, &OURS).is_ok());
}

#[test]
fn odd_packet_times_become_twenty_milliseconds() {
    for (said, ptime) in [("30", 30), ("20.0", 20), ("0", 20), ("250", 20), ("x", 20)] {
        let theirs = described(&format!("m=audio 6000 RTP/AVP 8\r\na=ptime:{said}\r\n"));
        assert_eq!(
            negotiate(&theirs, &OURS).expect("agreed").ptime,
            ptime,
            "{said}"
        );
    }
}

#[test]
fn every_stream_of_a_recorded_session_is_taken_by_its_label() {
    let theirs = described(
        "m=audio 6000 RTP/AVP 8\r\na=sendonly\r\na=label:caller\r\na=ssrc:77 cname:x\r\nm=video 6050 RTP/AVP 96\r\nm=audio 6100 RTP/AVP 0 8\r\nc=IN IP6 2001:db8::7\r\na=label:2\r\na=inactive\r\n",
    );
    let seen: Vec<_> = theirs
        .sections()
        .iter()
        .map(|section| {
            (
                section.label.as_deref(),
                section.address,
                section.port,
                section.direction(),
                section.sounds().next().map(|(codec, _)| codec),
                section.ssrc,
            )
        })
        .collect();
    let v4 = LOCAL.rtp.ip().is_ipv4().then(|| at("198.51.100.7:1").ip());
    assert_eq!(
        seen,
        [
            (
                Some("caller"),
                v4,
                6_000,
                Direction::SendOnly,
                Some(Codec::Pcma),
                Some(77)
            ),
            (None, v4, 6_050, Direction::SendRecv, None, None),
            (
                Some("2"),
                Some(at("[2001:db8::7]:1").ip()),
                6_100,
                Direction::Inactive,
                Some(Codec::Pcmu),
                None
            ),
        ]
    );
    let agreed: Vec<Negotiated> = [0, 2]
        .into_iter()
        .map(|index| negotiate_section(&theirs, index, &OURS, Protection::Off).expect("agreed"))
        .collect();
    let second = Local {
        rtp: at("192.0.2.9:4002"),
        ..LOCAL
    };
    let accepted: Vec<Accepted> = agreed
        .iter()
        .zip([&LOCAL, &second])
        .map(|(agreed, local)| Accepted {
            agreed,
            local,
            crypto: None,
        })
        .collect();
    let ours = parse(&answer_all(&theirs, &LOCAL, &accepted));
    let answered: Vec<_> = ours
        .sections()
        .iter()
        .map(|section| (section.kind.as_str(), section.port, section.direction()))
        .collect();
    assert_eq!(
        answered,
        [
            ("audio", 4_000, Direction::RecvOnly),
            ("video", 0, Direction::SendRecv),
            ("audio", 4_002, Direction::Inactive),
        ]
    );
    assert_eq!(
        negotiate_section(&theirs, 1, &OURS, Protection::Off),
        Err(SdpError::NoAudio)
    );
}

#[test]
fn what_comes_under_our_own_numbers_is_taken_beside_the_peers() {
    let theirs = described(
        "m=audio 6000 RTP/AVP 96 100\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:100 telephone-event/48000\r\n",
    );
    let agreed = negotiate(&theirs, &[Codec::Opus]).expect("agreed");
    assert_eq!((agreed.codec, agreed.payload_type), (Codec::Opus, 96));
    let numbers: Vec<u8> = agreed
        .receives
        .iter()
        .map(|format| format.payload_type)
        .collect();
    assert_eq!(numbers, [96, 100, 111, 110]);
    assert_eq!(
        agreed
            .telephone_event
            .map(|event| (event.payload_type, event.clock)),
        Some((100, Frequency::HZ_48000))
    );
    // The peer means comfort noise by what we would offer for Opus: its meaning holds.
    let theirs = described(
        "m=audio 6000 RTP/AVP 96 111\r\na=rtpmap:96 opus/48000/2\r\na=rtpmap:111 CN/16000\r\n",
    );
    let agreed = negotiate(&theirs, &[Codec::Opus]).expect("agreed");
    assert!(!agreed.receives.contains(&Format::sound(111, Codec::Opus)));
}

#[test]
fn key_presses_follow_the_clock_of_the_codec() {
    let theirs = described(
        "m=audio 6000 RTP/AVP 111 8 101 110\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:101 telephone-event/8000\r\na=rtpmap:110 telephone-event/48000\r\n",
    );
    for (codec, event) in [(Codec::Opus, 110), (Codec::Pcma, 101)] {
        let agreed = negotiate(&theirs, &[codec]).expect("agreed");
        assert_eq!(
            agreed.telephone_event.map(|event| event.payload_type),
            Some(event)
        );
    }
    let ours = offer(&LOCAL, &[Codec::Opus, Codec::Pcma]);
    assert!(
        ours.contains("m=audio 4000 RTP/AVP 111 8 101 110\r\n"),
        "{ours}"
    );
    assert!(ours.contains("a=rtpmap:111 opus/48000/2\r\n"), "{ours}");
}

#[test]
fn comfort_noise_is_answered_where_it_is_offered() {
    let theirs = described("m=audio 6000 RTP/AVP 8 13\r\n");
    let agreed = negotiate(&theirs, &OURS).expect("agreed");
    assert_eq!(agreed.comfort_noise, Some(13));
    assert!(answer(&theirs, &agreed, &LOCAL).contains("m=audio 4000 RTP/AVP 8 13\r\n"));
}

#[test]
fn keys_are_taken_and_answered_as_the_policy_says() {
    use Protection::{Impossible, Off, Optional, Required};
    let line = format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n");
    let unknown = "a=crypto:1 F8_128_HMAC_SHA1_80 inline:AAAA\r\n";
    let plain = described("m=audio 6000 RTP/AVP 8\r\n");
    let either = described(&format!("m=audio 6000 RTP/AVP 8\r\n{unknown}{line}"));
    let only = described(&format!("m=audio 6000 RTP/SAVP 8\r\n{unknown}{line}"));
    let keyless = described(&format!("m=audio 6000 RTP/SAVP 8\r\n{unknown}"));
    let both = described(&format!(
        "m=audio 6000 RTP/AVP 8\r\nm=audio 6100 RTP/SAVP 8\r\n{line}"
    ));
    for (theirs, protection, expected) in [
        (&plain, Off, Ok(false)),
        (&plain, Optional, Ok(false)),
        (&plain, Required, Err(SdpError::NotSecured)),
        (&either, Off, Ok(false)),
        (&either, Optional, Ok(true)),
        (&either, Required, Ok(true)),
        (&only, Off, Err(SdpError::OnlySecured)),
        (&only, Optional, Ok(true)),
        (&keyless, Optional, Err(SdpError::OnlySecured)),
        (&keyless, Required, Err(SdpError::NotSecured)),
        (&only, Impossible, Err(SdpError::NotSecured)),
        (&plain, Impossible, Err(SdpError::NotSecured)),
        (&both, Off, Ok(false)),
        (&both, Optional, Ok(true)),
        (&both, Required, Ok(true)),
    ] {
        let found = negotiate_protected(theirs, &OURS, protection);
        assert_eq!(found.map(|agreed| agreed.crypto.is_some()), expected);
    }
    let agreed = negotiate_protected(&only, &OURS, Optional).expect("agreed");
    let own = Crypto {
        tag: agreed.crypto.as_ref().expect("a key").tag,
        ..Crypto::parse(&format!("9 AES_CM_128_HMAC_SHA1_80 inline:{KEY}")).expect("a line")
    };
    let accepted = Accepted {
        agreed: &agreed,
        local: &LOCAL,
        crypto: Some(&own),
    };
    let ours = answer_all(&only, &LOCAL, &[accepted]);
    assert!(ours.contains("m=audio 4000 RTP/SAVP 8\r\n"), "{ours}");
    assert!(
        ours.contains(&format!(
            "a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
        )),
        "{ours}"
    );
}

#[test]
fn broken_attributes_are_as_good_as_not_there() {
    let theirs = described(
        "m=video 5000 RTP/AVP 96\r\na=rtpmap:96 H264/90000/\r\na=rtcp:x\r\nm=audio 6000 RTP/AVP 8 0\r\na=rtpmap:8\r\na=rtcp:99999\r\na=ssrc:\r\na=crypto:\r\na=maxptime:-1\r\na=label\r\n",
    );
    let agreed = negotiate(&theirs, &OURS).expect("agreed");
    assert_eq!((agreed.codec, agreed.stream), (Codec::Pcma, 1));
    assert_eq!(agreed.remote_rtcp, at("198.51.100.7:6001"));
}

#[test]
fn addresses_of_the_newer_kind_are_written_as_they_are_read() {
    let local = Local {
        rtp: at("[2001:db8::9]:4000"),
        ..LOCAL
    };
    let text = offer(&local, &OURS);
    assert!(text.contains("c=IN IP6 2001:db8::9\r\n"), "{text}");
    let agreed = negotiate(&parse(&text), &OURS).expect("agreed");
    assert_eq!(agreed.remote, local.rtp);
}

#[test]
fn the_most_that_a_packet_may_last_is_read() {
    let theirs = described("m=audio 6000 RTP/AVP 8\r\na=maxptime:40\r\n");
    let agreed = negotiate(&theirs, &OURS).expect("agreed");
    assert_eq!(
        (agreed.max_ptime, agreed.ptime, agreed.ptime_is_wish),
        (Some(40), 20, false)
    );
}

#[test]
fn an_endless_description_is_refused() {
    let streams = "m=audio 6000 RTP/AVP 8\r\n".repeat(17);
    assert!(Description::parse(&format!("v=0\r\n{streams}")).is_err());
    assert!(Description::parse(&format!("v=0\r\n{}", "a=x\r\n".repeat(10_000))).is_err());
}

#[test]
fn damaged_descriptions_are_refused_or_read_and_never_panic() {
    let whole = "v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=电话\r\nc=IN IP4 1.2.3.4\r\nt=0 0\r\nm=audio 6000/2 RTP/AVP 8 0 101\r\na=rtpmap:101 telephone-event/8000\r\na=rtcp:6001 IN IP4 1.2.3.4\r\na=ptime:20\r\n";
    for end in 0..whole.len() {
        for junk in ["", ":", "/", " ", "99999999999"] {
            let Some(start) = whole.get(..end) else {
                continue;
            };
            if let Ok(description) = Description::parse(&format!("{start}{junk}")) {
                let _ = negotiate(&description, &OURS);
            }
        }
    }
    for media in ["m=audio 65535 RTP/AVP 8", "m=audio 6000 RTP/AVP 300 -1 8"] {
        assert!(negotiate(&described(media), &OURS).is_ok());
    }
}
