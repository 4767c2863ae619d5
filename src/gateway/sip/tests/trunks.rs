//! Trunks from our side: alive or not, registered or not, and what happens when the first way does not work.

use std::fmt::Write as _;

use super::malformed::{Peer, SDP, with_length};
use super::*;
use crate::sip::digest::{Algorithm, Guard, Secret, Verdict};

pub(super) const PASSWORD: &str = "battery staple";

pub(super) fn trunk(name: &str, to: SocketAddr) -> Trunk {
    Trunk {
        name: name.to_owned(),
        addresses: Vec::new(),
        peer: None,
        uri: Some(format!("sip:{to}")),
        login: Some(("hotline".to_owned(), PASSWORD.to_owned())),
        register: None,
        options: None,
        outbound_proxy: None,
        trusted: true,
        offers_late: false,
    }
}

/// A PBX's socket, not connected to anybody.
struct Pbx(UdpSocket);

impl Pbx {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    fn address(&self) -> SocketAddr {
        self.0.local_addr().expect("bound")
    }

    #[track_caller]
    fn receive(&self) -> (String, SocketAddr) {
        let mut buffer = vec![0; 65_536];
        let received = self.0.recv_from(&mut buffer);
        let (length, from) = received.expect("a request in time");
        (
            String::from_utf8_lossy(&buffer[..length]).into_owned(),
            from,
        )
    }

