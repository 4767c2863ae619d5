//! What no peer should send, over raw sockets; each defect of the stack that the ingress covers has its test here.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};

use tracing::field::{Field, Visit};

use super::*;

/// The number whose appearance in a log line is a leak.
const SECRET: &str = "13987654321";
pub(super) const SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 6000 RTP/AVP 8\r\n";

pub(super) fn request(method: &str, call: &str, extra: &str, body: &str) -> String {
    let kind = if body.is_empty() {
        ""
    } else {
        "Content-Type: application/sdp\r\n"
    };
    format!(
        "{method} sip:12345@127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK{call}\r\n\
         From: <sip:{SECRET}@127.0.0.1>;tag=f\r\nTo: <sip:12345@127.0.0.1>\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:{SECRET}@127.0.0.1:9>\r\n{kind}{extra}\r\n{body}"
    )
}

pub(super) fn with_length(text: &str) -> String {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A UDP peer of the edge.
pub(super) struct Peer(pub UdpSocket);

impl Peer {
    pub fn of(edge: &SipEdge) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(edge.local_addr()).expect("connected");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.0.send(bytes.as_ref()).expect("sent");
    }

    pub fn receive(&self) -> String {
        let mut buffer = vec![0; 65_536];
        let length = self.0.recv(&mut buffer).expect("an answer in time");
        String::from_utf8(buffer[..length].to_vec()).expect("UTF-8")
    }

    /// The first final answer.
    pub fn answer(&self) -> String {
        loop {
            let answer = self.receive();
            if !answer.starts_with("SIP/2.0 1") {
                return answer;
            }
        }
    }

    pub fn ask(&self, text: impl AsRef<[u8]>) -> String {
        self.send(text);
        self.answer()
    }
}

async fn edge() -> (SipEdge, mpsc::Receiver<NewCall>) {
    SipEdge::bind(config()).await.expect("bound")
}

pub(super) async fn next(calls: &mut mpsc::Receiver<NewCall>) -> NewCall {
    tokio::time::timeout(PATIENCE, calls.recv())
        .await
        .expect("a call in time")
        .expect("an open edge")
}

async fn event(events: &mut mpsc::Receiver<SipEvent>) -> Option<SipEvent> {
    tokio::time::timeout(PATIENCE, events.recv())
        .await
        .expect("an event in time")
}

