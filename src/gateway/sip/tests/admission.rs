//! Who is let in: extensions by password, trunks by address or password, and nobody by anything else.

use super::malformed::{Peer, SDP, falls_silent, next, request, with_length};
use super::*;
use crate::sip::digest::{Algorithm, Challenge, Secret};
use crate::sip::limits::ScanLimits;

const PASSWORD: &str = "correct horse";

fn extension(name: &str) -> Extension {
    Extension {
        name: name.to_owned(),
        secret: Secret::Password(PASSWORD.to_owned()),
    }
}

fn trunk(name: &str) -> Trunk {
    Trunk {
        name: name.to_owned(),
        addresses: Vec::new(),
        peer: None,
        uri: None,
        login: None,
        register: None,
        options: None,
        outbound_proxy: None,
        trusted: true,
        offers_late: false,
    }
}

/// Two extensions, and a trunk that must prove itself.
fn guarded() -> SipConfig {
    let mut carrier = trunk("carrier");
    carrier.peer = Some(("carrier".to_owned(), Secret::Password(PASSWORD.to_owned())));
    SipConfig {
        extensions: vec![extension("1001"), extension("1002")],
        trunks: vec![carrier],
        ..config()
    }
}

async fn edge(config: SipConfig) -> (SipEdge, mpsc::Receiver<NewCall>) {
    SipEdge::bind(config).await.expect("bound")
}

/// A REGISTER of an extension from wherever `contact` says.
fn register(name: &str, cseq: u32, contact: &str, extra: &str) -> String {
    request("REGISTER", &format!("reg-{name}"), extra, "")
        .replace("sip:12345@127.0.0.1 SIP", "sip:xinqiao SIP")
        .replace("To: <sip:12345@", &format!("To: <sip:{name}@"))
        .replace("CSeq: 1 ", &format!("CSeq: {cseq} "))
        .replace("branch=z9hG4bK", &format!("branch=z9hG4bK{cseq}"))
        .lines()
        .map(|line| match line.starts_with("Contact:") {
            true if contact.is_empty() => String::new(),
            true => format!("Contact: {contact}\r\n"),
            false => format!("{line}\r\n"),
        })
        .collect()
}

fn header<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .collect()
}

