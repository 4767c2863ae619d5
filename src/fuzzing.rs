//! What peers may send us, however broken: one body a fuzz target of `fuzz/`, and the same bodies under a bounded
//! mutation test.
//!
//! A target fails by a panic. It takes any bytes; those for streams of packets are cut by their own first octets.

use std::time::{Duration, Instant, SystemTime};

use crate::audio::codec::Codec;
use crate::audio::{Frequency, MediaTime};
use crate::rtp::dtmf::{Detector, Dialer, Event};
use crate::rtp::forward::{Forwarder, Outgoing};
use crate::rtp::listen::ListenBuffer;
use crate::rtp::rtcp::{self, Reports, Sent};
use crate::rtp::srtp::{Key, Suite, Unprotector};
use crate::rtp::stats::StreamStats;
use crate::rtp::{Content, Format, Packet, WireSequence};
use crate::sip::sdp::{self, Accepted, Crypto, Description, Direction, Local, Protection, Terms};
use crate::sip::siprec::{Clues, Recording};
use crate::sip::{Body, digest};

/// A fuzz target.
pub struct Target {
    /// As `fuzz/` calls it.
    pub name: &'static str,
    /// What it does with an input.
    pub run: fn(&[u8]),
    /// Good inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "sip",
        run: sip,
        seeds: sip_seeds,
    },
    Target {
        name: "sdp",
        run: sdp,
        seeds: sdp_seeds,
    },
    Target {
        name: "rtp",
        run: rtp,
        seeds: rtp_seeds,
    },
    Target {
        name: "rtcp",
        run: rtcp,
        seeds: rtcp_seeds,
    },
    Target {
        name: "telephone_event",
        run: telephone_event,
        seeds: telephone_event_seeds,
    },
    Target {
        name: "siprec",
        run: siprec,
        seeds: siprec_seeds,
    },
];

const CODECS: [Codec; 4] = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];
const OPUS: u8 = 96;
const EVENT: Format = Format {
    payload_type: 101,
    content: Content::Event,
    clock: Frequency::HZ_8000,
};
/// How far the timeline of what is heard may be ahead of the clock: what may wait, and the longest packet.
const MOST_AHEAD: Duration = Duration::from_secs(10);

/// The adapter's reading of SIP, the stack's parser behind it included.
pub fn sip(bytes: &[u8]) {
    crate::gateway::sip::fuzz::read(bytes);
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines() {
        if let Some(challenge) = digest::Challenge::parse(line) {
            let _ = challenge.answer(
                ("hotline", "secret"),
                "INVITE",
                "sip:12345@192.0.2.1",
                "c",
                1,
            );
        }
    }
}

/// A session description as an offer, and as the answer to one of ours.
pub fn sdp(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(theirs) = Description::parse(&text) else {
        return;
    };
    let local = Local {
        session: 1,
        version: 1,
        rtp: ([192, 0, 2, 1], 4_000).into(),
        direction: Direction::SendRecv,
    };
    let own = sdp::offer_with(&local, &Terms::plain(&CODECS));
    assert!(Description::parse(&own).is_ok());
    for protection in [
        Protection::Off,
        Protection::Optional,
        Protection::Required,
        Protection::Impossible,
    ] {
        let Ok(agreed) = sdp::negotiate_protected(&theirs, &theirs.codecs(), protection) else {
            continue;
        };
        let accepted = Accepted {
            agreed: &agreed,
            local: &local,
            crypto: agreed.crypto.as_ref(),
        };
        let answer = sdp::answer_all(&theirs, &local, &[accepted]);
        let answer = Description::parse(&answer).expect("our answer can be read");
        assert_eq!(answer.sections().len(), theirs.sections().len());
    }
    for line in text.lines() {
        let _ = Crypto::parse(line.trim_start_matches("a=crypto:"));
    }
}

