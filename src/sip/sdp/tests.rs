//! Descriptions as peers write them, sound and broken.

use super::*;

const LOCAL: Local = Local {
    session: 7,
    version: 1,
    rtp: SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 9)), 4000),
    direction: Direction::SendRecv,
};
const OURS: [Codec; 2] = [Codec::Pcma, Codec::Pcmu];

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
            telephone_event: Some(101),
            direction: Direction::SendRecv,
            ptime: 20,
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
    assert_eq!(negotiate(&secure, &OURS), Err(SdpError::NoAudio));
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