/// The request again with the answer to a challenge.
fn proved(
    text: &str,
    challenged: &str,
    algorithm: Algorithm,
    user: &str,
    password: &str,
) -> String {
    let method = text.split(' ').next().expect("a method");
    let uri = text.split(' ').nth(1).expect("a URI");
    let challenge = header(challenged, "WWW-Authenticate")
        .into_iter()
        .find(|value| value.contains(&format!("algorithm={}", algorithm.token())))
        .and_then(Challenge::parse)
        .unwrap_or_else(|| panic!("no challenge in {challenged}"));
    let value = challenge.answer((user, password), method, uri, "c0ffee", 1);
    let cseq = text
        .split("CSeq: ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let cseq: u32 = cseq.and_then(|cseq| cseq.parse().ok()).expect("a CSeq");
    text.replace(&format!("CSeq: {cseq} "), &format!("CSeq: {} ", cseq + 1))
        .replace("branch=z9hG4bK", &format!("branch=z9hG4bKp{cseq}"))
        .replacen("\r\nTo:", &format!("\r\nAuthorization: {value}\r\nTo:"), 1)
}

/// Registers with the right password; the last answer.
fn registers(peer: &Peer, text: &str, user: &str) -> String {
    let challenged = peer.ask(text);
    assert!(challenged.starts_with("SIP/2.0 401 "), "{challenged}");
    peer.ask(proved(text, &challenged, Algorithm::Sha256, user, PASSWORD))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_registers_renews_asks_and_leaves() {
    let (edge, _calls) = edge(guarded()).await;
    let peer = Peer::of(&edge);
    let contact = "<sip:1001@127.0.0.1:9;line=1>;expires=120";
    let answer = registers(&peer, &register("1001", 1, contact, ""), "1001");
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    assert_eq!(
        header(&answer, "Contact"),
        ["<sip:1001@127.0.0.1:9;line=1>;expires=120"]
    );
    assert_eq!(edge.counts().registered, 1);
    let two = "\"a, b\" <sip:1001@127.0.0.1:10>;q=0.5, <sip:1001@127.0.0.1:11>";
    let answer = registers(
        &peer,
        &register("1001", 3, two, "Expires: 600\r\nPath: <sip:p;lr>\r\n"),
        "1001",
    );
    assert_eq!(header(&answer, "Contact").len(), 3, "{answer}");
    assert_eq!(header(&answer, "Path"), ["<sip:p;lr>"]);
    let answer = registers(&peer, &register("1001", 5, "", ""), "1001");
    assert_eq!(header(&answer, "Contact").len(), 3, "{answer}");
    let answer = registers(
        &peer,
        &register("1001", 7, "<sip:1001@127.0.0.1:10>", "Expires: 5\r\n"),
        "1001",
    );
    assert!(answer.starts_with("SIP/2.0 423 "), "{answer}");
    assert_eq!(header(&answer, "Min-Expires"), ["60"]);
    let answer = registers(&peer, &register("1001", 9, "*", "Expires: 60\r\n"), "1001");
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    let answer = registers(&peer, &register("1001", 11, "*", "Expires: 0\r\n"), "1001");
    assert!(
        answer.starts_with("SIP/2.0 200 ") && header(&answer, "Contact").is_empty(),
        "{answer}"
    );
    assert_eq!(edge.counts().registered, 0);
    falls_silent(&edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_a_wrong_password_and_a_foreign_name_are_refused_and_a_retransmission_is_not() {
    let (edge, _calls) = edge(guarded()).await;
    let peer = Peer::of(&edge);
    let text = register("1001", 1, "<sip:1001@127.0.0.1:9>", "");
    let challenged = peer.ask(&text);
    let right = proved(&text, &challenged, Algorithm::Md5, "1001", PASSWORD);
    let granted = peer.ask(&right);
    assert!(granted.starts_with("SIP/2.0 200 "), "{granted}");
    assert_eq!(
        peer.ask(&right),
        granted,
        "a retransmission gets the same answer"
    );
    // The same credentials in another request, from another place.
    let thief = Peer::of(&edge);
    let replay = right
        .replace("CSeq: 2", "CSeq: 3")
        .replace("branch=z9hG4bK", "branch=z9hG4bKreplay")
        .replace(
            "Contact: <sip:1001@127.0.0.1:9>",
            "Contact: <sip:1001@127.0.0.1:666>",
        );
    let answer = thief.ask(&replay);
    assert!(
        answer.starts_with("SIP/2.0 401 ") && answer.contains("stale=true"),
        "{answer}"
    );
    assert_eq!(edge.counts().registered, 1);
    // Wrong, unknown, and somebody else's place with one's own password.
    for (user, password) in [("1001", "wrong"), ("9999", PASSWORD), ("nobody", "")] {
        let text = register(user, 5, "<sip:1001@127.0.0.1:9>", "");
        let answer = thief.ask(proved(
            &text,
            &thief.ask(&text),
            Algorithm::Sha256,
            user,
            password,
        ));
        assert!(
            answer.starts_with("SIP/2.0 401 ") && !answer.contains("stale"),
            "{answer}"
        );
    }
    let text = register("1002", 5, "<sip:1001@127.0.0.1:9>", "");
    let answer = thief.ask(proved(
        &text,
        &thief.ask(&text),
        Algorithm::Sha256,
        "1001",
        PASSWORD,
    ));
    assert!(answer.starts_with("SIP/2.0 403 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_that_is_too_old_is_said_to_be_stale() {
    let hasty = SipConfig {
        nonce_life: Duration::from_millis(200),
        ..guarded()
    };
    let (edge, _calls) = edge(hasty).await;
    let peer = Peer::of(&edge);
    let text = register("1001", 1, "<sip:1001@127.0.0.1:9>", "");
    let challenged = peer.ask(&text);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let late = proved(&text, &challenged, Algorithm::Sha256, "1001", PASSWORD);
    let again = peer.ask(&late);
    assert!(
        again.starts_with("SIP/2.0 401 ") && again.contains("stale=true"),
        "{again}"
    );
    let answer = peer.ask(proved(&text, &again, Algorithm::Sha256, "1001", PASSWORD));
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_trunk_set_up_only_those_who_prove_it_may_call() {
    let (edge, mut calls) = edge(guarded()).await;
    let peer = Peer::of(&edge);
    let invite = request(
        "INVITE",
        "stranger",
        "P-Asserted-Identity: <sip:10086@h>\r\n",
        SDP,
    );
    let challenged = peer.ask(&invite);
    assert!(challenged.starts_with("SIP/2.0 401 "), "{challenged}");
    let wrong = peer.ask(proved(
        &invite,
        &challenged,
        Algorithm::Sha256,
        "carrier",
        "guess",
    ));
    let unknown = peer.ask(proved(
        &invite,
        &challenged,
        Algorithm::Sha256,
        "who",
        "guess",
    ));
    // But for the nonce, the branch and the tag the answers are the same.
    let shape = |answer: &str| {
        let kept = |line: &&str| !line.starts_with("Via") && !line.starts_with("To");
        let lines: Vec<_> = answer.lines().filter(kept).collect();
        lines
            .join("\n")
            .split("nonce=")
            .map(str::len)
            .collect::<Vec<_>>()
    };
    assert!(wrong.starts_with("SIP/2.0 401 "), "{wrong}");
    assert_eq!(shape(&wrong), shape(&unknown), "{wrong}\n{unknown}");
    assert!(calls.try_recv().is_err());
    // The trunk is believed about the caller, an extension is not.
    peer.send(proved(
        &invite,
        &challenged,
        Algorithm::Md5,
        "carrier",
        PASSWORD,
    ));
    let incoming = next(&mut calls).await.incoming;
    assert_eq!(
        (incoming.trunk.as_deref(), incoming.caller_number),
        (Some("carrier"), Some("10086".into()))
    );
    while !peer.receive().starts_with("SIP/2.0 503 ") {}
    let invite = invite.replace("Call-ID: stranger", "Call-ID: desk");
    let challenged = peer.ask(&invite);
    peer.send(proved(
        &invite,
        &challenged,
        Algorithm::Md5,
        "1001",
        PASSWORD,
    ));
    let incoming = next(&mut calls).await.incoming;
    assert_eq!(
        (incoming.trunk, incoming.caller_number),
        (None, Some("1001".into()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_is_known_by_its_address_and_brings_who_was_called_before() {
    let mut carrier = trunk("carrier");
    carrier.addresses = vec!["127.0.0.0/8".parse().expect("a network")];
    let mut other = trunk("other");
    other.addresses = vec!["192.0.2.0/24".parse().expect("a network")];
    let known = SipConfig {
        trunks: vec![other.clone(), carrier],
        ..config()
    };
    let (first, mut calls) = edge(known).await;
    let peer = Peer::of(&first);
    let diverted = "P-Asserted-Identity: \"x, y\" <sip:+8613900139000@h>, <tel:+8613900139000>\r\n\
                    Diversion: <sip:8002@h>;reason=no-answer\r\nDiversion: <sip:8001@h>;reason=busy\r\n";
    peer.send(request("INVITE", "diverted", diverted, SDP));
    let call = next(&mut calls).await;
    assert_eq!(call.incoming.trunk.as_deref(), Some("carrier"));
    assert_eq!(call.incoming.caller_number, Some("+8613900139000".into()));
    assert_eq!(call.incoming.diverted_from, Some("8001".into()));
    drop(call);
    let history = "History-Info: <sip:8003@h>;index=1, <sip:12345@h>;index=1.1\r\n";
    peer.send(request("INVITE", "history", history, SDP));
    assert_eq!(
        next(&mut calls).await.incoming.diverted_from,
        Some("8003".into())
    );
    // Where nobody knows us, a trunk's address is no password either.
    let strange = SipConfig {
        trunks: vec![other],
        ..config()
    };
    let (second, _calls) = edge(strange).await;
    let answer = Peer::of(&second).ask(request("INVITE", "strange", "", SDP));
    assert!(answer.starts_with("SIP/2.0 401 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn known_and_unknown_names_are_refused_in_the_same_time() {
    let patient = SipConfig {
        scans: ScanLimits {
            targets: 10_000,
            ..config().scans
        },
        ..guarded()
    };
    let (edge, _calls) = edge(patient).await;
    let peer = Peer::of(&edge);
    let names = ["1001", "9009", "carrier", "nobody"];
    let mut took = names.map(|_| Vec::new());
    // One after the other, so that whatever else this machine does slows all of them alike.
    for round in 0..200 {
        for (index, name) in names.into_iter().enumerate() {
            let text = register(name, round * 2 + 1, "<sip:x@127.0.0.1:9>", "");
            let wrong = proved(&text, &peer.ask(&text), Algorithm::Sha256, name, "wrong");
            let began = Instant::now();
            let answer = peer.ask(wrong);
            took[index].push(began.elapsed());
            assert!(answer.starts_with("SIP/2.0 401 "), "{answer}");
        }
    }
    let medians = took.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    let (fastest, slowest) = (medians.iter().min(), medians.iter().max());
    let (fastest, slowest) = (*fastest.expect("four"), *slowest.expect("four"));
    assert!(
        slowest < fastest + Duration::from_micros(50).max(fastest / 2),
        "{names:?} take {medians:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_not_answered_any_more_and_a_busy_source_is() {
    let strict = SipConfig {
        scans: ScanLimits {
            targets: 10,
            window: Duration::from_mins(1),
            ban: Duration::from_millis(700),
        },
        scanners: vec!["friendly-scanner".to_owned()],
        max_calls: 0,
        ..config()
    };
    let (edge, _calls) = edge(strict).await;
    let peer = Peer::of(&edge);
    for call in 0..100 {
        let answer = peer.ask(request("INVITE", &format!("busy{call}"), "", SDP));
        assert!(answer.starts_with("SIP/2.0 503 "), "{answer}");
    }
    let named = "User-Agent: Friendly-Scanner 0.2\r\n";
    peer.send(request("OPTIONS", "scanner", named, ""));
    peer.send(request("INVITE", "scanner", named, SDP));
    let dial = |number: u32| {
        request("INVITE", &format!("scan{number}"), "", SDP).replace(
            "sip:12345@127.0.0.1 SIP",
            &format!("sip:900{number}@127.0.0.1 SIP"),
        )
    };
    // The next answer is to the next request: the scanner got none.
    for number in 0..9 {
        let answer = peer.ask(dial(number));
        assert!(
            answer.contains(&format!("Call-ID: scan{number}\r\n")),
            "{answer}"
        );
    }
    peer.send(dial(9));
    peer.send(dial(10));
    peer.send(request("OPTIONS", "banned", "", ""));
    tokio::time::sleep(Duration::from_millis(900)).await;
    let answer = peer.ask(request("OPTIONS", "later", "", ""));
    assert!(answer.contains("Call-ID: later\r\n"), "{answer}");
    assert!(edge.counts().refused > 110);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_called_where_it_registered_from() {
    let routed = SipConfig {
        extensions: vec![extension("1001")],
        ..config()
    };
    let (edge, _calls) = edge(routed).await;
    let phone = Peer::of(&edge);
    let own = phone.0.local_addr().expect("bound");
    let place = |edge: &SipEdge, user: &str| {
        let placed = edge.place_call();
        let invite = SipCommand::Invite {
            party: Party::OPERATOR,
            target: Target::new(&format!("sip:{user}@xinqiao")),
            caller_number: Some("13800138000".into()),
            offer: SDP.to_owned(),
        };
        placed.commands.try_send(invite).expect("taken");
        placed
    };
    // Nobody is there yet.
    let mut unreached = place(&edge, "1001");
    let said = unreached.events.recv().await;
    assert!(
        matches!(said, Some(SipEvent::Rejected { status: 480, .. })),
        "{said:?}"
    );
    // Behind a translating router: the contact leads nowhere, the way back is where the REGISTER came from.
    let answer = registers(
        &phone,
        &register("1001", 1, "<sip:1001@10.9.9.9:5060;ob>", ""),
        "1001",
    );
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let placed = place(&edge, "1001");
    let invite = phone.receive();
    assert!(
        invite.starts_with("INVITE sip:1001@10.9.9.9:5060;ob SIP/2.0\r\n"),
        "{invite}"
    );
    // Its answer names that contact too, and the ACK and BYE come all the same.
    let via = header(&invite, "Via")[0];
    let from = header(&invite, "From")[0];
    let to = header(&invite, "To")[0];
    let call_id = header(&invite, "Call-ID")[0];
    let cseq = header(&invite, "CSeq")[0];
    phone.send(with_length(&format!(
        "SIP/2.0 200 OK\r\nVia: {via}\r\nFrom: {from}\r\nTo: {to};tag=phone\r\nCall-ID: {call_id}\r\nCSeq: {cseq}\r\n\
         Contact: <sip:1001@10.9.9.9:5060;ob>\r\nContent-Type: application/sdp\r\n\r\n{SDP}"
    )));
    let ack = phone.receive();
    assert!(ack.starts_with(&format!("ACK sip:1001@{own}")), "{ack}");
    drop(placed);
    let bye = phone.receive();
    assert!(bye.starts_with("BYE sip:1001@"), "{bye}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_stream_is_reused_for_calls_and_outlives_idleness() {
    use std::io::{Read, Write};
    let hasty = SipConfig {
        extensions: vec![extension("1001")],
        tcp_idle: Duration::from_millis(300),
        ..config()
    };
    let (edge, _calls) = edge(hasty).await;
    let mut stream = std::net::TcpStream::connect(edge.local_addr()).expect("connected");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    let mut ask = |text: &str| {
        let text = with_length(&text.replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
        stream.write_all(text.as_bytes()).expect("written");
        let mut buffer = vec![0; 8_192];
        let length = stream.read(&mut buffer).expect("an answer");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    };
    let text = register("1001", 1, "<sip:1001@10.9.9.9:40000;transport=tcp>", "");
    let challenged = ask(&text);
    let granted = ask(&proved(
        &text,
        &challenged,
        Algorithm::Sha256,
        "1001",
        PASSWORD,
    ));
    assert!(granted.starts_with("SIP/2.0 200 "), "{granted}");
    tokio::time::sleep(Duration::from_millis(900)).await;
    let placed = edge.place_call();
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new("sip:1001@xinqiao"),
        caller_number: None,
        offer: SDP.to_owned(),
    };
    placed.commands.try_send(invite).expect("taken");
    let mut buffer = vec![0; 8_192];
    let length = stream
        .read(&mut buffer)
        .expect("an INVITE over the same stream");
    let invite = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(
        invite.starts_with("INVITE sip:1001@10.9.9.9:40000"),
        "{invite}"
    );
    assert!(invite.contains("Via: SIP/2.0/TCP 127.0.0.1:"), "{invite}");
}

/// With another maker's digest: it registers as an extension, and a call reaches it through a trunk that proves itself.
#[tokio::test(flavor = "multi_thread")]
async fn sipp_proves_itself_as_extension_and_as_trunk() {
    if !Path::new(SIPP).exists() {
        println!("skipped: {SIPP} is not installed (apt-get install sip-tester)");
        return;
    }
    let secret = Secret::Password("correct".to_owned());
    let mut carrier = trunk("carrier");
    carrier.peer = Some(("carrier".to_owned(), secret.clone()));
    let config = SipConfig {
        extensions: vec![Extension {
            name: "1001".to_owned(),
            secret,
        }],
        trunks: vec![carrier],
        ..config()
    };
    let gateway = Gateway::start(config, "sip:1001@xinqiao".to_owned()).await;
    let (phone, port) = Sipp::operator("operator-answers", "", 3, &[]);
    let place = ["-key", "phone", &port.to_string()].map(str::to_owned);
    let place: Vec<&str> = place.iter().map(String::as_str).collect();
    Sipp::caller("extension-registers", "", gateway.port(), 1, &place)
        .succeeds()
        .await;
    assert_eq!(gateway.edge.counts().registered, 1);
    Sipp::caller("caller-proves-itself", "", gateway.port(), 3, &[])
        .succeeds()
        .await;
    phone.succeeds().await;
    gateway.falls_silent().await;
    let incoming = locked(&gateway.incoming);
    assert!(
        incoming
            .iter()
            .all(|call| call.trunk.as_deref() == Some("carrier"))
    );
}