/// A leg's packets: forwarded, listened to and decoded, in clear and encrypted.
pub fn rtp(bytes: &[u8]) {
    let [codecs, rest @ ..] = bytes else {
        return;
    };
    let formats = formats();
    let sounds: Vec<Codec> = formats.iter().filter_map(Format::codec).collect();
    let outgoing = Outgoing {
        codec: sounds[usize::from(codecs & 3)],
        payload_type: 8,
        event: Some(EVENT).filter(|_| codecs & 4 != 0),
        comfort_noise: (codecs & 8 != 0).then_some(13),
        wish: (codecs & 16 != 0).then_some(30),
        max_ptime: (codecs & 32 != 0).then_some(20),
    };
    let begun = Instant::now();
    let mut now = begun;
    let mut forwarder = Forwarder::new(1, 2, 3);
    forwarder.connect(&formats, &outgoing);
    let mut buffer = ListenBuffer::new(begun, formats);
    let key = Key::new(
        Suite::AesCm128HmacSha1_80,
        vec![7; Suite::AesCm128HmacSha1_80.master_length()],
    );
    let mut unprotector = Unprotector::new(key.expect("of the right length"), Vec::new());
    let mut until = MediaTime::ZERO;
    for (pause, datagram) in datagrams(rest) {
        now += pause;
        let mut plain = Vec::new();
        let _ = unprotector.unprotect(datagram, &mut plain);
        let _ = unprotector.unprotect_report(datagram, &mut plain);
        if let Some(packet) = Packet::parse(datagram) {
            forwarder.forward(now, &packet, pause.is_zero(), &mut |packet| {
                assert!(Packet::parse(&packet.to_datagram()).is_some());
            });
            buffer.push(now, &packet);
        }
        until = heard(&mut buffer, now, begun, until);
        let _ = (forwarder.clock_at(now), buffer.deadline());
    }
    if let Some(stats) = buffer.stats_mut() {
        let _ = (
            stats.lost(),
            stats.loss(),
            stats.jitter(),
            stats.fraction_lost(),
        );
        let _ = stats.mos(Duration::from_millis(50));
    }
    buffer.finish();
    heard(&mut buffer, now, begun, until);
}

/// Takes what a buffer has to give: it has no gaps, and does not run away.
fn heard(buffer: &mut ListenBuffer, now: Instant, begun: Instant, from: MediaTime) -> MediaTime {
    let mut until = from;
    while let Some(heard) = buffer.poll(now) {
        assert_eq!(heard.frame.start, until, "the timeline has no gaps");
        until = until + heard.frame.duration();
    }
    let ahead = until.since(MediaTime::ZERO).saturating_sub(now - begun);
    assert!(ahead < MOST_AHEAD, "{ahead:?} ahead of the clock");
    until
}

/// A leg's reports, and ours in return.
pub fn rtcp(bytes: &[u8]) {
    let mut now = Instant::now();
    let mut reports = Reports::new(now, 1);
    let first = Packet {
        payload_type: 8,
        marker: true,
        sequence: WireSequence(1),
        timestamp: 2,
        ssrc: 3,
        payload: &[0; 160],
    };
    let mut stats = StreamStats::new(now, Frequency::HZ_8000, &first);
    for (pause, datagram) in datagrams(bytes) {
        now += pause;
        let _ = (rtcp::is_rtcp(datagram), rtcp::sender(datagram));
        reports.receive(now, datagram, 0x0102_0304);
        let sent = Sent {
            ssrc: 0x0102_0304,
            newest: Some((7, now)),
            ..Sent::default()
        };
        if let Some(report) = reports.due(now, SystemTime::UNIX_EPOCH, sent, Some(&mut stats)) {
            assert!(rtcp::is_rtcp(&report));
        }
        let _ = reports.remote().map(ToString::to_string);
    }
}

/// Key presses in a leg's stream, and what is pressed on the other leg for them.
pub fn telephone_event(bytes: &[u8]) {
    let mut now = Instant::now();
    let (mut detector, mut dialer) = (Detector::default(), Dialer::default());
    for (pause, datagram) in datagrams(bytes) {
        now += pause;
        let Some(packet) = Packet::parse(datagram) else {
            continue;
        };
        if let Some(event) = Event::parse(packet.payload) {
            assert_eq!(Event::parse(&event.to_payload()), Some(event));
        }
        let clock = if packet.marker {
            Frequency::HZ_48000
        } else {
            Frequency::HZ_8000
        };
        detector.push(now, &packet, clock);
        while let Some(press) = detector.poll(now) {
            let _ = dialer.press(press);
        }
        while dialer.poll(now, clock).is_some() {}
    }
}