pub(super) async fn falls_silent(edge: &SipEdge) {
    let end = Instant::now() + PATIENCE;
    loop {
        let counts = edge.counts();
        if (counts.calls, counts.dialogs, counts.transactions) == (0, 0, 0) {
            return;
        }
        assert!(Instant::now() < end, "left over: {counts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gbk_display_name_arrives_and_hides_nothing() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    let mut bytes = b"INVITE sip:12345@127.0.0.1 SIP/2.0\r\nFrom: \"".to_vec();
    bytes.extend_from_slice(&encoding_rs::GBK.encode("王小明").0);
    let rest = with_length(&request("INVITE", "gbk", "", SDP));
    let rest = rest.split_once("\r\n").expect("lines").1;
    let rest = rest.replace(&format!("From: <sip:{SECRET}@127.0.0.1>;tag=f\r\n"), "");
    bytes.extend_from_slice(format!("\" <sip:{SECRET}@127.0.0.1>;tag=f\r\n{rest}").as_bytes());
    peer.send(bytes);
    let call = next(&mut calls).await;
    assert_eq!(call.incoming.caller_display, Some("王小明".into()));
    assert_eq!(call.incoming.caller_number, Some(SECRET.into()));
    assert_eq!(call.incoming.sip_call_id, "gbk");
    assert_eq!(call.incoming.offer.as_deref(), Some(SDP));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_without_a_length_keeps_its_offer() {
    let (edge, mut calls) = edge().await;
    Peer::of(&edge).send(request("INVITE", "bare", "", SDP));
    assert_eq!(next(&mut calls).await.incoming.offer.as_deref(), Some(SDP));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_ours_to_refuse_is_refused_by_its_status() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    for (text, status, header) in [
        (
            request("INVITE", "r1", "Require: 100rel, precondition\r\n", SDP),
            "420",
            "Unsupported: precondition\r\n",
        ),
        (
            request("INVITE", "r2", "Max-Forwards: 0\r\n", SDP),
            "483",
            "",
        ),
        (
            request("INVITE", "r3", "Max-Forwards: x\r\n", SDP),
            "400",
            "",
        ),
        (
            request("INVITE", "r4", "", SDP).replace("1 INVITE", "1 OPTIONS"),
            "400",
            "",
        ),
        (
            request("INVITE", "r5", "", SDP).replace("1 INVITE", "4294967296 INVITE"),
            "400",
            "",
        ),
        (
            request("INVITE", "r6", "Content-Length: 9999\r\n", SDP),
            "400",
            "",
        ),
        (
            request("INVITE", "r7", "", SDP).replacen("SIP/2.0", "SIP/7.0", 1),
            "505",
            "",
        ),
        (
            request("INVITE", "r8", "", SDP).replace("application/sdp", "text/plain"),
            "415",
            "Accept: application/sdp, multipart/mixed, multipart/related, multipart/alternative, application/rs-metadata+xml\r\n",
        ),
        (
            request("INVITE", "r9", "", SDP)
                .replace("sip:12345@127.0.0.1 SIP", "sip:12345@[::zz] SIP"),
            "400",
            "",
        ),
        (
            request("INVITE", "r10", "", SDP).replace("Contact: <sip", "X-Contact: <sip"),
            "400",
            "",
        ),
        (
            request("REGISTER", "r11", "", ""),
            "405",
            "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, PRACK, INFO, REFER\r\n",
        ),
        (request("FROBNICATE", "r12", "", ""), "405", "Allow: "),
        (request("BYE", "r13", "", ""), "481", ""),
        (
            request("BYE", "r14", "", "").replace(
                "To: <sip:12345@127.0.0.1>",
                "To: <sip:12345@127.0.0.1>;tag=x",
            ),
            "481",
            "",
        ),
        (request("CANCEL", "r15", "", ""), "481", ""),
        (
            request("OPTIONS", "r16", "", ""),
            "200",
            "Accept: application/sdp, multipart/mixed, multipart/related, multipart/alternative, application/rs-metadata+xml\r\n",
        ),
    ] {
        let answer = peer.ask(&text);
        assert!(
            answer.starts_with(&format!("SIP/2.0 {status} ")),
            "{text}\n{answer}"
        );
        assert!(answer.contains(header), "{text}\n{answer}");
        assert!(answer.contains(";received=127.0.0.1"), "{answer}");
    }
    assert!(calls.try_recv().is_err(), "a refused request became a call");
    falls_silent(&edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_parts_arrives_whole_with_its_offer_and_a_torn_one_gets_400() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    let parts = format!(
        "--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b\r\n\
         Content-Type: application/rs-metadata+xml\r\n\r\n<recording/>\r\n--b--\r\n"
    );
    let invite = |call, parts: &str| {
        let require =
            "Require: SIPREC\r\nSupported: timer, 100rel\r\nUser-to-User: 56a390;encoding=hex\r\n";
        request("INVITE", call, require, parts).replace(
            "application/sdp\r\nRequire",
            "multipart/mixed;boundary=b\r\nRequire",
        )
    };
    peer.send(invite("parts", &parts));
    let incoming = next(&mut calls).await.incoming;
    assert_eq!(incoming.offer.as_deref(), Some(SDP));
    assert_eq!(incoming.requires, ["siprec"]);
    assert_eq!(incoming.supports, ["timer", "100rel"]);
    assert_eq!(incoming.user_to_user, Some("56a390;encoding=hex".into()));
    assert_eq!(incoming.body.expect("a body").bytes, parts.as_bytes());
    while !peer.receive().starts_with("SIP/2.0 503 ") {}
    let torn = peer.ask(invite("torn", parts.trim_end().trim_end_matches("--")));
    assert!(torn.starts_with("SIP/2.0 400 "), "{torn}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_that_comes_over_two_paths_is_one_call() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    let text = request("INVITE", "fork", "", SDP);
    peer.send(&text);
    let _call = next(&mut calls).await;
    assert!(peer.receive().starts_with("SIP/2.0 100 "));
    assert!(
        peer.ask(text.replace("z9hG4bKfork", "z9hG4bKother"))
            .starts_with("SIP/2.0 482 ")
    );
    // A retransmission is answered by the transaction.
    peer.send(&text);
    assert!(peer.receive().starts_with("SIP/2.0 100 "));
    assert!(calls.try_recv().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_dropped_and_counted_and_calls_go_on() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    let whole = request("INVITE", "junk", "", SDP).into_bytes();
    let mut seed = 1_u32;
    for round in 0..2_000 {
        let mut bytes = whole.clone();
        for _ in 0..=round % 7 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = seed as usize % bytes.len();
            bytes[at] = (seed >> 24) as u8;
        }
        bytes.truncate(seed as usize % whole.len());
        peer.send(&bytes);
        if round % 20 == 0 {
            // So that the kernel's queue does not overflow.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    for bytes in [
        &b"\0\0\0\0"[..],
        b"SIP/2.0",
        b"INVITE",
        b"SIP/2.0 200 OK\r\n\r\n",
        b" SIP/2.0\r\n\r\n",
        &vec![0xff; 60_000],
    ] {
        peer.send(bytes);
    }
    peer.send(b"\r\n\r\n");
    let other = Peer::of(&edge);
    other.send(request("INVITE", "sound", "", SDP));
    while next(&mut calls).await.incoming.sip_call_id != "sound" {}
    assert!(edge.counts().malformed > 1_000, "{:?}", edge.counts());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_a_space_before_the_colon_stays_in_step() {
    let (edge, mut calls) = edge().await;
    let mut stream = TcpStream::connect(edge.local_addr()).expect("connected");
    for call in ["s1", "s2"] {
        let text = with_length(&request("INVITE", call, "", SDP))
            .replace("Content-Length:", "Content-Length :")
            .replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        for piece in text.as_bytes().chunks(200) {
            stream.write_all(piece).expect("written");
            stream.flush().expect("flushed");
        }
        let new = next(&mut calls).await;
        assert_eq!(
            (new.incoming.sip_call_id.as_str(), new.transport),
            (call, Transport::Tcp)
        );
        assert_eq!(new.incoming.offer.as_deref(), Some(SDP));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_with_an_impossible_or_too_large_a_length_is_told_so_and_closed() {
    let (edge, mut calls) = edge().await;
    for (length, status) in [
        ("18446744073709551615", 400),
        ("99999999999999999999999", 400),
        ("-1", 400),
        ("4294967295", 413),
        ("70000", 413),
    ] {
        let mut stream = TcpStream::connect(edge.local_addr()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let text = request(
            "INVITE",
            "long",
            &format!("Content-Length: {length}\r\n"),
            SDP,
        );
        stream.write_all(text.as_bytes()).expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("closed");
        let expected = format!("SIP/2.0 {status} ");
        assert!(answer.starts_with(&expected), "{length}: {answer}");
    }
    let mut stream = TcpStream::connect(edge.local_addr()).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let filler = format!("X-Filler: {}\r\n", "x".repeat(1_000)).repeat(40);
    let text = with_length(&request("INVITE", "heads", &filler, SDP));
    stream.write_all(text.as_bytes()).expect("written");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("SIP/2.0 513 "), "{answer}");
    let mut stream = TcpStream::connect(edge.local_addr()).expect("connected");
    let text = with_length(&request("INVITE", "after", "", SDP));
    stream.write_all(text.as_bytes()).expect("written");
    assert_eq!(next(&mut calls).await.incoming.sip_call_id, "after");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_past_the_limit_and_idle_streams_are_closed() {
    let limited = SipConfig {
        max_connections: 2,
        tcp_idle: Duration::from_secs(3),
        ..config()
    };
    let (edge, _calls) = SipEdge::bind(limited).await.expect("bound");
    let connect = || {
        let stream = TcpStream::connect(edge.local_addr()).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        std::thread::sleep(Duration::from_millis(50));
        stream
    };
    let mut held = [connect(), connect()];
    let began = Instant::now();
    assert_eq!(connect().read(&mut [0; 8]).expect("closed"), 0);
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "the third was not closed before the others became idle"
    );
    held[0].write_all(b"\r\n\r\n").expect("written");
    let mut pong = [0; 8];
    assert_eq!(held[0].read(&mut pong).expect("a pong"), 2);
    assert_eq!(held[0].read(&mut pong).expect("closed"), 0);
    assert_eq!(held[1].read(&mut pong).expect("closed"), 0);
    let end = Instant::now() + PATIENCE;
    while edge.counts().connections > 0 {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_gateway_says_when_to_come_back_and_keeps_its_calls() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    peer.send(request("INVITE", "before", "", SDP));
    let call = next(&mut calls).await;
    edge.set_accepting(false);
    let refused = peer.ask(request("INVITE", "draining", "", SDP));
    assert!(
        refused.starts_with("SIP/2.0 503 ") && refused.contains("Retry-After: 10\r\n"),
        "{refused}"
    );
    // The gateway's own 503, through the stack, says so too.
    let reject = SipCommand::Reject {
        party: Party::CALLER,
        status: 503,
        reason: "no operator".to_owned(),
    };
    call.commands.send(reject).await.expect("taken");
    let rejected = peer.answer();
    assert!(
        rejected.starts_with("SIP/2.0 503 ") && rejected.contains("Retry-After: 10\r\n"),
        "{rejected}"
    );
    assert!(
        rejected.contains("Reason: SIP;cause=503;text=\"no operator\"\r\n"),
        "{rejected}"
    );
    edge.set_accepting(true);
    peer.send(request("INVITE", "again", "", SDP));
    assert_eq!(next(&mut calls).await.incoming.sip_call_id, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_dropped_is_refused_and_leaves_nothing() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    for call in 0..20 {
        peer.send(request("INVITE", &format!("drop{call}"), "", SDP));
        drop(next(&mut calls).await);
        assert!(peer.answer().starts_with("SIP/2.0 503 "));
    }
    falls_silent(&edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_without_an_offer_gets_ours_and_its_ack_has_the_answer() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    let port = peer.0.local_addr().expect("bound").port();
    let here = |text: String| text.replace("127.0.0.1:9>", &format!("127.0.0.1:{port}>"));
    peer.send(here(request("INVITE", "late", "", "")));
    let mut call = next(&mut calls).await;
    assert_eq!(call.incoming.offer, None);
    let answer = SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(SDP.to_owned()),
    };
    call.commands.send(answer).await.expect("taken");
    let accepted = peer.answer();
    assert!(
        accepted.starts_with("SIP/2.0 200 ") && accepted.contains(SDP),
        "{accepted}"
    );
    assert!(
        accepted.contains(&format!(
            "Contact: <sip:gateway@127.0.0.1:{}>",
            edge.local_addr().port()
        )),
        "{accepted}"
    );
    let to = accepted
        .lines()
        .find(|line| line.starts_with("To:"))
        .expect("To");
    let ack = request("ACK", "late", "", SDP)
        .replace("z9hG4bKlate", "z9hG4bKack")
        .replace("To: <sip:12345@127.0.0.1>", to);
    peer.send(&ack);
    let answered = SipEvent::OfferAnswered {
        party: Party::CALLER,
        answer: SDP.to_owned(),
    };
    assert_eq!(event(&mut call.events).await, Some(answered));
    drop(call);
    assert!(peer.receive().starts_with("BYE sip:"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_all_interfaces_contact_is_the_address_that_the_peer_reaches() {
    let everywhere = config_at("0.0.0.0:0");
    let (edge, mut calls) = SipEdge::bind(everywhere).await.expect("bound");
    let port = edge.local_addr().port();
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    peer.connect(("127.0.0.1", port)).expect("connected");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let peer = Peer(peer);
    peer.send(request("INVITE", "any", "", SDP));
    let call = next(&mut calls).await;
    let answer = SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(SDP.to_owned()),
    };
    call.commands.send(answer).await.expect("taken");
    let accepted = peer.answer();
    let contact = format!("Contact: <sip:gateway@127.0.0.1:{port}>");
    assert!(accepted.contains(&contact), "{accepted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_never_acknowledged_ends_the_call() {
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    peer.send(request("INVITE", "noack", "", SDP));
    let mut call = next(&mut calls).await;
    let answer = SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(SDP.to_owned()),
    };
    call.commands.send(answer).await.expect("taken");
    let ended = SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::NoAck,
    };
    assert_eq!(event(&mut call.events).await, Some(ended));
    assert_eq!(event(&mut call.events).await, None);
    falls_silent(&edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_invite_that_nobody_answers_is_not_kept() {
    let (edge, _calls) = edge().await;
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for _ in 0..10 {
        let call = edge.place_call();
        let invite = SipCommand::Invite {
            party: Party::OPERATOR,
            target: Target::new(&format!("sip:op@{}", silent.local_addr().expect("bound"))),
            caller_number: Some(SECRET.into()),
            offer: SDP.to_owned(),
        };
        call.commands.send(invite).await.expect("taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
        call.commands
            .send(SipCommand::HangUp {
                party: Party::OPERATOR,
            })
            .await
            .expect("taken");
    }
    falls_silent(&edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_cannot_be_reached_is_told_soon_and_by_its_cause() {
    let patient = SipConfig {
        operator_reply: Duration::from_secs(30),
        ..config()
    };
    let (edge, _calls) = SipEdge::bind(patient).await.expect("bound");
    let port = free_port();
    for (to, status, cause) in [
        (format!("sip:op@127.0.0.1:{port}"), 503, "nothing listens"),
        (
            format!("sip:op@127.0.0.1:{port};transport=tcp"),
            503,
            "over TCP",
        ),
        ("sip:op@no-such-host.invalid".to_owned(), 503, "looked up"),
        ("tel:12345".to_owned(), 416, "no sip: URI"),
        (format!("sips:op@127.0.0.1:{port}"), 503, "over TLS"),
        (
            "sip:op@127.0.0.1;transport=ws".to_owned(),
            416,
            "none of udp, tcp and tls",
        ),
    ] {
        let mut call = edge.place_call();
        let invite = SipCommand::Invite {
            party: Party::OPERATOR,
            target: Target::new(&to),
            caller_number: None,
            offer: SDP.to_owned(),
        };
        call.commands.send(invite).await.expect("taken");
        match event(&mut call.events).await {
            Some(SipEvent::Rejected {
                status: got,
                reason,
                ..
            }) => {
                assert_eq!(got, status, "{to}: {reason}");
                assert!(reason.contains(cause), "{to}: {reason}");
            }
            other => panic!("{to}: {other:?}"),
        }
        assert_eq!(event(&mut call.events).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_refuses_who_waits_and_gives_the_address_back() {
    let (edge, mut calls) = edge().await;
    let address = edge.local_addr();
    let peer = Peer::of(&edge);
    peer.send(request("INVITE", "waits", "", SDP));
    let mut call = next(&mut calls).await;
    edge.close().await;
    assert!(peer.answer().starts_with("SIP/2.0 503 "));
    assert_eq!(event(&mut call.events).await, None);
    let again = config_at(&address.to_string());
    let (edge, _calls) = SipEdge::bind(again.clone()).await.expect("free again");
    let error = SipEdge::bind(again).await.expect_err("taken").to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("--set sip.listen="),
        "{error}"
    );
    drop(edge);
}

/// Writes down every log line that holds [`SECRET`], and that there are lines at all.
struct Leaks;

static LEAKED: StdMutex<Vec<String>> = StdMutex::new(Vec::new());
static HEARD: StdMutex<Vec<String>> = StdMutex::new(Vec::new());

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl tracing::Subscriber for Leaks {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if line.0.contains(SECRET) {
            locked(&LEAKED).push(line.0);
        } else if event.metadata().target().contains("gateway::sip") {
            locked(&HEARD).push(line.0);
        }
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn no_number_reaches_the_log_and_complaints_do() {
    tracing::subscriber::set_global_default(Leaks).expect("the only test with a global log");
    let (edge, mut calls) = edge().await;
    let peer = Peer::of(&edge);
    peer.send(request("INVITE", "secret", "", SDP));
    let call = next(&mut calls).await;
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&format!("sip:op@{}", silent.local_addr().expect("bound"))),
        caller_number: call.incoming.caller_number.clone(),
        offer: SDP.to_owned(),
    };
    call.commands.send(invite).await.expect("taken");
    let mut buffer = [0; 2_000];
    let (length, _) = silent.recv_from(&mut buffer).expect("an INVITE");
    assert!(
        String::from_utf8_lossy(&buffer[..length]).contains(SECRET),
        "the operator sees who calls"
    );
    drop(call);
    assert!(peer.answer().starts_with("SIP/2.0 503 "));
    peer.send(format!("garbage of {SECRET}"));
    peer.send(request(
        "INVITE",
        "broken",
        "Content-Length: 70000\r\n",
        SDP,
    ));
    assert!(peer.answer().starts_with("SIP/2.0 400 "));
    falls_silent(&edge).await;
    assert_eq!(*locked(&LEAKED), Vec::<String>::new());
    assert!(
        locked(&HEARD)
            .iter()
            .any(|line| line.contains("is not SIP")),
        "{:?}",
        locked(&HEARD)
    );
}