    fn answer(&self, request: &str, from: SocketAddr, status: &str, extra: &str) {
        let kept = lines_for_answer(request);
        let to = request
            .lines()
            .find(|line| line.starts_with("To:"))
            .expect("To");
        let to = if to.contains(";tag=") {
            to.to_owned()
        } else {
            format!("{to};tag=pbx")
        };
        let (headers, body) = match extra.split_once("\r\n\r\n") {
            Some((headers, body)) => (format!("{headers}\r\n"), body),
            None => (extra.to_owned(), ""),
        };
        let text = with_length(&format!(
            "SIP/2.0 {status}\r\n{kept}{to}\r\n{headers}\r\n{body}"
        ));
        self.0.send_to(text.as_bytes(), from).expect("sent");
    }
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

async fn until(edge: &SipEdge, wanted: impl Fn(&[TrunkState]) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !wanted(&edge.trunks()) {
        assert!(Instant::now() < end, "{:?}", edge.trunks());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) const US: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(super) fn judged(guard: &mut Guard<()>, method: &str, proof: &str) -> Verdict<()> {
    let picked = guard.pick(std::iter::once(proof)).expect("one");
    let credentials = picked.expect("credentials for its realm");
    guard.judge(Instant::now(), US, method, &credentials)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_does_not_answer_is_down_and_comes_back() {
    let pbx = Pbx::new();
    let mut watched = trunk("pbx", pbx.address());
    watched.options = Some(Duration::from_millis(200));
    let config = SipConfig {
        trunks: vec![watched],
        t1: Duration::from_millis(10),
        ..config()
    };
    let (edge, _calls) = SipEdge::bind(config).await.expect("bound");
    let (options, from) = pbx.receive();
    assert!(
        options.starts_with(&format!("OPTIONS sip:{} SIP/2.0\r\n", pbx.address())),
        "{options}"
    );
    // A refusal is a sign of life.
    pbx.answer(&options, from, "404 Not Found", "");
    until(&edge, |trunks| !trunks[0].up).await;
    let mut placed = edge.place_call();
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&format!("sip:6000@{}", pbx.address())),
        caller_number: None,
        offer: SDP.to_owned(),
    };
    placed.commands.try_send(invite).expect("taken");
    let said = placed.events.recv().await;
    assert!(
        matches!(&said, Some(SipEvent::Rejected { status: 503, reason, .. }) if reason.contains("pbx")),
        "{said:?}"
    );
    let end = Instant::now() + PATIENCE;
    while !edge.trunks()[0].up {
        assert!(Instant::now() < end);
        let (options, from) = pbx.receive();
        pbx.answer(&options, from, "200 OK", "");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_register_with_a_pbx_that_challenges_renew_and_leave() {
    let pbx = Pbx::new();
    let mut registered = trunk("pbx", pbx.address());
    registered.register = Some(30);
    let config = SipConfig {
        trunks: vec![registered],
        ..config()
    };
    let (edge, _calls) = SipEdge::bind(config).await.expect("bound");
    let mut guard = Guard::new(
        "asterisk",
        &Algorithm::ALL,
        Duration::from_mins(1),
        [1; 32],
        Instant::now(),
    );
    guard.admit("hotline", Secret::Password(PASSWORD.to_owned()), ());
    let (first, from) = pbx.receive();
    assert!(
        first.contains(&format!("To: <sip:hotline@{}>", pbx.address())),
        "{first}"
    );
    let mut challenges = String::new();
    for value in guard.challenge(Instant::now(), US, false) {
        let _ = write!(challenges, "WWW-Authenticate: {value}\r\n");
    }
    pbx.answer(&first, from, "401 Unauthorized", &challenges);
    let (second, from) = pbx.receive();
    let proof = value(&second, "Authorization").expect("a proof");
    assert!(proof.contains("algorithm=SHA-256"), "{proof}");
    let verdict = judged(&mut guard, "REGISTER", proof);
    assert_eq!(verdict, Verdict::Known(()));
    assert_eq!(value(&second, "Call-ID"), value(&first, "Call-ID"));
    // Too brief for this one; then it grants a single second, so that we renew at once.
    pbx.answer(
        &second,
        from,
        "423 Interval Too Brief",
        "Min-Expires: 90\r\n",
    );
    let (third, from) = pbx.receive();
    assert_eq!(value(&third, "Expires"), Some("90"));
    let contact = value(&third, "Contact").expect("a Contact");
    assert!(
        contact.starts_with(&format!("<sip:hotline@{}", edge.local_addr())),
        "{contact}"
    );
    pbx.answer(
        &third,
        from,
        "200 OK",
        &format!(
            "Contact: <sip:other@h>;expires=900\r\nContact: {contact};expires=1\r\nExpires: 900\r\n"
        ),
    );
    until(&edge, |trunks| trunks[0].registered == Some(true)).await;
    // Long before what the others are granted.
    let (renewal, from) = pbx.receive();
    pbx.answer(&renewal, from, "200 OK", "Expires: 900\r\n");
    // When we go, we say so.
    let closing = tokio::spawn(edge.close());
    let (last, from) = pbx.receive();
    assert_eq!(value(&last, "Expires"), Some("0"), "{last}");
    pbx.answer(&last, from, "200 OK", "");
    closing.await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_answers_the_best_of_a_proxys_challenges_and_the_bye_does_too() {
    let pbx = Pbx::new();
    let config = SipConfig {
        trunks: vec![trunk("pbx", pbx.address())],
        ..config()
    };
    let (edge, _calls) = SipEdge::bind(config).await.expect("bound");
    let mut guard = Guard::new(
        "pbx",
        &Algorithm::ALL,
        Duration::from_mins(1),
        [2; 32],
        Instant::now(),
    );
    guard.admit("hotline", Secret::Password(PASSWORD.to_owned()), ());
    let mut placed = edge.place_call();
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&format!("sip:6000@{}", pbx.address())),
        caller_number: Some("13800138000".into()),
        offer: SDP.to_owned(),
    };
    placed.commands.try_send(invite).expect("taken");
    let mut challenged = |method: &str| {
        let (request, from) = pbx.receive();
        assert!(request.starts_with(method), "{request}");
        let mut challenges = "Proxy-Authenticate: Digest realm=\"pbx\", nonce=\"x\", algorithm=SHA-512-256, qop=\"auth\"\r\n".to_owned();
        for value in guard.challenge(Instant::now(), US, false) {
            let value = value.replace("qop=\"auth\"", "qop=\"auth-int,auth\"");
            let _ = write!(challenges, "Proxy-Authenticate: {value}\r\n");
        }
        pbx.answer(
            &request,
            from,
            "407 Proxy Authentication Required",
            &challenges,
        );
        loop {
            let (request, from) = pbx.receive();
            if request.starts_with("ACK ") {
                continue;
            }
            let proof = value(&request, "Proxy-Authorization")
                .unwrap_or_else(|| panic!("no proof in {request}"));
            assert_eq!(
                judged(&mut guard, method, proof),
                Verdict::Known(()),
                "{proof}"
            );
            return (request, from);
        }
    };
    let (invite, from) = challenged("INVITE");
    assert!(
        value(&invite, "From")
            .expect("From")
            .contains(&format!("<sip:13800138000@{}>", pbx.address().ip())),
        "{invite}"
    );
    let contact = format!(
        "Contact: <sip:6000@{}>\r\nContent-Type: application/sdp\r\n\r\n{SDP}",
        pbx.address()
    );
    pbx.answer(&invite, from, "200 OK", &contact);
    assert!(matches!(
        placed.events.recv().await,
        Some(SipEvent::Answered { .. })
    ));
    let (ack, _) = pbx.receive();
    assert!(ack.starts_with("ACK "), "{ack}");
    placed
        .commands
        .try_send(SipCommand::HangUp {
            party: Party::OPERATOR,
        })
        .expect("taken");
    let (bye, from) = challenged("BYE");
    pbx.answer(&bye, from, "200 OK", "");
}

/// Two ways to the operator: what the first says, and what becomes of the call.
async fn first_way_says(status: Option<&str>) -> Option<SipEvent> {
    let (first, second) = (Pbx::new(), Pbx::new());
    let rule = crate::sip::route::Rule {
        called: crate::sip::route::Called::Prefix(String::new()),
        trunk: None,
        to: vec![
            format!("sip:a@{}", first.address()),
            format!("sip:b@{}", second.address()),
        ],
    };
    let config = SipConfig {
        routes: crate::sip::route::Routes(vec![rule]),
        hop_reply: Duration::from_millis(300),
        ..config()
    };
    let (edge, mut calls) = SipEdge::bind(config).await.expect("bound");
    Peer::of(&edge).send(super::malformed::request("INVITE", "ways", "", SDP));
    let mut call = super::malformed::next(&mut calls).await;
    assert_eq!(call.route.len(), 2);
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&call.route[0]),
        caller_number: None,
        offer: SDP.to_owned(),
    };
    call.commands.send(invite).await.expect("taken");
    let (request, from) = first.receive();
    if let Some(status) = status {
        first.answer(&request, from, status, "");
    }
    if status != Some("603 Decline") {
        let (request, from) = loop {
            let (request, from) = second.receive();
            if request.starts_with("INVITE sip:b@") {
                break (request, from);
            }
        };
        let contact = format!(
            "Contact: <sip:b@{}>\r\nContent-Type: application/sdp\r\n\r\n{SDP}",
            second.address()
        );
        second.answer(&request, from, "200 OK", &contact);
    }
    loop {
        match call.events.recv().await {
            Some(SipEvent::Ringing { .. }) => {}
            event => {
                // Nothing of the first way may end the call later.
                let more =
                    tokio::time::timeout(Duration::from_millis(300), call.events.recv()).await;
                assert!(
                    more.is_err() || !matches!(event, Some(SipEvent::Answered { .. })),
                    "{more:?}"
                );
                return event;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_way_is_tried_when_the_first_is_silent_broken_or_busy_and_not_when_it_declines() {
    let (silent, broken, busy, declined) = tokio::join!(
        first_way_says(None),
        first_way_says(Some("503 Service Unavailable")),
        first_way_says(Some("486 Busy Here")),
        first_way_says(Some("603 Decline")),
    );
    for answered in [silent, broken, busy] {
        assert!(
            matches!(answered, Some(SipEvent::Answered { .. })),
            "{answered:?}"
        );
    }
    assert!(
        matches!(declined, Some(SipEvent::Rejected { status: 603, .. })),
        "{declined:?}"
    );
}