/// A recording client's metadata, alone and in the body of an INVITE; a document and one that changes it.
pub fn siprec(bytes: &[u8]) {
    let body = Body {
        content_type: "multipart/mixed;boundary=xx".to_owned(),
        bytes: bytes.to_vec(),
    };
    let _ = body.description();
    let inner = body.metadata().ok().flatten();
    let own = ["10086".to_owned(), "12345*".to_owned()];
    let mut recording = Recording::default();
    let halves = bytes.split_at(bytes.len() / 2);
    for xml in [bytes, halves.0, halves.1]
        .into_iter()
        .chain(inner.as_deref())
    {
        let before = recording.clone();
        if recording.update(xml).is_err() {
            assert_eq!(recording, before, "what was known stays");
        }
        let clues = Clues {
            own: &own,
            calling: Some("13800138000"),
        };
        let _ = (recording.speakers(clues), recording.references());
    }
}

fn formats() -> Vec<Format> {
    let mut formats = vec![
        Format::sound(8, Codec::Pcma),
        Format::sound(0, Codec::Pcmu),
        Format::sound(9, Codec::G722),
        Format::sound(OPUS, Codec::Opus),
        EVENT,
    ];
    formats.push(Format {
        payload_type: 13,
        content: Content::ComfortNoise,
        clock: Frequency::HZ_8000,
    });
    formats
}

/// Cuts the bytes into datagrams: two octets of length and pause (in 10 ms) before each.
fn datagrams(mut bytes: &[u8]) -> impl Iterator<Item = (Duration, &[u8])> {
    std::iter::from_fn(move || {
        let [length, pause, rest @ ..] = bytes else {
            return None;
        };
        let (datagram, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        bytes = rest;
        Some((Duration::from_millis(10 * u64::from(*pause)), datagram))
    })
}

/// The other way round, 20 ms between them.
fn framed<D: AsRef<[u8]>>(datagrams: impl IntoIterator<Item = D>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for datagram in datagrams {
        let datagram = datagram.as_ref();
        bytes.extend([datagram.len().min(255) as u8, 2]);
        bytes.extend(&datagram[..datagram.len().min(255)]);
    }
    bytes
}

/// So many packets of a stream.
fn stream(
    payload_type: u8,
    count: u16,
    step: u32,
    payload: impl Fn(u16) -> Vec<u8>,
) -> Vec<Vec<u8>> {
    let packets = (0..count).map(|number| {
        Packet {
            payload_type,
            marker: number == 0,
            sequence: WireSequence(number.wrapping_add(65_530)),
            timestamp: u32::from(number) * step,
            ssrc: 0xabcd,
            payload: &payload(number),
        }
        .to_datagram()
    });
    packets.collect()
}

fn sip_seeds() -> Vec<Vec<u8>> {
    let wire = |text: &str| text.replace('\n', "\r\n").into_bytes();
    let torture = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/rfc4475.txt"
    ));
    let mut seeds: Vec<_> = torture
        .split("==== ")
        .skip(1)
        .filter_map(|message| message.split_once('\n'))
        .map(|(_, message)| wire(message))
        .collect();
    seeds.push(wire(
        "INVITE sip:12345@192.0.2.9 SIP/2.0\nVia: SIP/2.0/UDP 10.0.0.3:5062;rport;branch=z9hG4bK1, SIP/2.0/TCP h;branch=z9hG4bK2\n\
         Record-Route: <sip:192.0.2.7;transport=tcp;r2=on;lr=on;ftag=1>, <sip:192.0.2.7;r2=on;lr>\nMax-Forwards: 68\n\
         From: \"张三\" <sip:13800138000@10.0.0.3>;tag=1\nTo: <sip:12345@192.0.2.9>\nCall-ID: a@b\nCSeq: 7 INVITE\n\
         Contact: <sip:me@10.0.0.3:5062;transport=tcp>;+sip.instance=\"<urn:uuid:0>\"\nRequire: 100rel, timer\n\
         Session-Expires: 1800;refresher=uac\nMin-SE: 90\nP-Asserted-Identity: <tel:+8613800138000>\n\
         Diversion: \"x, y\" <sip:110@h>;reason=unconditional\nReplaces: x@y;to-tag=1;from-tag=2;early-only\n\
         User-to-User: 00c4;encoding=hex\nAllow: INVITE,UPDATE\nContent-Type: application/sdp\nContent-Length: 31\n\n\
         v=0\no=- 1 1 IN IP4 1.1.1.1\ns=-\n",
    ));
    seeds.push(wire(
        "SIP/2.0 407 Proxy Authentication Required\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1;received=1.1.1.1;rport=5\n\
         From: <sip:a@b>;tag=1\nTo: <sip:c@d>;tag=2\nCall-ID: a@b\nCSeq: 7 INVITE\n\
         Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"a\\\"b\", qop=\"auth,auth-int\", algorithm=SHA-256, stale=true, opaque=\"\"\n\
         Content-Length: 0\n\n",
    ));
    seeds.push(wire(
        "REFER sip:gateway@192.0.2.9 SIP/2.0\nv: SIP/2.0/TLS [2001:db8::1]:5061;branch=z9hG4bK1\nf: <sip:a@b>;tag=1\n\
         t: <sip:c@d>;tag=2\ni: a@b\nCSeq: 9 REFER\nm: <sip:a@[2001:db8::1]>\nr: <sip:9@h?Replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2>\n\
         b: <sip:a@b>\nl: 0\n\n",
    ));
    seeds
}

