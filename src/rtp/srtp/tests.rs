//! SRTP against what libsrtp 2 made of the same keys and packets, and against forgers.

use super::*;
use crate::rtp::WireSequence;

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex"))
        .collect()
}

/// The key 01 02 03 …
fn key(suite: Suite) -> Key {
    let length = suite.master_length() as u8;
    Key::new(suite, (1..=length).collect()).expect("of the right length")
}

fn packet(sequence: u16, ssrc: u32) -> Vec<u8> {
    Packet {
        payload_type: 8,
        marker: false,
        sequence: WireSequence(sequence),
        timestamp: u32::from(sequence) * 160,
        ssrc,
        payload: &[0xd5; 8],
    }
    .to_datagram()
}

fn protected(protector: &mut Protector, sequence: u16, ssrc: u32) -> Vec<u8> {
    let mut datagram = packet(sequence, ssrc);
    protector.protect(&mut datagram);
    datagram
}

/// Suite; packet 65534; packet 0 behind the wrap, so with a rollover count of 1; a receiver report.
const LIBSRTP: [(Suite, &str, &str, &str); 4] = [
    (
        Suite::AesCm128HmacSha1_80,
        "8008fffe009ffec0cafebabe7085d95d42b11e49dd17ed4c4f56885e70fe",
        "8008000000000000cafebabe0e4148a4d4964b9677a1461062d0cb509c7c",
        "80c90001cafebabe800000019073b886661ff4f15adb",
    ),
    (
        Suite::AesCm128HmacSha1_32,
        "8008fffe009ffec0cafebabe7085d95d42b11e49dd17ed4c",
        "8008000000000000cafebabe0e4148a4d4964b9677a14610",
        "80c90001cafebabe800000019073b886661ff4f15adb",
    ),
    (
        Suite::AeadAes128Gcm,
        "8008fffe009ffec0cafebabeef04c6c8d5456d6c14257bb4a859eabe4d544da722d3d0e3",
        "8008000000000000cafebabe332d41543a535dbbc348645a7398d835a0a38f8d0687005f",
        "80c90001cafebabe292b319a233671003a709817b2704cad80000001",
    ),
    (
        Suite::AeadAes256Gcm,
        "8008fffe009ffec0cafebabe59080bdff8b1184f7b89e35debad63cc5d7d63d493416444",
        "8008000000000000cafebabe541ad69d6825a6174ff673ff7681f0396cbc947d2cc765d8",
        "80c90001cafebabe97acaff17a2d9bb1752f0b58d19b3cfa80000001",
    ),
];

#[test]
fn libsrtp_and_we_write_the_same_and_read_each_other() {
    for (suite, first, wrapped, report) in LIBSRTP {
        let mut protector = Protector::new(&key(suite));
        let mut unprotector = Unprotector::new(key(suite), Vec::new());
        let mut plain = Vec::new();
        for (sequence, expected) in [(65_534, Some(first)), (65_535, None), (0, Some(wrapped))] {
            let ours = protected(&mut protector, sequence, 0xcafe_babe);
            if let Some(expected) = expected {
                assert_eq!(ours, bytes(expected), "{suite:?} {sequence}");
            }
            assert!(unprotector.unprotect(&ours, &mut plain));
            assert_eq!(plain, packet(sequence, 0xcafe_babe));
        }
        let plain_report = bytes("80c90001cafebabe");
        let mut ours = plain_report.clone();
        protector.protect_report(&mut ours);
        // Whether the index starts at 0 or 1 is the sender's affair; theirs is read too.
        for report in [ours, bytes(report)] {
            let mut fresh = Unprotector::new(key(suite), Vec::new());
            assert!(fresh.unprotect_report(&report, &mut plain), "{suite:?}");
            assert_eq!(plain, plain_report);
        }
    }
}

#[test]
fn aes_256_is_that_of_libsrtps_own_test() {
    let suite = Suite::Aes256CmHmacSha1_80;
    let master = bytes(
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b63b04803de51ee7c96423ab5b78d2",
    );
    let mut protector = Protector::new(&Key::new(suite, master).expect("of the right length"));
    let mut datagram = bytes("800f1234decafbadcafebabeabababababababababababababababab");
    protector.protect(&mut datagram);
    assert_eq!(
        datagram,
        bytes("800f1234decafbadcafebabef1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b")
    );
}

