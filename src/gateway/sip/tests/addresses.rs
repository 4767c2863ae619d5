//! Addresses and bodies as phones and exchanges really write them.

use super::admission::{guarded, header, register, registers};
use super::dialogs::{Talk, between};
use super::flows::{PHONE_SDP, Phone, value};
use super::malformed::{Peer, SDP, falls_silent, next, request};
use super::trunks::{PASSWORD, US, judged, trunk};
use super::*;
use crate::private::Private;
use crate::sip::digest::{Algorithm, Guard, Secret, Verdict};
use crate::sip::route::{Called, Routes, Rule};

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-4000-8000-0000000000a1>\"";

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_registers_and_leaves_in_every_form_of_contact() {
    let (edge, _calls) = SipEdge::bind(guarded()).await.expect("bound");
    let peer = Peer::of(&edge);
    let uri = "sip:1001@127.0.0.1:9";
    let forms = |expires: &str| {
        [
            format!("<{uri}>;{expires};{INSTANCE}"),
            format!("<{uri}>;{INSTANCE};{expires}"),
            format!("<{uri}>;+sip.ice;reg-id=1;{INSTANCE};{expires}"),
            format!(
                "<{uri}>;pub-gruu=\"sip:1001@x;gr=urn:uuid:1\";temp-gruu=\"<sip:t@x;gr>\";{expires}"
            ),
            format!(
                "<{uri}>;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\";{INSTANCE};audio;{expires}"
            ),
            format!("\"1001 <desk>\" <{uri}> ; {INSTANCE} ; {expires}"),
            format!("Desk <{uri}>;q=0.5;{expires};{INSTANCE}"),
            format!("{uri};{INSTANCE};{expires}"),
            format!("SIP:1001@127.0.0.1:9;{expires};{INSTANCE}"),
            format!("<sip:%31001@127.0.0.1:9;ob>;{expires};{INSTANCE}"),
        ]
    };
    let mut number = 1;
    for (joins, leaves) in forms("expires=120").iter().zip(forms("expires=\"0\"")) {
        let answer = registers(&peer, &register("1001", number, joins, ""), "1001");
        assert!(answer.starts_with("SIP/2.0 200 "), "{joins}: {answer}");
        let bound = header(&answer, "Contact");
        assert!(
            bound.len() == 1
                && bound[0].contains("@127.0.0.1:9")
                && bound[0].ends_with(">;expires=120"),
            "{joins}: {bound:?}"
        );
        assert_eq!(edge.counts().registered, 1, "{joins}");
        let answer = registers(&peer, &register("1001", number + 2, &leaves, ""), "1001");
        assert!(
            answer.starts_with("SIP/2.0 200 ") && header(&answer, "Contact").is_empty(),
            "{leaves}: {answer}"
        );
        number += 4;
    }
    // The Expires header holds for a Contact that says nothing of its own.
    let contact = format!("<{uri}>;{INSTANCE}");
    let answer = registers(
        &peer,
        &register("1001", number, &contact, "Expires: 90\r\n"),
        "1001",
    );
    assert_eq!(header(&answer, "Contact"), [format!("<{uri}>;expires=90")]);
    falls_silent(&edge).await;
}