fn sdp_seeds() -> Vec<Vec<u8>> {
    [
        "v=0\no=- 1 1 IN IP4 192.0.2.1\ns=-\nc=IN IP4 192.0.2.1\nt=0 0\nm=audio 4000 RTP/AVP 8 0 9 96 101 13\n\
         a=rtpmap:8 PCMA/8000\na=rtpmap:96 opus/48000/2\na=fmtp:96 useinbandfec=1;stereo=0\n\
         a=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=maxptime:60\na=rtcp:4001 IN IP4 192.0.2.2\na=sendrecv\n",
        "v=0\no=- 1 2 IN IP6 2001:db8::1\ns=-\nt=0 0\na=inactive\nm=video 0 RTP/AVP 31\n\
         m=audio 4000/2 RTP/SAVP 0\nc=IN IP6 2001:db8::1\na=crypto:1 AES_CM_128_HMAC_SHA1_80 \
         inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4\na=rtcp-mux\na=label:1\n\
         m=audio 0 RTP/AVP 8\na=sendonly\n",
        "v=0\no=x 99999999999999999999 1 IN IP4 h\ns=-\nc=IN IP4 0.0.0.0\nt=0 0\nm=audio 65535 RTP/SAVPF 111\n\
         a=rtpmap:111 OPUS/48000\na=crypto:7 AEAD_AES_256_GCM inline:AAAA\na=setup:actpass\na=ptime:0\n",
    ]
    .map(|text| text.replace('\n', "\r\n").into_bytes())
    .to_vec()
}

fn rtp_seeds() -> Vec<Vec<u8>> {
    let sound = |number: u16| (0..160).map(|at| (at * number) as u8).collect::<Vec<_>>();
    let mut mixed = stream(8, 3, 160, sound);
    mixed.extend(stream(13, 1, 160, |_| vec![30]));
    mixed.extend(stream(0, 3, 160, sound));
    // A stereo packet of the silk kind, a hybrid one, and one of several frames.
    let opus = [
        vec![0x4c, 1, 2, 3, 4, 5],
        vec![0x7f, 2, 9, 9],
        vec![0xff, 0x43, 1, 1, 7, 7, 7],
    ];
    [
        stream(8, 6, 160, sound),
        stream(9, 6, 160, sound),
        stream(OPUS, 6, 960, |number| opus[usize::from(number) % 3].clone()),
        stream(101, 6, 0, |number| vec![5, 10, 0, 160 * (number as u8 % 2)]),
        mixed,
    ]
    .into_iter()
    .enumerate()
    .map(|(codecs, packets)| [vec![9 * codecs as u8], framed(packets)].concat())
    .collect()
}

fn rtcp_seeds() -> Vec<Vec<u8>> {
    let now = Instant::now();
    let mut reports = Reports::new(now, 1);
    let packet = stream(8, 1, 160, |_| vec![0; 160]).remove(0);
    let packet = Packet::parse(&packet).expect("our own");
    let mut stats = StreamStats::new(now, Frequency::HZ_8000, &packet);
    let sent = Sent {
        ssrc: 9,
        newest: Some((7, now)),
        ..Sent::default()
    };
    let wall = SystemTime::UNIX_EPOCH;
    let report = reports.goodbye(now, wall, sent, Some(&mut stats));
    let silent = reports.goodbye(now, wall, Sent::default(), None);
    // Of our own stream, as the other side reports it.
    let mut about_us = vec![0x81, 201, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4];
    about_us.extend([5, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 80, 0, 1, 2, 3, 0, 1, 0, 0]);
    vec![
        framed([&report, &about_us, &silent]),
        framed([&about_us, &report]),
    ]
}

