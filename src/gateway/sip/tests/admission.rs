//! Who is let in: extensions by password, trunks by address or password, and nobody by anything else.

use super::malformed::{Peer, SDP, falls_silent, next, request, with_length};
use super::*;
use crate::gateway::sip::edge::admission::{Admitted, Who};
use crate::sip::digest::{Algorithm, Challenge, Secret};
use crate::sip::limits::{GuessLimits, ScanLimits};

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
pub(super) fn guarded() -> SipConfig {
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

/// What telephones say besides; an answer may be twice as long as the request, and no more.
const BESIDES: &str = "Max-Forwards: 70\r\nUser-Agent: a telephone, 1.0\r\nAllow: INVITE, ACK, CANCEL, BYE, OPTIONS\r\n";

/// A REGISTER of an extension from wherever `contact` says.
pub(super) fn register(name: &str, cseq: u32, contact: &str, extra: &str) -> String {
    let extra = format!("{extra}{BESIDES}");
    request("REGISTER", &format!("reg-{name}"), &extra, "")
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

pub(super) fn header<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .collect()
}

/// The request again with the answer to a challenge.
fn authenticated(
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
pub(super) fn registers(peer: &Peer, text: &str, user: &str) -> String {
    let challenged = peer.ask(text);
    assert!(challenged.starts_with("SIP/2.0 401 "), "{challenged}");
    peer.ask(authenticated(
        text,
        &challenged,
        Algorithm::Sha256,
        user,
        PASSWORD,
    ))
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
    let right = authenticated(&text, &challenged, Algorithm::Md5, "1001", PASSWORD);
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
        let answer = thief.ask(authenticated(
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
    let answer = thief.ask(authenticated(
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
    let late = authenticated(&text, &challenged, Algorithm::Sha256, "1001", PASSWORD);
    let again = peer.ask(&late);
    assert!(
        again.starts_with("SIP/2.0 401 ") && again.contains("stale=true"),
        "{again}"
    );
    let answer = peer.ask(authenticated(
        &text,
        &again,
        Algorithm::Sha256,
        "1001",
        PASSWORD,
    ));
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
    let wrong = peer.ask(authenticated(
        &invite,
        &challenged,
        Algorithm::Sha256,
        "carrier",
        "guess",
    ));
    let unknown = peer.ask(authenticated(
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
    peer.send(authenticated(
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
    peer.send(authenticated(
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
        guesses: GuessLimits {
            of_socket: 10_000,
            of_network: 10_000,
            ..config().guesses
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
            let wrong = authenticated(&text, &peer.ask(&text), Algorithm::Sha256, name, "wrong");
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

/// A peer at another address of this machine.
fn peer_at(edge: &SipEdge, address: &str) -> Peer {
    let socket = UdpSocket::bind((address, 0)).expect("a socket");
    socket.connect(edge.local_addr()).expect("connected");
    let patience = Some(Duration::from_secs(5));
    socket.set_read_timeout(patience).expect("a timeout");
    Peer(socket)
}

/// What comes within a moment.
fn within_a_moment(peer: &Peer) -> Option<String> {
    let mut buffer = vec![0; 65_536];
    let moment = Some(Duration::from_millis(300));
    peer.0.set_read_timeout(moment).expect("a timeout");
    let length = peer.0.recv(&mut buffer).ok()?;
    let patience = Some(Duration::from_secs(5));
    peer.0.set_read_timeout(patience).expect("a timeout");
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The request with a guess of extension 1001's password, as `dress` writes the header.
fn guess(
    text: &str,
    challenged: &str,
    number: u32,
    user: &str,
    dress: fn(&str) -> String,
) -> String {
    let guessed = authenticated(
        text,
        challenged,
        Algorithm::Sha256,
        user,
        &format!("guess{number}"),
    );
    let (before, rest) = guessed.split_once("Authorization: ").expect("a guess");
    let (value, after) = rest.split_once("\r\n").expect("a line");
    format!("{before}{}\r\n{after}", dress(value))
        .replace("branch=z9hG4bK", &format!("branch=z9hG4bKg{number}"))
        .replace("CSeq: ", &format!("CSeq: {number}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_counted_by_the_header_that_is_judged_whatever_stands_beside_it() {
    let (edge, mut calls) = edge(guarded()).await;
    let plain = |value: &str| format!("Authorization: {value}");
    let before =
        |value: &str| format!("Authorization: Digest realm=\"x\"\r\nauthorization: {value}");
    let behind = |value: &str| format!("Authorization: {value}\r\nAuthorization: Basic eDp5");
    let folded = |value: &str| format!("Authorization:\r\n {value}");
    let register = register("1001", 1, "<sip:1001@127.0.0.1:9>", "");
    let invite = request("INVITE", "guess", "", SDP);
    let texts = [&register, &invite];
    let dresses: [fn(&str) -> String; 4] = [plain, before, behind, folded];
    for (index, dress) in dresses.into_iter().enumerate() {
        let peer = peer_at(&edge, &format!("127.0.1.{}", index + 1));
        let challenged = peer.ask(&register);
        let answered = (1..40)
            .take_while(|number| {
                let text = texts[*number as usize % 2];
                peer.send(guess(text, &challenged, *number, "1001", dress));
                within_a_moment(&peer).is_some_and(|answer| answer.starts_with("SIP/2.0 401 "))
            })
            .count();
        assert_eq!(answered, 10, "dress {index}");
        // Even the right one is not judged there any more, and that of somebody else is.
        peer.send(authenticated(
            &register,
            &challenged,
            Algorithm::Sha256,
            "1001",
            PASSWORD,
        ));
        assert_eq!(within_a_moment(&peer), None);
        let other = register
            .replace("1001", "1002")
            .replace("CSeq: 1 ", &format!("CSeq: {} ", index * 2 + 1));
        peer.send(authenticated(
            &other,
            &challenged,
            Algorithm::Sha256,
            "1002",
            PASSWORD,
        ));
        let answer = within_a_moment(&peer).expect("an answer");
        assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    }
    // Two for our realm are one too many, whichever is right.
    let peer = peer_at(&edge, "127.0.1.9");
    let challenged = peer.ask(&register);
    let right = authenticated(&register, &challenged, Algorithm::Sha256, "1001", PASSWORD);
    let line = right
        .lines()
        .find(|line| line.starts_with("Authorization: "));
    let twice = format!("{}\r\n", line.expect("credentials")).repeat(2);
    let (head, rest) = right.split_once("Authorization: ").expect("credentials");
    let rest = rest.split_once("\r\n").expect("a line").1;
    let answer = peer.ask(format!("{head}{twice}{rest}"));
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    assert!(calls.try_recv().is_err(), "a guess became a call");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_networks_may_not_guess_one_account_for_ever_and_its_phone_is_not_shut_out() {
    let (edge, _calls) = edge(guarded()).await;
    let home = peer_at(&edge, "127.0.2.1");
    let text = register("1001", 1, "<sip:1001@127.0.2.1:9>", "");
    assert!(registers(&home, &text, "1001").starts_with("SIP/2.0 200 "));
    let mut judged = 0;
    for network in 2..16 {
        let peer = peer_at(&edge, &format!("127.0.2.{network}"));
        let challenged = peer.ask(&text);
        for number in 1..=10 {
            let plain = |value: &str| format!("Authorization: {value}");
            peer.send(guess(&text, &challenged, number, "1001", plain));
            if within_a_moment(&peer).is_none() {
                break;
            }
            judged += 1;
        }
    }
    assert_eq!(judged, 100);
    let again = register("1001", 7, "<sip:1001@127.0.2.1:9>", "");
    let answer = registers(&home, &again, "1001");
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    // The same phone behind another port of its address, as after a restart.
    let restarted = peer_at(&edge, "127.0.2.1");
    let again = register("1001", 9, "<sip:1001@127.0.2.1:10>", "");
    let answer = registers(&restarted, &again, "1001");
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_packets_shut_nobody_out_and_bans_meet_new_requests_of_strangers_only() {
    let (edge, mut calls) = edge(guarded()).await;
    let office = "127.0.3.1";
    let phone = peer_at(&edge, office);
    let text = register("1001", 1, "<sip:1001@127.0.3.1:9>", "");
    assert!(registers(&phone, &text, "1001").starts_with("SIP/2.0 200 "));
    // A second phone there calls, without being registered.
    let caller = peer_at(&edge, office);
    let invite = request("INVITE", "office", "", SDP);
    let challenged = caller.ask(&invite);
    caller.send(authenticated(
        &invite,
        &challenged,
        Algorithm::Sha256,
        "1002",
        PASSWORD,
    ));
    let call = next(&mut calls).await;
    let answer = SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(SDP.to_owned()),
    };
    call.commands.try_send(answer).expect("taken");
    let answered = caller.answer();
    assert!(answered.starts_with("SIP/2.0 200 "), "{answered}");
    let to = header(&answered, "To")[0].to_owned();
    let within = |method: &str, number: u32| {
        request(method, "office", "", "")
            .replace("To: <sip:12345@127.0.0.1>", &format!("To: {to}"))
            .replace("CSeq: 1 ", &format!("CSeq: {number} "))
            .replace(
                "branch=z9hG4bKoffice",
                &format!("branch=z9hG4bK{method}{number}"),
            )
    };
    caller.send(within("ACK", 2));
    // Whoever can write the office's address on packets: wrong passwords without a nonce of ours, made-up ones, scans.
    let forger = peer_at(&edge, office);
    let nonces = ["n".to_owned(), "0".repeat(52)];
    for number in 0..200 {
        let nonce = &nonces[number % 2];
        let forged = format!(
            "Authorization: Digest username=\"1001\", realm=\"xinqiao\", nonce=\"{nonce}\", uri=\"sip:xinqiao\", response=\"{number:032x}\"\r\n"
        );
        forger.send(register(
            "1001",
            number as u32 + 1,
            "<sip:x@127.0.3.1:9>",
            &forged,
        ));
        forger.send(
            request("INVITE", &format!("forged{number}"), "", SDP).replace(
                "sip:12345@127.0.0.1 SIP",
                &format!("sip:900{number}@127.0.0.1 SIP"),
            ),
        );
    }
    // A stranger there who really guesses, until nothing of his is judged.
    let stranger = peer_at(&edge, office);
    let challenged = stranger.ask(&text);
    for number in 1..60 {
        let user = if number % 2 == 0 { "nobody" } else { "carrier" };
        let plain = |value: &str| format!("Authorization: {value}");
        stranger.send(guess(&text, &challenged, number, user, plain));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    while within_a_moment(&forger).is_some() {}
    // The phone renews, a new phone registers and calls, and the running call ends as it should.
    let again = register("1001", 9, "<sip:1001@127.0.3.1:9>", "");
    let answer = registers(&phone, &again, "1001");
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let fresh = peer_at(&edge, office);
    let text = register("1002", 1, "<sip:1002@127.0.3.1:9>", "");
    let answer = registers(&fresh, &text, "1002");
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let answer = caller.ask(within("BYE", 3));
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    drop(call);
    // Where nobody has ever authenticated himself, a scan silences its own socket.
    let (scanner, newcomer) = (peer_at(&edge, "127.0.3.2"), peer_at(&edge, "127.0.3.2"));
    for number in 0..40 {
        scanner.send(
            request("INVITE", &format!("scan{number}"), "", SDP).replace(
                "sip:12345@127.0.0.1 SIP",
                &format!("sip:900{number}@127.0.0.1 SIP"),
            ),
        );
    }
    while within_a_moment(&scanner).is_some() {}
    scanner.send(request("OPTIONS", "scanner", "", ""));
    assert_eq!(within_a_moment(&scanner), None);
    let text = register("1002", 11, "<sip:1002@127.0.3.2:9>", "");
    let answer = registers(&newcomer, &text, "1002");
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    falls_silent(&edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_made_for_another_uri_are_refused() {
    let (edge, _calls) = edge(guarded()).await;
    let peer = Peer::of(&edge);
    let text = register("1001", 1, "<sip:1001@127.0.0.1:9>", "");
    let challenged = peer.ask(&text);
    let challenge = header(&challenged, "WWW-Authenticate")
        .into_iter()
        .find_map(Challenge::parse)
        .expect("a challenge");
    for (count, uri, status) in [
        (1, "sip:12345@xinqiao", 400),
        (2, "sip:elsewhere.example", 400),
        (3, "sip:1001@xinqiao", 400),
        (4, "tel:1001", 400),
        (5, "SIP:XinQiao;transport=udp", 200),
    ] {
        let value = challenge.answer(("1001", PASSWORD), "REGISTER", uri, "c", count);
        let again = register("1001", count + 1, "<sip:1001@127.0.0.1:9>", "");
        let answer =
            peer.ask(again.replacen("\r\nTo:", &format!("\r\nAuthorization: {value}\r\nTo:"), 1));
        assert!(
            answer.starts_with(&format!("SIP/2.0 {status} ")),
            "{uri}: {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stranger_gets_is_never_longer_than_twice_what_it_sent() {
    let (edge, _calls) = edge(SipConfig {
        digest: vec![Algorithm::Sha256, Algorithm::Md5],
        ..guarded()
    })
    .await;
    let peer = Peer::of(&edge);
    let mut answers = 0;
    for method in [
        "REGISTER",
        "INVITE",
        "OPTIONS",
        "SUBSCRIBE",
        "BYE",
        "NONSENSE",
    ] {
        for from in ["sip:a@b", "sip:1001@a.rather.long.domain.example.com"] {
            for more in [
                "",
                "Require: a\r\n",
                "Max-Forwards: 0\r\n",
                "Content-Length: 9\r\n",
                "CSeq: x\r\n",
            ] {
                answers += 1;
                let text = format!(
                    "{method} sip:h SIP/2.0\r\nv:SIP/2.0/UDP h;branch=z9hG4bK{answers};rport\r\nf:<{from}>;tag=1\r\n\
                     t:<{from}>\r\ni:{answers}\r\nCSeq:1 {method}\r\n{more}\r\n"
                );
                peer.send(&text);
                if let Some(answer) = within_a_moment(&peer) {
                    assert!(answer.len() <= 2 * text.len(), "{text}\n{answer}");
                }
            }
        }
    }
    // One that is as long as a telephone's is challenged in full.
    let challenged = peer.ask(register("1001", 1, "<sip:1001@127.0.0.1:9>", ""));
    assert_eq!(
        header(&challenged, "WWW-Authenticate").len(),
        2,
        "{challenged}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_have_a_share_of_the_calls_and_nobody_holds_it_alone_unheard() {
    let open = SipConfig {
        extensions: vec![extension("1001")],
        max_calls: 100,
        ..config()
    };
    let (edge, mut calls) = edge(open).await;
    let mut held = Vec::new();
    let mut flood = async |address: &str, tries: usize| {
        let peer = peer_at(&edge, address);
        let mut taken = 0;
        for number in 0..tries {
            let call = format!("{address}-{number}");
            peer.send(request("INVITE", &call, "", SDP));
            let answer = peer.receive();
            if answer.starts_with("SIP/2.0 1") {
                held.push(next(&mut calls).await);
                taken += 1;
            } else {
                // Who has a password may still show it.
                assert!(answer.starts_with("SIP/2.0 401 "), "{answer}");
            }
        }
        taken
    };
    // One source may hold a quarter of the strangers' half without acknowledging anything, whatever it sends.
    assert_eq!(flood("127.0.4.1", 60).await, 12);
    assert_eq!(flood("127.0.4.2", 60).await, 12);
    for address in ["127.0.4.3", "127.0.4.4"] {
        assert_eq!(flood(address, 20).await, 12, "{address}");
    }
    assert_eq!(
        flood("127.0.4.5", 20).await,
        2,
        "the strangers' half is full"
    );
    // An extension finds room all the same.
    let phone = peer_at(&edge, "127.0.4.6");
    let invite = request("INVITE", "phone", "", SDP);
    let challenged = phone.ask(&invite);
    let invite = authenticated(&invite, &challenged, Algorithm::Sha256, "1001", PASSWORD);
    phone.send(invite);
    let call = next(&mut calls).await;
    assert_eq!(call.incoming.caller_number, Some("1001".into()));
    assert!(!call.incoming.by_stranger && held.iter().all(|call| call.incoming.by_stranger));
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_call_from_this_machine_only_unless_it_is_said_otherwise() {
    let mut carrier = trunk("carrier");
    carrier.addresses = vec!["192.0.2.0/24".parse().expect("a network")];
    for (trunks, strangers, from_here, from_there) in [
        (vec![], None, true, false),
        (vec![], Some(0), false, false),
        (vec![], Some(5), true, true),
        (vec![carrier.clone()], None, false, false),
        (vec![carrier.clone()], Some(5), true, true),
    ] {
        let said = format!("{} trunks, {strangers:?}", trunks.len());
        let config = SipConfig {
            strangers,
            trunks,
            ..config()
        };
        let admission = Admission::new(&config, Instant::now(), Dispatch::none());
        for (source, may) in [("127.0.0.1:9", from_here), ("203.0.113.5:5060", from_there)] {
            let flow = Flow {
                transport: Transport::Udp,
                source: source.parse().expect("an address"),
            };
            let invite = with_length(&request("INVITE", "x", "", SDP));
            let message = wire::Message::from_datagram(invite.as_bytes(), flow.source);
            let message = message.expect("sound").expect("a message");
            let admitted = admission.admit(Instant::now(), &message, flow, |_, _| false);
            assert_eq!(
                matches!(admitted, Admitted::As(Who::Anybody)),
                may,
                "{said}, {source}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_elsewhere_opens_no_connection_and_a_stranger_hears_where_it_calls_from() {
    let (edge, mut calls) = edge(config()).await;
    let victim = std::net::TcpListener::bind("127.0.5.9:0").expect("a listener");
    victim.set_nonblocking(true).expect("set");
    let at = victim.local_addr().expect("bound");
    for (number, header) in [
        format!("Contact: <sip:x@{at};transport=tcp>\r\n"),
        format!(
            "Contact: <sip:x@victim.invalid:{};transport=tcp>\r\n",
            at.port()
        ),
        format!("Contact: <sip:x@127.0.0.1:9>\r\nRecord-Route: <sip:{at};transport=tcp;lr>\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let peer = Peer::of(&edge);
        let id = format!("away{number}");
        let plain = request("INVITE", &id, "", SDP);
        let (before, rest) = plain.split_once("Contact: ").expect("a Contact");
        let after = rest.split_once("\r\n").expect("a line").1;
        peer.send(format!("{before}{header}{after}"));
        let call = next(&mut calls).await;
        let answer = SipCommand::Answer {
            party: Party::CALLER,
            answer: Some(SDP.to_owned()),
        };
        call.commands.try_send(answer).expect("taken");
        let answered = peer.answer();
        let to = self::header(&answered, "To")[0].to_owned();
        peer.send(
            request("ACK", &id, "", "")
                .replace("To: <sip:12345@127.0.0.1>", &format!("To: {to}"))
                .replace("branch=z9hG4bK", "branch=z9hG4bKack"),
        );
        let hang_up = SipCommand::HangUp {
            party: Party::CALLER,
        };
        call.commands.try_send(hang_up).expect("taken");
        let mut bye = peer.receive();
        while bye.starts_with("SIP/2.0 ") {
            bye = peer.receive();
        }
        assert!(bye.starts_with("BYE "), "{header}: {bye}");
        assert!(
            victim.accept().is_err(),
            "{header}: a connection was opened"
        );
    }
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
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut ask = |text: &str| {
        let text = with_length(&text.replace("SIP/2.0/UDP", "SIP/2.0/TCP"));
        stream.write_all(text.as_bytes()).expect("written");
        let mut buffer = vec![0; 8_192];
        let length = stream.read(&mut buffer).expect("an answer");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    };
    let text = register("1001", 1, "<sip:1001@10.9.9.9:40000;transport=tcp>", "");
    let challenged = ask(&text);
    let granted = ask(&authenticated(
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