/// What a phone sees that is invited to `callee`, whose 200 has this Contact: the INVITE, and the targets of ACK and BYE.
async fn targets(callee: &str, contact: &str) -> (String, [String; 2]) {
    let phone = Phone::new();
    let at = format!("127.0.0.1:{}", phone.port());
    let (callee, contact) = (callee.replace("{at}", &at), contact.replace("{at}", &at));
    let (edge, _calls) = SipEdge::bind(config()).await.expect("bound");
    let placed = edge.place_call();
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&callee),
        caller_number: Some("1003#".into()),
        offer: SDP.to_owned(),
    };
    placed.commands.try_send(invite).expect("taken");
    let (invite, from) = phone.receive("INVITE");
    let answer = |request: &str, contact: &str, body: &str| {
        let text = super::malformed::with_length(&format!(
            "SIP/2.0 200 OK\r\n{}To: {};tag=phone\r\n{contact}Content-Type: application/sdp\r\n\r\n{body}",
            lines_for_answer(request),
            value(request, "To").trim_end_matches(";tag=phone"),
        ));
        phone.0.send_to(text.as_bytes(), from).expect("sent");
    };
    answer(&invite, &format!("Contact: {contact}\r\n"), SDP);
    let (ack, _) = phone.receive("ACK");
    let hang_up = SipCommand::HangUp {
        party: Party::OPERATOR,
    };
    placed.commands.send(hang_up).await.expect("taken");
    let (bye, _) = phone.receive("BYE");
    answer(&bye, "", "");
    let parties = |request: &str| {
        ["From", "To"].map(|name| {
            value(request, name)
                .trim_end_matches(";tag=phone")
                .to_owned()
        })
    };
    assert_eq!(parties(&bye), parties(&invite), "{contact}");
    let target = |request: &str| {
        request
            .split(' ')
            .nth(1)
            .unwrap_or_default()
            .replace(&at, "{at}")
    };
    let seen = [target(&ack), target(&bye)];
    (invite.replace(&at, "{at}"), seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn ack_and_bye_go_to_the_contact_as_it_was_written() {
    let imei = "+sip.instance=\"<urn:gsma:imei:00000000-000000-0>\";audio";
    for (contact, target) in [
        ("<sip:op@{at}>".to_owned(), "sip:op@{at}"),
        (format!("<sip:op@{{at}}>;{imei}"), "sip:op@{at}"),
        (format!("sip:op@{{at}};{imei}"), "sip:op@{at}"),
        (
            "\"a <b>\" <sip:op@{at}>;x=\"<y>\"".to_owned(),
            "sip:op@{at}",
        ),
        (
            "<sip:+8653512345;postd=pp22@{at};user=phone>".to_owned(),
            "sip:+8653512345;postd=pp22@{at};user=phone",
        ),
        (
            "<sip:{at};Hpt=8f32_16;CxtId=3;TRC=ffffffff-ffffffff>".to_owned(),
            "sip:{at};Hpt=8f32_16;CxtId=3;TRC=ffffffff-ffffffff",
        ),
        ("<sip:1000%232@{at}>".to_owned(), "sip:1000%232@{at}"),
        (
            "<sip:a%40b%25c@{at};x=%41>".to_owned(),
            "sip:a%40b%25c@{at};x=%41",
        ),
        (
            "<sip:PBX#1000#90@{at}>".to_owned(),
            "sip:PBX%231000%2390@{at}",
        ),
        ("<sip:op@{at}?Subject=1>".to_owned(), "sip:op@{at}"),
        (
            "<tel:+8653512345>, <sip:op@{at}>;q=0.1".to_owned(),
            "sip:op@{at}",
        ),
    ] {
        let (_, seen) = targets("sip:op@{at}", &contact).await;
        assert_eq!(seen, [target, target], "{contact}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_escapes_of_a_target_are_written_once() {
    for callee in [
        "sip:1003%23@{at}",
        "sip:%2B86%20138@{at};user=phone",
        "sip:a;b=%3B@{at}",
    ] {
        let (invite, _) = targets(callee, "<sip:op@{at}>").await;
        assert!(
            invite.starts_with(&format!("INVITE {callee} SIP/2.0\r\n")),
            "{invite}"
        );
        assert_eq!(value(&invite, "To"), format!("<{callee}>"), "{invite}");
        assert!(
            value(&invite, "From").starts_with("<sip:1003%23@127.0.0.1>;tag="),
            "{invite}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_any_spelling_is_known_by_his_number_and_called_back_at_his_contact() {
    for (from, contact, name, number, target) in [
        (
            "\"A <B>\" <sip:%2B86138@h>;tag=c",
            "<sip:op@{at}>;{i}",
            Some("A <B>"),
            Some("+86138"),
            "sip:op@{at}",
        ),
        (
            "\"x;tag=9 <y>\" <sip:138;npdi@h>;tag=c",
            "\"x > y\" <sip:a@{at}>",
            Some("x;tag=9 <y>"),
            Some("138"),
            "sip:a@{at}",
        ),
        (
            "sip:138@h;x=\"<z>;tag=8\";tag=c",
            "sip:a@{at};{i}",
            None,
            Some("138"),
            "sip:a@{at}",
        ),
        (
            "<sip:anonymous@h>;tag=c",
            "<sips:a@{at}>",
            None,
            None,
            "sips:a@{at}",
        ),
    ] {
        let (edge, mut calls) = SipEdge::bind(config()).await.expect("bound");
        let peer = Peer::of(&edge);
        let at = peer.0.local_addr().expect("bound").to_string();
        let mut invite = String::new();
        for line in request("INVITE", "spelt", "", SDP).split_inclusive("\r\n") {
            match line.split_once(':').map(|(name, _)| name) {
                Some("From") => invite.extend(["From: ", from, "\r\n"]),
                Some("Contact") => {
                    let contact = contact.replace("{at}", &at).replace("{i}", INSTANCE);
                    invite.extend(["Contact: ", &contact, "\r\n"]);
                }
                _ => invite.push_str(line),
            }
        }
        peer.send(&invite);
        let call = next(&mut calls).await;
        let incoming = &call.incoming;
        let plain =
            |value: &Option<Private<String>>| value.as_ref().map(|text| text.reveal().clone());
        assert_eq!(plain(&incoming.caller_display).as_deref(), name, "{from}");
        assert_eq!(plain(&incoming.caller_number).as_deref(), number, "{from}");
        let answer = SipCommand::Answer {
            party: Party::CALLER,
            answer: Some(answer_to(SDP).expect("an answer")),
        };
        call.commands.send(answer).await.expect("taken");
        let accepted = peer.answer();
        assert!(accepted.starts_with("SIP/2.0 200 "), "{from}: {accepted}");
        let to = value(&accepted, "To").to_owned();
        let ack = invite
            .replace("INVITE", "ACK")
            .replace("branch=z9hG4bK", "branch=z9hG4bKack")
            .replace("To: <sip:12345@127.0.0.1>", &format!("To: {to}"));
        peer.send(
            ack.replace(SDP, "")
                .replace("Content-Type: application/sdp\r\n", ""),
        );
        let hang_up = SipCommand::HangUp {
            party: Party::CALLER,
        };
        call.commands.send(hang_up).await.expect("taken");
        let bye = loop {
            let received = peer.receive();
            if received.starts_with("BYE ") {
                break received;
            }
        };
        let target = target.replace("{at}", &at);
        assert!(bye.starts_with(&format!("BYE {target} ")), "{from}: {bye}");
        assert!(value(&bye, "To").ends_with(";tag=c"), "{from}: {bye}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_proved_for_its_very_target_and_its_ack_is_that_of_its_own_way() {
    let pbx = Phone::new();
    let at: SocketAddr = ([127, 0, 0, 1], pbx.port()).into();
    let config = SipConfig {
        trunks: vec![trunk("pbx", at)],
        ..config()
    };
    let (edge, _calls) = SipEdge::bind(config).await.expect("bound");
    let now = Instant::now();
    let mut guard = Guard::new("pbx", &Algorithm::ALL, Duration::from_mins(1), [2; 32], now);
    guard.admit("hotline", Secret::Password(PASSWORD.to_owned()), ());
    let placed = edge.place_call();
    let uri = format!("sip:1003%23@{at}");
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&uri),
        caller_number: None,
        offer: SDP.to_owned(),
    };
    placed.commands.try_send(invite).expect("taken");
    let (first, from) = pbx.receive("INVITE");
    let mut refusal = format!(
        "SIP/2.0 401 Unauthorized\r\n{}To: {};tag=pbx\r\n",
        lines_for_answer(&first),
        value(&first, "To")
    );
    for value in guard.challenge(now, US, false) {
        refusal.extend(["WWW-Authenticate: ", &value, "\r\n"]);
    }
    // The peer writes into the Via what it has seen, and more.
    let via = value(&first, "Via").to_owned();
    let seen = format!("{via};received=192.0.2.9;x=y").replace(";rport", ";rport=4711");
    let refusal = refusal.replace(&via, &seen) + "Content-Length: 0\r\n\r\n";
    pbx.0.send_to(refusal.as_bytes(), from).expect("sent");
    let (ack, _) = pbx.receive("ACK");
    let vias: Vec<&str> = ack
        .lines()
        .filter(|line| line.starts_with("Via:"))
        .collect();
    assert_eq!(vias, [format!("Via: {via}")], "{ack}");
    let (second, _) = pbx.receive("INVITE");
    assert!(
        second.starts_with(&format!("INVITE {uri} SIP/2.0\r\n")),
        "{second}"
    );
    let proof = value(&second, "Authorization");
    assert!(proof.contains(&format!("uri=\"{uri}\"")), "{proof}");
    assert!(
        proof.contains("qop=auth,") && !proof.contains("qop=\""),
        "{proof}"
    );
    assert_eq!(
        judged(&mut guard, "INVITE", proof),
        Verdict::Known(()),
        "{proof}"
    );
}

/// Bodies that we do not know, with the headers that say what they are.
const UNKNOWN: [(&str, &str); 7] = [
    (
        "application/ISUP;version=itu-t92+",
        "Content-Disposition: signal;handling=optional\r\n",
    ),
    (
        "application/isup",
        "Content-Disposition: signal;handling=required\r\n",
    ),
    ("application/gtd", ""),
    ("application/vq-rtcpxr", ""),
    ("application/x-www-form-urlencoded", ""),
    ("multipart/mixed;boundary=torn", ""),
    (
        "text/plain",
        "Content-Disposition: render;handling=optional\r\n",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_bye_ends_the_call_whatever_it_brings_along() {
    for (kind, extra) in UNKNOWN {
        let extra = format!("{extra}Content-Type: {kind}\r\n");
        for by_caller in [true, false] {
            let (of_caller, of_operator) = (extra.clone(), extra.clone());
            let reasons = between(
                |_| config(),
                move |mut caller| {
                    caller.is_answered();
                    if by_caller {
                        caller.asks("BYE", &of_caller, "\u{c}\u{2}", "200");
                    } else {
                        caller.is_hung_up_on();
                    }
                },
                move |phone| {
                    let (mut operator, invite) = Talk::invited(phone);
                    operator.answers(&invite, "200 OK", "", PHONE_SDP);
                    operator.phone.receive("ACK");
                    if by_caller {
                        operator.is_hung_up_on();
                    } else {
                        operator.asks("BYE", &of_operator, "\u{c}\u{2}", "200");
                    }
                },
            )
            .await;
            assert_eq!(reasons.len(), 1, "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_need_not_be_understood_is_no_reason_to_refuse_and_what_must_be_is() {
    let reasons = between(
        |_| config(),
        |mut caller| {
            caller.is_answered();
            for (kind, extra) in UNKNOWN {
                let is_optional = extra.contains("optional");
                for method in ["UPDATE", "INFO"] {
                    let status = match (is_optional, kind.starts_with("multipart")) {
                        (true, _) => "200",
                        (false, true) if method == "UPDATE" => "400",
                        _ => "415",
                    };
                    let extra = format!("{extra}Content-Type: {kind}\r\n");
                    let answer = caller.asks(method, &extra, "\u{c}", "");
                    assert!(
                        answer.starts_with(&format!("SIP/2.0 {status}")),
                        "{method} {kind}: {answer}"
                    );
                }
            }
            caller.hangs_up();
        },
        |phone| {
            let (operator, invite) = Talk::invited(phone);
            operator.answers(&invite, "200 OK", "", PHONE_SDP);
            operator.phone.receive("ACK");
            operator.is_hung_up_on();
        },
    )
    .await;
    assert_eq!(reasons, ["caller hung up"]);
    // The same for what begins a call: without an offer, it is ours to make.
    let (edge, mut calls) = SipEdge::bind(config()).await.expect("bound");
    let peer = Peer::of(&edge);
    let begin = |call: &str, handling: &str| {
        request(
            "INVITE",
            call,
            &format!("Content-Disposition: signal;handling={handling}\r\n"),
            "\u{1}",
        )
        .replace("application/sdp", "application/isup")
    };
    assert!(
        peer.ask(begin("must", "required"))
            .starts_with("SIP/2.0 415 ")
    );
    peer.send(begin("may", "optional"));
    assert_eq!(next(&mut calls).await.incoming.offer, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_found_in_every_kind_of_multipart() {
    let (edge, mut calls) = SipEdge::bind(config()).await.expect("bound");
    let peer = Peer::of(&edge);
    for (call, kind) in [
        ("mixed", "multipart/mixed;boundary=x1"),
        (
            "related",
            "multipart/related;type=\"application/sdp\";boundary=x1",
        ),
        ("alternative", "Multipart/Alternative; boundary=\"x1\""),
        ("vendor", "multipart/x-vendor;boundary=x1"),
    ] {
        let body = format!(
            "--x1\r\nContent-Type: application/pidf+xml\r\nContent-ID: <a@b>\r\n\r\n<presence/>\r\n\
             --x1\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--x1--\r\n"
        );
        peer.send(request("INVITE", call, "", &body).replace(
            "application/sdp\r\n\r\n--x1",
            &format!("{kind}\r\n\r\n--x1"),
        ));
        let offer = next(&mut calls).await.incoming.offer;
        assert_eq!(offer.as_deref(), Some(SDP), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_came_while_the_phone_rang_is_the_answer_if_the_200_has_none() {
    for (status, body) in [
        ("183 Session Progress", ""),
        ("180 Ringing", ""),
        ("183 Session Progress", "not a description"),
    ] {
        let reasons = between(
            |_| config(),
            |mut caller| {
                caller.is_answered();
                caller.hangs_up();
            },
            move |phone| {
                let (operator, invite) = Talk::invited(phone);
                operator.answers(&invite, status, "", PHONE_SDP);
                let kind = match body {
                    "" => "",
                    _ => "Content-Type: application/isup\r\n",
                };
                operator.answers(&invite, "200 OK", kind, body);
                operator.phone.receive("ACK");
                operator.is_hung_up_on();
            },
        )
        .await;
        assert_eq!(reasons, ["caller hung up"], "{status}");
    }
}

/// Who is invited when a call is to go on to `target`, where the gateway's port is `{port}`; or why nobody is.
async fn goes_on_to(target: &str, operator: bool) -> Result<String, u16> {
    let phone = Phone::new();
    let at = format!("127.0.0.1:{}", phone.port());
    let config = SipConfig {
        routes: Routes(vec![Rule {
            called: Called::Exactly("1009#".to_owned()),
            trunk: None,
            to: vec![format!("sip:desk-{THE_CALLED}@{at}")],
        }]),
        operator: operator.then(|| format!("sip:op@{at}")),
        ..config()
    };
    let (edge, mut calls) = SipEdge::bind(config).await.expect("bound");
    let port = edge.local_addr().port().to_string();
    Peer::of(&edge).send(request("INVITE", "first", "", SDP));
    let mut call = next(&mut calls).await;
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&target.replace("{port}", &port)),
        caller_number: None,
        offer: SDP.to_owned(),
    };
    call.commands.send(invite).await.expect("taken");
    let invited = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 8_192];
        let length = phone.0.recv(&mut buffer).ok()?;
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        text.strip_prefix("INVITE ")?
            .split(' ')
            .next()
            .map(str::to_owned)
    });
    let gone = tokio::select! {
        Some(SipEvent::Rejected { status, .. }) = call.events.recv() => Err(status),
        invited = invited => Ok(invited.expect("heard").expect("an INVITE").replace(&at, "{at}")),
    };
    assert!(
        calls.try_recv().is_err(),
        "{target} came back as a call of its own"
    );
    gone
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_of_ours_is_never_called_from_outside() {
    let desk = Ok("sip:desk-1009%23@{at}".to_owned());
    let op = Ok("sip:op@{at}".to_owned());
    for (target, operator, expected) in [
        ("sip:1009%23@127.0.0.1:{port}", true, desk.clone()),
        ("sip:1009%23@xinqiao;user=phone", false, desk.clone()),
        ("sip:1009%23@localhost:{port}", true, desk),
        ("sip:12345@127.0.0.1:{port};transport=udp", true, op.clone()),
        ("sip:127.0.0.1:{port}", true, op),
        ("sip:12345@127.0.0.1:{port}", false, Err(404)),
        ("sip:12345@localhost:{port}", false, Err(404)),
    ] {
        assert_eq!(goes_on_to(target, operator).await, expected, "{target}");
    }
}