#[test]
fn a_wrong_tag_a_replay_and_a_truncation_are_refused_and_the_stream_goes_on() {
    for suite in Suite::ALL {
        let mut protector = Protector::new(&key(suite));
        let mut unprotector = Unprotector::new(key(suite), Vec::new());
        let mut plain = Vec::new();
        for sequence in 0..200 {
            let sound = protected(&mut protector, sequence, 5);
            for at in 0..sound.len() {
                let mut forged = sound.clone();
                forged[at] ^= 0x10;
                assert!(
                    !unprotector.unprotect(&forged, &mut plain),
                    "{suite:?} {at}"
                );
                assert!(!unprotector.unprotect(&sound[..at], &mut plain));
                assert!(plain.is_empty(), "{suite:?} let something through");
                if sequence > 2 {
                    break;
                }
            }
            assert!(unprotector.unprotect(&sound, &mut plain), "{suite:?}");
            assert!(!unprotector.unprotect(&sound, &mut plain), "a replay");
        }
        assert_eq!(unprotector.sources.len(), 1, "{suite:?}");
    }
}

#[test]
fn reordering_within_the_window_is_no_replay_and_behind_it_is_refused() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut protector = Protector::new(&key(suite));
    let sent: Vec<_> = (0..100)
        .map(|sequence| protected(&mut protector, sequence, 5))
        .collect();
    let mut unprotector = Unprotector::new(key(suite), Vec::new());
    let mut plain = Vec::new();
    assert!(unprotector.unprotect(&sent[0], &mut plain));
    assert!(unprotector.unprotect(&sent[99], &mut plain));
    assert!(unprotector.unprotect(&sent[60], &mut plain));
    assert!(!unprotector.unprotect(&sent[20], &mut plain));
}

#[test]
fn forged_sources_leave_nothing_behind_and_proven_ones_are_bounded() {
    let suite = Suite::AesCm128HmacSha1_80;
    let mut other = Protector::new(&Key::new(suite, vec![9; 30]).expect("of the right length"));
    let mut unprotector = Unprotector::new(key(suite), Vec::new());
    let mut plain = Vec::new();
    for ssrc in 0..500 {
        let forged = protected(&mut other, 1, ssrc);
        assert!(!unprotector.unprotect(&forged, &mut plain));
    }
    assert!(unprotector.sources.is_empty());
    let mut protector = Protector::new(&key(suite));
    let taken = (0..100)
        .filter(|ssrc| unprotector.unprotect(&protected(&mut protector, 1, *ssrc), &mut plain))
        .count();
    assert_eq!(taken, MOST_SOURCES);
}

#[test]
fn a_key_identifier_is_taken_out_and_must_be_the_agreed_one() {
    for suite in [Suite::AesCm128HmacSha1_32, Suite::AeadAes128Gcm] {
        let mut protector = Protector::new(&key(suite));
        let mut unprotector = Unprotector::new(key(suite), vec![0, 7]);
        let mut plain = Vec::new();
        let sound = protected(&mut protector, 1, 5);
        let with = |mki: [u8; 2]| {
            let (body, tag) = sound.split_at(sound.len() - suite.rtp_trailer());
            [body, &mki, tag].concat()
        };
        assert!(!unprotector.unprotect(&with([0, 8]), &mut plain));
        assert!(!unprotector.unprotect(&sound, &mut plain));
        assert!(unprotector.unprotect(&with([0, 7]), &mut plain));
        assert_eq!(plain, packet(1, 5));
    }
}

#[test]
fn random_datagrams_never_panic() {
    use rand::{RngExt, SeedableRng, rngs::StdRng};
    let mut random = StdRng::seed_from_u64(8);
    for suite in Suite::ALL {
        let mut unprotector = Unprotector::new(key(suite), vec![1; random.random_range(0..3)]);
        let mut plain = Vec::new();
        for _ in 0..1_000 {
            let mut datagram: Vec<u8> = (0..random.random_range(0..60))
                .map(|_| random.random())
                .collect();
            if let Some(first) = datagram.first_mut() {
                *first = 0x80 | *first & 0x3f;
            }
            assert!(!unprotector.unprotect(&datagram, &mut plain));
            assert!(!unprotector.unprotect_report(&datagram, &mut plain));
        }
    }
}
