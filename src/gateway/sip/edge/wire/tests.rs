//! Messages as peers send them, sound and broken.

use super::*;
use crate::sip::Transport;

const SOURCE: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    5070,
);

fn invite(extra: &str, body: &str) -> String {
    format!(
        "INVITE sip:12345@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;rport;branch=z9hG4bK1\r\n{extra}\
         From: <sip:13800138000@10.0.0.1>;tag=a\r\nTo: <sip:12345@127.0.0.1>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\n\r\n{body}"
    )
}

fn datagram(bytes: &[u8]) -> Message {
    Message::from_datagram(bytes, SOURCE)
        .expect("sound")
        .expect("a message")
}

fn status(defect: &Defect) -> Option<u16> {
    let reply = std::str::from_utf8(defect.reply.as_deref()?).expect("text");
    reply.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_gbk_name_becomes_utf_8_and_hides_no_header() {
    let mut bytes = b"INVITE sip:12345@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK1\r\nFrom: \"".to_vec();
    bytes.extend_from_slice(&encoding_rs::GBK.encode("王小明").0);
    bytes.extend_from_slice(b"\" <sip:1@10.0.0.1>;tag=a\r\nTo: <sip:12345@127.0.0.1>\r\nCall-ID: c1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n");
    let message = datagram(&bytes);
    assert_eq!(
        display_name(message.header("From").expect("From")).as_deref(),
        Some("王小明")
    );
    assert_eq!(message.cseq(), Some((1, "INVITE")));
    assert!(
        String::from_utf8(message.to_bytes())
            .expect("UTF-8")
            .contains("王小明")
    );
}

#[test]
fn a_datagram_without_a_length_keeps_its_body() {
    let message = datagram(invite("", "v=0\r\n").as_bytes());
    let bytes = String::from_utf8(message.to_bytes()).expect("UTF-8");
    assert!(
        bytes.ends_with("Content-Length: 5\r\n\r\nv=0\r\n"),
        "{bytes}"
    );
}

#[test]
fn too_large_a_length_is_400_and_a_smaller_one_cuts() {
    for length in ["6", "99999999999999999999", "-1", "x", "70000"] {
        let text = invite(&format!("Content-Length: {length}\r\n"), "v=0\r\n");
        let defect = Message::from_datagram(text.as_bytes(), SOURCE).expect_err("refused");
        assert_eq!(status(&defect), Some(400), "{length}");
    }
    let message = datagram(invite("Content-Length : 2\r\n", "v=0\r\n").as_bytes());
    assert!(message.to_bytes().ends_with(b"\r\n\r\nv="));
}

#[test]
fn another_version_is_505_and_a_mismatched_cseq_is_400() {
    let text = invite("", "").replace("SIP/2.0\r\nVia", "SIP/3.0\r\nVia");
    let defect = Message::from_datagram(text.as_bytes(), SOURCE).expect_err("refused");
    assert_eq!(status(&defect), Some(505));
    for cseq in ["1 BYE", "4294967295 INVITE", "x INVITE", ""] {
        let text = invite("", "").replace("1 INVITE", cseq);
        let defect = Message::from_datagram(text.as_bytes(), SOURCE).expect_err("refused");
        assert_eq!(status(&defect), Some(400), "{cseq}");
    }
}

#[test]
fn a_reply_names_where_the_request_came_from_and_keeps_its_tag() {
    let message = datagram(invite("", "").as_bytes());
    let reply = message
        .reply(420, &[("Unsupported", "100rel")], SOURCE)
        .expect("a reply");
    let text = String::from_utf8(reply.clone()).expect("UTF-8");
    assert!(text.starts_with("SIP/2.0 420 Bad Extension\r\n"));
    assert!(
        text.contains("rport=5070;branch=z9hG4bK1;received=192.0.2.7\r\n"),
        "{text}"
    );
    assert!(text.contains("Unsupported: 100rel\r\n"));
    assert_eq!(
        message.reply(420, &[("Unsupported", "100rel")], SOURCE),
        Some(reply)
    );
}

#[test]
fn ack_and_responses_get_no_reply() {
    let ack = invite("", "").replace("INVITE", "ACK");
    assert_eq!(datagram(ack.as_bytes()).reply(400, &[], SOURCE), None);
    let response =
        invite("", "").replacen("INVITE sip:12345@127.0.0.1 SIP/2.0", "SIP/2.0 200 OK", 1);
    assert_eq!(datagram(response.as_bytes()).reply(400, &[], SOURCE), None);
}

#[test]
fn a_stream_is_cut_wherever_it_was_broken() {
    let one = invite("Content-Length : 5\r\n", "v=0\r\n");
    let two = invite("l: 0\r\n", "").replace("c1", "c2");
    let stream = format!("{one}\r\n\r\n\r\n{two}").into_bytes();
    for step in [1, 7, 100, stream.len()] {
        let mut framer = Framer::default();
        let mut calls = Vec::new();
        let mut pings = 0;
        for piece in stream.chunks(step) {
            framer.push(piece);
            while let Some(frame) = framer.next(SOURCE).expect("sound") {
                match frame {
                    Frame::Ping => pings += 1,
                    Frame::Message(message) => {
                        calls.push(message.header("Call-ID").expect("id").to_owned());
                    }
                }
            }
        }
        assert_eq!(
            (calls.as_slice(), pings),
            (&["c1".to_owned(), "c2".to_owned()][..], 1),
            "{step}"
        );
    }
}

#[test]
fn a_stream_that_lies_about_lengths_or_brings_too_much_is_refused_by_its_status() {
    let long = format!("X: {}\r\n", "x".repeat(MAX_HEAD));
    for (headers, expected) in [
        ("Content-Length: 18446744073709551616\r\n", 400),
        ("", 400),
        ("l: 1\r\nContent-Length: 2\r\n", 400),
        ("Content-Length: 4294967295\r\n", 413),
        (
            "Content-Type: application/sdp\r\nContent-Length: 33000\r\n",
            413,
        ),
        ("c: multipart/mixed\r\nContent-Length: 300000\r\n", 413),
        (&*long, 513),
    ] {
        let mut framer = Framer::default();
        framer.push(invite(headers, "v=0\r\n").as_bytes());
        let defect = framer.next(SOURCE).expect_err("refused");
        assert_eq!(status(&defect), Some(expected), "{headers}");
    }
    // Headers without an end are answered as well, as far as they name themselves.
    let mut framer = Framer::default();
    let endless = invite("", "").replace("\r\n\r\n", "\r\n") + &long;
    framer.push(endless.as_bytes());
    assert_eq!(
        status(&framer.next(SOURCE).expect_err("refused")),
        Some(513)
    );
    let mut framer = Framer::default();
    framer.push(&vec![b'A'; MAX_HEAD + 1]);
    assert!(framer.next(SOURCE).is_err());
}

#[test]
fn a_large_body_of_parts_is_taken_over_a_stream() {
    let body = "x".repeat(200_000);
    let mut framer = Framer::default();
    let head = format!("c: multipart/mixed\r\nl: {}\r\n", body.len());
    framer.push(invite(&head, &body).as_bytes());
    assert!(
        matches!(framer.next(SOURCE), Ok(Some(Frame::Message(message))) if message.body.len() == 200_000)
    );
}

#[test]
fn a_private_contact_from_a_public_address_leads_back_to_the_source() {
    let mended = |contact: &str, extra: &str, source: &str| {
        let text = invite(&format!("Contact: {contact}\r\n{extra}"), "");
        let mut message = datagram(text.as_bytes());
        message.mend_contact(source.parse().expect("an address"));
        message.header("Contact").expect("kept").to_owned()
    };
    let public = "203.0.113.5:40001";
    for (contact, source, expected) in [
        (
            "<sip:1@10.0.0.5:5060;x=y>;q=1",
            public,
            "<sip:1@203.0.113.5:40001;x=y>;q=1",
        ),
        ("sip:1@192.168.1.9", public, "sip:1@203.0.113.5:40001"),
        (
            "\"10.0.0.5\" <sip:1@100.64.3.4:9>",
            public,
            "\"10.0.0.5\" <sip:1@203.0.113.5:40001>",
        ),
        (
            "<sip:1@198.51.100.1:5060>",
            public,
            "<sip:1@198.51.100.1:5060>",
        ),
        ("<sip:1@pbx.lan>", public, "<sip:1@pbx.lan>"),
        (
            "<sip:1@10.0.0.5:5060>",
            "10.0.0.9:5060",
            "<sip:1@10.0.0.5:5060>",
        ),
        (
            "<sip:1@[fd00::1]:5060>",
            "[2001:db8::1]:7",
            "<sip:1@[2001:db8::1]:7>",
        ),
        ("*", public, "*"),
    ] {
        assert_eq!(mended(contact, "", source), expected);
    }
    let proxied = mended("<sip:1@10.0.0.5>", "Record-Route: <sip:p;lr>\r\n", public);
    assert_eq!(proxied, "<sip:1@10.0.0.5>");
}

#[test]
fn a_request_of_ours_names_the_socket_that_it_leaves_by() {
    let text = "BYE sip:1@h SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:5060;branch=z9hG4bK1;rport\r\nVia: SIP/2.0/UDP b\r\n\r\n";
    let named = with_sent_by(text.as_bytes(), Transport::Tls, "[::1]:5061").expect("changed");
    let expected = text.replace("UDP 127.0.0.1:5060", "TLS [::1]:5061");
    assert_eq!(String::from_utf8(named).expect("text"), expected);
    assert_eq!(
        with_sent_by(text.as_bytes(), Transport::Udp, "127.0.0.1:5060"),
        None
    );
    let answer = text.replacen("BYE sip:1@h SIP/2.0", "SIP/2.0 200 OK", 1);
    assert_eq!(with_sent_by(answer.as_bytes(), Transport::Tls, "h"), None);
}

#[test]
fn a_folded_header_is_one_line_again() {
    let message = datagram(invite("Subject: a\r\n b\r\n\tc\r\n", "").as_bytes());
    assert_eq!(message.header("Subject"), Some("a b c"));
}

#[test]
fn numbers_and_names_are_read_from_every_usual_form() {
    for (value, number) in [
        (
            "<sip:13800138000@10.0.0.1;user=phone>;tag=1",
            Some("13800138000"),
        ),
        ("sip:%2B8613800138000@10.0.0.1", Some("+8613800138000")),
        ("\"A <B>\" <tel:+86138;phone-context=x>", Some("+86138")),
        ("<sip:13800138000;npdi@h>", Some("13800138000")),
        ("\"Anonymous\" <sip:anonymous@anonymous.invalid>", None),
        ("<sip:10.0.0.1>", None),
        ("<", None),
        ("", None),
    ] {
        assert_eq!(user(value).as_deref(), number, "{value}");
    }
    assert_eq!(
        display_name("\"a \\\"b\\\"\" <sip:1@h>").as_deref(),
        Some("a \"b\"")
    );
    assert_eq!(display_name("Bob <sip:1@h>").as_deref(), Some("Bob"));
    assert_eq!(display_name("<sip:1@h>"), None);
}

#[test]
fn the_stack_is_shown_addresses_that_it_reads_rightly() {
    let shown = |name: &str, value: &str| {
        let text = invite(&format!("{name}: {value}\r\n"), "").replacen(
            "From: <sip:13800138000@10.0.0.1>;tag=a\r\n",
            "",
            usize::from(name == "From"),
        );
        let mut message = datagram(text.as_bytes());
        message.simplify_addresses();
        message.header(name).expect("kept").to_owned()
    };
    for (name, value, simple) in [
        (
            "Contact",
            "\"a <b>\" <sip:1@h;x=y>;q=1;+sip.instance=\"<urn:x>\"",
            "<sip:1@h;x=y>",
        ),
        ("Contact", "sip:1@h;+sip.instance=\"<urn:x>\"", "<sip:1@h>"),
        ("Contact", "<tel:110>, <sip:1@h>, <sip:2@h>", "<sip:1@h>"),
        ("Contact", "<urn:x>", "<urn:x>"),
        (
            "From",
            "\"a <b>\" <sip:1@h>;x=\"y\";tag=t",
            "<sip:1@h>;tag=t",
        ),
        ("From", "sip:1@h;x=\"<y>;tag=u\";tag=t", "<sip:1@h>;tag=t"),
        (
            "From",
            "\"a\" <sip:1@h;y=z>;x=w;tag=t",
            "\"a\" <sip:1@h;y=z>;x=w;tag=t",
        ),
        ("From", "sip:1@h;tag=t", "sip:1@h;tag=t"),
    ] {
        assert_eq!(shown(name, value), simple, "{value}");
    }
}

#[test]
fn damaged_messages_never_panic() {
    let whole = invite("Content-Length: 5\r\nMax-Forwards: 70\r\n", "v=0\r\n").into_bytes();
    for end in 0..whole.len() {
        let _ = Message::from_datagram(&whole[..end], SOURCE);
        for junk in [0x00, 0x0a, 0x3a, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[end] = junk;
            if let Ok(Some(message)) = Message::from_datagram(&bytes, SOURCE) {
                let _ = message.reply(400, &[], SOURCE);
                let _ = message.to_bytes();
                let _ = user(message.header("From").unwrap_or_default());
                let _ = display_name(message.header("To").unwrap_or_default());
            }
            let mut framer = Framer::default();
            framer.push(&bytes);
            let _ = framer.next(SOURCE);
        }
    }
}