fn telephone_event_seeds() -> Vec<Vec<u8>> {
    let press = |end: u16| {
        stream(101, 8, 0, move |number| {
            let over = u8::from(number > 4) << 7;
            let [high, low] = (number * end).to_be_bytes();
            vec![(end % 17) as u8, over + 10, high, low]
        })
    };
    vec![
        framed(press(160)),
        framed(press(9_000)),
        framed([[0x80; 16]]),
    ]
}

fn siprec_seeds() -> Vec<Vec<u8>> {
    let layouts = [
        include_str!("../tests/data/siprec/audiocodes.xml"),
        include_str!("../tests/data/siprec/cisco.xml"),
        include_str!("../tests/data/siprec/genesys.xml"),
        include_str!("../tests/data/siprec/opensips.xml"),
        include_str!("../tests/data/siprec/oracle.xml"),
    ];
    let alone = layouts.iter().map(|xml| xml.as_bytes().to_vec());
    let within = layouts.iter().map(|xml| {
        format!(
            "--xx\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--xx\r\nContent-Type: application/rs-metadata+xml\r\n\
             Content-Disposition: recording-session\r\n\r\n{xml}\r\n--xx--\r\n"
        )
        .into_bytes()
    });
    alone.chain(within).collect()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// What stands where a parser decides something.
    const DELICATE: [&[u8]; 20] = [
        b"\r\n",
        b"\r\n\r\n",
        b"\0",
        b"\xff\xff",
        b";",
        b",",
        b":",
        b"<",
        b">",
        b"\"",
        b"=",
        b"%00",
        b"--xx",
        b"&#0;",
        b"-1",
        b"4294967296",
        b"\xd5\xc5",
        b"\x80\x00\x00\x00",
        b"a=crypto:",
        b"[::]",
    ];

    /// One or a few changes to one of the seeds, as a fuzzer makes them, always the same for the same random numbers.
    fn mutated(random: &mut StdRng, seeds: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = seeds[random.random_range(0..seeds.len())].clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..=bytes.len());
            let end = (at + random.random_range(1..32)).min(bytes.len());
            match random.random_range(0..7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
                1 if at < bytes.len() => bytes[at] = random.random(),
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let twice = bytes[at..end].to_vec();
                    bytes.splice(at..at, twice);
                }
                4 => {
                    let delicate = DELICATE[random.random_range(0..DELICATE.len())];
                    bytes.splice(at..at, delicate.iter().copied());
                }
                5 => {
                    let other = &seeds[random.random_range(0..seeds.len())];
                    let from = random.random_range(0..=other.len());
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                _ => bytes.truncate(at),
            }
        }
        bytes
    }

    fn withstands(name: &str, count: u32) {
        let target = TARGETS.iter().find(|target| target.name == name);
        let target = target.expect("a target");
        let seeds = (target.seeds)();
        let mut random = StdRng::seed_from_u64(4_475);
        let changed = (0..count).map(|_| mutated(&mut random, &seeds));
        for bytes in seeds.iter().cloned().chain(changed) {
            let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(&bytes)));
            assert!(
                ran.is_ok(),
                "{name} fails for {:?}",
                String::from_utf8_lossy(&bytes)
            );
        }
    }

    #[test]
    #[ignore = "writes files, for `make fuzz`"]
    fn seeds() {
        let corpus = std::env::var("FUZZ_CORPUS").expect("FUZZ_CORPUS names a folder");
        for target in TARGETS {
            let folder = std::path::Path::new(&corpus).join(target.name);
            std::fs::create_dir_all(&folder).expect("a folder");
            for (number, seed) in (target.seeds)().into_iter().enumerate() {
                std::fs::write(folder.join(format!("seed-{number}")), seed).expect("written");
            }
        }
    }

    #[test]
    fn no_sip_message_panics() {
        withstands("sip", 60_000);
    }

    #[test]
    fn no_session_description_panics() {
        withstands("sdp", 100_000);
    }

    #[test]
    fn no_rtp_packet_panics_or_makes_time_run_away() {
        withstands("rtp", 20_000);
    }

    #[test]
    fn no_rtcp_packet_panics() {
        withstands("rtcp", 100_000);
    }

    #[test]
    fn no_key_press_panics() {
        withstands("telephone_event", 100_000);
    }

    #[test]
    fn no_recording_metadata_panics_or_half_changes_what_is_known() {
        withstands("siprec", 60_000);
    }
}
